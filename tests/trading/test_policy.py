"""The policy: what stops an entry, what must never stop an exit, and who is asked."""

from __future__ import annotations

import doctest
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading import policy
from trading.model import (
    AccountRules,
    Alert,
    AlertKind,
    ApprovalMode,
    IntentStatus,
    Limits,
    Route,
    Side,
)
from trading.policy import Decision, History, decide, drift, effective_at, recheck

D = Decimal
NOW = datetime(2024, 1, 1, 12, tzinfo=UTC)
ENTRY = Alert(
    kind=AlertKind.ENTRY,
    message="entry",
    ticker="BTCUSDTPERP",
    symbol="BTC-USDT-PERP",
    exchange="BINANCE",
    subaccount="my bot",
    account="MY_BOT",
    fingerprint="0",
    side=Side.BUY,
)
EXIT = replace(ENTRY, kind=AlertKind.EXIT, message="exit", side=None)
BREAKEVEN = replace(ENTRY, kind=AlertKind.BREAKEVEN, message="long breakeven", side=None)
TOLD = replace(ENTRY, kind=AlertKind.TOLD, message="tp1", side=None)
RULES = AccountRules(account="MY_BOT", risk=D(1), leverage=D(5))
NOTHING = History(
    last_entry_at=None,
    last_entry_traded_at=None,
    open_positions=0,
    orders_last_minute=0,
    day_pnl=D(0),
)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def decided(alert: Alert = ENTRY, **changes: Any) -> Decision:
    asked: dict[str, Any] = {
        "alert": alert,
        "route": Route.ORDER,
        "rules": RULES,
        "history": NOTHING,
        "now": NOW,
        "received_at": NOW,
        "max_age": timedelta(seconds=60),
        "halted": False,
        "live": True,
        "venue_known": True,
        "has_keys": True,
    }
    return decide(**{**asked, **changes})


def rechecked(alert: Alert = ENTRY, **changes: Any) -> Decision:
    asked: dict[str, Any] = {
        "alert": alert,
        "rules": RULES,
        "history": NOTHING,
        "now": NOW,
        "received_at": NOW,
        "max_age": timedelta(seconds=60),
        "expires_at": None,
        "halted": False,
        "live": True,
        "venue_known": True,
        "has_keys": True,
    }
    return recheck(**{**asked, **changes})


def limited(**limits: Any) -> AccountRules:
    return replace(RULES, limits=Limits(**limits))


def test_the_docstrings_tell_the_truth() -> None:
    assert doctest.testmod(policy).failed == 0


@pytest.mark.parametrize("alert", [ENTRY, EXIT, BREAKEVEN])
def test_nothing_in_the_way_is_approved(alert: Alert) -> None:
    assert decided(alert) == Decision(status=IntentStatus.APPROVED, reason="")
    assert rechecked(alert) == Decision(status=IntentStatus.APPROVED, reason="")


@pytest.mark.parametrize("route", list(Route))
def test_what_is_told_is_ignored_by_every_door(route: Route) -> None:
    decision = decided(TOLD, route=route, rules=None, halted=True)
    assert decision.status is IntentStatus.IGNORED
    assert "tp1 is told, not traded" in decision.reason


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        (None, "RISK_MY_BOT and LEVERAGE_MY_BOT"),
        (replace(RULES, risk=None), "set RISK_MY_BOT"),
        (replace(RULES, leverage=None), "set LEVERAGE_MY_BOT"),
    ],
)
def test_an_unset_risk_or_leverage_refuses_entries_by_name(rules: AccountRules | None, named: str) -> None:
    for answer in (decided(rules=rules), decided(replace(ENTRY, size=D(1)), rules=rules)):
        assert answer.status is IntentStatus.DENIED
        assert answer.reason.endswith(named)
    assert decided(EXIT, rules=rules).status is IntentStatus.APPROVED


@pytest.mark.parametrize("alert", [ENTRY, EXIT, BREAKEVEN])
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rules": replace(RULES, exchange="bybit")}, "EXCHANGE_MY_BOT allows only bybit"),
        ({"venue_known": False}, "exchange BINANCE is not one"),
        ({"has_keys": False}, "API_KEY_MY_BOT and API_SECRET_MY_BOT"),
    ],
)
def test_the_wrong_place_refuses_every_kind(alert: Alert, changes: dict[str, Any], named: str) -> None:
    for answer in (decided(alert, **changes), rechecked(alert, **changes)):
        assert answer.status is IntentStatus.DENIED
        assert named in answer.reason


def test_paper_needs_no_venue_and_no_keys() -> None:
    assert decided(live=False, venue_known=False, has_keys=False).status is IntentStatus.APPROVED


def test_the_exchange_is_compared_without_case() -> None:
    assert decided(rules=replace(RULES, exchange="Binance")).status is IntentStatus.APPROVED


def test_halt_stops_entries_and_lets_exits_go() -> None:
    assert decided(halted=True).status is IntentStatus.DENIED
    assert "halted" in rechecked(halted=True).reason
    assert decided(EXIT, halted=True).status is IntentStatus.APPROVED
    assert rechecked(BREAKEVEN, halted=True).status is IntentStatus.APPROVED


def test_an_entry_that_was_old_when_it_came_expires() -> None:
    decision = decided(replace(ENTRY, sent_at=ago(75)))
    assert decision.status is IntentStatus.EXPIRED
    assert "15 s over MAX_ALERT_AGE (60 s)" in decision.reason
    assert "{{timenow}}" in decision.reason


@pytest.mark.parametrize(("sent_at", "received_at"), [(None, ago(61)), (ago(61), ago(5)), (ago(-9), ago(61))])
def test_an_entry_that_waited_here_expires(sent_at: datetime | None, received_at: datetime) -> None:
    decision = decided(replace(ENTRY, sent_at=sent_at), received_at=received_at)
    assert decision.status is IntentStatus.EXPIRED
    assert "1 s over MAX_ALERT_AGE" in decision.reason


def test_at_the_limit_an_entry_is_still_fresh() -> None:
    assert decided(replace(ENTRY, sent_at=ago(60)), received_at=ago(60)).status is IntentStatus.APPROVED


def test_nothing_goes_stale_with_the_rule_off_nor_do_exits_with_it_on() -> None:
    old = {"received_at": ago(9000)}
    assert decided(replace(ENTRY, sent_at=ago(9000)), max_age=None, **old).status is IntentStatus.APPROVED
    for alert in (EXIT, BREAKEVEN):
        assert decided(replace(alert, sent_at=ago(9000)), **old).status is IntentStatus.APPROVED


@pytest.mark.parametrize("alert", [EXIT, BREAKEVEN, ENTRY])
def test_an_alert_older_than_the_entry_traded_since_is_not_applied(alert: Alert) -> None:
    history = replace(NOTHING, last_entry_at=ago(10))
    late = replace(alert, sent_at=ago(30))
    for answer in (decided(late, history=history), rechecked(late, history=history)):
        assert answer.status is IntentStatus.EXPIRED
        assert "20 s older than the entry traded since on BTC-USDT-PERP" in answer.reason
    assert decided(replace(alert, sent_at=ago(10)), history=history).status is IntentStatus.APPROVED


def test_with_no_maximum_age_only_exits_can_be_overtaken() -> None:
    history = replace(NOTHING, last_entry_at=ago(10))
    late = {"received_at": ago(30), "history": history, "max_age": None}
    assert decided(EXIT, **late).status is IntentStatus.EXPIRED
    assert decided(ENTRY, **late).status is IntentStatus.APPROVED


def test_within_one_second_nothing_is_older() -> None:
    history = replace(NOTHING, last_entry_at=ago(9.2))
    assert decided(replace(EXIT, sent_at=ago(10)), history=history).status is IntentStatus.APPROVED


def test_the_effective_time_is_never_after_the_receipt() -> None:
    assert effective_at(alert=replace(ENTRY, sent_at=ago(-3600)), received_at=NOW) == NOW
    assert effective_at(alert=replace(ENTRY, sent_at=ago(5)), received_at=NOW) == ago(5)
    assert effective_at(alert=ENTRY, received_at=NOW) == NOW


@pytest.mark.parametrize(
    ("limits", "history", "named"),
    [
        ({"symbols": ("ETH-USDT-PERP",)}, {}, "BTC-USDT-PERP is not among symbols"),
        ({"symbols": ()}, {}, "not among symbols"),
        ({"cooldown_s": 60}, {"last_entry_traded_at": ago(20.5)}, "cooldown_s: 40 s of 60 s"),
        ({"max_open_positions": 2}, {"open_positions": 2}, "max_open_positions: 2 open of 2"),
        ({"max_orders_per_minute": 5}, {"orders_last_minute": 6}, "max_orders_per_minute: 6 sent of 5"),
        ({"max_daily_loss": D(100)}, {"day_pnl": D("-100")}, "P&L is -100, the limit 100"),
        ({"max_daily_loss": D(100)}, {"day_pnl": None}, "cannot be known"),
        ({"max_daily_loss": D(100)}, {"day_pnl": D(5), "day_is_over": True}, "100 was reached today"),
    ],
)
def test_a_limit_that_is_reached_refuses_entries(
    limits: dict[str, Any], history: dict[str, Any], named: str
) -> None:
    past = replace(NOTHING, **history)
    for answer in (
        decided(rules=limited(**limits), history=past),
        rechecked(rules=limited(**limits), history=past),
    ):
        assert answer.status is IntentStatus.DENIED
        assert named in answer.reason
        assert "LIMITS_MY_BOT" in answer.reason
    assert decided(EXIT, rules=limited(**limits), history=past).status is IntentStatus.APPROVED
    assert decided(history=past).status is IntentStatus.APPROVED


@pytest.mark.parametrize(
    ("limits", "history"),
    [
        ({"symbols": ("btc-usdt-perp",)}, {}),
        ({"symbols": ("ETHUSDT", "btcusdtperp")}, {}),
        ({"cooldown_s": 60}, {"last_entry_traded_at": ago(60)}),
        ({"cooldown_s": 60}, {}),
        ({"max_open_positions": 2}, {"open_positions": 1}),
        ({"max_orders_per_minute": 5}, {"orders_last_minute": 4}),
        ({"max_daily_loss": D(100)}, {"day_pnl": D("-99.99")}),
        ({"max_notional": D(1)}, {}),
    ],
)
def test_a_limit_that_is_not_reached_lets_pass(limits: dict[str, Any], history: dict[str, Any]) -> None:
    answer = decided(rules=limited(**limits), history=replace(NOTHING, **history))
    assert answer.status is IntentStatus.APPROVED


@pytest.mark.parametrize("alert", [ENTRY, EXIT, BREAKEVEN])
def test_the_study_route_always_asks(alert: Alert) -> None:
    assert decided(alert, route=Route.STUDY).status is IntentStatus.AWAITING_APPROVAL
    assert rechecked(alert).status is IntentStatus.APPROVED


@pytest.mark.parametrize("route", list(Route))
def test_an_account_with_approval_asks_before_every_entry(route: Route) -> None:
    rules = replace(RULES, approval=ApprovalMode.DISCORD)
    assert decided(rules=rules, route=route).status is IntentStatus.AWAITING_APPROVAL
    assert rechecked(rules=rules).status is IntentStatus.APPROVED


def test_such_an_account_does_not_ask_before_an_exit() -> None:
    rules = replace(RULES, approval=ApprovalMode.DISCORD)
    assert decided(EXIT, rules=rules).status is IntentStatus.APPROVED
    assert "MY_BOT" in decided(rules=rules).reason


def test_a_refusal_comes_before_the_question() -> None:
    assert decided(route=Route.STUDY, halted=True).status is IntentStatus.DENIED


def test_an_entry_that_waited_for_a_vote_has_the_votes_age() -> None:
    in_time = rechecked(received_at=ago(200), expires_at=ago(-100))
    assert in_time.status is IntentStatus.APPROVED
    assert rechecked(received_at=ago(300), expires_at=NOW).status is IntentStatus.EXPIRED
    over = rechecked(received_at=ago(400), expires_at=ago(100))
    assert over.status is IntentStatus.EXPIRED
    assert "100 s ago (APPROVAL_TIMEOUT)" in over.reason
    assert rechecked(EXIT, received_at=ago(400), expires_at=ago(100)).status is IntentStatus.APPROVED


@pytest.mark.parametrize(
    ("now", "stop", "told"),
    [
        ("105", "90", None),
        ("95", "90", None),
        ("105.1", "90", "from 100 to 105.1, more than 0.5 of the distance to the stop at 90"),
        ("94.9", "90", "more than 0.5"),
        ("90", "90", "behind the stop at 90"),
        ("110", "110", "behind the stop at 110"),
        ("94.9", "110", "more than 0.5"),
        ("100", "100", "behind the stop"),
    ],
)
def test_drift(now: str, stop: str, told: str | None) -> None:
    reason = drift(price_then=D(100), price_now=D(now), entry=D(100), stop=D(stop), max_share=D("0.5"))
    assert (reason is None) == (told is None)
    assert told is None or told in str(reason)


@given(
    sent=st.none() | st.integers(-10_000, 10_000),
    waited=st.integers(0, 10_000),
    halted=st.booleans(),
    keys=st.booleans(),
)
def test_an_exit_is_never_held_back_for_age_or_halt(
    sent: int | None, waited: int, halted: bool, keys: bool
) -> None:
    alert = replace(EXIT, sent_at=None if sent is None else ago(sent))
    answer = decided(alert, received_at=ago(waited), halted=halted, has_keys=keys, rules=None)
    assert (answer.status is IntentStatus.APPROVED) == keys


@pytest.mark.parametrize(("now", "fine"), [("105", True), ("106", False), ("80", False), ("81", False)])
def test_a_limit_drifts_by_its_own_distance(now: str, fine: bool) -> None:
    """It waits at 90 with its stop at 80, while the market was at 100 when a person was asked."""
    reason = drift(price_then=D(100), price_now=D(now), entry=D(90), stop=D(80), max_share=D("0.5"))
    assert (reason is None) is fine
