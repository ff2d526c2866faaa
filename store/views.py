"""Read queries for people: rows as plain dicts, newest first unless told otherwise.

Never writes, and never decides what a row means: `desk.report` gives it its words.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, select

from store.tables import alerts, auth_failures, events, intents, orders, positions, refusals
from trading.model import IntentStatus, OrderStatus

Row = Mapping[str, Any]

#: What the runner still owes an act; waiting for a person is not among it.
_UNDONE = (IntentStatus.RECEIVED, IntentStatus.APPROVED, IntentStatus.EXECUTING)
#: Those that may still be filled.
LIVE_ORDERS = (
    OrderStatus.INITIALIZED,
    OrderStatus.SUBMITTED,
    OrderStatus.ACCEPTED,
    OrderStatus.PARTIALLY_FILLED,
)


def alert(tx: Connection, alert_id: str) -> Row | None:
    """One alert with its intent, None if there is no such id."""
    return _first(tx, with_intents().where(alerts.c.id == alert_id))


def alert_seq(tx: Connection, alert_id: str) -> int | None:
    """The place of an alert in the order of arrival."""
    found: int | None = tx.execute(select(alerts.c.seq).where(alerts.c.id == alert_id)).scalar()
    return found


def subaccount(tx: Connection, account: str) -> str | None:
    """An account's name as its newest alert spells it; None if it has had none."""
    newest = select(alerts.c.subaccount).where(alerts.c.account == account).order_by(alerts.c.seq.desc())
    found: str | None = tx.execute(newest.limit(1)).scalar()
    return found


def alert_list(
    tx: Connection, *, limit: int, before: int | None, status: str | None, account: str | None
) -> list[Row]:
    """At most `limit` alerts that arrived before the one with seq `before`."""
    query = with_intents().order_by(alerts.c.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(alerts.c.seq < before)
    if status is not None:
        query = query.where(intents.c.status == status)
    if account is not None:
        query = query.where(alerts.c.account == account)
    return fetch(tx, query)


def alert_orders(tx: Connection, alert_id: str) -> list[Row]:
    """Every order of one intent, in the order in which they were written."""
    return fetch(tx, select(orders).where(orders.c.intent_id == alert_id).order_by(orders.c.seq))


def alert_events(tx: Connection, alert_id: str) -> list[Row]:
    """The story of one alert, oldest first."""
    return fetch(tx, select(events).where(events.c.alert_id == alert_id).order_by(events.c.seq))


def order_list(tx: Connection, *, limit: int, live_only: bool) -> list[Row]:
    """The newest orders; `live_only` leaves out those that have ended."""
    query = select(orders).order_by(orders.c.seq.desc()).limit(limit)
    if live_only:
        query = query.where(orders.c.status.in_(LIVE_ORDERS))
    return fetch(tx, query)


def position_list(tx: Connection) -> list[Row]:
    """Every position that we ever had a hand in, flat ones included, by place."""
    key = (positions.c.venue, positions.c.account, positions.c.symbol)
    return fetch(tx, select(positions).order_by(*key))


def refusal_list(tx: Connection, *, limit: int) -> list[Row]:
    """The newest refused bodies."""
    return fetch(tx, select(refusals).order_by(refusals.c.seq.desc()).limit(limit))


def was_refused(tx: Connection, *, code: int, body: str) -> bool:
    """Whether this very body is kept as refused with `code`."""
    query = select(refusals.c.seq).where(and_(refusals.c.code == code, refusals.c.body == body))
    return tx.execute(query.limit(1)).first() is not None


def intent_status(tx: Connection, intent_id: str) -> IntentStatus | None:
    """Where an intent stands, None if there is no such id."""
    status = tx.execute(select(intents.c.status).where(intents.c.id == intent_id)).scalar()
    return None if status is None else IntentStatus(status)


def oldest_undone(tx: Connection) -> Row | None:
    """The alert that has waited longest for the runner (id, status, received_at)."""
    query = (
        select(alerts.c.id, intents.c.status, alerts.c.received_at)
        .join_from(intents, alerts, alerts.c.id == intents.c.id)
        .where(intents.c.status.in_([status.value for status in _UNDONE]))
        .order_by(intents.c.seq)
        .limit(1)
    )
    return _first(tx, query)


def failing_since(tx: Connection, address: str) -> datetime | None:
    """When the window began in which this address guesses."""
    query = select(auth_failures.c.since).where(auth_failures.c.address == address)
    since: datetime | None = tx.execute(query).scalar()
    return since


def with_intents() -> Select[Any]:
    """Alerts with what became of them."""
    told = (
        intents.c.venue,
        intents.c.status,
        intents.c.reason,
        intents.c.expires_at,
        intents.c.free_collateral,
        intents.c.risk,
        intents.c.quantity,
        intents.c.worst_loss,
        intents.c.notional,
        intents.c.updated_at,
    )
    return select(alerts, *told).join_from(alerts, intents, alerts.c.id == intents.c.id)


def fetch(tx: Connection, query: Select[Any]) -> list[Row]:
    """All rows of a query."""
    return [dict(row) for row in tx.execute(query).mappings()]


def _first(tx: Connection, query: Select[Any]) -> Row | None:
    row = tx.execute(query).mappings().first()
    return None if row is None else dict(row)
