"""An account's turn to size and send an entry: one of its lanes at a time.

It must never be waited for here: the lane that does not get it, or has lost it on the way, comes back later.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from desk.view import SOON
from desk.work import Work
from store import Transaction, turns

#: How long a turn lasts if nobody gives it back.
LEASE = timedelta(seconds=10)
#: From one question to the next: so much for each that waits, and at most.
_EACH = timedelta(milliseconds=50)
_LONGEST = timedelta(seconds=3)


class TurnLost(Exception):
    """It lapsed, and another lane has had it: what was read under it is not true any more."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The turn in hand."""

    work: Work
    holder: str

    def keep(self, tx: Transaction) -> None:
        """Proves, in the commit that lets an entry leave, that nobody else has had the turn, and prolongs it
        for the sending. TurnLost if somebody has."""
        work = self.work
        if not turns.keep(tx, lane=work.lane, holder=self.holder, now=work.clock(), lease=LEASE):
            raise TurnLost


def patience_of(work: Work) -> timedelta:
    """When to ask again for a turn that another lane has: the more there are that wait, the later, or asking
    would take the time of those who go on.
    """
    with work.store.read() as tx:
        waiting = turns.waiting(tx, work.lane)
    return min(max(SOON, waiting * _EACH), _LONGEST)


@contextmanager
def turn(work: Work) -> Iterator[Turn | None]:
    """The account's turn to size and send an entry; None if another lane has it."""
    lane, holder = work.lane, f"{work.claim.owner} {work.claim.token}"
    with work.store.write() as tx:
        mine = turns.take(tx, lane=lane, holder=holder, now=work.clock(), lease=LEASE)
    try:
        yield Turn(work, holder) if mine else None
    finally:
        if mine:
            with work.store.write() as tx:
                turns.give_back(tx, lane=lane, holder=holder)
