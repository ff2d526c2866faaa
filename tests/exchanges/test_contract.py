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
from typing import Any

import pytest

import exchanges
from store import Store, open_store
from tests.exchanges import contract
from tests.exchanges.contract import FOLDER, Clock, Fixture, HttpBench
from tests.exchanges.paper_bench import PaperBench
from tests.exchanges.suite import AnyBench, Case, cases, complete
from trading.errors import VenueError


@contextmanager
def bench_of(fixture: Fixture, clock: Clock, store: Callable[[], Store]) -> Iterator[AnyBench]:
    """A fresh account at the venue; what the scripted server had to complain of fails the test."""
    if fixture["driver"] == "database":
        yield PaperBench(fixture, clock, store())
        return
    bench = HttpBench(fixture, clock)
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
    with bench_of(fixture, clock, database) as bench:
        case.run(bench)


Add = Callable[..., Fixture]


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Add]:
    """Adds the toy venue as one is added, by a file and a fixture. `faults` spoil the file."""
    here = Path(__file__).parent

    def add_toy(*faults: tuple[str, str]) -> Fixture:
        source = (here / "toy_venue.py").read_text(encoding="utf-8")
        for right, wrong in faults:
            assert right in source
            source = source.replace(right, wrong)
        added, fixtures = tmp_path / "exchanges", tmp_path / "venues"
        added.mkdir()
        fixtures.mkdir()
        (added / "toy.py").write_text(source, encoding="utf-8")
        shutil.copyfile(here / "toy_venue.json", fixtures / "toy.json")
        monkeypatch.setattr(exchanges, "__path__", [*exchanges.__path__, str(added)])
        exchanges.available.cache_clear()
        importlib.invalidate_caches()
        return Fixture.read(fixtures / "toy.json")

    yield add_toy
    sys.modules.pop("exchanges.toy", None)
    monkeypatch.undo()
    exchanges.available.cache_clear()


def test_a_new_venue_is_one_file_and_one_fixture(
    add: Add, clock: Clock, database: Callable[[], Store]
) -> None:
    toy = add()
    assert "TOY" in exchanges.available()
    complete(toy)
    asked = list(cases(toy))
    for case in asked:
        with bench_of(toy, clock, database) as bench:
            case.run(bench)
    assert {case.name for case in asked} >= {"prepare", "acts:stop", "faults:cut:stop", "refusals:hedge:12"}


@pytest.mark.parametrize(
    ("case", "right", "wrong"),
    [
        ("clock", "return self._wire.time()", "self._wire.set_clock(); return self._wire.time()"),
        ("candles", 'sorted(body["bars"])', 'body["bars"]'),
        ("fills", "sorted(made, key=lambda fill: fill.at)", "made"),
        ("states:short", 'quantity=row["net"]', 'quantity=abs(row["net"])'),
        ("positions", 'row["net"]:', "True:"),
        ("symbol:BTCUSDT", "is InstrumentKind.SPOT", "is None"),
        ("look", "self._host.together(lambda: self.position(symbol),", "(self.position(symbol),"),
        ("prepare", "lambda: self.price(symbol),", "lambda: [self.price(symbol), self.price(symbol)][1],"),
        ("acts:entry_market", "signed_at=signed_at))", "signed_at=None))"),
        ("acts:stop", '"reduce": order.reduce_only', '"reduce": False'),
        ("acts:target", '"own_id": order.client_order_id,', '"own_id": "x" + order.client_order_id,'),
        ("acts:entry_limit", 'method="POST", path=path', 'method="POST", path=path, signed=False'),
        ("acts:entry_limit", '{stamp}\\n"', '{stamp}\\n\\n"'),
        ("exponents", "plain_number(order.quantity)", "str(order.quantity.normalize())"),
        ("acts:cancel_all", "self._cancel(market=self._market(symbol))", "self._cancel()"),
        ("gone:cancel", "except OrderNotFound:", "except DuplicateOrder:"),
        ("orders:partial", 'row.get("filled", ZERO)', "ZERO"),
        ("orders:stop_filled", "if kind is OrderType.STOP else None", "if not kind else None"),
        ("checks:withdraw", 'if key["withdraw"]:', "if False:"),
        ("checks:stale", "except VenueError as error:", "except BadCredentials as error:"),
        ("max_leverage", 'max_leverage=Decimal(row["most"])', "max_leverage=None"),
        ("refusals:margin:0", '"no_money": InsufficientFunds', '"no_money": InvalidOrder'),
        ("refusals:rate:8", "after=retry_after(reply)", "after=timedelta(seconds=1)"),
        ("refusals:unknown:10", "return Ambiguous(", "return Rejected("),
        ("refusals:hedge:12", 'if mode["hedge"]:', "if False:"),
        (
            "faults:http_502:stop",
            "self._wire.write(request, signed_at=signed_at)",
            "self._wire.read(request)",
        ),
        ("faults:echo", "return (self._credentials.key, self._credentials.secret)", "return ()"),
    ],
)
def test_the_suite_sees_a_fault(
    add: Add,
    clock: Clock,
    database: Callable[[], Store],
    monkeypatch: pytest.MonkeyPatch,
    case: str,
    right: str,
    wrong: str,
) -> None:
    monkeypatch.setattr(contract, "TOGETHER", 0.2)
    toy = add((right, wrong))
    (spoilt,) = [each for each in cases(toy) if each.name == case]
    seen = (AssertionError, VenueError, pytest.fail.Exception)
    with pytest.raises(seen), bench_of(toy, clock, database) as bench:
        spoilt.run(bench)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda data: data["states"].pop("short"), "states:short"),
        (lambda data: data["acts"].pop("close"), "acts:close"),
        (lambda data: data["orders"].pop(0), "orders:accepted"),
        (lambda data: data["checks"].pop(0), "checks:healthy"),
        (lambda data: data["refusals"].pop(0), "refusals:margin"),
        (lambda data: data["vectors"].clear(), "vectors"),
        (lambda data: data["cannot"].clear(), "acts:entry_with_stop"),
        (lambda data: data["cannot"].update({"states:long": "it has no long positions"}), "not both"),
        (lambda data: data["cannot"].update({"nonsense": "it has no such thing"}), "nothing is called"),
        (lambda data: data["cannot"].update({"acts:entry_with_stop": "no"}), "say why"),
    ],
)
def test_a_fixture_that_leaves_something_out_is_seen(
    add: Add, spoil: Callable[[dict[str, Any]], object], says: str
) -> None:
    toy = add()
    spoil(toy.data)  # type: ignore[arg-type]  # a dict
    with pytest.raises(AssertionError, match=says):
        complete(toy)
