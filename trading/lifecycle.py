"""The two transition tables: what an order and an intent may become.

An order's table lets the venue's late word correct ours, and never lets anything leave FILLED or
DENIED. It must never guess: an event that the table does not hold is a ValueError.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import overload

from trading.model import IntentStatus, OrderStatus


class OrderEvent(StrEnum):
    """What can happen to an order; RESUBMIT follows proof that the attempt before never arrived."""

    SUBMIT = "SUBMIT"
    RESUBMIT = "RESUBMIT"
    ACCEPT = "ACCEPT"
    PARTIAL_FILL = "PARTIAL_FILL"
    FILL = "FILL"
    REJECT = "REJECT"
    CANCEL = "CANCEL"
    EXPIRE = "EXPIRE"
    DENY = "DENY"


class IntentEvent(StrEnum):
    """What can happen to an intent."""

    ASK = "ASK"
    APPROVE = "APPROVE"
    DECLINE = "DECLINE"
    DENY = "DENY"
    EXPIRE = "EXPIRE"
    IGNORE = "IGNORE"
    EXECUTE = "EXECUTE"
    FINISH = "FINISH"
    FAIL = "FAIL"


ORDER_TABLE: Mapping[OrderStatus, Mapping[OrderEvent, OrderStatus]] = MappingProxyType(
    {
        OrderStatus.INITIALIZED: {
            OrderEvent.SUBMIT: OrderStatus.SUBMITTED,
            OrderEvent.DENY: OrderStatus.DENIED,
        },
        OrderStatus.SUBMITTED: {
            OrderEvent.RESUBMIT: OrderStatus.SUBMITTED,
            OrderEvent.ACCEPT: OrderStatus.ACCEPTED,
            OrderEvent.PARTIAL_FILL: OrderStatus.PARTIALLY_FILLED,
            OrderEvent.FILL: OrderStatus.FILLED,
            OrderEvent.REJECT: OrderStatus.REJECTED,
            OrderEvent.CANCEL: OrderStatus.CANCELED,
            OrderEvent.EXPIRE: OrderStatus.EXPIRED,
        },
        OrderStatus.ACCEPTED: {
            OrderEvent.ACCEPT: OrderStatus.ACCEPTED,
            OrderEvent.PARTIAL_FILL: OrderStatus.PARTIALLY_FILLED,
            OrderEvent.FILL: OrderStatus.FILLED,
            # Venues that answer before they match can still refuse.
            OrderEvent.REJECT: OrderStatus.REJECTED,
            OrderEvent.CANCEL: OrderStatus.CANCELED,
            OrderEvent.EXPIRE: OrderStatus.EXPIRED,
        },
        OrderStatus.PARTIALLY_FILLED: {
            OrderEvent.ACCEPT: OrderStatus.PARTIALLY_FILLED,
            OrderEvent.PARTIAL_FILL: OrderStatus.PARTIALLY_FILLED,
            OrderEvent.FILL: OrderStatus.FILLED,
            OrderEvent.CANCEL: OrderStatus.CANCELED,
            OrderEvent.EXPIRE: OrderStatus.EXPIRED,
        },
        OrderStatus.FILLED: {OrderEvent.FILL: OrderStatus.FILLED},
        OrderStatus.DENIED: {OrderEvent.DENY: OrderStatus.DENIED},
        OrderStatus.REJECTED: {
            OrderEvent.REJECT: OrderStatus.REJECTED,
            OrderEvent.ACCEPT: OrderStatus.ACCEPTED,
            OrderEvent.PARTIAL_FILL: OrderStatus.PARTIALLY_FILLED,
            OrderEvent.FILL: OrderStatus.FILLED,
            OrderEvent.CANCEL: OrderStatus.CANCELED,
            OrderEvent.EXPIRE: OrderStatus.EXPIRED,
        },
        # A part filled before the end, told late: the quantity changes, the order still rests nowhere.
        OrderStatus.CANCELED: {
            OrderEvent.CANCEL: OrderStatus.CANCELED,
            OrderEvent.PARTIAL_FILL: OrderStatus.CANCELED,
            OrderEvent.FILL: OrderStatus.FILLED,
        },
        OrderStatus.EXPIRED: {
            OrderEvent.EXPIRE: OrderStatus.EXPIRED,
            OrderEvent.PARTIAL_FILL: OrderStatus.EXPIRED,
            OrderEvent.FILL: OrderStatus.FILLED,
        },
    }
)

INTENT_TABLE: Mapping[IntentStatus, Mapping[IntentEvent, IntentStatus]] = MappingProxyType(
    {
        IntentStatus.RECEIVED: {
            IntentEvent.ASK: IntentStatus.AWAITING_APPROVAL,
            IntentEvent.APPROVE: IntentStatus.APPROVED,
            IntentEvent.DENY: IntentStatus.DENIED,
            IntentEvent.EXPIRE: IntentStatus.EXPIRED,
            IntentEvent.IGNORE: IntentStatus.IGNORED,
            IntentEvent.FAIL: IntentStatus.FAILED,
        },
        IntentStatus.AWAITING_APPROVAL: {
            IntentEvent.APPROVE: IntentStatus.APPROVED,
            IntentEvent.DECLINE: IntentStatus.DECLINED,
            IntentEvent.EXPIRE: IntentStatus.EXPIRED,
            IntentEvent.DENY: IntentStatus.DENIED,
            IntentEvent.FAIL: IntentStatus.FAILED,
        },
        IntentStatus.APPROVED: {
            IntentEvent.EXECUTE: IntentStatus.EXECUTING,
            IntentEvent.DENY: IntentStatus.DENIED,
            IntentEvent.EXPIRE: IntentStatus.EXPIRED,
            IntentEvent.IGNORE: IntentStatus.IGNORED,
            IntentEvent.FAIL: IntentStatus.FAILED,
        },
        IntentStatus.EXECUTING: {
            # A runner that died left it here; the next one goes on.
            IntentEvent.EXECUTE: IntentStatus.EXECUTING,
            IntentEvent.FINISH: IntentStatus.DONE,
            IntentEvent.FAIL: IntentStatus.FAILED,
            IntentEvent.DENY: IntentStatus.DENIED,
            IntentEvent.EXPIRE: IntentStatus.EXPIRED,
            IntentEvent.IGNORE: IntentStatus.IGNORED,
        },
    }
)


@overload
def advance(*, state: OrderStatus, event: OrderEvent) -> OrderStatus: ...
@overload
def advance(*, state: IntentStatus, event: IntentEvent) -> IntentStatus: ...
def advance(
    *, state: OrderStatus | IntentStatus, event: OrderEvent | IntentEvent
) -> OrderStatus | IntentStatus:
    """The state after the event, by the table of orders or the table of intents.

    Raises ValueError, naming both, for an event that the state does not allow.

    >>> advance(state=OrderStatus.SUBMITTED, event=OrderEvent.ACCEPT)
    <OrderStatus.ACCEPTED: 'ACCEPTED'>
    >>> advance(state=IntentStatus.DONE, event=IntentEvent.EXECUTE)
    Traceback (most recent call last):
    ValueError: an intent that is DONE does not take EXECUTE
    """
    after: OrderStatus | IntentStatus | None = None
    # The types are asked for: members of two StrEnums with one spelling are equal keys.
    if isinstance(state, OrderStatus) and isinstance(event, OrderEvent):
        after = ORDER_TABLE[state].get(event)
    elif isinstance(state, IntentStatus) and isinstance(event, IntentEvent):
        after = INTENT_TABLE.get(state, {}).get(event)
    if after is None:
        noun = "order" if isinstance(state, OrderStatus) else "intent"
        raise ValueError(f"an {noun} that is {state} does not take {event}")
    return after
