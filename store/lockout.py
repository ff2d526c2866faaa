"""Counts wrong passphrases and passwords by address, in windows that begin with the first failure.

Never decides how many are too many; every function works inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, case, delete, select

from store import tables
from store._engine import insert, unlocked

_COUNTED = select(tables.auth_failures.c.failures, tables.auth_failures.c.since).where(
    tables.auth_failures.c.address == bindparam("of")
)


def fail(tx: Connection, address: str, *, now: datetime, window: timedelta) -> int:
    """Counts one more failure and returns how many the address has in its window, this one included.

    One statement: failures at the same moment, from any number of processes, are all counted.
    """
    known = tables.auth_failures
    row = insert(tx, known).values(address=address, failures=1, since=now)
    over = known.c.since <= now - window
    counted = row.on_conflict_do_update(
        index_elements=[known.c.address],
        set_={
            "failures": case((over, 1), else_=known.c.failures + 1),
            "since": case((over, row.excluded.since), else_=known.c.since),
        },
    ).returning(known.c.failures)
    return int(tx.execute(counted).scalar_one())


def failures(tx: Connection, address: str, *, now: datetime, window: timedelta) -> int:
    """How many failures the address has in its window."""
    return all_failures(tx, [(address, now)], window=window)[0]


def all_failures(tx: Connection, came: Sequence[tuple[str, datetime]], *, window: timedelta) -> list[int]:
    """The same for each address at its time; every address is asked for once."""
    counted = {
        address: tx.execute(_COUNTED, {"of": address}).one_or_none()
        for address in {address for address, _ in came}
    }
    found = [(counted[address], now - window) for address, now in came]
    return [0 if row is None or row.since <= after else row.failures for row, after in found]


def prune(tx: Connection, before: datetime) -> int:
    """Forgets windows that began before then, but for what is locked: there an address fails just now, and
    may be about to do the same. Returns how many.
    """
    known = tables.auth_failures
    return tx.execute(delete(known).where(unlocked(known, known.c.since < before))).rowcount
