"""What one account of the emulated exchange holds, and how it is read. Reading changes nothing."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import TYPE_CHECKING

from tests.emulator.nouns import Fill, Kind, Record
from trading import matching, pnl
from trading.matching import Book, Holding
from trading.model import ZERO, Order, Position, Role
from trading.rounding import MONEY

if TYPE_CHECKING:
    from tests.emulator.engine import Engine


class Ledger:
    """`key`, `secret`, `subaccount`, `hedge`, `may_trade`, `may_withdraw`, `cash`, `records` (all, by id),
    `fills` (all, oldest first), and the methods below. Only the acts of Account change anything.
    """

    def __init__(
        self,
        key: str,
        secret: str,
        subaccount: str = "",
        *,
        cash: Decimal = Decimal(100_000),
        hedge: bool = False,
        may_trade: bool = True,
        may_withdraw: bool = False,
        leverage: Decimal = Decimal(10),
    ) -> None:
        self.key = key
        self.secret = secret
        self.subaccount = subaccount
        self.cash = cash
        self.hedge = hedge
        self.may_trade = may_trade
        self.may_withdraw = may_withdraw
        self.records: dict[int, Record] = {}
        self.fills: list[Fill] = []
        self.engine: Engine
        self._deposit = cash
        self._leverage = leverage
        self._leverages: dict[str, Decimal] = {}
        self._books: dict[str, Book] = {}
        self._bringing: list[Record] = []  # entries whose stop is not in force yet
        self._retrying: list[Record] = []  # triggered ones that found too little liquidity

    def find(
        self, *, order_id: int | None = None, client_id: str | None = None, conditional: bool | None = None
    ) -> Record | None:
        """One order, open or ended, by either id; the newest if a client id was used again."""
        if order_id is None and client_id is None:
            return None
        for record in reversed(self.records.values()):
            if (
                order_id in (None, record.id)
                and client_id in (None, record.client_id)
                and conditional in (None, record.conditional)
            ):
                return record
        return None

    def orders(
        self, symbol: str | None = None, *, open: bool | None = None, conditional: bool | None = None
    ) -> list[Record]:
        """Oldest first."""
        return [
            record
            for record in self.records.values()
            if symbol in (None, record.symbol)
            and open in (None, record.is_open)
            and conditional in (None, record.conditional)
        ]

    def made_by(self, record: Record) -> list[Record]:
        """The orders that a conditional one made when it triggered, oldest first."""
        return [
            other for other in self.records.values() if other.parent_id == record.id and not other.attached
        ]

    def stop_of(self, symbol: str) -> Record | None:
        """The stop of the position itself."""
        return next((record for record in self.orders(symbol) if record.attached and record.is_waiting), None)

    def position(self, symbol: str) -> Position:
        return self._books[symbol].position if symbol in self._books else Position(symbol=symbol)

    def positions(self) -> list[Position]:
        """All that are not flat."""
        return [book.position for book in self._books.values() if not book.position.is_flat]

    def traded(self) -> list[str]:
        """Symbols that have ever had an order, in that order."""
        return list(dict.fromkeys(record.symbol for record in self.records.values()))

    def leverage(self, symbol: str) -> Decimal:
        return self._leverages.get(symbol, self._leverage)

    def equity(self) -> Decimal:
        return matching.equity(cash=self.cash, holdings=self._holdings())

    def free(self) -> Decimal:
        """What may back new orders. Conditional orders hold no margin until they trigger."""
        return matching.free_collateral(cash=self.cash, holdings=self._holdings())

    def unrealised(self, symbol: str) -> Decimal:
        position = self.position(symbol)
        if position.is_flat:
            return ZERO
        return pnl.unrealised(
            quantity=position.quantity,
            average_price=position.average_price,
            price=self.engine.price(symbol),
        )

    def realised(self, symbol: str) -> Decimal:
        """Over all its fills, before fees."""
        with localcontext(MONEY):
            return sum((fill.realised for fill in self.fills if fill.symbol == symbol), ZERO)

    def fees(self, record: Record) -> Decimal:
        with localcontext(MONEY):
            return sum((fill.fee for fill in self.fills if fill.order_id == record.id), ZERO)

    def unfit(self, record: Record) -> Kind | None:
        """Why an order could not trade now as far as position and margin go."""
        position = self.position(record.symbol)
        if record.reduce_only and position.quantity * record.side.sign >= 0:
            return Kind.REDUCE_ONLY
        order = as_order(record)
        holding = Holding(book=self._book(record.symbol), leverage=self.leverage(record.symbol))
        cost = matching.cost(holding=holding, order=order, fees=self.engine.rules.fees)
        return Kind.MARGIN if cost > 0 and cost > self.free() else None

    def _book(self, symbol: str) -> Book:
        if symbol not in self._books:
            self._books[symbol] = Book(
                symbol=symbol,
                price=self.engine.price(symbol),
                position=Position(symbol=symbol),
                orders=(),
            )
        return self._books[symbol]

    def _holdings(self) -> list[Holding]:
        return [Holding(book=book, leverage=self.leverage(symbol)) for symbol, book in self._books.items()]


def as_order(record: Record) -> Order:
    """As trading.matching knows it: under the venue's id, which is never used twice."""
    return Order(
        client_order_id=str(record.id),
        intent_id="",
        symbol=record.symbol,
        role=Role.ENTRY,
        side=record.side,
        type=record.type,
        quantity=record.quantity,
        price=record.price,
        time_in_force=record.time_in_force,
        reduce_only=record.reduce_only,
    )
