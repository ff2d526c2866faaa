"""`python -m tests.web.shots FOLDER`: every view of a lively dashboard, desk and phone, light and dark.

A server of its own on the paper venue, with candles from the emulated exchange; those of the README are among
its pictures.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from desk.migrate import upgrade
from tests.emulator import binance
from tests.emulator.server import Server as Exchange
from tests.web.browsing import Visit, launch
from tests.web.conftest import PASSPHRASE, PASSWORD, Server

PRICES = {"BTC-USDT-PERP": 42520, "ETH-USDT-PERP": 2250}
#: Five minutes each.
STEPS = 4 * 288
SETTINGS = {
    "WEBHOOK_PASSPHRASE": PASSPHRASE,
    "DASHBOARD_PASSWORD": PASSWORD,
    "RISK_MAIN": "1",
    "LEVERAGE_MAIN": "3",
    "RISK_SWING": "0.5",
    "LEVERAGE_SWING": "3",
    "APPROVAL_SWING": "discord",
    "DEFAULT_SUBACCOUNT": "MAIN",
    "MAX_ALERT_AGE": "0",
}
#: As they stand in the README: what the screen shows at first.
README = ("now-desk-light", "story-phone-dark")
DRAWN = "() => [...document.querySelectorAll('[data-chart]')].every((each) => each.dataset.drawn === 'bars')"


def main() -> int:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, exchange() as venue:
        url = f"sqlite:///{scratch}/desk.db"
        upgrade(url)
        server = Server(SETTINGS | {"DATABASE_URL": url, "BINANCE_API_URL": venue.url}, Path(scratch))
        try:
            server.wait()
            story = trade(server)
            shoot(server.url, folder, story)
        finally:
            server.stop()
    return 0


def exchange() -> Exchange:
    """An exchange with four days behind it."""
    now = datetime.now(UTC)
    clock = [now - timedelta(days=5)]
    engine, dialect = binance.build(lambda: clock[0])
    for seed, (symbol, last) in enumerate(PRICES.items()):
        for number, price in enumerate(walk(last, seed)):
            clock[0] = now - timedelta(minutes=5) * (STEPS - number)
            engine.move(symbol, price)
    clock[0] = now
    return Exchange(dialect, engine)


def walk(last: int, seed: int) -> list[Decimal]:
    """A price that wanders, and ends where it is to."""
    chance, value, path = random.Random(seed), 1.0, []
    for _ in range(STEPS):
        value *= 1 + chance.gauss(0.00001, 0.0009)
        path.append(value)
    return [round(Decimal(str(last * each / value)), 1) for each in path]


def trade(server: Server) -> str:
    """A morning's alerts; the id of the one whose story is shown."""
    ladder = {"tp Close": "25", "tp1 Mult": "1", "tp2 Mult": "2"}
    btc = {"ticker": "BTCUSDT.P", "strategy": "Breakout", "interval": "15"}
    eth = {"ticker": "ETHUSDT.P", "strategy": "Mean reversion", "interval": "15"}
    sol = {"ticker": "SOLUSDT.P", "strategy": "Mean reversion", "interval": "60"}
    for number, (into, out) in enumerate([("98", "101"), ("100", "99.2"), ("99", "102"), ("101", "100.1")]):
        low = f"{Decimal(into) - 2}"
        send(server, **sol, id=f"in{number}", price=into, **{"long SL": low, "long TP": "110"})
        send(server, **sol, id=f"out{number}", message="exit", price=out)
    story = send(server, **btc, **ladder, id="a", price="42000", **{"long SL": "41500", "long TP": "43500"})
    send(server, **btc, id="b", message="tp1", price="42510")
    send(server, **btc, id="c", message="tp1_breakeven", price="42520", **{"long Breakeven": "42050"})
    short = {"short SL": "2300", "short TP": "2100", "action": "sell"}
    send(server, **eth, **ladder, **short, id="d", price="2250")
    send(server, id="e", ticker="XRPUSDT.P", subaccount="other", price="0.5", **{"long SL": "0.48"})
    send(
        server,
        **btc,
        **ladder,
        id="f",
        subaccount="swing",
        price="42520",
        **{"long SL": "41900", "long TP": "44500"},
    )
    return story


def send(server: Server, **changes: Any) -> str:
    fields = {
        "exchange": "BINANCE",
        "action": "buy",
        "message": "entry",
        "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    answer = server.post(json.dumps({"passphrase": PASSPHRASE, **fields, **changes}))
    assert answer.status_code < 300, answer.text
    time.sleep(0.3)
    return str(answer.json()["alert_id"])


def shoot(url: str, folder: Path, story: str) -> None:
    views = {
        "now": "/",
        "alerts": "/alerts",
        "story": f"/alerts/{story}",
        "results": "/results",
        "try": "/try",
    }
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for phone in (False, True):
            for dark in (False, True):
                at = Visit(browser, url, phone=phone, dark=dark)
                screen = f"{'phone' if phone else 'desk'}-{'dark' if dark else 'light'}"
                at.log_in(PASSWORD)
                for name, path in views.items():
                    at.page.goto(path)
                    at.page.wait_for_function(DRAWN)
                    at.page.wait_for_timeout(2500)
                    shot = f"{name}-{screen}"
                    at.page.screenshot(path=folder / f"{shot}.png", full_page=shot not in README)
                print(f"{screen}: {at.complaints or 'no complaints'}")
                at.close()
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
