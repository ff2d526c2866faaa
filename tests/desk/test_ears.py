"""The word that a lane is due, from one process to another; the one that stores is a desk of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from desk import runner
from desk.runner import Runner
from store import Store, open_store

LONG = {"action": "buy", "price": "42000", "long SL": "41500", "long TP": "43500"}
#: Long enough for any machine; what is waited for comes at once.
PATIENCE = 40.0


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    opened = open_store(postgres_url)
    yield opened
    opened.close()


@pytest.fixture
def elsewhere(postgres_url: str) -> Iterator[Store]:
    opened = open_store(postgres_url)
    yield opened
    opened.close()


@pytest.fixture
def word(elsewhere: Store) -> Iterator[threading.Event]:
    """Set whenever the other process hears something."""
    heard, stop = threading.Event(), threading.Event()
    listening = threading.Thread(target=elsewhere.listen, args=(heard.set, stop))
    listening.start()
    # It looks once before it waits: what came earlier was told to nobody.
    assert heard.wait(PATIENCE)
    heard.clear()
    yield heard
    stop.set()
    listening.join(PATIENCE)
    assert not listening.is_alive()


def test_a_stored_alert_is_heard(rig: Any, word: threading.Event) -> None:
    rig.store_only("entry", **LONG)
    assert word.wait(PATIENCE)


def test_a_lost_connection_is_made_again(
    rig: Any, word: threading.Event, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as other:
        ended = other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        ).fetchall()
    assert ended == [(True,)]
    assert word.wait(PATIENCE)
    word.clear()
    rig.store_only("entry", **LONG)
    assert word.wait(PATIENCE)
    # Nobody is needed for that.
    assert [record.levelname for record in caplog.records if record.name != "desk.intake"] == ["WARNING"]


def test_a_runner_elsewhere_trades_without_asking(
    rig: Any, elsewhere: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two questions of its own lies an hour."""
    monkeypatch.setattr(runner, "TICK", 3600.0)
    stop, wake = threading.Event(), threading.Event()
    there = Runner(elsewhere, rig.settings, rig.clock)
    thread = threading.Thread(target=there.run, args=(stop, wake))
    thread.start()
    try:
        settled = threading.Event()
        for _ in range(2):
            alert_id = rig.store_only("entry", **LONG)
            for _ in range(int(PATIENCE / 0.05)):
                if rig.status(alert_id) == "DONE":
                    break
                settled.wait(0.05)
            assert rig.status(alert_id) == "DONE"
    finally:
        stop.set()
        wake.set()
        thread.join(PATIENCE)
    assert not thread.is_alive()


def test_sqlite_has_nobody_to_listen_to(sqlite_url: str) -> None:
    lonely = open_store(sqlite_url)
    lonely.listen(lambda: pytest.fail("nobody spoke"), threading.Event())
    lonely.close()
