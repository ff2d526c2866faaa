"""Questions that are not answered, while others are: a missing stop waits for none that it can do without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from desk import confirm
from tests.life.conftest import HASTY
from tests.life.scenarios import LADDER, LONG, VENUES
from trading.errors import Ambiguous
from trading.model import Lane, Order, OrderType, Role
from trading.protect import ATTEMPTS

Lives = Callable[..., Any]

#: How one order is asked for, where its stop is another.
ORDERS = {"BINANCE": "GET /fapi/v1/order", "FTX": "GET /api/orders/by_client_id/{clientId}"}


@pytest.mark.parametrize(("venue", "asked"), ORDERS.items())
def test_a_stop_does_not_wait_for_what_became_of_its_entry(lives: Lives, venue: str, asked: str) -> None:
    """The venue tells the position, and not the order that made it."""
    life = lives(venue)
    alert_id = life.send("entry", **{**LONG, "price": "41900"}, **LADDER, type="limit")
    life.wait(2)
    life.server.reset_log()
    for number in range(1, 100):
        life.server.fault("error_before", (asked, number))
    life.engine.move(life.market.symbol, Decimal(41850))
    life.wait(4)
    assert life.position > 0
    assert life.covered()
    life.wait(20, step=2)
    assert life.covered()
    life.server.forget_faults()
    life.wait(4)
    assert {o["status"] for o in life.alert(alert_id)["orders"] if o["role"] == "entry"} == {"FILLED"}
    life.check()


@pytest.mark.parametrize(
    ("venue", "asked"),
    [
        ("BINANCE", "GET /fapi/v1/algoOrder"),
        ("BYBIT", "GET /v5/order/history"),
        ("FTX", "GET /api/conditional_orders/history"),
    ],
)
def test_a_stop_that_nobody_can_ask_for_is_no_proof(lives: Lives, venue: str, asked: str) -> None:
    """A person has taken it back, and the venue does not tell."""
    life = lives(venue)
    life.send("entry", **LONG, **LADDER)
    life.wait(8)
    life.account.cancel(life.stops()[0].id)
    life.server.reset_log()
    for number in range(1, 200):
        life.server.fault("error_before", (asked, number))
    life.wait(4)
    assert life.covered()
    life.wait(20)
    assert life.covered()
    assert life.position == 2
    life.server.forget_faults()
    life.wait(6)
    life.check()


@pytest.mark.parametrize("asked", ["GET /fapi/v2/ticker/price", "GET /fapi/v1/order"])
def test_a_stop_waits_for_no_answer_that_it_can_do_without(
    lives: Lives, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    life = lives("BINANCE")
    life.send("entry", **{**LONG, "price": "41900"}, type="limit")
    life.wait(2)
    # What goes on asking beside asks again only long after the stop has left.
    life.patience = replace(HASTY, silence=2, total=6)
    life.die()
    life.settle()
    monkeypatch.setattr(confirm, "STOP_WAITS", 0.05)
    life.server.reset_log()
    for number in range(1, 4):
        life.server.fault("silent_before", (asked, number))
    life.engine.move(life.market.symbol, Decimal(41850))
    life.wait(2)
    paths = [seen.key[0] for seen in life.server.log]
    assert paths[: paths.index("POST /fapi/v1/algoOrder")].count(asked) == 1
    assert life.covered()
    life.check()


class Dim:
    """An adapter that shows no stop, and cannot be asked for one."""

    def __init__(self, exchange: Any) -> None:
        self._exchange, self.is_dim, self.sent = exchange, True, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def place(self, order: Order, **more: Any) -> Any:
        self.sent += order.role is Role.STOP
        return self._exchange.place(order, **more)

    def look(self, symbol: str, *, ours: Any) -> Any:
        seen = self._exchange.look(symbol, ours=ours)
        shown = tuple(each for each in seen.resting if not self.is_dim or each.type is not OrderType.STOP)
        return replace(seen, resting=shown)

    def order(self, order: Order) -> Any:
        if self.is_dim and order.type is OrderType.STOP:
            raise Ambiguous("a venue", "order", "no answer")
        return self._exchange.order(order)


@pytest.mark.parametrize("venue", VENUES)
def test_stops_that_nobody_can_ask_for_do_not_become_ever_more(
    lives: Lives, monkeypatch: pytest.MonkeyPatch, venue: str
) -> None:
    """Nor is what they cover closed."""
    life = lives(venue)
    life.send("entry", **LONG)
    life.wait(8)
    lane = Lane(life.venue, "MAIN", life.market.symbol)
    there = Dim(life.venues.exchange(lane))
    monkeypatch.setattr(life.venues, "exchange", lambda asked: there)
    life.wait(30)
    assert there.sent < ATTEMPTS
    assert life.position == 2
    assert life.covered()
    there.is_dim = False
    life.wait(8)
    assert life.position == 2
    life.check()


def test_a_stop_that_goes_has_the_whole_time_for_the_next_one(lives: Lives) -> None:
    """What became of the entry is not told all the while, and the next stop is in doubt at first."""
    life = lives("BINANCE")
    alert_id = life.send("entry", **{**LONG, "price": "41900"}, type="limit")
    life.wait(2)
    life.server.reset_log()
    for number in range(1, 300):
        life.server.fault("error_before", ("GET /fapi/v1/order", number))
    life.server.fault("unknown_before", ("POST /fapi/v1/algoOrder", 2))
    life.engine.move(life.market.symbol, Decimal(41850))
    life.wait(12)
    assert life.covered()
    life.account.cancel(life.stops()[0].id)
    life.wait(8)
    assert life.position > 2
    assert life.covered()
    assert "close" not in {order["role"] for order in life.alert(alert_id)["orders"]}


def test_a_stop_waits_for_no_answer_about_the_one_before_it(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person has taken it back."""
    life, asked = lives("BINANCE"), "GET /fapi/v1/algoOrder"
    life.send("entry", **LONG)
    life.wait(8)
    # What goes on asking beside asks again only long after the stop has left.
    life.patience = replace(HASTY, silence=2, total=6)
    life.die()
    life.settle()
    monkeypatch.setattr(confirm, "STOP_WAITS", 0.05)
    life.server.reset_log()
    for number in range(1, 4):
        life.server.fault("silent_before", (asked, number))
    life.account.cancel(life.stops()[0].id)
    life.wait(3)
    paths = [seen.key[0] for seen in life.server.log]
    assert paths[: paths.index("POST /fapi/v1/algoOrder")].count(asked) == 1
    assert life.covered()
