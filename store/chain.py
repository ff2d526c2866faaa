"""The chain: each row that decides or trades, as it stood at each change, linked by hash to the one before.

One chain per lane, so that lanes never wait for each other, and one for what belongs to no lane. Anchors tie
them together: now and then a chain of its own notes where all the others stand. What is kept in a
transaction is appended right before its commit; no row may change without it, and nothing is ever taken out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Table, Text, any_, bindparam, column, exists, func, select, update
from sqlalchemy.dialects import postgresql
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
_ENDS = (
    func.unnest(
        bindparam("name", type_=postgresql.ARRAY(Text)),
        bindparam("to_number", type_=postgresql.ARRAY(BigInteger)),
        bindparam("to_hash", type_=postgresql.ARRAY(Text)),
    )
    .table_valued(column("name", Text), column("number", BigInteger), column("hash", Text))
    .render_derived("ends")
)
_ALL_ADVANCE = (
    update(tables.chain_heads)
    .where(tables.chain_heads.c.chain == _ENDS.c.name)
    .values(number=_ENDS.c.number, hash=_ENDS.c.hash)
)
_NAME = tables.chain_heads.c.chain
_ALL_LOCKED = {
    "postgresql": select(tables.chain_heads)
    .where(any_(bindparam("names", type_=postgresql.ARRAY(Text))) == _NAME)
    .order_by(_engine.sorted_as_python(_NAME))
    .with_for_update(),
    "sqlite": select(tables.chain_heads).where(_NAME.in_(bindparam("names", expanding=True))),
}
_OPEN = _engine.Rows(
    tables.chain_heads, ("chain", "number", "hash"), lambda new: new.on_conflict_do_nothing()
)
_PLACE = select(tables.intents.c.venue, tables.intents.c.account, tables.intents.c.symbol).where(
    tables.intents.c.id == bindparam("id")
)
_APPEND = _engine.Rows(tables.chain, [column.name for column in tables.chain.c])
_SPELT = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


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


def keep_new(tx: Connection, table: Table, values: Mapping[str, Any], *, alert_id: str, lane: Lane) -> None:
    """Keeps a row that was inserted just now; what `values` does not name is NULL."""
    content = canonical(_content(table.name, {name: values.get(name) for name in _COLUMNS[table.name]}))
    _keep(tx, Record(lane, table.name, str(values[COVERED[table.name].key]), alert_id, content))


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
    names = sorted(chains)
    heads = _all_locked(tx, names) if len(names) > 1 else {name: _locked(tx, name) for name in names}
    _append(tx, *(_linked(name, heads[name], chains[name]) for name in names))


def anchor(tx: Connection) -> tuple[int, str] | None:
    """Notes where every chain stands that has grown; the number and hash of the last anchor, or None where
    there is nothing new, or another process is at it.
    """
    _open(tx, ANCHORS)
    head = tx.execute(_FREE, {"name": ANCHORS}).one_or_none()
    if head is None:
        return None
    grown = [_anchor_of(row) for row in tx.execute(_GROWN)]
    if not grown:
        return None
    rows = _linked(ANCHORS, (head.number, head.hash), grown)
    _append(tx, rows)
    return rows[-1]["number"], rows[-1]["hash"]


def has_grown(tx: Connection) -> bool:
    """Whether there is something to anchor."""
    return tx.execute(_GROWN.limit(1)).first() is not None


def digest(prev: str, chain: str, what: str, key: str, alert_id: str | None, content: str) -> str:
    """The hash of one record."""
    return hashlib.sha256(json.dumps([prev, chain, what, key, alert_id, content]).encode()).hexdigest()


def canonical(content: Mapping[str, Any]) -> str:
    """One spelling for one content."""
    return _SPELT(content)


def content_of(what: str, row: Row[Any]) -> dict[str, Any]:
    """The row of a covered table as its record holds it: values as the database has them, an alert's body
    by its hash.
    """
    return _content(what, row._mapping)


def _content(what: str, row: Mapping[Any, Any]) -> dict[str, Any]:
    found = {name: _plain(row[name]) for name in _COLUMNS[what]}
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


def _open(tx: Connection, *names: str) -> None:
    _OPEN.insert(tx, [{"chain": name, "number": 0, "hash": GENESIS} for name in names])


def _locked(tx: Connection, name: str) -> tuple[int, str]:
    head = tx.execute(_LOCKED, {"name": name}).one_or_none()
    if head is None:
        _open(tx, name)
        head = tx.execute(_LOCKED, {"name": name}).one()
    return head.number, head.hash


def _all_locked(tx: Connection, names: Sequence[str]) -> dict[str, tuple[int, str]]:
    """As `_locked`, for several in their order. What is new is opened before anything is locked: who waits
    for another to open it keeps nobody waiting.
    """
    _open(tx, *names)
    heads = tx.execute(_ALL_LOCKED[tx.dialect.name], {"names": names})
    return {head.chain: (head.number, head.hash) for head in heads}


def _append(tx: Connection, *linked: list[dict[str, Any]]) -> None:
    """Appends what each chain gets, and notes where they end."""
    _APPEND.insert(tx, [row for rows in linked for row in rows])
    ends = [
        {"name": rows[-1]["chain"], "to_number": rows[-1]["number"], "to_hash": rows[-1]["hash"]}
        for rows in linked
    ]
    if len(ends) > 1 and tx.dialect.name == "postgresql":
        # One statement: there each one is a trip of its own.
        tx.execute(_ALL_ADVANCE, {name: [end[name] for end in ends] for name in ends[0]})
    else:
        tx.execute(_ADVANCE, ends)


def _linked(name: str, head: tuple[int, str], records: Iterable[Record]) -> list[dict[str, Any]]:
    """The rows of a chain whose head is locked and stands there."""
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
    return rows


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
