"""The emulated Bybit takes what the venue's documents say, and refuses the rest with its own codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

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
    ask,
    content,
    limit,
    market,
    moved,
    new_client,
    stop,
)
from tests.emulator.engine import Account
from trading.model import Side

D = Decimal
_PAIR = "sheetBybitKey00001", "sheetBybitSecret0000000000000000002"
_ORDER = (
    '{"category": "linear", "symbol": "SOLUSDT", "side": "Buy", "orderType": "Limit", "qty": "1.5",'
    ' "price": "190.5", "timeInForce": "PostOnly", "takeProfit": "210", "stopLoss": "180",'
    ' "tpslMode": "Full", "positionIdx": 0, "orderLinkId": "sheet-1"}'
)
_STOP = (
    '{"category": "linear", "symbol": "SOLUSDT", "stopLoss": "181.2", "slTriggerBy": "MarkPrice",'
    ' "tpslMode": "Full", "positionIdx": 0}'
)
_LEVERAGE = '{"category":"linear","symbol":"SOLUSDT","buyLeverage":"3","sellLeverage":"3"}'

#: time, method, path, query or body, signature
VECTORS = [
    (
        1767225600000,
        "GET",
        POSITIONS,
        "category=linear&symbol=SOLUSDT",
        "6b3b68a638537148a076f21577fd2a9309c977f8b43bf3bcd0fc93e83e1c75bb",
    ),
    (
        1767225600001,
        "POST",
        CREATE,
        _ORDER,
        "1ee7257113e2a550305aaf2227e5e39b790dd919d0cf8379bbdf45f6d4d65587",
    ),
    (
        1767225600002,
        "POST",
        STOP,
        _STOP,
        "b45aebf19f898a1128e922f0b1270ed0abcb32054acdce19f024180d72f42bb4",
    ),
    (
        1767225600003,
        "GET",
        REALTIME,
        "category=linear&orderLinkId=sheet-1&symbol=SOLUSDT",
        "3bcb79679e35df92df1a91fd618edc8f8f73f7fb24fed207a0f0a6420aac8d10",
    ),
    (
        1767225600004,
        "POST",
        LEVERAGE,
        _LEVERAGE,
        "6a56f5b0f945396008d76e7679552fab751bd2c98620070b8108eba4276f1cbc",
    ),
]


@pytest.fixture
def bybit(clock: Callable[[], datetime]) -> Client:
    return new_client(clock)


# -- who asks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flipped", ["nothing", "signature", "content"])
@pytest.mark.parametrize(("at", "method", "path", "said", "signature"), VECTORS)
def test_the_signature(at: int, method: str, path: str, said: str, signature: str, flipped: str) -> None:
    engine, dialect = build(lambda: datetime.fromtimestamp(at / 1000, UTC))
    engine.open(Account(*_PAIR))
    if flipped == "signature":
        signature = signature[:-1] + format(int(signature[-1], 16) ^ 1, "x")
    if flipped == "content":
        said = said.replace("SOLUSDT", "SOLUSDU")
    headers = {
        "X-BAPI-API-KEY": _PAIR[0],
        "X-BAPI-TIMESTAMP": str(at),
        "X-BAPI-RECV-WINDOW": "5000",
        "X-BAPI-SIGN": signature,
        "Content-Type": "application/json",
    }
    query, body = (said, b"") if method == "GET" else ("", said.encode())
    answer = content(ask(dialect, method, path, query, body, headers))
    if flipped == "nothing":
        assert (answer["retCode"], answer["retMsg"]) == (10001, "params error: symbol invalid")
    else:
        assert answer["retCode"] == 10004


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"key": "another"}, 10003),
        ({"secret": "another"}, 10004),
        ({"offset_ms": -5001}, 10002),
        ({"offset_ms": 1000}, 10002),
        ({"window": "1000", "offset_ms": -1001}, 10002),
        ({"headers": {"X-BAPI-TIMESTAMP": "now"}}, 10002),
        ({"headers": {"X-BAPI-RECV-WINDOW": "5001"}}, 10004),
        ({"headers": {"X-BAPI-SIGN-TYPE": "1"}}, 10004),
    ],
)
def test_a_stranger(bybit: Client, wrong: dict[str, Any], code: int) -> None:
    for name, value in wrong.items():
        setattr(bybit, name, value)
    assert bybit.refused("GET", "/v5/account/info", {})[0] == code


def test_the_window(bybit: Client) -> None:
    for bybit.offset_ms in (-5000, 999):
        bybit.get("/v5/account/info")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v5/account/info", b"{}", 403),
        ("GET", "/v5/market/time", b"{}", 403),
        ("GET", "/v5/order/none", b"", 404),
        ("GET", CREATE, b"", 400),
        ("POST", REALTIME, b"{}", 400),
    ],
)
def test_what_is_no_call(bybit: Client, method: str, path: str, body: bytes, status: int) -> None:
    assert bybit.raw(method, path, body).status == status


@pytest.mark.parametrize("name", ["X-BAPI-API-KEY", "X-BAPI-TIMESTAMP", "X-BAPI-SIGN"])
def test_without_a_header(bybit: Client, name: str) -> None:
    bybit.headers = {name: ""}
    assert bybit.raw("GET", "/v5/account/info").status == 401


def test_a_key_that_may_only_read(clock: Callable[[], datetime]) -> None:
    bybit = new_client(clock, may_trade=False)
    assert bybit.refused("POST", CREATE, market())[0] == 10005
    key = bybit.get("/v5/user/query-api")
    assert (key["readOnly"], key["permissions"]["ContractTrade"]) == (1, [])


def test_too_many_visits(clock: Any) -> None:
    bybit = new_client(clock, limited=True)
    lefts = [bybit.raw("POST", CANCEL, b"{}").headers["X-Bapi-Limit-Status"] for _ in range(10)]
    assert lefts == [str(left) for left in reversed(range(10))]
    response = bybit.raw("POST", CANCEL, b"{}")
    answer = content(response)
    assert (response.status, answer["retCode"]) == (200, 10006)
    assert int(response.headers["X-Bapi-Limit-Reset-Timestamp"]) == answer["time"] + 1000
    assert bybit.raw("GET", "/v5/account/info").headers["X-Bapi-Limit"] == "50"
    clock.advance(1)
    assert content(bybit.raw("POST", CANCEL, b"{}"))["retCode"] == 10001


def test_what_the_server_says_for_it(bybit: Client) -> None:
    assert content(bybit.dialect.unknown())["retCode"] == 10016
    assert bybit.dialect.banned(bybit.engine.now()).status == 403
    assert content(bybit.dialect.throttled(3))["retCode"] == 10006


# -- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        (market() | {"category": "linea"}, 10001, "category"),
        (market() | {"symbol": "DOGEUSDT"}, 10001, "symbol"),
        (market() | {"symbol": "BTC-USDT-PERP"}, 10001, "symbol"),
        (market(side="buy"), 10001, "side"),
        (market() | {"orderType": "market"}, 10001, "orderType"),
        (market(0.01), 10001, "Qty invalid"),
        (market("1e-2"), 10001, "Qty invalid"),
        (market("-0.01"), 10001, "Qty invalid"),
        (market("+0.01"), 10001, "Qty invalid"),
        (market(""), 10001, "Qty invalid"),
        (market("0"), 10001, "Qty invalid"),
        (market("0.0105"), 10001, "Qty invalid"),
        (market("0.0001"), 10001, "Qty invalid"),
        (market("596"), 10001, "Qty invalid"),
        (limit(qty="1191"), 10001, "Qty invalid"),
        (limit(None), 10001, "price invalid"),
        (limit(59500.5), 10001, "price invalid"),
        (limit("59500.55"), 10001, "price invalid"),
        (limit("61200.1"), 110003, "range"),
        (limit("58799.9", side="Sell"), 110003, "range"),
        (limit() | {"timeInForce": "GTX"}, 10001, "timeInForce"),
        (market(positionIdx=1), 10001, "position idx not match position mode"),
        (market(positionIdx="0"), 10001, "positionIdx"),
        (market(reduceOnly="true"), 10001, "reduceOnly"),
        (market(orderLinkId="a b"), 10001, "orderLinkId"),
        (market(orderLinkId="x" * 37), 10001, "orderLinkId"),
        (market(clientId="a"), 10001, "clientId"),
        (market(reduceOnly=True), 110017, "current position is zero"),
        (market(reduceOnly=True, stopLoss="59000"), 10001, "reduce-only"),
        (market("17"), 110007, "not enough"),
        (limit("4.9", "1") | {"symbol": "ETHUSDT", "qty": "0.01"}, 110094, "minimum"),
        (market(stopLoss="60000"), 10001, "Buy position should lower than base_price"),
        (market(side="Sell", stopLoss="59000"), 10001, "Sell position should higher than base_price"),
        (limit(stopLoss="59500"), 10001, "should lower"),
        (market(stopLoss="59000.01"), 10001, "price invalid"),
        (market(stopLoss=59000), 10001, "StopLoss invalid"),
        (market(stopLoss="59000", tpslMode="Partial"), 10001, "tpslMode"),
        (stop(reduceOnly=False, triggerPrice="60000"), 110093, "expect Falling"),
        (stop(reduceOnly=False, triggerPrice="60000", triggerDirection=1), 110092, "expect Rising"),
        (stop(reduceOnly=False, triggerDirection=None), 10001, "triggerDirection"),
        (stop(reduceOnly=False, triggerDirection="2"), 10001, "triggerDirection"),
        (stop(reduceOnly=False, triggerBy="Last"), 10001, "triggerBy"),
        (stop(), 110017, "current position is zero"),
    ],
)
def test_an_order_is_refused(bybit: Client, body: dict[str, Any], code: int, says: str) -> None:
    told = bybit.refused("POST", CREATE, body)
    assert told[0] == code
    assert says in told[1]
    assert not bybit.account.records


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"qty": NaN}'])
def test_a_body_that_is_no_object(bybit: Client, body: bytes) -> None:
    assert content(bybit.raw("POST", CREATE, body))["retCode"] == 10001


def test_a_body_that_is_not_declared(bybit: Client) -> None:
    bybit.headers = {"Content-Type": "text/plain"}
    assert bybit.refused("POST", CREATE, market())[0] == 10001


def test_to_add_is_not_to_reduce(bybit: Client) -> None:
    bybit.post(CREATE, market())
    code, text = bybit.refused("POST", CREATE, market(reduceOnly=True))
    assert (code, "same side" in text) == (110017, True)


def test_a_client_id_is_used_up(bybit: Client) -> None:
    """By an order that has ended, and by one that was refused."""
    bybit.post(CREATE, market(orderLinkId="a"))
    assert bybit.refused("POST", CREATE, limit(orderLinkId="a"))[0] == 110072
    assert bybit.refused("POST", CREATE, market("17", orderLinkId="b"))[0] == 110007
    assert bybit.refused("POST", CREATE, market(orderLinkId="b"))[0] == 110072
    assert bybit.refused("POST", CREATE, market("17", orderLinkId="b"))[0] == 110072


def test_a_refusal_need_not_use_up_the_client_id(clock: Callable[[], datetime]) -> None:
    bybit = new_client(clock, burns_refused=False, margin_code=110012)
    assert bybit.refused("POST", CREATE, market("17", orderLinkId="b"))[0] == 110012
    bybit.post(CREATE, market(orderLinkId="b"))


def test_ten_conditional_orders(bybit: Client) -> None:
    bybit.post(CREATE, market("0.1", stopLoss="57000"))
    for number in range(9):
        bybit.post(CREATE, stop(str(58000 + number)))
    assert bybit.refused("POST", CREATE, stop())[0] == 110009


_SYMBOL = {"category": "linear", "symbol": "BTCUSDT"}
_BOTH = {"buyLeverage": "3", "sellLeverage": "3"}


@pytest.mark.parametrize(
    ("method", "path", "said", "code"),
    [
        ("POST", LEVERAGE, _SYMBOL | {"buyLeverage": "10", "sellLeverage": "10"}, 110043),
        ("POST", LEVERAGE, _SYMBOL | {"buyLeverage": "101", "sellLeverage": "101"}, 110013),
        ("POST", LEVERAGE, _SYMBOL | {"buyLeverage": "3", "sellLeverage": "4"}, 10001),
        ("POST", LEVERAGE, _SYMBOL | {"buyLeverage": "0.5", "sellLeverage": "0.5"}, 10001),
        ("POST", LEVERAGE, _SYMBOL | {"buyLeverage": "3.001", "sellLeverage": "3.001"}, 10001),
        ("POST", LEVERAGE, _SYMBOL | {"buyLeverage": 3, "sellLeverage": 3}, 10001),
        ("POST", LEVERAGE, _BOTH, 10001),
        ("POST", MODE, _SYMBOL | {"mode": 0}, 110025),
        ("POST", MODE, _SYMBOL | {"mode": 1}, 10001),
        ("POST", STOP, moved("58000"), 10001),
        ("POST", STOP, {**_SYMBOL, "stopLoss": "58000", "tpslMode": "Full"}, 10001),
        ("POST", STOP, {**_SYMBOL, "stopLoss": "58000", "positionIdx": 0}, 10001),
        ("POST", CANCEL, _SYMBOL | {"orderLinkId": "x"}, 110001),
        ("POST", CANCEL, _SYMBOL | {"orderId": "1321003749386327552"}, 110001),
        ("POST", CANCEL, _SYMBOL, 10001),
        ("POST", AMEND, _SYMBOL | {"orderLinkId": "x", "qty": "1"}, 110001),
        ("POST", CANCEL_ALL, {"category": "linear"}, 10001),
        ("POST", CANCEL_ALL, _SYMBOL | {"orderFilter": "All"}, 10001),
        ("GET", REALTIME, {"category": "linear"}, 10001),
        ("GET", REALTIME, {"category": "linear", "orderLinkId": "x"}, 10001),
        ("GET", REALTIME, {"symbol": "BTCUSDT"}, 10001),
        ("GET", REALTIME, _SYMBOL | {"limit": 51}, 10001),
        ("GET", REALTIME, _SYMBOL | {"cursor": "page_args%253D20"}, 10001),
        ("GET", HISTORY, _SYMBOL | {"limit": 51}, 10001),
        ("GET", HISTORY, _SYMBOL | {"startTime": 1766000000000, "endTime": 1767614400000}, 10001),
        ("GET", EXECUTIONS, _SYMBOL | {"startTime": 1767614400}, 10001),
        ("GET", EXECUTIONS, _SYMBOL | {"limit": 101}, 10001),
        ("GET", POSITIONS, {"category": "linear"}, 10001),
        ("GET", WALLET, {}, 10001),
        ("GET", WALLET, {"accountType": "CONTRACT"}, 10001),
        ("GET", "/v5/market/tickers", {"category": "linear", "symbol": "X"}, 10001),
        ("GET", "/v5/market/tickers", {"category": "spot", "symbol": "BTCUSDT"}, 10001),
        ("GET", "/v5/market/instruments-info", {"category": "linear", "limit": 1001}, 10001),
        ("GET", "/v5/market/kline", _SYMBOL | {"interval": "1h"}, 10001),
        ("GET", "/v5/market/kline", _SYMBOL | {"interval": "60", "start": 1767614400}, 10001),
    ],
)
def test_another_call_is_refused(
    bybit: Client, method: str, path: str, said: dict[str, Any], code: int
) -> None:
    assert bybit.refused(method, path, said)[0] == code


def test_a_hedge_account(clock: Callable[[], datetime]) -> None:
    bybit = new_client(clock, hedge=True)
    rows = bybit.rows(POSITIONS, symbol="BTCUSDT")
    assert [(row["positionIdx"], row["size"]) for row in rows] == [(1, "0"), (2, "0")]
    for said in (market(), market(positionIdx=None)):
        assert bybit.refused("POST", CREATE, said) == (10001, "position idx not match position mode")
    assert bybit.refused("POST", STOP, moved("58000"))[1] == "position idx not match position mode"
    bybit.post(MODE, {"category": "linear", "coin": "USDT", "mode": 0})
    bybit.post(CREATE, market())
    assert bybit.refused("POST", MODE, _SYMBOL | {"mode": 3})[0] == 110024


def test_orders_hold_the_mode_and_little_money_the_leverage(bybit: Client) -> None:
    bybit.post(CREATE, limit(qty="16"))
    assert bybit.refused("POST", MODE, _SYMBOL | {"mode": 3})[0] == 110028
    assert bybit.refused("POST", LEVERAGE, _SYMBOL | _BOTH)[0] == 110044
    told = bybit.asked("POST", "/v5/account/set-margin-mode", {"setMarginMode": "ISOLATED_MARGIN"})
    assert told["retCode"] == 3400045
    assert set(told["result"]["reasons"][0]) == {"reasonCode", "reasonMsg"}


def test_an_amount_in_json_is_a_text(bybit: Client) -> None:
    body = json.dumps(market("@")).replace('"@"', "1E-2").encode()
    assert content(bybit.raw("POST", CREATE, body))["retCode"] == 10001
    assert bybit.account.position(BTC).is_flat
    bybit.engine.hand(bybit.account, BTC, Side.BUY, D(1))
