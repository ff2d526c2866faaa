"""What is open and is not this server's: no trade of ours claims it, people are told of it once.

It must never let go of a position while it may be ours: what is in doubt keeps its stop.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from desk.view import OVERLAP, View
from desk.work import Work
from store import Transaction, orders, outbox, sentries
from store.sentries import Stranger
from trading.model import Fill, Lane, Position, plain
from trading.protect import has_missed, is_spent, seems_closed

log = logging.getLogger(__name__)


def disown(work: Work, view: View) -> bool:
    """Ends a trade that nothing of the open position belongs to any more; whether it did."""
    trade, position = view.state.trade, view.position
    # Coins of a person's are never in the position.
    if trade is None or position.is_flat or view.drifting or work.capabilities.coins:
        return False
    fills: Sequence[Fill] = ()
    signed_at = trade.entry.signed_at
    if signed_at is not None and (seems_closed(trade) or has_missed(trade.entry)):
        with work.store.read() as tx:
            told = orders.fills_of(tx, work.lane, since=signed_at - OVERLAP)
        fills = sorted(told, key=lambda fill: fill.at)
    if not is_spent(position, trade, fills):
        return False
    reason = "what it entered is closed: what is open now is not of this server"
    log.warning("%s: %s", work.lane, reason)
    with work.store.write() as tx:
        orders.end_trade(tx, work.claim, reason=reason, now=work.clock())
        # What was told before this trade was of another position.
        sentries.forget(tx, work.lane.symbol, venue=work.lane.venue, account=work.lane.account)
    return True


def may_be(work: Work, view: View) -> bool:
    """Whether what is open may be another's: orders of ours closed all, or entered nothing, and fills do not
    say so yet."""
    trade = view.state.trade
    if trade is None or work.capabilities.coins or not (seems_closed(trade) or has_missed(trade.entry)):
        return False
    return view.drifting or (view.owing and not view.position.is_flat)


def meet(work: Work, position: Position) -> None:
    """Tells people of what is open on a lane that follows no trade, if they were not told yet; forgets what
    is gone. The venue and our fills agree on it."""
    # Which coins of an account are a person's is nobody's business.
    if work.capabilities.coins:
        return
    with work.store.read() as tx:
        is_settled = _is_settled(tx, work.lane, position)
    if is_settled:
        return
    with work.store.write() as tx:
        # The account may have been looked over meanwhile.
        if _is_settled(tx, work.lane, position):
            return
        if position.is_flat:
            sentries.forget(tx, position.symbol, venue=work.lane.venue, account=work.lane.account)
        else:
            tell(tx, work.lane, position, now=work.clock())


def tell(tx: Transaction, lane: Lane, position: Position, *, now: datetime) -> None:
    """Tells people of a position that is not ours, and puts on record that they know."""
    stranger = Stranger(symbol=lane.symbol, quantity=position.quantity, at=now, told=True)
    sentries.remember(tx, stranger, venue=lane.venue, account=lane.account)
    size = f"{plain(abs(position.quantity))} {position.direction.lower()}"
    text = (
        f"{lane}: {size} at the venue is not this server's: it is left alone, and has no stop of this server"
    )
    outbox.notify(tx, kind="alarm", text=text, alert_id=None, now=now)
    log.error("%s", text)


def _is_settled(tx: Transaction, lane: Lane, position: Position) -> bool:
    known = sentries.strangers(tx, venue=lane.venue, account=lane.account).get(lane.symbol)
    if known is None or position.is_flat:
        return known is None and position.is_flat
    return known.told and (known.quantity > 0) == (position.quantity > 0)
