"""An intake with its surroundings, and ways to take its database away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import create_engine, func, select, text

from desk.intake import Intake
from desk.settings import load
from store import Store
from store._engine import sqlite_driver
from store.tables import alerts, metadata
from trading.model import Route

PASSPHRASE = "canary-pässphrase-7f3a91"
SECOND = "canary-rotated-0b7d"
HOME = "198.51.100.7"
EXCHANGES = ("BINANCE", "PAPER")

ENTRY: dict[str, Any] = {
    "ticker": "BTCUSDT.P",
    "exchange": "BINANCE",
    "time": "2026-01-05T11:59:58Z",
    "action": "buy",
    "price": "50000",
    "message": "entry",
    "type": "market",
    "subaccount": "main",
    "passphrase": PASSPHRASE,
    "long SL": "49000",
    "long TP": "53000",
}


class Door:
    """An intake with its surroundings."""

    def __init__(self, store: Store, clock: Any, url: str, exchanges: Any = EXCHANGES) -> None:
        environ = {"WEBHOOK_PASSPHRASE": f"{PASSPHRASE},{SECOND}", "DATABASE_URL": url, "RUNNER": "off"}
        self.settings = load(environ | {"RISK_MAIN": "1", "LEVERAGE_MAIN": "3", "EXCHANGE_MAIN": "BINANCE"})
        self.store, self.clock = store, clock
        self.wakes: list[int] = []
        self.intake = Intake(store, self.settings, clock, self._woken, exchanges=exchanges)

    def __call__(self, address: str = HOME, route: Route = Route.ORDER, **changes: Any) -> Any:
        fields = ENTRY | {name.replace("__", " "): value for name, value in changes.items()}
        kept = {name: value for name, value in fields.items() if value is not None}
        return self.raw(json.dumps(kept).encode(), address=address, route=route)

    def raw(self, raw: bytes, address: str = HOME, route: Route = Route.ORDER) -> Any:
        return self.intake.receive(raw, route=route, address=address)

    def count(self, table: Any) -> int:
        with self.store.read() as tx:
            return int(tx.execute(select(func.count()).select_from(table)).scalar_one())

    def _woken(self) -> None:
        self.wakes.append(self.count(alerts))


def everything(store: Store) -> str:
    """Every value of every table."""
    with store.read() as tx:
        return "\n".join(
            repr(tuple(row)) for table in metadata.sorted_tables for row in tx.execute(select(table))
        )


@contextmanager
def blocked(door: Door) -> Iterator[None]:
    """Somebody else holds the database's locks."""
    url = door.settings.database_url
    if door.store.is_postgres:
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        tables = "alert_keys, refusals, auth_failures"
        begin = f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"
    else:
        # The same library as the store's: two in one process do not see each other's locks.
        engine = create_engine(url, module=sqlite_driver(), connect_args={"isolation_level": None})
        begin = "BEGIN EXCLUSIVE"
    with engine.connect() as other:
        other.execute(text(begin))
        yield
        other.rollback()
    engine.dispose()


@contextmanager
def gone(url: str, store: Store, postgres: Any) -> Iterator[None]:
    """The database is not there."""
    if not store.is_postgres:
        path = Path(url.removeprefix("sqlite:///"))
        store.close()
        aside = path.with_suffix(".aside")
        path.rename(aside)
        yield
        store.close()
        for left in path.parent.glob(path.name + "*"):
            left.unlink()
        aside.rename(path)
        return
    name = urlsplit(url).path[1:]
    with postgres.connect() as admin:
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        yield
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


@contextmanager
def lost_at_commit(store: Store, postgres: Any, *, is_kept: bool, nth: int = 1) -> Iterator[None]:
    """The connection is lost at the nth commit from now on: right after it if it is kept, else before."""
    dialect = store._engine.dialect
    commit = dialect.do_commit
    left = iter(range(nth - 1, -1, -1))

    def do_commit(connection: Any) -> None:
        is_lost = next(left, None) == 0
        if is_kept or not is_lost:
            commit(connection)
        if is_lost:
            with postgres.connect() as admin:
                pid = connection.driver_connection.info.backend_pid
                admin.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
            connection.driver_connection.execute("SELECT 1")

    dialect.do_commit = do_commit  # type: ignore[method-assign]  # as the driver itself would find it
    try:
        yield
        assert next(left, None) is None, "it was never lost"
    finally:
        dialect.do_commit = commit  # type: ignore[method-assign]
