"""A whole desk in one process: real store, real paper venue, a clock to turn, faults to order."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from desk import control, report
from desk.intake import Answer, Intake
from desk.runner import Runner
from desk.settings import Settings, load
from desk.venues import Venues, key_of
from exchanges import Exchange, available
from store import Store, journal, open_store
from trading.errors import Ambiguous, Rejected, StaleRequest, Unreachable
from trading.model import Lane, OrderReport, Position, Protection, Route

PASSPHRASE = "correct-horse-battery"
SYMBOL = "BTC-USDT-PERP"
#: What the tests send, most of the time: 2 BTC at a risk of 1 % of 100000 over 500.
LONG = {"action": "buy", "price": "42000", "long SL": "41500", "long TP": "43500"}
SHORT = {"action": "sell", "price": "42000", "short SL": "42500", "short TP": "40500"}
LADDER = {"tp Close": "25", "tp1 Mult": "1", "tp2 Mult": "2"}
ENVIRON = {
    "WEBHOOK_PASSPHRASE": PASSPHRASE,
    "RISK_MAIN": "1",
    "LEVERAGE_MAIN": "3",
    "RISK_OTHER": "1",
    "LEVERAGE_OTHER": "3",
    "DEFAULT_SUBACCOUNT": "MAIN",
}

Fault = Callable[[str], Exception]
FAULTS: dict[str, Fault] = {
    "unreachable": lambda verb: Unreachable("PAPER", verb, "connection refused"),
    "stale": lambda verb: StaleRequest("PAPER", verb, "outside the receive window"),
    "lost before": lambda verb: Ambiguous("PAPER", verb, "read timeout"),
    "lost after": lambda verb: Ambiguous("PAPER", verb, "read timeout"),
    "refused": lambda verb: Rejected("PAPER", verb, "refused for the test"),
}


class Flaky:
    """The paper venue with one fault: the `at`-th call (of `verb`, or of any) fails in the way named."""

    def __init__(self, venue: Exchange) -> None:
        self._venue = venue
        self.calls: list[str] = []
        self.verb: str | None = None
        self.at = -1
        self.times = 1
        self.fault = ""

    def order_fault(self, fault: str, *, at: int, verb: str | None = None, times: int = 1) -> None:
        self.fault, self.at, self.verb, self.times, self.calls = fault, at, verb, times, []

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._venue, name)
        if not callable(member) or name in ("time", "capabilities"):
            return member

        def call(*args: Any, **kwargs: Any) -> Any:
            number = len([c for c in self.calls if self.verb in (None, c)])
            self.calls.append(name)
            hit = self.verb in (None, name) and self.at <= number < self.at + self.times and self.at >= 0
            if not hit:
                return member(*args, **kwargs)
            if self.fault == "lost after":
                member(*args, **kwargs)
            raise FAULTS[self.fault](name)

        return call


class FlakyVenues(Venues):
    """Venues whose adapters can be told to fail."""

    def exchange(self, lane: Lane) -> Exchange:
        found = super().exchange(lane)
        if not isinstance(found, Flaky):
            found = self._open[key_of(lane)] = Flaky(found)
        return found


class Rig:
    """One desk; `send` an alert, let it `settle`, look at what came of it."""

    def __init__(self, store: Store, clock: Any, protection: Protection, **environ: str) -> None:
        self.store = store
        self.clock = clock
        self.protection = protection
        self.settings: Settings = load({**ENVIRON, **environ})
        self.venues = FlakyVenues(store, self.settings, clock, protection=protection)
        self.intake = Intake(store, self.settings, clock, lambda: None, exchanges=available())
        self.runner = self.new_runner()
        self._count = 0

    def new_runner(self) -> Runner:
        return Runner(self.store, self.settings, self.clock, venues=self.venues)

    def settle(self) -> None:
        """Does all that is due now."""
        for _ in range(200):
            if not self.runner.step():
                return
        raise AssertionError("the lane is never at rest")

    def wait(self, seconds: float, *, step: float = 1.0) -> None:
        """Lets time pass, in steps, with the runner at work."""
        passed = 0.0
        while passed < seconds:
            self.clock.advance(step)
            passed += step
            self.settle()

    def post(self, message: str, *, route: Route = Route.ORDER, **fields: str) -> Answer:
        self._count += 1
        body = {
            "passphrase": PASSPHRASE,
            "ticker": "BTCUSDT.P",
            "exchange": "BINANCE",
            "message": message,
            "id": f"n{self._count}",
            **fields,
        }
        return self.intake.receive(json.dumps(body).encode(), route=route, address="127.0.0.1")

    def store_only(self, message: str, *, route: Route = Route.ORDER, **fields: str) -> str:
        answer = self.post(message, route=route, **fields)
        assert answer.code in (200, 202), answer
        return str(answer.body["alert_id"])

    def send(self, message: str, *, route: Route = Route.ORDER, **fields: str) -> str:
        alert_id = self.store_only(message, route=route, **fields)
        self.settle()
        return alert_id

    def price(self, price: str, symbol: str = SYMBOL) -> None:
        """Moves the paper price and lets the desk see it."""
        self.clock.advance(0.001)
        self.venues.price(symbol, Decimal(price), self.clock())
        self.settle()

    def alert(self, alert_id: str) -> dict[str, Any]:
        found = report.alert(self.store, alert_id)
        assert found is not None
        return found

    def status(self, alert_id: str) -> str:
        return str(self.alert(alert_id)["status"])

    def orders(
        self, alert_id: str, role: str | None = None, status: str | None = None
    ) -> list[dict[str, Any]]:
        return [
            order
            for order in self.alert(alert_id)["orders"]
            if role in (None, order["role"]) and status in (None, order["status"])
        ]

    def events(self, alert_id: str) -> list[str]:
        return [event["event"] for event in self.alert(alert_id)["timeline"]]

    def vote(self, alert_id: str, *, approve: bool) -> None:
        control.vote(self.store, intent_id=alert_id, approve=approve, voter="web", now=self.clock())
        self.settle()

    def venue(self, account: str = "MAIN", venue: str = "PAPER:BINANCE", symbol: str = SYMBOL) -> Exchange:
        return self.venues.exchange(Lane(venue, account, symbol))

    def flaky(self) -> Flaky:
        found = self.venue()
        assert isinstance(found, Flaky)
        return found

    def position(self, symbol: str = SYMBOL, **lane: str) -> Position:
        return self.venue(symbol=symbol, **lane).position(symbol)

    def resting(self, symbol: str = SYMBOL, **lane: str) -> list[OrderReport]:
        return list(self.venue(symbol=symbol, **lane).look(symbol, ours=()).resting)

    def take_back(self, client_order_id: str) -> None:
        """A person cancels one of our orders by hand."""
        (report,) = [r for r in self.resting() if r.client_order_id == client_order_id]
        self.venue().cancel_report(report)

    def entered(self, alert_id: str) -> Decimal:
        """What the venue's own record says was filled for an alert's entry."""
        fills = self.venue().fills(SYMBOL, since=self.clock() - timedelta(days=1))
        mine = [fill.quantity for fill in fills if fill.client_order_id == f"{alert_id}-e"]
        return sum(mine, Decimal(0))

    def die(self) -> None:
        """What kill -9 leaves: a runner that is no more, and its claims, which the next one frees."""
        with self.store.write() as tx:
            journal.release_owners(tx, owners=journal.owners(tx))
        self.venues = FlakyVenues(self.store, self.settings, self.clock, protection=self.protection)
        self.runner = self.new_runner()

    def check(self) -> None:
        """What must hold whenever the desk is at rest: the stop covers, nothing rests on nothing."""
        position, resting = self.position(), self.resting()
        if position.is_flat:
            assert resting == [], "orders rest on no position"
            return
        stops = [r for r in resting if r.type == "STOP" and r.side is position.closing_side]
        assert any(r.quantity - r.filled_quantity >= abs(position.quantity) for r in stops), "naked"
        assert len(stops) == 1, "two stops"
        closing = [r for r in resting if r.side is position.closing_side and r.type == "LIMIT"]
        targets = sum(r.quantity - r.filled_quantity for r in closing)
        assert targets <= abs(position.quantity), "targets for more than there is"


@pytest.fixture
def make_rig(store: Store, clock: Any) -> Callable[..., Rig]:
    def make(protection: Protection = Protection.ATTACHED, **environ: str) -> Rig:
        return Rig(store, clock, protection, **environ)

    return make


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig()


@pytest.fixture(params=list(Protection))
def any_rig(make_rig: Callable[..., Rig], request: pytest.FixtureRequest) -> Rig:
    """A desk for each way in which a venue lets a stop reach the position."""
    return make_rig(request.param)


@pytest.fixture
def sqlite_rigs(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, clock: Any
) -> Iterator[Callable[..., Rig]]:
    """As many desks as a test wants, each with a database of its own, on SQLite."""
    opened: list[Store] = []

    def make(protection: Protection = Protection.ATTACHED, **environ: str) -> Rig:
        for old in opened:
            old.close()
        opened.clear()
        path = tmp_path_factory.mktemp("rig") / "desk.db"
        shutil.copyfile(sqlite_template, path)
        store = open_store(f"sqlite:///{path}")
        opened.append(store)
        return Rig(store, clock, protection, **environ)

    yield make
    for old in opened:
        old.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The database does not care how a stop is sent or what a venue answers.

    On Postgres one way and two faults are enough, the others are slow. Lines are counted on one way.
    """
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        protection = params.get("any_rig") or params.get("protection")
        other = protection in (Protection.BEFORE, Protection.AFTER)
        if other:
            item.add_marker(pytest.mark.no_cover)
        other = other or params.get("fault", "stale") not in ("lost after", "stale")
        if other and params.get("database_url") == "postgres":
            item.add_marker(pytest.mark.slow)
