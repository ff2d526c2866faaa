"""Which schema a database holds, told without Alembic (only `desk.migrate` may load that).

Never changes anything that stays.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import column, inspect, select, table

from store import Store, Transaction
from store.tables import metadata

#: Every revision that migrations/versions has, oldest first.
REVISIONS = ("0001", "0002", "0003", "0004")

HEAD = REVISIONS[-1]

_VERSION = table("alembic_version", column("version_num"))


class SchemaState(StrEnum):
    """EMPTY and OLDER want `python -m desk.migrate`; NEWER wants a newer release of this program."""

    CURRENT = "CURRENT"
    EMPTY = "EMPTY"
    OLDER = "OLDER"
    NEWER = "NEWER"


def check(store: Store) -> SchemaState:
    """Compares the database with this release. StoreUnavailable when it does not answer."""
    with store.read() as tx:
        if not inspect(tx).has_table(_VERSION.name):
            return SchemaState.EMPTY
        found = tx.execute(select(_VERSION.c.version_num)).scalars().all()
    if not found:
        return SchemaState.EMPTY
    if list(found) == [HEAD]:
        return SchemaState.CURRENT
    return SchemaState.OLDER if set(found) <= set(REVISIONS) else SchemaState.NEWER


def try_to_make(tx: Transaction) -> None:
    """Makes the tables, as a migration would; StoreUnavailable or the driver's own error where one is there
    already or may not be made. Take the transaction back.
    """
    metadata.create_all(tx, checkfirst=False)
