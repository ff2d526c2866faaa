"""Alerts by filter, on both databases: what is typed is text, no pattern; looks, kept until the next."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from store import Store, orders, search, sessions, watch
from store.search import Filter
from store.tables import alerts, fills, intents
from store.watch import Seen
from tests.store.rows import add


@pytest.fixture
def filled(store: Store, clock: Any) -> Store:
    """Four alerts, from the oldest: a to d."""
    rows = [
        ("a", "MAIN", "BTCUSDT.P", "BTC-USDT-PERP", "DONE", '{"id":"50% off"}'),
        ("b", "SWING", "ETHUSDT.P", "ETH-USDT-PERP", "DENIED", '{"id":"under_score"}'),
        ("c", "MAIN", "ETHUSDT.P", "ETH-USDT-PERP", "DONE", '{"id":"back\\\\slash"}'),
        ("d", "MAIN", "BTCUSDT.P", "BTC-USDT-PERP", "DENIED", '{"id":"500 off"}'),
    ]
    with store.write() as tx:
        for seq, (name, account, ticker, symbol, status, body) in enumerate(rows, start=1):
            lane = {"account": account, "symbol": symbol}
            add(tx, alerts, clock(), seq=seq, id=name, ticker=ticker, body=body, **lane)
            reason = f"Reason of {name}"
            add(tx, intents, clock(), seq=seq, id=name, status=status, reason=reason, venue="X", **lane)
    return store


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (Filter(), "dcba"),
        (Filter(account="MAIN"), "dca"),
        (Filter(status="DENIED"), "db"),
        (Filter(status="DONE", account="MAIN", ticker="eth"), "c"),
        (Filter(ticker="btc-usdt"), "da"),
        (Filter(text="50%"), "a"),
        (Filter(text="under_"), "b"),
        (Filter(text="_"), "b"),
        (Filter(text="back\\\\slash"), "c"),
        (Filter(text="reason of D"), "d"),
        (Filter(text="nothing"), ""),
    ],
)
def test_filters_narrow(filled: Store, wanted: Filter, ids: str) -> None:
    with filled.read() as tx:
        assert "".join(row["id"] for row in search.found(tx, wanted, limit=9, before=None)) == ids


def test_pages_follow_each_other(filled: Store) -> None:
    with filled.read() as tx:
        first = search.found(tx, Filter(), limit=3, before=None)
        rest = search.found(tx, Filter(), limit=3, before=first[-1]["seq"])
        assert [row["id"] for row in (*first, *rest)] == ["d", "c", "b", "a"]


def test_the_newest_look_at_an_account_stays(store: Store, clock: Any) -> None:
    seen = Seen(
        venue="X", account="MAIN", at=clock(), currency="USDT", total=Decimal("1.10"), free=Decimal("1E-7"),
        prices={"BTC-USDT-PERP": Decimal(42000)},
    )  # fmt: skip
    away = Seen(venue="X", account="OTHER", at=clock(), trouble="away")
    with store.write() as tx:
        watch.keep(tx, Seen(venue="X", account="MAIN", at=clock(), trouble="before"))
        watch.keep(tx, seen)
        watch.keep(tx, away)
        assert watch.accounts(tx) == {("X", "MAIN"): seen, ("X", "OTHER"): away}


def test_a_session_is_known_until_its_time_and_then_forgotten(store: Store, clock: Any) -> None:
    until = clock() + timedelta(hours=1)
    with store.write() as tx:
        sessions.add(tx, digest="one", mark="m", until=until, now=clock())
        assert sessions.mark_of(tx, digest="one", now=clock()) == "m"
        assert sessions.mark_of(tx, digest="two", now=clock()) is None
        clock.set(until)
        assert sessions.mark_of(tx, digest="one", now=clock()) is None
        sessions.add(tx, digest="two", mark="m", until=until + timedelta(hours=1), now=clock())
        sessions.drop(tx, digest="two")
        sessions.drop(tx, digest="two")
        assert sessions.mark_of(tx, digest="two", now=clock()) is None


def test_a_days_fees_are_counted_in_quote_units(store: Store, clock: Any) -> None:
    trades = [("BTC-USDT", "0.001", "BTC"), ("BTC-USDT", "3", "USDT"), ("BTC-USDT-PERP", "0.01", "BNB")]
    with store.write() as tx:
        for number, (symbol, fee, currency) in enumerate(trades):
            money = {"price": Decimal(40000), "fee": Decimal(fee), "fee_currency": currency}
            lane = {"venue": "X", "account": "MAIN", "symbol": symbol, "trade_id": str(number)}
            add(tx, fills, clock(), realised_pnl=Decimal(10), **money, **lane)
        assert orders.realised_since(tx, venue="X", account="MAIN", since=clock()) == 30 - 40 - 3
