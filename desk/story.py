"""One alert as a person reads it: what came, what was decided, its orders and fills, how long each took.

Read models as in `desk.report`. The chart of an alert is candles where the runner has fetched them, else the
prices that alerts and fills have told. Never asks a venue, and never shows a passphrase.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from desk import report
from desk.report import Model, instant
from store import Store, Transaction, charts, search, views
from store.search import Filter as Filter
from trading.model import AlertKind, IntentStatus, Role, plain

#: Where an alert does not tell its own interval.
INTERVAL = "15"
#: How long candles are good for, and how long an exchange that told none is left alone.
_FRESH = timedelta(seconds=60)
#: Bars that the runner fetches, about.
_BARS = 400
_AROUND = 60
_MOST_FILLS = 200
#: Requests that wait for the runner; more would only make the newest wait.
_MOST_OPEN = 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"": 60, "S": 1, "H": 3600, "D": 86400, "W": 7 * 86400, "M": 30 * 86400}
#: As TradingView spells it; whatever else an alert says of it is its own.
_INTERVAL = re.compile(r"[0-9]{0,5}[SHDWM]|[0-9]{1,5}")


def found(store: Store, wanted: Filter, *, limit: int, before: int | None) -> tuple[list[Model], int | None]:
    """A page of the alerts that match, newest first, and where the next one begins; None: nowhere."""
    with store.read() as tx:
        rows = search.found(tx, wanted, limit=limit + 1, before=before)
    return [report.headline(row) for row in rows[:limit]], rows[limit - 1]["seq"] if len(
        rows
    ) > limit else None


def accounts(store: Store) -> list[str]:
    """Every account that alerts have named."""
    with store.read() as tx:
        return search.accounts(tx)


def story(store: Store, alert_id: str) -> Model | None:
    """All that is known of an alert; None if there is no such id."""
    model = report.alert(store, alert_id)
    if model is None:
        return None
    with store.read() as tx:
        row = views.alert(tx, alert_id)
        assert row is not None  # noqa: S101  # alerts are never deleted
        fills = _fills(tx, row)
        model |= report.headline(row)
        model["body"] = json.dumps(json.loads(row["body"]), indent=2, ensure_ascii=False)
        model["price"] = None if row["price"] is None else plain(row["price"])
        model["sent_at"] = instant(row["sent_at"])
        model["expires_at"] = instant(row["expires_at"])
        model["fills"] = [_fill(each) for each in fills]
        model["asked"] = json.loads(search.question(tx, alert_id) or "{}")
    model["timeline"] = _timed(model["timeline"], row["received_at"])
    model["stages"] = _stages(model["timeline"], row)
    model["kind"] = row["kind"]
    return model


def chart(store: Store, alert_id: str, *, now: datetime) -> Model | None:
    """What is drawn for an alert; `wanted` says that the runner might have (newer) candles to fetch."""
    with store.read() as tx:
        row = views.alert(tx, alert_id)
        if row is None:
            return None
        interval = _interval(row)
        kept = charts.kept(tx, exchange=row["exchange"], symbol=row["symbol"], interval=interval)
        fills = _fills(tx, row)
        asked: Model = json.loads(search.question(tx, alert_id) or "{}")
        prices = [
            (_seconds(each["received_at"]), plain(each["price"]))
            for each in search.told_prices(tx, row, around=_AROUND)
        ]
        levels = _levels(tx, row, asked)
    bars = kept.bars if kept is not None else asked.get("bars") or []
    at = _seconds(row["received_at"])
    if bars and int(bars[0][0]) > at:
        bars = []
    prices += [(_seconds(each["at"]), plain(each["price"])) for each in fills]
    reachable = now - row["received_at"] < timedelta(seconds=_length(interval) * _BARS)
    stale = kept is None or now - kept.at > _FRESH
    note = f"{row['symbol']}, bars of {interval}, {row['exchange']}"
    if not bars:
        missing = kept.missing if kept is not None else ""
        note = "The prices that alerts and fills told" + (f"; no candles: {missing}" if missing else "")
    return {
        "bars": [bar[:5] for bar in bars],
        "prices": sorted(prices),
        "levels": levels,
        "marks": [_mark(each) for each in fills],
        "wanted": reachable and stale,
        "note": note,
    }


def want_chart(store: Store, alert_id: str, *, now: datetime) -> bool:
    """Asks the runner for an alert's candles; False if there is no such alert. Raises StoreUnavailable."""
    with store.read() as tx:
        row = views.alert(tx, alert_id)
    if row is None:
        return False
    with store.write() as tx:
        if len(charts.open_requests(tx, _MOST_OPEN)) < _MOST_OPEN:
            charts.ask(
                tx,
                exchange=row["exchange"],
                symbol=row["symbol"],
                interval=_interval(row),
                channel_id=charts.PAGE,
                now=now,
            )
    return True


def _interval(row: views.Row) -> str:
    told = json.loads(row["body"]).get("interval")
    return told if isinstance(told, str) and _INTERVAL.fullmatch(told) else INTERVAL


def _length(interval: str) -> int:
    """Seconds of a bar, as TradingView writes them: minutes, or a number and S, D, W, M."""
    number = interval.rstrip("SHDWM")
    return int(number or 1) * _UNITS[interval[len(number) :]]


def _seconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(seconds=1)


def _fills(tx: Transaction, row: views.Row) -> list[views.Row]:
    """An alert's own fills; for an entry, all of its trade, to where the next one begins."""
    found = search.lane_fills(tx, row, limit=_MOST_FILLS)
    if row["kind"] != AlertKind.ENTRY:
        return [each for each in found if each["intent_id"] == row["id"]]
    mine: list[views.Row] = []
    begun = False
    for each in found:
        own = each["intent_id"] == row["id"]
        begun = begun or (own and each["role"] == Role.ENTRY)
        if begun and not own and each["role"] == Role.ENTRY:
            break
        if begun or own:
            mine.append(each)
    return mine


def _fill(row: views.Row) -> Model:
    return {
        "at": instant(row["at"]),
        "side": row["side"],
        "quantity": plain(row["quantity"]),
        "price": plain(row["price"]),
        "fee": plain(row["fee"]),
        "fee_currency": row["fee_currency"],
        "role": row["role"] or "",
        "maker": row["maker"],
        "realised": plain(row["realised_pnl"]),
    }


def _mark(row: views.Row) -> Model:
    return {
        "at": _seconds(row["at"]),
        "side": row["side"],
        "text": f"{row['role'] or row['side'].lower()} {plain(row['quantity'])}",
    }


def _levels(tx: Transaction, row: views.Row, asked: Model) -> list[Model]:
    """Entry, stop and targets: as the orders have them, else as the question had, else as the alert told."""
    orders = views.alert_orders(tx, row["id"])
    levels = [_level(order) for order in orders if order["status"] not in ("DENIED", "REJECTED")]
    found = {(each["role"], each["price"]): each for each in levels if each is not None}
    if found:
        told = list(found.values())
        stop = search.followed_stop(tx, row["id"])
        if stop is None:
            return told
        # A stop that was moved is another alert's order: it stands there once, where it is now.
        now = {"role": "stop", "title": "stop", "price": plain(stop)}
        return [each for each in told if each["role"] != "stop"] + [now]
    if asked.get("price"):
        names = [("entry", asked["price"]), ("stop", asked.get("stop"))]
        names += [("target", each["price"]) for each in asked.get("targets", [])]
        return [{"role": role, "title": role, "price": price} for role, price in names if price]
    price = row["price"]
    return [] if price is None else [{"role": "entry", "title": "alert", "price": plain(price)}]


def _level(order: views.Row) -> Model | None:
    role = Role(order["role"])
    price: Decimal | None = order["price"] or order["trigger_price"]
    told = None if price is None else plain(price)
    if role is Role.ENTRY and order["average_price"]:
        told = report.readable(order["average_price"])
    if told is None or role is Role.CLOSE:
        return None
    return {"role": role.value, "title": role.value, "price": told}


def _timed(events: list[Model], received_at: datetime) -> list[Model]:
    """The timeline with the seconds since the alert came."""
    return [event | {"after": _between(received_at, datetime.fromisoformat(event["at"]))} for event in events]


def _stages(events: list[Model], row: views.Row) -> list[tuple[str, float | None]]:
    """How long the way took: from TradingView, until decided, sent, filled, done."""
    first: dict[str, float] = {}
    for event in events:
        first.setdefault(event["event"], event["after"])
    done = IntentStatus(row["status"]).lower()
    sent_at = row["sent_at"]
    return [
        ("alert to receipt", None if sent_at is None else _between(sent_at, row["received_at"])),
        ("to the decision", first.get("approved", first.get("awaiting_approval"))),
        ("to the first order", first.get("submitted")),
        ("to the first fill", first.get("fill")),
        (f"to {done.replace('_', ' ')}", first.get(done)),
    ]


def _between(one: datetime, other: datetime) -> float:
    """Seconds; a line of a story was told to the millisecond, and none comes before the alert."""
    return max(0.0, round((other - one).total_seconds(), 3))
