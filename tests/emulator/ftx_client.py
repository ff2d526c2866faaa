"""A client of the emulated FTX for its own tests: it signs as the documents say, and needs no server."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from tests.emulator.engine import Account, Engine
from tests.emulator.ftx import KEY, SECRET, Ftx, build
from tests.emulator.wire import Request


class Client:
    """Asks the dialect without a server, signed as the documents say."""

    def __init__(self, engine: Engine, dialect: Ftx) -> None:
        self.engine = engine
        self.dialect = dialect
        self.headers: dict[str, str] = {}
        self.key, self.secret = KEY, SECRET
        self.offset_ms = 0

    @property
    def account(self) -> Account:
        return self.engine.accounts[0]

    def raw(self, method: str, path: str, body: bytes = b"", query: str = "") -> tuple[int, dict[str, Any]]:
        target = f"/api{path}" + (f"?{query}" if query else "")
        stamp = str(int(self.engine.clock().timestamp() * 1000) + self.offset_ms)
        payload = f"{stamp}{method}{target}".encode() + body
        headers = {
            "FTX-KEY": self.key,
            "FTX-TS": stamp,
            "FTX-SIGN": hmac.new(self.secret.encode(), payload, hashlib.sha256).hexdigest(),
            "Content-Type": "application/json",
            **self.headers,
        }
        return ask(self.dialect, method, target, body, headers)

    def refused(self, method: str, path: str, body: Any = None, **query: Any) -> str:
        status, answer = self.raw(
            method, path, b"" if body is None else json.dumps(body).encode(), urlencode(query)
        )
        assert (status >= 400, answer["success"], list(answer)) == (True, False, ["success", "error"]), answer
        return str(answer["error"])

    def whole(self, method: str, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        status, answer = self.raw(
            method, path, b"" if body is None else json.dumps(body).encode(), urlencode(query)
        )
        assert (status, answer["success"]) == (200, True), answer
        return answer

    def result(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        return self.whole(method, path, body, **query)["result"]


def ask(
    dialect: Ftx, method: str, target: str, body: bytes, headers: dict[str, str]
) -> tuple[int, dict[str, Any]]:
    path, _, query = target.partition("?")
    request = Request(method=method, path=path, query_text=query, headers=headers, body=body)
    answer = dialect.handle(request)
    content, kind = answer.encoded()
    assert kind == "application/json"
    return answer.status, json.loads(content)


def new_client(clock: Callable[[], datetime], **said: Any) -> Client:
    return Client(*build(clock, **said))


def market(size: Any = 0.01, side: str = "buy", **more: Any) -> dict[str, Any]:
    return {"market": "BTC-PERP", "side": side, "type": "market", "price": None, "size": size, **more}


def limit(price: Any = 59000, size: Any = 0.01, side: str = "buy", **more: Any) -> dict[str, Any]:
    return {"market": "BTC-PERP", "side": side, "type": "limit", "price": price, "size": size, **more}


def stop(trigger: Any = 58000, size: Any = 0.01, side: str = "sell", **more: Any) -> dict[str, Any]:
    return {
        "market": "BTC-PERP",
        "side": side,
        "size": size,
        "type": "stop",
        "triggerPrice": trigger,
        "reduceOnly": True,
        **more,
    }
