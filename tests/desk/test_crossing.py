"""The door on Postgres: its locks, beside another process that takes the same ones in another order, and its
commit, where the connection breaks in it. Nobody is kept waiting, or is told to come again for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
from sqlalchemy import insert, select

from desk.gate import WINDOW
from store import Store, journal, open_store
from store.tables import alerts, auth_failures, refusals
from tests.desk.door import ENTRY, Door, lost_at_commit
from tests.desk.test_locked_lanes import until_waits_for_a_lock
from tests.desk.test_together import at_once
from tests.processes import PATIENCE


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    opened = open_store(postgres_url)
    yield opened
    opened.close()


@pytest.fixture
def door(store: Store, clock: Any, postgres_url: str) -> Door:
    return Door(store, clock, postgres_url)


@pytest.fixture
def admin(postgres_url: str) -> Iterator[Any]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as made:
        yield made


def test_no_lane_is_locked_while_a_key_is_waited_for(
    door: Door, postgres_url: str, admin: Any, pool: ThreadPoolExecutor
) -> None:
    """Also where an alert is there twice: another process may have the key, and want the lane."""
    assert door(id="before").code == 202
    with psycopg.connect(postgres_url) as other:
        other.execute(
            "INSERT INTO alert_keys (key, alert_id, fingerprint, taken_at)"
            " SELECT 'id:MAIN:z', alert_id, fingerprint, taken_at FROM alert_keys LIMIT 1"
        )
        sends = [
            partial(door, id="a"),
            partial(door, id="a"),
            partial(door, id="a", price="50001"),
            partial(door, id="z", ticker="ETHUSDT.P"),
        ]
        sending = pool.submit(at_once, pool, door.store, sends)
        until_waits_for_a_lock(admin)
        admin.execute("SELECT FROM positions WHERE symbol = 'BTC-USDT-PERP' FOR UPDATE NOWAIT")
        other.rollback()
        answers, _ = sending.result(PATIENCE)
    assert [answer.code for answer in answers] == [202, 200, 409, 202]


def test_keys_are_taken_in_their_order_whichever_came_first(
    door: Door, postgres_url: str, admin: Any, pool: ThreadPoolExecutor
) -> None:
    take = (
        "INSERT INTO alert_keys (key, alert_id, fingerprint, taken_at)"
        " SELECT %s, alert_id, fingerprint, taken_at FROM alert_keys LIMIT 1"
    )
    assert door(id="before").code == 202
    admin.execute("SET lock_timeout = '50ms'")
    with psycopg.connect(postgres_url) as other:
        other.execute(take, ("id:MAIN:m",))
        sending = pool.submit(at_once, pool, door.store, [partial(door, id=name) for name in "azm"])
        until_waits_for_a_lock(admin)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            admin.execute(take, ("id:MAIN:a",))
        with admin.transaction(force_rollback=True):
            admin.execute(take, ("id:MAIN:z",))
        other.rollback()
        answers, _ = sending.result(PATIENCE)
    assert [answer.code for answer in answers] == [202] * 3


def test_chains_are_locked_in_their_order_wherever_their_heads_lie(
    door: Door, postgres_url: str, admin: Any, pool: ThreadPoolExecutor
) -> None:
    for coin in "CAB":
        assert door(ticker=f"{coin}USDT.P").code == 202
    lock = "SELECT FROM chain_heads WHERE chain LIKE %s FOR UPDATE NOWAIT"
    with psycopg.connect(postgres_url) as other:
        other.execute(lock, ("%B-USDT-PERP",))
        sends = [partial(door, ticker=f"{coin}USDT.P", id=coin) for coin in "CAB"]
        sending = pool.submit(at_once, pool, door.store, sends)
        until_waits_for_a_lock(admin)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            admin.execute(lock, ("%A-USDT-PERP",))
        admin.execute(lock, ("%C-USDT-PERP",))
        other.rollback()
        answers, _ = sending.result(PATIENCE)
    assert [answer.code for answer in answers] == [202] * 3


def test_alerts_that_the_database_numbers_backwards_do_not_share_a_commit(
    door: Door, admin: Any, pool: ThreadPoolExecutor
) -> None:
    """A lane's alerts are acted on in the order of their numbers: none may overtake another unseen."""
    (sequence,) = admin.execute("SELECT pg_get_serial_sequence('alerts', 'seq')").fetchone()
    admin.execute(f"ALTER SEQUENCE {sequence} INCREMENT BY -1 MINVALUE 1 RESTART WITH 1000")
    answers, _ = at_once(pool, door.store, [partial(door, id=name) for name in "ab"])
    assert [answer.code for answer in answers] == [202] * 2
    assert admin.execute("SELECT FROM alerts GROUP BY xmin::text").rowcount == 2


def test_a_refusal_that_another_process_forgets_just_now_is_not_waited_for(
    door: Door, postgres_url: str
) -> None:
    row = {"at": door.clock(), "route": "", "code": 400, "field": None, "reason": "", "body": ""}
    with door.store.write() as tx:
        tx.execute(insert(refusals), [row] * journal.REFUSALS_KEPT)
    with psycopg.connect(postgres_url) as other:
        other.execute("DELETE FROM refusals WHERE seq = 1")
        assert door(long__SL=None).code == 422
        assert door.count(refusals) == journal.REFUSALS_KEPT + 1
        other.rollback()
    assert door(long__SL=None).code == 422
    assert door.count(refusals) == journal.REFUSALS_KEPT


def test_ten_guesses_are_all_whoever_comes_at_the_same_moment(
    door: Door, postgres_url: str, admin: Any, pool: ThreadPoolExecutor
) -> None:
    """Both asked how many there were before the other was counted."""
    for _ in range(9):
        assert door(passphrase="wrong").code == 401
    with door.store.read(), door.store.read():
        pass  # so that both find a connection that is open
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT FROM auth_failures FOR UPDATE")
        waiting = [pool.submit(door, passphrase="wrong") for _ in range(2)]
        until_waits_for_a_lock(admin, many=2)
        other.rollback()
        codes = sorted(each.result(PATIENCE).code for each in waiting)
    assert codes == [401, 429]


def test_an_old_window_that_is_locked_is_not_waited_for(door: Door, postgres_url: str) -> None:
    """Two that forget each other's, while each begins a new one, would lock each other out."""
    old = {"address": "192.0.2.1", "failures": 1, "since": door.clock() - WINDOW - timedelta(hours=1)}
    with door.store.write() as tx:
        tx.execute(insert(auth_failures), [old])
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT FROM auth_failures FOR UPDATE")
        assert door(passphrase="wrong").code == 401
        assert door.count(auth_failures) == 2
    assert door(passphrase="wrong", address="192.0.2.2").code == 401
    assert door.count(auth_failures) == 2


@pytest.mark.parametrize("is_kept", [True, False])
def test_alerts_whose_commit_broke_off_are_told_whether_they_are_there(
    door: Door, postgres_server: Any, pool: ThreadPoolExecutor, is_kept: bool
) -> None:
    assert door(id="first").code == 202
    sends = [
        partial(door, id="a"),
        partial(door, time=None),
        partial(door, message="tp1"),
        partial(door, id="first", price="50001"),
    ]
    # The first commit is that of the one that they wait for.
    with lost_at_commit(door.store, postgres_server, is_kept=is_kept, nth=2):
        answers, _ = at_once(pool, door.store, sends)
    codes = [answer.code for answer in answers]
    if is_kept:
        assert codes == [202, 202, 200, 503]
        assert len(door.wakes) == 3
        with door.store.read() as tx:
            stored = set(tx.execute(select(alerts.c.id)).scalars())
        assert {answer.body["alert_id"] for answer in answers[:3]} < stored
    else:
        assert codes == [503] * 4
        assert "not known" in answers[0].body["message"]
        assert door.count(alerts) == 1
    door.clock.advance(15)
    again = [send() for send in sends]
    assert [answer.code for answer in again] == ([200, 200, 200, 409] if is_kept else [202, 202, 200, 409])
    assert door.count(alerts) == 4


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_command_whose_commit_broke_off_is_told_whether_it_is_there(
    door: Door, postgres_server: Any, is_kept: bool
) -> None:
    body = json.dumps(ENTRY | {"message": "exit"}).encode()
    with lost_at_commit(door.store, postgres_server, is_kept=is_kept):
        answer = door.intake.submit(body, by="Ann (discord:7)")
    assert answer.code == (202 if is_kept else 503)
    assert door.count(alerts) == is_kept
