"""Candles on their way from the runner to the bot, and the charts that people ask for.

Never fetches anything; every function works inside the caller's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlalchemy import Connection, delete, select, update

from store import tables
from store._engine import insert
from trading.model import Candle

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)

#: In a request's channel_id: the dashboard asks, and reads the answer with `kept`.
PAGE = 0
_KEPT_FOR = timedelta(days=1)
_CHART = "CHART "

#: Seconds since 1970 in UTC, then open, high, low, close, volume as plain decimals.
Bar = list[int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Bars that were fetched for the dashboard at `at`; `missing` says why there are none."""

    bars: list[Bar]
    missing: str
    at: datetime


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


def keep(tx: Connection, request: Request, *, bars: list[Bar], missing: str, now: datetime) -> None:
    """Keeps the answer to a request of the dashboard, and drops those that are a day old."""
    state = tables.state
    tx.execute(delete(state).where(state.c.key.startswith(_CHART), state.c.at < now - _KEPT_FOR))
    key = _key(request.exchange, request.symbol, request.interval)
    row = insert(tx, state).values(key=key, value=json.dumps({"bars": bars, "missing": missing}), at=now)
    values = {"value": row.excluded.value, "at": row.excluded.at}
    tx.execute(row.on_conflict_do_update(index_elements=[state.c.key], set_=values))


def kept(tx: Connection, *, exchange: str, symbol: str, interval: str) -> Kept | None:
    """The newest answer that the dashboard has of an instrument."""
    state = tables.state.c
    query = select(state.value, state.at).where(state.key == _key(exchange, symbol, interval))
    row = tx.execute(query).first()
    return None if row is None else Kept(at=row.at, **json.loads(row.value))


def _key(exchange: str, symbol: str, interval: str) -> str:
    return f"{_CHART}{exchange} {symbol} {interval}"
