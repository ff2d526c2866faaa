"""Whose turn it is to look after an account, and the day on which it lost too much, in the table `state`.

Every function works inside the caller's transaction; must never judge.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import Connection, delete, exists, or_, select, update

from store import tables
from store._engine import as_python_sorts, insert
from store._lanes import at
from store.orders import UNSETTLED
from trading.model import Lane, Role

_NEXT = "SENTRY "
_BREACH = "BREACH "
_DOUBT = "DOUBT "
_STRANGER = "STRANGER "


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """A position that is not ours, on an instrument of an account, as it was put on record at `at`; `told`
    says whether people know."""

    symbol: str
    quantity: Decimal
    at: datetime
    told: bool


def take(tx: Connection, *, what: str, venue: str, account: str, now: datetime, every: timedelta) -> bool:
    """Whether it is time again; whoever gets True does it, and nobody else until `every` has passed."""
    state = tables.state
    # Further ahead than clocks differ: this one was set back.
    is_over = or_(state.c.at <= now, state.c.at > now + 2 * every)
    row = insert(tx, state).values(key=f"{_NEXT}{what} {venue} {account}", value="", at=now + every)
    taken = row.on_conflict_do_update(
        index_elements=[state.c.key], set_={"at": row.excluded.at}, where=is_over
    )
    return tx.execute(taken.returning(state.c.key)).first() is not None


def give_back(tx: Connection, *, what: str, venue: str, account: str, until: datetime) -> None:
    """It is time again at once: who had taken it, to `until`, could not do it. Nobody else is disturbed."""
    state = tables.state.c
    tx.execute(delete(tables.state).where(state.key == f"{_NEXT}{what} {venue} {account}", state.at == until))


def breach(tx: Connection, *, venue: str, account: str, limit: Decimal, now: datetime) -> bool:
    """Remembers that an account has lost `limit` today; False if that was known."""
    if breached(tx, venue=venue, account=account, limit=limit, now=now):
        return False
    state = tables.state
    row = insert(tx, state).values(key=f"{_BREACH}{venue} {account}", value=format(limit, "f"), at=now)
    set_ = {"value": row.excluded.value, "at": row.excluded.at}
    tx.execute(row.on_conflict_do_update(index_elements=[state.c.key], set_=set_))
    return True


def breached(tx: Connection, *, venue: str, account: str, limit: Decimal, now: datetime) -> bool:
    """Whether an account is known to have lost `limit` or more on the day (UTC) of `now`."""
    state = tables.state.c
    row = tx.execute(select(state.value, state.at).where(state.key == f"{_BREACH}{venue} {account}")).first()
    if row is None or row.at.date() != now.date():
        return False
    # A row of an older version does not say at which limit: it counts at any.
    return not row.value or Decimal(row.value) >= limit


def doubt(tx: Connection, *, venue: str, account: str, now: datetime, patience: timedelta) -> bool:
    """Remembers that an account's day cannot be known now; True once, when that has lasted for `patience`."""
    state, key = tables.state, f"{_DOUBT}{venue} {account}"
    begun = insert(tx, state).values(key=key, value="", at=now)
    tx.execute(begun.on_conflict_do_nothing(index_elements=[state.c.key]))
    overdue = update(state).where(state.c.key == key, state.c.value == "", state.c.at <= now - patience)
    return tx.execute(overdue.values(value="told")).rowcount == 1


def is_in_doubt(tx: Connection, *, venue: str, account: str) -> bool:
    """Whether an account's day could not be known when it was looked at last."""
    state = tables.state.c
    return tx.execute(select(state.at).where(state.key == f"{_DOUBT}{venue} {account}")).first() is not None


def trust(tx: Connection, *, venue: str, account: str) -> None:
    """An account's day is known again."""
    state = tables.state
    tx.execute(delete(state).where(state.c.key == f"{_DOUBT}{venue} {account}"))


def places(tx: Connection) -> list[tuple[str, str]]:
    """Every venue and account that has had a lane."""
    rows = tx.execute(select(tables.positions.c.venue, tables.positions.c.account).distinct())
    return sorted((row.venue, row.account) for row in rows)


def spelling(tx: Connection, lane: Lane) -> dict[str, str] | None:
    """How the newest alert of a lane spells it: exchange, ticker, subaccount."""
    told = tables.alerts.c
    row = tx.execute(
        select(told.exchange, told.ticker, told.subaccount)
        .join_from(tables.alerts, tables.intents, told.id == tables.intents.c.id)
        .where(at(tables.intents, lane))
        .order_by(told.seq.desc())
        .limit(1)
    ).first()
    return None if row is None else dict(row._mapping)


def ours(tx: Connection, *, venue: str, account: str) -> dict[str, Decimal]:
    """The symbols of an account where we have a trade or orders that may rest, each with the position on
    record. In the order in which lanes are locked.
    """
    place, order = tables.positions.c, tables.orders.c
    # Asked once for the account: once for each lane, Postgres reads all orders ever so often, until it has
    # counted its tables.
    unsettled = select(order.symbol).where(
        order.venue == venue, order.account == account, order.status.in_(UNSETTLED)
    )
    resting = place.symbol.in_(unsettled)
    # A quantity alone says nothing: the executions of a person's orders are on record as well.
    rows = tx.execute(
        select(place.symbol, place.quantity)
        .where(place.venue == venue, place.account == account, or_(place.intent_id.is_not(None), resting))
        .order_by(as_python_sorts(tx, place.symbol))
    )
    return {row.symbol: row.quantity for row in rows}


def followed(tx: Connection, venue: str) -> list[tuple[str, bool]]:
    """What is traded at a venue now, by whatever account: the symbol, and whether its entry has ended."""
    place, order = tables.positions.c, tables.orders.c
    waits = exists().where(
        order.intent_id == place.intent_id, order.role == Role.ENTRY, order.status.in_(UNSETTLED)
    )
    mine = select(place.symbol, waits.label("waits")).where(
        place.venue == venue, place.intent_id.is_not(None)
    )
    return [(row.symbol, not row.waits) for row in tx.execute(mine)]


def symbols(tx: Connection, *, venue: str, account: str) -> list[str]:
    """Every instrument that an account has had a lane of."""
    place = tables.positions.c
    rows = tx.execute(select(place.symbol).where(place.venue == venue, place.account == account))
    return sorted(row.symbol for row in rows)


def traded_since(tx: Connection, since: datetime) -> list[Lane]:
    """Lanes that have entered, filled, or ended a trade since then, in their order."""
    # By the lanes, which stay few: no index would find the orders that changed lately among all there were.
    lane = tables.positions.c
    rows = tx.execute(select(lane.venue, lane.account, lane.symbol).where(lane.updated_at >= since))
    # Sorted here: the database's order depends on its locale, and that of the locks must not.
    return [Lane(*row) for row in sorted(tuple(row) for row in rows)]


def has_traded(tx: Connection, lane: Lane) -> bool:
    """Whether a lane has had any order."""
    return tx.execute(select(tables.orders.c.seq).where(at(tables.orders, lane)).limit(1)).first() is not None


def known(tx: Connection, lane: Lane, names: Iterable[str]) -> set[str]:
    """Which of these client order ids are ours, on that lane."""
    order = tables.orders
    mine = select(order.c.client_order_id).where(at(order, lane), order.c.client_order_id.in_(sorted(names)))
    return set(tx.execute(mine).scalars())


def strangers(tx: Connection, *, venue: str, account: str) -> dict[str, Stranger]:
    """The positions of an account that are on record as not ours, by symbol."""
    state, prefix = tables.state.c, f"{_STRANGER}{venue} {account} "
    mine = state.key.startswith(prefix, autoescape=True)
    rows = tx.execute(select(state.key, state.value, state.at).where(mine))
    found = {}
    for row in rows:
        symbol, value = row.key.removeprefix(prefix), json.loads(row.value)
        quantity, told = Decimal(value["quantity"]), bool(value["told"])
        found[symbol] = Stranger(symbol=symbol, quantity=quantity, at=row.at, told=told)
    return found


def remember(tx: Connection, stranger: Stranger, *, venue: str, account: str) -> None:
    """Puts a position on record as not ours."""
    state = tables.state
    value = json.dumps({"quantity": format(stranger.quantity, "f"), "told": stranger.told})
    key = f"{_STRANGER}{venue} {account} {stranger.symbol}"
    row = insert(tx, state).values(key=key, value=value, at=stranger.at)
    set_ = {"value": row.excluded.value, "at": row.excluded.at}
    tx.execute(row.on_conflict_do_update(index_elements=[state.c.key], set_=set_))


def forget(tx: Connection, symbol: str, *, venue: str, account: str) -> None:
    """A position that was not ours is gone, or has become ours."""
    state = tables.state
    tx.execute(delete(state).where(state.c.key == f"{_STRANGER}{venue} {account} {symbol}"))
