"""What is peculiar to Binance's spot: requests to the byte, pairs, refusals that only a text tells apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import pytest

from exchanges import Credentials, _api3, connect
from exchanges._http import Hosts, Reply, Request
from tests.conftest import Clock
from tests.emulator import binance_spot
from tests.emulator.server import Server
from tests.exchanges.spot_bench import BTC, SPOT, SpotBench, order
from trading import errors
from trading.errors import Denied, InvalidOrder, OrderNotFound
from trading.model import Order, OrderStatus, OrderType, Role, Side, TimeInForce

D = Decimal


class Bench(SpotBench):
    def last(self, on: str) -> dict[str, str]:
        """The parameters of the newest request, in their order, those of signing left out."""
        seen = [each for each in self.server.log if each.key[0] == on][-1]
        pairs = dict(parse_qsl(seen.query))
        return {name: value for name, value in pairs.items() if name not in ("timestamp", "signature")}


@pytest.fixture
def bench(clock: Clock) -> Iterator[Bench]:
    engine, dialect = binance_spot.build(clock, own={"BTC": D("0.7")})
    with Server(dialect, engine) as server:
        yield Bench("BINANCE", "BINANCE_SPOT", clock, server)


ENTRY = order("e", Role.ENTRY, side=Side.BUY, time_in_force=TimeInForce.IOC)
TARGET = order("tp", Role.TARGET, type=OrderType.LIMIT, price=D("62000.10"))
STOP = order("sl0", Role.STOP, type=OrderType.STOP, trigger_price=D(60000))


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (ENTRY, {"side": "BUY", "type": "MARKET"}),
        (
            replace(ENTRY, type=OrderType.LIMIT, price=D(60500), time_in_force=TimeInForce.GTC),
            {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "60500"},
        ),
        (STOP, {"side": "SELL", "type": "STOP_LOSS", "stopPrice": "60000"}),
        (
            replace(TARGET, time_in_force=TimeInForce.IOC),
            {"side": "SELL", "type": "LIMIT", "timeInForce": "IOC", "price": "62000.1"},
        ),
        (order("x", Role.CLOSE), {"side": "SELL", "type": "MARKET"}),
    ],
)
def test_an_order_is_spelt_as_the_venue_wants_it(bench: Bench, made: Order, wanted: dict[str, str]) -> None:
    report = bench.place(made)
    common = {"symbol": "BTCUSDT", "quantity": "0.5", "newClientOrderId": made.client_order_id}
    common |= {"newOrderRespType": "RESULT", "recvWindow": "2000"}
    assert bench.last("POST /api/v3/order") == common | wanted
    assert (report.client_order_id, report.side) == (made.client_order_id, made.side)


def test_a_target_and_its_stop_are_one_list_with_our_ids_on_both(bench: Bench) -> None:
    report = bench.place(TARGET, STOP)
    assert bench.last("POST /api/v3/orderList/oco") == {
        "symbol": "BTCUSDT",
        "side": "SELL",
        "quantity": "0.5",
        "aboveType": "LIMIT_MAKER",
        "abovePrice": "62000.1",
        "aboveClientOrderId": "a-tp",
        "belowType": "STOP_LOSS",
        "belowStopPrice": "60000",
        "belowClientOrderId": "a-sl0",
        "newOrderRespType": "RESULT",
        "recvWindow": "2000",
    }
    assert (report.client_order_id, report.type, report.status) == (
        "a-tp",
        OrderType.LIMIT,
        OrderStatus.ACCEPTED,
    )
    resting = {told.client_order_id: told for told in bench.exchange.look(BTC, ours=()).resting}
    assert (resting["a-sl0"].type, resting["a-sl0"].trigger_price) == (OrderType.STOP, D(60000))
    gone = bench.exchange.cancel(TARGET)
    assert gone is not None
    assert (gone.client_order_id, gone.status, gone.filled_quantity) == ("a-tp", OrderStatus.CANCELED, 0)
    assert bench.exchange.cancel(STOP) is None
    assert bench.exchange.order(STOP).status is OrderStatus.CANCELED


@pytest.mark.parametrize(
    "pair",
    [
        (TARGET, replace(STOP, quantity=D("0.4"))),
        (replace(TARGET, side=Side.BUY), STOP),
        (replace(TARGET, time_in_force=TimeInForce.IOC), STOP),
        (TARGET, replace(STOP, trigger_price=None)),
    ],
)
def test_what_is_no_pair_is_not_sent(bench: Bench, pair: tuple[Order, Order]) -> None:
    with pytest.raises(ValueError, match=r"pair|price"):
        bench.place(*pair)
    assert not [seen for seen in bench.server.log if seen.method == "POST"]


def test_a_position_is_all_that_the_account_holds(bench: Bench) -> None:
    bench.place(ENTRY)
    look = bench.exchange.look(BTC, ours=())
    assert look.position.quantity == D("0.7") + D("0.4995")
    assert bench.exchange.position(BTC) == look.position
    assert bench.exchange.positions() == ()
    balance = bench.exchange.balance(BTC)
    assert (balance.currency, balance.total, balance.free) == ("USDT", D(69500), D(69500))
    bench.place(
        replace(
            ENTRY, client_order_id="a-e2", type=OrderType.LIMIT, price=D(50000), time_in_force=TimeInForce.GTC
        )
    )
    assert bench.exchange.balance(BTC).free == D(44500)


def test_the_rules_are_the_stricter_of_limit_and_market(bench: Bench) -> None:
    instrument = bench.exchange.instrument(BTC)
    assert (instrument.symbol, instrument.kind, instrument.tick_size) == (BTC, SPOT, D("0.01"))
    assert (instrument.lot_size, instrument.min_quantity) == (D("0.00001"), D("0.00001"))
    assert (instrument.min_notional, instrument.max_quantity, instrument.max_stops) == (D(5), D(1000), 5)
    assert bench.exchange.max_leverage(BTC) == 1
    for untraded in ("LUNA-USDT", "OLD-USDT"):
        with pytest.raises(InvalidOrder, match="is not traded there"):
            bench.exchange.instrument(untraded)
    assert bench.exchange.price(BTC) == 61000
    assert [candle.close for candle in bench.exchange.candles(BTC, "60", 2)] == [61000]


def test_a_look_without_an_entry_asks_no_more_than_it_needs(bench: Bench) -> None:
    bench.exchange.prepare(BTC, ours=(), leverage=D(3))
    bench.server.reset_log()
    terms = bench.exchange.prepare(BTC, ours=(), leverage=D(3))
    assert (terms.price, terms.balance.free, terms.look.position.quantity) == (61000, 100_000, D("0.7"))
    assert sorted(seen.key[0] for seen in bench.server.log) == [
        "GET /api/v3/account",
        "GET /api/v3/openOrders",
        "GET /api/v3/ticker/price",
    ]


def test_executions_are_read_to_the_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    since = bench.clock()
    for _ in range(2):
        for side in (Side.BUY, Side.SELL, Side.BUY):
            bench.engine.hand(bench.account, BTC, side, D("0.1"))
        bench.clock.advance(timedelta(hours=30))
    monkeypatch.setattr("exchanges._api3_spot._PAGE", 2)
    told = bench.exchange.fills(BTC, since=since)
    assert [fill.side for fill in told] == [Side.BUY, Side.SELL, Side.BUY] * 2
    assert len({fill.trade_id for fill in told}) == 6
    assert {fill.fee_currency for fill in told} == {"BTC", "USDT"}
    newest = bench.exchange.fills(BTC, since=since + timedelta(hours=29))
    assert len(newest) == 3


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (-2010, "Account has insufficient balance for requested action.", errors.InsufficientFunds),
        (-2010, "Duplicate order sent.", errors.DuplicateOrder),
        (-2010, "Order would trigger immediately.", InvalidOrder),
        (-2010, "The relationship of the prices for the orders is not correct.", InvalidOrder),
        (-2010, "This account may not place or cancel orders.", errors.BadCredentials),
        (-1013, "Filter failure: NOTIONAL", InvalidOrder),
        (-1013, "Filter failure: MAX_NUM_ALGO_ORDERS", InvalidOrder),
        (-2011, "Unknown order sent.", OrderNotFound),
        (-2013, "Order does not exist.", OrderNotFound),
        (-2026, "Order was canceled or expired with no executed qty over 90 days ago.", OrderNotFound),
        (-1021, "Timestamp for this request is outside of the recvWindow.", errors.StaleRequest),
        (-2015, "Invalid API-key, IP, or permissions for action.", errors.BadCredentials),
        (-1102, "Mandatory parameter 'symbol' was not sent.", InvalidOrder),
        (-1007, "Timeout waiting for response from backend server.", errors.Ambiguous),
        (-1003, "Too many requests.", errors.Throttled),
        (-9999, "Whatever else.", errors.Rejected),
    ],
)
def test_what_a_refusal_proves(clock: Clock, code: int, text: str, kind: type[errors.VenueError]) -> None:
    dialect = _api3.Api3Dialect("ANY", Credentials(key="k", secret="s"), timedelta(seconds=2), clock)
    request = Request(method="POST", path=_api3.ORDER)
    reply = Reply(status=400, headers={}, body={"code": code, "msg": text}, text="", request=request)
    assert type(dialect.judge(reply)) is kind


def test_the_hosts_are_those_of_the_network(clock: Clock) -> None:
    def opened(**more: Any) -> Any:
        asked = {"network": "live", "urls": {}} | more
        return connect("BINANCE", Credentials(key="k", secret="s"), hosts=Hosts(clock), kind=SPOT, **asked)

    hosts = [opened(network=network)._host.url for network in ("live", "testnet", "demo")]
    assert hosts == [
        "https://api.binance.com",
        "https://testnet.binance.vision",
        "https://demo-api.binance.com",
    ]
    with pytest.raises(Denied, match="no network"):
        opened(network="moon")
    with pytest.raises(Denied, match="BINANCE_SPOT_API_URL is not: set it"):
        opened(urls={"BINANCE": "http://127.0.0.1:1"})


def test_a_check_tells_the_wallet_and_a_bad_key(bench: Bench, clock: Callable[[], datetime]) -> None:
    said = [finding.text for finding in bench.exchange.check()]
    assert "100000 of 100000 USDT are free for spot" in said
    bench.account.may_trade = False
    assert "the account may not trade" in [each.text for each in bench.exchange.check() if each.fatal]
    with pytest.raises(errors.BadCredentials):
        bench.exchange.prepare(BTC, ours=(), leverage=D(1))
    bench.account.key = "another"
    (finding,) = bench.exchange.check()
    assert finding.fatal
    assert "spot is enabled" in finding.mend


def test_an_exit_takes_all_of_one_instrument(bench: Bench) -> None:
    bench.place(TARGET, STOP)
    bench.exchange.cancel_all(BTC)
    bench.exchange.cancel_all(BTC)
    assert bench.exchange.look(BTC, ours=()).resting == ()
    bench.engine.hand(bench.account, BTC, Side.BUY, D("0.1"))
    bench.account.submit(BTC, Side.SELL, OrderType.LIMIT, D("0.1"), price=D(70000))
    (theirs,) = bench.exchange.look(BTC, ours=()).resting
    bench.exchange.cancel_report(theirs)
    bench.exchange.cancel_report(theirs)
    assert bench.exchange.look(BTC, ours=()).resting == ()
