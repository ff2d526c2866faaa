"""Failures are counted in their window, also when many fail at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from store import Store, lockout

WINDOW = timedelta(minutes=10)
HOME = "192.0.2.1"


def fail(store: Store, clock: Any, address: str = HOME) -> int:
    with store.write() as tx:
        return lockout.fail(tx, address, now=clock(), window=WINDOW)


def failures(store: Store, clock: Any, address: str = HOME) -> int:
    with store.read() as tx:
        return lockout.failures(tx, address, now=clock(), window=WINDOW)


def test_counts_each_address_by_itself(store: Store, clock: Any) -> None:
    assert failures(store, clock) == 0
    assert [fail(store, clock), fail(store, clock), fail(store, clock, "2001:db8::1")] == [1, 2, 1]
    assert failures(store, clock) == 2


def test_a_window_ends(store: Store, clock: Any) -> None:
    fail(store, clock)
    clock.advance(WINDOW - timedelta(microseconds=1))
    assert fail(store, clock) == 2
    clock.advance(timedelta(microseconds=1))
    assert failures(store, clock) == 0
    assert fail(store, clock) == 1
    clock.advance(1)
    assert failures(store, clock) == 1


def test_simultaneous_failures_are_all_counted(store: Store, clock: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        counts = pool.map(lambda _: fail(store, clock), range(64))
        assert sorted(counts) == list(range(1, 65))


def test_prune_forgets_old_windows_only(store: Store, clock: Any) -> None:
    fail(store, clock, "old")
    fail(store, clock.advance(60) and clock, "new")
    with store.write() as tx:
        assert lockout.prune(tx, clock()) == 1
    assert [failures(store, clock, "old"), failures(store, clock, "new")] == [0, 1]


@given(waits=st.lists(st.integers(0, 700), max_size=12))
def test_counts_as_a_person_would(store: Store, clock: Any, waits: list[int]) -> None:
    with store.write() as tx:
        lockout.prune(tx, clock.advance(timedelta(days=1)))
    began, count = None, 0
    for seconds in waits:
        now = clock.advance(seconds)
        if began is None or now - began >= WINDOW:
            began, count = now, 0
        count += 1
        assert fail(store, clock) == count
        assert failures(store, clock) == count
