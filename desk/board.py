"""What the dashboard shows of now: accounts, open positions, what waits for a person, health.

Read models as in `desk.report`: plain dicts, amounts as strings. Never asks a venue: the runner's last look
at the accounts stands in the database.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any

from desk import report
from desk.intake import is_paper, venue_of
from desk.report import Model, instant
from desk.settings import Settings
from store import Store, Transaction, orders, search, switches, views, watch
from store.watch import Seen
from trading import pnl
from trading.model import Role, plain
from trading.rounding import MONEY

#: More questions than that nobody answers.
MOST_WAITING = 20
_LATEST = 6
#: The page says that it is looked at so often, at most.
_WATCH_EVERY = timedelta(seconds=15)


def watched(store: Store, now: datetime) -> None:
    """Tells the runner that somebody looks, so that it asks for balances. Raises StoreUnavailable."""
    with store.read() as tx:
        last = watch.last_watched(tx)
    if last is None or now - last > _WATCH_EVERY:
        with store.write() as tx:
            watch.watched(tx, now)


def frame(store: Store) -> Model:
    """What every page shows: whether entries are halted, and how much waits for a person."""
    with store.read() as tx:
        halt = switches.halted(tx)
        count = len(search.waiting(tx, limit=MOST_WAITING))
    told = None if halt is None else {"reason": halt.reason, "by": halt.by, "at": instant(halt.at)}
    return {"halt": told, "waiting": count}


def homes(settings: Settings) -> set[tuple[str, str]]:
    """Venue and account of those that are set for one exchange: they have a balance before they trade."""
    return {
        (venue_of(account.rules.exchange, live=settings.live_trading), name)
        for name, account in settings.accounts.items()
        if account.rules.exchange
    }


def board(store: Store, settings: Settings, *, now: datetime) -> Model:
    """Everything on the first page."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    with store.read() as tx:
        seen = watch.accounts(tx)
        rows = views.position_list(tx)
        places: list[tuple[str, str]] = sorted(
            {(row["venue"], row["account"]) for row in rows} | homes(settings)
        )
        realised = {
            place: orders.realised_since(tx, venue=place[0], account=place[1], since=midnight)
            for place in places
        }
        positions = _positions(tx, [row for row in rows if row["quantity"] != 0], seen)
        questions = [_question(tx, row) for row in search.waiting(tx, limit=MOST_WAITING)]
        latest = search.found(tx, search.Filter(), limit=_LATEST, before=None)
    idle = sorted(set(settings.accounts) - {account for _, account in places})
    shown = [_account(*place, seen.get(place), positions, realised[place]) for place in places]
    # Of each venue the account that has the most to say: trouble before silence before an answer.
    venues = {
        each["venue"]: each
        for each in sorted(shown, key=lambda each: (bool(each["trouble"]), not each["at"]))
    }
    return {
        "accounts": shown,
        "venues": [venues[name] for name in sorted(venues)],
        "idle": idle,
        "positions": positions,
        "waiting": questions,
        "latest": [report.headline(row) for row in latest],
    }


def _account(venue: str, account: str, seen: Seen | None, positions: list[Model], realised: Decimal) -> Model:
    mine = [each for each in positions if (each["venue"], each["account"]) == (venue, account)]
    unrealised = [Decimal(each["unrealised"]) for each in mine if each["unrealised"] is not None]
    at_risk = [Decimal(each["at_stop"]) for each in mine if each["at_stop"] is not None]
    return {
        "venue": venue,
        "account": account,
        "exchange": venue.rpartition(":")[2],
        "paper": is_paper(venue),
        "currency": seen.currency if seen else "",
        "total": _plain(seen.total) if seen else None,
        "free": _plain(seen.free) if seen else None,
        "at": instant(seen.at) if seen else None,
        "trouble": seen.trouble if seen else "",
        "realised": plain(realised),
        "unrealised": plain(sum(unrealised, Decimal(0))) if len(unrealised) == len(mine) else None,
        "at_risk": plain(-sum((each for each in at_risk if each < 0), Decimal(0))),
        "open": len(mine),
    }


def _positions(tx: Transaction, rows: list[views.Row], seen: Mapping[tuple[str, str], Seen]) -> list[Model]:
    resting = search.resting(tx, [row["intent_id"] for row in rows if row["intent_id"]])
    return [_position(row, resting, seen.get((row["venue"], row["account"]))) for row in rows]


def _position(row: views.Row, resting: list[views.Row], seen: Seen | None) -> Model:
    quantity, average, stop = row["quantity"], row["average_price"], row["stop_price"]
    price = seen.prices.get(row["symbol"]) if seen else None
    targets = [
        {"price": plain(order["price"]), "quantity": plain(order["quantity"] - order["filled_quantity"])}
        for order in resting
        if order["intent_id"] == row["intent_id"] and order["role"] == Role.TARGET and order["price"]
    ]
    with localcontext(MONEY):
        notional = abs(quantity) * (price or average) if price or average else None
    return report.position(row) | {
        "price": _plain(price),
        "notional": _plain(notional),
        "unrealised": _closed_at(quantity, average, price),
        "at_stop": _closed_at(quantity, average, stop),
        "targets": sorted(targets, key=lambda each: Decimal(each["price"]), reverse=quantity < 0),
        "naked": row["naked_since"] is not None or stop is None,
    }


def _closed_at(quantity: Decimal, average: Decimal | None, price: Decimal | None) -> str | None:
    """What closing at a price would bring, before fees; None where one of them is not known."""
    if average is None or price is None:
        return None
    return plain(pnl.unrealised(quantity=quantity, average_price=average, price=price))


def _question(tx: Transaction, row: views.Row) -> Model:
    told: dict[str, Any] = json.loads(search.question(tx, row["id"]) or "{}")
    return report.headline(row) | {"expires_at": instant(row["expires_at"]), "asked": told}


def _plain(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)
