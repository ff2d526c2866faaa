"""Money and time come back exactly as they went in, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, type_coerce
from sqlalchemy.exc import StatementError
from sqlalchemy.types import BigInteger, Text

from store import Store
from store.tables import metadata, paper_prices

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

amounts = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**18), max_value=10**18, places=18),
    st.builds(
        lambda digits, exponent: Decimal(digits).scaleb(exponent),
        st.integers(-(10**15), 10**15),
        st.integers(-40, 40),
    ),
)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(timezones=zones).filter(lambda at: 1 < at.year < 9999)


def round_trip(store: Store, price: Decimal, at: datetime) -> tuple[Any, Any, Any, Any]:
    prices = paper_prices.c
    raw = type_coerce(prices.price, Text), type_coerce(prices.at, BigInteger)
    with store.write() as tx:
        tx.execute(delete(paper_prices))
        tx.execute(insert(paper_prices).values(symbol="BTC-USDT", price=price, at=at))
        return tuple(tx.execute(select(prices.price, prices.at, *raw)).one())  # type: ignore[return-value]


@given(price=amounts, at=times)
def test_comes_back_as_it_went_in(store: Store, price: Decimal, at: datetime) -> None:
    amount, moment, text, number = round_trip(store, price, at)
    assert isinstance(amount, Decimal)
    assert amount == price
    assert "e" not in text.lower()
    assert moment == at
    assert moment.utcoffset() == timedelta(0)
    assert EPOCH + timedelta(microseconds=number) == at


@pytest.mark.parametrize(
    "amount", [Decimal("NaN"), Decimal("Infinity"), Decimal("-Infinity"), 1.5, 1, "1"], ids=repr
)
def test_refuses_what_is_no_amount(store: Store, clock: Any, amount: Any) -> None:
    with pytest.raises(StatementError, match="not a finite Decimal"):
        round_trip(store, amount, clock())


def test_refuses_a_time_without_zone(store: Store) -> None:
    with pytest.raises(StatementError, match="without zone"):
        round_trip(store, Decimal(1), datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused


def test_every_foreign_key_points_at_something_unique() -> None:
    for table in metadata.tables.values():
        for key in table.foreign_keys:
            assert key.column.unique or key.column.primary_key, f"{table.name}.{key.parent.name}"
