"""How a trade went: its fills from the entry to the moment when its lane was flat again.

Never writes, and never decides what a trade should have been.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext
from typing import Any

from sqlalchemy import Connection, Row, Table, and_, func, not_, select

from store._lanes import at
from store.tables import fills, intents, orders, positions
from trading.model import ZERO, Lane, OrderStatus, Role, Side
from trading.rounding import MONEY


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an entry came to. Quantities in base units, money in quote units.

    `followed`: its lane follows it still; `stop_price` is where its stop belongs then. `open_quantity` is
    signed. `realised` is before fees; `exit_price` the average of what closed it.
    """

    followed: bool
    stop_price: Decimal | None
    entered: Decimal
    entry_price: Decimal | None
    open_quantity: Decimal
    exit_price: Decimal | None
    realised: Decimal
    fees: Decimal
    flat_at: datetime | None


def entered_since(tx: Connection, lane: Lane, *, since: datetime, but: str) -> datetime | None:
    """When the lane's newest entry from `since` on was made, other than the intent `but`'s; what the venue
    refused, or what never reached it, entered nothing.
    """
    order = orders.c
    ended = (OrderStatus.INITIALIZED, OrderStatus.DENIED, OrderStatus.REJECTED)
    lost = and_(order.status == OrderStatus.EXPIRED, order.venue_order_id.is_(None))
    newest = (
        select(order.created_at)
        .where(at(orders, lane), order.created_at >= since)
        .where(order.role == Role.ENTRY, order.intent_id != but, order.status.not_in(ended), not_(lost))
        .order_by(order.seq.desc())
        .limit(1)
    )
    return tx.execute(newest).scalar()


def outcome(tx: Connection, intent_id: str) -> Outcome:
    """The trade of an entry, as far as it has come."""
    intent = tx.execute(select(intents).where(intents.c.id == intent_id)).one()
    lane = Lane(intent.venue, intent.account, intent.symbol)
    place = tx.execute(select(positions).where(_at(positions, lane))).one_or_none()
    followed = place is not None and place.intent_id == intent_id
    own = select(orders.c.client_order_id).where(orders.c.intent_id == intent_id, orders.c.role == Role.ENTRY)
    mine = set(tx.execute(own).scalars())
    first = select(func.min(fills.c.seq)).where(_at(fills, lane), fills.c.client_order_id.in_(mine))
    since: int | None = tx.execute(first).scalar()
    rows: list[Row[Any]] = []
    if since is not None:
        later = select(fills).where(_at(fills, lane), fills.c.seq >= since).order_by(fills.c.seq)
        rows = _own(tx.execute(later), mine)
    entries = [row for row in rows if row.client_order_id in mine]
    exits = [row for row in rows if row.client_order_id not in mine]
    with localcontext(MONEY):
        left = sum((Side(row.side).sign * row.quantity for row in rows), ZERO)
        return Outcome(
            followed=followed,
            stop_price=place.stop_price if place is not None and followed else None,
            entered=sum((row.quantity for row in entries), ZERO),
            entry_price=_average(entries),
            open_quantity=left,
            exit_price=_average(exits),
            realised=sum((row.realised_pnl for row in rows), ZERO),
            fees=sum((row.fee for row in rows), ZERO),
            flat_at=rows[-1].at if rows and not left else None,
        )


def closed_by(tx: Connection, intent_id: str) -> Outcome:
    """What an exit closed, by its own orders."""
    own = select(orders.c.client_order_id).where(orders.c.intent_id == intent_id)
    rows = list(tx.execute(select(fills).where(fills.c.client_order_id.in_(own)).order_by(fills.c.seq)))
    with localcontext(MONEY):
        return Outcome(
            followed=False,
            stop_price=None,
            entered=sum((row.quantity for row in rows), ZERO),
            entry_price=None,
            open_quantity=ZERO,
            exit_price=_average(rows),
            realised=sum((row.realised_pnl for row in rows), ZERO),
            fees=sum((row.fee for row in rows), ZERO),
            flat_at=rows[-1].at if rows else None,
        )


def realised(tx: Connection, since: datetime) -> list[tuple[str, str, Decimal, Decimal]]:
    """Venue, account, realised P&L before fees and fees from `since` on, of every account that traded."""
    rows = tx.execute(
        select(fills.c.venue, fills.c.account, fills.c.realised_pnl, fills.c.fee).where(fills.c.at >= since)
    )
    found: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
    with localcontext(MONEY):
        for row in rows:
            won, paid = found.get((row.venue, row.account), (ZERO, ZERO))
            found[row.venue, row.account] = (won + row.realised_pnl, paid + row.fee)
    return [(*whose, *sums) for whose, sums in sorted(found.items())]


def _own(rows: Iterable[Row[Any]], mine: Collection[str]) -> list[Row[Any]]:
    """Of a lane's fills from an entry's first on, those of its trade: up to the one that made it flat."""
    found: list[Row[Any]] = []
    left = ZERO
    for row in rows:
        if found and not left and row.client_order_id not in mine:
            break
        found.append(row)
        left += Side(row.side).sign * row.quantity
    return found


def _average(rows: Collection[Row[Any]]) -> Decimal | None:
    quantity = sum((row.quantity for row in rows), ZERO)
    return sum((row.quantity * row.price for row in rows), ZERO) / quantity if quantity else None


def _at(table: Table, lane: Lane) -> Any:
    of = table.c
    return and_(of.venue == lane.venue, of.account == lane.account, of.symbol == lane.symbol)
