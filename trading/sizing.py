"""Turns a risk in percent, or a fixed quantity, into the quantity of one entry.

It must never hand back a quantity whose loss at the stop is above the risk (unless the quantity was
fixed by hand), one that the venue must refuse for margin, or one rounded up to reach a minimum.
One contract is one base unit here: an instrument with another contract size is refused.

>>> from trading.model import InstrumentKind
>>> perp = Instrument(symbol="BTC-USDT-PERP", base="BTC", quote="USDT", kind=InstrumentKind.PERPETUAL,
...     tick_size=Decimal("0.1"), lot_size=Decimal("0.001"), min_quantity=Decimal("0.001"))
>>> sized = size(free_collateral=Decimal(10000), risk=Decimal(1), leverage=Decimal(5),
...     price=Decimal(50000), margin_price=Decimal(50000), stop=Decimal(49700), fixed_quantity=None,
...     max_notional=None, instrument=perp)
>>> sized.quantity, sized.worst_loss, sized.cut_by
(Decimal('0.333'), Decimal('99.900'), '')
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal, localcontext

from trading.errors import Denied
from trading.model import Instrument, Sizing, plain
from trading.rounding import MONEY, need_decimals, need_positive, quantity_to_lot

# A market order is margined at a price worse than the reference and pays its fee from the same
# collateral; an entry at the whole cap would be refused for margin.
MARGIN_ROOM = Decimal("0.97")

_BY_RISK, _BY_SIZE = "RISK", "the alert's size"
_MENDS = {
    _BY_RISK: "raise RISK, add collateral or set the stop nearer",
    _BY_SIZE: "raise it",
    "LEVERAGE": "raise LEVERAGE or add collateral",
    "max_notional": "raise it in LIMITS",
    "max_quantity": "the venue takes no entry in this instrument",
}


def size(
    *,
    free_collateral: Decimal,
    risk: Decimal,
    leverage: Decimal,
    price: Decimal,
    margin_price: Decimal,
    stop: Decimal,
    fixed_quantity: Decimal | None,
    max_notional: Decimal | None,
    instrument: Instrument,
) -> Sizing:
    """The quantity, in base units, that loses `risk` percent of the free collateral at the stop.

    `free_collateral` and `max_notional` in quote units, `leverage` as notional / free collateral;
    `margin_price` is what the venue margins the entry at, where the market has left `price` behind;
    `fixed_quantity` takes the place of the risk, under the same caps. Raises Denied when nothing
    tradable is left, ValueError for what is no amount.
    """
    need_decimals(free_collateral=free_collateral)
    need_positive(risk=risk, leverage=leverage, price=price, margin_price=margin_price, stop=stop)
    _refuse_impossible(free_collateral=free_collateral, price=price, stop=stop, instrument=instrument)
    with localcontext(MONEY, rounding=ROUND_DOWN):
        distance = abs(price - stop)
        wanted = _or_fixed(by_risk=free_collateral * risk / 100 / distance, fixed_quantity=fixed_quantity)
        caps: dict[str, Decimal | None] = {
            "LEVERAGE": MARGIN_ROOM * free_collateral * leverage / margin_price,
            "max_notional": _most(max_notional=max_notional, price=price),
            "max_quantity": instrument.max_quantity,
        }
        quantity, cut_by = _cut(wanted=wanted, caps=caps)
        quantity = quantity_to_lot(quantity=quantity, lot_size=instrument.lot_size)
        origin = cut_by or (_BY_RISK if fixed_quantity is None else _BY_SIZE)
        _refuse_small(quantity=quantity, price=price, instrument=instrument, origin=origin)
        return Sizing(
            free_collateral=free_collateral,
            risk=risk,
            quantity=quantity,
            worst_loss=quantity * distance,
            notional=quantity * price,
            cut_by=cut_by,
            uncut=quantity_to_lot(quantity=wanted, lot_size=instrument.lot_size) if cut_by else None,
        )


def _refuse_impossible(
    *, free_collateral: Decimal, price: Decimal, stop: Decimal, instrument: Instrument
) -> None:
    name, contract = instrument.symbol, instrument.contract_size
    if contract != 1:
        raise Denied(f"{name}: a contract of {plain(contract)} {instrument.base} is not supported")
    if price == stop:
        raise Denied(f"{name}: the stop is at the price {plain(price)}, set it where the trade is wrong")
    if free_collateral <= 0:
        raise Denied(
            f"{name}: {plain(free_collateral)} {instrument.quote} are free,"
            " add collateral or close another position"
        )


def _or_fixed(*, by_risk: Decimal, fixed_quantity: Decimal | None) -> Decimal:
    if fixed_quantity is None:
        return by_risk
    need_positive(fixed_quantity=fixed_quantity)
    return fixed_quantity


def _most(*, max_notional: Decimal | None, price: Decimal) -> Decimal | None:
    if max_notional is None:
        return None
    need_positive(max_notional=max_notional)
    return max_notional / price


def _cut(*, wanted: Decimal, caps: Mapping[str, Decimal | None]) -> tuple[Decimal, str]:
    """The wanted quantity under every cap, and the name of the cap that decided."""
    quantity, cut_by = wanted, ""
    for name, cap in caps.items():
        if cap is not None and cap < quantity:
            quantity, cut_by = cap, name
    return quantity, cut_by


def _refuse_small(*, quantity: Decimal, price: Decimal, instrument: Instrument, origin: str) -> None:
    least = max(instrument.min_quantity, instrument.lot_size)
    if quantity < least:
        problem = f"{plain(quantity)} {instrument.base}, under the minimum of {plain(least)}"
    elif quantity * price < instrument.min_notional:
        value = f"{plain(quantity * price)} {instrument.quote}"
        problem = f"an order of {value}, under the minimum of {plain(instrument.min_notional)}"
    else:
        return
    raise Denied(f"{instrument.symbol}: {origin} gives {problem}: {_MENDS[origin]}")
