"""Several callers' works in one transaction: a commit that reaches the disk costs more than what is in it.

Whoever comes first leads: it takes along all that have come by then, and hands the lead to the next one that
waits. A caller is told once the commit that holds its work was reported, never before.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from trading.errors import StoreUnavailable

#: So many at most: the runner's own transactions wait for this one.
_MOST = 64

T = TypeVar("T")


class _Passenger(Generic[T]):
    """One caller's work, and what came of it."""

    def __init__(self, work: Callable[[Connection], T], place: tuple[str, ...]) -> None:
        self.work = work
        self.place = place
        self.told = threading.Event()
        self.leads = False
        self.is_done = False
        self.result: T | None = None
        self.error: Exception | None = None

    def outcome(self) -> T:
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]  # there is no error, so there is a result


class Company:
    """`write` is how one work is done by itself, in a transaction of its own."""

    def __init__(self, write: Callable[[Callable[[Connection], Any]], Any]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._waiting: deque[_Passenger[Any]] = deque()
        self._is_led = False

    def write(self, work: Callable[[Connection], T], place: tuple[str, ...] = ()) -> T:
        """Does `work`, with what others bring. It may be done again, and must have no other effect.

        `place` names what it locks: works are done in that order, so that two processes which lock the same
        rows do not lock each other out. Those of one place are done as they came.
        """
        mine = _Passenger(work, place)
        with self._lock:
            self._waiting.append(mine)
            mine.leads, self._is_led = not self._is_led, True
        if not mine.leads:
            mine.told.wait()
        if mine.leads:
            self._lead()
        return mine.outcome()

    def _lead(self) -> None:
        with self._lock:
            aboard = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
        aboard.sort(key=lambda each: each.place)
        try:
            self._carry(aboard)
        finally:
            with self._lock:
                following = self._waiting[0] if self._waiting else None
                self._is_led = following is not None
                if following is not None:
                    following.leads = True
            for each in (*aboard, following):
                if each is not None:
                    each.told.set()

    def _carry(self, aboard: list[_Passenger[Any]]) -> None:
        if len(aboard) > 1:
            try:
                results = self._write(lambda tx: [each.work(tx) for each in aboard])
            except StoreUnavailable as error:
                self._turn_away(aboard, error)
                return
            except Exception:  # noqa: BLE001  # one of them failed, and took the others along: each by itself
                results = None
            if results is not None:
                for each, result in zip(aboard, results, strict=True):
                    each.result, each.is_done = result, True
                return
        for each in aboard:
            try:
                each.result, each.is_done = self._write(each.work), True
            except StoreUnavailable as error:
                self._turn_away([other for other in aboard if not other.is_done], error)
                return
            except Exception as error:  # noqa: BLE001  # it is raised where the work came from
                each.error = error

    def _turn_away(self, aboard: list[_Passenger[Any]], error: StoreUnavailable) -> None:
        """Those that wait as well: each has somebody at the door who will not wait for two of these."""
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
        for each in (*aboard, *waiting):
            each.error = each.error or StoreUnavailable(str(error))
            if each in waiting:
                each.told.set()
