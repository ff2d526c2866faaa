"""A crowd of alerts for many lanes, sent to two web processes and traded by two runners that get killed.

Each lane's alerts are sent in order, the next once the one before was acknowledged. What must have come of
them is computed from the alerts alone, and held against the paper venue's own record.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select

from store import open_store
from store.journal import UNDONE
from store.tables import intents, notices, orders, paper_fills
from tests.processes import ACCOUNTS, LONG, RUNNER, SHORT, House, Process, tickers
from trading.errors import StoreUnavailable

_SENDERS = 8
#: A sender waits while so many alerts are under way: entries grow old.
_BACKLOG = 40
#: Seconds without an alert that ends: then none will.
_STANDSTILL = 120.0
#: What is answered with 5xx TradingView sends again, so many times and after so many seconds.
_AGAIN, _PAUSE = 3, 5.0
#: For web and runners: how long it takes is no reason to turn an alert away.
AGELESS = {"MAX_ALERT_AGE": "0"}
#: From one to the next: an entry, its reversal, an exit, and so on with another size.
_TURN = ("long", "short", "exit", "short", "long", "exit")


@dataclass(slots=True)
class Report:
    """What came of it. `wrong` holds a line for each lane or alert that is not as it must be.

    `overtaken` are entries that got lost on their way to the venue, and were not sent again because the
    lane's next alert had come; `sent_again` were answered with 5xx.
    """

    alerts: int = 0
    lanes: int = 0
    troubles: int = 0
    overtaken: int = 0
    sent_again: int = 0
    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    notices: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        said = ", ".join(f"{count} {status}" for status, count in sorted(self.statuses.items()))
        loud = ", ".join(f"{count} {kind}" for kind, count in sorted(self.notices.items()))
        lines = [
            f"{self.alerts} alerts over {self.lanes} account-instrument pairs, {self.seconds:.0f} s: {said}",
            f"runners killed or cut off: {self.troubles}; alarms: {loud or 'none'}",
            f"entries lost and overtaken: {self.overtaken}; alerts sent again: {self.sent_again}",
            f"traded twice, lost, or out of order: {len(self.wrong)}",
        ]
        return "\n".join([*lines, *self.wrong[:20]])


class Trouble:
    """Two runners that nothing happens to; `disturb` is called again and again while they work."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.count = 0
        self.runners = [self.start(number) for number in range(2)]

    def start(self, number: int) -> Process:
        return self.house.start(RUNNER, name=f"runner-{number}", **AGELESS)

    def disturb(self, done: int) -> None:
        """Makes such trouble as is due, now that so many alerts have ended."""


class Killer(Trouble):
    """Each time that `due` says so, one of the runners, drawn by lot, is killed and another one started.

    `due` is given the number of alerts that have ended and of kills that there were.
    """

    def __init__(self, house: House, due: Callable[[int, int], bool], seed: int = 0) -> None:
        super().__init__(house)
        self._due, self._dice = due, random.Random(seed)

    def disturb(self, done: int) -> None:
        if self._due(done, self.count):
            number = self._dice.randrange(len(self.runners))
            self.runners[number].kill()
            self.count += 1
            self.runners[number] = self.start(number)


class Crowd:
    """`count` alerts over `pairs` lanes."""

    def __init__(self, house: House, *, count: int, pairs: int) -> None:
        accounts = ACCOUNTS[: max(1, -(-pairs // 10))]
        names = list(itertools.islice(tickers(), -(-pairs // len(accounts))))
        self._lanes = list(itertools.product(accounts, names))[:pairs]
        self._house, self._count = house, count
        self._sent: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        self._born = datetime.now(UTC) - timedelta(seconds=count // pairs + 1)
        self._acknowledged = 0
        self._sent_again = 0
        self._room = threading.Condition()
        self._done = 0
        self._over = False

    def run(self, trouble: Trouble, tell: Callable[[str], None] = lambda _: None) -> Report:
        """Sends all amid that trouble, waits for the last alert; what came of it."""
        began = time.monotonic()
        webs = [self._house.start(RUNNER="off", **AGELESS) for _ in range(2)]
        report = Report(lanes=len(self._lanes))
        with ThreadPoolExecutor(_SENDERS) as pool:
            sending = [pool.submit(self._send, webs, number) for number in range(_SENDERS)]
            try:
                self._wait(sending, trouble, tell, report)
            finally:
                with self._room:
                    self._over = True
                    self._room.notify_all()
        report.alerts, report.seconds = self._acknowledged, time.monotonic() - began
        report.troubles, report.sent_again = trouble.count, self._sent_again
        self._look(report)
        return report

    def _wait(
        self, sending: list[Future[None]], trouble: Trouble, tell: Callable[[str], None], report: Report
    ) -> None:
        """Until all are sent and have ended, or nothing moves any more."""
        moved_at = next_word = time.monotonic()
        while True:
            done, now = self._ended(), time.monotonic()
            moved_at = now if done != self._done else moved_at
            with self._room:
                self._done = done
                self._room.notify_all()
            for each in sending:
                if each.done():
                    each.result()
            if all(each.done() for each in sending) and done == self._acknowledged:
                return
            if now - moved_at > _STANDSTILL:
                report.wrong.append(f"{self._acknowledged - done} alerts never ended")
                return
            trouble.disturb(done)
            if now >= next_word:
                next_word = now + 10
                tell(f"{self._acknowledged} of {self._count} sent, {done} ended, {trouble.count} troubles")
            time.sleep(0.25)

    def _send(self, webs: list[Process], number: int) -> None:
        lanes = self._lanes[number::_SENDERS]
        plan = [lane for _ in range(-(-self._count // len(self._lanes))) for lane in lanes]
        for account, ticker in plan:
            with self._room:
                self._room.wait_for(lambda: self._over or self._acknowledged - self._done < _BACKLOG)
                if self._over or self._acknowledged >= self._count:
                    return
            turn = len(self._sent[account, ticker])
            kind = _TURN[turn % len(_TURN)]
            size = f"0.0{1 + turn % 7}"
            fields = {"long": LONG, "short": SHORT, "exit": {"price": "42000"}}[kind]
            message = "exit" if kind == "exit" else "entry"
            extra = {} if kind == "exit" else {"size": size}
            # Each is a second younger than the one before it: none of them overtook another on its way.
            extra["time"] = (self._born + timedelta(seconds=turn)).strftime("%Y-%m-%dT%H:%M:%SZ")
            body = self._house.body(account, ticker, message=message, **fields, **extra)
            alert_id = self._deliver(webs[turn % len(webs)], body)
            self._sent[account, ticker].append((alert_id, kind))
            with self._room:
                self._acknowledged += 1

    def _deliver(self, web: Process, body: bytes) -> str:
        """As TradingView does it; the alert's id."""
        for _ in range(_AGAIN):
            answer = self._house.send(web, body)
            if answer is not None and answer.status_code < 500:
                assert answer.status_code in (200, 202), answer.text
                return str(answer.json()["alert_id"])
            with self._room:
                self._sent_again += 1
            time.sleep(_PAUSE)
        return self._house.accept(web, body)

    def _ended(self) -> int:
        """How many have; where the database does not say, as many as before."""
        store = open_store(self._house.url)
        try:
            with store.read() as tx:
                query = select(func.count()).select_from(intents).where(intents.c.status.not_in(UNDONE))
                return int(tx.execute(query).scalar_one())
        except StoreUnavailable:
            return self._done
        finally:
            store.close()

    def _look(self, report: Report) -> None:
        """Holds the venue's record against what the alerts asked for."""
        house = self._house
        symbols = {row.id: (row.account, row.symbol) for row in house.rows(intents)}
        report.statuses.update(row.status for row in house.rows(intents))
        overtaken = {
            row.id
            for row in house.rows(intents)
            if row.status == "EXPIRED" and row.reason.startswith("overtaken by the ")
        }
        report.overtaken = len(overtaken)
        ends = Counter(
            row.reason for row in house.rows(intents) if row.status != "DONE" and row.id not in overtaken
        )
        report.wrong += [f"{count} ended with: {reason}" for reason, count in ends.most_common(5)]
        report.notices.update(
            row.kind for row in house.rows(notices) if row.kind in ("alarm", "drift", "rejected")
        )
        if len(symbols) != self._acknowledged:
            report.wrong.append(f"{self._acknowledged} acknowledged, {len(symbols)} stored")
        quantities = {row.intent_id: row.quantity for row in house.rows(orders, role="entry")}
        filled: dict[tuple[str, str], list[tuple[int, str, str]]] = defaultdict(list)
        entered: Counter[str] = Counter()
        for row in house.rows(paper_fills):
            alert_id, role = row.client_order_id.split("-")[:2]
            filled[row.account, row.symbol].append((row.trade_id, alert_id, role))
            if role == "e":
                entered[alert_id] += row.quantity
        for lane, sent in self._sent.items():
            if not sent:
                continue
            wanted = list(_expected(sent, overtaken))
            place = symbols.get(sent[0][0])
            if place is None:
                report.wrong.append(f"{lane}: {sent[0][0]} is not stored")
                continue
            seen = [(alert_id, role) for _, alert_id, role in sorted(filled[place])]
            got = [step for step, _ in itertools.groupby(seen)]
            if got != wanted:
                report.wrong.append(f"{lane}: {_differ(wanted, got)}")
            for alert_id, kind in sent:
                whole = 0 if alert_id in overtaken else quantities.get(alert_id)
                if kind != "exit" and entered[alert_id] != whole:
                    report.wrong.append(f"{lane}: {alert_id} entered {entered[alert_id]} of {whole}")


def _expected(sent: list[tuple[str, str]], overtaken: Collection[str]) -> list[tuple[str, str]]:
    """The fills of a lane, by alert and role: what is open is closed first."""
    steps, is_open = [], False
    for alert_id, kind in sent:
        if is_open:
            steps.append((alert_id, "x"))
        is_open = kind != "exit" and alert_id not in overtaken
        if is_open:
            steps.append((alert_id, "e"))
    return steps


def _differ(wanted: list[tuple[str, str]], got: list[tuple[str, str]]) -> str:
    for number, (one, other) in enumerate(itertools.zip_longest(wanted, got)):
        if one != other:
            return f"step {number} of {len(wanted)} is {other}, not {one}"
    return "the same"
