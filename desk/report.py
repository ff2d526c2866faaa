"""Read models: what people, pages and the bot are shown of alerts, orders and positions.

Plain dicts: amounts as strings of plain decimals, times as ISO-8601 in UTC. Never writes, never decides.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, localcontext
from typing import Any

from store import Store, Transaction, journal, switches, trades, views
from trading.errors import StoreUnavailable
from trading.model import (
    Alert,
    AlertKind,
    Direction,
    IntentStatus,
    Levels,
    OrderStatus,
    Position,
    Role,
    plain,
)
from trading.rounding import MONEY
from trading.symbols import split

#: The runner that has not stepped for longer is dead.
RUNNER_LIMIT = timedelta(seconds=30)
MOST_ROWS = 500

_ROLES = {Role.ENTRY: 0, Role.STOP: 1, Role.TARGET: 2, Role.CLOSE: 3}
_ORDER_KEYS = (
    "client_order_id",
    "venue_order_id",
    "role",
    "side",
    "type",
    "quantity",
    "price",
    "trigger_price",
    "reduce_only",
    "status",
    "filled_quantity",
    "average_price",
)
_ALERT_KEYS = (
    "id",
    "received_at",
    "source",
    "route",
    "exchange",
    "subaccount",
    "ticker",
    "action",
    "message",
    "status",
    "reason",
)
_SIZING_KEYS = ("free_collateral", "risk", "quantity", "worst_loss", "notional")

Model = dict[str, Any]


def instant(value: datetime | None) -> str | None:
    """A time as ISO-8601 in UTC, to the millisecond."""
    if value is None:
        return None
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def alert(store: Store, alert_id: str) -> Model | None:
    """One alert with its sizing, orders and timeline; None if there is no such id."""
    with store.read() as tx:
        row = views.alert(tx, alert_id)
        if row is None:
            return None
        model = _pick(row, _ALERT_KEYS)
        model["sizing"] = _pick(row, _SIZING_KEYS)
        rows = sorted(views.alert_orders(tx, alert_id), key=_by_role)
        model["orders"] = [_pick(order, _ORDER_KEYS) for order in rows]
        timeline = views.alert_events(tx, alert_id)
        model["timeline"] = [_pick(event, ("at", "event", "detail")) for event in timeline]
        return model


def alerts(
    store: Store,
    *,
    limit: int = 50,
    before: str | int | None = None,
    status: str | None = None,
    account: str | None = None,
) -> list[Model]:
    """The newest alerts, at most `limit`, each with its `body`; `before` is the seq or the id of the last
    one seen. An id that is not known gives an empty list.
    """
    with store.read() as tx:
        seq = views.alert_seq(tx, before) if isinstance(before, str) else before
        if before is not None and seq is None:
            return []
        rows = views.alert_list(tx, limit=_limited(limit), before=seq, status=status, account=account)
    return [headline(row) for row in rows]


def headline(row: views.Row) -> Model:
    """One alert in a list, with its sizing and what it said, but for its passphrase, which is not kept."""
    keys = ("seq", *_ALERT_KEYS, "account", "symbol", "venue", "updated_at")
    return _pick(row, keys) | {"sizing": _pick(row, _SIZING_KEYS), "body": json.loads(row["body"])}


def exported(store: Store, *, status: str | None = None, account: str | None = None) -> Iterator[Model]:
    """Every alert as in `alerts`, newest first, read a page at a time."""
    before: int | None = None
    while page := alerts(store, limit=MOST_ROWS, before=before, status=status, account=account):
        yield from page
        before = page[-1]["seq"]


def card(store: Store, alert_id: str) -> Model | None:
    """One alert as people follow it: what it asks, where it stands, how its trade went.

    `over` says that nothing more can come of it. Amounts of `trade` are plain; `slippage` is positive where
    the entry cost more than the alert's price.
    """
    with store.read() as tx:
        row = views.alert(tx, alert_id)
        if row is None:
            return None
        asked = journal.alert_of(tx, alert_id)
        entry = asked.kind is AlertKind.ENTRY
        went = trades.outcome(tx, alert_id) if entry else trades.closed_by(tx, alert_id)
        made = views.alert_orders(tx, alert_id)
        story = {event["event"]: event["detail"] for event in views.alert_events(tx, alert_id)}
    status = IntentStatus(row["status"])
    resting = any(not OrderStatus(order["status"]).is_final for order in made)
    model = _pick(row, (*_ALERT_KEYS, "venue", "account", "symbol", "kind", *_SIZING_KEYS))
    levels = asked.levels if entry else Levels()
    base, quote, _ = split(asked.symbol)
    return model | {
        "base": base,
        "quote": quote,
        "side": asked.side.value if asked.side is not None else None,
        "type": asked.order_type.value,
        "price": _shown(asked.price),
        "stop": _shown(levels.stop),
        "target": _shown(levels.target),
        "interval": asked.interval,
        "chart_url": asked.chart_url,
        "expires_at": row["expires_at"],
        "approved": story.get("approved") or None,
        "orders": [_pick(order, _ORDER_KEYS) for order in sorted(made, key=_by_role)],
        "worst_percent": _percent(row["worst_loss"], row["free_collateral"]),
        "trade": _trade(went, asked) if went.entered else None,
        "over": status.is_final and not went.followed and not (entry and resting),
    }


def _trade(went: trades.Outcome, asked: Alert) -> Model:
    model: Model = {
        "entered": plain(went.entered),
        "entry_price": readable(went.entry_price),
        "open": plain(abs(went.open_quantity)),
        "stop": _shown(went.stop_price),
        "exit_price": readable(went.exit_price),
        "closed": went.flat_at is not None,
        "flat_at": instant(went.flat_at),
    }
    with localcontext(MONEY):
        model["pnl"] = readable(went.realised - went.fees)
        model["fees"] = readable(went.fees)
        if went.entry_price is not None and asked.price is not None and asked.side is not None:
            slip = (went.entry_price - asked.price) * asked.side.sign
            model["slippage"] = readable(slip)
            model["slippage_percent"] = plain(round(slip / asked.price * 100, 3))
    return model


def _percent(part: Decimal | None, whole: Decimal | None) -> str | None:
    if part is None or not whole:
        return None
    with localcontext(MONEY):
        return plain(round(part / whole * 100, 2))


def readable(value: Decimal | None) -> str | None:
    """A quotient as people read it: eight digits that count."""
    if value is None:
        return None
    return plain(Context(prec=8).plus(value)) if value else "0"


def orders(store: Store, *, live_only: bool = False, limit: int = 100) -> list[Model]:
    """The newest orders; `live_only` leaves out those that have ended."""
    with store.read() as tx:
        rows = views.order_list(tx, limit=_limited(limit), live_only=live_only)
    keys = ("intent_id", "venue", "account", "symbol", *_ORDER_KEYS, "reason", "created_at", "updated_at")
    return [_pick(row, keys) for row in rows]


def positions(store: Store, *, flat_too: bool = False) -> list[Model]:
    """What is open; `flat_too` adds what was."""
    with store.read() as tx:
        rows = views.position_list(tx)
    return [position(row) for row in rows if flat_too or row["quantity"] != 0]


def refusals(store: Store, *, limit: int = 50) -> list[Model]:
    """The newest bodies that were refused at the door, without passphrases."""
    with store.read() as tx:
        rows = views.refusal_list(tx, limit=_limited(limit))
    return [_pick(row, ("seq", "at", "route", "code", "field", "reason", "body")) for row in rows]


def health(store: Store, *, now: datetime, started_at: datetime) -> Model:
    """Whether alerts that arrive now will be stored and handled. Never raises StoreUnavailable.

    A runner that has not stepped since this process started is forgiven for RUNNER_LIMIT.
    """
    try:
        with store.read() as tx:
            stepped_at = switches.last_beat(tx, "runner")
            model = _health(tx, stepped_at, now)
    except StoreUnavailable:
        none = {"last_step_at": None, "age_s": None}
        return {
            "status": "failing",
            "database": "failing",
            "runner": none,
            "bot": None,
            "oldest_undone_alert": None,
            "halted": None,
        }
    seen = max(stepped_at or started_at, started_at)
    alive = now - seen <= RUNNER_LIMIT
    return {"status": "ok" if alive else "failing", "database": "ok", **model}


def _health(tx: Transaction, stepped_at: datetime | None, now: datetime) -> Model:
    beat_at = switches.last_beat(tx, "bot")
    row = views.oldest_undone(tx)
    undone = None
    if row is not None:
        undone = {"id": row["id"], "age_s": _age(row["received_at"], now), "status": row["status"]}
    return {
        "runner": {"last_step_at": instant(stepped_at), "age_s": _age(stepped_at, now)},
        "bot": None
        if beat_at is None
        else {"last_heartbeat_at": instant(beat_at), "age_s": _age(beat_at, now)},
        "oldest_undone_alert": undone,
        "halted": switches.halted(tx) is not None,
    }


def _age(at: datetime | None, now: datetime) -> float | None:
    return None if at is None else round((now - at).total_seconds(), 1)


def position(row: views.Row) -> Model:
    """One position."""
    direction: Direction = Position(symbol=row["symbol"], quantity=row["quantity"]).direction
    exchange = str(row["venue"]).rpartition(":")[2]
    model = _pick(row, ("venue", "account", "symbol", "average_price", "stop_price", "realised_pnl"))
    model |= _pick(row, ("fees", "intent_id", "updated_at"))
    return model | {
        "exchange": exchange,
        "direction": direction.value,
        "quantity": plain(abs(row["quantity"])),
    }


def _by_role(row: views.Row) -> tuple[int, bool, int, int, int]:
    """Entry, stop, targets from the nearest on with the final one last, close."""
    final = row["rung"] == 0
    return (_ROLES[Role(row["role"])], final, row["rung"], row["attempt"], row["seq"])


def _pick(row: views.Row, keys: Iterable[str]) -> Model:
    return {key: _shown(row[key]) for key in keys}


def _shown(value: Any) -> Any:
    if isinstance(value, Decimal):
        return plain(value)
    return instant(value) if isinstance(value, datetime) else value


def _limited(limit: int) -> int:
    return max(1, min(limit, MOST_ROWS))
