"""Every request of an entry, an exit and a breakeven meets every fault once, on every venue.

At the end: one entry or none, a stop on whatever is open, nothing resting on nothing, an alert that ended
with its reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.emulator.server import Fault
from tests.life.conftest import HASTY, REFUSED
from tests.life.scenarios import SCENARIOS, SPOTS, VENUES

Lives = Callable[..., Any]
Key = tuple[str, int]

FAULTS = [REFUSED, *(fault.value for fault in Fault)]
SILENCES = (Fault.SILENT_BEFORE, Fault.SILENT_AFTER, Fault.LATE)
ENDED = ("DONE", "FAILED", "DENIED", "EXPIRED")


def requests_of(life: Any, scenario: str) -> list[Key]:
    """The requests of a scenario when nothing fails, in the order of their first coming."""
    set_up(life, scenario)
    life.settle()
    life.wait(4, step=0.5)
    return list(dict.fromkeys(seen.key for seen in life.server.log))


def set_up(life: Any, scenario: str) -> tuple[str, list[str]]:
    alert_id, before = SCENARIOS[scenario](life)
    life.server.settle()
    life.server.reset_log()
    life.transport.reset()
    return alert_id, before


def play(life: Any, scenario: str, fault: str, key: Key) -> str:
    """Plays a scenario with one fault and checks what must hold at its end; the alert's status."""
    if fault in SILENCES:
        life.patience = HASTY
        life.start()
    alert_id, before = set_up(life, scenario)
    if fault == REFUSED:
        life.transport.refuse = key
    else:
        life.server.fault(fault, key)
    life.settle()
    life.wait(4, step=0.5)
    life.server.deliver_late()
    life.wait(24, step=2)
    if fault == Fault.BANNED:
        # One venue asks to be left alone for ten minutes.
        life.wait(640, step=20)
    life.server.settle()
    status = life.status(alert_id)
    where = f"{life.name} {scenario}: {fault} at {key}\n{life.alert(alert_id)}\n{life.server.story()}"
    assert status in ENDED, where
    assert status == "DONE" or life.alert(alert_id)["reason"], where
    try:
        life.check()
    except AssertionError as error:
        raise AssertionError(f"{error}\n{where}") from None
    for each in (alert_id, *before):
        assert life.entered(each) in (0, 2) or fault == Fault.PARTIAL, where
    if scenario == "exit":
        assert status == "DONE", where
        assert life.tradable == 0, where
    if scenario == "entry" and status == "DONE" and fault != Fault.PARTIAL:
        assert life.position == life.full, where
    if scenario == "entry" and status != "DONE":
        assert life.tradable == 0, where
    if scenario == "breakeven" and life.tradable:
        triggers = {stop.trigger for stop in life.stops()}
        assert triggers == {42010 if status == "DONE" else 41500}, where
    return status


#: To save time: an entry at a perpetual and for coins, the rest at one venue each.
SAMPLE = [("BINANCE", "entry"), ("BYBIT_SPOT", "entry")]
SAMPLE += zip(VENUES, [scenario for scenario in SCENARIOS if scenario != "entry"], strict=False)


@pytest.mark.parametrize(("venue", "scenario"), SAMPLE)
def test_a_sample_of_the_cross(lives: Lives, venue: str, scenario: str) -> None:
    """The scenario's first order with the fault that leaves the most doubt; an entry's with one more."""
    keys = requests_of(lives(venue), scenario)
    order = next(key for key in keys if not key[0].startswith("GET") and "leverage" not in key[0])
    play(lives(venue), scenario, "lost_after", order)
    if scenario == "entry":
        play(lives(venue), scenario, "late", order)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("venue", [*VENUES, *SPOTS])
def test_the_whole_cross(lives: Lives, venue: str, scenario: str, fault: str, record_property: Any) -> None:
    keys = requests_of(lives(venue), scenario)
    assert len(keys) > 4
    record_property("plays", len(keys))
    for key in keys:
        play(lives(venue), scenario, fault, key)
