"""Lanes whose rows another process has locked, on Postgres: nobody waits for them who has other work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import event

from desk.runner import LEASE
from store import Store, journal, open_store, sentries
from trading.model import Lane

LONG = {"action": "buy", "price": "42000", "long SL": "41500", "long TP": "43500"}
HERE = Lane("PAPER:BINANCE", "MAIN", "BTC-USDT-PERP")
THERE = Lane("PAPER:BINANCE", "MAIN", "ETH-USDT-PERP")


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    opened = open_store(postgres_url)
    yield opened
    opened.close()


@pytest.fixture
def admin(postgres_url: str) -> Iterator[Any]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


@contextmanager
def locked(url: str, lane: Lane) -> Iterator[None]:
    """As a process has it that was cut off amid a transaction."""
    with psycopg.connect(url) as other:
        other.execute("SELECT FROM positions WHERE symbol = %s FOR UPDATE", (lane.symbol,))
        yield


@pytest.fixture
def two(rig: Any) -> tuple[str, str]:
    """An entry that waits in each of two lanes; the first is due longer."""
    here = rig.store_only("entry", **LONG)
    rig.clock.advance(1)
    return here, rig.store_only("entry", ticker="ETHUSDT.P", **LONG)


def lease(admin: Any, lane: Lane) -> Any:
    return admin.execute("SELECT lease_until FROM positions WHERE symbol = %s", (lane.symbol,)).fetchone()


def test_a_locked_lane_keeps_a_runner_from_no_other(
    rig: Any, two: tuple[str, str], postgres_url: str
) -> None:
    here, there = two
    with locked(postgres_url, HERE):
        rig.settle()
        assert rig.status(there) == "DONE"
        assert rig.status(here) == "RECEIVED"
    rig.settle()
    assert rig.status(here) == "DONE"


def test_a_locked_lane_keeps_no_other_from_its_lease(
    rig: Any, two: tuple[str, str], postgres_url: str, admin: Any
) -> None:
    for lane in (HERE, THERE):
        with rig.store.write() as tx:
            held = journal.claim(tx, lane=lane, owner="a", now=rig.clock(), lease=LEASE)
            assert held is not None
            rig.runner._held[lane] = held
    before = [lease(admin, lane) for lane in (HERE, THERE)]
    rig.clock.advance(1)
    renewing = threading.Thread(target=rig.runner.renew)
    with locked(postgres_url, HERE):
        renewing.start()
        until_waits_for_a_lock(admin)
        assert lease(admin, THERE) > before[1]
        # And none that it has prolonged is kept from anybody meanwhile.
        admin.execute("SELECT FROM positions WHERE symbol = %s FOR UPDATE NOWAIT", (THERE.symbol,))
        assert lease(admin, HERE) == before[0]
    renewing.join()
    assert lease(admin, HERE) > before[0]


def test_what_is_done_for_all_lanes_leaves_locked_ones_out(
    rig: Any, two: tuple[str, str], postgres_url: str
) -> None:
    for lane in (HERE, THERE):
        with rig.store.write() as tx:
            held = journal.claim(tx, lane=lane, owner="gone", now=rig.clock(), lease=timedelta(hours=1))
            assert held is not None
    with locked(postgres_url, HERE):
        with rig.store.write() as tx:
            assert journal.release_owners(tx, owners=["gone"]) == 1
        with rig.store.write() as tx:
            assert journal.release_owners(tx, owners=["gone"]) == 0
    with rig.store.write() as tx:
        assert journal.release_owners(tx, owners=["gone"]) == 1
        tx.exec_driver_sql("UPDATE positions SET due_at = NULL")
    with locked(postgres_url, HERE), rig.store.write() as tx:
        assert journal.wake_forgotten(tx, now=rig.clock()) == 1
    with rig.store.write() as tx:
        assert journal.wake_forgotten(tx, now=rig.clock()) == 1


def test_a_price_locks_its_lanes_in_one_order(make_rig: Any, postgres_url: str, admin: Any) -> None:
    """Two prices, or a price and a look at several lanes, would lock each other out."""
    rig = make_rig(RISK_OTHER="1", LEVERAGE_OTHER="1")
    for account in ("OTHER", "MAIN"):
        rig.store_only("entry", subaccount=account, **LONG)
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT FROM positions WHERE account = 'MAIN' FOR UPDATE")
        moving = threading.Thread(target=rig.price, args=("42100",))
        moving.start()
        until_waits_for_a_lock(admin)
        admin.execute("SELECT FROM positions WHERE account = 'OTHER' FOR UPDATE NOWAIT")
        # Python's order, as alerts have it that share a commit, also where the database has another locale.
        asked = "SELECT query FROM pg_stat_activity WHERE datname = current_database()"
        (waits,) = admin.execute(f"{asked} AND wait_event_type = 'Lock'").fetchone()
        assert 'ORDER BY positions.venue COLLATE "C", positions.account COLLATE "C"' in waits
    moving.join()


def test_an_account_is_looked_over_in_that_order_too(rig: Any, two: tuple[str, str]) -> None:
    rig.settle()
    asked: list[str] = []
    event.listen(rig.store._engine, "before_cursor_execute", lambda *said: asked.append(said[2]))
    with rig.store.write() as tx:
        ours = sentries.ours(tx, venue=HERE.venue, account=HERE.account)
    assert list(ours) == [HERE.symbol, THERE.symbol]
    assert asked[-1].endswith('ORDER BY positions.symbol COLLATE "C"')


def test_an_alert_that_meets_a_deadlock_is_stored(
    rig: Any, two: tuple[str, str], postgres_url: str, admin: Any
) -> None:
    answers: list[Any] = []
    alert = threading.Thread(target=lambda: answers.append(rig.post("exit", id="x")))
    with psycopg.connect(postgres_url) as other:
        other.execute("SET deadlock_timeout = '20s'")  # it is the alert that is given up
        other.execute("SELECT FROM positions WHERE symbol = %s FOR UPDATE", (HERE.symbol,))
        alert.start()
        until_waits_for_a_lock(admin)
        other.execute(
            "INSERT INTO alert_keys (key, alert_id, fingerprint, taken_at)"
            " SELECT 'id:MAIN:x', alert_id, fingerprint, taken_at FROM alert_keys LIMIT 1"
        )
        other.rollback()
    alert.join()
    assert [answer.code for answer in answers] == [202]


def until_waits_for_a_lock(admin: Any, many: int = 1) -> None:
    asked = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while admin.execute(asked).rowcount < many:
        admin.execute("SELECT pg_sleep(0.01)")
