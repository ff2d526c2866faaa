"""Compares our orders with a venue's reports: which changes are still missing here.

Reconciling twice gives nothing the second time. It must never take silence for an answer: an order
without a report stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from trading.lifecycle import ORDER_TABLE, OrderEvent, advance
from trading.model import Order, OrderReport, OrderStatus

_EVENTS = {
    OrderStatus.ACCEPTED: OrderEvent.ACCEPT,
    OrderStatus.PARTIALLY_FILLED: OrderEvent.PARTIAL_FILL,
    OrderStatus.FILLED: OrderEvent.FILL,
    OrderStatus.CANCELED: OrderEvent.CANCEL,
    OrderStatus.EXPIRED: OrderEvent.EXPIRE,
    OrderStatus.REJECTED: OrderEvent.REJECT,
}


def reconcile(*, orders: Iterable[Order], reports: Iterable[OrderReport]) -> tuple[Order, ...]:
    """Those of our orders that a report changes, as they are then.

    Reports of orders that are not ours are passed over; so is news that is older than what we know.

    >>> from decimal import Decimal
    >>> from trading.model import OrderType, Role, Side
    >>> ours = Order(client_order_id="a-e", intent_id="a", symbol="BTC-USDT-PERP", role=Role.ENTRY,
    ...     side=Side.BUY, type=OrderType.MARKET, quantity=Decimal(1), status=OrderStatus.SUBMITTED)
    >>> theirs = OrderReport(symbol="BTC-USDT-PERP", client_order_id="a-e", venue_order_id="7",
    ...     side=Side.BUY, type=OrderType.MARKET, quantity=Decimal(1), status=OrderStatus.FILLED,
    ...     filled_quantity=Decimal(1), average_price=Decimal(100))
    >>> changed = reconcile(orders=[ours], reports=[theirs])
    >>> [order.status.value for order in changed], reconcile(orders=changed, reports=[theirs])
    (['FILLED'], ())
    """
    said: dict[str, list[OrderReport]] = {}
    for report in reports:
        if report.client_order_id:
            said.setdefault(report.client_order_id, []).append(report)
    changed = []
    for order in orders:
        told = order
        # A list that is read page by page can hold one order twice, as it was and as it is.
        for report in said.get(order.client_order_id, ()):
            told = _told(told, report)
        if told != order:
            changed.append(told)
    return tuple(changed)


def _told(order: Order, report: OrderReport) -> Order:
    """The order after one report; unchanged if the report is no news."""
    if report.status not in _EVENTS:
        return order
    event = _EVENTS[report.status]
    if report.filled_quantity < order.filled_quantity or event not in ORDER_TABLE[order.status]:
        return order
    return replace(
        order,
        status=advance(state=order.status, event=event),
        venue_order_id=report.venue_order_id or order.venue_order_id,
        filled_quantity=report.filled_quantity,
        average_price=report.average_price or order.average_price,
        reason=report.reason or order.reason,
    )
