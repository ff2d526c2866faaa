"""LIMITS: each rule before every entry, in money on its timeline; a day that lost too much halts trading."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import update

from desk import control
from desk.sentry import Sentry
from desk.settings import load
from store import outbox, sentries, switches, tables
from tests.desk.conftest import ENVIRON, LADDER, LONG

ETH = {"ticker": "ETHUSDT.P", "action": "buy", "price": "3000", "long SL": "2900"}
LOSS = '{"max_daily_loss": 500}'


def details(rig: Any, alert_id: str, event: str) -> list[str]:
    return [each["detail"] for each in rig.alert(alert_id)["timeline"] if each["event"] == event]


def halted(rig: Any) -> Any:
    with rig.store.read() as tx:
        return switches.halted(tx)


def sentry(rig: Any, **environ: str) -> Sentry:
    settings = load({**ENVIRON, **environ}) if environ else rig.settings
    return Sentry(rig.store, settings, rig.venues, rig.clock)


def watch(rig: Any) -> None:
    """The next look at the accounts, by a process that has just begun."""
    rig.clock.advance(5)
    sentry(rig).watch()
    rig.settle()


def alarms(rig: Any) -> list[str]:
    with rig.store.read() as tx:
        return [each.text for each in outbox.unposted(tx, 1000) if each.kind == "alarm"]


# --- the record in money ------------------------------------------------------------------------------


def test_a_size_and_the_limit_that_cut_it_stand_in_money_on_the_alert(make_rig: Any) -> None:
    rig = make_rig(LIMITS_MAIN='{"max_notional": 42000, "max_open_positions": 2}')
    alert_id = rig.send("entry", **LONG)
    (told,) = details(rig, alert_id, "sized")
    size, _, cut = told.partition("; ")
    assert size == "1 BTC: risk 1 % of 100000 USDT, worst loss 500, notional 42000"
    assert cut == "cut by max_notional from 2 BTC, worst loss 1000, notional 84000"
    assert details(rig, alert_id, "limits") == ["kept: max_open_positions: 0 open of 2"]
    assert rig.alert(alert_id)["sizing"]["worst_loss"] == "500"


def test_without_limits_the_size_alone_is_told(rig: Any) -> None:
    alert_id = rig.send("entry", **LONG)
    assert details(rig, alert_id, "sized") == [
        "2 BTC: risk 1 % of 100000 USDT, worst loss 1000, notional 84000"
    ]
    assert details(rig, alert_id, "limits") == []


@pytest.mark.parametrize(
    ("rule", "limits", "second"),
    [
        ("symbols", '{"symbols": ["BTC-USDT-PERP"]}', ETH),
        ("max_open_positions", '{"max_open_positions": 1}', ETH),
        ("max_orders_per_minute", '{"max_orders_per_minute": 2}', ETH),
        ("cooldown_s", '{"cooldown_s": 60}', {**LONG, "price": "41700", "long SL": "41200"}),
        ("max_daily_loss", LOSS, ETH),
    ],
)
def test_each_limit_refuses_an_entry_also_after_a_restart(
    make_rig: Any, rule: str, limits: str, second: dict[str, str]
) -> None:
    rig = make_rig(LIMITS_MAIN=limits)
    assert rig.status(rig.send("entry", **LONG)) == "DONE"
    rig.price("41700")
    rig.die()
    refused = rig.send("entry", **second)
    assert rig.status(refused) == "DENIED"
    assert rule in rig.alert(refused)["reason"]
    assert rig.orders(refused) == []
    (told,) = details(rig, refused, "limits")
    assert told.startswith(f"refused by {rule}; it would be ")
    assert "worst loss" in told
    assert "notional" in told
    # What is open is no entry: its way out stays.
    assert rig.status(rig.send("exit")) == "DONE"


def test_a_size_that_cannot_be_told_is_refused_all_the_same(make_rig: Any) -> None:
    rig = make_rig(LIMITS_MAIN='{"symbols": ["ETH-USDT-PERP"]}')
    rig.send("tp1")
    rig.flaky().order_fault("unreachable", at=0, verb="balance")
    (told,) = details(rig, rig.send("entry", **LONG), "limits")
    assert told == ("refused by symbols; its size cannot be told now; BTC-USDT-PERP is not among symbols")
    small = rig.send("entry", **{**LONG, "size": "0.0000001"})
    assert "under the minimum" in details(rig, small, "limits")[0]


def test_an_entry_that_the_venue_refused_is_no_reason_for_a_cooldown(make_rig: Any) -> None:
    rig = make_rig(LIMITS_MAIN='{"cooldown_s": 600}')
    rig.flaky().order_fault("refused", at=0, verb="place")
    assert rig.status(rig.send("entry", **LONG)) == "FAILED"
    assert rig.status(rig.send("entry", **LONG)) == "DONE"
    assert "cooldown_s" in rig.alert(rig.send("entry", **LONG))["reason"]
    rig.clock.advance(600)
    assert rig.status(rig.send("entry", **LONG)) == "DONE"


def test_limits_are_held_again_when_the_turn_comes(make_rig: Any) -> None:
    """Approved while nothing was open, sent when something is."""
    rig = make_rig(LIMITS_MAIN='{"max_open_positions": 1}')
    rig.store_only("entry", **LONG)
    late = rig.store_only("entry", **ETH)
    rig.settle()
    assert rig.status(late) == "DENIED"


# --- the day's loss -----------------------------------------------------------------------------------


def test_a_day_that_lost_too_much_halts_and_leaves_the_stop(make_rig: Any) -> None:
    rig = make_rig(LIMITS_MAIN=LOSS)
    rig.send("entry", **LONG, **LADDER)
    rig.price("41800")
    watch(rig)
    assert halted(rig) is None
    rig.price("41750")
    watch(rig)
    assert halted(rig).by == "max_daily_loss"
    assert halted(rig).reason == "max_daily_loss of MAIN: today's P&L is -542, the limit 500 (LIMITS_MAIN)"
    assert [text.partition(":")[2] for text in alarms(rig)] == [f"BINANCE MAIN: {halted(rig).reason}"]
    assert rig.position().quantity == 2
    rig.check()
    refused = rig.send("entry", subaccount="OTHER", **LONG)
    assert "halted" in rig.alert(refused)["reason"]


def test_the_halt_outlives_a_restart_and_a_resume_is_a_persons_word(make_rig: Any) -> None:
    rig = make_rig(LIMITS_MAIN=LOSS)
    rig.send("entry", **LONG)
    rig.price("41700")
    watch(rig)
    rig.die()
    assert rig.status(rig.send("entry", subaccount="OTHER", **LONG)) == "DENIED"
    control.resume(rig.store, by="web", now=rig.clock())
    watch(rig)
    assert halted(rig) is None
    assert len(alarms(rig)) == 1
    assert rig.status(
        rig.send("entry", subaccount="OTHER", price="41700", action="buy", **{"long SL": "41500"})
    )
    assert "max_daily_loss" in rig.alert(rig.send("entry", **ETH))["reason"]
    # The next day begins anew; what is open counts in it as well.
    rig.clock.advance(24 * 3600)
    watch(rig)
    assert halted(rig) is not None


def test_after_a_resume_the_account_enters_nothing_until_midnight_though_its_price_recovers(
    make_rig: Any,
) -> None:
    rig = make_rig(LIMITS_MAIN=LOSS)
    rig.send("entry", **LONG)
    rig.price("41700")
    watch(rig)
    control.resume(rig.store, by="web", now=rig.clock())
    rig.price("42000")
    refused = rig.send("entry", **ETH)
    assert rig.status(refused) == "DENIED"
    assert rig.alert(refused)["reason"] == (
        "max_daily_loss: the limit 500 was reached today, nothing is entered until midnight UTC (LIMITS_MAIN)"
    )
    rig.clock.advance(12 * 3600)
    assert rig.status(rig.send("entry", **ETH)) == "DONE"


def test_a_limit_that_was_raised_lets_entries_in_and_halts_and_closes_anew(make_rig: Any) -> None:
    rig = make_rig(LIMITS_MAIN=LOSS, FLATTEN_MAIN="1")
    rig.send("entry", **LONG)
    rig.price("41700")
    watch(rig)
    assert rig.position().is_flat
    rig.settings = load({**ENVIRON, "LIMITS_MAIN": '{"max_daily_loss": 2000}', "FLATTEN_MAIN": "1"})
    rig.die()
    control.resume(rig.store, by="web", now=rig.clock())
    rig.send("entry", **ETH)
    rig.send("entry", **{**LONG, "price": "41700", "long SL": "41200"})
    watch(rig)
    assert halted(rig) is None
    assert rig.position("ETH-USDT-PERP").quantity > 0
    assert rig.position().quantity > 0
    rig.price("41201")
    rig.price("2910", symbol="ETH-USDT-PERP")
    watch(rig)
    assert "the limit 2000" in halted(rig).reason
    assert rig.position("ETH-USDT-PERP").is_flat
    assert rig.position().is_flat
    # The lower limit again: the day was past it.
    rig.settings = load({**ENVIRON, "LIMITS_MAIN": LOSS})
    rig.die()
    control.resume(rig.store, by="web", now=rig.clock())
    assert "500 was reached today" in rig.alert(rig.send("entry", **ETH))["reason"]


def test_a_breach_without_its_limit_as_older_versions_wrote_it_counts_at_any(make_rig: Any) -> None:
    rig = make_rig()
    place = {"venue": "PAPER:BINANCE", "account": "MAIN", "now": rig.clock()}
    with rig.store.write() as tx:
        assert sentries.breach(tx, limit=Decimal(500), **place)
        assert not sentries.breach(tx, limit=Decimal(400), **place)
        assert not sentries.breached(tx, limit=Decimal(600), **place)
        tx.execute(update(tables.state).where(tables.state.c.value == "500").values(value=""))
        assert sentries.breached(tx, limit=Decimal(600), **place)


def test_a_loss_that_is_realised_halts_without_a_question_to_the_venue(make_rig: Any) -> None:
    rig = make_rig(LIMITS_MAIN=LOSS)
    rig.send("entry", **LONG)
    known = sentry(rig)
    known.watch()
    rig.price("41400")
    assert rig.position().is_flat
    rig.flaky().order_fault("", at=-1)
    rig.clock.advance(5)
    known.watch()
    assert "today's P&L is -1" in halted(rig).reason
    assert rig.flaky().calls == []


def test_what_cannot_be_known_halts_nothing_until_it_can(make_rig: Any) -> None:
    rig = make_rig(LIMITS_MAIN=LOSS)
    rig.send("entry", **LONG)
    rig.price("41700")
    rig.flaky().order_fault("unreachable", at=0, verb="positions", times=2)
    watch(rig)
    assert halted(rig) is None
    watch(rig)
    assert halted(rig) is not None


def test_a_day_that_stays_unknown_is_told_once_until_it_is_known(make_rig: Any) -> None:
    rig = make_rig(LIMITS_MAIN=LOSS)
    rig.send("entry", **LONG)
    for spell in (1, 2):
        rig.flaky().order_fault("unreachable", at=0, verb="price", times=1000)
        watch(rig)
        rig.clock.advance(50)
        watch(rig)
        assert len(alarms(rig)) == spell - 1
        watch(rig)
        watch(rig)
        assert len(alarms(rig)) == spell
        rig.flaky().order_fault("", at=-1)
        watch(rig)
    assert alarms(rig)[0] == (
        "PAPER:BINANCE MAIN: max_daily_loss does not halt while today's P&L cannot be known:"
        " PAPER price: connection refused"
    )
    rig.price("41700")
    watch(rig)
    assert halted(rig) is not None


def test_what_is_open_counts_once_where_spot_and_perpetuals_are(make_rig: Any) -> None:
    rig = make_rig(LIMITS_MAIN=LOSS)
    rig.send("entry", **ETH)
    rig.send("entry", **{**LONG, "ticker": "BTCUSDT"})
    rig.price("2970", symbol="ETH-USDT-PERP")
    watch(rig)
    assert halted(rig) is None
    rig.price("2950", symbol="ETH-USDT-PERP")
    refused = rig.send("entry", **LONG)
    assert "max_daily_loss" in rig.alert(refused)["reason"]
    watch(rig)
    assert halted(rig) is not None


def test_a_halt_of_a_persons_keeps_its_reason(make_rig: Any) -> None:
    rig = make_rig(LIMITS_MAIN=LOSS)
    rig.send("entry", **LONG)
    control.halt(rig.store, reason="lunch", by="web", now=rig.clock())
    rig.price("41700")
    watch(rig)
    assert (halted(rig).by, halted(rig).reason) == ("web", "lunch")
    assert len(alarms(rig)) == 1


@pytest.mark.parametrize("crashed", [False, True])
def test_what_is_open_is_closed_where_that_is_asked_for(make_rig: Any, crashed: bool) -> None:
    """Also where the process ended between the halt and the exits."""
    rig = make_rig(LIMITS_MAIN=LOSS, FLATTEN_MAIN="1")
    first = rig.send("entry", **LONG, **LADDER)
    second = rig.send("entry", **ETH)
    rig.send("entry", subaccount="OTHER", **LONG)
    rig.price("41700")
    if crashed:
        with rig.store.write() as tx:
            sentries.breach(tx, venue="PAPER:BINANCE", account="MAIN", limit=Decimal(500), now=rig.clock())
    watch(rig)
    watch(rig)
    for symbol in ("BTC-USDT-PERP", "ETH-USDT-PERP"):
        assert rig.position(symbol).is_flat
        assert rig.resting(symbol) == []
    assert rig.position(account="OTHER").quantity == 2
    assert (halted(rig) is None) is crashed
    assert "closed" in rig.events(first)
    assert "closed" in rig.events(second)


def test_of_several_processes_one_looks(make_rig: Any) -> None:
    rig = make_rig(LIMITS_MAIN=LOSS)
    rig.send("entry", **LONG)
    rig.flaky().order_fault("", at=-1)
    sentry(rig).watch()
    sentry(rig).watch()
    one = sentry(rig)
    one.watch()
    one.watch()
    assert rig.flaky().calls.count("price") == 1


def test_a_process_whose_look_fails_leaves_it_to_the_next(make_rig: Any) -> None:
    """What one process cannot ask about the positions keeps nobody from seeing the day."""
    rig = make_rig(LIMITS_MAIN=LOSS)
    rig.send("entry", **LONG)
    cut, other = sentry(rig), sentry(rig)
    cut.watch()
    other.watch()
    rig.price("41700")
    rig.clock.advance(5)
    rig.flaky().order_fault("unreachable", at=0, verb="positions", times=2)
    cut.watch()
    assert rig.flaky().calls.count("positions") == 2, "the one look does not depend on the other"
    assert halted(rig) is None
    rig.clock.advance(0.3)
    other.watch()
    assert halted(rig) is not None


def test_paper_is_not_looked_at_while_orders_leave_the_machine(make_rig: Any) -> None:
    rig = make_rig(LIMITS_MAIN=LOSS)
    rig.send("entry", **LONG)
    rig.price("41700")
    sentry(rig, LIMITS_MAIN=LOSS, LIVE_TRADING="1", API_KEY_MAIN="key", API_SECRET_MAIN="secret").watch()
    sentry(rig, RISK_MAIN="1").watch()
    assert halted(rig) is None


@pytest.mark.parametrize("odd", ["no average price", "unforeseen"])
def test_what_cannot_be_read_of_one_account_keeps_no_other_from_its_halt(
    make_rig: Any, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    rig = make_rig(LIMITS_MAIN=LOSS, LIMITS_OTHER=LOSS)
    rig.send("entry", **LONG)
    rig.send("entry", subaccount="OTHER", **LONG)
    rig.price("41700")
    told = [replace(position, average_price=None) for position in rig.venue().positions()]

    def positions() -> Any:
        if odd == "unforeseen":
            raise ArithmeticError(odd)
        return told

    monkeypatch.setattr(rig.flaky(), "positions", positions, raising=False)
    known = sentry(rig)
    for _ in range(14):
        rig.clock.advance(5)
        known.watch()
    assert "max_daily_loss of OTHER" in halted(rig).reason
    in_doubt = [text for text in alarms(rig) if "at what price BTC-USDT-PERP was entered is not told" in text]
    assert len(in_doubt) == (odd == "no average price")
