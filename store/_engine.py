"""Engines for SQLite and Postgres: drivers, durability, time limits, and what a database error means.

Never lets an address or a password reach a message, and never lets a driver open a transaction by itself.
"""

from __future__ import annotations

import importlib
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from psycopg.types.array import ListBinaryDumper
from sqlalchemy import (
    URL,
    Column,
    ColumnElement,
    Connection,
    CursorResult,
    Engine,
    Table,
    bindparam,
    collate,
    column,
    create_engine,
    event,
    func,
    make_url,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
    PendingRollbackError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from trading.errors import SettingsError

#: Seconds that a transaction waits for its turn before the answer is "not now".
PATIENCE = 2.0

#: The part of it that a transaction which writes may say nothing for: who waits for what it has locked
#: outlasts a process that was cut off.
SILENCE = 0.75

#: Seconds that one which only reads may: it keeps nobody waiting, and may be read out slowly.
READING = 60.0

#: Option of a connection that may write; on SQLite the milliseconds that it waits for other processes.
WRITES = "desk_writes"

#: Earlier libraries can corrupt a WAL file that two connections share.
SOUND_WAL = (3, 51, 3)

_ROOT = Path(__file__).resolve().parents[1]
_VARIABLE = "DATABASE_URL"
_CONTENDED_STATES = frozenset({"40001", "40P01", "55P03"})
_NO_SCHEMA_STATES = frozenset({"42P01", "42703", "3F000"})

_WHERE_KNOWN = (
    "SELECT set_config(name, value, %s) FROM unnest(%s::text[], %s::text[]) AS wanted (name, value)"
    " WHERE current_setting(name, true) IS NOT NULL"
)

_log = logging.getLogger(__name__)

T = TypeVar("T")


def resolve(url: str) -> URL:
    """The address as SQLAlchemy wants it: driver named, SQLite paths made absolute.

    SettingsError names DATABASE_URL and never repeats its value.
    """
    try:
        parsed = make_url(url.strip())
    except (ArgumentError, ValueError):
        raise SettingsError(_VARIABLE, "is not a database address") from None
    backend = parsed.drivername.split("+")[0]
    if backend in ("postgres", "postgresql"):
        if not parsed.database:
            raise SettingsError(_VARIABLE, "names no database")
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername != "sqlite":
        raise SettingsError(_VARIABLE, "must begin with sqlite:///, postgres:// or postgresql://")
    path = parsed.database or ""
    if path in ("", ":memory:") or path.startswith("file:") or parsed.host or parsed.query:
        raise SettingsError(_VARIABLE, "a SQLite address is sqlite:/// and the path of a file, nothing else")
    return parsed.set(database=str(_ROOT / path))


def build(
    url: str, *, patience: float = PATIENCE, statements: float = 5.0, driver: ModuleType | None = None
) -> Engine:
    """An engine that connects on first use. `patience` and `statements` are seconds: how long to wait for
    a lock, and how long one Postgres statement may run. `driver` is the SQLite module to use.
    """
    address = resolve(url)
    if address.get_backend_name() == "postgresql":
        return _postgres(address, patience, statements)
    return _sqlite(address, patience, driver or sqlite_driver())


def sqlite_driver() -> ModuleType:
    """The standard library's SQLite, or pysqlite3's where only that one has a sound WAL."""
    if sqlite3.sqlite_version_info >= SOUND_WAL:
        return sqlite3
    try:
        bundled = importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        return sqlite3
    return bundled if bundled.sqlite_version_info >= SOUND_WAL else sqlite3


def insert(tx: Connection, table: Table) -> postgresql.Insert:
    """INSERT with ON CONFLICT for the database at hand; both dialects spell the methods alike."""
    if tx.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)  # type: ignore[return-value]  # same methods, unrelated class


def either(table: Table, build: Callable[[postgresql.Insert], T]) -> dict[str, T]:
    """An INSERT with ON CONFLICT for each kind of database, by its name: for what is built once."""
    return {
        "postgresql": build(postgresql.insert(table)),
        "sqlite": build(sqlite.insert(table)),  # type: ignore[arg-type]  # as above
    }


class Rows:
    """An INSERT of rows that name these columns, all of them in one statement, and in their order.

    `also` adds what follows the rows: RETURNING, ON CONFLICT.
    """

    def __init__(
        self,
        table: Table,
        names: Sequence[str],
        also: Callable[[postgresql.Insert], Any] = lambda new: new,
    ) -> None:
        self._names = names
        self._each = either(table, also)
        # A list for each column: what is written does not grow with the number of rows, and so is read once.
        lists = [bindparam(name, type_=postgresql.ARRAY(table.c[name].type)) for name in names]
        row = func.unnest(*lists).table_valued(
            *(column(name, table.c[name].type) for name in names), with_ordinality="place", name="given"
        )
        row = row.render_derived()
        given = select(*(row.c[name] for name in names)).order_by(row.c.place)
        self._all = also(postgresql.insert(table).from_select(names, given))

    def insert(self, tx: Connection, rows: Sequence[Mapping[str, Any]]) -> CursorResult[Any]:
        if len(rows) > 1 and tx.dialect.name == "postgresql":
            return tx.execute(self._all, {name: [row[name] for row in rows] for name in self._names})
        return tx.execute(self._each[tx.dialect.name], rows)


def as_python_sorts(tx: Connection, column: Column[str]) -> ColumnElement[str]:
    """To order by: what Postgres does by itself depends on the locale that the database was made with."""
    return sorted_as_python(column) if tx.dialect.name == "postgresql" else column


def sorted_as_python(column: Column[str]) -> ColumnElement[str]:
    """The same on Postgres, for what is built once."""
    return collate(column, "C")


def unlocked(table: Table, *which: ColumnElement[bool]) -> ColumnElement[bool]:
    """Those rows that no transaction has locked. Who waited could wait for a process that was cut off, and
    keep others waiting meanwhile, or for one that waits for it.
    """
    key = tuple(table.primary_key)
    free = select(*key).where(*which).correlate(None).with_for_update(skip_locked=True)
    return tuple_(*key).in_(free)


def is_unavailable(error: BaseException) -> bool:
    """Whether the database said "not now" or is not the one we need, as opposed to a fault of ours."""
    if isinstance(error, (PoolTimeout, PendingRollbackError)):
        return True
    if not isinstance(error, DBAPIError):
        return False
    return (
        isinstance(error, (OperationalError, InterfaceError, InternalError))
        or type(error) is DatabaseError
        or error.connection_invalidated
        or _state(error) in _NO_SCHEMA_STATES
    )


def is_contended(error: BaseException) -> bool:
    """Whether the same transaction may succeed when run again, and surely left nothing behind."""
    if not isinstance(error, DBAPIError) or error.connection_invalidated:
        return False
    return _state(error) in _CONTENDED_STATES or str(error.orig).startswith("database is locked")


def reason(error: BaseException, url: URL) -> str:
    """One short line for a person, without address, statement or password."""
    if isinstance(error, PoolTimeout):
        return "every connection is in use"
    if not isinstance(error, DBAPIError) or error.orig is None:
        return "the connection was lost"
    text = str(error.orig).strip().partition("\n")[0] or type(error.orig).__name__
    for secret in (url.password, url.render_as_string(hide_password=False)):
        if secret:
            text = text.replace(str(secret), "***")
    state = _state(error)
    return f"{text[:200]} [{state}]" if state else text[:200]


def _state(error: DBAPIError) -> str | None:
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) else None


def _sqlite(address: URL, patience: float, driver: ModuleType) -> Engine:
    folder = Path(address.database or "").parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(_VARIABLE, f"cannot make the folder {folder}: {error.strerror}") from None
    engine = create_engine(
        address,
        module=driver,
        hide_parameters=True,
        pool_size=5,
        max_overflow=20,
        pool_timeout=patience,
        # Without isolation level the driver begins nothing by itself: `_begin` does.
        connect_args={"isolation_level": None, "check_same_thread": False, "timeout": patience},
    )
    sound = driver.sqlite_version_info >= SOUND_WAL

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, record: Any) -> None:
        _prepare_sqlite(connection, sound=sound, version=driver.sqlite_version)

    event.listen(engine, "begin", _begin)
    return engine


def _prepare_sqlite(connection: Any, *, sound: bool, version: str) -> None:
    """WAL only where it is sound. FULL and EXTRA: a commit that was reported survives a power cut."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
    wanted = "wal" if sound else "delete"
    if mode == "wal" and not sound:
        _log.warning("SQLite %s cannot share a WAL file safely: using a rollback journal", version)
    if mode != wanted:
        mode = cursor.execute(f"PRAGMA journal_mode = {wanted}").fetchone()[0]
    cursor.execute(f"PRAGMA synchronous = {'FULL' if mode == 'wal' else 'EXTRA'}")
    cursor.close()


def _begin(connection: Connection) -> None:
    # IMMEDIATE: a transaction that reads first and writes later would fail under another writer at once.
    # The pragmas go past SQLAlchemy: they cannot fail, and its way costs more than they do.
    driver: Any = connection.connection.dbapi_connection
    wait = connection.get_execution_options().get(WRITES)
    if wait is None:
        driver.execute("PRAGMA query_only = ON")
        connection.exec_driver_sql("BEGIN")
    else:
        driver.execute("PRAGMA query_only = OFF")
        driver.execute(f"PRAGMA busy_timeout = {int(wait)}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _postgres(address: URL, patience: float, statements: float) -> Engine:
    limits = {
        "connect_timeout": 2,
        "application_name": "desk",
        # A server that vanished without a word is noticed by these, not by the pool's ping.
        "tcp_user_timeout": 3000,
        "keepalives_idle": 10,
        "keepalives_interval": 3,
        "keepalives_count": 3,
    }
    engine = create_engine(
        address,
        hide_parameters=True,
        # Few: small Postgres plans allow twenty connections to all processes together.
        pool_size=5,
        max_overflow=5,
        pool_timeout=patience,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",
        # Plans prepared on the server would outlive a migration, and break behind a pooler.
        connect_args={"prepare_threshold": None}
        | {name: value for name, value in limits.items() if name not in address.query},
    )

    # One statement, and not many in a pipeline: between those the server waits without any limit for the
    # next one, with all that the transaction has locked, and the wire may have been cut there.
    engine.dialect.use_insertmanyvalues_wo_returning = True
    event.listen(engine, "do_executemany", _one_by_one)

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, record: Any) -> None:
        # As text each quote in a list is escaped by itself, and what is written in them is JSON.
        connection.adapters.register_dumper(list, ListBinaryDumper)
        # SET and not start-up options: connection poolers refuse those.
        connection.autocommit = True
        connection.execute(
            f"SET statement_timeout = {int(statements * 1000)};"
            f"SET lock_timeout = {int(patience * 1000)};"
            f"SET idle_in_transaction_session_timeout = {int(READING * 1000)}"
        )
        # What ends a session whose process vanished, as far as this server's version knows of it.
        wanted = {
            # By the kernel, also where the session holds nothing and only takes a place.
            "tcp_user_timeout": "3000",
            "tcp_keepalives_idle": "3",
            "tcp_keepalives_interval": "1",
            "tcp_keepalives_count": "3",
        }
        connection.execute(_WHERE_KNOWN, (False, list(wanted), list(wanted.values())))
        connection.autocommit = False

    strict = {
        "idle_in_transaction_session_timeout": str(int(patience * SILENCE * 1000)),
        # Of a message that arrived in part the server awaits the rest under no other limit than this.
        "transaction_timeout": str(int(statements * 2000)),
    }

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        if WRITES in connection.get_execution_options():
            driver: Any = connection.connection.dbapi_connection
            driver.execute(_WHERE_KNOWN, (True, list(strict), list(strict.values())))

    return engine


def _one_by_one(cursor: Any, statement: str, parameters: Sequence[Any], context: Any) -> bool:
    for each in parameters:
        cursor.execute(statement, each)
    return True
