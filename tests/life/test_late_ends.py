"""Lists that lag, answers that hang: no entry is left alone, nothing sold twice, no coins forgotten."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from desk import confirm, fence
from tests.life.conftest import HASTY
from tests.life.scenarios import LADDER, LONG, SPOTS, VENUES
from tests.life.test_guard import Guarded
from tests.life.test_late_lists import Behind, Blank, put
from tests.life.test_trouble import Unheard
from trading.errors import Ambiguous, Rejected, Unreachable, VenueError
from trading.model import OrderStatus, Role


class Stranger(Blank):
    """The same, and what is not known cannot be taken back either."""

    def cancel(self, order: Any) -> Any:
        return None if self._clock() < self._until else self._exchange.cancel(order)


class Unlisted:
    """An adapter whose lists lack what rests; an entry fills right before it is taken back."""

    def __init__(self, life: Any, exchange: Any) -> None:
        self._life, self._exchange = life, exchange
        self._until = life.clock() + timedelta(seconds=3)
        self.fills = exchange.fills

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def look(self, symbol: str, *, ours: Any) -> Any:
        seen = self._exchange.look(symbol, ours=ours)
        return replace(seen, resting=()) if self._life.clock() < self._until else seen

    def cancel(self, order: Any) -> Any:
        if order.role is Role.ENTRY:
            self._life.engine.move(self._life.market.symbol, Decimal(41850))
        return self._exchange.cancel(order)


class Unstoppable:
    """An adapter that never takes a stop, and whose lists show nothing of a sale for `seconds`."""

    def __init__(
        self, exchange: Any, clock: Any, symbol: str, seconds: float, *, refusal: Exception | None
    ) -> None:
        self._exchange, self._clock, self._symbol = exchange, clock, symbol
        self._late, self._refusal = timedelta(seconds=seconds), refusal
        self._sold_at: datetime | None = None
        self._shown: Any = None
        self.closes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    @property
    def _is_late(self) -> bool:
        return self._sold_at is not None and self._clock() < self._sold_at + self._late

    def place(self, order: Any, **more: Any) -> Any:
        if order.role is Role.STOP and self._refusal is not None:
            raise self._refusal
        if order.role is not Role.CLOSE:
            return self._exchange.place(order, **more)
        self.closes += 1
        if self._sold_at is None:
            self._shown = self._exchange.position(self._symbol)
            self._sold_at = self._clock()
        report = self._exchange.place(order, **more)
        return replace(report, status=OrderStatus.ACCEPTED, filled_quantity=Decimal(0), average_price=None)

    def look(self, symbol: str, *, ours: Any) -> Any:
        seen = self._exchange.look(symbol, ours=ours)
        return replace(seen, position=self._shown) if self._is_late else seen

    def position(self, symbol: str) -> Any:
        return self._shown if self._is_late else self._exchange.position(symbol)

    def fills(self, symbol: str, *, since: datetime) -> Any:
        found = self._exchange.fills(symbol, since=since)
        return [f for f in found if self._sold_at and f.at < self._sold_at] if self._is_late else found

    def order(self, order: Any) -> Any:
        if order.role is Role.CLOSE and self._is_late:
            report = self._exchange.order(order)
            return replace(
                report, status=OrderStatus.ACCEPTED, filled_quantity=Decimal(0), average_price=None
            )
        return self._exchange.order(order)


@pytest.mark.parametrize("venue", [*VENUES, *SPOTS])
def test_an_exit_waits_for_a_young_entry_that_is_not_known_yet(
    lives: Any, monkeypatch: pytest.MonkeyPatch, venue: str
) -> None:
    here = Guarded(lives(venue))
    life = here.life
    life.send("entry", **{**LONG, "price": "41900"}, **LADDER, type="limit")
    here.watch(1)
    put(life, monkeypatch, here.lane, Stranger(life.venues.exchange(here.lane), life.clock, 1.5))
    alert_id = life.send("exit")
    life.clock.advance(1.6)
    life.engine.move(life.market.symbol, Decimal(41850))
    here.watch(12)
    assert life.status(alert_id) == "DONE"
    assert life.tradable == 0, here.alarms()
    assert here.alarms() == []
    life.check()


@pytest.mark.parametrize("venue", [*VENUES, *SPOTS])
def test_an_exit_closes_what_an_entry_fills_that_no_list_shows(
    lives: Any, monkeypatch: pytest.MonkeyPatch, venue: str
) -> None:
    here = Guarded(lives(venue))
    life = here.life
    life.send("entry", **{**LONG, "price": "41900"}, **LADDER, type="limit")
    here.watch(8)
    put(life, monkeypatch, here.lane, Unlisted(life, life.venues.exchange(here.lane)))
    alert_id = life.send("exit")
    here.watch(12)
    assert life.status(alert_id) == "DONE"
    assert life.tradable == 0, here.alarms()
    assert here.alarms() == []
    life.check()


class Away:
    """An adapter whose first `lost` stops are not heard of; from then on nobody is there for `seconds`, and
    a sale is refused as long as `refuses`."""

    def __init__(self, exchange: Any, clock: Any, *, lost: int = 1, seconds: float = 0) -> None:
        self._exchange, self._clock = exchange, clock
        self._lost, self._seconds = lost, timedelta(seconds=seconds)
        self._until = clock()
        self.refuses = False
        self.stops = self.closes = 0

    def __getattr__(self, name: str) -> Any:
        if name in ("look", "order", "position", "fills", "price", "cancel") and self._clock() < self._until:
            raise Unreachable("a venue", name, "nobody is there")
        return getattr(self._exchange, name)

    def place(self, order: Any, **more: Any) -> Any:
        if self._clock() < self._until:
            raise Unreachable("a venue", "place", "nobody is there")
        if order.role is Role.CLOSE:
            self.closes += 1
            if self.refuses:
                raise Rejected("a venue", "place", "the price is out of its band")
        if order.role is Role.STOP or more.get("stop") is not None:
            self.stops += 1
            if self.stops <= self._lost:
                self._until = self._clock() + self._seconds
                raise Ambiguous("a venue", "place", "no answer")
        return self._exchange.place(order, **more)


def bare(life: Any, monkeypatch: pytest.MonkeyPatch, **how: Any) -> Away:
    """Coins whose stop a person has taken back, at a venue that is `Away`."""
    here = Guarded(life)
    life.send("entry", **LONG)
    life.wait(8)
    there = Away(life.venues.exchange(here.lane), life.clock, **how)
    put(life, monkeypatch, here.lane, there)
    for stop in life.stops():
        life.account.cancel(stop.id)
    return there


@pytest.mark.parametrize("venue", SPOTS)
def test_coins_are_not_sold_for_a_stop_that_was_lost_before_the_venue_was_away(
    lives: Any, monkeypatch: pytest.MonkeyPatch, venue: str
) -> None:
    life = lives(venue)
    there = bare(life, monkeypatch, seconds=12)
    life.wait(40, step=0.5)
    assert there.stops == 2
    assert there.closes == 0
    assert life.tradable > 0
    life.check()


@pytest.mark.parametrize("venue", SPOTS)
def test_a_sale_that_is_refused_does_not_keep_coins_from_their_stop(
    lives: Any, monkeypatch: pytest.MonkeyPatch, venue: str
) -> None:
    life = lives(venue)
    there = bare(life, monkeypatch, lost=2)
    there.refuses = True
    life.wait(30, step=0.5)
    assert there.closes >= 1
    assert life.tradable > 0
    life.check()


@pytest.mark.parametrize(("refusal", "within"), [(Unreachable, 12), (Ambiguous, 12)])
def test_coins_that_cannot_be_protected_are_sold_once(
    lives: Any, monkeypatch: pytest.MonkeyPatch, refusal: type[VenueError], within: int
) -> None:
    """The venue answers before it trades, and a person has more coins there."""
    life = lives("BYBIT_SPOT", account={"own": {"BTC": Decimal(7)}})
    here = Guarded(life)
    life.send("entry", **LONG)
    life.wait(8)
    exchange, symbol = life.venues.exchange(here.lane), life.market.symbol
    there = Unstoppable(exchange, life.clock, symbol, 3, refusal=refusal("a venue", "place", "no answer"))
    put(life, monkeypatch, here.lane, there)
    for stop in life.stops():
        life.account.cancel(stop.id)
    life.wait(within, step=0.5)
    assert there.closes == 1
    assert life.tradable == 0
    life.check()


def test_an_exit_sells_once_however_late_the_sale_is_told(
    lives: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = lives("BYBIT_SPOT", account={"own": {"BTC": Decimal(7)}})
    here = Guarded(life)
    life.send("entry", **LONG)
    life.wait(8)
    exchange = life.venues.exchange(here.lane)
    there = Unstoppable(exchange, life.clock, life.market.symbol, 7, refusal=None)
    put(life, monkeypatch, here.lane, there)
    alert_id = life.send("exit")
    life.wait(20, step=0.5)
    assert life.status(alert_id) == "DONE"
    assert there.closes == 1
    life.check()


class Forgetful(Behind):
    """Never tells what `hidden` orders filled at; its balance is late from `lag` on for a while."""

    def __init__(self, exchange: Any, clock: Any) -> None:
        self._exchange, self._clock = exchange, clock
        self.hides_all = True
        self._hidden: set[str] = set()
        self._until = clock()
        self._position = None

    def lag(self, symbol: str, seconds: float) -> None:
        self._position = self._exchange.position(symbol)
        self._until = self._clock() + timedelta(seconds=seconds)
        self._late_position = True

    _late_position = False

    def fills(self, symbol: str, *, since: datetime) -> Any:
        found = self._exchange.fills(symbol, since=since)
        if self.hides_all:
            self._hidden |= {fill.trade_id for fill in found}
        return [fill for fill in found if fill.trade_id not in self._hidden]


@pytest.mark.parametrize("venue", SPOTS)
def test_coins_are_not_forgotten_while_an_older_fill_is_not_told(
    lives: Any, monkeypatch: pytest.MonkeyPatch, venue: str
) -> None:
    here = Unheard(life := lives(venue, account={"own": {"BNB": Decimal(5)}}))
    life.send("entry", **LONG)
    life.wait(8, step=0.5)
    there = Forgetful(life.venues.exchange(here.lane), life.clock)
    put(life, monkeypatch, here.lane, there)
    life.send("exit")
    life.wait(24, step=0.5)
    there.hides_all = False
    alert_id = life.send("entry", **{**LONG, "price": "41900"}, type="limit")
    life.wait(8, step=0.5)
    # A new process asks for what is missing at its first look.
    life.die()
    put(life, monkeypatch, here.lane, there)
    there.lag(life.market.symbol, 3)
    life.engine.move(life.market.symbol, Decimal(41850))
    life.wait(20, step=0.5)
    assert life.tradable > 0
    assert life.covered(), life.alert(alert_id)


def test_a_stop_waits_for_one_hanging_answer_at_most(
    lives: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A person has taken everything back, and nobody tells what became of it."""
    life = lives("BINANCE")
    life.send("entry", **LONG, **LADDER)
    life.wait(8)
    life.patience = HASTY
    life.die()
    life.settle()
    monkeypatch.setattr(confirm, "STOP_WAITS", HASTY.total / 3)
    life.server.reset_log()
    for each in ("GET /fapi/v1/algoOrder", "GET /fapi/v1/order"):
        for number in range(1, 9):
            life.server.fault("silent_before", (each, number))
    for order in list(life.resting):
        life.account.cancel(order.id)
    sent: list[int] = []
    deliver = fence.deliver

    def delivered(*args: Any, **more: Any) -> Any:
        sent.append(caplog.text.count("became of it: no answer within"))
        return deliver(*args, **more)

    monkeypatch.setattr(fence, "deliver", delivered)
    life.wait(2)
    assert sent[0] == 1
    assert life.covered()
