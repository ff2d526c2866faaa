"""A client of the emulated Bybit for its own tests: it signs as the documents say, and needs no server."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from tests.emulator.bybit import KEY, SECRET, Bybit, build
from tests.emulator.engine import Account, Engine
from tests.emulator.wire import Request, Response

CREATE, AMEND, CANCEL = "/v5/order/create", "/v5/order/amend", "/v5/order/cancel"
CANCEL_ALL, REALTIME, HISTORY = "/v5/order/cancel-all", "/v5/order/realtime", "/v5/order/history"
STOP, LEVERAGE, MODE = "/v5/position/trading-stop", "/v5/position/set-leverage", "/v5/position/switch-mode"
POSITIONS, WALLET, EXECUTIONS = "/v5/position/list", "/v5/account/wallet-balance", "/v5/execution/list"


class Client:
    """Asks the dialect without a server, signed as the documents say."""

    def __init__(self, engine: Engine, dialect: Bybit) -> None:
        self.engine = engine
        self.dialect = dialect
        self.headers: dict[str, str] = {}
        self.key, self.secret, self.window = KEY, SECRET, "5000"
        self.offset_ms = 0

    @property
    def account(self) -> Account:
        return self.engine.accounts[0]

    def raw(self, method: str, path: str, body: bytes = b"", query: str = "") -> Response:
        stamp = str(int(self.engine.clock().timestamp() * 1000) + self.offset_ms)
        payload = f"{stamp}{self.key}{self.window}{query}".encode() + body
        headers = {
            "X-BAPI-API-KEY": self.key,
            "X-BAPI-TIMESTAMP": stamp,
            "X-BAPI-RECV-WINDOW": self.window,
            "X-BAPI-SIGN": hmac.new(self.secret.encode(), payload, hashlib.sha256).hexdigest(),
            "Content-Type": "application/json",
            **self.headers,
        }
        return ask(self.dialect, method, path, query, body, headers)

    def asked(self, method: str, path: str, said: dict[str, Any]) -> dict[str, Any]:
        """A GET's parameters go out as they are: a cursor is encoded already."""
        if method == "GET":
            response = self.raw(method, path, query="&".join(f"{name}={said[name]}" for name in sorted(said)))
        else:
            response = self.raw(method, path, json.dumps(said).encode())
        answer = content(response)
        assert response.status == 200
        assert list(answer) == ["retCode", "retMsg", "result", "retExtInfo", "time"]
        return answer

    def refused(self, method: str, path: str, said: dict[str, Any]) -> tuple[int, str]:
        answer = self.asked(method, path, said)
        assert answer["retCode"] != 0, answer
        return answer["retCode"], answer["retMsg"]

    def get(self, path: str, **said: Any) -> Any:
        return self._done("GET", path, said)

    def post(self, path: str, said: dict[str, Any]) -> Any:
        return self._done("POST", path, said)

    def rows(self, path: str, **said: Any) -> list[dict[str, Any]]:
        found = self.get(path, category="linear", **said)["list"]
        assert isinstance(found, list)
        return found

    def order(self, **said: Any) -> dict[str, Any]:
        (row,) = self.rows(REALTIME, symbol="BTCUSDT", **said)
        return row

    def position(self) -> dict[str, Any]:
        (row,) = self.rows(POSITIONS, symbol="BTCUSDT")
        return row

    def _done(self, method: str, path: str, said: dict[str, Any]) -> Any:
        answer = self.asked(method, path, said)
        assert answer["retCode"] == 0, answer
        return answer["result"]


def ask(dialect: Bybit, method: str, path: str, query: str, body: bytes, headers: dict[str, str]) -> Response:
    return dialect.handle(
        Request(method=method, path=path, query_text=query, headers=headers, body=body),
    )


def content(response: Response) -> dict[str, Any]:
    text, kind = response.encoded()
    assert kind == "application/json"
    answer = json.loads(text)
    assert isinstance(answer, dict)
    return answer


def new_client(clock: Callable[[], datetime], **said: Any) -> Client:
    """Of a venue that does at once what it takes, and counts no calls: not as `build` makes it."""
    return Client(*build(clock, **{"unseen_reads": 0, "queued_reads": 0, "limited": False} | said))


def market(qty: Any = "0.01", side: str = "Buy", **more: Any) -> dict[str, Any]:
    own = {"category": "linear", "symbol": "BTCUSDT", "side": side, "orderType": "Market", "qty": qty}
    return {**own, "positionIdx": 0, **more}


def limit(price: Any = "59500", qty: Any = "0.01", side: str = "Buy", **more: Any) -> dict[str, Any]:
    return {**market(qty, side), "orderType": "Limit", "price": price, "timeInForce": "GTC", **more}


def stop(trigger: Any = "58000", qty: Any = "0.01", side: str = "Sell", **more: Any) -> dict[str, Any]:
    own = {"triggerPrice": trigger, "triggerDirection": 2, "triggerBy": "MarkPrice", "reduceOnly": True}
    return {**market(qty, side), **own, "closeOnTrigger": True, **more}


def moved(level: Any, **more: Any) -> dict[str, Any]:
    """What gives the position a stop."""
    own = {"category": "linear", "symbol": "BTCUSDT", "stopLoss": level, "tpslMode": "Full"}
    return {**own, "positionIdx": 0, **more}
