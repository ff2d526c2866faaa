"""How long the dashboard's pages take, and how heavy they are, with 100,000 alerts stored: `make bench`.

In this process, on a SQLite database on disk: rendering, queries and all, without a network between.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from desk.migrate import upgrade
from desk.settings import load
from store import Store, open_store
from store.tables import alerts, events, fills, intents, orders, positions
from tests.web.person import Visitor
from web.browser import prepare

ALERTS = 100_000
ROUNDS = 9
PASSWORD = "password-of-the-bench"
SYMBOLS = ("BTC-USDT-PERP", "ETH-USDT-PERP", "SOL-USDT-PERP", "XRP-USDT-PERP", "LINK-USDT-PERP")
PAGES = (
    *("/", "/alerts", "/alerts?status=FAILED", "/alerts?text=n31415x", "/alerts?ticker=LINK", "/results"),
    *("/results?period=all", "/try", "/alerts/{id}", "/api/alerts/{id}/chart"),
)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/desk.db"
        upgrade(url)
        store = open_store(url)
        began = time.perf_counter()
        fill(store, ALERTS, datetime.now(UTC))
        store.close()
        size = Path(folder, "desk.db").stat().st_size / 2**20
        print(f"{ALERTS} alerts written in {time.perf_counter() - began:.0f} s, {size:.0f} MiB\n")
        measure(url)
    return 0


def measure(url: str) -> None:
    import app as door

    values = {"WEBHOOK_PASSPHRASE": "passphrase-of-the-bench", "DASHBOARD_PASSWORD": PASSWORD}
    made = door.create_app(
        load(values | {"DATABASE_URL": url, "RUNNER": "off", "RISK_MAIN": "1", "LEVERAGE_MAIN": "3"})
    )
    prepare(made)  # as each worker does soon after it began
    visitor = Visitor(made, PASSWORD)
    visitor.log_in()
    last = visitor.get("/api/alerts?limit=1").get_json()["alerts"][0]["id"]
    print(f"{'':34}{'first ms':>10}{'p50 ms':>10}{'worst ms':>10}{'KiB':>8}")
    for page in PAGES:
        took, weight = timed(visitor, page.format(id=last))
        cuts = (took[0], statistics.median(took[1:]), max(took[1:]))
        print(f"{page:34}" + "".join(f"{each * 1000:10.0f}" for each in cuts) + f"{weight / 1024:8.0f}")
    visitor.desk.store.close()


def timed(visitor: Visitor, page: str) -> tuple[list[float], int]:
    """Seconds of each round; bytes of the page with its files, the chart library aside."""
    took, text = [], b""
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        answer = visitor.client.get(page)
        took.append(time.perf_counter() - began)
        assert answer.status_code == 200, page
        text = answer.data
    files = re.findall(rb'(?:src|href)="(/static/[^"]+)"', text)
    weight = sum(
        len(visitor.client.get(name.decode(), headers={"Accept-Encoding": "gzip"}).data)
        for name in set(files)
        if b"/vendor/" not in name
    )
    return took, len(text) + weight


def fill(store: Store, count: int, now: datetime) -> None:
    """A year of entries and exits in turn, each entry with its orders, fills and story."""
    step = timedelta(days=365) / count
    batch: dict[Any, list[dict[str, Any]]] = {}
    for number in range(1, count + 1):
        at = now - step * (count - number + 1)
        for table, row in rows(number, at):
            batch.setdefault(table, []).append(row)
        if number % 5000 == 0 or number == count:
            with store.write() as tx:
                for table in (alerts, intents, positions, orders, fills, events):
                    if batch.get(table):
                        tx.execute(insert(table), batch.pop(table))


def rows(number: int, at: datetime) -> Any:
    """The rows of one alert: odd numbers enter, even ones exit."""
    name, symbol = f"{number:020x}", SYMBOLS[number // 2 % len(SYMBOLS)]
    kind = "entry" if number % 2 else "exit"
    price = Decimal(100 + number % 17)
    status = "FAILED" if number % 9973 == 0 else "DONE"
    body = json.dumps(
        {"id": f"n{number}x", "message": kind, "ticker": symbol, "interval": "15", "price": str(price)}
    )
    lane = {"venue": "PAPER:PAPER", "account": "MAIN", "symbol": symbol}
    yield (
        alerts,
        {
            "seq": number,
            "id": name,
            "received_at": at,
            "source": "tradingview",
            "route": "tradingview-to-webhook-order",
            "exchange": "PAPER",
            "subaccount": "main",
            "account": "MAIN",
            "ticker": symbol,
            "symbol": symbol,
            "kind": kind,
            "action": "buy" if kind == "entry" else "sell",
            "message": kind,
            "sent_at": at - timedelta(seconds=1),
            "price": price,
            "body": body,
        },
    )
    yield (
        intents,
        {
            "id": name,
            "seq": number,
            **lane,
            "kind": kind,
            "status": status,
            "reason": "",
            "effective_at": at,
            "expires_at": None,
            "attempts": 0,
            "free_collateral": Decimal(100_000),
            "risk": Decimal(1),
            "quantity": Decimal(5),
            "worst_loss": Decimal(1000),
            "notional": 5 * price,
            "updated_at": at,
        },
    )
    if number <= 2 * len(SYMBOLS) and number % 2:
        yield (
            positions,
            {
                **lane,
                "quantity": Decimal(0),
                "realised_pnl": Decimal(0),
                "fees": Decimal(0),
                "token": 1,
                "wakes": 1,
                "updated_at": at,
            },
        )
    roles = ("entry", "stop", "target") if kind == "entry" else ("close",)
    for role in roles:
        filled = role in ("entry", "close")
        order = f"{name}-{role}"
        yield (
            orders,
            {
                "client_order_id": order,
                "intent_id": name,
                **lane,
                "role": role,
                "rung": 0,
                "attempt": 1,
                "side": "BUY" if role == "entry" else "SELL",
                "type": "MARKET" if filled else "LIMIT",
                "quantity": Decimal(5),
                "price": None if filled else price,
                "trigger_price": None,
                "time_in_force": "GTC",
                "reduce_only": role != "entry",
                "status": "FILLED" if filled else "CANCELED",
                "venue_order_id": order,
                "filled_quantity": Decimal(5) if filled else Decimal(0),
                "average_price": price if filled else None,
                "signed_at": at,
                "retry_at": at,
                "reason": "",
                "created_at": at,
                "updated_at": at,
            },
        )
        if filled:
            yield (
                fills,
                {
                    **lane,
                    "trade_id": str(number),
                    "client_order_id": order,
                    "venue_order_id": order,
                    "side": "BUY" if role == "entry" else "SELL",
                    "quantity": Decimal(5),
                    "price": price,
                    "fee": Decimal("0.5"),
                    "fee_currency": "USDT",
                    "maker": False,
                    "at": at + timedelta(seconds=1),
                    "realised_pnl": Decimal(number % 7 - 3) if role == "close" else Decimal(0),
                },
            )
    for event in ("received", "approved", "executing", "submitted", "filled", "done"):
        yield events, {"alert_id": name, "at": at, "event": event, "detail": "as the bench made it"}


if __name__ == "__main__":
    sys.exit(main())
