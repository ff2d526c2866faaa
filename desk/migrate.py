"""Brings the database to the newest schema: `python -m desk.migrate`. Safe to run twice, and twice at once.

Imported by nothing that serves or trades: Alembic stays out of those processes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy.exc import SQLAlchemyError

from desk.footing import NEWER
from desk.settings import from_environment
from store import _engine, open_store, schema
from trading.errors import SettingsError

_INI = Path(__file__).resolve().parents[1] / "alembic.ini"


def upgrade(url: str) -> None:
    """Runs every step that the database at `url` lacks, all or none.

    SettingsError for a bad address, and for a database that has steps which are not known here.
    """
    config = Config(_INI)
    config.attributes["url"] = url
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        if not _is_newer(url):
            raise
        raise SettingsError("DATABASE_URL", NEWER) from error


def _is_newer(url: str) -> bool:
    store = open_store(url)
    try:
        return schema.check(store) is schema.SchemaState.NEWER
    finally:
        store.close()


def main() -> int:
    """0 when the schema is the newest; else 1 and one line that says why."""
    try:
        url = from_environment().database_url
        upgrade(url)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    except SQLAlchemyError as error:
        if not _engine.is_unavailable(error):
            raise
        print(f"DATABASE_URL: {_engine.reason(error, _engine.resolve(url))}", file=sys.stderr)
        return 1
    print(f"database: schema {schema.HEAD} is in place")
    return 0


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="python -m desk.migrate", description="Brings the database to this version."
    ).parse_args()
    sys.exit(main())
