"""max_daily_loss, kept between the alerts too: a day that has lost that much halts trading, once.

What is open stays under its stops, or is closed where FLATTEN_NAME asks for it. It must never lift a halt,
and never halt twice on one day at one limit: a person who resumes has seen it, and the account's entries are
refused until midnight UTC.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from decimal import Decimal

from desk import daily
from desk.intake import Intake
from desk.venues import Venues
from store import Store, orders, outbox, sentries, switches, words
from trading.model import AccountRules, Lane, plain
from trading.policy import over_daily_loss

log = logging.getLogger(__name__)

BY = "max_daily_loss"
#: So long the day may be unknown before a person is told.
IN_DOUBT = timedelta(minutes=1)


class Losses:
    """Looks at the day of one account after the other."""

    def __init__(self, store: Store, venues: Venues, intake: Intake, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._venues = venues
        self._intake = intake
        self._clock = clock

    def look(self, venue: str, account: str, rules: AccountRules) -> bool:
        """Halts, and closes where that is asked for, if the day has lost too much. Asks the venue only while
        something is open: False if it did not say. Raises StoreUnavailable."""
        limit, now = rules.limits.max_daily_loss, self._clock()
        if limit is None:
            return True
        with self._store.read() as tx:
            read = daily.books(tx, venue=venue, account=account, now=now)
            was_in_doubt = sentries.is_in_doubt(tx, venue=venue, account=account)
            known = sentries.breached(tx, venue=venue, account=account, limit=limit, now=now)
        try:
            total = None if known else daily.pnl(read, self._venues.exchange)
        except daily.Unknown as unknown:
            # What is ahead of the books has answered, and is read in a moment.
            has_answered = isinstance(unknown, daily.Unread)
            level = logging.INFO if has_answered else logging.WARNING
            log.log(level, "%s %s: the day's P&L is not known: %s", venue, account, unknown)
            self._doubt(venue, account, str(unknown))
            return has_answered
        if was_in_doubt:
            with self._store.write() as tx:
                sentries.trust(tx, venue=venue, account=account)
        if total is not None:
            if not over_daily_loss(day_pnl=total, max_daily_loss=limit):
                return True
            told = f"today's P&L is {plain(total)}, the limit {plain(limit)}"
            self._halt(venue, account, limit, f"{BY} of {account}: {told} (LIMITS_{account})")
        if rules.flatten:
            # With the limit in it: what was closed at a lower one may have been entered anew since.
            name = f"{BY} {plain(limit)} {now.date().isoformat()}"
            close(self._store, self._intake, read.ledgers, by=BY, name=name)
        return True

    def _doubt(self, venue: str, account: str, reason: str) -> None:
        """A person is told, once, where the limit has had no money to look at for a while."""
        with self._store.write() as tx:
            now = self._clock()
            if sentries.doubt(tx, venue=venue, account=account, now=now, patience=IN_DOUBT):
                text = f"{venue} {account}: {BY} does not halt while today's P&L cannot be known: {reason}"
                outbox.notify(tx, kind="alarm", text=text, alert_id=None, now=now)

    def _halt(self, venue: str, account: str, limit: Decimal, reason: str) -> None:
        with self._store.write() as tx:
            now = self._clock()
            if not sentries.breach(tx, venue=venue, account=account, limit=limit, now=now):
                return
            # A halt of a person's keeps its own reason.
            if switches.halted(tx) is None:
                words.halt(tx, reason=reason, by=BY, now=now)
            outbox.notify(tx, kind="alarm", text=f"{venue} {account}: {reason}", alert_id=None, now=now)
        log.error("%s %s: halted: %s", venue, account, reason)


def close(store: Store, intake: Intake, lanes: Iterable[Lane], *, by: str, name: str) -> int:
    """An exit for each lane that holds a trade of ours, by the way that all exits go; how many there are.

    The same `name` asks for them once, however often it is called.
    """
    asked = 0
    for lane in lanes:
        with store.read() as tx:
            is_ours = orders.lane_state(tx, lane).trade is not None
            spelt = sentries.spelling(tx, lane)
        if is_ours and spelt is not None:
            body = {"message": "exit", "id": f"{name} {lane}"[:128], **spelt}
            answer = intake.submit(json.dumps(body).encode(), by=by)
            asked += answer.code < 300
            if answer.code >= 300:
                log.error("%s is not closed: %s", lane, answer.body.get("message"))
    return asked
