"""How long an answer and a whole entry take: `make bench`.

A real server on loopback with a database of its own on disk. The floor is the same server's /health, which
reads the database and writes nothing; the rest of an answer is parsing and one durable commit.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from desk.demo import Server

ALERTS = 200
CONNECTIONS = 16
LEVELS = {"action": "buy", "price": "42000", "long SL": "41500", "long TP": "43500"}


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        try:
            ready(server)
            rows = [
                ("GET /health, one at a time", timed(lambda n: health(server), ALERTS, 1)),
                ("alert to 202, one at a time", timed(lambda n: post(server, "one", n), ALERTS, 1)),
                (
                    f"alert to 202, {CONNECTIONS} at once",
                    timed(lambda n: post(server, "many", n), ALERTS, CONNECTIONS),
                ),
                ("entry to DONE, one at a time", timed(lambda n: entry(server, n), 20, 1)),
            ]
        finally:
            server.end()
    print(f"{'':32}{'per second':>12}{'p50 ms':>10}{'p95 ms':>10}{'worst ms':>10}")
    for name, (rate, took) in rows:
        cuts = statistics.quantiles(took, n=100)
        print(f"{name:32}{rate:12.0f}{cuts[49] * 1000:10.1f}{cuts[94] * 1000:10.1f}{max(took) * 1000:10.1f}")
    return 0


def timed(work: Callable[[int], None], count: int, threads: int) -> tuple[float, list[float]]:
    """Calls a second over all threads, and the seconds that each call took."""

    def one(number: int) -> float:
        began = time.perf_counter()
        work(number)
        return time.perf_counter() - began

    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        took = list(pool.map(one, range(count)))
        return count / (time.perf_counter() - began), took


def ready(server: Server) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            return health(server)
        except (AssertionError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def health(server: Server) -> None:
    assert server.ask("GET", "/health")[0] == 200


def post(server: Server, name: str, number: int) -> str:
    """A tp alert is stored and asks for nothing, so that no order disturbs the measurement."""
    code, answer = send(server, {"message": "tp1", "id": f"{name}{number}"})
    assert code == 200, answer
    return str(answer["alert_id"])


def entry(server: Server, number: int) -> None:
    fields = {"message": "entry", "id": f"entry{number}", "ticker": f"COIN{number}USDT.P", "size": "0.01"}
    code, answer = send(server, fields | LEVELS)
    assert code == 202, answer
    assert server.ended(str(answer["alert_id"]), "DONE")["status"] == "DONE"


def send(server: Server, fields: dict[str, str]) -> tuple[int, dict[str, object]]:
    alert = {"ticker": "BTCUSDT.P", "exchange": "PAPER", "passphrase": server.passphrase, **fields}
    return server.ask("POST", "/tradingview-to-webhook-order", alert)


if __name__ == "__main__":
    sys.exit(main())
