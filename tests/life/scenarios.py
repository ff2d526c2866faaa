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


#: Each puts the stage up, stores the alert that the play is about, and names it with those before it.
SCENARIOS: dict[str, Scenario] = {"entry": entry, "exit": exit_, "breakeven": breakeven}
