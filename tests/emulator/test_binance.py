"""The emulated Binance takes what its documents take, and refuses the rest with its own words."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.conftest import Clock
from tests.emulator.binance import SECRET, signature
from tests.emulator.binance_client import ALGO, CLOSE, LIMIT, MARKET, ORDER, STOP, Venue
from tests.emulator.binance_rules import BTC
from tests.emulator.binance_words import from_ms, ms
from tests.emulator.engine import Account

D = Decimal

_SDK_KEY = "sheetBinanceApiKey00000000000000000000000000000000000000000000001"
_SDK_SECRET = "sheetBinanceSecret0000000000000000000000000000000000000000000002"
_DOCS_KEY = "dbefbc809e3e83c283a984c3a1459732ea7db1360ca80c5c2c8867408d28cc83"
_DOCS_SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"

#: secret, method, path, payload, its published or recorded signature, what is answered besides
VECTORS = [
    (
        _DOCS_SECRET,
        "POST",
        ORDER,
        (
            "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC&recvWindow=5000"
            "&timestamp=1591702613943"
        ),
        "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9",
        None,
    ),
    (
        _SDK_SECRET,
        "GET",
        "/fapi/v3/positionRisk",
        "symbol=SOLUSDT&recvWindow=6000&timestamp=1767225600000",
        "c9444b1238973b989a396701b77c8d5d29307a84b7b42e9d84b33ad533049ef7",
        None,
    ),
    (
        _SDK_SECRET,
        "POST",
        ORDER,
        (
            "symbol=SOLUSDT&side=SELL&type=LIMIT&timeInForce=GTC&reduceOnly=true&quantity=1.5&price=201.25"
            "&newClientOrderId=sheet%3Atp%2F1&timestamp=1767225600001"
        ),
        "cc2e58210ce721ab54923f003fda49638d0b14a2d3129bc5b5d487c13dbd50a9",
        -2022,
    ),
    (
        _SDK_SECRET,
        "POST",
        ALGO,
        (
            "algoType=CONDITIONAL&symbol=SOLUSDT&side=SELL&type=STOP_MARKET&triggerPrice=180"
            "&workingType=MARK_PRICE&closePosition=true&clientAlgoId=sheet-sl-1&timestamp=1767225600002"
        ),
        "8e2753354d868a3c7270863193a5b148dbf6b956a2a44566587bf7db74108f83",
        -4509,
    ),
    (
        _SDK_SECRET,
        "DELETE",
        "/fapi/v1/allOpenOrders",
        "symbol=SOLUSDT&timestamp=1767225600003",
        "140a91f16b06f691599e943e3b469736069e37abb2e73404398799ebbf5eba75",
        200,
    ),
    (
        _SDK_SECRET,
        "GET",
        ORDER,
        "symbol=%E6%B5%8B%E8%AF%95USDT&origClientOrderId=sheet-9&timestamp=1767225600004",
        "19ea659c64006f11901424b38965518b3e9ab17edde60a088e440803c7ace153",
        -1121,
    ),
]


@pytest.fixture
def venue(clock: Clock) -> Venue:
    return Venue(clock)


# -- who asks, and when --------------------------------------------------------------------------------


@pytest.mark.parametrize(("secret", "method", "path", "payload", "digest", "code"), VECTORS)
def test_a_signature_is_good_to_the_bit(
    venue: Venue, secret: str, method: str, path: str, payload: str, digest: str, code: int | None
) -> None:
    assert signature(secret, payload) == digest
    key = _DOCS_KEY if secret == _DOCS_SECRET else _SDK_KEY
    venue.engine.open(Account(key, secret))
    venue.engine.move(BTC, D(9100))
    venue.clock.set(from_ms(int(payload.rpartition("=")[2])))
    flipped = f"{int(digest[-1], 16) ^ 1:x}"
    for bad in (digest[:-1] + flipped, digest[:-1], digest + "&a=1"):
        answer = venue.send(method, path, f"{payload}&signature={bad}", key=key)
        assert (answer.status, answer.body["code"]) == (400, -1022)
    answer = venue.send(method, path, f"{payload}&signature={digest.upper()}", key=key)
    assert (answer.body["code"] if isinstance(answer.body, dict) and "code" in answer.body else None) == code
    assert answer.headers["X-MBX-USED-WEIGHT-1M"].isdigit()


def test_parameters_may_come_in_a_form(venue: Venue) -> None:
    body = f"timestamp={ms(venue.clock())}&{urlencode(MARKET)}"
    digest = signature(SECRET, body)
    assert venue.send("POST", ORDER, "", f"{body}&signature={digest}").body["status"] == "NEW"
    mixed = signature(SECRET, "symbol=ETHUSDT" + body)
    answer = venue.send("POST", ORDER, "symbol=ETHUSDT", f"{body}&signature={mixed}")
    assert answer.body["symbol"] == "ETHUSDT", "the query goes before the form"
    answer = venue.send("POST", ORDER, "", f"{body}&signature={digest}", form=False)
    assert answer.body["code"] == -1102, "a body that is no form is not read"
    doubled = f"symbol=BTCUSDT&{venue.signed(dict(LIMIT))}"
    assert venue.send("POST", ORDER, doubled).body["code"] == -1101


def test_what_is_not_encoded_is_not_signed(clock: Clock) -> None:
    query = f"symbol=BTCUSDT&origClientOrderId=a:b&timestamp={ms(clock())}"
    query += f"&signature={signature(SECRET, query)}"
    assert Venue(clock).send("GET", ORDER, query).body["code"] == -1022
    assert Venue(clock, encoded_only=False).send("GET", ORDER, query).body["code"] == -2013


@pytest.mark.parametrize(
    ("ahead_ms", "window", "code"),
    [
        (0, None, None),
        (999, None, None),
        (1000, None, -1021),
        (-5000, None, None),
        (-5001, None, -1021),
        (-2001, 2000, -1021),
        (0, 60001, -1131),
    ],
)
def test_the_time_window(venue: Venue, ahead_ms: int, window: int | None, code: int | None) -> None:
    params = {"timestamp": ms(venue.clock()) + ahead_ms}
    params |= {} if window is None else {"recvWindow": window}
    answer = venue.ask("GET", "/fapi/v1/positionSide/dual", **params)
    assert answer == {"dualSidePosition": False} if code is None else answer["code"] == code
    venue.engine.skew = timedelta(seconds=90)
    assert venue.code("GET", "/fapi/v1/positionSide/dual", **params) in (-1021, -1131)
    assert venue.send("GET", "/fapi/v1/time").body == {"serverTime": ms(venue.clock()) + 90_000}


def test_keys_and_permissions(venue: Venue) -> None:
    query = venue.signed({})
    for key, code in (("", -2014), ("b a d", -2014), ("nobody", -2015)):
        answer = venue.send("GET", "/fapi/v3/account", query, key=key)
        assert (answer.status, answer.body["code"]) == (401, code)
    assert venue.send("GET", "/fapi/v3/account", "timestamp=1").body["code"] == -1102
    assert venue.send("GET", "/fapi/v3/account").body["code"] == -1102
    venue.account.may_trade = False
    assert venue.place(**MARKET)["code"] == -2015
    assert venue.ask("GET", "/fapi/v1/accountConfig")["canTrade"] is False
    assert venue.send("GET", "/fapi/v9/account").status == 404


# -- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"symbol": "NOUSDT"}, -1121),
        ({"symbol": "btcusdt"}, -1121),
        ({"symbol": None}, -1102),
        ({"symbol": "LUNAUSDT"}, -4141),
        ({"symbol": "BTCUSDT_260327"}, -4140),
        ({"side": "buy"}, -1117),
        ({"type": "limit"}, -1116),
        *(({"type": kind, "stopPrice": "1"}, -4120) for kind in ("STOP_MARKET", "TAKE_PROFIT", "STOP")),
        ({"stopPrice": "58000"}, -1106),
        ({"quantity": None}, -1102),
        ({"price": None}, -1102),
        ({"timeInForce": None}, -1102),
        ({"timeInForce": "gtc"}, -1115),
        ({"newClientOrderId": ""}, -1105),
        ({"newClientOrderId": "a" * 37}, -4015),
        ({"newClientOrderId": "a b"}, -1100),
        ({"quantity": "1E-2"}, -1100),
        ({"quantity": "-1"}, -1100),
        ({"price": "6e4"}, -1100),
        ({"reduceOnly": "True"}, -1130),
        ({"clientId": "a"}, -1104),
        ({"positionSide": "LONG"}, -4061),
        ({"quantity": "0"}, -4003),
        ({"quantity": "0.0105"}, -1111),
        ({"symbol": "SOLUSDT", "price": "200", "quantity": "0.15"}, -4023),
        ({"symbol": "1000PEPEUSDT", "price": "0.0123", "quantity": "0.5"}, -1111),
        ({"symbol": "ETHUSDT", "type": "MARKET", "quantity": "0.001"}, -4004),
        ({"symbol": "ETHUSDT", "type": "MARKET", "quantity": "0.015"}, -4023),
        ({"quantity": "1001"}, -4005),
        ({"type": "MARKET", "quantity": "121"}, -4005),
        ({"price": "60000.123"}, -1111),
        ({"price": "60000.05"}, -4014),
        ({"price": "1"}, -4013),
        ({"price": "64051"}, -4016),
        ({"side": "SELL", "price": "57949"}, -4024),
        ({"quantity": "0.001", "price": "49999"}, -4164),
        ({"reduceOnly": "true"}, -2022),
        ({"timeInForce": "GTX", "price": "61000"}, -5022),
        ({"timeInForce": "FOK"}, -5021),
        ({"quantity": "40"}, -2019),
        ({"type": "MARKET", "quantity": "100", "symbol": "BTCUSDT"}, -2019),
        ({"quantity": "900"}, -2027),
        ({"newOrderRespType": "FULL"}, -1130),
    ],
)
def test_a_wrong_order(venue: Venue, change: dict[str, Any], code: int) -> None:
    order = {name: value for name, value in (LIMIT | change).items() if value is not None}
    if order["type"] == "MARKET":
        del order["price"], order["timeInForce"]
    assert venue.code("POST", ORDER, **order) == code
    assert venue.account.records == {}
    if code != -2019:
        assert venue.code("POST", f"{ORDER}/test", **order) == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"algoType": None}, -1102),
        ({"algoType": "VP"}, -1130),
        ({"type": "LIMIT"}, -1116),
        ({"triggerPrice": None}, -1102),
        ({"triggerPrice": "0"}, -4006),
        ({"triggerPrice": "58000.05"}, -4014),
        ({"triggerPrice": "61000"}, -2021),
        ({"triggerPrice": "62000"}, -2021),
        ({"type": "TAKE_PROFIT_MARKET"}, -2021),
        ({"side": "BUY"}, -2021),
        ({"stopPrice": "58000"}, -1104),
        ({"price": "58000"}, -1106),
        ({"type": "STOP"}, -1102),
        ({"quantity": None}, -1102),
        ({"closePosition": "true"}, -4137),
        ({"closePosition": "true", "quantity": None}, -1106),
        ({"closePosition": "true", "quantity": None, "type": "STOP"}, -4136),
        ({"closePosition": "true", "quantity": None, "reduceOnly": None}, -4509),
        ({"reduceOnly": "false", "quantity": "0.0005"}, -1111),
        ({"reduceOnly": None, "symbol": "SOLUSDT", "quantity": "0.1", "triggerPrice": "40"}, -4164),
        ({"workingType": "INDEX_PRICE"}, -1130),
        ({"clientAlgoId": "a b"}, -1100),
    ],
)
def test_a_wrong_algo_order(venue: Venue, change: dict[str, Any], code: int) -> None:
    order = {name: value for name, value in (STOP | change).items() if value is not None}
    assert venue.code("POST", ALGO, **order) == code
    assert venue.account.records == {}


def test_client_ids(venue: Venue) -> None:
    """A regular one is free once its order has ended, an algo one never again."""
    assert venue.place(**LIMIT, newClientOrderId="a")["clientOrderId"] == "a"
    assert venue.place(**LIMIT, newClientOrderId="a")["code"] == -4116
    venue.ask("DELETE", ORDER, symbol="BTCUSDT", origClientOrderId="a")
    second = venue.place(**LIMIT, newClientOrderId="a")
    assert venue.ask("GET", ORDER, symbol="BTCUSDT", origClientOrderId="a")["orderId"] == second["orderId"]
    assert venue.ask("POST", ALGO, **STOP, clientAlgoId="a")["algoStatus"] == "NEW"
    for _ in range(2):
        assert venue.code("POST", ALGO, **STOP, clientAlgoId="a") == -4116
        venue.ask("DELETE", ALGO, clientAlgoId="a")
    free = Venue(venue.clock, algo_ids_for_ever=False)
    for _ in range(2):
        assert free.ask("POST", ALGO, **STOP, clientAlgoId="a")["algoStatus"] == "NEW"
        free.ask("DELETE", ALGO, clientAlgoId="a")


def test_reduce_only_orders_count_against_the_position(venue: Venue) -> None:
    venue.place(**MARKET)
    target = LIMIT | {"side": "SELL", "price": "63000", "reduceOnly": "true"}
    assert venue.place(**target | {"quantity": "0.011"})["code"] == -2022
    assert venue.place(**target | {"quantity": "0.006"})["status"] == "NEW"
    assert venue.place(**CLOSE)["code"] == -4118
    assert venue.place(**CLOSE | {"side": "BUY"})["code"] == -2022
    assert venue.place(**CLOSE | {"quantity": "0.004"})["status"] == "NEW", "below the minimum notional"
    mild = Venue(venue.clock, reduce_only_sum=False, reduce_only_trims=True)
    mild.place(**MARKET)
    mild.place(**target)
    cut = mild.place(**CLOSE | {"newOrderRespType": "RESULT", "quantity": "0.011"})
    assert (cut["status"], cut["executedQty"]) == ("EXPIRED", "0.010")
