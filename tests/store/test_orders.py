"""The ledger of a lane: what is told twice counts once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import event

from store import Store, journal, orders, sentries, tables, turns
from store.tables import alerts, intents, positions
from tests.store.rows import add
from trading.model import AlertKind, Fill, Lane, Role, Side

LANE = Lane("BINANCE", "MAIN", "BTC-USDT-PERP")
BOUGHT = {"side": Side.BUY, "quantity": Decimal("0.4"), "price": Decimal(42000), "fee": Decimal("6.72")}


def test_an_execution_that_is_told_again_counts_once(store: Store, clock: Any) -> None:
    """In one answer, in the next one, and under a number that another lane's venue gave out too."""
    more = {"fee_currency": "USDT", "maker": False, "at": clock(), "symbol": LANE.symbol}
    first = Fill(trade_id="7", client_order_id="a-e", venue_order_id="1", **BOUGHT, **more)
    second = replace(first, trade_id="8", quantity=Decimal("0.6"))
    other = Lane("BYBIT", "MAIN", LANE.symbol)
    with store.write() as tx:
        for lane in (LANE, other):
            place = {"venue": lane.venue, "account": lane.account, "symbol": lane.symbol}
            add(tx, positions, clock(), **place, due_at=clock())

    def told(lane: Lane, *fills: Fill) -> list[Fill]:
        with store.write() as tx:
            held = journal.claim(tx, lane=lane, owner="a", now=clock(), lease=timedelta(seconds=4))
            assert held is not None
            added = orders.add_fills(tx, held, fills, now=clock())
            journal.release(tx, held, due_at=clock(), now=clock())
            return added

    assert told(LANE, first, first) == [first]
    assert told(LANE, second, first) == [second]
    assert told(LANE, first, second) == []
    assert told(other, first) == [first]
    with store.read() as tx:
        ledgers = [orders.lane_state(tx, lane).ledger for lane in (LANE, other)]
    assert [ledger.quantity for ledger in ledgers] == [1, Decimal("0.4")]
    assert [ledger.fees for ledger in ledgers] == [Decimal("13.44"), Decimal("6.72")]


def test_lanes_that_traded_lately_are_found_without_a_look_at_all_orders(store: Store, clock: Any) -> None:
    day = timedelta(days=1)
    lanes = [replace(LANE, symbol=f"{coin}-USDT-PERP") for coin in ("SOL", "ETH", "BTC")]
    with store.write() as tx:
        for lane, ago in zip(lanes, (day, day + timedelta(seconds=1), timedelta()), strict=True):
            place = {"venue": lane.venue, "account": lane.account, "symbol": lane.symbol}
            add(tx, positions, clock(), **place, updated_at=clock() - ago)
    asked: list[str] = []
    event.listen(store._engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    with store.read() as tx:
        assert sentries.traded_since(tx, clock() - day) == [lanes[2], lanes[0]]
    assert not any("orders" in statement for statement in asked)


def test_what_is_followed_at_a_venue_says_which_entries_wait(store: Store, clock: Any) -> None:
    many = {"rests": "ACCEPTED", "in part": "PARTIALLY_FILLED", "done": "FILLED", "elsewhere": "ACCEPTED"}
    with store.write() as tx:
        for number, (name, status) in enumerate(many.items(), 1):
            place = {"venue": "BYBIT" if name == "elsewhere" else "BINANCE", "account": name, "symbol": name}
            named = {"id": name, "seq": number, "kind": AlertKind.ENTRY, "status": "EXECUTING"}
            add(tx, alerts, clock(), id=name, account=name, kind=AlertKind.ENTRY)
            add(tx, intents, clock(), **named, **place, attempts=0)
            add(tx, positions, clock(), **place, intent_id=name)
            for role, each in ((Role.ENTRY, status), (Role.STOP, "ACCEPTED")):
                names = {"client_order_id": f"{name} {role}", "intent_id": name, "role": role}
                add(tx, tables.orders, clock(), **place, **names, status=each)
        add(tx, positions, clock(), venue="BINANCE", account="flat", symbol="flat")
    with store.read() as tx:
        told = sorted(sentries.followed(tx, "BINANCE"))
    assert told == [("done", True), ("in part", False), ("rests", False)]


def test_entries_that_wait_for_a_turn_are_counted_among_those_at_work(store: Store, clock: Any) -> None:
    other = replace(LANE, account="OTHER")
    states = [("EXECUTING", LANE), ("EXECUTING", LANE), ("DONE", LANE), ("EXECUTING", other)]
    with store.write() as tx:
        for number, (status, lane) in enumerate(states, 1):
            named = {"id": f"a{number}", "seq": number, "kind": AlertKind.ENTRY, "status": status}
            add(tx, alerts, clock(), id=f"a{number}", account=lane.account, kind=AlertKind.ENTRY)
            place = {"venue": lane.venue, "account": lane.account, "symbol": f"S{number}"}
            add(tx, intents, clock(), **named, **place, attempts=0)
    asked: list[Any] = []
    event.listen(store._engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    with store.read() as tx:
        assert (turns.waiting(tx, LANE), turns.waiting(tx, other)) == (2, 1)
        if not store.is_postgres:  # whose planner chooses by statistics
            driver: Any = tx.connection.dbapi_connection
            plan = driver.execute(f"EXPLAIN QUERY PLAN {asked[-1]}", ["x"] * asked[-1].count("?")).fetchall()
            assert "ix_intents_status" in str(plan)
