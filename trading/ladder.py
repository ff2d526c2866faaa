"""Lays out the child orders of one entry: the entry, its stop, its targets.

It must never plan a stop for less than the whole quantity, targets for more than it, or a target
that is not reduce-only; and the same intent always gets the same client order ids.

>>> from trading.model import InstrumentKind, Levels
>>> perp = Instrument(symbol="BTC-USDT-PERP", base="BTC", quote="USDT", kind=InstrumentKind.PERPETUAL,
...     tick_size=Decimal("0.5"), lot_size=Decimal("0.1"), min_quantity=Decimal("0.1"))
>>> alert = Alert(kind=AlertKind.ENTRY, message="entry", ticker="BTCUSDTPERP", symbol="BTC-USDT-PERP",
...     exchange="PAPER", subaccount="main", account="MAIN", fingerprint="0", side=Side.BUY,
...     long=Levels(stop=Decimal("89.7"), target=Decimal(130)), target_close_percent=Decimal(50),
...     rungs=(Rung(number=1, multiple=Decimal(1)),))
>>> made = plan(intent_id="018c2f3a9b7c00d1e2f3", alert=alert, instrument=perp,
...     quantity=Decimal(1), price=Decimal(100))
>>> made.stop.trigger_price, [(order.quantity, order.price) for order in made.targets]
(Decimal('90.0'), [(Decimal('0.5'), Decimal('110.0')), (Decimal('0.5'), Decimal('130.0'))])
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext

from trading.errors import Denied
from trading.model import (
    ZERO,
    Alert,
    AlertKind,
    Direction,
    Instrument,
    Order,
    OrderType,
    Plan,
    Role,
    Rung,
    Side,
    TimeInForce,
    plain,
)
from trading.rounding import (
    MONEY,
    limit_entry_to_tick,
    need_positive,
    quantity_to_lot,
    stop_to_tick,
    target_to_tick,
)

# The shortest limit among the venues.
ID_LENGTH = 36

_LEG = re.compile(r"e|sl([0-9]+)?|x|tp([1-9][0-9]*)?")


def client_order_id(*, intent_id: str, leg: str, attempt: int) -> str:
    """Our id of one order: the leg is e, sl, tp1 … tpN, tp (final) or x (close); attempts count from 1.

    A stop that shares its part of the position with a target is sl1 … slN, or sl0 beside the final one.

    Raises ValueError for another leg, an attempt below 1, or an id that a venue would refuse.

    >>> client_order_id(intent_id="018c2f3a9b7c00d1e2f3", leg="tp1", attempt=2)
    '018c2f3a9b7c00d1e2f3-tp1-2'
    """
    if not _LEG.fullmatch(leg):
        raise ValueError(f"no leg is called {leg!r}")
    if attempt < 1:
        raise ValueError(f"attempts count from 1, not {attempt}")
    name = f"{intent_id}-{leg}" if attempt == 1 else f"{intent_id}-{leg}-{attempt}"
    if not re.fullmatch(rf"[0-9A-Za-z_-]{{1,{ID_LENGTH}}}", name):
        raise ValueError(f"venues refuse the client order id {name!r}")
    return name


def plan(*, intent_id: str, alert: Alert, instrument: Instrument, quantity: Decimal, price: Decimal) -> Plan:
    """The orders of one entry alert for `quantity` base units, a whole number of lots.

    `price` is the reference: the alert's, or the venue's when the alert has none. The distance
    |price − stop| is measured from it, before rounding. Raises Denied for levels on the wrong side,
    ValueError for a quantity that is not in lots.
    """
    need_positive(quantity=quantity, price=price)
    if quantity_to_lot(quantity=quantity, lot_size=instrument.lot_size) != quantity:
        raise ValueError(f"{plain(quantity)} is not a whole number of lots of {plain(instrument.lot_size)}")
    tick_size = instrument.tick_size
    side, raw_stop = _asked(alert=alert, price=price)
    entry = _entry(intent_id=intent_id, alert=alert, side=side, quantity=quantity, tick_size=tick_size)
    stop = _stop(entry=entry, stop=raw_stop, price=entry.price or price, tick_size=tick_size)
    orders, notes = targets(
        intent_id=intent_id,
        symbol=alert.symbol,
        side=side,
        quantity=quantity,
        price=price,
        stop=raw_stop,
        target=alert.levels.target,
        close_percent=alert.target_close_percent,
        rungs=alert.rungs,
        instrument=instrument,
    )
    return Plan(entry=entry, stop=stop, targets=orders, notes=notes)


def targets(
    *,
    intent_id: str,
    symbol: str,
    side: Side,
    quantity: Decimal,
    price: Decimal,
    stop: Decimal,
    target: Decimal | None,
    close_percent: Decimal | None,
    rungs: Sequence[Rung],
    instrument: Instrument,
) -> tuple[tuple[Order, ...], tuple[str, ...]]:
    """The reduce-only limit orders that take the profit of an entry, and what to tell about them.

    `side` is the entry's, `quantity` the base units that it filled, `price` and `stop` the unrounded
    levels that the distance is measured between. A rung closes `close_percent` of the quantity, the
    final target at `target` the rest; without one, the rest is left to the stop. The sum is the whole
    with a final target and never above it. Raises ValueError for rungs that cannot be computed.
    """
    need_positive(quantity=quantity, price=price, stop=stop)
    whole = quantity_to_lot(quantity=quantity, lot_size=instrument.lot_size)
    with localcontext(MONEY):
        steps = _rungs(
            side=side,
            whole=whole,
            price=price,
            distance=abs(price - stop),
            close_percent=close_percent,
            rungs=rungs,
            instrument=instrument,
            last_takes_rest=target is None,
        )
        if target is not None:
            need_positive(target=target)
            at = _target_tick(side=side, raw=target, price=price, tick_size=instrument.tick_size)
            steps.append(_Step(rung=0, price=at, quantity=whole))
        placed, notes = _laid_out(steps=steps, whole=whole, instrument=instrument)
    orders = tuple(_target(step=step, intent_id=intent_id, symbol=symbol, side=side) for step in placed)
    return orders, tuple(notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One target before it is an Order; rung 0 is the final one, no price means none above zero."""

    rung: int
    price: Decimal | None
    quantity: Decimal

    @property
    def leg(self) -> str:
        return f"tp{self.rung}" if self.rung else "tp"


def _asked(*, alert: Alert, price: Decimal) -> tuple[Side, Decimal]:
    """Side and raw stop of an entry alert whose levels make sense around `price`."""
    if alert.kind is not AlertKind.ENTRY or alert.side is None:
        raise ValueError(f"only an entry is planned, not {alert.message!r}")
    name = "long" if alert.side is Side.BUY else "short"
    stop, target = alert.levels.stop, alert.levels.target
    if stop is None:
        raise Denied(f"{name} SL is missing: no entry without a stop")
    if alert.rungs and alert.target_close_percent is None:
        raise Denied("tp Close is missing: the percent of the entry that each tpN Mult closes")
    if target is not None and not _beyond(side=alert.side, level=target, price=price):
        raise Denied(f"{name} TP {plain(target)} is on the wrong side of the price {plain(price)}")
    return alert.side, stop


def _entry(*, intent_id: str, alert: Alert, side: Side, quantity: Decimal, tick_size: Decimal) -> Order:
    limit = None
    if alert.order_type is OrderType.LIMIT:
        if alert.price is None:
            raise Denied("price is missing: a limit entry needs one")
        try:
            limit = limit_entry_to_tick(side=side, price=alert.price, tick_size=tick_size)
        except ValueError as error:
            raise Denied(str(error)) from error
    return Order(
        client_order_id=client_order_id(intent_id=intent_id, leg="e", attempt=1),
        intent_id=intent_id,
        symbol=alert.symbol,
        role=Role.ENTRY,
        side=side,
        type=alert.order_type,
        quantity=quantity,
        price=limit,
        time_in_force=TimeInForce.IOC if limit is None else TimeInForce.GTC,
    )


def _stop(*, entry: Order, stop: Decimal, price: Decimal, tick_size: Decimal) -> Order:
    """The stop of the whole entry, which must still be behind the price once it is rounded."""
    try:
        trigger = stop_to_tick(direction=_direction(entry.side), stop=stop, tick_size=tick_size)
    except ValueError as error:
        raise Denied(str(error)) from error
    if not _beyond(side=entry.side.opposite, level=trigger, price=price):
        name, where = ("long", "below") if entry.side is Side.BUY else ("short", "above")
        raise Denied(f"{name} SL {plain(trigger)} is not {where} the price {plain(price)}")
    return Order(
        client_order_id=client_order_id(intent_id=entry.intent_id, leg="sl", attempt=1),
        intent_id=entry.intent_id,
        symbol=entry.symbol,
        role=Role.STOP,
        side=entry.side.opposite,
        type=OrderType.STOP,
        quantity=entry.quantity,
        trigger_price=trigger,
        reduce_only=True,
    )


def _target(*, step: _Step, intent_id: str, symbol: str, side: Side) -> Order:
    return Order(
        client_order_id=client_order_id(intent_id=intent_id, leg=step.leg, attempt=1),
        intent_id=intent_id,
        symbol=symbol,
        role=Role.TARGET,
        side=side.opposite,
        type=OrderType.LIMIT,
        quantity=step.quantity,
        price=step.price,
        reduce_only=True,
        rung=step.rung,
    )


def _rungs(
    *,
    side: Side,
    whole: Decimal,
    price: Decimal,
    distance: Decimal,
    close_percent: Decimal | None,
    rungs: Sequence[Rung],
    instrument: Instrument,
    last_takes_rest: bool,
) -> list[_Step]:
    """The rungs as asked, by number.

    With `last_takes_rest`, rungs that ask for 100 % together leave no odd lots behind.
    """
    if not rungs:
        return []
    need_positive(close_percent=close_percent, **{f"tp{rung.number} Mult": rung.multiple for rung in rungs})
    if len({rung.number for rung in rungs}) < len(rungs) or min(rung.number for rung in rungs) < 1:
        raise ValueError("rungs are numbered from 1, each once")
    percent = close_percent or ZERO
    share = quantity_to_lot(quantity=whole * percent / 100, lot_size=instrument.lot_size)
    ordered = sorted(rungs, key=lambda rung: rung.number)
    steps = []
    for rung in ordered:
        raw = price + side.sign * distance * rung.multiple
        at = _target_tick(side=side, raw=raw, price=price, tick_size=instrument.tick_size)
        all_of_it = last_takes_rest and rung is ordered[-1] and percent * len(rungs) >= 100
        steps.append(_Step(rung=rung.number, price=at, quantity=whole if all_of_it else share))
    return steps


def _laid_out(*, steps: list[_Step], whole: Decimal, instrument: Instrument) -> tuple[list[_Step], list[str]]:
    """The steps that can be placed, each with what joined it; never more than the whole."""
    placed: list[_Step] = []
    notes: list[str] = []
    left, carried = whole, ZERO
    for index, step in enumerate(steps):
        quantity = min(carried + step.quantity, left)
        flaw = _flaw(step=step, quantity=quantity, instrument=instrument)
        if flaw and step.rung == 0:
            return _final(placed=placed, final=replace(step, quantity=left), flaw=f"tp: {flaw}", notes=notes)
        if not flaw:
            placed.append(replace(step, quantity=quantity))
            left, carried = left - quantity, ZERO
            continue
        carried = quantity
        if index + 1 < len(steps):
            notes.append(f"{step.leg}: {flaw}; it joins {steps[index + 1].leg}")
        else:
            notes.append(f"{step.leg}: {flaw}; it is dropped and rides on the stop")
    return placed, notes


def _final(
    *, placed: list[_Step], final: _Step, flaw: str, notes: list[str]
) -> tuple[list[_Step], list[str]]:
    """A final target that is too small: joined to the rung before, or alone and sent all the same."""
    if final.quantity <= 0:
        return placed, [*notes, flaw]
    if not placed:
        # Minimums often spare reduce-only orders, and a target was asked for.
        return [final], [*notes, f"{flaw}; it is sent all the same"]
    last = placed[-1]
    joined = replace(last, quantity=last.quantity + final.quantity)
    return [*placed[:-1], joined], [*notes, f"{flaw}; it joins {last.leg}"]


def _flaw(*, step: _Step, quantity: Decimal, instrument: Instrument) -> str:
    """Why the venue would not take it, or nothing."""
    if step.price is None:
        return "its price would not be above zero"
    if quantity <= 0:
        return "nothing is left for it"
    if quantity < instrument.min_quantity:
        return f"{plain(quantity)} {instrument.base} is under the minimum of {plain(instrument.min_quantity)}"
    value = quantity * step.price
    if value < instrument.min_notional:
        least = plain(instrument.min_notional)
        return f"{plain(value)} {instrument.quote} is under the minimum order value of {least}"
    return ""


def _target_tick(*, side: Side, raw: Decimal, price: Decimal, tick_size: Decimal) -> Decimal | None:
    """The tick of a target; one that rounds back onto the entry's price moves a tick into the profit."""
    if raw <= 0:
        return None
    rounded = target_to_tick(direction=_direction(side), target=raw, tick_size=tick_size)
    if _beyond(side=side, level=raw, price=price) and not _beyond(side=side, level=rounded, price=price):
        rounded = max(rounded + side.sign * tick_size, tick_size)
    return rounded


def _beyond(*, side: Side, level: Decimal, price: Decimal) -> bool:
    """Whether `level` is where a position of this side is in profit."""
    return level > price if side is Side.BUY else level < price


def _direction(side: Side) -> Direction:
    return Direction.LONG if side is Side.BUY else Direction.SHORT
