"""Sends one order so that it reaches the venue once, whatever happens in between.

The commit that says SUBMITTED, with the signing time, comes before the request; the venue refuses a copy
that arrives after its receive window; until `retry_at` silence proves nothing. A request is sent once: it
must never be repeated here while the one before it may still arrive. HALT is read in the same commit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from desk.stages import mark
from desk.view import LONGEST_REST
from desk.work import Work
from store import Transaction, orders, outbox, switches
from trading.errors import (
    Ambiguous,
    Denied,
    DuplicateOrder,
    Rejected,
    StaleRequest,
    StoreUnavailable,
    Throttled,
    Unreachable,
    VenueError,
)
from trading.model import Order, OrderStatus, Role
from trading.reconcile import reconcile

log = logging.getLogger(__name__)


def send(
    work: Work,
    order: Order,
    *,
    stop: Order | None = None,
    first: Callable[[Transaction], None] | None = None,
) -> Order:
    """Submits an order (with the stop that is attached to it or paired with it) and writes down what the
    venue said. `first` is what is written in the same commit before it.

    Returns the order as it is then: still SUBMITTED when the answer leaves a doubt. `order` is
    INITIALIZED, or SUBMITTED when its absence was proved. Raises LostClaim, or Denied for an entry under
    HALT, before anything leaves.
    """
    if order.role is Role.ENTRY or (order.role is Role.TARGET and stop is None):
        # Stops and closes go out also while the process ends: nobody may be here for a while.
        work.breathe()
    order, *others = submit(work, *(each for each in (order, stop) if each is not None), first=first)
    return deliver(work, order, stop=others[0] if others else None)


def submit(work: Work, *made: Order, first: Callable[[Transaction], None] | None = None) -> tuple[Order, ...]:
    """Commits that these orders leave now, all signed for this moment: `deliver` them, or `withdraw`.

    `first` and raises as in `send`: where it raises, neither is written.
    """
    capabilities = work.capabilities
    with work.store.write() as tx:
        if first is not None:
            first(tx)
        if any(order.role is Role.ENTRY for order in made) and switches.halted(tx) is not None:
            raise Denied("trading is halted: resume it and send the entry again")
        # Signed once the turn to write has come: waiting for it must not use the window up.
        signed_at = work.exchange.time()
        retry_at = signed_at + capabilities.receive_window + capabilities.margin
        now = work.clock()
        submitted = tuple(
            orders.submit(tx, work.claim, order, signed_at=signed_at, retry_at=retry_at, now=now)
            for order in made
        )
    for order in made:
        mark(f"{order.role}.submitted")
    return submitted


def withdraw(work: Work, *submitted: Order) -> None:
    """Says that submitted orders never left: the venue need not be waited for before it is asked."""
    with work.store.write() as tx:
        for order in submitted:
            orders.unsent(tx, work.claim, order, retry_at=_by_now(work, order))


def deliver(work: Work, order: Order, *, stop: Order | None = None) -> Order:
    """Sends what `submit` committed, once, and writes down what the venue said; returns as `send` does."""
    signed_at = order.signed_at
    if signed_at is None:
        raise ValueError(f"{order.client_order_id} was not submitted")
    try:
        report = work.exchange.place(order, signed_at=signed_at, stop=stop)
    except (Unreachable, Throttled, StaleRequest) as error:
        log.warning("%s did not go out: %s", order.client_order_id, error)
        return _unsent(work, order, stop, error)
    except (Ambiguous, DuplicateOrder) as error:
        # The question is left to `confirm`, which asks before anything is sent again.
        log.warning("%s is in doubt: %s", order.client_order_id, error)
        return order
    except Rejected as error:
        return _refused(work, order, stop, error)
    mark(f"{order.role}.sent")
    changed = reconcile(orders=[order], reports=[report])
    try:
        with work.store.write() as tx:
            for news in changed:
                orders.settle(tx, work.claim, news, now=work.clock())
    except StoreUnavailable as error:
        # SUBMITTED is what the journal has: it will be asked for. What it protects cannot wait for that.
        log.error("%s: what became of it could not be written down: %s", order.client_order_id, error)
    mark(f"{order.role}.settled")
    return changed[0] if changed else order


def _unsent(work: Work, order: Order, stop: Order | None, error: VenueError) -> Order:
    """Nothing arrived: only the venue's patience is waited for. It is asked all the same."""
    after = min(error.after, LONGEST_REST) if isinstance(error, Throttled) else timedelta()
    at = _by_now(work, order) + after
    with work.store.write() as tx:
        for each in (order, stop):
            if each is not None:
                orders.unsent(tx, work.claim, each, retry_at=at)
    return replace(order, retry_at=at)


def _by_now(work: Work, order: Order) -> datetime:
    """When it was signed; or now, where it was dated ahead of the venue's clock, as that is known by now."""
    now = work.exchange.time()
    return min(order.signed_at or now, now)


def _refused(work: Work, order: Order, stop: Order | None, error: VenueError) -> Order:
    refused = replace(order, status=OrderStatus.REJECTED, reason=error.message)
    with work.store.write() as tx:
        now = work.clock()
        orders.settle(tx, work.claim, refused, now=now)
        if stop is not None:
            orders.settle(
                tx, work.claim, replace(stop, status=OrderStatus.REJECTED, reason=error.message), now=now
            )
        text = f"the venue refused {orders.describe(order)}: {error.message}"
        outbox.notify(tx, kind="rejected", text=text, alert_id=order.intent_id, now=now)
    log.error("%s refused: %s", order.client_order_id, error)
    return refused
