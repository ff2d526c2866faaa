"""Who is logged in at the dashboard: digests of session tokens, in the table `state`.

Never holds a token or a password; every function works inside the caller's transaction.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, select

from store import tables
from store._engine import insert

_SESSION = "SESSION "


def add(tx: Connection, *, digest: str, mark: str, until: datetime, now: datetime) -> None:
    """Remembers a session until then, and forgets those that have ended."""
    state = tables.state
    tx.execute(delete(state).where(state.c.key.startswith(_SESSION), state.c.at <= now))
    tx.execute(insert(tx, state).values(key=_SESSION + digest, value=mark, at=until))


def mark_of(tx: Connection, *, digest: str, now: datetime) -> str | None:
    """What a session that has not ended was marked with; None for any other."""
    state = tables.state.c
    query = select(state.value).where(state.key == _SESSION + digest, state.at > now)
    found: str | None = tx.execute(query).scalar_one_or_none()
    return found


def drop(tx: Connection, *, digest: str) -> None:
    """Ends a session; one that is not known is no error."""
    state = tables.state
    tx.execute(delete(state).where(state.c.key == _SESSION + digest))
