"""Works of several threads share a commit; each comes to its own end, and none is told before the commit."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, select, text, update

from store import Store, open_store
from store._company import Company
from store._engine import sqlite_driver
from store.tables import state
from tests.processes import until
from tests.store.together import shared_write
from trading.errors import CommitInDoubt, StoreUnavailable

AT = datetime(2026, 1, 5, tzinfo=UTC)
MANY = 20


@pytest.fixture
def lonely(sqlite_url: str) -> Iterator[Store]:
    made = open_store(sqlite_url)
    yield made
    made.close()


def put(name: str) -> Callable[[Connection], str]:
    def work(tx: Connection) -> str:
        tx.execute(insert(state), {"key": name, "value": name, "at": AT})
        return name

    return work


def kept(store: Store) -> set[str]:
    with store.read() as tx:
        return set(tx.execute(select(state.c.key)).scalars())


def together(store: Store, works: list[Callable[[Connection], Any]]) -> list[Any]:
    """What each comes to, where all but a first one come while that one is at work."""
    begun, go_on = threading.Event(), threading.Event()

    def first(tx: Connection) -> str:
        begun.set()
        assert go_on.wait(20)
        return "first"

    with ThreadPoolExecutor(len(works) + 1) as pool:
        leader = pool.submit(shared_write, store, first)
        assert begun.wait(20)
        others = [pool.submit(shared_write, store, work) for work in works]
        until(lambda: len(store._company._waiting) == len(works), "all of them wait")
        go_on.set()
        assert leader.result(20) == "first"
        return [other.exception(20) or other.result() for other in others]


def test_who_comes_while_another_commits_shares_the_next_commit(lonely: Store) -> None:
    commits = []
    event.listen(lonely._engine, "commit", lambda _: commits.append(1))
    names = [f"n{number}" for number in range(MANY)]
    assert together(lonely, [put(name) for name in names]) == names
    assert len(commits) == 2
    assert kept(lonely) >= set(names)


def test_more_than_fit_are_all_carried(lonely: Store) -> None:
    """By several, so that nobody else waits long for his turn; each hands on to the next one at once."""
    lonely._company = Company(lonely.retry_write, stuck=1000)
    commits = []
    event.listen(lonely._engine, "commit", lambda _: commits.append(1))
    names = [f"n{number}" for number in range(150)]
    assert together(lonely, [put(name) for name in names]) == names
    assert len(commits) == 1 + 3
    assert kept(lonely) >= set(names)


def test_one_that_fails_takes_nobody_along(lonely: Store) -> None:
    def fails(tx: Connection) -> None:
        put("half done")(tx)
        raise ZeroDivisionError

    names = [f"n{number}" for number in range(MANY)]
    works: list[Callable[[Connection], Any]] = [put(name) for name in names]
    found = together(lonely, [*works[:7], fails, *works[7:]])
    assert isinstance(found.pop(7), ZeroDivisionError)
    assert found == names
    assert kept(lonely) >= set(names)
    assert "half done" not in kept(lonely)


def test_where_the_database_takes_nothing_all_are_told_soon(lonely: Store, sqlite_url: str) -> None:
    other = sqlite_driver().connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    try:
        assert shared_write(lonely, put("before")) == "before"
        other.execute("BEGIN IMMEDIATE")
        tried: list[int] = []
        write = lonely._company._write

        def counted(work: Callable[[Connection], Any]) -> Any:
            tried.append(1)
            return write(work)

        lonely._company._write = counted
        with ThreadPoolExecutor(100) as pool:
            waiting = [pool.submit(shared_write, lonely, put(f"n{number}")) for number in range(100)]
            found = [each.exception(30) for each in waiting]
        assert {type(each) for each in found} == {StoreUnavailable}
        # One wait for the lock, not one for each load of passengers.
        assert len(tried) == 1
        other.execute("ROLLBACK")
        assert shared_write(lonely, put("after")) == "after"
        assert kept(lonely) >= {"before", "after"}
        assert not any(name.startswith("n") for name in kept(lonely))
    finally:
        other.close()


def test_who_was_taken_along_by_one_that_ends_amid_its_work_is_told_so(lonely: Store) -> None:
    def ends(tx: Connection) -> None:
        raise SystemExit

    found = together(lonely, [put("a"), ends, put("b")])
    assert [type(each) for each in found] == [SystemExit, CommitInDoubt, CommitInDoubt]
    assert shared_write(lonely, put("after")) == "after"
    assert not {"a", "b"} & kept(lonely)


def test_nobody_counts_on_one_that_waited_and_has_gone(lonely: Store, request: pytest.FixtureRequest) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def first(tx: Connection) -> None:
        begun.set()
        assert go_on.wait(20)

    def interrupt() -> None:
        until(lambda: lonely._company._waiting, "it waits")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    # A runner that was started in this process may have left a handler of its own.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with ThreadPoolExecutor(3) as pool:
        leader = pool.submit(shared_write, lonely, first)
        assert begun.wait(20)
        interrupting = pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            shared_write(lonely, put("gone"))
        interrupting.result(20)
        go_on.set()
        leader.result(20)
        assert pool.submit(shared_write, lonely, put("after")).result(20) == "after"
    assert "gone" not in kept(lonely)


def test_who_hangs_holds_up_nobody_but_those_that_it_took_along(postgres_url: str) -> None:
    store = open_store(postgres_url)
    store._company = Company(store.retry_write, stuck=0.5)
    begun, go_on = threading.Event(), threading.Event()

    def hangs(tx: Connection) -> str:
        begun.set()
        while not go_on.wait(0.2):  # Postgres ends who says nothing
            tx.execute(text("SELECT 1"))
        return "in the end"

    try:
        with ThreadPoolExecutor(MANY + 1) as pool:
            leader = pool.submit(shared_write, store, hangs)
            assert begun.wait(20)
            names = [f"n{number}" for number in range(MANY)]
            assert list(pool.map(partial(shared_write, store), map(put, names), timeout=20)) == names
            assert not leader.done()
            go_on.set()
            assert leader.result(20) == "in the end"
        assert shared_write(store, put("after")) == "after"
    finally:
        go_on.set()
        store.close()


def test_nobody_is_told_before_the_commit(lonely: Store, sqlite_url: str) -> None:
    """Each caller, the moment that it is told, finds its row by another connection."""
    missing = []

    def one(number: int) -> None:
        name = shared_write(lonely, put(f"n{number}"))
        reader = open_store(sqlite_url)
        try:
            if name not in kept(reader):
                missing.append(name)
        finally:
            reader.close()

    with ThreadPoolExecutor(MANY) as pool:
        list(pool.map(one, range(5 * MANY)))
    assert missing == []


def test_works_are_done_in_the_order_of_their_places(lonely: Store) -> None:
    done: list[str] = []

    def work(name: str) -> Callable[[Connection], None]:
        return lambda tx: done.append(name)

    begun, go_on = threading.Event(), threading.Event()

    def first(tx: Connection) -> None:
        begun.set()
        assert go_on.wait(20)

    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(shared_write, lonely, first)]
        assert begun.wait(20)
        waiting += [pool.submit(shared_write, lonely, work(name), ("lane", name)) for name in "cab"]
        until(lambda: len(lonely._company._waiting) == 3, "all of them wait")
        go_on.set()
        for each in waiting:
            each.result(20)
    assert done == ["a", "b", "c"]


def test_two_processes_that_lock_the_same_rows_do_not_lock_each_other_out(postgres_url: str) -> None:
    stores = [open_store(postgres_url) for _ in range(2)]
    names = [f"n{number}" for number in range(MANY)]
    for name in names:
        shared_write(stores[0], put(name))

    def touch(name: str) -> Callable[[Connection], None]:
        return lambda tx: tx.execute(update(state).where(state.c.key == name).values(value="touched"))

    try:
        with ThreadPoolExecutor(2 * MANY) as pool:
            waiting = [
                pool.submit(shared_write, store, touch(name), (name,))
                for _ in range(5)
                for store, order in zip(stores, (names, names[::-1]), strict=True)
                for name in order
            ]
            for each in waiting:
                each.result(30)
        with stores[0].read() as tx:
            assert deadlocks(tx) == 0
    finally:
        for store in stores:
            store.close()


def deadlocks(tx: Connection) -> int:
    query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    return int(tx.execute(text(query)).scalar_one())
