"""Candles on their way from the runner to the bot, and the charts that people ask for.

Never fetches anything; every function works inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlalchemy import Connection, select, update

from store import tables
from store._engine import insert
from trading.model import Candle

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)

#: Seconds since 1970 in UTC, then open, high, low, close, volume as plain decimals.
Bar = list[int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A chart that a person asked for in a channel."""

    seq: int
    at: datetime
    exchange: str
    symbol: str
    interval: str
    channel_id: int


def packed(candles: Iterable[Candle]) -> list[Bar]:
    """Candles as JSON takes them."""
    return [
        [
            (bar.opened_at - _EPOCH) // _SECOND,
            *(format(value, "f") for value in (bar.open, bar.high, bar.low, bar.close, bar.volume)),
        ]
        for bar in candles
    ]


def unpacked(bars: Sequence[Bar]) -> list[Candle]:
    """The candles again. ValueError for what `packed` did not make."""
    candles = []
    for at, *values in bars:
        first, high, low, last, volume = (Decimal(value) for value in values)
        opened_at = _EPOCH + timedelta(seconds=int(at))
        candles.append(Candle(opened_at=opened_at, open=first, high=high, low=low, close=last, volume=volume))
    return candles


def ask(tx: Connection, *, exchange: str, symbol: str, interval: str, channel_id: int, now: datetime) -> None:
    """Asks the runner for the candles of a chart."""
    tx.execute(
        insert(tx, tables.chart_requests).values(
            at=now, exchange=exchange, symbol=symbol, interval=interval, channel_id=channel_id
        )
    )


def open_requests(tx: Connection, limit: int) -> list[Request]:
    """The oldest requests that nobody has answered."""
    of = tables.chart_requests.c
    rows = tx.execute(
        select(of.seq, of.at, of.exchange, of.symbol, of.interval, of.channel_id)
        .where(of.done_at.is_(None))
        .order_by(of.seq)
        .limit(limit)
    )
    return [Request(**row) for row in rows.mappings()]


def answered(tx: Connection, seq: int, now: datetime) -> bool:
    """Takes a request off the list; False when somebody else has."""
    of = tables.chart_requests
    done = update(of).where(of.c.seq == seq, of.c.done_at.is_(None)).values(done_at=now)
    return tx.execute(done).rowcount == 1
