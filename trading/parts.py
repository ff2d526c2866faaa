"""What a position in coins still needs on a venue where a sale that rests locks what it sells.

There a stop over everything would leave nothing for the targets. So the position lies in parts: each rung is
one pair of target and stop, of which one ends the other, and what has no target is a stop alone. The parts
add up to the position. As in `trading.protect` the answer depends on the state alone. It must never bare a
second part while one is being changed, or ask for more coins than the position has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import dropwhile

from trading.holding import is_tradable, stoppable
from trading.ladder import client_order_id, targets
from trading.model import (
    ZERO,
    Instrument,
    Order,
    OrderStatus,
    OrderType,
    Plan,
    Position,
    Role,
    Side,
    TimeInForce,
    Trade,
)
from trading.protect import (
    ATTEMPTS,
    Action,
    Cancel,
    Close,
    Send,
    Swap,
    closing,
    is_of,
    is_over,
    refused,
    swept,
)

Change = Action | Swap

#: The rung of a stop that stands alone.
ALONE = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """So many base units that one stop covers; `price` is the target's, None for a stop that stands alone."""

    rung: int
    price: Decimal | None
    quantity: Decimal


def planned(plan: Plan, *, bought: Decimal) -> tuple[Order, ...]:
    """The orders of a plan as they are written down: a stop for all that is bought, one for each target.

    >>> stop = Order(client_order_id="a-sl", intent_id="a", symbol="BTC-USDT", role=Role.STOP, side=Side.SELL,
    ...     type=OrderType.STOP, quantity=Decimal(2), trigger_price=Decimal(90))
    >>> entry = replace(stop, client_order_id="a-e", role=Role.ENTRY, side=Side.BUY)
    >>> target = replace(stop, client_order_id="a-tp1", role=Role.TARGET, rung=1, quantity=Decimal("0.5"))
    >>> made = planned(Plan(entry=entry, stop=stop, targets=(target,)), bought=Decimal("1.99"))
    >>> [(order.client_order_id, str(order.quantity)) for order in made]
    [('a-e', '2'), ('a-sl', '1.99'), ('a-tp1', '0.5'), ('a-sl1', '0.5')]
    """
    made = [plan.entry, replace(plan.stop, rung=ALONE, quantity=bought)]
    for target in plan.targets:
        name = client_order_id(intent_id=target.intent_id, leg=_leg(target.rung), attempt=1)
        beside = replace(plan.stop, client_order_id=name, rung=target.rung, quantity=target.quantity)
        made += [target, beside]
    return tuple(made)


def layout(
    *, position: Position, trade: Trade, instrument: Instrument, price: Decimal | None, pairs: bool
) -> tuple[Part, ...]:
    """The parts in which an open position of the trade lies, the nearest target first; they add up to it.

    None is below what the venue takes at the stop, nor are there more than it lets rest. A target that the
    venue refused again and again is given up: its part rides on the stop. Without `pairs` there is one stop,
    and a rung comes apart from it when the `price` is there.
    """
    tight = stoppable(instrument=instrument, stop=trade.stop)
    # What is left and what was sold of it: the whole that the ladder was meant for, fees taken off.
    since = dropwhile(lambda order: order.role is not Role.ENTRY, trade.orders)
    whole = position.quantity + sum((o.filled_quantity for o in since if o.side is Side.SELL), ZERO)
    wanted, _ = targets(
        intent_id=trade.intent_id,
        symbol=position.symbol,
        side=trade.side,
        quantity=whole,
        price=trade.price,
        stop=trade.stop,
        target=trade.target,
        close_percent=trade.close_percent,
        rungs=trade.rungs,
        instrument=tight,
    )
    parts, left = [], position.quantity
    for rung in wanted:
        made = _made(trade, Role.TARGET, rung.rung)
        filled = sum((order.filled_quantity for order in made), ZERO)
        quantity = min(max(ZERO, rung.quantity - filled), left)
        is_due = pairs or (price is not None and rung.price is not None and price >= rung.price)
        if quantity > 0 and is_due and refused(made) < ATTEMPTS:
            parts.append(Part(rung=rung.rung, price=rung.price, quantity=quantity))
            left -= quantity
    if left > 0:
        parts.append(Part(rung=ALONE, price=None, quantity=left))
    return _capped(_joined(parts, tight.min_quantity), instrument.max_stops)


def heads(orders: Sequence[Order]) -> Iterator[Order]:
    """Those to cancel so that all end: of a pair the target, since the stop goes with it.

    Its end also proves that the stop did not fire, which would have ended it before.
    """
    for rung in dict.fromkeys(order.rung for order in orders):
        sales = [order for order in orders if order.rung == rung and order.role is Role.TARGET]
        stops = [order for order in orders if order.rung == rung and order.role is Role.STOP]
        yield from (*sales, *stops[len(sales) :])


def covered(unsettled: Sequence[Order]) -> Decimal:
    """So many base units have a proved stop."""
    stops = (o for o in unsettled if o.role is Role.STOP and o.side is Side.SELL and o.status.is_open)
    return sum((order.open_quantity for order in stops), ZERO)


def protect(
    *,
    position: Position,
    trade: Trade | None,
    unsettled: Sequence[Order],
    price: Decimal | None,
    instrument: Instrument,
    keep: Collection[str],
    halted: bool,
    leaving: bool,
    pairs: bool,
) -> tuple[Change, ...]:
    """The next actions for one lane: what is bare is covered first, then one part at a time is set right.

    The arguments are those of `trading.protect.protect`; `pairs` as in `layout`. While `leaving`, what is
    bare gets a stop and no target.
    """
    if trade is None or not is_of(position, trade):
        away = swept(position, trade, unsettled, halted)
        return tuple(action for action in away if action.order.intent_id not in keep)
    entry = trade.entry
    taken_back = [Cancel(order=entry)] if entry.status.is_open and (halted or is_over(trade)) else []
    if any(order.role is Role.CLOSE and not order.status.is_final for order in unsettled):
        return tuple(taken_back)
    book = _Book(position=position, trade=trade, unsettled=unsettled, price=price, instrument=instrument)
    parts = layout(position=position, trade=trade, instrument=instrument, price=price, pairs=pairs)
    return (*_cover(book, parts, leaving=leaving), *taken_back)


def moved(
    *,
    position: Position,
    trade: Trade,
    unsettled: Sequence[Order],
    level: Decimal,
    price: Decimal | None,
    intent_id: str,
    instrument: Instrument,
    pairs: bool,
) -> Swap | None:
    """The next step that brings every stop to `level`, one part at a time; None when all are there.

    The new stops belong to `intent_id`. What is bare comes first.
    """
    there = replace(trade, stop_price=level)
    book = _Book(position=position, trade=there, unsettled=unsettled, price=price, instrument=instrument)
    parts = layout(position=position, trade=trade, instrument=instrument, price=price, pairs=pairs)
    resting = book.resting()
    for part in sorted(parts, key=lambda part: part.quantity, reverse=True):
        orders = resting.get(part.rung, [])
        if not orders and part.quantity <= book.free():
            return Swap(old=(), new=(book.send(part, intent_id=intent_id),))
        behind = any(order.trigger_price is not None and order.trigger_price < level for order in orders)
        if behind and all(order.status.is_open for order in orders):
            fits = replace(part, quantity=min(part.quantity, book.free() + _locked(orders)))
            return Swap(old=tuple(orders), new=(book.send(fits, intent_id=intent_id),))
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Book:
    """A position, and what rests for it."""

    position: Position
    trade: Trade
    unsettled: Sequence[Order]
    price: Decimal | None
    instrument: Instrument

    def resting(self) -> Mapping[int, list[Order]]:
        """What rests or may rest, by rung."""
        found: dict[int, list[Order]] = {}
        for order in self.unsettled:
            if order.role in (Role.STOP, Role.TARGET):
                found.setdefault(order.rung, []).append(order)
        return found

    def free(self) -> Decimal:
        """What of the position nothing locks."""
        return self.position.quantity - sum(map(_locked, self.resting().values()), ZERO)

    def takes(self, quantity: Decimal) -> bool:
        """Whether the venue takes a stop for so much."""
        return is_tradable(quantity=quantity, price=self.trade.stop_price, instrument=self.instrument)

    def close(self, quantity: Decimal, reason: str) -> Close:
        """Ends so much of the position: only what is bare, for the rest is locked and covered."""
        trade = self.trade
        attempt = 1 + sum(order.role is Role.CLOSE for order in trade.orders)
        bare = replace(self.position, quantity=quantity)
        return Close(order=closing(position=bare, intent_id=trade.intent_id, attempt=attempt), reason=reason)

    def send(self, part: Part, *, intent_id: str = "", alone: bool = False) -> Send:
        """The pair of a part, its stop alone, or its target alone where the price is there already."""
        stop = self._stop(part, intent_id or self.trade.intent_id)
        if part.price is None or alone:
            return Send(order=stop)
        target = self._target(part, part.price)
        is_there = self.price is not None and self.price >= part.price
        return Send(order=target) if is_there else Send(order=target, stop=stop)

    def _stop(self, part: Part, intent_id: str) -> Order:
        made = [o for o in _made(self.trade, Role.STOP, part.rung) if o.intent_id == intent_id]
        for order in made:
            if (order.status, order.trigger_price) == (OrderStatus.INITIALIZED, self.trade.stop_price):
                return replace(order, quantity=part.quantity)
        attempt = 1 + max((order.attempt for order in made), default=0)
        return Order(
            client_order_id=client_order_id(intent_id=intent_id, leg=_leg(part.rung), attempt=attempt),
            intent_id=intent_id,
            symbol=self.position.symbol,
            role=Role.STOP,
            side=Side.SELL,
            type=OrderType.STOP,
            quantity=part.quantity,
            trigger_price=self.trade.stop_price,
            reduce_only=True,
            rung=part.rung,
            attempt=attempt,
        )

    def _target(self, part: Part, price: Decimal) -> Order:
        made = _made(self.trade, Role.TARGET, part.rung)
        is_there = self.price is not None and self.price >= price
        # A pair is refused where the price is beyond its target: what it sells at once goes by itself, and
        # what it does not comes back and is paired.
        force = TimeInForce.IOC if is_there else TimeInForce.GTC
        for order in made:
            if (order.status, order.time_in_force) == (OrderStatus.INITIALIZED, force):
                return replace(order, quantity=part.quantity, price=price)
        attempt = 1 + max((order.attempt for order in made), default=0)
        leg = f"tp{part.rung}" if part.rung else "tp"
        return Order(
            client_order_id=client_order_id(intent_id=self.trade.intent_id, leg=leg, attempt=attempt),
            intent_id=self.trade.intent_id,
            symbol=self.position.symbol,
            role=Role.TARGET,
            side=Side.SELL,
            type=OrderType.LIMIT,
            quantity=part.quantity,
            price=price,
            time_in_force=force,
            reduce_only=True,
            rung=part.rung,
            attempt=attempt,
        )


def naked(*, position: Position, trade: Trade, unsettled: Sequence[Order], instrument: Instrument) -> Decimal:
    """So many base units have no stop, not even one in doubt, and are not being sold; zero for less than the
    venue would sell."""
    ends = (o for o in unsettled if o.role in (Role.STOP, Role.CLOSE) and o.side is Side.SELL)
    bare = position.quantity - sum((order.open_quantity for order in ends), ZERO)
    is_some = bare > 0 and is_tradable(quantity=bare, price=trade.stop_price, instrument=instrument)
    return bare if is_some else ZERO


def close_naked(
    *, position: Position, trade: Trade, unsettled: Sequence[Order], instrument: Instrument, reason: str
) -> Close | None:
    """Ends what has no stop, and only that: the rest is locked by what covers it."""
    book = _Book(position=position, trade=trade, unsettled=unsettled, price=None, instrument=instrument)
    bare = naked(position=position, trade=trade, unsettled=unsettled, instrument=instrument)
    return book.close(bare, reason) if bare else None


def _cover(book: _Book, parts: Sequence[Part], *, leaving: bool) -> Iterator[Change]:
    trade, resting = book.trade, book.resting()
    missing = sorted((p for p in parts if p.rung not in resting), key=lambda p: p.quantity, reverse=True)
    alone = [o for o in _made(trade, Role.STOP, ALONE) if o.intent_id == trade.intent_id]
    reason = ""
    if missing and book.price is not None and book.price <= trade.stop_price:
        reason = f"the price {book.price:f} is through the stop {trade.stop_price:f}"
    elif any(part.rung == ALONE for part in missing) and refused(alone) >= ATTEMPTS:
        reason = f"the venue refused the stop {ATTEMPTS} times"
    if reason:
        close = close_naked(
            position=book.position,
            trade=trade,
            unsettled=book.unsettled,
            instrument=book.instrument,
            reason=reason,
        )
        yield from [close] if close else []
        return
    wrong = [part for part in parts if part.rung in resting and not _is_right(part, resting[part.rung])]
    unwanted = [rung for rung in resting if all(part.rung != rung for part in parts)]
    new = tuple(_fitting(book, missing, book.free(), cut=not wrong and not unwanted, alone=leaving))
    in_doubt = any(not order.status.is_open for orders in resting.values() for order in orders)
    if new:
        yield Swap(old=(), new=new)
    elif not in_doubt and not leaving:
        yield from _set_right(book, parts, missing, wrong, unwanted)


def _fitting(
    book: _Book, parts: Sequence[Part], room: Decimal, *, cut: bool = False, alone: bool = False
) -> Iterator[Send]:
    """The parts that find room, in their order; `cut` makes the last one fit."""
    for part in parts:
        quantity = min(part.quantity, room) if cut else part.quantity
        if quantity <= room and book.takes(quantity):
            yield book.send(replace(part, quantity=quantity), alone=alone)
            room -= quantity


def _set_right(
    book: _Book,
    parts: Sequence[Part],
    missing: Sequence[Part],
    wrong: Sequence[Part],
    unwanted: Sequence[int],
) -> Iterator[Change]:
    """One change: what locks too much makes room for what is bare, else what lacks most is made larger."""
    resting, free = book.resting(), book.free()
    wanted = {part.rung: part for part in parts}

    def surplus(rung: int) -> Decimal:
        return _locked(resting[rung]) - (wanted[rung].quantity if rung in wanted else ZERO)

    rungs = sorted([*unwanted, *(part.rung for part in wrong)], key=surplus, reverse=True)
    if rungs and surplus(rungs[0]) > 0 and (missing or rungs[0] in wanted):
        rung = rungs[0]
        mine = [wanted[rung]] if rung in wanted else []
        room = free + _locked(resting[rung])
        new = tuple(_fitting(book, [*mine, *missing], room))
        if new:
            yield Swap(old=tuple(resting[rung]), new=new)
            return
    for part in sorted(wrong, key=lambda part: surplus(part.rung)):
        old = list(resting[part.rung])
        room = free + _locked(old)
        for rung in unwanted:
            if room < part.quantity:
                old += resting[rung]
                room += _locked(resting[rung])
        new = tuple(_fitting(book, [part], room, cut=True))
        if new:
            yield Swap(old=tuple(old), new=new)
            return
    for rung in unwanted[:1]:
        yield from (Cancel(order=order) for order in resting[rung])


def _is_right(part: Part, orders: Sequence[Order]) -> bool:
    """Whether the part lies as it should, or may: what is in doubt is waited for."""
    if any(not order.status.is_open for order in orders):
        return True
    stops = [order.open_quantity for order in orders if order.role is Role.STOP]
    sales = [(order.open_quantity, order.price) for order in orders if order.role is Role.TARGET]
    wanted = [] if part.price is None else [(part.quantity, part.price)]
    return (stops, sales) == ([part.quantity], wanted)


def _locked(orders: Sequence[Order]) -> Decimal:
    """The coins that one rung's orders lock: both of a pair lock the same ones."""
    by_role = [
        sum((order.open_quantity for order in orders if order.role is role), ZERO)
        for role in (Role.STOP, Role.TARGET)
    ]
    return max(by_role)


def _made(trade: Trade, role: Role, rung: int) -> list[Order]:
    return [order for order in trade.orders if order.role is role and order.rung == rung]


def _leg(rung: int) -> str:
    return "sl" if rung == ALONE else f"sl{rung}"


def _joined(parts: Sequence[Part], least: Decimal) -> list[Part]:
    """What is too small for an order joins the next part, at the end the one before."""
    joined: list[Part] = []
    carried = ZERO
    for part in parts:
        quantity = part.quantity + carried
        if quantity < least and part is not parts[-1]:
            carried = quantity
        elif quantity < least and joined:
            joined[-1] = replace(joined[-1], quantity=joined[-1].quantity + quantity)
        else:
            joined.append(replace(part, quantity=quantity))
            carried = ZERO
    return joined


def _capped(parts: list[Part], most: int | None) -> tuple[Part, ...]:
    """Not more parts than stops may rest: the last targets become one, then the rest rides with it."""
    while most is not None and len(parts) > max(1, most):
        last = max(index for index, part in enumerate(parts) if part.price is not None)
        into, gone = (last, last - 1) if last else (0, 1)
        joined = replace(parts[into], quantity=parts[into].quantity + parts[gone].quantity)
        parts = [joined if part is parts[into] else part for part in parts if part is not parts[gone]]
    return tuple(parts)
