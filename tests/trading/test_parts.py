"""How a position in coins lies in parts, and what is done about one that does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading import holding, parts
from trading.errors import Denied
from trading.model import (
    ZERO,
    Instrument,
    InstrumentKind,
    Order,
    OrderStatus,
    OrderType,
    Position,
    Role,
    Rung,
    Side,
    TimeInForce,
    Trade,
)
from trading.parts import ALONE, Part, layout
from trading.protect import Cancel, Close, Swap

D = Decimal
S = OrderStatus
ID = "aaaaaaaaaaaaaaaaaaaa"
SPOT = Instrument(
    symbol="BTC-USDT",
    base="BTC",
    quote="USDT",
    kind=InstrumentKind.SPOT,
    tick_size=D("0.1"),
    lot_size=D("0.01"),
    min_quantity=D("0.01"),
    min_notional=D(5),
)
RUNGS = tuple(Rung(number=n, multiple=D(n)) for n in (1, 2))


def order(leg: str, role: Role, quantity: str, **more: Any) -> Order:
    made: dict[str, Any] = {
        "client_order_id": f"{ID}-{leg}",
        "intent_id": ID,
        "symbol": SPOT.symbol,
        "role": role,
        "side": Side.SELL,
        "type": OrderType.STOP if role is Role.STOP else OrderType.LIMIT,
        "quantity": D(quantity),
        "status": S.ACCEPTED,
    }
    return Order(**made | more)


def entry(filled: str, status: OrderStatus = S.FILLED) -> Order:
    return order(
        "e",
        Role.ENTRY,
        "2",
        side=Side.BUY,
        type=OrderType.MARKET,
        status=status,
        filled_quantity=D(filled),
    )


def pair(rung: int, quantity: str, price: str, **more: Any) -> list[Order]:
    leg = f"tp{rung}" if rung else "tp"
    stop = order(f"sl{rung}", Role.STOP, quantity, rung=rung, trigger_price=D(90), **more)
    return [order(leg, Role.TARGET, quantity, rung=rung, price=D(price), **more), stop]


def alone(quantity: str, **more: Any) -> Order:
    return order("sl", Role.STOP, quantity, **{"rung": ALONE, "trigger_price": D(90)} | more)


def trade_of(orders: Sequence[Order], **changes: Any) -> Trade:
    made = Trade(
        intent_id=ID,
        side=Side.BUY,
        price=D(100),
        stop=D(90),
        stop_price=D(90),
        entry=next(o for o in orders if o.role is Role.ENTRY),
        target=D(130),
        close_percent=D(25),
        rungs=RUNGS,
        orders=tuple(orders),
    )
    return replace(made, **changes)


def ask(orders: Sequence[Order], quantity: str, **changes: Any) -> list[parts.Change]:
    """What is done about a lane with these orders and so much of a position, at a price of 100."""
    trade = {name: changes.pop(name) for name in ("stop_price", "target", "rungs") if name in changes}
    resting = (S.SUBMITTED, S.ACCEPTED, S.PARTIALLY_FILLED)
    asked: dict[str, Any] = {
        "position": Position(symbol=SPOT.symbol, quantity=D(quantity)),
        "trade": trade_of(orders, **trade),
        "unsettled": [o for o in orders if o.status in resting],
        "price": D(100),
        "instrument": SPOT,
        "keep": (),
        "halted": False,
        "leaving": False,
        "pairs": True,
    }
    return list(parts.protect(**asked | changes))


def brief(actions: Sequence[parts.Change]) -> list[str]:
    """`Send tp1+sl1 0.5`, `Swap tp1+sl1 -> tp1-2+sl1-2 0.6`."""

    def legs(*orders: Order | None) -> str:
        return "+".join(o.client_order_id.removeprefix(f"{ID}-") for o in orders if o is not None)

    told = []
    for action in actions:
        match action:
            case Swap(old=old, new=new):
                sent = [f"{legs(each.order, each.stop)} {each.order.quantity}" for each in new]
                told += [f"Send {each}" for each in sent] if not old else []
                told += [f"Swap {legs(*old)} -> {', '.join(sent)}"] if old else []
            case Cancel(order=gone) | Close(order=gone):
                told.append(f"{type(action).__name__} {legs(gone)} {gone.quantity}")
    return told


FULL = [*pair(1, "0.50", "110"), *pair(2, "0.50", "120"), *pair(0, "1.00", "130")]


def test_a_fill_is_covered_the_largest_part_first() -> None:
    said = brief(ask([entry("2")], "2"))
    assert said == ["Send tp+sl0 1.00", "Send tp1+sl1 0.50", "Send tp2+sl2 0.50"]
    assert brief(ask([entry("2"), *FULL], "2")) == []


def test_a_fee_in_the_coin_makes_the_parts_smaller() -> None:
    assert brief(ask([entry("2")], "1.99")) == ["Send tp+sl0 1.01", "Send tp1+sl1 0.49", "Send tp2+sl2 0.49"]


def test_what_has_no_target_lies_under_a_stop_alone() -> None:
    said = brief(ask([entry("2")], "2", target=None))
    assert said == ["Send sl 1.00", "Send tp1+sl1 0.50", "Send tp2+sl2 0.50"]
    assert brief(ask([entry("2")], "2", target=None, rungs=())) == ["Send sl 2"]
    assert brief(ask([entry("2")], "2", pairs=False)) == ["Send sl 2"]


def test_an_entry_that_grows_makes_one_part_larger_at_a_time() -> None:
    orders = [entry("1.5", S.PARTIALLY_FILLED), *FULL]
    said = brief(ask(orders, "2.4"))
    assert said == ["Swap tp+sl0 -> tp-2+sl0-2 1.20"]
    # Where that one is bare it comes first, and nothing else is touched meanwhile.
    bare = [o for o in orders if o.rung != 0 or o.role is Role.ENTRY]
    assert brief(ask(bare, "2.4")) == ["Send tp+sl0 1.20"]


def test_what_is_in_doubt_is_waited_for() -> None:
    doubtful = [replace(o, status=S.SUBMITTED) for o in pair(0, "1.00", "130")]
    assert brief(ask([entry("2"), *FULL[:4], *doubtful], "2")) == []
    # It bares nothing else meanwhile, but what is bare gets its stop.
    assert brief(ask([entry("2"), *FULL[:2], *doubtful], "2")) == ["Send tp2+sl2 0.50"]


def test_a_target_that_fills_leaves_the_others_as_they_are() -> None:
    sold, gone = pair(1, "0.50", "110", status=S.FILLED, filled_quantity=D("0.50"))
    gone = replace(gone, status=S.EXPIRED, filled_quantity=ZERO)
    assert brief(ask([entry("2"), sold, gone, *FULL[2:]], "1.50")) == []


def test_the_rest_of_a_target_that_began_to_fill_is_paired_anew() -> None:
    target, stop = pair(1, "0.50", "110")
    target = replace(target, status=S.PARTIALLY_FILLED, filled_quantity=D("0.20"))
    stop = replace(stop, status=S.EXPIRED)
    said = brief(ask([entry("2"), target, stop, *FULL[2:]], "1.80"))
    assert said == ["Swap tp1 -> tp1-2+sl1-2 0.30"]
    # Too little for an order: it joins the next part, which takes its coins.
    target = replace(target, filled_quantity=D("0.46"))
    said = brief(ask([entry("2"), target, stop, *FULL[2:]], "1.54"))
    assert said == ["Swap tp2+sl2+tp1 -> tp2-2+sl2-2 0.54"]


def test_a_price_beyond_the_target_sells_at_once_and_rests_nothing() -> None:
    (action,) = ask([entry("2"), *FULL[2:]], "2", price=D(111))
    assert isinstance(action, Swap)
    (sale,) = action.new
    assert sale.stop is None
    assert sale.order.time_in_force is TimeInForce.IOC
    assert sale.order.price == D("110.0")


def test_a_stop_over_everything_makes_room_for_the_parts() -> None:
    said = brief(ask([entry("2"), alone("1.99")], "1.99"))
    assert said == ["Swap sl -> tp+sl0 1.01, tp1+sl1 0.49, tp2+sl2 0.49"]
    said = brief(ask([entry("2"), alone("1.99")], "1.99", target=None))
    assert said == ["Swap sl -> sl-2 1.01, tp1+sl1 0.49, tp2+sl2 0.49"]


def test_a_price_through_the_stop_closes_what_is_bare_and_that_alone() -> None:
    assert brief(ask([entry("2"), *FULL[2:]], "2", price=D(90))) == ["Close x 0.50"]
    assert brief(ask([entry("2"), *FULL], "2", price=D(90))) == []


def test_a_target_refused_again_and_again_is_given_up_and_the_part_keeps_a_stop() -> None:
    refused = [
        replace(o, status=S.REJECTED, client_order_id=f"{o.client_order_id}-{n}", attempt=n)
        for n in (1, 2, 3)
        for o in pair(1, "0.50", "110")
    ]
    assert brief(ask([entry("2"), *refused, *FULL[2:]], "2")) == ["Send sl 0.50"]
    stops = [alone("0.50", status=S.REJECTED, attempt=n, client_order_id=f"{ID}-sl-{n}") for n in (1, 2, 3)]
    assert brief(ask([entry("2"), *refused, *stops, *FULL[2:]], "2")) == ["Close x 0.50"]


def test_while_a_position_is_about_to_end_stops_alone_are_sent() -> None:
    said = brief(ask([entry("2")], "2", leaving=True))
    assert said == ["Send sl0 1.00", "Send sl1 0.50", "Send sl2 0.50"]


@pytest.mark.parametrize(
    ("price", "said"),
    [
        ("109", []),
        ("110", ["Swap sl -> sl-2 1.50, tp1 0.50"]),
        ("121", ["Swap sl -> sl-2 1.00, tp1 0.50, tp2 0.50"]),
        ("130", ["Swap sl -> tp 1.00, tp1 0.50, tp2 0.50"]),
    ],
)
def test_without_pairs_a_rung_is_sold_when_the_price_is_there(price: str, said: list[str]) -> None:
    held = alone("2.00")
    assert brief(ask([entry("2"), held], "2", pairs=False, price=D(price))) == said


def test_a_close_on_its_way_is_waited_for() -> None:
    close = order("x", Role.CLOSE, "2", type=OrderType.MARKET, status=S.SUBMITTED)
    assert brief(ask([entry("2"), close], "2")) == []


def test_an_entry_that_rests_is_taken_back_once_its_stop_took_from_it() -> None:
    hit = alone("0.50", status=S.FILLED, filled_quantity=D("0.50"))
    resting = entry("1.5", S.PARTIALLY_FILLED)
    said = brief(ask([resting, hit, *pair(0, "1.00", "130")], "1", rungs=()))
    assert "Cancel e 2" in said


def test_what_rests_on_nothing_goes() -> None:
    assert brief(ask([entry("2"), *FULL[:2]], "0")) == ["Cancel tp1 0.50", "Cancel sl1 0.50"]


def test_pairs_that_lock_too_much_are_set_right_before_others() -> None:
    orders = [entry("2"), *pair(1, "0.80", "110"), *pair(2, "0.50", "120")]
    assert brief(ask(orders, "2")) == ["Swap tp1+sl1 -> tp1-2+sl1-2 0.50, tp+sl0 1.00"]


def test_naked_counts_a_stop_in_doubt() -> None:
    orders = [entry("2"), *FULL[2:]]
    position = Position(symbol=SPOT.symbol, quantity=D(2))
    told = parts.naked(position=position, trade=trade_of(orders), unsettled=orders[1:], instrument=SPOT)
    assert told == D("0.50")
    doubtful = [*orders[1:], *(replace(o, status=S.SUBMITTED) for o in pair(1, "0.50", "110"))]
    assert not parts.naked(position=position, trade=trade_of(orders), unsettled=doubtful, instrument=SPOT)
    assert parts.covered(doubtful) == D("1.50")


@pytest.mark.parametrize(
    ("orders", "level", "said"),
    [
        (FULL, "95", "Swap tp+sl0 -> tp-2+sl0 1.00"),
        (FULL[:4], "95", "Send tp-2+sl0 1.00"),
        (FULL, "90", ""),
        (FULL, "85", ""),
    ],
)
def test_stops_move_the_largest_part_first(orders: list[Order], level: str, said: str) -> None:
    made = [entry("2"), *orders]
    ended = [replace(o, status=S.CANCELED) for o in FULL if o not in orders]
    step = parts.moved(
        position=Position(symbol=SPOT.symbol, quantity=D(2)),
        trade=trade_of([*made, *ended]),
        unsettled=orders,
        level=D(level),
        price=None,
        intent_id="b" * 20,
        instrument=SPOT,
        pairs=True,
    )
    told = brief([step]) if step is not None else [""]
    assert [text.replace("b" * 20 + "-", "") for text in told] == [said]


@given(
    lots=st.integers(6, 5000),
    sold=st.integers(0, 400),
    percent=st.integers(1, 60),
    rungs=st.integers(0, 12),
    target=st.booleans(),
    most=st.none() | st.integers(1, 7),
)
def test_parts_add_up_and_each_can_be_placed(
    lots: int, sold: int, percent: int, rungs: int, target: bool, most: int | None
) -> None:
    instrument = replace(SPOT, max_stops=most)
    hit = order("tp1", Role.TARGET, str(sold), rung=1, status=S.FILLED, filled_quantity=D(sold) / 100)
    made = [entry("2"), *([hit] if sold else [])]
    trade = trade_of(
        made,
        target=D(200) if target else None,
        close_percent=D(percent),
        rungs=tuple(Rung(number=n + 1, multiple=D(n + 1)) for n in range(rungs)),
    )
    position = Position(symbol=SPOT.symbol, quantity=D(lots) / 100)
    laid = layout(position=position, trade=trade, instrument=instrument, price=None, pairs=True)
    assert sum((part.quantity for part in laid), ZERO) == position.quantity
    assert all(part.quantity * 90 >= SPOT.min_notional for part in laid)
    assert all(part.quantity % SPOT.lot_size == 0 for part in laid)
    assert len(laid) <= (most or 99)
    assert len({part.rung for part in laid}) == len(laid)
    assert [part for part in laid if part.price is None] in ([], [laid[-1]])
    assert isinstance(laid[0], Part)


def test_of_a_pair_the_target_is_cancelled_and_of_a_stop_alone_the_stop() -> None:
    two_stops = [*pair(1, "0.50", "110"), order("sl1-2", Role.STOP, "0.50", rung=1)]
    names = [o.client_order_id.removeprefix(f"{ID}-") for o in parts.heads([*two_stops, alone("1")])]
    assert names == ["tp1", "sl1-2", "sl"]


def test_what_was_planned_and_has_not_left_is_what_is_sent() -> None:
    waiting = [replace(o, status=S.INITIALIZED) for o in FULL]
    said = brief(ask([entry("2"), *waiting], "1.99"))
    assert said == ["Send tp+sl0 1.01", "Send tp1+sl1 0.49", "Send tp2+sl2 0.49"]
    # A breakeven has moved the stop since: the planned ones would rest in the old place.
    said = brief(ask([entry("2"), *waiting], "1.99", stop_price=D(95)))
    assert said == ["Send tp+sl0-2 1.01", "Send tp1+sl1-2 0.49", "Send tp2+sl2-2 0.49"]


def test_what_rests_for_a_rung_that_is_over_goes_when_nothing_needs_its_room() -> None:
    over = replace(pair(1, "0.50", "110")[0], status=S.FILLED, filled_quantity=D("0.50"))
    stray = order("sl1-2", Role.STOP, "0.50", rung=1, trigger_price=D(90))
    said = brief(ask([entry("2"), over, stray, *FULL[2:]], "1.50"))
    assert said == ["Cancel sl1-2 0.50"]


def test_an_entry_of_which_too_little_would_be_left_is_refused() -> None:
    with pytest.raises(Denied, match=r"0\.05 BTC would be left, and a stop at 90 needs 0\.06 or more"):
        holding.need_stoppable(quantity=D("0.06"), fee=D("0.001"), stop=D(90), instrument=SPOT)
    holding.need_stoppable(quantity=D("0.07"), fee=D("0.001"), stop=D(90), instrument=SPOT)
