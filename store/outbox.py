"""Notices out, votes in: the only place where the processes meet.

Never posts anything and never judges a vote; every function works inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from store import chain, tables
from store._engine import insert


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing to tell people; `alert_id` is None for what concerns no single alert.

    `data` is JSON of its kind: the question and the candles of a card, the candles of a chart.
    """

    seq: int
    at: datetime
    kind: str
    alert_id: str | None
    text: str
    data: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """A person's word on an intent. `voter` tells people apart, `name` is for reading."""

    voter: str
    approve: bool
    at: datetime
    name: str | None = None

    @property
    def by(self) -> str:
        """Who it was, for people."""
        return f"{self.name} ({self.voter})" if self.name else self.voter


def notify(
    tx: Connection, *, kind: str, text: str, alert_id: str | None, now: datetime, data: str | None = None
) -> None:
    """Puts a notice into the outbox: it is told if, and only if, this transaction commits."""
    tx.execute(insert(tx, tables.notices).values(at=now, kind=kind, alert_id=alert_id, text=text, data=data))


def unposted(tx: Connection, limit: int, *, last: Collection[str] = ()) -> list[Notice]:
    """The oldest notices that no channel has taken yet; kinds in `last` after all others."""
    notices = tables.notices.c
    rows = tx.execute(
        select(notices.seq, notices.at, notices.kind, notices.alert_id, notices.text, notices.data)
        .where(notices.posted_at.is_(None))
        .order_by(notices.kind.in_(last), notices.seq)
        .limit(limit)
    )
    return [Notice(**row) for row in rows.mappings()]


def posted(tx: Connection, seq: int, now: datetime) -> bool:
    """Stamps a notice that the channel took, and drops its data; False when it was stamped before."""
    notices = tables.notices
    stamped = tx.execute(
        update(notices)
        .where(notices.c.seq == seq, notices.c.posted_at.is_(None))
        .values(posted_at=now, data=None)
    )
    return stamped.rowcount == 1


def forgo(tx: Connection, *, before: datetime, now: datetime) -> int:
    """Stamps what is too old to be news without telling it; how many there were."""
    notices = tables.notices
    old = update(notices).where(notices.c.posted_at.is_(None), notices.c.at < before)
    return tx.execute(old.values(posted_at=now, data=None)).rowcount


def prune(tx: Connection, *, kinds: Collection[str], before: datetime) -> int:
    """Deletes notices of these kinds that were told long ago; how many there were."""
    notices = tables.notices
    return tx.execute(delete(notices).where(notices.c.kind.in_(kinds), notices.c.posted_at < before)).rowcount


def vote(
    tx: Connection, *, intent_id: str, voter: str, approve: bool, now: datetime, name: str | None = None
) -> bool:
    """Records a vote; False, and nothing changes, when this voter has voted on this intent.

    Conflict when there is no such intent.
    """
    votes = tables.votes
    taken = tx.execute(
        insert(tx, votes)
        .values(intent_id=intent_id, voter=voter, name=name, approve=approve, at=now)
        .on_conflict_do_nothing(index_elements=[votes.c.intent_id, votes.c.voter])
        .returning(*votes.c)
    ).one_or_none()
    if taken is not None:
        chain.keep(tx, votes, taken, alert_id=intent_id, lane=None)
    return taken is not None


def votes(tx: Connection, intent_id: str) -> list[Vote]:
    """The votes on an intent, in the order in which they came."""
    of = tables.votes.c
    rows = tx.execute(
        select(of.voter, of.name, of.approve, of.at).where(of.intent_id == intent_id).order_by(of.seq)
    )
    return [Vote(**row) for row in rows.mappings()]
