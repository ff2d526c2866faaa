"""Several callers' works in one transaction: a commit that reaches the disk costs more than what is in it.

Whoever comes first leads: it takes along all that have come by then, and hands the lead to the next one that
waits. A caller is told once the commit that holds its work was reported, never before.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from trading.errors import CommitInDoubt, StoreUnavailable

#: So many at most: the runner's own transactions wait for this one.
_MOST = 64
#: Seconds of a lead after which the next one leads beside it: no statement runs for longer.
_STUCK = 5.0

T = TypeVar("T")


#: Does the works of several callers, in one transaction; what comes of each, in their order.
Doing = Callable[[Connection, Sequence[Any]], Sequence[T]]


class _Passenger(Generic[T]):
    """One caller's work, who does it, and what came of it."""

    def __init__(self, do: Doing[T], work: Any, place: tuple[str, ...]) -> None:
        self.do = do
        self.work = work
        self.place = place
        self.told = threading.Event()
        self.is_done = False
        self.result: T | None = None
        self.error: Exception | None = None

    def outcome(self) -> T:
        if self.error is not None:
            raise self.error
        if not self.is_done:
            raise CommitInDoubt("database: who was to write it was ended amid its work")
        return self.result  # type: ignore[return-value]  # it is done, so there is a result


class Company:
    """`write` is how one work is done by itself, in a transaction of its own."""

    def __init__(self, write: Callable[[Callable[[Connection], Any]], Any], *, stuck: float = _STUCK) -> None:
        self._write = write
        self._stuck = stuck
        self._lock = threading.Lock()
        self._waiting: deque[_Passenger[Any]] = deque()
        self._leader: _Passenger[Any] | None = None
        self._led_since = 0.0

    def write(self, do: Doing[T], work: Any, place: tuple[str, ...] = ()) -> T:
        """Does `work`, with what others bring. It may be done again, and must have no other effect.

        `place` names what it locks: works are done in that order, so that two processes which lock the same
        rows do not lock each other out. Those of one place are done as they came. `do` gets all those at
        once that follow each other and are done by the same `do`.
        """
        mine = _Passenger(do, work, place)
        try:
            with self._lock:
                self._waiting.append(mine)
                if self._leader is None:
                    self._pass_on()
            while not mine.told.wait(self._stuck):
                self._look_after(mine)
            if self._leader is mine:
                self._lead(mine)
        except BaseException:
            self._leave(mine)
            raise
        return mine.outcome()

    def _pass_on(self) -> None:
        """Who has waited longest leads, if anybody waits."""
        self._leader = self._waiting[0] if self._waiting else None
        self._led_since = time.monotonic()
        if self._leader is not None:
            self._leader.told.set()

    def _look_after(self, mine: _Passenger[Any]) -> None:
        """Nobody that waits shares the fate of a leader who hangs, such as on a cut wire."""
        with self._lock:
            if mine in self._waiting and time.monotonic() - self._led_since >= self._stuck:
                self._pass_on()

    def _leave(self, mine: _Passenger[Any]) -> None:
        """It was interrupted: nobody may count on it."""
        with self._lock:
            if mine in self._waiting:
                self._waiting.remove(mine)
            if self._leader is mine:
                self._pass_on()

    def _lead(self, mine: _Passenger[Any]) -> None:
        with self._lock:
            aboard = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
        try:
            self._carry(mine, sorted(aboard, key=lambda each: each.place))
        finally:
            with self._lock:
                if self._leader is mine:
                    self._pass_on()
            for each in aboard:
                each.told.set()

    def _carry(self, mine: _Passenger[Any], aboard: list[_Passenger[Any]]) -> None:
        if len(aboard) > 1:
            try:
                results = self._write(lambda tx: _done(tx, aboard))
            except StoreUnavailable as error:
                self._turn_away(mine, aboard, error)
                return
            except Exception:  # noqa: BLE001  # one of them failed, and took the others along: each by itself
                results = None
            if results is not None:
                for each, result in zip(aboard, results, strict=True):
                    each.result, each.is_done = result, True
                return
        for each in aboard:
            try:
                (each.result,), each.is_done = self._write(partial(_done, aboard=[each])), True
            except StoreUnavailable as error:
                self._turn_away(mine, [other for other in aboard if not other.is_done], error)
                return
            except Exception as error:  # noqa: BLE001  # it is raised where the work came from
                each.error = error

    def _turn_away(
        self, mine: _Passenger[Any], aboard: list[_Passenger[Any]], error: StoreUnavailable
    ) -> None:
        """Those that wait as well: each has somebody at the door who will not wait for two of these. Nothing
        of theirs is in doubt.
        """
        waiting: list[_Passenger[Any]] = []
        with self._lock:
            if self._leader is mine:
                waiting.extend(self._waiting)
                self._waiting.clear()
        for each in aboard:
            each.error = each.error or type(error)(str(error))
        for each in waiting:
            each.error = StoreUnavailable(str(error))
            each.told.set()


def _done(tx: Connection, aboard: Sequence[_Passenger[Any]]) -> list[Any]:
    results: list[Any] = []
    for do, together in groupby(aboard, key=lambda each: each.do):
        works = [each.work for each in together]
        # Inside of the transaction: where one would go without its answer, nothing is kept.
        results.extend(result for _, result in zip(works, do(tx, works), strict=True))
    return results
