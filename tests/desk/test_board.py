"""What the first page is told: accounts, positions in money, questions; who looks at the venues for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import update

from desk import board, story
from desk.teller import EVERY, IDLE, WATCHED_FOR, Teller
from store.tables import fills, orders
from trading.model import Route

LONG = {"action": "buy", "price": "42000", "long SL": "41500", "long TP": "43500"}
LADDER = {"tp Close": "25", "tp1 Mult": "1", "tp2 Mult": "2"}
SHORT = {"action": "sell", "price": "2000", "short SL": "2050", "short TP": "1900"}


@pytest.fixture
def rig(sqlite_rigs: Callable[..., Any]) -> Any:
    """On SQLite; `test_a_story_has_the_trade_to_its_end_and_no_further` asks both databases."""
    return sqlite_rigs()


def shown(rig: Any) -> dict[str, Any]:
    return board.board(rig.store, rig.settings, now=rig.clock())


def look(rig: Any) -> None:
    Teller(rig.store, rig.venues, rig.clock, board.homes(rig.settings)).tell()


def test_a_position_in_money(rig: Any) -> None:
    alert_id = rig.send("entry", **LONG, **LADDER)
    rig.price("42100")
    before = shown(rig)["positions"][0]
    assert (before["price"], before["unrealised"]) == (None, None)
    look(rig)
    (position,) = shown(rig)["positions"]
    assert position["intent_id"] == alert_id
    assert (position["direction"], position["quantity"], position["stop_price"]) == ("LONG", "2", "41500")
    assert (position["unrealised"], position["at_stop"]) == ("200", "-1000")
    assert [each["price"] for each in position["targets"]] == ["42500", "43000", "43500"]
    assert position["naked"] is False


def test_what_a_moved_stop_makes_sure_is_no_risk(rig: Any) -> None:
    rig.send("entry", **LONG, **LADDER)
    rig.price("42600")
    rig.send("tp1_breakeven", price="42600", **{"long Breakeven": "42100"})
    look(rig)
    model = shown(rig)
    assert model["positions"][0]["at_stop"] == "150"
    account = model["accounts"][0]
    assert account["at_risk"] == "0"
    assert account["realised"] != "0"


def test_a_shorts_targets_lie_below_the_nearest_first(rig: Any) -> None:
    rig.send("entry", ticker="ETHUSDT.P", **SHORT, **LADDER)
    (position,) = shown(rig)["positions"]
    assert position["direction"] == "SHORT"
    assert [each["price"] for each in position["targets"]] == ["1950", "1900", "1900"]


def test_accounts_with_and_without_a_trade(rig: Any) -> None:
    assert shown(rig)["idle"] == sorted(rig.settings.accounts)
    rig.send("entry", **LONG)
    look(rig)
    (account,) = shown(rig)["accounts"]
    assert (account["account"], account["paper"], account["currency"]) == ("MAIN", True, "USDT")
    assert account["total"] == "99958"
    assert "MAIN" not in shown(rig)["idle"]


def test_an_account_of_one_exchange_has_its_balance_before_it_trades(
    sqlite_rigs: Callable[..., Any],
) -> None:
    rig = sqlite_rigs(EXCHANGE_MAIN="BINANCE")
    (account,) = shown(rig)["accounts"]
    assert (account["venue"], account["account"], account["total"]) == ("PAPER:BINANCE", "MAIN", None)
    look(rig)
    (account,) = shown(rig)["accounts"]
    assert (account["total"], account["currency"], account["realised"]) == ("100000", "USDT", "0")
    assert "MAIN" not in shown(rig)["idle"]
    # What does not change is not asked for every five seconds.
    rig.clock.advance(EVERY)
    look(rig)
    assert shown(rig)["accounts"][0]["at"] == account["at"]
    rig.clock.advance(IDLE)
    look(rig)
    assert shown(rig)["accounts"][0]["at"] != account["at"]


def test_a_venue_that_does_not_answer_is_told_and_its_last_words_are_not(rig: Any) -> None:
    rig.send("entry", **LONG)
    look(rig)
    rig.flaky().order_fault("unreachable", at=0, verb="balance")
    look(rig)
    (account,) = shown(rig)["accounts"]
    assert (account["trouble"], account["total"]) == ("connection refused", None)
    assert shown(rig)["venues"] == [account]
    look(rig)
    assert shown(rig)["accounts"][0]["trouble"] == ""


def test_venues_are_looked_at_while_somebody_watches_and_not_too_often(rig: Any) -> None:
    rig.send("entry", **LONG)
    looks: list[object] = []
    teller = Teller(rig.store, rig.venues, rig.clock, set())
    teller.tell = lambda: looks.append(rig.clock())  # type: ignore[method-assign]

    def look_now() -> int:
        teller.look()
        for thread in threading.enumerate():
            if thread.name == "teller":
                thread.join(5)
        return len(looks)

    assert look_now() == 0
    board.watched(rig.store, rig.clock())
    assert look_now() == 1
    assert look_now() == 1
    rig.clock.advance(EVERY)
    assert look_now() == 2
    rig.clock.advance(WATCHED_FOR + timedelta(seconds=1))
    assert look_now() == 2


def test_a_question_comes_with_its_money(rig: Any) -> None:
    alert_id = rig.send("entry", route=Route.STUDY, **LONG)
    (question,) = shown(rig)["waiting"]
    assert question["id"] == alert_id
    assert question["asked"]["worst_loss"] == "1000"
    assert board.frame(rig.store)["waiting"] == 1
    rig.vote(alert_id, approve=False)
    assert shown(rig)["waiting"] == []


def test_a_story_has_the_trade_to_its_end_and_no_further(make_rig: Callable[..., Any]) -> None:
    rig = make_rig()
    first = rig.send("entry", **LONG, **LADDER)
    rig.price("42500")
    second = rig.send("entry", price="42500", action="sell", **{"short SL": "43000", "short TP": "41000"})
    told = story.story(rig.store, first)
    assert told is not None
    assert [(fill["role"], fill["side"]) for fill in told["fills"]] == [
        ("entry", "BUY"),
        ("target", "SELL"),
        ("close", "SELL"),
    ]
    assert '"passphrase"' not in told["body"]
    assert dict(told["stages"])["to the first fill"] is not None
    assert story.story(rig.store, "unknown") is None
    chart = story.chart(rig.store, second, now=rig.clock())
    assert chart is not None
    assert [mark["text"].split()[0] for mark in chart["marks"]] == ["close", "entry"]
    assert [level["role"] for level in chart["levels"]] == ["entry", "target", "stop"]


def test_a_venues_clock_that_is_behind_takes_no_fill_out_of_a_story(rig: Any) -> None:
    before = rig.send("entry", **LONG)
    rig.send("exit", price="42100")
    entry = rig.send("entry", **LONG)
    with rig.store.write() as tx:
        mine = fills.c.client_order_id.startswith(entry)
        early = rig.clock() - timedelta(seconds=2)
        tx.execute(update(fills).where(mine).values(at=early))
    told = story.story(rig.store, entry)
    assert told is not None
    assert [fill["role"] for fill in told["fills"]] == ["entry"]
    chart = story.chart(rig.store, entry, now=rig.clock())
    assert chart is not None
    assert len(chart["marks"]) == 1
    told = story.story(rig.store, before)
    assert told is not None
    assert [fill["role"] for fill in told["fills"]] == ["entry", "close"]


def test_an_average_of_endless_digits_does_not_reach_the_chart(rig: Any) -> None:
    entry = rig.send("entry", **LONG)
    with rig.store.write() as tx:
        mine = orders.c.client_order_id == f"{entry}-e"
        tx.execute(update(orders).where(mine).values(average_price=Decimal("42000.333333333333333333")))
    chart = story.chart(rig.store, entry, now=rig.clock())
    assert chart is not None
    assert [each["price"] for each in chart["levels"] if each["role"] == "entry"] == ["42000.333"]


def test_a_stop_that_was_moved_stands_on_the_chart_once(rig: Any) -> None:
    entry = rig.send("entry", **LONG, **LADDER)
    rig.price("42600")
    rig.send("breakeven", price="42600", **{"long Breakeven": "42100"})
    chart = story.chart(rig.store, entry, now=rig.clock())
    assert chart is not None
    assert [level["price"] for level in chart["levels"] if level["role"] == "stop"] == ["42100"]
