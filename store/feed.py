"""What results are counted from: fills in the order of their writing, and the alerts and orders behind them.

Read in pages, never all at once, and never added up here: money is text in the database.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import Connection, Select, Table, func, select

from store import Store
from store.tables import alerts, events, fills, intents, orders
from store.views import Row, fetch

#: Rows that are read in one go.
PAGE = 2000
#: A transaction that began earlier may commit a lower number later: so far back is looked again.
OVERLAP = 500

_TABLES: dict[str, tuple[Table, ...]] = {
    "alerts": (alerts, intents),
    "orders": (orders,),
    "fills": (fills,),
    "events": (events,),
}


def fills_after(tx: Connection, seq: int) -> list[Row]:
    """At most PAGE fills with a higher number, each with its order's role and intent."""
    of = fills.c
    columns = (
        *(of.seq, of.venue, of.account, of.symbol, of.side, of.quantity, of.price, of.fee),
        *(of.fee_currency, of.at, of.realised_pnl, of.client_order_id),
        *(orders.c.role, orders.c.intent_id, orders.c.type),
    )
    joined = fills.outerjoin(orders, orders.c.client_order_id == of.client_order_id)
    query = select(*columns).select_from(joined).where(of.seq > seq)
    return fetch(tx, query.order_by(of.seq).limit(PAGE))


def intents_of(tx: Connection, ids: Collection[str]) -> dict[str, Row]:
    """What these intents meant: price, times, risk, body, and when their first order was signed."""
    signed = (
        select(orders.c.intent_id, func.min(orders.c.signed_at).label("signed_at"))
        .where(orders.c.intent_id.in_(ids))
        .group_by(orders.c.intent_id)
        .subquery()
    )
    columns = (
        *(alerts.c.id, alerts.c.body, alerts.c.price, alerts.c.sent_at, alerts.c.received_at),
        *(intents.c.kind, intents.c.account, intents.c.worst_loss, intents.c.expires_at, signed.c.signed_at),
    )
    joined = alerts.join(intents, intents.c.id == alerts.c.id).outerjoin(
        signed, signed.c.intent_id == alerts.c.id
    )
    query = select(*columns).select_from(joined).where(alerts.c.id.in_(ids))
    return {row["id"]: row for row in fetch(tx, query)}


def rows(store: Store, name: str) -> Iterator[Row]:
    """Every row of alerts, orders, fills or events, oldest first, page by page. Raises StoreUnavailable."""
    first, *beside = _TABLES[name]
    more = [column for table in beside for column in table.c if column.name not in first.c]
    joined: Any = first
    for table in beside:
        joined = joined.join(table, table.c.id == first.c.id)
    last = 0
    while True:
        query: Select[Any] = select(first, *more).select_from(joined).where(first.c.seq > last)
        with store.read() as tx:
            page = fetch(tx, query.order_by(first.c.seq).limit(PAGE))
        yield from page
        if len(page) < PAGE:
            return
        last = page[-1]["seq"]


def columns_of(name: str) -> list[str]:
    """The names of what `rows` gives, in order."""
    first, *beside = _TABLES[name]
    names = [column.name for column in first.c]
    return names + [column.name for table in beside for column in table.c if column.name not in first.c]
