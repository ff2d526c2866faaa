"""What is peculiar to Binance and its fapi dialect; what all venues do alike is the contract suite's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import pytest

import exchanges
from exchanges import Credentials, _fapi
from exchanges._http import Hosts, Request
from exchanges.binance import CAPABILITIES, Binance
from tests.conftest import Clock
from tests.exchanges.contract import FOLDER, KEY, NOW, SECRET, SIGNED, Fixture, HttpBench, ready
from tests.exchanges.scripted import Seen
from trading.errors import Denied, InsufficientFunds, InvalidOrder, Throttled
from trading.model import OrderStatus, Side

FIXTURE = Fixture.read(FOLDER / "binance.json")
BTC = FIXTURE.symbol
TIME, INFO, ORDER = "GET /fapi/v1/time", "GET /fapi/v1/exchangeInfo", "POST /fapi/v1/order"
CONFIG, ACCOUNT = "GET /fapi/v1/accountConfig", "GET /fapi/v3/account"
ALGO, LEVERAGES, TRADES = "POST /fapi/v1/algoOrder", "POST /fapi/v1/leverage", "GET /fapi/v1/userTrades"


@pytest.fixture
def bench(clock: Clock) -> Iterator[HttpBench]:
    made = HttpBench(FIXTURE, clock)
    with made.server:
        yield made
    assert not [complaint for complaint in made.complaints if "no answer" in complaint]


def params(seen: Seen) -> dict[str, str]:
    return dict(parse_qsl(seen.query))


def sent(bench: HttpBench, on: str) -> list[dict[str, str]]:
    return [params(seen) for seen in bench.sent if seen.on == on]


def base(on: str) -> Any:
    return next(answer["json"] for answer in FIXTURE["answers"] if answer["on"] == on)


def prepare(bench: HttpBench, leverage: str = "5", symbol: str = BTC) -> exchanges.Terms:
    return bench.exchange.prepare(symbol, ours=(), leverage=Decimal(leverage))


@pytest.mark.parametrize("vector", FIXTURE["vectors"], ids=lambda vector: vector["source"])
def test_requests_are_signed_as_the_venue_and_its_sdk_sign_them(vector: dict[str, Any]) -> None:
    path, _, query = vector["target"].partition("?")
    *pairs, (_, timestamp), (last, _) = parse_qsl(query)
    assert last == "signature"
    key = vector["headers"].get("X-MBX-APIKEY", "any")
    credentials = Credentials(key=key, secret=vector["secret"])
    dialect = _fapi.FapiDialect("BINANCE", credentials, CAPABILITIES.receive_window, lambda: NOW)
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(timestamp))
    sealed = dialect.seal(Request(method=vector["method"], path=path, params=tuple(pairs)), at)
    assert (sealed.target, sealed.body) == (vector["target"], None)
    assert sealed.headers == {"X-MBX-APIKEY": key}


def test_the_first_entry_takes_two_round_trips_and_the_next_one(bench: HttpBench) -> None:
    prepare(bench)
    assert {seen.on for seen in bench.sent[:2]} == {TIME, INFO}
    assert len(bench.sent) == 2 + 7
    bench.forget()
    prepare(bench)
    # Leverage and settings stand.
    assert len(bench.sent) == 5


def test_an_entry_sets_a_clock_that_grew_old_on_the_way(bench: HttpBench, clock: Clock) -> None:
    prepare(bench)
    bench.forget()
    clock.advance(601)
    prepare(bench)
    assert len(sent(bench, TIME)) == len(sent(bench, CONFIG)) == 1


def test_leverage_is_a_whole_number_and_set_again_when_it_may_have_been_changed(bench: HttpBench) -> None:
    ready(bench)
    for leverage in ("2.1", "3", "0.5"):
        prepare(bench, leverage)
    assert [one["leverage"] for one in sent(bench, LEVERAGES)] == ["3", "1"]
    bench.arrange({"answers": [{"on": ORDER, "status": 400, "json": {"code": -2019, "msg": "Margin."}}]})
    with pytest.raises(InsufficientFunds):
        bench.exchange.place(FIXTURE.order("entry_market"), signed_at=SIGNED)
    prepare(bench, "1")
    assert [one["leverage"] for one in sent(bench, LEVERAGES)] == ["3", "1", "1"]


def test_leverage_that_was_refused_is_not_taken_for_set(bench: HttpBench) -> None:
    ready(bench)
    refusal = {"on": LEVERAGES, "status": 400, "json": {"code": -4028, "msg": "Leverage 5 is not valid."}}
    bench.arrange({"answers": [refusal | {"times": 1}]})
    with pytest.raises(InvalidOrder, match="lower LEVERAGE"):
        prepare(bench)
    prepare(bench)
    assert len(sent(bench, LEVERAGES)) == 2


@pytest.mark.parametrize(
    ("act", "on", "quantity", "wanted"),
    [
        ("entry_market", ORDER, "0.0120", "0.012"),
        ("target", ORDER, "0.0121", "0.013"),
        ("close", ORDER, "0.0001", "0.001"),
        ("stop", ALGO, "0.0129999", "0.013"),
    ],
)
def test_only_what_reduces_is_rounded_up(
    bench: HttpBench, act: str, on: str, quantity: str, wanted: str
) -> None:
    ready(bench)
    bench.arrange(FIXTURE["acts"][act])
    bench.exchange.place(FIXTURE.order(act, quantity=Decimal(quantity)), signed_at=SIGNED)
    (request,) = sent(bench, on)
    assert request["quantity"] == wanted
    assert (request["timestamp"], request["recvWindow"]) == ("1767225600123", "2000")


def test_a_stop_reduces_whatever_it_is_told(bench: HttpBench) -> None:
    ready(bench)
    bench.exchange.place(FIXTURE.order("stop", reduce_only=False), signed_at=SIGNED)
    (request,) = sent(bench, ALGO)
    assert request["reduceOnly"] == "true"
    assert "closePosition" not in request


def test_a_stop_does_not_wait_for_a_new_list_of_instruments(bench: HttpBench, clock: Clock) -> None:
    ready(bench)
    clock.advance(timedelta(hours=7))
    bench.exchange.place(FIXTURE.order("stop"), signed_at=clock())
    assert [seen.on for seen in bench.sent] == [ALGO]
    bench.exchange.instrument(BTC)
    # It is read beside; who enters waits for it.
    bench.exchange._listing(BTC)
    assert [seen.on for seen in bench.sent] == [ALGO, INFO]


def test_the_stricter_of_both_lots_counts(bench: HttpBench) -> None:
    info = base(INFO)
    (row, *_) = info["symbols"]
    rules = {rule["filterType"]: rule for rule in row["filters"]}
    market = rules["MARKET_LOT_SIZE"] | {"stepSize": "0.01", "minQty": "0.02", "maxQty": "5000"}
    odd = row | {"filters": [rules["PRICE_FILTER"], rules["LOT_SIZE"], market]}
    bench.arrange({"answers": [{"on": INFO, "json": info | {"symbols": [odd]}}]})
    found = bench.exchange.instrument(BTC)
    assert (found.lot_size, found.min_quantity) == (Decimal("0.01"), Decimal("0.02"))
    assert (found.max_quantity, found.min_notional) == (1000, 0)


def test_each_money_backs_its_own_instruments_unless_all_do(bench: HttpBench, clock: Clock) -> None:
    usdc = "BTC-USDC-PERP"
    assert bench.exchange.balance(usdc) == exchanges.Balance(
        currency="USDC", total=Decimal(70), free=Decimal(70)
    )
    bench.arrange({"answers": [{"on": ACCOUNT, "json": base(ACCOUNT) | {"assets": []}}]})
    assert bench.exchange.balance(usdc).free == 0
    assert bench.exchange.balance(BTC).free == Decimal("980.40")
    clock.advance(601)
    bench.arrange({"answers": [{"on": CONFIG, "json": base(CONFIG) | {"multiAssetsMargin": True}}]})
    assert prepare(bench, symbol=usdc).balance.free == Decimal("980.40")
    assert bench.exchange.balance(usdc).currency == "USD"


def test_settings_are_believed_for_ten_minutes_unless_they_stand_in_the_way(
    bench: HttpBench, clock: Clock
) -> None:
    bench.state("hedge")
    for _ in range(2):
        with pytest.raises(InvalidOrder, match="one-way"):
            prepare(bench)
    assert len(sent(bench, CONFIG)) == 2
    bench.state("flat")
    for _ in range(3):
        prepare(bench)
        clock.advance(299)
    assert len(sent(bench, CONFIG)) == 3
    clock.advance(3)
    prepare(bench)
    assert len(sent(bench, CONFIG)) == 4


def trade(number: int) -> dict[str, Any]:
    time = 1767225600000 - 3_600_000 + number
    return {
        "id": number,
        "symbol": "BTCUSDT",
        "orderId": 7,
        "side": "BUY",
        "price": "61000.0",
        "qty": "0.001",
        "commission": "-0.01",
        "commissionAsset": "USDT",
        "time": time,
        "maker": True,
    }


def test_fills_are_read_by_spans_and_then_page_by_page(bench: HttpBench) -> None:
    ready(bench)
    pages: list[dict[str, Any]] = [
        {"on": TRADES, "when": {"fromId": 3000}, "json": [trade(3000)]},
        {"on": TRADES, "when": {"fromId": 2000}, "json": [trade(number) for number in range(2000, 3000)]},
        {"on": TRADES, "json": [], "times": 1},
        # The order within a page is nobody's promise.
        {"on": TRADES, "json": [trade(number) for number in range(1999, 999, -1)], "times": 1},
    ]
    bench.arrange({"answers": pages})
    found = bench.exchange.fills(BTC, since=NOW - timedelta(days=8))
    assert [fill.trade_id for fill in found] == [str(number) for number in range(1000, 3001)]
    first, second, third, last = sent(bench, TRADES)
    assert int(first["endTime"]) == int(second["startTime"]) == int(first["startTime"]) + 7 * 86_400_000
    assert "startTime" not in third
    assert last["fromId"] == "3000"
    assert (found[0].fee, found[0].side, found[0].maker) == (Decimal("-0.01"), Side.BUY, True)


def test_fills_are_not_asked_for_beyond_the_archive(bench: HttpBench) -> None:
    ready(bench)
    assert bench.exchange.fills(BTC, since=NOW - timedelta(days=400)) == ()
    assert len(sent(bench, TRADES)) == 13
    assert bench.exchange.fills(BTC, since=NOW + timedelta(seconds=1)) == ()


def test_orders_are_counted_by_account_and_protection_has_a_reserve(bench: HttpBench) -> None:
    ready(bench)
    answer = {"on": ORDER, "json": base(ORDER), "headers": {"X-MBX-ORDER-COUNT-10S": "270"}}
    bench.arrange({"answers": [answer]})
    order = FIXTURE.order("entry_market")
    bench.exchange.place(order, signed_at=SIGNED)
    with pytest.raises(Throttled):
        bench.exchange.place(order, signed_at=SIGNED)
    bench.exchange.place(FIXTURE.order("stop"), signed_at=SIGNED)
    opened: Any = bench.exchange
    other = Binance(Credentials(key=f"{KEY}2", secret=SECRET), opened._host)
    other.place(order, signed_at=SIGNED)
    assert len(sent(bench, ORDER)) == 2


def test_the_weight_that_the_ticker_tells_is_not_believed(bench: HttpBench) -> None:
    ready(bench)
    full = {"X-MBX-USED-WEIGHT-1M": "2390"}
    ticker, trades = "GET /fapi/v2/ticker/price", "GET /fapi/v1/userTrades"
    bench.arrange({"answers": [{"on": ticker, "json": {"price": "1"}, "headers": full}]})
    bench.exchange.price(BTC)
    bench.exchange.price(BTC)
    bench.arrange({"answers": [{"on": trades, "json": [], "headers": full}]})
    bench.exchange.fills(BTC, since=bench.exchange.time())
    with pytest.raises(Throttled):
        bench.exchange.price(BTC)
    bench.exchange.look(BTC, ours=())


def test_a_clock_that_is_wrong_is_told_and_made_up_for(bench: HttpBench) -> None:
    bench.arrange({"answers": [{"on": TIME, "json": {"serverTime": 1767225690000}}]})
    told = [finding for finding in bench.exchange.check() if "90.000 s behind" in finding.text]
    assert [(finding.fatal, finding.mend) for finding in told] == [
        (False, "let NTP set this machine's clock")
    ]
    assert {request["timestamp"] for request in sent(bench, ACCOUNT)} == {"1767225690000"}


def test_a_stranger_s_conditional_order_is_cancelled_in_its_own_namespace(bench: HttpBench) -> None:
    ready(bench)
    algos = "GET /fapi/v1/openAlgoOrders"
    profit = {
        "algoId": 9,
        "clientAlgoId": "",
        "orderType": "TAKE_PROFIT_MARKET",
        "symbol": "BTCUSDT",
        "side": "SELL",
        "quantity": "0",
        "algoStatus": "NEW",
        "triggerPrice": "70000",
        "price": "0",
        "closePosition": True,
        "reduceOnly": False,
    }
    bench.arrange({"answers": [{"on": algos, "json": [profit]}]})
    (report,) = bench.exchange.look(BTC, ours=()).resting
    assert (report.client_order_id, report.status, report.reduce_only) == (None, OrderStatus.ACCEPTED, True)
    bench.exchange.cancel_report(report)
    (request,) = sent(bench, "DELETE /fapi/v1/algoOrder")
    assert request["algoId"] == "9"
    assert "symbol" not in request


def test_other_products_are_no_positions_of_ours(bench: HttpBench) -> None:
    bench.state("long")
    (held,) = bench.exchange.positions()
    assert (held.symbol, held.quantity) == (BTC, Decimal("0.010"))


@pytest.mark.parametrize(("interval", "theirs"), [("5", "5m"), ("240", "4h"), ("1h", "1h"), ("1D", "1d")])
def test_intervals_are_tradingview_s(bench: HttpBench, interval: str, theirs: str) -> None:
    ready(bench)
    bench.exchange.candles(BTC, interval, 5000)
    bars = sent(bench, "GET /fapi/v1/klines")
    assert [(one["interval"], one["limit"]) for one in bars] == [(theirs, "1500")]
    assert bench.exchange.candles(BTC, "7", 5) == bench.exchange.candles(BTC, "5", 0) == ()
    assert len(sent(bench, "GET /fapi/v1/klines")) == 1


@pytest.mark.parametrize(
    ("network", "url"),
    [
        ("live", "https://fapi.binance.com"),
        ("testnet", "https://demo-fapi.binance.com"),
        ("demo", "https://demo-fapi.binance.com"),
    ],
)
def test_a_network_is_a_host(clock: Clock, network: str, url: str) -> None:
    credentials, hosts = Credentials(key=KEY, secret=SECRET), Hosts(clock)
    opened: Any = exchanges.connect(
        "BINANCE", credentials, network=network, hosts=hosts, urls={"BINANCE": ""}
    )
    assert opened._host.url == url
    with pytest.raises(Denied, match="set NETWORK to one of live, testnet, demo"):
        exchanges.connect("BINANCE", credentials, network="moon", hosts=hosts, urls={})


def test_no_stop_goes_with_an_entry(bench: HttpBench) -> None:
    with pytest.raises(ValueError, match="attached"):
        bench.exchange.place(FIXTURE.order("entry_market"), signed_at=SIGNED, stop=FIXTURE.order("stop"))
    with pytest.raises(ValueError, match="needs its price"):
        bench.exchange.place(replace(FIXTURE.order("entry_limit"), price=None), signed_at=SIGNED)
    assert not sent(bench, ORDER)
