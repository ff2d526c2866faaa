"""Opens the venue of a lane: the paper venue unless LIVE_TRADING is on.

One adapter object per venue, account and kind of instrument, kept for the life of the process; the hosts
behind them are shared.
It must never hand out a real venue while LIVE_TRADING is off.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextvars import copy_context
from datetime import datetime, timedelta
from decimal import Decimal
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import TypeVar, cast

from desk.settings import Settings
from exchanges import Credentials, Exchange, available, connect
from exchanges._http import Hosts
from exchanges.paper import FEES, PaperExchange
from store import Store, journal, views
from store.paper import SqlPaperLedger, last_price, observe
from trading.errors import Denied, Rejected, VenueError
from trading.model import Alert, AlertKind, Candle, InstrumentKind, Lane, OrderType, Protection
from trading.symbols import split

PAPER = "PAPER"
MAIN = "MAIN"
#: The other mend, where this server may not trade a lane.
BY_HAND = ", or close by hand what is open there"
#: Bars of a chart: those that are drawn, and before them enough to give a slow average its start.
CANDLES = 400
#: Seconds that a question waits for its candles.
CANDLES_WITHIN = 4.0
#: An exchange that did not tell its candles is not asked for others so soon: questions do not wait twice.
_DEAF = timedelta(seconds=60)

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Venues:
    """The adapters of one process."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        clock: Callable[[], datetime],
        *,
        protection: Protection = Protection.ATTACHED,
        hosts: Hosts | None = None,
    ) -> None:
        self._hosts = hosts or Hosts(clock)
        self._store = store
        self._settings = settings
        self._clock = clock
        self._protection = protection
        self._ledger = SqlPaperLedger(store)
        self._open: dict[tuple[str, str, InstrumentKind], Exchange] = {}
        self._markets: dict[tuple[str, str, InstrumentKind], Exchange] = {}
        self._deaf: dict[str, datetime] = {}
        self._lock = Lock()

    def exchange(self, lane: Lane) -> Exchange:
        """The adapter for a lane; Denied if this server has none for it."""
        key = key_of(lane)
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

    def candles(self, lane: Lane, interval: str, *, shown: bool = False) -> tuple[Sequence[Candle], str]:
        """The last bars of a lane's instrument, or none and the reason. Asks nobody where nothing shows them:
        no bot is set up, and they are not `shown` elsewhere.

        The paper venue has none of its own: there the exchange that it stands for is asked, without keys.
        """
        if self._settings.discord_token is None and not shown:
            return (), "nothing is set up that would show them"
        now = self._clock()
        if self._deaf.get(lane.venue, now) > now:
            return (), "the exchange did not answer a moment ago"
        try:
            market = self._open_market(lane)
            bars = in_time(lambda: market.candles(lane.symbol, interval, CANDLES), CANDLES_WITHIN)
        except Denied as denied:
            return (), denied.reason
        except Rejected as error:
            return (), error.message
        except (VenueError, TimeoutError) as error:
            _log.warning("%s: no candles: %s", lane, error)
            self._deaf[lane.venue] = now + _DEAF
            return (), "the exchange does not answer"
        return bars, "" if bars else f"{lane.venue} has no candles of {interval}"

    def price(self, symbol: str, price: Decimal, at: datetime) -> None:
        """Sets the paper price of an instrument and wakes every lane that trades it; where the price stays
        as it was, those where something traded.
        """
        with self._store.write() as tx:
            now = self._clock()
            moves = last_price(tx, symbol=symbol) != price
            traded = observe(tx, symbol=symbol, price=price, at=at, now=now, fees=FEES)
            if moves:
                journal.wake(tx, symbol=symbol, now=now)
            for venue, account, _ in () if moves else traded:
                journal.look_at(tx, lane=Lane(venue, account, symbol), now=now)

    def _open_market(self, lane: Lane) -> Exchange:
        """Who can tell the candles of a lane: its exchange, without keys. Denied if nobody can."""
        name = lane.venue.rpartition(":")[2]
        if name == PAPER:
            raise Denied("the paper venue has no candles: name an exchange in the alert")
        if name not in available():
            raise Denied(f"this server has no adapter for {name}")
        account = self._settings.accounts.get(lane.account)
        real = account is not None and not lane.venue.startswith(PAPER)
        network = account.rules.network if account is not None and real else "live"
        with self._lock:
            key = (name, network, split(lane.symbol)[2])
            if key not in self._markets:
                nobody = Credentials(key="", secret="")
                urls = self._settings.api_urls
                self._markets[key] = connect(
                    name, nobody, network=network, hosts=self._hosts, urls=urls, kind=key[2]
                )
            return self._markets[key]

    def _make(self, lane: Lane) -> Exchange:
        if lane.venue.startswith(PAPER):
            return PaperExchange(
                venue=lane.venue,
                account=lane.account,
                ledger=self._ledger,
                clock=self._clock,
                starting_balance=self._settings.paper_balance,
                protection=self._protection,
            )
        if not self._settings.live_trading:
            raise Denied(
                f"{lane.venue} trades real money and LIVE_TRADING is off: set LIVE_TRADING=1{BY_HAND}"
            )
        kind = split(lane.symbol)[2]
        return live(lane.venue, lane.account, self._settings, self._hosts, self._spelling(lane), kind=kind)

    def _spelling(self, lane: Lane) -> str:
        """The account's name as alerts spell it: a venue with subaccounts knows no other."""
        with self._store.read() as tx:
            return views.subaccount(tx, lane.account) or ""


def key_of(lane: Lane) -> tuple[str, str, InstrumentKind]:
    """Lanes of one key share an adapter."""
    return lane.venue, lane.account, split(lane.symbol)[2]


def live(
    venue: str,
    account: str,
    settings: Settings,
    hosts: Hosts,
    subaccount: str,
    *,
    kind: InstrumentKind = InstrumentKind.PERPETUAL,
) -> Exchange:
    """The adapter of an account at a real venue; Denied with the mend where it cannot be opened."""
    known = settings.accounts.get(account)
    if venue not in available():
        raise Denied(f"this server has no adapter for {venue}: it knows {', '.join(sorted(available()))}")
    if known is None or known.api_key is None or known.api_secret is None:
        raise Denied(f"account {account} has no credentials: set API_KEY_{account} and API_SECRET_{account}")
    # The main account is the one without a subaccount's name.
    credentials = Credentials(
        key=known.api_key,
        secret=known.api_secret,
        subaccount="" if account == MAIN else subaccount or account,
    )
    network, urls = known.rules.network, settings.api_urls
    return connect(venue, credentials, network=network, hosts=hosts, urls=urls, kind=kind)


def in_time(ask: Callable[[], T], seconds: float) -> T:
    """What `ask` returns or raises; TimeoutError if that takes longer, and its answer is dropped then."""
    answers: SimpleQueue[tuple[T | None, Exception | None]] = SimpleQueue()

    def run() -> None:
        try:
            answers.put((ask(), None))
        except Exception as error:  # noqa: BLE001  # whatever it is, it is raised where it was asked
            answers.put((None, error))

    # In a copy of the caller's context: the alert's id stands on every line of the log.
    Thread(target=copy_context().run, args=(run,), name="in time", daemon=True).start()
    try:
        value, error = answers.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return cast("T", value)
