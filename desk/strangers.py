"""What is open on an instrument of ours and is not this server's: no trade of ours claims it.

It must never let go of a position while it may be ours: what is in doubt keeps its stop.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from desk.view import OVERLAP, View
from desk.work import Work
from store import orders
from trading.model import Fill
from trading.protect import is_spent, seems_closed

log = logging.getLogger(__name__)


def disown(work: Work, view: View) -> bool:
    """Ends a trade that nothing of the open position belongs to any more; whether it did."""
    trade, position = view.state.trade, view.position
    # Coins of a person's are never in the position.
    if trade is None or position.is_flat or view.drifting or work.capabilities.coins:
        return False
    fills: Sequence[Fill] = ()
    signed_at = trade.entry.signed_at
    if signed_at is not None and seems_closed(trade):
        with work.store.read() as tx:
            told = orders.fills_of(tx, work.lane, since=signed_at - OVERLAP)
        fills = sorted(told, key=lambda fill: fill.at)
    if not is_spent(position, trade, fills):
        return False
    reason = "what it entered is closed: what is open now is not of this server"
    log.warning("%s: %s", work.lane, reason)
    with work.store.write() as tx:
        orders.end_trade(tx, work.claim, reason=reason, now=work.clock())
    return True


def may_be(work: Work, view: View) -> bool:
    """Whether what is open may be another's: orders of ours closed all, and fills do not say so yet."""
    trade = view.state.trade
    return view.drifting and not work.capabilities.coins and trade is not None and seems_closed(trade)
