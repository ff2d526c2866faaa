"""Alembic's entry: all pending steps in one transaction, one process at a time.

The address comes from the attribute `url` of the Config, else from the settings. Never works offline: a
script of SQL could not take the lock.
"""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import Connection

from store import _engine
from store.tables import metadata

_LOCK = 0x6465736B  # any number that nothing else on this database uses
_PATIENCE = 60.0


def _address() -> str:
    given = context.config.attributes.get("url") or os.environ.get("DATABASE_URL")
    if given:
        return str(given)
    from desk.settings import from_environment

    return str(from_environment().database_url)


def _lock(tx: Connection) -> None:
    """Waits for another migration. SQLite needs nothing: its transaction began with the only write lock."""
    if tx.dialect.name == "postgresql":
        tx.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def _check_references(tx: Connection) -> None:
    """SQLite: rebuilt tables (batch mode) must leave no row without its parent."""
    if tx.dialect.name == "sqlite":
        broken = tx.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            raise RuntimeError(f"this migration would orphan rows of table {broken[0]}")


def _run() -> None:
    engine = _engine.build(_address(), patience=_PATIENCE, statements=600.0)
    try:
        with engine.connect().execution_options(**{_engine.WRITES: _PATIENCE * 1000}) as connection:
            if connection.dialect.name == "sqlite":
                # Batch mode drops the old table: with enforcement on, that would delete its children.
                connection.connection.cursor().execute("PRAGMA foreign_keys = OFF")
            with connection.begin():
                _lock(connection)
                context.configure(
                    connection=connection,
                    target_metadata=metadata,
                    render_as_batch=True,
                    transactional_ddl=True,
                )
                context.run_migrations()
                _check_references(connection)
    finally:
        engine.dispose()


if context.is_offline_mode():
    raise SystemExit("migrations need the database: run without --sql")
_run()
