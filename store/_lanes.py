"""Which rows of a table belong to a lane: asked with the lane at hand, or in a query that is built once."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, bindparam, case

from store.tables import positions
from trading.model import Lane

_HELD = "desk_held"


def at(table: Table, lane: Lane) -> ColumnElement[bool]:
    """The rows of one lane."""
    return and_(table.c.venue == lane.venue, table.c.account == lane.account, table.c.symbol == lane.symbol)


def here(table: Table) -> ColumnElement[bool]:
    """The rows of the lane that the query is run with (`place_of`)."""
    return and_(*(table.c[name] == bindparam(f"lane_{name}") for name in ("venue", "account", "symbol")))


def place_of(lane: Lane) -> dict[str, Any]:
    """What a query with `here` is run with."""
    return {"lane_venue": lane.venue, "lane_account": lane.account, "lane_symbol": lane.symbol}


def due_by(time: ColumnElement[Any]) -> ColumnElement[Any]:
    """When a lane is due that wants to be looked at by then. One that waits keeps its place in the queue:
    what wakes it again and again must not put it behind all others each time.
    """
    return case((positions.c.due_at < time, positions.c.due_at), else_=time)


def begin(tx: Connection) -> None:
    """A writing transaction begins: no lane is locked yet."""
    tx.info[_HELD] = set()


def held_here(tx: Connection) -> set[Any]:
    """The claims that were proved in this transaction."""
    held: set[Any] = tx.info[_HELD]
    return held
