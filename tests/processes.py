"""Real servers and runners on a database of their own, which can be killed at any stage of an alert's way.

Used by tests/test_kill.py. What became of an alert is read from the database, and of its orders from the
paper venue's own record there.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import requests
from dotenv import dotenv_values
from sqlalchemy import Row, Table, select

from store import open_store
from store.tables import alerts, fills, intents, notices, orders, paper_fills, paper_orders, positions
from trading.model import OrderStatus

ROOT = Path(__file__).resolve().parents[1]
PASSPHRASE = "correct-horse-battery"
PASSWORD = "dashboard-correct-horse"
WEB = ("gunicorn", "app:app")
RUNNER = ("desk.runner",)
OPEN = (OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED)
#: Accounts to trade on: each test, and each kill, takes a fresh one.
ACCOUNTS = [f"K{number}" for number in range(60)]
#: Long enough for a machine that does ten other things.
PATIENCE = 40.0

T = TypeVar("T")

LONG = {"action": "buy", "price": "42000", "long SL": "41500", "long TP": "43500"}
SHORT = {"action": "sell", "price": "42000", "short SL": "42500", "short TP": "40500"}
LADDER = {"tp Close": "25", "tp1 Mult": "1", "tp2 Mult": "2"}


@dataclass(frozen=True, slots=True)
class Stage:
    """The nth time that a stage is reached, counted from when the order is given."""

    name: str
    nth: int = 1


class Wire:
    """How a test hears of the stages in its processes, and says what is to happen at one of them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def order(
        self,
        stage: Stage | None,
        *,
        spare: Collection[str] = (),
        what: signal.Signals = signal.SIGKILL,
        group: bool = True,
        meet: int = 0,
    ) -> None:
        """Once, from now on: a signal at this stage, to the group or the process that came to it alone.

        None is the first stage that is not one of `spare`. With `meet` there is no signal: each process
        waits at the stage until so many of them are there.
        """
        for old in self.folder.glob("obeyed-*"):
            old.unlink()
        order = {"stage": stage.name if stage else None, "nth": stage.nth if stage else 1}
        order |= {"spare": list(spare), "signal": int(what), "group": group, "meet": meet}
        draft = self.folder / "draft"
        draft.write_text(json.dumps(order))
        draft.replace(self.folder / "order")

    def obeyed(self) -> list[str]:
        """The stages at which the last order was followed: one, or one for each that met."""
        return [path.read_text() for path in self.folder.glob("obeyed-*")]

    def seen(self) -> list[tuple[int, str]]:
        """Process and stage, of all that was reached since this folder was made."""
        path = self.folder / "seen"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(pid), stage) for pid, _, stage in (line.partition(" ") for line in lines)]


class Process(Wire):
    """One process under test, leader of a group of its own."""

    def __init__(self, module: tuple[str, ...], environ: dict[str, str], folder: Path) -> None:
        super().__init__(folder)
        self._log = folder / "log"
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        with self._log.open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", *module],
                cwd=ROOT,
                env=environ | {"PORT": str(self.port), "STAGES": str(folder)},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def ended(self, within: float = PATIENCE) -> int:
        """Its exit status, once it has ended by itself."""
        try:
            return self.popen.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it lives on after {within:.0f} s; {self.seen()}\n{self.log()}") from None

    def kill(self) -> None:
        """SIGKILL to whatever of the group is left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


class House:
    """Processes on one database, alerts to them, and what came of it."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self._processes: list[Process] = []
        self._count = 0

    def start(self, module: tuple[str, ...] = WEB, *, name: str | None = None, **changes: str) -> Process:
        """A process; one of the same `name` shares the folder, and so the orders, of those before."""
        name = name or f"{module[0]}-{len(self._processes)}"
        process = Process(module, self._environ() | changes, self.folder / name)
        self._processes.append(process)
        if module == WEB:
            until(lambda: _answers(process), f"the server answers:\n{process.log()}")
        return process

    def body(self, account: str, ticker: str, **fields: str) -> bytes:
        """An alert with an id of its own."""
        self._count += 1
        known = {
            "passphrase": PASSPHRASE,
            "exchange": "BINANCE",
            "subaccount": account,
            "ticker": ticker,
            "id": f"n{self._count}",
        }
        return json.dumps(known | fields).encode()

    def send(self, server: Process, body: bytes) -> requests.Response | None:
        """The answer; None if the server died before it gave one."""
        try:
            return requests.post(f"{server.url}/tradingview-to-webhook-order", data=body, timeout=PATIENCE)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return None

    def accept(self, server: Process, body: bytes) -> str:
        """Sends an alert that must be taken; its id."""
        answer = self.send(server, body)
        assert answer is not None, server.log()
        assert answer.status_code == 202, answer.text
        return str(answer.json()["alert_id"])

    def done(self, server: Process, alert_id: str) -> dict[str, Any]:
        """The alert as the API shows it, once it is DONE; AssertionError if it ends in another way."""

        def look() -> dict[str, Any] | None:
            answer = requests.get(
                f"{server.url}/api/alerts/{alert_id}", auth=("any", PASSWORD), timeout=PATIENCE
            )
            alert: dict[str, Any] = answer.json()
            going = ("RECEIVED", "AWAITING_APPROVAL", "APPROVED", "EXECUTING")
            ended = alert.get("status") not in going
            assert not ended or alert.get("status") == "DONE", f"{alert}\n{server.log()}"
            return alert if ended else None

        found = until(look, lambda: f"{alert_id} is DONE: {self.story(alert_id)}\n{server.log()}")
        assert found is not None
        return found

    def rows(self, table: Table, **where: str) -> list[Row[Any]]:
        query = select(table).where(*(table.c[name] == value for name, value in where.items()))
        # Opened for each look: a reader that stays would spare the next server SQLite's own recovery.
        store = open_store(self.url)
        try:
            with store.read() as tx:
                return list(tx.execute(query))
        finally:
            store.close()

    def stored(self, body: bytes) -> str | None:
        """The id of the alert with this body, if it was stored."""
        key = json.loads(body)["id"]
        found = [row.id for row in self.rows(alerts) if json.loads(row.body).get("id") == key]
        assert len(found) <= 1, f"{key} is stored {len(found)} times"
        return found[0] if found else None

    def story(self, alert_id: str) -> str:
        intent = [tuple(row) for row in self.rows(intents, id=alert_id)]
        return f"{intent}\n{[tuple(row) for row in self.rows(orders, intent_id=alert_id)]}"

    def check_entered_once(self, alert_id: str) -> None:
        """One entry in our journal, one at the venue, and as much filled as was ordered."""
        (entry,) = self.rows(orders, intent_id=alert_id, role="entry")
        assert entry.status == OrderStatus.FILLED
        sent = [r for r in self.rows(paper_orders) if r.client_order_id.startswith(f"{alert_id}-e")]
        assert [row.client_order_id for row in sent] == [f"{alert_id}-e"]
        filled = [r for r in self.rows(paper_fills) if r.client_order_id == f"{alert_id}-e"]
        assert sum(row.quantity for row in filled) == entry.quantity, f"{filled}\n{self.story(alert_id)}"

    def check_lane(self, account: str, symbol: str | None = None) -> Decimal:
        """What must hold at rest for an account's instrument, or its only one; the position at the venue."""
        lane = {"account": account} | ({"symbol": symbol} if symbol else {})
        position = self.position(**lane)
        resting = [row for row in self.rows(paper_orders, **lane) if row.status in OPEN]
        stops = [row for row in resting if row.type == "STOP"]
        targets = [row for row in resting if row.type == "LIMIT"]
        assert len(stops) + len(targets) == len(resting)
        assert all(row.reduce_only for row in resting)
        assert {row.side for row in resting} <= {"SELL" if position > 0 else "BUY"}
        assert len(stops) == (1 if position else 0), f"position {position}: {stops}"
        assert sum(row.quantity - row.filled_quantity for row in stops) >= abs(position)
        assert sum(row.quantity - row.filled_quantity for row in targets) == abs(position)
        journal = [row for row in self.rows(orders, **lane) if row.status in OPEN]
        assert {row.client_order_id for row in journal} == {row.client_order_id for row in resting}
        told = {(row.client_order_id, row.quantity, row.price) for row in self.rows(fills, **lane)}
        assert told == {
            (row.client_order_id, row.quantity, row.price) for row in self.rows(paper_fills, **lane)
        }
        (known,) = self.rows(positions, **lane)
        assert known.quantity == position
        return position

    def position(self, **lane: str) -> Decimal:
        """What the venue's fills add up to."""
        filled = self.rows(paper_fills, **lane)
        signed = (row.quantity if row.side == "BUY" else -row.quantity for row in filled)
        return sum(signed, Decimal(0))

    def check_calm(self) -> None:
        """Nobody had to be alarmed: no position was found naked, none unlike our fills."""
        loud = [row.text for row in self.rows(notices) if row.kind in ("alarm", "drift", "rejected")]
        assert loud == []

    def close(self) -> None:
        for process in self._processes:
            process.kill()

    def _environ(self) -> dict[str, str]:
        rules = {f"RISK_{name}": "1" for name in ("MAIN", *ACCOUNTS)}
        rules |= {f"LEVERAGE_{name}": "3" for name in ("MAIN", *ACCOUNTS)}
        return {
            **bare_environ(),
            **rules,
            "DATABASE_URL": self.url,
            "DEFAULT_SUBACCOUNT": "MAIN",
            "WEBHOOK_PASSPHRASE": PASSPHRASE,
            "DASHBOARD_PASSWORD": PASSWORD,
            "MAX_ALERT_AGE": "600",
        }


def bare_environ() -> dict[str, str]:
    """What a process under test needs to run, and to listen for the stages; no setting."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    # What a person's .env sets counts as unset here.
    unset = dict.fromkeys(dotenv_values(ROOT / ".env", interpolate=False), "")
    if "WEB_CONCURRENCY" in unset:
        # gunicorn reads it by itself, and takes no empty one.
        unset["WEB_CONCURRENCY"] = "1"
    return {**kept, **unset, "PYTHONPATH": str(ROOT / "tests" / "killing"), "PYTHONUNBUFFERED": "1"}


def until(look: Callable[[], T], what: str | Callable[[], str], within: float = PATIENCE) -> T:
    """What `look` gives, once that is true; AssertionError says what did not come to be."""
    deadline = time.monotonic() + within
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:.0f} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.02)
    return found


def tickers() -> Iterator[str]:
    """Perpetuals that nothing else trades."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return (f"{one}{two}QUSDT.P" for one in letters for two in letters)


def stages(seen: list[str]) -> list[Stage]:
    """Each stage of a recorded way, with which time it was.

    Being claimed counts once: a lane with a position is claimed now and then, alert or not.
    """
    found = [Stage(name, seen[:at].count(name) + 1) for at, name in enumerate(seen)]
    return [stage for stage in found if stage.name != "claimed" or stage.nth == 1]


def _answers(server: Process) -> bool:
    assert server.popen.poll() is None, f"the server ended:\n{server.log()}"
    try:
        return requests.get(f"{server.url}/robots.txt", timeout=PATIENCE).status_code < 500
    except requests.ConnectionError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
