"""One account of the paper venue within one transaction: what `store.paper` hands out.

Reads and keeps rows. It must never commit, or decide what trades.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal, localcontext
from enum import Enum
from itertools import count
from typing import Any

from sqlalchemy import Connection, Table, and_, func, insert, select, update
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

_OPEN = tuple(status.value for status in OrderStatus if status.is_open)
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


class Account:
    """One account within one transaction."""

    def __init__(self, tx: Connection, venue: str, account: str, starting_balance: Decimal) -> None:
        self._tx = tx
        self._venue = venue
        self._account = account
        self._starting_balance = starting_balance

    @property
    def name(self) -> str:
        """Venue and account, for people."""
        return f"{self._venue} {self._account}"

    def open(self) -> None:
        """Gives an account that is new its starting balance, and locks it until the transaction ends."""
        self._tx.execute(
            _engine.insert(self._tx, paper_accounts)
            .values(venue=self._venue, account=self._account, cash=self._starting_balance, next_id=1)
            .on_conflict_do_nothing()
        )
        self._tx.execute(select(paper_accounts.c.cash).where(self._is(paper_accounts)).with_for_update())

    def cash(self) -> Decimal:
        cash = self._tx.execute(select(paper_accounts.c.cash).where(self._is(paper_accounts))).scalar()
        return self._starting_balance if cash is None else cash

    def price(self, symbol: str) -> Decimal | None:
        return last_price(self._tx, symbol=symbol)

    def liquidity(self, symbol: str) -> Decimal | None:
        return liquidity(self._tx, symbol=symbol)

    def holding(self, symbol: str) -> Holding:
        """Position, open orders and price of one instrument; nothing that has ended is read."""
        return self._holdings([symbol])[0]

    def holdings(self) -> Sequence[Holding]:
        """All that are not flat or have orders, by symbol."""
        symbols = (
            self._tx.execute(
                select(paper_positions.c.symbol)
                .where(self._is(paper_positions))
                .order_by(paper_positions.c.symbol)
            )
            .scalars()
            .all()
        )
        held = self._holdings(symbols)
        return tuple(one for one in held if one.book.orders or not one.book.position.is_flat)

    def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        self._keep_position(Position(symbol=symbol), leverage=leverage)

    def order(self, client_order_id: str) -> Order | None:
        """One order, also after it ended."""
        row = self._tx.execute(
            select(paper_orders).where(
                self._is(paper_orders), paper_orders.c.client_order_id == client_order_id
            )
        ).one_or_none()
        return None if row is None else _order(row)

    def fills(self, symbol: str, since: datetime) -> Sequence[Fill]:
        """From `since` on, oldest first."""
        rows = self._tx.execute(
            select(paper_fills)
            .where(self._is(paper_fills), paper_fills.c.symbol == symbol, paper_fills.c.at >= since)
            .order_by(paper_fills.c.trade_id)
        )
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
        self._keep_position(outcome.book.position)
        symbol = outcome.book.symbol
        ids = count(self._next_id())
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
            self._add(paper_fills, _columns(done, _EXECUTION) | told)
        with localcontext(MONEY):
            cash = self.cash() + outcome.cash
        self._tx.execute(
            update(paper_accounts).where(self._is(paper_accounts)).values(cash=cash, next_id=next(ids))
        )
        return tuple(changed)

    def _is(self, table: Any) -> ColumnElement[bool]:
        return and_(table.c.venue == self._venue, table.c.account == self._account)

    def _holdings(self, symbols: Collection[str]) -> list[Holding]:
        tx = self._tx
        prices = {
            row.symbol: row.price
            for row in tx.execute(select(paper_prices).where(paper_prices.c.symbol.in_(symbols)))
        }
        positions = {
            row.symbol: row
            for row in tx.execute(
                select(paper_positions).where(
                    self._is(paper_positions), paper_positions.c.symbol.in_(symbols)
                )
            )
        }
        resting: dict[str, list[Order]] = {symbol: [] for symbol in symbols}
        for row in tx.execute(
            select(paper_orders)
            .where(
                self._is(paper_orders),
                paper_orders.c.symbol.in_(symbols),
                paper_orders.c.status.in_(_OPEN),
            )
            .order_by(paper_orders.c.venue_order_id)
        ):
            resting[row.symbol].append(_order(row))
        return [
            _holding(symbol, prices.get(symbol), positions.get(symbol), resting[symbol]) for symbol in symbols
        ]

    def _next_id(self) -> int:
        found: int = self._tx.execute(
            select(paper_accounts.c.next_id).where(self._is(paper_accounts))
        ).scalar_one()
        return found

    def _keep_position(self, position: Position, *, leverage: Decimal | None = None) -> None:
        """Position and leverage are kept apart: writing the one leaves the other."""
        kept = (
            {"leverage": leverage}
            if leverage
            else {
                "quantity": position.quantity,
                "average_price": position.average_price,
            }
        )
        new = {
            "venue": self._venue,
            "account": self._account,
            "symbol": position.symbol,
            "quantity": position.quantity,
            "average_price": position.average_price,
            "leverage": leverage or _NO_LEVERAGE,
        }
        self._tx.execute(
            _engine.insert(self._tx, paper_positions)
            .values(**new)
            .on_conflict_do_update(index_elements=["venue", "account", "symbol"], set_=kept)
        )

    def _keep_order(self, order: Order, *, known: bool) -> None:
        mine = self._is(paper_orders)
        if known:
            row = update(paper_orders).where(mine, paper_orders.c.client_order_id == order.client_order_id)
            self._tx.execute(row.values(**_columns(order, _ORDER_CHANGES)))
        else:
            self._add(
                paper_orders, _columns(order, _ORDER) | {"venue_order_id": int(order.venue_order_id or 0)}
            )

    def _add(self, table: Table, values: dict[str, Any]) -> None:
        self._tx.execute(insert(table).values(venue=self._venue, account=self._account, **values))

    def _not_before_the_last(self, symbol: str, at: datetime) -> datetime:
        """Trades are told by time: one that waited for this account must not be dated before those it saw."""
        last = self._tx.execute(
            select(func.max(paper_fills.c.at)).where(self._is(paper_fills), paper_fills.c.symbol == symbol)
        ).scalar()
        return at if last is None else max(at, last)


def last_price(tx: Connection, *, symbol: str) -> Decimal | None:
    """The last known price."""
    return tx.execute(select(paper_prices.c.price).where(paper_prices.c.symbol == symbol)).scalar()


def liquidity(tx: Connection, *, symbol: str) -> Decimal | None:
    """How much one act may trade, in base units; None is without limit."""
    value = tx.execute(select(state.c.value).where(state.c.key == LIQUIDITY + symbol)).scalar()
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


def _order(row: Row[Any]) -> Order:
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
