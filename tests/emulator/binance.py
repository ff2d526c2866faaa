"""Binance USDⓈ-M futures over HTTP, as its documents of October 2026 describe it.

Not emulated, and refused: trailing stops, GTD and RPI, priceMatch, batches, hedged positions. It must
never be milder than the venue: where nothing settles a question, a flag of `Flags` holds the answer, and
its default is as a rule the one that is harder on a client.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

from tests.emulator.binance_account import Funds
from tests.emulator.binance_algo import Algos
from tests.emulator.binance_calls import Call, Desk, Flags
from tests.emulator.binance_market import Market
from tests.emulator.binance_orders import Orders
from tests.emulator.binance_rules import (
    CONTRACTS,
    ORDERS_A_MINUTE,
    ORDERS_IN_10_S,
    PRICES,
    WEIGHT_A_MINUTE,
)
from tests.emulator.binance_words import CODES, Params, Wrong, ms
from tests.emulator.engine import Account, Engine, Kind, Refusal, Rules
from tests.emulator.server import Dialect, Request, Response

__all__ = ["KEY", "PRICES", "SECRET", "Binance", "Flags", "build"]

KEY = "emulator-key-binance"
SECRET = "emulator-secret-binance"

_MOST_WINDOW_MS = 60_000
_AHEAD_MS = 1000
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")
#: What urlencode() leaves as it is.
_ENCODED = re.compile(r"[A-Za-z0-9_.~+%=&-]*")
_SIGNATURE = re.compile(r"(?:^|&)signature=([0-9A-Fa-f]{64})$")


def build(
    clock: Callable[[], datetime],
    *,
    cash: Decimal = Decimal(100_000),
    rules: Rules | None = None,
    may_trade: bool = True,
    may_withdraw: bool = False,
    **flags: Any,
) -> tuple[Engine, Binance]:
    """All contracts at PRICES and one account, KEY and SECRET; `flags` as in Flags."""
    engine = Engine(clock, rules)
    for contract in CONTRACTS:
        engine.list(contract.listing, PRICES[contract.listing.symbol])
    rights = {"may_trade": may_trade, "may_withdraw": may_withdraw}
    engine.open(Account(KEY, SECRET, cash=cash, leverage=Decimal(20), **rights))
    return engine, Binance(engine, Flags(**flags))


class Binance(Dialect):
    name = "binance"

    def __init__(self, engine: Engine, flags: Flags | None = None) -> None:
        self.engine = engine
        self.flags = flags or Flags()
        desk = Desk(engine, self.flags, {contract.name: contract for contract in CONTRACTS})
        self.calls: dict[tuple[str, str], Call] = {}
        for noun in (Market(desk), Funds(desk), Orders(desk), Algos(desk)):
            self.calls.update(noun.calls())
        self._spent: Counter[tuple[str, int]] = Counter()
        desk.order_counts = self._order_counts

    def handle(self, request: Request) -> Response:
        call = self.calls.get((request.method, request.path))
        if call is None:
            return Response(status=404, body=b"<html><body><h2>404 Not found</h2></body></html>")
        headers: dict[str, str] = {}
        try:
            return Response(body=self._judge(call, request, headers), headers=headers)
        except Wrong as wrong:
            body = {"code": wrong.code, "msg": wrong.text}
            return Response(status=wrong.status, body=body, headers=headers)

    def throttled(self, retry_after_s: int) -> Response:
        wrong = Wrong(-1003)
        return Response(status=429, body={"code": wrong.code, "msg": wrong.text})

    def banned(self, until: datetime) -> Response:
        text = (
            f"Way too many requests; IP(127.0.0.1) banned until {ms(until)}. "
            "Please use the websocket for live updates to avoid bans."
        )
        return Response(status=418, body={"code": -1003, "msg": text})

    def unknown(self) -> Response:
        code, status, text = _UNKNOWN[self.flags.unknown]
        return Response(status=status, body={"code": code, "msg": text})

    # -- one request -----------------------------------------------------------------------------------

    def _judge(self, call: Call, request: Request, headers: dict[str, str]) -> Any:
        params = _read(request)
        self._count(call, params, headers)
        account = self._account(request, call, params) if call.signed else None
        params.check(call.names, signed=call.signed, strict=self.flags.strict_parameters)
        try:
            return call.answer(account, params)
        except Refusal as refusal:
            raise self._wrong(refusal) from None

    def _count(self, call: Call, params: Params, headers: dict[str, str]) -> None:
        """IP weight of every request; orders besides of those that place one."""
        minute = ("weight", int(self.engine.now().timestamp() // 60))
        self._spent[minute] += call.weight(params)
        headers["X-MBX-USED-WEIGHT-1M"] = str(self._spent[minute])
        if self._spent[minute] > WEIGHT_A_MINUTE:
            raise Wrong(-1003, status=429)
        if not call.orders:
            return
        for name, seconds, most in _ORDER_LIMITS:
            key = (name, int(self.engine.now().timestamp() // seconds))
            self._spent[key] += call.orders
            headers[f"X-MBX-ORDER-COUNT-{name}"] = str(self._spent[key])
            if self._spent[key] > most:
                text = f"Too many new orders; current limit is {most} orders per {seconds} SECONDS."
                raise Wrong(-1015, text, 429)

    def _order_counts(self) -> dict[str, int]:
        now = self.engine.now().timestamp()
        return {name: self._spent[(name, int(now // seconds))] for name, seconds, _ in _ORDER_LIMITS}

    def _account(self, request: Request, call: Call, params: Params) -> Account:
        """Whose request it is, if key, signature, time and permission are right."""
        key = request.headers.get("X-MBX-APIKEY", "")
        if not _PLAIN_KEY.fullmatch(key):
            raise Wrong(-2014, status=401)
        account = self.engine.account(key)
        if account is None:
            raise Wrong(-2015, status=401)
        for name in ("timestamp", "signature"):
            params.text(name)
        signed_at = params.whole("timestamp")
        window = params.whole("recvWindow", 5000)
        assert signed_at is not None
        assert window is not None
        if window > _MOST_WINDOW_MS:
            raise Wrong(-1131, "recvWindow must be less than 60000.")
        if not self._is_signed(request, account.secret):
            raise Wrong(-1022)
        now = ms(self.engine.now())
        if signed_at >= now + _AHEAD_MS:
            raise Wrong(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if now - signed_at > window:
            raise Wrong(-1021)
        if call.trade and not account.may_trade:
            raise Wrong(-2015, status=401)
        return account

    def _is_signed(self, request: Request, secret: str) -> bool:
        """Query and body without anything between; the signature is the last parameter of either."""
        query, body = request.query_text, request.body.decode("utf-8", "replace")
        if self.flags.encoded_only and not (_ENCODED.fullmatch(query) and _ENCODED.fullmatch(body)):
            return False
        found = _SIGNATURE.search(body) or _SIGNATURE.search(query)
        if found is None:
            return False
        if found.string is body:
            body = body[: found.start()]
        else:
            query = query[: found.start()]
        return hmac.compare_digest(signature(secret, query + body), found[1].lower())

    def _wrong(self, refusal: Refusal) -> Wrong:
        if refusal.kind is Kind.TRIGGERS_AT_ONCE:
            return Wrong(self.flags.trigger_code)
        if refusal.kind not in CODES:
            raise refusal
        return Wrong(CODES[refusal.kind])


def signature(secret: str, payload: str) -> str:
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


_ORDER_LIMITS = (("10S", 10, ORDERS_IN_10_S), ("1M", 60, ORDERS_A_MINUTE))

#: code, HTTP status, text
_UNKNOWN = {
    "503": (-1000, 503, "Unknown error, please check your request or try again later."),
    "-1006": (
        -1006,
        400,
        "An unexpected response was received from the message bus. Execution status unknown.",
    ),
    "-1007": (
        -1007,
        408,
        "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    ),
}


def _read(request: Request) -> Params:
    """The query's parameters, and those of a form that the query has not."""
    query = parse_qsl(request.query_text, keep_blank_values=True)
    form: list[tuple[str, str]] = []
    kind = request.headers.get("Content-Type", "")
    if request.method != "GET" and kind.startswith("application/x-www-form-urlencoded"):
        form = parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)
    for pairs in (query, form):
        if len({name for name, _ in pairs}) != len(pairs):
            raise Wrong(-1101, "Duplicate values for a parameter detected.")
    return Params(dict(form) | dict(query))
