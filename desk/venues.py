"""Opens the venue of a lane: the paper venue unless LIVE_TRADING is on.

One adapter object per venue and account, kept for the life of the process. It must never hand out a
real venue while LIVE_TRADING is off.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from threading import Lock

from desk.settings import Settings
from exchanges import Exchange
from exchanges.paper import FEES, PaperExchange
from store import Store, journal
from store.paper import SqlPaperLedger, observe
from trading.errors import Denied
from trading.model import Alert, AlertKind, Lane, OrderType, Protection

PAPER = "PAPER"


class Venues:
    """The adapters of one process."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        clock: Callable[[], datetime],
        *,
        protection: Protection = Protection.ATTACHED,
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._protection = protection
        self._ledger = SqlPaperLedger(store)
        self._open: dict[tuple[str, str], Exchange] = {}
        self._lock = Lock()

    def exchange(self, lane: Lane) -> Exchange:
        """The adapter for a lane; Denied if this server has none for it."""
        key = (lane.venue, lane.account)
        with self._lock:
            if key not in self._open:
                self._open[key] = self._make(lane)
            return self._open[key]

    def observe(self, lane: Lane, alert: Alert, at: datetime) -> None:
        """Lets the paper venue see the price that an alert tells; real venues know their own.

        The limit price of an entry says where the order belongs, not where the market is, so that it
        counts only while nothing else is known.
        """
        if not lane.venue.startswith(PAPER) or alert.price is None:
            return
        wish = alert.kind is AlertKind.ENTRY and alert.order_type is OrderType.LIMIT
        if wish and self._ledger.price(lane.symbol) is not None:
            return
        self.price(lane.symbol, alert.price, at)

    def price(self, symbol: str, price: Decimal, at: datetime) -> None:
        """Sets the paper price of an instrument and wakes every lane that trades it."""
        with self._store.write() as tx:
            now = self._clock()
            observe(tx, symbol=symbol, price=price, at=at, now=now, fees=FEES)
            journal.wake(tx, symbol=symbol, now=now)

    def _make(self, lane: Lane) -> Exchange:
        if not lane.venue.startswith(PAPER):
            raise Denied(f"this server has no adapter for {lane.venue} yet: unset LIVE_TRADING to use paper")
        return PaperExchange(
            venue=lane.venue,
            account=lane.account,
            ledger=self._ledger,
            clock=self._clock,
            starting_balance=self._settings.paper_balance,
            protection=self._protection,
        )
