"""Votes and everything that can end the wait for one: time, drift, HALT, a newer alert."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from desk import control
from trading.model import Route

LONG = {"action": "buy", "price": "42000", "long SL": "41500", "long TP": "43500"}


def ask(rig: Any, message: str = "entry", **fields: str) -> str:
    alert_id = rig.send(message, route=Route.STUDY, **{**LONG, **fields})
    assert rig.status(alert_id) == "AWAITING_APPROVAL"
    return str(alert_id)


def test_the_study_route_asks_and_an_approval_trades(rig: Any) -> None:
    alert_id = ask(rig)
    assert rig.position().is_flat
    rig.vote(alert_id, approve=True)
    assert rig.status(alert_id) == "DONE"
    assert rig.position().quantity == 2
    assert "approved by web" in str(rig.alert(alert_id)["timeline"])


def test_the_study_route_asks_before_an_exit_too(rig: Any) -> None:
    rig.send("entry", **LONG)
    alert_id = ask(rig, "exit")
    assert not rig.position().is_flat
    rig.vote(alert_id, approve=True)
    assert rig.status(alert_id) == "DONE"
    assert rig.position().is_flat


def test_approval_by_account_asks_for_entries_alone(make_rig: Any) -> None:
    rig = make_rig(APPROVAL_MAIN="discord")
    entry = rig.send("entry", **LONG)
    assert rig.status(entry) == "AWAITING_APPROVAL"
    rig.vote(entry, approve=True)
    assert rig.status(rig.send("exit")) == "DONE"


def test_a_decline_ends_it_and_the_first_vote_decides(rig: Any) -> None:
    alert_id = ask(rig)
    rig.vote(alert_id, approve=False)
    rig.vote(alert_id, approve=True)
    assert rig.status(alert_id) == "DECLINED"
    assert rig.position().is_flat


def test_nobody_votes_and_it_expires(rig: Any) -> None:
    alert_id = ask(rig)
    rig.clock.advance(299)
    rig.settle()
    assert rig.status(alert_id) == "AWAITING_APPROVAL"
    rig.clock.advance(1)
    rig.settle()
    assert rig.status(alert_id) == "EXPIRED"


def test_a_vote_that_is_read_late_counts_by_its_own_time(rig: Any) -> None:
    """Given in time but read when the time is over: the entry is old by then and does not go out."""
    alert_id = ask(rig)
    rig.clock.advance(290)
    control.vote(rig.store, intent_id=alert_id, approve=True, voter="web", now=rig.clock())
    rig.clock.advance(20)
    rig.settle()
    assert rig.status(alert_id) == "EXPIRED"
    assert rig.position().is_flat


@pytest.mark.parametrize(("price", "status"), [("42240", "DONE"), ("42260", "DENIED"), ("41740", "DENIED")])
def test_a_price_that_moved_too_far_denies(rig: Any, price: str, status: str) -> None:
    alert_id = ask(rig)
    rig.price(price)
    rig.vote(alert_id, approve=True)
    assert rig.status(alert_id) == status


@pytest.mark.parametrize(("price", "status"), [("42240", "DONE"), ("42260", "DENIED")])
def test_a_limit_drifts_from_the_market_of_the_question(rig: Any, price: str, status: str) -> None:
    rig.send("tp1")
    rig.price("42000")
    alert_id = ask(rig, type="limit", price="41000", **{"long SL": "40500"})
    rig.price(price)
    rig.vote(alert_id, approve=True)
    assert rig.status(alert_id) == status


def test_an_entry_without_a_price_drifts_from_the_market_of_the_question(rig: Any) -> None:
    rig.price("42000")
    alert_id = ask(rig, price="")
    rig.price("42260")
    rig.vote(alert_id, approve=True)
    assert "the price moved from 42000 to 42260" in rig.alert(alert_id)["reason"]


def test_without_a_price_then_nobody_can_say_how_far_it_moved(rig: Any) -> None:
    rig.price("42000")
    rig.flaky().order_fault("unreachable", at=0, verb="price")
    alert_id = ask(rig, price="")
    rig.vote(alert_id, approve=True)
    assert rig.status(alert_id) == "DENIED"
    assert "nobody could tell the price" in rig.alert(alert_id)["reason"]


def test_halt_at_the_vote_denies(rig: Any) -> None:
    alert_id = ask(rig)
    control.halt(rig.store, reason="test", by="web", now=rig.clock())
    rig.vote(alert_id, approve=True)
    assert rig.status(alert_id) == "DENIED"
    assert rig.position().is_flat


def test_no_price_at_the_vote_denies(rig: Any) -> None:
    alert_id = ask(rig)
    rig.flaky().order_fault("unreachable", at=0, verb="price")
    rig.vote(alert_id, approve=True)
    assert rig.status(alert_id) == "DENIED"
    assert "price" in rig.alert(alert_id)["reason"]


def test_a_newer_exit_or_entry_ends_the_wait(rig: Any) -> None:
    first = ask(rig)
    rig.send("exit")
    assert rig.status(first) == "EXPIRED"
    assert "superseded" in rig.alert(first)["reason"]
    second = ask(rig)
    assert rig.status(rig.send("entry", **LONG)) == "DONE"
    assert rig.status(second) == "EXPIRED"


def test_a_breakeven_does_not_end_the_wait_and_a_waiting_one_blocks_nobody(rig: Any) -> None:
    first = ask(rig)
    assert rig.status(rig.send("breakeven")) == "DONE"
    assert rig.status(first) == "AWAITING_APPROVAL"


def test_the_size_is_computed_at_the_vote(rig: Any) -> None:
    alert_id = ask(rig)
    assert rig.alert(alert_id)["sizing"]["quantity"] is None
    eth = {"ticker": "ETHUSDT.P", "action": "buy", "price": "3000", "long SL": "2900"}
    rig.send("entry", **eth)
    rig.vote(alert_id, approve=True)
    assert rig.alert(alert_id)["sizing"]["free_collateral"] != "100000"


def test_limits_are_checked_again_at_the_vote(make_rig: Any) -> None:
    rig = make_rig(LIMITS_MAIN='{"max_open_positions": 1}')
    alert_id = ask(rig)
    eth = {"ticker": "ETHUSDT.P", "action": "buy", "price": "3000", "long SL": "2900"}
    rig.send("entry", **eth)
    rig.vote(alert_id, approve=True)
    assert rig.status(alert_id) == "DENIED"
    assert "max_open_positions" in rig.alert(alert_id)["reason"]


def test_a_venue_that_closed_is_refused_with_that_reason(make_rig: Any) -> None:
    rig = make_rig(LIVE_TRADING="1", API_KEY_MAIN="key-of-the-test", API_SECRET_MAIN="secret-of-the-test")
    alert = rig.alert(rig.send("entry", exchange="FTX", **LONG))
    assert alert["status"] == "DENIED"
    assert "November 2022" in alert["reason"]
    assert "FTX_API_URL" in alert["reason"]


def test_live_trading_wants_keys(make_rig: Any) -> None:
    alert = (rig := make_rig(LIVE_TRADING="1")).alert(rig.send("entry", **LONG))
    assert alert["status"] == "DENIED"
    assert "API_KEY_MAIN" in alert["reason"]


def test_the_log_says_what_became_of_an_alert(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="desk.decide"):
        rig.send("entry", **LONG)
        rig.send("entry", **LONG, subaccount="NOBODY")
        asked = rig.send("entry", route=Route.STUDY, **LONG)
        rig.vote(asked, approve=False)
    told = [record.message for record in caplog.records if record.name == "desk.decide"]
    assert told == [
        "DONE",
        "DENIED: account NOBODY may not enter: set RISK_NOBODY and LEVERAGE_NOBODY",
        "AWAITING_APPROVAL: this route always asks first",
        "DECLINED: declined by web",
    ]


# --- what was closed elsewhere and is not read yet ------------------------------------------------------

ETH = {"ticker": "ETHUSDT.P", "action": "buy", "price": "3000", "long SL": "2900"}
UNREAD = "what closed BTC-USDT-PERP is not read yet"


def stopped_unread(make_rig: Any, *, verb: str, times: int) -> Any:
    """A loss of 1000 at the venue that our books do not have: what would tell it fails so often."""
    rig = make_rig(LIMITS_MAIN='{"max_daily_loss": 500}')
    rig.send("entry", **LONG)
    rig.flaky().order_fault("unreachable", at=0, verb=verb, times=times)
    rig.price("41400")
    assert rig.position().is_flat
    return rig


@pytest.mark.parametrize("asked", [False, True])
def test_an_entry_waits_until_the_loss_of_another_instrument_is_read(make_rig: Any, asked: bool) -> None:
    rig = stopped_unread(make_rig, verb="fills", times=3)
    alert_id = rig.send("entry", route=Route.STUDY if asked else Route.ORDER, **ETH)
    if asked:
        rig.wait(1)
        rig.vote(alert_id, approve=True)
    rig.wait(3)
    assert rig.status(alert_id) == "DENIED"
    assert "max_daily_loss: today's P&L is -1" in rig.alert(alert_id)["reason"]
    waits = [each["detail"] for each in rig.alert(alert_id)["timeline"] if each["event"] == "waits"]
    assert waits == [UNREAD]


def test_an_entry_does_not_wait_for_ever_for_what_is_not_read(make_rig: Any) -> None:
    rig = stopped_unread(make_rig, verb="look", times=1000)
    alert_id = rig.send("entry", **ETH)
    rig.wait(8)
    assert rig.status(alert_id) == "RECEIVED"
    rig.wait(2)
    assert rig.alert(alert_id)["reason"] == (
        f"max_daily_loss: today's P&L cannot be known now: {UNREAD} (LIMITS_MAIN)"
    )


def test_an_exit_does_not_wait_behind_an_entry_that_does(make_rig: Any) -> None:
    rig = make_rig(LIMITS_MAIN='{"max_daily_loss": 5000}')
    rig.send("entry", **LONG)
    rig.send("entry", **ETH)
    rig.flaky().order_fault("unreachable", at=0, verb="fills", times=1000)
    rig.price("41400")
    again = rig.send("entry", **{**ETH, "price": "3001"})
    assert rig.status(again) == "RECEIVED"
    rig.send("exit", ticker="ETHUSDT.P")
    assert rig.status(again) == "DENIED"
    assert UNREAD in rig.alert(again)["reason"]
    assert rig.position("ETH-USDT-PERP").is_flat
