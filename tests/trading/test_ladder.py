"""The ladder: what is planned for an entry, and that its parts always fit the whole."""

from __future__ import annotations

import doctest
from dataclasses import replace
from decimal import Context, Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading import ladder
from trading.errors import Denied
from trading.ladder import client_order_id, plan, targets
from trading.model import (
    Alert,
    AlertKind,
    Instrument,
    InstrumentKind,
    Levels,
    Order,
    OrderType,
    Plan,
    Role,
    Rung,
    Side,
    TimeInForce,
)

D = Decimal
ID = "018c2f3a9b7c00d1e2f3"
PERP = Instrument(
    symbol="BTC-USDT-PERP",
    base="BTC",
    quote="USDT",
    kind=InstrumentKind.PERPETUAL,
    tick_size=D("0.1"),
    lot_size=D("0.001"),
    min_quantity=D("0.001"),
)
RUNGS = tuple(Rung(number=n, multiple=D(n)) for n in (1, 2, 3))
ENTRY = Alert(
    kind=AlertKind.ENTRY,
    message="entry",
    ticker="BTCUSDTPERP",
    symbol="BTC-USDT-PERP",
    exchange="BINANCE",
    subaccount="main",
    account="MAIN",
    fingerprint="0",
    side=Side.BUY,
    long=Levels(stop=D("90.04"), target=D(150)),
    short=Levels(stop=D("109.96"), target=D(50)),
    target_close_percent=D(25),
    rungs=RUNGS,
)


def planned(**changes: Any) -> Plan:
    quantity, price = changes.pop("quantity", D(1)), changes.pop("price", D(100))
    instrument = changes.pop("instrument", PERP)
    alert = replace(ENTRY, **changes)
    return plan(intent_id=ID, alert=alert, instrument=instrument, quantity=quantity, price=price)


def laid_out(**changes: Any) -> tuple[tuple[Order, ...], tuple[str, ...]]:
    asked: dict[str, Any] = {
        "intent_id": ID,
        "symbol": PERP.symbol,
        "side": Side.BUY,
        "quantity": D(1),
        "price": D(100),
        "stop": D(90),
        "target": D(150),
        "close_percent": D(25),
        "rungs": RUNGS,
        "instrument": PERP,
    }
    return targets(**{**asked, **changes})


def shape(orders: tuple[Order, ...]) -> list[tuple[str, str, str]]:
    return [(o.client_order_id.removeprefix(f"{ID}-"), str(o.quantity), str(o.price)) for o in orders]


def total(orders: tuple[Order, ...]) -> Decimal:
    with localcontext(Context(prec=60)):
        return sum((order.quantity for order in orders), D(0))


def test_the_docstrings_tell_the_truth() -> None:
    assert doctest.testmod(ladder).failed == 0


def test_a_market_long() -> None:
    made = planned()
    entry, stop = made.entry, made.stop
    assert (entry.client_order_id, entry.role, entry.side) == (f"{ID}-e", Role.ENTRY, Side.BUY)
    assert (entry.type, entry.time_in_force, entry.price) == (OrderType.MARKET, TimeInForce.IOC, None)
    assert (stop.client_order_id, stop.role, stop.side) == (f"{ID}-sl", Role.STOP, Side.SELL)
    assert (stop.type, stop.trigger_price, stop.reduce_only) == (OrderType.STOP, D("90.1"), True)
    assert entry.quantity == stop.quantity == D(1)
    assert not entry.reduce_only
    assert shape(made.targets) == [
        ("tp1", "0.250", "109.9"),
        ("tp2", "0.250", "119.9"),
        ("tp3", "0.250", "129.8"),
        ("tp", "0.250", "150.0"),
    ]
    assert made.notes == ()
    for order in made.targets:
        assert (order.role, order.side, order.type) == (Role.TARGET, Side.SELL, OrderType.LIMIT)
        assert (order.reduce_only, order.time_in_force) == (True, TimeInForce.GTC)
    assert [order.rung for order in made.targets] == [1, 2, 3, 0]


def test_a_limit_short_mirrors_it() -> None:
    alert = replace(ENTRY, side=Side.SELL, order_type=OrderType.LIMIT, price=D(100))
    made = plan(intent_id=ID, alert=alert, instrument=PERP, quantity=D(1), price=D(100))
    assert made.entry.side is Side.SELL
    assert made.stop.trigger_price == D("109.9")
    assert made.stop.side is Side.BUY
    assert [str(order.price) for order in made.targets] == ["90.1", "80.1", "70.2", "50.0"]


@pytest.mark.parametrize(("side", "expected"), [(Side.BUY, "100.0"), (Side.SELL, "100.1")])
def test_a_limit_entry_is_never_worse(side: Side, expected: str) -> None:
    alert = replace(ENTRY, side=side, order_type=OrderType.LIMIT, price=D("100.05"))
    made = plan(intent_id=ID, alert=alert, instrument=PERP, quantity=D(1), price=D("100.05"))
    assert (str(made.entry.price), made.entry.type) == (expected, OrderType.LIMIT)
    assert made.entry.time_in_force is TimeInForce.GTC


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"long": Levels()}, "long SL is missing"),
        ({"side": Side.SELL, "short": Levels()}, "short SL is missing"),
        ({"long": Levels(stop=D(101))}, "long SL 101 is not below the price 100"),
        ({"long": Levels(stop=D("99.91"))}, "long SL 100 is not below the price 100"),
        ({"side": Side.SELL, "short": Levels(stop=D(99))}, "short SL 99 is not above the price 100"),
        ({"side": Side.SELL, "short": Levels(stop=D("0.01"))}, "below one tick"),
        ({"long": Levels(stop=D(90), target=D(100))}, "long TP 100 is on the wrong side"),
        ({"target_close_percent": None}, "tp Close is missing"),
        ({"order_type": OrderType.LIMIT}, "price is missing"),
    ],
)
def test_denied_before_anything_is_planned(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Denied, match=reason):
        planned(**changes)


def test_a_limit_price_below_one_tick_is_denied() -> None:
    alert = replace(ENTRY, order_type=OrderType.LIMIT, price=D("0.01"), long=Levels(stop=D("0.001")))
    with pytest.raises(Denied, match="below one tick"):
        plan(intent_id=ID, alert=alert, instrument=PERP, quantity=D(1), price=D("0.01"))


def test_only_entries_in_whole_lots_are_planned() -> None:
    with pytest.raises(ValueError, match="only an entry"):
        planned(kind=AlertKind.EXIT)
    with pytest.raises(ValueError, match="only an entry"):
        planned(side=None)
    with pytest.raises(ValueError, match="whole number of lots"):
        planned(quantity=D("1.0005"))


def test_a_rung_under_the_minimum_joins_the_next() -> None:
    instrument = replace(PERP, min_quantity=D("0.4"))
    orders, notes = laid_out(instrument=instrument)
    assert shape(orders) == [("tp2", "0.500", "120.0"), ("tp", "0.500", "150.0")]
    assert notes == (
        "tp1: 0.25 BTC is under the minimum of 0.4; it joins tp2",
        "tp3: 0.25 BTC is under the minimum of 0.4; it joins tp",
    )


def test_the_minimum_order_value_counts_at_the_rungs_own_price() -> None:
    orders, notes = laid_out(instrument=replace(PERP, min_notional=D(29)))
    assert [leg for leg, _, _ in shape(orders)] == ["tp2", "tp3", "tp"]
    assert notes == ("tp1: 27.5 USDT is under the minimum order value of 29; it joins tp2",)


def test_a_final_target_too_small_joins_the_rung_before() -> None:
    orders, notes = laid_out(close_percent=D(33), instrument=replace(PERP, min_quantity=D("0.1")))
    assert [quantity for _, quantity, _ in shape(orders)] == ["0.330", "0.330", "0.340"]
    assert notes == ("tp: 0.01 BTC is under the minimum of 0.1; it joins tp3",)


def test_nothing_left_for_the_final_target_is_told() -> None:
    orders, notes = laid_out(close_percent=D(40))
    assert [quantity for _, quantity, _ in shape(orders)] == ["0.400", "0.400", "0.200"]
    assert notes == ("tp: nothing is left for it",)


def test_rungs_that_ask_for_more_than_all_get_what_is_left() -> None:
    orders, notes = laid_out(close_percent=D(50), target=None)
    assert [quantity for _, quantity, _ in shape(orders)] == ["0.500", "0.500"]
    assert notes == ("tp3: nothing is left for it; it is dropped and rides on the stop",)


def test_everything_may_join_the_final_target() -> None:
    orders, notes = laid_out(instrument=replace(PERP, min_quantity=D(1)))
    assert shape(orders) == [("tp", "1.000", "150.0")]
    assert len(notes) == 3


def test_a_whole_under_the_minimum_still_gets_its_target() -> None:
    orders, notes = laid_out(instrument=replace(PERP, min_quantity=D(2)))
    assert shape(orders) == [("tp", "1.000", "150.0")]
    assert notes[-1] == "tp: 1 BTC is under the minimum of 2; it is sent all the same"


def test_less_than_one_lot_has_no_target() -> None:
    orders, notes = laid_out(quantity=D("0.0009"), rungs=())
    assert (orders, notes) == ((), ("tp: nothing is left for it",))


def test_without_a_final_target_the_rest_rides_on_the_stop() -> None:
    orders, notes = laid_out(target=None)
    assert (total(orders), notes) == (D("0.75"), ())


def test_without_a_final_target_a_last_rung_too_small_is_dropped() -> None:
    orders, notes = laid_out(target=None, instrument=replace(PERP, min_quantity=D("0.4")))
    assert [leg for leg, _, _ in shape(orders)] == ["tp2"]
    assert notes[-1] == "tp3: 0.25 BTC is under the minimum of 0.4; it is dropped and rides on the stop"


def test_rungs_of_a_hundred_percent_leave_no_odd_lots() -> None:
    rungs = (*RUNGS, Rung(number=4, multiple=D(4)))
    orders, notes = laid_out(target=None, rungs=rungs, quantity=D("0.007"))
    assert [quantity for _, quantity, _ in shape(orders)] == ["0.001", "0.001", "0.001", "0.004"]
    assert notes == ()
    with_final, _ = laid_out(rungs=rungs, quantity=D("0.007"))
    assert [quantity for _, quantity, _ in shape(with_final)] == ["0.001"] * 4 + ["0.003"]


def test_no_target_asked_for_is_none() -> None:
    assert laid_out(target=None, rungs=(), close_percent=None) == ((), ())


def test_a_shorts_rung_below_zero_joins_the_final_target() -> None:
    orders, notes = laid_out(side=Side.SELL, stop=D(150), target=D(20))
    assert shape(orders) == [("tp1", "0.250", "50.0"), ("tp", "0.750", "20.0")]
    assert notes[0] == "tp2: its price would not be above zero; it joins tp3"


def test_rungs_are_taken_by_their_numbers_and_may_share_a_price() -> None:
    rungs = (Rung(number=2, multiple=D("1.001")), Rung(number=1, multiple=D(1)))
    orders, _ = laid_out(rungs=rungs)
    assert shape(orders)[:2] == [("tp1", "0.250", "110.0"), ("tp2", "0.250", "110.0")]


@pytest.mark.parametrize(
    ("side", "price", "target", "tick", "expected"),
    [
        (Side.BUY, "100.05", "100.08", "0.1", "100.1"),
        (Side.SELL, "100.05", "100.02", "0.1", "100.0"),
        (Side.SELL, "1", "0.5", "1", "1"),
        (Side.BUY, "100", "99.99", "0.1", "99.9"),
    ],
)
def test_a_target_never_rounds_back_onto_the_entry(
    side: Side, price: str, target: str, tick: str, expected: str
) -> None:
    instrument = replace(PERP, tick_size=D(tick))
    stop = D(90) if side is Side.BUY else D(110)
    orders, _ = laid_out(
        side=side, price=D(price), stop=stop, target=D(target), rungs=(), instrument=instrument
    )
    assert [str(order.price) for order in orders] == [expected]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"close_percent": None}, "close_percent must be a Decimal"),
        ({"close_percent": D(0)}, "close_percent must be above zero"),
        ({"rungs": (Rung(number=1, multiple=D(0)),)}, "tp1 Mult must be above zero"),
        ({"rungs": (Rung(number=1, multiple=D(1)),) * 2}, "each once"),
        ({"rungs": (Rung(number=0, multiple=D(1)),)}, "numbered from 1"),
        ({"target": D(-1)}, "target must be above zero"),
        ({"quantity": 1}, "quantity must be a Decimal"),
        ({"price": D(0)}, "price must be above zero"),
    ],
)
def test_what_cannot_be_computed_is_a_value_error(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        laid_out(**changes)


@pytest.mark.parametrize(
    ("leg", "attempt", "expected"),
    [("e", 1, f"{ID}-e"), ("tp12", 1, f"{ID}-tp12"), ("sl", 3, f"{ID}-sl-3"), ("tp", 1, f"{ID}-tp")],
)
def test_client_order_ids(leg: str, attempt: int, expected: str) -> None:
    assert client_order_id(intent_id=ID, leg=leg, attempt=attempt) == expected


@pytest.mark.parametrize(
    ("intent_id", "leg", "attempt", "reason"),
    [
        (ID, "tp0", 1, "no leg"),
        (ID, "", 1, "no leg"),
        (ID, "x", 0, "count from 1"),
        ("f" * 35, "e", 1, "refuse"),
        ("a b", "e", 1, "refuse"),
    ],
)
def test_ids_that_a_venue_would_refuse(intent_id: str, leg: str, attempt: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        client_order_id(intent_id=intent_id, leg=leg, attempt=attempt)


lots = st.sampled_from([D("0.001"), D("0.25"), D(1), D(10)])


@given(
    count=st.integers(1, 100_000),
    lot=lots,
    least=st.integers(0, 200),
    min_notional=st.integers(0, 5000),
    percent=st.decimals(min_value="0.1", max_value="100", places=1),
    multiples=st.lists(st.decimals(min_value="0.1", max_value="30", places=2), max_size=12),
    final=st.booleans(),
    side=st.sampled_from(Side),
    distance=st.decimals(min_value="0.2", max_value="60", places=3),
)
def test_the_parts_fit_the_whole(
    count: int,
    lot: Decimal,
    least: int,
    min_notional: int,
    percent: Decimal,
    multiples: list[Decimal],
    final: bool,
    side: Side,
    distance: Decimal,
) -> None:
    whole = lot * count
    instrument = replace(PERP, lot_size=lot, min_quantity=lot * least, min_notional=D(min_notional))
    asked = {
        "side": side,
        "quantity": whole,
        "stop": D(100) - side.sign * distance,
        "target": D(100) + side.sign * D(40) if final else None,
        "close_percent": percent,
        "rungs": tuple(Rung(number=n, multiple=m) for n, m in enumerate(multiples, 1)),
        "instrument": instrument,
    }
    orders, notes = laid_out(**asked)
    with localcontext(Context(prec=2, traps=[])):
        assert laid_out(**asked) == (orders, notes)
    assert total(orders) == whole if final else total(orders) <= whole
    assert len({order.client_order_id for order in orders}) == len(orders)
    assert len(orders) + len(notes) >= len(multiples) + final
    for order in orders:
        assert order.quantity % lot == 0
        assert order.price is not None
        assert order.price % instrument.tick_size == 0
        assert (order.price - 100) * side.sign > 0
        too_small = order.quantity < instrument.min_quantity or (
            order.quantity * order.price < instrument.min_notional
        )
        assert not too_small or (len(orders) == 1 and order.rung == 0)


@given(
    price=st.decimals(min_value="10", max_value="100000", places=4),
    share=st.decimals(min_value="0.05", max_value="0.5", places=4),
    side=st.sampled_from(Side),
    order_type=st.sampled_from([OrderType.MARKET, OrderType.LIMIT]),
    count=st.integers(1, 10_000),
)
def test_rounding_never_raises_risk(
    price: Decimal, share: Decimal, side: Side, order_type: OrderType, count: int
) -> None:
    stop = price * (1 - side.sign * share)
    alert = replace(
        ENTRY,
        side=side,
        order_type=order_type,
        price=price,
        long=Levels(stop=stop),
        short=Levels(stop=stop),
        rungs=(),
    )
    quantity = PERP.lot_size * count
    made = plan(intent_id=ID, alert=alert, instrument=PERP, quantity=quantity, price=price)
    assert made.stop.trigger_price is not None
    entered = made.entry.price or price
    assert (entered - made.stop.trigger_price) * side.sign <= (price - stop) * side.sign
    assert made.stop.quantity == made.entry.quantity == quantity
    assert made.targets == ()
    with localcontext(Context(prec=2, traps=[])):
        poor = plan(intent_id=ID, alert=alert, instrument=PERP, quantity=quantity, price=price)
    assert poor == made
