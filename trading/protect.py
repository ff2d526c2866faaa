"""What a position still needs on the venue, and what rests there without a reason.

The answer depends on the state alone, so that it is right after any crash: ask, act, ask again, until
nothing is left. It must never cancel a stop before another one covers the position, and never touch a
position that is not ours.

>>> entry = Order(client_order_id="a-e", intent_id="a", symbol="BTC-USDT-PERP", role=Role.ENTRY,
...     side=Side.BUY, type=OrderType.MARKET, quantity=Decimal(2))
>>> trade = Trade(intent_id="a", side=Side.BUY, price=Decimal(100), stop=Decimal(90),
...     stop_price=Decimal(95), entry=entry)
>>> long = Position(symbol="BTC-USDT-PERP", quantity=Decimal(2))
>>> stop = stop_order(position=long, intent_id="a", trigger_price=Decimal(90), attempt=1)
>>> protected(long, trade, [stop]), covering(long, trade, [stop])
(False, None)
>>> there = [replace(stop, status=OrderStatus.ACCEPTED)]
>>> protected(long, trade, there), covering(long, trade, there)
(True, None)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import accumulate, dropwhile, takewhile

from trading.ladder import client_order_id, targets
from trading.model import (
    ZERO,
    Direction,
    Fill,
    Instrument,
    Order,
    OrderStatus,
    OrderType,
    Position,
    Role,
    Side,
    Trade,
)
from trading.rounding import quantity_to_lot

#: After as many refusals in a row, trying once more is no plan.
ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """An order that is missing, with the stop that goes with it where the venue pairs them."""

    order: Order
    stop: Order | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """An order that has no reason to rest."""

    order: Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """The position cannot be protected: end it at the market."""

    order: Order
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """Orders that lock what better ones need: they go, and `new` leave at once if they proved unfilled.

    Without `old`, only that `new` leave straight after each other.
    """

    old: tuple[Order, ...]
    new: tuple[Send, ...]


Action = Send | Cancel | Close


def protect(
    *,
    position: Position,
    trade: Trade | None,
    unsettled: Sequence[Order],
    price: Decimal | None,
    instrument: Instrument | None,
    keep: Collection[str],
    halted: bool,
    leaving: bool,
) -> tuple[Action, ...]:
    """The next actions for one lane, stops before targets before cancellations; none when all is well.

    `unsettled` are our orders that rest or may rest there, `keep` the ids of intents that are at work on
    the lane (their orders are left alone). `price` and `instrument` are None if the venue does not tell
    them. While `halted`, an entry that still rests is taken back. `leaving`: the position is about to be
    ended, so that no target is sent for it any more.

    >>> from trading.model import InstrumentKind
    >>> perp = Instrument(symbol="BTC-USDT-PERP", base="BTC", quote="USDT", kind=InstrumentKind.PERPETUAL,
    ...     tick_size=Decimal("0.5"), lot_size=Decimal("0.1"), min_quantity=Decimal("0.1"))
    >>> entry = Order(client_order_id="a-e", intent_id="a", symbol=perp.symbol, role=Role.ENTRY,
    ...     side=Side.BUY, type=OrderType.MARKET, quantity=Decimal(2), status=OrderStatus.FILLED,
    ...     filled_quantity=Decimal(2))
    >>> trade = Trade(intent_id="a", side=Side.BUY, price=Decimal(100), stop=Decimal(90),
    ...     stop_price=Decimal(90), entry=entry, orders=(entry,))
    >>> (action,) = protect(position=Position(symbol=perp.symbol, quantity=Decimal(2)), trade=trade,
    ...     unsettled=[], price=Decimal(100), instrument=perp, keep=(), halted=False,
    ...     leaving=False)
    >>> action.order.client_order_id, action.order.quantity, action.order.trigger_price
    ('a-sl', Decimal('2'), Decimal('90'))
    """
    actions: list[Action]
    if trade is None or not is_of(position, trade):
        actions = list(swept(position, trade, unsettled, halted))
    else:
        actions = _held(position, trade, unsettled, price, instrument, keep, halted)
    if leaving:
        actions = [a for a in actions if not (isinstance(a, Send) and a.order.role is Role.TARGET)]
    return tuple(a for a in actions if not (isinstance(a, Cancel) and a.order.intent_id in keep))


def covering(position: Position, trade: Trade, unsettled: Sequence[Order]) -> Order | None:
    """The largest proved stop that covers the whole position at the trade's stop price, if there is one."""
    fit = [
        order
        for order in unsettled
        if order.status.is_open and _covers(order, position) and order.trigger_price == trade.stop_price
    ]
    return max(fit, key=lambda order: order.open_quantity, default=None)


def protected(position: Position, trade: Trade, unsettled: Sequence[Order]) -> bool:
    """True if some proved stop covers the whole position, wherever its trigger is."""
    return any(order.status.is_open and _covers(order, position) for order in unsettled)


def closing(*, position: Position, intent_id: str, attempt: int) -> Order:
    """A reduce-only market order that ends the position.

    >>> long = Position(symbol="BTC-USDT-PERP", quantity=Decimal(2))
    >>> order = closing(position=long, intent_id="a", attempt=2)
    >>> order.client_order_id, order.side.value, order.quantity
    ('a-x-2', 'SELL', Decimal('2'))
    """
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


def in_the_way(unsettled: Sequence[Order]) -> list[Cancel]:
    """What rests and would stand in the way of a close, or open anew what it ends."""
    resting = (order for order in unsettled if order.status.is_open)
    return [Cancel(order=order) for order in resting if order.role in (Role.ENTRY, Role.TARGET)]


def stop_order(*, position: Position, intent_id: str, trigger_price: Decimal, attempt: int) -> Order:
    """A reduce-only stop for the whole position.

    >>> long = Position(symbol="BTC-USDT-PERP", quantity=Decimal(2))
    >>> order = stop_order(position=long, intent_id="a", trigger_price=Decimal(90), attempt=1)
    >>> order.client_order_id, order.side.value, order.quantity
    ('a-sl', 'SELL', Decimal('2'))
    """
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
    """True if a stop at `level` would trigger at once.

    >>> behind(direction=Direction.LONG, level=Decimal(90), price=Decimal(89))
    True
    """
    return price <= level if direction is Direction.LONG else price >= level


def swept(
    position: Position, trade: Trade | None, unsettled: Sequence[Order], halted: bool
) -> Iterator[Cancel]:
    """Nothing open is ours: all of it goes, but for an entry that waits and the stop that waits with it."""
    kept: set[str] = set()
    # Until its end is proved an entry may fill, even one that is being taken back.
    if trade is not None and _to_come(trade.entry) > 0:
        kept = {order.client_order_id for order in unsettled if order.role is Role.STOP}
        if position.is_flat and not halted and not is_over(trade):
            kept.add(trade.entry.client_order_id)
    for order in unsettled:
        if order.status.is_open and order.client_order_id not in kept:
            yield Cancel(order=order)


def _held(
    position: Position,
    trade: Trade,
    unsettled: Sequence[Order],
    price: Decimal | None,
    instrument: Instrument | None,
    keep: Collection[str],
    halted: bool,
) -> list[Action]:
    """What our open position needs."""
    room = in_the_way(unsettled)
    if any(order.role is Role.CLOSE and not order.status.is_final for order in unsettled):
        return [*room]
    stop = _stop(position, trade, unsettled, price, keep)
    if isinstance(stop, Close):
        return [stop, *room]
    taken_back = [c for c in room if c.order.role is Role.ENTRY and (halted or is_over(trade))]
    if stop is not None:
        return [stop, *taken_back]
    resting = [order for order in unsettled if order.role is Role.TARGET]
    # Targets need the instrument's rules; the stop does not wait for them.
    actions = list(_targets(position, trade, resting, instrument)) if instrument is not None else []
    return [*actions, *_surplus(position, trade, unsettled), *taken_back]


def is_of(position: Position, trade: Trade) -> bool:
    return not position.is_flat and (position.quantity > 0) == (trade.side is Side.BUY)


def _to_come(entry: Order) -> Decimal:
    """What an entry may still add to the position."""
    return ZERO if entry.status is OrderStatus.INITIALIZED else entry.open_quantity


def _reach(position: Position, trade: Trade) -> Decimal:
    """How far the position may grow before the next look: what the entry still fills is to find its stop."""
    # A fill may show in the position before it shows in the entry: it is not counted twice.
    grown = min(abs(position.quantity) + _to_come(trade.entry), trade.entry.quantity)
    return max(abs(position.quantity), grown)


def is_over(trade: Trade) -> bool:
    """A stop or a close took from it: what is left of the entry would open it anew."""
    later = since_entry(trade)
    return any(order.role in (Role.STOP, Role.CLOSE) and order.filled_quantity > 0 for order in later)


def has_missed(entry: Order) -> bool:
    """Whether an entry has ended without a fill, by its own word."""
    return entry.status.is_final and not entry.filled_quantity


def seems_closed(trade: Trade) -> bool:
    """Whether the trade's orders, by their own word, closed all that its entry entered, which has ended."""
    entry = trade.entry
    if not entry.status.is_final or not entry.filled_quantity:
        return False
    left = sum((order.side.sign * order.filled_quantity for order in since_entry(trade)), ZERO)
    return left * trade.side.sign <= 0


def is_spent(position: Position, trade: Trade, fills: Sequence[Fill]) -> bool:
    """Whether nothing of an open position is the trade's, whose entry has ended: it is on the other side, or
    has been flat since the trade's own orders closed it, or its entry filled nothing and others made it all.

    `fills` are all executions since the entry left, whoever's, oldest first; where they do not prove it, or
    do not make the position, it counts as the trade's.
    """
    name, sign = trade.entry.client_order_id, trade.side.sign
    if position.is_flat or not trade.entry.status.is_final:
        return False
    if not is_of(position, trade):
        return True
    entered = sum((fill.quantity for fill in fills if fill.client_order_id == name), ZERO)
    if not trade.entry.filled_quantity:
        signed_at = trade.entry.signed_at
        since_it = [fill for fill in fills if signed_at is not None and fill.at >= signed_at]
        all_made = sum((fill.side.sign * fill.quantity for fill in since_it), ZERO)
        return not entered and all_made == position.quantity
    # An entry starts from nothing.
    since = dropwhile(lambda fill: fill.client_order_id != name, fills)
    made = sum((fill.side.sign * fill.quantity for fill in since), ZERO)
    if not seems_closed(trade) or entered != trade.entry.filled_quantity or made != position.quantity:
        return False
    later = takewhile(lambda fill: fill.client_order_id != name, reversed(fills))
    before = accumulate((-fill.side.sign * fill.quantity for fill in later), initial=position.quantity)
    return any(quantity * sign <= 0 for quantity in before)


def since_entry(trade: Trade) -> Iterator[Order]:
    """Its orders from the entry on: a close that stands before it made room for it."""
    return dropwhile(lambda order: order.role is not Role.ENTRY, trade.orders)


def _covers(order: Order, position: Position) -> bool:
    return (
        order.role is Role.STOP
        and order.side is position.closing_side
        and order.open_quantity >= abs(position.quantity)
    )


def _stop(
    position: Position,
    trade: Trade,
    unsettled: Sequence[Order],
    price: Decimal | None,
    keep: Collection[str],
) -> Send | Close | None:
    for order in unsettled:
        # What may be there already is waited for: the fence says how long. Where a venue has but one stop,
        # the one of a breakeven at work has taken the place of the old one, which must not come back.
        is_moved = order.status.is_open and order.intent_id in keep
        if _covers(order, position) and (order.trigger_price == trade.stop_price or is_moved):
            return None
    made = [o for o in trade.orders if o.role is Role.STOP and o.intent_id == trade.intent_id]
    closes = sum(order.role is Role.CLOSE for order in trade.orders)
    close = closing(position=position, intent_id=trade.intent_id, attempt=closes + 1)
    if price is not None and behind(direction=position.direction, level=trade.stop_price, price=price):
        return Close(order=close, reason=f"the price {price:f} is through the stop {trade.stop_price:f}")
    if refused(made) >= ATTEMPTS:
        return Close(order=close, reason=f"the venue refused the stop {ATTEMPTS} times")
    quantity = _reach(position, trade)
    for planned in made:
        if planned.status is OrderStatus.INITIALIZED and planned.trigger_price == trade.stop_price:
            return Send(order=replace(planned, quantity=quantity))
    attempt = 1 + max((order.attempt for order in made), default=0)
    stop = stop_order(
        position=position, intent_id=trade.intent_id, trigger_price=trade.stop_price, attempt=attempt
    )
    return Send(order=replace(stop, quantity=quantity))


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
        wanted_now = max(ZERO, min(rung.quantity - filled, left))
        # A position that was changed by hand, or paid a fee in its base, may hold part of a lot.
        quantity = quantity_to_lot(quantity=wanted_now, lot_size=instrument.lot_size)
        left -= quantity
        yield from _rung(replace(rung, quantity=quantity), made, resting)
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
    if mine or wanted.quantity <= 0 or refused(made) >= ATTEMPTS:
        return
    planned = next((order for order in made if order.status is OrderStatus.INITIALIZED), None)
    if planned is not None:
        yield Send(order=replace(planned, quantity=wanted.quantity, price=wanted.price))
        return
    attempt = 1 + max((order.attempt for order in made), default=0)
    leg = f"tp{wanted.rung}" if wanted.rung else "tp"
    name = client_order_id(intent_id=wanted.intent_id, leg=leg, attempt=attempt)
    yield Send(order=replace(wanted, client_order_id=name, attempt=attempt))


def _surplus(position: Position, trade: Trade, unsettled: Sequence[Order]) -> Iterator[Cancel]:
    """Every other stop, once one is proved to cover the position; a larger one waits for the entry's end."""
    good = covering(position, trade, unsettled)
    if good is None:
        return
    enough = good.open_quantity >= _reach(position, trade)
    for order in unsettled:
        smaller = order.open_quantity <= good.open_quantity
        if order.role is Role.STOP and order.status.is_open and order is not good and (enough or smaller):
            yield Cancel(order=order)


def refused(made: Sequence[Order]) -> int:
    """How many refusals in a row stand at the end."""
    count = 0
    for order in reversed(made):
        if order.status is OrderStatus.INITIALIZED:
            continue
        if order.status is not OrderStatus.REJECTED:
            break
        count += 1
    return count
