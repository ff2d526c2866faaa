"""Several processes share the work of one Postgres; one dies or is cut off, and each alert trades once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from store.tables import orders
from tests.emulator import binance
from tests.emulator.server import Server
from tests.processes import LADDER, LONG, RUNNER, House, Process, until
from tests.scale.cable import Cable
from tests.scale.crowd import AGELESS, Crowd, Killer, Trouble

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def house(postgres_url: str, tmp_path: Path) -> Iterator[House]:
    made = House(postgres_url, tmp_path / "processes")
    yield made
    made.close()


@pytest.fixture
def cable(postgres_url: str) -> Iterator[Cable]:
    """To the database."""
    folder = parse_qs(urlsplit(postgres_url).query)["host"][0]
    with Cable(f"{folder}/.s.PGSQL.5432") as made:
        yield made


class Outage(Trouble):
    """The first runner is cut off from the database, twice, while the other one does sixty alerts."""

    #: How many alerts have ended when it is cut off, is back, and so on.
    TIMES = (30, 90, 120, 180)

    def __init__(self, house: House, cable: Cable) -> None:
        self.cable = cable
        super().__init__(house)

    def start(self, number: int) -> Process:
        if number:
            return super().start(number)
        name = urlsplit(self.house.url).path
        through = f"postgresql://postgres:@127.0.0.1:{self.cable.port}{name}"
        return self.house.start(RUNNER, name="runner-0", DATABASE_URL=through, **AGELESS)

    def disturb(self, done: int) -> None:
        if self.count < len(self.TIMES) and done >= self.TIMES[self.count]:
            if self.count % 2:
                self.cable.mend()
            else:
                self.cable.cut()
            self.count += 1


def test_runners_that_are_killed(house: House) -> None:
    report = Crowd(house, count=240, pairs=20).run(
        Killer(house, lambda done, kills: done >= 40 * (kills + 1))
    )
    assert report.statuses["DONE"] + report.overtaken == 240, str(report)
    assert report.wrong == []
    assert report.troubles >= 5


def test_a_runner_that_is_cut_off_from_the_database(house: House, cable: Cable) -> None:
    outage = Outage(house, cable)
    crowd = Crowd(house, count=240, pairs=20)
    report = crowd.run(outage)
    assert report.statuses["DONE"] + report.overtaken == 240, str(report)
    assert report.wrong == []
    assert outage.count == len(outage.TIMES)
    # It lives on, and works by itself.
    far, near = outage.runners
    near.kill()
    before = len(far.seen())
    body = house.body("K0", "ZZQUSDT.P", message="entry", **LONG)
    web = house.start(RUNNER="off")
    house.done(web, house.accept(web, body))
    assert len(far.seen()) > before


def test_a_runner_that_is_cut_off_from_the_exchange(house: House) -> None:
    """The other one does what it cannot; what it had sent when it was cut off is sent once."""
    engine, dialect = binance.build(lambda: datetime.now(UTC))
    engine.move("BTC-USDT-PERP", Decimal(42000))
    (account,) = engine.accounts
    with Server(dialect, engine) as venue, Cable(("127.0.0.1", urlsplit(venue.url).port or 0)) as cable:
        keys = {
            "LIVE_TRADING": "1",
            "API_KEY_MAIN": account.key,
            "API_SECRET_MAIN": account.secret,
        }
        server = house.start(RUNNER="off", BINANCE_API_URL=venue.url, **keys)
        far = house.start(RUNNER, name="far", BINANCE_API_URL=f"http://127.0.0.1:{cable.port}", **keys)
        body = house.body("MAIN", "BTCUSDT.P", message="entry", **LONG, **LADDER)
        first = house.accept(server, body)
        house.done(server, first)
        cable.cut()
        second = house.accept(server, house.body("MAIN", "BTCUSDT.P", message="exit", price="42000"))
        third = house.accept(server, house.body("MAIN", "BTCUSDT.P", message="entry", **LONG, **LADDER))
        until(lambda: "no answer" in far.log(), far.log)
        house.start(RUNNER, name="near", BINANCE_API_URL=venue.url, **keys)
        for alert_id in (second, third):
            house.done(server, alert_id)
        cable.mend()
        house.close()
        for alert_id in (first, third):
            (entry,) = house.rows(orders, intent_id=alert_id, role="entry")
            sent = [r for r in account.records.values() if (r.client_id or "").startswith(f"{alert_id}-e")]
            assert sum((record.filled for record in sent), Decimal(0)) == entry.quantity
        position = account.position("BTC-USDT-PERP").quantity
        assert position == entry.quantity
        stops = [order for order in account.orders("BTC-USDT-PERP", open=True) if order.conditional]
        assert len(stops) == 1
