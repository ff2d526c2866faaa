"""What is peculiar to FTX; what all venues do alike is the contract suite's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import pytest

import exchanges
from exchanges import Credentials
from exchanges._http import Hosts, Patience, Reply, Request
from exchanges.ftx import BUDGETS, CAPABILITIES, FtxExchange
from tests.conftest import Clock
from tests.emulator import ftx as emulated
from tests.emulator.server import Server
from tests.exchanges.contract import FOLDER, KEY, NOW, SECRET, SIGNED, Fixture, HttpBench, ready
from tests.exchanges.scripted import Seen
from trading.errors import (
    Ambiguous,
    BadCredentials,
    Denied,
    InsufficientFunds,
    InvalidOrder,
    OrderNotFound,
    Rejected,
    StaleRequest,
    Throttled,
    VenueError,
)
from trading.model import Order, OrderReport, OrderStatus

FIXTURE = Fixture.read(FOLDER / "ftx.json")
BTC = FIXTURE.symbol
ORDERS, STOPS = "/api/orders", "/api/conditional_orders"
HISTORY, POSITIONS, FILLS = f"GET {STOPS}/history", "GET /api/positions", "GET /api/fills"
ENTRY, SL = FIXTURE.order("entry_market"), FIXTURE.order("stop")
BY_ID = f"GET {ORDERS}/by_client_id/{ENTRY.client_order_id}"


@pytest.fixture
def bench(clock: Clock) -> Iterator[HttpBench]:
    made = HttpBench(FIXTURE, clock)
    with made.server:
        yield made
    assert not made.complaints, made.complaints


def said(seen: Seen) -> dict[str, Any]:
    return dict(parse_qsl(seen.query)) | (json.loads(seen.body, parse_float=str) if seen.body else {})


def sent(bench: HttpBench, on: str) -> list[dict[str, Any]]:
    return [said(seen) for seen in bench.sent if seen.on == on]


def answer(on: str, result: Any, when: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"on": on, "when": when or {}, "json": {"success": True, "result": result} | more}


def no(on: str, text: str, status: int = 400) -> dict[str, Any]:
    return {"on": on, "status": status, "json": {"success": False, "error": text}}


def row(act: str, **more: Any) -> dict[str, Any]:
    """What the venue answers to an act, with other values."""
    (given,) = FIXTURE["acts"][act]["answers"]
    return dict(given["json"]["result"]) | more


def stop_row(number: int, seconds: float = 0.1, **more: Any) -> dict[str, Any]:
    at = SIGNED + timedelta(seconds=seconds)
    return row("stop", id=number, createdAt=at.isoformat(), **more)


def arrange(bench: HttpBench, *answers: dict[str, Any]) -> None:
    bench.arrange({"answers": answers})
    ready(bench)


def labels(bench: HttpBench, rows: list[dict[str, Any]], *ours: Order) -> dict[str, str | None]:
    """Our ids by the venue's, after a look."""
    arrange(bench, answer(f"GET {STOPS}", rows))
    found = bench.exchange.look(BTC, ours=ours).resting
    return {report.venue_order_id: report.client_order_id for report in found}


def later(order: Order, seconds: float, name: str, **more: Any) -> Order:
    signed_at = SIGNED + timedelta(seconds=seconds)
    return replace(order, client_order_id=name, signed_at=signed_at, **more)


def account(key: str = KEY, secret: str = SECRET, subaccount: str = "") -> FtxExchange:
    host = Hosts(lambda: NOW).host("http://127.0.0.1:9", BUDGETS)
    return FtxExchange(Credentials(key=key, secret=secret, subaccount=subaccount), host)


# What goes over the wire


@pytest.mark.parametrize(
    "vector",
    [v for v in FIXTURE["vectors"] if "without blanks" not in v["source"]],
    ids=lambda v: v["source"],
)
def test_requests_are_signed_to_the_byte_as_the_venue_s_own_client_signs_them(vector: dict[str, Any]) -> None:
    theirs = account(key="theirs", secret=vector["secret"], subaccount="my bot/1")
    path, _, query = vector["target"].partition("?")
    body = json.loads(vector["body"], parse_float=Decimal) if vector["body"] else {}
    request = Request(method=vector["method"], path=path, params=(*body.items(), *parse_qsl(query)))
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(vector["headers"]["FTX-TS"]))
    sealed = theirs.seal(request, at)
    assert (sealed.target, sealed.body or b"") == (vector["target"], vector["body"].encode())
    assert sealed.headers["FTX-SIGN"] == vector["signature"]
    assert sealed.headers["FTX-SUBACCOUNT"] == "my%20bot/1"
    assert sealed.headers["FTX-KEY"] == "theirs"
    assert ("Content-Type" in sealed.headers) is bool(vector["body"])
    assert sealed.headers.items() >= vector["headers"].items()


def test_the_main_account_names_no_subaccount_and_a_public_request_no_key() -> None:
    signed = account().seal(Request(method="GET", path="/api/account"), NOW)
    public = account().seal(Request(method="GET", path="/api/markets", signed=False), NOW)
    assert set(signed.headers) == {"FTX-KEY", "FTX-TS", "FTX-SIGN"}
    assert public.headers == {}


def test_amounts_are_json_numbers_of_exactly_their_digits(bench: HttpBench) -> None:
    ready(bench)
    odd = replace(
        FIXTURE.order("entry_limit"), quantity=Decimal("1E-7"), price=Decimal("60000.10000000000000001")
    )
    bench.exchange.place(odd, signed_at=SIGNED)
    (seen,) = bench.sent
    assert b'"size": 0.0000001, ' in seen.body
    assert b'"price": 60000.10000000000000001, ' in seen.body


def test_what_only_reduces_is_rounded_up_to_the_lot_and_an_entry_is_not(bench: HttpBench) -> None:
    ready(bench)
    odd = Decimal("0.00123")
    for order in (replace(SL, reduce_only=False), FIXTURE.order("close"), ENTRY):
        bench.exchange.place(replace(order, quantity=odd), signed_at=SIGNED)
    sizes = [said(seen)["size"] for seen in bench.sent]
    assert sizes == ["0.0013", "0.0013", "0.00123"]
    assert said(bench.sent[0])["reduceOnly"] is True


def test_the_venue_refuses_a_late_copy_after_the_receive_window(bench: HttpBench) -> None:
    ready(bench)
    bench.exchange.place(ENTRY, signed_at=SIGNED)
    bench.exchange.place(SL, signed_at=SIGNED)
    entry, stop = bench.sent
    deadline = int((SIGNED + CAPABILITIES.receive_window).timestamp() * 1000)
    assert int(entry.headers["FTX-TS"]) + 2000 == said(entry)["rejectAfterTs"] == deadline
    # The venue takes FTX-TS for 30 s, and a stop knows no other deadline.
    assert int(stop.headers["FTX-TS"]) + 30000 == deadline
    assert "rejectAfterTs" not in said(stop)


def test_orders_are_held_back_to_two_in_200_ms(clock: Clock) -> None:
    bench = HttpBench(FIXTURE, clock)
    with bench.server:
        ready(bench)
        began = clock()
        for order in (ENTRY, SL, FIXTURE.order("target")):
            bench.exchange.place(order, signed_at=SIGNED)
    assert clock() - began == timedelta(milliseconds=200)
    assert len(bench.sent) == 3


# Stops, which the venue keeps no id of ours with


def test_a_stop_is_ours_by_what_was_sent_and_when(bench: HttpBench) -> None:
    rows = [
        stop_row(1, -1.2),  # older than the request
        stop_row(2, 0.1, triggerPrice=58001.0),
        stop_row(3, 0.1, size=0.02),
        stop_row(4, 0.1, side="buy"),
        stop_row(5, 0.1, orderPrice=57900.0),
        stop_row(6, 0.1, reduceOnly=False),
        stop_row(7, 0.1, type="trailing_stop", triggerPrice=None),
        stop_row(8, -0.9),  # clocks differ a little
        stop_row(9, 2.5),
    ]
    found = labels(bench, rows, SL, FIXTURE.order("target"))
    assert {number: name for number, name in found.items() if name} == {"8": SL.client_order_id}
    assert len(found) == len(rows)


def test_a_size_that_was_rounded_up_is_recognised(bench: HttpBench) -> None:
    odd = replace(SL, quantity=Decimal("0.00995"))
    assert labels(bench, [stop_row(1)], odd) == {"1": SL.client_order_id}


def test_two_alike_get_two_labels(bench: HttpBench) -> None:
    twin = replace(SL, client_order_id="d7c2a9-sl-2")
    found = labels(bench, [stop_row(1), stop_row(2, 0.2)], SL, twin)
    assert sorted(name for name in found.values() if name) == ["d7c2a9-sl", "d7c2a9-sl-2"]
    (missing,) = labels(bench, [stop_row(1)], SL, twin).values()
    assert missing in ("d7c2a9-sl", "d7c2a9-sl-2")


def test_the_stop_that_was_sent_again_is_the_later_one(bench: HttpBench) -> None:
    again = later(SL, 4, "d7c2a9-sl-2")
    assert labels(bench, [stop_row(1, 4.1)], SL, again) == {"1": "d7c2a9-sl-2"}
    assert labels(bench, [stop_row(1, 0.1)], SL, again) == {"1": "d7c2a9-sl"}
    both = labels(bench, [stop_row(2, 4.1), stop_row(1, 0.1)], SL, again)
    assert both == {"1": "d7c2a9-sl", "2": "d7c2a9-sl-2"}


def test_the_venue_s_id_counts_before_all_else(bench: HttpBench) -> None:
    known = replace(SL, venue_order_id="2", trigger_price=Decimal(1))
    unknown = replace(SL, client_order_id="d7c2a9-sl-2")
    found = labels(bench, [stop_row(1), stop_row(2)], unknown, known)
    assert found == {"1": "d7c2a9-sl-2", "2": "d7c2a9-sl"}
    assert labels(bench, [stop_row(1)], replace(SL, venue_order_id="7")) == {"1": None}


def ask(bench: HttpBench, ended: dict[str, Any], *answers: dict[str, Any]) -> OrderReport:
    arrange(bench, answer(HISTORY, [ended]), *answers)
    return bench.exchange.order(SL)


def test_a_stop_that_was_tried_again_is_filled_by_its_own_count(bench: HttpBench) -> None:
    ended = stop_row(1, status="triggered", orderId=5, filledSize=0.01, avgFillPrice=57950.0)
    part = row("close", id=5, status="closed", filledSize=0.004, avgFillPrice=57990.0, clientId=None)
    report = ask(bench, ended, answer(f"GET {ORDERS}/5", part))
    assert (report.status, report.filled_quantity) == (OrderStatus.FILLED, Decimal("0.01"))
    assert (report.average_price, report.reason) == (57950, "")
    assert report.venue_order_id == "5"


@pytest.mark.parametrize(
    ("filled", "status"),
    [(0.01, OrderStatus.FILLED), (0.004, OrderStatus.CANCELED), (0.0, OrderStatus.CANCELED)],
)
def test_the_order_that_a_stop_became_may_be_gone(
    bench: HttpBench, filled: float, status: OrderStatus
) -> None:
    ended = stop_row(1, status="triggered", orderId=5, filledSize=filled, avgFillPrice=57950.0)
    report = ask(bench, ended, no(f"GET {ORDERS}/5", "Order not found", 404))
    assert (report.status, report.filled_quantity) == (status, Decimal(str(filled)))
    assert bool(report.reason) is (status is OrderStatus.CANCELED)


def test_a_stop_trimmed_to_the_position_and_filled_is_done(bench: HttpBench) -> None:
    ended = stop_row(1, status="triggered", orderId=5)
    made = row("close", id=5, size=0.005, status="closed", filledSize=0.005, avgFillPrice=57990.0)
    report = ask(bench, ended, answer(f"GET {ORDERS}/5", made))
    assert (report.status, report.filled_quantity) == (OrderStatus.FILLED, Decimal("0.005"))


def test_history_is_read_to_its_end(bench: HttpBench) -> None:
    newer = [stop_row(number, 100 - number, triggerPrice=1.0, status="cancelled") for number in (9, 10)]
    arrange(
        bench,
        answer(
            HISTORY, [stop_row(1, status="cancelled")], {"end_time": "1767225690.123000"}, hasMoreData=False
        ),
        answer(HISTORY, newer, {"start_time": "1767225599.123000"}, hasMoreData=True),
    )
    assert bench.exchange.order(SL).venue_order_id == "1"
    assert len(sent(bench, HISTORY)) == 2


def test_a_stop_that_is_not_there_is_not_cancelled(bench: HttpBench) -> None:
    arrange(bench, answer(f"GET {STOPS}", [stop_row(1, triggerPrice=1.0)]))
    bench.exchange.cancel(SL)
    assert [seen.on for seen in bench.sent] == [f"GET {STOPS}"]
    bench.forget()
    bench.exchange.cancel(replace(SL, venue_order_id="215826320"))
    assert [seen.on for seen in bench.sent] == [f"DELETE {STOPS}/215826320"]


# Answers


def test_an_order_that_closed_short_of_its_size_is_cancelled_and_says_so(bench: HttpBench) -> None:
    short = row("entry_market", status="closed", filledSize=0.004, remainingSize=0.0, avgFillPrice=61000.0)
    arrange(bench, answer(BY_ID, short))
    report = bench.exchange.order(ENTRY)
    assert (report.status, report.filled_quantity) == (OrderStatus.CANCELED, Decimal("0.004"))
    assert report.reason == "closed with 0.004 of 0.01 filled"


@pytest.mark.parametrize(
    "odd",
    [{"filledSize": None}, {"status": "done"}, {"size": "0.01"}, {"side": "long"}, {"size": True}, {"id": 1}],
    ids=str,
)
def test_an_order_that_cannot_be_read_proves_nothing(bench: HttpBench, odd: dict[str, Any]) -> None:
    broken = row("entry_market", **odd)
    if "id" in odd:
        del broken["id"]
    arrange(bench, answer(f"POST {ORDERS}", broken))
    with pytest.raises(Ambiguous, match="cannot be read"):
        bench.exchange.place(ENTRY, signed_at=SIGNED)
    assert len(bench.sent) == 1


def judged(text: Any, status: int = 400, success: Any = False) -> VenueError | None:
    body = {"success": success, "error": text} if text is not None else None
    request = Request(method="POST", path=ORDERS)
    return account().judge(Reply(status=status, headers={}, body=body, text="", request=request))


@pytest.mark.parametrize(
    ("text", "status", "kind"),
    [
        ("Order not found", 400, OrderNotFound),
        ("Order not found", 500, OrderNotFound),  # texts count, statuses are not told
        ("Account does not have enough margin for order. Lower it.", 200, InsufficientFunds),
        ("Not logged in: Timestamp too far from current time", 401, StaleRequest),
        ("Not logged in", 401, BadCredentials),
        ("Slow down", 400, Throttled),
        ("Please retry request", 400, Ambiguous),
        ("Try again", 429, Ambiguous),
        ("What is that", 400, Rejected),
        ("What is that", 200, Rejected),
    ],
)
def test_texts_say_what_happened(text: str, status: int, kind: type[VenueError]) -> None:
    assert isinstance(judged(text, status), kind)


@pytest.mark.parametrize(
    ("text", "status", "success"),
    [("What is that", 500, False), ("What is that", 429, False), ("x", 400, None), (None, 502, None)],
)
def test_where_the_text_says_nothing_the_status_does(text: str | None, status: int, success: Any) -> None:
    assert judged(text, status, success) is None


@pytest.mark.parametrize(("text", "success"), [(None, None), ("x", None), (3, False), ("x", True)])
def test_junk_of_a_good_status_proves_nothing(text: Any, success: Any) -> None:
    assert isinstance(judged(text, 200, success), Ambiguous)


def test_positions_are_those_that_the_house_trades(bench: HttpBench) -> None:
    rows = [dict(each) for each in FIXTURE["states"]["long"][0]["json"]["result"]]
    arrange(
        bench, answer(POSITIONS, [*rows, rows[1] | {"future": "BTC-0325"}, rows[1] | {"future": "SHIB-PERP"}])
    )
    found = {position.symbol: position.quantity for position in bench.exchange.positions()}
    assert found == {BTC: Decimal("0.01"), "SHIB-USD-PERP": Decimal("0.01")}


def test_fills_are_paged_until_nothing_is_new(bench: HttpBench) -> None:
    first = FIXTURE["fills"]["rows"]
    bench.arrange(FIXTURE["fills"])
    ready(bench)
    found = bench.exchange.fills(BTC, since=NOW - timedelta(days=1))
    assert [fill.trade_id for fill in found] == [each["trade_id"] for each in first]
    ends = [each.get("end_time") for each in sent(bench, FILLS)]
    assert ends == [None, "1767225599.000000", "1767225599.000000"]


# What an entry depends on


def test_from_cold_the_clock_and_the_list_come_first_and_together(bench: HttpBench) -> None:
    bench.exchange.prepare(BTC, ours=(), leverage=Decimal(5))
    first, rest = bench.sent[:2], bench.sent[2:]
    assert {seen.path for seen in first} == {"/api/time", "/api/markets"}
    assert len(rest) == 6
    bench.forget()
    bench.clock.advance(timedelta(minutes=11))
    bench.exchange.prepare(BTC, ours=(), leverage=Decimal(5))
    assert "/api/time" in {seen.path for seen in bench.sent}
    assert len(bench.sent) == 6  # the leverage is set already


def test_leverage_is_a_whole_number_up_to_20_and_set_once(bench: HttpBench) -> None:
    path = "POST /api/account/leverage"
    arrange(bench, answer(path, None))
    for leverage in ("2.5", "3", "0.2", "0.5", "100", "20"):
        bench.exchange.prepare(BTC, ours=(), leverage=Decimal(leverage))
        bench.clock.advance(1)  # or the budget of a second ends
    assert [each["leverage"] for each in sent(bench, path)] == [3, 1, 20]


def test_a_leverage_that_was_refused_is_tried_again(bench: HttpBench) -> None:
    path = "POST /api/account/leverage"
    for _ in range(2):
        arrange(bench, no(path, "Invalid parameter leverage"))
        with pytest.raises(InvalidOrder):
            bench.exchange.prepare(BTC, ours=(), leverage=Decimal(7))
        assert len(sent(bench, path)) == 1


def test_a_clock_that_is_off_is_told(bench: HttpBench) -> None:
    arrange(bench, {**answer("GET /api/time", "2026-01-01T00:00:05+00:00"), "public": True})
    texts = [f"{finding.text}: {finding.mend}" for finding in bench.exchange.check() if finding.mend]
    assert any("5.000 s behind" in text and "NTP" in text for text in texts)
    assert any("may not withdraw" in text for text in texts)


@pytest.mark.parametrize("network", ["live", "testnet", "demo"])
def test_without_a_url_of_the_user_s_own_there_is_no_venue(network: str) -> None:
    def opened(urls: dict[str, str]) -> exchanges.Exchange:
        credentials = Credentials(key=KEY, secret=SECRET)
        return exchanges.connect("FTX", credentials, network=network, hosts=Hosts(lambda: NOW), urls=urls)

    with pytest.raises(Denied, match="FTX_API_URL") as raised:
        opened({})
    assert ("November 2022" in raised.value.reason) is (network == "live")
    assert opened({"FTX": "http://127.0.0.1:9"}).name == "FTX"


def test_what_the_venue_cannot_do_is_not_asked_for(bench: HttpBench) -> None:
    ready(bench)
    assert [bench.exchange.candles(BTC, interval, 5) for interval in ("M", "", "7X")] == [(), (), ()]
    with pytest.raises(ValueError, match="ATTACHED"):
        bench.exchange.place(ENTRY, signed_at=SIGNED, stop=SL)
    assert not bench.sent


# Against the emulated venue


@pytest.fixture
def server(clock: Clock) -> Iterator[Server]:
    engine, dialect = emulated.build(clock)
    with Server(dialect, engine) as made:
        yield made


def open_at(server: Server, clock: Clock) -> exchanges.Exchange:
    hosts = Hosts(
        clock,
        patience=Patience(connect=5, silence=0.2, total=0.2, long=5),
        pause=lambda seconds: clock.set(clock() + timedelta(seconds=seconds)),
    )
    credentials = Credentials(key=emulated.KEY, secret=emulated.SECRET)
    found = exchanges.connect("FTX", credentials, network="live", hosts=hosts, urls={"FTX": server.url})
    found.prepare(emulated.BTC, ours=(), leverage=Decimal(3))
    return found


@pytest.mark.parametrize("order", [ENTRY, SL], ids=lambda order: order.role.value)
@pytest.mark.parametrize(("late", "taken"), [(1.999, True), (2.001, False)])
def test_a_late_copy_is_taken_within_the_window_and_never_after(
    server: Server, clock: Clock, order: Order, late: float, taken: bool
) -> None:
    exchange = open_at(server, clock)
    order = replace(order, signed_at=exchange.time())
    server.fault("late", (f"POST {STOPS if order.trigger_price else ORDERS}", 1))
    with pytest.raises(Ambiguous):
        exchange.place(order, signed_at=exchange.time())
    server.settle()
    clock.advance(late)
    server.deliver_late()
    clock.advance(CAPABILITIES.receive_window + CAPABILITIES.margin)
    if taken:
        assert exchange.order(order).client_order_id == order.client_order_id
    else:
        with pytest.raises(OrderNotFound):
            exchange.order(order)


def test_a_trade_from_entry_to_stop(server: Server, clock: Clock) -> None:
    exchange = open_at(server, clock)

    def put(order: Order, **more: Any) -> Order:
        order = replace(order, signed_at=exchange.time(), **more)
        clock.advance(0.5)
        assert exchange.place(order, signed_at=order.signed_at or NOW).status is OrderStatus.ACCEPTED
        return order

    entry, stop = put(ENTRY), put(SL)
    target = put(FIXTURE.order("target"), price=Decimal(61000))
    moved = put(SL, client_order_id="d7c2a9-sl-2", trigger_price=Decimal(59500))
    exchange.cancel(stop)
    assert exchange.order(entry).status is OrderStatus.FILLED
    clock.advance(1)
    ours = (stop, target, moved)
    names = {report.client_order_id for report in exchange.look(emulated.BTC, ours=ours).resting}
    assert names - {stop.client_order_id} == {target.client_order_id, moved.client_order_id}
    server.engine.move(emulated.BTC, Decimal(61000))
    server.engine.move(emulated.BTC, Decimal(59500))
    assert [exchange.order(order).filled_quantity for order in ours] == [
        0,
        Decimal("0.005"),
        Decimal("0.005"),
    ]
    assert exchange.order(stop).status is OrderStatus.CANCELED
    assert exchange.position(emulated.BTC).is_flat
    assert len(exchange.fills(emulated.BTC, since=clock() - timedelta(minutes=1))) == 3
    exchange.cancel_all(emulated.BTC)
    assert not exchange.look(emulated.BTC, ours=ours).resting
