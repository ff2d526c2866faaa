"""Looks after whole accounts beside the lanes, in a thread of its own: what no single lane sees.

Any number of runners may do so: the database says whose turn it is. It asks a venue nothing while the
account has nothing of ours open. It must never act on a lane without its claim.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

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
                    self._safely(venue, account)
        except StoreUnavailable as error:
            log.warning("the accounts are not looked after: %s", error)
        except Exception:
            log.exception("the accounts are not looked after: unforeseen")
        finally:
            self._busy.release()

    def _safely(self, venue: str, account: str) -> None:
        """Whatever nobody foresaw at one account: the next one's turn comes all the same."""
        try:
            self._watch(venue, account)
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("%s %s is not looked after now: unforeseen", venue, account)

    def _watch(self, venue: str, account: str) -> None:
        place = (venue, account)
        is_new = place not in self._seen
        count = partial(self._count, venue, account)
        # Held against our records only where there is a reason to ask.
        is_due = is_new or self._muster.is_due(venue, account)
        if is_due and self._in_turn("muster", venue, account, count, at_once=is_new):
            self._seen.add(place)
        known = self._settings.accounts.get(account)
        if known is not None and known.rules.limits.max_daily_loss is not None:
            self._in_turn("losses", venue, account, partial(self._losses.look, venue, account, known.rules))

    def _count(self, venue: str, account: str) -> bool:
        self._muster.look(venue, account)
        return True

    def _in_turn(
        self, what: str, venue: str, account: str, look: Callable[[], bool], *, at_once: bool = False
    ) -> bool:
        """Looks when the turn is this process's, or `at_once`; whether that was done.

        One that fails is left to the other processes: this one may be the only one that the venue does not
        hear.
        """
        until = self._clock() + EVERY
        if not at_once and not self._is_time(what, venue, account, until):
            return False
        try:
            if look():
                return True
        except (VenueError, Denied) as error:
            log.warning("%s %s is not looked after now: %s", venue, account, error)
        if not at_once:
            self._next[what, venue, account] = self._clock() + EVERY
            with self._store.write() as tx:
                sentries.give_back(tx, what=what, venue=venue, account=account, until=until)
        return False

    def _is_time(self, what: str, venue: str, account: str, until: datetime) -> bool:
        key, now = (what, venue, account), until - EVERY
        if timedelta() < self._next.get(key, now) - now <= EVERY:
            return False
        self._next[key] = until
        with self._store.write() as tx:
            return sentries.take(tx, what=what, venue=venue, account=account, now=now, every=EVERY)
