"""Trouble that outlives a request: a clock that was ahead, a ban of days, an instrument that nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from store import outbox
from tests.life.scenarios import LONG, SPOTS, VENUES
from tests.life.test_crashes import Killed, mortal

Lives = Callable[..., Any]

AHEAD = timedelta(seconds=30)
#: The request that the trouble comes with, by its number among those that write.
JUMPS = [("BINANCE", "entry", 1), ("BINANCE", "entry", 2), ("BINANCE", "exit", 1), ("BYBIT", "exit", 1)]
BANS = [
    ("BINANCE", "entry", 2),
    ("BINANCE", "entry", 3),
    ("BINANCE", "exit", 2),
    ("BYBIT", "exit", 2),
    ("BINANCE_SPOT", "entry", 2),
    ("BYBIT_SPOT", "exit", 2),
]
CANCELS = {"BINANCE_SPOT": "DELETE /api/v3/order", "BYBIT_SPOT": "POST /v5/order/cancel"}
UNKNOWN = {"FTX": "FOOPERP"} | dict.fromkeys(SPOTS, "FOOUSDT")


def on_stage(life: Any, message: str) -> dict[str, str]:
    """What an alert of this kind needs before it, and its fields."""
    if message == "entry":
        return LONG
    life.send("entry", **LONG)
    life.price("42600")
    return {}


def before_request(life: Any, number: int, act: Callable[[], None]) -> None:
    left = [number]

    def around(what: str) -> None:
        if what.startswith("request"):
            left[0] -= 1
            if left[0] == 0:
                act()

    life.transport.around = around


@pytest.mark.parametrize(("venue", "message", "number"), JUMPS)
def test_a_clock_that_was_set_ahead_holds_nothing_up(
    lives: Lives, venue: str, message: str, number: int
) -> None:
    """What is dated ahead is refused, and so proved absent: it is not waited for until its time comes."""
    life = lives(venue)
    fields = on_stage(life, message)

    def jump() -> None:
        life.clock.advance(AHEAD.total_seconds())
        life.engine.skew -= AHEAD

    before_request(life, number, jump)
    alert_id = life.send(message, **fields)
    life.wait(4)
    assert life.status(alert_id) == "DONE", life.alert(alert_id)
    assert bool(life.tradable) is (message == "entry")
    life.check()


@pytest.mark.parametrize(("venue", "message", "number"), BANS)
def test_a_ban_of_days_is_over_where_the_next_process_is_not_banned(
    lives: Lives, venue: str, message: str, number: int
) -> None:
    life = lives(venue)
    fields = on_stage(life, message)

    def ban() -> None:
        life.server._banned_until = life.engine.now() + timedelta(days=3)

    before_request(life, number, ban)
    alert_id = life.send(message, **fields)
    life.wait(4)
    asked = len(life.server.log)
    life.wait(200, step=20)
    # What is banned here asks nobody, and a person knows.
    assert len(life.server.log) == asked
    with life.store.read() as tx:
        told = [note.text for note in outbox.unposted(tx, 200) if "takes nothing from this" in note.text]
    assert len(told) == 1, told
    life.server._banned_until = None
    life.die()
    life.settle()
    life.wait(120, step=4)
    assert life.status(alert_id) in ("DONE", "FAILED", "EXPIRED"), life.alert(alert_id)
    if message == "exit":
        assert life.status(alert_id) == "DONE"
        assert not life.tradable
    life.check()


@pytest.mark.parametrize("venue", [*VENUES, *SPOTS])
def test_an_instrument_that_the_venue_does_not_know_ends_every_alert(lives: Lives, venue: str) -> None:
    life = lives(venue)
    ticker = UNKNOWN.get(venue, "FOOUSDT.P")
    for message, fields in (("exit", {}), ("entry", LONG), ("breakeven", {}), ("exit", {})):
        alert_id = life.send(message, **fields, ticker=ticker)
        life.wait(3)
        assert life.status(alert_id) == "FAILED", life.alert(alert_id)
        assert "is not traded there" in life.alert(alert_id)["reason"]


def test_the_fills_of_a_first_entry_are_found_however_long_nobody_was_there(lives: Lives) -> None:
    """The process dies between the entry, of which it has written down that it filled, and its stop."""
    life = lives("BINANCE")
    life.store_only("entry", **LONG)
    with mortal(life) as watched:
        life.settle()
    planned = watched.points.index("request POST /fapi/v1/algoOrder") - 1
    life = lives("BINANCE")
    alert_id = life.store_only("entry", **LONG)
    with mortal(life, planned), pytest.raises(Killed):
        life.settle()
    assert life.position == 2
    life.clock.advance(45)
    life.die()
    life.settle()
    life.wait(12)
    life.check()
    assert "fill" in [event["event"] for event in life.alert(alert_id)["timeline"]]
    with life.store.read() as tx:
        assert "drift" not in [notice.kind for notice in outbox.unposted(tx, 50)]


@pytest.mark.parametrize(("venue", "cancel"), CANCELS.items())
def test_what_was_to_follow_a_cancel_that_did_not_happen_is_in_no_doubt(
    lives: Lives, venue: str, cancel: str
) -> None:
    life = lives(venue)
    life.send("entry", **LONG)
    life.price("42600")
    life.server.reset_log()
    life.server.fault("throttled", (cancel, 1))
    alert_id = life.send("breakeven", **{"long Breakeven": "42010"})
    life.wait(2)
    assert not life.server.unfired
    assert life.status(alert_id) == "DONE", life.alert(alert_id)
    assert {stop.trigger for stop in life.stops()} == {42010}
    life.check()


@pytest.mark.parametrize("venue", ["BYBIT", "FTX"])
def test_more_leverage_than_the_venue_gives_is_not_counted_on(lives: Lives, venue: str) -> None:
    life = lives(venue, LEVERAGE_MAIN="120")
    alert_id = life.send("entry", **LONG | {"long SL": "41995", "long TP": "43000"})
    life.wait(3)
    assert life.status(alert_id) == "DONE", life.alert(alert_id)
    assert life.position > 0
    life.check()
