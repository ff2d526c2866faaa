"""The paper ledger in SQL: it keeps what matching says, under threads too, at a steady cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, insert, text

from store import Store, _engine, open_store, paper
from store._paper import Account
from store.paper import SqlPaperLedger
from store.tables import paper_fills, paper_orders
from trading import matching
from trading.errors import StoreUnavailable
from trading.matching import Book, Fees, Outcome
from trading.model import (
    ZERO,
    Instrument,
    InstrumentKind,
    Order,
    OrderStatus,
    OrderType,
    Position,
    Role,
    Side,
)

SYMBOL = "BTC-USDT-PERP"
FEES = Fees(maker=Decimal("0.0002"), taker=Decimal("0.0005"))
CASH = Decimal(1000)
LANE = {"venue": "PAPER:BINANCE", "account": "MAIN"}
MARKET, LIMIT, STOP = OrderType.MARKET, OrderType.LIMIT, OrderType.STOP

Clock = Callable[[], datetime]


def order(key: str, side: Side, kind: OrderType, quantity: str, at: str | None = None, **more: Any) -> Order:
    level = None if at is None else Decimal(at)
    new = Order(
        client_order_id=key,
        intent_id="",
        symbol=SYMBOL,
        role=Role.ENTRY,
        side=side,
        type=kind,
        quantity=Decimal(quantity),
        price=level if kind is LIMIT else None,
        trigger_price=level if kind is STOP else None,
    )
    return replace(new, **more)


def open_account(ledger: SqlPaperLedger, lane: dict[str, str] = LANE, symbol: str = SYMBOL) -> Any:
    return ledger.write(**lane, starting_balance=CASH, symbol=symbol)


def price(ledger: SqlPaperLedger, value: str | Decimal, at: datetime, symbol: str = SYMBOL) -> Any:
    return ledger.observe(symbol=symbol, price=Decimal(value), at=at, now=at, fees=FEES)


def submit(account: Account, one: Order, at: datetime) -> Outcome:
    outcome = matching.submit(
        book=account.holding(one.symbol).book,
        order=one,
        fees=FEES,
        liquidity=account.liquidity(one.symbol),
    )
    assert not outcome.refusal
    account.save(outcome, at=at, fee_currency="USDT")
    return outcome


@pytest.fixture
def ledger(store: Store) -> SqlPaperLedger:
    return SqlPaperLedger(store)


@contextmanager
def statements(store: Store) -> Any:
    """What the store is asked meanwhile."""
    seen: list[str] = []

    def note(*args: Any) -> None:
        seen.append(args[2])

    event.listen(store._engine, "before_cursor_execute", note)
    yield seen
    event.remove(store._engine, "before_cursor_execute", note)


def test_an_unknown_account_has_its_starting_balance_and_nothing_else(
    ledger: SqlPaperLedger, clock: Clock
) -> None:
    with ledger.read(**LANE, starting_balance=CASH) as account:
        assert account.cash() == CASH
        assert account.holdings() == ()
        assert account.holding(SYMBOL).book == Book(
            symbol=SYMBOL, price=None, position=Position(symbol=SYMBOL), orders=()
        )
        assert account.holding("BTC-USDT").book.long_only
        assert account.price(SYMBOL) is account.order("e") is account.instrument(SYMBOL) is None
        assert account.fills(SYMBOL, clock()) == ()


def test_the_starting_balance_counts_once(ledger: SqlPaperLedger) -> None:
    with open_account(ledger):
        pass
    with ledger.write(**LANE, starting_balance=Decimal(5), symbol=SYMBOL) as account:
        assert account.cash() == CASH


def test_an_account_is_kept_as_matching_says(ledger: SqlPaperLedger, clock: Clock) -> None:
    price(ledger, "100", clock())
    entry, target = (
        order("e", Side.BUY, MARKET, "2"),
        order("t", Side.SELL, LIMIT, "2", "130", reduce_only=True),
    )
    with open_account(ledger) as account:
        bought = submit(account, entry, clock())
        rests = submit(account, target, clock())
    assert rests.book.position == bought.book.position
    with ledger.read(**LANE, starting_balance=CASH) as account:
        (kept,) = account.holding(SYMBOL).book.orders
        assert kept == replace(rests.book.orders[0], venue_order_id="3")
        assert account.holding(SYMBOL).book == replace(rests.book, orders=(kept,))
        assert account.order("e") == replace(bought.changed[0], venue_order_id="1")
        assert account.cash() == CASH + bought.cash
        assert [(fill.trade_id, fill.venue_order_id) for fill in account.fills(SYMBOL, clock())] == [
            ("2", "1")
        ]
        assert account.holdings() == (account.holding(SYMBOL),)


def test_leverage_and_position_leave_each_other_alone(ledger: SqlPaperLedger, clock: Clock) -> None:
    price(ledger, "100", clock())
    with open_account(ledger) as account:
        assert account.holding(SYMBOL).leverage == 1
        account.set_leverage(SYMBOL, Decimal(7))
        submit(account, order("e", Side.BUY, MARKET, "2"), clock())
        assert account.holding(SYMBOL).leverage == 7
        account.set_leverage(SYMBOL, Decimal(3))
        assert account.holding(SYMBOL).book.position.quantity == 2


def test_a_made_instrument_is_kept_as_first_given(ledger: SqlPaperLedger) -> None:
    first = Instrument(
        symbol=SYMBOL,
        base="BTC",
        quote="USDT",
        kind=InstrumentKind.PERPETUAL,
        tick_size=Decimal("0.000001"),
        lot_size=Decimal("1E+1"),
        min_quantity=Decimal(10),
        min_notional=Decimal(5),
        note="made",
    )
    with open_account(ledger) as account:
        assert account.keep_instrument(first) == first
        assert account.keep_instrument(replace(first, tick_size=Decimal(1))) == first
    with open_account(ledger, {"venue": "PAPER:FTX", "account": "MAIN"}) as account:
        assert account.instrument(SYMBOL) is None


def test_what_raises_leaves_nothing(ledger: SqlPaperLedger, clock: Clock) -> None:
    price(ledger, "100", clock())

    def fail() -> None:
        with open_account(ledger) as account:
            submit(account, order("e", Side.BUY, MARKET, "2"), clock())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with ledger.read(**LANE, starting_balance=CASH) as account:
        assert account.order("e") is None
        assert account.holding(SYMBOL).book.position.is_flat
        assert account.cash() == CASH


def test_a_price_moves_the_books_of_every_account(ledger: SqlPaperLedger, clock: Clock) -> None:
    price(ledger, "100", clock())
    price(ledger, "100", clock(), "ETH-USDT-PERP")
    lanes = [{"venue": venue, "account": name} for venue in ("PAPER:A", "PAPER:B") for name in ("X", "Y")]
    for lane in lanes:
        with open_account(ledger, lane) as account:
            submit(account, order("e", Side.BUY, MARKET, "2"), clock())
            submit(account, order("s", Side.SELL, STOP, "2", "90", reduce_only=True), clock())
            eth = order("eth", Side.BUY, LIMIT, "1", "90", symbol="ETH-USDT-PERP")
            submit(account, eth, clock())
    moved = price(ledger, "80", clock())
    assert [(venue, name) for venue, name, _ in moved] == [tuple(lane.values()) for lane in lanes]
    assert {outcome.changed[0].status for *_, outcome in moved} == {OrderStatus.FILLED}
    for lane in lanes:
        with ledger.read(**lane, starting_balance=CASH) as account:
            assert account.holding(SYMBOL).book == Book(
                symbol=SYMBOL, price=Decimal(80), position=Position(symbol=SYMBOL), orders=()
            )
            assert [one.client_order_id for one in account.holding("ETH-USDT-PERP").book.orders] == ["eth"]
    assert price(ledger, "80", clock()) == ()


def test_an_older_price_changes_nothing(ledger: SqlPaperLedger, clock: Clock) -> None:
    price(ledger, "100", clock())
    with open_account(ledger) as account:
        submit(account, order("e", Side.BUY, LIMIT, "2", "90"), clock())
    assert price(ledger, "80", clock() - timedelta(seconds=1)) == ()
    assert ledger.price(SYMBOL) == 100
    with ledger.read(**LANE, starting_balance=CASH) as account:
        assert len(account.holding(SYMBOL).book.orders) == 1


@pytest.mark.parametrize(("symbol", "value"), [("nonsense", "1"), (SYMBOL, "0")])
def test_what_is_no_price_raises(ledger: SqlPaperLedger, clock: Clock, symbol: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"symbol|above zero"):
        price(ledger, value, clock(), symbol)
    assert ledger.price(symbol) is None


def test_liquidity_is_kept_until_it_is_taken_off(ledger: SqlPaperLedger, store: Store, clock: Clock) -> None:
    price(ledger, "100", clock())

    def cap(quantity: str | None) -> None:
        with store.write() as tx:
            amount = None if quantity is None else Decimal(quantity)
            paper.set_liquidity(tx, symbol=SYMBOL, quantity=amount, now=clock())

    for quantity in ("1", "0.5"):
        cap(quantity)
        with store.read() as tx:
            assert [row.liquidity for row in paper.prices(tx)] == [Decimal(quantity)]
    with open_account(ledger) as account:
        assert submit(account, order("e", Side.BUY, MARKET, "2"), clock()).book.position.quantity == Decimal(
            "0.5"
        )
    for bad in ("0", "-1"):
        with pytest.raises(ValueError, match="above zero"):
            cap(bad)
    cap(None)
    cap(None)
    with store.read() as tx:
        assert paper.liquidity(tx, symbol=SYMBOL) is None


def test_accounts_are_told_by_name(ledger: SqlPaperLedger, store: Store) -> None:
    for name in ("B", "A"):
        with open_account(ledger, {"venue": "PAPER:X", "account": name}):
            pass
    with store.read() as tx:
        assert [(one.name, one.cash()) for one in paper.accounts(tx)] == [
            ("PAPER:X A", CASH),
            ("PAPER:X B", CASH),
        ]


# The same as in memory

prices = st.integers(1, 400).map(lambda ticks: Decimal(ticks) / 4)
amounts = st.integers(1, 50).map(lambda lots: Decimal(lots) / 10)
acts = st.one_of(
    prices,
    st.integers(0, 9),
    st.builds(
        lambda side, kind, quantity, level, reduce_only: order(
            "", side, kind, str(quantity), str(level), reduce_only=reduce_only
        ),
        st.sampled_from(Side),
        st.sampled_from(OrderType),
        amounts,
        prices,
        st.booleans(),
    ),
)
_names = itertools.count()


@settings(max_examples=15)
@given(history=st.lists(acts, max_size=12), cap=st.none() | amounts)
def test_any_history_is_kept_as_in_memory(
    store: Store, clock: Any, history: list[Order | Decimal | int], cap: Decimal | None
) -> None:
    """Conservation and the rest hold for matching; here they hold for what was kept of it."""
    ledger, lane = SqlPaperLedger(store), {"venue": "PAPER:BINANCE", "account": f"A{next(_names)}"}
    symbol = f"X{lane['account']}-USDT-PERP"
    with store.write() as tx:
        paper.set_liquidity(tx, symbol=symbol, quantity=cap, now=clock())
    price(ledger, "50", clock.advance(1), symbol)
    book = Book(symbol=symbol, price=Decimal(50), position=Position(symbol=symbol), orders=())
    cash, kept, trades = CASH, {}, []
    for number, act in enumerate(history):
        now = clock.advance(1)
        if isinstance(act, Order):
            new = replace(act, client_order_id=str(number), symbol=symbol)
            outcome = matching.submit(book=book, order=new, fees=FEES, liquidity=cap)
            if outcome.refusal:
                continue
            with open_account(ledger, lane, symbol) as account:
                submit(account, new, now)
        elif isinstance(act, Decimal):
            outcome = matching.move(book=book, price=act, fees=FEES, liquidity=cap)
            price(ledger, act, now, symbol)
        else:
            outcome = matching.cancel(book=book, client_order_id=str(act))
            with open_account(ledger, lane, symbol) as account:
                ended = matching.cancel(book=account.holding(symbol).book, client_order_id=str(act))
                account.save(ended, at=now, fee_currency="USDT")
        book, cash = outcome.book, cash + outcome.cash
        kept |= {one.client_order_id: one for one in outcome.changed}
        trades += [
            (one.client_order_id, one.side, one.quantity, one.price, one.fee) for one in outcome.executions
        ]
    with ledger.read(**lane, starting_balance=CASH) as account:
        found = account.holding(symbol).book
        assert replace(found, orders=tuple(replace(one, venue_order_id=None) for one in found.orders)) == book
        assert account.cash() == cash
        fills = account.fills(symbol, datetime.min.replace(tzinfo=clock().tzinfo))
        assert [(f.client_order_id, f.side, f.quantity, f.price, f.fee) for f in fills] == trades
        assert len({fill.trade_id for fill in fills}) == len(fills)
        for key, one in kept.items():
            assert replace(account.order(key) or one, venue_order_id=None) == one
            assert one.filled_quantity == sum((f.quantity for f in fills if f.client_order_id == key), ZERO)


# More than one at once


def test_threads_on_one_account_lose_no_update(database_url: str, clock: Clock) -> None:
    """Each with a store of its own, as two processes have."""
    stores = [open_store(database_url) for _ in range(2)]
    price(SqlPaperLedger(stores[0]), "100", clock())
    start = Barrier(len(stores))

    def trade(number: int) -> int:
        ledger, done = SqlPaperLedger(stores[number]), 0
        start.wait()
        while done < 10:
            try:
                with open_account(ledger) as account:
                    submit(account, order(f"{number}-{done}", Side.BUY, MARKET, "0.1"), clock())
                done += 1
            except StoreUnavailable:  # SQLite's lock went to the other one for too long: nothing was kept
                continue
        return done

    with ThreadPoolExecutor(len(stores)) as pool:
        assert list(pool.map(trade, range(len(stores)))) == [10, 10]
    with SqlPaperLedger(stores[0]).read(**LANE, starting_balance=CASH) as account:
        assert account.holding(SYMBOL).book.position == Position(
            symbol=SYMBOL, quantity=Decimal(2), average_price=Decimal(100)
        )
        assert account.cash() == CASH - 20 * Decimal("0.1") * 100 * FEES.taker
        fills = account.fills(SYMBOL, clock())
        orders = [account.order(str(fill.client_order_id)) for fill in fills]
        ids = [fill.trade_id for fill in fills] + [one.venue_order_id for one in orders if one is not None]
        assert sorted(map(int, filter(None, ids))) == list(range(1, 41))
    for store in stores:
        store.close()


def test_a_price_waits_for_the_order_that_is_being_placed(database_url: str, clock: Any) -> None:
    """Else a stop could come to rest behind a price that had just passed it, on an account new to both."""
    placing = open_store(database_url)
    # One that gives up before the database would end the other for its silence.
    falling = Store(_engine.resolve(database_url), _engine.build(database_url, patience=0.3))
    price(SqlPaperLedger(placing), "100", clock())
    later = clock.advance(1)
    with open_account(SqlPaperLedger(placing)) as account:
        submit(account, order("s", Side.SELL, STOP, "1", "95", reduce_only=True), clock())
        with pytest.raises(StoreUnavailable):
            price(SqlPaperLedger(falling), "90", later)
    ((*_, outcome),) = price(SqlPaperLedger(falling), "90", later)
    assert [one.status for one in outcome.changed] == [OrderStatus.EXPIRED]
    placing.close()
    falling.close()


# Cost


def fill_history(store: Store, clock: Clock, rows: int) -> None:
    many = [
        {
            **LANE,
            "client_order_id": f"old-{number}",
            "venue_order_id": 10**9 + number,
            "symbol": SYMBOL,
            "side": "BUY",
            "quantity": Decimal(1),
            "price": Decimal(90),
        }
        for number in range(rows)
    ]
    past = {
        "role": "entry",
        "type": "LIMIT",
        "time_in_force": "GTC",
        "reduce_only": False,
        "status": "FILLED",
    }
    end = {"filled_quantity": Decimal(1), "average_price": Decimal(90), "reason": ""}
    trade = {"fee": ZERO, "fee_currency": "USDT", "maker": True, "at": clock()}
    for at in range(0, rows, 500):
        some = many[at : at + 500]
        with store.write() as tx:
            tx.execute(insert(paper_orders), [row | past | end for row in some])
            tx.execute(
                insert(paper_fills), [row | trade | {"trade_id": row["venue_order_id"]} for row in some]
            )


def test_an_act_costs_the_same_after_much_history(ledger: SqlPaperLedger, store: Store, clock: Clock) -> None:
    """As many statements, and each of them through an index that leaves what has ended aside."""

    def act(key: str) -> list[str]:
        with statements(store) as seen, open_account(ledger) as account:
            submit(account, order(key, Side.BUY, LIMIT, "1", "90"), clock())
            account.holdings()
        return seen

    price(ledger, "100", clock())
    act("warm")
    young = act("young")
    fill_history(store, clock, 3000)
    assert act("old") == young
    if store.is_postgres:
        return  # its planner chooses by statistics; the keys are the same
    open_orders = next(sql for sql in young if "FROM paper_orders" in sql)
    with store.read() as tx:
        driver: Any = tx.connection.dbapi_connection
        plan = driver.execute(f"EXPLAIN QUERY PLAN {open_orders}", ["x"] * open_orders.count("?")).fetchall()
        assert tx.execute(text("SELECT count(*) FROM paper_orders")).scalar() == 3003
    assert "venue=? AND account=? AND symbol=? AND status=?" in plan[0][3]


def test_a_price_costs_the_same_for_those_whom_it_does_not_meet(
    ledger: SqlPaperLedger, store: Store, clock: Clock
) -> None:
    price(ledger, "100", clock())
    with open_account(ledger) as account:
        submit(account, order("bid", Side.BUY, LIMIT, "1", "90"), clock())

    def moved_to(value: str) -> tuple[int, list[str]]:
        with statements(store) as seen:
            moved = price(ledger, value, clock())
        return len(seen), [account for _, account, _ in moved]

    alone, _ = moved_to("95")
    for number in reversed(range(5)):
        with open_account(ledger, LANE | {"account": f"A{number}"}) as account:
            submit(account, order("bid", Side.BUY, LIMIT, "1", str(80 + number)), clock())
    assert moved_to("96") == (alone, [])
    assert moved_to("96") == (alone, [])
    assert moved_to("90")[1] == [LANE["account"]]
    assert moved_to("82")[1] == ["A2", "A3", "A4"]
    if store.is_postgres:
        return  # its planner chooses by statistics
    with statements(store) as seen:
        price(ledger, "83", clock())
    resting = next(sql for sql in seen if "FROM paper_orders" in sql)
    with store.read() as tx:
        driver: Any = tx.connection.dbapi_connection
        plan = driver.execute(f"EXPLAIN QUERY PLAN {resting}", ["x"] * resting.count("?")).fetchall()
    assert "SEARCH paper_orders USING INDEX ix_paper_orders_open" in str(plan)
