"""The database: `open_store(url)` gives a Store, a Store gives transactions.

Never hides a failure: a transaction either committed, or its block raised.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from store import _ears, _engine, _lanes, chain
from store._company import Company
from trading.errors import CommitInDoubt, StoreUnavailable

#: What `Store.write()` and `Store.read()` give: the first argument of every function of this package.
Transaction = Connection

#: A unique or foreign key said no; catch it around the whole transaction, not inside it.
Conflict = IntegrityError

_ATTEMPTS = 3
_LAST_CALL = 0.5

T = TypeVar("T")
W = TypeVar("W")


def open_store(url: str, *, driver: ModuleType | None = None) -> Store:
    """A Store for `sqlite:///path` (relative to the project's folder) or `postgres[ql]://…`.

    Connects on first use. Open it after a fork, never before. SettingsError for any other address.
    """
    return Store(_engine.resolve(url), _engine.build(url, driver=driver))


class Store:
    """Transactions on one database, for any number of threads."""

    def __init__(self, url: URL, engine: Engine) -> None:
        self._url = url
        self._engine = engine
        self._reading = (
            engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            if self.is_postgres
            else engine
        )
        self._turn = threading.Lock()
        self._company = Company(self.retry_write)

    def __repr__(self) -> str:
        return f"Store({self._engine.dialect.name})"

    @property
    def is_postgres(self) -> bool:
        return self._engine.dialect.name == "postgresql"

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write; committed when the block ends without an exception.

        StoreUnavailable when the database did not take it; CommitInDoubt if the connection broke while
        committing, so that the rows may be there: look them up by their key. Conflict passes as it is.
        Do not nest, and do not swallow a database error inside the block (use `tx.begin_nested()`).
        """
        with self._told(), self._write() as tx:
            yield tx

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view of the database; writing in it fails."""
        with self._told(), self._reading.begin() as tx:
            yield tx

    def retry_write(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in a write transaction, again (three times at most) when another one got in its way.

        Only failures that surely left nothing behind are repeated. `work` must have no other effect.
        """
        deadline = time.monotonic() + _engine.PATIENCE
        with self._told():
            for _ in range(_ATTEMPTS - 1):
                try:
                    with self._write() as tx:
                        return work(tx)
                except SQLAlchemyError as error:
                    if not _engine.is_contended(error) or time.monotonic() >= deadline:
                        raise
            with self._write() as tx:
                return work(tx)

    def shared_writes(
        self, do: Callable[[Connection, Sequence[W]], Sequence[T]], work: W, place: tuple[str, ...] = ()
    ) -> T:
        """As `retry_write`, in company of the works that other threads bring meanwhile: one commit for all.

        `do` does several works at once, and returns what comes of each. `place` names the rows that `work`
        locks.
        """
        return self._company.write(do, work, place)

    def listen(self, heard: Callable[[], None], stop: threading.Event) -> None:
        """Calls `heard` whenever a process makes a lane due, until `stop` is set.

        Returns at once on SQLite, whose processes have no way to call each other.
        """
        if self.is_postgres:
            _ears.listen(self._engine, heard, stop)

    def close(self) -> None:
        """Gives every idle connection back; the Store may be used again afterwards."""
        self._engine.dispose()

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        is_all_said = False
        try:
            with (
                self._queue() as wait,
                self._engine.connect() as connection,
                connection.execution_options(**{_engine.WRITES: wait}).begin(),
            ):
                _lanes.begin(connection)
                chain.begin(connection)
                yield connection
                chain.close(connection)
                _check_alive(connection)
                is_all_said = True
        except DBAPIError as error:
            if is_all_said and error.connection_invalidated:
                raise CommitInDoubt(f"database: {_engine.reason(error, self._url)}") from None
            raise

    @contextmanager
    def _queue(self) -> Iterator[float]:
        """Milliseconds left to wait for other processes. SQLite has one writer, and its own way of waiting
        is a lottery: the threads of this process take turns here.
        """
        if self.is_postgres:
            yield _engine.PATIENCE * 1000
            return
        asked = time.monotonic()
        if not self._turn.acquire(timeout=_engine.PATIENCE):
            raise StoreUnavailable("database: no turn to write came up")
        try:
            yield max(_engine.PATIENCE - (time.monotonic() - asked), _LAST_CALL) * 1000
        finally:
            self._turn.release()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            if not _engine.is_unavailable(error):
                raise
            # The driver's error holds the statement; the reason is all that a reader needs.
            raise StoreUnavailable(f"database: {_engine.reason(error, self._url)}") from None


def _check_alive(tx: Connection) -> None:
    """Refuses to commit what an earlier, swallowed error has already undone: both drivers would say yes."""
    driver: Any = tx.connection.dbapi_connection
    if tx.dialect.name == "postgresql":
        alive = driver.info.transaction_status.name == "INTRANS"
    else:
        alive = driver.in_transaction
    if not alive:
        raise StoreUnavailable("database: the transaction was undone by an earlier error")
