"""A venue that exists nowhere: proof that a venue is one file and one fixture.

The test copies it, as toy.py, into the folder of the exchanges. It must never be imported from here.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from exchanges import Capabilities, Credentials, Finding, Look, Terms, _checks
from exchanges._catalogue import Listing
from exchanges._http import Hosts, Reply, Request, Sealed, Wire, plain_number, retry_after
from exchanges._limits import Budget, Limiter
from trading.errors import (
    Ambiguous,
    BadCredentials,
    DuplicateOrder,
    InsufficientFunds,
    InvalidOrder,
    OrderNotFound,
    Rejected,
    StaleRequest,
    Throttled,
    VenueError,
)
from trading.model import (
    ZERO,
    Balance,
    Candle,
    Fill,
    Instrument,
    InstrumentKind,
    Order,
    OrderReport,
    OrderStatus,
    OrderType,
    Position,
    Protection,
    Side,
)
from trading.symbols import split

NAME = "TOY"
CAPABILITIES = Capabilities(
    protection=Protection.BEFORE,
    receive_window=timedelta(seconds=2),
    margin=timedelta(seconds=1),
    taker_fee=Decimal("0.001"),
)
_HEDGE = "the account is in hedge mode: switch it to one-way mode"
_ERRORS: dict[str, type[Rejected]] = {
    "no_money": InsufficientFunds,
    "bad_size": InvalidOrder,
    "nothing_to_reduce": InvalidOrder,
    "triggers_at_once": InvalidOrder,
    "id_taken": DuplicateOrder,
    "no_order": OrderNotFound,
    "who_are_you": BadCredentials,
    "too_late": StaleRequest,
}
_STATUS = {
    "open": OrderStatus.ACCEPTED,
    "part": OrderStatus.PARTIALLY_FILLED,
    "done": OrderStatus.FILLED,
    "gone": OrderStatus.CANCELED,
}


def connect(credentials: Credentials, *, network: str, hosts: Hosts, urls: Mapping[str, str]) -> Toy:
    return Toy(credentials, hosts, urls[NAME])


class Toy:
    """One account; its own dialect."""

    name = venue = NAME

    def __init__(self, credentials: Credentials, hosts: Hosts, url: str) -> None:
        self._credentials = credentials
        self._host = hosts.host(url, {"all": Budget(100, timedelta(seconds=1))})
        self._wire = Wire(self._host, self)
        self._catalogue = self._host.catalogue(NAME, "perpetuals", self._load)

    def capabilities(self, symbol: str) -> Capabilities:
        return CAPABILITIES

    def time(self) -> datetime:
        return self._wire.time()

    def instrument(self, symbol: str) -> Instrument:
        if split(symbol)[2] is InstrumentKind.SPOT:
            raise InvalidOrder(NAME, "instruments", f"{symbol}: use the perpetual")
        return self._catalogue.listing(symbol).instrument

    def max_leverage(self, symbol: str) -> Decimal | None:
        return self._catalogue.listing(symbol).max_leverage

    def price(self, symbol: str) -> Decimal:
        return Decimal(self._get("/v1/last", signed=False, market=self._market(symbol))["last"])

    def candles(self, symbol: str, interval: str, limit: int) -> Sequence[Candle]:
        body = self._get("/v1/bars", signed=False, market=self._market(symbol), minutes=interval, limit=limit)
        names = ("open", "high", "low", "close", "volume")
        rows = sorted(body["bars"])
        return [Candle(opened_at=_at(row[0]), **dict(zip(names, row[1:], strict=True))) for row in rows]

    def balance(self, symbol: str) -> Balance:
        body = self._get("/v1/money")
        return Balance(currency="USDT", total=body["equity"], free=body["free"])

    def position(self, symbol: str) -> Position:
        held = {position.symbol: position for position in self.positions()}
        return held.get(symbol, Position(symbol=symbol))

    def positions(self) -> Sequence[Position]:
        found = []
        for row in self._get("/v1/positions")["positions"]:
            listing = self._catalogue.named(row["market"])
            if listing is not None and row["net"]:
                symbol = listing.instrument.symbol
                found.append(Position(symbol=symbol, quantity=row["net"], average_price=row["average"]))
        return found

    def look(self, symbol: str, *, ours: Sequence[Order]) -> Look:
        position, resting = self._host.together(lambda: self.position(symbol), lambda: self._resting(symbol))
        return Look(position=position, resting=resting)  # type: ignore[arg-type]  # in this order

    def prepare(self, symbol: str, *, ours: Sequence[Order], leverage: Decimal) -> Terms:
        market = self._market(symbol)
        leverages = {"market": market, "leverage": plain_number(leverage)}
        position, resting, price, balance, mode, _ = self._host.together(
            lambda: self.position(symbol),
            lambda: self._resting(symbol),
            lambda: self.price(symbol),
            lambda: self.balance(symbol),
            lambda: self._get("/v1/key"),
            lambda: self._post("/v1/leverage", leverages),
        )
        if mode["hedge"]:
            raise InvalidOrder(NAME, "GET /v1/key", _HEDGE)
        look = Look(position=position, resting=resting)
        return Terms(look=look, instrument=self.instrument(symbol), price=price, balance=balance)

    def place(self, order: Order, *, signed_at: datetime, stop: Order | None = None) -> OrderReport:
        params = {
            "market": self._market(order.symbol),
            "own_id": order.client_order_id,
            "side": order.side.lower(),
            "type": order.type.lower(),
            "size": plain_number(order.quantity),
            "reduce": order.reduce_only,
        }
        level = order.price or order.trigger_price
        if level is not None:
            params["level"] = plain_number(level)
        return self._report(self._post("/v1/orders", params, signed_at=signed_at))

    def cancel(self, order: Order) -> None:
        self._cancel(own_id=order.client_order_id)

    def cancel_report(self, report: OrderReport) -> None:
        self._cancel(id=report.venue_order_id)

    def cancel_all(self, symbol: str) -> None:
        self._cancel(market=self._market(symbol))

    def order(self, order: Order) -> OrderReport:
        return self._report(self._get("/v1/order", own_id=order.client_order_id))

    def fills(self, symbol: str, *, since: datetime) -> Sequence[Fill]:
        rows = self._get("/v1/trades", market=self._market(symbol), since=_ms(since))["trades"]
        made = [
            Fill(
                trade_id=str(row["id"]),
                symbol=symbol,
                client_order_id=row["own_id"],
                venue_order_id=str(row["order"]),
                side=Side(row["side"].upper()),
                quantity=row["size"],
                price=row["price"],
                fee=row["fee"],
                fee_currency="USDT",
                at=_at(row["at"]),
            )
            for row in rows
        ]
        return sorted(made, key=lambda fill: fill.at)

    def check(self) -> Sequence[Finding]:
        try:
            key = self._get("/v1/key")
        except VenueError as error:
            return [_checks.trouble(error, key="make a new key")]
        found = [_checks.clock(self._host)]
        if key["withdraw"]:
            found.append(Finding(fatal=True, text="the key may withdraw", mend="take that right away"))
        if key["hedge"]:
            found.append(Finding(fatal=True, text="hedge mode", mend="switch to one-way mode"))
        return found

    # The dialect

    @property
    def secrets(self) -> Sequence[str]:
        return (self._credentials.key, self._credentials.secret)

    def seal(self, request: Request, at: datetime) -> Sealed:
        params, body, query = dict(request.params), None, ""
        if request.method == "POST":
            body = json.dumps(params).encode()
        elif params:
            query = f"?{urlencode(params)}"
        target = request.path + query
        if not request.signed:
            return Sealed(target=target, headers={}, body=body)
        stamp = str(_ms(at))
        payload = f"{request.method}\n{target}\n{stamp}\n".encode() + (body or b"")
        sign = hmac.new(self._credentials.secret.encode(), payload, hashlib.sha256).hexdigest()
        headers = {"TOY-KEY": self._credentials.key, "TOY-AT": stamp, "TOY-SIGN": sign}
        return Sealed(target=target, headers=headers, body=body)

    def judge(self, reply: Reply) -> VenueError | None:
        code = reply.body.get("error") if isinstance(reply.body, dict) else None
        if code is None:
            return None
        endpoint, text = reply.request.endpoint, str(reply.body["text"])
        if code == "slow_down":
            return Throttled(NAME, endpoint, text, after=retry_after(reply), code=code)
        if code == "maybe":
            return Ambiguous(NAME, endpoint, text, code=code)
        return _ERRORS.get(code, Rejected)(NAME, endpoint, text, code=code)

    def heard(self, reply: Reply, limiter: Limiter) -> None:
        limiter.told("all", int(reply.headers.get("TOY-USED", "0")))

    def clock_request(self) -> Request:
        return Request(method="GET", path="/v1/clock", signed=False)

    def read_clock(self, body: Any) -> datetime:
        return _at(body["now"])

    # Helpers

    def _get(self, path: str, *, signed: bool = True, **params: Any) -> Any:
        pairs = tuple(params.items())
        return self._wire.read(
            Request(method="GET", path=path, params=pairs, signed=signed, costs={"all": 1})
        )

    def _post(self, path: str, params: Mapping[str, Any], signed_at: datetime | None = None) -> Any:
        request = Request(method="POST", path=path, params=tuple(params.items()), costs={"all": 1})
        return self._wire.write(request, signed_at=signed_at)

    def _cancel(self, **params: str) -> None:
        request = Request(method="DELETE", path="/v1/orders", params=tuple(params.items()), urgent=True)
        try:
            self._wire.write(request)
        except OrderNotFound:
            return

    def _market(self, symbol: str) -> str:
        self.instrument(symbol)
        return self._catalogue.listing(symbol).name

    def _resting(self, symbol: str) -> tuple[OrderReport, ...]:
        rows = self._get("/v1/orders", market=self._market(symbol))["orders"]
        return tuple(self._report(row) for row in rows)

    def _load(self) -> list[Listing]:
        return [_listing(row) for row in self._get("/v1/markets", signed=False)["markets"]]

    def _report(self, row: Mapping[str, Any]) -> OrderReport:
        listing = self._catalogue.named(row["market"])
        if listing is None:
            raise Ambiguous(NAME, "orders", f"an order of {row['market']}")
        kind = OrderType(row["type"].upper())
        return OrderReport(
            symbol=listing.instrument.symbol,
            client_order_id=row["own_id"],
            venue_order_id=str(row["id"]),
            side=Side(row["side"].upper()),
            type=kind,
            quantity=row["size"],
            status=_STATUS[row["status"]],
            price=row["level"] if kind is OrderType.LIMIT else None,
            trigger_price=row["level"] if kind is OrderType.STOP else None,
            reduce_only=row["reduce"],
            filled_quantity=row.get("filled", ZERO),
            average_price=row.get("average"),
        )


def _listing(row: Mapping[str, Any]) -> Listing:
    base, quote = row["id"].split("_")
    instrument = Instrument(
        symbol=f"{base}-{quote}-PERP",
        base=base,
        quote=quote,
        kind=InstrumentKind.PERPETUAL,
        tick_size=row["tick"],
        lot_size=row["lot"],
        min_quantity=row["lot"],
    )
    return Listing(name=row["id"], instrument=instrument, max_leverage=Decimal(row["most"]))


def _at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
