"""What of an account's coins is ours, where a venue knows balances and no positions.

Our own executions say it, the balance bounds it. It must never count what a person bought, and never forget
coins of ours because a list lags behind.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal, localcontext

from desk.view import DRIFT_LIMIT, NAKED_LIMIT, OVERLAP, SOON, WATCH, View, tell_fill
from desk.work import Work
from store import Transaction, journal, orders, outbox, ownership
from store.orders import LaneState
from trading import holding, parts
from trading.errors import OrderNotFound, VenueError
from trading.model import ZERO, Order, OrderStatus, Position, Role, Side, Trade, plain
from trading.protect import closing
from trading.reconcile import reconcile
from trading.rounding import MONEY

log = logging.getLogger(__name__)

_Untold = Sequence[tuple[Order, Decimal]]

#: How often executions are asked for that have been missing for longer than DRIFT_LIMIT.
RARELY = 4 * WATCH


def agree(work: Work, view: View) -> View:
    """The view with the position that is ours in place of all that the account holds.

    While executions are still missing, or the account holds less than they make, it is said to drift. Coins
    that are missing for DRIFT_LIMIT are gone by a person's hand; they are told. Executions that are missing
    for longer are waited for, and meanwhile what our orders say that they filled counts for them.
    """
    untold, is_new = _told(work, view.state.drift_since)
    with work.store.read() as tx:
        state = orders.lane_state(tx, work.lane)
    if is_new and not untold and state.trade is None:
        with work.store.write() as tx:
            leave_dust(work, tx, state)
        with work.store.read() as tx:
            state = orders.lane_state(tx, work.lane)
    if untold and state.drift_since is None:
        state = replace(state, drift_since=work.clock())
        with work.store.write() as tx:
            orders.set_drift(tx, work.claim, since=state.drift_since)
    held = view.position.quantity
    by_fills = _by_fills(state, untold, work.capabilities.taker_fee)
    if (is_new and untold) or by_fills > held:
        # The executions may be newer than the balance that was read before them.
        held = work.exchange.position(work.lane.symbol).quantity
    quantity = _ours(work, state, by_fills, held)
    position = Position(
        symbol=work.lane.symbol,
        quantity=quantity,
        average_price=state.ledger.average_price if quantity else None,
    )
    lags = _lags(work, state, untold)
    view = replace(view, state=state, position=position, drifting=lags, owing=bool(untold) and not lags)
    bare = quantity > parts.covered(state.unsettled)
    if bare and _found(work, state.trade):
        return agree(work, view)
    if quantity == _ours(work, state, by_fills, by_fills):
        if state.drift_since is not None and not untold:
            with work.store.write() as tx:
                orders.set_drift(tx, work.claim, since=None)
        return view
    return _fewer(work, view, by_fills)


def leave_dust(work: Work, tx: Transaction, state: LaneState) -> None:
    """The trade is over: what is left of it is too little to be sold, stays with the account, and is told."""
    quantity, trade = state.ledger.quantity, state.trade
    if not work.capabilities.coins or not quantity or ownership.untold(tx, work.lane):
        # Before all executions are told nobody knows what is left.
        return
    now, instrument = work.clock(), work.exchange.instrument(work.lane.symbol)
    orders.correct(tx, work.claim, quantity=ZERO, average_price=None, now=now)
    text = (
        f"{plain(quantity)} {instrument.base} is left: too little to be sold or to have a stop, it is yours"
    )
    if trade is not None:
        journal.tell(tx, trade.intent_id, "dust", text, now)
    if quantity >= instrument.lot_size:
        alert_id = trade.intent_id if trade else None
        outbox.notify(tx, kind="dust", text=f"{work.lane}: {text}", alert_id=alert_id, now=now)


def pause(work: Work, state: LaneState) -> timedelta:
    """How long to wait for lists that lag: a moment at first, then as long as any look waits."""
    is_new = state.drift_since is None or timedelta() <= work.clock() - state.drift_since < DRIFT_LIMIT
    return SOON if is_new else WATCH


def has_tried(work: Work, state: LaneState) -> bool:
    """Whether a stop for coins was lost right now, since they are bare: the next one would be in doubt as
    well, and what is in doubt is not sold. One that was lost before the venue was out of reach, or before it
    refused to sell, says nothing about the next.
    """
    trade, since, now = state.trade, state.naked_since, work.clock()
    if trade is None or since is None or not work.capabilities.coins:
        return False
    lost = (o for o in trade.orders if o.role is Role.STOP and o.status is OrderStatus.EXPIRED)
    left = (work.ours(order.signed_at) for order in lost if order.signed_at)
    return any(since <= at and now - at < NAKED_LIMIT for at in left)


def _lags(work: Work, state: LaneState, untold: _Untold) -> bool:
    """Whether what is missing may be told in a moment, and the balance may not show it yet."""
    since, now = state.drift_since, work.clock()
    if not untold:
        return False
    # What is to come was written by a clock that has been set back since.
    if since is not None and timedelta() <= now - since < DRIFT_LIMIT:
        return True
    with work.store.read() as tx:
        # Not when it was sent: an entry may have waited for its price. Nor only what is untold: the balance
        # may be behind executions that are told, while older ones are not.
        return ownership.has_filled(tx, work.lane, since=now - DRIFT_LIMIT, until=now)


def _told(work: Work, since: datetime | None) -> tuple[_Untold, bool]:
    """Asks for executions that are missing, `since` when that is known, and writes them down; what is missing
    after that, and whether it was asked for."""
    with work.store.read() as tx:
        untold = ownership.untold(tx, work.lane)
    signed = [order.signed_at for order, _ in untold if order.signed_at]
    if not signed or not _is_time(work, since):
        return untold, False
    work.asked[work.lane] = work.clock()
    try:
        listed = work.exchange.fills(work.lane.symbol, since=min(signed) - OVERLAP)
    except VenueError as error:
        # The stop does not wait for the bookkeeping: the next look asks again.
        log.warning("%s: no fills: %s", work.lane, error)
        return untold, True
    with work.store.write() as tx:
        now = work.clock()
        fills = ownership.own(tx, work.lane, listed)
        for fill in orders.add_fills(tx, work.claim, fills, now=now):
            tell_fill(tx, fill, now)
        orders.price(tx, work.claim, [order for order, _ in untold], now=now)
        left = ownership.untold(tx, work.lane)
        if not left and since is not None:
            # How long the account has held less begins anew.
            orders.set_drift(tx, work.claim, since=None)
        return left, True


def _is_time(work: Work, since: datetime | None) -> bool:
    """Whether to ask for what has been missing `since` then: at every look for DRIFT_LIMIT, and RARELY from
    there on."""
    last = work.asked.get(work.lane)
    if since is None or last is None or last - since < DRIFT_LIMIT:
        return True
    return not timedelta() <= work.clock() - last < RARELY


def _found(work: Work, trade: Trade | None) -> bool:
    """Whether a close left that the journal does not know: behind a stop that was refused while it failed.

    It bears the id of the next close (see `heels`), and is written down.
    """
    lost = trade and [o for o in trade.orders if o.role is Role.STOP and o.status is OrderStatus.EXPIRED]
    if trade is None or not lost:
        return False
    closes = sum(order.role is Role.CLOSE for order in trade.orders)
    bought = Position(symbol=trade.entry.symbol, quantity=trade.entry.filled_quantity)
    close = closing(position=bought, intent_id=trade.intent_id, attempt=closes + 1)
    try:
        report = work.exchange.order(close)
    except OrderNotFound:
        return False
    close = replace(close, quantity=report.quantity, signed_at=trade.entry.signed_at)
    left = replace(close, status=OrderStatus.SUBMITTED)
    with work.store.write() as tx:
        now = work.clock()
        orders.add(tx, work.claim, [close], now=now)
        for news in reconcile(orders=[left], reports=[report]):
            orders.settle(tx, work.claim, news, now=now)
    return True


def _by_fills(state: LaneState, untold: _Untold, fee: Decimal) -> Decimal:
    """What our executions make, those that are known to be missing estimated: a fee may be in the coin."""
    quantity = state.ledger.quantity
    with localcontext(MONEY):
        for order, missing in untold:
            quantity += missing * (1 - fee) if order.side is Side.BUY else -missing
    return quantity


def _ours(work: Work, state: LaneState, by_fills: Decimal, held: Decimal) -> Decimal:
    trade = state.trade
    price = trade.stop_price if trade is not None else state.ledger.average_price
    if price is None:
        return ZERO
    instrument = work.exchange.instrument(work.lane.symbol)
    return holding.ours(by_fills=by_fills, held=held, price=price, instrument=instrument)


def _fewer(work: Work, view: View, by_fills: Decimal) -> View:
    """The account holds less than our executions make: a list lags, or somebody took it."""
    now, since = work.clock(), view.state.drift_since
    if since is None or since > now:
        since = None
        with work.store.write() as tx:
            orders.set_drift(tx, work.claim, since=now)
    if since is None or now - since < DRIFT_LIMIT or view.drifting:
        return replace(view, drifting=True)
    if view.owing:
        return view
    trade, position = view.state.trade, view.position
    text = f"the account holds {plain(position.quantity)} of the {plain(by_fills)} that our fills make"
    with work.store.write() as tx:
        orders.set_drift(tx, work.claim, since=None)
        average = view.state.ledger.average_price
        orders.correct(tx, work.claim, quantity=position.quantity, average_price=average, now=now)
        alert_id = trade.intent_id if trade else None
        outbox.notify(tx, kind="drift", text=f"{work.lane}: {text}", alert_id=alert_id, now=now)
    log.warning("%s: %s", work.lane, text)
    with work.store.read() as tx:
        return replace(view, state=orders.lane_state(tx, work.lane))
