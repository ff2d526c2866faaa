"""What is peculiar to Bybit and its V5 dialect; what all venues do alike is the contract suite's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import pytest

import exchanges
from exchanges import Credentials, _v5
from exchanges._http import Hosts, Reply, Request
from exchanges._limits import Limiter
from exchanges.bybit import CAPABILITIES, HOSTS, BybitExchange
from tests.conftest import Clock
from tests.exchanges.contract import FOLDER, KEY, NOW, SECRET, SIGNED, Fixture, HttpBench, ready
from tests.exchanges.scripted import Seen
from trading.errors import Ambiguous, Denied, OrderNotFound, Throttled, VenueError
from trading.model import Order, OrderReport, OrderStatus, TimeInForce

FIXTURE = Fixture.read(FOLDER / "bybit.json")
BTC = FIXTURE.symbol
CREATE, CANCEL, STOP = "POST /v5/order/create", "POST /v5/order/cancel", "POST /v5/position/trading-stop"
OPEN, HISTORY, POSITION = "GET /v5/order/realtime", "GET /v5/order/history", "GET /v5/position/list"
LEVERAGE, WALLET = "POST /v5/position/set-leverage", "GET /v5/account/wallet-balance"
FILLS, BARS = "GET /v5/execution/list", "GET /v5/market/kline"
ENTRY, SL = FIXTURE.order("entry_market"), FIXTURE.order("stop")
MOVED = replace(SL, client_order_id="b0b0b0-sl", intent_id="b0b0b0", trigger_price=Decimal(61050))
#: A stop of the same trigger that was made later, for more.
LARGER = replace(
    SL, client_order_id="d7c2a9-sl-2", quantity=Decimal("0.02"), signed_at=SIGNED + timedelta(seconds=9)
)


@pytest.fixture
def bench(clock: Clock) -> Iterator[HttpBench]:
    made = HttpBench(FIXTURE, clock)
    with made.server:
        yield made
    # Who signs what, and when, is the contract suite's.
    assert not [complaint for complaint in made.complaints if "no answer" in complaint]


def said(seen: Seen) -> dict[str, Any]:
    return dict(parse_qsl(seen.query)) | (json.loads(seen.body) if seen.body else {})


def sent(bench: HttpBench, on: str) -> list[dict[str, Any]]:
    return [said(seen) for seen in bench.sent if seen.on == on]


def answer(on: str, *rows: Any, cursor: str = "", when: dict[str, Any] | None = None) -> dict[str, Any]:
    result = {"list": list(rows), "nextPageCursor": cursor}
    return {"on": on, "when": when or {}, "json": {"retCode": 0, "retMsg": "OK", "result": result}}


def stored(state: str, on: str) -> list[dict[str, Any]]:
    rows = next(each for each in FIXTURE["states"][state] if each["on"] == on)["json"]["result"]["list"]
    return [dict(row) for row in rows]


def child(trigger: str = "58000", **more: Any) -> dict[str, Any]:
    (row,) = [row for row in stored("resting", OPEN) if row["stopOrderType"] == "StopLoss"]
    return row | {"triggerPrice": trigger} | more


def held(stop: str = "", **more: Any) -> dict[str, Any]:
    return answer(POSITION, stored("long", POSITION)[0] | {"stopLoss": stop} | more)


def arrange(bench: HttpBench, *answers: dict[str, Any]) -> None:
    bench.arrange({"answers": answers})
    ready(bench)


def stops(bench: HttpBench, *ours: Order) -> list[OrderReport]:
    return list(bench.exchange.look(BTC, ours=ours).resting)


# The dialect


def _sealed(vector: dict[str, Any]) -> Any:
    window = timedelta(milliseconds=int(vector["headers"]["X-BAPI-RECV-WINDOW"]))
    credentials = Credentials(key=vector["headers"]["X-BAPI-API-KEY"], secret=vector["secret"])
    path, _, query = vector["target"].partition("?")
    params = tuple(json.loads(vector["body"]).items()) if vector["body"] else tuple(parse_qsl(query))
    at = datetime(1970, 1, 1, tzinfo=UTC)
    at += timedelta(milliseconds=int(vector["headers"]["X-BAPI-TIMESTAMP"]))
    dialect = _v5.V5Dialect("BYBIT", credentials, window)
    return dialect.seal(Request(method=vector["method"], path=path, params=params), at)


# The last vector's body is compact, ours is spaced as the venue's own SDK does; the contract suite has that.
@pytest.mark.parametrize("vector", FIXTURE["vectors"][:4], ids=lambda vector: vector["target"])
def test_requests_are_signed_to_the_byte_as_the_venue_s_sdk_signs_them(vector: dict[str, Any]) -> None:
    sealed = _sealed(vector)
    assert (sealed.target, sealed.body or b"") == (vector["target"], vector["body"].encode())
    assert sealed.headers["X-BAPI-SIGN"] == vector["signature"]
    assert sealed.headers["X-BAPI-SIGN-TYPE"] == "2"
    assert sealed.headers.items() >= vector["headers"].items()


def test_a_read_has_no_body_and_its_cursor_goes_back_as_it_came(bench: HttpBench) -> None:
    ready(bench)
    listed = [seen for seen in bench.server.seen if seen.path.endswith("instruments-info")]
    assert listed[1].query == "category=linear&limit=1000&cursor=page%3D2"
    assert all(not seen.body for seen in bench.server.seen if seen.method == "GET")


def judged(code: Any, status: int = 200, headers: dict[str, str] | None = None) -> VenueError | None:
    dialect = _v5.V5Dialect("BYBIT", Credentials(key=KEY, secret=SECRET), CAPABILITIES.receive_window)
    body = code if not isinstance(code, int) else {"retCode": code, "retMsg": "x", "time": 1767225600000}
    request = Request(method="POST", path=_v5.CREATE)
    return dialect.judge(Reply(status=status, headers=headers or {}, body=body, text="", request=request))


def test_what_was_so_already_is_done_and_what_is_unknown_is_unknown() -> None:
    assert [judged(code) for code in (0, 34040, 110043, 110025, 110026)] == [None] * 5
    for code in (10000, 10016, 170007, 170146):
        assert type(judged(code)) is Ambiguous
    for body in ({"ret_code": 0}, [], {"retCode": "0"}):
        assert type(judged(body)) is Ambiguous
    # Plain HTTP decides.
    assert judged(0, status=502) is judged(110007, status=500) is None


def test_a_wait_is_as_long_as_the_venue_says() -> None:
    reset = {"X-Bapi-Limit-Reset-Timestamp": "1767225600400"}
    waits = [judged(10006, headers=headers) for headers in (reset, {}, reset | {next(iter(reset)): "1"})]
    waits += [judged(None, 403), judged(None, 403, {"Retry-After": "5"}), judged(110079)]
    after = [error.after.total_seconds() for error in waits if isinstance(error, Throttled)]
    assert after == [0.4, 1, 0.001, 600, 5, 1]


def test_the_venue_s_own_count_of_what_is_left_is_heeded(clock: Clock) -> None:
    dialect = _v5.V5Dialect("BYBIT", Credentials(key=KEY, secret=SECRET), CAPABILITIES.receive_window)
    limiter = Limiter({**_v5.ADDRESS, **dialect.budgets()}, clock)
    request = Request(method="POST", path=_v5.CREATE)
    headers = {"X-Bapi-Limit-Status": "1", "X-Bapi-Limit": "10"}
    dialect.heard(Reply(status=200, headers=headers, body={}, text="", request=request), limiter)
    assert limiter.take(dialect.costs(_v5.CREATE)) == timedelta(seconds=1), "the last is kept for protection"
    assert limiter.take(dialect.costs(_v5.CREATE), urgent=True) is None
    assert limiter.take(dialect.costs(_v5.CANCEL)) is None, "each endpoint has its own"


def test_accounts_of_one_address_have_budgets_of_their_own(bench: HttpBench, clock: Clock) -> None:
    hosts = Hosts(clock)
    one, two = (
        BybitExchange(Credentials(key=key, secret=SECRET), hosts, bench.server.url) for key in ("one", "two")
    )
    for _ in range(9):
        one.place(ENTRY, signed_at=SIGNED)
    with pytest.raises(Throttled, match="held back here"):
        one.place(ENTRY, signed_at=SIGNED)
    one.place(FIXTURE.order("close"), signed_at=SIGNED)
    two.place(ENTRY, signed_at=SIGNED)


# Stops, which the venue keeps without an id of ours


def test_a_stop_is_known_by_its_trigger_and_side_and_covers_what_it_was_made_for(bench: HttpBench) -> None:
    short = replace(SL, side=SL.side.opposite, client_order_id="short-sl")
    arrange(bench, held("58000.0"), answer(OPEN, child("58000.0", qty="0.004")))
    assert stops(bench, short, MOVED)[0].client_order_id is None, "a stranger's"
    (report,) = stops(bench, SL, MOVED, short)
    assert (report.client_order_id, report.quantity) == (SL.client_order_id, SL.quantity)
    assert report.venue_order_id == "c0d3"


def test_the_position_s_word_counts_where_the_list_lags(bench: HttpBench) -> None:
    arrange(bench, held("61050"))
    (report,) = stops(bench, SL, MOVED)
    assert (report.client_order_id, report.venue_order_id) == (MOVED.client_order_id, "")
    assert report.status is OrderStatus.ACCEPTED
    assert report.reduce_only
    assert bench.exchange.order(MOVED).status is OrderStatus.ACCEPTED
    with pytest.raises(OrderNotFound):
        bench.exchange.order(SL)


def test_a_stop_waits_with_the_entry_that_carries_it(bench: HttpBench) -> None:
    entry = stored("resting", OPEN)[0] | {"orderLinkId": "d7c2a9-e", "stopLoss": "58000", "side": "Buy"}
    arrange(bench, answer(OPEN, entry, when={"orderLinkId": "d7c2a9-e"}))
    assert bench.exchange.order(SL).status is OrderStatus.ACCEPTED
    ended = entry | {"orderStatus": "Cancelled"}
    arrange(bench, answer(OPEN, ended, when={"orderLinkId": "d7c2a9-e"}))
    with pytest.raises(OrderNotFound):
        bench.exchange.order(SL)


def test_a_breakeven_is_one_act_and_ends_the_stop_before(bench: HttpBench) -> None:
    arrange(bench, held("61050"), answer(OPEN, child("61050")))
    report = bench.exchange.place(MOVED, signed_at=SIGNED)
    assert (report.status, report.venue_order_id) == (OrderStatus.ACCEPTED, "")
    assert [seen.on for seen in bench.sent] == [STOP]
    bench.forget()
    bench.exchange.cancel(SL)
    assert not bench.writes(), "a stop with another trigger is not ours to remove"
    with pytest.raises(OrderNotFound):
        bench.exchange.order(SL)


def test_cancelling_a_stop_that_only_the_position_shows_takes_it_from_the_position(bench: HttpBench) -> None:
    arrange(bench, held("58000"))
    bench.exchange.cancel(SL)
    wanted = {"category": "linear", "symbol": "BTCUSDT", "stopLoss": "0", "slTriggerBy": "LastPrice"}
    assert sent(bench, STOP) == [wanted | {"tpslMode": "Full", "positionIdx": 0}]
    bench.forget()
    (report,) = stops(bench, SL)
    bench.exchange.cancel_report(report)
    assert len(sent(bench, STOP)) == 1
    bench.forget()
    arrange(bench)
    bench.exchange.cancel(SL)
    assert not bench.writes(), "nothing is there"


@pytest.mark.parametrize("known_by", ["place", "look"])
def test_of_two_stops_with_one_trigger_the_older_one_has_ended(bench: HttpBench, known_by: str) -> None:
    arrange(bench, held("58000"), answer(OPEN, child()))
    if known_by == "place":
        bench.exchange.place(LARGER, signed_at=SIGNED)
    assert stops(bench, LARGER, SL)[0].quantity == LARGER.quantity
    bench.forget()
    assert bench.exchange.order(SL).status is OrderStatus.CANCELED
    bench.exchange.cancel(SL)
    assert not bench.sent, "what rests is the newer one's"
    assert bench.exchange.order(LARGER).status is OrderStatus.ACCEPTED
    bench.exchange.cancel(LARGER)
    assert sent(bench, CANCEL) == [{"category": "linear", "symbol": "BTCUSDT", "orderId": "c0d3"}]


def test_an_older_trade_s_stop_at_the_same_level_is_not_taken_for_this_one(bench: HttpBench) -> None:
    def ended(seconds: float, **more: Any) -> dict[str, Any]:
        at = str(int((SIGNED + timedelta(seconds=seconds)).timestamp() * 1000))
        return child(orderStatus="Filled", cumExecQty="0.010", avgPrice="57990", updatedTime=at) | more

    early = ended(-3, createdTime="1767225500000")
    arrange(bench, answer(HISTORY, early, ended(60, triggerPrice="57000")))
    with pytest.raises(OrderNotFound):
        bench.exchange.order(SL)
    # Many orders since: it stands on the second page. Of two the later word counts.
    gone = ended(1, orderStatus="Cancelled", cumExecQty="0", avgPrice="")
    arrange(
        bench,
        answer(HISTORY, gone, ended(5), early, when={"cursor": "2"}),
        answer(HISTORY, *[ended(60, triggerPrice="57000")] * 50, cursor="2"),
    )
    report = bench.exchange.order(SL)
    assert (report.status, report.average_price) == (OrderStatus.FILLED, Decimal(57990))


def test_a_stop_that_triggered_is_open_until_it_has_filled(bench: HttpBench) -> None:
    for status in ("Triggered", "New", "SomethingNew"):
        arrange(bench, answer(OPEN, child(orderStatus=status)))
        assert bench.exchange.order(SL).status is OrderStatus.ACCEPTED


# Entries


def prepare(bench: HttpBench, leverage: str = "5") -> exchanges.Terms:
    return bench.exchange.prepare(BTC, ours=(SL,), leverage=Decimal(leverage))


def test_the_first_entry_takes_two_round_trips_and_the_next_one(bench: HttpBench, clock: Clock) -> None:
    prepare(bench)
    assert len(bench.sent) == 3 + 5, "clock and two pages of instruments, then all the rest"
    bench.forget()
    prepare(bench)
    assert len(bench.sent) == 4, "the leverage stands"
    bench.forget()
    clock.advance(timedelta(minutes=11))
    prepare(bench)
    assert len(bench.sent) == 5, "the clock is set on the way"


def test_leverage_is_rounded_up_and_never_above_the_instrument_s(bench: HttpBench) -> None:
    for wanted in ("2.501", "1E+3", "0.5"):
        prepare(bench, wanted)
    assert [each["buyLeverage"] for each in sent(bench, LEVERAGE)] == ["2.51", "100", "1"]
    assert all(each["buyLeverage"] == each["sellLeverage"] for each in sent(bench, LEVERAGE))


def test_leverage_that_somebody_lowered_is_set_again(bench: HttpBench) -> None:
    prepare(bench)
    arrange(bench, held(leverage="3"))
    prepare(bench)
    assert len(sent(bench, LEVERAGE)) == 1
    bench.forget()
    arrange(bench, held(leverage=""))
    prepare(bench)
    assert not sent(bench, LEVERAGE), "portfolio margin tells none"


def test_what_only_reduces_is_rounded_up_to_the_lot(bench: HttpBench) -> None:
    ready(bench)
    odd = Decimal("0.0101")
    for order in (replace(FIXTURE.order("close"), quantity=odd), replace(ENTRY, quantity=odd)):
        bench.exchange.place(order, signed_at=SIGNED)
    assert [each["qty"] for each in sent(bench, CREATE)] == ["0.011", "0.0101"]


def test_an_order_does_not_wait_for_a_new_list_of_instruments(bench: HttpBench, clock: Clock) -> None:
    ready(bench)
    clock.advance(timedelta(hours=7))
    now = replace(FIXTURE.order("entry_limit"), time_in_force=TimeInForce.IOC)
    bench.exchange.place(now, signed_at=SIGNED)
    assert [seen.on for seen in bench.sent] == [CREATE]
    assert sent(bench, CREATE)[0]["timeInForce"] == "IOC"


def test_with_isolated_margin_each_coin_backs_its_own(bench: HttpBench) -> None:
    coin = {"coin": "USDT", "equity": "1001", "walletBalance": "1000", "totalPositionIM": "60"}
    coin |= {"totalOrderIM": "30", "locked": "5", "bonus": "1"}
    account = {"totalEquity": "", "totalAvailableBalance": "", "coin": [coin]}
    arrange(bench, answer(WALLET, account))
    tether, dollar = (bench.exchange.balance(f"BTC-{quote}-PERP") for quote in ("USDT", "USDC"))
    assert (tether.currency, tether.total, tether.free) == ("USDT", 1001, 904)
    assert (dollar.currency, dollar.total, dollar.free) == ("USDC", 0, 0)


# Lists


def test_open_orders_are_read_to_the_end_and_no_further(bench: HttpBench) -> None:
    row = stored("resting", OPEN)[0]
    full: Sequence[dict[str, Any]] = [row | {"orderId": str(number)} for number in range(50)]
    arrange(bench, answer(OPEN, row, cursor="b", when={"cursor": "a"}), answer(OPEN, *full, cursor="a"))
    assert len(stops(bench)) == 51
    assert len(sent(bench, OPEN)) == 2


def test_fills_are_asked_for_by_the_week_and_page_by_page(bench: HttpBench, clock: Clock) -> None:
    rows = [each["json"]["result"]["list"] for each in FIXTURE["fills"]["answers"]]
    first = {"startTime": int((NOW - timedelta(days=10)).timestamp() * 1000)}
    liquidated = rows[0][0] | {"execType": "BustTrade", "execId": "bust", "execTime": "1767225599999"}
    arrange(bench, answer(FILLS, *rows[0], when=first), answer(FILLS, liquidated, *rows[1], rows[0][0]))
    found = bench.exchange.fills(BTC, since=NOW - timedelta(days=10))
    assert [fill.trade_id for fill in found] == ["f1", "f2", "f3", "bust"]
    assert ["endTime" in each for each in sent(bench, FILLS)] == [True, False]


@pytest.mark.parametrize(
    ("interval", "theirs"),
    [("1", "1"), ("60", "60"), ("4H", "240"), ("D", "D"), ("1D", "D"), ("1W", "W"), ("M", "M"), ("45", "15")],
)
def test_intervals_are_tradingview_s(bench: HttpBench, interval: str, theirs: str) -> None:
    ready(bench)
    assert bench.exchange.candles(BTC, interval, 2)
    (asked,) = sent(bench, BARS)
    assert (asked["interval"], asked["limit"]) == (theirs, "6" if interval == "45" else "2")
    assert bench.exchange.candles(BTC, "30S", 2) == bench.exchange.candles(BTC, "tick", 2) == ()


def test_an_answer_that_cannot_be_read_proves_nothing(bench: HttpBench) -> None:
    arrange(bench, held(size="NaN"))
    with pytest.raises(Ambiguous, match="cannot be read"):
        bench.exchange.position(BTC)


# Networks


def test_a_network_is_a_host(clock: Clock) -> None:
    def opened(network: str, **urls: str) -> str:
        credentials = Credentials(key=KEY, secret=SECRET)
        made = exchanges.connect("BYBIT", credentials, network=network, hosts=Hosts(clock), urls=urls)
        return str(vars(made)["_host"].url)

    assert {network: opened(network) for network in HOSTS} == HOSTS
    assert opened("live", BYBIT="http://127.0.0.1:1/x") == "http://127.0.0.1:1"
    with pytest.raises(Denied, match="demo"):
        opened("paper")
