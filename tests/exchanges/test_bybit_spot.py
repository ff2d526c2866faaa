"""What is peculiar to Bybit's spot: requests to the byte, stops whose direction nobody tells, the wallet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from exchanges import Credentials, connect
from exchanges._http import Hosts
from tests.conftest import Clock
from tests.emulator import bybit_spot
from tests.emulator.server import Server
from tests.exchanges.spot_bench import BTC, SPOT, SpotBench, order
from trading.errors import (
    BadCredentials,
    Denied,
    DuplicateOrder,
    InsufficientFunds,
    InvalidOrder,
    OrderNotFound,
    Rejected,
)
from trading.model import Order, OrderStatus, OrderType, Role, Side, TimeInForce

D = Decimal
CREATE, CANCEL = "POST /v5/order/create", "POST /v5/order/cancel"


class Bench(SpotBench):
    def bodies(self, on: str) -> list[dict[str, Any]]:
        return [json.loads(seen.body) for seen in self.server.log if seen.key[0] == on]


@pytest.fixture
def bench(clock: Clock) -> Iterator[Bench]:
    # Calls in a second are counted by a clock that stands still here.
    engine, dialect = bybit_spot.build(clock, own={"BTC": D("0.7")}, limited=False)
    with Server(dialect, engine) as server:
        yield Bench("BYBIT", "BYBIT", clock, server)


ENTRY = order("e", Role.ENTRY, side=Side.BUY)
STOP = order("sl", Role.STOP, type=OrderType.STOP, trigger_price=D(59000))
SALE = order("tp", Role.TARGET, type=OrderType.LIMIT, price=D(59500), time_in_force=TimeInForce.IOC)


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (ENTRY, {"side": "Buy", "orderType": "Market", "marketUnit": "baseCoin"}),
        (
            replace(ENTRY, type=OrderType.LIMIT, price=D("59000.10")),
            {"side": "Buy", "orderType": "Limit", "price": "59000.10", "timeInForce": "GTC"},
        ),
        (SALE, {"side": "Sell", "orderType": "Limit", "price": "59500", "timeInForce": "IOC"}),
        (
            STOP,
            {
                "side": "Sell",
                "orderType": "Market",
                "marketUnit": "baseCoin",
                "triggerPrice": "59000",
                "orderFilter": "tpslOrder",
            },
        ),
        (order("x", Role.CLOSE), {"side": "Sell", "orderType": "Market", "marketUnit": "baseCoin"}),
    ],
)
def test_an_order_is_spelt_as_the_venue_wants_it(bench: Bench, made: Order, wanted: dict[str, str]) -> None:
    report = bench.place(made)
    common = {"category": "spot", "symbol": "BTCUSDT", "qty": "0.5", "isLeverage": 0}
    assert bench.bodies(CREATE) == [common | wanted | {"orderLinkId": made.client_order_id}]
    assert (report.client_order_id, report.status) == (made.client_order_id, OrderStatus.ACCEPTED)


def test_a_stop_holds_its_coins_and_shows_its_end(bench: Bench) -> None:
    bench.place(STOP)
    assert bench.account.free("BTC") == D("0.2")
    (told,) = bench.resting(STOP)
    assert (told.client_order_id, told.type, told.trigger_price) == ("a-sl", OrderType.STOP, D(59000))
    gone = bench.exchange.cancel(STOP)
    assert gone is not None
    assert (gone.status, gone.filled_quantity) == (OrderStatus.CANCELED, 0)
    assert bench.bodies(CANCEL)[0]["orderFilter"] == "tpslOrder"
    assert bench.exchange.cancel(STOP) is None
    assert bench.resting(STOP) == ()


def test_a_stop_that_fires_tells_what_it_sold(bench: Bench) -> None:
    bench.place(STOP)
    bench.engine.move(BTC, D(58900))
    told = bench.exchange.order(STOP)
    assert (told.status, told.filled_quantity, told.average_price) == (OrderStatus.FILLED, D("0.5"), D(59000))
    (fill,) = bench.exchange.fills(BTC, since=bench.clock() - timedelta(minutes=1))
    assert (fill.client_order_id, fill.side, fill.fee_currency) == ("a-sl", Side.SELL, "USDT")


@pytest.mark.parametrize("unseen_reads", [0, 1, 9])
def test_a_stop_that_comes_too_late_is_taken_back(clock: Clock, unseen_reads: int) -> None:
    engine, dialect = bybit_spot.build(clock, own={"BTC": D(1)}, limited=False, unseen_reads=unseen_reads)
    with Server(dialect, engine) as server:
        bench = Bench("BYBIT", "BYBIT", clock, server)
        late = replace(STOP, trigger_price=D(60500))
        if unseen_reads < 3:
            with pytest.raises(InvalidOrder, match="took it for a rising one"):
                bench.place(late)
        else:
            bench.place(late)
            dialect._unseen.clear()
            assert bench.resting(late) == ()
        assert bench.account.orders(open=True) == []
        assert bench.exchange.order(late).status is OrderStatus.CANCELED


def test_what_a_person_wants_to_sell_higher_is_left_alone(bench: Bench) -> None:
    bench.account.submit(BTC, Side.SELL, OrderType.MARKET, D("0.1"), trigger=D(70000), rises=True)
    bench.account.submit(BTC, Side.SELL, OrderType.MARKET, D("0.1"), trigger=D(50000), holds=False)
    theirs = bench.resting(STOP)
    assert [told.client_order_id for told in theirs] == [None, None]
    for told in (*theirs, *theirs):
        bench.clock.advance(1)
        bench.exchange.cancel_report(told)
    # What was cancelled is listed as open for a moment.
    bench.resting()
    assert bench.resting() == ()


def test_a_position_is_all_that_the_account_holds(bench: Bench) -> None:
    bench.place(ENTRY)
    look = bench.exchange.look(BTC, ours=())
    assert look.position.quantity == D("0.7") + D("0.4995")
    assert bench.exchange.position(BTC) == look.position
    assert bench.exchange.positions() == ()
    bench.place(replace(ENTRY, client_order_id="a-e2", type=OrderType.LIMIT, price=D(59000)))
    balance = bench.exchange.balance(BTC)
    assert (balance.currency, balance.total, balance.free) == ("USDT", D(70000), D(40500))


def test_the_rules_are_those_that_are_not_deprecated(bench: Bench) -> None:
    instrument = bench.exchange.instrument(BTC)
    assert (instrument.symbol, instrument.kind, instrument.tick_size) == (BTC, SPOT, D("0.1"))
    assert (instrument.lot_size, instrument.min_quantity) == (D("0.000001"), D("0.000001"))
    assert (instrument.min_notional, instrument.max_quantity, instrument.max_stops) == (D(5), D("41.5"), 30)
    assert bench.exchange.max_leverage(BTC) == 1
    assert [candle.close for candle in bench.exchange.candles(BTC, "60", 2)] == [60000]
    with pytest.raises(InvalidOrder, match="is not traded there"):
        bench.exchange.instrument("LUNA-USDT")


def test_an_entry_asks_for_three_things_side_by_side(bench: Bench) -> None:
    bench.exchange.prepare(BTC, ours=(), leverage=D(3))
    bench.server.reset_log()
    terms = bench.exchange.prepare(BTC, ours=(), leverage=D(3))
    assert (terms.price, terms.balance.free, terms.look.position.quantity) == (60000, 100_000, D("0.7"))
    assert sorted(seen.key[0] for seen in bench.server.log) == [
        "GET /v5/account/wallet-balance",
        "GET /v5/market/tickers",
        "GET /v5/order/realtime",
    ]


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (replace(ENTRY, quantity=D(2)), InsufficientFunds),
        (replace(STOP, quantity=D("0.8")), InsufficientFunds),
        (replace(ENTRY, quantity=D("0.0000005")), InvalidOrder),
        (replace(ENTRY, quantity=D("0.00005")), InvalidOrder),
        (replace(STOP, trigger_price=D(60000)), InvalidOrder),
    ],
)
def test_a_refusal_says_what_to_do_next(bench: Bench, made: Order, kind: type[Rejected]) -> None:
    with pytest.raises(kind):
        bench.place(made)
    with pytest.raises(OrderNotFound):
        bench.exchange.order(made)


def test_an_id_is_never_taken_twice(bench: Bench) -> None:
    bench.place(ENTRY)
    with pytest.raises(DuplicateOrder):
        bench.place(ENTRY)


def test_a_pair_is_not_sent(bench: Bench) -> None:
    with pytest.raises(ValueError, match="cannot rest as one"):
        bench.exchange.place(SALE, signed_at=bench.exchange.time(), stop=STOP)


def test_an_exit_takes_every_kind_of_order_the_stop_last(bench: Bench) -> None:
    bench.place(STOP)
    bench.account.submit(BTC, Side.SELL, OrderType.LIMIT, D("0.1"), price=D(70000))
    bench.exchange.cancel_all(BTC)
    assert bench.account.orders(open=True) == []
    kinds = [body["orderFilter"] for body in bench.bodies("POST /v5/order/cancel-all")]
    assert (kinds[0], kinds[-1], len(set(kinds))) == ("Order", "tpslOrder", 5)


def test_a_check_tells_the_wallet_and_a_bad_key(bench: Bench) -> None:
    assert "100000 of 100000 USDT are free for spot" in [each.text for each in bench.exchange.check()]
    bench.account.key = "another"
    (finding,) = bench.exchange.check()
    assert finding.fatal
    with pytest.raises(BadCredentials):
        bench.exchange.position(BTC)


def test_a_network_that_is_none_is_refused(clock: Clock) -> None:
    with pytest.raises(Denied, match="no network"):
        connect(
            "BYBIT", Credentials(key="k", secret="s"), network="moon", hosts=Hosts(clock), urls={}, kind=SPOT
        )
