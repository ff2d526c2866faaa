"""The process dies before every commit, before every order and before every answer, on every venue.

The points are found by counting, so that code of tomorrow is covered as well. What died does nothing more:
neither its `finally` blocks nor its other threads reach the database or the venue again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from desk import control
from store._engine import WRITES
from tests.life.scenarios import LADDER, LONG, SCENARIOS, SHORT, VENUES, Scenario

Lives = Callable[..., Any]


def limit_entry(life: Any) -> tuple[str, list[str]]:
    return life.store_only("entry", **{**LONG, "price": "41900"}, **LADDER, type="limit"), []


def reverse(life: Any) -> tuple[str, list[str]]:
    first = life.send("entry", **SHORT, **LADDER)
    life.wait(2)
    return life.store_only("entry", **LONG, **LADDER, size="2"), [first]


def approval(life: Any) -> tuple[str, list[str]]:
    """The person has said yes; what follows is the server's."""
    asked = life.send("entry", **LONG, **LADDER)
    assert life.status(asked) == "AWAITING_APPROVAL"
    control.vote(life.store, intent_id=asked, approve=True, voter="web", now=life.clock())
    return asked, []


PLAYS: dict[str, Scenario] = {
    **SCENARIOS,
    "limit entry": limit_entry,
    "reverse": reverse,
    "approval": approval,
}


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
    alert_id, before = PLAYS[play](life)
    with mortal(life, at) as watched:
        try:
            life.settle()
            return None
        except Killed:
            where = f"{life.name} {play}: died at {at}, {watched.points[-1]}"
    life.die()
    life.settle()
    life.wait(10, step=2)
    life.server.settle()
    told = f"{where}\n{life.alert(alert_id)}\n{life.server.story()}"
    assert life.status(alert_id) == "DONE", told
    if play != "limit entry":
        try:
            life.check()
        except AssertionError as error:
            raise AssertionError(f"{error}\n{told}") from None
    assert all(life.entered(each) == 2 for each in before), told
    if play in ("entry", "reverse", "approval"):
        assert life.entered(alert_id) == 2, told
        assert life.position == 2, told
        assert {stop.trigger for stop in life.stops()} == {41500}, told
        assert len(life.targets()) == 3, told
    elif play == "limit entry":
        (rests,) = life.resting
        assert (rests.quantity, rests.price) == (Decimal("2.5"), 41900), told
    elif play == "exit":
        assert life.position == 0, told
    else:
        assert life.position == 2, told
        assert {stop.trigger for stop in life.stops()} == {42010}, told
    return where


def points_of(life: Any, play: str) -> list[str]:
    PLAYS[play](life)
    with mortal(life) as watched:
        life.settle()
    return watched.points


@pytest.mark.parametrize("venue", VENUES)
def test_a_sample_of_the_crashes(lives: Lives, venue: str) -> None:
    """Before and after each order that an entry sends."""
    points = points_of(born(lives, venue, "entry"), "entry")
    around = [at for at, what in enumerate(points) if what != "commit"]
    assert len(around) > 5, points
    for at in around:
        assert die_at(born(lives, venue, "entry"), "entry", at)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("play", PLAYS)
@pytest.mark.parametrize("venue", VENUES)
def test_every_crash(lives: Lives, venue: str, play: str, record_property: Any) -> None:
    at = 0
    while die_at(born(lives, venue, play), play, at):
        at += 1
    record_property("plays", at)
    assert at > 10
