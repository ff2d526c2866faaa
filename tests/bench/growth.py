"""What a long life costs: the same figures with few and with many alerts, accounts and instruments stored."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests
from sqlalchemy import Table, text

from store import Store, open_store
from store.tables import alerts, events, fills, intents, orders, positions
from tests.bench import load
from tests.bench.answer import ROUTE
from tests.bench.answer import alerts as entries
from tests.bench.pages import fill
from tests.bench.place import Line, Running, server
from tests.processes import PASSPHRASE, PASSWORD
from trading.model import ZERO

FEW, MANY = 1_000, 1_000_000
ACCOUNTS, INSTRUMENTS = (10, 1_000), (10, 5_000)
#: How much a figure may grow.
MOST = 1.1
ANSWERS, ENTRIES = 300, 20
#: Where the database gives each row a number.
_NUMBERED = (alerts, orders, fills, events)


def measure(url: str, folder: Path) -> Iterator[Line]:
    """One thing grows after the other: accounts by the settings, instruments and alerts by their rows."""
    kind = "SQLite" if url.startswith("sqlite") else "Postgres"
    store = open_store(url)
    few, many = _accounts(ACCOUNTS[0]), _accounts(ACCOUNTS[1])
    fill(store, FEW, datetime.now(UTC))
    for table in _NUMBERED:
        _number_on(store, table)
    before = _figures(url, folder, few)
    after = _figures(url, folder, many)
    yield from _lines(f"{kind}: {ACCOUNTS[1]:,} accounts, not {ACCOUNTS[0]}", before, after)
    _instruments(store, *INSTRUMENTS)
    after = _figures(url, folder, few)
    yield from _lines(f"{kind}: {INSTRUMENTS[1]:,} instruments, not {INSTRUMENTS[0]}", before, after)
    began = time.perf_counter()
    _multiply(store, MANY // FEW)
    store.close()
    print(f"{MANY:,} alerts written in {time.perf_counter() - began:.0f} s", flush=True)
    after = _figures(url, folder, few)
    yield from _lines(f"{kind}: {MANY:,} alerts, not {FEW:,}", before, after)


def _lines(name: str, before: tuple[float, float], after: tuple[float, float]) -> Iterator[Line]:
    for what, old, new in zip(("202", "entry to DONE on paper"), before, after, strict=True):
        yield Line(name=f"{name}: {what}, p50", value=new, floor=old, limit=MOST * old)


def _figures(url: str, folder: Path, more: dict[str, str]) -> tuple[float, float]:
    """Milliseconds to an answer, and from an entry's answer to its end."""
    with server(url, folder, **more, RUNNER="off") as desk:
        name = f"g{time.time_ns()}"
        told = [load.post(ROUTE, body) for body in entries(ANSWERS, name, message="tp1")]
        load.run(desk.port, told[:50], connections=1, expect=200)
        answered = load.run(desk.port, told[50:], connections=1, expect=200).quantile(0.5)
    with server(url, folder, **more) as desk:
        took = [_entry(desk, f"{name}n{number}") for number in range(ENTRIES)]
    return answered, statistics.median(took[3:])


def _entry(desk: Running, name: str) -> float:
    """On an instrument of its own, where nothing is open; and out of it again."""
    levels = {"long SL": "41500", "long TP": "43500", "size": "0.01"}
    took = _done(desk, name, message="entry", **levels)
    _done(desk, name, message="exit")
    return took


def _done(desk: Running, name: str, **more: str) -> float:
    fields = {"passphrase": PASSPHRASE, "exchange": "PAPER", "ticker": f"{name.upper()}USDT.P"}
    fields |= {"action": "buy", "price": "42000", "id": f"{name}{more['message']}", **more}
    request = load.post(ROUTE, json.dumps(fields).encode())
    began = load.run(desk.port, [request], connections=1).sent_at[0]
    while True:
        time.sleep(0.005)
        answer = requests.get(
            f"http://127.0.0.1:{desk.port}/api/alerts?limit=1", auth=("any", PASSWORD), timeout=10
        )
        if answer.json()["alerts"][0]["status"] == "DONE":
            return 1000 * (time.perf_counter() - began)
        assert time.perf_counter() - began < 60, answer.text


def _accounts(count: int) -> dict[str, str]:
    rules = {f"RISK_A{number}": "1" for number in range(count)}
    return rules | {f"LEVERAGE_A{number}": "3" for number in range(count)}


def _instruments(store: Store, few: int, many: int) -> None:
    # Nobody trades thousands of them within a day: what traded since then, a start looks at.
    then = datetime.now(UTC) - timedelta(days=30)
    flat = {"venue": "PAPER:PAPER", "account": "MAIN", "token": 0, "wakes": 1, "updated_at": then}
    flat |= {"quantity": ZERO, "realised_pnl": ZERO, "fees": ZERO}
    with store.write() as tx:
        tx.execute(
            positions.insert(),
            [flat | {"symbol": f"H{number}-USDT-PERP"} for number in range(few, many)],
        )


def _multiply(store: Store, times: int) -> None:
    """Every alert of the first FEW again and again, with all that hangs on it, under names of its own."""
    many: dict[Table, dict[str, str]] = {
        alerts: {"seq": f"i * {100 * FEW} + seq", "id": "id || '-' || i"},
        intents: {"seq": f"i * {100 * FEW} + seq", "id": "id || '-' || i"},
        orders: {
            "seq": f"i * {100 * FEW} + seq",
            "client_order_id": "client_order_id || '-' || i",
            "intent_id": "intent_id || '-' || i",
        },
        fills: {
            "seq": f"i * {100 * FEW} + seq",
            "trade_id": "trade_id || '-' || i",
            "client_order_id": "client_order_id || '-' || i",
        },
        events: {"seq": f"i * {100 * FEW} + seq", "alert_id": "alert_id || '-' || i"},
    }
    for table, changed in many.items():
        names = [column.name for column in table.c]
        values = ", ".join(changed.get(name, f'"{name}"') for name in names)
        for first in range(1, times, 100):
            last = min(first + 99, times - 1)
            _run(
                store,
                f"INSERT INTO {table.name} ({_quoted(names)}) "  # noqa: S608  # names of our own tables
                f"WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last}) "
                f"SELECT {values} FROM {table.name} CROSS JOIN n "
                f"WHERE {_original(table)}",
            )
        if table in _NUMBERED:
            _number_on(store, table)
    _run(
        store,
        "INSERT INTO alert_keys (key, alert_id, fingerprint, taken_at) "
        "SELECT 'id:MAIN:' || id, id, 'f' || id, received_at FROM alerts "
        "WHERE id NOT IN (SELECT alert_id FROM alert_keys)",
    )
    _run(store, "ANALYZE")


def _number_on(store: Store, table: Table) -> None:
    """Rows were written with numbers of their own: Postgres must not give those out again."""
    if store.is_postgres:
        place = f"pg_get_serial_sequence('{table.name}', 'seq')"
        _run(store, f"SELECT setval({place}, max(seq)) FROM {table.name} HAVING {place} IS NOT NULL")  # noqa: S608  # names of our own tables


def _original(table: Table) -> str:
    """Those rows that have no number in their names."""
    name = {"fills": "trade_id", "events": "alert_id", "orders": "client_order_id"}.get(table.name, "id")
    count = "2" if table.name == "orders" else "1"
    return f"length({name}) - length(replace({name}, '-', '')) < {count}"


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _run(store: Store, statement: str) -> None:
    """A benchmark's bulk takes longer than a server's statement or transaction may."""
    with store.write() as tx:
        if store.is_postgres:
            tx.execute(text("SET LOCAL statement_timeout = 0"))
            tx.execute(text("SET LOCAL transaction_timeout = 0"))
        tx.execute(text(statement))
