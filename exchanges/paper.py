"""The paper venue: real prices, simulated orders, behind the same protocol as every exchange.

Each call is one transaction of its ledger: done whole, or not at all. It must never take an order that a
real venue would refuse for its rules, its margin or its age, nor keep anything outside the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NoReturn, Protocol

from exchanges import Capabilities, Finding, Look, Terms, _paper
from trading import matching
from trading.errors import (
    Ambiguous,
    DuplicateOrder,
    InsufficientFunds,
    InvalidOrder,
    OrderNotFound,
    Rejected,
    StaleRequest,
    StoreUnavailable,
    Unreachable,
)
from trading.matching import Fees, Holding, Outcome
from trading.model import (
    ZERO,
    Balance,
    Candle,
    Fill,
    Instrument,
    InstrumentKind,
    Order,
    OrderReport,
    Position,
    Protection,
)
from trading.rounding import need_positive
from trading.symbols import split

NAME = "PAPER"

#: What large venues ask of a small account on perpetuals: a paper result should not flatter.
FEES = Fees(maker=Decimal("0.0002"), taker=Decimal("0.0005"))

CAPABILITIES = Capabilities(
    protection=Protection.ATTACHED,
    receive_window=timedelta(seconds=2),
    margin=timedelta(seconds=1),
    taker_fee=FEES.taker,
    candles=False,
)

#: The balance is told in it; every quote currency counts as one of it.
CURRENCY = "USDT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """What a new price did to one account."""

    venue: str
    account: str
    outcome: Outcome


class PaperAccount(Protocol):
    """One account within one transaction."""

    def cash(self) -> Decimal: ...

    def price(self, symbol: str) -> Decimal | None: ...

    def liquidity(self, symbol: str) -> Decimal | None:
        """How much of it may trade in one act, in base units; None is without limit."""

    def holding(self, symbol: str) -> Holding: ...

    def holdings(self) -> Sequence[Holding]:
        """All that are not flat or have orders."""

    def set_leverage(self, symbol: str, leverage: Decimal) -> None: ...

    def order(self, client_order_id: str) -> Order | None:
        """Also one that has ended."""

    def fills(self, symbol: str, since: datetime) -> Sequence[Fill]: ...

    def instrument(self, symbol: str) -> Instrument | None:
        """The one that was made, if one was."""

    def keep_instrument(self, instrument: Instrument) -> Instrument:
        """Keeps the first that is given, and returns it."""

    def save(self, outcome: Outcome, *, at: datetime, fee_currency: str) -> Sequence[Order]:
        """Keeps what an act did; returns its changed orders with the venue's ids."""


class PaperLedger(Protocol):
    """What the paper venue remembers. StoreUnavailable means that a transaction left nothing behind."""

    def read(
        self, *, venue: str, account: str, starting_balance: Decimal
    ) -> AbstractContextManager[PaperAccount]:
        """A consistent view."""

    def write(
        self, *, venue: str, account: str, starting_balance: Decimal, symbol: str
    ) -> AbstractContextManager[PaperAccount]:
        """The account is the caller's alone, and the price of `symbol` stands, until the block ends."""

    def observe(
        self, *, symbol: str, price: Decimal, at: datetime, now: datetime, fees: Fees
    ) -> Sequence[tuple[str, str, Outcome]]:
        """Sets the price unless a later one is known, and moves every account's book to it."""


class PaperExchange:
    """One account of the paper venue. `venue` is `PAPER:` and the name of the exchange that it stands for."""

    def __init__(
        self,
        *,
        venue: str,
        account: str,
        ledger: PaperLedger,
        clock: Callable[[], datetime],
        starting_balance: Decimal,
        protection: Protection = Protection.ATTACHED,
    ) -> None:
        need_positive(starting_balance=starting_balance)
        self._venue = venue
        self._ledger = ledger
        self._clock = clock
        self._lane = {"venue": venue, "account": account}
        self._starting_balance = starting_balance
        self._capabilities = replace(CAPABILITIES, protection=protection)
        self._instruments: dict[str, Instrument] = {}

    @property
    def name(self) -> str:
        return self._venue

    def capabilities(self, symbol: str) -> Capabilities:
        return self._capabilities

    def time(self) -> datetime:
        return self._clock()

    def instrument(self, symbol: str) -> Instrument:
        """From the shipped table; else made from the price when first asked for, and the same ever after."""
        if symbol not in self._instruments:
            self._instruments[symbol] = self._find_instrument(symbol)
        return self._instruments[symbol]

    def max_leverage(self, symbol: str) -> Decimal | None:
        """One on spot, which knows no other; nothing bounds it on a perpetual."""
        return Decimal(1) if self.instrument(symbol).kind is InstrumentKind.SPOT else None

    def price(self, symbol: str) -> Decimal:
        with self._read("price") as account:
            return self._known(account.price(symbol), symbol, "price")

    def candles(self, symbol: str, interval: str, limit: int) -> Sequence[Candle]:
        """None: only last prices are known here."""
        return ()

    def balance(self, symbol: str) -> Balance:
        with self._read("balance") as account:
            return _balance(account)

    def position(self, symbol: str) -> Position:
        with self._read("position") as account:
            return account.holding(symbol).book.position

    def positions(self) -> Sequence[Position]:
        with self._read("positions") as account:
            held = [holding.book.position for holding in account.holdings()]
        return tuple(position for position in held if not position.is_flat)

    def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        """One or less is 1; spot knows no other. InsufficientFunds if what is open needs more margin then."""
        need_positive(leverage=leverage)
        leverage = max(Decimal(1), leverage)
        kind = self._split(symbol, "set_leverage")[2]
        if kind is InstrumentKind.SPOT and leverage > 1:
            self._refuse(InvalidOrder, "set_leverage", f"{symbol} is spot, its leverage is 1")
        with self._read("set_leverage") as account:
            if account.holding(symbol).leverage == leverage:
                return
        with self._write("set_leverage", symbol) as account:
            lowered = account.holding(symbol).leverage > leverage
            account.set_leverage(symbol, leverage)
            free = matching.free_collateral(cash=account.cash(), holdings=account.holdings())
            if lowered and free < 0:
                self._refuse(
                    InsufficientFunds, "set_leverage", f"leverage {leverage} wants {-free} more margin"
                )

    def look(self, symbol: str, *, ours: Sequence[Order]) -> Look:
        with self._read("look") as account:
            return _look(account, symbol)

    def prepare(self, symbol: str, *, ours: Sequence[Order], leverage: Decimal) -> Terms:
        instrument = self.instrument(symbol)
        self.set_leverage(symbol, leverage if instrument.kind is InstrumentKind.PERPETUAL else Decimal(1))
        with self._read("prepare") as account:
            return Terms(
                look=_look(account, symbol),
                instrument=instrument,
                price=self._known(account.price(symbol), symbol, "prepare"),
                balance=_balance(account),
            )

    def place(self, order: Order, *, signed_at: datetime, stop: Order | None = None) -> OrderReport:
        """Order and stop are taken together or not at all."""
        if stop is not None and self._capabilities.protection is not Protection.ATTACHED:
            raise ValueError("a stop can be attached only where the protection is ATTACHED")
        if stop is not None and stop.symbol != order.symbol:
            raise ValueError("the stop is for another instrument")
        instrument = self.instrument(order.symbol)
        with self._write("place", order.symbol) as account:
            # Asked for only now: waiting for the account may have outlived the window.
            now = self._clock()
            if now > signed_at + self._capabilities.receive_window:
                self._refuse(StaleRequest, "place", f"signed at {signed_at}, arrived at {now}")
            taken = self._take(account, instrument, order, now)
            if stop is not None:
                self._take(account, instrument, stop, now)
        return _report(taken)

    def cancel(self, order: Order) -> None:
        with self._write("cancel", order.symbol) as account:
            self._cancel(account, order.symbol, order.client_order_id)

    def cancel_report(self, report: OrderReport) -> None:
        with self._write("cancel", report.symbol) as account:
            for order in account.holding(report.symbol).book.orders:
                if order.venue_order_id == report.venue_order_id:
                    self._cancel(account, report.symbol, order.client_order_id)

    def cancel_all(self, symbol: str) -> None:
        with self._write("cancel_all", symbol) as account:
            for order in account.holding(symbol).book.orders:
                self._cancel(account, symbol, order.client_order_id)

    def order(self, order: Order) -> OrderReport:
        # A write: it waits for a placement that is under way, so that "not found" is proof.
        with self._write("order", order.symbol) as account:
            found = account.order(order.client_order_id)
        if found is None or found.symbol != order.symbol:
            self._refuse(OrderNotFound, "order", f"no order {order.client_order_id} of {order.symbol}")
        return _report(found)

    def fills(self, symbol: str, *, since: datetime) -> Sequence[Fill]:
        with self._read("fills") as account:
            return account.fills(symbol, since)

    def check(self) -> Sequence[Finding]:
        """Nothing can be wrong with it but the database, which is somebody else's to check."""
        return ()

    def _take(self, account: PaperAccount, instrument: Instrument, order: Order, now: datetime) -> Order:
        if account.order(order.client_order_id) is not None:
            self._refuse(DuplicateOrder, "place", f"client order id {order.client_order_id} is taken")
        holdings = account.holdings()
        holding = account.holding(order.symbol)
        book = holding.book
        self._known(book.price, order.symbol, "place")
        for rule in _paper.broken_rules(instrument, book, order):
            self._refuse(InvalidOrder, "place", f"{order.client_order_id}: {rule}")
        needed = matching.cost(holding=holding, order=order, fees=FEES)
        free = matching.free_collateral(cash=account.cash(), holdings=holdings)
        if needed > max(ZERO, free):
            self._refuse(
                InsufficientFunds, "place", f"{order.client_order_id} needs {needed:f}, free is {free:f}"
            )
        arriving = replace(order, venue_order_id=None)
        outcome = matching.submit(
            book=book, order=arriving, fees=FEES, liquidity=account.liquidity(order.symbol)
        )
        if outcome.refusal:
            self._refuse(InvalidOrder, "place", f"{order.client_order_id}: {outcome.refusal}")
        (saved,) = account.save(outcome, at=now, fee_currency=instrument.quote)
        return saved

    def _cancel(self, account: PaperAccount, symbol: str, client_order_id: str) -> None:
        outcome = matching.cancel(book=account.holding(symbol).book, client_order_id=client_order_id)
        if outcome.changed:
            account.save(outcome, at=self._clock(), fee_currency=split(symbol)[1])

    def _find_instrument(self, symbol: str) -> Instrument:
        self._split(symbol, "instrument")
        with self._read("instrument") as account:
            kept = account.instrument(symbol)
            shipped = _paper.shipped().get((self._venue.rpartition(":")[2], symbol))
            if kept or shipped:
                return kept or shipped  # type: ignore[return-value]  # one of them is there
            price = self._known(account.price(symbol), symbol, "instrument")
        with self._write("instrument", symbol) as account:
            return account.keep_instrument(_paper.made(symbol, price))

    def _known(self, price: Decimal | None, symbol: str, endpoint: str) -> Decimal:
        if price is None:
            self._refuse(
                InvalidOrder,
                endpoint,
                f"no price known for {symbol}: send an alert with a price, "
                f"or run python -m desk.paper price {symbol} 42000",
            )
        return price

    def _split(self, symbol: str, endpoint: str) -> tuple[str, str, InstrumentKind]:
        try:
            return split(symbol)
        except ValueError as error:
            raise InvalidOrder(self._venue, endpoint, str(error)) from None

    def _refuse(self, error: type[Rejected], endpoint: str, message: str) -> NoReturn:
        raise error(self._venue, endpoint, message)

    @contextmanager
    def _read(self, endpoint: str) -> Iterator[PaperAccount]:
        try:
            with self._ledger.read(**self._lane, starting_balance=self._starting_balance) as account:
                yield account
        except StoreUnavailable as error:
            raise Unreachable(self._venue, endpoint, str(error)) from error

    @contextmanager
    def _write(self, endpoint: str, symbol: str) -> Iterator[PaperAccount]:
        try:
            with self._ledger.write(
                **self._lane, starting_balance=self._starting_balance, symbol=symbol
            ) as account:
                yield account
        except StoreUnavailable as error:
            # The connection may have broken while committing: that is no proof of anything.
            raise Ambiguous(self._venue, endpoint, str(error)) from error


def observe(
    ledger: PaperLedger, *, symbol: str, price: Decimal, at: datetime, now: datetime | None = None
) -> Sequence[Movement]:
    """Tells the paper venue a price of `at` and lets the orders of every account meet it.

    What trades is dated `now`, the venue's clock, or `at` where that is not given. A price older than the
    last known one changes nothing. Raises ValueError for a symbol or price that
    is none, StoreUnavailable when nothing was kept.
    """
    split(symbol)
    need_positive(price=price)
    moved = ledger.observe(symbol=symbol, price=price, at=at, now=now or at, fees=FEES)
    return tuple(Movement(venue=venue, account=account, outcome=outcome) for venue, account, outcome in moved)


def _look(account: PaperAccount, symbol: str) -> Look:
    book = account.holding(symbol).book
    return Look(position=book.position, resting=tuple(_report(order) for order in book.orders))


def _balance(account: PaperAccount) -> Balance:
    cash, holdings = account.cash(), account.holdings()
    free = matching.free_collateral(cash=cash, holdings=holdings)
    total = matching.equity(cash=cash, holdings=holdings)
    return Balance(currency=CURRENCY, total=total, free=max(ZERO, free))


def _report(order: Order) -> OrderReport:
    return OrderReport(
        symbol=order.symbol,
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id or "",
        side=order.side,
        type=order.type,
        quantity=order.quantity,
        status=order.status,
        price=order.price,
        trigger_price=order.trigger_price,
        reduce_only=order.reduce_only,
        filled_quantity=order.filled_quantity,
        average_price=order.average_price,
        reason=order.reason,
    )
