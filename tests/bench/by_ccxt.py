"""ccxt's side of `tests.bench.signing`, run by a Python that has it: milliseconds an order, on stdout."""

from __future__ import annotations

import json
import sys
import time
from io import BytesIO
from typing import Any

import requests
from requests.adapters import BaseAdapter
from urllib3.response import HTTPResponse

SYMBOL = "BTC/USDT:USDT"


class Canned(BaseAdapter):
    """Answers everything alike."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._body = body

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        answer = requests.Response()
        answer.status_code, answer.request, answer.url = 200, request, request.url or ""
        answer.raw = HTTPResponse(BytesIO(self._body), status=200, preload_content=False)
        return answer

    def close(self) -> None:
        """Nothing is open."""


def main() -> None:
    import ccxt  # type: ignore[import-not-found]  # it has an environment of its own

    asked = json.load(sys.stdin)
    kind = {"BINANCE": ccxt.binanceusdm, "BYBIT": ccxt.bybit}[asked["venue"]]
    exchange = kind({"apiKey": "key", "secret": "secret", "enableRateLimit": False})
    exchange.session.mount("https://", Canned(asked["body"].encode()))
    exchange.set_markets([market(exchange)])
    exchange.options["enableUnifiedAccount"] = True

    def order() -> None:
        exchange.create_order(SYMBOL, "limit", "buy", 0.012, 60000, {"clientOrderId": "id-of-the-order"})

    for _ in range(20):
        order()
    began = time.process_time()
    for _ in range(asked["orders"]):
        order()
    sys.stdout.write(f"{1000 * (time.process_time() - began) / asked['orders']}\n")


def market(exchange: Any) -> dict[str, Any]:
    """The one instrument."""
    known = {"id": "BTCUSDT", "symbol": SYMBOL, "base": "BTC", "quote": "USDT", "settle": "USDT"}
    known |= {"baseId": "BTC", "quoteId": "USDT", "settleId": "USDT", "type": "swap", "swap": True}
    known |= {"spot": False, "margin": False, "future": False, "option": False, "contract": True}
    known |= {"linear": True, "inverse": False, "active": True, "contractSize": 1.0}
    known |= {"precision": {"amount": 0.001, "price": 0.1}, "info": {"orderTypes": ["LIMIT"]}}
    known |= {"limits": {"amount": {"min": 0.001}, "price": {}, "cost": {}}}
    found: dict[str, Any] = exchange.safe_market_structure(known)
    return found


if __name__ == "__main__":
    main()
