"""Which executions are ours, where a venue lists those of a person beside them.

Reads alone. It must never name an execution as ours that no order of ours made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.engine import Connection

from store._lanes import at
from store.orders import numbered, order_of
from store.tables import fills, orders, positions
from trading.model import ZERO, Fill, Lane, Order, OrderStatus

#: Older orders of a lane are told to the end.
_NEWEST = 64


def untold(tx: Connection, lane: Lane, *, since: datetime | None = None) -> list[tuple[Order, Decimal]]:
    """The lane's orders that filled more than their executions add up to, and how much is missing; those
    alone that changed from `since` on, where that is given.
    """
    asked = select(orders).where(at(orders, lane), orders.c.status != OrderStatus.INITIALIZED)
    if since is not None:
        asked = asked.where(orders.c.updated_at >= since)
    rows = tx.execute(asked.order_by(orders.c.seq.desc()).limit(_NEWEST))
    newest = [order_of(row) for row in rows]
    filled = [order for order in newest if order.filled_quantity]
    told: dict[str, Decimal] = {}
    names = [order.client_order_id for order in filled]
    for row in tx.execute(
        select(fills.c.client_order_id, fills.c.quantity).where(
            at(fills, lane), fills.c.client_order_id.in_(names)
        )
    ):
        told[row.client_order_id] = told.get(row.client_order_id, ZERO) + row.quantity
    missing = [(order, order.filled_quantity - told.get(order.client_order_id, ZERO)) for order in filled]
    return [(order, quantity) for order, quantity in missing if quantity > 0]


def has_filled(tx: Connection, lane: Lane, *, since: datetime, until: datetime) -> bool:
    """Whether an order of the lane that filled changed from `since` on, and up to `until`."""
    changed = orders.c.updated_at.between(since, until)
    rows = tx.execute(select(orders.c.filled_quantity).where(at(orders, lane), changed))
    return any(row.filled_quantity for row in rows)


def drifting(tx: Connection, *, venue: str, account: str) -> list[Lane]:
    """The lanes of an account where the venue and our executions disagree, or some are still to be told."""
    place = positions.c
    mine = (place.venue == venue, place.account == account, place.drift_since.is_not(None))
    symbols = tx.execute(select(place.symbol).where(*mine)).scalars()
    return [Lane(venue, account, symbol) for symbol in sorted(symbols)]


def own(tx: Connection, lane: Lane, executions: Iterable[Fill]) -> list[Fill]:
    """Those that orders of this lane made, with our id of the order."""
    listed = list(executions)
    mine = numbered(tx, lane, (fill.venue_order_id for fill in listed))
    names = {order.venue_order_id: order.client_order_id for order in mine}
    return [
        replace(fill, client_order_id=names[fill.venue_order_id])
        for fill in listed
        if fill.venue_order_id in names
    ]
