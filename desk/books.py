"""Our fills, held against what the venue says is open.

Fills that are missing are asked for until they come, ever more seldom; meanwhile the venue's word on the
position is what is acted on. It must never write a loss off because the venue could not say what it was.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from desk.view import DRIFT_LIMIT, LONGEST_REST, NAKED_LIMIT, OVERLAP, WATCH, View
from desk.work import Work
from store import Transaction, journal, orders, outbox, ownership
from store.orders import LaneState
from trading.errors import VenueError
from trading.model import ZERO, Fill, Order, OrderType, Position, Role, plain
from trading.protect import has_missed, is_of, protected, since_entry

log = logging.getLogger(__name__)

#: How long a list that answers may lack fills of our orders before their loss or gain is given up.
GIVEN_UP = timedelta(days=1)
_UNHEARD = "the venue does not tell what our orders filled at: today's P&L is not known until it does"


def new_fills(
    work: Work, state: LaneState, changed: Collection[Order], position: Position
) -> list[Fill] | None:
    """What may have filled since the last fill that is known; None if that was not asked, or not answered."""
    since = state.drift_since
    filled = any(order.filled_quantity for order in changed)
    is_even = position.quantity == state.ledger.quantity
    if since is None and is_even and not filled and not _lacks_fills(work, state):
        return []
    if since is not None and not _is_time(work, since):
        return None
    work.asked[work.lane] = work.clock()
    try:
        return list(work.exchange.fills(work.lane.symbol, since=_start(work, state)))
    except VenueError as error:
        # The stop does not wait for the bookkeeping: a later look asks again.
        log.warning("%s: no fills: %s", work.lane, error)
        if since is not None and work.clock() - since >= LONGEST_REST:
            _tell_unheard(work, state)
        return None


def _lacks_fills(work: Work, state: LaneState) -> bool:
    """Whether orders of ours filled more than the books know, though these are even with the venue."""
    made = since_entry(state.trade) if state.trade else ()
    if sum(order.side.sign * order.filled_quantity for order in made) == state.ledger.quantity:
        return False
    # What a person has added or taken makes them differ for good: only executions tell.
    with work.store.read() as tx:
        return bool(ownership.untold(tx, work.lane, since=_after(state)))


def is_bare(work: Work, state: LaneState, changed: Collection[Order], position: Position) -> bool:
    """Whether what our entry fills may just have begun to be without its stop: that comes before its fills.

    Not where something of ours has closed since, nor where the entry has ended without a fill: then fills
    alone say whose the position is.
    """
    trade, since = state.trade, state.naked_since
    if trade is None or not is_of(position, trade):
        return False
    if since is not None and work.clock() - since >= NAKED_LIMIT:
        return False
    mine = (*since_entry(trade), *changed)
    if any(order.filled_quantity and order.role is not Role.ENTRY for order in mine):
        return False
    now = {order.client_order_id: order for order in (*state.unsettled, *changed)}
    if has_missed(now.get(trade.entry.client_order_id, trade.entry)):
        return False
    return not protected(position, trade, list(now.values()))


def named(fills: Collection[Fill], mine: Collection[Order]) -> list[Fill]:
    """The fills with our id of their order, where the venue tells but its own."""
    # A stop that waits may be numbered apart from the orders that trade.
    names = {
        order.venue_order_id: order.client_order_id
        for order in mine
        if order.venue_order_id and (order.type is not OrderType.STOP or order.status.is_final)
    }
    return [
        fill
        if fill.client_order_id is not None
        else replace(fill, client_order_id=names.get(fill.venue_order_id))
        for fill in fills
    ]


def note_missing(tx: Transaction, work: Work, state: LaneState, changed: Collection[Order]) -> None:
    """Remembers, with the orders that filled, that their fills were not told: else nothing might show it."""
    is_new = state.drift_since is None and any(order.filled_quantity for order in changed)
    if is_new and ownership.untold(tx, work.lane, since=_after(state)):
        orders.set_drift(tx, work.claim, since=work.clock())


def owes(tx: Transaction, work: Work, state: LaneState) -> bool:
    """Whether fills of our orders are still to be asked for, though nothing else may be left to do."""
    return state.drift_since is not None and bool(ownership.untold(tx, work.lane, since=_after(state)))


def agree(work: Work, view: View, *, heard: bool, news: bool = False) -> View:
    """Where fills do not explain the position for DRIFT_LIMIT, the venue's word stands; people are told.

    Lists lag behind each other: until then the larger of the two is what is protected. Where the fills were
    not `heard`, what our orders say that they filled counts for them, and the books are not corrected.
    `news`: this look brought a fill, so that DRIFT_LIMIT begins anew.
    """
    ledger, now, since = view.state.ledger, work.clock(), view.state.drift_since
    if since is not None and since > now:
        # The clock was set back, or it was another runner's: it begins anew.
        since = None
    is_even = ledger.quantity == view.position.quantity
    is_new = news or since is None or now - since < DRIFT_LIMIT
    # Position and fills may both be behind an answer that says what an order filled.
    is_told = news or since is not None or _has_just_filled(work, view.state)
    may_lag = is_even and is_new and is_told
    if is_even and heard and view.state.drift_since is None and not may_lag:
        return view
    with work.store.read() as tx:
        untold = ownership.untold(tx, work.lane, since=_after(view.state))
    due = ledger.quantity + sum((order.side.sign * quantity for order, quantity in untold), ZERO)
    is_explained = bool(untold) and due == view.position.quantity
    if is_even and not is_explained and ((heard and not may_lag) or not untold):
        return _even(work, view)
    if since is None or (news and now - since >= DRIFT_LIMIT):
        with work.store.write() as tx:
            orders.set_drift(tx, work.claim, since=now)
        since = now
    expected = ledger.quantity if heard and not may_lag else due
    lags = now - since < DRIFT_LIMIT or (not heard and _is_fresh(work, untold))
    if lags and expected != view.position.quantity:
        return replace(view, position=_larger(view, expected), drifting=True)
    if not heard or (is_explained and now - since < GIVEN_UP):
        return replace(view, owing=True)
    return _even(work, view) if is_even else _corrected(work, view)


def _has_just_filled(work: Work, state: LaneState) -> bool:
    trade = state.trade
    if trade is None or not trade.entry.filled_quantity or trade.entry.signed_at is None:
        return False
    return work.clock() - work.ours(trade.entry.signed_at) < DRIFT_LIMIT


def rest(work: Work, state: LaneState) -> timedelta:
    """How long to leave a lane alone that waits for nothing but fills: longer each time, a minute at most."""
    since = state.drift_since or work.clock()
    return min(max(WATCH, work.clock() - since), LONGEST_REST)


def _larger(view: View, expected: Decimal) -> Position:
    position, trade, average = view.position, view.state.trade, view.state.ledger.average_price
    if position.is_flat or (expected * position.quantity > 0 and abs(expected) > abs(position.quantity)):
        average = average or (trade.entry.average_price if trade else None)
        return replace(position, quantity=expected, average_price=average)
    return position


def _is_fresh(work: Work, untold: Sequence[tuple[Order, Decimal]]) -> bool:
    """Whether something was traded so lately that the position may not show it yet."""
    signed = [order.signed_at for order, _ in untold if order.signed_at]
    return bool(signed) and work.clock() - work.ours(max(signed)) < DRIFT_LIMIT


def _even(work: Work, view: View) -> View:
    """Nothing is missing any more."""
    if view.state.drift_since is not None:
        with work.store.write() as tx:
            orders.set_drift(tx, work.claim, since=None)
    return view


def _corrected(work: Work, view: View) -> View:
    """Takes the venue's word for the position, and tells people."""
    quantity, trade, now = view.position.quantity, view.state.trade, work.clock()
    text = f"the position is {plain(quantity)} on the venue, {plain(view.state.ledger.quantity)} by our fills"
    average = view.position.average_price
    with work.store.write() as tx:
        orders.set_drift(tx, work.claim, since=None)
        orders.correct(tx, work.claim, quantity=quantity, average_price=average, now=now)
        alert_id = trade.intent_id if trade else None
        outbox.notify(tx, kind="drift", text=f"{work.lane}: {text}", alert_id=alert_id, now=now)
    log.warning("%s: %s", work.lane, text)
    with work.store.read() as tx:
        return replace(view, state=orders.lane_state(tx, work.lane))


def _is_time(work: Work, since: datetime) -> bool:
    """Whether to ask once more for what has been missing since then: at every look for DRIFT_LIMIT, and
    each time after twice as long from there on, up to LONGEST_REST."""
    last = work.asked.get(work.lane)
    if last is None or last < since or work.clock() < last:
        return True
    return work.clock() >= last + min(last - since - DRIFT_LIMIT, LONGEST_REST)


def _after(state: LaneState) -> datetime | None:
    """Orders that filled before did so before our last fill: what is missing of them stays so."""
    return state.last_fill_at - OVERLAP if state.last_fill_at else None


def _start(work: Work, state: LaneState) -> datetime:
    """From when on fills are asked for."""
    after = _after(state)
    if after is not None:
        return after
    made = [*state.unsettled, *(state.trade.orders if state.trade else ())]
    if state.drift_since is not None:
        with work.store.read() as tx:
            made += [order for order, _ in ownership.untold(tx, work.lane)]
    signed = [order.signed_at for order in made if order.signed_at]
    return min(signed, default=work.clock()) - OVERLAP


def _tell_unheard(work: Work, state: LaneState) -> None:
    """People are told once, with the first alert whose loss or gain is not known."""
    with work.store.write() as tx:
        untold = ownership.untold(tx, work.lane, since=_after(state))
        alert_id = untold[-1][0].intent_id if untold else None
        if alert_id is None or journal.was_told(tx, alert_id, "drift", _UNHEARD):
            return
        now = work.clock()
        journal.tell(tx, alert_id, "drift", _UNHEARD, now)
        outbox.notify(tx, kind="drift", text=f"{work.lane}: {_UNHEARD}", alert_id=alert_id, now=now)
