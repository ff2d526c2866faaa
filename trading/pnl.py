"""Turns fills into quantity, average price, realised and unrealised P&L.

It must never hide a fee inside a price: P&L is before fees, fees stand beside it, both in quote units.
Whoever hands fills over sees to it that each comes once, and in its order.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, localcontext

from trading.model import ZERO, Direction, Fill, Side
from trading.rounding import MONEY, need_decimals, need_positive

# Beyond this an average price says nothing more; the store keeps as many.
PRICE_STEP = Decimal("1E-18")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """One account and instrument: `quantity` in base units, positive is long; money in quote units.

    `average_price` is None when flat. `realised_pnl` is before `fees`; a rebate lowers `fees`.
    """

    quantity: Decimal
    average_price: Decimal | None
    realised_pnl: Decimal
    fees: Decimal


FLAT = Ledger(quantity=ZERO, average_price=None, realised_pnl=ZERO, fees=ZERO)


def add_fill(
    *, ledger: Ledger, side: Side, quantity: Decimal, price: Decimal, fee: Decimal
) -> tuple[Ledger, Decimal]:
    """The ledger after one execution, and the P&L that it realised (before its fee).

    `quantity` in base units, `price` and `fee` in quote units; a negative fee is a rebate.
    Raises ValueError for what is no amount.

    >>> long, _ = add_fill(ledger=FLAT, side=Side.BUY, quantity=Decimal(2), price=Decimal(100), fee=ZERO)
    >>> short, realised = add_fill(
    ...     ledger=long, side=Side.SELL, quantity=Decimal(3), price=Decimal(110), fee=Decimal(1))
    >>> realised, short.quantity, short.average_price, short.fees
    (Decimal('20'), Decimal('-1'), Decimal('110'), Decimal('1'))
    """
    need_positive(quantity=quantity, price=price)
    need_decimals(fee=fee)
    with localcontext(MONEY):
        before, average = ledger.quantity, ledger.average_price
        after = before + side.sign * quantity
        realised = ZERO
        if average is None or before == 0:
            average = price
        elif (before > 0) == (side is Side.BUY):
            total = abs(before) * average + quantity * price
            average = _rounded(price=total / abs(after), rounding=ROUND_HALF_EVEN)
        else:
            realised = -side.sign * min(abs(before), quantity) * (price - average)
            if quantity > abs(before):
                average = price
        book = Ledger(
            quantity=after,
            average_price=average if after else None,
            realised_pnl=ledger.realised_pnl + realised,
            fees=ledger.fees + fee,
        )
        return book, realised


def apply(*, ledger: Ledger, fill: Fill) -> tuple[Ledger, Decimal]:
    """The ledger after one Fill, and the P&L that it realised (before its fee).

    A fee in the quote currency counts as it is. One in the base currency was taken out of what was
    bought: it counts as that much sold at the fill's price. One in a third currency (BNB) has no
    price here and is not counted. Raises ValueError for what is no amount.

    >>> from datetime import UTC, datetime
    >>> spot = Fill(trade_id="1", symbol="BTC-USDT", client_order_id=None, venue_order_id="9",
    ...     side=Side.BUY, quantity=Decimal(1), price=Decimal(100), fee=Decimal("0.001"),
    ...     fee_currency="BTC", at=datetime(2024, 1, 1, tzinfo=UTC))
    >>> book, _ = apply(ledger=FLAT, fill=spot)
    >>> book.quantity, book.fees
    (Decimal('0.999'), Decimal('0.100'))
    """
    in_base = fill.fee_currency == fill.symbol.split("-")[0] and fill.fee != 0
    fee = fee_in_quote(symbol=fill.symbol, fee=fill.fee, fee_currency=fill.fee_currency, price=fill.price)
    with localcontext(MONEY):
        book, realised = add_fill(
            ledger=ledger, side=fill.side, quantity=fill.quantity, price=fill.price, fee=fee
        )
        if not in_base:
            return book, realised
        side = Side.SELL if fill.fee > 0 else Side.BUY
        book, more = add_fill(ledger=book, side=side, quantity=abs(fill.fee), price=fill.price, fee=ZERO)
        return book, realised + more


def fee_in_quote(*, symbol: str, fee: Decimal, fee_currency: str, price: Decimal) -> Decimal:
    """A fill's fee in quote units: at the fill's price where it was taken in the base currency.

    Zero for one in a third currency (BNB), which has no price here. Raises ValueError for what is no amount.

    >>> fee_in_quote(symbol="BTC-USDT", fee=Decimal("0.001"), fee_currency="BTC", price=Decimal(42000))
    Decimal('42.000')
    """
    base, quote = symbol.split("-")[:2]
    need_decimals(fee=fee, price=price)
    with localcontext(MONEY):
        if fee_currency == base:
            return fee * price
        return fee if fee_currency == quote else ZERO


def unrealised(*, quantity: Decimal, average_price: Decimal | None, price: Decimal) -> Decimal:
    """What closing at `price` would realise, before fees, in quote units; zero when flat.

    `quantity` in base units, negative for a short. Raises ValueError for an open quantity without
    an average price.

    >>> unrealised(quantity=Decimal(-2), average_price=Decimal(100), price=Decimal(90))
    Decimal('20')
    """
    need_decimals(quantity=quantity)
    need_positive(price=price)
    if quantity == 0:
        return ZERO
    if average_price is None:
        raise ValueError("an open quantity needs its average price")
    need_positive(average_price=average_price)
    with localcontext(MONEY):
        return quantity * (price - average_price)


def breakeven_price(*, direction: Direction, average_price: Decimal, fee_rate: Decimal) -> Decimal:
    """The price at which closing earns back the fees of both ways, to 18 decimals, never short of it.

    `fee_rate` is a share of the notional (0.0005 is 0.05 %), taken at entry and at exit. For an order
    round it with `rounding.breakeven_to_tick`. Raises ValueError when flat or for a rate outside [0, 1).

    >>> breakeven_price(direction=Direction.LONG, average_price=Decimal(999), fee_rate=Decimal("0.001"))
    Decimal('1001')
    """
    need_positive(average_price=average_price)
    need_decimals(fee_rate=fee_rate)
    if not 0 <= fee_rate < 1:
        raise ValueError(f"fee_rate must be a share from 0 to below 1, not {fee_rate}")
    if direction is Direction.FLAT:
        raise ValueError("a flat position has no breakeven")
    with localcontext(MONEY):
        if direction is Direction.LONG:
            return _rounded(price=average_price * (1 + fee_rate) / (1 - fee_rate), rounding=ROUND_CEILING)
        return _rounded(price=average_price * (1 - fee_rate) / (1 + fee_rate), rounding=ROUND_FLOOR)


def _rounded(*, price: Decimal, rounding: str) -> Decimal:
    """To PRICE_STEP; what is coarser already keeps its digits."""
    exponent = price.as_tuple().exponent
    if isinstance(exponent, int) and exponent >= -18:
        return price
    return price.quantize(PRICE_STEP, rounding=rounding)
