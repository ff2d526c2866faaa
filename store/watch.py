"""What the runner has seen at the venues for the dashboard: balances and prices, in the table `state`.

Only copies: what may be traded with is always asked anew. Every function works inside the caller's
transaction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, select

from store import tables
from store._engine import insert

_ACCOUNT = "ACCOUNT "
_WATCHED = "WATCHED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An account at `at`: equity and free collateral in `currency`, prices of what it holds by symbol.

    `trouble` says why the venue told nothing; then the amounts are None.
    """

    venue: str
    account: str
    at: datetime
    currency: str = ""
    total: Decimal | None = None
    free: Decimal | None = None
    prices: Mapping[str, Decimal] = field(default_factory=dict)
    trouble: str = ""


def keep(tx: Connection, seen: Seen) -> None:
    """Keeps the newest look at an account."""
    told = {
        "venue": seen.venue,
        "account": seen.account,
        "currency": seen.currency,
        "total": _text(seen.total),
        "free": _text(seen.free),
        "prices": {symbol: _text(price) for symbol, price in seen.prices.items()},
        "trouble": seen.trouble,
    }
    _put(tx, f"{_ACCOUNT}{seen.venue} {seen.account}", json.dumps(told), seen.at)


def accounts(tx: Connection) -> dict[tuple[str, str], Seen]:
    """The newest look at each account, by venue and account."""
    state = tables.state.c
    rows = tx.execute(select(state.value, state.at).where(state.key.startswith(_ACCOUNT)))
    found = {}
    for row in rows:
        told = json.loads(row.value)
        seen = Seen(
            venue=told["venue"],
            account=told["account"],
            at=row.at,
            currency=told["currency"],
            total=_amount(told["total"]),
            free=_amount(told["free"]),
            prices={symbol: Decimal(price) for symbol, price in told["prices"].items()},
            trouble=told["trouble"],
        )
        found[seen.venue, seen.account] = seen
    return found


def watched(tx: Connection, now: datetime) -> None:
    """Somebody looks at the dashboard now."""
    _put(tx, _WATCHED, "", now)


def last_watched(tx: Connection) -> datetime | None:
    """When somebody last did; None: never."""
    state = tables.state.c
    return tx.execute(select(state.at).where(state.key == _WATCHED)).scalar_one_or_none()


def _put(tx: Connection, key: str, value: str, at: datetime) -> None:
    state = tables.state
    row = insert(tx, state).values(key=key, value=value, at=at)
    values = {"value": row.excluded.value, "at": row.excluded.at}
    tx.execute(row.on_conflict_do_update(index_elements=[state.c.key], set_=values))


def _text(value: Decimal | None) -> str | None:
    return None if value is None else format(value, "f")


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
