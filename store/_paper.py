"""One account of the paper venue within one transaction: what `store.paper` hands out.

Reads and keeps rows. It must never commit, or decide what trades.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal, localcontext
from enum import Enum
from itertools import count
from typing import Any

from sqlalchemy import Connection, Insert, and_, bindparam, func, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Row
from sqlalchemy.sql.elements import ColumnElement

from store import _engine
from store.tables import (
    paper_accounts,
    paper_fills,
    paper_instruments,
    paper_orders,
    paper_positions,
    paper_prices,
    state,
)
from trading.matching import Book, Holding, Outcome
from trading.model import (
    Fill,
    Instrument,
    InstrumentKind,
    Order,
    OrderStatus,
    OrderType,
    Position,
    Role,
    Side,
    TimeInForce,
)
from trading.rounding import MONEY
from trading.symbols import split

#: Before the symbol, in the keys of `state`.
LIQUIDITY = "paper_liquidity:"

OPEN = tuple(status.value for status in OrderStatus if status.is_open)
_NO_LEVERAGE = Decimal(1)

# The columns carry the names of the records' fields.
_OWNER = ("venue", "account")
_ORDER = tuple(column.name for column in paper_orders.c if column.name not in _OWNER)
_ORDER_CHANGES = ("status", "filled_quantity", "average_price", "reason")
_FILL = tuple(column.name for column in paper_fills.c if column.name not in _OWNER)
_EXECUTION = ("client_order_id", "side", "quantity", "price", "fee", "maker")
_RULES = tuple(column.name for column in paper_instruments.c if column.name != "venue")
_ENUMS: dict[str, type[Enum]] = {
    "role": Role,
    "side": Side,
    "type": OrderType,
    "time_in_force": TimeInForce,
    "status": OrderStatus,
}


def _my(table: Any) -> ColumnElement[bool]:
    return and_(table.c.venue == bindparam("my_venue"), table.c.account == bindparam("my_account"))


def _of(table: Any) -> ColumnElement[bool]:
    return and_(_my(table), table.c.symbol.in_(bindparam("symbols", expanding=True)))


# Built once: building costs more than running. Rows of one account are named by `my_venue`, `my_account`.
_MINE = select(paper_accounts.c.cash, paper_accounts.c.next_id).where(_my(paper_accounts))
_LOCKED = _MINE.with_for_update()
_KEPT = (
    update(paper_accounts)
    .where(_my(paper_accounts))
    .values(cash=bindparam("new_cash"), next_id=bindparam("new_id"))
    .returning(paper_accounts.c.cash, paper_accounts.c.next_id)
)
_ACCOUNT = _engine.either(paper_accounts, lambda new: new.on_conflict_do_nothing())
_SYMBOLS = select(paper_positions.c.symbol).where(_my(paper_positions))
_PRICES = select(paper_prices.c.symbol, paper_prices.c.price).where(
    paper_prices.c.symbol.in_(bindparam("symbols", expanding=True))
)
_POSITIONS = select(paper_positions).where(_of(paper_positions))
_RESTING = (
    select(paper_orders)
    .where(_of(paper_orders), paper_orders.c.status.in_(OPEN))
    .order_by(paper_orders.c.venue_order_id)
)
_NAMED = select(paper_orders).where(_my(paper_orders), paper_orders.c.client_order_id == bindparam("name"))
_CHANGED = (
    update(paper_orders)
    .where(_my(paper_orders), paper_orders.c.client_order_id == bindparam("name"))
    .values({name: bindparam(f"new_{name}") for name in _ORDER_CHANGES})
)
_NEW_ORDER = insert(paper_orders)
_NEW_FILL = insert(paper_fills)
_FILLS = (
    select(paper_fills)
    .where(
        _my(paper_fills),
        paper_fills.c.symbol == bindparam("symbol"),
        paper_fills.c.at >= bindparam("since"),
    )
    .order_by(paper_fills.c.trade_id)
)
_LAST_FILL = select(func.max(paper_fills.c.at)).where(
    _my(paper_fills), paper_fills.c.symbol == bindparam("symbol")
)
_PRICE = select(paper_prices.c.price).where(paper_prices.c.symbol == bindparam("symbol"))
_STATE = select(state.c.value).where(state.c.key == bindparam("key"))


def _written(*names: str) -> dict[str, postgresql.Insert]:
    return _engine.either(
        paper_positions,
        lambda new: new.on_conflict_do_update(
            index_elements=["venue", "account", "symbol"],
            set_={name: new.excluded[name] for name in names},
        ),
    )


_POSITION = _written("quantity", "average_price")
_LEVERAGE = _written("leverage")


class Account:
    """One account within one transaction. What was read is kept until it is written: within a transaction
    nobody else changes it.
    """

    def __init__(self, tx: Connection, venue: str, account: str, starting_balance: Decimal) -> None:
        self._tx = tx
        self._venue = venue
        self._account = account
        self._starting_balance = starting_balance
        self._mine = {"my_venue": venue, "my_account": account}
        self._row: Row[Any, Any] | None = None
        self._held: dict[str, Holding] = {}
        self._symbols: set[str] | None = None

    @property
    def name(self) -> str:
        """Venue and account, for people."""
        return f"{self._venue} {self._account}"

    def open(self) -> None:
        """Gives an account that is new its starting balance, and locks it until the transaction ends."""
        self._row = self._tx.execute(_LOCKED, self._mine).one_or_none()
        if self._row is None:
            new = {"venue": self._venue, "account": self._account, "cash": self._starting_balance}
            self._tx.execute(_ACCOUNT[self._tx.dialect.name], new | {"next_id": 1})
            self._row = self._tx.execute(_LOCKED, self._mine).one()

    def cash(self) -> Decimal:
        row = self._row or self._tx.execute(_MINE, self._mine).one_or_none()
        return self._starting_balance if row is None else row.cash

    def price(self, symbol: str) -> Decimal | None:
        return last_price(self._tx, symbol=symbol)

    def liquidity(self, symbol: str) -> Decimal | None:
        return liquidity(self._tx, symbol=symbol)

    def holding(self, symbol: str) -> Holding:
        """Position, open orders and price of one instrument; nothing that has ended is read."""
        if symbol not in self._held:
            self._read([symbol])
        return self._held[symbol]

    def holdings(self) -> Sequence[Holding]:
        """All that are not flat or have orders, by symbol."""
        if self._symbols is None:
            self._symbols = set(self._tx.execute(_SYMBOLS, self._mine).scalars())
        if missing := self._symbols - self._held.keys():
            self._read(sorted(missing))
        held = (self._held[symbol] for symbol in sorted(self._symbols))
        return tuple(one for one in held if one.book.orders or not one.book.position.is_flat)

    def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        self._keep_position(Position(symbol=symbol), leverage=leverage)

    def order(self, client_order_id: str) -> Order | None:
        """One order, also after it ended."""
        row = self._tx.execute(_NAMED, {**self._mine, "name": client_order_id}).one_or_none()
        return None if row is None else order_of(row)

    def fills(self, symbol: str, since: datetime) -> Sequence[Fill]:
        """From `since` on, oldest first."""
        rows = self._tx.execute(_FILLS, {**self._mine, "symbol": symbol, "since": since})
        return tuple(_fill(row) for row in rows)

    def instrument(self, symbol: str) -> Instrument | None:
        """The one that was kept, if one was."""
        row = self._tx.execute(
            select(paper_instruments).where(
                paper_instruments.c.venue == self._venue, paper_instruments.c.symbol == symbol
            )
        ).one_or_none()
        if row is None:
            return None
        rules = {name: getattr(row, name) for name in _RULES}
        return Instrument(**rules | {"kind": InstrumentKind(row.kind)})

    def keep_instrument(self, instrument: Instrument) -> Instrument:
        """Keeps the first that is given for its symbol, and returns that one."""
        rules = _columns(instrument, _RULES)
        self._tx.execute(
            _engine.insert(self._tx, paper_instruments)
            .values(venue=self._venue, **rules)
            .on_conflict_do_nothing()
        )
        return self.instrument(instrument.symbol) or instrument

    def save(self, outcome: Outcome, *, at: datetime, fee_currency: str) -> Sequence[Order]:
        """Keeps what an act did; returns its changed orders with the venue's ids."""
        symbol = outcome.book.symbol
        self._keep_position(outcome.book.position)
        row = self._row or self._tx.execute(_MINE, self._mine).one()
        ids = count(row.next_id)
        changed = []
        for order in outcome.changed:
            known = order.venue_order_id is not None
            changed.append(order if known else replace(order, venue_order_id=str(next(ids))))
            self._keep_order(changed[-1], known=known)
        orders = {order.client_order_id: int(order.venue_order_id or 0) for order in changed}
        at = self._not_before_the_last(symbol, at) if outcome.executions else at
        for done in outcome.executions:
            told: dict[str, Any] = {"trade_id": next(ids), "venue_order_id": orders[done.client_order_id]}
            told |= {"symbol": symbol, "fee_currency": fee_currency, "at": at}
            self._add(_NEW_FILL, _columns(done, _EXECUTION) | told)
        with localcontext(MONEY):
            cash = row.cash + outcome.cash
        kept = {**self._mine, "new_cash": cash, "new_id": next(ids)}
        self._row = self._tx.execute(_KEPT, kept).one()
        return tuple(changed)

    def _read(self, symbols: Sequence[str]) -> None:
        """Instruments that were not read since they were last written."""
        tx, asked = self._tx, {**self._mine, "symbols": symbols}
        prices = {row.symbol: row.price for row in tx.execute(_PRICES, {"symbols": symbols})}
        positions = {row.symbol: row for row in tx.execute(_POSITIONS, asked)}
        resting: dict[str, list[Order]] = {symbol: [] for symbol in symbols}
        for row in tx.execute(_RESTING, asked):
            resting[row.symbol].append(order_of(row))
        for symbol in symbols:
            self._held[symbol] = _holding(symbol, prices.get(symbol), positions.get(symbol), resting[symbol])

    def _keep_position(self, position: Position, *, leverage: Decimal | None = None) -> None:
        """Position and leverage are kept apart: writing the one leaves the other."""
        kept = _LEVERAGE if leverage else _POSITION
        new = {
            "venue": self._venue,
            "account": self._account,
            "symbol": position.symbol,
            "quantity": position.quantity,
            "average_price": position.average_price,
            "leverage": leverage or _NO_LEVERAGE,
        }
        self._tx.execute(kept[self._tx.dialect.name], new)
        self._held.pop(position.symbol, None)
        if self._symbols is not None:
            self._symbols.add(position.symbol)

    def _keep_order(self, order: Order, *, known: bool) -> None:
        if known:
            changes = {f"new_{name}": value for name, value in _columns(order, _ORDER_CHANGES).items()}
            self._tx.execute(_CHANGED, {**self._mine, "name": order.client_order_id, **changes})
        else:
            self._add(
                _NEW_ORDER, _columns(order, _ORDER) | {"venue_order_id": int(order.venue_order_id or 0)}
            )

    def _add(self, new: Insert, values: dict[str, Any]) -> None:
        self._tx.execute(new, {"venue": self._venue, "account": self._account, **values})

    def _not_before_the_last(self, symbol: str, at: datetime) -> datetime:
        """Trades are told by time: one that waited for this account must not be dated before those it saw."""
        last = self._tx.execute(_LAST_FILL, {**self._mine, "symbol": symbol}).scalar()
        return at if last is None else max(at, last)


def last_price(tx: Connection, *, symbol: str) -> Decimal | None:
    """The last known price."""
    return tx.execute(_PRICE, {"symbol": symbol}).scalar()


def liquidity(tx: Connection, *, symbol: str) -> Decimal | None:
    """How much one act may trade, in base units; None is without limit."""
    value = tx.execute(_STATE, {"key": LIQUIDITY + symbol}).scalar()
    return None if value is None else Decimal(value)


def _holding(symbol: str, price: Decimal | None, row: Row[Any] | None, resting: Sequence[Order]) -> Holding:
    position = Position(symbol=symbol)
    if row is not None:
        position = Position(symbol=symbol, quantity=row.quantity, average_price=row.average_price)
    book = Book(
        symbol=symbol,
        price=price,
        position=position,
        orders=tuple(resting),
        long_only=split(symbol)[2] is InstrumentKind.SPOT,
    )
    return Holding(book=book, leverage=_NO_LEVERAGE if row is None else row.leverage)


def order_of(row: Row[Any]) -> Order:
    values = {name: getattr(row, name) for name in _ORDER}
    values |= {name: enum(values[name]) for name, enum in _ENUMS.items()}
    # The venue knows nothing of our intents.
    return Order(**values | {"venue_order_id": str(row.venue_order_id), "intent_id": ""})


def _fill(row: Row[Any]) -> Fill:
    values = {name: getattr(row, name) for name in _FILL}
    texts = {"trade_id": str(row.trade_id), "venue_order_id": str(row.venue_order_id)}
    return Fill(**values | texts | {"side": Side(row.side)})


def _columns(record: object, names: Sequence[str]) -> dict[str, Any]:
    """Those fields of a record, enums as their text."""
    values = {name: getattr(record, name) for name in names}
    return {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}
