"""The emulated exchange without HTTP and without a dialect: listings, prices, accounts, time.

Prices move when the test says so. It must never read a wall clock or draw a random number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal, localcontext
from threading import RLock

from tests.emulator.account import Account
from tests.emulator.nouns import Fill, Kind, Listing, Reason, Record, Refusal, Rules, State, Unique
from trading.model import ZERO, Candle, OrderType, Side
from trading.rounding import MONEY

__all__ = [
    "Account",
    "Engine",
    "Fill",
    "Kind",
    "Listing",
    "Reason",
    "Record",
    "Refusal",
    "Rules",
    "State",
    "Unique",
]

_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)


class Engine:
    """One exchange. `lock` is held around every act; the server holds it around each request.

    `skew` is how far the venue's clock is ahead of `clock`; `now()` is the venue's time. `liquidity[symbol]`
    is how much can trade in one act (absent or None: without limit).
    """

    def __init__(self, clock: Callable[[], datetime], rules: Rules | None = None) -> None:
        self.clock = clock
        self.rules = rules or Rules()
        self.lock = RLock()
        self.skew = timedelta()
        self.liquidity: dict[str, Decimal | None] = {}
        self.accounts: list[Account] = []
        self._listings: dict[str, Listing] = {}
        self._prices: dict[str, Decimal] = {}
        self._path: dict[str, list[tuple[datetime, Decimal]]] = {}
        self._parts: int | None = None
        self._last_id = 1_000_000
        self._last_fill_id = 5_000_000

    def now(self) -> datetime:
        return self.clock() + self.skew

    # -- what is traded --------------------------------------------------------------------------------

    def list(self, listing: Listing, price: Decimal | None = None) -> Listing:
        """Lists it, at a first price if one is given."""
        with self.lock:
            self._listings[listing.symbol] = listing
            if price is not None:
                self.move(listing.symbol, price)
            return listing

    def listings(self) -> tuple[Listing, ...]:
        return tuple(self._listings.values())

    def listing(self, symbol: str) -> Listing:
        """By the house's spelling; Refusal UNKNOWN_SYMBOL."""
        if symbol not in self._listings:
            raise Refusal(Kind.UNKNOWN_SYMBOL, f"no {symbol} here")
        return self._listings[symbol]

    def by_venue_symbol(self, venue_symbol: str) -> Listing:
        """By the venue's spelling; Refusal UNKNOWN_SYMBOL."""
        for listing in self._listings.values():
            if listing.venue_symbol == venue_symbol:
                return listing
        raise Refusal(Kind.UNKNOWN_SYMBOL, f"no {venue_symbol} here")

    # -- prices ----------------------------------------------------------------------------------------

    def price(self, symbol: str) -> Decimal:
        """The last price; Refusal NO_PRICE."""
        self.listing(symbol)
        if symbol not in self._prices:
            raise Refusal(Kind.NO_PRICE, f"{symbol} has no price")
        return self._prices[symbol]

    def move(self, symbol: str, *path: Decimal) -> None:
        """The price goes through `path`, and meets every account's orders on its way."""
        with self.lock:
            self.listing(symbol)
            for price in path:
                self._prices[symbol] = price
                self._path.setdefault(symbol, []).append((self.now(), price))
                for account in self.accounts:
                    account.move(symbol, price)

    def candles(self, symbol: str, step: timedelta, start: datetime, end: datetime) -> Sequence[Candle]:
        """The bars that open in [start, end] and have begun, oldest first; weeks start on Monday."""
        self.price(symbol)
        path, bars = self._path[symbol], []
        at = _MONDAY + (start - _MONDAY) // step * step
        at += step if at < start else timedelta()
        while at <= min(end, self.now()):
            before = [price for moved_at, price in path if moved_at < at]
            within = [price for moved_at, price in path if at <= moved_at < at + step]
            prices = before[-1:] + within
            if prices:
                low, high = min(prices), max(prices)
                bars.append(
                    Candle(opened_at=at, open=prices[0], high=high, low=low, close=prices[-1], volume=ZERO)
                )
            at += step
        return bars

    # -- accounts --------------------------------------------------------------------------------------

    def open(self, account: Account) -> Account:
        with self.lock:
            account.engine = self
            self.accounts.append(account)
            return account

    def account(self, key: str, subaccount: str = "") -> Account | None:
        return next(
            (one for one in self.accounts if (one.key, one.subaccount) == (key, subaccount)),
            None,
        )

    def hand(
        self, account: Account, symbol: str, side: Side, quantity: Decimal, *, reduce_only: bool = False
    ) -> Record:
        """A person trades at the market, without a client id."""
        return account.submit(symbol, side, OrderType.MARKET, quantity, reduce_only=reduce_only)

    @contextmanager
    def thin(self, parts: int = 3) -> Iterator[None]:
        """An order that is submitted within finds liquidity for one of `parts` of its quantity only."""
        with self.lock:
            self._parts = parts
            try:
                yield
            finally:
                self._parts = None

    # -- for the accounts ------------------------------------------------------------------------------

    def liquidity_of(self, record: Record) -> Decimal | None:
        """What a new order may trade at once; of a thin market at least one lot."""
        most = self.liquidity.get(record.symbol)
        if self._parts is None:
            return most
        lot = self.listing(record.symbol).instrument.lot_size
        with localcontext(MONEY):
            lots = (record.quantity / self._parts / lot).to_integral_value(rounding=ROUND_FLOOR)
            part = max(lots, Decimal(1)) * lot
        return part if most is None else min(part, most)

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def next_fill_id(self) -> int:
        self._last_fill_id += 1
        return self._last_fill_id
