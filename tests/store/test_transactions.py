"""Transactions under stress: many writers, locks, full disks, lost servers; on both databases."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from types import ModuleType
from typing import Any

import psycopg
import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import OperationalError

from store import Conflict, Store, _engine, lockout, open_store
from store.tables import state, votes
from tests.desk.door import lost_at_commit
from trading.errors import CommitInDoubt, StoreUnavailable


def put(tx: Any, key: str, clock: Any, value: str = "") -> None:
    tx.execute(insert(state).values(key=key, value=value, at=clock()))


def adds(key: str, clock: Any, value: str = "") -> Callable[[Any], None]:
    return lambda tx: put(tx, key, clock, value)


def write(store: Store, *steps: Callable[[Any], None]) -> None:
    """One transaction of these steps."""
    with store.write() as tx:
        for step in steps:
            step(tx)


def keys(store: Store) -> list[str]:
    with store.read() as tx:
        return list(tx.execute(select(state.c.key).order_by(state.c.key)).scalars())


def driver(version: tuple[int, int, int]) -> ModuleType:
    """The best SQLite module here, claiming to be of another version."""
    module = ModuleType("sqlite_driver")
    module.__dict__.update(vars(_engine.sqlite_driver()), sqlite_version_info=version)
    return module


# Transactions


def test_writes_what_the_block_wrote(store: Store, clock: Any) -> None:
    with store.write() as tx:
        put(tx, "a", clock)
        put(tx, "b", clock)
    assert keys(store) == ["a", "b"]


def test_an_error_of_the_caller_undoes_all_and_passes(store: Store, clock: Any) -> None:
    error = RuntimeError("mine")

    def fail(tx: Any) -> None:
        raise error

    with pytest.raises(RuntimeError) as caught:
        write(store, adds("a", clock), fail)
    assert caught.value is error
    assert keys(store) == []


def test_a_conflict_passes_and_undoes_all(store: Store, clock: Any) -> None:
    with store.write() as tx:
        put(tx, "a", clock)
    with pytest.raises(Conflict) as caught:
        write(store, adds("b", clock), adds("a", clock, "hunter2"))
    assert "hunter2" not in str(caught.value)
    assert keys(store) == ["a"]


def test_a_savepoint_survives_a_conflict(store: Store, clock: Any) -> None:
    with store.write() as tx:
        put(tx, "a", clock)
        with pytest.raises(Conflict), tx.begin_nested():
            put(tx, "a", clock)
        put(tx, "b", clock)
    assert keys(store) == ["a", "b"]


def test_foreign_keys_hold(store: Store, clock: Any) -> None:
    with pytest.raises(Conflict), store.write() as tx:
        tx.execute(insert(votes).values(intent_id="none", voter="v", approve=True, at=clock()))


def test_a_swallowed_error_is_never_a_silent_loss(store: Store, clock: Any) -> None:
    """Postgres answers COMMIT with a rollback then, and the driver says nothing."""
    with store.write() as tx:
        put(tx, "a", clock)

    def swallow() -> None:
        with store.write() as tx:
            put(tx, "b", clock)
            with pytest.raises(Conflict):
                put(tx, "a", clock)

    if store.is_postgres:
        with pytest.raises(StoreUnavailable, match="undone"):
            swallow()
        assert keys(store) == ["a"]
    else:
        swallow()
        assert keys(store) == ["a", "b"]


def test_a_read_writes_nothing(store: Store, clock: Any) -> None:
    with pytest.raises(StoreUnavailable, match=r"(?i)read-?only"), store.read() as tx:
        put(tx, "a", clock)
    assert keys(store) == []
    with store.write() as tx:
        put(tx, "a", clock)
    assert keys(store) == ["a"]


def test_a_read_sees_one_moment(store: Store, clock: Any) -> None:
    with store.read() as view:
        count = text("SELECT count(*) FROM state")
        assert view.execute(count).scalar_one() == 0
        with store.write() as tx:
            put(tx, "a", clock)
        assert view.execute(count).scalar_one() == 0
    assert keys(store) == ["a"]


def test_a_closed_store_opens_again(store: Store) -> None:
    store.close()
    assert keys(store) == []


# Many at once


def test_concurrent_writers_lose_nothing(database_url: str, clock: Any) -> None:
    stores = [open_store(database_url) for _ in range(4)]

    def work(number: int) -> list[int]:
        counts = []
        for _ in range(25):
            with stores[number % 4].write() as tx:
                counts.append(lockout.fail(tx, "address", now=clock(), window=timedelta(hours=1)))
        return counts

    with ThreadPoolExecutor(8) as pool:
        counted = sorted(count for counts in pool.map(work, range(8)) for count in counts)
    assert counted == list(range(1, 201))
    for each in stores:
        each.close()


@pytest.mark.parametrize("module", [driver((3, 51, 3)), driver((3, 51, 2))], ids=["wal", "delete"])
def test_reading_before_writing_is_safe_on_sqlite(sqlite_url: str, module: ModuleType, clock: Any) -> None:
    """With a plain BEGIN nearly every one of these would fail at once, or overwrite another's count."""
    stores = [open_store(sqlite_url, driver=module) for _ in range(4)]
    with stores[0].write() as tx:
        put(tx, "count", clock, "0")

    def work(number: int) -> None:
        for _ in range(10):
            with stores[number % 4].write() as tx:
                seen = int(tx.execute(select(state.c.value)).scalar_one())
                tx.execute(update(state).values(value=str(seen + 1)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    with stores[0].read() as tx:
        assert tx.execute(select(state.c.value)).scalar_one() == "80"
    for each in stores:
        each.close()


def test_many_threads_on_one_store_all_get_their_turn(store: Store, clock: Any) -> None:
    def work(number: int) -> None:
        with store.write() as tx:
            put(tx, f"{number:03}", clock)

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(work, range(96)))
    assert len(keys(store)) == 96


def hold_lock(url: str) -> ExitStack:
    """Another process's unfinished write; closing the stack ends it."""
    stack = ExitStack()
    if url.startswith("postgres"):
        # Not by a Store: the database ends one that says nothing for so long.
        stack.enter_context(psycopg.connect(url)).execute("LOCK TABLE state IN ACCESS EXCLUSIVE MODE")
    else:
        other = open_store(url)
        stack.callback(other.close)
        stack.enter_context(other.write())
    return stack


def test_a_lock_held_elsewhere_is_unavailable_in_time(store: Store, database_url: str, clock: Any) -> None:
    with hold_lock(database_url):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="lock") as caught, store.write() as tx:
            put(tx, "a", clock, "hunter2")
        assert time.monotonic() - began < 4
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    with store.write() as tx:
        put(tx, "a", clock)
    assert keys(store) == ["a"]


def test_waiting_for_a_turn_ends_in_time(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    inside, leave = threading.Event(), threading.Event()

    def dawdle() -> None:
        with store.write():
            inside.set()
            leave.wait(30)

    slow = threading.Thread(target=dawdle)
    slow.start()
    assert inside.wait(30)
    with pytest.raises(StoreUnavailable, match="no turn"), store.write():
        pass
    leave.set()
    slow.join()
    store.close()


def test_an_exhausted_pool_is_unavailable(store: Store) -> None:
    with ExitStack() as held:
        for _ in range(10 if store.is_postgres else 25):
            held.enter_context(store.read())
        with pytest.raises(StoreUnavailable, match="every connection is in use"), store.read():
            pass
    assert keys(store) == []


# Trouble


def test_a_full_disk_leaves_nothing_half_written(sqlite_url: str, clock: Any) -> None:
    store = open_store(sqlite_url)
    with store.write() as tx:
        put(tx, "before", clock)
        pages = tx.exec_driver_sql("PRAGMA page_count").scalar_one()
        tx.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreUnavailable, match="full"):
        write(store, adds("small", clock), adds("large", clock, "x" * 100_000))
    assert keys(store) == ["before"]
    with store.write() as tx:
        tx.exec_driver_sql("PRAGMA max_page_count = 1000000")
        put(tx, "large", clock, "x" * 100_000)
    assert keys(store) == ["before", "large"]
    store.close()


def test_a_swallowed_full_disk_is_told_at_the_end(sqlite_url: str, clock: Any) -> None:
    """SQLite undoes the whole transaction then, and would run what follows without one."""
    store = open_store(sqlite_url)

    def swallow(tx: Any) -> None:
        pages = tx.exec_driver_sql("PRAGMA page_count").scalar_one()
        tx.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
        put(tx, "small", clock)
        with pytest.raises(OperationalError):
            put(tx, "large", clock, "x" * 100_000)

    with pytest.raises(StoreUnavailable, match="undone"):
        write(store, swallow)
    assert keys(store) == []
    store.close()


def ends_backend(postgres: Any) -> Callable[[Any], None]:
    def end(tx: Any) -> None:
        with postgres.connect() as admin:
            pid = tx.execute(text("SELECT pg_backend_pid()")).scalar_one()
            admin.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))

    return end


def test_a_server_lost_in_a_transaction(postgres_url: str, postgres_server: Any, clock: Any) -> None:
    store = open_store(postgres_url)
    with pytest.raises(StoreUnavailable):
        write(store, adds("lost", clock), ends_backend(postgres_server), adds("too late", clock))
    with store.write() as tx:
        put(tx, "next", clock)
    assert keys(store) == ["next"]
    store.close()


def test_a_server_lost_before_the_commit(postgres_url: str, postgres_server: Any, clock: Any) -> None:
    store = open_store(postgres_url)
    with pytest.raises(StoreUnavailable):
        write(store, adds("lost", clock), ends_backend(postgres_server))
    assert keys(store) == []
    store.close()


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_server_lost_in_the_commit_is_told_as_such(
    postgres_url: str, postgres_server: Any, clock: Any, is_kept: bool
) -> None:
    store = open_store(postgres_url)
    with (
        lost_at_commit(store, postgres_server, is_kept=is_kept),
        pytest.raises(CommitInDoubt, match=r"^database: .*terminat"),
    ):
        write(store, adds("a", clock))
    assert keys(store) == ["a"] * is_kept
    store.close()


def test_a_server_lost_while_idle_is_not_noticed(postgres_url: str, postgres_server: Any, clock: Any) -> None:
    store = open_store(postgres_url)
    with postgres_server.connect() as admin:
        with store.write() as tx:
            pid = tx.execute(text("SELECT pg_backend_pid()")).scalar_one()
        admin.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
    with store.write() as tx:
        put(tx, "a", clock)
    assert keys(store) == ["a"]
    store.close()


def raise_state(tx: Any, code: str) -> None:
    tx.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'trouble' USING ERRCODE = '{code}'; END $$"))


# Trying again


def contend(store: Store, url: str, tx: Any) -> None:
    """Fails as a transaction does that another one got in the way of."""
    if store.is_postgres:
        raise_state(tx, "40001")
    impatient = _engine.build(url, patience=0.0)
    try:
        with impatient.connect().execution_options(**{_engine.WRITES: 0}) as other, other.begin():
            pass
    finally:
        impatient.dispose()


def test_a_transaction_in_the_way_is_tried_again(store: Store, database_url: str, clock: Any) -> None:
    runs: list[int] = []

    def work(tx: Any) -> str:
        runs.append(1)
        put(tx, f"{len(runs)}", clock)
        if len(runs) < 3:
            contend(store, database_url, tx)
        return "done"

    assert store.retry_write(work) == "done"
    assert keys(store) == ["3"]


def test_three_tries_are_all(store: Store, database_url: str) -> None:
    runs: list[int] = []

    def work(tx: Any) -> None:
        runs.append(1)
        contend(store, database_url, tx)

    with pytest.raises(StoreUnavailable):
        store.retry_write(work)
    assert len(runs) == 3


def test_other_failures_are_not_tried_again(store: Store, clock: Any) -> None:
    runs: list[int] = []

    def fails(error: Callable[[Any], None]) -> Callable[[Any], None]:
        def work(tx: Any) -> None:
            runs.append(1)
            error(tx)

        return work

    def conflict(tx: Any) -> None:
        put(tx, "a", clock)
        put(tx, "a", clock)

    def missing(tx: Any) -> None:
        tx.execute(text("SELECT * FROM nowhere"))

    with pytest.raises(Conflict):
        store.retry_write(fails(conflict))
    with pytest.raises(StoreUnavailable):
        store.retry_write(fails(missing))
    assert len(runs) == 2


def test_a_lost_connection_is_not_tried_again(postgres_url: str, postgres_server: Any) -> None:
    store = open_store(postgres_url)
    runs: list[int] = []

    def work(tx: Any) -> None:
        runs.append(1)
        ends_backend(postgres_server)(tx)

    with pytest.raises(StoreUnavailable):
        store.retry_write(work)
    assert len(runs) == 1
    store.close()
