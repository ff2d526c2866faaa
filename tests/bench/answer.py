"""How long an alert waits for its 202, and how many get one in a second."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tests.bench import load
from tests.bench.place import Line, server
from tests.processes import PASSPHRASE

ROUTE = "/tradingview-to-webhook-order"
ALONE, TOGETHER, CONNECTIONS = 400, 4000, 64


def alerts(count: int, name: str, *, pairs: int = 100, message: str = "entry") -> Iterator[bytes]:
    """Entries with an id each, over so many instruments."""
    for number in range(count):
        fields = {"passphrase": PASSPHRASE, "exchange": "PAPER", "ticker": f"C{number % pairs}USDT.P"}
        fields |= {"action": "buy", "message": message, "price": "42000", "long SL": "41500"}
        fields |= {"long TP": "43500", "size": "0.01", "id": f"{name}{number}"}
        yield json.dumps(fields).encode()


def measure(url: str, folder: Path) -> Iterator[Line]:
    """Our route beside the bare ones; nothing is traded meanwhile."""
    alone: dict[str, load.Took] = {}
    together: dict[str, load.Took] = {}
    with (
        server(url, folder, "tests.bench.bare:app") as bare,
        server(url, folder, RUNNER="off") as ours,
    ):
        for name, port, path in (
            ("bare", bare.port, "/bare"),
            ("commit", bare.port, "/commit"),
            ("ours", ours.port, ROUTE),
        ):
            load.run(port, _posts(path, 50, f"{name}w"), connections=1)
            alone[name] = load.run(port, _posts(path, ALONE, f"{name}a"), connections=1)
            together[name] = load.run(port, _posts(path, TOGETHER, f"{name}t"), connections=CONNECTIONS)
    kind = "SQLite" if url.startswith("sqlite") else "Postgres"
    floor = alone["commit"].quantile(0.5)
    yield Line(name=f"{kind}: a bare route, p50", value=alone["bare"].quantile(0.5))
    yield Line(
        name=f"{kind}: 202, one connection, p50",
        value=alone["ours"].quantile(0.5),
        floor=floor,
        limit=1.5 * floor,
        note="floor: bare route and one durable commit",
    )
    for share in (0.95, 0.99):
        yield Line(
            name=f"{kind}: 202, one connection, p{share * 100:.0f}",
            value=alone["ours"].quantile(share),
            floor=alone["commit"].quantile(share),
        )
    yield Line(
        name=f"{kind}: answers a second, {CONNECTIONS} connections",
        value=together["ours"].rate,
        unit="/s",
        floor=together["bare"].rate,
        limit=0.5 * together["bare"].rate,
        most=False,
        note=f"floor: the bare route; with a commit {together['commit'].rate:.0f}",
    )
    for share in (0.5, 0.95, 0.99):
        yield Line(
            name=f"{kind}: 202, {CONNECTIONS} connections, p{share * 100:.0f}",
            value=together["ours"].quantile(share),
            floor=together["commit"].quantile(share),
        )


def _posts(path: str, count: int, name: str) -> list[bytes]:
    return [load.post(path, body) for body in alerts(count, name)]
