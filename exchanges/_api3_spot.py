"""One account of the venue that speaks api/v3: spot, long only.

The venue knows balances: a position here is all that the account holds of the coin, and whose it is, the desk
decides. It must never sell more than it was told to, or call an order gone because a list does not hold it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

from exchanges import Capabilities, Credentials, Finding, Look, Terms, _api3, _checks, _fapi
from exchanges._answers import above_zero, readable, understood
from exchanges._catalogue import Listing
from exchanges._http import CLOCK_FRESH, Host, Request, Wire
from trading.errors import BadCredentials, OrderNotFound, VenueError
from trading.model import Balance, Candle, Fill, Instrument, Order, OrderReport, Position, plain

T = TypeVar("T")

#: myTrades: the longest span and page of one question, and how far back is asked at all.
_SPAN, _PAGE, _ARCHIVE = timedelta(hours=24), 1000, timedelta(days=89)
_MOST_CANDLES = 1000


class Spot:
    """One account at a spot host."""

    def __init__(self, name: str, credentials: Credentials, host: Host) -> None:
        self.name = name
        self._host = host
        window = _api3.CAPABILITIES.receive_window
        self._dialect = _api3.Api3Dialect(name, credentials, window, host.now, time=_api3.TIME)
        self._wire = Wire(host, self._dialect)
        host.limiter.add(self._dialect.budgets)
        self._catalogue = host.catalogue(name, "spot", self._listings)
        self._known: dict[str, Listing] = {}

    # What need not be asked for each time

    def capabilities(self, symbol: str) -> Capabilities:
        return _api3.CAPABILITIES

    def time(self) -> datetime:
        return self._wire.time()

    def instrument(self, symbol: str) -> Instrument:
        return self._listing(symbol, wait=False).instrument

    def max_leverage(self, symbol: str) -> Decimal | None:
        return Decimal(1)

    def _listing(self, symbol: str, *, wait: bool = True) -> Listing:
        listing = self._known[symbol] = self._catalogue.listing(symbol, wait=wait)
        return listing

    def _last(self, symbol: str) -> Listing:
        """As it was read last: what guards a position does not wait for a new list."""
        return self._known.get(symbol) or self._listing(symbol)

    def _listings(self) -> tuple[Listing, ...]:
        params = (("symbolStatus", "TRADING"), ("showPermissionSets", "false"))
        request = self._dialect.ask(_api3.INSTRUMENTS, 20, *params, signed=False, bulky=True)
        return self._read(request, lambda body: tuple(readable(body["symbols"], _api3.listing)))

    # Reads

    def price(self, symbol: str) -> Decimal:
        request = self._dialect.ask(_api3.TICKER, 2, self._param(symbol), signed=False, urgent=True)
        return self._read(request, lambda body: above_zero(_fapi.amount(body["price"])))

    def candles(self, symbol: str, interval: str, limit: int) -> Sequence[Candle]:
        theirs, most = _fapi.INTERVALS.get(interval.upper()), min(limit, _MOST_CANDLES)
        if theirs is None or most < 1:
            return ()
        params = (self._param(symbol), ("interval", theirs), ("limit", most))
        request = self._dialect.ask(_api3.BARS, 2, *params, signed=False)
        return self._read(request, lambda body: tuple(_fapi.candle(row) for row in _fapi.rows(body)))

    def balance(self, symbol: str) -> Balance:
        """Equity and free money in the quote currency of the spot wallet."""
        return self._of(self._account(urgent=False), self._last(symbol).instrument.quote)

    def position(self, symbol: str) -> Position:
        return self._held(symbol, self._account(urgent=True))

    def positions(self) -> Sequence[Position]:
        """None: there are balances alone."""
        return ()

    def look(self, symbol: str, *, ours: Sequence[Order]) -> Look:
        calls: list[Callable[[], Any]] = [
            partial(self._account, urgent=True),
            partial(self._resting, symbol, urgent=True),
        ]
        account, resting = self._host.together(*calls)
        return Look(position=self._held(symbol, account), resting=resting)

    def prepare(self, symbol: str, *, ours: Sequence[Order], leverage: Decimal) -> Terms:
        """There is no leverage to set."""
        self._get_ready()
        instrument = self._listing(symbol).instrument
        calls: list[Callable[[], Any]] = [
            partial(self._account, urgent=False),
            partial(self._resting, symbol, urgent=False),
            partial(self.price, symbol),
        ]
        if not self._host.knows_time(CLOCK_FRESH):
            calls.append(self._wire.set_clock)
        account, resting, price, *_ = self._host.together(*calls)
        if account["canTrade"] is not True:
            raise BadCredentials(self.name, "prepare", f"it may not trade: {_fapi.SUPPORT}")
        return Terms(
            look=Look(position=self._held(symbol, account), resting=resting),
            instrument=instrument,
            price=price,
            balance=self._of(account, instrument.quote),
        )

    def order(self, order: Order) -> OrderReport:
        which = ("origClientOrderId", order.client_order_id)
        request = self._dialect.ask(_api3.ORDER, 4, self._param(order.symbol), which, urgent=True)
        return self._read(request, partial(_api3.report, order.symbol))

    def fills(self, symbol: str, *, since: datetime) -> Sequence[Fill]:
        found: dict[int, Fill] = {}
        for page in self._pages(symbol, since):
            found |= page
        asked = [fill for fill in found.values() if fill.at >= since]
        return tuple(sorted(asked, key=lambda fill: (fill.at, int(fill.trade_id))))

    def _pages(self, symbol: str, since: datetime) -> Iterator[dict[int, Fill]]:
        """The newest page, which mostly holds it all; else a day after the other from `since` on."""
        yield (page := self._trades(symbol))
        if len(page) < _PAGE or min(fill.at for fill in page.values()) < since:
            return
        now = self._host.now()
        start = max(since, now - _ARCHIVE)
        while start <= now:
            times = (("startTime", _fapi.to_ms(start)), ("endTime", _fapi.to_ms(start + _SPAN)))
            yield (page := self._trades(symbol, *times))
            while len(page) >= _PAGE:
                # On from the last of a full page, to the end.
                yield (page := self._trades(symbol, ("fromId", max(page) + 1)))
            start += _SPAN

    # Writes: each is sent once

    def place(self, order: Order, *, signed_at: datetime, stop: Order | None = None) -> OrderReport:
        listing, symbol = self._last(order.symbol), order.symbol
        if stop is None:
            params = tuple(_api3.spelt(order, listing))
            on, parse = f"POST {_api3.ORDER}", partial(_api3.report, symbol)
        else:
            params = tuple(_api3.paired(order, stop, listing))
            on, parse = f"POST {_api3.PAIR}", partial(_api3.one_of, symbol, order.client_order_id)
        orders = 1 if stop is None else 2
        request = self._dialect.tell(on, *params, urgent=order.reduce_only, orders=orders)
        body = self._wire.write(request, signed_at=signed_at)
        return understood(self.name, request, lambda: parse(body))

    def cancel(self, order: Order) -> OrderReport | None:
        return self._end(order.symbol, _api3.ORDER, ("origClientOrderId", order.client_order_id))

    def cancel_report(self, report: OrderReport) -> None:
        self._end(report.symbol, _api3.ORDER, ("orderId", report.venue_order_id))

    def cancel_all(self, symbol: str) -> None:
        self._end(symbol, _api3.OPEN_ORDERS)

    # For people

    def check(self) -> Sequence[Finding]:
        try:
            self._wire.set_clock()
            account = self._account(urgent=False)
            money = self._of(account, "USDT")
        except VenueError as error:
            return (_checks.trouble(error, key=_api3.KEY),)
        found = [
            _checks.clock(self._host),
            *self._rights(),
            Finding(
                fatal=False,
                text=f"{plain(money.free)} of {plain(money.total)} {money.currency} are free for spot",
                mend="" if money.free > 0 else "move money to the spot wallet",
            ),
        ]
        if account["canTrade"] is not True:
            found.append(Finding(fatal=True, text="the account may not trade", mend=_fapi.SUPPORT))
        return found

    def _rights(self) -> Sequence[Finding]:
        """What the key may do; testnet and demo have no such call, and a person must look."""
        request = self._dialect.ask(_fapi.RIGHTS, 1)
        try:
            return self._read(request, lambda key: tuple(_api3.rights(key)))
        except VenueError as error:
            mend = "look at it in API Management: reading and spot enabled, withdrawals not"
            text = f"whether the key may withdraw, the host did not tell ({error})"
            return (Finding(fatal=False, text=text, mend=mend),)

    # Between the verbs and the wire

    def _param(self, symbol: str) -> tuple[str, str]:
        return ("symbol", self._last(symbol).name)

    def _get_ready(self) -> None:
        """What the requests of an entry cannot be spelt or signed without."""
        calls: list[Callable[[], Any]] = [] if self._catalogue.is_known else [self._catalogue.all]
        if not self._host.knows_time(CLOCK_FRESH if calls else None):
            calls.append(self._wire.set_clock)
        if calls:
            self._host.together(*calls)

    def _account(self, *, urgent: bool) -> Mapping[str, Any]:
        request = self._dialect.ask(_api3.ACCOUNT, 20, ("omitZeroBalances", "true"), urgent=urgent)
        return self._read(request, _fapi.row)

    def _of(self, account: Mapping[str, Any], currency: str) -> Balance:
        request = self._dialect.ask(_api3.ACCOUNT, 20)
        return understood(self.name, request, lambda: _api3.balance(account, currency))

    def _held(self, symbol: str, account: Mapping[str, Any]) -> Position:
        return Position(symbol=symbol, quantity=self._of(account, self._last(symbol).instrument.base).total)

    def _resting(self, symbol: str, *, urgent: bool) -> tuple[OrderReport, ...]:
        param = self._param(symbol)
        request = self._dialect.ask(_api3.OPEN_ORDERS, 6, param, urgent=urgent)
        return self._read(request, partial(_api3.resting, symbol, param[1]))

    def _trades(self, symbol: str, *which: tuple[str, int]) -> dict[int, Fill]:
        params = (self._param(symbol), *which, ("limit", _PAGE))
        request = self._dialect.ask(_api3.TRADES, 20, *params)
        return self._read(
            request, lambda body: {row["id"]: _api3.fill(symbol, row) for row in _fapi.rows(body)}
        )

    def _end(self, symbol: str, path: str, *which: tuple[str, str]) -> OrderReport | None:
        """None where nothing was ended; else the order, if the answer is about one."""
        request = self._dialect.tell(f"DELETE {path}", self._param(symbol), *which, urgent=True)
        try:
            body = self._wire.write(request)
        except OrderNotFound:
            return None
        if not which:
            return None
        return understood(self.name, request, lambda: _api3.report(symbol, body))

    def _read(self, request: Request, parse: Callable[[Any], T]) -> T:
        body = self._wire.read(request)
        return understood(self.name, request, lambda: parse(body))
