"""The chain: each row that decides or trades, as it stood at each change, linked by hash to the one before.

One chain per lane, so that lanes never wait for each other, and one for what belongs to no lane. Anchors tie
them together: now and then a chain of its own notes where all the others stand. What is kept in a
transaction is appended right before its commit; no row may change without it, and nothing is ever taken out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Table, bindparam, exists, insert, select, update
from sqlalchemy.engine import Connection, Row

from store import _engine, tables
from trading.model import Lane

#: What the first record of a chain follows.
GENESIS = "0" * 64
#: The chain of what belongs to no lane, and that of the anchors.
DESK = "desk"
ANCHORS = "anchors"

_KEPT = "desk_chain"


@dataclass(frozen=True, slots=True)
class Covered:
    """A table whose rows are chained: what names a row, when it last changed, and which columns count (all
    where none is named).
    """

    table: Table
    key: str
    at: str
    only: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return self.only or tuple(column.name for column in self.table.c)


#: Of intents what was decided, and out of what; the rest is bookkeeping.
_DECIDED = (
    *("id", "seq", "venue", "account", "symbol", "kind", "status", "reason", "effective_at", "expires_at"),
    *("free_collateral", "risk", "quantity", "worst_loss", "notional", "updated_at"),
)
#: By the name that a record says in `what`.
COVERED = {
    each.table.name: each
    for each in (
        Covered(tables.alerts, "id", "received_at"),
        Covered(tables.intents, "id", "updated_at", _DECIDED),
        Covered(tables.votes, "seq", "at"),
        Covered(tables.events, "seq", "at"),
        Covered(tables.orders, "client_order_id", "updated_at"),
        Covered(tables.fills, "seq", "at"),
    )
}
_COLUMNS = {name: each.columns for name, each in COVERED.items()}

_HEAD = select(tables.chain_heads).where(tables.chain_heads.c.chain == bindparam("name"))
_LOCKED = _HEAD.with_for_update()
_FREE = _HEAD.with_for_update(skip_locked=True)
_ADVANCE = (
    update(tables.chain_heads)
    .where(tables.chain_heads.c.chain == bindparam("name"))
    .values(number=bindparam("to_number"), hash=bindparam("to_hash"))
)
_PLACE = select(tables.intents.c.venue, tables.intents.c.account, tables.intents.c.symbol).where(
    tables.intents.c.id == bindparam("id")
)
_APPEND = insert(tables.chain)


@dataclass(frozen=True, slots=True)
class Record:
    """What is appended; `lane` is None until it is looked up by the alert, or where there is none."""

    lane: Lane | None
    what: str
    key: str
    alert_id: str | None
    content: str


def begin(tx: Connection) -> None:
    """A writing transaction begins: nothing is kept yet."""
    tx.info[_KEPT] = []


def keep(tx: Connection, table: Table, row: Row[Any], *, alert_id: str | None, lane: Lane | None) -> None:
    """Keeps a row as it is now. `row` holds every column that is covered; `lane` may be None where the
    alert tells it.
    """
    covered = COVERED[table.name]
    content = canonical(content_of(table.name, row))
    _keep(tx, Record(lane, table.name, str(row._mapping[covered.key]), alert_id, content))


def note(tx: Connection, what: str, content: Mapping[str, Any]) -> None:
    """Keeps what stands in no row for good, such as a halt."""
    plain = {name: _plain(value) for name, value in content.items()}
    _keep(tx, Record(None, what, what, None, canonical(plain)))


def close(tx: Connection) -> None:
    """Appends what was kept; right before the commit, so that chains are locked as shortly as can be."""
    kept: list[Record] = tx.info.pop(_KEPT)
    if not kept:
        return
    chains: dict[str, list[Record]] = {}
    places: dict[str | None, str] = {None: DESK}
    for record in kept:
        name = str(record.lane) if record.lane is not None else _place(tx, record.alert_id, places)
        chains.setdefault(name, []).append(record)
    for name in sorted(chains):  # always in one order: two that lock several must not lock each other out
        _append(tx, name, _locked(tx, name), chains[name])


def anchor(tx: Connection) -> tuple[int, str] | None:
    """Notes where every chain stands that has grown; the number and hash of the last anchor, or None where
    there is nothing new, or another process is at it.
    """
    _open(tx, ANCHORS)
    head = tx.execute(_FREE, {"name": ANCHORS}).one_or_none()
    if head is None:
        return None
    grown = [_anchor_of(row) for row in tx.execute(_GROWN)]
    return _append(tx, ANCHORS, (head.number, head.hash), grown) if grown else None


def has_grown(tx: Connection) -> bool:
    """Whether there is something to anchor."""
    return tx.execute(_GROWN.limit(1)).first() is not None


def digest(prev: str, chain: str, what: str, key: str, alert_id: str | None, content: str) -> str:
    """The hash of one record."""
    return hashlib.sha256(json.dumps([prev, chain, what, key, alert_id, content]).encode()).hexdigest()


def canonical(content: Mapping[str, Any]) -> str:
    """One spelling for one content."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def content_of(what: str, row: Row[Any]) -> dict[str, Any]:
    """The row of a covered table as its record holds it: values as the database has them, an alert's body
    by its hash.
    """
    found = {name: _plain(row._mapping[name]) for name in _COLUMNS[what]}
    if what == tables.alerts.name:
        found["body"] = hashlib.sha256(found["body"].encode()).hexdigest()
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return tables.microseconds(value)
    return value


def _keep(tx: Connection, record: Record) -> None:
    if tx.in_nested_transaction():
        raise RuntimeError("a savepoint could undo what its chain holds")
    tx.info[_KEPT].append(record)


def _place(tx: Connection, alert_id: str | None, places: dict[str | None, str]) -> str:
    if alert_id not in places:
        row = tx.execute(_PLACE, {"id": alert_id}).one_or_none()
        places[alert_id] = DESK if row is None else str(Lane(*row))
    return places[alert_id]


def _open(tx: Connection, name: str) -> None:
    new = _engine.insert(tx, tables.chain_heads).values(chain=name, number=0, hash=GENESIS)
    tx.execute(new.on_conflict_do_nothing())


def _locked(tx: Connection, name: str) -> tuple[int, str]:
    head = tx.execute(_LOCKED, {"name": name}).one_or_none()
    if head is None:
        _open(tx, name)
        head = tx.execute(_LOCKED, {"name": name}).one()
    return head.number, head.hash


def _append(tx: Connection, name: str, head: tuple[int, str], records: Iterable[Record]) -> tuple[int, str]:
    number, prev = head
    rows = []
    for record in records:
        number += 1
        mark = digest(prev, name, record.what, record.key, record.alert_id, record.content)
        rows.append(
            {
                "chain": name,
                "number": number,
                "what": record.what,
                "key": record.key,
                "alert_id": record.alert_id,
                "content": record.content,
                "prev": prev,
                "hash": mark,
            }
        )
        prev = mark
    tx.execute(_APPEND, rows)
    tx.execute(_ADVANCE, {"name": name, "to_number": number, "to_hash": prev})
    return number, prev


def _anchor_of(head: Any) -> Record:
    content = {"chain": head.chain, "number": head.number, "hash": head.hash}
    return Record(None, ANCHORS, head.hash, None, canonical(content))


_GROWN = (
    select(tables.chain_heads)
    .where(
        tables.chain_heads.c.chain != ANCHORS,
        ~exists().where(tables.chain.c.what == ANCHORS, tables.chain.c.key == tables.chain_heads.c.hash),
    )
    .order_by(tables.chain_heads.c.chain)
)
