"""Fills to position and P&L: by hand, and against the cash that really moved."""

from __future__ import annotations

import doctest
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Context, Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading import pnl
from trading.model import Direction, Fill, Side
from trading.pnl import FLAT, Ledger, add_fill, apply, breakeven_price, unrealised
from trading.rounding import breakeven_to_tick

D = Decimal
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
FILL = Fill(
    trade_id="1",
    symbol="BTC-USDT-PERP",
    client_order_id=None,
    venue_order_id="9",
    side=Side.BUY,
    quantity=D(1),
    price=D(100),
    fee=D("0.05"),
    fee_currency="USDT",
    at=NOON,
)


def walked(*fills: tuple[str, str, str]) -> Ledger:
    ledger = FLAT
    for side, quantity, price in fills:
        ledger, _ = add_fill(
            ledger=ledger, side=Side(side), quantity=D(quantity), price=D(price), fee=D("0.1")
        )
    return ledger


def after(fills: list[Fill]) -> Ledger:
    ledger = FLAT
    for fill in fills:
        ledger, _ = apply(ledger=ledger, fill=fill)
    return ledger


def test_the_docstrings_tell_the_truth() -> None:
    assert doctest.testmod(pnl).failed == 0


@pytest.mark.parametrize(
    ("fills", "quantity", "average", "realised"),
    [
        ([("BUY", "2", "100")], "2", "100", "0"),
        ([("BUY", "2", "100"), ("BUY", "1", "130")], "3", "110", "0"),
        ([("BUY", "2", "100"), ("SELL", "1", "130")], "1", "100", "30"),
        ([("BUY", "2", "100"), ("SELL", "2", "90")], "0", None, "-20"),
        ([("BUY", "2", "100"), ("SELL", "5", "110")], "-3", "110", "20"),
        ([("SELL", "2", "100"), ("SELL", "2", "90")], "-4", "95", "0"),
        ([("SELL", "2", "100"), ("BUY", "1", "90")], "-1", "100", "10"),
        ([("SELL", "2", "100"), ("BUY", "3", "110")], "1", "110", "-20"),
        ([("BUY", "1", "100"), ("SELL", "1", "90"), ("BUY", "1", "80")], "1", "80", "-10"),
    ],
)
def test_by_hand(
    fills: list[tuple[str, str, str]], quantity: str, average: str | None, realised: str
) -> None:
    assert walked(*fills) == Ledger(
        quantity=D(quantity),
        average_price=None if average is None else D(average),
        realised_pnl=D(realised),
        fees=D("0.1") * len(fills),
    )


def test_an_endless_average_keeps_eighteen_decimals() -> None:
    average = walked(("BUY", "1", "100"), ("BUY", "2", "101")).average_price
    assert average == D("100.666666666666666667")


@pytest.mark.parametrize(("currency", "fees"), [("USDT", "0.05"), ("BNB", "0")])
def test_a_fee_counts_in_the_quote_currency(currency: str, fees: str) -> None:
    ledger, _ = apply(ledger=FLAT, fill=replace(FILL, fee_currency=currency))
    assert (ledger.fees, ledger.quantity) == (D(fees), D(1))


def test_a_fee_in_base_leaves_the_position_and_the_money_right() -> None:
    held = walked(("BUY", "1", "50"))
    ledger, realised = apply(ledger=held, fill=replace(FILL, fee=D("0.001"), fee_currency="BTC"))
    assert (ledger.quantity, ledger.fees, realised) == (D("1.999"), D("0.2"), D("0.025"))
    worth = ledger.quantity * D(100) - D(150)
    open_pnl = unrealised(quantity=ledger.quantity, average_price=ledger.average_price, price=D(100))
    assert ledger.realised_pnl + open_pnl - D("0.1") == worth


def test_a_rebate_in_base_adds_to_the_position() -> None:
    ledger, _ = apply(ledger=FLAT, fill=replace(FILL, fee=D("-0.001"), fee_currency="BTC"))
    assert (ledger.quantity, ledger.fees) == (D("1.001"), D("-0.1"))


def test_no_fee_in_base_is_no_fee() -> None:
    ledger, _ = apply(ledger=FLAT, fill=replace(FILL, fee=D(0), fee_currency="BTC"))
    assert (ledger.quantity, ledger.fees) == (D(1), D(0))


@pytest.mark.parametrize("name", ["quantity", "price", "fee"])
@pytest.mark.parametrize("value", [1, 1.5, "1", None, D("NaN")])
def test_what_is_no_amount_is_a_value_error(name: str, value: object) -> None:
    fill: dict[str, Any] = {"quantity": D(1), "price": D(1), "fee": D(0), name: value}
    with pytest.raises(ValueError, match=name):
        add_fill(ledger=FLAT, side=Side.BUY, **fill)


@pytest.mark.parametrize(
    ("quantity", "average", "price", "expected"),
    [("2", "100", "110", "20"), ("-2", "100", "110", "-20"), ("0", None, "110", "0")],
)
def test_unrealised(quantity: str, average: str | None, price: str, expected: str) -> None:
    average_price = None if average is None else D(average)
    assert unrealised(quantity=D(quantity), average_price=average_price, price=D(price)) == D(expected)


def test_an_open_quantity_has_an_average_price() -> None:
    with pytest.raises(ValueError, match="average price"):
        unrealised(quantity=D(1), average_price=None, price=D(1))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"direction": Direction.FLAT}, "flat"),
        ({"fee_rate": D(1)}, "below 1"),
        ({"fee_rate": D("-0.0001")}, "from 0"),
        ({"average_price": D(0)}, "average_price"),
    ],
)
def test_breakeven_refuses(changes: dict[str, Any], reason: str) -> None:
    asked: dict[str, Any] = {"direction": Direction.LONG, "average_price": D(100), "fee_rate": D("0.001")}
    with pytest.raises(ValueError, match=reason):
        breakeven_price(**{**asked, **changes})


prices = st.decimals(min_value="0.01", max_value="100000", places=6)


@given(
    direction=st.sampled_from([Direction.LONG, Direction.SHORT]),
    average=st.decimals(min_value="1", max_value="100000", places=6),
    rate=st.decimals(min_value="0", max_value="0.01", places=6),
)
def test_closing_at_breakeven_covers_both_fees(direction: Direction, average: Decimal, rate: Decimal) -> None:
    exact = breakeven_price(direction=direction, average_price=average, fee_rate=rate)
    ticked = breakeven_to_tick(direction=direction, price=exact, tick_size=D("0.01"))
    sign = 1 if direction is Direction.LONG else -1
    with localcontext(Context(prec=60)):
        for price in (exact, ticked):
            assert (price - average) * sign - rate * average - rate * price >= 0
        short_of_it = exact - sign * D("1E-17")
        assert (short_of_it - average) * sign - rate * average - rate * short_of_it < 0


moves = st.lists(
    st.tuples(st.sampled_from(Side), st.decimals(min_value="0.001", max_value="50", places=3), prices),
    max_size=25,
)


@given(moves=moves, last=prices)
def test_the_ledger_is_worth_the_cash_that_moved(
    moves: list[tuple[Side, Decimal, Decimal]], last: Decimal
) -> None:
    ledger, cash, net = FLAT, D(0), D(0)
    with localcontext(Context(prec=80)):
        for side, quantity, price in moves:
            ledger, _ = add_fill(ledger=ledger, side=side, quantity=quantity, price=price, fee=D("0.5"))
            cash -= side.sign * quantity * price
            net += side.sign * quantity
        open_pnl = unrealised(quantity=ledger.quantity, average_price=ledger.average_price, price=last)
        assert ledger.quantity == net
        assert (ledger.average_price is None) == (net == 0)
        assert abs(ledger.realised_pnl + open_pnl - (cash + net * last)) < D("1E-12")
        assert ledger.fees == D("0.5") * len(moves)


@given(moves=moves)
def test_the_callers_context_does_not_matter(moves: list[tuple[Side, Decimal, Decimal]]) -> None:
    fills = [
        replace(FILL, trade_id=str(n), side=side, quantity=quantity, price=price)
        for n, (side, quantity, price) in enumerate(moves)
    ]
    expected = after(fills)
    with localcontext(Context(prec=2, traps=[])):
        assert after(fills) == expected
