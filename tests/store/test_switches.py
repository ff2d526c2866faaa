"""HALT and heartbeats, as every process sees them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from store import Store, open_store, switches


def halted(store: Store) -> switches.Halt | None:
    with store.read() as tx:
        return switches.halted(tx)


def halt(store: Store, reason: str, now: datetime) -> None:
    with store.write() as tx:
        switches.halt(tx, reason=reason, by="zoe", now=now)


def test_nothing_is_halted_at_first(store: Store) -> None:
    assert halted(store) is None


def test_a_halt_reaches_every_process(store: Store, database_url: str, clock: Any) -> None:
    other = open_store(database_url)
    halt(store, 'wild "market" €', clock())
    assert halted(other) == switches.Halt(reason='wild "market" €', by="zoe", at=clock())
    other.close()


def test_a_repeat_changes_the_reason(store: Store, clock: Any) -> None:
    halt(store, "one", clock())
    halt(store, "two", clock.advance(1))
    assert halted(store) == switches.Halt(reason="two", by="zoe", at=clock())


def test_resume_lifts_the_halt_once(store: Store, clock: Any) -> None:
    halt(store, "one", clock())
    with store.write() as tx:
        assert switches.resume(tx, by="abe", now=clock.advance(1))
        assert not switches.resume(tx, by="abe", now=clock())
    assert halted(store) is None
    halt(store, "again", clock.advance(1))
    with store.write() as tx:
        assert switches.resume(tx, by="zoe", now=clock())


def test_a_halt_undone_with_its_transaction_never_was(store: Store, clock: Any) -> None:
    def fail() -> None:
        with store.write() as tx:
            switches.halt(tx, reason="one", by="zoe", now=clock())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert halted(store) is None


def test_beats_are_kept_by_name(store: Store, clock: Any) -> None:
    first = clock()
    with store.write() as tx:
        assert switches.last_beat(tx, "runner") is None
        switches.beat(tx, "runner", first)
        switches.beat(tx, "bot", clock.advance(5))
        switches.beat(tx, "bot", clock.advance(5))
    with store.read() as tx:
        assert switches.last_beat(tx, "runner") == first
        assert switches.last_beat(tx, "bot") == clock()
