"""What trading has brought: trades, profit by day, strategy and instrument, and how well orders were filled.

Folds the fills of the database once and then only what is new, so that a page asks for little. Money is after
fees, in the quote currency; days are UTC days. Never writes, never asks a venue.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from threading import Lock, Thread
from typing import NamedTuple

from store import Store, Transaction, feed
from store.views import Row
from trading import pnl
from trading.errors import StoreUnavailable
from trading.model import ZERO, OrderType, Role

log = logging.getLogger(__name__)

Place = tuple[str, str, str]

#: The share of a position that may be left behind: coins are sold in lots.
_DUST = Decimal("0.002")


class Gain(NamedTuple):
    """What one fill realised, after its fee; `day` is when its UTC day began."""

    at: datetime
    day: datetime
    strategy: str
    account: str
    venue: str
    symbol: str
    net: Decimal
    fee: Decimal


class Closed(NamedTuple):
    """A trade from its entry to where it was flat, or where the next one began.

    `net` is after fees; `risk` is what its stop would have cost as it was sized, None where that is unknown;
    `day` is when the UTC day began in which it was closed.
    """

    intent_id: str
    opened_at: datetime
    closed_at: datetime
    day: datetime
    strategy: str
    account: str
    venue: str
    symbol: str
    direction: str
    net: Decimal
    fee: Decimal
    risk: Decimal | None


class Execution(NamedTuple):
    """A market order that was filled: how far from the alert's price, and how long each stage took.

    `slipped` is money lost against the alert's price (negative: won), over `notional` at that price; both are
    None where the alert told none. Stages are in seconds: alert to receipt, receipt to order, order to fill.
    """

    at: datetime
    strategy: str
    account: str
    venue: str
    symbol: str
    role: str
    slipped: Decimal | None
    notional: Decimal | None
    received: float | None
    sent: float | None
    filled: float | None


@dataclass(slots=True)
class _Open:
    """A trade that goes on in a lane."""

    intent_id: str
    opened_at: datetime
    strategy: str
    direction: str
    risk: Decimal | None
    quantity: Decimal = ZERO
    net: Decimal = ZERO
    fee: Decimal = ZERO
    last_at: datetime | None = None
    most: Decimal = ZERO

    def add(self, row: Row) -> None:
        """One more fill; a fee that was taken in the base currency is not held."""
        self.quantity += row["quantity"] if row["side"] == "BUY" else -row["quantity"]
        if row["fee_currency"] == row["symbol"].split("-")[0]:
            self.quantity -= row["fee"]
        self.most = max(self.most, abs(self.quantity))

    @property
    def is_over(self) -> bool:
        """Whether nothing is left but what is too little to sell."""
        return abs(self.quantity) <= self.most * _DUST


@dataclass(slots=True)
class _Filling:
    """A market order as far as its fills are known."""

    row: Row
    intent: Row
    strategy: str
    quantity: Decimal = ZERO
    paid: Decimal = ZERO


@dataclass(slots=True)
class Takings:
    """Everything that has been counted."""

    gains: list[Gain] = field(default_factory=list)
    trades: list[Closed] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    strategies: set[str] = field(default_factory=set)
    venues: set[str] = field(default_factory=set)


class Results:
    """The takings of one database, brought up to date when it is asked for. For any number of threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._takings = Takings()
        self._last = 0
        self._recent: set[int] = set()
        self._open: dict[Place, _Open] = {}
        self._filling: dict[str, _Filling] = {}
        self._names: dict[str, Row] = {}
        self._days: dict[datetime, datetime] = {}

    def now(self) -> Takings:
        """All that the database knows of. Do not change what it returns. Raises StoreUnavailable."""
        with self._lock:
            after = max(0, self._last - feed.OVERLAP)
            while True:
                with self._store.read() as tx:
                    page = feed.fills_after(tx, after)
                    fresh = [row for row in page if row["seq"] not in self._recent]
                    self._learn(tx, fresh)
                for row in fresh:
                    self._add(row)
                if page:
                    after = page[-1]["seq"]
                    self._last = max(self._last, after)
                    self._recent |= {row["seq"] for row in fresh}
                    floor = self._last - feed.OVERLAP
                    self._recent = {seq for seq in self._recent if seq > floor}
                if len(page) < feed.PAGE:
                    return self._finished()

    def warm(self) -> None:
        """Begins to count in a thread of its own, for whoever asks soon."""
        Thread(target=self._warm, name="results", daemon=True).start()

    def _warm(self) -> None:
        try:
            self.now()
        except StoreUnavailable as error:
            log.warning("results are counted when they are asked for: %s", error)

    def _finished(self) -> Takings:
        """The takings with the executions of the orders that are still being filled."""
        done = self._takings
        latest = [_execution(each) for each in self._filling.values()]
        return Takings(done.gains, done.trades, done.executions + latest, done.strategies, done.venues)

    def _learn(self, tx: Transaction, page: Iterable[Row]) -> None:
        if len(self._names) > feed.PAGE:
            self._names = {}
        wanted = {row["intent_id"] for row in page if row["intent_id"]} - set(self._names)
        for ids in _chunks(sorted(wanted), 500):
            self._names |= feed.intents_of(tx, ids)

    def _add(self, row: Row) -> None:
        place = (row["venue"], row["account"], row["symbol"])
        intent = self._names.get(row["intent_id"])
        current = self._open.get(place)
        begins = intent is not None and row["role"] == Role.ENTRY
        if begins and intent is not None and (current is None or current.intent_id != intent["id"]):
            self._close(place, current)
            current = self._open[place] = _Open(
                intent_id=intent["id"],
                opened_at=row["at"],
                strategy=_strategy(intent),
                direction="LONG" if row["side"] == "BUY" else "SHORT",
                risk=intent["worst_loss"],
            )
        fee = pnl.fee_in_quote(
            symbol=row["symbol"], fee=row["fee"], fee_currency=row["fee_currency"], price=row["price"]
        )
        net = row["realised_pnl"] - fee
        own = current.strategy if current else _strategy(intent) if intent else row["account"]
        self._takings.strategies.add(own)
        self._takings.venues.add(row["venue"])
        gain = Gain(
            row["at"], self._day(row["at"]), own, row["account"], row["venue"], row["symbol"], net, fee
        )
        self._takings.gains.append(gain)
        if intent is not None:
            self._fill(row, intent, own)
        if current is not None:
            current.net += net
            current.fee += fee
            current.last_at = row["at"]
            current.add(row)
            if current.is_over:
                self._close(place, self._open.pop(place))

    def _day(self, at: datetime) -> datetime:
        """One object for all of a day."""
        day = midnight(at)
        return self._days.setdefault(day, day)

    def _close(self, place: Place, trade: _Open | None) -> None:
        if trade is None:
            return
        venue, account, symbol = place
        closed_at = trade.last_at or trade.opened_at
        self._takings.trades.append(
            Closed(
                intent_id=trade.intent_id,
                opened_at=trade.opened_at,
                closed_at=closed_at,
                day=self._day(closed_at),
                strategy=trade.strategy,
                account=account,
                venue=venue,
                symbol=symbol,
                direction=trade.direction,
                net=trade.net,
                fee=trade.fee,
                risk=trade.risk,
            )
        )

    def _fill(self, row: Row, intent: Row, strategy: str) -> None:
        """Gathers the fills of a market order; what came long before is counted for good."""
        if row["type"] != OrderType.MARKET or row["role"] not in (Role.ENTRY, Role.CLOSE):
            return
        name = row["client_order_id"]
        if name not in self._filling:
            while len(self._filling) >= feed.OVERLAP:
                self._takings.executions.append(_execution(self._filling.pop(next(iter(self._filling)))))
            self._filling[name] = _Filling(row, intent, strategy)
        order = self._filling[name]
        order.quantity += row["quantity"]
        order.paid += row["quantity"] * row["price"]


def _execution(order: _Filling) -> Execution:
    row, intent = order.row, order.intent
    slipped = notional = None
    if intent["price"] is not None:
        notional = order.quantity * intent["price"]
        slipped = order.paid - notional if row["side"] == "BUY" else notional - order.paid
    first = row["role"] == Role.ENTRY or intent["kind"] != "entry"
    # Where a person was asked, the wait is theirs; after a reversal's close, the entry waited for it.
    own = first and intent["expires_at"] is None
    return Execution(
        at=row["at"],
        strategy=order.strategy,
        account=row["account"],
        venue=row["venue"],
        symbol=row["symbol"],
        role=row["role"],
        slipped=slipped,
        notional=notional,
        received=_seconds(intent["sent_at"], intent["received_at"]),
        sent=_seconds(intent["received_at"], intent["signed_at"]) if own else None,
        filled=_seconds(intent["signed_at"], row["at"]) if own else None,
    )


def _strategy(intent: Row) -> str:
    """The alert's own word, else the account and the interval."""
    told = json.loads(intent["body"])
    name = told.get("strategy")
    if isinstance(name, str) and name.strip():
        return name.strip()[:64]
    interval = told.get("interval")
    return (
        f"{intent['account']} {interval}"
        if isinstance(interval, str) and interval
        else str(intent["account"])
    )


def _seconds(one: datetime | None, other: datetime | None) -> float | None:
    return None if one is None or other is None else (other - one).total_seconds()


def _chunks(names: list[str], size: int) -> Iterable[list[str]]:
    return (names[at : at + size] for at in range(0, len(names), size))


def midnight(at: datetime) -> datetime:
    """The beginning of the day of a moment in UTC."""
    return datetime(at.year, at.month, at.day, tzinfo=UTC)
