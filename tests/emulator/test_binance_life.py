"""The life of orders at the emulated Binance, its lists, settings and limits."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from tests.conftest import Clock
from tests.emulator.binance import KEY, SECRET, build, signature
from tests.emulator.binance_client import ALGO, CLOSE, LIMIT, MARKET, ORDER, STOP, WHOLE, Venue
from tests.emulator.binance_rules import BTC, ETH, PEPE
from tests.emulator.binance_words import ms
from tests.emulator.engine import Rules
from tests.emulator.server import Server
from trading.model import Side

D = Decimal


@pytest.fixture
def venue(clock: Clock) -> Venue:
    return Venue(clock)


# -- the life of orders --------------------------------------------------------------------------------


def test_a_market_order(venue: Venue) -> None:
    answer = venue.place(**MARKET, newClientOrderId="tv-1")
    assert answer == {
        "orderId": 1000001,
        "symbol": "BTCUSDT",
        "status": "NEW",
        "clientOrderId": "tv-1",
        "price": "0",
        "origQty": "0.010",
        "executedQty": "0",
        "cumQty": "0",
        "timeInForce": "GTC",
        "type": "MARKET",
        "origType": "MARKET",
        "reduceOnly": False,
        "closePosition": False,
        "side": "BUY",
        "positionSide": "BOTH",
        "stopPrice": "0",
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "priceMatch": "NONE",
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "goodTillDate": 0,
        "updateTime": ms(venue.clock()),
    }
    found = venue.ask("GET", ORDER, symbol="BTCUSDT", origClientOrderId="tv-1")
    assert (found["status"], found["avgPrice"], found["cumQuote"]) == ("FILLED", "61000.00000", "610")
    (fill,) = venue.ask("GET", "/fapi/v1/userTrades", symbol="BTCUSDT", orderId=1000001)
    assert (fill["qty"], fill["price"], fill["commission"]) == ("0.010", "61000.0", "0.30500000")
    venue.engine.move(BTC, D(61100))
    (risk,) = venue.ask("GET", "/fapi/v3/positionRisk", symbol="BTCUSDT")
    assert (risk["positionAmt"], risk["entryPrice"], risk["unRealizedProfit"]) == (
        "0.010",
        "61000.00000",
        "1.00000000",
    )
    money = venue.ask("GET", "/fapi/v3/account")
    assert (money["totalMarginBalance"], money["availableBalance"]) == ("100000.69500000", "99970.14500000")
    assert [row["asset"] for row in money["assets"]] == ["BNB", "USDT"]
    assert venue.ask("GET", "/fapi/v3/balance")[1]["balance"] == "99999.69500000"


def test_a_limit_order_partly_filled_amended_and_cancelled(venue: Venue) -> None:
    order = venue.place(**LIMIT, newClientOrderId="e", newOrderRespType="RESULT")
    which = {"symbol": "BTCUSDT", "orderId": order["orderId"]}
    (flat,) = venue.ask("GET", "/fapi/v3/positionRisk", symbol="BTCUSDT")
    assert (flat["positionAmt"], flat["bidNotional"]) == ("0.000", "600.00000000")
    venue.engine.liquidity[BTC] = D("0.004")
    venue.engine.move(BTC, D(60000))
    found = venue.ask("GET", "/fapi/v1/openOrder", **which)
    assert (found["status"], found["executedQty"], found["price"]) == ("PARTIALLY_FILLED", "0.004", "60000.0")
    change = which | {"side": "BUY", "quantity": "0.012", "price": "59000"}
    assert venue.code("PUT", ORDER, **change | {"price": "59000.05"}) == -4014
    assert venue.code("PUT", ORDER, **change | {"quantity": "0.010", "price": "60000"}) == -5027
    assert venue.code("PUT", ORDER, **change, reduceOnly="true") == -5047
    assert venue.ask("PUT", ORDER, **change)["price"] == "59000.0"
    venue.engine.move(BTC, D(59000))
    assert venue.ask("GET", ORDER, **which)["executedQty"] == "0.008"
    assert venue.ask("DELETE", ORDER, **which)["status"] == "CANCELED"
    assert venue.code("DELETE", ORDER, **which) == -2011
    assert venue.code("PUT", ORDER, **change) == -2013
    assert venue.code("GET", "/fapi/v1/openOrder", **which) == -2013
    assert venue.ask("GET", "/fapi/v1/openOrders", symbol="BTCUSDT") == []
    assert [row["symbol"] for row in venue.ask("GET", "/fapi/v1/openOrders")] == ["BTCUSD_PERP"]
    assert [row["status"] for row in venue.ask("GET", "/fapi/v1/allOrders", symbol="BTCUSDT")] == ["CANCELED"]


def test_what_the_market_cannot_fill_expires(venue: Venue) -> None:
    venue.engine.liquidity[BTC] = D("0.003")
    done = venue.place(**MARKET, newOrderRespType="RESULT")
    assert (done["status"], done["executedQty"]) == ("EXPIRED", "0.003")
    ioc = LIMIT | {"timeInForce": "IOC", "newOrderRespType": "RESULT"}
    assert venue.place(**ioc)["status"] == "EXPIRED"
    assert venue.place(**ioc | {"timeInForce": "FOK", "price": "61000"})["code"] == -5021
    assert venue.place(**ioc | {"timeInForce": "GTX"})["status"] == "NEW"


def test_a_stop_makes_an_order_of_its_own(venue: Venue) -> None:
    assert venue.ask("POST", ALGO, **STOP, clientAlgoId="s")["reduceOnly"] is True, "before the entry"
    venue.place(**MARKET)
    stop = venue.ask("GET", ALGO, clientAlgoId="s")
    assert (stop["algoStatus"], stop["actualOrderId"], stop["quantity"]) == ("NEW", "", "0.010")
    assert venue.ask("GET", "/fapi/v1/openOrders", symbol="BTCUSDT") == []
    (resting,) = venue.ask("GET", "/fapi/v1/openAlgoOrders", symbol="BTCUSDT")
    assert (resting["clientAlgoId"], resting["orderType"]) == ("s", "STOP_MARKET")
    venue.ask("DELETE", "/fapi/v1/allOpenOrders", symbol="BTCUSDT")
    assert len(venue.ask("GET", "/fapi/v1/openAlgoOrders")) == 1, "regular orders only"
    venue.engine.move(BTC, D(57000))
    stop = venue.ask("GET", ALGO, algoId=stop["algoId"])
    assert (stop["algoStatus"], stop["actualPrice"], stop["actualQty"]) == ("FINISHED", "58000.00000", "0.01")
    made = venue.ask("GET", ORDER, symbol="BTCUSDT", orderId=stop["actualOrderId"])
    assert (made["status"], made["type"], made["reduceOnly"]) == ("FILLED", "MARKET", True)
    assert made["clientOrderId"] != "s"
    assert venue.ask("GET", "/fapi/v3/positionRisk", symbol="BTCUSDT") == []
    assert venue.code("DELETE", ALGO, clientAlgoId="s") == -2013
    assert [row["algoStatus"] for row in venue.ask("GET", "/fapi/v1/allAlgoOrders", symbol="BTCUSDT")] == [
        "FINISHED"
    ]
    kinds = [row["incomeType"] for row in venue.ask("GET", "/fapi/v1/income")]
    assert kinds == ["COMMISSION", "COMMISSION", "REALIZED_PNL"]


def test_a_stop_of_the_whole_position(venue: Venue) -> None:
    venue.place(**MARKET)
    assert venue.ask("POST", ALGO, **WHOLE, clientAlgoId="s")["timeInForce"] == "GTE_GTC"
    assert venue.code("POST", ALGO, **WHOLE | {"triggerPrice": "57000"}) == -4130
    profit = WHOLE | {"type": "TAKE_PROFIT_MARKET", "triggerPrice": "65000"}
    assert venue.ask("POST", ALGO, **profit)["algoStatus"] == "NEW"
    venue.place(**CLOSE)
    assert venue.ask("GET", ALGO, clientAlgoId="s")["algoStatus"] == "EXPIRED"
    assert venue.ask("GET", "/fapi/v1/openAlgoOrders") == []


def test_cancelling_algo_orders(venue: Venue) -> None:
    for trigger, name in (("58000", "a"), ("57000", "b")):
        venue.ask("POST", ALGO, **STOP | {"triggerPrice": trigger}, clientAlgoId=name)
    venue.place(**LIMIT)
    gone = venue.ask("DELETE", ALGO, clientAlgoId="a")
    assert gone == {"algoId": 1000001, "clientAlgoId": "a", "code": "200", "msg": "success"}
    assert venue.ask("DELETE", "/fapi/v1/algoOpenOrders", symbol="BTCUSDT")["code"] == 200
    assert venue.ask("GET", ALGO, clientAlgoId="b")["algoStatus"] == "CANCELED"
    assert len(venue.ask("GET", "/fapi/v1/openOrders", symbol="BTCUSDT")) == 1


def test_a_stop_whose_margin_is_gone_when_it_triggers(venue: Venue) -> None:
    entry = STOP | {"side": "BUY", "triggerPrice": "62000", "quantity": "60", "reduceOnly": "false"}
    venue.ask("POST", ALGO, **entry, clientAlgoId="e")
    venue.engine.move(BTC, D(62000))
    assert venue.ask("GET", ALGO, clientAlgoId="e")["algoStatus"] == "REJECTED"


def test_old_orders_are_forgotten(venue: Venue) -> None:
    venue.place(**LIMIT, newClientOrderId="a")
    venue.ask("DELETE", ORDER, symbol="BTCUSDT", origClientOrderId="a")
    venue.place(**MARKET, newClientOrderId="b")
    for days, known in ((3, ["a", "b"]), (1, ["b"]), (87, [])):
        venue.clock.advance(timedelta(days=days))
        answers = {one: venue.ask("GET", ORDER, symbol="BTCUSDT", origClientOrderId=one) for one in "ab"}
        assert [one for one, said in answers.items() if "code" not in said] == known
    assert venue.ask("GET", "/fapi/v1/userTrades", symbol="BTCUSDT", fromId=0) == []
    late = Venue(venue.clock, lag=timedelta(seconds=2))
    late.place(**MARKET, newClientOrderId="b")
    assert late.code("GET", ORDER, symbol="BTCUSDT", origClientOrderId="b") == -2013
    late.clock.advance(2)
    assert late.ask("GET", ORDER, symbol="BTCUSDT", origClientOrderId="b")["status"] == "FILLED"


# -- settings, lists, limits ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "params", "codes"),
    [
        ("/fapi/v1/leverage", {"symbol": "BTCUSDT", "leverage": "126"}, (-4028, -4028, -4028)),
        ("/fapi/v1/leverage", {"symbol": "BTCUSDT", "leverage": "0"}, (-4028, -4028, -4028)),
        ("/fapi/v1/leverage", {"symbol": "BTCUSDT", "leverage": "5.5"}, (-1102, -1102, -1102)),
        ("/fapi/v1/leverage", {"symbol": "BTCUSDT", "leverage": "1"}, (None, None, -2028)),
        ("/fapi/v1/marginType", {"symbol": "BTCUSDT", "marginType": "CROSSED"}, (-4046, -4046, -4046)),
        ("/fapi/v1/marginType", {"symbol": "BTCUSDT", "marginType": "ISOLATED"}, (None, -4047, -4048)),
        ("/fapi/v1/positionSide/dual", {"dualSidePosition": "false"}, (-4059, -4059, -4059)),
        ("/fapi/v1/positionSide/dual", {"dualSidePosition": "true"}, (None, -4067, -4068)),
        ("/fapi/v1/positionSide/dual", {}, (-1102, -1102, -1102)),
    ],
)
def test_settings(clock: Clock, path: str, params: dict[str, str], codes: tuple[int | None, ...]) -> None:
    """With a fresh account, with an order that rests, with a position."""
    for place, code in zip((None, LIMIT, MARKET | {"quantity": "2"}), codes, strict=True):
        venue = Venue(clock)
        if place:
            venue.place(**place)
        answer = venue.ask("POST", path, **params)
        assert answer.get("code", 200) == (200 if code is None else code)


def test_settings_are_told(venue: Venue) -> None:
    answer = venue.ask("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage="10")
    assert answer == {"leverage": 10, "maxNotionalValue": "20000000", "symbol": "BTCUSDT"}
    venue.ask("POST", "/fapi/v1/marginType", symbol="BTCUSDT", marginType="ISOLATED")
    (row,) = venue.ask("GET", "/fapi/v1/symbolConfig", symbol="BTCUSDT")
    assert (row["leverage"], row["marginType"]) == (10, "ISOLATED")
    venue.place(**MARKET)
    assert venue.code("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage="5") == -4161
    assert venue.place(**LIMIT | {"side": "SELL", "price": "62000", "quantity": "1"})["status"] == "NEW"
    (row,) = venue.ask("GET", "/fapi/v1/leverageBracket", symbol="1000PEPEUSDT")
    assert row["brackets"][0]["initialLeverage"] == 50


def test_hedge_mode(venue: Venue) -> None:
    venue.ask("POST", "/fapi/v1/positionSide/dual", dualSidePosition="true")
    assert venue.ask("GET", "/fapi/v1/positionSide/dual") == {"dualSidePosition": True}
    assert venue.place(**MARKET)["code"] == -4061
    assert venue.code("POST", ALGO, **STOP) == -4061
    assert venue.place(**CLOSE, positionSide="LONG")["code"] == -1106
    assert venue.place(**MARKET, positionSide="LONG")["code"] == -4061, "hedged positions are not emulated"


def test_exchange_info_has_traps(venue: Venue) -> None:
    info = venue.send("GET", "/fapi/v1/exchangeInfo", key="").body
    rows = {row["symbol"]: row for row in info["symbols"]}
    filters = {one["filterType"]: one for one in rows["BTCUSDT"]["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.10"
    assert (filters["LOT_SIZE"]["maxQty"], filters["MARKET_LOT_SIZE"]["maxQty"]) == ("1000", "120")
    assert rows["SOLUSDT"]["quantityPrecision"] == 2, "finer than its step"
    strange = {
        name for name, row in rows.items() if row["marginAsset"] == "BTC" or row["status"] != "TRADING"
    }
    assert strange == {"BTCUSD_PERP", "LUNAUSDT"}
    pepe = {one["filterType"]: one for one in rows["1000PEPEUSDT"]["filters"]}
    assert pepe["PRICE_FILTER"]["tickSize"] == "0.0000001"
    order = MARKET | {"symbol": "1000PEPEUSDT", "quantity": "1000"}
    assert venue.place(**order)["status"] == "NEW"
    assert venue.account.position(PEPE).quantity == 1000


def test_prices(venue: Venue) -> None:
    started = ms(venue.clock())
    for price in ("61500", "60500"):
        venue.clock.advance(60)
        venue.engine.move(BTC, D(price))
    ticker = venue.send("GET", "/fapi/v2/ticker/price", "symbol=BTCUSDT").body
    assert ticker == {"symbol": "BTCUSDT", "price": "60500.00", "time": ms(venue.clock())}
    assert venue.send("GET", "/fapi/v2/ticker/price", "symbol=NO").body["code"] == -1121
    assert venue.send("GET", "/fapi/v1/premiumIndex", "symbol=BTCUSDT").body["markPrice"] == "60500.00000000"
    bars = venue.send("GET", "/fapi/v1/klines", "symbol=BTCUSDT&interval=1m&limit=2").body
    assert [(bar[0] - started, bar[1], bar[4]) for bar in bars] == [
        (60_000, "61000.0", "61500.0"),
        (120_000, "61500.0", "60500.0"),
    ]
    bars = venue.send("GET", "/fapi/v1/klines", f"symbol=BTCUSDT&interval=1h&startTime={started}").body
    assert [(bar[2], bar[3], bar[6] - bar[0]) for bar in bars] == [("61500.0", "60500.0", 3_599_999)]
    venue.clock.advance(timedelta(days=40))
    venue.engine.move(BTC, D("62000"))
    bars = venue.send("GET", "/fapi/v1/klines", "symbol=BTCUSDT&interval=1M&limit=1").body
    assert [(bar[0], bar[1], bar[4], bar[6]) for bar in bars] == [
        (1769904000000, "60500.0", "62000.0", 1772323200000 - 1)
    ]
    for query, code in (("interval=60", -1120), ("interval=1m&limit=1501", -1130), ("", -1102)):
        assert venue.send("GET", "/fapi/v1/klines", f"symbol=BTCUSDT&{query}").body["code"] == code


def test_fills_come_in_pages(venue: Venue) -> None:
    for _ in range(5):
        venue.engine.hand(venue.account, ETH, Side.BUY, D(1))
        venue.clock.advance(timedelta(days=2))
    every = [fill.id for fill in venue.account.fills]
    first = ms(venue.account.fills[0].at)

    def ids(**params: Any) -> list[int]:
        return [row["id"] for row in venue.ask("GET", "/fapi/v1/userTrades", symbol="ETHUSDT", **params)]

    assert ids() == every[2:], "the last week"
    assert ids(startTime=first) == every[:4], "a week from there"
    assert ids(startTime=first, limit=2) == every[:2]
    assert ids(limit=2) == every[3:]
    assert ids(fromId=every[1], limit=3) == every[1:4]
    for params, code in (
        ({"fromId": 1, "startTime": first}, -1106),
        ({"startTime": first, "endTime": first + 7 * 86_400_000 + 1}, -4165),
        ({"limit": 1001}, -1130),
    ):
        assert venue.code("GET", "/fapi/v1/userTrades", symbol="ETHUSDT", **params) == code


def test_limits(venue: Venue) -> None:
    venue.send("GET", "/fapi/v1/premiumIndex")
    weighed = venue.send("GET", "/fapi/v1/positionSide/dual", venue.signed({}))
    assert weighed.headers == {"X-MBX-USED-WEIGHT-1M": "40"}
    placed = venue.send("POST", ORDER, venue.signed(dict(LIMIT)))
    assert placed.headers == {
        "X-MBX-USED-WEIGHT-1M": "40",
        "X-MBX-ORDER-COUNT-10S": "1",
        "X-MBX-ORDER-COUNT-1M": "1",
    }
    assert [row["count"] for row in venue.ask("GET", "/fapi/v1/rateLimit/order")] == [1, 1]
    answers = [venue.send("GET", "/fapi/v1/premiumIndex").status for _ in range(236)]
    assert (answers.count(200), answers[-1]) == (235, 429)
    venue.clock.advance(60)
    placed_all = [venue.send("POST", ORDER, venue.signed({})) for _ in range(301)]
    assert (placed_all[-2].status, placed_all[-1].status, placed_all[-1].body["code"]) == (400, 429, -1015)


def test_too_many_orders(venue: Venue) -> None:
    small = LIMIT | {"symbol": "SOLUSDT", "price": "195", "quantity": "0.1"}
    codes = [venue.place(**small).get("code") for _ in range(201)]
    assert codes == [None] * 200 + [-2025]
    venue.clock.advance(10)
    stop = STOP | {"symbol": "SOLUSDT", "triggerPrice": "180", "quantity": "0.1"}
    codes = [venue.ask("POST", ALGO, **stop).get("code") for _ in range(201)]
    assert codes == [None] * 200 + [-4045]


def test_its_own_words_over_http(clock: Clock) -> None:
    engine, dialect = build(clock, rules=Rules())
    with Server(dialect, engine) as server, requests.Session() as client:
        client.trust_env = False
        client.headers["X-MBX-APIKEY"] = KEY
        query = urlencode(MARKET | {"newClientOrderId": "a:b", "timestamp": ms(clock())})
        url = f"{server.url}{ORDER}?{query}&signature={signature(SECRET, query)}"
        for nth, (fault, status, code) in enumerate(
            (("unknown_after", 503, -1000), ("throttled", 429, -1003), ("banned", 418, -1003)), 1
        ):
            server.fault(fault, (f"POST {ORDER}", nth))
            answer = client.post(url, timeout=2)
            assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert f"banned until {ms(clock()) + 5000}." in answer.json()["msg"]
        assert engine.accounts[0].position(BTC).quantity == D("0.010")
        assert SECRET not in server.story()
    for name, code in (("-1006", -1006), ("-1007", -1007)):
        assert build(clock, unknown=name)[1].unknown().body["code"] == code
