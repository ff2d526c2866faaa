"""What of an account's coins is ours, where a venue knows balances and no positions.

It must never count a coin that our own fills did not buy: what a person holds there beside is theirs.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, localcontext

from trading.errors import Denied
from trading.model import ZERO, Instrument, plain
from trading.rounding import MONEY, ceil_to, need_decimals, need_positive, quantity_to_lot


def ours(*, by_fills: Decimal, held: Decimal, price: Decimal, instrument: Instrument) -> Decimal:
    """The position, in base units: what our fills made, as far as the account holds it, in whole lots.

    What is worth less than the venue's minimum at `price` (where its stop belongs) can neither be sold nor
    protected: it counts as nothing. Raises ValueError for what is no amount.

    >>> from trading.model import InstrumentKind
    >>> spot = Instrument(symbol="BTC-USDT", base="BTC", quote="USDT", kind=InstrumentKind.SPOT,
    ...     tick_size=Decimal("0.01"), lot_size=Decimal("0.001"), min_quantity=Decimal("0.001"),
    ...     min_notional=Decimal(5))
    >>> ours(by_fills=Decimal("1.9985"), held=Decimal(7), price=Decimal(100), instrument=spot)
    Decimal('1.998')
    >>> ours(by_fills=Decimal("0.04"), held=Decimal(7), price=Decimal(100), instrument=spot)
    Decimal('0')
    """
    need_decimals(by_fills=by_fills, held=held)
    quantity = quantity_to_lot(quantity=max(ZERO, min(by_fills, held)), lot_size=instrument.lot_size)
    return quantity if is_tradable(quantity=quantity, price=price, instrument=instrument) else ZERO


def is_tradable(*, quantity: Decimal, price: Decimal, instrument: Instrument) -> bool:
    """Whether the venue takes an order of so many base units at `price`.

    Raises ValueError for a price that is none.

    >>> from trading.model import InstrumentKind
    >>> spot = Instrument(symbol="BTC-USDT", base="BTC", quote="USDT", kind=InstrumentKind.SPOT,
    ...     tick_size=Decimal("0.01"), lot_size=Decimal("0.001"), min_quantity=Decimal("0.001"))
    >>> is_tradable(quantity=Decimal("0.001"), price=Decimal(1), instrument=spot)
    True
    """
    need_positive(price=price)
    with localcontext(MONEY):
        least = max(instrument.min_quantity, instrument.lot_size)
        return quantity >= least and quantity * price >= instrument.min_notional


def stoppable(*, instrument: Instrument, stop: Decimal) -> Instrument:
    """The same instrument with a minimum quantity that is worth the minimum at `stop`, too.

    A part of a position is sold at its target or at its stop, and the stop is the lower of both. Raises
    ValueError for a stop that is no price.

    >>> from trading.model import InstrumentKind
    >>> spot = Instrument(symbol="BTC-USDT", base="BTC", quote="USDT", kind=InstrumentKind.SPOT,
    ...     tick_size=Decimal("0.01"), lot_size=Decimal("0.001"), min_quantity=Decimal("0.001"),
    ...     min_notional=Decimal(5))
    >>> stoppable(instrument=spot, stop=Decimal(90)).min_quantity
    Decimal('0.056')
    """
    need_positive(stop=stop)
    with localcontext(MONEY):
        least = ceil_to(value=instrument.min_notional / stop, step=instrument.lot_size)
    return replace(instrument, min_quantity=max(instrument.min_quantity, least))


def after_fee(*, quantity: Decimal, fee: Decimal, instrument: Instrument) -> Decimal:
    """What is left of a purchase whose `fee` (a share) is taken in the coin, in whole lots.

    >>> from trading.model import InstrumentKind
    >>> spot = Instrument(symbol="BTC-USDT", base="BTC", quote="USDT", kind=InstrumentKind.SPOT,
    ...     tick_size=Decimal("0.01"), lot_size=Decimal("0.001"), min_quantity=Decimal("0.001"))
    >>> after_fee(quantity=Decimal(2), fee=Decimal("0.0011"), instrument=spot)
    Decimal('1.997')
    """
    with localcontext(MONEY):
        return quantity_to_lot(quantity=quantity * (1 - fee), lot_size=instrument.lot_size)


def need_stoppable(*, quantity: Decimal, fee: Decimal, stop: Decimal, instrument: Instrument) -> None:
    """Refuses an entry of which, once `fee` (a share) is taken in the coin, too little is left for a stop.

    Raises Denied with the mend.

    >>> from trading.model import InstrumentKind
    >>> spot = Instrument(symbol="BTC-USDT", base="BTC", quote="USDT", kind=InstrumentKind.SPOT,
    ...     tick_size=Decimal("0.01"), lot_size=Decimal("0.001"), min_quantity=Decimal("0.001"))
    >>> need_stoppable(quantity=Decimal("0.001"), fee=ZERO, stop=Decimal(90), instrument=spot)
    """
    need_positive(quantity=quantity)
    left = after_fee(quantity=quantity, fee=fee, instrument=instrument)
    if is_tradable(quantity=left, price=stop, instrument=instrument):
        return
    least = stoppable(instrument=instrument, stop=stop).min_quantity
    raise Denied(
        f"{instrument.symbol}: after the fee {plain(left)} {instrument.base} would be left, and a stop at"
        f" {plain(stop)} needs {plain(least)} or more: raise RISK or the alert's size"
    )
