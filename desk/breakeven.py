"""Carries a breakeven out: the stop of an open trade moves towards its profit.

It must never take a stop away before its successor is proved; where a sale that rests locks its coins, so
that the new one finds room only when the old one is gone, it must never bare more than one part at a time.
"""

from __future__ import annotations

from decimal import Decimal

from desk import confirm, fence
from desk.confirm import catch_up, guard
from desk.execute import Ended, when_proved
from desk.stages import mark
from desk.view import WATCH, View
from desk.work import Later, Work
from store import journal, orders
from store.journal import Intent
from trading import parts, pnl, rounding
from trading.errors import Denied
from trading.lifecycle import IntentEvent
from trading.model import Direction, OrderStatus, Role, plain
from trading.protect import ATTEMPTS, behind, stop_order

#: Parts and looks within one run; what takes longer is taken up by the next run.
_ROUNDS = 40


def breakeven(work: Work, intent: Intent) -> Later | Ended:
    """Moves the stop of the open trade; the old one stays where the new one is refused."""
    view = catch_up(work)
    if work.capabilities.coins:
        return _in_parts(work, intent, view)
    with work.store.read() as tx:
        made = [o for o in orders.of_intent(tx, intent.id) if o.role is Role.STOP]
    # EXPIRED: the request was lost on its way, which is no refusal.
    if not made or (made[-1].status is OrderStatus.EXPIRED and len(made) < ATTEMPTS):
        level = _level(work, intent, view)
        if isinstance(level, Ended):
            return level
        position, attempt = view.position, len(made) + 1
        moved = stop_order(position=position, intent_id=intent.id, trigger_price=level, attempt=attempt)
        order = fence.send(
            work, moved, first=lambda tx: orders.add(tx, work.claim, [moved], now=work.clock())
        )
    else:
        order = made[-1]
        if order.status is OrderStatus.INITIALIZED:
            order = fence.send(work, order)
    if order.status is OrderStatus.SUBMITTED:
        # A lost answer is often all that was lost.
        catch_up(work)
        with work.store.read() as tx:
            order = next(
                o for o in orders.of_intent(tx, intent.id) if o.client_order_id == order.client_order_id
            )
    if order.status is OrderStatus.SUBMITTED:
        return when_proved(work, order)
    if order.status is OrderStatus.EXPIRED and order.attempt < ATTEMPTS:
        return Later(work.clock())
    if order.status.is_open and order.trigger_price is not None:
        _tell_moved(work, intent, view, order.trigger_price)
    elif order.status is not OrderStatus.FILLED:
        return Ended(IntentEvent.FAIL, f"the old stop stays: the new one is {order.status}, {order.reason}")
    guarded = guard(work)
    return guarded if isinstance(guarded, Later) else Ended(IntentEvent.FINISH)


def _in_parts(work: Work, intent: Intent, view: View) -> Later | Ended:
    """The same where stops lie in parts: one after the other, each bare for one round trip."""
    level = _level(work, intent, view)
    if isinstance(level, Ended):
        return level
    for _ in range(_ROUNDS):
        doubt = view.doubt(Role.STOP, Role.TARGET, Role.CLOSE)
        if doubt is not None:
            return Later(work.ours(doubt))
        trade, position = view.state.trade, view.position
        if trade is None or position.is_flat:
            return Ended(IntentEvent.FINISH, "it is flat: there is no stop to move")
        if view.drifting:
            return Later(work.clock() + WATCH)
        price = confirm.price_for_parts(work, view)
        if price is not None and behind(direction=position.direction, level=level, price=price):
            guard(work)
            reason = f"the old stop stays: the price {plain(price)} is through {plain(level)} by now"
            return Ended(IntentEvent.FAIL, reason)
        step = parts.moved(
            position=position,
            trade=trade,
            unsettled=view.state.unsettled,
            level=level,
            price=price,
            intent_id=intent.id,
            instrument=work.exchange.instrument(work.lane.symbol),
            pairs=work.capabilities.pairs,
        )
        if step is None:
            _tell_moved(work, intent, view, level)
            guarded = guard(work)
            return guarded if isinstance(guarded, Later) else Ended(IntentEvent.FINISH)
        refused = [o for o in confirm.swap(work, step) or () if o.status is OrderStatus.REJECTED]
        if refused:
            # The part that is bare gets its old stop back, and a person decides about the rest.
            guard(work)
            reason = f"the old stop stays: the new one is {refused[0].status}, {refused[0].reason}"
            return Ended(IntentEvent.FAIL, reason)
        view = catch_up(work)
    return Later(work.clock() + WATCH)


def _tell_moved(work: Work, intent: Intent, view: View, level: Decimal) -> None:
    before = view.state.trade.stop_price if view.state.trade else level
    with work.store.write() as tx:
        now = work.clock()
        orders.move_stop(tx, work.claim, stop_price=level, now=now)
        detail = f"the stop goes from {plain(before)} to {plain(level)}"
        for told in dict.fromkeys((intent.id, view.state.trade.intent_id if view.state.trade else intent.id)):
            journal.tell(tx, told, "moved", detail, now)
    mark("breakeven.moved")


def _level(work: Work, intent: Intent, view: View) -> Decimal | Ended:
    """Where a breakeven wants the stop, or why there is nothing to do. Denied if it would trigger at once."""
    position, trade = view.position, view.state.trade
    if position.is_flat:
        return Ended(IntentEvent.FINISH, "it is flat: there is no stop to move")
    if trade is None or trade.side is position.closing_side or position.average_price is None:
        raise Denied("the open position is not one that this server entered: its stop is yours to move")
    levels = intent.alert.long if position.direction is Direction.LONG else intent.alert.short
    level = levels.breakeven or pnl.breakeven_price(
        direction=position.direction,
        average_price=position.average_price,
        fee_rate=work.capabilities.taker_fee,
    )
    instrument = work.exchange.instrument(work.lane.symbol)
    level = rounding.breakeven_to_tick(
        direction=position.direction, price=level, tick_size=instrument.tick_size
    )
    old = plain(trade.stop_price)
    if behind(direction=position.direction, level=trade.stop_price, price=level):
        return Ended(IntentEvent.FINISH, f"the stop stays at {old}: {plain(level)} would be further away")
    price = work.exchange.price(work.lane.symbol)
    if behind(direction=position.direction, level=level, price=price):
        raise Denied(f"the old stop {old} stays: the price {plain(price)} is through {plain(level)} already")
    return level
