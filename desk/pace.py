"""How soon a lane where nothing is missing is looked at again: every WATCH, or as often as the venue's limits
allow for all that it holds of ours.

A look that the limits hold back is missing where it is needed, and an entry behind it grows old. So what lies
under its proved stop waits longer where there is much of it. It must never put off a look at what is not
proved, nor at an entry that waits for its price before all others are.
"""

from __future__ import annotations

from datetime import timedelta

from desk.confirm import is_protected
from desk.view import WATCH, View
from desk.work import Work
from store import sentries
from trading.symbols import split

_MINUTE = timedelta(minutes=1)
#: The share of the looks that entries which wait for their price may take: each may be open the next moment.
_FIRST = 0.75


def next_look(work: Work, view: View) -> timedelta:
    """From a look that found nothing to do to the next one."""
    looks, trade = work.capabilities.looks, view.state.trade
    if looks is None or trade is None or not is_protected(work, view):
        return WATCH
    is_quiet = trade.entry.status.is_final
    if is_quiet and view.position.is_flat:
        return WATCH
    kind = split(work.lane.symbol)[2]
    with work.store.read() as tx:
        followed = sentries.followed(tx, work.lane.venue)
    entered = [entered for symbol, entered in followed if split(symbol)[2] is kind]
    waiting, quiet = share(looks=looks, waiting=entered.count(False), quiet=entered.count(True))
    return quiet if is_quiet else waiting


def share(*, looks: int, waiting: int, quiet: int) -> tuple[timedelta, timedelta]:
    """How far apart the looks at entries that wait and at quiet positions are, `looks` a minute in all.

    >>> [each.total_seconds() for each in share(looks=200, waiting=0, quiet=6)]
    [2.0, 2.0]
    >>> [each.total_seconds() for each in share(looks=200, waiting=2, quiet=14)]
    [2.0, 6.0]
    """
    first = max(WATCH, waiting * _MINUTE / (looks * _FIRST))
    left = looks - waiting * (_MINUTE / first)
    return first, max(WATCH, quiet * _MINUTE / left)
