"""One account of the emulated exchange: its orders, its positions, its cash.

Orders that can trade rest in `trading.matching` books under their venue ids; conditional ones wait here
until the price's path meets them. It must never let book, cash, records and fills disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING

from tests.emulator import checks
from tests.emulator.ledger import Ledger, as_order
from tests.emulator.nouns import Fill, Kind, Reason, Record, Refusal, State, Unique
from trading import matching
from trading.matching import Outcome
from trading.model import (
    ZERO,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from trading.rounding import MONEY

if TYPE_CHECKING:
    pass

_STATES = {
    OrderStatus.ACCEPTED: State.NEW,
    OrderStatus.PARTIALLY_FILLED: State.PARTIALLY_FILLED,
    OrderStatus.FILLED: State.FILLED,
    OrderStatus.CANCELED: State.CANCELED,
    OrderStatus.EXPIRED: State.EXPIRED,
}


class Account(Ledger):
    """Made by the test, opened by `engine.open(account)`; every act holds the engine's lock.

    The constructor, what it holds and how it is read: see Ledger.
    """

    # -- acts ------------------------------------------------------------------------------------------

    def submit(
        self,
        symbol: str,
        side: Side,
        type: OrderType,
        quantity: Decimal | None,
        *,
        client_id: str | None = None,
        price: Decimal | None = None,
        trigger: Decimal | None = None,
        rises: bool | None = None,
        time_in_force: TimeInForce = TimeInForce.GTC,
        reduce_only: bool = False,
        whole_position: bool = False,
        attached_stop: Decimal | None = None,
        retry: bool = False,
        unique: Unique = Unique.EVER,
    ) -> Record:
        """Takes one order, or raises Refusal and changes nothing.

        `type` is MARKET or LIMIT. With a `trigger` the order is conditional and `type` is what it becomes;
        `rises` says from where the price must reach it: unsaid, it is a stop's side (up for BUY, down for
        SELL). `whole_position` (conditional, `quantity` None) closes all that is there when it triggers.
        `attached_stop` becomes the position's stop with the first fill. `retry`: what a triggered market
        order could not trade is tried again at each later price.
        """
        with self._act(symbol):
            record = Record(
                id=0,
                symbol=symbol,
                side=side,
                type=type,
                quantity=ZERO if quantity is None else quantity,
                created_at=self.engine.now(),
                updated_at=self.engine.now(),
                client_id=client_id,
                conditional=trigger is not None,
                price=price,
                trigger=trigger,
                rises=(side is Side.BUY) if rises is None else rises,
                time_in_force=time_in_force,
                reduce_only=reduce_only or whole_position,
                whole_position=whole_position,
                attached_stop=attached_stop,
                retry=retry,
            )
            checks.new_order(self, record, unique)
            if not record.conditional and (kind := self.unfit(record)):
                raise Refusal(kind)
            if whole_position:
                record.quantity = abs(self.position(symbol).quantity)
            self._keep(record)
            if attached_stop is not None:
                self._bringing.append(record)
            if not record.conditional:
                self._enter(record, _Liquidity(self.engine.liquidity_of(record)))
            return record

    def cancel(self, order_id: int) -> Record:
        """Ends one open order; Refusal NOT_FOUND or ENDED."""
        record = self.records.get(order_id)
        if record is None:
            raise Refusal(Kind.NOT_FOUND)
        with self._act(record.symbol):
            if not record.is_open:
                raise Refusal(Kind.ENDED)
            self._end(record, State.CANCELED, Reason.REQUEST)
            return record

    def amend(self, order_id: int, *, quantity: Decimal, price: Decimal) -> Record:
        """Gives a resting limit order another quantity and price; it loses its place in the queue.

        One that would have nothing left is canceled. Refusal NOT_FOUND, ENDED, NOT_MODIFIED, TICK, LOT,
        MIN_QUANTITY, MAX_QUANTITY, MIN_NOTIONAL, REDUCE_ONLY, MARGIN: then it stays as it was.
        """
        record = self.records.get(order_id)
        if record is None:
            raise Refusal(Kind.NOT_FOUND)
        with self._act(record.symbol):
            if not record.is_open or record.is_waiting or record.type is not OrderType.LIMIT:
                raise Refusal(Kind.ENDED)
            if (record.quantity, record.price) == (quantity, price):
                raise Refusal(Kind.NOT_MODIFIED)
            checks.amended(self, replace(record, quantity=quantity, price=price))
            if quantity <= record.filled:
                self._end(record, State.CANCELED, Reason.REQUEST)
                return record
            before = self._books[record.symbol]
            self._books[record.symbol] = matching.cancel(book=before, client_order_id=str(record.id)).book
            if kind := self.unfit(replace(record, quantity=quantity - record.filled, price=price)):
                self._books[record.symbol] = before
                raise Refusal(kind)
            record.quantity, record.price, record.updated_at = quantity, price, self.engine.now()
            budget = _Liquidity(self.engine.liquidity_of(record))
            if not record.filled:
                self._enter(record, budget)
                return record
            book = self._books[record.symbol]
            left = replace(
                as_order(record),
                status=OrderStatus.PARTIALLY_FILLED,
                filled_quantity=record.filled,
                average_price=record.average,
            )
            self._books[record.symbol] = replace(book, orders=(*book.orders, left))
            assert book.price is not None
            met = matching.move(
                book=self._books[record.symbol],
                price=book.price,
                fees=self.engine.rules.fees,
                liquidity=budget.left,
            )
            self._apply(record.symbol, met, budget)
            return record

    def amend_stop(self, order_id: int, stop: Decimal | None) -> Record:
        """Changes the stop that an open order will bring with its first fill; None takes it away.

        Refusal NOT_FOUND, ENDED, TICK, STOP_SIDE, PARAMETER (it reduces, or has brought its stop already).
        """
        record = self.records.get(order_id)
        if record is None:
            raise Refusal(Kind.NOT_FOUND)
        with self._act(record.symbol):
            if not record.is_open:
                raise Refusal(Kind.ENDED)
            checks.attached_stop(self, replace(record, attached_stop=stop))
            self._bringing = [entry for entry in self._bringing if entry is not record]
            record.attached_stop, record.updated_at = stop, self.engine.now()
            if stop is not None:
                self._bringing.append(record)
            return record

    def cancel_all(
        self, symbol: str | None = None, *, regular: bool = True, conditional: bool = True
    ) -> list[Record]:
        """Ends what rests of `symbol` (None: of all), and returns it. The attached stop is conditional."""
        with self.engine.lock:
            wanted = [
                record
                for record in self.orders(symbol, open=True)
                if (conditional if record.is_waiting else regular)
            ]
            return [self.cancel(record.id) for record in wanted]

    def set_stop(self, symbol: str, price: Decimal | None) -> Record | None:
        """Sets, moves or (None) takes away the stop of the position itself; returns the one in force.

        Refusal NO_POSITION, NOT_MODIFIED, TICK, STOP_SIDE. Moving keeps the order's id.
        """
        with self._act(symbol):
            stop, position = self.stop_of(symbol), self.position(symbol)
            if price is None:
                if stop is None:
                    raise Refusal(Kind.NOT_MODIFIED)
                self._end(stop, State.CANCELED, Reason.REQUEST)
                return None
            if position.is_flat:
                raise Refusal(Kind.NO_POSITION)
            checks.price(self.engine.listing(symbol).instrument, price)
            checks.stop_side(position.closing_side, price, self.engine.price(symbol))
            if stop is None:
                return self._attach(symbol, price, parent=None)
            if stop.trigger == price:
                raise Refusal(Kind.NOT_MODIFIED)
            stop.trigger, stop.updated_at = price, self.engine.now()
            return stop

    def set_leverage(self, symbol: str | None, leverage: Decimal) -> None:
        """Of one symbol, or (None) of the whole account. Refusal LEVERAGE, MARGIN."""
        with self.engine.lock, localcontext(MONEY):
            listings = self.engine.listings() if symbol is None else [self.engine.listing(symbol)]
            if leverage < 1 or any(leverage > listing.max_leverage for listing in listings):
                raise Refusal(Kind.LEVERAGE, f"leverage {leverage} is not valid")
            before = self._leverage, dict(self._leverages)
            if symbol is None:
                self._leverage = leverage
                self._leverages.clear()
            else:
                self._leverages[symbol] = leverage
            if self.free() < 0:
                self._leverage, self._leverages = before
                raise Refusal(Kind.MARGIN)

    def set_hedge(self, hedge: bool) -> None:
        """Refusal NOT_MODIFIED, POSITION_OPEN, ORDERS_OPEN."""
        with self.engine.lock:
            if hedge == self.hedge:
                raise Refusal(Kind.NOT_MODIFIED)
            if self.positions():
                raise Refusal(Kind.POSITION_OPEN)
            if self.orders(open=True):
                raise Refusal(Kind.ORDERS_OPEN)
            self.hedge = hedge

    # -- the machinery, for the engine -----------------------------------------------------------------

    def move(self, symbol: str, target: Decimal) -> None:
        """The price goes to `target` and meets limits and triggers in the order of its path."""
        if symbol not in self._books:
            return
        with self._act(symbol):
            budget = _Liquidity(self.engine.liquidity.get(symbol))
            book = self._books[symbol]
            step = target if book.price is None else book.price
            self._set_price(symbol, step)
            for record in [record for record in self._retrying if record.symbol == symbol]:
                self._fire(record, budget)
            while True:
                moved = matching.move(
                    book=self._books[symbol],
                    price=step,
                    fees=self.engine.rules.fees,
                    liquidity=budget.left,
                )
                self._apply(symbol, moved, budget)
                due = [record for record in self._waiting(symbol) if _reached(record, step)]
                # As in trading.matching: at one price an entry is met before the stop behind it.
                due.sort(key=lambda record: (record.reduce_only, record.id))
                for record in due:
                    if record.is_waiting:
                        self._fire(record, budget)
                if step == target and not due:
                    return
                if not due:
                    step = self._next_level(symbol, step, target)

    def check(self) -> None:
        """Raises AssertionError unless book, cash, records and fills agree."""
        checks.account(self, books=self._books, deposit=self._deposit)

    @contextmanager
    def _act(self, symbol: str) -> Iterator[None]:
        with self.engine.lock, localcontext(MONEY):
            self.engine.listing(symbol)
            yield
            self.check()

    def _keep(self, record: Record) -> None:
        record.id = self.engine.next_id()
        self.records[record.id] = record
        self._book(record.symbol)

    def _enter(self, record: Record, budget: _Liquidity) -> None:
        """The order meets the book: it trades, rests, or what is left of it is cancelled."""
        outcome = matching.submit(
            book=self._book(record.symbol),
            order=as_order(record),
            fees=self.engine.rules.fees,
            liquidity=budget.left,
        )
        if outcome.refusal:
            raise AssertionError(f"what was checked is refused: {outcome.refusal}")
        self._apply(record.symbol, outcome, budget)

    def _fire(self, record: Record, budget: _Liquidity) -> None:
        """A conditional order triggers, or tries again."""
        again = record.triggered_at is not None
        now = self.engine.now()
        record.updated_at = now
        record.triggered_at = record.triggered_at or now
        done = sum((made.filled for made in self.made_by(record)), ZERO)
        position = abs(self.position(record.symbol).quantity)
        made = replace(
            record,
            id=0,
            quantity=position if record.whole_position else record.quantity - done,
            created_at=now,
            client_id=None,
            conditional=False,
            trigger=None,
            whole_position=False,
            attached=False,
            retry=False,
            state=State.NEW,
            triggered_at=None,
            triggered_order_id=None,
            parent_id=record.id,
            parent_client_id=record.client_id,
        )
        kind = self.unfit(made)
        if again and record in self._retrying:
            self._retrying.remove(record)
        if kind is not None:
            if not again:
                record.state = State.EXPIRED
                record.reason = Reason.MARGIN if kind is Kind.MARGIN else Reason.NOTHING_TO_REDUCE
            return
        if not self.engine.rules.separate_triggers:
            record.quantity = made.quantity
            self._enter(record, budget)
            return
        self._keep(made)
        record.state, record.triggered_order_id = State.TRIGGERED, made.id
        self._enter(made, budget)
        if record.retry and not made.is_open and made.reason == Reason.NO_LIQUIDITY:
            self._retrying.append(record)

    def _apply(self, symbol: str, outcome: Outcome, budget: _Liquidity) -> None:
        before = self._books[symbol].position.quantity
        self._books[symbol] = outcome.book
        now = self.engine.now()
        for done in outcome.executions:
            after = before + done.side.sign * done.quantity
            self.fills.append(
                Fill(
                    id=self.engine.next_fill_id(),
                    order_id=int(done.client_order_id),
                    symbol=symbol,
                    side=done.side,
                    quantity=done.quantity,
                    price=done.price,
                    fee=done.fee,
                    realised=done.realised,
                    closed=min(abs(before), done.quantity) if before * done.side.sign < 0 else ZERO,
                    maker=done.maker,
                    at=now,
                )
            )
            before = after
            budget.take(done.quantity)
        self.cash += outcome.cash
        for order in outcome.changed:
            record = self.records[int(order.client_order_id)]
            record.state = _STATES[order.status]
            record.filled, record.average = order.filled_quantity, order.average_price
            record.reason, record.updated_at = order.reason, now
        self._follow(symbol)

    def _follow(self, symbol: str) -> None:
        """What belongs to the position goes with it or takes its size; then entries bring their stops."""
        held = self.position(symbol).quantity
        for record in self.orders(symbol, open=True):
            gone = held * record.side.sign >= 0
            if record.is_waiting and record.whole_position:
                if gone:
                    self._end(record, State.CANCELED, Reason.POSITION_GONE)
                elif record.quantity != abs(held):
                    record.quantity, record.updated_at = abs(held), self.engine.now()
            elif not record.is_waiting and record.reduce_only and gone and self.engine.rules.reduce_only_goes:
                self._end(record, State.CANCELED, Reason.POSITION_GONE)
        for entry in [entry for entry in self._bringing if entry.symbol == symbol]:
            if entry.filled and held * entry.side.sign > 0:
                if (stop := self.stop_of(symbol)) is not None:
                    self._end(stop, State.CANCELED, Reason.REPLACED)
                self._attach(symbol, entry.attached_stop, parent=entry)
                self._bringing.remove(entry)
            elif not entry.is_open:
                self._bringing.remove(entry)

    def _attach(self, symbol: str, price: Decimal | None, *, parent: Record | None) -> Record:
        position, now = self.position(symbol), self.engine.now()
        stop = Record(
            id=0,
            symbol=symbol,
            side=position.closing_side,
            type=OrderType.MARKET,
            quantity=abs(position.quantity),
            created_at=now,
            updated_at=now,
            conditional=True,
            trigger=price,
            rises=position.closing_side is Side.BUY,
            reduce_only=True,
            whole_position=True,
            attached=True,
            parent_id=parent.id if parent else None,
            parent_client_id=parent.client_id if parent else None,
        )
        self._keep(stop)
        return stop

    def _end(self, record: Record, state: State, reason: str) -> None:
        if not record.is_waiting:
            book = self._books[record.symbol]
            self._books[record.symbol] = matching.cancel(book=book, client_order_id=str(record.id)).book
        record.state, record.reason, record.updated_at = state, reason, self.engine.now()

    def _waiting(self, symbol: str) -> list[Record]:
        return [record for record in self.orders(symbol, conditional=True) if record.is_waiting]

    def _next_level(self, symbol: str, start: Decimal, target: Decimal) -> Decimal:
        """The nearest price ahead at which something happens that the book does not know of."""
        levels = [record.trigger for record in self._waiting(symbol)]
        levels += [entry.price for entry in self._bringing if entry.is_open and entry.symbol == symbol]
        low, high = min(start, target), max(start, target)
        ahead = [level for level in levels if level is not None and low <= level <= high and level != start]
        return min(ahead, key=lambda level: abs(level - start), default=target)

    def _set_price(self, symbol: str, price: Decimal) -> None:
        self._books[symbol] = replace(self._books[symbol], price=price)


class _Liquidity:
    """What may still be traded in one act; None is without limit."""

    def __init__(self, left: Decimal | None) -> None:
        self.left = left

    def take(self, quantity: Decimal) -> None:
        if self.left is not None:
            self.left -= quantity


def _reached(record: Record, price: Decimal) -> bool:
    assert record.trigger is not None
    return price >= record.trigger if record.rises else price <= record.trigger
