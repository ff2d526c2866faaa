"""The stop on the heels of an entry that has filled, where the venue takes it only then.

Every other question can wait until it is there, the database too: it must never keep a position that has
just been opened without its stop because something else could not be written down.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal, localcontext

from desk import fence
from desk.work import Work
from store import orders
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
from trading.model import ZERO, Order, OrderStatus, OrderType, Position, Role
from trading.protect import Send, closing
from trading.reconcile import reconcile
from trading.rounding import MONEY

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
    if work.capabilities.coins:
        quantity = _bought(work, entry, stop)
    else:
        quantity = entry.filled_quantity if entry.status.is_final else entry.quantity
    if not quantity:
        return
    there = min(quantity, entry.filled_quantity)
    stop = replace(stop, quantity=quantity)
    try:
        with work.store.write() as tx:
            orders.resize(tx, work.claim, stop, now=work.clock())
        fence.send(work, stop)
    except StoreUnavailable:
        filled = Position(symbol=entry.symbol, quantity=entry.side.sign * there)
        _send_unwritten(work, stop, closing(position=filled, intent_id=entry.intent_id, attempt=1))
        raise


def send_all(work: Work, missing: Sequence[Send]) -> tuple[Order, ...]:
    """Sends orders that are written down, one right behind the other, as they are after it.

    Where the journal fails on the way their stops leave all the same, and StoreUnavailable is raised.
    """
    sent: list[Order] = []
    for number, each in enumerate(missing):
        try:
            sent.append(fence.send(work, each.order, stop=each.stop))
        except StoreUnavailable:
            for left in missing[number:]:
                stop = left.stop or left.order
                if stop.role is Role.STOP:
                    part = Position(symbol=stop.symbol, quantity=-stop.side.sign * stop.quantity)
                    otherwise = closing(position=part, intent_id=stop.intent_id, attempt=1)
                    _send_unwritten(work, stop, otherwise)
            raise
    return tuple(sent)


def _bought(work: Work, entry: Order, stop: Order) -> Decimal:
    """What a stop may sell of the coins that an entry bought, a fee in the coin taken off: no coin of a
    person's. Zero for less than the venue takes."""
    instrument = work.exchange.instrument(entry.symbol)
    with localcontext(MONEY):
        left = entry.filled_quantity * (1 - work.capabilities.taker_fee)
    price = stop.trigger_price or ZERO
    return holding.ours(by_fills=left, held=left, price=price, instrument=instrument)


def _asked(work: Work, entry: Order) -> Order:
    """As the venue has it now: some answer before they match."""
    try:
        changed = reconcile(orders=[entry], reports=[work.exchange.order(entry)])
    except VenueError as error:
        log.warning("%s: not known yet what it filled: %s", entry.client_order_id, error)
        return entry
    return changed[0] if changed else entry


def _send_unwritten(work: Work, stop: Order, otherwise: Order) -> None:
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
            work.exchange.place(otherwise, signed_at=work.exchange.time())
        return
