"""Alerts, intents and the lanes that they run in: claim, advance, tell (`store.recording` stores them).

Every change of an intent is a compare-and-set, and every change within a lane first proves that its claim
is still the newest one. Who locks several lanes does so in their order, or leaves out what is locked. This
module must never talk to a venue, and never let two processes believe that they own the same lane.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from sqlalchemy import and_, bindparam, delete, exists, insert, literal, not_, or_, select, update
from sqlalchemy.engine import Connection, Row

from store import _ears, _engine, chain, outbox
from store._engine import unlocked
from store._lanes import at, due_by, held_here, here, place_of
from store.tables import alerts, events, intents, positions, refusals
from trading.alert import decode, parse
from trading.errors import LostClaim
from trading.lifecycle import IntentEvent
from trading.lifecycle import advance as next_status
from trading.model import (
    Alert,
    AlertKind,
    InstrumentKind,
    IntentStatus,
    Lane,
    Route,
)

REFUSALS_KEPT = 1000
UNDONE = (
    IntentStatus.RECEIVED,
    IntentStatus.AWAITING_APPROVAL,
    IntentStatus.APPROVED,
    IntentStatus.EXECUTING,
)

_WHOLE = select(
    intents, alerts.c.body, alerts.c.route, alerts.c.received_at, alerts.c.exchange, alerts.c.subaccount
).join(alerts, alerts.c.id == intents.c.id)
# What every look asks, built once: building costs as much as asking.
_UNDONE_HERE = _WHOLE.where(here(intents), intents.c.status.in_(UNDONE)).order_by(intents.c.seq)
_HELD = select(positions).where(here(positions)).with_for_update()
_TOLD = insert(events).returning(*events.c)
_ALERT = select(alerts).where(alerts.c.id == bindparam("id"))
_NOW: Any = bindparam("now")
_UNTIL: Any = bindparam("until")
_FREE = or_(positions.c.lease_until.is_(None), positions.c.lease_until <= _NOW)
_DUE = (
    select(positions.c.venue, positions.c.account, positions.c.symbol)
    .where(positions.c.due_at <= _NOW, _FREE)
    .order_by(positions.c.due_at)
    .limit(bindparam("most"))
)
_CLAIM = (
    update(positions)
    .where(here(positions), unlocked(positions, here(positions), positions.c.due_at <= _NOW, _FREE))
    .values(token=positions.c.token + 1, owner=bindparam("by"), lease_until=_UNTIL)
    .returning(positions.c.token, positions.c.wakes)
)
_MINE = and_(
    here(positions), positions.c.token == bindparam("my_token"), positions.c.lease_until.is_not(None)
)
_RENEW = update(positions).where(_MINE).values(lease_until=_UNTIL)
_RENEW_FREE = _RENEW.where(unlocked(positions, _MINE))

#: What `alert_in` reads.
STORED_ALERT = (alerts.c.body, alerts.c.subaccount, alerts.c.exchange, alerts.c.received_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to act on a lane, until another claim has a higher token."""

    lane: Lane
    token: int
    wakes: int
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One intent with its alert, as stored."""

    id: str
    seq: int
    lane: Lane
    kind: AlertKind
    status: IntentStatus
    route: Route
    alert: Alert
    received_at: datetime
    effective_at: datetime
    expires_at: datetime | None
    asked_price: Decimal | None = None


def refuse(
    tx: Connection, *, at: datetime, route: str, code: int, field: str | None, reason: str, body: str
) -> None:
    """Keeps a refused body for people to read; only the newest thousand stay."""
    seq = tx.execute(
        insert(refusals)
        .values(at=at, route=route, code=code, field=field, reason=reason, body=body)
        .returning(refusals.c.seq)
    ).scalar_one()
    # What another process has locked, it takes away itself, or the next one does.
    tx.execute(delete(refusals).where(unlocked(refusals, refusals.c.seq <= seq - REFUSALS_KEPT)))


def tell(
    tx: Connection, alert_id: str, event: str, detail: str, now: datetime, *, lane: Lane | None = None
) -> None:
    """Adds one line to the story of an alert; `lane`, where it is at hand, saves asking for it."""
    line = {"alert_id": alert_id, "at": now, "event": event, "detail": detail}
    told = tx.execute(_TOLD, line).one()
    chain.keep(tx, events, told, alert_id=alert_id, lane=lane)


def headline(alert: Alert, reason: str) -> str:
    """What a notice says of an alert."""
    side = f" {alert.side}" if alert.side else ""
    return f"{alert.message}{side} {alert.symbol} ({alert.account}){': ' + reason if reason else ''}"


def was_told(tx: Connection, alert_id: str, event: str, detail: str) -> bool:
    """Whether the story of an alert holds this very line already."""
    return told_at(tx, alert_id, event, detail) is not None


def told_at(tx: Connection, alert_id: str, event: str, detail: str) -> datetime | None:
    """When the story of an alert got this very line the last time, if it did."""
    same = and_(events.c.alert_id == alert_id, events.c.event == event, events.c.detail == detail)
    return tx.execute(select(events.c.at).where(same).order_by(events.c.seq.desc()).limit(1)).scalar()


def wake(tx: Connection, *, symbol: str, now: datetime) -> None:
    """Makes every lane of an instrument due: its price moved."""
    which = positions.c.symbol == symbol
    # Locked in one order, Python's: two that lock several must not lock each other out.
    order = [_engine.as_python_sorts(tx, column) for column in (positions.c.venue, positions.c.account)]
    tx.execute(select(positions.c.token).where(which).order_by(*order).with_for_update()).all()
    _wake(tx, which, now)


def look_at(tx: Connection, *, lane: Lane, now: datetime) -> None:
    """Makes one lane due by then: somebody saw there what its own looks may not have. Of several, in their
    order.
    """
    _wake(tx, at(positions, lane), now)


def wake_lane(tx: Connection, *, intent_id: str, now: datetime) -> None:
    """Makes the lane of an intent due: somebody voted on it."""
    row = tx.execute(select(intents).where(intents.c.id == intent_id)).one()
    _wake(tx, at(positions, Lane(row.venue, row.account, row.symbol)), now)


def wake_forgotten(tx: Connection, *, now: datetime) -> int:
    """Makes lanes due that hold undone intents or a trade, and no due time; returns how many there were.

    What somebody has locked is not forgotten.
    """
    undone = exists().where(
        intents.c.venue == positions.c.venue,
        intents.c.account == positions.c.account,
        intents.c.symbol == positions.c.symbol,
        intents.c.status.in_(UNDONE),
    )
    return tx.execute(
        update(positions)
        .where(
            unlocked(positions, positions.c.due_at.is_(None), or_(undone, positions.c.intent_id.is_not(None)))
        )
        .values(due_at=now)
    ).rowcount


def hurry(tx: Connection, *, now: datetime) -> None:
    """Makes every lane due that would be later, but for what is locked: the clock was set back."""
    late = unlocked(positions, positions.c.due_at > now)
    tx.execute(update(positions).where(late).values(due_at=now))


def due_lanes(
    tx: Connection, *, now: datetime, limit: int, but: Iterable[tuple[str, InstrumentKind]] = ()
) -> list[Lane]:
    """Lanes that want a look and that nobody holds, the longest due first; none of the venues in `but`, each
    with a kind of instrument.
    """
    due = _DUE
    for venue, kind in but:
        is_perpetual = positions.c.symbol.endswith("-PERP")
        is_other = not_(is_perpetual) if kind is InstrumentKind.PERPETUAL else is_perpetual
        due = due.where(or_(positions.c.venue != venue, is_other))
    return [Lane(*row) for row in tx.execute(due, {"now": now, "most": limit})]


def claim(tx: Connection, *, lane: Lane, owner: str, now: datetime, lease: timedelta) -> Claim | None:
    """Takes a due lane with a new token, or None if somebody else has it, has it locked, or it is not due."""
    asked = {**place_of(lane), "by": owner, "now": now, "until": now + lease}
    row = tx.execute(_CLAIM, asked).one_or_none()
    return None if row is None else Claim(lane=lane, token=row.token, wakes=row.wakes, owner=owner)


def renew(
    tx: Connection, *, claims: Iterable[Claim], now: datetime, lease: timedelta, wait: bool = True
) -> list[Claim]:
    """Prolongs the leases of claims that are still the newest ones; returns the others, and without `wait`
    those whose lanes somebody has locked at this moment.
    """
    prolong, until = _RENEW if wait else _RENEW_FREE, now + lease
    return [
        held
        for held in claims
        if not tx.execute(prolong, {**place_of(held.lane), "my_token": held.token, "until": until}).rowcount
    ]


def release(tx: Connection, held: Claim, *, due_at: datetime | None, now: datetime) -> None:
    """Gives a lane back, due again at `due_at`, or at once if somebody asked for a look meanwhile."""
    if locked(tx, held).wakes != held.wakes:
        due_at = now
    tx.execute(
        update(positions).where(at(positions, held.lane)).values(owner=None, lease_until=None, due_at=due_at)
    )


def hold(tx: Connection, held: Claim) -> None:
    """Locks the lane's row for this transaction; LostClaim if the claim is not the newest any more."""
    if held not in held_here(tx):  # the lock lasts as long as the transaction
        locked(tx, held)


def locked(tx: Connection, held: Claim) -> Row[Any]:
    """As `hold`; the row as it is now."""
    row = tx.execute(_HELD, place_of(held.lane)).one()
    if row.token != held.token:
        raise LostClaim(f"{held.lane}: taken by another runner")
    held_here(tx).add(held)
    return row


def release_owners(tx: Connection, *, owners: Sequence[str]) -> int:
    """Frees the lanes of processes that are known to be dead, but for what is locked at this moment; returns
    how many.
    """
    if not owners:
        return 0
    theirs = unlocked(positions, positions.c.owner.in_(owners))
    return tx.execute(update(positions).where(theirs).values(owner=None, lease_until=None)).rowcount


def owners(tx: Connection) -> list[str]:
    """Who holds lanes now."""
    return list(
        tx.execute(select(positions.c.owner).where(positions.c.owner.is_not(None)).distinct()).scalars()
    )


def undone(tx: Connection, lane: Lane) -> list[Intent]:
    """What is left to do in a lane, in the order of arrival."""
    return [_intent(row) for row in tx.execute(_UNDONE_HERE, place_of(lane))]


def find(tx: Connection, intent_id: str) -> Intent:
    """One intent as it is now."""
    return _intent(tx.execute(_WHOLE.where(intents.c.id == intent_id)).one())


def status_of(tx: Connection, intent_id: str) -> IntentStatus:
    """Where an intent stands now."""
    return IntentStatus(tx.execute(select(intents.c.status).where(intents.c.id == intent_id)).scalar_one())


def alert_of(tx: Connection, alert_id: str) -> Alert:
    """A stored alert, parsed again from its body."""
    return alert_in(tx.execute(_ALERT, {"id": alert_id}).one())


def advance(
    tx: Connection,
    held: Claim,
    intent: Intent,
    event: IntentEvent,
    *,
    reason: str,
    now: datetime,
    expires_at: datetime | None = None,
    data: str | None = None,
) -> IntentStatus:
    """Moves an intent by one event, tells it (`data` goes with the notice), and returns the new status.

    ValueError if the table of transitions forbids it, LostClaim if somebody else acts on the lane.
    """
    hold(tx, held)
    status = next_status(state=intent.status, event=event)
    changed = tx.execute(
        update(intents)
        .where(intents.c.id == intent.id, intents.c.status == intent.status)
        .values(
            status=status,
            reason=reason,
            expires_at=expires_at,
            updated_at=now,
        )
        .returning(*intents.c)
    ).one_or_none()
    if changed is None:
        raise LostClaim(f"intent {intent.id} is not {intent.status} any more")
    chain.keep(tx, intents, changed, alert_id=intent.id, lane=held.lane)
    if status is not intent.status:
        tell(tx, intent.id, status.lower(), reason, now, lane=held.lane)
        text = headline(intent.alert, reason)
        outbox.notify(tx, kind=status.lower(), text=text, alert_id=intent.id, now=now, data=data)
    return status


def asked(tx: Connection, held: Claim, intent_id: str, price: Decimal) -> None:
    """Remembers where the market stood when a person was asked."""
    hold(tx, held)
    tx.execute(update(intents).where(intents.c.id == intent_id).values(asked_price=price))


def stumble(tx: Connection, held: Claim, intent_id: str) -> int:
    """Counts an error that nobody foresaw; how many there were by now."""
    hold(tx, held)
    more = update(intents).where(intents.c.id == intent_id).values(attempts=intents.c.attempts + 1)
    return int(tx.execute(more.returning(intents.c.attempts)).scalar_one())


def supersede(tx: Connection, held: Claim, *, by: Intent, now: datetime) -> None:
    """Ends what still waits for a person and is older than `by`: the market has moved on."""
    for waiting in undone(tx, held.lane):
        if waiting.seq < by.seq and waiting.status is IntentStatus.AWAITING_APPROVAL:
            reason = f"superseded by the {by.alert.message} {by.id}"
            advance(tx, held, waiting, IntentEvent.EXPIRE, reason=reason, now=now)


def _wake(tx: Connection, which: Any, now: datetime) -> None:
    due_at = due_by(literal(now, positions.c.due_at.type))
    tx.execute(update(positions).where(which).values(due_at=due_at, wakes=positions.c.wakes + 1))
    _ears.tell(tx)


def alert_in(row: Row[Any]) -> Alert:
    """The alert of a row with the columns of STORED_ALERT, parsed again from its body."""
    return _parsed(row.body, row.subaccount, row.exchange, row.received_at)


@lru_cache(maxsize=256)  # read at every look at its trade; a few kilobytes each
def _parsed(body: str, subaccount: str, exchange: str, received_at: datetime) -> Alert:
    return parse(
        decode(body.encode()),
        default_subaccount=subaccount,
        exchanges=(exchange,),
        received_at=received_at,
    )


def _intent(row: Row[Any]) -> Intent:
    return Intent(
        id=row.id,
        seq=row.seq,
        lane=Lane(row.venue, row.account, row.symbol),
        kind=AlertKind(row.kind),
        status=IntentStatus(row.status),
        route=Route(row.route),
        alert=alert_in(row),
        received_at=row.received_at,
        effective_at=row.effective_at,
        expires_at=row.expires_at,
        asked_price=row.asked_price,
    )
