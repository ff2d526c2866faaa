"""What a venue trades, read once and kept for a while: house symbols to its own spelling and rules.

The mapping follows from the venue's own list. It must never guess a symbol that the list does not hold, nor
keep a position waiting for a new list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from threading import Lock, Thread

from trading.errors import InvalidOrder, VenueError
from trading.model import Instrument, InstrumentKind
from trading.symbols import split

#: Ticks and lots change rarely; new coins are looked for when one is asked for.
FRESH = timedelta(hours=6)
#: A symbol that the list does not hold asks for a new list no more often than this.
AGAIN = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One row of a venue's list: its own name for the instrument beside the house's."""

    name: str
    instrument: Instrument
    max_leverage: Decimal | None = None


class Catalogue:
    """The instruments of one host, shared by its accounts."""

    def __init__(
        self, venue: str, load: Callable[[], Iterable[Listing]], clock: Callable[[], datetime]
    ) -> None:
        self._venue = venue
        self._load = load
        self._clock = clock
        self._by_symbol: dict[tuple[str, InstrumentKind], list[Listing]] = {}
        self._by_name: dict[str, Listing] = {}
        self._loaded_at: datetime | None = None
        self._tried_at: datetime | None = None
        self._lock = Lock()

    def listing(self, symbol: str, *, wait: bool = True) -> Listing:
        """The row of a house symbol, its instrument spelt as asked. InvalidOrder if the venue has none.

        Without `wait` the list that was read last is good enough: one that has grown old is read anew beside.
        """
        base, quote, kind = split(symbol)
        key = (base + quote, kind)
        if wait or not self.is_known:
            self._refresh(FRESH)
        elif self._is_due(FRESH):
            Thread(target=self._refresh, args=(FRESH,), name="instruments", daemon=True).start()
        if key not in self._by_symbol:
            self._refresh(AGAIN)
        alike = self._by_symbol.get(key, [])
        exact = [row for row in alike if row.instrument.symbol == symbol]
        if not exact and len(alike) != 1:
            raise InvalidOrder(self._venue, "instruments", f"{symbol} is not traded there")
        if exact:
            return exact[0]
        # Where its quote begins, a ticker does not say; where that leaves two, neither is meant.
        (found,) = alike
        return replace(found, instrument=replace(found.instrument, symbol=symbol))

    def named(self, name: str) -> Listing | None:
        """The row of the venue's own name; None for what the house does not trade."""
        self._refresh(FRESH)
        return self._by_name.get(name)

    def all(self) -> tuple[Listing, ...]:
        """Every row."""
        self._refresh(FRESH)
        return tuple(self._by_name.values())

    @property
    def is_known(self) -> bool:
        """Whether a list was read already."""
        return self._loaded_at is not None

    def _is_due(self, age: timedelta) -> bool:
        tried = self.is_known and self._within(self._tried_at, AGAIN)
        return not (tried or self._within(self._loaded_at, age))

    def _refresh(self, age: timedelta) -> None:
        with self._lock:
            if not self._is_due(age):
                return
            now = self._tried_at = self._clock()
            try:
                rows = tuple(self._load())
            except VenueError:
                if self._loaded_at is None:
                    raise
                # The old list is better than none, and than a stop that waits for a new one each time.
                return
            # Whole: who does not wait reads them meanwhile.
            by_symbol: dict[tuple[str, InstrumentKind], list[Listing]] = {}
            for row in rows:
                key = (row.instrument.base + row.instrument.quote, row.instrument.kind)
                by_symbol.setdefault(key, []).append(row)
            self._by_name = {row.name: row for row in rows}
            self._by_symbol = by_symbol
            self._loaded_at = now

    def _within(self, at: datetime | None, age: timedelta) -> bool:
        return at is not None and timedelta() <= self._clock() - at < age
