"""Real processes that die: by kill -9 at any stage of an alert's way, by SIGTERM, and side by side.

Whenever it happens, the next process on the same database brings the alert to DONE, with one entry at the
venue, a stop on what is open and nothing left over.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import psutil
import pytest

from desk.runner import Runner
from desk.settings import load
from store import open_store
from store.tables import intents, paper_fills, paper_orders, positions
from tests.processes import (
    ACCOUNTS,
    LADDER,
    LONG,
    PASSPHRASE,
    RUNNER,
    SHORT,
    House,
    Stage,
    Wire,
    stages,
    tickers,
    until,
)

Alert = dict[str, str]
ENTRY: Alert = {"message": "entry", **LONG, **LADDER}
#: The price is past the first target then: a quarter is closed.
BREAKEVEN: Alert = {"message": "breakeven", "price": "42600", "long Breakeven": "42010"}
EXIT: Alert = {"message": "exit"}
#: Not even a shared machine needs longer for what is done in ten seconds.
STOP_LIMIT = 10.0

pytestmark = pytest.mark.timeout(120)


class Life:
    """A house in which one process after another is killed, each amid a trade of its own.

    `apart`: the runner is a process of its own, and the one that is killed.
    """

    def __init__(self, house: House, *, apart: bool = False) -> None:
        self.house = house
        self._apart = apart
        self._free = zip(ACCOUNTS, tickers(), strict=False)
        self.account, self.ticker = next(self._free)
        self.server = house.start(name="web", RUNNER="off" if apart else "embedded")
        self.victim = house.start(RUNNER, name="runner") if apart else self.server

    def move_on(self) -> None:
        """To a fresh account and a fresh instrument."""
        self.account, self.ticker = next(self._free)

    def body(self, alert: Alert) -> bytes:
        return self.house.body(self.account, self.ticker, **alert)

    def watch(self, alert: Alert) -> tuple[str, list[Stage]]:
        """Sends an alert and lets it be; its id, and the stages between the answer and DONE."""
        before = len(self.victim.seen())
        alert_id = self.house.accept(self.server, self.body(alert))
        self.house.done(self.server, alert_id)
        ended = until(lambda: self._seen(before, "ended"), lambda: f"it ended: {self.victim.seen()}")
        return alert_id, stages(ended)

    def kill(self, alert: Alert, stage: Stage) -> str:
        """Sends an alert, has the process killed at a stage, starts the next, waits for DONE; its id."""
        body = self.body(alert)
        self.victim.order(stage)
        answer = self.house.send(self.server, body)
        assert self.victim.ended() == -signal.SIGKILL
        self.restart()
        if answer is None:
            alert_id = self.resend(body)
        else:
            assert answer.status_code == 202
            alert_id = str(answer.json()["alert_id"])
        assert alert_id == self.house.stored(body)
        self.house.done(self.server, alert_id)
        return alert_id

    def restart(self) -> None:
        """The next process after one that ended."""
        if self._apart:
            self.victim = self.house.start(RUNNER, name="runner")
        else:
            self.victim = self.server = self.house.start(name="web")

    def resend(self, body: bytes) -> str:
        """What a sender does who got no answer; the id. What was stored is not stored again."""
        known = self.house.stored(body)
        again = self.house.send(self.server, body)
        assert again is not None
        expected = (200, "duplicate", known) if known else (202, "RECEIVED", self.house.stored(body))
        assert (again.status_code, again.json()["status"], again.json()["alert_id"]) == expected
        return str(again.json()["alert_id"])

    def check(self, entry: str) -> None:
        self.house.check_entered_once(entry)
        self.house.check_lane(self.account)
        self.house.check_calm()

    def _seen(self, before: int, last: str) -> list[str] | None:
        seen = [stage for _, stage in self.victim.seen()[before:]]
        return seen[: seen.index(last) + 1] if last in seen else None


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[House]:
    made = House(database_url, tmp_path / "processes")
    yield made
    made.close()


#: On SQLite always, on Postgres with the slow tests.
postgres_is_slow = pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)], indirect=True
)


def spread(found: list[Stage], count: int) -> list[Stage]:
    """So many of them, the first and the last included."""
    return [found[round(number * (len(found) - 1) / (count - 1))] for number in range(count)]


@pytest.mark.slow  # in `make test` the matrix' sample kills: tests/test_matrix.py
def test_killed_at_some_stages_of_an_entry(house: House, database_url: str) -> None:
    life = Life(house)
    entry, found = life.watch(ENTRY)
    life.check(entry)
    assert found[0].name == "stored"
    assert len(found) > 12
    # Around the request that must leave once, and on SQLite some before and after it.
    sample = [stage for stage in found if stage.name.startswith("entry.")]
    assert len(sample) == 3
    sample = sample[:2] if database_url.startswith("postgres") else [*sample, *spread(found, 3)]
    for stage in sample:
        life.move_on()
        life.check(life.kill(ENTRY, stage))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("apart", [False, True], ids=["embedded", "apart"])
def test_killed_at_every_stage(house: House, apart: bool) -> None:
    """Entry, breakeven, exit: a kill at the first stage of each, then at the second, and so on."""
    life = Life(house, apart=apart)
    entry, entering = life.watch(ENTRY)
    life.check(entry)
    _, moving = life.watch(BREAKEVEN)
    life.check(entry)
    _, leaving = life.watch(EXIT)
    life.check(entry)
    assert min(len(entering), len(moving), len(leaving)) > 6
    for at in range(max(len(entering), len(moving), len(leaving))):
        life.move_on()
        entry = life.kill(ENTRY, entering[at]) if at < len(entering) else life.watch(ENTRY)[0]
        life.check(entry)
        entered = life.house.position(account=life.account)
        if at < len(moving):
            life.kill(BREAKEVEN, moving[at])
            life.check(entry)
            assert 0 < life.house.position(account=life.account) < entered
            stops = life.house.rows(paper_orders, account=life.account, type="STOP", status="ACCEPTED")
            assert [row.trigger_price for row in stops] == [42010]
        if at < len(leaving):
            life.kill(EXIT, leaving[at])
        else:
            life.watch(EXIT)
        life.check(entry)
        assert life.house.position(account=life.account) == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_entry_outlives_kill_after_kill(house: House) -> None:
    """One alert; each process dies at the first stage that none before it died at."""
    life = Life(house)
    body = life.body(ENTRY)
    died_at: list[str] = []
    life.victim.order(None)
    answer = house.send(life.server, body)
    assert answer is None, "the first one dies before it answers"
    while "ended" not in died_at:
        assert life.victim.ended() == -signal.SIGKILL
        died_at += life.victim.obeyed()
        life.victim.order(None, spare=died_at)
        life.restart()
    alert_id = life.resend(body)
    house.done(life.server, alert_id)
    life.check(alert_id)
    assert len(died_at) == len(set(died_at)) > 8


@postgres_is_slow
def test_a_worker_that_is_killed_alone_is_replaced(house: House) -> None:
    life = Life(house)
    body = life.body(ENTRY)
    life.server.order(Stage("entry.sent"), group=False)
    answer = house.send(life.server, body)
    until(life.server.obeyed, lambda: f"the worker dies: {life.server.seen()}")
    (worker,) = {pid for pid, _ in life.server.seen()}
    until(lambda: not psutil.pid_exists(worker), "gunicorn buries the worker")
    alert_id = life.resend(body) if answer is None else str(answer.json()["alert_id"])
    house.done(life.server, alert_id)
    life.check(alert_id)
    assert life.server.popen.poll() is None
    assert len({pid for pid, _ in life.server.seen()}) == 2


@postgres_is_slow
def test_sigterm_right_after_the_answer(house: House) -> None:
    life = Life(house)
    alert_id = house.accept(life.server, life.body(ENTRY))
    life.server.popen.send_signal(signal.SIGTERM)
    ends_and_goes_on(life, alert_id)


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 12])
def test_sigterm_to_all_amid_an_entry(house: House, count: int) -> None:
    life = Life(house)
    _, found = life.watch(ENTRY)
    for stage in spread(found, count)[:-1]:
        life.move_on()
        life.server.order(stage, what=signal.SIGTERM)
        alert_id = house.accept(life.server, life.body(ENTRY))
        ends_and_goes_on(life, alert_id)
        assert life.server.obeyed() == [stage.name]


@postgres_is_slow
@pytest.mark.slow
def test_a_runner_apart_ends_and_dies_amid_entries(house: House) -> None:
    life = Life(house, apart=True)
    entry, found = life.watch(ENTRY)
    life.check(entry)
    amid = spread(found, 3)[1]
    life.move_on()
    life.victim.order(amid, what=signal.SIGTERM)
    alert_id = house.accept(life.server, life.body(ENTRY))
    ends_and_goes_on(life, alert_id)
    life.move_on()
    life.check(life.kill(ENTRY, amid))


def ends_and_goes_on(life: Life, alert_id: str) -> None:
    """The process ends by itself, in time and with no lane in hand, and the next one does the rest."""
    assert life.victim.ended(within=STOP_LIMIT) == 0, life.victim.log()
    assert "Traceback" not in life.victim.log()
    held = [row for row in life.house.rows(positions) if row.owner is not None]
    assert held == [], f"a lane was not given back\n{life.victim.log()}"
    life.restart()
    life.house.done(life.server, alert_id)
    life.check(alert_id)


def test_five_equal_alerts_at_once_are_traded_once(house: House) -> None:
    server = house.start(WEB_CONCURRENCY="2")
    body = house.body("MAIN", "BTCUSDT.P", **ENTRY)
    start = threading.Barrier(5)

    def send(_: int) -> tuple[int, str, str]:
        start.wait()
        answer = house.send(server, body)
        assert answer is not None
        return answer.status_code, answer.json()["status"], answer.json()["alert_id"]

    with ThreadPoolExecutor(5) as pool:
        answers = sorted(pool.map(send, range(5)))

    (alert_id,) = {answer[2] for answer in answers}
    assert answers == [(200, "duplicate", alert_id)] * 4 + [(202, "RECEIVED", alert_id)]
    house.done(server, alert_id)
    assert len(house.rows(intents)) == 1
    house.check_entered_once(alert_id)
    house.check_lane("MAIN")
    house.check_calm()


def test_only_the_lanes_of_a_dead_process_are_free_at_once(house: House) -> None:
    life = Life(house, apart=True)
    life.victim.order(Stage("entry.submitted"), meet=2)  # where it waits, since no second one comes
    house.accept(life.server, life.body(ENTRY))
    until(life.victim.obeyed, lambda: f"it sends the entry: {life.victim.seen()}")
    store = open_store(house.url)
    runner = Runner(store, load({"WEBHOOK_PASSPHRASE": PASSPHRASE}), lambda: datetime.now(UTC))

    runner.free_dead()
    assert [row.owner is None for row in house.rows(positions)] == [False]
    life.victim.kill()
    runner.free_dead()
    assert [row.owner is None for row in house.rows(positions)] == [True]
    store.close()


@postgres_is_slow
@pytest.mark.slow
def test_two_runners_share_the_work(house: House) -> None:
    """Six instruments of one account, each with an entry and then its reversal, while both runners work."""
    server = house.start(RUNNER="off")
    # Each of them has a lane in hand before either goes on.
    Wire(house.folder / "runners").order(Stage("claimed"), meet=2)
    names = [ticker for ticker, _ in zip(tickers(), range(6), strict=False)]

    def send(ticker: str) -> list[str]:
        first = house.body("MAIN", ticker, message="entry", **LONG, size="0.1")
        second = house.body("MAIN", ticker, message="entry", **SHORT, size="0.2")
        return [house.accept(server, body) for body in (first, second)]

    with ThreadPoolExecutor(6) as pool:
        sent = list(pool.map(send, names[:3]))
        runners = [house.start(RUNNER, name="runners") for _ in range(2)]
        sent += pool.map(send, names[3:])

    for pair in sent:
        for alert_id in pair:
            house.done(server, alert_id)
            house.check_entered_once(alert_id)
    for first, second in sent:
        (lane,) = house.rows(intents, id=first)
        assert house.check_lane("MAIN", lane.symbol) == Decimal("-0.2")
        filled = sorted(house.rows(paper_fills, symbol=lane.symbol), key=lambda row: row.trade_id)
        # On a machine that is too busy a close comes too late for the venue, and goes again as x-2.
        said = [row.client_order_id.split("-")[:2] for row in filled]
        assert said == [[first, "e"], [second, "x"], [second, "e"]]
    house.check_calm()
    at_work = {pid for pid, _ in runners[0].seen()}
    assert at_work == {runner.popen.pid for runner in runners}
