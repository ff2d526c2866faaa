"""Looks at every account for the dashboard while somebody watches it: equity, free collateral, prices.

Works beside the lanes, in a thread of its own. Never trades, and nothing that trades reads what it writes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta

from desk.venues import Venues
from store import Store, views, watch
from store.watch import Seen
from trading.errors import Denied, Rejected, StoreUnavailable, VenueError
from trading.model import Balance, Lane

log = logging.getLogger(__name__)

#: How often an account is looked at, and how long after the last look at the page that goes on.
EVERY = timedelta(seconds=5)
WATCHED_FOR = timedelta(seconds=45)
#: The same for an account that has never traded.
IDLE = timedelta(seconds=60)
#: What such an account's balance is asked for: keys may be for one product, and a venue may lack a quote.
_USUAL = ("BTC-USDT-PERP", "BTC-USD-PERP", "BTC-USDT")


class Teller:
    """What a runner has at hand for the dashboard. `look` returns at once."""

    def __init__(
        self,
        store: Store,
        venues: Venues,
        clock: Callable[[], datetime],
        homes: Collection[tuple[str, str]],
    ) -> None:
        self._store = store
        self._venues = venues
        self._clock = clock
        self._homes = homes
        self._busy = threading.Lock()
        self._next: datetime | None = None

    def look(self) -> None:
        """Starts to look at all accounts, if somebody watches and it is time. Raises StoreUnavailable."""
        now = self._clock()
        if self._busy.locked() or (self._next is not None and now < self._next):
            return
        with self._store.read() as tx:
            watched = watch.last_watched(tx)
        if watched is not None and now - watched < WATCHED_FOR:
            self._next = now + EVERY
            threading.Thread(target=self.tell, name="teller", daemon=True).start()

    def tell(self) -> None:
        """Looks at every account that has had a lane, and now and then at those that may have one.

        Another call that is at it makes this one return.
        """
        if not self._busy.acquire(blocking=False):
            return
        try:
            with self._store.read() as tx:
                rows, known = views.position_list(tx), watch.accounts(tx)
            places: dict[tuple[str, str], list[views.Row]] = {}
            for row in rows:
                places.setdefault((row["venue"], row["account"]), []).append(row)
            long_ago = self._clock() - IDLE
            for place in self._homes:
                if place not in known or known[place].at <= long_ago:
                    places.setdefault(place, [])
            for (venue, account), mine in places.items():
                seen = self._seen(venue, account, mine)
                with self._store.write() as tx:
                    watch.keep(tx, seen)
        except StoreUnavailable as error:
            log.warning("nobody is told the balances: %s", error)
        finally:
            self._busy.release()

    def _seen(self, venue: str, account: str, rows: list[views.Row]) -> Seen:
        open_now = [row["symbol"] for row in rows if row["quantity"] != 0]
        try:
            traded = open_now or [row["symbol"] for row in rows]
            balance = self._balance(venue, account, traded[:1] or _USUAL)
            # Perpetuals and spot of one account have adapters of their own.
            lanes = [Lane(venue, account, symbol) for symbol in open_now]
            prices = {lane.symbol: self._venues.exchange(lane).price(lane.symbol) for lane in lanes}
        except Denied as denied:
            return Seen(venue=venue, account=account, at=self._clock(), trouble=denied.reason)
        except VenueError as error:
            return Seen(venue=venue, account=account, at=self._clock(), trouble=error.message)
        return Seen(
            venue=venue,
            account=account,
            at=self._clock(),
            currency=balance.currency,
            total=balance.total,
            free=balance.free,
            prices=prices,
        )

    def _balance(self, venue: str, account: str, symbols: Sequence[str]) -> Balance:
        """By the first symbol that the venue takes; else what it said of the first."""
        first, *others = symbols
        try:
            return self._venues.exchange(Lane(venue, account, first)).balance(first)
        except Rejected:
            for symbol in others:
                try:
                    return self._venues.exchange(Lane(venue, account, symbol)).balance(symbol)
                except (Rejected, Denied) as error:
                    log.debug("%s %s: no balance by %s: %s", venue, account, symbol, error)
            raise
