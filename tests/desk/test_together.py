"""Alerts that share a commit are written table by table: what is kept and said is what one after the other
would leave, on both databases.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event, select, text

from desk.intake import Answer, Intake
from desk.settings import load
from store import Store, audit, open_store
from store.tables import alerts, metadata
from tests.conftest import Clock
from tests.desk.door import ENTRY, EXCHANGES, HOME, PASSPHRASE
from tests.processes import PATIENCE, until
from tests.store.test_company import deadlocks
from tests.store.together import shared_write
from trading.model import Route

OTHERS = "canary-of-the-other-account"
TRADINGVIEW = "52.89.214.238"
STRANGER = "203.0.113.9"
BEGIN = datetime(2026, 1, 5, 12, tzinfo=UTC)
SETTINGS = {
    "WEBHOOK_PASSPHRASE": PASSPHRASE,
    "PASSPHRASE_OTHER": OTHERS,
    "RUNNER": "off",
    "RISK_MAIN": "1",
    "LEVERAGE_MAIN": "3",
    "EXCHANGE_MAIN": "BINANCE",
    "RISK_OTHER": "1",
    "LEVERAGE_OTHER": "3",
    "EXCHANGE_OTHER": "BINANCE",
}
ID = re.compile(r"\b[0-9a-f]{20}\b")
#: What hangs on the ids, which are of chance; `audit.verify` looks at it.
LINKS = {"prev", "hash"}


@dataclass(frozen=True)
class Sent:
    """One body, from where, and the seconds since the one before it."""

    fields: tuple[tuple[str, Any], ...]
    address: str
    pause: int

    @property
    def raw(self) -> bytes:
        return json.dumps(ENTRY | {name: value for name, value in self.fields if value is not None}).encode()


def some(**changes: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({name.replace("__", " "): value for name, value in changes.items()})


BODIES = some(
    ticker=st.sampled_from(["BTCUSDT.P", "ETHUSDT.P", "SOLUSDT"]),
    message=st.sampled_from(["entry", "exit", "entry", "tp1", "long_breakeven", "nonsense"]),
    id=st.sampled_from([None, None, "a", "b", "c"]),
    time=st.sampled_from(["2026-01-05T11:59:58Z", "2026-01-05T11:59:57Z", ""]),
    price=st.sampled_from(["50000", "50001"]),
    subaccount=st.sampled_from(["main", "main", "other"]),
    passphrase=st.sampled_from([PASSPHRASE, PASSPHRASE, OTHERS]),
    long__Breakeven=st.sampled_from(["50000", None]),
)
BATCHES = st.lists(
    st.builds(
        Sent,
        BODIES.map(lambda body: tuple(body.items())),
        st.sampled_from([HOME, HOME, STRANGER, TRADINGVIEW]),
        st.sampled_from([0, 0, 0, 1, 59, 61, 599, 601]),
    ),
    max_size=14,
)


class Place:
    """A database, and an intake at it."""

    def __init__(self, url: str) -> None:
        self.url, self.store = url, open_store(url)
        self.start()

    def empty(self) -> None:
        """As on the first day."""
        numbered = [table.name for table in metadata.sorted_tables if table.autoincrement_column is not None]
        with self.store.write() as tx:
            for table in reversed(metadata.sorted_tables):
                tx.execute(delete(table))
            if self.store.is_postgres:  # TRUNCATE would make every file anew
                restart = (
                    "SELECT setval(pg_get_serial_sequence(name, 'seq'), 1, false) FROM unnest(:names) AS name"
                )
                tx.execute(text(restart), {"names": numbered})
            else:
                tx.execute(text("DELETE FROM sqlite_sequence"))
        self.start()

    def start(self) -> None:
        """A process that has seen nothing yet."""
        self.clock = Clock(BEGIN)
        environ = SETTINGS | {"DATABASE_URL": self.url}
        self.intake = Intake(self.store, load(environ), self.clock, lambda: None, exchanges=EXCHANGES)

    def send(self, raw: bytes, address: str) -> Answer:
        return self.intake.receive(raw, route=Route.ORDER, address=address)

    def guess(self, times: int) -> None:
        """Wrong passphrases, before all else."""
        for _ in range(times):
            self.send(json.dumps(ENTRY | {"passphrase": "wrong"}).encode(), HOME)

    def rows(self, ids: dict[str, str]) -> list[str]:
        """All that is kept, but for the links."""
        found: list[str] = []
        with self.store.read() as tx:
            for table in metadata.sorted_tables:
                columns = [column for column in table.c if column.name not in LINKS]
                found += [f"{table.name} {tuple(row)}" for row in tx.execute(select(*columns))]
        return sorted(plain(row, ids) for row in found)

    def ids(self) -> dict[str, str]:
        """By the order in which they were stored."""
        with self.store.read() as tx:
            found = tx.execute(select(alerts.c.id).order_by(alerts.c.seq)).scalars()
            return {name: f"alert {number}" for number, name in enumerate(found)}


@pytest.fixture
def places(
    database_url: str, request: pytest.FixtureRequest, sqlite_template: Path, tmp_path: Path
) -> Iterator[tuple[Place, Place]]:
    """Two of one kind."""
    if database_url.startswith("sqlite"):
        other = f"sqlite:///{shutil.copyfile(sqlite_template, tmp_path / 'other.db')}"
    else:
        server = request.getfixturevalue("postgres_server")
        name = server.create()
        other = server.url(name)
    made = Place(database_url), Place(other)
    yield made
    for each in made:
        each.store.close()
    if not database_url.startswith("sqlite"):
        server.drop(name)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as made:
        yield made


def at_once(
    pool: ThreadPoolExecutor, store: Store, sends: list[Callable[[], Answer]]
) -> tuple[list[Answer], list[int]]:
    """Sends them one after the other while something else is being stored: their answers, and the order in
    which they were taken.
    """
    begun, go_on = threading.Event(), threading.Event()

    def first(tx: Any) -> None:
        begun.set()
        while not go_on.wait(0.2):  # Postgres ends who says nothing
            tx.execute(select(1))

    leader = pool.submit(shared_write, store, first)
    answers: list[Future[Answer]] = []
    places: list[tuple[str, ...]] = []
    waiting = store._company._waiting
    try:
        assert begun.wait(PATIENCE)
        for send in sends:
            there = len(waiting)
            answers.append(answer := pool.submit(send))
            until(lambda one=answer, before=there: one.done() or len(waiting) > before, "it waits")
            # Who is known to be locked out is told at once.
            places.append(waiting[-1].place if len(waiting) > there else ())
    finally:
        go_on.set()
        leader.result(PATIENCE)
    order = sorted(range(len(sends)), key=places.__getitem__)
    return [answer.result(PATIENCE) for answer in answers], order


def told(answer: Answer, ids: dict[str, str]) -> str:
    return plain(f"{answer.code} {json.dumps(answer.body, sort_keys=True)}", ids)


def plain(line: str, ids: dict[str, str]) -> str:
    return ID.sub(lambda found: ids[found[0]], line)


@pytest.mark.timeout(180)
@given(sent=BATCHES, guesses=st.sampled_from([0, 0, 8, 9, 10]))
@settings(max_examples=12)
def test_together_is_one_after_the_other(
    sent: list[Sent], guesses: int, places: tuple[Place, Place], pool: ThreadPoolExecutor
) -> None:
    together, alone = places
    for place in places:
        place.empty()
        place.guess(guesses)
        place.start()

    def send(each: Sent) -> Callable[[], Answer]:
        def come() -> Answer:
            together.clock.advance(each.pause)
            return together.send(each.raw, each.address)

        return come

    commits: list[Any] = []
    note = commits.append
    event.listen(together.store._engine, "commit", note)
    answers, order = at_once(pool, together.store, [send(each) for each in sent])
    event.remove(together.store._engine, "commit", note)
    # Those of `first` and of all together: none had to be done by itself.
    assert len(commits) <= 2
    times = [
        BEGIN + timedelta(seconds=seconds) for seconds in itertools.accumulate(each.pause for each in sent)
    ]
    one_by_one: dict[int, Answer] = {}
    for number in order:
        # Those that came together knew of no lock when they came: the database's count decides.
        alone.start()
        alone.clock.set(times[number])
        one_by_one[number] = alone.send(sent[number].raw, sent[number].address)

    mine, theirs = together.ids(), alone.ids()
    assert [told(answer, mine) for answer in answers] == [
        told(one_by_one[number], theirs) for number in range(len(sent))
    ]
    assert together.rows(mine) == alone.rows(theirs)
    for place in places:
        assert audit.verify(place.store).findings == []


def test_the_number_of_statements_does_not_grow_with_that_of_alerts(
    places: tuple[Place, Place], pool: ThreadPoolExecutor
) -> None:
    place = places[0]
    place.empty()
    counted: list[int] = []
    for many in (2, 40):
        bodies = [ENTRY | {"id": f"{many} {number}", "ticker": f"C{number}USDT.P"} for number in range(many)]
        raws = [json.dumps(body).encode() for body in bodies]
        said: list[str] = []

        def note(connection: Any, cursor: Any, statement: str, *rest: Any, heard: list[str] = said) -> None:
            heard.append(statement)

        event.listen(place.store._engine, "before_cursor_execute", note)
        answers, _ = at_once(pool, place.store, [partial(place.send, raw, HOME) for raw in raws])
        event.remove(place.store._engine, "before_cursor_execute", note)
        assert {answer.code for answer in answers} == {202}
        counted.append(len([each for each in said if "SELECT 1" not in each]))
    assert counted[0] == counted[1] <= 16


def test_two_processes_that_take_the_same_alerts_do_not_lock_each_other_out(postgres_url: str) -> None:
    made = [Place(postgres_url) for _ in range(2)]
    with ThreadPoolExecutor(40) as both:
        waiting = []
        for number in range(200):
            for place, turned in zip(made, (number, 199 - number), strict=True):
                body = ENTRY | {"id": str(turned), "ticker": f"C{turned % 20}USDT.P"}
                waiting.append(both.submit(place.send, json.dumps(body).encode(), TRADINGVIEW))
        codes = Counter(each.result(PATIENCE).code for each in waiting)
    with made[0].store.read() as tx:
        assert deadlocks(tx) == 0
    assert codes == {202: 200, 200: 200}
    assert audit.verify(made[0].store).findings == []
    for place in made:
        place.store.close()
