"""What the emulated exchange refuses, and whether an account's own numbers agree. It changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING

from tests.emulator.nouns import Kind, Record, Refusal, Unique
from trading.matching import Book
from trading.model import ZERO, Instrument, OrderType, Side
from trading.rounding import MONEY

if TYPE_CHECKING:
    from tests.emulator.account import Account


def new_order(account: Account, record: Record, unique: Unique) -> None:
    """Raises Refusal for whatever is wrong with the order itself; position and margin are judged later."""
    listing = account.engine.listing(record.symbol)
    last = account.engine.price(record.symbol)
    if account.hedge:
        raise Refusal(Kind.HEDGE_MODE)
    _parameters(record)
    if record.client_id is not None and _taken(account, record, unique):
        raise Refusal(Kind.DUPLICATE, f"client id {record.client_id} is used")
    for level in (record.price, record.trigger, record.attached_stop):
        if level is not None:
            price(listing.instrument, level)
    if not record.whole_position:
        _quantity(listing.instrument, record, last)
    if record.conditional:
        _conditional(account, record, last)
    if record.attached_stop is not None:
        _brought(record, last)


def attached_stop(account: Account, record: Record) -> None:
    """Raises Refusal for a stop that a new order could not bring either."""
    if record.filled:
        raise Refusal(Kind.PARAMETER, "an order that filled has brought its stop")
    if record.attached_stop is None:
        return
    if record.conditional or record.reduce_only:
        raise Refusal(Kind.PARAMETER, "only an order that opens can bring a stop")
    price(account.engine.listing(record.symbol).instrument, record.attached_stop)
    _brought(record, account.engine.price(record.symbol))


def amended(account: Account, record: Record) -> None:
    """Raises Refusal for a price or quantity that a new order could not have either."""
    assert record.price is not None
    instrument = account.engine.listing(record.symbol).instrument
    price(instrument, record.price)
    _quantity(instrument, record, account.engine.price(record.symbol))


def price(instrument: Instrument, level: Decimal) -> None:
    with localcontext(MONEY):
        if level <= 0 or level % instrument.tick_size:
            raise Refusal(Kind.TICK, f"{level} is not a price in steps of {instrument.tick_size}")


def stop_side(side: Side, stop: Decimal, base: Decimal) -> None:
    """A stop that sells belongs below the price, one that buys above it."""
    if stop >= base if side is Side.SELL else stop <= base:
        raise Refusal(Kind.STOP_SIDE, f"stop {stop} is on the wrong side of {base}")


def account(account: Account, *, books: Mapping[str, Book], deposit: Decimal) -> None:
    """Raises AssertionError unless book, cash, records and fills agree."""
    with localcontext(MONEY):
        held: dict[str, Decimal] = {}
        filled: dict[int, Decimal] = {}
        cash = deposit
        for fill in account.fills:
            held[fill.symbol] = held.get(fill.symbol, ZERO) + fill.side.sign * fill.quantity
            filled[fill.order_id] = filled.get(fill.order_id, ZERO) + fill.quantity
            cash += fill.realised - fill.fee
        assert cash == account.cash, f"cash is {account.cash}, deposits and fills make {cash}"
        for record in account.records.values():
            assert record.filled == filled.get(record.id, ZERO) <= record.quantity, f"fills of {record}"
        for symbol, book in books.items():
            assert book.position.quantity == held.get(symbol, ZERO), f"position and fills of {symbol}"
            resting = {int(order.client_order_id) for order in book.orders}
            known = {record.id for record in account.orders(symbol, open=True) if not record.is_waiting}
            assert resting == known, f"book and records of {symbol}: {resting} and {known}"


def _parameters(record: Record) -> None:
    if record.type not in (OrderType.MARKET, OrderType.LIMIT):
        raise Refusal(Kind.PARAMETER, "type is MARKET or LIMIT")
    if (record.type is OrderType.LIMIT) != (record.price is not None):
        raise Refusal(Kind.PARAMETER, "a limit order has a price, a market order has none")
    if record.whole_position and (not record.conditional or record.quantity):
        raise Refusal(Kind.PARAMETER, "what closes the position is conditional and has no quantity")
    if record.attached_stop is not None and (record.conditional or record.reduce_only):
        raise Refusal(Kind.PARAMETER, "only an order that opens can bring a stop")


def _brought(record: Record, last: Decimal) -> None:
    better = min if record.side is Side.BUY else max
    assert record.attached_stop is not None
    stop_side(record.side.opposite, record.attached_stop, better(record.price or last, last))


def _taken(account: Account, record: Record, unique: Unique) -> bool:
    shared = account.engine.rules.shared_ids
    return any(
        other.client_id == record.client_id
        and (shared or other.conditional == record.conditional)
        and (unique is Unique.EVER or other.is_open)
        for other in account.records.values()
    )


def _quantity(instrument: Instrument, record: Record, last: Decimal) -> None:
    quantity = record.quantity
    with localcontext(MONEY):
        if quantity <= 0 or quantity < instrument.min_quantity:
            raise Refusal(Kind.MIN_QUANTITY, f"{quantity} is below {instrument.min_quantity}")
        if instrument.max_quantity is not None and quantity > instrument.max_quantity:
            raise Refusal(Kind.MAX_QUANTITY, f"{quantity} is above {instrument.max_quantity}")
        if quantity % instrument.lot_size:
            raise Refusal(Kind.LOT, f"{quantity} is not in steps of {instrument.lot_size}")
        notional = quantity * (record.price or record.trigger or last)
        if not record.reduce_only and notional < instrument.min_notional:
            raise Refusal(Kind.MIN_NOTIONAL, f"{notional} is below {instrument.min_notional}")


def _conditional(account: Account, record: Record, last: Decimal) -> None:
    trigger = record.trigger
    assert trigger is not None
    if last >= trigger if record.rises else last <= trigger:
        raise Refusal(Kind.TRIGGERS_AT_ONCE, f"the price is {last}, the trigger {trigger}")
    waiting = [other for other in account.orders(record.symbol) if other.is_waiting]
    most = account.engine.rules.max_conditional
    if most is not None and len(waiting) >= most:
        raise Refusal(Kind.TOO_MANY, f"{most} conditional orders are open")
    if record.whole_position:
        if account.position(record.symbol).quantity * record.side.sign >= 0:
            raise Refusal(Kind.NO_POSITION)
        if any(
            (other.whole_position, other.side, other.rises) == (True, record.side, record.rises)
            for other in waiting
        ):
            raise Refusal(Kind.CLOSE_EXISTS)
