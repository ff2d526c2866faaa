"""Postgres tells a runner that another process made a lane due: LISTEN and NOTIFY.

It only saves waiting: a word that is lost, or that a pooler swallows, costs one tick and nothing else.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

_CHANNEL = "desk_lanes"
#: Seconds between two looks at whether to stop.
_BREATH = 0.5
#: Seconds before a lost connection is made anew.
_AGAIN = 2.0
_NOTIFY = text(f"NOTIFY {_CHANNEL}")

_log = logging.getLogger(__name__)


def tell(tx: Connection) -> None:
    """Says, once the transaction is committed, that a lane became due. On SQLite nobody could hear it."""
    if tx.dialect.name == "postgresql":
        tx.execute(_NOTIFY)


def listen(engine: Engine, heard: Callable[[], None], stop: threading.Event) -> None:
    """Calls `heard` at each word until `stop` is set, and after a gap in which one may have been missed."""
    deaf = False
    while not stop.is_set():
        try:
            with engine.connect() as connection:
                # It waits for as long as the process lives: no connection of the pool's may.
                driver: Any = connection.connection.driver_connection
                connection.detach()
                driver.autocommit = True
                driver.execute(f"LISTEN {_CHANNEL}")
                deaf = False
                heard()
                try:
                    while not stop.is_set():
                        for _ in driver.notifies(timeout=_BREATH, stop_after=1):
                            heard()
                except psycopg.Error as error:
                    # Else it would be cleaned up to be used again, which fails, with a traceback in the log.
                    connection.invalidate(error)
                    raise
        except (SQLAlchemyError, psycopg.Error) as error:
            if not deaf:
                _log.warning(
                    "the database does not wake this runner, which asks by itself: %s", type(error).__name__
                )
            deaf = True
            stop.wait(_AGAIN)
