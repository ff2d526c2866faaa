"""Reads the chains from end to end and says where one breaks, or where a row is not what its record says.

In short reads, so that a server at work is not held up: what was appended before does not change. It must
never write.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Integer,
    Table,
    Text,
    cast,
    exists,
    func,
    select,
    tuple_,
    type_coerce,
)
from sqlalchemy.engine import Connection, Row

from store import Store
from store.chain import ANCHORS, COVERED, GENESIS, Covered, content_of, digest
from store.tables import chain, chain_heads, fills, moment, orders

PAGE = 500
#: Of a number that every database takes.
_DIGITS = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong: in which chain, at which number (0: no number), since when, and what."""

    chain: str
    number: int
    at: datetime | None
    text: str

    def __str__(self) -> str:
        place = f"{self.chain} {self.number}" if self.number else self.chain
        return f"{place}: {self.text}"


@dataclass(slots=True)
class Verdict:
    """What was read, and what was found; findings in the order of their times."""

    records: int = 0
    chains: int = 0
    anchor: str = GENESIS
    findings: list[Finding] = field(default_factory=list)


def verify(store: Store) -> Verdict:
    """Every chain, every row that is chained. Raises StoreUnavailable."""
    verdict = Verdict()
    # Anchors first: whatever they name was committed before them.
    for name in sorted(_names(store), key=lambda each: (each != ANCHORS, each)):
        verdict.chains += 1
        verdict.findings += _walk(store, name, verdict)
    for covered in COVERED.values():
        verdict.findings += _unchained(store, covered)
    verdict.findings.sort(key=lambda each: (each.at is None, each.at, each.chain, each.number))
    return verdict


def verify_chain(store: Store, name: str) -> Verdict:
    """One chain and its rows. Raises StoreUnavailable."""
    verdict = Verdict(chains=1)
    verdict.findings += _walk(store, name, verdict)
    return verdict


def knows_anchor(store: Store, mark: str) -> bool:
    """Whether that anchor is still in its chain. Raises StoreUnavailable."""
    with store.read() as tx:
        query = select(chain.c.number).where(chain.c.chain == ANCHORS, chain.c.hash == mark)
        return tx.execute(query.limit(1)).first() is not None


def story(tx: Connection, alert_id: str) -> list[Row[Any]]:
    """The records of one alert, fills of its orders among them, in the order in which they were written."""
    mine = select(orders.c.client_order_id).where(orders.c.intent_id == alert_id)
    filled = select(cast(fills.c.seq, Text)).where(fills.c.client_order_id.in_(mine))
    of = chain.c
    theirs = (of.alert_id == alert_id) | ((of.what == fills.name) & of.key.in_(filled))
    return list(tx.execute(select(chain).where(theirs).order_by(of.chain, of.number)))


def time_of(record: Row[Any]) -> datetime | None:
    """When the row last changed that a record holds; None where it says no time that can be read."""
    covered = COVERED.get(record.what)
    try:
        return _moment(json.loads(record.content)["at" if covered is None else covered.at])
    except (KeyError, TypeError, ValueError):
        return None


def _moment(value: Any) -> datetime | None:
    try:
        return moment(value)
    except (TypeError, OverflowError):
        return None


def _names(store: Store) -> set[str]:
    with store.read() as tx:
        told = set(tx.execute(select(chain_heads.c.chain)).scalars())
        return told | set(tx.execute(select(chain.c.chain).distinct()).scalars())


def _walk(store: Store, name: str, verdict: Verdict) -> Iterator[Finding]:
    with store.read() as tx:
        head = tx.execute(select(chain_heads).where(chain_heads.c.chain == name)).one_or_none()
        newest = select(chain).where(chain.c.chain == name).order_by(chain.c.number.desc()).limit(1)
        last = tx.execute(newest).one_or_none()
    number, mark = (0, GENESIS) if last is None else (last.number, last.hash)
    if head is None:
        yield Finding(chain=name, number=0, at=None, text="the row is gone that says where it ends")
    elif (head.number, head.hash) != (number, mark):
        yield Finding(
            chain=name,
            number=number if isinstance(number, int) else 0,
            at=None if last is None else time_of(last),
            text=f"it ended with record {head.number} and ends with record {number}, or with another hash:"
            " the newest records were removed, replaced or added",
        )
    links = _Links(name)
    for page in _pages(store, name, number):
        with store.read() as tx:
            sound = []
            for record in page:
                verdict.records += 1
                broken = links.follow(tx, record)
                if broken is None:
                    sound.append(record)
                else:
                    yield Finding(chain=name, number=broken[0], at=time_of(record), text=broken[1])
            yield from _anchored(tx, sound) if name == ANCHORS else _rows(tx, name, sound)
    if name == ANCHORS:
        verdict.anchor = mark


def _pages(store: Store, name: str, last: int) -> Iterator[Sequence[Row[Any]]]:
    after: int | None = None
    of = chain.c
    while True:
        query = select(chain).where(of.chain == name, of.number <= last).order_by(of.number).limit(PAGE)
        with store.read() as tx:
            page = tx.execute(query if after is None else query.where(of.number > after)).all()
        if page:
            yield page
        if len(page) < PAGE:
            return
        after = page[-1].number


class _Links:
    """Whether each record follows the one before it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._number = 0
        self._hash, self._before = GENESIS, ""

    def follow(self, tx: Connection, record: Row[Any]) -> tuple[int, str] | None:
        """None where it does; else the number of the record that is wrong, and what is."""
        if not isinstance(record.number, int):  # SQLite takes anything for a number
            return 0, f"{record.number!r} is no record's number"
        wrong = self._judge(tx, record)
        self._before, self._hash, self._number = self._hash, record.hash, record.number
        return wrong

    def _judge(self, tx: Connection, record: Row[Any]) -> tuple[int, str] | None:
        number = record.number
        same = (record.chain, record.what, record.key, record.alert_id, record.content)
        if digest(record.prev, *same) != record.hash:
            return number, "it was changed: its content is not what its hash says"
        if number != self._number + 1:
            missing = self._number + 1
            return (
                missing,
                f"removed, and all up to record {number - 1}" if number - missing > 1 else "removed",
            )
        if record.prev == self._hash:
            return None
        if record.prev == self._before:
            return number - 1, "inserted: the next record follows the one before it"
        elsewhere = select(chain.c.number).where(chain.c.chain == self._name, chain.c.hash == record.prev)
        found = tx.execute(elsewhere.limit(1)).scalar()
        if found is not None:
            return number, f"out of order: it follows record {found}"
        return (
            number,
            f"it does not follow record {number - 1}: that was replaced, or one between was removed",
        )


def _rows(tx: Connection, name: str, records: Iterable[Row[Any]]) -> Iterator[Finding]:
    """Where a row is not what its newest record says."""
    by_table: dict[str, dict[str, list[Row[Any]]]] = {}
    for record in records:
        if record.what in COVERED:
            by_table.setdefault(record.what, {}).setdefault(record.key, []).append(record)
    for what, by_key in by_table.items():
        newest = _newest(tx, name, what, list(by_key))
        rows = _now(tx, COVERED[what], list(by_key))
        for key, mine in by_key.items():
            record = mine[-1]
            if record.number != newest[key]:
                continue
            text = _difference(record, rows.get(key))
            if text:
                yield Finding(chain=name, number=record.number, at=time_of(record), text=text)


def _newest(tx: Connection, name: str, what: str, keys: Sequence[str]) -> dict[str, int]:
    of = chain.c
    query = select(of.key, func.max(of.number).label("newest")).where(
        of.what == what, of.key.in_(keys), of.chain == name
    )
    return {row.key: row.newest for row in tx.execute(query.group_by(of.key))}


def _now(tx: Connection, covered: Covered, keys: Sequence[str]) -> dict[str, Row[Any]]:
    column = covered.table.c[covered.key]
    kind = column.type.python_type
    good = [kind(key) for key in keys if kind is str or (key.isdecimal() and len(key) <= _DIGITS)]
    rows = tx.execute(select(*_raw(covered.table)).where(column.in_(good)))
    return {str(row._mapping[covered.key]): row for row in rows}


def _raw(table: Table) -> list[Any]:
    """Columns as the database has them: what stands there may be no amount, time or truth any more."""
    found: list[Any] = []
    for column in table.c:
        base = Integer() if isinstance(column.type, Boolean) else getattr(column.type, "impl", column.type)
        found.append(type_coerce(column, base).label(column.name))
    return found


def _difference(record: Row[Any], row: Row[Any] | None) -> str:
    if row is None:
        return f"{record.what} {record.key}: the row was removed"
    told, stands = json.loads(record.content), content_of(record.what, row)
    changed = sorted(name for name in told if name in stands and told[name] != stands[name])
    return f"{record.what} {record.key}: the row was changed: {', '.join(changed)}" if changed else ""


def _anchored(tx: Connection, anchors: Sequence[Row[Any]]) -> Iterator[Finding]:
    """Where a chain no longer holds what an anchor saw in it."""
    told = {anchor.number: json.loads(anchor.content) for anchor in anchors}
    places = [(content["chain"], content["number"]) for content in told.values()]
    of = chain.c
    query = select(of.chain, of.number, of.hash).where(tuple_(of.chain, of.number).in_(places))
    found = {(row.chain, row.number): row.hash for row in tx.execute(query)}
    for number, content in told.items():
        place = content["chain"], content["number"]
        if found.get(place) != content["hash"]:
            word = "removed" if place not in found else "replaced"
            yield Finding(
                chain=place[0], number=place[1], at=None, text=f"{word} since anchor {number} saw it"
            )


def _unchained(store: Store, covered: Covered) -> Iterator[Finding]:
    """Rows that no record speaks of: they were inserted past the chain."""
    table, seq = covered.table, covered.table.c.seq
    key, at = covered.table.c[covered.key], type_coerce(covered.table.c[covered.at], BigInteger)
    spoken = exists().where(chain.c.what == table.name, chain.c.key == cast(key, Text))
    after: Any = 0
    while True:
        with store.read() as tx:
            upto = tx.execute(select(func.max(_page(seq, after).c.seq))).scalar()
            if upto is None:
                return
            query = select(key.label("key"), at).where(seq > after, seq <= upto, ~spoken)
            strays = tx.execute(query.order_by(seq)).all()
        for row in strays:
            text = f"{row.key}: the row was inserted past the chain"
            yield Finding(chain=table.name, number=0, at=_moment(row[1]), text=text)
        after = upto


def _page(seq: Any, after: int) -> Any:
    return select(seq.label("seq")).where(seq > after).order_by(seq).limit(PAGE).subquery()
