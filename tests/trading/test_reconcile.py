"""Reconciling: what a report may change, and what it never may."""

from __future__ import annotations

import doctest
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading import reconcile as module
from trading.model import Order, OrderReport, OrderStatus, OrderType, Role, Side
from trading.reconcile import reconcile

D = Decimal
S = OrderStatus
#: Only what a venue can know is taken from it.
VENUE_SAYS = ("status", "venue_order_id", "filled_quantity", "average_price", "reason")
SYMBOL = "BTC-USDT-PERP"
ENDS = (S.FILLED, S.CANCELED, S.EXPIRED, S.REJECTED, S.DENIED)


def ours(status: OrderStatus, filled: str | int = 0, *, name: str = "a-e", reason: str = "") -> Order:
    return Order(
        client_order_id=name,
        intent_id="a",
        symbol=SYMBOL,
        role=Role.ENTRY,
        side=Side.BUY,
        type=OrderType.LIMIT,
        quantity=D(3),
        price=D(100),
        status=status,
        filled_quantity=D(filled),
        reason=reason,
    )


def said(
    status: OrderStatus,
    filled: str | int = 0,
    *,
    name: str | None = "a-e",
    venue: str = "7",
    average: Decimal | None = None,
    reason: str = "",
) -> OrderReport:
    return OrderReport(
        symbol=SYMBOL,
        client_order_id=name,
        venue_order_id=venue,
        side=Side.BUY,
        type=OrderType.LIMIT,
        quantity=D(3),
        status=status,
        filled_quantity=D(filled),
        average_price=average,
        reason=reason,
    )


def after(order: Order, *reports: OrderReport) -> Order:
    """The order as it stands once the reports are in."""
    changed = reconcile(orders=[order], reports=reports)
    return changed[0] if changed else order


NAMES = st.sampled_from(["a-e", "a-sl", "b-e"])
STATUSES = st.sampled_from(list(S))
FILLED = st.integers(0, 3)
ORDERS = st.builds(lambda status, filled, name: ours(status, filled, name=name), STATUSES, FILLED, NAMES)
REPORTS = st.builds(
    lambda status, filled, name, venue, average, reason: said(
        status, filled, name=name, venue=venue, average=average, reason=reason
    ),
    STATUSES,
    FILLED,
    st.none() | NAMES,
    st.sampled_from(["", "7", "8"]),
    st.sampled_from([None, D(99), D(101)]),
    st.sampled_from(["", "too late", "by hand"]),
)
BOOKS = st.lists(ORDERS, max_size=3, unique_by=lambda order: order.client_order_id)
TALK = st.lists(REPORTS, max_size=5)


def test_the_docstrings_tell_the_truth() -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("known", "report", "becomes"),
    [
        (S.SUBMITTED, said(S.ACCEPTED), (S.ACCEPTED, 0)),
        (S.SUBMITTED, said(S.REJECTED), (S.REJECTED, 0)),
        (S.ACCEPTED, said(S.PARTIALLY_FILLED, 1), (S.PARTIALLY_FILLED, 1)),
        (S.ACCEPTED, said(S.CANCELED, 1), (S.CANCELED, 1)),
        (S.ACCEPTED, said(S.EXPIRED), (S.EXPIRED, 0)),
        (S.PARTIALLY_FILLED, said(S.ACCEPTED, 1), (S.PARTIALLY_FILLED, 1)),
        # Fills told late: the quantity moves, the order stays ended.
        (S.CANCELED, said(S.PARTIALLY_FILLED, 2), (S.CANCELED, 2)),
        (S.EXPIRED, said(S.FILLED, 3), (S.FILLED, 3)),
        # A refusal that was none.
        (S.REJECTED, said(S.ACCEPTED), (S.ACCEPTED, 0)),
        # News that the tables do not know: no change.
        (S.CANCELED, said(S.ACCEPTED), (S.CANCELED, 0)),
        (S.FILLED, said(S.CANCELED, 3), (S.FILLED, 0)),
        (S.INITIALIZED, said(S.FILLED, 3), (S.INITIALIZED, 0)),
        (S.DENIED, said(S.FILLED, 3), (S.DENIED, 0)),
        (S.ACCEPTED, said(S.SUBMITTED, 1), (S.ACCEPTED, 0)),
    ],
)
def test_what_a_report_makes_of_an_order(
    known: OrderStatus, report: OrderReport, becomes: tuple[OrderStatus, int]
) -> None:
    told = after(ours(known), report)
    assert (told.status, told.filled_quantity) == becomes


def test_what_is_known_of_an_order_stays_where_the_report_is_silent() -> None:
    first = after(ours(S.SUBMITTED), said(S.PARTIALLY_FILLED, 1, average=D(99), reason="in parts"))
    told = after(first, said(S.CANCELED, 1, venue=""))
    assert (told.venue_order_id, told.average_price, told.reason) == ("7", D(99), "in parts")
    told = after(first, said(S.FILLED, 3, venue="8", average=D(98), reason="done"))
    assert (told.venue_order_id, told.average_price, told.reason) == ("8", D(98), "done")


def test_silence_changes_nothing() -> None:
    assert reconcile(orders=[ours(S.SUBMITTED), ours(S.ACCEPTED, name="a-sl")], reports=[]) == ()


@pytest.mark.parametrize("turned", [False, True])
def test_an_order_that_is_listed_twice_is_as_far_as_the_further_report(turned: bool) -> None:
    reports = [said(S.PARTIALLY_FILLED, 2), said(S.ACCEPTED)]
    told = after(ours(S.SUBMITTED), *(reversed(reports) if turned else reports))
    assert (told.status, told.filled_quantity) == (S.PARTIALLY_FILLED, 2)


@settings(max_examples=70)
@given(orders=BOOKS, reports=TALK)
def test_the_second_time_gives_nothing(orders: list[Order], reports: list[OrderReport]) -> None:
    changed = {order.client_order_id: order for order in reconcile(orders=orders, reports=reports)}
    now = [changed.get(order.client_order_id, order) for order in orders]
    assert reconcile(orders=now, reports=reports) == ()


@settings(max_examples=70)
@given(orders=BOOKS, reports=TALK)
def test_what_no_report_can_do(orders: list[Order], reports: list[OrderReport]) -> None:
    before = {order.client_order_id: order for order in orders}
    changed = reconcile(orders=orders, reports=reports)
    told = {report.client_order_id for report in reports}
    assert len({order.client_order_id for order in changed}) == len(changed)
    for order in changed:
        was = before[order.client_order_id]
        assert order != was
        assert order.client_order_id in told
        assert order.filled_quantity >= was.filled_quantity
        if was.status in (S.FILLED, S.DENIED, S.INITIALIZED):
            assert order.status is was.status
        if was.status in ENDS and was.status is not S.REJECTED:
            assert order.open_quantity == 0
        assert was.venue_order_id is None or order.venue_order_id is not None
        assert replace(was, **{name: getattr(order, name) for name in VENUE_SAYS}) == order


@settings(max_examples=40)
@given(order=ORDERS, fresh=TALK, stale=REPORTS)
def test_a_report_older_than_what_is_known_is_passed_over(
    order: Order, fresh: list[OrderReport], stale: OrderReport
) -> None:
    known = after(order, *fresh)
    old = replace(stale, client_order_id=known.client_order_id, filled_quantity=known.filled_quantity - 1)
    assert after(known, old) == known


@settings(max_examples=40)
@given(orders=BOOKS, reports=TALK)
def test_orders_of_others_change_nothing(orders: list[Order], reports: list[OrderReport]) -> None:
    foreign = [replace(report, client_order_id=name) for report in reports for name in (None, "", "theirs")]
    assert reconcile(orders=orders, reports=foreign) == ()
    assert reconcile(orders=orders, reports=[*reports, *foreign]) == reconcile(orders=orders, reports=reports)
