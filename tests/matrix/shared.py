"""What the harness and the processes under test share: a clock that stands until it is turned, and marks.

A few words of memory in a file. The clock stands while anybody works, so that a slow machine proves as much
as a fast one. It must never run by itself.
"""

from __future__ import annotations

import mmap
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

_START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
_NOW, _ARMED, _OBEYED, _AWAITED, _FIRST = range(5)
_WORDS, _BYTES = 512, 8
_SECOND = 1_000_000
#: Seconds of this machine's clock between two looks of one who waits.
_LOOK = 0.005


class Shared:
    """One file of memory; whoever opens the same file sees the same.

    `armed`: effects count from here on. `obeyed`: somebody has been killed; nobody else is to be. A life,
    known by its slot, says at each round of its runner which time it has seen.
    """

    def __init__(self, path: Path, *, new: bool = False) -> None:
        if new:
            path.write_bytes(bytes(_WORDS * _BYTES))
        with path.open("r+b") as file:
            self._words = memoryview(mmap.mmap(file.fileno(), _WORDS * _BYTES)).cast("q")

    def reset(self) -> None:
        """As in a new file."""
        for word in range(_WORDS):
            self._words[word] = 0

    # -- the clock -------------------------------------------------------------------------------------

    def __call__(self) -> datetime:
        return _START + timedelta(microseconds=self._words[_NOW])

    def monotonic(self) -> float:
        """The same clock for those who ask how much time has passed."""
        return self._words[_NOW] / _SECOND

    def advance(self, seconds: float) -> datetime:
        """Turns it on for everybody at once; the new time."""
        self._words[_NOW] += round(seconds * _SECOND)
        return self()

    def pause(self, seconds: float) -> None:
        """Stands in for `sleep` where somebody waits amid his work: until the clock was turned so far."""
        until = self._words[_NOW] + round(seconds * _SECOND)
        while (now := self._words[_NOW]) < until:
            # The next one who waits is the one for whom it is turned.
            if not now < self._words[_AWAITED] <= until:
                self._words[_AWAITED] = until
            time.sleep(_LOOK)

    @property
    def awaited(self) -> float:
        """Seconds of this clock to the time that somebody waits for amid his work; 0: nobody does."""
        return max(self._words[_AWAITED] - self._words[_NOW], 0) / _SECOND

    # -- marks -----------------------------------------------------------------------------------------

    @property
    def armed(self) -> bool:
        return bool(self._words[_ARMED])

    @armed.setter
    def armed(self, value: bool) -> None:
        self._words[_ARMED] = value

    @property
    def obeyed(self) -> bool:
        return bool(self._words[_OBEYED])

    @obeyed.setter
    def obeyed(self, value: bool) -> None:
        self._words[_OBEYED] = value

    def round(self, slot: int) -> float:
        """Said by a runner at the start of each of its rounds; the time that it sees, as `monotonic`."""
        seen, rounds = _FIRST + 2 * slot, _FIRST + 2 * slot + 1
        now = self._words[_NOW]
        self._words[rounds] = self._words[rounds] + 1 if self._words[seen] == now else 1
        self._words[seen] = now
        return now / _SECOND

    def rounds(self, slot: int) -> tuple[int, int]:
        """What a runner has said last."""
        seen = _FIRST + 2 * slot
        return self._words[seen], self._words[seen + 1]

    def is_up_to_date(self, slot: int) -> bool:
        """Whether a runner has begun, and ended, a round at this time."""
        seen, rounds = _FIRST + 2 * slot, _FIRST + 2 * slot + 1
        return self._words[seen] == self._words[_NOW] and self._words[rounds] > 1
