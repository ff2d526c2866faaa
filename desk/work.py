"""What one claimed lane needs at hand, and the ways in which its work ends.

Holds references and asks whether to stop; must never act on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from desk.settings import Settings
from exchanges import Capabilities, Exchange
from store import Store
from store.journal import Claim
from trading.errors import VenueError
from trading.model import AccountRules, Alert, Candle, Lane


class Stopping(Exception):
    """The process ends: leave the lane as it is, the next one goes on."""


@dataclass(frozen=True, slots=True)
class Later:
    """Nothing more can be done before `at`."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One lane in the hands of one runner."""

    store: Store
    settings: Settings
    exchange: Exchange
    claim: Claim
    clock: Callable[[], datetime]
    stopping: Callable[[], bool]
    observe: Callable[[Lane, Alert, datetime], None]
    #: The venue of another lane; Denied if this server has none for it.
    exchange_of: Callable[[Lane], Exchange]
    candles: Callable[[Lane, str], tuple[Sequence[Candle], str]]
    #: What the venue did not do in this run, and ended it early.
    failures: list[VenueError] = field(default_factory=list)
    #: When this process last asked for fills that are missing, by lane.
    asked: dict[Lane, datetime] = field(default_factory=dict)
    #: Since when the venue has not known the entry that rested, by lane and order.
    unknown: dict[Lane, tuple[str, datetime]] = field(default_factory=dict)

    @property
    def lane(self) -> Lane:
        return self.claim.lane

    @property
    def rules(self) -> AccountRules | None:
        account = self.settings.accounts.get(self.lane.account)
        return account.rules if account else None

    @property
    def capabilities(self) -> Capabilities:
        return self.exchange.capabilities(self.lane.symbol)

    def ours(self, theirs: datetime) -> datetime:
        """A moment of the venue's clock, as our clock will show it."""
        return theirs + (self.clock() - self.exchange.time())

    def breathe(self) -> None:
        """Called between two effects: raises Stopping when the process wants to end."""
        if self.stopping():
            raise Stopping
