"""One account and product of the venue that speaks V5: what all its products are asked alike.

Each product's own verbs are in a class on top of this. It must never change anything at the venue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from exchanges import Credentials, _v5
from exchanges._answers import joined, length_of, milliseconds, understood
from exchanges._catalogue import Listing
from exchanges._http import Hosts, Request, Wire
from trading.errors import Ambiguous
from trading.model import Candle, Fill

T = TypeVar("T")

#: The venue's bars by their length in minutes, and its months.
_BARS = {minutes: str(minutes) for minutes in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720)}
_BARS |= {1440: "D", 7 * 1440: "W"}
_MONTHS = ("M", "1M")
_MOST_BARS = 1000
#: The longest span of a question for executions.
_SPAN = timedelta(days=7)
_PAGES = 200


class V5Account:
    """`category` is what the venue calls the product. The class on top knows `_find`."""

    category: str

    def __init__(
        self, name: str, credentials: Credentials, hosts: Hosts, url: str, window: timedelta
    ) -> None:
        self.name = name
        self._host = hosts.host(url, _v5.ADDRESS)
        self._dialect = _v5.V5Dialect(name, credentials, window)
        self._host.limiter.add(self._dialect.budgets())
        self._wire = Wire(self._host, self._dialect)
        self._catalogue = self._host.catalogue(name, self.category, self._load)
        self._listings: dict[str, Listing] = {}

    def _load(self) -> list[Listing]:
        """The instruments of this product."""
        raise NotImplementedError

    def _find(self, symbol: str, *, wait: bool = True) -> Listing:
        """By the catalogue, which is read anew when it has grown old."""
        self._listings[symbol] = self._catalogue.listing(symbol, wait=wait)
        return self._listings[symbol]

    def time(self) -> datetime:
        return self._wire.time()

    def price(self, symbol: str) -> Decimal:
        return self._price(self._name(symbol))

    def candles(self, symbol: str, interval: str, limit: int) -> Sequence[Candle]:
        """Bars that the venue does not have are made of shorter ones. The last may be unfinished."""
        length, name = length_of(interval), self._name(symbol)
        if interval in _MONTHS:
            return self._candles(name, "M", limit)
        if length is None:
            return ()
        fit = [minutes for minutes in _BARS if not length % timedelta(minutes=minutes)]
        if not fit:
            return ()
        count = limit * (length // timedelta(minutes=max(fit)))
        return joined(self._candles(name, _BARS[max(fit)], count), length)[-limit:]

    def fills(self, symbol: str, *, since: datetime) -> Sequence[Fill]:
        listing = self._known(symbol)
        found: dict[str, Fill] = {}
        start, now = since, self._host.now()
        while start <= now:
            said: dict[str, Any] = {"symbol": listing.name, "startTime": milliseconds(start)}
            if start + _SPAN < now:
                said["endTime"] = milliseconds(start + _SPAN)
            ask = self._get(_v5.FILLS, **said, limit=100)
            fills = self._all(ask, lambda row: self._fill_of(symbol, listing, row), full=False)
            found |= {fill.trade_id: fill for fill in reversed(fills) if fill is not None}
            start += _SPAN
        return tuple(sorted(found.values(), key=lambda fill: fill.at))

    # What the verbs are made of.

    def _fill_of(self, symbol: str, listing: Listing, row: Mapping[str, Any]) -> Fill | None:
        """A row of executions."""
        return _v5.fill(symbol, listing.instrument.quote, row)

    def _understood(self, request: Request, read: Callable[[], T]) -> T:
        return understood(self.name, request, read)

    def _get(self, path: str, *, urgent: bool = False, **params: Any) -> Request:
        said = {} if path in (_v5.WALLET, _v5.ACCOUNT, _v5.KEY) else {"category": self.category}
        costs = self._dialect.costs(path)
        return Request(
            method="GET", path=path, params=tuple((said | params).items()), costs=costs, urgent=urgent
        )

    def _post(self, path: str, *, urgent: bool = True, **params: Any) -> Request:
        said, costs = {"category": self.category} | params, self._dialect.costs(path)
        return Request(method="POST", path=path, params=tuple(said.items()), costs=costs, urgent=urgent)

    def _read(self, request: Request, parse: Callable[[Any], T]) -> T:
        body = self._wire.read(request)
        return understood(self.name, request, lambda: parse(body["result"]))

    def _rows(self, request: Request, parse: Callable[[Any], T]) -> list[T]:
        """The rows of one page."""
        return self._read(request, lambda result: [parse(row) for row in result["list"]])

    def _pages(self, request: Request, parse: Callable[[Any], T], *, full: bool) -> Iterator[list[T]]:
        """All pages; with `full` a page that is not full is the last, whatever cursor it shows."""
        most, ask = dict(request.params)["limit"], request
        for _ in range(_PAGES):
            rows, cursor = self._read(
                ask, lambda r: ([parse(row) for row in r["list"]], r.get("nextPageCursor") or "")
            )
            yield rows
            if not rows or not cursor or (full and len(rows) < most):
                return
            ask = replace(request, params=(*request.params, ("cursor", cursor)))
        raise Ambiguous(self.name, request.endpoint, "pages without an end")

    def _all(self, request: Request, parse: Callable[[Any], T], *, full: bool) -> list[T]:
        return [row for page in self._pages(request, parse, full=full) for row in page]

    def _open(self, symbol: str) -> list[_v5.Seen]:
        ask = self._get(_v5.OPEN, urgent=True, symbol=self._name(symbol), limit=50)
        return self._all(ask, lambda row: _v5.seen(symbol, row), full=True)

    def _by_id(self, path: str, symbol: str, **by: Any) -> list[_v5.Seen]:
        ask = self._get(path, urgent=True, symbol=self._name(symbol), **by)
        return self._rows(ask, lambda row: _v5.seen(symbol, row))

    def _known(self, symbol: str) -> Listing:
        """As last read: an order that is signed already must not wait for a list."""
        return self._listings.get(symbol) or self._find(symbol)

    def _name(self, symbol: str) -> str:
        return self._known(symbol).name

    def _price(self, name: str) -> Decimal:
        ask = replace(self._get(_v5.TICKER, symbol=name), signed=False)
        return self._read(ask, lambda result: _v5.positive(result["list"][0]["lastPrice"]))

    def _candles(self, name: str, interval: str, limit: int) -> list[Candle]:
        ask = self._get(_v5.BARS, symbol=name, interval=interval, limit=min(limit, _MOST_BARS))
        return self._rows(replace(ask, signed=False), _v5.candle)[::-1]
