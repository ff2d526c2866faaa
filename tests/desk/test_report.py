"""What people are shown: plain amounts, ISO times, orders in a sensible order, health that is true."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, update

from desk import report
from store import Store, switches
from store.tables import alerts, events, intents, orders, positions
from trading.model import IntentStatus, plain

AT = datetime(2026, 1, 5, 12, 0, 0, 123456, tzinfo=UTC)
ID = "019b8e0a2f00deadbeef"


def put_alert(store: Store, alert_id: str = ID, at: datetime = AT, **intent: Any) -> None:
    """An alert with its intent."""
    common = {"account": "MAIN", "symbol": "BTC-USDT-PERP", "kind": "entry"}
    with store.write() as tx:
        seq = tx.execute(
            insert(alerts)
            .values(
                id=alert_id,
                received_at=at,
                source="tradingview",
                route="tradingview-to-webhook-order",
                exchange="BINANCE",
                subaccount="main",
                ticker="BTCUSDT.P",
                action="BUY",
                message="entry",
                body="{}",
                **common,
            )
            .returning(alerts.c.seq)
        ).scalar_one()
        values = {"seq": seq, "venue": "PAPER:BINANCE", "status": "RECEIVED", "reason": "", "attempts": 0}
        values |= {"effective_at": at, "updated_at": at} | common | intent
        tx.execute(insert(intents).values(id=alert_id, **values))


def put_order(store: Store, leg: str, role: str, **changes: Any) -> None:
    """An order of that alert."""
    values: dict[str, Any] = {
        "client_order_id": f"{ID}-{leg}",
        "intent_id": ID,
        "venue": "PAPER:BINANCE",
        "account": "MAIN",
        "symbol": "BTC-USDT-PERP",
        "role": role,
        "rung": 0,
        "attempt": 1,
        "side": "SELL",
        "type": "LIMIT",
        "quantity": Decimal("0.1000"),
        "time_in_force": "GTC",
        "reduce_only": True,
        "status": "ACCEPTED",
        "filled_quantity": Decimal(0),
        "reason": "",
        "created_at": AT,
        "updated_at": AT,
    }
    with store.write() as tx:
        tx.execute(insert(orders).values(values | changes))


def put_position(store: Store, symbol: str, quantity: str, venue: str = "PAPER:BINANCE") -> None:
    with store.write() as tx:
        tx.execute(
            insert(positions).values(
                venue=venue,
                account="MAIN",
                symbol=symbol,
                quantity=Decimal(quantity),
                average_price=Decimal("50000.10"),
                realised_pnl=Decimal("-1.50"),
                fees=Decimal("0.30"),
                intent_id=ID,
                stop_price=Decimal(49000),
                token=1,
                wakes=1,
                updated_at=AT,
            )
        )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Decimal("1E+3"), "1000"),
        (Decimal("1E-8"), "0.00000001"),
        (Decimal("100.00"), "100"),
        (Decimal("-0.00"), "0"),
        (Decimal("0E+9"), "0"),
        (Decimal("-12.50"), "-12.5"),
        (Decimal("123456789012345678901234567890.10"), "123456789012345678901234567890.1"),
    ],
)
def test_amounts_are_plain(value: Decimal, shown: str) -> None:
    assert plain(value) == shown


@given(st.builds(lambda number, places: Decimal(number).scaleb(places), st.integers(), st.integers(-40, 40)))
def test_an_amount_loses_nothing(value: Decimal) -> None:
    shown = plain(value)
    assert "E" not in shown.upper()
    assert Decimal(shown) == value


def test_times_are_utc() -> None:
    assert report.instant(AT) == "2026-01-05T12:00:00.123Z"
    assert report.instant(AT.astimezone(timezone(timedelta(hours=2)))) == "2026-01-05T12:00:00.123Z"
    assert report.instant(None) is None


def test_an_alert_is_shown_whole_and_in_order(store: Store) -> None:
    put_alert(
        store,
        status="DONE",
        free_collateral=Decimal("1E+5"),
        risk=Decimal("1.0"),
        quantity=Decimal("0.100"),
        worst_loss=Decimal(1000),
        notional=Decimal(5000),
    )
    put_order(store, "tp", "target", rung=0)
    put_order(store, "x", "close")
    put_order(store, "tp2", "target", rung=2)
    put_order(store, "sl", "stop", type="STOP", trigger_price=Decimal("49000.00"), venue_order_id="77")
    put_order(store, "tp1", "target", rung=1, price=Decimal("51000.50"))
    put_order(store, "sl-2", "stop", type="STOP", attempt=2)
    put_order(
        store, "e", "entry", side="BUY", type="MARKET", reduce_only=False, average_price=Decimal("5E+4")
    )
    with store.write() as tx:
        for number in range(2):
            at = AT + timedelta(seconds=number)
            tx.execute(insert(events).values(alert_id=ID, at=at, event=f"e{number}", detail="d"))

    shown = report.alert(store, ID)

    legs = [order["client_order_id"].removeprefix(ID + "-") for order in shown["orders"]]
    assert legs == ["e", "sl", "sl-2", "tp1", "tp2", "tp", "x"]
    assert shown["orders"][1] == {
        "client_order_id": f"{ID}-sl",
        "venue_order_id": "77",
        "role": "stop",
        "side": "SELL",
        "type": "STOP",
        "quantity": "0.1",
        "price": None,
        "trigger_price": "49000",
        "reduce_only": True,
        "status": "ACCEPTED",
        "filled_quantity": "0",
        "average_price": None,
    }
    assert shown["orders"][0]["average_price"] == "50000"
    assert shown["sizing"] == {
        "free_collateral": "100000",
        "risk": "1",
        "quantity": "0.1",
        "worst_loss": "1000",
        "notional": "5000",
    }
    assert [event["event"] for event in shown["timeline"]] == ["e0", "e1"]
    assert shown["timeline"][1]["at"] == "2026-01-05T12:00:01.123Z"
    assert shown["status"] == "DONE"


def test_what_is_not_sized_has_nulls_and_what_is_not_there_is_none(store: Store) -> None:
    put_alert(store)
    shown = report.alert(store, ID)
    assert set(shown["sizing"].values()) == {None}
    assert report.alert(store, "0" * 20) is None


def test_positions_leave_out_what_is_flat(store: Store) -> None:
    put_position(store, "BTC-USDT-PERP", "-0.250")
    put_position(store, "ETH-USDT-PERP", "2")
    put_position(store, "SOL-USDT-PERP", "0.000")

    rows = report.positions(store)

    assert rows[0] == {
        "venue": "PAPER:BINANCE",
        "exchange": "BINANCE",
        "account": "MAIN",
        "symbol": "BTC-USDT-PERP",
        "direction": "SHORT",
        "quantity": "0.25",
        "average_price": "50000.1",
        "stop_price": "49000",
        "realised_pnl": "-1.5",
        "fees": "0.3",
        "intent_id": ID,
        "updated_at": "2026-01-05T12:00:00.123Z",
    }
    assert [row["direction"] for row in rows] == ["SHORT", "LONG"]
    everything = report.positions(store, flat_too=True)
    assert [row["direction"] for row in everything] == ["SHORT", "LONG", "FLAT"]


def test_orders_are_newest_first_and_may_leave_out_what_has_ended(store: Store) -> None:
    put_alert(store)
    put_order(store, "e", "entry", status="FILLED")
    put_order(store, "sl", "stop", status="SUBMITTED")
    put_order(store, "tp", "target", status="CANCELED")

    assert [row["status"] for row in report.orders(store)] == ["CANCELED", "SUBMITTED", "FILLED"]
    assert [row["status"] for row in report.orders(store, live_only=True)] == ["SUBMITTED"]
    assert len(report.orders(store, limit=1)) == 1
    assert report.orders(store)[0]["intent_id"] == ID


def test_health_waits_half_a_minute_for_the_first_step(store: Store) -> None:
    def status(seconds: float) -> str:
        model = report.health(store, now=AT + timedelta(seconds=seconds), started_at=AT)
        return str(model["status"])

    assert status(30) == "ok"
    assert status(31) == "failing"
    with store.write() as tx:
        switches.beat(tx, "runner", AT - timedelta(days=1))
    assert status(30) == "ok"
    assert status(31) == "failing"
    with store.write() as tx:
        switches.beat(tx, "runner", AT + timedelta(seconds=20))
    assert status(50) == "ok"
    assert status(51) == "failing"


def test_health_tells_ages_and_the_oldest_work(store: Store) -> None:
    now = AT + timedelta(seconds=10)
    put_alert(store, "1" * 20, status="AWAITING_APPROVAL")
    put_alert(store, "2" * 20, status="DONE")
    put_alert(store, "3" * 20, status="EXECUTING", at=AT + timedelta(seconds=4))
    put_alert(store, "4" * 20, status="RECEIVED", at=AT + timedelta(seconds=5))
    with store.write() as tx:
        switches.beat(tx, "runner", AT + timedelta(seconds=9))
        switches.beat(tx, "bot", AT + timedelta(seconds=3))
        switches.halt(tx, reason="test", by="me", now=AT)

    assert report.health(store, now=now, started_at=AT) == {
        "status": "ok",
        "database": "ok",
        "runner": {"last_step_at": "2026-01-05T12:00:09.123Z", "age_s": 1.0},
        "bot": {"last_heartbeat_at": "2026-01-05T12:00:03.123Z", "age_s": 7.0},
        "oldest_undone_alert": {"id": "3" * 20, "age_s": 6.0, "status": "EXECUTING"},
        "halted": True,
    }
    with store.write() as tx:
        tx.execute(update(intents).values(status=IntentStatus.DONE))
    assert report.health(store, now=now, started_at=AT)["oldest_undone_alert"] is None


def test_health_without_a_database_is_failing_and_does_not_raise() -> None:
    from store import open_store

    store = open_store("postgresql://nobody@127.0.0.1:9/none")
    model = report.health(store, now=AT, started_at=AT)
    store.close()

    assert (model["status"], model["database"]) == ("failing", "failing")
