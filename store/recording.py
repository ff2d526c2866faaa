"""Alerts into the journal, as many at once as came at one moment: one statement for each table.

What is kept is what one after the other would leave, in that order. Must never take an alert's key without
its rows being written in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, literal_column, select, type_coerce
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection

from store import _ears, _engine, chain, outbox
from store._lanes import due_by
from store.journal import headline
from store.tables import alert_keys, alerts, events, intents, positions
from trading.model import ZERO, Alert, IntentStatus, Lane, Route, Source
from trading.policy import effective_at

#: For so long the same body is the same alert where it says neither its id nor its time.
WINDOW = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """An alert at the door; `reason` is that of a status that is final."""

    alert: Alert
    alert_id: str
    body: str
    action: str | None
    route: Route
    source: Source
    venue: str
    received_at: datetime
    status: IntentStatus = IntentStatus.RECEIVED
    reason: str = ""

    @property
    def key(self) -> str:
        """What makes two alerts one: the same `id` of the account, else the same body."""
        account, mine = self.alert.account, self.alert.key
        return f"id:{account}:{mine}" if mine else f"body:{account}:{self.alert.fingerprint}"

    @property
    def is_dated(self) -> bool:
        """Whether it says its id or its time, so that it can be told from another with the same words."""
        return self.alert.key is not None or self.alert.sent_at is not None

    @property
    def lane(self) -> Lane:
        return Lane(self.venue, self.alert.account, self.alert.symbol)


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """The alert that took a key before, and whether it says the same or only has the same id."""

    alert_id: str
    is_same: bool


def take_keys(tx: Connection, came: Sequence[Incoming]) -> list[Earlier | None]:
    """For each the alert that came before it, here as well; None where there is none: it is to be written.

    A key is taken for ever by what carries an id or a time, and for WINDOW by anything else. Must be asked
    for all at once, before anything else is locked: no key is waited for but in the first round.
    """
    found: dict[str, Earlier | None] = {}
    left: Sequence[Incoming] = came
    while left:
        # No statement may meet a key twice. What is there again comes when its first is decided.
        firsts = {each.key: each for each in reversed(left)}
        taken = _taken(tx, firsts.values())
        for key, each in firsts.items():
            found[each.alert_id] = None if key in taken else _earlier(tx, each)
        left = [each for each in left if firsts[each.key] is not each]
    return [found[each.alert_id] for each in came]


def write(tx: Connection, came: Sequence[Incoming]) -> None:
    """Stores alerts whose keys were taken, with their intents, and makes their lanes due."""
    if not came:
        return
    stored = [_alert_row(each) for each in came]
    _insert_numbered(tx, _ALERTS, stored, "id")
    _open_lanes(tx, (each for each in came if not each.status.is_final))
    meant = [_intent_row(each, row["seq"]) for each, row in zip(came, stored, strict=True)]
    _INTENTS.insert(tx, meant)
    told = [_event_rows(each) for each in came]
    lines = [line for mine in told for line in mine]
    _insert_numbered(tx, _EVENTS, lines, "alert_id", "event")
    for each, alert, intent, mine in zip(came, stored, meant, told, strict=True):
        of = each.alert_id
        chain.keep_new(tx, alerts, alert, alert_id=of, lane=each.lane)
        chain.keep_new(tx, intents, intent, alert_id=of, lane=each.lane)
        for line in mine:
            chain.keep_new(tx, events, line, alert_id=of, lane=each.lane)
        if each.status.is_final:
            text, kind = headline(each.alert, each.reason), each.status.lower()
            outbox.notify(tx, kind=kind, text=text, alert_id=of, now=each.received_at)


def _insert_numbered(tx: Connection, into: _engine.Rows, rows: Sequence[dict[str, Any]], *names: str) -> None:
    """Inserts rows, each of which these columns name, and gives each the `seq` that the database gave it.

    They must rise in the order of the rows: a lane's alerts are acted on in that of their numbers.
    """
    seqs: dict[tuple[Any, ...], int] = {tuple(found[:-1]): found[-1] for found in into.insert(tx, rows)}
    last = 0
    for row in rows:
        row["seq"] = seqs[tuple(row[name] for name in names)]
        if row["seq"] <= last:
            raise RuntimeError("the database numbered rows in another order than it was given them")
        last = row["seq"]


def _taken(tx: Connection, came: Iterable[Incoming]) -> set[str]:
    """Takes keys, each of which is there once; those that were free."""
    taken: set[str] = set()
    # Always in one order: two that take several must not lock each other out.
    ordered = sorted(came, key=lambda each: each.key)
    for statement, mine in (
        (_DATED, [_key_row(each) for each in ordered if each.is_dated]),
        (_UNDATED, [_key_row(each) for each in ordered if not each.is_dated]),
    ):
        if mine:
            taken.update(statement.insert(tx, mine).scalars())
    return taken


def _earlier(tx: Connection, each: Incoming) -> Earlier:
    first = tx.execute(select(alert_keys).where(alert_keys.c.key == each.key)).one()
    return Earlier(alert_id=first.alert_id, is_same=first.fingerprint == each.alert.fingerprint)


def _open_lanes(tx: Connection, came: Iterable[Incoming]) -> None:
    """Makes each lane due once, whatever came for it; in the order of all who lock several."""
    rows: dict[Lane, dict[str, Any]] = {}
    for each in came:
        row = rows.get(each.lane)
        if row is None:
            rows[each.lane] = row = _lane_row(each)
        row["wakes"] += 1
        row["due_at"] = min(row["due_at"], each.received_at)
    if rows:
        _LANES.insert(tx, [rows[lane] for lane in sorted(rows, key=_order)])
        _ears.tell(tx)


def _order(lane: Lane) -> tuple[str, str, str]:
    return lane.venue, lane.account, lane.symbol


def _key_row(each: Incoming) -> dict[str, Any]:
    return {
        "key": each.key,
        "alert_id": each.alert_id,
        "fingerprint": each.alert.fingerprint,
        "taken_at": each.received_at,
    }


def _alert_row(each: Incoming) -> dict[str, Any]:
    alert = each.alert
    return {
        "id": each.alert_id,
        "received_at": each.received_at,
        "source": each.source,
        "route": each.route,
        "exchange": alert.exchange,
        "subaccount": alert.subaccount,
        "account": alert.account,
        "ticker": alert.ticker,
        "symbol": alert.symbol,
        "kind": alert.kind,
        "action": each.action,
        "message": alert.message,
        "sent_at": alert.sent_at,
        "price": alert.price,
        "body": each.body,
    }


def _intent_row(each: Incoming, seq: int) -> dict[str, Any]:
    return {
        "id": each.alert_id,
        "seq": seq,
        "venue": each.venue,
        "account": each.alert.account,
        "symbol": each.alert.symbol,
        "kind": each.alert.kind,
        "status": each.status,
        "reason": each.reason,
        "effective_at": effective_at(alert=each.alert, received_at=each.received_at),
        "attempts": 0,
        "updated_at": each.received_at,
    }


def _event_rows(each: Incoming) -> list[dict[str, Any]]:
    alert = each.alert
    told = {"received": f"{alert.message} {alert.ticker} by {each.source}"}
    if each.status.is_final:
        told[each.status.lower()] = each.reason
    mine = {"alert_id": each.alert_id, "at": each.received_at}
    return [mine | {"event": event, "detail": detail} for event, detail in told.items()]


def _lane_row(each: Incoming) -> dict[str, Any]:
    place = {"venue": each.venue, "account": each.alert.account, "symbol": each.alert.symbol}
    return (
        place | _MONEY | {"token": 0, "wakes": 0, "due_at": each.received_at, "updated_at": each.received_at}
    )


_MONEY = {"quantity": ZERO, "realised_pnl": ZERO, "fees": ZERO}
_WINDOW: Any = literal_column(str(WINDOW // timedelta(microseconds=1)), BigInteger)


def _taken_again(new: postgresql.Insert) -> Any:
    before = type_coerce(new.excluded.taken_at, BigInteger) - _WINDOW
    return new.on_conflict_do_update(
        index_elements=["key"],
        set_={name: new.excluded[name] for name in ("alert_id", "fingerprint", "taken_at")},
        where=type_coerce(alert_keys.c.taken_at, BigInteger) <= before,
    ).returning(alert_keys.c.key)


_KEYS = [column.name for column in alert_keys.c]
_DATED = _engine.Rows(
    alert_keys,
    _KEYS,
    lambda new: new.on_conflict_do_nothing(index_elements=["key"]).returning(alert_keys.c.key),
)
_UNDATED = _engine.Rows(alert_keys, _KEYS, _taken_again)
_ALERTS = _engine.Rows(
    alerts,
    [column.name for column in alerts.c if column is not alerts.c.seq],
    lambda new: new.returning(alerts.c.id, alerts.c.seq),
)
_INTENTS = _engine.Rows(
    intents,
    (
        *("id", "seq", "venue", "account", "symbol", "kind", "status", "reason"),
        *("effective_at", "attempts", "updated_at"),
    ),
)
_EVENTS = _engine.Rows(
    events,
    ("alert_id", "at", "event", "detail"),
    lambda new: new.returning(events.c.alert_id, events.c.event, events.c.seq),
)
_LANES = _engine.Rows(
    positions,
    (
        *("venue", "account", "symbol", "quantity", "realised_pnl", "fees"),
        *("token", "wakes", "due_at", "updated_at"),
    ),
    lambda new: new.on_conflict_do_update(
        index_elements=["venue", "account", "symbol"],
        set_={"due_at": due_by(new.excluded.due_at), "wakes": positions.c.wakes + new.excluded.wakes},
    ),
)
