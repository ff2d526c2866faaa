"""The contract suite, run over `exchanges.available()`, and over a venue that no file of the house knows.

A venue without a fixture, or a fixture without a venue, fails.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import exchanges
from store import Store, open_store
from tests.exchanges.contract import FOLDER, Clock, Fixture, HttpBench
from tests.exchanges.paper_bench import PaperBench
from tests.exchanges.suite import AnyBench, Case, cases, complete


@contextmanager
def bench_of(case: Case, fixture: Fixture, clock: Clock, store: Callable[[], Store]) -> Iterator[AnyBench]:
    """A fresh account at the venue; what the scripted server had to complain of fails the test."""
    if fixture["driver"] == "database":
        yield PaperBench(fixture, clock, store())
        return
    bench = HttpBench(fixture, clock, case.patience)
    with bench.server:
        yield bench
    assert not bench.complaints, bench.complaints


FIXTURES = {path.stem.upper(): Fixture.read(path) for path in sorted(FOLDER.glob("*.json"))}
ALL = [
    pytest.param(FIXTURES[venue], case, id=f"{venue.lower()}-{case.name}")
    for venue in sorted(exchanges.available() & FIXTURES.keys())
    for case in cases(FIXTURES[venue])
]


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[Callable[[], Store]]:
    opened: list[Store] = []

    def open_one() -> Store:
        opened.append(open_store(request.getfixturevalue("sqlite_url")))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


def test_every_venue_has_its_fixture_and_every_fixture_its_venue() -> None:
    assert exchanges.available() == FIXTURES.keys()


@pytest.mark.parametrize("venue", sorted(FIXTURES))
def test_a_fixture_has_everything_or_says_why_not(venue: str) -> None:
    complete(FIXTURES[venue])


@pytest.mark.parametrize(("fixture", "case"), ALL)
def test_contract(fixture: Fixture, case: Case, clock: Clock, database: Callable[[], Store]) -> None:
    with bench_of(case, fixture, clock, database) as bench:
        case.run(bench)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fixture]:
    """A venue that is added as one is: a file among the exchanges, and a fixture."""
    here = Path(__file__).parent
    added, fixtures = tmp_path / "exchanges", tmp_path / "venues"
    added.mkdir()
    fixtures.mkdir()
    shutil.copyfile(here / "toy_venue.py", added / "toy.py")
    shutil.copyfile(here / "toy_venue.json", fixtures / "toy.json")
    monkeypatch.setattr(exchanges, "__path__", [*exchanges.__path__, str(added)])
    exchanges.available.cache_clear()
    importlib.invalidate_caches()
    yield Fixture.read(fixtures / "toy.json")
    sys.modules.pop("exchanges.toy", None)
    monkeypatch.undo()
    exchanges.available.cache_clear()


def test_a_new_venue_is_one_file_and_one_fixture(
    toy: Fixture, clock: Clock, database: Callable[[], Store]
) -> None:
    assert "TOY" in exchanges.available()
    complete(toy)
    asked = list(cases(toy))
    for case in asked:
        with bench_of(case, toy, clock, database) as bench:
            case.run(bench)
    assert {case.name for case in asked} >= {"prepare", "acts:stop", "faults:cut:stop", "refusals:hedge:12"}
