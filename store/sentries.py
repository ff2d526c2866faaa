"""Whose turn it is to look after an account, and the day on which it lost too much, in the table `state`.

Every function works inside the caller's transaction; must never judge.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from store import tables
from store._engine import insert
from store._lanes import at
from trading.model import Lane

_NEXT = "SENTRY "
_BREACH = "BREACH "


def take(tx: Connection, *, what: str, venue: str, account: str, now: datetime, every: timedelta) -> bool:
    """Whether it is time again; whoever gets True does it, and nobody else until `every` has passed."""
    state = tables.state
    row = insert(tx, state).values(key=f"{_NEXT}{what} {venue} {account}", value="", at=now + every)
    taken = row.on_conflict_do_update(
        index_elements=[state.c.key], set_={"at": row.excluded.at}, where=state.c.at <= now
    )
    return tx.execute(taken.returning(state.c.key)).first() is not None


def breach(tx: Connection, *, venue: str, account: str, now: datetime) -> bool:
    """Remembers that an account has lost too much today; False if that was known."""
    if breached(tx, venue=venue, account=account, now=now):
        return False
    state = tables.state
    row = insert(tx, state).values(key=f"{_BREACH}{venue} {account}", value="", at=now)
    tx.execute(row.on_conflict_do_update(index_elements=[state.c.key], set_={"at": row.excluded.at}))
    return True


def breached(tx: Connection, *, venue: str, account: str, now: datetime) -> bool:
    """Whether an account has lost too much on the day (UTC) of `now`."""
    state = tables.state.c
    row = tx.execute(select(state.at).where(state.key == f"{_BREACH}{venue} {account}")).first()
    return row is not None and row.at.date() == now.date()


def places(tx: Connection) -> list[tuple[str, str]]:
    """Every venue and account that has had a lane."""
    rows = tx.execute(select(tables.positions.c.venue, tables.positions.c.account).distinct())
    return sorted((row.venue, row.account) for row in rows)


def spelling(tx: Connection, lane: Lane) -> dict[str, str] | None:
    """How the newest alert of a lane spells it: exchange, ticker, subaccount."""
    told = tables.alerts.c
    row = tx.execute(
        select(told.exchange, told.ticker, told.subaccount)
        .join_from(tables.alerts, tables.intents, told.id == tables.intents.c.id)
        .where(at(tables.intents, lane))
        .order_by(told.seq.desc())
        .limit(1)
    ).first()
    return None if row is None else dict(row._mapping)
