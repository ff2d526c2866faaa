"""The whole desk as a replay's engine: door, journal, runner and paper venue, on a database of its own.

It must never reach the user's database or a real venue, and never hurry past what a runner would wait for.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

from desk import control
from desk.intake import Intake
from desk.playback import DUPLICATE, REFUSED, Clock, Result, Row, word
from desk.runner import Runner
from desk.settings import ROOT, Settings
from desk.tape import Heard
from desk.venues import Venues
from exchanges import available
from store import Store, journal, open_store, orders, paper, views
from trading.model import IntentStatus, Lane, OrderType, Sizing

#: Of the replay alone; nobody else can knock at its door.
PASSPHRASE = "replay-of-stored-alerts"  # noqa: S105
VOTER = "replay"

_ADDRESS = "127.0.0.1"
#: How long a lane may wait, in seconds of the replay, and how often it is looked at within one.
_PATIENCE, _LOOKS = 90, 1000
_MEMORY = Path("/dev/shm")  # noqa: S108  # a folder of the replay's own is made in it
_ID = re.compile(r"\b[0-9a-f]{20}\b")


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder that goes when the replay ends; in memory where there is some, since nothing of it is kept."""
    with ExitStack() as stack:
        where = str(_MEMORY) if os.access(_MEMORY, os.W_OK) else None
        yield Path(stack.enter_context(TemporaryDirectory(prefix="desk-replay-", dir=where)))


@contextmanager
def database(folder: Path) -> Iterator[Store]:
    """A new, migrated database in `folder`; the first one is the pattern of those that follow."""
    pattern = folder / "pattern.db"
    if not pattern.exists():
        said = {"DATABASE_URL": f"sqlite:///{pattern}", "WEBHOOK_PASSPHRASE": PASSPHRASE, "DYNO": ""}
        command = (sys.executable, "-m", "desk.migrate")
        subprocess.run(command, cwd=ROOT, env=os.environ | said, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # our own module
    run = folder / f"run-{len(list(folder.glob('run-*.db')))}.db"
    copyfile(pattern, run)
    store = open_store(f"sqlite:///{run}")
    try:
        yield store
    finally:
        store.close()


class WholeDesk:
    """One desk, played. `votes` as in `desk.playback.word`."""

    def __init__(self, store: Store, settings: Settings, clock: Clock, *, votes: str) -> None:
        self._store = store
        self._votes = votes
        self._clock = clock
        self._timeout = settings.approval_timeout
        self._venues = Venues(store, settings, clock)
        self._runner = Runner(store, settings, clock, venues=self._venues)
        self._intake = Intake(store, settings, clock, lambda: None, exchanges=available())
        self._rows: list[Row] = []
        self._ids: dict[str, Row] = {}

    def hear(self, heard: Heard) -> str:
        """Through the door, and on until nothing of it is left to do."""
        row = Row(heard)
        self._rows.append(row)
        raw = heard.raw
        if heard.body is not None:
            raw = json.dumps(dict(heard.body.fields) | {"passphrase": PASSPHRASE}).encode()
        answer = self._intake.receive(raw, route=heard.route, address=_ADDRESS)
        told, alert_id = answer.body, str(answer.body.get("alert_id", ""))
        if answer.code >= 300 or told.get("status") == "duplicate":
            row.status = REFUSED if answer.code >= 300 else DUPLICATE
            field = f"{told['field']}: " if "field" in told else ""
            row.reason = f"{field}{told['message']}"
            lines = {each: known.line for each, known in self._ids.items() if each in row.reason}
            row.reason = _named(row.reason, lines)
            if row.status == DUPLICATE:
                row.reason = f"it is the alert of line {self._ids[alert_id].line} again"
            return ""
        self._ids[alert_id] = row
        self._settle()
        self._vote(alert_id, heard)
        with self._store.read() as tx:
            row.alert = journal.alert_of(tx, alert_id)
        return row.alert.symbol

    def price(self, symbol: str, price: Decimal, at: datetime) -> None:
        """The paper venue hears it, and the runner does what follows."""
        self._venues.price(symbol, price, at)
        self._settle()

    def levels(self, symbol: str) -> Iterator[Decimal]:
        """Where orders rest at the paper venue."""
        with self._store.read() as tx:
            books = [holding.book for account in paper.accounts(tx) for holding in account.holdings()]
        for book in books:
            for order in book.orders if book.symbol == symbol else ():
                level = order.trigger_price or order.price
                if order.type is not OrderType.MARKET and level is not None:
                    yield level

    def finish(self) -> Result:
        """Waits until nobody could vote any more, and reads everything."""
        self._clock.reach(self._clock() + self._timeout + timedelta(seconds=1))
        self._settle()
        lines = {alert_id: row.line for alert_id, row in self._ids.items()}
        with self._store.read() as tx:
            for alert_id, row in self._ids.items():
                found = views.alert(tx, alert_id) or {}
                row.status, row.reason = str(found["status"]), _named(str(found["reason"]), lines)
                row.sizing = _sizing(found)
            lanes = [Lane(at["venue"], at["account"], at["symbol"]) for at in views.position_list(tx)]
            fills = {lane: orders.fills_of(tx, lane) for lane in lanes}
            prices = {each.symbol: each.price for each in paper.prices(tx)}
        return Result(rows=self._rows, fills=fills, lines=lines, prices=prices)

    def _settle(self) -> None:
        """Lets the runner do all that is due, and waits, in the replay's time, for what it must wait for."""
        for _ in range(_PATIENCE):
            for _ in range(_LOOKS):
                if not self._runner.step():
                    break
            with self._store.read() as tx:
                if views.oldest_undone(tx) is None:
                    return
            self._clock.reach(self._clock() + timedelta(seconds=1))

    def _vote(self, alert_id: str, heard: Heard) -> None:
        with self._store.read() as tx:
            if views.intent_status(tx, alert_id) is not IntentStatus.AWAITING_APPROVAL:
                return
        said = word(self._votes, heard.status)
        if said is not None:
            control.vote(self._store, intent_id=alert_id, approve=said, voter=VOTER, now=self._clock())
            self._settle()


def _named(reason: str, lines: Mapping[str, int]) -> str:
    """The reason with lines of the file in place of ids, which differ from run to run."""
    return _ID.sub(lambda found: f"of line {lines[found[0]]}" if found[0] in lines else found[0], reason)


def _sizing(row: Mapping[str, object]) -> Sizing | None:
    if row["quantity"] is None:
        return None
    names = ("free_collateral", "risk", "quantity", "worst_loss", "notional")
    return Sizing(**{name: row[name] for name in names})  # type: ignore[arg-type]  # Decimals, by the table
