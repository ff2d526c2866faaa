"""Queries of the dashboard: alerts by filter, the question of a card, what an instrument traded at.

Every list is cut by the database, newest first. Never writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select

from store.tables import alerts, cards, fills, intents, notices, orders, positions
from store.views import LIVE_ORDERS, Row, fetch, with_intents
from trading.model import IntentStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a person looks for; None does not narrow. `text` may stand anywhere in an alert or its reason."""

    account: str | None = None
    ticker: str | None = None
    status: str | None = None
    text: str | None = None


def found(tx: Connection, wanted: Filter, *, limit: int, before: int | None) -> list[Row]:
    """At most `limit` alerts that match, before the one with seq `before`."""
    # By the intent's own copy of the number: its indexes lead to a rare status at once.
    query = with_intents().order_by(intents.c.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(intents.c.seq < before)
    if wanted.account is not None:
        query = query.where(intents.c.account == wanted.account)
    if wanted.status is not None:
        query = query.where(intents.c.status == wanted.status)
    if wanted.ticker is not None:
        ticker = wanted.ticker
        query = query.where(
            or_(
                alerts.c.ticker.icontains(ticker, autoescape=True),
                alerts.c.symbol.icontains(ticker, autoescape=True),
            )
        )
    if wanted.text is not None:
        columns = (alerts.c.body, intents.c.reason, alerts.c.id)
        query = query.where(or_(*(column.icontains(wanted.text, autoescape=True) for column in columns)))
    return fetch(tx, query)


def waiting(tx: Connection, *, limit: int) -> list[Row]:
    """Alerts that wait for a person, the oldest first."""
    asked = with_intents().where(intents.c.status == IntentStatus.AWAITING_APPROVAL)
    return fetch(tx, asked.order_by(intents.c.seq).limit(limit))


def question(tx: Connection, alert_id: str) -> str | None:
    """What a person was shown with the question about an alert, as JSON; None once nobody keeps it."""
    asked = select(notices.c.data).where(
        notices.c.alert_id == alert_id,
        notices.c.kind == IntentStatus.AWAITING_APPROVAL.lower(),
        notices.c.data.is_not(None),
    )
    told: str | None = tx.execute(asked.limit(1)).scalar_one_or_none()
    if told is None:
        told = tx.execute(select(cards.c.data).where(cards.c.alert_id == alert_id)).scalar_one_or_none()
    return told


def resting(tx: Connection, intent_ids: list[str]) -> list[Row]:
    """The live orders of these intents, in the order in which they were written."""
    query = select(orders).where(orders.c.intent_id.in_(intent_ids), orders.c.status.in_(LIVE_ORDERS))
    return fetch(tx, query.order_by(orders.c.seq))


def lane_fills(tx: Connection, row: Row, *, limit: int) -> list[Row]:
    """The first fills of an alert's instrument since the alert came, with what their orders were for.

    By the venue's clock: where that is behind ours, an alert's own first fill comes before the alert.
    """
    own = select(orders.c.client_order_id).where(orders.c.intent_id == row["id"])
    first = tx.execute(select(func.min(fills.c.at)).where(fills.c.client_order_id.in_(own))).scalar()
    query = (
        _fills()
        .where(_lane_of(row), fills.c.at >= min(first or row["received_at"], row["received_at"]))
        .order_by(fills.c.at, fills.c.seq)
        .limit(limit)
    )
    return fetch(tx, query)


def told_prices(tx: Connection, row: Row, *, around: int) -> list[Row]:
    """Prices that alerts told of an instrument, `around` of them before this alert and as many after it."""
    of = alerts.c
    same = and_(of.symbol == row["symbol"], of.price.is_not(None))
    columns = select(of.received_at, of.price)
    before = columns.where(same, of.seq <= row["seq"]).order_by(of.seq.desc()).limit(around)
    after = columns.where(same, of.seq > row["seq"]).order_by(of.seq).limit(around)
    return [*reversed(fetch(tx, before)), *fetch(tx, after)]


def followed_stop(tx: Connection, alert_id: str) -> Decimal | None:
    """Where the stop belongs of the trade that an alert opened; None once no lane follows it."""
    stop: Decimal | None = tx.execute(
        select(positions.c.stop_price).where(positions.c.intent_id == alert_id).limit(1)
    ).scalar_one_or_none()
    return stop


def accounts(tx: Connection) -> list[str]:
    """Every account that an alert has named for a lane."""
    return sorted(tx.execute(select(positions.c.account).distinct()).scalars())


def _fills() -> Select[Any]:
    told = (orders.c.role, orders.c.intent_id)
    joined = fills.outerjoin(orders, orders.c.client_order_id == fills.c.client_order_id)
    return select(fills, *told).select_from(joined)


def _lane_of(row: Row) -> ColumnElement[bool]:
    return and_(
        fills.c.venue == row["venue"], fills.c.account == row["account"], fills.c.symbol == row["symbol"]
    )
