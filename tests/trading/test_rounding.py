"""Rounding: each direction, what it refuses, and that no context and no input can turn it around."""

from __future__ import annotations

import doctest
from decimal import Context, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading import rounding
from trading.model import Direction, Side
from trading.rounding import (
    breakeven_to_tick,
    ceil_to,
    floor_to,
    limit_entry_to_tick,
    need_decimals,
    need_positive,
    quantity_to_lot,
    stop_to_tick,
    target_to_tick,
)

D = Decimal
amounts = st.decimals(min_value="0.000000000000000001", max_value="1E12", places=18)
steps = st.sampled_from([D("1E-8"), D("0.001"), D("0.05"), D("0.25"), D("0.5"), D(1), D(10), D("1E+2")])


def test_the_docstrings_tell_the_truth() -> None:
    assert doctest.testmod(rounding).failed == 0


@given(value=amounts, step=steps)
def test_a_floor_is_the_nearest_multiple_below(value: Decimal, step: Decimal) -> None:
    floored = floor_to(value=value, step=step)
    with localcontext(Context(prec=60)):
        assert floored % step == 0
        assert floored <= value < floored + step


@given(value=amounts, step=steps)
def test_a_ceiling_is_the_nearest_multiple_above(value: Decimal, step: Decimal) -> None:
    raised = ceil_to(value=value, step=step)
    with localcontext(Context(prec=60)):
        assert raised % step == 0
        assert raised - step < value <= raised


@given(value=amounts, step=steps)
def test_rounding_twice_is_rounding_once(value: Decimal, step: Decimal) -> None:
    for rounded in (floor_to(value=value, step=step), ceil_to(value=value, step=step)):
        assert floor_to(value=rounded, step=step) == ceil_to(value=rounded, step=step) == rounded


@given(value=amounts, step=steps)
def test_the_callers_context_does_not_matter(value: Decimal, step: Decimal) -> None:
    with localcontext(Context(prec=2, traps=[])):
        poor = (floor_to(value=value, step=step), ceil_to(value=value, step=step))
    assert poor == (floor_to(value=value, step=step), ceil_to(value=value, step=step))


@given(entry=amounts, stop=amounts, tick=steps)
def test_a_rounded_stop_is_never_further_from_the_entry(entry: Decimal, stop: Decimal, tick: Decimal) -> None:
    long = stop < entry
    direction = Direction.LONG if long else Direction.SHORT
    if not long and stop < tick:
        with pytest.raises(ValueError, match="below one tick"):
            stop_to_tick(direction=direction, stop=stop, tick_size=tick)
        return
    rounded = stop_to_tick(direction=direction, stop=stop, tick_size=tick)
    assert rounded >= stop if long else rounded <= stop


@pytest.mark.parametrize(
    ("rounded", "expected"),
    [
        (quantity_to_lot(quantity=D("1.2399"), lot_size=D("0.01")), "1.23"),
        (quantity_to_lot(quantity=D("0.009"), lot_size=D("0.01")), "0.00"),
        (stop_to_tick(direction=Direction.LONG, stop=D("99.01"), tick_size=D("0.1")), "99.1"),
        (stop_to_tick(direction=Direction.SHORT, stop=D("101.09"), tick_size=D("0.1")), "101.0"),
        (limit_entry_to_tick(side=Side.BUY, price=D("100.09"), tick_size=D("0.1")), "100.0"),
        (limit_entry_to_tick(side=Side.SELL, price=D("100.01"), tick_size=D("0.1")), "100.1"),
        (target_to_tick(direction=Direction.LONG, target=D("110.09"), tick_size=D("0.1")), "110.0"),
        (target_to_tick(direction=Direction.SHORT, target=D("90.01"), tick_size=D("0.1")), "90.1"),
        (breakeven_to_tick(direction=Direction.LONG, price=D("100.01"), tick_size=D("0.1")), "100.1"),
        (breakeven_to_tick(direction=Direction.SHORT, price=D("99.99"), tick_size=D("0.1")), "99.9"),
        (stop_to_tick(direction=Direction.LONG, stop=D("99.1"), tick_size=D("0.1")), "99.1"),
    ],
)
def test_each_purpose_has_its_direction(rounded: Decimal, expected: str) -> None:
    assert str(rounded) == expected


@pytest.mark.parametrize("value", [1, 1.5, "1", None, True])
def test_what_is_no_decimal_is_named(value: object) -> None:
    with pytest.raises(ValueError, match="price must be a Decimal"):
        need_decimals(price=value)


@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_what_is_not_finite_is_named(value: str) -> None:
    with pytest.raises(ValueError, match="price must be finite"):
        need_decimals(price=D(value))


@pytest.mark.parametrize("value", ["1E+41", "-1E+41", "1E-41"])
def test_an_absurd_magnitude_is_named(value: str) -> None:
    with pytest.raises(ValueError, match="price is beyond any market"):
        need_decimals(price=D(value))


def test_zero_of_any_exponent_is_an_amount_but_not_positive() -> None:
    need_decimals(fee=D("0E-60"))
    with pytest.raises(ValueError, match="price must be above zero"):
        need_positive(price=D("0E-60"))


@pytest.mark.parametrize(("value", "step"), [("-1", "0.1"), ("1", "0"), ("1", "-0.1")])
def test_negative_amounts_and_empty_steps_are_refused(value: str, step: str) -> None:
    with pytest.raises(ValueError, match=r"negative|above zero"):
        floor_to(value=D(value), step=D(step))


def test_no_price_rounds_to_zero() -> None:
    with pytest.raises(ValueError, match=r"below one tick of 0\.1"):
        target_to_tick(direction=Direction.LONG, target=D("0.09"), tick_size=D("0.1"))
    with pytest.raises(ValueError, match="above zero"):
        breakeven_to_tick(direction=Direction.SHORT, price=D(0), tick_size=D("0.1"))


def test_a_flat_position_has_no_levels() -> None:
    with pytest.raises(ValueError, match="flat"):
        stop_to_tick(direction=Direction.FLAT, stop=D(1), tick_size=D(1))
