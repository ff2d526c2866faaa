"""The emulated exchange is as strict as a real one, and its numbers agree after every act."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from tests.emulator.engine import Account, Engine, Kind, Listing, Reason, Refusal, Rules, State, Unique
from trading.model import Instrument, InstrumentKind, OrderType, Side

D = Decimal
BUY, SELL, MARKET, LIMIT = Side.BUY, Side.SELL, OrderType.MARKET, OrderType.LIMIT
BTC = "BTC-USDT-PERP"

LISTING = Listing(
    symbol=BTC,
    venue_symbol="BTCUSDT",
    max_leverage=D(20),
    instrument=Instrument(
        symbol=BTC,
        base="BTC",
        quote="USDT",
        kind=InstrumentKind.PERPETUAL,
        tick_size=D("0.1"),
        lot_size=D("0.001"),
        min_quantity=D("0.002"),
        max_quantity=D(50),
        min_notional=D(5),
    ),
)


def _open(
    clock: Callable[[], datetime], rules: Rules | None = None, **account: Any
) -> tuple[Engine, Account]:
    engine = Engine(clock, rules)
    engine.list(LISTING, D(100))
    return engine, engine.open(Account("key", "secret", **account))


@pytest.mark.parametrize(
    ("order", "kind"),
    [
        ({"symbol": "ETH-USDT-PERP"}, Kind.UNKNOWN_SYMBOL),
        ({"quantity": D(0)}, Kind.MIN_QUANTITY),
        ({"quantity": D("0.001")}, Kind.MIN_QUANTITY),
        ({"quantity": D("50.001")}, Kind.MAX_QUANTITY),
        ({"quantity": D("1.0005")}, Kind.LOT),
        ({"quantity": D("0.049")}, Kind.MIN_NOTIONAL),
        ({"type": LIMIT, "price": D("99.95")}, Kind.TICK),
        ({"type": LIMIT}, Kind.PARAMETER),
        ({"trigger": D("110.05")}, Kind.TICK),
        ({"trigger": D(100)}, Kind.TRIGGERS_AT_ONCE),
        ({"trigger": D(100), "rises": False}, Kind.TRIGGERS_AT_ONCE),
        ({"attached_stop": D(100)}, Kind.STOP_SIDE),
        ({"type": LIMIT, "price": D(90), "attached_stop": D(95)}, Kind.STOP_SIDE),
        ({"attached_stop": D(90), "reduce_only": True}, Kind.PARAMETER),
        ({"reduce_only": True}, Kind.REDUCE_ONLY),
        ({"side": SELL, "trigger": D(90), "whole_position": True, "quantity": None}, Kind.NO_POSITION),
        ({"quantity": D(11)}, Kind.MARGIN),
    ],
)
def test_what_is_wrong_is_refused_and_leaves_nothing(
    clock: Callable[[], datetime], order: dict[str, Any], kind: Kind
) -> None:
    _, account = _open(clock, cash=D(100))
    with pytest.raises(Refusal) as refusal:
        account.submit(**{"symbol": BTC, "side": BUY, "type": MARKET, "quantity": D(1)} | order)
    assert refusal.value.kind is kind
    assert (account.records, account.fills, account.cash) == ({}, [], D(100))


def test_margin_is_held_by_limits_and_not_by_conditional_orders(clock: Callable[[], datetime]) -> None:
    _, account = _open(clock, cash=D(100), leverage=D(1))
    account.submit(BTC, BUY, MARKET, D("0.9"), trigger=D(101))
    assert account.free() == D(100)
    account.submit(BTC, BUY, LIMIT, D("0.5"), price=D(90))
    assert account.free() == D(55)


def test_a_trigger_without_margin_makes_no_order(clock: Callable[[], datetime]) -> None:
    engine, account = _open(clock, cash=D(100), leverage=D(1))
    stop = account.submit(BTC, BUY, MARKET, D(2), trigger=D(101))
    engine.move(BTC, D(102))
    assert (stop.state, stop.reason, stop.triggered_order_id) == (State.EXPIRED, Reason.MARGIN, None)
    assert account.position(BTC).is_flat


def test_a_hedged_account_takes_no_one_way_order(clock: Callable[[], datetime]) -> None:
    _, account = _open(clock, hedge=True)
    with pytest.raises(Refusal, match="hedge"):
        account.submit(BTC, BUY, MARKET, D(1))
    account.set_hedge(False)
    account.submit(BTC, BUY, MARKET, D(1))
    with pytest.raises(Refusal, match="position"):
        account.set_hedge(True)


def test_an_id_is_used_once_or_once_at_a_time(clock: Callable[[], datetime]) -> None:
    _, account = _open(clock)
    account.submit(BTC, BUY, MARKET, D(1), client_id="a")
    with pytest.raises(Refusal, match="client id a is used"):
        account.submit(BTC, BUY, MARKET, D(1), client_id="a")
    again = account.submit(BTC, BUY, MARKET, D(1), client_id="a", unique=Unique.OPEN)
    assert account.find(client_id="a") is again
    account.submit(BTC, BUY, LIMIT, D(1), price=D(90), client_id="b")
    with pytest.raises(Refusal, match="client id b is used"):
        account.submit(BTC, BUY, MARKET, D(1), client_id="b", unique=Unique.OPEN)
    # Conditional orders have ids of their own unless the rules say otherwise.
    account.submit(BTC, SELL, MARKET, D(1), trigger=D(90), client_id="a", reduce_only=True)


def test_a_price_meets_what_lies_on_its_path_in_that_order(clock: Callable[[], datetime]) -> None:
    engine, account = _open(clock)
    entry = account.submit(BTC, BUY, LIMIT, D(1), price=D(95))
    stop = account.submit(BTC, SELL, MARKET, D(1), trigger=D(90), reduce_only=True, client_id="s")
    engine.move(BTC, D(80))
    (made,) = account.made_by(stop)
    assert (entry.average, made.average) == (D(95), D(90))
    assert (stop.state, stop.triggered_order_id, made.parent_client_id) == (State.TRIGGERED, made.id, "s")
    assert made.id > stop.id
    assert [(fill.maker, fill.realised, fill.closed) for fill in account.fills] == [
        (True, 0, 0),
        (False, D(-5), 1),
    ]
    fees = D(95) * D("0.0002") + D(90) * D("0.0005")
    assert account.cash == account.equity() == 100_000 - 5 - fees


def test_a_stop_that_finds_no_position_makes_no_order(clock: Callable[[], datetime]) -> None:
    engine, account = _open(clock)
    stop = account.submit(BTC, SELL, MARKET, D(1), trigger=D(90), reduce_only=True)
    engine.move(BTC, D(80))
    assert (stop.state, stop.reason) == (State.EXPIRED, Reason.NOTHING_TO_REDUCE)
    assert account.fills == []


def test_too_little_liquidity_fills_in_part(clock: Callable[[], datetime]) -> None:
    engine, account = _open(clock)
    with engine.thin():
        market = account.submit(BTC, BUY, MARKET, D("0.1"))
        limit = account.submit(BTC, BUY, LIMIT, D("0.1"), price=D(101))
    assert (market.state, market.filled, market.reason) == (State.CANCELED, D("0.033"), Reason.NO_LIQUIDITY)
    assert (limit.state, limit.filled) == (State.PARTIALLY_FILLED, D("0.033"))
    engine.move(BTC, D(100))
    assert limit.state is State.FILLED


def test_a_stop_that_retries_goes_on_until_the_position_is_gone(clock: Callable[[], datetime]) -> None:
    engine, account = _open(clock)
    account.submit(BTC, BUY, MARKET, D(3))
    stop = account.submit(BTC, SELL, MARKET, D(3), trigger=D(90), reduce_only=True, retry=True)
    engine.liquidity[BTC] = D(2)
    engine.move(BTC, D(89))
    assert account.position(BTC).quantity == 1
    engine.move(BTC, D(88))
    assert account.position(BTC).is_flat
    assert [made.average for made in account.made_by(stop)] == [D(90), D(89)]


BYBIT = Rules(separate_triggers=False, shared_ids=True, reduce_only_goes=True, max_conditional=2)


def test_an_attached_stop_follows_the_position_and_goes_with_it(clock: Callable[[], datetime]) -> None:
    engine, account = _open(clock, BYBIT)
    entry = account.submit(BTC, BUY, MARKET, D(1), client_id="e", attached_stop=D(90))
    target = account.submit(BTC, SELL, LIMIT, D("0.4"), price=D(110), reduce_only=True)
    stop = account.stop_of(BTC)
    assert stop is not None
    assert (stop.client_id, stop.parent_client_id, stop.parent_id) == (None, "e", entry.id)
    engine.hand(account, BTC, BUY, D(2))
    assert stop.quantity == D(3)
    engine.move(BTC, D(105))
    engine.hand(account, BTC, SELL, D(3))
    assert (stop.state, stop.reason) == (State.CANCELED, Reason.POSITION_GONE)
    assert (target.state, target.reason) == (State.CANCELED, Reason.POSITION_GONE)


def test_a_second_stop_of_the_position_takes_the_place_of_the_first(clock: Callable[[], datetime]) -> None:
    engine, account = _open(clock, BYBIT)
    account.submit(BTC, BUY, MARKET, D(1), attached_stop=D(90))
    first = account.stop_of(BTC)
    account.submit(BTC, BUY, MARKET, D(1), attached_stop=D(95))
    second = account.stop_of(BTC)
    assert first is not None
    assert second is not None
    assert (first.reason, second.trigger, second.quantity) == (Reason.REPLACED, D(95), D(2))
    assert account.set_stop(BTC, D(99)) is second
    for price, text in ((D(99), "nothing changed"), (D(100), "wrong side"), (D("98.95"), "steps of")):
        with pytest.raises(Refusal, match=text):
            account.set_stop(BTC, price)
    engine.move(BTC, D(98))
    assert (second.state, second.filled, second.average) == (State.FILLED, D(2), D(99))
    with pytest.raises(Refusal, match="no position"):
        account.set_stop(BTC, D(99))


def test_a_stop_comes_into_force_within_the_move_that_fills_its_entry(clock: Callable[[], datetime]) -> None:
    engine, account = _open(clock, BYBIT)
    entry = account.submit(BTC, BUY, LIMIT, D(1), price=D(95), attached_stop=D(90), client_id="e")
    assert account.stop_of(BTC) is None
    engine.move(BTC, D(85), D(100))
    stop = account.find(order_id=entry.id + 1)
    assert stop is not None
    assert (entry.average, stop.average, stop.parent_client_id) == (D(95), D(90), "e")


def test_a_flip_ends_the_stop_of_the_old_position(clock: Callable[[], datetime]) -> None:
    _, account = _open(clock, BYBIT)
    account.submit(BTC, BUY, MARKET, D(1), attached_stop=D(90))
    account.submit(BTC, SELL, MARKET, D(3), attached_stop=D(110))
    first, second = account.orders(BTC, conditional=True)
    assert first.reason == Reason.POSITION_GONE
    assert (second.side, second.quantity, second.is_waiting) == (BUY, D(2), True)


def test_what_closes_the_position_exists_once_and_takes_all(clock: Callable[[], datetime]) -> None:
    engine, account = _open(clock)
    account.submit(BTC, BUY, MARKET, D(1))
    stop = account.submit(BTC, SELL, MARKET, None, trigger=D(90), whole_position=True)
    with pytest.raises(Refusal, match="exists"):
        account.submit(BTC, SELL, MARKET, None, trigger=D(80), whole_position=True)
    profit = account.submit(BTC, SELL, MARKET, None, trigger=D(120), rises=True, whole_position=True)
    assert (stop.is_stop, profit.is_stop) == (True, False)
    engine.hand(account, BTC, BUY, D(1))
    engine.move(BTC, D(125))
    (made,) = account.made_by(profit)
    assert (made.filled, made.average, stop.reason) == (D(2), D(120), Reason.POSITION_GONE)


def test_cancelling_says_what_became_of_it(clock: Callable[[], datetime]) -> None:
    _, account = _open(clock, BYBIT)
    account.submit(BTC, BUY, MARKET, D(1), attached_stop=D(90))
    rests = account.submit(BTC, BUY, LIMIT, D(1), price=D(90))
    waits = account.submit(BTC, SELL, MARKET, D(1), trigger=D(95), reduce_only=True)
    with pytest.raises(Refusal) as refusal:
        account.submit(BTC, SELL, MARKET, D(1), trigger=D(94), reduce_only=True)
    assert refusal.value.kind is Kind.TOO_MANY
    assert account.cancel(rests.id).reason == Reason.REQUEST
    for order_id, kind in ((rests.id, Kind.ENDED), (1, Kind.NOT_FOUND)):
        with pytest.raises(Refusal) as refusal:
            account.cancel(order_id)
        assert refusal.value.kind is kind
    assert len(account.cancel_all(BTC, conditional=False)) == 0
    assert waits in account.cancel_all(BTC)
    assert account.orders(open=True) == []


def test_leverage_has_a_most_and_must_leave_margin(clock: Callable[[], datetime]) -> None:
    _, account = _open(clock, cash=D(200))
    account.submit(BTC, BUY, MARKET, D(10))
    for leverage, kind in ((D(21), Kind.LEVERAGE), (D("0.5"), Kind.LEVERAGE), (D(2), Kind.MARGIN)):
        with pytest.raises(Refusal) as refusal:
            account.set_leverage(BTC, leverage)
        assert refusal.value.kind is kind
    account.set_leverage(None, D(20))
    assert account.leverage(BTC) == 20


def test_bars_are_made_of_the_path(clock: Any) -> None:
    engine, _ = _open(clock)
    start = clock()
    engine.move(BTC, D(110), D(90))
    clock.advance(60)
    engine.move(BTC, D(95))
    bars = engine.candles(BTC, timedelta(minutes=1), start, start + timedelta(hours=1))
    assert [(bar.open, bar.high, bar.low, bar.close) for bar in bars] == [
        (100, 110, 90, 90),
        (90, 95, 90, 95),
    ]


@pytest.mark.parametrize("rules", [Rules(), BYBIT], ids=["separate", "same"])
@pytest.mark.parametrize("seed", range(3))
def test_the_numbers_agree_whatever_is_done(clock: Any, rules: Rules, seed: int) -> None:
    draw = Random(seed)
    engine, account = _open(clock, rules, cash=D(300))
    for _ in range(150):
        price = D(draw.randrange(850, 1150)) / 10
        side, quantity = draw.choice((BUY, SELL)), D(draw.randrange(1, 9000)) / 1000
        engine.liquidity[BTC] = draw.choice((None, D(2), D(0)))
        order: dict[str, Any] = draw.choice(
            (
                {"type": MARKET, "attached_stop": draw.choice((None, price))},
                {"type": LIMIT, "price": price, "attached_stop": draw.choice((None, price - 5))},
                {"type": MARKET, "trigger": price, "retry": True},
                {"type": LIMIT, "price": price, "trigger": price, "rises": draw.choice((True, False))},
                {"type": MARKET, "trigger": price, "whole_position": True, "quantity": None},
            )
        )
        order = {"reduce_only": draw.choice((True, False)), "quantity": quantity} | order
        act: Callable[[], object] = draw.choice(
            (
                lambda order=order, side=side: account.submit(BTC, side, **order),
                lambda price=price: engine.move(BTC, price),
                lambda price=price: account.set_stop(BTC, price),
                lambda: account.cancel(draw.choice([one.id for one in account.orders(open=True)] or [0])),
            )
        )
        clock.advance(1)
        try:
            act()
        except Refusal:
            account.check()
        held = account.position(BTC).quantity
        for record in account.orders(open=True):
            assert not record.whole_position or record.quantity == -record.side.sign * held
    assert account.fills
