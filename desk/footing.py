"""Whether the database is of this release, asked before anything serves or trades; a new one gets its tables.

Never loads Alembic: what migrates is a process of its own.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys

from desk.settings import ROOT, Settings
from store import Store
from store.schema import SchemaState, check
from trading.errors import SettingsError, StoreUnavailable

#: What a database of a later release is refused with.
NEWER = "the database belongs to a newer release: install that one"

_log = logging.getLogger(__name__)


def prepare(store: Store, settings: Settings) -> None:
    """A new database gets its tables, in a process of its own; SettingsError for one of another release.

    One that does not answer is no reason not to start: senders are told to come again until it does.
    """
    try:
        state = check(store)
        if state is SchemaState.EMPTY:
            _migrate(settings)
            state = check(store)
    except StoreUnavailable as error:
        _log.error("nothing is stored and nothing traded until the database answers: %s", error)
        return
    if state is SchemaState.NEWER:
        raise SettingsError("DATABASE_URL", NEWER)
    if state is not SchemaState.CURRENT:
        raise SettingsError("DATABASE_URL", "the database is not up to date: run `python -m desk.migrate`")


def _migrate(settings: Settings) -> None:
    said = {"DATABASE_URL": settings.database_url, "WEBHOOK_PASSPHRASE": ",".join(settings.passphrases)}
    command = (sys.executable, "-m", "desk.migrate")
    subprocess.run(command, cwd=ROOT, env=os.environ | said, check=False)  # noqa: S603  # our own module
