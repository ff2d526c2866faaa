"""Ways in which the promises could break, each found once by somebody who tried: they stay shut."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from desk import control
from exchanges import Look
from exchanges.paper import PaperExchange
from store import orders, outbox, turns
from trading import policy
from trading.errors import StoreUnavailable
from trading.model import Lane, Order, Position, Protection, Route

LONG = {"action": "buy", "price": "42000", "long SL": "41500", "long TP": "43500"}
LANE = Lane("PAPER:BINANCE", "MAIN", "BTC-USDT-PERP")


class Ear:
    """Calls back once when a stage is reached."""

    def __init__(self) -> None:
        self._wanted: dict[str, Callable[[], None]] = {}
        sys.addaudithook(self._hear)

    def at(self, stage: str, act: Callable[[], None]) -> None:
        self._wanted[stage] = act

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "desk.stage" and args[0] in self._wanted:
            self._wanted.pop(args[0])()

    def clear(self) -> None:
        self._wanted.clear()


@pytest.fixture(scope="module")
def _ear() -> Ear:
    return Ear()


@pytest.fixture
def ear(_ear: Ear) -> Iterator[Ear]:
    yield _ear
    _ear.clear()


@pytest.mark.parametrize("fault", ["stale", "refused", "unreachable"])
@pytest.mark.parametrize("verb", ["look", "cancel_report", "cancel_all"])
def test_an_exit_is_not_given_up_for_one_refused_request(sqlite_rigs: Any, verb: str, fault: str) -> None:
    rig = sqlite_rigs()
    rig.send("entry", **LONG)
    alert_id = rig.store_only("exit")
    rig.flaky().order_fault(fault, at=0, verb=verb)
    rig.settle()
    rig.wait(10, step=2)
    assert rig.status(alert_id) == "DONE"
    assert rig.position().is_flat


def test_an_exit_is_not_given_up_for_refused_closes_and_tells_once(rig: Any) -> None:
    rig.send("entry", **LONG)
    alert_id = rig.store_only("exit")
    rig.flaky().order_fault("refused", at=0, verb="place", times=7)
    rig.settle()
    assert rig.status(alert_id) == "EXECUTING"
    rig.check()
    rig.wait(200, step=10)
    assert rig.status(alert_id) == "DONE"
    assert rig.position().is_flat
    with rig.store.read() as tx:
        assert [n.kind for n in outbox.unposted(tx, 200)].count("alarm") == 1


@pytest.mark.parametrize("verb", ["price", "fills", "instrument"])
def test_the_stop_does_not_wait_for_other_answers(make_rig: Any, ear: Ear, verb: str) -> None:
    rig = make_rig(Protection.AFTER)
    ear.at("entry.settled", lambda: rig.flaky().order_fault("unreachable", at=0, verb=verb, times=1000))
    rig.send("entry", **LONG)
    rig.flaky().at = -1
    assert [r.type for r in rig.resting()].count("STOP") == 1
    rig.wait(10, step=2)
    rig.check()


def test_an_end_of_the_process_does_not_come_between_entry_and_stop(make_rig: Any, ear: Ear) -> None:
    rig = make_rig(Protection.AFTER)
    ear.at("entry.sent", rig.runner._stop.set)
    rig.store_only("entry", **LONG)
    rig.runner.step()
    assert not rig.position().is_flat
    assert [r.type for r in rig.resting()] == ["STOP"]
    rig.die()
    rig.settle()
    rig.check()


def say_position(monkeypatch: pytest.MonkeyPatch, told: Callable[[Position], Position]) -> None:
    """Lets the venue tell another position than it has, wherever it tells one."""
    position, look = PaperExchange.position, PaperExchange.look

    def looked(self: PaperExchange, symbol: str, *, ours: Sequence[Order]) -> Look:
        found = look(self, symbol, ours=ours)
        return replace(found, position=told(found.position))

    monkeypatch.setattr(PaperExchange, "position", lambda self, symbol: told(position(self, symbol)))
    monkeypatch.setattr(PaperExchange, "look", looked)


def test_a_flat_that_the_fills_deny_takes_no_stop_away(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = [2]

    def lagging(found: Position) -> Position:
        if not found.is_flat and stale[0]:
            stale[0] -= 1
            return Position(symbol=found.symbol)
        return found

    say_position(monkeypatch, lagging)
    rig.send("entry", **LONG)
    rig.wait(10, step=2)
    rig.check()
    assert rig.position().quantity == 2
    with rig.store.read() as tx:
        assert orders.lane_state(tx, LANE).trade is not None


def test_a_position_that_the_fills_do_not_explain_is_believed_in_the_end(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alert_id = rig.send("entry", **LONG)
    say_position(monkeypatch, lambda found: Position(symbol=found.symbol))
    rig.wait(12, step=2)
    assert "closed" in rig.events(alert_id)
    with rig.store.read() as tx:
        assert "drift" in [n.kind for n in outbox.unposted(tx, 50)]


def test_an_error_in_deciding_does_not_keep_the_guard_away(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = rig.send("entry", **LONG)

    def broken(**facts: object) -> None:
        raise ZeroDivisionError("for the test")

    monkeypatch.setattr(policy, "decide", broken)
    alert_id = rig.send("exit")
    rig.take_back(f"{entry}-sl")
    rig.wait(4, step=2)
    rig.check()
    rig.wait(20, step=2)
    assert rig.status(alert_id) == "FAILED"


def test_a_halt_between_plan_and_request_is_seen(any_rig: Any, ear: Ear) -> None:
    ear.at("planned", lambda: control.halt(any_rig.store, reason="t", by="t", now=any_rig.clock()))
    alert_id = any_rig.send("entry", **LONG)
    assert any_rig.status(alert_id) == "DENIED"
    any_rig.wait(4, step=2)
    assert any_rig.position().is_flat
    assert any_rig.resting() == []


def test_a_halt_amid_a_reversal_leaves_the_plan_on_record(rig: Any, ear: Ear) -> None:
    """The close of what was open is an order of the same alert, and no plan."""
    rig.send("entry", **LONG)
    alert_id = rig.store_only("entry", action="sell", price="42000", **{"short SL": "42500"})
    ear.at("planned", lambda: control.halt(rig.store, reason="t", by="t", now=rig.clock()))
    rig.settle()
    assert rig.status(alert_id) == "DENIED"
    told = [(order["role"], order["status"]) for order in rig.orders(alert_id)]
    assert told == [("entry", "DENIED"), ("stop", "DENIED"), ("close", "FILLED")]
    assert rig.alert(alert_id)["sizing"]["quantity"] is not None
    assert rig.position().is_flat
    assert rig.resting() == []


def test_an_exit_does_not_overtake_an_entry_that_was_approved(rig: Any) -> None:
    """Both are there when the lane is looked at, and the venue fails the entry once."""
    entry = rig.send("entry", route=Route.STUDY, **LONG)
    control.vote(rig.store, intent_id=entry, approve=True, voter="web", now=rig.clock())
    exit_ = rig.store_only("exit")
    rig.flaky().order_fault("unreachable", at=0, verb="prepare")
    rig.settle()
    assert rig.status(entry) == "EXECUTING"
    assert rig.status(exit_) == "RECEIVED"
    rig.wait(4)
    assert rig.status(entry) == rig.status(exit_) == "DONE"
    assert rig.position().is_flat
    assert rig.resting() == []


def test_a_refused_stop_that_goes_first_ends_the_trade(make_rig: Any) -> None:
    rig = make_rig(Protection.BEFORE)
    alert_id = rig.store_only("entry", **LONG)
    rig.flaky().order_fault("refused", at=0, verb="place")
    rig.settle()
    assert rig.status(alert_id) == "FAILED"
    assert [order["status"] for order in rig.orders(alert_id)] == ["DENIED", "REJECTED", "DENIED"]
    with rig.store.read() as tx:
        assert orders.open_lanes(tx, venue=LANE.venue, account=LANE.account) == []


def test_a_lost_entry_is_not_sent_again_behind_an_exit(rig: Any) -> None:
    entry = rig.store_only("entry", **LONG)
    rig.flaky().order_fault("lost before", at=0, verb="place")
    rig.settle()
    rig.clock.advance(1)
    exit_id = rig.send("exit")
    rig.wait(8)
    assert (rig.status(entry), rig.status(exit_id)) == ("EXPIRED", "DONE")
    assert rig.entered(entry) == 0


def test_an_expired_alert_moves_no_paper_price(rig: Any) -> None:
    rig.send("entry", **LONG)
    old = {**LONG, "price": "41000", "long SL": "40500", "time": "2026-01-05T10:00:00Z"}
    assert rig.status(rig.send("entry", subaccount="OTHER", **old)) == "EXPIRED"
    rig.wait(4, step=2)
    assert rig.position().quantity == 2


def test_a_limit_entry_whose_stop_the_market_has_passed_is_denied(any_rig: Any) -> None:
    any_rig.price("41000")
    assert any_rig.status(any_rig.send("entry", **LONG, type="limit")) == "DENIED"
    assert any_rig.resting() == []


def test_a_database_that_fails_for_a_while_costs_the_runner_no_thread(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = rig.runner._claim_next, [12]

    def failing(*but: Any) -> Any:
        if failures[0]:
            failures[0] -= 1
            raise StoreUnavailable("for the test")
        return real(*but)

    monkeypatch.setattr(rig.runner, "_claim_next", failing)
    stop, wake = threading.Event(), threading.Event()
    thread = threading.Thread(target=rig.runner.run, args=(stop, wake))
    thread.start()
    try:
        alert_id = rig.store_only("entry", **LONG)
        for _ in range(600):
            wake.set()
            if rig.status(alert_id) == "DONE":
                break
            stop.wait(0.05)
    finally:
        stop.set()
        wake.set()
        thread.join(10)
    assert rig.status(alert_id) == "DONE"


def test_two_entries_of_one_account_do_not_spend_its_balance_twice(make_rig: Any, ear: Ear) -> None:
    """A second runner comes between the sizing and the sending of the first lane's entry."""
    rig = make_rig(RISK_MAIN="100", LEVERAGE_MAIN="1")
    first = rig.store_only("entry", **LONG)
    rig.clock.advance(0.001)
    second = rig.store_only("entry", ticker="ETHUSDT.P", **LONG)
    between: list[tuple[bool, list[Any]]] = []
    ear.at("planned", lambda: between.append((rig.new_runner().step(), rig.orders(second))))
    rig.settle()
    assert between == [(True, [])]
    rig.wait(2, step=0.5)
    assert rig.status(first) == rig.status(second) == "DONE"
    sizes = [Decimal(rig.alert(i)["sizing"]["notional"]) for i in (first, second)]
    assert sizes[0] > 90000
    assert 0 < sizes[1] < 5000


@pytest.mark.parametrize("more", [{"LIMITS_MAIN": '{"max_open_positions": 1}'}, {}])
def test_an_entry_whose_turn_ran_out_is_sized_anew(make_rig: Any, ear: Ear, more: dict[str, str]) -> None:
    """The venue's answer came so late that another lane of the account has entered meanwhile."""
    rig = make_rig(RISK_MAIN="100", LEVERAGE_MAIN="1", **more)
    first = rig.store_only("entry", **LONG)
    rig.clock.advance(0.001)
    second = rig.store_only("entry", ticker="ETHUSDT.P", **LONG)
    other = rig.new_runner()

    def late() -> None:
        for _ in range(12):
            rig.clock.advance(1)
            rig.runner.renew()
            other.step()

    ear.at("planned", late)
    rig.settle()
    rig.wait(2, step=0.5)
    assert rig.status(second) == "DONE"
    if more:
        assert (rig.status(first), rig.orders(first)) == ("DENIED", [])
    else:
        assert rig.status(first) == "DONE"
        assert 0 < Decimal(rig.alert(first)["sizing"]["notional"]) < 5000
        assert rig.events(first).count("sized") == 1


def test_a_turn_is_kept_until_another_lane_has_had_it(store: Any, clock: Any) -> None:
    mine, lease = {"lane": LANE, "holder": "a"}, timedelta(seconds=10)
    theirs = {"lane": replace(LANE, symbol="ETH-USDT-PERP"), "holder": "b"}
    with store.write() as tx:
        assert turns.take(tx, **mine, now=clock(), lease=lease)
        assert turns.keep(tx, **mine, now=clock.advance(12), lease=lease), "nobody else has had it"
        assert not turns.take(tx, **theirs, now=clock.advance(9), lease=lease), "it was prolonged"
        assert turns.take(tx, **theirs, now=clock.advance(1), lease=lease)
        assert not turns.keep(tx, **mine, now=clock(), lease=lease)
        turns.give_back(tx, **theirs)
        assert not turns.keep(tx, **mine, now=clock(), lease=lease), "what they entered with is spent"


def test_a_turn_that_nobody_gave_back_ends(rig: Any) -> None:
    with rig.store.write() as tx:
        other, lease = replace(LANE, symbol="ETH-USDT-PERP"), timedelta(seconds=10)
        assert turns.take(tx, lane=other, holder="killed", now=rig.clock(), lease=lease)
    alert_id = rig.send("entry", **LONG)
    rig.wait(8, step=2)
    assert rig.orders(alert_id) == []
    rig.wait(4, step=2)
    assert rig.status(alert_id) == "DONE"


def test_a_turn_goes_on_with_its_lane(rig: Any) -> None:
    """Who had it was killed between the sizing and the sending; another one has the lane."""
    with rig.store.write() as tx:
        assert turns.take(tx, lane=LANE, holder="killed", now=rig.clock(), lease=timedelta(seconds=10))
    alert_id = rig.send("entry", **LONG)
    assert rig.status(alert_id) == "DONE"
    other = replace(LANE, symbol="ETH-USDT-PERP")
    with rig.store.write() as tx:
        assert turns.take(tx, lane=other, holder="next", now=rig.clock(), lease=timedelta(seconds=10))
        turns.give_back(tx, lane=LANE, holder="killed")
        assert not turns.take(tx, lane=LANE, holder="a", now=rig.clock(), lease=timedelta(seconds=10))


def test_no_target_is_sent_for_a_position_that_is_about_to_end(rig: Any) -> None:
    """The venue refuses the close for a while: what the exit cancelled does not come back meanwhile."""
    entry = rig.send("entry", **LONG)
    rig.store_only("exit")
    rig.flaky().order_fault("refused", at=0, verb="place", times=3)
    rig.wait(3)
    assert [r.type for r in rig.resting()] == ["STOP"]
    assert len(rig.orders(entry, "target")) == 1
    rig.wait(60, step=5)
    assert rig.position().is_flat


def test_a_database_that_fails_for_a_moment_keeps_no_position_from_its_stop(
    make_rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails where the look that finds the fill writes it down."""
    rig = make_rig(Protection.AFTER)
    rig.price("42500")
    rig.send("entry", **LONG, type="limit")
    real, failures = orders.settle, [1]

    def failing(*args: Any, **more: Any) -> None:
        if failures[0]:
            failures[0] -= 1
            raise StoreUnavailable("for the test")
        real(*args, **more)

    monkeypatch.setattr(orders, "settle", failing)
    rig.price("42000")
    assert (rig.position().quantity, rig.resting(), failures) == (2, [], [0])
    rig.wait(1)
    rig.check()
