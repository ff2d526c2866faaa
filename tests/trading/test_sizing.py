"""Sizing: never above the risk, never above a cap, always in whole lots, or denied with the mend."""

from __future__ import annotations

import doctest
from contextlib import suppress
from dataclasses import replace
from decimal import Context, Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading import sizing
from trading.errors import Denied
from trading.model import Instrument, InstrumentKind, Sizing
from trading.sizing import MARGIN_ROOM, size

D = Decimal
PERP = Instrument(
    symbol="BTC-USDT-PERP",
    base="BTC",
    quote="USDT",
    kind=InstrumentKind.PERPETUAL,
    tick_size=D("0.1"),
    lot_size=D("0.001"),
    min_quantity=D("0.001"),
    min_notional=D(5),
)


def sized(**changes: Any) -> Sizing:
    asked: dict[str, Any] = {
        "free_collateral": D(10000),
        "risk": D(1),
        "leverage": D(5),
        "price": D(50000),
        "stop": D(49500),
        "fixed_quantity": None,
        "max_notional": None,
        "instrument": PERP,
    }
    asked |= changes
    return size(**{"margin_price": asked["price"], **asked})


def test_the_docstrings_tell_the_truth() -> None:
    assert doctest.testmod(sizing).failed == 0


def test_one_percent_over_five_hundred() -> None:
    assert sized() == Sizing(
        free_collateral=D(10000), risk=D(1), quantity=D("0.2"), worst_loss=D(100), notional=D(10000)
    )


def test_a_short_is_sized_like_a_long() -> None:
    assert sized(stop=D(50500)).quantity == D("0.2")


def test_the_smallest_order_passes() -> None:
    smallest = replace(PERP, min_quantity=D("0.2"), min_notional=D(10000))
    assert sized(instrument=smallest).quantity == D("0.2")


def test_leverage_cuts_with_room_for_fees() -> None:
    cut = sized(leverage=D("0.5"))
    assert (cut.quantity, cut.cut_by) == (D("0.097"), "LEVERAGE")
    assert cut.notional == D(4850)
    assert cut.worst_loss == D("48.5")


def test_a_market_that_ran_away_is_margined_where_it_is_now() -> None:
    """0.97 × 10000 × 0.5 / 53000 = 0.0915…; at the alert's price 50000 it would be 0.097."""
    assert sized(leverage=D("0.5"), margin_price=D(53000)).quantity == D("0.091")


def test_max_notional_cuts() -> None:
    cut = sized(max_notional=D(5001))
    assert (cut.quantity, cut.cut_by) == (D("0.100"), "max_notional")


def test_a_cap_that_does_not_bind_is_not_named() -> None:
    assert sized(max_notional=D(10**6), instrument=replace(PERP, max_quantity=D(100))).cut_by == ""


def test_the_venues_largest_order_cuts() -> None:
    cut = sized(instrument=replace(PERP, max_quantity=D("0.05")))
    assert (cut.quantity, cut.cut_by) == (D("0.05"), "max_quantity")


def test_a_fixed_quantity_replaces_the_risk_but_not_the_caps() -> None:
    fixed = sized(fixed_quantity=D("0.3007"))
    assert (fixed.quantity, fixed.cut_by, fixed.worst_loss) == (D("0.300"), "", D(150))
    assert sized(fixed_quantity=D(3)).cut_by == "LEVERAGE"
    assert sized(fixed_quantity=D(3)).quantity == D("0.970")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"risk": D("0.001")}, "RISK gives 0 BTC, under the minimum of 0.001: raise RISK"),
        ({"fixed_quantity": D("0.0009")}, "the alert's size gives 0 BTC.*raise it"),
        ({"leverage": D("0.001")}, "LEVERAGE gives 0 BTC.*raise LEVERAGE or add collateral"),
        ({"max_notional": D(10)}, "max_notional gives 0 BTC.*raise it in LIMITS"),
        ({"instrument": replace(PERP, max_quantity=D(0))}, "max_quantity gives 0 BTC.*takes no entry"),
        (
            {"instrument": replace(PERP, min_notional=D(20000))},
            "an order of 10000 USDT, under the minimum of 20000: raise RISK",
        ),
        ({"instrument": replace(PERP, min_quantity=D(1))}, "under the minimum of 1:"),
        ({"instrument": replace(PERP, contract_size=D("0.01"))}, "a contract of 0.01 BTC is not supported"),
        ({"stop": D(50000)}, "the stop is at the price 50000"),
        ({"free_collateral": D(0)}, "0 USDT are free, add collateral"),
        ({"free_collateral": D("-3.5")}, "-3.5 USDT are free"),
    ],
)
def test_denied_with_the_mend(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Denied, match=reason):
        sized(**changes)


@pytest.mark.parametrize("name", ["free_collateral", "risk", "leverage", "price", "stop"])
@pytest.mark.parametrize("value", [1.5, "1", None, D("NaN"), D("Infinity")])
def test_what_is_no_amount_is_a_value_error(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        sized(**{name: value})


@pytest.mark.parametrize("name", ["risk", "leverage", "price", "stop", "fixed_quantity", "max_notional"])
def test_zero_is_no_amount_either(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        sized(**{name: D(0)})


money = st.decimals(min_value="0.01", max_value="1E9", places=8)
small = st.decimals(min_value="0.01", max_value="100", places=2)
lots = st.sampled_from([D("1E-8"), D("0.001"), D("0.25"), D(1), D(10)])


@given(
    free=money,
    risk=small,
    leverage=small,
    price=money,
    stop=money,
    lot=lots,
    max_notional=st.none() | money,
    fixed=st.none() | money,
)
def test_never_above_the_budget_or_a_cap(
    free: Decimal,
    risk: Decimal,
    leverage: Decimal,
    price: Decimal,
    stop: Decimal,
    lot: Decimal,
    max_notional: Decimal | None,
    fixed: Decimal | None,
) -> None:
    asked = {
        "free_collateral": free,
        "risk": risk,
        "leverage": leverage,
        "price": price,
        "stop": stop,
        "fixed_quantity": fixed,
        "max_notional": max_notional,
        "instrument": replace(PERP, lot_size=lot, min_quantity=lot, max_quantity=D(10**6)),
    }
    result = None
    with suppress(Denied):
        result = sized(**asked)
    if result is None:
        return
    with localcontext(Context(prec=90)):
        assert result.quantity % lot == 0
        assert result.worst_loss == result.quantity * abs(price - stop)
        assert result.notional == result.quantity * price
        if fixed is None:
            assert result.worst_loss * 100 <= free * risk
        else:
            assert result.quantity <= fixed
        assert result.notional <= MARGIN_ROOM * free * leverage
        assert max_notional is None or result.notional <= max_notional
        assert result.quantity <= D(10**6)
        if not result.cut_by and fixed is None:
            assert (result.quantity + lot) * abs(price - stop) * 100 > free * risk
    with localcontext(Context(prec=3, traps=[])):
        assert sized(**asked) == result
