"""The emulated FTX takes what the venue's documents say, and refuses the rest in the venue's own words."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.emulator.engine import Account
from tests.emulator.ftx import KEY, SECRET, build
from tests.emulator.ftx_client import Client, ask, limit, market, new_client, stop

D = Decimal
DOCS = "LR0RQT6bKjrUNh38eCw9jYC89VDAbRkCogAc_XAm", "T4lPid48QtjNxjLUFOcUZghD7CUJ7sTVsfuvQZF2"
SHEET = "sheetFtxApiKey0000000000000000000000001", "sheetFtxSecret000000000000000000000002"
_PUBLISHED = (
    '{"market": "BTC-PERP", "side": "buy", "price": 8500, "size": 1, "type": "limit", "reduceOnly": false,'
    ' "ioc": false, "postOnly": false, "clientId": null}'
)
_ORDER = (
    '{"market": "SOL-PERP", "side": "sell", "price": 171.25, "size": 1.5, "type": "limit",'
    ' "reduceOnly": true, "ioc": false, "postOnly": false, "clientId": "sheet-1"}'
)
_STOP = (
    '{"market": "SOL-PERP", "side": "sell", "triggerPrice": 160.5, "size": 1.5, "reduceOnly": true,'
    ' "type": "stop", "orderPrice": null, "trailValue": null, "retryUntilFilled": null}'
)
_CANCEL_ALL = '{"market": "SOL-PERP", "conditionalOrdersOnly": false, "limitOrdersOnly": false}'

#: pair, time, method, target, body, signature, and what the venue then says of it
VECTORS = [
    (
        DOCS,
        1588591856950,
        "POST",
        "/api/orders",
        _PUBLISHED,
        "c4fbabaf178658a59d7bbf57678d44c369382f3da29138f04cd46d3d582ba4ba",
        "",
    ),
    (
        DOCS,
        1588591856950,
        "POST",
        "/api/orders",
        _PUBLISHED.replace(" ", ""),
        "2832d853e55db715f59aaadd966cdc51913967da8bf687aad8457a5ac609313e",
        "",
    ),
    (
        SHEET,
        1640995200000,
        "GET",
        "/api/account",
        "",
        "f0beda2cbc7724301f985067ec599145ad3adb6b2d7e279817979b3bfc5f8318",
        "",
    ),
    (
        SHEET,
        1640995200001,
        "GET",
        "/api/wallet/balances",
        "",
        "5485d1ee35c3eff758cd9dece29b02f564df849152eedab3ff8d792849981b77",
        "",
    ),
    (
        SHEET,
        1640995200002,
        "POST",
        "/api/orders",
        _ORDER,
        "c32fab4036037baff17fb9001029070a246858747ff0ab519754fe772c5f355a",
        "No such market: SOL-PERP",
    ),
    (
        SHEET,
        1640995200003,
        "POST",
        "/api/conditional_orders",
        _STOP,
        "2ee53015cfab8be48cfd9d8b5e62770eb1711218bd1ec97e33d2d4f4c3380e2e",
        "No such market: SOL-PERP",
    ),
    (
        SHEET,
        1640995200004,
        "DELETE",
        "/api/orders",
        _CANCEL_ALL,
        "0da1b145694325a821ab7961e5a59a35f637437054e273e97de9265a58787a6e",
        "No such market: SOL-PERP",
    ),
    (
        SHEET,
        1640995200005,
        "GET",
        "/api/positions?showAvgPrice=True",
        "",
        "8c8a1b0e5600a94148a0e6b4627bf5875ee4fd0a871ae77d41a38961aacca7ed",
        "",
    ),
]


@pytest.fixture
def ftx(clock: Callable[[], datetime]) -> Client:
    return new_client(clock)


# -- who asks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pair", "at_ms", "method", "target", "body", "signature", "says"), VECTORS)
def test_vectors(
    pair: tuple[str, str], at_ms: int, method: str, target: str, body: str, signature: str, says: str
) -> None:
    engine, dialect = build(lambda: datetime.fromtimestamp(at_ms / 1000, UTC))
    engine.open(Account(*pair))
    engine.open(Account(*pair, subaccount="my bot/1"))
    headers = {"FTX-KEY": pair[0], "FTX-TS": str(at_ms), "FTX-SIGN": signature}
    headers |= {"Content-Type": "application/json"} if body else {"FTX-SUBACCOUNT": "my%20bot/1"}
    status, answer = ask(dialect, method, target, body.encode(), headers)
    assert (status, answer.get("error", "")) == ((400, says) if says else (200, ""))
    for wrong in (
        {"FTX-SIGN": signature[:-1] + chr(ord(signature[-1]) ^ 1)},
        {"FTX-SIGN": signature.upper()},
        {"FTX-TS": str(at_ms + 1)},
    ):
        refused = ask(dialect, method, target, body.encode(), {**headers, **wrong})
        assert refused == (401, {"success": False, "error": "Not logged in: Invalid signature"})
    assert ask(dialect, method, target, body.encode() + b" ", headers)[0] == 401


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"key": "nobody"}, "Not logged in: Invalid API key"),
        ({"secret": "x"}, "Not logged in: Invalid signature"),
        ({"offset_ms": 30_001}, "Not logged in: Timestamp too far from current time"),
        ({"offset_ms": -30_001}, "Not logged in: Timestamp too far from current time"),
        ({"headers": {"FTX-TS": "1767614400.5"}}, "Not logged in"),
        ({"headers": {"FTX-SUBACCOUNT": "other"}}, "No such subaccount"),
        ({"headers": {"FTX-SUBACCOUNT": "my bot"}}, "No such subaccount"),
    ],
)
def test_a_stranger(ftx: Client, wrong: dict[str, Any], says: str) -> None:
    ftx.engine.open(Account(KEY, SECRET, "my bot"))
    for name, value in wrong.items():
        setattr(ftx, name, value)
    assert ftx.refused("GET", "/account") == says


def test_the_clock_may_be_thirty_seconds_off(ftx: Client) -> None:
    for ftx.offset_ms in (30_000, -30_000):
        ftx.result("GET", "/account")


def test_subaccounts_are_apart(ftx: Client) -> None:
    ftx.engine.open(Account(KEY, SECRET, "my bot", cash=D(7)))
    ftx.headers = {"FTX-SUBACCOUNT": "my%20bot"}
    assert ftx.result("GET", "/account")["totalAccountValue"] == 7
    assert set(ftx.result("GET", "/wallet/all_balances")) == {"main", "my bot"}


def test_a_key_of_one_subaccount_that_may_only_read(clock: Callable[[], datetime]) -> None:
    ftx = new_client(clock, subaccount="bot", may_trade=False)
    assert ftx.refused("GET", "/account") == "Only have permissions for subaccount bot"
    ftx.headers = {"FTX-SUBACCOUNT": "bot"}
    ftx.result("GET", "/account")
    assert ftx.refused("POST", "/orders", market()) == "Not approved to trade this product"


# -- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"market": "BTC-PERP"}, "Missing parameter side"),
        ({name: value for name, value in market().items() if name != "price"}, "Missing parameter price"),
        (limit(None), "Missing parameter price"),
        (market(price=60000), "Invalid parameter price"),
        (market("0.01"), "Invalid parameter size"),
        (market(True), "Invalid parameter size"),
        (market(side="BUY"), "Invalid parameter side"),
        (market(reduceOnly="false"), "Invalid parameter reduceOnly"),
        (market(clientId="a b"), "Invalid parameter clientId"),
        (market(clientId="x" * 37), "Invalid parameter clientId"),
        (market(timeInForce="GTC"), "Invalid parameter timeInForce"),
        (market() | {"market": "DOGE-PERP"}, "No such market: DOGE-PERP"),
        (market() | {"market": "BTC/USD"}, "Not approved to trade this product"),
        (limit(59000.5), "Invalid price"),
        (limit(-1), "Invalid price"),
        (limit(64000, rejectOnPriceBand=True), "Invalid price"),
        (market(0.01005), "Invalid parameter size"),
        (market(0), "Size too small"),
        (market(0.0005) | {"market": "ETH-PERP"}, "Size too small"),
        (limit(size=0.0009), "Size too small for provide"),
        (market(100_000_000), "Size too large"),
        (market(reduceOnly=True), "Invalid reduce-only order"),
        (market(17), "Account does not have enough margin for order."),
        (market(rejectAfterTs=1767614399999), "Order rejected: it came after rejectAfterTs"),
        ([], "Invalid JSON"),
    ],
)
def test_an_order_is_refused(ftx: Client, body: Any, says: str) -> None:
    assert ftx.refused("POST", "/orders", body) == says
    assert not ftx.account.records


@pytest.mark.parametrize("amount", ["1e-2", "1E-2", "10e-3", '"0.01"', "NaN", "null"], ids=str)
def test_amounts_are_plain_numbers(ftx: Client, amount: str) -> None:
    body = json.dumps(market("@")).replace('"@"', amount).encode()
    status, answer = ftx.raw("POST", "/orders", body)
    what = "Missing" if amount == "null" else "Invalid"
    assert (status, answer["error"]) == (400, f"{what} parameter size")


def test_a_body_that_is_not_declared_is_not_read(ftx: Client) -> None:
    ftx.headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert ftx.refused("POST", "/orders", market()) == "Missing parameter market"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (stop(60000), "Trigger price too high"),
        (stop(60000, side="buy"), "Trigger price too low"),
        (stop(60000, type="takeProfit"), "Trigger price too low"),
        (stop(60000, type="takeProfit", side="buy"), "Trigger price too high"),
        (stop(None), "Missing parameter triggerPrice"),
        (stop(type="take_profit"), "Invalid parameter type"),
        (stop(clientId="a"), "Invalid parameter clientId"),
        (stop(rejectAfterTs=1), "Invalid parameter rejectAfterTs"),
        (stop(orderPrice=57000, retryUntilFilled=True), "Invalid parameter retryUntilFilled"),
        (stop(58000.5), "Invalid price"),
        (stop(2900, 0.0005) | {"market": "ETH-PERP"}, "Size too small"),
    ],
)
def test_a_conditional_order_is_refused(ftx: Client, body: Any, says: str) -> None:
    assert ftx.refused("POST", "/conditional_orders", body) == says


@pytest.mark.parametrize(
    ("method", "path", "said", "says"),
    [
        ("POST", "/account/leverage", {"leverage": 21}, "Invalid parameter leverage"),
        ("POST", "/account/leverage", {"leverage": 0}, "Invalid parameter leverage"),
        ("POST", "/account/leverage", {"leverage": 2.5}, "Invalid parameter leverage"),
        ("POST", "/account/leverage", {"leverage": "3"}, "Invalid parameter leverage"),
        ("POST", "/account/leverage", {}, "Missing parameter leverage"),
        ("DELETE", "/orders/17", None, "Order not found"),
        ("DELETE", "/orders/by_client_id/x", None, "Order not found"),
        ("DELETE", "/conditional_orders/17", None, "Order not found"),
        ("DELETE", "/orders", {"symbol": "BTC-PERP"}, "Invalid parameter symbol"),
        ("GET", "/orders/by_client_id/x", None, "Order not found"),
        ("GET", "/markets/X-PERP", None, "No such market: X-PERP"),
        ("GET", "/futures/X-PERP", None, "No such future: X-PERP"),
        ("GET", "/markets/BTC-PERP/candles?resolution=1800", None, "Invalid parameter resolution"),
        ("GET", "/fills?start_time=1767614400000", None, "Invalid parameter start_time"),
        ("GET", "/fills?start_time=2026-01-05", None, "Invalid parameter start_time"),
        ("GET", "/fills?limit=0", None, "Invalid parameter limit"),
        ("GET", "/conditional_orders/17", None, "Not found"),
        ("POST", "/orders/history", {}, "Not found"),
    ],
)
def test_another_call_is_refused(ftx: Client, method: str, path: str, said: Any, says: str) -> None:
    path, _, query = path.partition("?")
    status, answer = ftx.raw(method, path, b"" if said is None else json.dumps(said).encode(), query)
    assert (status >= 400, answer) == (True, {"success": False, "error": says})
