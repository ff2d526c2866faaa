"""Does what is due: claims lanes, carries their intents out, guards their positions.

Any number of runners may work on one database: a claim gives a lane to one of them at a time, and the
lease of a dead one ends. It must never act on a lane without its claim.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from desk import logs
from desk.board import homes
from desk.footing import prepare
from desk.lane import ALIEN, backoff, run_lane
from desk.owner import is_dead, me
from desk.painter import Painter
from desk.sentry import Sentry
from desk.settings import Settings, from_environment
from desk.stages import mark
from desk.teller import Teller
from desk.venues import BY_HAND, Venues
from desk.work import Stopping, Work
from store import Store, chain, journal, open_store, orders, outbox, sentries, switches
from store.journal import Claim
from trading.errors import Denied, LostClaim, SettingsError, StoreUnavailable, Throttled, VenueError
from trading.lifecycle import IntentEvent
from trading.model import InstrumentKind, Lane
from trading.symbols import split

log = logging.getLogger("desk.runner")  # also where this is __main__

#: Below NAKED_LIMIT: what a runner held that died on another host is free while its stop may still wait.
LEASE = timedelta(seconds=4)
RENEW_EVERY = 1.0
TICK = 0.25
BEAT_EVERY = 5.0
SWEEP_EVERY = 30.0
DRAW_EVERY = 1.0
GUARD_EVERY = 2.5
ANCHOR_EVERY = 300.0
LATELY = timedelta(days=1)
#: So many lanes in one transaction are told to be looked at when a runner starts, and one each PACE.
MUSTERED = 50
PACE = timedelta(milliseconds=50)
THREADS = 8
#: More, for lanes of other venues than those that keep all of these busy: one that does not answer keeps each
#: for seconds. With so many lanes in hand, a venue is one of those.
SPARE, MANY = 8, 2
#: After a failure that ended a run early.
_BACKOFF = timedelta(seconds=5)
#: After one of the database's: the lane's position may have no stop yet.
_SOON = timedelta(seconds=1)
#: How long a lane that failed here is left to the other runners once it is due: the one that gave it back
#: would be the first to see it due, each time, though it may be the only one that cannot reach the venue.
_COURTESY = timedelta(seconds=2 * TICK)
#: A venue that shuts the door on this address for longer than this wants a person's eye.
_LONG_BAN = timedelta(seconds=30)
#: Seconds that the ears get to notice that they shall stop.
_HEARING_ENDS = 1.0


class Runner:
    """One runner: `step` does the next due thing, `run` goes on until it is told to stop."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        clock: Callable[[], datetime],
        *,
        venues: Venues | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._venues = venues or Venues(store, settings, clock)
        self._painter = Painter(store, self._venues, clock, live=settings.live_trading)
        self._teller = Teller(store, self._venues, clock, homes(settings))
        self._sentry = Sentry(store, settings, self._venues, clock)
        self._owner = me()
        self._held: dict[Lane, Claim] = {}
        self._seen: set[Lane] = set()
        self._yielding: dict[Lane, tuple[datetime, datetime]] = {}
        self._shut: dict[str, datetime] = {}
        self._asked: dict[Lane, datetime] = {}
        self._unknown: dict[Lane, tuple[str, datetime]] = {}
        self._untended: set[Lane] = set()
        self._among_others = False
        self._lock = threading.Lock()
        self._spare = threading.Semaphore(SPARE)
        self._beside_at = 0.0
        self._stop = threading.Event()
        self._latest = clock()
        self._alive = True

    def step(self) -> bool:
        """Claims the lane that is due longest and does what can be done there; False if none is due."""
        claim = self._claim_next()
        if claim is None:
            return False
        self._work_on(claim)
        return True

    def run(self, stop: threading.Event, wake: threading.Event, *, grace: float = 8.0) -> None:
        """Works until `stop` is set; then lets what is in flight end, `grace` seconds at most.

        `wake` says that something has just been stored; where neither it nor the database says so, the
        database is asked every TICK.
        """
        self._stop = stop
        self.muster()
        self._among_others = True
        pool = ThreadPoolExecutor(max_workers=THREADS + SPARE, thread_name_prefix="lane")
        room = threading.Semaphore(THREADS)
        chores = _Chores(self)
        ears = threading.Thread(target=self._store.listen, args=(wake.set, stop), name="ears", daemon=True)
        ears.start()
        while not stop.is_set():
            wake.clear()
            try:
                chores.do()
                busy = self._hand_out(pool, room, wake)
            except StoreUnavailable as error:
                log.error("the database is not available: %s", error)
                busy = False
            except Exception:
                log.exception("the runner stumbled")
                busy = False
            if not busy:
                wake.wait(TICK)
        pool.shutdown(wait=False)
        self._drain(grace)
        ears.join(_HEARING_ENDS)

    def beat(self) -> None:
        """Says in the database that this runner is alive: that it has asked for work since the last time."""
        if self._alive:
            with self._store.write() as tx:
                switches.beat(tx, "runner", self._clock())
            self._alive = False

    def renew(self) -> None:
        """Prolongs what is in hand."""
        with self._lock:
            claims = list(self._held.values())
        if not claims:
            return
        with self._store.write() as tx:
            locked = journal.renew(tx, claims=claims, now=self._clock(), lease=LEASE, wait=False)
        # Each by itself: who waits for one lane must not keep others from theirs.
        for claim in locked:
            with self._store.write() as tx:
                journal.renew(tx, claims=[claim], now=self._clock(), lease=LEASE)

    def free_dead(self) -> None:
        """Frees lanes whose runner, on this machine, is no more: nobody has to wait for their leases."""
        with self._store.read() as tx:
            dead = [owner for owner in journal.owners(tx) if is_dead(owner)]
        if dead:
            with self._store.write() as tx:
                count = journal.release_owners(tx, owners=dead)
            if count:
                log.warning("took over %d lanes of a runner that died", count)

    def sweep(self) -> None:
        """Finds lanes that hold undone intents and that nobody would look at."""
        with self._store.write() as tx:
            journal.wake_forgotten(tx, now=self._clock())

    def keep_time(self) -> None:
        """Where the clock was set back, what waits for a time by the old one is looked at now."""
        now, before = self._clock(), self._latest
        if before - now > timedelta(seconds=RENEW_EVERY):
            log.warning("the clock was set back by %s: every lane is looked at", before - now)
            self._yielding.clear()
            with self._store.write() as tx:
                journal.hurry(tx, now=now)
        self._latest = now

    def draw(self) -> None:
        """Fetches what people look at, charts and balances, in threads of their own: lanes do not wait."""
        self._painter.look()
        self._teller.look()

    def muster(self) -> None:
        """What has traded lately is looked at once more, also where our records say that it is over: one
        after the other, and noted few at a time, so that no alert waits for all of them.
        """
        now = self._clock()
        try:
            with self._store.read() as tx:
                lanes = sentries.traded_since(tx, now - LATELY)
            for first in range(0, len(lanes), MUSTERED):
                with self._store.write() as tx:
                    for number, lane in enumerate(lanes[first : first + MUSTERED], first):
                        journal.look_at(tx, lane=lane, now=now + number * PACE)
        except StoreUnavailable as error:
            log.error("nothing is looked at before it is due: %s", error)

    def look_after(self) -> None:
        """Looks after whole accounts, in a thread of its own."""
        self._sentry.look()

    def anchor(self) -> None:
        """Ties the chains of the journal together; the log keeps a copy of the knot outside the database."""
        with self._store.read() as tx:
            if not chain.has_grown(tx):
                return
        with self._store.write() as tx:
            made = chain.anchor(tx)
        if made is not None:
            log.info("journal: anchor %d %s", *made)

    def _hand_out(self, pool: ThreadPoolExecutor, room: threading.Semaphore, wake: threading.Event) -> bool:
        busy: list[tuple[str, InstrumentKind]] = []
        if not room.acquire(blocking=False):
            busy = self._busy()
            if busy and time.monotonic() >= self._beside_at and self._spare.acquire(blocking=False):
                room = self._spare
            elif room.acquire(timeout=TICK):
                busy = []
            else:
                # Every thread is at work: that is life too, as long as there is something in hand.
                self._alive = bool(self._held)
                return True
        claim = None
        try:
            claim = self._claim_next(busy)
            self._alive = True
            if claim is None:
                self._beside_at = time.monotonic() + TICK
                return bool(busy)
            pool.submit(self._hand, claim, room, wake)
        except BaseException:
            if claim is not None:
                self._forget(claim)
            claim = None
            raise
        finally:
            if claim is None:
                room.release()
        return True

    def _hand(self, claim: Claim, room: threading.Semaphore, wake: threading.Event) -> None:
        try:
            self._work_on(claim)
        finally:
            room.release()
            wake.set()

    def _drain(self, grace: float) -> None:
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline:
            with self._lock:
                if not self._held:
                    return
            time.sleep(0.02)
        log.warning("stopped with lanes in hand; they go on with the next runner")

    def _busy(self) -> list[tuple[str, InstrumentKind]]:
        """The venues, each with a kind of instrument, that have MANY lanes in hand."""
        with self._lock:
            held = Counter((lane.venue, split(lane.symbol)[2]) for lane in self._held)
        return [each for each, count in held.items() if count >= MANY]

    def _claim_next(self, but: Sequence[tuple[str, InstrumentKind]] = ()) -> Claim | None:
        now, most = self._clock(), THREADS + len(self._yielding)
        with self._store.read() as tx:
            lanes = journal.due_lanes(tx, now=now, limit=most, but=but)
        for lane in lanes:
            if self._yields(lane, now):
                continue
            with self._store.write() as tx:
                claim = journal.claim(tx, lane=lane, owner=self._owner, now=now, lease=LEASE)
            if claim is not None:
                with self._lock:
                    self._held[lane] = claim
                    self._yielding.pop(lane, None)
                mark("claimed")
                return claim
        return None

    def _yields(self, lane: Lane, now: datetime) -> bool:
        """Whether a due lane is left to the others: for a moment from when it was to be due, or was woken."""
        due_at, until = self._yielding.get(lane, (now, now))
        if now < due_at:
            until = now + _COURTESY
            self._yielding[lane] = (now, until)
        return now < until

    def _work_on(self, claim: Claim) -> None:
        """One run of one lane; whatever happens, the lane is given back or its lease ends."""
        try:
            self._run(claim)
        finally:
            # What stays in hand would be renewed for ever.
            self._forget(claim)

    def _run(self, claim: Claim) -> None:
        due_at: datetime | None = self._clock() + _BACKOFF
        failures: list[VenueError] = []
        try:
            work = Work(
                store=self._store,
                settings=self._settings,
                exchange=self._venues.exchange(claim.lane),
                claim=claim,
                clock=self._clock,
                stopping=self._stop.is_set,
                observe=self._venues.observe,
                exchange_of=self._venues.exchange,
                candles=self._venues.candles,
                failures=failures,
                asked=self._asked,
                unknown=self._unknown,
            )
            due_at = run_lane(work, first=self._is_first(claim.lane))
            if not failures:
                # What could not be looked at is still new to this process.
                self._seen.add(claim.lane)
        except Stopping:
            due_at = self._clock()
        except Denied as denied:
            due_at = self._deny_all(claim, denied.reason)
        except LostClaim as lost:
            log.warning("%s", lost)
            return
        except StoreUnavailable as error:
            log.error("%s: the database is not available: %s", claim.lane, error)
            due_at = self._clock() + _SOON
        except VenueError as error:
            log.warning("%s: %s", claim.lane, error)
            failures.append(error)
            due_at = self._clock() + backoff(error)
        except Exception:
            log.exception("%s: unforeseen", claim.lane)
        if self._among_others and failures and due_at is not None:
            self._yielding[claim.lane] = (due_at, due_at + _COURTESY)
        self._tell_of_ban(claim.lane, failures)
        self._give_back(claim, due_at)

    def _tell_of_ban(self, lane: Lane, failures: Sequence[VenueError]) -> None:
        """A person is told once of each ban that a lane meets: nobody here can act while it lasts."""
        shut = max((each.after for each in failures if isinstance(each, Throttled)), default=timedelta())
        now = self._clock()
        if shut < _LONG_BAN or self._shut.get(lane.venue, now) > now:
            return
        self._shut[lane.venue] = now + shut
        until = f"{now + shut:%H:%M} UTC" if shut < LATELY else f"{now + shut:%Y-%m-%d %H:%M} UTC"
        text = f"{lane}: {lane.venue} takes nothing from this address until {until}: look after it by hand"
        log.error("%s", text)
        try:
            with self._store.write() as tx:
                outbox.notify(tx, kind="alarm", text=text, alert_id=None, now=now)
        except StoreUnavailable as error:
            self._shut.pop(lane.venue, None)
            log.error("%s: not told yet: %s", lane, error)

    def _is_first(self, lane: Lane) -> bool:
        """Whether this process comes for the first time to a lane that has traded before."""
        if lane in self._seen:
            return False
        with self._store.read() as tx:
            return sentries.has_traded(tx, lane)

    def _deny_all(self, claim: Claim, reason: str) -> datetime | None:
        """No adapter for this lane: its intents end with that reason, and people are told, once, of what is
        in hand there. When to look again, by then whoever may trade it: this process leaves it to the others.
        """
        lane, now = claim.lane, self._clock()
        text = f"{lane}: what is open or rests there is not looked after, and gets no stop: "
        text += reason if BY_HAND in reason else f"{reason}{BY_HAND}"
        with self._store.write() as tx:
            for intent in journal.undone(tx, lane):
                journal.advance(tx, claim, intent, IntentEvent.DENY, reason=reason, now=now)
            if lane.symbol not in sentries.ours(tx, venue=lane.venue, account=lane.account):
                state = orders.lane_state(tx, lane)
                is_known = not state.ledger.quantity and state.drift_since is None
                return None if is_known else now + ALIEN
            if lane not in self._untended:
                outbox.notify(tx, kind="alarm", text=text, alert_id=None, now=now)
        if lane not in self._untended:
            self._untended.add(lane)
            log.error("%s", text)
        if self._among_others:
            self._yielding[lane] = (now, now + 2 * _BACKOFF)
        return now + _BACKOFF

    def _give_back(self, claim: Claim, due_at: datetime | None) -> None:
        try:
            with self._store.write() as tx:
                journal.release(tx, claim, due_at=due_at, now=self._clock())
        except LostClaim as lost:
            log.warning("%s", lost)
        except StoreUnavailable as error:
            log.error("%s: not given back, its lease will end: %s", claim.lane, error)

    def _forget(self, claim: Claim) -> None:
        with self._lock:
            # A run that went on past its lease may find that this very process holds the lane anew.
            if self._held.get(claim.lane) == claim:
                del self._held[claim.lane]


class _Chores:
    """What a runner does now and then beside its lanes."""

    def __init__(self, runner: Runner) -> None:
        self._every = (
            (BEAT_EVERY, runner.beat),
            (RENEW_EVERY, runner.free_dead),
            (RENEW_EVERY, runner.renew),
            (RENEW_EVERY, runner.keep_time),
            (SWEEP_EVERY, runner.sweep),
            (DRAW_EVERY, runner.draw),
            (GUARD_EVERY, runner.look_after),
            (ANCHOR_EVERY, runner.anchor),
        )
        self._next = [0.0] * len(self._every)

    def do(self) -> None:
        now = time.monotonic()
        for number, (seconds, chore) in enumerate(self._every):
            if now >= self._next[number]:
                self._next[number] = now + seconds
                chore()


def main(clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> int:
    """A process of its own, until SIGTERM or SIGINT (0); or 1, and one line that says why not."""
    stop, wake = threading.Event(), threading.Event()

    def end(signum: int, frame: object) -> None:
        # Not `wake`: this interrupts the main thread, which may hold its lock. That looks within a TICK.
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    try:
        settings = from_environment()
        logs.configure(settings)
        store = open_store(settings.database_url)
        prepare(store, settings)
    except SettingsError as error:
        sys.stderr.write(f"cannot start: {error}\n")
        return 1
    logs.relay(settings, store)
    Runner(store, settings, clock).run(stop, wake)
    store.close()
    return 0


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="python -m desk.runner", description="The runner as a process of its own, where RUNNER=off."
    ).parse_args()
    sys.exit(main())
