"""What the doors share: the parts of one running desk, built once by app.py.

Holds and hands out; never decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from desk.gate import Login
from desk.intake import Intake
from desk.results import Results
from desk.service import Service
from desk.session import Sessions
from desk.settings import Settings
from exchanges import available
from store import Store


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


def _nobody() -> None:
    """There is no runner in this process: the one beside it looks by itself."""
