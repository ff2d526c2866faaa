"""HALT and the heartbeats: what every process reads before it acts, in the table `state`.

Never acts on a switch; every function works inside the caller's transaction.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select

from store import chain, tables
from store._engine import insert

_HALT = "HALT"
_RESUMED = "RESUMED"
_BEAT = "BEAT "
_HALTED = select(tables.state.c.value, tables.state.c.at).where(tables.state.c.key == _HALT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """Nothing new is sent: why, by whom, since when."""

    reason: str
    by: str
    at: datetime


def halt(tx: Connection, *, reason: str, by: str, now: datetime) -> None:
    """Stops sending, for every process; a repeat changes the reason."""
    _put(tx, _HALT, json.dumps({"reason": reason, "by": by}), now)
    chain.note(tx, "halt", {"by": by, "reason": reason, "at": now})


def resume(tx: Connection, *, by: str, now: datetime) -> bool:
    """Lifts the halt and keeps who lifted it last. False when there was none."""
    state = tables.state
    lifted = tx.execute(delete(state).where(state.c.key == _HALT)).rowcount == 1
    if lifted:
        _put(tx, _RESUMED, by, now)
        chain.note(tx, "resume", {"by": by, "at": now})
    return lifted


def halted(tx: Connection) -> Halt | None:
    """The halt in force, if any."""
    row = tx.execute(_HALTED).first()
    if row is None:
        return None
    said = json.loads(row.value)
    return Halt(reason=said["reason"], by=said["by"], at=row.at)


def beat(tx: Connection, name: str, now: datetime) -> None:
    """A process says that it is alive."""
    _put(tx, _BEAT + name, "", now)


def last_beat(tx: Connection, name: str) -> datetime | None:
    """When that process last said so; None: never."""
    state = tables.state.c
    return tx.execute(select(state.at).where(state.key == _BEAT + name)).scalar_one_or_none()


def _put(tx: Connection, key: str, value: str, now: datetime) -> None:
    state = tables.state
    row = insert(tx, state).values(key=key, value=value, at=now)
    tx.execute(
        row.on_conflict_do_update(
            index_elements=[state.c.key], set_={"value": row.excluded.value, "at": row.excluded.at}
        )
    )
