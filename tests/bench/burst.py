"""A thousand alerts within one second, over a hundred pairs: all answered in time, all traded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import func, select

from store import open_store
from store.tables import intents
from tests.bench import load
from tests.bench.answer import ROUTE, alerts
from tests.bench.place import Line, server

ALERTS, PAIRS, SECONDS = 1000, 100, 1.0
CONNECTIONS = 256
_PATIENCE = 900.0


def measure(url: str, folder: Path) -> Iterator[Line]:
    """On the paper venue, with the runner at work in the same process."""
    kind = "SQLite" if url.startswith("sqlite") else "Postgres"
    requests = [load.post(ROUTE, body) for body in alerts(ALERTS, "burst", pairs=PAIRS)]
    with server(url, folder) as desk:
        load.run(desk.port, [load.post(ROUTE, next(alerts(1, "warm")))], connections=1)
        _ended(url, 1)
        began = time.perf_counter()
        took = load.run(desk.port, requests, connections=CONNECTIONS, pause=SECONDS / ALERTS)
        yield Line(
            name=f"{kind}: slowest 202 of {ALERTS} in a second",
            value=took.quantile(1),
            limit=1000,
            note=f"p50 {took.quantile(0.5):.0f}, all of them within {took.seconds:.1f} s",
        )
        statuses = _ended(url, ALERTS + 1)
        drained = time.perf_counter() - began
    said = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    yield Line(name=f"{kind}: until the last of them was traded", value=drained, unit="s", note=said)


def _ended(url: str, count: int) -> dict[str, int]:
    """The statuses, once so many have ended."""
    store = open_store(url)
    deadline = time.monotonic() + _PATIENCE
    try:
        while True:
            with store.read() as tx:
                found = tx.execute(select(intents.c.status, func.count()).group_by(intents.c.status))
                statuses = {str(status): int(number) for status, number in found}
            if sum(statuses.get(name, 0) for name in ("DONE", "FAILED", "DENIED", "EXPIRED")) >= count:
                return statuses
            assert time.monotonic() < deadline, statuses
            time.sleep(0.2)
    finally:
        store.close()
