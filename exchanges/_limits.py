"""Keeps a host's rate limits before the host has to: budgets per window, bans, and a reserve for protection.

Shared by every thread and account that talks to one host. It must never let the last tenth of a budget go
to anything but the orders that protect or end a position.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

#: Longer than this nobody waits here: the caller has better things to do.
LONGEST_WAIT = timedelta(milliseconds=400)
#: Reads and entries leave this share of each budget alone.
RESERVE = 0.1


@dataclass(frozen=True, slots=True)
class Budget:
    """So much within a window that slides."""

    most: int
    window: timedelta


class Limiter:
    """Counts what is sent against named budgets; the caller is told to wait, or waits a moment here."""

    def __init__(
        self,
        budgets: Mapping[str, Budget],
        clock: Callable[[], datetime],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._budgets = dict(budgets)
        self._clock = clock
        self._pause = pause
        self._spent: dict[str, deque[tuple[datetime, int]]] = {name: deque() for name in budgets}
        self._shut: tuple[datetime, timedelta] | None = None
        self._lock = Lock()

    def add(self, budgets: Mapping[str, Budget]) -> None:
        """More budgets, those of one account; what is known already stays as it is."""
        with self._lock:
            for name, budget in budgets.items():
                self._budgets.setdefault(name, budget)
                self._spent.setdefault(name, deque())

    def take(self, costs: Mapping[str, int], *, urgent: bool = False) -> timedelta | None:
        """Spends `costs` and returns None, or how long it would have to wait if that is too long for here."""
        while True:
            with self._lock:
                wait = self._wait(costs, urgent)
                if wait <= timedelta():
                    now = self._clock()
                    for name, cost in costs.items():
                        self._spent[name].append((now, cost))
                    return None
            if wait > LONGEST_WAIT:
                return wait
            self._pause(wait.total_seconds())

    def told(self, name: str, used: int) -> None:
        """The host's own count, where it is higher than ours: other programs share the address."""
        with self._lock:
            missing = used - self._used(name, self._clock())
            if missing > 0:
                self._spent[name].append((self._clock(), missing))

    def shut(self, after: timedelta) -> None:
        """The host wants to hear nothing for so long."""
        with self._lock:
            if after > self._until_open():
                self._shut = (self._clock(), after)

    def _wait(self, costs: Mapping[str, int], urgent: bool) -> timedelta:
        now = self._clock()
        if (shut := self._until_open()) > timedelta():
            return shut
        return max(
            (self._until_room(name, cost, urgent, now) for name, cost in costs.items()), default=timedelta()
        )

    def _until_open(self) -> timedelta:
        if self._shut is None:
            return timedelta()
        (since, after), now = self._shut, self._clock()
        if now < since:
            # A clock that was set back must not keep the host shut for longer than it asked for.
            since, _ = self._shut = (now, after)
        return since + after - now

    def _until_room(self, name: str, cost: int, urgent: bool, now: datetime) -> timedelta:
        budget, used = self._budgets[name], self._used(name, now)
        room = budget.most if urgent else budget.most - int(budget.most * RESERVE)
        if used == 0 or used + cost <= room:
            return timedelta()
        over = used + cost - room
        for at, spent in self._spent[name]:
            over -= spent
            if over <= 0:
                return max(at + budget.window - now, timedelta(milliseconds=1))
        return budget.window

    def _used(self, name: str, now: datetime) -> int:
        spent, window = self._spent[name], self._budgets[name].window
        # A clock that was set back must not keep anything for longer than its window.
        while spent and not timedelta() <= now - spent[0][0] < window:
            spent.popleft()
        return sum(cost for _, cost in spent)
