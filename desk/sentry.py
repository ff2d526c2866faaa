"""Looks after whole accounts beside the lanes, in a thread of its own: what no single lane sees.

Any number of runners may do so: the database says whose turn it is. It asks a venue nothing while the
account has nothing of ours open. It must never act on a lane without its claim.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from desk.intake import Intake
from desk.losses import Losses
from desk.muster import Muster
from desk.settings import Settings
from desk.venues import PAPER, Venues
from exchanges import available
from store import Store, sentries
from trading.errors import Denied, StoreUnavailable, VenueError

log = logging.getLogger(__name__)

#: How often an account is looked at, while there is a reason to.
EVERY = timedelta(seconds=5)


class Sentry:
    """What a runner has at hand for whole accounts. `look` returns at once."""

    def __init__(
        self, store: Store, settings: Settings, venues: Venues, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        intake = Intake(store, settings, clock, lambda: None, exchanges=available())
        self._losses = Losses(store, venues, intake, clock)
        self._muster = Muster(store, venues, clock)
        #: What this process has not looked at yet is looked at once, whatever our records say.
        self._seen: set[tuple[str, str]] = set()
        self._busy = threading.Lock()
        self._next: dict[tuple[str, str, str], datetime] = {}

    def look(self) -> None:
        """Starts to look after all accounts, unless that is going on already."""
        if not self._busy.locked():
            threading.Thread(target=self.watch, name="sentry", daemon=True).start()

    def watch(self) -> None:
        """Looks after every account whose time has come; another call that is at it makes this one return."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            with self._store.read() as tx:
                places = sentries.places(tx)
            for venue, account in places:
                # What is simulated while orders leave the machine loses nobody's money.
                if venue.startswith(PAPER) is not self._settings.live_trading:
                    self._watch(venue, account)
        except StoreUnavailable as error:
            log.warning("the accounts are not looked after: %s", error)
        except Exception:
            log.exception("the accounts are not looked after: unforeseen")
        finally:
            self._busy.release()

    def _watch(self, venue: str, account: str) -> None:
        try:
            self._count(venue, account)
            known = self._settings.accounts.get(account)
            limit = known.rules.limits.max_daily_loss if known is not None else None
            if known is not None and limit is not None and self._is_time("losses", venue, account):
                self._losses.look(venue, account, known.rules)
        except (VenueError, Denied) as error:
            log.warning("%s %s is not looked after now: %s", venue, account, error)

    def _count(self, venue: str, account: str) -> None:
        """Holds the account's positions against our records, where there is a reason to ask."""
        place = (venue, account)
        if place in self._seen and not self._muster.is_due(venue, account):
            return
        if place not in self._seen or self._is_time("muster", venue, account):
            self._muster.look(venue, account)
            self._seen.add(place)

    def _is_time(self, what: str, venue: str, account: str) -> bool:
        now, key = self._clock(), (what, venue, account)
        if now < self._next.get(key, now):
            return False
        self._next[key] = now + EVERY
        with self._store.write() as tx:
            return sentries.take(tx, what=what, venue=venue, account=account, now=now, every=EVERY)
