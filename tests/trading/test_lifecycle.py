"""The transition tables: the brief of both, and that nothing outside them passes."""

from __future__ import annotations

import doctest
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading import lifecycle
from trading.lifecycle import INTENT_TABLE, ORDER_TABLE, IntentEvent, OrderEvent, advance
from trading.model import IntentStatus, OrderStatus

ORDER_PATHS = [
    ("SUBMIT ACCEPT PARTIAL_FILL PARTIAL_FILL FILL", "FILLED"),
    ("SUBMIT RESUBMIT ACCEPT ACCEPT FILL FILL", "FILLED"),
    ("SUBMIT REJECT", "REJECTED"),
    ("SUBMIT ACCEPT REJECT", "REJECTED"),
    ("SUBMIT PARTIAL_FILL ACCEPT", "PARTIALLY_FILLED"),
    ("SUBMIT PARTIAL_FILL CANCEL", "CANCELED"),
    ("SUBMIT ACCEPT EXPIRE", "EXPIRED"),
    ("DENY DENY", "DENIED"),
    ("SUBMIT ACCEPT CANCEL FILL", "FILLED"),
    ("SUBMIT ACCEPT CANCEL PARTIAL_FILL", "CANCELED"),
    ("SUBMIT EXPIRE FILL", "FILLED"),
    ("SUBMIT EXPIRE PARTIAL_FILL", "EXPIRED"),
    ("SUBMIT REJECT ACCEPT", "ACCEPTED"),
    ("SUBMIT REJECT PARTIAL_FILL", "PARTIALLY_FILLED"),
    ("SUBMIT REJECT FILL", "FILLED"),
]

INTENT_AFTER = {
    "RECEIVED": "AWAITING_APPROVAL APPROVED DENIED EXPIRED IGNORED FAILED",
    "AWAITING_APPROVAL": "APPROVED DECLINED EXPIRED DENIED FAILED",
    "APPROVED": "EXECUTING DENIED EXPIRED IGNORED FAILED",
    "EXECUTING": "EXECUTING DONE FAILED DENIED EXPIRED IGNORED",
}


def test_the_docstrings_tell_the_truth() -> None:
    assert doctest.testmod(lifecycle).failed == 0


@pytest.mark.parametrize(("events", "end"), ORDER_PATHS)
def test_an_order_walks(events: str, end: str) -> None:
    state = OrderStatus.INITIALIZED
    for event in events.split():
        state = advance(state=state, event=OrderEvent(event))
    assert state is OrderStatus(end)


@pytest.mark.parametrize("state", list(IntentStatus))
def test_an_intent_becomes_only_what_is_written(state: IntentStatus) -> None:
    reached = set()
    for event in IntentEvent:
        if event in INTENT_TABLE.get(state, {}):
            reached.add(advance(state=state, event=event))
        else:
            with pytest.raises(ValueError, match=f"{state} does not take {event}"):
                advance(state=state, event=event)
    assert reached == {IntentStatus(name) for name in INTENT_AFTER.get(state, "").split()}
    assert state.is_final == (not reached)


def test_each_event_means_one_status_in_the_intents_table() -> None:
    meant = {(event, after) for row in INTENT_TABLE.values() for event, after in row.items()}
    assert len(meant) == len(IntentEvent)


@pytest.mark.parametrize(("state", "event"), list(product(OrderStatus, OrderEvent)))
def test_an_order_takes_what_its_row_holds_and_nothing_else(state: OrderStatus, event: OrderEvent) -> None:
    if event in ORDER_TABLE[state]:
        assert advance(state=state, event=event) is ORDER_TABLE[state][event]
    else:
        with pytest.raises(ValueError, match=f"an order that is {state} does not take {event}"):
            advance(state=state, event=event)


@given(events=st.lists(st.sampled_from(OrderEvent), max_size=30))
def test_nothing_leaves_filled_or_denied_and_nothing_is_unsent(events: list[OrderEvent]) -> None:
    state, seen = OrderStatus.INITIALIZED, [OrderStatus.INITIALIZED]
    for event in events:
        if event in ORDER_TABLE[state]:
            state = advance(state=state, event=event)
            seen.append(state)
    for end in (OrderStatus.FILLED, OrderStatus.DENIED):
        if end in seen:
            assert set(seen[seen.index(end) :]) == {end}
    assert OrderStatus.INITIALIZED not in seen[1:]


def test_events_of_the_other_table_are_refused_though_they_are_spelled_alike() -> None:
    state, event = OrderStatus.SUBMITTED, IntentEvent.EXPIRE
    with pytest.raises(ValueError, match="an order that is SUBMITTED does not take EXPIRE"):
        advance(state=state, event=event)  # type: ignore[call-overload]  # the mistake under test
