"""The paper venue's memory without a database: for a replay, which keeps nothing.

The same ledger as `store.paper`, for one thread. It must never decide what trades: `trading.matching` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal, localcontext

from exchanges.paper import FEES
from trading import matching
from trading.matching import Book, Fees, Holding, Outcome
from trading.model import ZERO, Fill, Instrument, InstrumentKind, Order, Position
from trading.rounding import MONEY
from trading.symbols import split


@dataclass(slots=True)
class _Kept:
    """One instrument of one account. `fills` are all that ever were, in order."""

    position: Position
    leverage: Decimal = Decimal(1)
    resting: dict[str, Order] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """An account before a transaction; of lists that only grow, their lengths."""

    cash: Decimal
    next_id: int
    kept: _Kept
    fills: int
    orders: int


class PaperBook:
    """Every account, price and instrument of one replay."""

    def __init__(self) -> None:
        self.prices: dict[str, tuple[Decimal, datetime]] = {}
        self._instruments: dict[tuple[str, str], Instrument] = {}
        self._accounts: dict[tuple[str, str], Account] = {}

    def account(self, venue: str, account: str, starting_balance: Decimal) -> Account:
        """The account, opened with its balance when first asked for."""
        key = (venue, account)
        if key not in self._accounts:
            self._accounts[key] = Account(self.prices, self._instruments, venue, starting_balance)
        return self._accounts[key]

    @contextmanager
    def read(self, *, venue: str, account: str, starting_balance: Decimal) -> Iterator[Account]:
        """The account as it stands."""
        yield self.account(venue, account, starting_balance)

    @contextmanager
    def write(self, *, venue: str, account: str, starting_balance: Decimal, symbol: str) -> Iterator[Account]:
        """The account; what the block changed is taken back where it raises."""
        opened = self.account(venue, account, starting_balance)
        before = opened.copied(symbol)
        try:
            yield opened
        except BaseException:
            opened.restore(symbol, before)
            raise

    def observe(
        self, *, symbol: str, price: Decimal, at: datetime, now: datetime, fees: Fees = FEES
    ) -> Sequence[tuple[str, str, Outcome]]:
        """As `store.paper.observe`: a price older than the known one changes nothing."""
        known = self.prices.get(symbol)
        if known is not None and at < known[1]:
            return ()
        if known is None:
            self.prices[symbol] = (price, at)
        moved = []
        for (venue, name), account in sorted(self._accounts.items()):
            if not account.resting(symbol):
                continue
            outcome = matching.move(book=account.holding(symbol).book, price=price, fees=fees, liquidity=None)
            if outcome.changed:
                account.save(outcome, at=now, fee_currency=split(symbol)[1])
                moved.append((venue, name, outcome))
        self.prices[symbol] = (price, at)
        return tuple(moved)


class Account:
    """One account of the paper venue; amounts in quote units, all quotes as one."""

    def __init__(
        self,
        prices: dict[str, tuple[Decimal, datetime]],
        instruments: dict[tuple[str, str], Instrument],
        venue: str,
        cash: Decimal,
    ) -> None:
        self._prices = prices
        self._instruments = instruments
        self._venue = venue
        self._cash = cash
        self._next_id = 1
        self._kept: dict[str, _Kept] = {}
        self._orders: dict[str, Order] = {}

    def cash(self) -> Decimal:
        return self._cash

    def price(self, symbol: str) -> Decimal | None:
        known = self._prices.get(symbol)
        return known[0] if known else None

    def liquidity(self, symbol: str) -> Decimal | None:
        """Without limit."""
        return None

    def resting(self, symbol: str) -> dict[str, Order]:
        """The open orders of an instrument, oldest first."""
        return self._kept[symbol].resting if symbol in self._kept else {}

    def holding(self, symbol: str) -> Holding:
        kept = self._of(symbol)
        book = Book(
            symbol=symbol,
            price=self.price(symbol),
            position=kept.position,
            orders=tuple(kept.resting.values()),
            long_only=split(symbol)[2] is InstrumentKind.SPOT,
        )
        return Holding(book=book, leverage=kept.leverage)

    def holdings(self) -> Sequence[Holding]:
        open_now = (s for s, kept in self._kept.items() if kept.resting or not kept.position.is_flat)
        return tuple(self.holding(symbol) for symbol in sorted(open_now))

    def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        self._of(symbol).leverage = leverage

    def order(self, client_order_id: str) -> Order | None:
        return self._orders.get(client_order_id)

    def fills(self, symbol: str, since: datetime) -> Sequence[Fill]:
        return tuple(fill for fill in self._of(symbol).fills if fill.at >= since)

    def all_fills(self, symbol: str) -> Sequence[Fill]:
        """The very list, oldest first."""
        return self._of(symbol).fills

    def instrument(self, symbol: str) -> Instrument | None:
        return self._instruments.get((self._venue, symbol))

    def keep_instrument(self, instrument: Instrument) -> Instrument:
        return self._instruments.setdefault((self._venue, instrument.symbol), instrument)

    def save(self, outcome: Outcome, *, at: datetime, fee_currency: str) -> Sequence[Order]:
        kept = self._of(outcome.book.symbol)
        kept.position = outcome.book.position
        changed = []
        for order in outcome.changed:
            named = order if order.venue_order_id is not None else replace(order, venue_order_id=self._id())
            changed.append(named)
            self._orders[named.client_order_id] = named
            if named.status.is_open:
                kept.resting[named.client_order_id] = named
            else:
                kept.resting.pop(named.client_order_id, None)
        for done in outcome.executions:
            order = self._orders[done.client_order_id]
            kept.fills.append(
                Fill(
                    trade_id=self._id(),
                    symbol=outcome.book.symbol,
                    client_order_id=done.client_order_id,
                    venue_order_id=order.venue_order_id or "",
                    side=done.side,
                    quantity=done.quantity,
                    price=done.price,
                    fee=done.fee,
                    fee_currency=fee_currency,
                    at=at,
                    maker=done.maker,
                )
            )
        with localcontext(MONEY):
            self._cash += outcome.cash
        return tuple(changed)

    def copied(self, symbol: str) -> _Before:
        """What a transaction may change."""
        kept = self._of(symbol)
        return _Before(
            cash=self._cash,
            next_id=self._next_id,
            kept=replace(kept, resting=dict(kept.resting)),
            fills=len(kept.fills),
            orders=len(self._orders),
        )

    def restore(self, symbol: str, before: _Before) -> None:
        """Takes a failed transaction back."""
        self._cash, self._next_id = before.cash, before.next_id
        del before.kept.fills[before.fills :]
        for name in list(self._orders)[before.orders :]:
            del self._orders[name]
        self._orders |= before.kept.resting
        self._kept[symbol] = before.kept

    def _of(self, symbol: str) -> _Kept:
        if symbol not in self._kept:
            self._kept[symbol] = _Kept(position=Position(symbol=symbol, quantity=ZERO))
        return self._kept[symbol]

    def _id(self) -> str:
        self._next_id += 1
        return str(self._next_id - 1)
