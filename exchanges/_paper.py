"""What the paper venue trades: the shipped table, instruments made from a price, and the rules of both.

Never guesses a real venue's rules: what is not in the table is made from the price, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal, localcontext
from functools import cache
from pathlib import Path

from trading.matching import Book
from trading.model import ZERO, Instrument, Order, Side, plain
from trading.rounding import MONEY
from trading.symbols import split

_TABLE = Path(__file__).with_name("paper_instruments.json")
_DIGITS = 4  # of a made instrument's price, after the first
_MIN_NOTIONAL = Decimal(5)


@cache
def shipped() -> Mapping[tuple[str, str], Instrument]:
    """The shipped instruments by exchange and symbol."""
    file = json.loads(_TABLE.read_text(encoding="utf-8"))
    note = f"from the shipped table of {file['as_of']}"
    table = {}
    for venue, rows in file["venues"].items():
        for row in rows:
            base, quote, kind = split(row["symbol"])
            table[venue, row["symbol"]] = Instrument(
                symbol=row["symbol"],
                base=base,
                quote=quote,
                kind=kind,
                tick_size=Decimal(row["tick_size"]),
                lot_size=Decimal(row["lot_size"]),
                min_quantity=Decimal(row["min_quantity"]),
                min_notional=Decimal(row["min_notional"]),
                note=note,
            )
    return table


def made(symbol: str, price: Decimal) -> Instrument:
    """Rules by the price's size: five digits of price, and a lot worth 0.1 to 1 of the quote currency."""
    base, quote, kind = split(symbol)
    tick, lot = _power(price.adjusted() - _DIGITS), _power(-price.adjusted() - 1)
    return Instrument(
        symbol=symbol,
        base=base,
        quote=quote,
        kind=kind,
        tick_size=tick,
        lot_size=lot,
        min_quantity=lot,
        min_notional=_MIN_NOTIONAL,
        note=f"made from the price {plain(price)}: tick {plain(tick)}, lot {plain(lot)}",
    )


def broken_rules(instrument: Instrument, book: Book, order: Order) -> Iterator[str]:
    """The rules of the instrument that the order breaks, in words."""
    prices = {"price": order.price, "trigger price": order.trigger_price}
    quantity, most = order.quantity, instrument.max_quantity
    with localcontext(MONEY):
        for name, price in prices.items():
            if price is not None and price % instrument.tick_size:
                yield f"{name} {price} is not a multiple of the tick size {instrument.tick_size}"
        if quantity % instrument.lot_size:
            yield f"quantity {quantity} is not a multiple of the lot size {instrument.lot_size}"
        if quantity < instrument.min_quantity:
            yield f"quantity {quantity} is below the minimum of {instrument.min_quantity}"
        if most is not None and quantity > most:
            yield f"quantity {quantity} is above the maximum of {most}"
        notional = quantity * (order.price or order.trigger_price or book.price or ZERO)
        if not order.reduce_only and notional < instrument.min_notional:
            yield f"notional {notional:f} is below the minimum of {instrument.min_notional}"
        if book.long_only and order.side is Side.SELL and not order.reduce_only:
            offered = sum(
                (o.open_quantity for o in book.orders if o.side is Side.SELL and not o.reduce_only), ZERO
            )
            if quantity + offered > book.position.quantity:
                yield f"spot cannot go short: {book.position.quantity} held, {offered} offered already"


def _power(exponent: int) -> Decimal:
    """Ten to the exponent, in plain digits."""
    return Decimal(f"{Decimal((0, (1,), exponent)):f}")
