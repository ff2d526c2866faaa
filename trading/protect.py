"""What a position still needs on the venue, and what rests there without a reason.

The answer depends on the state alone, so that it is right after any crash: ask, act, ask again, until
nothing is left. It must never cancel a stop before another one covers the position, and never touch a
position that is not ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from trading.ladder import client_order_id, targets
from trading.model import (
    ZERO,
    Direction,
    Instrument,
    Order,
    OrderStatus,
    OrderType,
    Position,
    Role,
    Side,
    Trade,
)

#: After as many refusals in a row, trying once more is no plan.
ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """An order that is missing."""

    order: Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """An order that has no reason to rest."""

    order: Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """The position cannot be protected: end it at the market."""

    order: Order
    reason: str


Action = Send | Cancel | Close


def protect(
    *,
    position: Position,
    trade: Trade | None,
    unsettled: Sequence[Order],
    price: Decimal | None,
    instrument: Instrument,
    keep: Collection[str],
    halted: bool,
) -> tuple[Action, ...]:
    """The next actions for one lane, stops before targets before cancellations; none when all is well.

    `unsettled` are our orders that rest or may rest there, `keep` the ids of intents that are at work on
    the lane (their orders are left alone), `price` the venue's, None if it cannot be had. While
    `halted`, an entry that still rests is taken back.
    """
    if trade is None or not _is_of(position, trade):
        waiting = trade is not None and position.is_flat and trade.entry.open_quantity > 0 and not halted
        kept = (Role.ENTRY, Role.STOP) if waiting else ()
        return tuple(
            Cancel(order=order)
            for order in unsettled
            if order.status.is_open and order.role not in kept and order.intent_id not in keep
        )
    stop = _stop(position, trade, unsettled, price)
    if stop is not None:
        return (stop,)
    resting = [order for order in unsettled if order.role is Role.TARGET]
    actions = list(_targets(position, trade, resting, instrument))
    if covering(position, trade, unsettled):
        actions += _surplus(position, trade, unsettled, keep)
    if halted:
        actions += [Cancel(order=o) for o in unsettled if o.role is Role.ENTRY and o.status.is_open]
    return tuple(actions)


def covering(position: Position, trade: Trade, unsettled: Sequence[Order]) -> Order | None:
    """The proved stop that covers the whole position at the trade's stop price, if there is one."""
    for order in unsettled:
        if order.status.is_open and _covers(order, position) and order.trigger_price == trade.stop_price:
            return order
    return None


def protected(position: Position, trade: Trade, unsettled: Sequence[Order]) -> bool:
    """True if some proved stop covers the whole position, wherever its trigger is."""
    return any(order.status.is_open and _covers(order, position) for order in unsettled)


def closing(*, position: Position, intent_id: str, attempt: int) -> Order:
    """A reduce-only market order that ends the position."""
    return Order(
        client_order_id=client_order_id(intent_id=intent_id, leg="x", attempt=attempt),
        intent_id=intent_id,
        symbol=position.symbol,
        role=Role.CLOSE,
        side=position.closing_side,
        type=OrderType.MARKET,
        quantity=abs(position.quantity),
        reduce_only=True,
        attempt=attempt,
    )


def stop_order(*, position: Position, intent_id: str, trigger_price: Decimal, attempt: int) -> Order:
    """A reduce-only stop for the whole position."""
    return Order(
        client_order_id=client_order_id(intent_id=intent_id, leg="sl", attempt=attempt),
        intent_id=intent_id,
        symbol=position.symbol,
        role=Role.STOP,
        side=position.closing_side,
        type=OrderType.STOP,
        quantity=abs(position.quantity),
        trigger_price=trigger_price,
        reduce_only=True,
        attempt=attempt,
    )


def behind(*, direction: Direction, level: Decimal, price: Decimal) -> bool:
    """True if a stop at `level` would trigger at once."""
    return price <= level if direction is Direction.LONG else price >= level


def _is_of(position: Position, trade: Trade) -> bool:
    return not position.is_flat and (position.quantity > 0) == (trade.side is Side.BUY)


def _covers(order: Order, position: Position) -> bool:
    return (
        order.role is Role.STOP
        and order.side is position.closing_side
        and order.open_quantity >= abs(position.quantity)
    )


def _stop(
    position: Position, trade: Trade, unsettled: Sequence[Order], price: Decimal | None
) -> Send | Close | None:
    for order in unsettled:
        pending = order.status is OrderStatus.SUBMITTED
        at_level = order.trigger_price == trade.stop_price
        # What may be there already is waited for: the fence says how long.
        if _covers(order, position) and at_level and (pending or order.status.is_open):
            return None
    made = [order for order in trade.orders if order.role is Role.STOP]
    attempt = 1 + max((order.attempt for order in made), default=0)
    if any(order.role is Role.CLOSE and not order.status.is_final for order in unsettled):
        return None
    closes = sum(order.role is Role.CLOSE for order in trade.orders)
    close = closing(position=position, intent_id=trade.intent_id, attempt=closes + 1)
    if price is not None and behind(direction=position.direction, level=trade.stop_price, price=price):
        return Close(order=close, reason=f"the price {price:f} is through the stop {trade.stop_price:f}")
    if _refused(made) >= ATTEMPTS:
        return Close(order=close, reason=f"the venue refused the stop {ATTEMPTS} times")
    planned = next((order for order in made if order.status is OrderStatus.INITIALIZED), None)
    if planned is not None:
        quantity = max(abs(position.quantity), planned.quantity)
        return Send(order=replace(planned, quantity=quantity, trigger_price=trade.stop_price))
    return Send(
        order=stop_order(
            position=position, intent_id=trade.intent_id, trigger_price=trade.stop_price, attempt=attempt
        )
    )


def _targets(
    position: Position, trade: Trade, resting: Sequence[Order], instrument: Instrument
) -> Iterator[Action]:
    wanted, _ = targets(
        intent_id=trade.intent_id,
        symbol=position.symbol,
        side=trade.side,
        quantity=trade.entry.filled_quantity or abs(position.quantity),
        price=trade.price,
        stop=trade.stop,
        target=trade.target,
        close_percent=trade.close_percent,
        rungs=trade.rungs,
        instrument=instrument,
    )
    left = abs(position.quantity)
    for rung in wanted:
        made = [order for order in trade.orders if order.role is Role.TARGET and order.rung == rung.rung]
        filled = sum((order.filled_quantity for order in made), ZERO)
        quantity = min(rung.quantity - filled, left)
        left -= max(quantity, ZERO)
        yield from _rung(replace(rung, quantity=max(quantity, ZERO)), made, resting)
    rungs = {rung.rung for rung in wanted}
    for order in resting:
        if order.rung not in rungs and order.status.is_open:
            yield Cancel(order=order)


def _rung(wanted: Order, made: Sequence[Order], resting: Sequence[Order]) -> Iterator[Action]:
    mine = [order for order in resting if order.rung == wanted.rung]
    if any(order.status is OrderStatus.SUBMITTED for order in mine):
        return
    right = [o for o in mine if o.open_quantity == wanted.quantity and o.price == wanted.price]
    if mine and (not right or len(mine) > 1):
        surplus = [order for order in mine if order not in right[:1]]
        yield from (Cancel(order=order) for order in surplus)
        return
    if mine or wanted.quantity <= 0 or _refused(made) >= ATTEMPTS:
        return
    planned = next((order for order in made if order.status is OrderStatus.INITIALIZED), None)
    if planned is not None:
        yield Send(order=replace(planned, quantity=wanted.quantity, price=wanted.price))
        return
    attempt = 1 + max((order.attempt for order in made), default=0)
    leg = f"tp{wanted.rung}" if wanted.rung else "tp"
    name = client_order_id(intent_id=wanted.intent_id, leg=leg, attempt=attempt)
    yield Send(order=replace(wanted, client_order_id=name, attempt=attempt))


def _surplus(
    position: Position, trade: Trade, unsettled: Sequence[Order], keep: Collection[str]
) -> Iterator[Action]:
    good = covering(position, trade, unsettled)
    for order in unsettled:
        if (
            order.role is Role.STOP
            and order.status.is_open
            and order is not good
            and order.intent_id not in keep
        ):
            yield Cancel(order=order)


def _refused(made: Sequence[Order]) -> int:
    """How many refusals in a row stand at the end."""
    count = 0
    for order in reversed(made):
        if order.status is OrderStatus.INITIALIZED:
            continue
        if order.status is not OrderStatus.REJECTED:
            break
        count += 1
    return count
