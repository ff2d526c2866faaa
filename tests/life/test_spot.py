"""Spot, over HTTP: what is bought lies in parts under its stops, and a person's own coins are left alone."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.life.books import MARKETS, OWN
from tests.life.scenarios import LADDER, LONG, SHORT, SPOTS
from trading.model import OrderType, Side

D = Decimal
#: 2 BTC less the fee of one in a thousand, in lots of 0.00001 and of 0.000001.
NET = D("1.998")


def maker(venue: str, lives: Callable[..., Any]) -> Callable[..., Any]:
    def make(*, own: Decimal = OWN, **more: Any) -> Any:
        return lives(venue, account={"own": {"BTC": own, "BNB": D(5)}, **more})

    return make


@pytest.fixture(params=SPOTS)
def spot(request: pytest.FixtureRequest, lives: Callable[..., Any]) -> Callable[..., Any]:
    return maker(request.param, lives)


@pytest.fixture(params=[venue for venue in SPOTS if MARKETS[venue].pairs])
def paired(request: pytest.FixtureRequest, lives: Callable[..., Any]) -> Callable[..., Any]:
    """Where a target rests beside its stop."""
    return maker(request.param, lives)


@pytest.fixture(params=[venue for venue in SPOTS if not MARKETS[venue].pairs])
def alone(request: pytest.FixtureRequest, lives: Callable[..., Any]) -> Callable[..., Any]:
    """Where a stop locks all, so that no target rests."""
    return maker(request.param, lives)


def test_a_market_entry_becomes_pairs_that_cover_all_of_it(paired: Callable[..., Any]) -> None:
    life = paired()
    alert_id = life.send("entry", **LONG, **LADDER)
    life.wait(2)
    assert life.status(alert_id) == "DONE", life.alert(alert_id)
    assert life.entered(alert_id) == 2
    assert life.position == NET
    assert {stop.trigger for stop in life.stops()} == {41500}
    targets = sorted((t.price, t.quantity) for t in life.targets())
    assert targets == [(42500, D("0.4995")), (43000, D("0.4995")), (43500, D("0.999"))]
    life.check()
    told = life.alert(alert_id)
    # A stop over everything came first, on the heels of the entry.
    first, *others = [o for o in told["orders"] if o["role"] in ("stop", "target")]
    assert (first["client_order_id"], first["status"]) == (f"{alert_id}-sl", "CANCELED")
    assert {o["status"] for o in others} == {"ACCEPTED"}


def test_a_limit_entry_rests_and_is_covered_as_it_fills(spot: Callable[..., Any]) -> None:
    life = spot()
    alert_id = life.send("entry", **LONG | {"type": "limit", "price": "41800"}, **LADDER)
    life.wait(2)
    assert life.status(alert_id) == "DONE", life.alert(alert_id)
    assert life.position == 0
    life.engine.liquidity[life.market.symbol] = D("0.4")
    life.price("41799")
    life.check()
    assert life.position == D("0.4") * D("0.999")
    for _ in range(2):
        life.price("41798")
        life.check()
    life.engine.liquidity[life.market.symbol] = None
    life.price("41797")
    life.check()
    # 97 % of the money at 41800, as no more than once the money is spent.
    assert life.entered(alert_id) // D("0.00001") == 232057
    assert len(life.targets()) == (3 if life.market.pairs else 0)


@pytest.mark.parametrize("least", [D("0.00002"), D("0.00009")])
def test_fills_too_small_for_a_stop_are_covered_once_they_are_large_enough(
    spot: Callable[..., Any], least: Decimal
) -> None:
    life = spot()
    life.send("entry", **LONG | {"type": "limit", "price": "41800"}, **LADDER)
    life.engine.liquidity[life.market.symbol] = least
    for price in ("41799", "41798", "41797"):
        life.price(price)
        life.check() if life.tradable else None
    life.engine.liquidity[life.market.symbol] = None
    life.price("41796")
    life.check()
    assert life.tradable > 2


def test_a_breakeven_moves_part_by_part_and_bares_one_at_a_time(paired: Callable[..., Any]) -> None:
    life = paired()
    life.send("entry", **LONG, **LADDER)
    life.price("42510")
    life.check()
    life.server.reset_log()
    alert_id = life.send("breakeven", **{"long Breakeven": "42010"})
    assert life.status(alert_id) == "DONE", life.alert(alert_id)
    assert {stop.trigger for stop in life.stops()} == {42010}
    life.check()
    acts = [seen.key[0] for seen in life.server.log if not seen.key[0].startswith("GET")]
    # Each new pair leaves right behind the old one's end.
    assert acts == ["DELETE /api/v3/order", "POST /api/v3/orderList/oco"] * 2
    life.price("42000")
    life.wait(4)
    life.check()
    assert life.tradable == 0
    assert life.own == OWN


def test_a_breakeven_that_is_refused_leaves_the_old_stop(spot: Callable[..., Any]) -> None:
    life = spot()
    life.send("entry", **LONG, **LADDER)
    life.wait(2)
    denied = life.send("breakeven", **{"long Breakeven": "42100"})
    assert life.status(denied) == "DENIED"
    assert {stop.trigger for stop in life.stops()} == {41500}
    life.price("42400")

    def falls(what: str) -> None:
        """The price falls below the new level right when the first of the stops has gone."""
        if what.startswith("answer") and len(life.stops()) < stops:
            life.transport.around = None
            life.engine.move(life.market.symbol, D(42005))

    stops = len(life.stops())
    life.transport.around = falls
    alert_id = life.send("breakeven", **{"long Breakeven": "42010"})
    life.wait(4)
    assert life.status(alert_id) == "FAILED", life.alert(alert_id)
    assert "old stop stays" in life.alert(alert_id)["reason"]
    assert {stop.trigger for stop in life.stops()} == {41500}
    life.check()


def test_an_exit_sells_what_was_bought_and_nothing_else(spot: Callable[..., Any]) -> None:
    life = spot()
    other = life.coins.submit("ETH-USDT", Side.BUY, OrderType.LIMIT, D(1), price=D(1000))
    life.send("entry", **LONG, **LADDER)
    alert_id = life.send("exit")
    life.wait(3)
    assert life.status(alert_id) == "DONE", life.alert(alert_id)
    assert life.tradable == 0
    life.check()
    assert [o.id for o in life.coins.orders("ETH-USDT", open=True)] == [other.id]
    assert 0 <= life.position < D("0.00001")
    flat = life.send("exit")
    assert life.status(flat) == "DONE"
    assert life.coins.total("BTC") >= OWN


def test_an_entry_leaves_a_persons_own_orders_alone(spot: Callable[..., Any]) -> None:
    life = spot()
    theirs = life.coins.submit("BTC-USDT", Side.SELL, OrderType.LIMIT, OWN, price=D(90000))
    for _ in range(2):
        alert_id = life.send("entry", **LONG, **LADDER)
        life.wait(2)
        assert life.status(alert_id) == "DONE", life.alert(alert_id)
        life.check()
        assert theirs.is_open
    assert life.coins.locked("BTC") == OWN + life.tradable


def test_a_stop_that_fires_ends_the_trade(paired: Callable[..., Any]) -> None:
    life = paired()
    alert_id = life.send("entry", **LONG, **LADDER)
    life.price("41400")
    life.wait(4)
    assert life.position == 0
    life.check()
    told = life.alert(alert_id)
    statuses = {o["client_order_id"].removeprefix(alert_id): o["status"] for o in told["orders"]}
    assert [statuses[leg] for leg in ("-sl0", "-sl1", "-sl2")] == ["FILLED"] * 3
    assert "closed" in [event["event"] for event in told["timeline"]]


def test_all_targets_hit_end_the_trade(spot: Callable[..., Any]) -> None:
    life = spot()
    alert_id = life.send("entry", **LONG, **LADDER)
    for price, left in (("42500", "1.4985"), ("43000", "0.999"), ("43500", "0")):
        life.price(price)
        life.check()
        assert life.position == D(left)
    life.wait(4)
    assert life.position == 0
    assert life.resting == []
    targets = [o for o in life.alert(alert_id)["orders"] if o["role"] == "target"]
    assert {o["status"] for o in targets} == {"FILLED"}


def test_a_target_that_fills_in_part_keeps_the_rest_covered(paired: Callable[..., Any]) -> None:
    life = paired()
    life.send("entry", **LONG, **LADDER)
    # So much trades at each step of the price.
    life.engine.liquidity[life.market.symbol] = D("0.2")
    life.price("42500", "42450")
    life.check()
    assert life.position == NET - D("0.4")
    life.engine.liquidity[life.market.symbol] = None
    life.price("42500")
    life.check()
    assert life.position == NET * 3 / 4


def test_what_the_price_has_passed_already_is_sold_at_once(paired: Callable[..., Any]) -> None:
    life = paired()
    life.send("entry", **LONG, **LADDER)
    life.engine.liquidity[life.market.symbol] = D("0.2")
    life.price("42600")
    life.engine.liquidity[life.market.symbol] = None
    life.wait(2)
    life.check()
    assert life.position == NET * 3 / 4


def test_what_is_sold_by_hand_is_believed_and_told(spot: Callable[..., Any]) -> None:
    life = spot(own=D(0))
    life.send("entry", **LONG, **LADDER)
    life.coins.cancel_all("BTC-USDT")
    life.engine.hand(life.coins, "BTC-USDT", Side.SELL, D("1.998"))
    life.wait(12)
    life.check()
    again = life.send("entry", **LONG)
    life.wait(2)
    assert life.status(again) == "DONE", life.alert(again)
    life.check()


def test_what_is_sold_in_part_by_hand_leaves_the_rest_covered(spot: Callable[..., Any]) -> None:
    life = spot(own=D(0))
    life.send("entry", **LONG, **LADDER)
    life.coins.cancel_all("BTC-USDT")
    life.engine.hand(life.coins, "BTC-USDT", Side.SELL, D("1.5"))
    life.wait(12)
    assert life.position == D("0.498")
    life.check()


def test_orders_taken_back_by_hand_come_back(paired: Callable[..., Any]) -> None:
    life = paired()
    life.send("entry", **LONG, **LADDER)
    life.coins.cancel(life.stops()[0].id)
    life.wait(4)
    life.check()
    assert len(life.stops()) == 3


def test_a_short_entry_is_refused_before_anything_is_sent(spot: Callable[..., Any]) -> None:
    life = spot()
    alert_id = life.send("entry", **SHORT)
    assert life.status(alert_id) == "DENIED"
    assert "use a perpetual, as BTCUSDT.P" in life.alert(alert_id)["reason"]
    assert life.server.log == []


def test_what_could_not_be_stopped_is_not_bought(spot: Callable[..., Any]) -> None:
    life = spot()
    alert_id = life.send("entry", **LONG, size="0.00012")
    assert life.status(alert_id) == "DENIED"
    assert "a stop at 41500 needs" in life.alert(alert_id)["reason"]
    assert life.position == 0


def test_a_fee_in_the_venues_own_coin_leaves_the_whole_position(spot: Callable[..., Any]) -> None:
    life = spot(fee_coin="BNB")
    life.send("entry", **LONG, **LADDER)
    life.wait(2)
    assert life.position == 2
    life.check()


def test_more_rungs_than_stops_may_rest_are_joined(paired: Callable[..., Any]) -> None:
    life = paired()
    rungs = {f"tp{number} Mult": str(number / 4) for number in range(1, 10)}
    life.send("entry", **LONG, **rungs, **{"tp Close": "10"})
    life.wait(2)
    life.check()
    assert len(life.stops()) <= 5


def test_an_entry_without_a_target_lies_under_one_stop(spot: Callable[..., Any]) -> None:
    life = spot()
    levels = {name: value for name, value in LONG.items() if name != "long TP"}
    life.send("entry", **levels)
    life.wait(2)
    assert [stop.quantity for stop in life.stops()] == [NET]
    assert life.targets() == []
    alert_id = life.send("breakeven", **{"long Breakeven": "41900"})
    assert life.status(alert_id) == "DONE", life.alert(alert_id)
    assert [stop.trigger for stop in life.stops()] == [41900]
    life.check()


def test_a_position_lies_under_one_stop_where_nothing_rests_beside_it(alone: Callable[..., Any]) -> None:
    life = alone()
    alert_id = life.send("entry", **LONG, **LADDER)
    life.wait(2)
    assert life.status(alert_id) == "DONE", life.alert(alert_id)
    assert [(stop.quantity, stop.trigger) for stop in life.stops()] == [(NET, 41500)]
    assert life.resting == life.stops()
    told = [event["detail"] for event in life.alert(alert_id)["timeline"] if event["event"] == "note"]
    assert any("no target can rest beside a stop" in text for text in told), told
    life.price("41400")
    life.wait(4)
    assert life.position == 0
    life.check()


def test_a_target_that_nobody_saw_leaves_the_stop_over_everything(alone: Callable[..., Any]) -> None:
    life = alone()
    life.send("entry", **LONG, **LADDER)
    life.engine.move(life.market.symbol, D(42600), D(42300))
    life.wait(4)
    assert life.position == NET
    life.check()
    life.engine.liquidity[life.market.symbol] = D("0.2")
    life.price("42600")
    life.engine.liquidity[life.market.symbol] = None
    life.price("42400")
    life.check()
    # What was not sold at once is under the stop again.
    assert NET / 2 < life.position < NET
    assert len(life.stops()) == 1


def test_a_stop_that_comes_too_late_is_not_taken_for_its_opposite(alone: Callable[..., Any]) -> None:
    life = alone()

    def falls(what: str) -> None:
        """The price falls through the stop between the entry and its stop."""
        if what.startswith("request") and life.position:
            life.transport.around = None
            life.engine.move(life.market.symbol, D(41400))

    life.transport.around = falls
    life.send("entry", **LONG)
    life.wait(4)
    assert life.tradable == 0
    life.check()
    assert life.coins.total("BTC") >= OWN
    created = [seen for seen in life.server.log if seen.key[0] == "POST /v5/order/create"]
    assert len(created) == 3, "entry, the stop that came too late, the close"


def test_a_breakeven_moves_the_one_stop_in_two_requests(alone: Callable[..., Any]) -> None:
    life = alone()
    life.send("entry", **LONG, **LADDER)
    life.price("42400")
    life.server.reset_log()
    alert_id = life.send("breakeven", **{"long Breakeven": "42010"})
    assert life.status(alert_id) == "DONE", life.alert(alert_id)
    acts = [seen.key[0] for seen in life.server.log if not seen.key[0].startswith("GET")]
    assert acts == ["POST /v5/order/cancel", "POST /v5/order/create"]
    assert [(stop.quantity, stop.trigger) for stop in life.stops()] == [(NET, 42010)]
