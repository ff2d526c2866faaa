"""Lists that lag behind what an order's answer said, and what waits for them: believed for a while."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from desk import control
from desk.settings import load
from store import orders, words
from tests.life.conftest import PASSPHRASE
from tests.life.scenarios import LADDER, LONG, SPOTS, VENUES
from tests.life.test_guard import Guarded
from tests.life.test_trouble import Unheard
from trading.errors import OrderNotFound
from trading.model import ZERO, Lane, Role, Route, Side

LOWER = {**LONG, "price": "41400", "long SL": "41000", "long TP": "42500"}


class Late:
    """An adapter whose lists show nothing of an entry for `seconds` after it left."""

    def __init__(self, exchange: Any, clock: Any, seconds: float, *, fills: bool) -> None:
        self._exchange, self._clock, self._late_fills = exchange, clock, fills
        self._seconds = timedelta(seconds=seconds)
        self._entered: datetime | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def place(self, order: Any, **more: Any) -> Any:
        placed = self._exchange.place(order, **more)
        if order.role is Role.ENTRY:
            self._entered = self._clock()
        return placed

    def look(self, symbol: str, *, ours: Any) -> Any:
        seen = self._exchange.look(symbol, ours=ours)
        return replace(seen, position=self._shown(seen.position))

    def position(self, symbol: str) -> Any:
        return self._shown(self._exchange.position(symbol))

    def fills(self, symbol: str, *, since: datetime) -> Any:
        found = self._exchange.fills(symbol, since=since)
        return [] if self._late_fills and self._is_late() else found

    def _is_late(self) -> bool:
        return self._entered is not None and self._clock() < self._entered + self._seconds

    def _shown(self, position: Any) -> Any:
        return replace(position, quantity=ZERO, average_price=None) if self._is_late() else position


class Behind:
    """An adapter whose fills, and where asked for its position, stay as they are for `seconds`."""

    def __init__(self, exchange: Any, clock: Any, symbol: str, seconds: float, *, position: bool) -> None:
        self._exchange, self._clock, self._late_position = exchange, clock, position
        self._since, self._position = clock(), exchange.position(symbol)
        self._until = self._since + timedelta(seconds=seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def look(self, symbol: str, *, ours: Any) -> Any:
        seen = self._exchange.look(symbol, ours=ours)
        return replace(seen, position=self._shown(seen.position))

    def position(self, symbol: str) -> Any:
        return self._shown(self._exchange.position(symbol))

    def fills(self, symbol: str, *, since: datetime) -> Any:
        found = self._exchange.fills(symbol, since=since)
        return [fill for fill in found if fill.at <= self._since] if self._is_late() else found

    def _is_late(self) -> bool:
        return self._clock() < self._until

    def _shown(self, position: Any) -> Any:
        return self._position if self._late_position and self._is_late() else position


class Slow(Behind):
    """The same from now on, and closes are not known yet either."""

    def __init__(self, exchange: Any, clock: Any, symbol: str, seconds: float) -> None:
        super().__init__(exchange, clock, symbol, seconds, position=True)

    def order(self, order: Any) -> Any:
        if order.role is Role.CLOSE and self._is_late():
            raise OrderNotFound(self._exchange.name, "order", "it does not exist")
        return self._exchange.order(order)


class Blank:
    """An adapter that knows none of our orders for `seconds`."""

    def __init__(self, exchange: Any, clock: Any, seconds: float) -> None:
        self._exchange, self._clock = exchange, clock
        self._until = clock() + timedelta(seconds=seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def look(self, symbol: str, *, ours: Any) -> Any:
        seen = self._exchange.look(symbol, ours=ours)
        return replace(seen, resting=()) if self._clock() < self._until else seen

    def order(self, order: Any) -> Any:
        if self._clock() < self._until:
            raise OrderNotFound(self._exchange.name, "order", "it does not exist")
        return self._exchange.order(order)


def late(life: Any, monkeypatch: pytest.MonkeyPatch, seconds: float, *, fills: bool) -> None:
    lane = Unheard(life).lane
    there = Late(life.venues.exchange(lane), life.clock, seconds, fills=fills)
    found = life.venues.exchange
    monkeypatch.setattr(life.venues, "exchange", lambda asked: there if asked == lane else found(asked))


def put(life: Any, monkeypatch: pytest.MonkeyPatch, lane: Lane, there: Any) -> None:
    """Lets the desk meet `there` in place of the lane's adapter."""
    found = life.venues.exchange
    monkeypatch.setattr(life.venues, "exchange", lambda asked: there if asked == lane else found(asked))


def covered(life: Any) -> bool:
    """Whether the position is open, and lies under its stop."""
    return bool(life.position) and sum(stop.remaining for stop in life.stops()) == life.position


@pytest.mark.parametrize("venue", VENUES)
def test_an_entry_that_no_list_shows_yet_keeps_its_stop(
    lives: Any, monkeypatch: pytest.MonkeyPatch, venue: str
) -> None:
    life = lives(venue)
    late(life, monkeypatch, 1, fills=True)
    alert_id = life.send("entry", **LONG)
    life.wait(6, step=0.5)
    assert life.status(alert_id) == "DONE"
    assert covered(life)


@pytest.mark.parametrize("gap", [4, 5])
def test_an_entry_while_older_fills_are_asked_for_keeps_its_stop(
    lives: Any, monkeypatch: pytest.MonkeyPatch, gap: int
) -> None:
    life = lives("BINANCE")
    here = Unheard(life)
    life.send("entry", **LONG)
    life.wait(4)
    here.begin()
    life.price("41400")
    life.wait(20)
    life.server.forget_faults()
    late(life, monkeypatch, 3, fills=False)
    life.wait(gap)
    assert life.status(life.send("entry", **LOWER)) in ("DONE", "EXECUTING")
    life.wait(10, step=0.5)
    assert covered(life)


def test_an_entry_waits_for_its_own_lanes_fills_without_haste(lives: Any) -> None:
    life = lives("BINANCE", LIMITS_MAIN='{"max_daily_loss": 50000}')
    here = Unheard(life)
    life.send("entry", **LONG)
    life.wait(4)
    here.begin()
    life.price("41400")
    life.wait(8)
    before = len(life.server.log)
    life.store_only("entry", **LOWER)
    runs = 0
    while runs < 50 and life.runner.step():
        runs += 1
    assert runs < 5
    assert len(life.server.log) - before < 40


def test_a_wait_before_the_vote_is_none_after_it(lives: Any) -> None:
    life = lives("BINANCE", LIMITS_MAIN='{"max_daily_loss": 50000}', RISK_MAIN="0.2")
    life.engine.move("ETH-USDT-PERP", Decimal(3000))
    life.send("entry", **LONG, **LADDER)
    life.wait(5)
    life.engine.move(life.market.symbol, Decimal(42510))
    body = {"passphrase": PASSPHRASE, "ticker": "ETHUSDT.P", "exchange": "BINANCE", "message": "entry"}
    body |= {"id": "eth", "action": "buy", "price": "3000", "long SL": "2900"}
    answer = life.intake.receive(json.dumps(body).encode(), route=Route.STUDY, address="127.0.0.1")
    alert_id = str(answer.body["alert_id"])
    life.settle()
    life.wait(15)
    assert life.status(alert_id) == "AWAITING_APPROVAL"
    life.engine.move(life.market.symbol, Decimal(43010))
    control.vote(life.store, intent_id=alert_id, approve=True, voter="me", now=life.clock())
    life.settle()
    life.wait(5)
    assert life.status(alert_id) == "DONE"


def test_a_lane_that_had_no_venue_for_a_while_is_looked_at_again(lives: Any) -> None:
    here = Guarded(lives("BINANCE", LIMITS_MAIN='{"max_open_positions": 1}'))
    life = here.life
    life.send("entry", **LONG)
    life.send("exit")
    here.watch(5)
    life.engine.hand(life.account, life.market.symbol, Side.BUY, Decimal(1))
    here.restart()
    here.watch(40)
    life.clock.advance(2 * 86400)
    here.watch(5)
    full = life.settings
    life.settings = load({name: value for name, value in life.environ.items() if name != "LIVE_TRADING"})
    here.restart()
    here.watch(40)
    life.settings = full
    here.restart()
    here.watch(5)
    life.engine.hand(life.account, life.market.symbol, Side.SELL, Decimal(1))
    here.watch(120)
    with life.store.read() as tx:
        assert orders.lane_state(tx, here.lane).ledger.quantity == 0


def test_what_a_person_bought_while_an_entry_waited_is_left_alone(lives: Any) -> None:
    here = Guarded(lives("BINANCE"))
    life = here.life
    life.send("entry", **{**LONG, "price": "41900"}, type="limit")
    here.watch(3)
    life.engine.hand(life.account, life.market.symbol, Side.BUY, Decimal(1))
    here.watch(4)
    with life.store.write() as tx:
        words.halt(tx, reason="news", by="me", now=life.clock())
    here.watch(10)
    life.engine.move(life.market.symbol, Decimal(41400))
    here.watch(6)
    assert life.position == 1
    assert len([text for text in Unheard(life).told() if "not this server's" in text]) == 1


@pytest.mark.parametrize("again", [True, False])
def test_what_a_stop_has_ended_is_not_closed_once_more_while_lists_lag(
    lives: Any, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """The price is through the stop. A person may have bought as much in its place."""
    here = Guarded(lives("BINANCE"))
    life = here.life
    life.send("entry", **LONG)
    here.watch(8)
    found = life.venues.exchange
    there = Behind(found(here.lane), life.clock, life.market.symbol, 4, position=not again)
    monkeypatch.setattr(life.venues, "exchange", lambda asked: there if asked == here.lane else found(asked))
    life.clock.advance(0.001)
    life.engine.move(life.market.symbol, Decimal(41400), Decimal(41300))
    if again:
        life.engine.hand(life.account, life.market.symbol, Side.BUY, Decimal(2))
    here.watch(12)
    assert life.position == (2 if again else 0)
    assert life.resting == []
    assert not any("closing" in text for text in here.alarms())
    with life.store.read() as tx:
        assert orders.lane_state(tx, here.lane).trade is None


def test_an_exit_closes_once_though_no_list_shows_it_yet(lives: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Guarded(lives("BINANCE"))
    life = here.life
    life.send("entry", **LONG)
    here.watch(8)
    found = life.venues.exchange
    there = Behind(found(here.lane), life.clock, life.market.symbol, 1, position=True)
    monkeypatch.setattr(life.venues, "exchange", lambda asked: there if asked == here.lane else found(asked))
    life.clock.advance(0.001)
    alert_id = life.send("exit")
    life.wait(6, step=0.5)
    assert life.status(alert_id) == "DONE", life.alert(alert_id)
    assert [o["status"] for o in life.alert(alert_id)["orders"] if o["role"] == "close"] == ["FILLED"]
    assert here.alarms() == []
    life.check()


@pytest.mark.parametrize("venue", ["BINANCE", "FTX", "BINANCE_SPOT", "BYBIT_SPOT"])
def test_an_entry_that_is_not_known_for_a_moment_has_its_stop_when_it_fills(
    lives: Any, monkeypatch: pytest.MonkeyPatch, venue: str
) -> None:
    here = Guarded(lives(venue))
    life = here.life
    alert_id = life.send("entry", **{**LONG, "price": "41900"}, **LADDER, type="limit")
    here.watch(8)
    found = life.venues.exchange
    there = Blank(found(here.lane), life.clock, 3)
    monkeypatch.setattr(life.venues, "exchange", lambda asked: there if asked == here.lane else found(asked))
    before = len(life.server.log)
    here.watch(6)
    assert len(life.server.log) - before < 60
    life.engine.move(life.market.symbol, Decimal(41850))
    here.watch(4)
    assert life.tradable > 2
    assert life.covered()
    assert {o["status"] for o in life.alert(alert_id)["orders"] if o["role"] == "entry"} == {"FILLED"}


@pytest.mark.parametrize("venue", VENUES)
def test_a_loss_that_no_list_of_fills_shows_is_no_day_without_loss(lives: Any, venue: str) -> None:
    """Nor do the books have anything of it: neither the entry's fills were told nor those of its stop."""
    life = lives(venue, LIMITS_MAIN='{"max_daily_loss": 500}')
    life.engine.move(life.market.symbol.replace("BTC", "ETH"), Decimal(3000))
    other = {"ticker": life.market.ticker.replace("BTC", "ETH"), "action": "buy", "price": "3000"}
    here = Unheard(life)
    here.begin()
    life.send("entry", **LONG)
    life.wait(4)
    life.price("41400")
    life.wait(8)
    assert (life.position, here.books()) == (0, (0, 0))
    refused = life.send("entry", **other, **{"long SL": "2900"})
    life.wait(12)
    assert life.status(refused) == "DENIED", life.alert(refused)
    assert "is not read yet" in life.alert(refused)["reason"]
    here.end()
    refused = life.send("entry", **other, **{"long SL": "2901"})
    assert "today's P&L is -1" in life.alert(refused)["reason"]


@pytest.mark.parametrize("venue", SPOTS)
def test_coins_that_the_balance_shows_late_are_not_forgotten(
    lives: Any, monkeypatch: pytest.MonkeyPatch, venue: str
) -> None:
    """It fills while the fills of the trade before it have not been told for a while."""
    here = Unheard(life := lives(venue, account={"own": {"BNB": Decimal(5)}}))
    here.begin()
    life.send("entry", **LONG)
    life.wait(8, step=0.5)
    life.send("exit")
    life.wait(12, step=0.5)
    alert_id = life.send("entry", **{**LONG, "price": "41900"}, **LADDER, type="limit")
    life.wait(10, step=0.5)
    exchange = life.venues.exchange(here.lane)
    put(life, monkeypatch, here.lane, Behind(exchange, life.clock, life.market.symbol, 3, position=True))
    life.engine.move(life.market.symbol, Decimal(41850))
    life.wait(12, step=0.5)
    assert life.tradable > 2
    assert life.covered(), life.alert(alert_id)
    here.end()
    assert life.tradable > 2
    life.check()


@pytest.mark.parametrize("venue", ["BYBIT", "BYBIT_SPOT"])
def test_an_exit_closes_once_where_the_venue_answers_before_it_trades(
    lives: Any, monkeypatch: pytest.MonkeyPatch, venue: str
) -> None:
    """A person has more coins there than were bought."""
    life = lives(venue, **({"account": {"own": {"BTC": Decimal(7)}}} if venue in SPOTS else {}))
    lane = Unheard(life).lane
    life.send("entry", **LONG)
    life.wait(8)
    put(life, monkeypatch, lane, Slow(life.venues.exchange(lane), life.clock, life.market.symbol, 1))
    alert_id = life.send("exit")
    life.wait(8, step=0.5)
    assert life.status(alert_id) == "DONE", life.alert(alert_id)
    assert [o["status"] for o in life.alert(alert_id)["orders"] if o["role"] == "close"] == ["FILLED"]
    assert life.tradable == 0
    life.check()


@pytest.mark.parametrize("venue", [*VENUES, *SPOTS])
def test_an_exit_waits_for_an_entry_that_is_not_known_for_a_moment(
    lives: Any, monkeypatch: pytest.MonkeyPatch, venue: str
) -> None:
    """It fills before anybody looks again."""
    here = Guarded(lives(venue))
    life = here.life
    life.send("entry", **{**LONG, "price": "41900"}, **LADDER, type="limit")
    here.watch(8)
    put(life, monkeypatch, here.lane, Blank(life.venues.exchange(here.lane), life.clock, 3))
    alert_id = life.send("exit")
    life.clock.advance(3.5)
    life.engine.move(life.market.symbol, Decimal(41850))
    here.watch(8)
    assert life.status(alert_id) == "DONE"
    assert life.tradable == 0
    assert here.alarms() == []
    life.check()
