"""One who asks the emulated Binance, without a server between, and the orders that its tests begin with."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from requests.structures import CaseInsensitiveDict

from tests.conftest import Clock
from tests.emulator.binance import KEY, SECRET, Binance, build, signature
from tests.emulator.binance_words import ms
from tests.emulator.engine import Account, Engine
from tests.emulator.server import Request, Response

ORDER, ALGO = "/fapi/v1/order", "/fapi/v1/algoOrder"
LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "quantity": "0.010", "price": "60000"}
LIMIT |= {"timeInForce": "GTC"}
MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.010"}
CLOSE = MARKET | {"side": "SELL", "reduceOnly": "true"}
STOP = {"algoType": "CONDITIONAL", "symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET"}
STOP |= {"quantity": "0.010", "triggerPrice": "58000", "reduceOnly": "true"}
WHOLE = {name: value for name, value in STOP.items() if name not in ("quantity", "reduceOnly")}
WHOLE |= {"closePosition": "true"}


class Venue:
    """Asks the dialect, without a server, as the owner of the account."""

    def __init__(self, clock: Clock, **options: Any) -> None:
        self.clock = clock
        self.engine: Engine
        self.dialect: Binance
        self.engine, self.dialect = build(clock, **options)
        self.account: Account = self.engine.accounts[0]

    def send(
        self, method: str, path: str, query: str = "", body: str = "", *, key: str = KEY, form: bool = True
    ) -> Response:
        headers = {"X-MBX-APIKEY": key} if key else {}
        headers |= {"Content-Type": "application/x-www-form-urlencoded"} if body and form else {}
        return self.dialect.handle(
            Request(
                method=method,
                path=path,
                query_text=query,
                headers=CaseInsensitiveDict(headers),
                body=body.encode(),
            )
        )

    def signed(self, params: dict[str, Any]) -> str:
        query = urlencode({"timestamp": ms(self.clock()), **params})
        return f"{query}&signature={signature(SECRET, query)}"

    def ask(self, method: str, path: str, **params: Any) -> Any:
        return self.send(method, path, self.signed(params)).body

    def code(self, method: str, path: str, **params: Any) -> int:
        answer = self.send(method, path, self.signed(params))
        assert answer.status == 400, answer
        assert answer.body["msg"]
        return int(answer.body["code"])

    def place(self, **params: Any) -> Any:
        return self.ask("POST", ORDER, **params)
