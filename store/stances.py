"""What alerts found when their turn came, kept beside what they expected.

Every function works inside the caller's transaction; must never judge.
"""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.engine import Connection

from store._lanes import at
from store.journal import Claim, Intent, find, hold
from store.tables import intents
from trading.model import Direction, Lane
from trading.stance import Heard


def found(tx: Connection, intent_id: str) -> Direction | None:
    """The position that an intent found, if it has looked."""
    row = tx.execute(select(intents.c.found).where(intents.c.id == intent_id)).scalar_one()
    return None if row is None else Direction(row)


def keep(tx: Connection, held: Claim, intent_id: str, position: Direction) -> None:
    """Remembers the position that an intent found."""
    hold(tx, held)
    tx.execute(update(intents).where(intents.c.id == intent_id).values(found=position))


def earlier(tx: Connection, lane: Lane, intent: Intent, limit: int) -> list[Heard]:
    """The alerts that came to a lane before this one, the newest first."""
    rows = tx.execute(
        select(intents.c.id, intents.c.found)
        .where(at(intents, lane), intents.c.seq < intent.seq)
        .order_by(intents.c.seq.desc())
        .limit(limit)
    ).all()
    heard = []
    for row in rows:
        each = find(tx, row.id)
        heard.append(
            Heard(
                id=each.id,
                alert=each.alert,
                received_at=each.received_at,
                found=None if row.found is None else Direction(row.found),
                status=each.status,
            )
        )
    return heard
