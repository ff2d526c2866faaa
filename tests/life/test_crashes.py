"""The process dies before every commit, before every order and before every answer, on every venue.

The points are found by counting, so that code of tomorrow is covered as well. What died does nothing more:
neither its `finally` blocks nor its other threads reach the database or the venue again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError

from desk import control
from store._engine import WRITES
from tests.life.scenarios import (
    COINS_WITHOUT_PEOPLE,
    LADDER,
    LONG,
    SPOTS,
    VENUES,
    WITHOUT_PEOPLE,
    Scenario,
    must_hold,
)
from trading.errors import StoreUnavailable

Lives = Callable[..., Any]

ENDED = ("DONE", "FAILED", "DENIED", "EXPIRED")


def approval(life: Any) -> tuple[str, list[str]]:
    """The person has said yes; what follows is the server's."""
    asked = life.send("entry", **LONG, **LADDER)
    assert life.status(asked) == "AWAITING_APPROVAL"
    control.vote(life.store, intent_id=asked, approve=True, voter="web", now=life.clock())
    return asked, []


PLAYS: dict[str, Scenario] = {**WITHOUT_PEOPLE, "approval": approval}
COIN_PLAYS: dict[str, Scenario] = {**COINS_WITHOUT_PEOPLE, "approval": approval}
CASES = [*((venue, play) for venue in VENUES for play in PLAYS)]
CASES += [(venue, play) for venue in SPOTS for play in COIN_PLAYS]
ALL = PLAYS | COIN_PLAYS


class Killed(BaseException):
    """The process is gone: no handler of ours may take it for an error."""


class Mortal:
    """Counts the effects of a life, and ends it at the `at`-th: for ever, until somebody revives it."""

    def __init__(self, at: int | None) -> None:
        self.points: list[str] = []
        self._at = at
        self._dead = False
        self._lock = threading.Lock()

    def step(self, what: str) -> None:
        with self._lock:
            if not self._dead:
                self._dead = len(self.points) == self._at
                self.points.append(what)
            if self._dead:
                raise Killed(what)

    def commit(self, connection: Connection) -> None:
        if WRITES in connection.get_execution_options():
            self.step("commit")


class Sick:
    """The database fails at its `at`-th write, before or after the commit took, and is down for `down_s`."""

    def __init__(self, life: Any, at: int, *, took: bool, down_s: float) -> None:
        self._life, self._at, self._took, self._down_s = life, at, took, down_s
        self._writes = 0
        self._until: datetime | None = None
        self._here = threading.local()
        self._dialect: Any = life.store._engine.dialect
        self._commit = self._dialect.do_commit

    @property
    def fell(self) -> bool:
        return self._until is not None

    @property
    def is_over(self) -> bool:
        return self._until is not None and self._life.clock() > self._until

    def __enter__(self) -> Sick:
        event.listen(Engine, "begin", self._begin)
        self._dialect.do_commit = self._do_commit
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(Engine, "begin", self._begin)
        del self._dialect.do_commit

    def _begin(self, connection: Connection) -> None:
        if self._until is not None and self._life.clock() < self._until:
            raise OperationalError(
                "BEGIN", None, self._dialect.loaded_dbapi.OperationalError("disk I/O error")
            )
        self._here.writes = WRITES in connection.get_execution_options()

    def _do_commit(self, connection: Any) -> None:
        fails = False
        if self._here.writes and self._until is None:
            fails = self._writes == self._at
            self._writes += 1
        if fails:
            self._until = self._life.clock() + timedelta(seconds=self._down_s)
        if not fails or self._took:
            self._commit(connection)
        if fails:
            raise self._dialect.loaded_dbapi.OperationalError("disk I/O error")


@contextmanager
def mortal(life: Any, at: int | None = None) -> Iterator[Mortal]:
    """Inside, the life's process dies at its `at`-th effect; outside, it is another one's turn."""
    watched = Mortal(at)
    event.listen(Engine, "commit", watched.commit)
    life.transport.around = watched.step
    try:
        yield watched
    finally:
        life.transport.around = None
        event.remove(Engine, "commit", watched.commit)


def born(lives: Lives, venue: str, play: str) -> Any:
    return lives(venue, **({"APPROVAL_MAIN": "discord"} if play == "approval" else {}))


def die_at(life: Any, play: str, at: int) -> str | None:
    """Where the process died; None if the play has fewer points than that. Then what must hold is checked."""
    alert_id, before = ALL[play](life)
    with mortal(life, at) as watched:
        try:
            life.settle()
            return None
        except Killed:
            where = f"{life.name} {play}: died at {at}, {watched.points[-1]}"
    life.die()
    life.settle()
    life.wait(10, step=2)
    must_hold(life, play, alert_id, before, where)
    return where


def fall_sick_at(life: Any, play: str, at: int, *, took: bool, down_s: float) -> str | None:
    """As `die_at`, for a database that fails while the process goes on."""
    alert_id, before = ALL[play](life)
    where = f"{life.name} {play}: the database fell at write {at}, {'after' if took else 'before'} it took"
    bare = 0.0
    with Sick(life, at, took=took, down_s=down_s) as sick:
        for _ in range(60):
            with suppress(StoreUnavailable):
                life.settle()
            if not sick.fell:
                return None
            life.clock.advance(1)
            bare = 0.0 if life.covered() else bare + 1
            assert bare <= 5, f"{where}: no stop for {bare} s\n{life.server.story()}"
            if sick.is_over and life.status(alert_id) in ENDED:
                break
        life.wait(3)
    must_hold(life, play, alert_id, before, where)
    return where


def points_of(life: Any, play: str) -> list[str]:
    ALL[play](life)
    with mortal(life) as watched:
        life.settle()
    return watched.points


@pytest.mark.parametrize("venue", ["BYBIT", "BINANCE_SPOT"])
def test_a_sample_of_the_crashes(lives: Lives, venue: str) -> None:
    """Before and after the first order that an entry sends, and before its second."""
    points = points_of(born(lives, venue, "entry"), "entry")
    around = [at for at, what in enumerate(points) if what != "commit" and "leverage" not in what]
    assert len(around) > 3, points
    for at in around[:3]:
        assert die_at(born(lives, venue, "entry"), "entry", at)


def first_write_after_the_entry(lives: Lives, venue: str) -> int:
    points = points_of(born(lives, venue, "entry"), "entry")
    sent = next(at for at, what in enumerate(points) if what.startswith("request") and "leverage" not in what)
    return points[:sent].count("commit")


@pytest.mark.parametrize("venue", ["BINANCE", "BYBIT_SPOT"])
def test_the_stop_leaves_though_the_database_fell_behind_the_entry(lives: Lives, venue: str) -> None:
    """Whichever of the three writes between entry and stop it is."""
    first = first_write_after_the_entry(lives, venue)
    for at in range(first, first + 3):
        assert fall_sick_at(born(lives, venue, "entry"), "entry", at, took=False, down_s=8)


@pytest.mark.parametrize("venue", ["FTX", "BYBIT_SPOT"])
def test_a_stop_refused_while_the_database_is_down_is_a_close(lives: Lives, venue: str) -> None:
    at = first_write_after_the_entry(lives, venue)
    life = born(lives, venue, "entry")
    alert_id, _ = PLAYS["entry"](life)

    def runs_away(what: str) -> None:
        if what.startswith("answer") and life.position:
            life.transport.around = None
            life.engine.move(life.market.symbol, Decimal(41000))

    life.transport.around = runs_away
    with Sick(life, at, took=False, down_s=8):
        with suppress(StoreUnavailable):
            life.settle()
        assert (life.position, life.resting) == (0, [])
        for _ in range(50):
            with suppress(StoreUnavailable):
                life.settle()
            life.clock.advance(1)
    assert (life.position, life.resting) == (0, [])
    assert life.entered(alert_id) == 2
    assert life.status(alert_id) in ENDED, life.alert(alert_id)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("took", [False, True])
@pytest.mark.parametrize(("venue", "play"), CASES)
def test_every_failed_write(lives: Lives, venue: str, play: str, took: bool, record_property: Any) -> None:
    at = 0
    while fall_sick_at(born(lives, venue, play), play, at, took=took, down_s=8):
        at += 1
    record_property("plays", at)
    assert at > 5


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("venue", "play"), CASES)
def test_every_crash(lives: Lives, venue: str, play: str, record_property: Any) -> None:
    points = points_of(born(lives, venue, play), play)
    assert {"commit", "request", "answer"} <= {point.partition(" ")[0] for point in points}
    at = 0
    while die_at(born(lives, venue, play), play, at):
        at += 1
    record_property("plays", at)
    assert at == len(points)
