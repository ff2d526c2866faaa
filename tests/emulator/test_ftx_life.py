"""An order, a stop, a position and a market of the emulated FTX, from beginning to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests

from tests.emulator.ftx import BTC, ETH, build
from tests.emulator.ftx_client import Client, limit, market, new_client, stop
from tests.emulator.server import Fault, Request, Server
from trading.model import Side

D = Decimal


@pytest.fixture
def ftx(clock: Callable[[], datetime]) -> Client:
    return new_client(clock)


# -- the life of an order ------------------------------------------------------------------------------


def test_a_market_order(ftx: Client) -> None:
    placed = ftx.result("POST", "/orders", market(clientId="a1b2", rejectAfterTs=1767614400000))
    assert placed == {
        "createdAt": "2026-01-05T12:00:00+00:00",
        "id": 1_000_001,
        "market": "BTC-PERP",
        "future": "BTC-PERP",
        "price": None,
        "size": 0.01,
        "filledSize": 0.0,
        "remainingSize": 0.01,
        "avgFillPrice": None,
        "side": "buy",
        "type": "market",
        "status": "new",
        "ioc": True,
        "postOnly": False,
        "reduceOnly": False,
        "liquidation": False,
        "clientId": "a1b2",
    }
    done = {"status": "closed", "filledSize": 0.01, "remainingSize": 0.0, "avgFillPrice": 60000.0}
    assert ftx.result("GET", "/orders/by_client_id/a1b2") == placed | done
    assert ftx.result("GET", "/orders") == []
    assert ftx.whole("GET", "/orders/history")["hasMoreData"] is False
    assert ftx.refused("POST", "/orders", limit(clientId="a1b2")) == "Duplicate client order ID"
    assert ftx.refused("DELETE", "/orders/by_client_id/a1b2") == "Order already closed"
    (fill,) = ftx.result("GET", "/fills", orderId=placed["id"])
    assert (fill["price"], fill["fee"], fill["liquidity"], fill["type"]) == (60000.0, 0.3, "taker", "order")


def test_a_limit_order_is_cancelled_in_a_while(ftx: Client, clock: Any) -> None:
    placed = ftx.result("POST", "/orders", limit(clientId="a"))
    path = f"/orders/{placed['id']}"
    assert ftx.result("GET", path)["status"] == "open"
    assert ftx.result("DELETE", path) == "Order queued for cancelation"
    assert ftx.refused("DELETE", path) == "Order already queued for cancellation"
    assert [row["status"] for row in ftx.result("GET", "/orders")] == ["open"]
    closed = ftx.result("GET", path)
    assert (closed["status"], closed["filledSize"], closed["remainingSize"]) == ("closed", 0, 0)
    assert ftx.refused("DELETE", path) == "Order already closed"
    clock.advance(3601)
    assert ftx.refused("GET", path) == "Order not found"
    assert ftx.refused("POST", "/orders", limit(clientId="a")) == "Duplicate client order ID"


def test_a_market_order_in_a_thin_market(ftx: Client) -> None:
    ftx.engine.liquidity[BTC] = D("0.004")
    path = f"/orders/{ftx.result('POST', '/orders', market())['id']}"
    got = ftx.result("GET", path)
    assert (got["status"], got["filledSize"], got["remainingSize"]) == ("closed", 0.004, 0)


def test_post_only_and_the_band(ftx: Client) -> None:
    crossing = ftx.result("POST", "/orders", limit(61000, postOnly=True))
    got = ftx.result("GET", f"/orders/{crossing['id']}")
    assert (got["status"], got["filledSize"], got["postOnly"], got["ioc"]) == ("closed", 0, True, True)
    assert ftx.result("POST", "/orders", limit(90000))["price"] == 63000
    assert ftx.result("POST", "/orders", limit(90000, side="sell", reduceOnly=True))["price"] == 90000


def test_a_stop_before_its_entry(ftx: Client) -> None:
    placed = ftx.result("POST", "/conditional_orders", stop())
    entry = ftx.result("POST", "/orders", market(clientId="e"))
    assert placed["id"] == entry["id"], "conditional orders have ids of their own"
    assert placed == {
        "id": placed["id"],
        "market": "BTC-PERP",
        "future": "BTC-PERP",
        "side": "sell",
        "type": "stop",
        "orderType": "market",
        "orderPrice": None,
        "triggerPrice": 58000.0,
        "size": 0.01,
        "status": "open",
        "createdAt": "2026-01-05T12:00:00+00:00",
        "triggeredAt": None,
        "orderId": None,
        "error": None,
        "reduceOnly": True,
        "trailValue": None,
        "trailStart": None,
        "cancelledAt": None,
        "cancelReason": None,
        "retryUntilFilled": True,
    }
    assert ftx.result("GET", "/orders") == []
    assert ftx.result("GET", "/conditional_orders", market="BTC-PERP") == [placed]
    ftx.engine.move(BTC, D(57000))
    assert ftx.result("GET", "/conditional_orders") == []
    (past,) = ftx.result("GET", "/conditional_orders/history", market="BTC-PERP", type="stop")
    assert (past["status"], past["filledSize"], past["avgFillPrice"]) == ("triggered", 0.01, 58000)
    made = ftx.result("GET", f"/orders/{past['orderId']}")
    assert (made["clientId"], made["status"], made["type"], made["filledSize"]) == (
        None,
        "closed",
        "market",
        0.01,
    )
    (trigger,) = ftx.result("GET", f"/conditional_orders/{placed['id']}/triggers")
    assert (trigger["orderId"], trigger["error"], trigger["filledSize"]) == (made["id"], None, 0.01)
    assert ftx.refused("DELETE", f"/conditional_orders/{placed['id']}") == "Order already closed"


def test_a_stop_that_finds_nothing(ftx: Client) -> None:
    placed = ftx.result("POST", "/conditional_orders", stop())
    ftx.engine.move(BTC, D(57000))
    (past,) = ftx.result("GET", "/conditional_orders/history")
    assert (past["status"], past["orderId"], past["error"]) == (
        "triggered",
        None,
        "Invalid reduce-only order",
    )
    (trigger,) = ftx.result("GET", f"/conditional_orders/{placed['id']}/triggers")
    assert (trigger["orderId"], trigger["error"]) == (None, "Invalid reduce-only order")


def test_take_profit_is_answered_in_another_spelling(ftx: Client) -> None:
    body = stop(61000, type="takeProfit", orderPrice=61000)
    placed = ftx.result("POST", "/conditional_orders", body)
    assert (placed["type"], placed["orderType"], placed["retryUntilFilled"]) == (
        "take_profit",
        "limit",
        False,
    )
    assert ftx.result("DELETE", f"/conditional_orders/{placed['id']}") == "Order cancelled"
    (past,) = ftx.result("GET", "/conditional_orders/history")
    assert past["status"] == "cancelled"


def test_cancel_all_reaches_as_far_as_it_is_told(ftx: Client) -> None:
    def open_now() -> list[tuple[str, bool]]:
        return [(record.symbol, record.conditional) for record in ftx.account.orders(open=True)]

    def fill_up() -> None:
        ftx.result("POST", "/orders", limit())
        ftx.result("POST", "/conditional_orders", stop())
        ftx.result("POST", "/orders", limit(2900) | {"market": "ETH-PERP"})

    fill_up()
    body = {"market": "BTC-PERP", "limitOrdersOnly": True}
    assert ftx.result("DELETE", "/orders", body) == "Orders queued for cancelation"
    assert open_now() == [(BTC, True), (ETH, False)]
    ftx.result("DELETE", "/orders", {"market": "BTC-PERP", "conditionalOrdersOnly": True})
    assert open_now() == [(ETH, False)]
    ftx.result("DELETE", "/orders", {"side": "sell"})
    assert open_now() == [(ETH, False)]
    fill_up()
    ftx.result("DELETE", "/orders", None, market="BTC-PERP")
    assert open_now() == [], "without a body it is every market"


def test_a_change_makes_another_order(ftx: Client) -> None:
    ftx.result("POST", "/orders", limit(clientId="a"))
    new = ftx.result("POST", "/orders/by_client_id/a/modify", {"price": 58000})
    assert (new["price"], new["size"], new["clientId"]) == (58000, 0.01, None)
    assert ftx.result("GET", "/orders/by_client_id/a")["status"] == "closed"
    assert (
        ftx.refused("POST", f"/orders/{new['id']}/modify", {"clientId": "a"}) == "Duplicate client order ID"
    )
    assert not ftx.account.orders(open=True), "the old one is lost"
    placed = ftx.result("POST", "/conditional_orders", stop())
    moved = ftx.result("POST", f"/conditional_orders/{placed['id']}/modify", {"triggerPrice": 59000})
    assert (moved["triggerPrice"], moved["id"] > placed["id"]) == (59000, True)
    assert ftx.result("GET", "/conditional_orders") == [moved]


# -- what is held --------------------------------------------------------------------------------------


def test_positions(ftx: Client) -> None:
    ftx.result("POST", "/orders", market(0.1))
    ftx.engine.move(BTC, D(61000))
    ftx.result("POST", "/orders", limit(size=0.3))
    ftx.result("POST", "/orders", limit(62000, 0.05, "sell", reduceOnly=True))
    ftx.engine.hand(ftx.account, ETH, Side.SELL, D(1))
    ftx.engine.hand(ftx.account, ETH, Side.BUY, D(1))
    held, flat = ftx.result("GET", "/positions", showAvgPrice="true")
    assert (held["size"], held["netSize"], held["openSize"], held["side"]) == (0.1, 0.1, 0.4, "buy")
    assert (held["longOrderSize"], held["shortOrderSize"]) == (0.3, 0.05)
    assert (held["entryPrice"], held["recentAverageOpenPrice"]) == (61000, 60000)
    assert (held["unrealizedPnl"], held["recentPnl"], held["realizedPnl"]) == (0, 100, 100)
    assert (flat["future"], flat["size"], flat["entryPrice"]) == ("ETH-PERP", 0, None)
    assert "recentPnl" not in ftx.result("GET", "/positions")[0]
    ftx.engine.hand(ftx.account, BTC, Side.SELL, D("0.3"))
    short = ftx.result("GET", "/positions", showAvgPrice="true")[0]
    assert (short["side"], short["size"], short["netSize"]) == ("sell", 0.2, -0.2)
    assert (short["cumulativeSellSize"], short["recentPnl"], short["realizedPnl"]) == (0.2, 0, 100)


def test_the_account(ftx: Client) -> None:
    before = ftx.result("GET", "/account")
    assert (before["leverage"], before["marginFraction"], before["positions"]) == (10, None, [])
    assert ftx.whole("POST", "/account/leverage", {"leverage": 5}) == {"success": True, "result": None}
    ftx.result("POST", "/orders", market(0.1))
    after = ftx.result("GET", "/account")
    assert (after["totalAccountValue"], after["freeCollateral"]) == (99997, 98797)
    assert (after["leverage"], after["initialMarginRequirement"], after["totalPositionSize"]) == (
        5,
        0.2,
        6000,
    )
    assert ftx.result("GET", "/wallet/balances")[0]["total"] == 99997


def test_fills_come_twenty_a_page(ftx: Client, clock: Any) -> None:
    start = clock()
    for _ in range(25):
        clock.advance(0.5)
        ftx.result("POST", "/orders", market(0.001))
    ids = [fill["id"] for fill in ftx.result("GET", "/fills")]
    assert (len(ids), ids == sorted(ids, reverse=True)) == (20, True)
    all_ids = [fill["id"] for fill in ftx.result("GET", "/fills", limit=5000, order="asc")]
    assert (len(all_ids), all_ids == sorted(all_ids)) == (25, True)
    since = f"{(start + timedelta(seconds=12)).timestamp():.3f}"
    assert [fill["id"] for fill in ftx.result("GET", "/fills", start_time=since)] == ids[:2]
    assert ftx.result("GET", "/fills", end_time=since)[0]["id"] == ids[1]


# -- markets -------------------------------------------------------------------------------------------


def test_markets_are_public(ftx: Client, clock: Any) -> None:
    ftx.secret = "wrong"
    assert ftx.result("GET", "/time") == "2026-01-05T12:00:00+00:00"
    markets = {row["name"]: row for row in ftx.result("GET", "/markets")}
    assert set(markets) == {"BTC-PERP", "ETH-PERP", "KSHIB-PERP", "BTC/USD", "BTC-1230"}
    assert ftx.result("GET", "/markets/BTC/USD")["type"] == "spot"
    btc = ftx.result("GET", "/markets/BTC-PERP")
    assert (btc["price"], btc["priceIncrement"], btc["minProvideSize"]) == (60000, 1, 0.001)
    futures = {row["name"]: row["perpetual"] for row in ftx.result("GET", "/futures")}
    assert futures == {"BTC-PERP": True, "ETH-PERP": True, "KSHIB-PERP": True, "BTC-1230": False}
    assert ftx.result("GET", "/futures/BTC-PERP")["upperBound"] == 63000
    small = ftx.dialect.handle(
        Request(method="GET", path="/api/markets/KSHIB-PERP", query_text="", headers={}, body=b"")
    )
    assert b'"priceIncrement":1e-06' in small.encoded()[0]
    clock.advance(61)
    ftx.engine.move(BTC, D(60500), D(60400))
    bars = ftx.result("GET", "/markets/BTC-PERP/candles", resolution=60)
    assert [(bar["time"], bar["open"], bar["high"], bar["close"]) for bar in bars] == [
        (1767614400000, 60000, 60000, 60000),
        (1767614460000, 60000, 60500, 60400),
    ]
    assert bars[1]["startTime"] == "2026-01-05T12:01:00+00:00"


# -- over HTTP -----------------------------------------------------------------------------------------


def test_faults_by_the_name_of_the_request(clock: Any) -> None:
    engine, dialect = build(clock)
    paths = {
        "/api/orders/17": "/api/orders/{id}",
        "/api/orders/history": "/api/orders/history",
        "/api/orders/by_client_id/a-b/modify": "/api/orders/by_client_id/{clientId}/modify",
        "/api/conditional_orders/17/triggers": "/api/conditional_orders/{id}/triggers",
        "/api/markets/BTC/USD": "/api/markets/{market}",
        "/api/markets/BTC-PERP/candles": "/api/markets/{market}/candles",
        "/elsewhere": "/elsewhere",
    }
    assert {path: dialect.route(path) for path in paths} == paths
    with Server(dialect, engine) as server, requests.Session() as session:
        session.trust_env = False
        for number, (fault, status, says) in enumerate(
            [
                (Fault.THROTTLED, 429, "Do not send more than 2 orders per 200ms"),
                (Fault.UNKNOWN_AFTER, 400, "An unexpected error occurred, please try again later (4f1c)"),
                (Fault.BANNED, 429, "Cannot send more than 1500 requests per minute"),
            ],
            1,
        ):
            server.fault(fault, ("GET /api/markets/{market}", number))
            answer = session.get(f"{server.url}/api/markets/BTC-PERP", timeout=2)
            assert (answer.status_code, answer.json()) == (status, {"success": False, "error": says})


def test_doubts_may_be_settled_in_the_clients_favour(clock: Any) -> None:
    ftx = new_client(
        clock,
        status=422,
        queued_reads=0,
        settled=False,
        rounds=True,
        refuses_unknown=False,
        forgets_unfilled_after=None,
        modify_loses=False,
        orders_per_200ms=2,
        shift=0,
    )
    placed = ftx.result("POST", "/orders", limit(59000.4, 0.01004, clientId="a", more=1))
    assert (placed["price"], placed["size"]) == (59000, 0.01)
    assert ftx.refused("POST", "/orders/by_client_id/a/modify", {"clientId": "a"}) == (
        "Duplicate client order ID"
    )
    ftx.result("DELETE", "/orders/by_client_id/a")
    assert ftx.result("GET", "/orders") == []
    clock.advance(timedelta(days=99))
    assert ftx.result("GET", "/orders/by_client_id/a")["status"] == "closed"
    for _ in range(2):
        ftx.result("POST", "/orders", market(0.01))
    assert ftx.raw("POST", "/orders", json.dumps(market()).encode()) == (
        429,
        {"success": False, "error": "Do not send more than 2 orders per 200ms"},
    )
    clock.advance(1)
    placed = ftx.result("POST", "/conditional_orders", stop())
    assert placed["id"] == next(reversed(ftx.account.records))
    ftx.engine.move(BTC, D(61000))
    assert ftx.result("GET", "/positions")[0]["entryPrice"] == 60000
    assert ftx.raw("DELETE", "/orders/1")[0] == 422
