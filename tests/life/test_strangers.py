"""What somebody opens by hand on an instrument of ours, and what a restored copy does not know of."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from store import backup, open_store, words
from tests.life.scenarios import LADDER, LONG, VENUES
from tests.life.test_guard import Guarded
from tests.life.test_life import FILLS
from trading.model import Side

Lives = Callable[..., Any]


@pytest.mark.parametrize("ended_by", ["stop", "target"])
@pytest.mark.parametrize("venue", VENUES)
def test_what_is_opened_by_hand_once_ours_is_closed_is_not_taken_for_ours(
    lives: Lives, venue: str, ended_by: str
) -> None:
    """While the server is down; by what it has on record the position is still its own, its stop reached."""
    here = Guarded(lives(venue))
    alert_id = here.life.send("entry", **LONG, **LADDER)
    here.watch(3)
    there = here.life.market.symbol
    path = {"stop": ("41400", "40000"), "target": ("43600", "44000")}[ended_by]
    here.life.engine.move(there, *map(Decimal, path))
    here.life.engine.hand(here.life.account, there, Side.BUY, Decimal(1))
    here.restart()
    here.watch(4)
    assert here.life.position == 1
    assert here.life.resting == []
    here.life.price("40000")
    here.watch(4)
    assert here.life.position == 1
    assert len([text for text in here.alarms() if "1 long at the venue is not this server's" in text]) == 1
    (closed,) = [each for each in here.life.alert(alert_id)["timeline"] if each["event"] == "closed"]
    assert closed["detail"] == "what it entered is closed: what is open now is not of this server"


@pytest.mark.parametrize("price", [40000, 43000])
@pytest.mark.parametrize("venue", VENUES)
def test_what_was_entered_after_the_copy_that_was_restored_keeps_the_stop_it_has(
    lives: Lives, venue: str, price: int, tmp_path: Path
) -> None:
    """The copy knows of a trade that its stop has ended since, and nothing of the one after it."""
    here = Guarded(lives(venue))
    life = here.life
    life.send("entry", **LONG)
    backup.copy(Path(str(life.store._engine.url.database)), tmp_path / "copy.db")
    life.price("41400", str(price))
    levels = {"price": str(price), "long SL": str(price - 500), "long TP": str(price + 1500)}
    life.send("entry", **{**LONG, **levels}, size="1")
    life.wait(2)
    before, stops = life.store, [(stop.trigger, stop.remaining) for stop in life.stops()]
    life.store = open_store(f"sqlite:///{tmp_path / 'copy.db'}")
    try:
        with life.store.write() as tx:
            words.halt(tx, reason="restored", by="restore", now=life.clock())
        here.restart()
        here.watch(8)
    finally:
        life.store.close()
        life.store = before
    assert life.position == 1
    assert [(stop.trigger, stop.remaining) for stop in life.stops()] == stops


@pytest.mark.parametrize("unheard", [0, 4])
def test_what_a_person_adds_to_ours_keeps_its_stop_when_the_target_has_taken_ours(
    lives: Lives, unheard: int
) -> None:
    """One position at the venue, never flat: which part of it is whose, nobody can say."""
    here = Guarded(lives("BINANCE"))
    here.life.send("entry", **LONG)
    here.watch(3)
    here.life.engine.hand(here.life.account, here.life.market.symbol, Side.BUY, Decimal(1))
    here.watch(3)
    here.life.server.reset_log()
    for number in range(1, unheard + 1):
        here.life.server.fault("error_before", (FILLS["BINANCE"], number))
    here.life.price("43600")
    here.watch(8)
    assert not here.life.server.unfired
    assert here.life.position == 1
    assert [stop.trigger for stop in here.life.stops()] == [41500]
    here.life.check()


@pytest.mark.parametrize("venue", VENUES)
def test_nothing_is_sold_while_fills_do_not_say_yet_whose_it_is(lives: Lives, venue: str) -> None:
    """The server is up: the stop has filled and a person has bought between two looks."""
    here = Guarded(lives(venue))
    here.life.send("entry", **LONG)
    here.watch(3)
    there = here.life.market.symbol
    here.life.engine.move(there, Decimal(41400), Decimal(41300))
    here.life.engine.hand(here.life.account, there, Side.BUY, Decimal(1))
    here.life.server.reset_log()
    for number in range(1, 5):
        here.life.server.fault("error_before", (FILLS[venue], number))
    here.watch(8)
    assert not here.life.server.unfired
    assert here.life.position == 1
    assert here.life.resting == []
    assert not any("closing" in text for text in here.alarms())


@pytest.mark.parametrize("how", ["turned", "closed and opened", "stopped while down"])
def test_a_position_on_the_other_side_of_ours_is_told_once(lives: Lives, how: str) -> None:
    """By a person's hand; with what rested for ours, ours is over."""
    here = Guarded(lives("BINANCE"))
    here.life.send("entry", **LONG)
    here.watch(3)
    there = here.life.market.symbol
    if how == "stopped while down":
        here.life.engine.move(there, Decimal(41400))
        here.life.engine.hand(here.life.account, there, Side.SELL, Decimal(3))
        here.restart()
    else:
        for quantity in (5,) if how == "turned" else (2, 3):
            here.life.engine.hand(here.life.account, there, Side.SELL, Decimal(quantity))
    here.watch(40)
    (told,) = here.alarms()
    assert "3 short at the venue is not this server's" in told
    assert here.life.position == -3
    assert here.life.resting == []


@pytest.mark.parametrize("how", ["a breakeven comes", "it was down"])
def test_what_is_opened_by_hand_where_nothing_of_ours_is_open_is_told_once_each_time(
    lives: Lives, how: str
) -> None:
    here = Guarded(lives("BINANCE"))
    here.life.send("entry", **LONG)
    here.life.send("exit")
    here.watch(10)
    there = here.life.market.symbol
    for count in (1, 2):
        here.life.engine.hand(here.life.account, there, Side.BUY, Decimal(1))
        if how == "it was down":
            here.restart()
        else:
            assert here.life.status(here.life.send("breakeven")) == "DENIED"
        here.watch(40)
        assert ["1 long at the venue is not this server's" in text for text in here.alarms()] == [
            True
        ] * count
        assert here.life.position == 1
        here.life.engine.hand(here.life.account, there, Side.SELL, Decimal(1))
        here.watch(40)
    assert len(here.alarms()) == 2


@pytest.mark.parametrize("unheard", [0, 4])
def test_what_a_person_holds_in_place_of_an_entry_that_they_took_back_is_not_sold(
    lives: Lives, unheard: int
) -> None:
    """While the server is down; the price is through the stop that the entry would have had."""
    here = Guarded(lives("BINANCE"))
    life = here.life
    life.send("entry", **{**LONG, "price": "41900"}, type="limit")
    here.watch(3)
    life.account.cancel(life.resting[0].id)
    life.engine.hand(life.account, life.market.symbol, Side.BUY, Decimal(1))
    life.engine.move(life.market.symbol, Decimal(41400))
    life.server.reset_log()
    for number in range(1, unheard + 1):
        life.server.fault("error_before", (FILLS["BINANCE"], number))
    here.restart()
    here.watch(12)
    assert not life.server.unfired
    assert life.position == 1
    assert life.resting == []
    assert not any("closing" in text for text in here.alarms())
    assert len([text for text in here.alarms() if "1 long at the venue is not this server's" in text]) == 1
