"""The stop on the heels of an entry that has filled, where the venue takes it only then.

Every other question can wait until it is there, the database too: it must never keep a position that has
just been opened without its stop because something else could not be written down.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from desk import fence
from desk.work import Work
from store import Transaction, orders
from trading import holding
from trading.errors import (
    Ambiguous,
    DuplicateOrder,
    Rejected,
    StaleRequest,
    StoreUnavailable,
    Throttled,
    Unreachable,
    VenueError,
)
from trading.model import Order, OrderStatus, OrderType, Position, Role
from trading.protect import Send, behind, closing
from trading.reconcile import reconcile

log = logging.getLogger(__name__)

#: A stop that cannot be written down is tried so often before the database is asked again.
_TRIES = 3


def follow(work: Work, entry: Order, stop: Order) -> None:
    """Sends the stop for what an entry filled. StoreUnavailable if it could not be written down: it left
    all the same."""
    if entry.type is OrderType.MARKET and entry.status.is_open and not entry.filled_quantity:
        entry = _asked(work, entry)
    if not entry.filled_quantity or stop.status is not OrderStatus.INITIALIZED:
        return
    stop = replace(stop, quantity=entry.filled_quantity if entry.status.is_final else entry.quantity)
    try:
        fence.send(work, stop, first=lambda tx: orders.resize(tx, work.claim, stop, now=work.clock()))
    except StoreUnavailable:
        filled = Position(symbol=entry.symbol, quantity=entry.side.sign * entry.filled_quantity)
        _send_unwritten(work, stop, closing(position=filled, intent_id=entry.intent_id, attempt=1))
        raise


def buy(work: Work, entry: Order, stop: Order, *, first: Callable[[Transaction], None] | None = None) -> None:
    """Buys coins at the market, and sends a stop for them right behind; `first` as in `fence.send`.

    Both are committed before the entry leaves, so that both are asked for whatever happens to the journal.
    StoreUnavailable if it failed on the way: the stop left all the same.
    """
    work.breathe()
    if stop.status not in (OrderStatus.INITIALIZED, OrderStatus.SUBMITTED):
        fence.send(work, entry, first=first)
        return
    entry, stop = fence.submit(work, entry, stop, first=first)
    entry = fence.deliver(work, entry)
    if entry.status.is_open and not entry.filled_quantity:
        entry = _asked(work, entry)
    left = holding.after_fee(
        quantity=entry.filled_quantity,
        fee=work.capabilities.taker_fee,
        instrument=work.exchange.instrument(entry.symbol),
    )
    if not left:
        # Nothing yet, or nobody knows.
        fence.withdraw(work, stop)
        return
    missing = Send(order=replace(stop, quantity=min(stop.quantity, left)))
    deliver_all(work, (missing,), {stop.client_order_id: missing.order})


def deliver_all(work: Work, missing: Sequence[Send], submitted: Mapping[str, Order]) -> tuple[Order, ...]:
    """Sends orders that are submitted, one right behind the other, as they are after it.

    Where the journal fails on the way the others leave all the same, and StoreUnavailable is raised at the
    end: a stop that was refused meanwhile is a close.
    """
    sent: list[Order] = []
    failed: StoreUnavailable | None = None
    for each in missing:
        order = submitted[each.order.client_order_id]
        stop = None if each.stop is None else submitted[each.stop.client_order_id]
        try:
            sent.append(fence.deliver(work, order, stop=stop))
        except StoreUnavailable as error:
            failed = error
            _again(work, stop or order)
    if failed is not None:
        raise failed
    return tuple(sent)


def _again(work: Work, order: Order) -> None:
    """What did not reach the venue, or was refused there, while the journal could not take that down: a
    stop by itself, or a close. A target has time."""
    if order.role is Role.STOP:
        part = Position(symbol=order.symbol, quantity=-order.side.sign * order.quantity)
        close = closing(position=part, intent_id=order.intent_id, attempt=1)
        if _is_through(work, part, order.trigger_price):
            work.exchange.place(close, signed_at=work.exchange.time())
        else:
            _send_unwritten(work, order, close)
    elif order.role is Role.CLOSE:
        _send_unwritten(work, order, None)


def _is_through(work: Work, position: Position, level: Decimal | None) -> bool:
    """Whether the price is behind a stop, so that no other is worth a try."""
    try:
        price = work.exchange.price(position.symbol)
    except VenueError as error:
        log.warning("%s: no price: %s", work.lane, error)
        return False
    return level is not None and behind(direction=position.direction, level=level, price=price)


def _asked(work: Work, entry: Order) -> Order:
    """As the venue has it now: some answer before they match."""
    try:
        changed = reconcile(orders=[entry], reports=[work.exchange.order(entry)])
    except VenueError as error:
        log.warning("%s: not known yet what it filled: %s", entry.client_order_id, error)
        return entry
    return changed[0] if changed else entry


def _send_unwritten(work: Work, stop: Order, otherwise: Order | None) -> None:
    """The one order that leaves without a commit.

    It can only close what has just been opened, and bears the id of the plan, by which `confirm` finds it
    again. `otherwise` closes the position if the venue refuses the stop.
    """
    log.critical("%s leaves unwritten: the database is not available", stop.client_order_id)
    for _ in range(_TRIES):
        try:
            work.exchange.place(stop, signed_at=work.exchange.time())
        except (Unreachable, Throttled, StaleRequest) as error:
            log.error("%s did not go out: %s", stop.client_order_id, error)
            continue
        except (Ambiguous, DuplicateOrder) as error:
            log.error("%s is in doubt: %s", stop.client_order_id, error)
        except Rejected as error:
            log.critical("%s is refused, the position is closed: %s", stop.client_order_id, error)
            if otherwise is not None:
                work.exchange.place(otherwise, signed_at=work.exchange.time())
        return
