"""The turn of an account: one entry at a time from the reading of its balance to the sending.

Two lanes that size from the same free balance would spend it twice. A turn, a row of the table `state`,
ends by itself, so that a dead process holds nobody up for long. It must never be taken for a lane's claim,
which alone lets anything leave.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, or_, select, update

from store import tables
from store._engine import insert
from trading.model import AlertKind, IntentStatus, Lane

_TURN = "TURN "


def take(tx: Connection, *, lane: Lane, holder: str, now: datetime, lease: timedelta) -> bool:
    """Whether the turn is the holder's now: it was free, over, or its lane's already. Who had it for the lane
    has lost the claim since, and can send nothing.
    """
    state = tables.state
    row = insert(tx, state).values(key=_key(lane), value=_value(lane, holder), at=now + lease)
    taken = row.on_conflict_do_update(
        index_elements=[state.c.key],
        set_={"value": row.excluded.value, "at": row.excluded.at},
        where=or_(state.c.at <= now, state.c.value.startswith(_value(lane, ""), autoescape=True)),
    )
    return tx.execute(taken.returning(state.c.key)).first() is not None


def keep(tx: Connection, *, lane: Lane, holder: str, now: datetime, lease: timedelta) -> bool:
    """Prolongs the turn if it is still the holder's: nobody has had it since. Who would take it waits for the
    end of this transaction, and finds what it wrote."""
    state = tables.state.c
    mine = update(tables.state).where(state.key == _key(lane), state.value == _value(lane, holder))
    return tx.execute(mine.values(at=now + lease).returning(state.key)).first() is not None


def give_back(tx: Connection, *, lane: Lane, holder: str) -> None:
    """Frees the turn if it is still the holder's."""
    state = tables.state.c
    tx.execute(delete(tables.state).where(state.key == _key(lane), state.value == _value(lane, holder)))


def waiting(tx: Connection, lane: Lane) -> int:
    """How many entries of the lane's account are at work, with or without the turn."""
    intent = tables.intents.c
    # Joined with nothing: SQLite is to look among the few at work, not among all of an account's past.
    mine = (intent.venue.concat("") == lane.venue, intent.account.concat("") == lane.account)
    at_work = (intent.status == IntentStatus.EXECUTING, intent.kind == AlertKind.ENTRY)
    return int(tx.execute(select(func.count()).where(*mine, *at_work)).scalar_one())


def _key(lane: Lane) -> str:
    return f"{_TURN}{lane.venue} {lane.account}"


def _value(lane: Lane, holder: str) -> str:
    return f"{lane.symbol} {holder}"
