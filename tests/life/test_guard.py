"""The guard over whole accounts: what is not ours is told, what is left of ours swept, idle asks nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pytest

from desk.sentry import Sentry
from exchanges import _fapi, binance
from exchanges._catalogue import FRESH
from exchanges._limits import Budget
from store import outbox
from tests.emulator import binance_spot
from tests.emulator.server import Server
from tests.exchanges.test_nonsense import LISTS
from tests.life.books import OWN
from tests.life.scenarios import LADDER, LONG, SHORT, SPOTS, VENUES
from trading.errors import Unreachable
from trading.model import InstrumentKind, Lane, Order, OrderType, Role, Side

Lives = Callable[..., Any]


class Guarded:
    """A life with its sentry, both new at each start."""

    def __init__(self, life: Any) -> None:
        self.life = life
        self.restart()

    def restart(self) -> None:
        """kill -9, and the next process."""
        self.life.die()
        self.sentry = Sentry(self.life.store, self.life.settings, self.life.venues, self.life.clock)
        self.life.runner.muster()

    def watch(self, seconds: int) -> None:
        for _ in range(seconds):
            self.life.clock.advance(1)
            self.sentry.watch()
            self.life.settle()

    def requests(self, seconds: int) -> int:
        """How many requests the venue gets in that time."""
        self.life.transport.reset()
        self.watch(seconds)
        return sum(self.life.transport._counts.values())

    def alarms(self) -> list[str]:
        with self.life.store.read() as tx:
            return [each.text for each in outbox.unposted(tx, 1000) if each.kind == "alarm"]

    @property
    def elsewhere(self) -> str:
        """An instrument that no lane of ours has ever known."""
        return next(
            each.symbol
            for each in self.life.engine.listings()
            if each.symbol != self.life.market.symbol
            and each.instrument.kind is InstrumentKind.PERPETUAL
            and each.symbol.startswith(("ETH", "SOL"))
        )

    @property
    def lane(self) -> Lane:
        return Lane(self.life.venue, "MAIN", self.life.market.symbol)


@pytest.mark.parametrize("venue", VENUES)
def test_an_idle_minute_asks_the_venue_nothing(lives: Lives, venue: str) -> None:
    here = Guarded(lives(venue))
    here.life.send("entry", **LONG, **LADDER)
    here.watch(3)
    here.life.send("exit")
    here.watch(10)
    assert here.life.position == 0
    assert here.requests(60) == 0


@pytest.mark.parametrize("how", ["entered", "turned by an entry", "added to by hand"])
def test_a_position_under_guard_costs_few_requests(lives: Lives, how: str) -> None:
    """Three for a look every two seconds, one for the account every five."""
    here = Guarded(lives("BINANCE"))
    if how == "turned by an entry":
        here.life.send("entry", **SHORT, **LADDER)
        here.watch(3)
    here.life.send("entry", **LONG, **LADDER)
    here.watch(10)
    if how == "added to by hand":
        here.life.engine.hand(here.life.account, here.life.market.symbol, Side.BUY, Decimal(1))
        here.watch(10)
    assert 60 <= here.requests(60) <= 110


@pytest.mark.parametrize("venue", [*VENUES, "BINANCE_SPOT"])
def test_all_looks_together_leave_room_for_what_trades(lives: Lives, venue: str) -> None:
    """Three fifths of the budget at most, whatever an address has to look at."""
    life = lives(venue)
    life.send("entry", **LONG)
    life.wait(3, step=0.5)
    lane = Lane(life.venue, "MAIN", life.market.symbol)
    exchange, (host, *_) = life.venues.exchange(lane), life.venues._hosts._hosts.values()
    before = {name: host.limiter._used(name, life.clock()) for name in host.limiter._budgets}
    exchange.look(lane.symbol, ours=())
    looks = exchange.capabilities(lane.symbol).looks
    for name, budget in host.limiter._budgets.items():
        cost = host.limiter._used(name, life.clock()) - before[name]
        assert cost * looks <= Decimal("0.6") * budget.most * int(timedelta(minutes=1) / budget.window), name


@pytest.mark.slow
def test_positions_that_fill_the_budget_with_looks_hold_no_alert_up(
    lives: Lives, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A quarter of the venue's budget, so that few are many."""
    monkeypatch.setitem(_fapi.ADDRESS, "weight", Budget(600, timedelta(minutes=1)))
    looks = replace(binance.CAPABILITIES, looks=(binance.CAPABILITIES.looks or 0) // 4)
    monkeypatch.setattr(binance, "CAPABILITIES", looks)
    here = Guarded(lives("BINANCE", RISK_MAIN="0.1"))
    here.life.engine.move("ETH-USDT-PERP", Decimal(3000))
    here.life.engine.move("SOL-USDT-PERP", Decimal(150))
    here.life.send("entry", **LONG)
    here.life.send("entry", ticker="ETHUSDT.P", action="buy", price="3000", **{"long SL": "2900"})
    sol = {"ticker": "SOLUSDT.P", "action": "buy", "price": "150", "long SL": "140"}
    here.life.send("entry", **sol)
    here.watch(70)
    assert here.life.status(here.life.send("exit", ticker="SOLUSDT.P")) == "DONE"
    assert here.life.status(here.life.send("entry", **sol)) == "DONE"
    for stop in here.life.stops():
        here.life.account.cancel(stop.id)
    here.watch(5)
    assert here.life.stops(), "it is seen in time all the same"
    assert "held back" not in caplog.text


class Unheard:
    """The venues of a process that they do not hear."""

    def __init__(self, venues: Any) -> None:
        self._venues = venues

    def exchange(self, lane: Lane) -> Any:
        raise Unreachable(lane.venue, "positions", f"{type(self._venues).__name__} are cut off")


def test_a_process_that_is_cut_off_leaves_the_account_to_the_next(lives: Lives) -> None:
    """Its turn comes first, each time."""
    here = Guarded(lives("BINANCE"))
    here.life.send("entry", **LONG)
    cut, other = (
        Sentry(here.life.store, here.life.settings, here.life.venues, here.life.clock) for _ in range(2)
    )
    cut.watch()
    other.watch()
    cut._muster._venues = Unheard(here.life.venues)  # type: ignore[assignment]
    here.life.engine.hand(here.life.account, here.elsewhere, Side.BUY, Decimal(1))
    for _ in range(6):
        here.life.clock.advance(2.2)
        cut.watch()
        here.life.clock.advance(0.3)
        other.watch()
    assert len(here.alarms()) == 1


@pytest.mark.parametrize("venue", VENUES)
def test_what_a_person_opens_elsewhere_is_told_once_and_left_alone(lives: Lives, venue: str) -> None:
    here = Guarded(lives(venue))
    first = here.life.send("entry", **LONG)
    here.life.engine.hand(here.life.account, here.elsewhere, Side.BUY, Decimal(1))
    here.watch(4)
    assert here.alarms() == []
    here.watch(20)
    told = f"{venue} MAIN {here.elsewhere}: 1 long at the venue is not this server's"
    assert [text.partition(": it is left alone")[0] for text in here.alarms()] == [told]
    here.restart()
    here.watch(12)
    assert here.life.status(here.life.send("exit")) == "DONE"
    here.watch(12)
    assert len(here.alarms()) == 1
    assert here.life.account.position(here.elsewhere).quantity == 1
    assert here.life.position == 0
    assert "closed" in [each["event"] for each in here.life.alert(first)["timeline"]]


def test_what_goes_and_comes_again_is_told_again(lives: Lives) -> None:
    here = Guarded(lives("BINANCE"))
    here.life.send("entry", **LONG)
    for side in (Side.BUY, Side.SELL):
        here.life.engine.hand(here.life.account, here.elsewhere, side, Decimal(1))
        here.watch(12)
    here.life.engine.hand(here.life.account, here.elsewhere, Side.SELL, Decimal(1))
    here.watch(12)
    assert [text.rpartition(": it")[0].rpartition(": ")[2].split(" at ")[0] for text in here.alarms()] == [
        "1 long",
        "1 short",
    ]


@pytest.mark.parametrize("venue", VENUES)
def test_what_a_person_opened_while_the_server_was_down_is_told(lives: Lives, venue: str) -> None:
    """Nothing of ours is open: it is looked at because the process is new, and then no more."""
    here = Guarded(lives(venue))
    here.life.send("entry", **LONG)
    here.life.send("exit")
    here.watch(10)
    here.life.engine.hand(here.life.account, here.elsewhere, Side.SELL, Decimal(1))
    here.restart()
    here.watch(12)
    (told,) = here.alarms()
    assert f"{here.elsewhere}: 1 short" in told
    assert here.requests(60) == 0


def ended_order(here: Guarded, alert_id: str, *, client_order_id: str) -> Order:
    """An order that rests away from the market, under a name that our records have ended."""
    return Order(
        client_order_id=client_order_id,
        intent_id=alert_id,
        symbol=here.life.market.symbol,
        role=Role.TARGET,
        side=Side.BUY,
        type=OrderType.LIMIT,
        quantity=Decimal("0.5"),
        price=Decimal(41000),
    )


@pytest.mark.parametrize("deaf", [0, 3])
def test_an_order_of_ours_without_a_position_is_swept_and_a_persons_is_not(lives: Lives, deaf: int) -> None:
    """Also where the venue does not answer at the start."""
    here = Guarded(lives("BINANCE"))
    alert_id = here.life.send("entry", **LONG)
    here.life.send("exit")
    here.watch(5)
    target = next(o for o in here.life.alert(alert_id)["orders"] if o["role"] == "target")
    assert target["status"] == "CANCELED"
    exchange = here.life.venues.exchange(here.lane)
    for name in (target["client_order_id"], "a-persons-own"):
        order = ended_order(here, alert_id, client_order_id=name)
        exchange.place(order, signed_at=exchange.time())
    assert len(here.life.resting) == 2
    here.life.server.reset_log()
    for number in range(1, deaf + 1):
        here.life.server.fault("error_before", ("GET /fapi/v1/openOrders", number))
    here.restart()
    here.watch(40 if deaf else 5)
    assert not here.life.server.unfired
    assert [record.client_id for record in here.life.resting] == ["a-persons-own"]
    assert "swept" in [each["event"] for each in here.life.alert(alert_id)["timeline"]]


@pytest.mark.parametrize("venue", VENUES)
def test_a_start_brings_venue_and_records_together_before_anything_trades(lives: Lives, venue: str) -> None:
    """The position was closed by hand while the server was down, and a new entry waits for it."""
    here = Guarded(lives(venue))
    first = here.life.send("entry", **LONG, **LADDER)
    here.watch(3)
    here.life.engine.hand(here.life.account, here.life.market.symbol, Side.SELL, Decimal(2), reduce_only=True)
    second = here.life.store_only("entry", **SHORT)
    here.restart()
    here.watch(12)
    assert here.life.status(second) == "DONE"
    assert here.life.position < 0
    here.life.check()
    closed = [each for each in here.life.alert(first)["timeline"] if each["event"] == "closed"]
    begun = [each for each in here.life.alert(second)["timeline"] if each["event"] == "submitted"]
    assert closed[0]["detail"] == "the position is flat and nothing rests"
    assert closed[0]["at"] <= begun[0]["at"]


@pytest.mark.parametrize("turns", [False, True])
def test_a_close_that_its_own_targets_stand_in_the_way_of_is_tried_again_at_once(
    lives: Lives, turns: bool
) -> None:
    """The stop goes by another's hand and the price through it; the venue counts targets as closes."""
    here = Guarded(lives("BINANCE"))
    if turns:
        here.life.send("entry", **SHORT)
        here.watch(3)
    alert_id = here.life.send("entry", **LONG, **LADDER)
    here.watch(3)
    here.life.account.cancel(here.life.stops()[0].id)
    here.life.engine.move(here.life.market.symbol, Decimal(41400))
    here.watch(2)
    assert here.life.position == 0
    assert here.life.resting == []
    closes = [o["status"] for o in here.life.alert(alert_id)["orders"] if o["role"] == "close"]
    assert closes == [*(["FILLED"] if turns else []), "REJECTED", "FILLED"]


def test_a_close_for_want_of_a_stop_takes_the_targets_out_of_its_way(lives: Lives) -> None:
    """Each stop that replaces the one that went is in doubt until it is proved lost, for more than 5 s."""
    here = Guarded(lives("BINANCE"))
    here.life.send("entry", **LONG, **LADDER)
    here.watch(3)
    here.life.account.cancel(here.life.stops()[0].id)
    here.life.server.reset_log()
    for number in range(1, 5):
        here.life.server.fault("unknown_before", ("POST /fapi/v1/algoOrder", number))
    here.watch(9)
    assert here.life.position == 0
    assert here.life.resting == []
    assert any("no stop was proved within 5 s" in text for text in here.alarms())


@pytest.mark.parametrize("venue", ["BINANCE", "BYBIT"])
def test_the_loss_of_a_stop_counts_before_its_fill_is_read(lives: Lives, venue: str) -> None:
    life = lives(venue, LIMITS_MAIN='{"max_daily_loss": 500}')
    life.send("entry", **LONG)
    life.wait(4)
    life.engine.move("ETH-USDT-PERP", Decimal(3000))
    life.engine.move(life.market.symbol, Decimal(41400))
    ticker = life.market.ticker.replace("BTC", "ETH")
    refused = life.send("entry", ticker=ticker, action="buy", price="3000", **{"long SL": "2900"})
    life.wait(2)
    assert life.status(refused) == "DENIED"
    assert "today's P&L is -1" in life.alert(refused)["reason"]


def test_an_entry_counts_what_is_open_of_the_other_kind_of_instrument(lives: Lives, clock: Any) -> None:
    engine, dialect = binance_spot.build(clock, own={"BTC": OWN, "BNB": Decimal(5)})
    with Server(dialect, engine) as spot:
        engine.move("BTC-USDT", Decimal(41650))
        life = lives("BINANCE", LIMITS_MAIN='{"max_daily_loss": 500}', BINANCE_SPOT_API_URL=spot.url)
        life.send("entry", **LONG)
        life.price("41650")
        refused = life.send("entry", **LONG, ticker="BTCUSDT")
        assert "today's P&L is -7" in life.alert(refused)["reason"]


def test_a_clock_that_is_set_back_keeps_no_account_from_a_look(lives: Lives) -> None:
    here = Guarded(lives("BINANCE"))
    here.life.send("entry", **LONG)
    here.watch(6)
    here.life.clock.advance(-3600)
    here.life.transport.reset()
    here.sentry.watch()
    assert here.life.transport._counts["GET /fapi/v3/positionRisk"] == 1


def test_a_clock_that_is_set_back_leaves_no_position_bare(lives: Lives) -> None:
    """While a stop that is gone cannot be had anew."""
    here = Guarded(lives("BINANCE"))
    here.life.send("entry", **LONG, **LADDER)
    here.watch(3)
    here.life.account.cancel(here.life.stops()[0].id)
    here.life.server.reset_log()
    for number in range(1, 20):
        here.life.server.fault("unknown_before", ("POST /fapi/v1/algoOrder", number))
    here.watch(3)
    here.life.clock.advance(-3600)
    here.life.engine.skew += timedelta(hours=1)
    here.life.runner.keep_time()
    here.watch(9)
    assert here.life.position == 0


@pytest.mark.parametrize("venue", [*VENUES, *SPOTS])
def test_a_list_of_instruments_that_does_not_come_keeps_no_position_waiting(
    lives: Lives, monkeypatch: pytest.MonkeyPatch, venue: str
) -> None:
    """The list has grown old when a person takes the stop back."""
    life = lives(venue)
    life.send("entry", **LONG)
    life.wait(3)
    came, asked, send = threading.Event(), threading.Event(), life.transport.send
    waited: list[str] = []

    def slowly(request: Any, *args: Any, **more: Any) -> Any:
        if urlsplit(str(request.url)).path == LISTS[venue][0]:
            asked.set()
            waited.append(threading.current_thread().name)
            came.wait(5)
        return send(request, *args, **more)

    monkeypatch.setattr(life.transport, "send", slowly)
    life.clock.advance(FRESH)
    for stop in life.stops():
        life.account.cancel(stop.id)
    try:
        life.settle()
        assert life.covered()
        assert asked.wait(5), "it is asked for all the same"
        assert set(waited) == {"instruments"}
    finally:
        came.set()
