"""What is played at a venue, and with which alerts: 2 at a risk of 1 % of 100000 over 500."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

VENUES = ("BINANCE", "BYBIT", "FTX")
SPOTS = ("BINANCE_SPOT", "BYBIT_SPOT")
LONG = {"action": "buy", "price": "42000", "long SL": "41500", "long TP": "43500"}
SHORT = {"action": "sell", "price": "42000", "short SL": "42500", "short TP": "40500"}
LADDER = {"tp Close": "25", "tp1 Mult": "1", "tp2 Mult": "2"}

Scenario = Callable[[Any], tuple[str, list[str]]]


def entry(life: Any) -> tuple[str, list[str]]:
    return life.store_only("entry", **LONG, **LADDER), []


def exit_(life: Any) -> tuple[str, list[str]]:
    first = life.send("entry", **LONG, **LADDER)
    life.wait(2)
    return life.store_only("exit"), [first]


def breakeven(life: Any) -> tuple[str, list[str]]:
    first = life.send("entry", **LONG)
    life.price("42600")
    return life.store_only("breakeven", **{"long Breakeven": "42010"}), [first]


def limit_entry(life: Any) -> tuple[str, list[str]]:
    return life.store_only("entry", **{**LONG, "price": "41900"}, **LADDER, type="limit"), []


def reverse(life: Any) -> tuple[str, list[str]]:
    first = life.send("entry", **SHORT, **LADDER)
    life.wait(2)
    return life.store_only("entry", **LONG, **LADDER, size="2"), [first]


def parts_moved(life: Any) -> tuple[str, list[str]]:
    first = life.send("entry", **LONG, **LADDER)
    life.price("42300")
    return life.store_only("breakeven", **{"long Breakeven": "42010"}), [first]


#: Each puts the stage up, stores the alert that the play is about, and names it with those before it.
SCENARIOS: dict[str, Scenario] = {"entry": entry, "exit": exit_, "breakeven": breakeven}
WITHOUT_PEOPLE: dict[str, Scenario] = {**SCENARIOS, "limit entry": limit_entry, "reverse": reverse}
#: Spot cannot reverse; a breakeven there moves part by part.
COINS_WITHOUT_PEOPLE: dict[str, Scenario] = {**SCENARIOS, "limit entry": limit_entry, "parts": parts_moved}


def must_hold(life: Any, play: str, alert_id: str, before: list[str], where: str) -> None:
    """What each play comes to, whatever happened on the way; `before` are the alerts that set it up."""
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
        assert life.position == life.full, told
        assert {stop.trigger for stop in life.stops()} == {41500}, told
        assert len(life.targets()) == (3 if life.market.pairs else 0), told
    elif play == "limit entry":
        (rests,) = life.resting
        assert (rests.quantity, rests.price) == (life.limit_quantity, 41900), told
    elif play == "exit":
        assert life.tradable == 0, told
    else:
        assert life.position == life.full, told
        assert {stop.trigger for stop in life.stops()} == {42010}, told
