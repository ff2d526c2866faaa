"""Alerts that say where the strategy stands, held against the venue: told, refused, healed; swapped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest

from desk.settings import load
from store import outbox
from tests.desk.conftest import ENVIRON, LADDER, LONG, SHORT, SYMBOL
from tests.desk.test_crash import Killed
from trading.model import Order, OrderType, Role, Side

AT = "2024-05-06T07:08:09Z"


def says(prev: str, now: str) -> dict[str, str]:
    return {"prev_market_position": prev, "market_position": now}


def notices(rig: Any, alert_id: str) -> list[str]:
    """What people are told of an alert by the kind `drift`."""
    with rig.store.read() as tx:
        told = outbox.unposted(tx, 1000)
    return [notice.text for notice in told if notice.kind == "drift" and notice.alert_id == alert_id]


def details(rig: Any, alert_id: str, event: str) -> list[str]:
    return [each["detail"] for each in rig.alert(alert_id)["timeline"] if each["event"] == event]


class _Killer:
    """Ends the run at one stage; there is no way to take a hook away again."""

    def __init__(self) -> None:
        self.stage: str | None = None
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "desk.stage" and args[0] == self.stage:
            self.stage = None
            raise Killed(args[0])


@pytest.fixture(scope="module")
def die_at() -> Callable[[str], Any]:
    killer = _Killer()

    @contextmanager
    def at(stage: str) -> Iterator[None]:
        killer.stage = stage
        with pytest.raises(Killed):
            yield

    return at


def asked(rig: Any) -> int:
    return sum(call == "position" for call in rig.flaky().calls)


@pytest.mark.parametrize("mode", ["report", "block", "resync"])
def test_where_both_agree_nothing_is_told(make_rig: Any, mode: str) -> None:
    rig = make_rig(DRIFT_MAIN=mode)
    first = rig.send("entry", **LONG, **says("flat", "long"))
    rig.price("42600")
    second = rig.send("breakeven", **{"long Breakeven": "42010"}, **says("long", "long"))
    third = rig.send("exit", **says("long", "flat"))
    for each in (first, second, third):
        assert (rig.status(each), notices(rig, each)) == ("DONE", [])
    assert rig.position().is_flat


def test_without_these_fields_the_venue_is_not_asked_for_it(rig: Any) -> None:
    rig.send("entry", **LONG)
    rig.flaky().order_fault("", at=-1)
    rig.send("exit")
    without = asked(rig)
    rig.send("entry", **LONG)
    rig.flaky().order_fault("", at=-1)
    rig.send("exit", **says("long", "flat"))
    assert asked(rig) == without + 1


def test_report_tells_and_carries_out(rig: Any) -> None:
    rig.send("entry", **LONG)
    alert_id = rig.send("entry", **SHORT, **says("flat", "short"))
    assert rig.status(alert_id) == "DONE"
    assert rig.position().direction == "SHORT"
    told = "the alert expects flat (prev_market_position), the position is long"
    assert details(rig, alert_id, "drift") == [told]
    assert notices(rig, alert_id) == [f"PAPER:BINANCE MAIN {SYMBOL}: entry: {told}"]
    rig.check()


def test_block_refuses_with_both_positions_and_touches_nothing(make_rig: Any) -> None:
    rig = make_rig(DRIFT_MAIN="block")
    rig.send("entry", **LONG, **LADDER)
    rig.clock.advance(11)
    before = rig.resting()
    for message, more in (("entry", {**SHORT, **says("flat", "short")}), ("exit", says("short", "flat"))):
        alert_id = rig.send(message, **more)
        assert rig.status(alert_id) == "DENIED"
        expected = more["prev_market_position"]
        assert rig.alert(alert_id)["reason"] == (
            f"the alert expects {expected} (prev_market_position), the position is long (DRIFT_MAIN=block)"
        )
    assert rig.position().quantity == 2
    assert rig.resting() == before


def test_block_is_set_for_one_account_alone(make_rig: Any) -> None:
    rig = make_rig(DRIFT_OTHER="block")
    rig.send("entry", **LONG)
    rig.clock.advance(11)
    assert rig.status(rig.send("exit", **says("short", "flat"))) == "DONE"
    refused = rig.send("entry", subaccount="other", **LONG, **says("short", "long"))
    assert rig.status(refused) == "DENIED"


def test_resync_closes_where_the_strategy_is_flat(make_rig: Any) -> None:
    rig = make_rig(DRIFT_MAIN="resync")
    rig.send("entry", **LONG, **LADDER)
    late = rig.send("breakeven", **says("long", "flat"))
    assert rig.status(late) == "DONE"
    assert "closed" in rig.alert(late)["reason"]
    assert rig.position().is_flat
    rig.check()
    rig.send("entry", **SHORT)
    covered = rig.send("entry", **LONG, **says("short", "flat"))
    assert rig.status(covered) == "DENIED"
    assert rig.alert(covered)["reason"].endswith("what was open is closed, nothing is entered")
    assert rig.position().is_flat
    rig.check()


def test_resync_leaves_what_is_not_ours(make_rig: Any) -> None:
    """A position of a person's is not closed because a strategy is flat."""
    rig = make_rig(DRIFT_MAIN="resync")
    rig.send("entry", **LONG)
    order = rig.orders(rig.send("exit"))[0]
    assert order["role"] == "close"
    by_hand(rig)
    alert_id = rig.send("breakeven", **says("long", "flat"))
    assert rig.status(alert_id) == "DENIED"
    assert rig.position().quantity == 1


def by_hand(rig: Any) -> None:
    """A person buys one at the venue."""
    order = Order(
        client_order_id="by-hand",
        intent_id="by",
        symbol=SYMBOL,
        role=Role.ENTRY,
        side=Side.BUY,
        type=OrderType.MARKET,
        quantity=Decimal(1),
    )
    rig.venue().place(order, signed_at=rig.clock())


def test_resync_opens_nothing_that_no_entry_asks_for(make_rig: Any) -> None:
    rig = make_rig(DRIFT_MAIN="resync")
    for message in ("breakeven", "exit"):
        alert_id = rig.send(message, price="42000", **says("long", "long"))
        assert rig.status(alert_id) == "DONE"
        assert notices(rig, alert_id)
    assert rig.position().is_flat
    alert_id = rig.send("entry", **SHORT, **says("long", "short"))
    assert rig.status(alert_id) == "DONE"
    assert rig.position().direction == "SHORT"
    rig.check()


@pytest.mark.parametrize("mode", ["report", "resync"])
def test_an_exit_and_an_entry_that_arrive_swapped(make_rig: Any, mode: str) -> None:
    rig = make_rig(DRIFT_MAIN=mode, MAX_ALERT_AGE="0")
    rig.send("entry", **LONG)
    entry = rig.send("entry", **SHORT, **says("flat", "short"), time=AT)
    late = rig.send("exit", **says("long", "flat"), time=AT)
    assert (rig.status(entry), rig.status(late)) == ("DONE", "EXPIRED")
    assert rig.alert(late)["reason"].startswith(f"it belongs before the entry {entry} of the same moment")
    assert rig.position().direction == "SHORT"
    rig.check()


@pytest.mark.parametrize("mode", ["report", "block", "resync"])
def test_an_entry_and_its_exit_that_arrive_swapped(make_rig: Any, mode: str) -> None:
    rig = make_rig(DRIFT_MAIN=mode, MAX_ALERT_AGE="0")
    early = rig.send("exit", **says("long", "flat"), time=AT)
    late = rig.send("entry", **LONG, **says("flat", "long"), time=AT)
    assert (rig.status(early), rig.status(late)) == ("DONE", "EXPIRED")
    assert rig.position().is_flat
    fresh = rig.send("entry", **LONG, **says("flat", "long"), time="2024-05-06T07:08:10Z")
    assert rig.status(fresh) == "DONE"


def test_swapped_within_one_look_of_the_runner(make_rig: Any) -> None:
    """Both are stored before the runner comes to the first."""
    rig = make_rig(MAX_ALERT_AGE="0")
    rig.send("entry", **LONG)
    entry = rig.store_only("entry", **SHORT, **says("flat", "short"), time=AT)
    late = rig.store_only("exit", **says("long", "flat"), time=AT)
    rig.settle()
    assert (rig.status(entry), rig.status(late)) == ("DONE", "EXPIRED")
    assert rig.position().direction == "SHORT"


@pytest.mark.parametrize("mode", ["block", "resync"])
def test_a_crash_after_the_look_comes_to_the_same_verdict(make_rig: Any, mode: str, die_at: Any) -> None:
    """What was found is on record: the position may be another by the time that the next runner goes on."""
    rig = make_rig(DRIFT_MAIN=mode)
    rig.send("entry", **LONG)
    alert_id = rig.store_only("breakeven", **says("long", "flat"))
    with die_at("held against the venue"):
        rig.settle()
    rig.die()
    rig.settle()
    assert rig.status(alert_id) == {"block": "DENIED", "resync": "DONE"}[mode]
    assert rig.position().is_flat is (mode == "resync")
    assert len(notices(rig, alert_id)) == (mode == "resync")


#: What has left when the process dies, and what becomes of the entry: it closes what is open first.
LEFT = {"close": "DENIED", "entry": "DONE"}


@pytest.mark.parametrize("is_lost", [True, False])
@pytest.mark.parametrize("what", LEFT)
def test_another_drift_mode_after_a_restart_ends_nothing_that_has_left(
    make_rig: Any, die_at: Any, what: str, is_lost: bool
) -> None:
    """Whether or not the venue took it: nobody has written that down."""
    rig = make_rig()
    rig.send("entry", **LONG)
    alert_id = rig.store_only("entry", **LONG, **says("flat", "long"))
    with die_at(f"{what}.submitted" if is_lost else f"{what}.sent"):
        rig.settle()
    rig.settings = load({**ENVIRON, "DRIFT_MAIN": "block"})
    rig.die()
    rig.wait(30)
    assert rig.status(alert_id) == LEFT[what], rig.alert(alert_id)
    assert rig.position().quantity == rig.entered(alert_id)
    assert rig.position().is_flat is (what == "close")
    assert "SUBMITTED" not in {order["status"] for order in rig.orders(alert_id)}
    rig.check()


def test_a_lost_exit_is_brought_to_its_end_after_a_restart(make_rig: Any) -> None:
    rig = make_rig()
    rig.send("entry", **LONG)
    rig.clock.advance(11)
    rig.flaky().order_fault("lost before", at=0, verb="place")
    alert_id = rig.send("exit", **says("short", "flat"))
    rig.settings = load({**ENVIRON, "DRIFT_MAIN": "block"})
    rig.die()
    rig.wait(30)
    assert rig.status(alert_id) == "DONE", rig.alert(alert_id)
    assert rig.position().is_flat


def test_a_venue_that_is_silent_is_asked_again(rig: Any) -> None:
    rig.send("entry", **LONG)
    rig.flaky().order_fault("unreachable", at=0, verb="position")
    alert_id = rig.send("exit", **says("long", "flat"))
    assert rig.status(alert_id) == "EXECUTING"
    rig.wait(2)
    assert rig.status(alert_id) == "DONE"
    assert rig.position().is_flat
