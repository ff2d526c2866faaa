"""Claims, order, leases, and what a runner does about trouble."""

from __future__ import annotations

import threading
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import event, select

from desk import owner
from desk.runner import LEASE, MUSTERED, PACE, RENEW_EVERY, THREADS, TICK, Runner
from desk.service import Service
from desk.view import NAKED_LIMIT
from exchanges.paper import PaperExchange
from store import journal, paper
from store.tables import positions
from trading.errors import LostClaim
from trading.lifecycle import IntentEvent
from trading.model import ZERO, InstrumentKind, Lane, Protection

LONG = {"action": "buy", "price": "42000", "long SL": "41500", "long TP": "43500"}
LANE = Lane("PAPER:BINANCE", "MAIN", "BTC-USDT-PERP")


def claim(rig: Any, owner: str = "a") -> journal.Claim | None:
    with rig.store.write() as tx:
        return journal.claim(tx, lane=LANE, owner=owner, now=rig.clock(), lease=LEASE)


def test_one_claim_at_a_time_until_its_lease_ends(rig: Any) -> None:
    rig.store_only("entry", **LONG)
    first = claim(rig)
    assert first is not None
    assert claim(rig, "b") is None
    rig.clock.advance(LEASE)
    second = claim(rig, "b")
    assert second is not None
    assert second.token > first.token


def test_a_dead_runners_lane_is_free_before_its_position_may_lie_bare() -> None:
    """Where nobody can see that it has died: `python -m tests.matrix --runners hosts` kills it."""
    assert LEASE + timedelta(seconds=TICK) < NAKED_LIMIT
    assert timedelta(seconds=3 * RENEW_EVERY) < LEASE, "two renewals may fail"


def test_a_renewed_lease_holds(rig: Any) -> None:
    rig.store_only("entry", **LONG)
    first = claim(rig)
    assert first is not None
    rig.clock.advance(LEASE - timedelta(seconds=1))
    with rig.store.write() as tx:
        journal.renew(tx, claims=[first], now=rig.clock(), lease=LEASE)
    rig.clock.advance(2)
    assert claim(rig, "b") is None


def test_who_was_overtaken_may_write_nothing(rig: Any) -> None:
    alert_id = rig.store_only("entry", **LONG)
    stale = claim(rig)
    rig.clock.advance(LEASE)
    assert claim(rig, "b") is not None
    assert stale is not None
    with rig.store.read() as tx:
        intent = journal.find(tx, alert_id)
    with pytest.raises(LostClaim), rig.store.write() as tx:
        journal.advance(tx, stale, intent, IntentEvent.APPROVE, reason="", now=rig.clock())
    with pytest.raises(LostClaim), rig.store.write() as tx:
        journal.release(tx, stale, due_at=None, now=rig.clock())
    assert rig.status(alert_id) == "RECEIVED"


def test_a_run_that_ends_past_its_lease_leaves_the_next_claim_of_its_own_process_in_hand(rig: Any) -> None:
    """What is not in hand is not prolonged, and not waited for when the process shall end."""
    rig.store_only("entry", **LONG)
    stale = rig.runner._claim_next()
    rig.clock.advance(LEASE)
    newer = rig.runner._claim_next()
    assert newer.token > stale.token
    rig.runner._forget(stale)
    rig.clock.advance(LEASE - timedelta(seconds=1))
    rig.runner.renew()
    rig.clock.advance(2)
    assert claim(rig, "b") is None
    rig.runner._forget(newer)
    rig.clock.advance(LEASE)
    rig.runner.renew()
    assert claim(rig, "b") is not None


def test_an_alert_that_comes_during_a_claim_is_not_forgotten(rig: Any) -> None:
    rig.store_only("entry", **LONG)
    held = claim(rig)
    assert held is not None
    rig.store_only("exit")
    with rig.store.write() as tx:
        journal.release(tx, held, due_at=None, now=rig.clock())
        assert journal.due_lanes(tx, now=rig.clock(), limit=5) == [LANE]


def test_a_lane_at_rest_is_not_looked_at(rig: Any) -> None:
    rig.send("entry", **LONG)
    rig.send("exit")
    rig.clock.advance(3600)
    assert rig.runner.step() is False


def test_the_sweep_finds_what_nobody_would_look_at(rig: Any) -> None:
    alert_id = rig.store_only("entry", **LONG)
    held = claim(rig)
    assert held is not None
    with rig.store.write() as tx:
        journal.release(tx, held, due_at=None, now=rig.clock())
    assert rig.runner.step() is False
    rig.runner.sweep()
    rig.settle()
    assert rig.status(alert_id) == "DONE"


def test_a_clock_that_is_set_back_puts_no_look_off(make_rig: Any) -> None:
    """An hour: as where a machine starts with the wrong time and is told the right one later."""
    rig = make_rig(Protection.AFTER)
    alert_id = rig.send("entry", **LONG)
    rig.runner.keep_time()
    rig.clock.advance(-3600)
    rig.take_back(f"{alert_id}-sl")
    rig.runner.keep_time()
    rig.settle()
    rig.check()


def test_a_dead_owner_on_this_machine_is_recognised(rig: Any) -> None:
    import os
    import subprocess

    gone = subprocess.Popen(["true"])
    gone.wait()
    rig.store_only("entry", **LONG)
    assert claim(rig, f"{owner.MACHINE}:{gone.pid}:123") is not None
    rig.runner.free_dead()
    held = claim(rig, rig.runner._owner)
    assert held is not None, "the dead one's lane was not freed"
    rig.runner.free_dead()
    assert claim(rig, "c") is None, "a living owner's lane was freed"
    with rig.store.write() as tx:
        journal.release(tx, held, due_at=rig.clock(), now=rig.clock())
    assert claim(rig, f"{owner.MACHINE}0:{os.getpid()}:1") is not None
    rig.runner.free_dead()
    assert claim(rig, "d") is None, "an owner elsewhere cannot be judged from here"


def test_alerts_of_one_lane_go_in_order_and_lanes_beside_each_other(rig: Any) -> None:
    """A threaded runner over many lanes: each alert once, in its lane's order."""
    tickers = [f"COIN{number}USDT.P" for number in range(3)]
    ids: dict[str, list[str]] = {ticker: [] for ticker in tickers}
    for message in ("entry", "exit", "entry", "exit"):
        for ticker in tickers:
            fields = LONG if message == "entry" else {"price": "42000"}
            ids[ticker].append(rig.store_only(message, ticker=ticker, **{**fields, "size": "0.01"}))
    stop, wake = threading.Event(), threading.Event()
    thread = threading.Thread(target=rig.runner.run, args=(stop, wake))
    thread.start()
    try:
        # The lanes share one account, whose entries take turns: for those that wait time must go on.
        until(lambda: rig.clock.advance(0.05) and all(rig.status(of[-1]) == "DONE" for of in ids.values()))
    finally:
        stop.set()
        wake.set()
        thread.join(10)
    for of in ids.values():
        assert [rig.status(i) for i in of] == ["DONE"] * 4
        ends = [event["at"] for i in of for event in rig.alert(i)["timeline"] if event["event"] == "done"]
        assert len(ends) == 4
        assert ends == sorted(ends)
        assert [len(rig.orders(i, "close", "FILLED")) for i in of] == [0, 1, 0, 1]


def test_a_venue_that_does_not_answer_holds_no_other_up(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of its lanes are due than there are threads, and each look waits."""
    answers, look = threading.Event(), PaperExchange.look

    def silent(self: PaperExchange, symbol: str, *, ours: Any) -> Any:
        if self.name == "PAPER:BYBIT":
            answers.wait(60)
        return look(self, symbol, ours=ours)

    monkeypatch.setattr(PaperExchange, "look", silent)
    for number in range(2 * THREADS):
        rig.store_only("exit", exchange="BYBIT", ticker=f"COIN{number}USDT.P")
    stop, wake = threading.Event(), threading.Event()
    thread = threading.Thread(target=rig.runner.run, args=(stop, wake))
    thread.start()
    try:
        until(lambda: len(rig.runner._held) == THREADS)
        entry, exit_ = rig.store_only("entry", **LONG), rig.store_only("exit")
        until(lambda: rig.status(entry) == rig.status(exit_) == "DONE")
        until(lambda: len(rig.runner._held) == THREADS)
    finally:
        answers.set()
        stop.set()
        wake.set()
        thread.join(20)


def test_the_lanes_of_a_venue_and_kind_can_be_left_out(rig: Any) -> None:
    for exchange, ticker in (("BYBIT", "BTCUSDT.P"), ("BYBIT", "BTCUSDT"), ("BINANCE", "BTCUSDT.P")):
        rig.store_only("exit", exchange=exchange, ticker=ticker)
    for kind, left in ((InstrumentKind.PERPETUAL, "BTC-USDT"), (InstrumentKind.SPOT, LANE.symbol)):
        with rig.store.read() as tx:
            due = journal.due_lanes(tx, now=rig.clock(), limit=9, but=[("PAPER:BYBIT", kind)])
        assert set(due) == {LANE, Lane("PAPER:BYBIT", "MAIN", left)}


def test_an_error_that_nobody_foresaw_ends_the_intent_and_not_the_lane(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: PaperExchange, symbol: str, **facts: object) -> None:
        raise ZeroDivisionError("for the test")

    monkeypatch.setattr(PaperExchange, "prepare", broken)
    poison = rig.send("entry", **LONG)
    rig.wait(20, step=2)
    assert rig.status(poison) == "FAILED"
    assert "ZeroDivisionError" in rig.alert(poison)["reason"]
    monkeypatch.undo()
    assert rig.status(rig.send("entry", **LONG)) == "DONE"


def test_the_service_does_what_is_stored_and_stops(rig: Any) -> None:
    # Tests of this process that talked to venues have threads of their own.
    before = threading.active_count()
    service = Service(rig.store, rig.settings, rig.clock)
    service.start()
    service.start()
    alert_id = rig.store_only("entry", **LONG)
    service.wake()
    try:
        until(lambda: rig.status(alert_id) == "DONE")
    finally:
        service.stop(10)
    assert threading.active_count() < before + 20


def test_a_runner_says_that_it_lives(rig: Any) -> None:
    from store import switches

    Runner(rig.store, rig.settings, rig.clock).beat()
    with rig.store.read() as tx:
        assert switches.last_beat(tx, "runner") == rig.clock()


def until(condition: Any, seconds: float = 40) -> None:
    import time

    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def test_a_price_that_stays_wakes_those_alone_whom_it_trades(rig: Any) -> None:
    """Two wait at their limits; what can be traded at once is less than they want."""

    def due() -> list[str]:
        with rig.store.read() as tx:
            return [lane.account for lane in journal.due_lanes(tx, now=rig.clock(), limit=9)]

    def seen_at(price: str) -> None:
        rig.clock.advance(0.001)
        rig.venues.price(LANE.symbol, Decimal(price), rig.clock())

    for account, price in (("MAIN", "41800"), ("OTHER", "41700")):
        rig.venues.price(LANE.symbol, Decimal(42000), rig.clock())
        rig.send("entry", **LONG | {"price": price}, size="1", type="limit", subaccount=account)
    with rig.store.write() as tx:
        paper.set_liquidity(tx, symbol=LANE.symbol, quantity=Decimal("0.4"), now=rig.clock())
    assert due() == []
    seen_at("42000")
    assert due() == []
    seen_at("41800")
    assert due() == ["MAIN", "OTHER"], "it moved"
    rig.settle()
    seen_at("41800")
    assert due() == ["MAIN"], "and goes on with what it has met"


def test_a_start_has_many_lanes_looked_at_and_keeps_no_alert_waiting(rig: Any) -> None:
    count = 2 * MUSTERED + 1
    flat = {"venue": LANE.venue, "account": LANE.account, "token": 0, "wakes": 0, "updated_at": rig.clock()}
    flat |= {"quantity": ZERO, "realised_pnl": ZERO, "fees": ZERO}
    soon = rig.clock() + PACE / 2
    with rig.store.write() as tx:
        lanes = [flat | {"symbol": f"A{number:03}-USDT-PERP", "due_at": None} for number in range(count)]
        tx.execute(positions.insert(), lanes[:-1])
        tx.execute(positions.insert(), lanes[-1] | {"due_at": soon})
    told = [0]
    engine = rig.store._engine
    event.listen(engine, "commit", lambda connection: told.append(0))

    def telling(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        told[-1] += statement.startswith("UPDATE positions")

    event.listen(engine, "before_cursor_execute", telling)
    rig.runner.muster()
    # The door's transactions come between these.
    assert [each for each in told if each] == [MUSTERED, MUSTERED, 1]

    with rig.store.read() as tx:
        due = tx.execute(select(positions.c.due_at).order_by(positions.c.symbol)).scalars().all()
    assert due == [rig.clock() + number * PACE for number in range(count - 1)] + [soon]
    # An alert has its turn among them, and not behind them all.
    rig.store_only("entry", ticker="ZZZUSDT.P", **LONG)
    with rig.store.read() as tx:
        first = journal.due_lanes(tx, now=rig.clock() + timedelta(days=1), limit=3)
    assert "ZZZ-USDT-PERP" in [lane.symbol for lane in first]


def test_a_lane_that_waits_keeps_its_place_whatever_wakes_it(rig: Any) -> None:
    """Where more is to be done than can be, one that is woken again and again must have its turn."""
    rig.store_only("entry", **LONG)
    since = rig.clock()
    other = rig.store_only("entry", ticker="ETHUSDT.P", **LONG)
    rig.clock.advance(1)
    rig.store_only("exit")
    with rig.store.write() as tx:
        journal.wake(tx, symbol=LANE.symbol, now=rig.clock())
        journal.look_at(tx, lane=LANE, now=rig.clock())
        journal.wake_lane(tx, intent_id=other, now=rig.clock())
    with rig.store.read() as tx:
        rows = tx.execute(select(positions.c.due_at, positions.c.wakes)).all()
    assert [row.due_at for row in rows] == [since, since]
    assert sorted(row.wakes for row in rows) == [2, 4], "each is heard all the same"
    held = claim(rig)
    assert held is not None
    with rig.store.write() as tx:
        journal.release(tx, held, due_at=rig.clock() + timedelta(hours=1), now=rig.clock())
    rig.store_only("exit")
    with rig.store.read() as tx:
        due = tx.execute(select(positions.c.due_at).where(positions.c.symbol == LANE.symbol)).scalar_one()
    assert due == rig.clock(), "one that would have waited is due at once"


def test_an_alert_is_not_left_to_others_for_longer_than_a_moment(rig: Any) -> None:
    """It comes to a lane that is due in half a minute, since the first look of this process failed."""
    rig.send("entry", **LONG)
    rig.send("exit")
    rig.die()
    rig.runner._among_others = True
    rig.flaky().order_fault("unreachable", at=0, verb="look")
    rig.runner.muster()
    rig.settle()
    alert_id = rig.store_only("entry", **LONG)
    rig.settle()
    assert rig.status(alert_id) == "RECEIVED", "the others come first"
    rig.wait(2 * TICK, step=TICK)
    assert rig.status(alert_id) == "DONE"
