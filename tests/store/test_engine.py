"""Addresses, durability, and no secret in what is raised; on both databases."""

from __future__ import annotations

import logging
import socket
import sqlite3
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError

from store import Store, _engine, open_store
from store.tables import state
from trading.errors import SettingsError, StoreUnavailable

ROOT = Path(__file__).resolve().parents[2]


def put(tx: Any, key: str, clock: Any, value: str = "") -> None:
    tx.execute(insert(state).values(key=key, value=value, at=clock()))


def keys(store: Store) -> list[str]:
    with store.read() as tx:
        return list(tx.execute(select(state.c.key).order_by(state.c.key)).scalars())


def driver(version: tuple[int, int, int]) -> ModuleType:
    """The best SQLite module here, claiming to be of another version."""
    module = ModuleType("sqlite_driver")
    module.__dict__.update(vars(_engine.sqlite_driver()))
    module.sqlite_version_info = version  # type: ignore[attr-defined]
    module.sqlite_version = ".".join(map(str, version))  # type: ignore[attr-defined]
    return module


SOUND = driver((3, 51, 3))
UNSOUND = driver((3, 51, 2))


# Addresses


@pytest.mark.parametrize(
    ("url", "resolved"),
    [
        ("sqlite:///data/desk.db", f"sqlite:///{ROOT}/data/desk.db"),
        (" sqlite:////var/desk.db\n", "sqlite:////var/desk.db"),
        ("postgres://u:p@h:1/d", "postgresql+psycopg://u:p@h:1/d"),
        ("postgresql://u@h/d?sslmode=require", "postgresql+psycopg://u@h/d?sslmode=require"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d"),
    ],
)
def test_resolves_an_address(url: str, resolved: str) -> None:
    assert _engine.resolve(url).render_as_string(hide_password=False) == resolved


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hunter2",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:a?uri=true",
        "sqlite:///a.db?mode=ro",
        "sqlite://host/a.db",
        "mysql://u:hunter2@h/d",
        "postgres://u:hunter2@h:port/d",
        "postgres://u:hunter2@h/",
    ],
)
def test_refuses_an_address_without_repeating_it(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_store(url)
    assert caught.value.variable == "DATABASE_URL"
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_makes_the_folder_of_the_file(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/a/b/desk.db")
    with store.write() as tx:
        tx.execute(text("CREATE TABLE t (n INTEGER)"))
    store.close()
    assert (tmp_path / "a" / "b" / "desk.db").exists()


def test_names_the_folder_that_it_cannot_make(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"cannot make the folder .*/file/data"):
        open_store(f"sqlite:///{tmp_path}/file/data/desk.db")


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "desk.db").write_text("not a database, and longer than a header of one hundred bytes" * 3)
    store = open_store(f"sqlite:///{tmp_path}/desk.db")
    with pytest.raises(StoreUnavailable, match="not a database"), store.read():
        pass
    store.close()


def test_a_database_without_tables_is_unavailable(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    postgres = request.getfixturevalue("postgres_server")
    bare = postgres.create(template="template0")
    for url in (f"sqlite:///{tmp_path}/empty.db", postgres.url(bare)):
        store = open_store(url)
        with pytest.raises(StoreUnavailable, match="state"):
            keys(store)
        store.close()
    postgres.drop(bare)


# Durability


def pragma(store: Store, name: str) -> Any:
    with store.write() as tx:
        return tx.exec_driver_sql(f"PRAGMA {name}").scalar_one()


@pytest.mark.parametrize(
    ("module", "journal", "synchronous"),
    [(SOUND, "wal", 2), (UNSOUND, "delete", 3)],
    ids=["sound", "unsound"],
)
def test_sqlite_is_durable(sqlite_url: str, module: ModuleType, journal: str, synchronous: int) -> None:
    store = open_store(sqlite_url, driver=module)
    assert pragma(store, "journal_mode") == journal
    assert pragma(store, "synchronous") == synchronous
    assert pragma(store, "foreign_keys") == 1
    assert 1000 < pragma(store, "busy_timeout") <= 2000
    with store.read() as tx:
        driver_connection: Any = tx.connection.dbapi_connection
        assert driver_connection.isolation_level is None, "the driver would open transactions by itself"
    store.close()


def test_an_unsound_library_leaves_wal_and_says_so(
    sqlite_url: str, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sound = open_store(sqlite_url, driver=SOUND)
    with sound.write() as tx:
        put(tx, "kept", clock)
    sound.close()
    unsound = open_store(sqlite_url, driver=UNSOUND)
    with caplog.at_level(logging.WARNING):
        assert keys(unsound) == ["kept"]
    assert "3.51.2" in caplog.text
    unsound.close()


def test_an_unsound_library_does_not_share_a_wal_file(sqlite_url: str, clock: Any) -> None:
    sound, unsound = open_store(sqlite_url, driver=SOUND), open_store(sqlite_url, driver=UNSOUND)
    with sound.write() as tx:
        put(tx, "kept", clock)
    with pytest.raises(StoreUnavailable, match="locked"), unsound.write():
        pass
    sound.close()
    assert keys(unsound) == ["kept"]
    unsound.close()


def test_prefers_the_library_whose_wal_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 3))
    assert _engine.sqlite_driver() is sqlite3
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 2))
    for version, chosen in (((3, 51, 3), True), ((3, 51, 2), False)):
        bundled = driver(version)
        monkeypatch.setitem(sys.modules, "pysqlite3.dbapi2", bundled)
        assert (_engine.sqlite_driver() is bundled) is chosen
    monkeypatch.setitem(sys.modules, "pysqlite3.dbapi2", None)
    assert _engine.sqlite_driver() is sqlite3


def test_postgres_is_limited_and_durable(postgres_url: str) -> None:
    store = open_store(postgres_url)
    wanted = {
        "statement_timeout": "5s",
        "lock_timeout": "2s",
        "idle_in_transaction_session_timeout": "1500ms",
        "transaction_timeout": "10s",
        "application_name": "desk",
        "transaction_isolation": "read committed",
    }
    with store.write() as tx:
        assert {name: tx.execute(text(f"SHOW {name}")).scalar_one() for name in wanted} == wanted
    with store.read() as tx:
        assert tx.execute(text("SHOW transaction_isolation")).scalar_one() == "repeatable read"
    store.close()


# What an error means


def fail(store: Store, clock: Any, code: str) -> None:
    """A transaction that Postgres ends with this SQLSTATE."""
    with store.write() as tx:
        put(tx, "a", clock)
        tx.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'trouble' USING ERRCODE = '{code}'; END $$"))


@pytest.mark.parametrize("code", ["53100", "53300", "40001", "40P01", "57014", "57P03", "25006", "58030"])
def test_what_postgres_says_when_it_cannot(postgres_url: str, clock: Any, code: str) -> None:
    store = open_store(postgres_url)
    with pytest.raises(StoreUnavailable, match=rf"^database: trouble \[{code}\]$"):
        fail(store, clock, code)
    assert keys(store) == []
    store.close()


@pytest.mark.parametrize("code", ["22P02", "42601", "0A000"])
def test_our_own_faults_are_not_called_unavailable(postgres_url: str, clock: Any, code: str) -> None:
    store = open_store(postgres_url)
    with pytest.raises(DBAPIError):
        fail(store, clock, code)
    store.close()


# Secrets


def test_no_secret_in_what_is_raised_or_shown(clock: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    store = open_store(f"postgres://desk:hunter2%40@127.0.0.1:{port}/desk")
    with pytest.raises(StoreUnavailable) as caught, store.write() as tx:
        put(tx, "a", clock)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(store)
    assert "hunter2" not in shown
    assert "refused" in str(caught.value)


def test_a_reason_never_holds_the_address_or_its_password() -> None:
    address = _engine.resolve("postgres://desk:canary-7@db.test/desk")
    whole = address.render_as_string(hide_password=False)
    for said in ("password 'canary-7' was refused", f"no route to {whole}"):
        error = DBAPIError("SELECT 1", {}, RuntimeError(said))
        assert "canary-7" not in _engine.reason(error, address)
        assert "***" in _engine.reason(error, address)
