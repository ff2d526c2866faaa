"""The paper venue's memory: prices, accounts, positions, orders and fills of the simulated venue, in SQL.

One transaction an act, with the account locked (and the price of what is traded held still), so that two
processes never interleave. It must never decide what trades: `trading.matching` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, bindparam, delete, insert, select, tuple_, update

from store import Store, _engine
from store._paper import LIQUIDITY, OPEN, Account, liquidity, order_of
from store._paper import last_price as last_price  # callers of `observe` ask for it
from store.tables import paper_accounts, paper_orders, paper_positions, paper_prices, state
from trading import matching
from trading.matching import Fees, Outcome
from trading.model import ZERO
from trading.rounding import need_positive
from trading.symbols import split


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """The last price of an instrument, and of when; `liquidity` in base units caps what one act may trade."""

    symbol: str
    price: Decimal
    at: datetime
    liquidity: Decimal | None


class SqlPaperLedger:
    """The paper ledger of one database, for any number of threads and processes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @contextmanager
    def read(self, *, venue: str, account: str, starting_balance: Decimal) -> Iterator[Account]:
        """One account as it stands; an unknown one has its starting balance."""
        with self._store.read() as tx:
            yield Account(tx, venue, account, starting_balance)

    @contextmanager
    def write(self, *, venue: str, account: str, starting_balance: Decimal, symbol: str) -> Iterator[Account]:
        """One account, opened if need be, locked until the block ends; committed if it ends well."""
        with self._store.write() as tx:
            # Price before account, as `observe` does: the other order could deadlock.
            tx.execute(_STANDING, {"symbol": symbol})
            opened = Account(tx, venue, account, starting_balance)
            opened.open()
            yield opened

    def price(self, symbol: str) -> Decimal | None:
        """The last known price."""
        with self._store.read() as tx:
            return last_price(tx, symbol=symbol)

    def observe(
        self, *, symbol: str, price: Decimal, at: datetime, now: datetime, fees: Fees
    ) -> Sequence[tuple[str, str, Outcome]]:
        """`observe` below in a transaction of its own."""
        with self._store.write() as tx:
            return observe(tx, symbol=symbol, price=price, at=at, now=now, fees=fees)


def observe(
    tx: Connection, *, symbol: str, price: Decimal, at: datetime, now: datetime, fees: Fees
) -> Sequence[tuple[str, str, Outcome]]:
    """Sets the price of `at` and moves the book of every account to it; what trades, trades `now`.

    A price older than the known one changes nothing. Returns venue, account and outcome where something
    changed. Raises ValueError for what is no symbol or price.
    """
    currency = split(symbol)[1]
    need_positive(price=price)
    tx.execute(_FIRST[tx.dialect.name], {"symbol": symbol, "price": price, "at": at})
    known = tx.execute(_LOCKED, {"symbol": symbol}).one()
    if at < known.at:
        return ()
    cap = liquidity(tx, symbol=symbol)
    moved = []
    for venue, name in _met(tx, symbol, known.price, price):
        account = Account(tx, venue, name, ZERO)
        account.open()
        book = account.holding(symbol).book
        outcome = matching.move(book=book, price=price, fees=fees, liquidity=cap)
        if outcome.changed:
            account.save(outcome, at=now, fee_currency=currency)
            moved.append((venue, name, outcome))
    tx.execute(_MOVED, {"of_symbol": symbol, "new_price": price, "new_at": at})
    return tuple(moved)


def prices(tx: Connection) -> Sequence[Price]:
    """Every known price, by symbol."""
    return tuple(
        Price(symbol=row.symbol, price=row.price, at=row.at, liquidity=liquidity(tx, symbol=row.symbol))
        for row in tx.execute(select(paper_prices).order_by(paper_prices.c.symbol))
    )


def accounts(tx: Connection) -> Sequence[Account]:
    """Every account that has traded, by venue and name."""
    rows = tx.execute(select(paper_accounts).order_by(paper_accounts.c.venue, paper_accounts.c.account))
    return tuple(Account(tx, row.venue, row.account, row.cash) for row in rows)


def set_liquidity(tx: Connection, *, symbol: str, quantity: Decimal | None, now: datetime) -> None:
    """Caps what one act may trade of an instrument, in base units; None takes the cap off.

    Raises ValueError for what is no symbol or no quantity.
    """
    split(symbol)
    key = LIQUIDITY + symbol
    tx.execute(delete(state).where(state.c.key == key))
    if quantity is not None:
        need_positive(quantity=quantity)
        tx.execute(insert(state).values(key=key, value=f"{quantity:f}", at=now))


def _met(tx: Connection, symbol: str, start: Decimal, end: Decimal) -> list[tuple[str, str]]:
    """Whose orders the way of a price meets. In one order everywhere, so that two prices at once cannot
    deadlock, and in Python's, in which lanes are locked: the database's depends on its locale. Nobody adds
    or takes an order meanwhile: who does holds the price still.
    """
    resting = tx.execute(_RESTING, {"symbol": symbol})
    return sorted(
        {
            (row.venue, row.account)
            for row in resting
            if matching.meets(order=order_of(row), start=start, end=end)
        }
    )


_LOCKED = select(paper_prices).where(paper_prices.c.symbol == bindparam("symbol")).with_for_update()
_STANDING = (
    select(paper_prices.c.price)
    .where(paper_prices.c.symbol == bindparam("symbol"))
    .with_for_update(read=True)
)
_FIRST = _engine.either(paper_prices, lambda new: new.on_conflict_do_nothing())
_MOVED = (
    update(paper_prices)
    .where(paper_prices.c.symbol == bindparam("of_symbol"))
    .values(price=bindparam("new_price"), at=bindparam("new_at"))
)
# By those who have traded it: orders have an index by account alone, and are many in the end.
_HOLDERS = select(paper_positions.c.venue, paper_positions.c.account).where(
    paper_positions.c.symbol == bindparam("symbol")
)
_RESTING = select(paper_orders).where(
    tuple_(paper_orders.c.venue, paper_orders.c.account).in_(_HOLDERS),
    paper_orders.c.symbol == bindparam("symbol"),
    paper_orders.c.status.in_(OPEN),
)
