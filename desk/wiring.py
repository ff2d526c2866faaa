"""What the doors share: the parts of one running desk, built once by app.py.

Holds and hands out; never decides, and never loads Alembic.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from desk.gate import Login
from desk.intake import Intake
from desk.results import Results
from desk.service import Service
from desk.session import Sessions
from desk.settings import ROOT, Settings
from exchanges import available
from store import Store
from store.schema import SchemaState, check
from trading.errors import SettingsError, StoreUnavailable

_log = logging.getLogger(__name__)


def utc_now() -> datetime:
    """The wall clock; everything else is given the time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """One running desk. `service` is None where the runner is a process of its own."""

    settings: Settings
    store: Store
    clock: Callable[[], datetime]
    wake: Callable[[], None]
    intake: Intake
    login: Login
    sessions: Sessions
    results: Results
    started_at: datetime
    service: Service | None = None

    def stop(self, timeout: float) -> None:
        """Ends the runner within `timeout` seconds; a repeat is no error."""
        if self.service is not None:
            self.service.stop(timeout)


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
        _log.error("alerts get 503 until the database answers: %s", error)
        return
    if state is SchemaState.NEWER:
        raise SettingsError("DATABASE_URL", "the database belongs to a newer release: install that one")
    if state is not SchemaState.CURRENT:
        raise SettingsError("DATABASE_URL", "the database is not up to date: run `python -m desk.migrate`")


def wire(settings: Settings, store: Store, clock: Callable[[], datetime] = utc_now) -> Desk:
    """Puts the parts together; starts nothing."""
    service = Service(store, settings, clock) if settings.runner == "embedded" else None
    wake = service.wake if service is not None else _nobody
    return Desk(
        settings=settings,
        store=store,
        clock=clock,
        wake=wake,
        intake=Intake(store, settings, clock, wake, exchanges=available()),
        login=Login(store, settings.dashboard_password, clock),
        results=Results(store),
        sessions=Sessions(store, settings.dashboard_password, clock),
        started_at=clock(),
        service=service,
    )


def _migrate(settings: Settings) -> None:
    said = {"DATABASE_URL": settings.database_url, "WEBHOOK_PASSPHRASE": ",".join(settings.passphrases)}
    command = (sys.executable, "-m", "desk.migrate")
    subprocess.run(command, cwd=ROOT, env=os.environ | said, check=False)  # noqa: S603  # our own module


def _nobody() -> None:
    """There is no runner in this process: the one beside it looks by itself."""
