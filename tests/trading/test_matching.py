"""The matching engine: path order, reduce-only, partial fills, margin; and what holds for any sequence."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.matching import (
    CANCELED_ON_REQUEST,
    NO_LIQUIDITY,
    NOTHING_TO_REDUCE,
    TRIGGERED,
    Book,
    Fees,
    Holding,
    Outcome,
    cancel,
    cost,
    equity,
    free_collateral,
    move,
    submit,
)
from trading.model import ZERO, Order, OrderStatus, OrderType, Position, Role, Side, TimeInForce
from trading.rounding import MONEY

SYMBOL = "BTC-USDT-PERP"
FEES = Fees(maker=Decimal("0.0002"), taker=Decimal("0.0005"))
BUY, SELL = Side.BUY, Side.SELL
MARKET, LIMIT, STOP = OrderType.MARKET, OrderType.LIMIT, OrderType.STOP


def order(
    key: str, side: Side, kind: OrderType, quantity: str, at: str | None = None, **more: object
) -> Order:
    """An order in short; `at` is its limit or its trigger."""
    level = None if at is None else Decimal(at)
    new = Order(
        client_order_id=key,
        intent_id="i",
        symbol=SYMBOL,
        role=Role.ENTRY,
        side=side,
        type=kind,
        quantity=Decimal(quantity),
        price=level if kind is LIMIT else None,
        trigger_price=level if kind is STOP else None,
    )
    return replace(new, **more)


def book_at(
    price: str | None, quantity: str = "0", average: str | None = None, *, spot: bool = False
) -> Book:
    position = Position(
        symbol=SYMBOL,
        quantity=Decimal(quantity),
        average_price=None if average is None else Decimal(average),
    )
    return Book(
        symbol=SYMBOL,
        price=None if price is None else Decimal(price),
        position=position,
        orders=(),
        long_only=spot,
    )


def put(book: Book, *orders: Order, liquidity: str | None = None) -> Book:
    for one in orders:
        outcome = submit(book=book, order=one, fees=FEES, liquidity=_amount(liquidity))
        assert not outcome.refusal
        book = outcome.book
    return book


def go(book: Book, price: str, liquidity: str | None = None) -> Outcome:
    return move(book=book, price=Decimal(price), fees=FEES, liquidity=_amount(liquidity))


def take(book: Book, one: Order, liquidity: str | None = None) -> Outcome:
    return submit(book=book, order=one, fees=FEES, liquidity=_amount(liquidity))


def traded(outcome: Outcome) -> list[tuple[str, Decimal, Decimal]]:
    return [(done.client_order_id, done.quantity, done.price) for done in outcome.executions]


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


# What arrives


def test_market_order_trades_at_the_price_as_taker() -> None:
    outcome = take(book_at("100"), order("e", BUY, MARKET, "2"))
    assert traded(outcome) == [("e", 2, 100)]
    (done,) = outcome.executions
    assert (done.fee, done.maker, done.realised) == (Decimal("0.1"), False, 0)
    (entry,) = outcome.changed
    assert (entry.status, entry.filled_quantity, entry.average_price) == (OrderStatus.FILLED, 2, 100)
    assert outcome.book.orders == ()
    assert outcome.book.position == Position(symbol=SYMBOL, quantity=Decimal(2), average_price=Decimal(100))


@pytest.mark.parametrize(("side", "limit"), [(BUY, "105"), (BUY, "100"), (SELL, "95"), (SELL, "100")])
def test_marketable_limit_trades_at_the_price_at_once(side: Side, limit: str) -> None:
    outcome = take(book_at("100"), order("e", side, LIMIT, "2", limit))
    assert traded(outcome) == [("e", 2, 100)]
    assert not outcome.executions[0].maker


@pytest.mark.parametrize(
    ("side", "limit", "to"), [(BUY, "95", "90"), (SELL, "105", "110"), (BUY, "95", "95")]
)
def test_passive_limit_rests_and_fills_at_its_limit_as_maker(side: Side, limit: str, to: str) -> None:
    book = put(book_at("100"), order("e", side, LIMIT, "2", limit))
    assert [one.status for one in book.orders] == [OrderStatus.ACCEPTED]
    outcome = go(book, to)
    assert traded(outcome) == [("e", 2, Decimal(limit))]
    assert outcome.executions[0].fee == 2 * Decimal(limit) * FEES.maker
    assert outcome.executions[0].maker


def test_limit_that_is_not_reached_stays() -> None:
    book = put(book_at("100"), order("e", BUY, LIMIT, "2", "95"))
    outcome = go(book, "95.01")
    assert outcome == Outcome(book=replace(book, price=Decimal("95.01")))


@pytest.mark.parametrize(
    ("side", "trigger", "to"), [(SELL, "95", "80"), (BUY, "105", "130"), (SELL, "95", "95")]
)
def test_stop_fills_at_its_trigger(side: Side, trigger: str, to: str) -> None:
    outcome = go(put(book_at("100"), order("sl", side, STOP, "1", trigger)), to)
    assert traded(outcome) == [("sl", 1, Decimal(trigger))]
    assert not outcome.executions[0].maker
    assert outcome.changed[0].reason == TRIGGERED


@pytest.mark.parametrize(("side", "trigger"), [(SELL, "100"), (SELL, "101"), (BUY, "100"), (BUY, "99")])
def test_stop_behind_the_price_is_refused(side: Side, trigger: str) -> None:
    outcome = take(book_at("100", "1", "90"), order("sl", side, STOP, "1", trigger))
    assert outcome.refusal == "the stop would trigger at once, the price is 100"
    assert outcome.book == book_at("100", "1", "90")
    assert outcome.executions == ()


def test_nothing_is_taken_without_a_price() -> None:
    assert take(book_at(None), order("e", BUY, LIMIT, "1", "9")).refusal == f"no price is known for {SYMBOL}"


def test_the_first_price_is_a_path_of_one_point() -> None:
    resting = replace(order("e", BUY, LIMIT, "1", "9"), status=OrderStatus.ACCEPTED)
    outcome = go(replace(book_at(None), orders=(resting,)), "8")
    assert traded(outcome) == [("e", 1, 9)]
    assert outcome.book.price == 8


def test_immediate_or_cancel_limit_does_not_rest() -> None:
    outcome = take(book_at("100"), order("e", BUY, LIMIT, "1", "95", time_in_force=TimeInForce.IOC))
    assert outcome.book.orders == ()
    assert (outcome.changed[0].status, outcome.changed[0].reason) == (OrderStatus.CANCELED, NO_LIQUIDITY)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (order("e", BUY, MARKET, "0"), "quantity must be above zero"),
        (order("e", BUY, LIMIT, "1"), "price must be a Decimal"),
        (order("e", BUY, STOP, "1"), "trigger_price must be a Decimal"),
        (order("e", BUY, MARKET, "1", filled_quantity=Decimal(1)), "has no fills"),
        (order("old", BUY, MARKET, "1"), "old rests already"),
    ],
)
def test_orders_without_their_amounts_raise(bad: Order, says: str) -> None:
    book = put(book_at("100"), order("old", BUY, LIMIT, "1", "95"))
    with pytest.raises(ValueError, match=says):
        take(book, bad)


def test_liquidity_below_zero_raises() -> None:
    with pytest.raises(ValueError, match="liquidity must not be negative"):
        go(book_at("100"), "99", "-1")


def test_a_resting_limit_without_price_raises() -> None:
    broken = replace(book_at("100"), orders=(order("e", BUY, LIMIT, "1", status=OrderStatus.ACCEPTED),))
    with pytest.raises(ValueError, match="a price is missing"):
        go(broken, "90")


# The path


def test_the_path_meets_orders_in_its_own_order() -> None:
    book = put(
        book_at("100"),
        order("low", BUY, LIMIT, "1", "91"),
        order("high", BUY, LIMIT, "1", "97"),
        order("sl", SELL, STOP, "2", "94", reduce_only=True),
    )
    outcome = go(book, "90")
    assert traded(outcome) == [("high", 1, 97), ("sl", 1, 94), ("low", 1, 91)]
    assert outcome.book.position.quantity == 1


def test_at_one_price_the_entry_comes_before_the_stop_behind_it() -> None:
    book = put(
        book_at("100"),
        order("sl", SELL, STOP, "1", "95", reduce_only=True),
        order("e", BUY, LIMIT, "1", "95"),
    )
    assert [key for key, *_ in traded(go(book, "95"))] == ["e", "sl"]


def test_at_one_price_limits_come_before_stops() -> None:
    book = put(book_at("100"), order("s", SELL, STOP, "1", "95"), order("l", BUY, LIMIT, "1", "95"))
    assert [key for key, *_ in traded(go(book, "90"))] == ["l", "s"]


def test_at_one_price_older_orders_come_first() -> None:
    book = put(book_at("100"), order("b", BUY, LIMIT, "1", "95"), order("a", BUY, LIMIT, "1", "95"))
    assert [key for key, *_ in traded(go(book, "90"))] == ["b", "a"]


def test_entry_and_stop_on_one_path() -> None:
    book = put(
        book_at("100"),
        order("e", BUY, LIMIT, "3", "98"),
        order("sl", SELL, STOP, "3", "95", reduce_only=True),
    )
    outcome = go(book, "70")
    assert traded(outcome) == [("e", 3, 98), ("sl", 3, 95)]
    assert outcome.book.position.is_flat
    assert outcome.cash == -9 - Decimal(3 * 98) * FEES.maker - Decimal(3 * 95) * FEES.taker


# Reduce-only


def test_a_reduce_only_order_is_cut_to_the_position() -> None:
    outcome = take(book_at("100", "-1", "110"), order("x", BUY, MARKET, "5", reduce_only=True))
    assert traded(outcome) == [("x", 1, 100)]
    (x,) = outcome.changed
    assert (x.status, x.filled_quantity, x.reason) == (OrderStatus.CANCELED, 1, NOTHING_TO_REDUCE)
    assert outcome.book.position.is_flat
    assert outcome.executions[0].realised == 10


@pytest.mark.parametrize("quantity", ["0", "2"])
@pytest.mark.parametrize("limit", [None, "105"])
def test_a_reduce_only_order_with_nothing_to_reduce_is_refused(quantity: str, limit: str | None) -> None:
    book = book_at("100", quantity, "100" if quantity == "2" else None)
    kind = MARKET if limit is None else LIMIT
    outcome = take(book, order("x", BUY, kind, "1", limit, reduce_only=True))
    assert outcome.refusal == NOTHING_TO_REDUCE
    assert outcome.book == book


def test_a_reduce_only_order_rests_while_flat_and_expires_when_met() -> None:
    book = put(book_at("100"), order("tp", SELL, LIMIT, "1", "110", reduce_only=True))
    outcome = go(book, "111")
    assert outcome.executions == ()
    (target,) = outcome.changed
    assert (target.status, target.reason) == (OrderStatus.EXPIRED, NOTHING_TO_REDUCE)
    assert outcome.book.orders == ()


def test_what_is_left_of_a_reduce_only_order_is_canceled_when_the_position_is_gone() -> None:
    book = put(book_at("100", "2", "100"), order("tp", SELL, LIMIT, "2", "110", reduce_only=True))
    book = go(book, "110", "1").book
    book = put(book, order("x", SELL, MARKET, "1", reduce_only=True))
    outcome = go(book, "111")
    (target,) = outcome.changed
    assert (target.status, target.filled_quantity) == (OrderStatus.CANCELED, 1)


def test_spot_sells_no_more_than_it_holds() -> None:
    book = put(book_at("100", "1", "100", spot=True), order("s", SELL, LIMIT, "3", "110"))
    outcome = go(book, "120")
    assert traded(outcome) == [("s", 1, 110)]
    assert outcome.book.position.is_flat


# Partial fills


def test_a_market_remainder_is_canceled() -> None:
    (entry,) = take(book_at("100"), order("e", BUY, MARKET, "3"), "1").changed
    assert (entry.status, entry.filled_quantity, entry.reason) == (OrderStatus.CANCELED, 1, NO_LIQUIDITY)


def test_a_market_order_without_liquidity_is_canceled_whole() -> None:
    outcome = take(book_at("100"), order("e", BUY, MARKET, "3"), "0")
    assert outcome.executions == ()
    assert outcome.book == book_at("100")
    assert outcome.changed[0].status is OrderStatus.CANCELED


def test_a_limit_remainder_rests_and_goes_on_at_its_limit() -> None:
    outcome = take(book_at("100"), order("e", BUY, LIMIT, "3", "105"), "1")
    (entry,) = outcome.book.orders
    assert (entry.status, entry.filled_quantity, entry.average_price) == (
        OrderStatus.PARTIALLY_FILLED,
        1,
        100,
    )
    outcome = go(outcome.book, "101", "1")
    assert traded(outcome) == [("e", 1, 105)]
    outcome = go(outcome.book, "101", "1")
    assert outcome.changed[0].status is OrderStatus.FILLED
    assert outcome.changed[0].average_price == Decimal(310) / 3 - Decimal(310) / 3 % Decimal("1E-18")


def test_a_stop_remainder_goes_on_as_a_market_order() -> None:
    book = put(book_at("100", "3", "100"), order("sl", SELL, STOP, "3", "95", reduce_only=True))
    outcome = go(book, "90", "1")
    assert traded(outcome) == [("sl", 1, 95)]
    (left,) = outcome.book.orders
    assert (left.status, left.reason) == (OrderStatus.PARTIALLY_FILLED, TRIGGERED)
    outcome = go(outcome.book, "99", "1")
    assert traded(outcome) == [("sl", 1, 90)]
    outcome = go(outcome.book, "120")
    assert traded(outcome) == [("sl", 1, 99)]
    assert outcome.book.position.is_flat


def test_a_stop_that_finds_no_liquidity_stays_triggered() -> None:
    book = put(
        book_at("100", "1", "100"),
        order("e", BUY, LIMIT, "2", "96"),
        order("sl", SELL, STOP, "3", "95", reduce_only=True),
    )
    outcome = go(book, "94", "1")
    assert traded(outcome) == [("e", 1, 96)]
    assert [(one.client_order_id, one.status, one.reason) for one in outcome.changed] == [
        ("e", OrderStatus.PARTIALLY_FILLED, ""),
        ("sl", OrderStatus.ACCEPTED, TRIGGERED),
    ]
    book = cancel(book=outcome.book, client_order_id="e").book
    assert traded(go(book, "200")) == [("sl", 2, 94)]


def test_what_liquidity_leaves_untouched_is_not_changed() -> None:
    book = put(book_at("100"), order("a", BUY, LIMIT, "2", "95"), order("b", BUY, LIMIT, "1", "94"))
    assert [one.client_order_id for one in go(book, "90", "1").changed] == ["a"]


# Ending


def test_cancel_ends_one_order_and_no_other() -> None:
    book = put(book_at("100"), order("a", BUY, LIMIT, "1", "95"), order("b", BUY, LIMIT, "1", "94"))
    outcome = cancel(book=book, client_order_id="a")
    assert [one.client_order_id for one in outcome.book.orders] == ["b"]
    assert [(one.status, one.reason) for one in outcome.changed] == [
        (OrderStatus.CANCELED, CANCELED_ON_REQUEST)
    ]
    assert cancel(book=outcome.book, client_order_id="a") == Outcome(book=outcome.book)


# Money


def test_equity_and_free_collateral() -> None:
    long = Holding(book=book_at("110", "2", "100"), leverage=Decimal(4))
    assert equity(cash=Decimal(1000), holdings=[long]) == 1020
    assert free_collateral(cash=Decimal(1000), holdings=[long]) == 1020 - 55
    entry = order("e", BUY, LIMIT, "2", "100")
    held = replace(long, book=put(long.book, entry, order("tp", SELL, LIMIT, "1", "120", reduce_only=True)))
    assert free_collateral(cash=Decimal(1000), holdings=[held]) == 1020 - 55 - 50
    stop = order("s", SELL, STOP, "1", "80")
    assert free_collateral(cash=Decimal(0), holdings=[replace(held, book=put(held.book, stop))]) == -105


def test_free_collateral_is_rounded_down() -> None:
    third = Holding(book=book_at("100", "1", "100"), leverage=Decimal(3))
    assert free_collateral(cash=Decimal(100), holdings=[third]) == Decimal("66.666666666666666666")


def test_a_position_without_a_price_raises() -> None:
    unknown = Holding(book=book_at(None, "1", "100"), leverage=Decimal(1))
    with pytest.raises(ValueError, match="a price is missing"):
        equity(cash=ZERO, holdings=[unknown])


@pytest.mark.parametrize(
    ("held", "one", "needs"),
    [
        ("0", order("e", BUY, MARKET, "2"), "50.1"),
        ("0", order("e", BUY, LIMIT, "2", "90"), "45.09"),
        ("0", order("e", SELL, LIMIT, "2", "90"), "50.1"),
        ("0", order("e", SELL, LIMIT, "2", "120"), "60.12"),
        ("0", order("e", BUY, STOP, "2", "110"), "55.11"),
        ("1", order("e", SELL, MARKET, "1"), "0.05"),
        ("1", order("e", SELL, MARKET, "3"), "25.15"),
        ("-1", order("e", BUY, MARKET, "3", reduce_only=True), "0"),
    ],
)
def test_what_an_order_costs(held: str, one: Order, needs: str) -> None:
    holding = Holding(book=book_at("100", held, "100" if held != "0" else None), leverage=Decimal(4))
    assert cost(holding=holding, order=one, fees=FEES) == Decimal(needs)


def test_what_can_be_paid_leaves_free_collateral_at_zero_or_more() -> None:
    holding = Holding(book=book_at("100"), leverage=Decimal(3))
    entry = order("e", BUY, MARKET, "7")
    outcome = take(holding.book, entry)
    needs = cost(holding=holding, order=entry, fees=FEES)
    after = replace(holding, book=outcome.book)
    assert free_collateral(cash=needs + outcome.cash, holdings=[after]).quantize(Decimal("1E-17")) == 0


# What holds for any sequence

prices = st.integers(1, 400).map(lambda ticks: Decimal(ticks) / 4)
amounts = st.integers(1, 50).map(lambda lots: Decimal(lots) / 10)
caps = st.none() | st.integers(0, 60).map(lambda lots: Decimal(lots) / 10)
submits = st.tuples(
    st.just("submit"),
    st.builds(
        lambda side, kind, quantity, level, reduce_only, force: order(
            "", side, kind, str(quantity), str(level), reduce_only=reduce_only, time_in_force=force
        ),
        st.sampled_from(Side),
        st.sampled_from(OrderType),
        amounts,
        prices,
        st.booleans(),
        st.sampled_from(TimeInForce),
    ),
    caps,
)
moves = st.tuples(st.just("move"), prices, caps)
cancels = st.tuples(st.just("cancel"), st.integers(0, 30), st.none())
histories = st.lists(st.one_of(submits, moves, cancels), max_size=20)


def play(history: list[tuple[str, object, Decimal | None]], *, spot: bool) -> list[tuple[Book, Outcome]]:
    """Every act as (book before, outcome)."""
    book, acts = book_at("50", spot=spot), []
    for number, (verb, what, cap) in enumerate(history):
        if isinstance(what, Order):
            new = replace(what, client_order_id=str(number))
            outcome = submit(book=book, order=new, fees=FEES, liquidity=cap)
        elif isinstance(what, Decimal):
            outcome = move(book=book, price=what, fees=FEES, liquidity=cap)
        else:
            assert verb == "cancel"
            outcome = cancel(book=book, client_order_id=str(what))
        acts.append((book, outcome))
        book = outcome.book
    return acts


def worth(book: Book, cash: Decimal) -> Decimal:
    return equity(cash=cash, holdings=[Holding(book=book, leverage=Decimal(1))])


@given(history=histories, spot=st.booleans())
def test_wealth_changes_by_price_moves_and_fees_alone(
    history: list[tuple[str, object, Decimal | None]], spot: bool
) -> None:
    for before, outcome in play(history, spot=spot):
        after = outcome.book
        assert before.price is not None
        assert after.price is not None
        with localcontext(MONEY):
            gained = before.position.quantity * (after.price - before.price)
            gained += sum(
                (d.side.sign * d.quantity * (after.price - d.price) - d.fee for d in outcome.executions), ZERO
            )
            off = worth(after, outcome.cash) - worth(before, ZERO) - gained
        assert abs(off) < Decimal("1E-12")  # averages are kept to 18 decimals
        moved = sum((d.side.sign * d.quantity for d in outcome.executions), ZERO)
        assert after.position.quantity == before.position.quantity + moved


@given(history=histories, spot=st.booleans())
def test_fills_add_up_and_orders_stay_within_themselves(
    history: list[tuple[str, object, Decimal | None]], spot: bool
) -> None:
    filled: dict[str, Decimal] = {}
    known: dict[str, Order] = {}
    for _, outcome in play(history, spot=spot):
        for done in outcome.executions:
            filled[done.client_order_id] = filled.get(done.client_order_id, ZERO) + done.quantity
        for one in outcome.changed:
            assert one.client_order_id not in known or not known[one.client_order_id].status.is_final
            known[one.client_order_id] = one
        assert all(one.status.is_open and one.open_quantity > 0 for one in outcome.book.orders)
        assert all(known[one.client_order_id] == one for one in outcome.book.orders)
        assert len({one.client_order_id for one in outcome.book.orders}) == len(outcome.book.orders)
    for key, one in known.items():
        assert one.filled_quantity == filled.get(key, ZERO) <= one.quantity
        assert (one.status is OrderStatus.FILLED) == (one.filled_quantity == one.quantity)
        assert (one.average_price is None) == (one.filled_quantity == 0)


@given(history=histories, spot=st.booleans())
def test_reduce_only_never_grows_or_flips_a_position(
    history: list[tuple[str, object, Decimal | None]], spot: bool
) -> None:
    reducing: set[str] = set()
    for before, outcome in play(history, spot=spot):
        reducing |= {one.client_order_id for one in outcome.changed if one.reduce_only}
        quantity = before.position.quantity
        for done in outcome.executions:
            after = quantity + done.side.sign * done.quantity
            if done.client_order_id in reducing:
                assert quantity * after >= 0
                assert abs(after) < abs(quantity)
            quantity = after
            assert not (spot and quantity < 0)


@given(history=histories)
def test_no_act_trades_more_than_its_liquidity_and_prices_lie_on_the_path(
    history: list[tuple[str, object, Decimal | None]],
) -> None:
    for (before, outcome), (verb, what, cap) in zip(play(history, spot=False), history, strict=True):
        used = sum((done.quantity for done in outcome.executions), ZERO)
        assert cap is None or used <= cap
        limits = {one.client_order_id: one for one in (*before.orders, *outcome.changed)}
        for done in outcome.executions:
            limit = limits[done.client_order_id].price
            if limits[done.client_order_id].type is LIMIT and limit is not None:
                assert done.price <= limit if done.side is BUY else done.price >= limit
            elif verb == "move" and before.price is not None and isinstance(what, Decimal):
                assert min(before.price, what) <= done.price <= max(before.price, what)


@given(history=histories, start=prices, end=prices, part=st.floats(0, 1))
def test_a_path_in_two_steps_ends_like_the_path_in_one(
    history: list[tuple[str, object, Decimal | None]], start: Decimal, end: Decimal, part: float
) -> None:
    acts = play(history, spot=False)
    book = acts[-1][1].book if acts else book_at("50")
    book = move(book=book, price=start, fees=FEES, liquidity=None).book
    middle = start + (end - start) * Decimal(str(round(part, 2)))
    once = move(book=book, price=end, fees=FEES, liquidity=None)
    first = move(book=book, price=middle, fees=FEES, liquidity=None)
    second = move(book=first.book, price=end, fees=FEES, liquidity=None)
    assert second.book == once.book
    assert first.executions + second.executions == once.executions
