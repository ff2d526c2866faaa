"""Alerts and prices in the order of their times, through the whole desk or through its thinking alone.

Keeps the clock and tells the engine what happens; it must never decide what an alert does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from heapq import merge
from typing import Protocol

from desk.tape import Heard
from trading.model import Alert, Fill, IntentStatus, Lane, Sizing

#: What becomes of alerts that wait for a person: as it was recorded, or the same for all.
VOTES = ("recorded", "approve", "decline", "none")
#: Statuses beside those of an intent: the door turned it away, or had it before.
REFUSED, DUPLICATE = "REFUSED", "DUPLICATE"

_UNANSWERED = (IntentStatus.EXPIRED, IntentStatus.AWAITING_APPROVAL)


@dataclass(slots=True)
class Row:
    """One alert and what became of it; `line` is its place in the file."""

    heard: Heard
    status: str = ""
    reason: str = ""
    alert: Alert | None = None
    sizing: Sizing | None = None

    @property
    def line(self) -> int:
        return self.heard.line


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run came to: a row per alert, the fills of every lane from the oldest on, the last prices.

    `lines` gives the line of the alert that an intent's id stands for.
    """

    rows: Sequence[Row]
    fills: Mapping[Lane, Sequence[Fill]]
    lines: Mapping[str, int]
    prices: Mapping[str, Decimal]


class Engine(Protocol):
    """What carries alerts out."""

    def hear(self, heard: Heard) -> str:
        """Takes one alert as far as it goes; the symbol that it is about, if it was taken."""

    def price(self, symbol: str, price: Decimal, at: datetime) -> None:
        """The market's price; what it meets trades."""

    def levels(self, symbol: str) -> Iterable[Decimal]:
        """Where orders of an instrument rest."""

    def finish(self) -> Result: ...


class Clock:
    """The replay's time; it never goes back."""

    def __init__(self) -> None:
        self._at = datetime.fromtimestamp(0, UTC)

    def __call__(self) -> datetime:
        return self._at

    def reach(self, at: datetime) -> None:
        self._at = max(self._at, at)


@dataclass(slots=True)
class _Watched:
    """One instrument with candles: the price before the next, whether the engine has heard it, and the
    levels at which orders rest."""

    before: Decimal | None = None
    untold: tuple[datetime, Decimal] | None = None
    levels: list[Decimal] = field(default_factory=list)

    def touched(self, price: Decimal) -> bool:
        """Whether a level lies on the way to `price`; without a price before it, none does."""
        if self.before is None:
            return False
        low, high = min(self.before, price), max(self.before, price)
        return any(low <= level <= high for level in self.levels)


def play(
    engine: Engine,
    clock: Clock,
    tape: Sequence[Heard],
    prices: Mapping[str, Iterable[tuple[datetime, Decimal]]],
    progress: Callable[[int], None],
) -> Result:
    """The whole tape, and the prices around it, of each instrument in the order of their times. `progress`
    is told how many alerts are done."""
    watched = {symbol: _Watched() for symbol in prices}
    market = merge(*(_priced(symbol, prices[symbol]) for symbol in prices), key=lambda each: each[0])
    upcoming = next(market, None)
    for count, heard in enumerate(tape, start=1):
        while upcoming is not None and upcoming[0] < heard.at:
            _price(engine, clock, watched[upcoming[1]], *upcoming)
            upcoming = next(market, None)
        _catch_up(engine, clock, watched)
        clock.reach(heard.at)
        symbol = engine.hear(heard)
        if symbol in watched:
            # An alert tells a price of its own; until the next candle its own orders are what is near.
            watched[symbol].levels = list(engine.levels(symbol))
        progress(count)
    while upcoming is not None:
        _price(engine, clock, watched[upcoming[1]], *upcoming)
        upcoming = next(market, None)
    _catch_up(engine, clock, watched)
    return engine.finish()


def word(votes: str, recorded: str | None) -> bool | None:
    """A person's yes or no to an alert that became `recorded` before; None for silence."""
    if votes != "recorded":
        return {"approve": True, "decline": False}.get(votes)
    if recorded in _UNANSWERED:
        return None
    return recorded != IntentStatus.DECLINED


def _priced(
    symbol: str, prices: Iterable[tuple[datetime, Decimal]]
) -> Iterator[tuple[datetime, str, Decimal]]:
    return ((at, symbol, price) for at, price in prices)


def _price(
    engine: Engine, clock: Clock, watched: _Watched, at: datetime, symbol: str, price: Decimal
) -> None:
    """One that meets no resting order changes nothing, so that the engine hears of it only before the next
    thing that happens."""
    touched = watched.touched(price)
    watched.before, watched.untold = price, (at, price)
    if touched:
        clock.reach(at)
        _tell(engine, symbol, watched)
        watched.levels = list(engine.levels(symbol))


def _catch_up(engine: Engine, clock: Clock, watched: Mapping[str, _Watched]) -> None:
    for symbol, each in watched.items():
        if each.untold is not None:
            clock.reach(each.untold[0])
            _tell(engine, symbol, each)


def _tell(engine: Engine, symbol: str, watched: _Watched) -> None:
    if watched.untold is not None:
        at, price = watched.untold
        watched.untold = None
        engine.price(symbol, price, at)
