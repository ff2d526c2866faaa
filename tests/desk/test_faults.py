"""Every request of an entry, an exit and a breakeven fails once, in every way: the promises hold.

One entry or none, a stop on whatever is open, nothing resting on nothing, and an alert that ends.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from trading.model import Protection

LONG = {"action": "buy", "price": "42000", "long SL": "41500", "long TP": "43500"}
SHORT = {"action": "sell", "price": "42000", "short SL": "42500", "short TP": "40500"}
LADDER = {"tp Close": "25", "tp1 Mult": "1", "tp2 Mult": "2"}
FAULTS = ["unreachable", "stale", "lost before", "lost after", "refused"]
WRITES = ["place", "cancel", "cancel_report", "cancel_all", "prepare"]

Scenario = Callable[[Any], tuple[str, list[str]]]


def entry(rig: Any) -> tuple[str, list[str]]:
    return rig.store_only("entry", **LONG, **LADDER, size="2"), []


def reverse(rig: Any) -> tuple[str, list[str]]:
    first = rig.send("entry", **SHORT, **LADDER)
    return rig.store_only("entry", **LONG, **LADDER, size="2"), [first]


def exit_(rig: Any) -> tuple[str, list[str]]:
    first = rig.send("entry", **LONG, **LADDER)
    return rig.store_only("exit"), [first]


def breakeven(rig: Any) -> tuple[str, list[str]]:
    first = rig.send("entry", **LONG, **LADDER)
    rig.price("42600")
    return rig.store_only("breakeven", **{"long Breakeven": "42010"}), [first]


SCENARIOS: dict[str, Scenario] = {"entry": entry, "reverse": reverse, "exit": exit_, "breakeven": breakeven}


def requests_of(rig: Any, scenario: str) -> list[str]:
    """The requests of a scenario, in order, when nothing fails."""
    SCENARIOS[scenario](rig)
    rig.flaky().calls.clear()
    rig.settle()
    return list(rig.flaky().calls)


def play(rig: Any, scenario: str, fault: str, at: int) -> None:
    """Plays a scenario with a fault at the `at`-th request, and checks what must hold at its end."""
    alert_id, before = SCENARIOS[scenario](rig)
    flaky = rig.flaky()
    flaky.order_fault(fault, at=at)
    rig.settle()
    rig.wait(20, step=5)
    verb = flaky.calls[at]
    flaky.at = -1
    status = rig.status(alert_id)
    where = f"{scenario}, {verb} {fault} at {at}: {rig.alert(alert_id)}"
    assert status in ("DONE", "FAILED", "DENIED", "EXPIRED"), where
    rig.check()
    for entered in (alert_id, *before):
        assert rig.entered(entered) in (0, 2), where
    if scenario == "exit" and status == "DONE":
        assert rig.position().is_flat, where
    if status == "DONE" and scenario in ("entry", "reverse"):
        assert rig.position().quantity == 2, where
    if scenario == "breakeven" and not rig.position().is_flat:
        (stop,) = [r for r in rig.resting() if r.type == "STOP"]
        assert stop.trigger_price == (42010 if status == "DONE" else 41500), where


#: Every fault of an entry, and of the others the one that leaves the most doubt; the rest are slow.
FIRST = [
    pytest.param(
        scenario, fault, marks=[] if scenario == "entry" or fault == "lost after" else pytest.mark.slow
    )
    for scenario in SCENARIOS
    for fault in FAULTS
]


@pytest.mark.parametrize(("scenario", "fault"), FIRST)
def test_the_first_order_of_each_scenario_fails(make_rig: Any, scenario: str, fault: str) -> None:
    rig = make_rig(Protection.AFTER)
    alert_id, _ = SCENARIOS[scenario](rig)
    rig.flaky().order_fault(fault, at=0, verb="place")
    rig.settle()
    rig.wait(20, step=2)
    assert rig.status(alert_id) in ("DONE", "FAILED")
    rig.check()
    if fault != "refused":
        assert rig.status(alert_id) == "DONE"
    assert rig.entered(alert_id) in (0, 2)


@pytest.mark.parametrize("protection", list(Protection))
def test_a_dead_venue_for_a_while_loses_nothing(make_rig: Any, protection: Protection) -> None:
    rig = make_rig(protection)
    alert_id = rig.store_only("entry", **LONG, **LADDER)
    rig.flaky().order_fault("unreachable", at=0, times=6)
    rig.settle()
    rig.wait(40, step=2)
    assert rig.status(alert_id) == "DONE"
    assert rig.position().quantity == 2
    rig.check()


def test_an_entry_in_doubt_is_never_sent_before_its_window_is_over(rig: Any) -> None:
    alert_id = rig.store_only("entry", **LONG)
    rig.flaky().order_fault("lost before", at=0, verb="place")
    rig.settle()
    assert rig.orders(alert_id, "entry")[0]["status"] == "SUBMITTED"
    rig.wait(2, step=0.5)
    assert rig.events(alert_id).count("resubmitted") == 0
    rig.wait(4, step=0.5)
    # The entry, and the stop that goes with it.
    assert rig.events(alert_id).count("resubmitted") == 2
    assert rig.status(alert_id) == "DONE"
    assert rig.entered(alert_id) == Decimal(2)


def test_an_entry_in_doubt_that_grew_old_is_dropped(make_rig: Any) -> None:
    rig = make_rig(MAX_ALERT_AGE="10")
    alert_id = rig.store_only("entry", **LONG)
    rig.flaky().order_fault("lost before", at=0, verb="place")
    rig.settle()
    rig.clock.advance(30)
    rig.settle()
    assert rig.status(alert_id) == "EXPIRED"
    assert rig.entered(alert_id) == 0
    assert rig.orders(alert_id, "entry")[0]["status"] == "EXPIRED"
    rig.check()
    assert rig.status(rig.send("entry", **LONG)) == "DONE"


def test_a_lost_entry_and_its_stop_are_judged_at_one_moment(rig: Any) -> None:
    """The window ends between the question about the entry and the one about its stop."""
    alert_id = rig.store_only("entry", **LONG, **LADDER)
    rig.flaky().order_fault("lost before", at=0, verb="place")
    rig.settle()
    venue = rig.flaky()._venue
    rig.clock.advance(2.925)
    rig.flaky()._venue = Slow(venue, rig.clock)
    rig.venues.price("BTC-USDT-PERP", Decimal(42001), rig.clock())
    rig.settle()
    rig.flaky()._venue = venue
    rig.wait(10)
    assert rig.status(alert_id) == "DONE"
    assert rig.entered(alert_id) == 2


class Slow:
    """A venue that takes 50 ms to answer about an order."""

    def __init__(self, venue: Any, clock: Any) -> None:
        self._venue, self._clock = venue, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._venue, name)

    def order(self, order: Any) -> Any:
        self._clock.advance(0.05)
        return self._venue.order(order)


def test_a_late_copy_is_refused_by_the_venue(rig: Any, clock: Any) -> None:
    """The request of a stopped process arrives after its window: the venue itself says no."""
    from trading.errors import StaleRequest
    from trading.model import Order, OrderType, Role, Side

    rig.price("42000")
    order = Order(
        client_order_id="late-e",
        intent_id="late",
        symbol="BTC-USDT-PERP",
        role=Role.ENTRY,
        side=Side.BUY,
        type=OrderType.MARKET,
        quantity=Decimal(1),
    )
    signed_at = clock()
    clock.advance(3)
    with pytest.raises(StaleRequest):
        rig.venue().place(order, signed_at=signed_at)
    assert rig.position().is_flat


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("protection", list(Protection))
@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_every_request_fails_once(sqlite_rigs: Any, scenario: str, protection: Protection) -> None:
    requests = requests_of(sqlite_rigs(protection), scenario)
    assert len(requests) > 5
    for at, verb in enumerate(requests):
        # A read that fails tells nothing, whatever the way; a write can fail in every way.
        for fault in FAULTS if verb in WRITES else ["lost before"]:
            play(sqlite_rigs(protection), scenario, fault, at)
