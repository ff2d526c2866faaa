"""FTX: the perpetual futures (`BTC-PERP`) of one account or subaccount, at a base URL of the user's own.

The venue's own host closed in November 2022; what this file knows is docs.ftx.com as it stood before. It
must never use `openSize` as the position, derive a fill from `remainingSize`, cancel without naming the
market, or send an order whose late copy could still be taken.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from exchanges import Capabilities, Credentials, Finding, Look, Terms, _answers, _checks
from exchanges._answers import above_zero, amount, maybe, moment, readable, understood
from exchanges._catalogue import Listing
from exchanges._http import CLOCK_FRESH, Host, Hosts, Reply, Request, Sealed, Wire, retry_after
from exchanges._limits import Budget, Limiter
from trading import errors, model
from trading.errors import InvalidOrder, OrderNotFound, VenueError
from trading.model import ZERO, Fill, Order, OrderReport, OrderStatus, OrderType, Position, Side, plain
from trading.symbols import split

T = TypeVar("T")
Row = Mapping[str, Any]
#: A conditional order: its report, when it was taken, and the id of the order that it became.
Stop = tuple[OrderReport, datetime, int | None]

NAME = "FTX"

CAPABILITIES = Capabilities(
    protection=model.Protection.AFTER,
    receive_window=timedelta(seconds=2),
    margin=timedelta(seconds=1),
    taker_fee=Decimal("0.0007"),
    looks=300,  # three requests each: three fifths of the 1500 a minute
)

#: Pages rate-limits and 400-bad-request.
BUDGETS = {
    "second": Budget(30, timedelta(seconds=1)),
    "minute": Budget(1500, timedelta(minutes=1)),
    "orders": Budget(2, timedelta(milliseconds=200)),
}
_ANY = {"second": 1, "minute": 1}
_ORDER = _ANY | {"orders": 1}

#: How far FTX-TS may be off (page authentication).
_TAKEN = timedelta(seconds=30)
#: Since 2021, and one leverage for the whole account (page change-account-leverage).
_MAX_LEVERAGE = 20
#: Rows of a history page, and of candles (pages get-order-history, get-historical-prices).
_PAGE, _MOST_CANDLES = 100, 5000

_KEY = "set this account's API_KEY_… and API_SECRET_… anew"
_SUBACCOUNT = "use a key of the subaccount that the alert names"
#: One leverage for the whole account: a lower one needs more margin for what is open elsewhere.
_MONEY = "add collateral, lower RISK_…, or close what is open; a lower LEVERAGE_… frees nothing"
#: Errors have no codes, only texts: class, mend, and how they begin; the first that fits counts. Pages
#: 400-bad-request and 401-unauthorized; what those leave out is as clients of 2022 knew it.
_ERRORS: tuple[tuple[type[VenueError], str, tuple[str, ...]], ...] = (
    (errors.StaleRequest, "", ("Not logged in: Timestamp too far",)),
    (errors.BadCredentials, "add this server's address to the key's list", ("Not logged in: IP",)),
    (errors.BadCredentials, _KEY, ("Not logged in",)),
    (errors.BadCredentials, _SUBACCOUNT, ("Only have permissions", "No such subaccount", "Not authorized")),
    (errors.BadCredentials, "ask the venue to open it to this account", ("Not approved to trade",)),
    (errors.InsufficientFunds, _MONEY, ("Account does not have enough", "Not enough balances")),
    (errors.DuplicateOrder, "", ("Duplicate client order ID",)),
    (InvalidOrder, "the price is through the trigger already", ("Trigger price too",)),
    (InvalidOrder, "there is no position that it would reduce", ("Invalid reduce-only",)),
    (InvalidOrder, "", ("Size too", "Invalid price", "Invalid parameter", "Missing parameter")),
    (InvalidOrder, "", ("Spot orders cannot", "No such market", "No such future")),
    # "already": answers to a cancel alone, there is nothing left to cancel.
    (OrderNotFound, "", ("Order not found", "Order already closed", "Order already queued")),
    (
        errors.Ambiguous,
        "",
        ("Order took too", "Internal Error", "An unexpected", "Please retry", "Try again"),
    ),
)
#: Refused for rate and not executed (page rate-limits); how many milliseconds to wait is our own guess.
_RATES = {"Do not send more than": 200, "Cannot send more than": 2000, "Slow down": 1000}

#: The venue's own bars, longest first; all others are made of these (page get-historical-prices).
_BARS = [timedelta(seconds=each) for each in (86400, 14400, 3600, 900, 300, 60, 15)]


def connect(credentials: Credentials, *, network: str, hosts: Hosts, urls: Mapping[str, str]) -> FtxExchange:
    """One account at the user's URL; Denied without one, since no network of the venue is left."""
    url = urls.get(NAME)
    if not url:
        why = "its own host closed in November 2022" if network == "live" else f"it has no {network} network"
        raise errors.Denied(f"{NAME}: {why}; set FTX_API_URL to a server that speaks its API")
    return FtxExchange(credentials, hosts.host(url, BUDGETS))


class FtxExchange:
    """One account, and its own dialect. Positions are net and margin is crossed: there is no other mode."""

    def __init__(self, credentials: Credentials, host: Host) -> None:
        self._credentials = credentials
        self._host = host
        self._wire = Wire(host, self)
        self._catalogue = host.catalogue(NAME, "perpetuals", self._load)
        self._leverage: int | None = None

    @property
    def name(self) -> str:
        return NAME

    venue = name

    @property
    def secrets(self) -> Sequence[str]:
        return (self._credentials.key, self._credentials.secret)

    def seal(self, request: Request, at: datetime) -> Sealed:
        """Signs the bytes that are sent: a GET's parameters go in the query, all others' as JSON."""
        target, body, headers = request.path, b"", {}
        if request.params and request.method == "GET":
            target += "?" + urlencode(request.params)
        elif request.params:
            body, headers["Content-Type"] = _answers.json_of(request.params), "application/json"
        if request.signed:
            headers["FTX-KEY"], headers["FTX-TS"] = self._credentials.key, str(_answers.milliseconds(at))
            signed = f"{headers['FTX-TS']}{request.method}{target}".encode() + body
            headers["FTX-SIGN"] = hmac.new(self._credentials.secret.encode(), signed, "sha256").hexdigest()
            if self._credentials.subaccount:
                headers["FTX-SUBACCOUNT"] = quote(self._credentials.subaccount)
        return Sealed(target=target, headers=headers, body=body or None)

    def judge(self, reply: Reply) -> VenueError | None:
        """By the error's text; a no that nobody knows is still a no, unless its status says otherwise."""
        told, endpoint = reply.body if isinstance(reply.body, dict) else {}, reply.request.endpoint
        if told.get("success") is True and "result" in told:
            return None
        text = told.get("error")
        if told.get("success") is not False or not isinstance(text, str):
            # Not the venue's own words: a refusal by plain HTTP still is one, anything else says nothing.
            return errors.Ambiguous(NAME, endpoint, "it says nothing") if reply.status < 400 else None
        for beginning, wait in _RATES.items():
            if text.startswith(beginning):
                after = retry_after(reply, timedelta(milliseconds=wait))
                return errors.Throttled(NAME, endpoint, text, after=after, code="429")
        for error, mend, beginnings in _ERRORS:
            if text.startswith(beginnings):
                return error(NAME, endpoint, f"{text.rstrip('.')}: {mend}" if mend else text)
        doubt = reply.status >= 500 or reply.status in (408, 429)
        return None if doubt else errors.Rejected(NAME, endpoint, text)

    def heard(self, reply: Reply, limiter: Limiter) -> None:
        """The venue's headers tell nothing of its limits."""

    def clock_request(self) -> Request:
        return Request(method="GET", path="/api/time", signed=False, costs=_ANY)

    def read_clock(self, body: Any) -> datetime:
        return understood(NAME, self.clock_request(), lambda: moment(body["result"]))

    def capabilities(self, symbol: str) -> Capabilities:
        return CAPABILITIES

    def time(self) -> datetime:
        return self._wire.time()

    def instrument(self, symbol: str) -> model.Instrument:
        return self._listing(symbol).instrument

    def max_leverage(self, symbol: str) -> Decimal | None:
        return self._listing(symbol).max_leverage

    def price(self, symbol: str) -> Decimal:
        market = self._listing(symbol).name
        return self._get(f"/api/markets/{market}", lambda row: above_zero(amount(row["last"])), signed=False)

    def candles(self, symbol: str, interval: str, limit: int) -> Sequence[model.Candle]:
        """Bars that the venue does not have are made of shorter ones; of months there are none."""
        step = _answers.length_of(interval)
        bar = next((each for each in _BARS if step and not step % each), None)
        if step is None or bar is None:
            return ()
        # One more where they are joined: the first may lack its beginning.
        count = limit if bar == step else (limit + 1) * (step // bar)
        params = (("resolution", bar // timedelta(seconds=1)), ("limit", min(count, _MOST_CANDLES)))
        path = f"/api/markets/{self._listing(symbol).name}/candles"
        bars = self._get(path, lambda rows: [_candle(row) for row in rows], *params, signed=False)
        return _answers.joined(bars, step)[-limit:]

    def balance(self, symbol: str) -> model.Balance:
        return self._get("/api/account", _balance)

    def position(self, symbol: str) -> Position:
        return self._position(self._listing(symbol))

    def positions(self) -> Sequence[Position]:
        held = [(self._catalogue.named(name), one) for name, one in self._held().items()]
        return tuple(replace(one, symbol=at.instrument.symbol) for at, one in held if at and not one.is_flat)

    def look(self, symbol: str, *, ours: Sequence[Order]) -> Look:
        listing = self._listing(symbol)
        return _look(listing, ours, self._host.together(*self._looks(listing)))

    def prepare(self, symbol: str, *, ours: Sequence[Order], leverage: Decimal) -> Terms:
        first: list[Callable[[], Any]] = [] if self._catalogue.is_known else [self._catalogue.all]
        first += [] if self._host.knows_time() else [self._wire.set_clock]
        if first:
            self._host.together(*first)
        listing = self._listing(symbol, wait=True)
        market = f"/api/markets/{listing.name}"
        calls = self._looks(listing)
        calls += [lambda: self._get(market, _enterable, signed=False), lambda: self.balance(symbol)]
        calls += [] if self._host.knows_time(CLOCK_FRESH) else [self._wire.set_clock]
        wanted = min(_MAX_LEVERAGE, max(1, math.ceil(leverage)))
        calls += [] if wanted == self._leverage else [lambda: self._set_leverage(wanted)]
        told = self._host.together(*calls)
        look, price, balance = _look(listing, ours, told[:3]), told[3], told[4]
        known: dict[str, Any] = {"instrument": listing.instrument, "max_leverage": listing.max_leverage}
        return Terms(look=look, price=price, balance=balance, **known)

    def place(self, order: Order, *, signed_at: datetime, stop: Order | None = None) -> OrderReport:
        if stop is not None:
            raise ValueError("a stop can be attached only where the protection is ATTACHED")
        listing, window = self._listing(order.symbol), CAPABILITIES.receive_window
        sent = _answers.as_sent(order, listing)
        what: dict[str, Any] = {"market": listing.name, "side": sent.side.lower(), "size": sent.quantity}
        what["reduceOnly"] = sent.reduce_only
        if sent.type is OrderType.STOP:
            path = "/api/conditional_orders"
            what |= {"type": "stop", "triggerPrice": sent.trigger_price, "retryUntilFilled": True}
            # Stops take no deadline and no id of ours. FTX-TS, good for 30 s, is dated back so far that the
            # venue itself refuses a late copy after the receive window: so the fence holds for them too.
            signed_at -= _TAKEN - window
        else:
            path = "/api/orders"
            what |= {"type": sent.type.lower(), "price": sent.price, "clientId": sent.client_order_id}
            what |= {"ioc": sent.time_in_force is model.TimeInForce.IOC, "postOnly": False}
            what["rejectAfterTs"] = _answers.milliseconds(signed_at + window)
        params = tuple(what.items())
        request = Request(method="POST", path=path, params=params, costs=_ORDER, urgent=sent.reduce_only)
        body = self._wire.write(request, signed_at=signed_at)
        report = understood(NAME, request, lambda: _report(body["result"], order.symbol))
        return replace(report, client_order_id=order.client_order_id)

    def cancel(self, order: Order) -> None:
        if order.type is not OrderType.STOP:
            self._end(f"/api/orders/by_client_id/{order.client_order_id}")
        elif order.venue_order_id:
            self._end(f"/api/conditional_orders/{order.venue_order_id}")
        elif stop := _mine(order, self._stops(at := self._listing(order.symbol)), at):
            self.cancel_report(stop[0])

    def cancel_report(self, report: OrderReport) -> None:
        kind = "conditional_orders" if report.type is OrderType.STOP else "orders"
        self._end(f"/api/{kind}/{report.venue_order_id}")

    def cancel_all(self, symbol: str) -> None:
        self._end("/api/orders", ("market", self._listing(symbol).name))  # without it: of every market

    def order(self, order: Order) -> OrderReport:
        """A stop is looked for among those that wait, then among those that ended; the others by our id."""
        if order.type is not OrderType.STOP:
            return self._regular(f"by_client_id/{order.client_order_id}", order.symbol)
        listing = self._listing(order.symbol)
        stop = _mine(order, self._stops(listing), listing)
        if stop is None:
            path = "/api/conditional_orders/history"
            since = (order.signed_at or _answers.EPOCH) - CAPABILITIES.margin
            read = partial(_stop, symbol=order.symbol)
            stop = _mine(order, self._pages(path, "createdAt", since, listing, read, urgent=True), listing)
            if stop is None:
                raise OrderNotFound(NAME, f"GET {path}", f"no stop like {order.client_order_id} is known")
        return replace(self._followed(stop), client_order_id=order.client_order_id)

    def fills(self, symbol: str, *, since: datetime) -> Sequence[Fill]:
        fills = self._pages("/api/fills", "time", since, self._listing(symbol), partial(_fill, symbol=symbol))
        return tuple(sorted(fills, key=lambda fill: (fill.at, int(fill.trade_id))))

    def check(self) -> Sequence[Finding]:
        try:
            self._wire.set_clock()
            balance = self._get("/api/account", _balance)
        except VenueError as error:
            return (_checks.trouble(error, key=_KEY),)
        works = f"the key works: {plain(balance.total)} USD, {plain(balance.free)} free"
        look = "see on its page of API keys that this one may trade and may not withdraw"
        untold = Finding(fatal=False, text="the venue does not tell what a key may do", mend=look)
        return (Finding(fatal=False, text=works), _checks.clock(self._host), untold)

    def _get(self, path: str, read: Callable[[Any], T], *params: tuple[str, Any], **how: bool) -> T:
        request = Request(method="GET", path=path, params=params, costs=_ANY, **how)
        body = self._wire.read(request)
        return understood(NAME, request, lambda: read(body["result"]))

    def _list(self, path: str, read: Callable[[Row], T], *params: tuple[str, Any]) -> list[T]:
        return self._get(path, lambda rows: [read(row) for row in rows], *params, urgent=True)

    def _end(self, path: str, *params: tuple[str, Any]) -> None:
        # Queued is as good as done; gone already is what was wanted.
        with suppress(OrderNotFound):
            self._wire.write(Request(method="DELETE", path=path, params=params, costs=_ANY, urgent=True))

    def _pages(
        self, path: str, key: str, since: datetime, at: Listing, read: Callable[[Row], T], **how: bool
    ) -> list[T]:
        """All rows from `since` on. Newest come first: each page ends where the one before it began."""
        found: dict[int, tuple[datetime, T]] = {}
        until: tuple[tuple[str, Any], ...] = ()
        while True:
            params = (("market", at.name), ("start_time", _answers.seconds(since)), *until, ("limit", _PAGE))
            request = Request(method="GET", path=path, params=params, costs=_ANY, **how)
            body = self._wire.read(request)
            page = understood(NAME, request, partial(_dated, body, key, read))
            is_news = bool(page.keys() - found.keys())
            found |= page
            # Not every list says whether it goes on; rows of one moment may stand on both pages.
            if not is_news or body.get("hasMoreData") is False:
                return [each for _, each in found.values()]
            until = (("end_time", _answers.seconds(min(taken_at for taken_at, _ in page.values()))),)

    def _load(self) -> Iterable[Listing]:
        # The list holds spot, dated futures and predictions as well.
        return self._get("/api/markets", lambda rows: readable(rows, _listing), signed=False, bulky=True)

    def _listing(self, symbol: str, *, wait: bool = False) -> Listing:
        base, _, kind = split(symbol)
        if kind is model.InstrumentKind.SPOT:
            text = f"spot is not traded there yet: use the perpetual, {base}PERP"
            raise InvalidOrder(NAME, "instruments", text)
        return self._catalogue.listing(symbol, wait=wait)

    def _looks(self, at: Listing) -> list[Callable[[], Any]]:
        """Position, orders, conditional orders: to be asked for side by side."""
        read = partial(_report, symbol=at.instrument.symbol)
        orders = partial(self._list, "/api/orders", read, ("market", at.name))
        return [partial(self._position, at), orders, partial(self._stops, at)]

    def _held(self) -> dict[str, Position]:
        """Positions by the venue's names."""
        held = self._list("/api/positions", _position, ("showAvgPrice", "true"))
        return {position.symbol: position for position in held}

    def _position(self, at: Listing) -> Position:
        return replace(self._held().get(at.name, Position(symbol=at.name)), symbol=at.instrument.symbol)

    def _stops(self, at: Listing) -> list[Stop]:
        read = partial(_stop, symbol=at.instrument.symbol)
        return self._list("/api/conditional_orders", read, ("market", at.name))

    def _regular(self, number: str, symbol: str) -> OrderReport:
        return self._get(f"/api/orders/{number}", lambda row: _report(row, symbol), urgent=True)

    def _set_leverage(self, leverage: int) -> None:
        path, params = "/api/account/leverage", (("leverage", leverage),)
        self._wire.write(Request(method="POST", path=path, params=params, costs=_ANY))
        self._leverage = leverage

    def _followed(self, stop: Stop) -> OrderReport:
        """A stop's report, with what the order did that it became."""
        report, _, became = stop
        if became is None:
            return report
        try:
            made = self._regular(str(became), report.symbol)
        except OrderNotFound:
            # The venue may not keep what ended unfilled: what the stop's own row says stands.
            made = replace(report, status=OrderStatus.CANCELED, reason="the order that it became is gone")
        # Tried more than once, the stop knows more than its last order.
        best = max(made, report, key=lambda each: each.filled_quantity)
        filled, average = best.filled_quantity, best.average_price
        status = OrderStatus.FILLED if filled >= report.quantity else made.status
        reason = "" if status is OrderStatus.FILLED else made.reason
        # Its fills bear the number of the order that it became.
        number = str(became) if status.is_final else report.venue_order_id
        more: dict[str, Any] = {"filled_quantity": filled, "average_price": average, "reason": reason}
        return replace(report, venue_order_id=number, status=status, **more)


def _dated(body: Row, key: str, read: Callable[[Row], T]) -> dict[int, tuple[datetime, T]]:
    return {row["id"]: (moment(row[key]), read(row)) for row in body["result"]}


def _listing(row: Row) -> Listing | None:
    if row["type"] != "future" or not row["name"].endswith("-PERP"):
        return None
    base, lot = row["name"].removesuffix("-PERP"), above_zero(amount(row["sizeIncrement"]))
    instrument = model.Instrument(
        symbol=f"{base}-USD-PERP",
        base=base,
        quote="USD",
        kind=model.InstrumentKind.PERPETUAL,
        tick_size=above_zero(amount(row["priceIncrement"])),
        lot_size=lot,
        min_quantity=max(lot, amount(row["minProvideSize"])),  # less may be taken, but not rest
    )
    return Listing(name=row["name"], instrument=instrument, max_leverage=Decimal(_MAX_LEVERAGE))


def _enterable(row: Row) -> Decimal:
    """The last price of a market; InvalidOrder for one that nobody may enter now."""
    usual = {"enabled": True, "postOnly": False, "restricted": False}
    if odd := {key: row[key] for key, value in usual.items() if row.get(key, value) is not value}:
        raise InvalidOrder(NAME, "GET /api/markets", f"{row['name']} cannot be entered now: {odd}, try later")
    return above_zero(amount(row["last"]))


def _balance(row: Row) -> model.Balance:
    total, free = amount(row["totalAccountValue"]), amount(row["freeCollateral"])
    return model.Balance(currency="USD", total=total, free=max(ZERO, free))


def _position(row: Row) -> Position:
    size = amount(row["size"])
    if not size:  # a market once traded stays listed
        return Position(symbol=row["future"])
    signed = {"buy": size, "sell": size.copy_negate()}[row["side"]]
    # entryPrice becomes the mark whenever the venue settles profit and loss.
    average = maybe(row.get("recentAverageOpenPrice")) or maybe(row["entryPrice"])
    return Position(symbol=row["future"], quantity=signed, average_price=average)


def _report(row: Row, symbol: str) -> OrderReport:
    """Of any order. A stop that triggered is open until the order that it became has ended."""
    is_stop = "triggerPrice" in row
    size = amount(row["size"])
    filled = (maybe(row.get("filledSize")) or ZERO) if is_stop else amount(row["filledSize"])
    reason = row.get("error") or row.get("cancelReason") or ""
    resting = OrderStatus.PARTIALLY_FILLED if filled else OrderStatus.ACCEPTED
    status = {
        **dict.fromkeys(("new", "open"), resting),
        "triggered": OrderStatus.REJECTED if reason and row.get("orderId") is None else resting,
        "cancelled": OrderStatus.CANCELED,
        "closed": OrderStatus.FILLED if filled >= size else OrderStatus.CANCELED,
    }[row["status"]]
    if row["status"] == "closed" and filled < size:
        reason = f"closed with {plain(filled)} of {plain(size)} filled"
    return OrderReport(
        symbol=symbol,
        client_order_id=row.get("clientId"),
        venue_order_id=str(row["id"]),
        side=Side(row["side"].upper()),
        type=OrderType.STOP if is_stop else OrderType(row["type"].upper()),
        quantity=size,
        status=status,
        price=maybe(row["orderPrice"] if is_stop else row["price"]),
        trigger_price=maybe(row.get("triggerPrice")),
        reduce_only=row["reduceOnly"],
        filled_quantity=filled,
        average_price=maybe(row.get("avgFillPrice")),
        reason=reason,
    )


def _stop(row: Row, symbol: str) -> Stop:
    became = row.get("orderId") if row["status"] == "triggered" else None
    return _report(row, symbol), moment(row["createdAt"]), became


def _named(ours: Sequence[Order], stops: Sequence[Stop], listing: Listing) -> list[OrderReport]:
    """The reports of conditional orders, with our ids in those that are ours."""
    sent = [_answers.as_sent(order, listing) for order in ours if order.type is OrderType.STOP]
    ids = _answers.recognised(sent, [stop[:2] for stop in stops], tolerance=CAPABILITIES.margin)
    return [replace(report, client_order_id=ids.get(report.venue_order_id)) for report, _, _ in stops]


def _mine(order: Order, stops: Sequence[Stop], listing: Listing) -> Stop | None:
    named = zip(_named([order], stops, listing), stops, strict=True)
    return next((stop for report, stop in named if report.client_order_id), None)


def _look(at: Listing, ours: Sequence[Order], told: Sequence[Any]) -> Look:
    position, orders, stops = told
    return Look(position=position, resting=(*orders, *_named(ours, stops, at)))


def _fill(row: Row, symbol: str) -> Fill:
    return Fill(
        trade_id=str(row["id"]),
        symbol=symbol,
        client_order_id=None,
        venue_order_id=str(row["orderId"]),
        side=Side(row["side"].upper()),
        quantity=above_zero(amount(row["size"])),
        price=above_zero(amount(row["price"])),
        fee=amount(row["fee"]),
        fee_currency=row["feeCurrency"],
        at=moment(row["time"]),
        maker=row["liquidity"] == "maker",
    )


def _candle(row: Row) -> model.Candle:
    prices = {key: amount(row[key]) for key in ("open", "high", "low", "close", "volume")}
    return model.Candle(opened_at=moment(row["startTime"]), **prices)
