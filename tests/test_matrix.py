"""A sample of the crash matrix, and proof that its judges see what they are there to see.

All of it is `make matrix` (docs/reliability.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.emulator import binance
from tests.emulator.server import Request, Response, Server
from tests.life.books import Books
from tests.life.scenarios import SPOTS, VENUES
from tests.matrix.bench import Bench, Case, Outcome, actions_of
from tests.matrix.shared import Shared
from tests.matrix.stage import LAYOUTS, Cover
from trading.model import OrderType, Side

BTC = "BTC-USDT-PERP"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("matrix"), None, template=sqlite_template)
    yield made
    made.close()


def held(outcome: Outcome) -> Outcome:
    assert not outcome.wrong, f"{outcome.wrong}: {outcome.case}\n{outcome.told}"
    return outcome


def killed_at(bench: Bench, first: Case, count: int) -> None:
    """So many of its points, spread over all of them, and one request that is on its way."""
    found = held(bench.run(first))
    assert not found.struck
    requests = [at for at, point in enumerate(found.points) if point[1].startswith("request")]
    # The answer to the sender comes before all requests, a commit after each of them.
    assert 1 < requests[0] <= requests[-1] < len(found.points) - 1, found.points
    for number in range(count):
        point = found.points[(2 * number + 1) * len(found.points) // (2 * count)]
        case = replace(first, point=point)
        assert held(bench.strike(case)).struck, case
    late = replace(first, how="late", late=found.requests[-1])
    assert held(bench.strike(late)).struck, late


def test_a_sample_of_the_kills(bench: Bench) -> None:
    killed_at(bench, Case(venue="BINANCE", action="entry", database="sqlite", layout="one"), 1)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("venue", [*VENUES, *SPOTS])
def test_a_larger_sample_of_the_kills(bench: Bench, venue: str, layout: str) -> None:
    for action in actions_of(venue):
        killed_at(bench, Case(venue=venue, action=action, database="sqlite", layout=layout), 2)


def test_a_position_without_its_stop_is_seen(tmp_path: Path) -> None:
    clock = Shared(tmp_path / "shared", new=True)
    engine, dialect = binance.build(clock)
    with Server(dialect, engine) as server:
        books = Books("BINANCE", server)
        cover = Cover(books, clock)
        engine.hand(books.account, BTC, Side.BUY, Decimal(2))
        for _ in range(6):
            cover.look()
            clock.advance(1)
        cover.look(restarted=True)
        assert cover.longest == 5, "what passed while nobody was there does not count"
        clock.advance(7)
        cover.look()
        assert cover.longest == 7
        books.account.submit(BTC, Side.SELL, OrderType.MARKET, Decimal(2), trigger=Decimal(41000))
        cover.look()
        clock.advance(9)
        cover.look()
        assert cover.longest == 7


@pytest.mark.slow
def test_an_entry_that_leaves_twice_is_seen(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The venue's own record is what is judged: here the first order is taken twice there."""
    build = binance.build

    def built(*args: Any, **more: Any) -> Any:
        engine, dialect = build(*args, **more)
        handle = dialect.handle

        def twice(request: Request) -> Response:
            if request.method == "POST" and request.path == "/fapi/v1/order" and not engine.accounts[0].fills:
                handle(request)
            return handle(request)

        dialect.handle = twice
        return engine, dialect

    monkeypatch.setattr(binance, "build", built)
    outcome = bench.run(Case(venue="BINANCE", action="entry", database="sqlite", layout="one"))
    assert outcome.wrong == "doubled"
