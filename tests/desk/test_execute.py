"""Entry, exit, breakeven on the paper venue, with every way of protecting a position."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from desk import control
from store import orders, outbox
from store.paper import set_liquidity
from trading.model import Lane, Protection

LONG = {"action": "buy", "price": "42000", "long SL": "41500", "long TP": "43500"}
SHORT = {"action": "sell", "price": "42000", "short SL": "42500", "short TP": "40500"}
LANE = Lane("PAPER:BINANCE", "MAIN", "BTC-USDT-PERP")
LADDER = {"tp Close": "25", "tp1 Mult": "1", "tp2 Mult": "2"}


def brief(orders: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [(o["role"], o["side"], o["quantity"], o["price"] or o["trigger_price"] or "") for o in orders]


def test_a_long_entry_becomes_entry_stop_and_ladder(any_rig: Any) -> None:
    alert_id = any_rig.send("entry", **LONG, **LADDER)
    alert = any_rig.alert(alert_id)
    assert alert["status"] == "DONE"
    assert alert["sizing"] == {
        "free_collateral": "100000",
        "risk": "1",
        "quantity": "2",
        "worst_loss": "1000",
        "notional": "84000",
    }
    assert brief(alert["orders"]) == [
        ("entry", "BUY", "2", ""),
        ("stop", "SELL", "2", "41500"),
        ("target", "SELL", "0.5", "42500"),
        ("target", "SELL", "0.5", "43000"),
        ("target", "SELL", "1", "43500"),
    ]
    assert [o["status"] for o in alert["orders"]] == ["FILLED", *["ACCEPTED"] * 4]
    assert any_rig.position().quantity == 2
    any_rig.check()


def test_a_short_entry_is_its_mirror(any_rig: Any) -> None:
    alert_id = any_rig.send("entry", **SHORT, **LADDER)
    assert brief(any_rig.orders(alert_id)) == [
        ("entry", "SELL", "2", ""),
        ("stop", "BUY", "2", "42500"),
        ("target", "BUY", "0.5", "41500"),
        ("target", "BUY", "0.5", "41000"),
        ("target", "BUY", "1", "40500"),
    ]
    assert any_rig.status(alert_id) == "DONE"
    assert any_rig.position().quantity == -2
    any_rig.check()


def test_leverage_caps_the_quantity_and_says_so(make_rig: Any) -> None:
    rig = make_rig(LEVERAGE_MAIN="0.5")
    alert_id = rig.send("entry", **LONG)
    # 0.97 × 100000 × 0.5 / 42000 = 1.1547…, down to the lot of 0.001.
    assert rig.alert(alert_id)["sizing"]["quantity"] == "1.154"
    assert any("LEVERAGE" in e["detail"] for e in rig.alert(alert_id)["timeline"] if e["event"] == "note")


def test_a_high_leverage_leaves_room_for_the_fee(make_rig: Any) -> None:
    rig = make_rig(LEVERAGE_MAIN="100", RISK_MAIN="100")
    alert_id = rig.send("entry", **LONG)
    assert rig.status(alert_id) == "DONE"
    # 0.97 × 100000 × (0.03 / (0.97 × 0.0005)) / 42000 = 142.857…
    assert rig.alert(alert_id)["sizing"]["quantity"] == "142.857"


def test_size_replaces_the_risk(rig: Any) -> None:
    alert_id = rig.send("entry", **LONG, size="0.25")
    assert rig.alert(alert_id)["sizing"]["quantity"] == "0.25"
    assert rig.position().quantity == Decimal("0.25")


def test_too_small_is_denied_with_a_mend(rig: Any) -> None:
    alert_id = rig.send("entry", **LONG, size="0.0001")
    alert = rig.alert(alert_id)
    assert alert["status"] == "DENIED"
    assert "minimum" in alert["reason"]
    assert alert["orders"] == []


def test_a_limit_entry_rests_and_is_protected_as_it_fills(any_rig: Any) -> None:
    any_rig.price("42500")
    alert_id = any_rig.send("entry", **LONG, **LADDER, type="limit")
    assert any_rig.status(alert_id) == "DONE"
    assert any_rig.orders(alert_id, "entry")[0]["status"] == "ACCEPTED"
    assert any_rig.position().is_flat
    any_rig.price("42000")
    assert any_rig.position().quantity == 2
    assert [o["status"] for o in any_rig.orders(alert_id)] == ["FILLED", *["ACCEPTED"] * 4]
    any_rig.check()


def test_targets_follow_a_partial_fill(any_rig: Any, store: Any, clock: Any) -> None:
    any_rig.price("42500")
    alert_id = any_rig.send("entry", **LONG, **LADDER, type="limit")
    limit_liquidity(store, clock, "0.8")
    any_rig.price("42000")
    assert any_rig.position().quantity == Decimal("0.8")
    any_rig.check()
    targets = [o["quantity"] for o in any_rig.orders(alert_id, "target", "ACCEPTED")]
    assert targets == ["0.2", "0.2", "0.4"]
    limit_liquidity(store, clock, None)
    any_rig.price("41999")
    assert any_rig.position().quantity == 2
    targets = [o["quantity"] for o in any_rig.orders(alert_id, "target", "ACCEPTED")]
    assert targets == ["0.5", "0.5", "1"]
    any_rig.check()


def test_a_market_entry_that_fills_in_part_gets_the_ladder_of_that_part(
    any_rig: Any, store: Any, clock: Any
) -> None:
    any_rig.price("42000")
    limit_liquidity(store, clock, "0.4")
    alert_id = any_rig.send("entry", **LONG, **LADDER)
    limit_liquidity(store, clock, None)
    assert any_rig.status(alert_id) == "DONE"
    assert any_rig.orders(alert_id, "entry")[0]["filled_quantity"] == "0.4"
    assert [o["quantity"] for o in any_rig.orders(alert_id, "target", "ACCEPTED")] == ["0.1", "0.1", "0.2"]
    any_rig.check()


def limit_liquidity(store: Any, clock: Any, quantity: str | None) -> None:
    with store.write() as tx:
        set_liquidity(
            tx,
            symbol="BTC-USDT-PERP",
            quantity=None if quantity is None else Decimal(quantity),
            now=clock(),
        )


def test_an_entry_closes_what_is_open_first(any_rig: Any) -> None:
    first = any_rig.send("entry", **LONG, **LADDER)
    second = any_rig.send("entry", **SHORT, **LADDER)
    assert any_rig.status(second) == "DONE"
    assert any_rig.position().quantity < 0
    assert any_rig.orders(second, "close")[0]["filled_quantity"] == "2"
    assert {o["status"] for o in any_rig.orders(first)} == {"FILLED", "CANCELED"}
    assert "closed" in any_rig.events(first)
    any_rig.check()


def test_exit_leaves_no_order_and_no_position(any_rig: Any) -> None:
    any_rig.send("entry", **LONG, **LADDER)
    alert_id = any_rig.send("exit", price="42100")
    assert any_rig.status(alert_id) == "DONE"
    assert any_rig.position().is_flat
    assert any_rig.resting() == []


def test_exit_when_flat_sends_nothing_and_three_at_once_are_fine(rig: Any) -> None:
    rig.send("entry", **LONG)
    ids = [rig.store_only("exit", price="42000") for _ in range(3)]
    rig.settle()
    assert [rig.status(i) for i in ids] == ["DONE"] * 3
    assert [len(rig.orders(i)) for i in ids] == [1, 0, 0]
    assert "flat" in rig.alert(ids[2])["reason"]


def test_exit_takes_back_a_resting_entry(any_rig: Any) -> None:
    any_rig.price("42500")
    entry = any_rig.send("entry", **LONG, type="limit")
    assert any_rig.status(any_rig.send("exit")) == "DONE"
    assert any_rig.resting() == []
    assert any_rig.orders(entry, "entry")[0]["status"] == "CANCELED"


def test_exit_touches_no_other_instrument_and_no_other_account(rig: Any) -> None:
    eth = {"ticker": "ETHUSDT.P", "action": "buy", "price": "3000", "long SL": "2900", "long TP": "3300"}
    rig.send("entry", **LONG)
    rig.send("entry", **eth)
    rig.send("entry", **LONG, subaccount="OTHER")
    before = rig.resting(symbol="ETH-USDT-PERP"), rig.resting(account="OTHER")
    rig.send("exit")
    assert (rig.resting(symbol="ETH-USDT-PERP"), rig.resting(account="OTHER")) == before
    assert not rig.position(symbol="ETH-USDT-PERP").is_flat
    assert not rig.position(account="OTHER").is_flat


def test_breakeven_moves_the_stop_to_its_level(any_rig: Any) -> None:
    any_rig.send("entry", **LONG, **LADDER)
    alert_id = any_rig.send("tp1_breakeven", **{"price": "42600", "long Breakeven": "42010"})
    assert any_rig.status(alert_id) == "DONE"
    (stop,) = [r for r in any_rig.resting() if r.type == "STOP"]
    # tp1 took 0.5 on the way to 42600.
    assert (stop.trigger_price, stop.quantity) == (42010, Decimal("1.5"))
    assert brief(any_rig.orders(alert_id)) == [("stop", "SELL", "1.5", "42010")]
    any_rig.check()


@pytest.mark.parametrize(("entry", "level"), [(LONG, "42042.1"), (SHORT, "41958")])
def test_breakeven_without_level_covers_the_fees(rig: Any, entry: dict[str, str], level: str) -> None:
    rig.send("entry", **entry)
    rig.price("42200" if entry is LONG else "41800")
    assert rig.status(rig.send("breakeven")) == "DONE"
    (stop,) = [r for r in rig.resting() if r.type == "STOP"]
    # 42000 × 1.0005 / 0.9995 = 42042.02…, up to the tick of 0.1; a short's 41958.02… down to 41958.
    assert stop.trigger_price == Decimal(level)


def test_a_moved_stop_that_fires_takes_the_rest_of_the_entry_back(rig: Any, store: Any, clock: Any) -> None:
    rig.price("42500")
    entry = rig.send("entry", **LONG, type="limit")
    limit_liquidity(store, clock, "0.8")
    rig.price("41990")
    limit_liquidity(store, clock, None)
    rig.clock.advance(1)
    rig.send("breakeven", **{"long Breakeven": "41900"})
    rig.price("41850")
    assert rig.position().is_flat
    assert rig.resting() == []
    assert rig.orders(entry, "entry")[0]["status"] in ("CANCELED", "FILLED")


def test_an_entry_that_grew_old_before_it_left_leaves_nothing_behind(rig: Any) -> None:
    alert_id = rig.store_only("entry", **LONG)
    rig.flaky().order_fault("lost before", at=0, verb="place")
    rig.settle()
    rig.clock.advance(90)
    rig.settle()
    assert rig.status(alert_id) == "EXPIRED"
    with rig.store.read() as tx:
        assert orders.lane_state(tx, LANE).trade is None
    rig.check()


def test_breakeven_when_flat_does_nothing(rig: Any) -> None:
    alert_id = rig.send("breakeven", price="42000")
    assert rig.status(alert_id) == "DONE"
    assert rig.orders(alert_id) == []


def test_breakeven_behind_the_price_leaves_the_old_stop_and_tells(any_rig: Any) -> None:
    any_rig.send("entry", **LONG)
    alert_id = any_rig.send("breakeven", **{"price": "41900", "long Breakeven": "42000"})
    alert = any_rig.alert(alert_id)
    assert alert["status"] == "DENIED"
    assert "41500" in alert["reason"]
    (stop,) = [r for r in any_rig.resting() if r.type == "STOP"]
    assert stop.trigger_price == 41500
    any_rig.check()


def test_breakeven_that_the_venue_refuses_leaves_the_old_stop(any_rig: Any) -> None:
    any_rig.send("entry", **LONG)
    any_rig.price("42600")
    any_rig.flaky().order_fault("refused", at=0, verb="place")
    alert = any_rig.alert(any_rig.send("breakeven", **{"long Breakeven": "42010"}))
    assert alert["status"] == "FAILED"
    assert "refused for the test" in alert["reason"]
    (stop,) = [r for r in any_rig.resting() if r.type == "STOP"]
    assert stop.trigger_price == 41500
    any_rig.check()


def test_breakeven_never_moves_the_stop_away(rig: Any) -> None:
    rig.send("entry", **LONG)
    rig.price("42900")
    rig.send("breakeven", **{"long Breakeven": "42500"})
    alert = rig.alert(rig.send("breakeven", **{"long Breakeven": "42010"}))
    assert alert["status"] == "DONE"
    assert "further away" in alert["reason"]
    (stop,) = [r for r in rig.resting() if r.type == "STOP"]
    assert stop.trigger_price == 42500


def test_the_stop_ends_the_trade_and_everything_is_swept(any_rig: Any) -> None:
    alert_id = any_rig.send("entry", **LONG, **LADDER)
    any_rig.price("41400")
    assert any_rig.position().is_flat
    assert any_rig.resting() == []
    assert any_rig.orders(alert_id, "stop")[0]["status"] == "FILLED"
    assert {o["status"] for o in any_rig.orders(alert_id, "target")} == {"CANCELED"}
    assert "closed" in any_rig.events(alert_id)


def test_the_targets_end_the_trade_and_the_stop_is_swept(any_rig: Any) -> None:
    alert_id = any_rig.send("entry", **LONG, **LADDER)
    any_rig.price("42500")
    assert any_rig.position().quantity == Decimal("1.5")
    any_rig.check()
    any_rig.price("43500")
    assert any_rig.position().is_flat
    assert any_rig.resting() == []
    assert {o["status"] for o in any_rig.orders(alert_id, "target")} == {"FILLED"}


def test_a_stop_taken_back_by_hand_is_placed_again(any_rig: Any) -> None:
    alert_id = any_rig.send("entry", **LONG)
    any_rig.take_back(f"{alert_id}-sl")
    any_rig.wait(3)
    any_rig.check()
    assert [o["client_order_id"] for o in any_rig.orders(alert_id, "stop", "ACCEPTED")] == [
        f"{alert_id}-sl-2"
    ]


def test_a_stop_that_cannot_be_had_closes_the_position(make_rig: Any) -> None:
    rig = make_rig(Protection.AFTER)
    # The entry is the first order that is placed; every one behind it is refused, but for the close.
    rig.flaky().order_fault("refused", at=1, verb="place", times=3)
    alert_id = rig.send("entry", **LONG)
    assert rig.status(alert_id) == "FAILED"
    assert rig.position().is_flat
    assert rig.resting() == []
    assert "alarm" in rig.events(alert_id)


def test_a_price_through_the_stop_denies_the_entry(rig: Any) -> None:
    first = rig.store_only("entry", **LONG)
    rig.clock.advance(0.001)
    rig.venues.price("BTC-USDT-PERP", Decimal(41000), rig.clock())
    rig.settle()
    alert = rig.alert(first)
    assert alert["status"] == "DENIED"
    assert "41500" in alert["reason"]
    assert rig.position().is_flat


def test_an_entry_without_any_price_says_what_to_do(rig: Any) -> None:
    fields = {k: v for k, v in LONG.items() if k != "price"}
    alert = rig.alert(rig.send("entry", **fields))
    assert alert["status"] == "FAILED"
    assert "desk.paper price" in alert["reason"]


def test_an_instrument_made_from_the_price_says_so(rig: Any) -> None:
    fields = {"ticker": "WIFUSDT.P", "action": "buy", "price": "2", "long SL": "1.9"}
    alert_id = rig.send("entry", **fields)
    assert rig.status(alert_id) == "DONE"
    assert any("made from the price" in e["detail"] for e in rig.alert(alert_id)["timeline"])


def test_told_alerts_are_ignored(rig: Any) -> None:
    answer = rig.post("tp1", price="42500")
    assert (answer.code, answer.body["status"]) == (200, "ignored")
    assert rig.status(str(answer.body["alert_id"])) == "IGNORED"


def test_halt_refuses_entries_takes_resting_ones_back_and_lets_exits_through(rig: Any) -> None:
    rig.price("42500")
    resting = rig.send("entry", **LONG, type="limit")
    control.halt(rig.store, reason="test", by="web", now=rig.clock())
    rig.wait(3)
    assert rig.orders(resting, "entry")[0]["status"] == "CANCELED"
    assert rig.resting() == []
    assert rig.status(rig.send("entry", **LONG)) == "DENIED"
    assert rig.status(rig.send("exit")) == "DONE"
    control.resume(rig.store, by="web", now=rig.clock())
    assert rig.status(rig.send("entry", **LONG)) == "DONE"


def test_an_entry_that_waited_too_long_expires_an_exit_does_not(rig: Any) -> None:
    late = rig.store_only("entry", **LONG)
    rig.clock.advance(61)
    rig.settle()
    assert rig.status(late) == "EXPIRED"
    rig.send("entry", **LONG)
    exit_id = rig.store_only("exit")
    rig.clock.advance(3600)
    rig.settle()
    assert rig.status(exit_id) == "DONE"
    assert rig.position().is_flat


def test_an_exit_older_than_the_entry_is_not_applied(rig: Any) -> None:
    now = rig.clock()
    rig.send("entry", **LONG, time=now.isoformat())
    old = rig.send("exit", time=(now - timedelta(seconds=30)).isoformat())
    assert rig.status(old) == "EXPIRED"
    assert not rig.position().is_flat
    assert rig.status(rig.send("exit", time=now.isoformat())) == "DONE"


def test_risk_and_leverage_are_required(make_rig: Any) -> None:
    rig = make_rig(RISK_MAIN="")
    alert = rig.alert(rig.send("entry", **LONG))
    assert alert["status"] == "DENIED"
    assert "RISK_MAIN" in alert["reason"]


def test_limits_refuse_before_anything_is_sent(make_rig: Any) -> None:
    rig = make_rig(LIMITS_MAIN='{"symbols": ["ETHUSDT.P"], "max_open_positions": 1}')
    assert "symbols" in rig.alert(rig.send("entry", **LONG))["reason"]
    eth = {"ticker": "ETHUSDT.P", "action": "buy", "price": "3000", "long SL": "2900"}
    assert rig.status(rig.send("entry", **eth)) == "DONE"


def test_limits_of_money_and_pace(make_rig: Any) -> None:
    rig = make_rig(
        LIMITS_MAIN='{"max_daily_loss": 100, "max_orders_per_minute": 4, "max_notional": 10000,'
        ' "max_open_positions": 1}'
    )
    first = rig.send("entry", **LONG)
    assert rig.alert(first)["sizing"]["notional"] == "9996"
    eth = {"ticker": "ETHUSDT.P", "action": "buy", "price": "3000", "long SL": "2900"}
    assert "max_open_positions" in rig.alert(rig.send("entry", **eth))["reason"]
    rig.send("exit", price="42000")
    assert "max_orders_per_minute" in rig.alert(rig.send("entry", **LONG))["reason"]
    rig.clock.advance(61)
    rig.send("entry", **LONG)
    rig.clock.advance(61)
    rig.price("37000")
    assert "max_daily_loss" in rig.alert(rig.send("entry", **SHORT))["reason"]


def test_every_change_is_told_and_the_story_is_whole(rig: Any) -> None:
    alert_id = rig.send("entry", **LONG)
    events = rig.events(alert_id)
    assert events[:4] == ["received", "approved", "executing", "sized"]
    assert events[-1] == "done"
    with rig.store.read() as tx:
        told = [notice.kind for notice in outbox.unposted(tx, 50)]
    assert {"approved", "executing", "done"} <= set(told)
