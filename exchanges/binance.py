"""Binance over REST: USDⓈ-M perpetuals here, spot by `connect_spot`.

A stop is always a conditional (algo) order, and becomes a regular one when it triggers; both kinds are
looked at wherever orders are. It must never send a stop that may open a position, call an order gone because
a list does not hold it, or touch an instrument that was not named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from functools import partial
from typing import Any, TypeVar

from exchanges import Capabilities, Credentials, Exchange, Finding, Look, Terms, _api3, _checks, _fapi
from exchanges._answers import above_zero, readable, understood
from exchanges._api3_spot import Spot
from exchanges._catalogue import Listing
from exchanges._http import CLOCK_FRESH, Host, Hosts, Request, Wire
from trading.errors import (
    BadCredentials,
    Denied,
    InsufficientFunds,
    InvalidOrder,
    OrderNotFound,
    VenueError,
)
from trading.model import (
    Balance,
    Candle,
    Fill,
    Instrument,
    InstrumentKind,
    Order,
    OrderReport,
    OrderStatus,
    Position,
    Protection,
    plain,
)
from trading.symbols import split

T = TypeVar("T")

NAME = "BINANCE"

#: Testnet and demo are one back end; this is the name that the documentation gives it now.
HOSTS = {
    "live": "https://fapi.binance.com",
    "testnet": "https://demo-fapi.binance.com",
    "demo": "https://demo-fapi.binance.com",
}
SPOT = f"{NAME}_SPOT"
SPOT_HOSTS = {
    "live": "https://api.binance.com",
    "testnet": "https://testnet.binance.vision",
    "demo": "https://demo-api.binance.com",
}
#: Tells what a key may do. The spot hosts of testnet and demo have no such call.
WALLET = SPOT_HOSTS["live"]

CAPABILITIES = Capabilities(
    # A stop is an order of its own; whether it is taken before there is a position, nobody promises.
    protection=Protection.AFTER,
    receive_window=timedelta(seconds=2),
    margin=timedelta(seconds=1),
    taker_fee=Decimal("0.0005"),
    # One weighs 7: they take three fifths of the address's 2400.
    looks=200,
)

#: How long the account's settings are believed.
_MODE_FRESH = timedelta(minutes=10)
#: userTrades: the longest span and page of one question, and how far back it looks at all.
_SPAN, _PAGE, _ARCHIVE = timedelta(days=7), 1000, timedelta(days=89)
#: So long an order may be missing in one answer after another answer told of it.
_LAG = timedelta(minutes=1)
_MOST_CANDLES = 1500


def connect(credentials: Credentials, *, network: str, hosts: Hosts, urls: Mapping[str, str]) -> Exchange:
    """One account; nothing is sent yet. Denied for a network that the venue does not have."""
    url = urls.get(NAME) or HOSTS.get(network)
    if url is None:
        raise Denied(f"{NAME} has no network {network!r}: set NETWORK to one of {', '.join(HOSTS)}")
    # Whoever gives the futures another host does not mean the venue's own for the rest.
    wallet = urls.get(SPOT) or (WALLET if network == "live" and url == HOSTS["live"] else None)
    return Binance(
        credentials, hosts.host(url, _fapi.ADDRESS), hosts.host(wallet, _api3.ADDRESS) if wallet else None
    )


def connect_spot(
    credentials: Credentials, *, network: str, hosts: Hosts, urls: Mapping[str, str]
) -> Exchange:
    """The account's spot wallet; nothing is sent yet. Denied for a network that the venue does not have."""
    url = urls.get(SPOT) or SPOT_HOSTS.get(network)
    if url is None:
        raise Denied(f"{NAME} has no network {network!r}: set NETWORK to one of {', '.join(SPOT_HOSTS)}")
    if SPOT not in urls and NAME in urls:
        # Whoever gives the futures another host does not mean the venue's own for spot.
        raise Denied(f"{NAME}_API_URL is set and {SPOT}_API_URL is not: set it, too")
    return Spot(NAME, credentials, hosts.host(url, _api3.ADDRESS))


class Binance:
    """One account."""

    name = NAME

    def __init__(self, credentials: Credentials, host: Host, wallet: Host | None = None) -> None:
        self._host = host
        self._dialect = _fapi.FapiDialect(NAME, credentials, CAPABILITIES.receive_window, host.now)
        self._wire = Wire(host, self._dialect)
        self._wallet = None if wallet is None else Wire(wallet, _fapi.wallet(NAME, credentials, wallet))
        host.limiter.add(self._dialect.budgets)
        self._catalogue = host.catalogue(NAME, "perpetual", self._listings)
        self._known: dict[str, Listing] = {}
        self._leverages: dict[str, int] = {}
        self._mode_told: tuple[datetime, Mapping[str, bool]] | None = None

    # What need not be asked for each time

    def capabilities(self, symbol: str) -> Capabilities:
        return CAPABILITIES

    def time(self) -> datetime:
        return self._wire.time()

    def instrument(self, symbol: str) -> Instrument:
        return self._listing(symbol, wait=False).instrument

    def max_leverage(self, symbol: str) -> Decimal | None:
        name = self._listing(symbol).name
        request = self._dialect.ask(_fapi.BRACKETS, 1, ("symbol", name))
        return self._read(request, partial(_fapi.most_leverage, name))

    def _listing(self, symbol: str, *, wait: bool = True) -> Listing:
        try:
            base, quote, kind = split(symbol)
        except ValueError as error:
            raise InvalidOrder(NAME, "instruments", str(error)) from None
        if kind is not InstrumentKind.PERPETUAL:
            text = f"{symbol} is spot, not of this product: use the perpetual, {base}{quote}.P"
            raise InvalidOrder(NAME, "instruments", text)
        listing = self._known[symbol] = self._catalogue.listing(symbol, wait=wait)
        return listing

    def _last(self, symbol: str) -> Listing:
        """As it was read last: what guards a position does not wait for a new list."""
        return self._known.get(symbol) or self._listing(symbol)

    def _listings(self) -> tuple[Listing, ...]:
        request = self._dialect.ask(_fapi.INSTRUMENTS, 1, signed=False, bulky=True)
        return self._read(request, lambda body: tuple(readable(body["symbols"], _fapi.perpetual)))

    def _mode(self) -> Mapping[str, bool]:
        now = self._host.clock()
        if self._mode_told and timedelta() <= now - self._mode_told[0] < _MODE_FRESH:
            return self._mode_told[1]
        mode = self._read(self._dialect.ask(_fapi.CONFIG, 5), _fapi.mode)
        # What stands in the way of trading is asked for anew, so that its mend is seen at once.
        self._mode_told = (now, mode) if mode["canTrade"] and not mode["dualSidePosition"] else None
        return mode

    # Reads

    def price(self, symbol: str) -> Decimal:
        request = self._dialect.ask(_fapi.TICKER, 1, self._param(symbol), signed=False)
        return self._read(request, lambda body: above_zero(_fapi.amount(body["price"])))

    def candles(self, symbol: str, interval: str, limit: int) -> Sequence[Candle]:
        theirs, most = _fapi.INTERVALS.get(interval.upper()), min(limit, _MOST_CANDLES)
        if theirs is None or most < 1:
            return ()
        weight = 1 if most < 100 else 2 if most < 500 else 5 if most <= 1000 else 10
        params = (self._param(symbol), ("interval", theirs), ("limit", most))
        request = self._dialect.ask(_fapi.BARS, weight, *params, signed=False)
        return self._read(request, lambda body: tuple(_fapi.candle(row) for row in _fapi.rows(body)))

    def balance(self, symbol: str) -> Balance:
        account, mode = self._together(self._account, self._mode)
        return self._backing(account, mode, self._last(symbol).instrument.quote)

    def position(self, symbol: str) -> Position:
        return self._position(symbol, urgent=True)

    def positions(self) -> Sequence[Position]:
        request = self._dialect.ask(_fapi.POSITIONS, 5)
        rows = self._read(request, _fapi.rows)
        # Rows of other products are not ours to read.
        names = sorted({str(row.get("symbol")) for row in rows})
        listed = [listing for listing in map(self._catalogue.named, names) if listing is not None]
        told = [self._held(request, each.instrument.symbol, each.name, rows) for each in listed]
        return tuple(position for position in told if not position.is_flat)

    def look(self, symbol: str, *, ours: Sequence[Order]) -> Look:
        position, regular, algo = self._together(*self._glances(symbol, urgent=True))
        return Look(position=position, resting=(*regular, *algo))

    def prepare(self, symbol: str, *, ours: Sequence[Order], leverage: Decimal) -> Terms:
        self._get_ready()
        instrument = self._listing(symbol).instrument
        calls = self._glances(symbol, urgent=False)
        calls += [partial(self.price, symbol), self._account, self._mode]
        calls.append(partial(self._set_leverage, symbol, leverage))
        if not self._host.knows_time(CLOCK_FRESH):
            calls.append(self._wire.set_clock)
        position, regular, algo, price, account, mode, *_ = self._together(*calls)
        if mode["dualSidePosition"]:
            raise InvalidOrder(NAME, "prepare", f"the account is in hedge mode: {_fapi.ONE_WAY}")
        if not mode["canTrade"]:
            raise BadCredentials(NAME, "prepare", f"it may not trade: {_fapi.SUPPORT}")
        return Terms(
            look=Look(position=position, resting=(*regular, *algo)),
            instrument=instrument,
            price=price,
            balance=self._backing(account, mode, instrument.quote),
        )

    def order(self, order: Order) -> OrderReport:
        """In the order's own namespace; of a stop that triggered, what became of its regular order."""
        path, symbol = _fapi.path_of(order.type), order.symbol
        ours = (_fapi.IDS[path][0], order.client_order_id)
        if path == _fapi.ORDER:
            return self._regular(symbol, ours)
        # A conditional order is asked for by its id alone.
        request = self._dialect.ask(path, 1, ours, urgent=True)
        row = self._read(request, _fapi.row)
        report = understood(NAME, request, lambda: _fapi.report(symbol, row))
        became = _fapi.became(row)
        if not became:
            return report
        try:
            actual = self._regular(symbol, ("orderId", became))
        except OrderNotFound:
            # It was made: it is not listed yet, or ended without a fill so long ago that nobody knows.
            fired_at = understood(
                NAME, request, lambda: _fapi.from_ms(row.get("triggerTime") or row["updateTime"])
            )
            lagging = self._host.now() - fired_at < _LAG
            return replace(report, status=OrderStatus.ACCEPTED if lagging else OrderStatus.EXPIRED)
        return replace(
            report,
            venue_order_id=actual.venue_order_id,
            status=actual.status,
            filled_quantity=actual.filled_quantity,
            average_price=actual.average_price,
        )

    def fills(self, symbol: str, *, since: datetime) -> Sequence[Fill]:
        found: dict[int, Fill] = {}
        for page in self._pages(symbol, since):
            found |= page
        return tuple(sorted(found.values(), key=lambda fill: (fill.at, int(fill.trade_id))))

    def _pages(self, symbol: str, since: datetime) -> Iterator[dict[int, Fill]]:
        """By spans of time; where one holds more than a page, on from its last trade, to the end."""
        now = self._host.now()
        start = max(since, now - _ARCHIVE)
        page: dict[int, Fill] = {}
        while start <= now and len(page) < _PAGE:
            times = (("startTime", _fapi.to_ms(start)), ("endTime", _fapi.to_ms(start + _SPAN)))
            yield (page := self._trades(symbol, *times))
            start += _SPAN
        while len(page) >= _PAGE:
            yield (page := self._trades(symbol, ("fromId", max(page) + 1)))

    # Writes: each is sent once

    def place(self, order: Order, *, signed_at: datetime, stop: Order | None = None) -> OrderReport:
        if stop is not None:
            raise ValueError("a stop cannot be attached there")
        on = f"POST {_fapi.path_of(order.type)}"
        params = _fapi.spelt(order, self._last(order.symbol))
        request = self._dialect.tell(on, *params, urgent=order.reduce_only, orders=1)
        try:
            body = self._wire.write(request, signed_at=signed_at)
        except (InsufficientFunds, InvalidOrder):
            # Somebody may have changed the leverage by hand since it was set here.
            self._leverages.pop(order.symbol, None)
            raise
        return understood(NAME, request, lambda: _fapi.report(order.symbol, body))

    def cancel(self, order: Order) -> None:
        path = _fapi.path_of(order.type)
        self._end(order.symbol, path, (_fapi.IDS[path][0], order.client_order_id))

    def cancel_report(self, report: OrderReport) -> None:
        path = _fapi.path_of(report.type)
        self._end(report.symbol, path, (_fapi.IDS[path][1], report.venue_order_id))

    def cancel_all(self, symbol: str) -> None:
        self._together(*(partial(self._end, symbol, path) for path in (_fapi.ALL_ORDERS, _fapi.ALL_ALGOS)))

    # For people

    def check(self) -> Sequence[Finding]:
        try:
            self._wire.set_clock()
            self._mode_told = None
            account, mode, rights = self._together(self._account, self._mode, self._rights)
            free = self._backing(account, mode, "USDT")
        except VenueError as error:
            return (_checks.trouble(error, key=_fapi.KEY),)
        found = [
            _checks.clock(self._host),
            *rights,
            Finding(
                fatal=False,
                text=f"{plain(free.free)} of {plain(free.total)} {free.currency} are free",
                mend="" if free.free > 0 else "move collateral to the futures wallet",
            ),
        ]
        if not mode["canTrade"]:
            found.append(Finding(fatal=True, text="the account may not trade", mend=_fapi.SUPPORT))
        if mode["dualSidePosition"]:
            found.append(Finding(fatal=True, text="the account is in hedge mode", mend=_fapi.ONE_WAY))
        return found

    def _rights(self) -> Sequence[Finding]:
        """What the key may do, as the spot host tells it; where none does, a person must look."""
        if self._wallet is None:
            return (_fapi.untold("the futures API does not tell"),)
        try:
            self._wallet.time()
            request = self._dialect.ask(_fapi.RIGHTS, 1)
            body = self._wallet.read(request)
            return understood(NAME, request, lambda: tuple(_fapi.rights(body)))
        except VenueError as error:
            return (_fapi.untold(f"the spot host did not tell ({error})"),)

    # Between the verbs and the wire

    def _param(self, symbol: str) -> tuple[str, str]:
        return ("symbol", self._last(symbol).name)

    def _together(self, *calls: Callable[[], Any]) -> list[Any]:
        return self._host.together(*calls)

    def _get_ready(self) -> None:
        """What the requests of an entry cannot be spelt or signed without."""
        calls: list[Callable[[], Any]] = [] if self._catalogue.is_known else [self._catalogue.all]
        if not self._host.knows_time(CLOCK_FRESH if calls else None):
            calls.append(self._wire.set_clock)
        if calls:
            self._together(*calls)

    def _glances(self, symbol: str, *, urgent: bool) -> list[Callable[[], Any]]:
        """The three questions of a look: position, regular orders, conditional orders."""
        param = self._param(symbol)
        resting = partial(_fapi.resting, symbol, param[1])
        requests = [
            self._dialect.ask(path, 1, param, urgent=urgent) for path in (_fapi.OPEN_ORDERS, _fapi.OPEN_ALGOS)
        ]
        reads = [partial(self._read, request, resting) for request in requests]
        return [partial(self._position, symbol, urgent=urgent), *reads]

    def _position(self, symbol: str, *, urgent: bool) -> Position:
        param = self._param(symbol)
        request = self._dialect.ask(_fapi.POSITIONS, 5, param, urgent=urgent)
        return self._held(request, symbol, param[1], self._wire.read(request))

    def _held(self, request: Request, symbol: str, name: str, body: Any) -> Position:
        return understood(NAME, request, lambda: _fapi.position(NAME, symbol, name, body))

    def _account(self) -> Mapping[str, Any]:
        return self._read(self._dialect.ask(_fapi.ACCOUNT, 5), _fapi.row)

    def _backing(self, account: Mapping[str, Any], mode: Mapping[str, bool], quote: str) -> Balance:
        request = self._dialect.ask(_fapi.ACCOUNT, 5)
        return understood(NAME, request, lambda: _fapi.backing(account, mode, quote))

    def _regular(self, symbol: str, which: tuple[str, str]) -> OrderReport:
        request = self._dialect.ask(_fapi.ORDER, 1, self._param(symbol), which, urgent=True)
        return self._read(request, partial(_fapi.report, symbol))

    def _trades(self, symbol: str, *which: tuple[str, int]) -> dict[int, Fill]:
        params = (self._param(symbol), *which, ("limit", _PAGE))
        request = self._dialect.ask(_fapi.TRADES, 5, *params)
        return self._read(
            request, lambda body: {row["id"]: _fapi.fill(symbol, row) for row in _fapi.rows(body)}
        )

    def _set_leverage(self, symbol: str, leverage: Decimal) -> None:
        """Whole numbers alone are taken: up, for the cap on the notional is kept by the size."""
        wanted = max(1, int(leverage.to_integral_value(ROUND_CEILING)))
        if self._leverages.get(symbol) != wanted:
            params = (self._param(symbol), ("leverage", wanted))
            self._wire.write(self._dialect.tell(f"POST {_fapi.LEVERAGE}", *params, urgent=False))
            self._leverages[symbol] = wanted

    def _end(self, symbol: str, path: str, *which: tuple[str, str]) -> None:
        # One conditional order is named by its id alone.
        params = which if path == _fapi.ALGO else (self._param(symbol), *which)
        try:
            self._wire.write(self._dialect.tell(f"DELETE {path}", *params, urgent=True))
        except OrderNotFound:
            return  # gone already

    def _read(self, request: Request, parse: Callable[[Any], T]) -> T:
        body = self._wire.read(request)
        return understood(NAME, request, lambda: parse(body))
