"""What protects a position: single decisions, and a lane that lives through whatever may happen to it."""

from __future__ import annotations

import doctest
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trading.lanes import (
    EVENTS,
    ID,
    LANES,
    OTHER,
    PERP,
    QUANTITY,
    Lane,
    at_venue,
    level,
    planned,
    trade_of,
)
from trading import protect as module
from trading.model import ZERO, Fill, Order, OrderStatus, Position, Role, Rung, Side
from trading.protect import (
    ATTEMPTS,
    Action,
    Cancel,
    Close,
    Send,
    behind,
    closing,
    covering,
    is_spent,
    protect,
    protected,
    stop_order,
)

D = Decimal
S = OrderStatus


def ask(orders: Sequence[Order], quantity: Decimal | int | str, **changes: Any) -> list[Action]:
    """What protect says of a lane with these orders and this position, at a price of 100."""
    rungs, stop_price = changes.pop("rungs", None), changes.pop("stop_price", None)
    asked: dict[str, Any] = {
        "position": Position(symbol=PERP.symbol, quantity=D(quantity)),
        "trade": trade_of(orders, stop_price=stop_price, rungs=rungs),
        "unsettled": [order for order in orders if at_venue(order)],
        "price": D(100),
        "instrument": PERP,
        "keep": (),
        "halted": False,
        "leaving": False,
    }
    return list(protect(**asked | changes))


def brief(actions: Sequence[Action]) -> list[str]:
    """`Send a-sl-2 1.5`, with `a` for the trade's intent and `b` for another."""
    names = {ID: "a", OTHER: "b"}
    made = [(type(action).__name__, action.order) for action in actions]
    return [
        f"{what} {names[order.intent_id]}{order.client_order_id[20:]} {order.quantity.normalize():f}"
        for what, order in made
    ]


def lane(*, filled: str = "2", entry: OrderStatus = S.FILLED, **by_leg: OrderStatus) -> list[Order]:
    """A long whose orders have these statuses; all others rest."""
    orders = planned()
    statuses = {"e": entry} | by_leg
    made = []
    for order in orders:
        leg = order.client_order_id[21:]
        done = D(filled) if order.role is Role.ENTRY else ZERO
        made.append(replace(order, status=statuses.get(leg, S.ACCEPTED), filled_quantity=done))
    return made


def again(order: Order, *, attempt: int, status: OrderStatus, **changes: Any) -> Order:
    name = f"{order.client_order_id}-{attempt}"
    return replace(order, client_order_id=name, attempt=attempt, status=status, **changes)


def other_stop(trigger: int, status: OrderStatus = S.ACCEPTED) -> Order:
    long = Position(symbol=PERP.symbol, quantity=QUANTITY)
    return replace(
        stop_order(position=long, intent_id=OTHER, trigger_price=D(trigger), attempt=1), status=status
    )


FRESH = {"sl": S.INITIALIZED, "tp1": S.INITIALIZED, "tp2": S.INITIALIZED, "tp3": S.INITIALIZED}


def test_the_docstrings_tell_the_truth() -> None:
    assert doctest.testmod(module).failed == 0


def test_all_is_well() -> None:
    assert ask(lane(), 2) == []


def test_the_stop_comes_first_and_alone_then_the_targets() -> None:
    orders = lane(**FRESH, tp=S.INITIALIZED)
    assert brief(ask(orders, 2)) == ["Send a-sl 2"]
    orders[1] = replace(orders[1], status=S.ACCEPTED)
    assert brief(ask(orders, 2)) == [f"Send a-{leg} 0.5" for leg in ("tp1", "tp2", "tp3", "tp")]


@pytest.mark.parametrize(
    ("entry", "filled", "position", "quantity"),
    [
        # What the entry may still fill finds its stop there.
        (S.PARTIALLY_FILLED, "0.5", "0.5", "2"),
        (S.PARTIALLY_FILLED, "0.5", "0.2", "1.7"),
        # Seen in the position, not yet in the entry.
        (S.SUBMITTED, "0", "1.5", "2"),
        (S.CANCELED, "0.5", "0.5", "0.5"),
        (S.INITIALIZED, "0", "1", "1"),
        (S.FILLED, "2", "3", "3"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_stop_is_for_what_may_come(
    entry: OrderStatus, filled: str, position: str, quantity: str, first: bool
) -> None:
    status = S.INITIALIZED if first else S.CANCELED
    name = "a-sl" if first else "a-sl-2"
    assert brief(ask(lane(entry=entry, filled=filled, sl=status), position))[0] == f"Send {name} {quantity}"


def test_a_stop_in_doubt_is_waited_for_and_its_predecessor_stays() -> None:
    orders = [*lane(sl=S.SUBMITTED), other_stop(95)]
    assert ask(orders, 2) == []
    assert brief(ask([*lane(), other_stop(95)], 2)) == ["Cancel b-sl 2"]
    assert brief(ask([*lane(), other_stop(95)], 2, stop_price=D(95))) == ["Cancel a-sl 2"]
    assert brief(ask([*lane(), other_stop(90)], 2)) == ["Cancel b-sl 2"]


@pytest.mark.parametrize("trigger", [95, 90])
def test_a_stop_that_is_too_small_or_elsewhere_is_replaced_before_it_goes(trigger: int) -> None:
    small = [
        replace(order, quantity=D(1)) if order.role is Role.STOP and trigger == 90 else order
        for order in lane()
    ]
    (action,) = ask(small, 2, stop_price=D(trigger))
    assert brief([action]) == ["Send a-sl-2 2"]
    assert action.order.trigger_price == trigger
    position = Position(symbol=PERP.symbol, quantity=QUANTITY)
    assert protected(position, trade_of(small), small) is (trigger == 95)
    assert covering(position, trade_of(small, stop_price=D(trigger)), small) is None


def test_a_stop_on_the_wrong_side_covers_nothing() -> None:
    orders = lane()
    orders[1] = replace(orders[1], side=Side.BUY)
    assert brief(ask(orders, 2)) == ["Send a-sl-2 2"]


def test_a_larger_stop_waits_for_the_end_of_the_entry() -> None:
    orders = [
        order for order in lane(entry=S.PARTIALLY_FILLED, filled="0.4") if order.role is not Role.TARGET
    ]
    elsewhere, small = other_stop(95), replace(other_stop(95), quantity=D("0.4"))
    far = again(orders[1], attempt=2, status=S.ACCEPTED, quantity=D("0.3"))

    def stops(*made: Order) -> list[str]:
        asked = brief(ask([*made], "0.4", stop_price=D(95)))
        return [line for line in asked if "sl" in line]

    assert stops(*orders, far, small) == ["Cancel a-sl-2 0.3"]
    assert stops(*orders, elsewhere) == ["Cancel a-sl 2"]
    same = replace(small, client_order_id=f"{OTHER}-sl-2")
    assert stops(orders[0], same, elsewhere) == ["Cancel b-sl-2 0.4"]
    orders[0] = replace(orders[0], status=S.CANCELED)
    assert stops(*orders, small) == ["Cancel a-sl 2"]


def test_a_planned_stop_whose_level_has_moved_is_made_anew() -> None:
    (action,) = ask(lane(sl=S.INITIALIZED), 2, stop_price=D(95))
    assert brief([action]) == ["Send a-sl-2 2"]


@pytest.mark.parametrize("side", list(Side))
def test_a_price_through_the_stop_closes(side: Side) -> None:
    entry, stop, *targets = planned(side)
    orders = [replace(entry, status=S.FILLED, filled_quantity=QUANTITY), stop, *targets]
    quantity = side.sign * QUANTITY
    through, before = level(side, 90), level(side, "90.5")
    (action,) = ask(orders, quantity, price=through)
    assert isinstance(action, Close)
    assert (action.order.side, action.order.quantity, action.order.reduce_only) == (side.opposite, 2, True)
    assert f"the price {through:f} is through the stop" in action.reason
    assert brief(ask(orders, quantity, price=before)) == ["Send a-sl 2"]
    assert brief(ask(orders, quantity, price=None)) == ["Send a-sl 2"]


def test_three_refusals_in_a_row_close_and_a_lost_request_is_none() -> None:
    first, *rest = (order for order in lane(sl=S.REJECTED) if order.role in (Role.STOP, Role.ENTRY))
    (stop,) = rest
    refused = [first, stop, again(stop, attempt=2, status=S.REJECTED)]
    assert brief(ask(refused, 2)) == ["Send a-sl-3 2"]
    assert brief(ask([*refused, again(stop, attempt=3, status=S.EXPIRED)], 2)) == ["Send a-sl-4 2"]
    refused.append(again(stop, attempt=3, status=S.REJECTED))
    (action,) = ask(refused, 2)
    assert isinstance(action, Close)
    assert action.reason == f"the venue refused the stop {ATTEMPTS} times"
    unsent = again(stop, attempt=4, status=S.INITIALIZED)
    assert brief(ask([*refused, unsent], 2)) == ["Close a-x 2"]
    failed = closing(position=Position(symbol=PERP.symbol, quantity=D(2)), intent_id=ID, attempt=1)
    assert brief(ask([*refused, replace(failed, status=S.REJECTED)], 2)) == ["Close a-x-2 2"]


def test_a_close_takes_back_what_stands_in_its_way_and_nothing_joins_it() -> None:
    orders = lane(entry=S.PARTIALLY_FILLED, filled="1", sl=S.CANCELED, tp=S.SUBMITTED, tp3=S.INITIALIZED)
    room = ["Cancel a-e 2", "Cancel a-tp1 0.5", "Cancel a-tp2 0.5"]
    assert brief(ask(orders, 1, price=D(89))) == ["Close a-x 1", *room]
    on_its_way = closing(position=Position(symbol=PERP.symbol, quantity=D(1)), intent_id=ID, attempt=1)
    sent = [*orders, replace(on_its_way, status=S.SUBMITTED)]
    assert brief(ask(sent, 1, price=D(89))) == room


@pytest.mark.parametrize("quantity", ["0", "0.4"])
@pytest.mark.parametrize("role", [Role.STOP, Role.CLOSE])
def test_what_is_left_of_an_entry_does_not_open_anew_what_was_ended(role: Role, quantity: str) -> None:
    orders = lane(entry=S.PARTIALLY_FILLED, filled="1", tp1=S.CANCELED, tp2=S.CANCELED, tp3=S.CANCELED)
    position = Position(symbol=PERP.symbol, quantity=D(1))
    ender = {
        Role.CLOSE: replace(closing(position=position, intent_id=ID, attempt=1), status=S.FILLED),
        Role.STOP: again(orders[1], attempt=2, status=S.CANCELED),
    }[role]
    ended = [*orders[:2], replace(ender, filled_quantity=D("0.6"))]
    assert "Cancel a-e 2" in brief(ask(ended, quantity))
    # One that stands before the entry made room for it.
    made_room = [ended[2], *orders[:2]] if role is Role.CLOSE else orders[:2]
    assert "Cancel a-e 2" not in brief(ask(made_room, quantity))


def test_while_halted_an_entry_is_taken_back_and_its_stop_goes_after_it() -> None:
    waiting = lane(entry=S.ACCEPTED, filled="0", **FRESH, tp=S.INITIALIZED)
    waiting[1] = replace(waiting[1], status=S.ACCEPTED)
    assert ask(waiting, 0) == []
    assert brief(ask(waiting, 0, halted=True)) == ["Cancel a-e 2"]
    for status, ended in ((S.SUBMITTED, False), (S.INITIALIZED, True), (S.CANCELED, True)):
        waiting[0] = replace(waiting[0], status=status)
        assert brief(ask(waiting, 0, halted=True)) == (["Cancel a-sl 2"] if ended else [])
    open_ = lane(entry=S.PARTIALLY_FILLED, filled="2", sl=S.INITIALIZED)
    assert brief(ask(open_, 2, halted=True)) == ["Send a-sl 2", "Cancel a-e 2"]
    assert brief(ask(lane(entry=S.PARTIALLY_FILLED), 2, halted=True)) == ["Cancel a-e 2"]


def test_what_is_flat_is_swept() -> None:
    orders = [*lane(sl=S.SUBMITTED, tp1=S.FILLED, tp2=S.SUBMITTED), other_stop(95)]
    swept = ["Cancel a-tp3 0.5", "Cancel a-tp 0.5", "Cancel b-sl 2"]
    assert brief(ask(orders, 0)) == swept
    assert brief(ask(orders, 0, trade=None)) == swept
    assert brief(ask(orders, 0, keep={OTHER})) == swept[:2]
    assert brief(ask(orders, 0, keep={ID})) == swept[2:]


def executions(*signed: str) -> list[Fill]:
    """`+2 a-e` is 2 bought by the trade's entry, `-1` 1 sold by somebody else."""
    made = []
    for number, (quantity, *name) in enumerate(each.split() for each in signed):
        fill = Fill(
            trade_id=str(number),
            symbol=PERP.symbol,
            client_order_id=name[0].replace("a", ID, 1) if name else None,
            venue_order_id=str(number),
            side=Side.BUY if D(quantity) > 0 else Side.SELL,
            quantity=abs(D(quantity)),
            price=D(100),
            fee=ZERO,
            fee_currency="USDT",
            at=datetime(2026, 1, 5, tzinfo=UTC),
        )
        made.append(fill)
    return made


STOPPED = {"sl": S.FILLED, "tp1": S.CANCELED, "tp2": S.CANCELED, "tp3": S.CANCELED, "tp": S.CANCELED}


@pytest.mark.parametrize(
    ("expected", "position", "told"),
    [
        # It was flat, then somebody bought; or the two came the other way round.
        (True, "1", ["+2 a-e", "-2 a-sl", "+1"]),
        (True, "1", ["-3", "+2 a-e", "-3 a-sl", "+2"]),
        (False, "1", ["+2 a-e", "+1", "-2 a-sl"]),
        (False, "3", ["+2 a-e", "-1", "+1", "-1", "+2"]),
        # It was never flat, though it is by the executions that are known.
        (False, "1", ["+2 a-e", "+1"]),
        # What stood before the entry says nothing about what came after it.
        (False, "2", ["+2", "-2 a-sl", "+2 a-e"]),
        # Not all executions are known, or not whose they are.
        (False, "1", ["+1 a-e", "-2 a-sl", "+1"]),
        (False, "1", ["+2", "-2 a-sl", "+1"]),
        (False, "1", []),
        # On the other side nothing can be ours, whatever is known; and of nothing, nobody asks.
        (True, "-1", []),
        (False, "0", ["+2 a-e", "-2 a-sl"]),
    ],
)
@pytest.mark.parametrize("side", list(Side))
def test_a_trade_is_spent_where_it_is_proved(
    side: Side, expected: bool, position: str, told: list[str]
) -> None:
    orders = [
        replace(order, status=STOPPED.get(order.client_order_id[21:], S.FILLED)) for order in planned(side)
    ]
    orders[:2] = [replace(order, filled_quantity=D(2)) for order in orders[:2]]
    fills = executions(*told)
    if side is Side.SELL:
        fills = [replace(fill, side=Side.SELL if fill.side is Side.BUY else Side.BUY) for fill in fills]
    open_ = Position(symbol=PERP.symbol, quantity=D(position) * side.sign)
    assert is_spent(open_, trade_of(orders), fills) is expected


def test_a_trade_whose_entry_may_still_fill_or_whose_orders_took_too_little_is_not_spent() -> None:
    open_ = Position(symbol=PERP.symbol, quantity=D(1))
    fills = executions("+2 a-e", "-2", "+1")
    orders = lane(**STOPPED)
    assert not is_spent(open_, trade_of(orders), fills)
    orders[1] = replace(orders[1], filled_quantity=D("1.9"))
    assert not is_spent(open_, trade_of(orders), fills)
    orders[1] = replace(orders[1], filled_quantity=D(2))
    assert is_spent(open_, trade_of(orders), fills)
    orders[0] = replace(orders[0], status=S.PARTIALLY_FILLED)
    assert not is_spent(open_, trade_of(orders), fills)
    assert not is_spent(replace(open_, quantity=D(-1)), trade_of(orders), fills)


@pytest.mark.parametrize("quantity", [-2, 2])
def test_a_position_that_is_not_ours_is_not_touched(quantity: int) -> None:
    trade = None if quantity > 0 else trade_of(lane())
    assert ask(lane()[:1], quantity, trade=trade, price=D(50)) == []
    assert brief(ask(lane()[:2], quantity, trade=trade)) == ["Cancel a-sl 2"]
    resting = lane(entry=S.ACCEPTED, filled="0")[:1]
    assert brief(ask(resting, quantity, **{"trade": None} if quantity > 0 else {})) == ["Cancel a-e 2"]


def test_orders_of_intents_at_work_are_left_alone() -> None:
    assert ask([*lane(), other_stop(95)], 2, keep={OTHER}) == []
    assert brief(ask([*lane(), other_stop(95)], 2, stop_price=D(95), keep={ID})) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": S.SUBMITTED, "quantity": D("0.3")}, []),
        ({"quantity": D("0.3")}, ["Cancel a-tp1 0.3"]),
        ({"price": D(111)}, ["Cancel a-tp1 0.5"]),
        ({"status": S.CANCELED}, ["Send a-tp1-2 0.5"]),
        ({"status": S.CANCELED, "filled_quantity": D("0.2")}, ["Send a-tp1-2 0.3"]),
        ({"status": S.PARTIALLY_FILLED, "filled_quantity": D("0.2")}, []),
        ({"status": S.FILLED, "filled_quantity": D("0.5")}, []),
        ({"status": S.FILLED, "filled_quantity": D("0.9")}, []),
        ({"status": S.INITIALIZED, "quantity": D("0.9"), "price": D(1)}, ["Send a-tp1 0.5"]),
    ],
)
def test_a_rung_has_what_is_left_of_its_share(changes: dict[str, Any], expected: list[str]) -> None:
    orders = lane()
    orders[2] = replace(orders[2], **changes)
    done = sum(order.filled_quantity for order in orders[2:])
    actions = ask(orders, 2 - done)
    assert [line for line in brief(actions) if "tp1" in line] == expected
    assert all(action.order.price == 110 for action in actions if isinstance(action, Send))


def test_of_two_targets_of_a_rung_one_goes() -> None:
    orders = lane()
    orders.append(again(orders[2], attempt=2, status=S.ACCEPTED))
    assert brief(ask(orders, 2)) == ["Cancel a-tp1-2 0.5"]
    orders[2] = replace(orders[2], quantity=D(1))
    assert brief(ask(orders, 2)) == ["Cancel a-tp1 1"]


def test_a_rung_that_is_no_more_goes_and_the_rest_of_the_ladder_takes_its_part() -> None:
    rungs = (Rung(number=1, multiple=D(1)),)
    expected = ["Cancel a-tp 0.5", "Cancel a-tp3 0.5"]
    assert brief(ask(lane(tp2=S.SUBMITTED), 2, rungs=rungs)) == expected


def test_a_target_that_is_refused_three_times_is_given_up() -> None:
    orders = lane(tp1=S.REJECTED)
    orders.append(again(orders[2], attempt=2, status=S.REJECTED))
    assert brief(ask(orders, 2)) == ["Send a-tp1-3 0.5"]
    orders.append(again(orders[2], attempt=3, status=S.REJECTED))
    assert ask(orders, 2) == []


def test_targets_follow_a_position_that_was_cut_by_hand_in_whole_lots() -> None:
    cut = ["Cancel a-tp3 0.5", "Cancel a-tp 0.5"]
    assert brief(ask(lane(), "1.07")) == cut
    assert brief(ask(lane(tp3=S.CANCELED, tp=S.CANCELED), "1.37")) == ["Send a-tp3-2 0.3"]


@settings(max_examples=40)
@given(price=st.integers(1, 300), at=st.integers(1, 300))
def test_a_stop_is_behind_the_price_on_one_side_or_the_other(price: int, at: int) -> None:
    long, short = (Position(symbol="X", quantity=D(sign)).direction for sign in (1, -1))
    sides = [behind(direction=way, level=D(at), price=D(price)) for way in (long, short)]
    assert sides == [price <= at, price >= at]


@settings(max_examples=100)
@given(lane=LANES, events=EVENTS)
def test_whatever_happens_the_lane_comes_to_rest_protected(lane: Lane, events: list[Any]) -> None:
    for name, *values in events:
        if name in ("halted", "blind"):
            setattr(lane, name, not getattr(lane, name))
        elif name == "at_work":
            lane.keep ^= {OTHER}
        else:
            getattr(lane, name)(*values)
    lane.settle()
    lane.check_rest()
    assert not lane.round(), "at rest it stays"


AMOUNTS = st.decimals(min_value="0.1", max_value=3, places=1)
STRAYS = st.lists(
    st.builds(
        lambda order, status, quantity: replace(order, status=status, quantity=quantity),
        st.sampled_from([*planned(), *planned(Side.SELL), other_stop(90), other_stop(95)]),
        st.sampled_from([S.SUBMITTED, S.ACCEPTED]),
        AMOUNTS,
    ),
    max_size=6,
    unique_by=lambda order: order.client_order_id,
)


@settings(max_examples=40)
@given(orders=STRAYS, quantity=AMOUNTS, sign=st.sampled_from([-1, 0, 1]), followed=st.booleans())
def test_without_a_position_of_ours_it_only_cancels(
    orders: list[Order], quantity: Decimal, sign: int, followed: bool
) -> None:
    """Whatever rests and whatever the price: no order leaves for what is not ours."""
    trade = trade_of(lane()) if followed and sign < 1 else None
    for price in (None, D(1), D(1000)):
        actions = ask(lane(), sign * quantity, trade=trade, unsettled=orders, price=price)
        assert actions == [Cancel(order=order) for order in orders if order.status.is_open]
