"""The paper venue behind the exchange protocol, on the real ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from exchanges import Exchange, _paper
from exchanges.paper import CAPABILITIES, CURRENCY, FEES, NAME, PaperExchange, observe
from store import Store, open_store, paper
from store._paper import Account
from store.paper import SqlPaperLedger
from trading.errors import (
    Ambiguous,
    DuplicateOrder,
    InsufficientFunds,
    InvalidOrder,
    OrderNotFound,
    StaleRequest,
    StoreUnavailable,
    Unreachable,
)
from trading.matching import Book
from trading.model import (
    Balance,
    InstrumentKind,
    Order,
    OrderReport,
    OrderStatus,
    OrderType,
    Position,
    Protection,
    Role,
    Side,
)

PERP, SPOT = "BTC-USDT-PERP", "BTC-USDT"
BUY, SELL = Side.BUY, Side.SELL
MARKET, LIMIT, STOP = OrderType.MARKET, OrderType.LIMIT, OrderType.STOP

Clock = Any  # the fixture of conftest


def order(key: str, side: Side, kind: OrderType, quantity: str, at: str | None = None, **more: Any) -> Order:
    level = None if at is None else Decimal(at)
    new = Order(
        client_order_id=key,
        intent_id="i",
        symbol=PERP,
        role=Role.ENTRY,
        side=side,
        type=kind,
        quantity=Decimal(quantity),
        price=level if kind is LIMIT else None,
        trigger_price=level if kind is STOP else None,
    )
    return replace(new, **more)


def named(key: str, symbol: str = PERP) -> Order:
    """An order to ask for: its id is what the paper venue looks at."""
    return order(key, BUY, MARKET, "1", symbol=symbol)


def resting(venue: Exchange, symbol: str) -> tuple[OrderReport, ...]:
    return venue.look(symbol, ours=()).resting


@pytest.fixture
def ledger(store: Store) -> SqlPaperLedger:
    return SqlPaperLedger(store)


@pytest.fixture
def venue(ledger: SqlPaperLedger, clock: Clock) -> PaperExchange:
    return exchange(ledger, clock)


def exchange(ledger: SqlPaperLedger, clock: Clock, **more: Any) -> PaperExchange:
    setup = {"venue": "PAPER:BINANCE", "account": "MAIN", "starting_balance": Decimal(100000)}
    return PaperExchange(ledger=ledger, clock=clock, **setup | more)


def price(ledger: SqlPaperLedger, clock: Clock, value: str, symbol: str = PERP) -> None:
    now = clock.advance(1)
    observe(ledger, symbol=symbol, price=Decimal(value), at=now, now=now)


def place(venue: PaperExchange, clock: Clock, one: Order, stop: Order | None = None) -> OrderReport:
    return venue.place(one, signed_at=clock(), stop=stop)


def test_it_is_an_exchange(venue: PaperExchange, clock: Clock) -> None:
    known: Exchange = venue
    assert (NAME, known.name, known.time()) == ("PAPER", "PAPER:BINANCE", clock())
    assert known.capabilities(PERP) == CAPABILITIES
    assert CAPABILITIES.protection is Protection.ATTACHED
    assert (CAPABILITIES.receive_window, CAPABILITIES.margin) == (timedelta(seconds=2), timedelta(seconds=1))
    assert known.candles(PERP, "1h", 100) == ()
    assert not CAPABILITIES.candles


# Prices and instruments


def test_without_a_price_it_says_how_to_give_one(venue: PaperExchange, clock: Clock) -> None:
    says = f"no price known for {PERP}: send .*, or run python -m desk.paper price {PERP} 42000"
    with pytest.raises(InvalidOrder, match=says):
        venue.price(PERP)
    with pytest.raises(InvalidOrder, match=says):
        place(venue, clock, order("e", BUY, MARKET, "1"))
    with pytest.raises(InvalidOrder, match="no price known for NEW-USDT"):
        venue.instrument("NEW-USDT")


def test_the_last_price_wins_and_older_ones_are_ignored(
    venue: PaperExchange, ledger: SqlPaperLedger, clock: Clock
) -> None:
    at = clock()
    assert observe(ledger, symbol=PERP, price=Decimal(100), at=at) == ()
    observe(ledger, symbol=PERP, price=Decimal(90), at=at - timedelta(microseconds=1))
    assert venue.price(PERP) == 100
    observe(ledger, symbol=PERP, price=Decimal(101), at=at)
    assert venue.price(PERP) == ledger.price(PERP) == 101


@pytest.mark.parametrize(("symbol", "value"), [("BTCUSDT.P", "1"), (PERP, "0"), (PERP, "-1"), (PERP, "NaN")])
def test_what_is_no_price_is_refused(ledger: SqlPaperLedger, clock: Clock, symbol: str, value: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the words are those of split and need_positive
        observe(ledger, symbol=symbol, price=Decimal(value), at=clock())


def test_instruments_come_from_the_shipped_table(ledger: SqlPaperLedger, clock: Clock) -> None:
    perpetual = exchange(ledger, clock).instrument(PERP)
    assert (perpetual.tick_size, perpetual.lot_size) == (Decimal("0.1"), Decimal("0.001"))
    assert (perpetual.min_quantity, perpetual.min_notional) == (Decimal("0.001"), 50)
    assert perpetual.note.startswith("from the shipped table of 20")
    assert exchange(ledger, clock).instrument(SPOT).kind is InstrumentKind.SPOT
    assert exchange(ledger, clock, venue="PAPER:BYBIT").instrument(PERP).min_notional == 5


def test_the_shipped_table_is_sound() -> None:
    table = _paper.shipped()
    assert table
    for (_, symbol), instrument in table.items():
        assert (
            instrument.symbol
            == symbol
            == "-".join(
                [instrument.base, instrument.quote] + ["PERP"] * (instrument.kind is InstrumentKind.PERPETUAL)
            )
        )
        assert instrument.tick_size > 0
        assert instrument.min_quantity % instrument.lot_size == 0


def test_what_is_not_in_the_table_is_made_from_the_price_once(ledger: SqlPaperLedger, clock: Clock) -> None:
    price(ledger, clock, "0.0123", "NEW-USDT-PERP")
    made = exchange(ledger, clock).instrument("NEW-USDT-PERP")
    assert (made.base, made.quote, made.kind) == ("NEW", "USDT", InstrumentKind.PERPETUAL)
    assert (made.tick_size, made.lot_size, made.min_quantity) == (Decimal("0.000001"), 10, 10)
    assert made.min_notional == 5
    assert made.note == "made from the price 0.0123: tick 0.000001, lot 10"
    price(ledger, clock, "999", "NEW-USDT-PERP")
    assert exchange(ledger, clock).instrument("NEW-USDT-PERP") == made
    assert exchange(ledger, clock, venue="PAPER:PAPER").instrument("NEW-USDT-PERP").tick_size == Decimal(
        "0.01"
    )


def test_what_is_no_symbol_is_an_invalid_order(venue: PaperExchange, clock: Clock) -> None:
    with pytest.raises(InvalidOrder, match="PAPER:BINANCE instrument: not a symbol of the house: 'BTCUSDT'"):
        venue.instrument("BTCUSDT")
    with pytest.raises(InvalidOrder, match="not a symbol"):
        place(venue, clock, order("e", BUY, MARKET, "1", symbol="BTCUSDT"))


# Orders


def test_a_market_order_with_its_stop(venue: PaperExchange, ledger: SqlPaperLedger, clock: Clock) -> None:
    price(ledger, clock, "42000")
    start = clock()
    stop = order("i-sl", SELL, STOP, "0.5", "41000", reduce_only=True, role=Role.STOP)
    entry = place(venue, clock, order("i-e", BUY, MARKET, "0.5"), stop)
    assert entry == OrderReport(
        symbol=PERP,
        client_order_id="i-e",
        venue_order_id="1",
        side=BUY,
        type=MARKET,
        quantity=Decimal("0.5"),
        status=OrderStatus.FILLED,
        filled_quantity=Decimal("0.5"),
        average_price=Decimal(42000),
    )
    assert venue.order(named("i-e", PERP)) == entry
    assert resting(venue, PERP) == (venue.order(named("i-sl", PERP)),)
    assert venue.position(PERP) == Position(
        symbol=PERP, quantity=Decimal("0.5"), average_price=Decimal(42000)
    )
    assert venue.positions() == (venue.position(PERP),)
    (fill,) = venue.fills(PERP, since=start)
    assert (fill.trade_id, fill.venue_order_id, fill.client_order_id) == ("2", "1", "i-e")
    assert (fill.quantity, fill.price, fill.fee, fill.fee_currency) == (
        Decimal("0.5"),
        42000,
        Decimal("10.5"),
        "USDT",
    )
    assert (fill.at, fill.maker) == (start, False)
    assert venue.balance(PERP) == Balance(
        currency=CURRENCY, total=Decimal("99989.5"), free=Decimal("99989.5") - 21000
    )
    price(ledger, clock, "40000")
    assert venue.position(PERP).is_flat
    assert venue.positions() == resting(venue, PERP) == ()
    assert venue.order(named("i-sl", PERP)).status is OrderStatus.FILLED
    assert (
        venue.balance(PERP).free == venue.balance(PERP).total == Decimal("99989.5") - 500 - Decimal("10.25")
    )
    assert [one.trade_id for one in venue.fills(PERP, since=clock())] == ["4"]


@pytest.mark.parametrize(
    ("entry", "stop", "error"),
    [
        (order("e", BUY, MARKET, "1"), order("s", SELL, STOP, "1", "42000", reduce_only=True), InvalidOrder),
        (
            order("e", BUY, MARKET, "9"),
            order("s", SELL, STOP, "9", "41000", reduce_only=True),
            InsufficientFunds,
        ),
        (
            order("e", BUY, MARKET, "1"),
            order("e", SELL, STOP, "1", "41000", reduce_only=True),
            DuplicateOrder,
        ),
    ],
)
def test_order_and_stop_are_taken_together_or_not_at_all(
    venue: PaperExchange,
    ledger: SqlPaperLedger,
    clock: Clock,
    entry: Order,
    stop: Order,
    error: type[Exception],
) -> None:
    price(ledger, clock, "42000")
    with pytest.raises(error):
        place(venue, clock, entry, stop)
    assert venue.position(PERP).is_flat
    assert resting(venue, PERP) == ()
    assert venue.balance(PERP).total == 100000
    for key in ("e", "s"):
        with pytest.raises(OrderNotFound):
            venue.order(named(key, PERP))
    assert place(venue, clock, order("e", BUY, MARKET, "1")).venue_order_id == "1"


def test_a_stop_is_attached_only_where_that_is_offered(ledger: SqlPaperLedger, clock: Clock) -> None:
    before = exchange(ledger, clock, protection=Protection.BEFORE)
    assert before.capabilities(PERP).protection is Protection.BEFORE
    stop = order("s", SELL, STOP, "1", "41000", reduce_only=True)
    with pytest.raises(ValueError, match="ATTACHED"):
        place(before, clock, order("e", BUY, MARKET, "1"), stop)
    with pytest.raises(ValueError, match="another instrument"):
        place(exchange(ledger, clock), clock, order("e", BUY, MARKET, "1"), replace(stop, symbol=SPOT))
    price(ledger, clock, "42000")
    assert place(before, clock, stop).status is OrderStatus.ACCEPTED
    place(before, clock, order("e", BUY, MARKET, "1"))
    price(ledger, clock, "40000")
    assert before.position(PERP).is_flat


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (order("e", BUY, LIMIT, "1", "41000.05"), r"price 41000\.05 is not a multiple of the tick size 0\.1"),
        (order("e", BUY, STOP, "1", "43000.01"), r"trigger price 43000\.01 is not a multiple"),
        (order("e", BUY, MARKET, "0.0015"), r"quantity 0\.0015 is not a multiple of the lot size 0\.001"),
        (order("e", BUY, LIMIT, "0.001", "40000"), r"notional 40\.000 is below the minimum of 50"),
        (order("e", BUY, MARKET, "1", reduce_only=True), "nothing to reduce"),
        (order("e", BUY, LIMIT, "1", "43000", reduce_only=True), "nothing to reduce"),
        (order("e", BUY, STOP, "1", "42000"), "the stop would trigger at once, the price is 42000"),
    ],
)
def test_broken_rules_are_named(
    venue: PaperExchange, ledger: SqlPaperLedger, clock: Clock, bad: Order, says: str
) -> None:
    price(ledger, clock, "42000")
    with pytest.raises(InvalidOrder, match=says):
        place(venue, clock, bad)
    with pytest.raises(OrderNotFound):
        venue.order(named("e", PERP))


def test_minimum_and_maximum_quantity_are_named() -> None:
    instrument = replace(
        _paper.shipped()["FTX", "BTC-USD-PERP"], min_quantity=Decimal("0.01"), max_quantity=Decimal(5)
    )
    book = Book(symbol=PERP, price=Decimal(42000), position=Position(symbol=PERP), orders=())

    def broken(quantity: str) -> list[str]:
        return list(_paper.broken_rules(instrument, book, order("e", BUY, MARKET, quantity)))

    assert broken("0.001") == ["quantity 0.001 is below the minimum of 0.01"]
    assert broken("6") == ["quantity 6 is above the maximum of 5"]
    assert broken("5") == []


def test_reduce_only_orders_need_no_minimum_notional(
    venue: PaperExchange, ledger: SqlPaperLedger, clock: Clock
) -> None:
    price(ledger, clock, "42000")
    place(venue, clock, order("e", BUY, MARKET, "0.002"))
    assert place(venue, clock, order("t", SELL, LIMIT, "0.001", "43000", reduce_only=True)).status.is_open


def test_a_client_order_id_is_taken_for_ever(
    venue: PaperExchange, ledger: SqlPaperLedger, clock: Clock
) -> None:
    price(ledger, clock, "42000")
    place(venue, clock, order("e", BUY, MARKET, "1"))
    for again in (order("e", BUY, MARKET, "1"), order("e", BUY, MARKET, "1", symbol=SPOT)):
        price(ledger, clock, "42000", again.symbol)
        with pytest.raises(DuplicateOrder, match="client order id e is taken"):
            place(venue, clock, again)
    assert venue.position(PERP).quantity == 1
    other = exchange(ledger, clock, account="OTHER")
    assert place(other, clock, order("e", BUY, MARKET, "1")).status is OrderStatus.FILLED


def test_an_order_of_another_symbol_is_not_found(
    venue: PaperExchange, ledger: SqlPaperLedger, clock: Clock
) -> None:
    price(ledger, clock, "42000")
    place(venue, clock, order("e", BUY, MARKET, "1"))
    with pytest.raises(OrderNotFound, match="no order e of BTC-USDT"):
        venue.order(named("e", SPOT))


def test_a_late_request_is_refused_and_nothing_is_done(
    venue: PaperExchange, ledger: SqlPaperLedger, clock: Clock
) -> None:
    price(ledger, clock, "42000")
    signed_at = clock()
    clock.advance(2)
    venue.place(order("in-time", BUY, MARKET, "1"), signed_at=signed_at)
    clock.advance(timedelta(microseconds=1))
    with pytest.raises(StaleRequest):
        venue.place(order("late", BUY, MARKET, "1"), signed_at=signed_at)
    with pytest.raises(OrderNotFound):
        venue.order(named("late", PERP))
    assert venue.position(PERP).quantity == 1


def test_the_window_is_looked_at_when_the_account_is_free(store: Store, clock: Clock) -> None:
    """A request that waited for the account too long must not count as arrived in time."""

    class Busy(SqlPaperLedger):
        @contextmanager
        def write(self, **lane: Any) -> Iterator[Account]:
            with super().write(**lane) as account:
                clock.advance(3)
                yield account

    ledger = Busy(store)
    price(ledger, clock, "42000")
    with pytest.raises(StaleRequest):
        place(exchange(ledger, clock), clock, order("e", BUY, MARKET, "1"))


def test_cancel_is_idempotent(venue: PaperExchange, ledger: SqlPaperLedger, clock: Clock) -> None:
    price(ledger, clock, "42000")
    mine, other = order("a", BUY, LIMIT, "1", "41000"), order("b", BUY, LIMIT, "1", "41000")
    place(venue, clock, mine)
    report = place(venue, clock, other)
    for _ in range(2):
        venue.cancel(named("a", PERP))
        assert resting(venue, PERP) == (report,)
    assert venue.order(named("a", PERP)).status is OrderStatus.CANCELED
    venue.cancel(named("unknown", PERP))
    for _ in range(2):
        venue.cancel_report(report)
        assert resting(venue, PERP) == ()
    kept = place(venue, clock, order("d", BUY, LIMIT, "1", "41000"))
    venue.cancel_report(report)
    assert resting(venue, PERP) == (kept,)
    place(venue, clock, order("c", BUY, MARKET, "1"))
    venue.cancel(named("c", PERP))
    assert venue.order(named("c", PERP)).status is OrderStatus.FILLED


def test_fills_are_told_from_a_time_on_oldest_first(
    venue: PaperExchange, ledger: SqlPaperLedger, clock: Clock
) -> None:
    price(ledger, clock, "42000")
    place(venue, clock, order("a", BUY, LIMIT, "1", "41000"))
    place(venue, clock, order("b", BUY, LIMIT, "1", "40000"))
    price(ledger, clock, "40500")
    first = clock()
    price(ledger, clock, "39000")
    fills = venue.fills(PERP, since=first)
    assert [(one.client_order_id, one.price, one.maker) for one in fills] == [
        ("a", 41000, True),
        ("b", 40000, True),
    ]
    assert [one.client_order_id for one in venue.fills(PERP, since=clock())] == ["b"]
    assert venue.fills(SPOT, since=first) == ()


def test_a_trade_is_never_dated_before_those_that_came_first(
    venue: PaperExchange, ledger: SqlPaperLedger, clock: Clock
) -> None:
    price(ledger, clock, "42000")
    seen = clock()
    clock.advance(10)
    stop = order("s", SELL, STOP, "1", "41000", reduce_only=True)
    place(venue, clock, order("e", BUY, MARKET, "1"), stop)
    observe(ledger, symbol=PERP, price=Decimal(40000), at=seen + timedelta(seconds=5))
    assert [one.at for one in venue.fills(PERP, since=clock())] == [clock(), clock()]


# Money


def test_an_entry_wants_its_margin_and_its_fee(
    venue: PaperExchange, ledger: SqlPaperLedger, clock: Clock
) -> None:
    price(ledger, clock, "50000")
    with pytest.raises(InsufficientFunds, match=r"e needs 100050\.\d+, free is 100000"):
        place(venue, clock, order("e", BUY, MARKET, "2"))
    place(venue, clock, order("e", BUY, MARKET, "1.999"))
    with pytest.raises(InsufficientFunds):
        place(venue, clock, order("f", BUY, MARKET, "0.001"))
    place(venue, clock, order("x", SELL, MARKET, "1.999", reduce_only=True))


def test_leverage_divides_the_margin(venue: PaperExchange, ledger: SqlPaperLedger, clock: Clock) -> None:
    price(ledger, clock, "50000")
    for _ in range(2):
        venue.set_leverage(PERP, Decimal(5))
    place(venue, clock, order("e", SELL, MARKET, "9"))
    assert venue.balance(PERP) == Balance(currency=CURRENCY, total=Decimal(99775), free=Decimal(9775))
    with pytest.raises(InsufficientFunds, match="leverage 3 wants"):
        venue.set_leverage(PERP, Decimal(3))
    place(venue, clock, order("f", SELL, MARKET, "0.9"))


def test_a_leverage_below_one_is_one(venue: PaperExchange, ledger: SqlPaperLedger, clock: Clock) -> None:
    price(ledger, clock, "50000")
    venue.set_leverage(PERP, Decimal("0.5"))
    place(venue, clock, order("e", BUY, MARKET, "1"))
    assert venue.balance(PERP).free == Decimal(99975) - 50000
    with pytest.raises(ValueError, match="above zero"):
        venue.set_leverage(PERP, Decimal(0))


def test_resting_entries_hold_margin_and_give_it_back(
    venue: PaperExchange, ledger: SqlPaperLedger, clock: Clock
) -> None:
    price(ledger, clock, "50000")
    place(venue, clock, order("e", BUY, LIMIT, "2", "49000"))
    place(venue, clock, order("s", SELL, STOP, "2", "48000", reduce_only=True))
    assert venue.balance(PERP) == Balance(currency=CURRENCY, total=Decimal(100000), free=Decimal(2000))
    with pytest.raises(InsufficientFunds):
        place(venue, clock, order("f", BUY, LIMIT, "1", "49000"))
    venue.cancel(named("e", PERP))
    assert venue.balance(PERP).free == 100000


def test_every_instrument_counts_for_free_collateral(
    venue: PaperExchange, ledger: SqlPaperLedger, clock: Clock
) -> None:
    price(ledger, clock, "50000")
    price(ledger, clock, "2000", "ETH-USDT-PERP")
    place(venue, clock, order("b", BUY, MARKET, "1"))
    place(venue, clock, order("e", SELL, MARKET, "10", symbol="ETH-USDT-PERP"))
    price(ledger, clock, "2100", "ETH-USDT-PERP")
    balance = venue.balance(PERP)
    assert balance.total == 100000 - 25 - 10 - 1000
    assert balance.free == balance.total - 50000 - 21000
    assert [one.symbol for one in venue.positions()] == [PERP, "ETH-USDT-PERP"]


def test_free_is_never_told_below_zero(venue: PaperExchange, ledger: SqlPaperLedger, clock: Clock) -> None:
    price(ledger, clock, "50000")
    venue.set_leverage(PERP, Decimal(20))
    place(venue, clock, order("e", BUY, MARKET, "20"))
    price(ledger, clock, "40000")
    assert venue.balance(PERP) == Balance(currency=CURRENCY, total=Decimal(-100500), free=Decimal(0))
    assert place(venue, clock, order("x", SELL, MARKET, "20", reduce_only=True)).status is OrderStatus.FILLED
    assert venue.balance(PERP).total == -100500 - 20 * 40000 * FEES.taker


# Spot


def test_spot_has_no_leverage_and_no_short(
    venue: PaperExchange, ledger: SqlPaperLedger, clock: Clock
) -> None:
    price(ledger, clock, "50000", SPOT)
    venue.set_leverage(SPOT, Decimal(1))
    with pytest.raises(InvalidOrder, match="BTC-USDT is spot, its leverage is 1"):
        venue.set_leverage(SPOT, Decimal(2))
    with pytest.raises(InvalidOrder, match="spot cannot go short: 0 held"):
        place(venue, clock, order("a", SELL, MARKET, "1", symbol=SPOT))
    place(venue, clock, order("e", BUY, MARKET, "1", symbol=SPOT))
    place(venue, clock, order("t", SELL, LIMIT, "0.6", "55000", symbol=SPOT))
    with pytest.raises(InvalidOrder, match=r"spot cannot go short: 1 held, 0\.6 offered already"):
        place(venue, clock, order("b", SELL, MARKET, "0.5", symbol=SPOT))
    place(venue, clock, order("x", SELL, MARKET, "1", symbol=SPOT, reduce_only=True))
    price(ledger, clock, "60000", SPOT)
    assert venue.position(SPOT).is_flat
    assert venue.order(named("t", SPOT)).status is OrderStatus.EXPIRED


# Partial fills


def test_liquidity_cuts_what_one_act_trades(
    venue: PaperExchange, ledger: SqlPaperLedger, store: Store, clock: Clock
) -> None:
    price(ledger, clock, "50000")
    with store.write() as tx:
        paper.set_liquidity(tx, symbol=PERP, quantity=Decimal("0.3"), now=clock())
    stop = order("s", SELL, STOP, "1", "49000", reduce_only=True)
    entry = place(venue, clock, order("e", BUY, MARKET, "1"), stop)
    assert (entry.status, entry.filled_quantity) == (OrderStatus.CANCELED, Decimal("0.3"))
    limit = place(venue, clock, order("l", BUY, LIMIT, "0.4", "50000"))
    assert (limit.status, limit.filled_quantity) == (OrderStatus.PARTIALLY_FILLED, Decimal("0.3"))
    venue.cancel(named("l", PERP))
    price(ledger, clock, "48000")
    left = venue.order(named("s", PERP))
    assert (left.status, left.filled_quantity, left.reason) == (
        OrderStatus.PARTIALLY_FILLED,
        Decimal("0.3"),
        "triggered",
    )
    with store.write() as tx:
        paper.set_liquidity(tx, symbol=PERP, quantity=None, now=clock())
    price(ledger, clock, "51000")
    assert venue.position(PERP).is_flat
    assert [one.price for one in venue.fills(PERP, since=clock())] == [48000]
    assert venue.order(named("s", PERP)).filled_quantity == Decimal("0.6")


# The database


class Down(SqlPaperLedger):
    """A ledger whose database is away."""

    def read(self, **lane: Any) -> AbstractContextManager[Account]:
        raise StoreUnavailable("database: away")

    @contextmanager
    def write(self, **lane: Any) -> Iterator[Account]:
        with super().write(**lane) as account:
            yield account
            raise StoreUnavailable("database: away")


def test_without_its_database_reads_are_unreachable_and_writes_ambiguous(
    venue: PaperExchange, ledger: SqlPaperLedger, store: Store, clock: Clock
) -> None:
    price(ledger, clock, "42000")
    down = exchange(Down(store), clock)
    with pytest.raises(Unreachable, match="PAPER:BINANCE price: database: away"):
        down.price(PERP)
    down._instruments[PERP] = venue.instrument(PERP)
    with pytest.raises(Ambiguous, match="PAPER:BINANCE place: database: away"):
        place(down, clock, order("e", BUY, MARKET, "1"))
    assert venue.position(PERP).is_flat


def test_a_restart_keeps_everything(database_url: str, clock: Clock) -> None:
    def open_venue() -> tuple[Store, SqlPaperLedger, PaperExchange]:
        store = open_store(database_url)
        ledger = SqlPaperLedger(store)
        return store, ledger, exchange(ledger, clock)

    def everything(venue: PaperExchange) -> list[object]:
        since: datetime = clock() - timedelta(days=1)
        reads = [venue.balance(PERP), venue.positions(), resting(venue, PERP), venue.fills(PERP, since=since)]
        return [*reads, venue.price(PERP), venue.order(named("e", PERP)), venue.instrument("NEW-USDT")]

    store, ledger, venue = open_venue()
    price(ledger, clock, "42000")
    price(ledger, clock, "0.5", "NEW-USDT")
    venue.set_leverage(PERP, Decimal(3))
    stop = order("s", SELL, STOP, "1", "41000", reduce_only=True)
    place(venue, clock, order("e", BUY, MARKET, "1"), stop)
    before = everything(venue)
    store.close()
    store, ledger, venue = open_venue()
    assert everything(venue) == before
    with pytest.raises(DuplicateOrder):
        place(venue, clock, order("e", BUY, MARKET, "1"))
    price(ledger, clock, "40000")
    assert venue.position(PERP).is_flat
    assert venue.fills(PERP, since=clock())[0].trade_id == "4"
    store.close()
