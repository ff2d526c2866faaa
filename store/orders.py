"""Child orders, fills and positions: written down before anything leaves, corrected by what venues report.

Each function that changes something proves first that the claim on the lane is the newest one. It must
never touch a venue, and never change an order in a way that `trading.lifecycle` forbids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import bindparam, exists, func, insert, select, update
from sqlalchemy.engine import Connection, Result, Row

from store import chain
from store._lanes import at, here, place_of
from store.journal import STORED_ALERT, Claim, Intent, alert_in, hold, locked, tell
from store.tables import alerts, fills, intents, orders, positions
from trading import pnl
from trading.errors import LostClaim
from trading.lifecycle import OrderEvent, advance
from trading.model import (
    ZERO,
    Alert,
    Fill,
    Lane,
    Order,
    OrderStatus,
    OrderType,
    Role,
    Side,
    Sizing,
    TimeInForce,
    Trade,
    plain,
)

UNSETTLED = (OrderStatus.SUBMITTED, OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED)

# What every look asks, built once: building costs as much as asking.
_OF_INTENT = select(orders).where(orders.c.intent_id == bindparam("intent")).order_by(orders.c.seq)
_ORDER = select(orders).where(orders.c.client_order_id == bindparam("client_order_id"))
_UNSETTLED_AT = select(orders).where(here(orders), orders.c.status.in_(UNSETTLED)).order_by(orders.c.seq)
_MADE = insert(orders).returning(*orders.c)
_FILLED = insert(fills).returning(*fills.c)
_LAST_FILL = select(func.max(fills.c.at)).where(here(fills)).scalar_subquery()
_STATE = (
    select(positions, *STORED_ALERT, _LAST_FILL.label("last_fill_at"))
    .outerjoin_from(positions, alerts, alerts.c.id == positions.c.intent_id)
    .where(here(positions))
)
_BEGUN = select(orders.c.seq).where(orders.c.client_order_id == bindparam("entry")).scalar_subquery()
_MOVED = (
    select(orders)
    .where(here(orders), orders.c.seq > _BEGUN)
    .where(orders.c.role == Role.STOP, orders.c.intent_id != bindparam("intent"))
    .order_by(orders.c.seq)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneState:
    """What the journal knows of a lane: its ledger, the trade it follows and what may rest for it."""

    ledger: pnl.Ledger
    trade: Trade | None
    unsettled: tuple[Order, ...]
    naked_since: datetime | None
    drift_since: datetime | None
    last_fill_at: datetime | None


def of_intent(tx: Connection, intent_id: str) -> list[Order]:
    """Every child order of an intent, in the order of their making."""
    return [order_of(row) for row in tx.execute(_OF_INTENT, {"intent": intent_id})]


def lane_state(tx: Connection, lane: Lane) -> LaneState:
    """The lane as the journal has it."""
    place = place_of(lane)
    row = tx.execute(_STATE, place).one()
    return LaneState(
        ledger=_ledger(row),
        trade=None if row.intent_id is None else _trade(tx, row),
        unsettled=tuple(order_of(order) for order in tx.execute(_UNSETTLED_AT, place)),
        naked_since=row.naked_since,
        drift_since=row.drift_since,
        last_fill_at=row.last_fill_at,
    )


def follow(
    tx: Connection,
    held: Claim,
    intent: Intent,
    *,
    sizing: Sizing,
    planned: Sequence[Order],
    reference_price: Decimal,
    stop_price: Decimal,
    now: datetime,
) -> None:
    """Writes an entry's plan down and makes it the trade that its lane follows."""
    hold(tx, held)
    sized = tx.execute(
        update(intents)
        .where(intents.c.id == intent.id)
        .values(
            free_collateral=sizing.free_collateral,
            risk=sizing.risk,
            quantity=sizing.quantity,
            worst_loss=sizing.worst_loss,
            notional=sizing.notional,
            updated_at=now,
        )
        .returning(*intents.c)
    ).one()
    chain.keep(tx, intents, sized, alert_id=intent.id, lane=held.lane)
    add(tx, held, planned, now=now)
    tx.execute(
        update(positions)
        .where(at(positions, held.lane))
        .values(
            intent_id=intent.id,
            reference_price=reference_price,
            stop_price=stop_price,
            last_entry_at=now,
            last_entry_effective_at=intent.effective_at,
            updated_at=now,
        )
    )


def add(tx: Connection, held: Claim, planned: Iterable[Order], *, now: datetime) -> None:
    """Writes orders down that have not left yet."""
    hold(tx, held)
    for order in planned:
        made = {name: getattr(order, name) for name in _FIELDS}
        made |= {"venue": held.lane.venue, "account": held.lane.account, "created_at": now, "updated_at": now}
        _keep_order(tx, held, tx.execute(_MADE, made))


def submit(
    tx: Connection, held: Claim, order: Order, *, signed_at: datetime, retry_at: datetime, now: datetime
) -> Order:
    """Marks an order as leaving, signed at `signed_at`; a compare-and-set that only one caller wins.

    Commit this before the request is sent. LostClaim if the order or the lane changed since.
    """
    hold(tx, held)
    again = order.status is OrderStatus.SUBMITTED
    event = OrderEvent.RESUBMIT if again else OrderEvent.SUBMIT
    status = advance(state=order.status, event=event)
    same = orders.c.signed_at == order.signed_at if again else orders.c.signed_at.is_(None)
    changed = tx.execute(
        update(orders)
        .where(orders.c.client_order_id == order.client_order_id, orders.c.status == order.status, same)
        .values(status=status, signed_at=signed_at, retry_at=retry_at, updated_at=now)
        .returning(*orders.c)
    )
    if not _keep_order(tx, held, changed):
        raise LostClaim(f"order {order.client_order_id} is not {order.status} any more")
    word = "resubmitted" if again else "submitted"
    tell(tx, order.intent_id, word, describe(order), now, lane=held.lane)
    return replace(order, status=status, signed_at=signed_at, retry_at=retry_at)


def unsent(tx: Connection, held: Claim, order: Order, *, retry_at: datetime) -> None:
    """Brings the moment forward from which the absence of a submitted order proves something."""
    hold(tx, held)
    nearer = update(orders).where(
        orders.c.client_order_id == order.client_order_id, orders.c.status == OrderStatus.SUBMITTED
    )
    _keep_order(tx, held, tx.execute(nearer.values(retry_at=retry_at).returning(*orders.c)))


def resize(tx: Connection, held: Claim, order: Order, *, now: datetime) -> None:
    """Changes the quantity of an order that has not left yet."""
    hold(tx, held)
    changed = (
        update(orders)
        .where(orders.c.client_order_id == order.client_order_id, orders.c.status == OrderStatus.INITIALIZED)
        .values(quantity=order.quantity, price=order.price, updated_at=now)
    )
    _keep_order(tx, held, tx.execute(changed.returning(*orders.c)))


def settle(tx: Connection, held: Claim, order: Order, *, now: datetime) -> None:
    """Writes down what became of an order; tells it when its status or its filled quantity changed."""
    before = hold_order(tx, held, order.client_order_id)
    settled = (
        update(orders)
        .where(orders.c.client_order_id == order.client_order_id)
        .values(
            status=order.status,
            venue_order_id=order.venue_order_id,
            filled_quantity=order.filled_quantity,
            average_price=order.average_price,
            reason=order.reason,
            updated_at=now,
        )
    )
    _keep_order(tx, held, tx.execute(settled.returning(*orders.c)))
    if (before.status, before.filled_quantity) != (order.status, order.filled_quantity):
        detail = describe(order)
        if order.filled_quantity:
            detail += f", filled {plain(order.filled_quantity)}"
            detail += f" at {plain(order.average_price)}" if order.average_price else ""
        tell(
            tx,
            order.intent_id,
            order.status.lower(),
            f"{detail}{': ' + order.reason if order.reason else ''}",
            now,
            lane=held.lane,
        )


def hold_order(tx: Connection, held: Claim, client_order_id: str) -> Order:
    """The order as stored, its lane locked."""
    hold(tx, held)
    return named(tx, client_order_id)


def named(tx: Connection, client_order_id: str) -> Order:
    """The order as stored."""
    return order_of(tx.execute(_ORDER, {"client_order_id": client_order_id}).one())


def add_fills(tx: Connection, held: Claim, news: Iterable[Fill], *, now: datetime) -> list[Fill]:
    """Adds executions that are not known yet to the ledger of the lane; returns those."""
    row = locked(tx, held)
    ledger, added = _ledger(row), []
    for fill in news:
        known = exists().where(at(fills, held.lane), fills.c.trade_id == fill.trade_id)
        if tx.execute(select(known)).scalar_one():
            continue
        ledger, realised = pnl.apply(ledger=ledger, fill=fill)
        place = {"venue": held.lane.venue, "account": held.lane.account, "realised_pnl": realised}
        made = tx.execute(_FILLED, place | {name: getattr(fill, name) for name in _FILL_FIELDS}).one()
        chain.keep(tx, fills, made, alert_id=None, lane=held.lane)
        added.append(fill)
    if added:
        _keep(tx, held, ledger, now)
    return added


def numbered(tx: Connection, lane: Lane, numbers: Iterable[str]) -> list[Order]:
    """The lane's orders that bear these venue_order_ids, ended ones too."""
    wanted = orders.c.venue_order_id.in_(sorted(set(numbers)))
    rows = tx.execute(select(orders).where(at(orders, lane), wanted).order_by(orders.c.seq))
    return [order_of(row) for row in rows]


def price(tx: Connection, held: Claim, made: Iterable[Order], *, now: datetime) -> None:
    """Gives orders that filled their average price out of their fills, where the venue's answer had none."""
    hold(tx, held)
    unpriced = {o.client_order_id for o in made if o.filled_quantity and o.average_price is None}
    for name in unpriced:
        order = hold_order(tx, held, name)
        if not order.filled_quantity or order.average_price is not None:
            continue
        own = select(fills).where(at(fills, held.lane), fills.c.client_order_id == name)
        ledger = pnl.FLAT
        for row in tx.execute(own):
            ledger, _ = pnl.add_fill(
                ledger=ledger, side=order.side, quantity=row.quantity, price=row.price, fee=ZERO
            )
        if abs(ledger.quantity) == order.filled_quantity:
            settle(tx, held, replace(order, average_price=ledger.average_price), now=now)


def correct(
    tx: Connection, held: Claim, *, quantity: Decimal, average_price: Decimal | None, now: datetime
) -> None:
    """Takes the venue's word for the position where the fills do not explain it."""
    ledger = _ledger(locked(tx, held))
    corrected = pnl.Ledger(
        quantity=quantity,
        average_price=average_price if quantity else None,
        realised_pnl=ledger.realised_pnl,
        fees=ledger.fees,
    )
    _keep(tx, held, corrected, now)


def move_stop(tx: Connection, held: Claim, *, stop_price: Decimal, now: datetime) -> None:
    """Says where the stop of the lane's trade belongs from now on."""
    hold(tx, held)
    tx.execute(
        update(positions).where(at(positions, held.lane)).values(stop_price=stop_price, updated_at=now)
    )


def end_trade(tx: Connection, held: Claim, *, reason: str, now: datetime) -> None:
    """The lane follows no trade any more; orders of it that never left are dropped."""
    row = locked(tx, held)
    if row.intent_id is not None:
        tell(tx, row.intent_id, "closed", reason, now, lane=held.lane)
        for order in of_intent(tx, row.intent_id):
            if order.status is OrderStatus.INITIALIZED:
                denied = replace(
                    order, status=OrderStatus.DENIED, reason="the trade ended before it was needed"
                )
                settle(tx, held, denied, now=now)
    tx.execute(
        update(positions)
        .where(at(positions, held.lane))
        .values(intent_id=None, stop_price=None, naked_since=None, updated_at=now)
    )


def set_naked(tx: Connection, held: Claim, *, since: datetime | None) -> None:
    """Remembers since when an open position has had no proved stop."""
    hold(tx, held)
    tx.execute(update(positions).where(at(positions, held.lane)).values(naked_since=since))


def set_drift(tx: Connection, held: Claim, *, since: datetime | None) -> None:
    """Remembers since when the venue's position has been another than our fills make it."""
    hold(tx, held)
    tx.execute(update(positions).where(at(positions, held.lane)).values(drift_since=since))


def last_entry(tx: Connection, lane: Lane, *, but: str) -> tuple[datetime | None, datetime | None]:
    """Of the lane's last traded entry, other than `but`: its alert's time, and when it was traded."""
    row = tx.execute(select(positions).where(at(positions, lane))).one()
    if row.intent_id == but:
        return None, None
    return row.last_entry_effective_at, row.last_entry_at


def open_lanes(tx: Connection, *, venue: str, account: str) -> list[Lane]:
    """Lanes of an account that hold a position or follow a trade; not those that wait for fills alone."""
    return list(ledgers(tx, venue=venue, account=account, unread=False))


def ledgers(tx: Connection, *, venue: str, account: str, unread: bool = True) -> dict[Lane, pnl.Ledger]:
    """The open lanes of an account, each with what our fills make of it; `unread` are open by these alone."""
    rows = tx.execute(select(positions).where(positions.c.venue == venue, positions.c.account == account))
    return {
        Lane(row.venue, row.account, row.symbol): _ledger(row)
        for row in rows
        if row.intent_id is not None or (row.quantity != 0 and (unread or row.drift_since is None))
    }


def made_since(tx: Connection, *, venue: str, account: str, since: datetime, but: str) -> int:
    """How many orders of an account were made from `since` on, those of the intent `but` aside."""
    return tx.execute(
        select(func.count())
        .select_from(orders)
        .where(orders.c.venue == venue, orders.c.account == account, orders.c.created_at >= since)
        .where(orders.c.intent_id != but)
    ).scalar_one()


def fills_of(tx: Connection, lane: Lane, *, since: datetime | None = None) -> list[Fill]:
    """Every fill of a lane, or those from `since` on, in the order in which they were told."""
    wanted = select(fills).where(at(fills, lane)).order_by(fills.c.seq)
    rows = tx.execute(wanted if since is None else wanted.where(fills.c.at >= since))
    return [
        Fill(**{name: getattr(row, name) for name in _FILL_FIELDS} | {"side": Side(row.side)}) for row in rows
    ]


def realised_since(tx: Connection, *, venue: str, account: str, since: datetime) -> Decimal:
    """Realised P&L of an account from `since` on, fees taken off, in quote units."""
    rows = tx.execute(
        select(fills.c.symbol, fills.c.price, fills.c.realised_pnl, fills.c.fee, fills.c.fee_currency).where(
            fills.c.venue == venue, fills.c.account == account, fills.c.at >= since
        )
    )
    net = ZERO
    for row in rows:
        fee = pnl.fee_in_quote(symbol=row.symbol, fee=row.fee, fee_currency=row.fee_currency, price=row.price)
        net += row.realised_pnl - fee
    return net


def describe(order: Order) -> str:
    """One order in one line, for people."""
    at = ""
    if order.price is not None:
        at = f" at {plain(order.price)}"
    elif order.trigger_price is not None:
        at = f" at {plain(order.trigger_price)}"
    return f"{order.role} {order.side} {plain(order.quantity)}{at} ({order.client_order_id})"


_FIELDS = (
    "client_order_id",
    "intent_id",
    "symbol",
    "role",
    "rung",
    "attempt",
    "side",
    "type",
    "quantity",
    "price",
    "trigger_price",
    "time_in_force",
    "reduce_only",
    "status",
    "venue_order_id",
    "filled_quantity",
    "average_price",
    "signed_at",
    "retry_at",
    "reason",
)
_FILL_FIELDS = (
    "symbol",
    "trade_id",
    "client_order_id",
    "venue_order_id",
    "side",
    "quantity",
    "price",
    "fee",
    "fee_currency",
    "maker",
    "at",
)
_ENUMS: dict[str, Any] = {
    "role": Role,
    "side": Side,
    "type": OrderType,
    "time_in_force": TimeInForce,
    "status": OrderStatus,
}


def order_of(row: Row[Any]) -> Order:
    values = {name: getattr(row, name) for name in _FIELDS}
    return Order(**{name: _ENUMS[name](value) if name in _ENUMS else value for name, value in values.items()})


def _keep_order(tx: Connection, held: Claim, changed: Result[Any]) -> bool:
    """Chains an order as a statement left it; whether there was one."""
    row = changed.one_or_none()
    if row is not None:
        chain.keep(tx, orders, row, alert_id=row.intent_id, lane=held.lane)
    return row is not None


def _ledger(row: Row[Any]) -> pnl.Ledger:
    return pnl.Ledger(
        quantity=row.quantity,
        average_price=row.average_price,
        realised_pnl=row.realised_pnl,
        fees=row.fees,
    )


def _keep(tx: Connection, held: Claim, ledger: pnl.Ledger, now: datetime) -> None:
    tx.execute(
        update(positions)
        .where(at(positions, held.lane))
        .values(
            quantity=ledger.quantity,
            average_price=ledger.average_price,
            realised_pnl=ledger.realised_pnl,
            fees=ledger.fees,
            updated_at=now,
        )
    )


def _trade(tx: Connection, row: Row[Any]) -> Trade:
    made = of_intent(tx, row.intent_id)
    alert = alert_in(row)
    entry = next(order for order in made if order.role is Role.ENTRY)
    place = place_of(Lane(row.venue, row.account, row.symbol))
    moved = tx.execute(_MOVED, {**place, "entry": entry.client_order_id, "intent": row.intent_id})
    made += [order_of(stop) for stop in moved]
    return Trade(
        intent_id=row.intent_id,
        side=entry.side,
        price=row.reference_price,
        stop=_stop_of(alert),
        stop_price=row.stop_price,
        entry=entry,
        target=alert.levels.target,
        close_percent=alert.target_close_percent,
        rungs=alert.rungs,
        orders=tuple(made),
    )


def _stop_of(alert: Alert) -> Decimal:
    if alert.levels.stop is None:
        raise ValueError(f"the entry {alert.ticker} was stored without a stop")
    return alert.levels.stop
