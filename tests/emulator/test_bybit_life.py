"""An order, a stop, a position and a market of the emulated Bybit, from beginning to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests

from tests.emulator.bybit import BTC, build
from tests.emulator.bybit_client import (
    AMEND,
    CANCEL,
    CANCEL_ALL,
    CREATE,
    EXECUTIONS,
    HISTORY,
    LEVERAGE,
    MODE,
    POSITIONS,
    REALTIME,
    STOP,
    WALLET,
    Client,
    limit,
    market,
    moved,
    new_client,
    stop,
)
from tests.emulator.server import Fault, Server
from trading.model import Side

D = Decimal
_SYMBOL = {"category": "linear", "symbol": "BTCUSDT"}


@pytest.fixture
def bybit(clock: Callable[[], datetime]) -> Client:
    return new_client(clock)


def test_a_market_order(bybit: Client) -> None:
    placed = bybit.post(CREATE, market(orderLinkId="a"))
    assert list(placed) == ["orderId", "orderLinkId"]
    row = bybit.order(orderLinkId="a")
    assert row == bybit.order(orderId=placed["orderId"])
    told = {
        "orderId": placed["orderId"],
        "orderLinkId": "a",
        "orderStatus": "Filled",
        "price": "63000",
        "qty": "0.010",
        "avgPrice": "60000",
        "cumExecQty": "0.010",
        "cumExecValue": "600",
        "leavesQty": "0",
        "timeInForce": "IOC",
        "cumFeeDetail": {"USDT": "0.33"},
        "stopOrderType": "",
        "triggerPrice": "",
        "stopLoss": "",
        "rejectReason": "EC_NoError",
        "positionIdx": 0,
        "createdTime": "1767614400000",
    }
    assert row | told == row
    assert bybit.rows(REALTIME, symbol="BTCUSDT") == []
    assert bybit.rows(HISTORY, symbol="BTCUSDT", orderLinkId="a") == [row]
    (fill,) = bybit.rows(EXECUTIONS, symbol="BTCUSDT", orderLinkId="a")
    fee = {"execPrice": "60000", "execFee": "0.33", "execType": "Trade", "isMaker": False}
    assert fill | fee == fill


def test_what_was_taken_shows_later(clock: Callable[[], datetime]) -> None:
    """And what was cancelled goes later."""
    bybit = Client(*build(clock))
    bybit.post(CREATE, limit(orderLinkId="a"))
    assert bybit.rows(REALTIME, symbol="BTCUSDT", orderLinkId="a") == []
    assert bybit.rows(HISTORY, symbol="BTCUSDT", orderLinkId="a") == []
    assert bybit.order(orderLinkId="a")["orderStatus"] == "New"
    bybit.post(CANCEL, _SYMBOL | {"orderLinkId": "a"})
    assert bybit.order()["orderStatus"] == "New"
    row = bybit.order(orderLinkId="a")
    assert (row["orderStatus"], row["cancelType"]) == ("Cancelled", "CancelByUser")
    assert bybit.refused("POST", CANCEL, _SYMBOL | {"orderLinkId": "a"})[0] == 110001


def test_what_ended_is_forgotten(clock: Any) -> None:
    bybit = new_client(clock, remembers=0)
    bybit.post(CREATE, limit(orderLinkId="a"))
    bybit.post(CANCEL, _SYMBOL | {"orderLinkId": "a"})
    bybit.post(CREATE, market(orderLinkId="b"))
    assert bybit.rows(REALTIME, symbol="BTCUSDT", orderLinkId="a") == []
    assert len(bybit.rows(HISTORY, symbol="BTCUSDT")) == 2
    clock.advance(86400)
    assert [row["orderLinkId"] for row in bybit.rows(HISTORY, symbol="BTCUSDT")] == ["b"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (limit("60000", timeInForce="PostOnly"), "EC_PostOnlyWillTakeLiquidity"),
        (limit("60000", timeInForce="FOK"), "EC_NoImmediateQtyToFill"),
        (limit("59000", timeInForce="IOC"), "EC_NoImmediateQtyToFill"),
    ],
)
def test_what_is_taken_and_closed_at_once(bybit: Client, said: dict[str, Any], reason: str) -> None:
    bybit.engine.liquidity[BTC] = D("0.005")
    bybit.post(CREATE, said | {"orderLinkId": "a", "stopLoss": "58000"})
    row = bybit.order(orderLinkId="a")
    assert (row["orderStatus"], row["rejectReason"], row["cumExecQty"]) == ("Cancelled", reason, "0")
    assert bybit.rows(REALTIME, symbol="BTCUSDT") == []


def test_a_market_order_that_fills_in_part(bybit: Client) -> None:
    bybit.engine.liquidity[BTC] = D("0.004")
    bybit.post(CREATE, market(orderLinkId="a"))
    row = bybit.order(orderLinkId="a")
    assert (row["orderStatus"], row["cumExecQty"]) == ("Cancelled", "0.004")


def test_an_entry_brings_its_stop(bybit: Client) -> None:
    bybit.post(CREATE, limit(orderLinkId="a", stopLoss="58000", slTriggerBy="MarkPrice"))
    assert (bybit.order()["stopLoss"], bybit.position()["stopLoss"]) == ("58000", "0.00")
    bybit.engine.move(BTC, D(59400))
    (child,) = bybit.rows(REALTIME, symbol="BTCUSDT")
    told = {
        "orderLinkId": "",
        "parentOrderLinkId": "a",
        "stopOrderType": "StopLoss",
        "orderStatus": "Untriggered",
        "side": "Sell",
        "qty": "0.010",
        "triggerPrice": "58000",
        "triggerDirection": 2,
        "triggerBy": "MarkPrice",
        "orderType": "Market",
        "reduceOnly": True,
        "closeOnTrigger": True,
        "tpslMode": "Full",
        "price": "0",
    }
    assert child | told == child
    assert bybit.position()["stopLoss"] == "58000.00"
    bybit.post(CREATE, market("0.02"))
    assert bybit.order()["qty"] == "0.030"
    bybit.engine.move(BTC, D(57000))
    assert bybit.position()["size"] == "0"
    row = bybit.order(orderId=child["orderId"])
    assert (row["orderStatus"], row["cumExecQty"]) == ("Filled", "0.030")
    (closed,) = bybit.rows("/v5/position/closed-pnl", symbol="BTCUSDT")
    assert (closed["side"], closed["closedSize"], closed["fillCount"]) == ("Sell", "0.030", "1")


def test_the_stop_of_an_entry_that_waits_is_amended(bybit: Client) -> None:
    bybit.post(CREATE, limit(orderLinkId="a", stopLoss="58000"))
    said = _SYMBOL | {"orderLinkId": "a"}
    bybit.post(AMEND, said | {"stopLoss": "58500"})
    assert bybit.order()["stopLoss"] == "58500"
    assert "should lower" in bybit.refused("POST", AMEND, said | {"stopLoss": "59500"})[1]
    assert bybit.refused("POST", AMEND, said | {"stopLoss": "58500"}) == (10001, "order not modified")
    bybit.post(AMEND, said | {"price": "59400", "qty": "0.02"})
    row = bybit.order()
    assert (row["price"], row["qty"], row["stopLoss"]) == ("59400", "0.020", "58500")
    bybit.engine.move(BTC, D(59400))
    assert bybit.order()["triggerPrice"] == "58500"
    assert bybit.refused("POST", AMEND, said | {"qty": "0.03"})[0] == 110001


def test_an_entry_can_lose_its_stop(bybit: Client) -> None:
    bybit.post(CREATE, limit(orderLinkId="a", stopLoss="58000"))
    bybit.post(AMEND, _SYMBOL | {"orderLinkId": "a", "stopLoss": "0"})
    bybit.engine.move(BTC, D(59400))
    assert bybit.rows(REALTIME, symbol="BTCUSDT") == []


def test_the_stop_of_a_position(bybit: Client) -> None:
    assert bybit.refused("POST", STOP, moved("58000")) == (10001, "can not set tp/sl/ts for zero position")
    bybit.post(CREATE, market())
    assert bybit.post(STOP, moved("58000")) == {}
    assert bybit.refused("POST", STOP, moved("58000"))[0] == 34040
    old = bybit.order()
    assert "Buy position should lower" in bybit.refused("POST", STOP, moved("60000"))[1]
    bybit.post(STOP, moved("59000"))
    row = bybit.order()
    assert (row["triggerPrice"], row["orderId"]) == ("59000", old["orderId"])
    bybit.post(STOP, moved("0"))
    assert bybit.rows(REALTIME, symbol="BTCUSDT") == []
    assert bybit.order(orderId=old["orderId"])["orderStatus"] == "Deactivated"
    assert bybit.refused("POST", STOP, moved("0"))[0] == 34040


def test_a_short_has_its_stop_above(bybit: Client) -> None:
    bybit.post(CREATE, market(side="Sell", stopLoss="61000"))
    row = bybit.order()
    assert (row["side"], row["triggerDirection"], bybit.position()["side"]) == ("Buy", 1, "Sell")
    assert "Sell position should higher" in bybit.refused("POST", STOP, moved("60000"))[1]


def test_a_position_that_closes_takes_its_stop_along(bybit: Client) -> None:
    """And the reduce-only limits, but not a stop that is an order of its own."""
    bybit.post(CREATE, market(stopLoss="58000"))
    bybit.post(CREATE, limit("61000", side="Sell", reduceOnly=True, orderLinkId="t"))
    bybit.post(CREATE, stop(orderLinkId="s"))
    bybit.engine.hand(bybit.account, BTC, Side.SELL, D("0.01"))
    assert [row["orderLinkId"] for row in bybit.rows(REALTIME, symbol="BTCUSDT")] == ["s"]
    row = bybit.order(orderLinkId="t")
    assert (row["orderStatus"], row["cancelType"]) == ("Cancelled", "CancelByReduceOnly")
    ended = bybit.rows(HISTORY, symbol="BTCUSDT", orderStatus="Deactivated")
    assert [row["cancelType"] for row in ended] == ["CancelByTpSlTsClear"]
    bybit.engine.move(BTC, D(57000))
    row = bybit.order(orderLinkId="s")
    assert (row["orderStatus"], row["cancelType"]) == ("Cancelled", "CancelByReduceOnly")


def test_a_stop_of_its_own(bybit: Client) -> None:
    bybit.post(CREATE, market())
    bybit.post(CREATE, stop(orderLinkId="s"))
    row = bybit.order()
    assert (row["orderStatus"], row["stopOrderType"], row["price"]) == ("Untriggered", "Stop", "0")
    assert bybit.position()["stopLoss"] == "0.00"
    said = _SYMBOL | {"orderLinkId": "s"}
    bybit.post(AMEND, said | {"triggerPrice": "58500", "qty": "0.005"})
    assert bybit.refused("POST", AMEND, said | {"triggerPrice": "60000"})[0] == 110093
    bybit.engine.move(BTC, D(58000))
    row = bybit.order(orderLinkId="s")
    assert (row["orderStatus"], row["avgPrice"], row["cumExecQty"]) == ("Filled", "58500", "0.005")


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ({}, []),
        ({"orderFilter": "Order"}, ["s", ""]),
        ({"orderFilter": "StopOrder"}, ["t"]),
        ({"orderFilter": "StopOrder", "stopOrderType": "Stop"}, ["t", ""]),
        ({"symbol": "ETHUSDT"}, ["s", "t", ""]),
    ],
)
def test_cancel_all(bybit: Client, said: dict[str, Any], left: list[str]) -> None:
    bybit.post(CREATE, market(stopLoss="57000"))
    bybit.post(CREATE, limit("61000", side="Sell", reduceOnly=True, orderLinkId="t"))
    bybit.post(CREATE, stop(orderLinkId="s"))
    ended = bybit.post(CANCEL_ALL, _SYMBOL | said)
    assert (ended["success"], len(ended["list"])) == ("1", 3 - len(left))
    assert [row["orderLinkId"] for row in bybit.rows(REALTIME, symbol="BTCUSDT")] == left


def test_close_all_of_it(bybit: Client) -> None:
    bybit.post(CREATE, market("0.037"))
    bybit.post(CREATE, market("0", side="Sell", reduceOnly=True, closeOnTrigger=True))
    assert bybit.position() | {"size": "0", "side": "", "avgPrice": "0"} == bybit.position()
    assert bybit.rows(POSITIONS, settleCoin="USDT") == []


def test_a_position_and_the_money(bybit: Client) -> None:
    bybit.post(CREATE, market("0.1"))
    bybit.engine.move(BTC, D(61000))
    (row,) = bybit.rows(POSITIONS, settleCoin="USDT")
    told = {"size": "0.100", "side": "Buy", "avgPrice": "60000", "unrealisedPnl": "100", "leverage": "10"}
    assert row | told == row
    (wallet,) = bybit.get(WALLET, accountType="UNIFIED")["list"]
    assert (wallet["totalEquity"], wallet["totalPerpUPL"]) == ("100096.7", "100")
    assert wallet["coin"][0]["walletBalance"] == "99996.7"
    assert D(wallet["totalAvailableBalance"]) < D(wallet["totalEquity"])
    bybit.post(LEVERAGE, _SYMBOL | {"buyLeverage": "5", "sellLeverage": "5"})
    assert bybit.position()["leverage"] == "5"


def test_isolated_margin_leaves_the_totals_empty(bybit: Client) -> None:
    bybit.post("/v5/account/set-margin-mode", {"setMarginMode": "ISOLATED_MARGIN"})
    (wallet,) = bybit.get(WALLET, accountType="UNIFIED", coin="USDT,USDC")["list"]
    assert (wallet["totalAvailableBalance"], wallet["coin"][0]["walletBalance"]) == ("", "100000")
    assert bybit.get("/v5/account/info")["marginMode"] == "ISOLATED_MARGIN"
    bybit.post(MODE, _SYMBOL | {"mode": 3})


def test_pages_go_on_where_the_last_one_ended(bybit: Client) -> None:
    for number in range(5):
        bybit.post(CREATE, limit(orderLinkId=f"n{number}"))
    seen: list[str] = []
    more: dict[str, str] = {}
    while True:
        page = bybit.get(REALTIME, category="linear", symbol="BTCUSDT", limit=2, **more)
        seen += [row["orderLinkId"] for row in page["list"]]
        if not page["nextPageCursor"]:
            break
        assert "%3D" in page["nextPageCursor"]
        more = {"cursor": page["nextPageCursor"]}
    assert seen == ["n4", "n3", "n2", "n1", "n0"]


def test_the_market(bybit: Client, clock: Any) -> None:
    first = bybit.get("/v5/market/instruments-info", category="linear", limit=2)
    rest = bybit.get(
        "/v5/market/instruments-info", category="linear", limit=2, cursor=first["nextPageCursor"]
    )
    names = [row["symbol"] for row in first["list"] + rest["list"]]
    assert names == ["BTCPERP", "BTCUSDT-26MAR27", "BTCUSDT", "ETHUSDT"]
    (row,) = bybit.rows("/v5/market/instruments-info", symbol="1000PEPEUSDT")
    assert row["lotSizeFilter"]["qtyStep"] == "100"
    assert row["priceFilter"]["tickSize"] == "0.0000001"
    (row,) = bybit.rows("/v5/market/tickers", symbol="BTCUSDT")
    assert (row["lastPrice"], row["bid1Price"], row["ask1Price"]) == ("60000.00", "59999.90", "60000.10")
    assert bybit.get("/v5/market/time")["timeSecond"] == "1767614400"
    clock.advance(3600)
    bybit.engine.move(BTC, D(61000))
    bars = bybit.get("/v5/market/kline", category="linear", symbol="BTCUSDT", interval="60")["list"]
    assert [(int(bar[0]), bar[1], bar[4]) for bar in bars] == [
        (1767618000000, "60000", "61000"),
        (1767614400000, "60000", "60000"),
    ]
    (bar,) = bybit.get("/v5/market/mark-price-kline", **_SYMBOL, interval="M")["list"]
    assert bar == ["1767225600000", "60000", "61000", "60000", "61000"]


def test_over_http(clock: Callable[[], datetime]) -> None:
    engine, dialect = build(clock)
    with Server(dialect, engine) as server:
        assert requests.get(f"{server.url}/v5/market/time", timeout=5).json()["retCode"] == 0
        server.fault(Fault.THROTTLED, ("GET /v5/market/time", 2))
        answer = requests.get(f"{server.url}/v5/market/time", timeout=5)
        assert json.loads(answer.text)["retCode"] == 10006
        until = int(answer.headers["X-Bapi-Limit-Reset-Timestamp"])
        assert until > (engine.now() - timedelta(seconds=1)).timestamp() * 1000
