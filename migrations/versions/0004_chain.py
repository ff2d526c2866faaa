"""The chain: decisions, orders and fills linked by hash. What stands in the database already is chained as it
is now, lane by lane, in the order of its times.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_GENESIS = "0" * 64
_DESK = "desk"
_BATCH = 500

_PLACES = "SELECT venue, account, symbol FROM intents UNION SELECT venue, account, symbol FROM fills"
_DECIDED = """i.id, i.seq, i.venue, i.account, i.symbol, i.kind, i.status, i.reason, i.effective_at,
    i.expires_at, i.free_collateral, i.risk, i.quantity, i.worst_loss, i.notional, i.updated_at"""
#: By table: what is read of a lane, and the columns that name a row, its time and its alert.
_OF = {
    "alerts": ("a.* FROM alerts a JOIN intents i ON i.id = a.id", ("id", "received_at", "id")),
    "intents": (f"{_DECIDED} FROM intents i", ("id", "updated_at", "id")),
    "votes": ("v.* FROM votes v JOIN intents i ON i.id = v.intent_id", ("seq", "at", "intent_id")),
    "events": ("e.* FROM events e JOIN intents i ON i.id = e.alert_id", ("seq", "at", "alert_id")),
    "orders": ("i.* FROM orders i", ("client_order_id", "updated_at", "intent_id")),
    "fills": ("i.* FROM fills i", ("seq", "at", None)),
}
_HERE = "WHERE i.venue = :venue AND i.account = :account AND i.symbol = :symbol"
_STRAY = "SELECT e.* FROM events e WHERE NOT EXISTS (SELECT 1 FROM intents i WHERE i.id = e.alert_id)"
#: SQLite has no truth values of its own.
_BOOLEANS = frozenset({"reduce_only", "maker", "approve"})


def upgrade() -> None:
    chain = op.create_table(
        "chain",
        sa.Column("chain", sa.Text(), primary_key=True),
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.Text()),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("prev", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
    )
    op.create_index("ix_chain_row", "chain", ["what", "key"])
    op.create_index("ix_chain_alert", "chain", ["alert_id"])
    heads = op.create_table(
        "chain_heads",
        sa.Column("chain", sa.Text(), primary_key=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
    )
    tx = op.get_bind()
    # Lane by lane: no more than one lane's rows are in memory.
    for place in tx.execute(sa.text(_PLACES)).all():
        _chain(tx, chain, heads, " ".join(place), _rows(tx, dict(place._mapping)))
    stray = [_record("events", row, *_OF["events"][1]) for row in tx.execute(sa.text(_STRAY)).mappings()]
    if stray:
        _chain(tx, chain, heads, _DESK, iter(stray))


def downgrade() -> None:
    op.drop_table("chain_heads")
    op.drop_table("chain")


def _rows(tx: sa.Connection, place: dict[str, str]) -> Iterator[tuple[str, str, str | None, str]]:
    found: list[Any] = []
    for order, (what, (query, (key, at, alert))) in enumerate(_OF.items()):
        rows = tx.execute(sa.text(f"SELECT {query} {_HERE}"), place).mappings()
        found += [(row[at], order, row.get("seq", 0), _record(what, row, key, at, alert)) for row in rows]
    return iter([record for *_, record in sorted(found, key=lambda each: each[:3])])


def _record(what: str, row: Any, key: str, _at: str, alert: str | None) -> tuple[str, str, str | None, str]:
    content = {name: bool(value) if name in _BOOLEANS else value for name, value in row.items()}
    if what == "alerts":
        content["body"] = hashlib.sha256(content["body"].encode()).hexdigest()
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return what, str(row[key]), row[alert] if alert else None, text


def _chain(tx: sa.Connection, chain: Any, heads: Any, name: str, records: Iterator[Any]) -> None:
    prev, number, rows = _GENESIS, 0, []
    for number, (what, key, alert_id, content) in enumerate(records, start=1):
        mark = hashlib.sha256(json.dumps([prev, name, what, key, alert_id, content]).encode()).hexdigest()
        rows.append(
            {
                "chain": name,
                "number": number,
                "what": what,
                "key": key,
                "alert_id": alert_id,
                "content": content,
                "prev": prev,
                "hash": mark,
            }
        )
        prev = mark
        if len(rows) == _BATCH:
            tx.execute(chain.insert(), rows)
            rows = []
    if rows:
        tx.execute(chain.insert(), rows)
    tx.execute(heads.insert().values(chain=name, number=number, hash=prev))
