"""The messages in which Discord shows alerts: which one is whose, and what it has told so far.

Never judges a vote, and never knows how a card looks; every function works inside the caller's transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, exists, or_, select, update

from store import tables
from store._engine import insert
from trading.model import IntentStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One message; `told_seq` is the last event in its thread, `shown` a digest of what it says."""

    alert_id: str
    channel_id: int
    message_id: int
    thread_id: int | None
    told_seq: int
    shown: str
    live: bool
    data: str | None
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of an alert's story."""

    seq: int
    at: datetime
    event: str
    detail: str


def add(
    tx: Connection, *, alert_id: str, channel_id: int, message_id: int, data: str | None, now: datetime
) -> Card:
    """Remembers the message of an alert; whoever was first keeps it, and is returned."""
    cards = tables.cards
    row = insert(tx, cards).values(
        alert_id=alert_id,
        channel_id=channel_id,
        message_id=message_id,
        told_seq=0,
        shown="",
        live=True,
        data=data,
        updated_at=now,
    )
    tx.execute(row.on_conflict_do_nothing(index_elements=[cards.c.alert_id]))
    found = of_alert(tx, alert_id)
    if found is None:
        raise ValueError(f"the message {message_id} belongs to another alert than {alert_id}")
    return found


def of_alert(tx: Connection, alert_id: str) -> Card | None:
    """The card of an alert."""
    return _first(tx, tables.cards.c.alert_id == alert_id)


def of_message(tx: Connection, message_id: int) -> Card | None:
    """The card that this message is."""
    return _first(tx, tables.cards.c.message_id == message_id)


def waiting(tx: Connection) -> list[Card]:
    """Cards whose intent waits for a person now, oldest first."""
    cards, intents = tables.cards, tables.intents
    query = (
        select(cards)
        .join_from(cards, intents, intents.c.id == cards.c.alert_id)
        .where(intents.c.status == IntentStatus.AWAITING_APPROVAL)
        .order_by(intents.c.seq)
    )
    return [Card(**row) for row in tx.execute(query).mappings()]


def behind(tx: Connection, *, quiet_before: datetime) -> list[Card]:
    """Live cards that have something to tell, or that were last touched before `quiet_before`."""
    cards, events = tables.cards, tables.events
    newer = exists().where(and_(events.c.alert_id == cards.c.alert_id, events.c.seq > cards.c.told_seq))
    query = select(cards).where(cards.c.live, or_(newer, cards.c.updated_at < quiet_before))
    return [Card(**row) for row in tx.execute(query.order_by(cards.c.message_id)).mappings()]


def news(tx: Connection, card: Card) -> list[Event]:
    """What has happened since the card's thread was last told, oldest first."""
    events = tables.events.c
    query = select(events.seq, events.at, events.event, events.detail).where(
        events.alert_id == card.alert_id, events.seq > card.told_seq
    )
    return [Event(**row) for row in tx.execute(query.order_by(events.seq)).mappings()]


def threaded(tx: Connection, alert_id: str, thread_id: int) -> None:
    """Remembers the thread of a card."""
    _change(tx, alert_id, thread_id=thread_id)


def told(tx: Connection, alert_id: str, *, seq: int) -> None:
    """The thread has all events up to `seq`."""
    cards = tables.cards
    tx.execute(update(cards).where(cards.c.alert_id == alert_id, cards.c.told_seq < seq).values(told_seq=seq))


def shown(tx: Connection, alert_id: str, *, digest: str, live: bool, now: datetime) -> None:
    """The message says this now; a card that is not `live` is not looked at again."""
    _change(tx, alert_id, shown=digest, live=live, updated_at=now)


def _change(tx: Connection, alert_id: str, **values: object) -> None:
    cards = tables.cards
    tx.execute(update(cards).where(cards.c.alert_id == alert_id).values(**values))


def _first(tx: Connection, which: object) -> Card | None:
    row = tx.execute(select(tables.cards).where(which)).mappings().first()  # type: ignore[arg-type]
    return None if row is None else Card(**row)
