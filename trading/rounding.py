"""Rounds to the venue's lot and tick, each function with its direction and its reason.

It must never round up what costs money, never move a stop away from the entry, and never hand
back a price of zero. The arithmetic runs in MONEY, so the caller's decimal context never matters.
"""

from __future__ import annotations

from decimal import (
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    InvalidOperation,
    Overflow,
    localcontext,
)

from trading.model import Direction, Side

# Wide enough that sums and products of amounts within MAGNITUDE are exact; only a division rounds.
MONEY = Context(
    prec=250,
    rounding=ROUND_HALF_EVEN,
    Emin=-999999,
    Emax=999999,
    capitals=1,
    clamp=0,
    flags=[],
    traps=[DivisionByZero, InvalidOperation, Overflow],
)

# Powers of ten. No market quotes outside 1E-40 … 1E+40: such a number is a fault, not an amount.
MAGNITUDE = 40


def need_decimals(**amounts: object) -> None:
    """Refuse what is no amount.

    Raises ValueError, naming the argument, unless every one is a finite Decimal of sane magnitude.

    >>> need_decimals(price=100.5)
    Traceback (most recent call last):
    ValueError: price must be a Decimal, not float
    """
    for name, value in amounts.items():
        if fault := _fault(value):
            raise ValueError(f"{name} {fault}")


def need_positive(**amounts: object) -> None:
    """Refuse what is not an amount above zero.

    Raises ValueError, naming the argument.

    >>> need_positive(stop=Decimal("-1"))
    Traceback (most recent call last):
    ValueError: stop must be above zero, not -1
    """
    need_decimals(**amounts)
    for name, value in amounts.items():
        if isinstance(value, Decimal) and value <= 0:
            raise ValueError(f"{name} must be above zero, not {value}")


def floor_to(*, value: Decimal, step: Decimal) -> Decimal:
    """The greatest multiple of `step` that is not above `value`, both in one unit.

    Raises ValueError for a negative value or a step that is not above zero.

    >>> floor_to(value=Decimal("0.0199"), step=Decimal("0.005"))
    Decimal('0.015')
    """
    need_decimals(value=value)
    need_positive(step=step)
    if value < 0:
        raise ValueError(f"value must not be negative, it is {value}")
    with localcontext(MONEY):
        return value // step * step


def ceil_to(*, value: Decimal, step: Decimal) -> Decimal:
    """The smallest multiple of `step` that is not below `value`, both in one unit.

    Raises ValueError for a negative value or a step that is not above zero.

    >>> ceil_to(value=Decimal("0.0151"), step=Decimal("0.005"))
    Decimal('0.020')
    """
    below = floor_to(value=value, step=step)
    with localcontext(MONEY):
        return below if below == value else below + step


def quantity_to_lot(*, quantity: Decimal, lot_size: Decimal) -> Decimal:
    """Down, in base units: a quantity rounded up would lose more at the stop than was allowed.

    May be zero. Raises ValueError for a negative quantity.

    >>> quantity_to_lot(quantity=Decimal("0.12399"), lot_size=Decimal("0.001"))
    Decimal('0.123')
    """
    return floor_to(value=quantity, step=lot_size)


def stop_to_tick(*, direction: Direction, stop: Decimal, tick_size: Decimal) -> Decimal:
    """Towards the entry (a long's stop up, a short's down): further away it would lose more.

    `direction` is the position's. Raises ValueError when flat, or when no tick above zero is left.

    >>> stop_to_tick(direction=Direction.LONG, stop=Decimal("99.01"), tick_size=Decimal("0.5"))
    Decimal('99.5')
    """
    return _price_to_tick(price=stop, tick_size=tick_size, up=_is_long(direction))


def limit_entry_to_tick(*, side: Side, price: Decimal, tick_size: Decimal) -> Decimal:
    """Never a worse price than asked: a buy down, a sell up.

    `side` is the entry's. Raises ValueError when no tick above zero is left.

    >>> limit_entry_to_tick(side=Side.BUY, price=Decimal("100.9"), tick_size=Decimal("0.5"))
    Decimal('100.5')
    """
    return _price_to_tick(price=price, tick_size=tick_size, up=side is Side.SELL)


def target_to_tick(*, direction: Direction, target: Decimal, tick_size: Decimal) -> Decimal:
    """Towards the entry (a long's target down, a short's up): reached no later than asked.

    `direction` is the position's. Raises ValueError when flat, or when no tick above zero is left.

    >>> target_to_tick(direction=Direction.SHORT, target=Decimal("90.1"), tick_size=Decimal("0.5"))
    Decimal('90.5')
    """
    return _price_to_tick(price=target, tick_size=tick_size, up=not _is_long(direction))


def breakeven_to_tick(*, direction: Direction, price: Decimal, tick_size: Decimal) -> Decimal:
    """Into the profit (a long's up, a short's down): a tick short of it would not cover the fees.

    `direction` is the position's. Raises ValueError when flat, or when no tick above zero is left.

    >>> breakeven_to_tick(direction=Direction.LONG, price=Decimal("100.08"), tick_size=Decimal("0.5"))
    Decimal('100.5')
    """
    return _price_to_tick(price=price, tick_size=tick_size, up=_is_long(direction))


def _price_to_tick(*, price: Decimal, tick_size: Decimal, up: bool) -> Decimal:
    need_positive(price=price)
    rounded = (ceil_to if up else floor_to)(value=price, step=tick_size)
    if rounded <= 0:
        raise ValueError(f"price {price} is below one tick of {tick_size}")
    return rounded


def _fault(value: object) -> str:
    """Why it is no amount, or nothing."""
    if not isinstance(value, Decimal):
        return f"must be a Decimal, not {type(value).__name__}"
    if not value.is_finite():
        return f"must be finite, not {value}"
    if value and not -MAGNITUDE <= value.adjusted() <= MAGNITUDE:
        return f"is beyond any market: 1E{value.adjusted():+d}"
    return ""


def _is_long(direction: Direction) -> bool:
    if direction is Direction.FLAT:
        raise ValueError("a flat position has no stop and no target")
    return direction is Direction.LONG
