"""What an entry would be at this market and this balance: sized and planned, nothing written down.

The same for the question that a person is asked and for the entry that leaves. Never asks a venue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from exchanges import Capabilities
from trading import holding, ladder, parts, sizing
from trading.errors import Denied
from trading.model import (
    AccountRules,
    Alert,
    Direction,
    Instrument,
    InstrumentKind,
    Order,
    OrderType,
    Plan,
    Side,
    Sizing,
    plain,
)
from trading.protect import behind

_NO_TARGETS = (
    "no target can rest beside a stop there: this server sells each when it sees the price there,"
    " and none while it does not run"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An entry as it would be sent now; `price` is the alert's, else the market's.

    `orders` are the plan's as they are written down.
    """

    sizing: Sizing
    plan: Plan
    orders: tuple[Order, ...]
    price: Decimal
    notes: tuple[str, ...]


def draft(
    *,
    intent_id: str,
    alert: Alert,
    rules: AccountRules | None,
    instrument: Instrument,
    market: Decimal,
    free: Decimal,
    capabilities: Capabilities,
    max_leverage: Decimal | None = None,
) -> Draft:
    """Sizes an entry from `free` collateral, in quote units, at the price `market`. Denied says why not.

    `max_leverage` is the venue's, beyond which it would have to refuse for margin.
    """
    if rules is None or rules.risk is None or rules.leverage is None or alert.levels.stop is None:
        raise Denied(f"set RISK_{alert.account} and LEVERAGE_{alert.account}")
    price = alert.price if alert.price is not None else market
    _check_levels(alert, price, market)
    at_most = (
        rules.leverage if instrument.kind is InstrumentKind.PERPETUAL else min(rules.leverage, Decimal(1))
    )
    rests_below = alert.order_type is OrderType.LIMIT and alert.side is Side.BUY
    at_most = at_most if max_leverage is None else min(at_most, max_leverage)
    sized = sizing.size(
        free_collateral=free,
        risk=rules.risk,
        leverage=_affordable(at_most, capabilities.taker_fee),
        price=price,
        margin_price=price if rests_below else max(price, market),
        stop=alert.levels.stop,
        fixed_quantity=alert.size,
        max_notional=rules.limits.max_notional,
        instrument=instrument,
    )
    lie = instrument
    if capabilities.coins:
        holding.need_stoppable(
            quantity=sized.quantity,
            fee=capabilities.taker_fee,
            stop=alert.levels.stop,
            instrument=instrument,
        )
        lie = holding.stoppable(instrument=instrument, stop=alert.levels.stop)
    plan = ladder.plan(intent_id=intent_id, alert=alert, instrument=lie, quantity=sized.quantity, price=price)
    orders = (plan.entry, plan.stop, *plan.targets)
    if capabilities.coins:
        fee = capabilities.taker_fee
        bought = holding.after_fee(quantity=sized.quantity, fee=fee, instrument=instrument)
        rests = plan if capabilities.pairs else replace(plan, targets=())
        orders = parts.planned(rests, bought=bought)
        plan = replace(plan, stop=orders[1])
        if plan.targets and not capabilities.pairs:
            plan = replace(plan, notes=(*plan.notes, _NO_TARGETS))
    notes = [note for note in (instrument.note, *plan.notes) if note]
    if sized.cut_by:
        notes.append(f"the quantity was cut by {sized.cut_by}")
    return Draft(sizing=sized, plan=plan, orders=orders, price=price, notes=tuple(notes))


def _affordable(leverage: Decimal, taker_fee: Decimal) -> Decimal:
    """Not more leverage than the room below the cap pays the entry's fee for: the fee grows with it.

    0.03 / (0.97 × 0.0005) is 61.85: beyond that the venue would have to refuse for margin.
    """
    if taker_fee <= 0:
        return leverage
    return min(leverage, (1 - sizing.MARGIN_ROOM) / (sizing.MARGIN_ROOM * taker_fee))


def _check_levels(alert: Alert, price: Decimal, market: Decimal) -> None:
    stop = alert.levels.stop
    direction = Direction.LONG if alert.side and alert.side.sign > 0 else Direction.SHORT
    if stop is None:
        raise Denied("an entry needs a stop")
    if behind(direction=direction, level=stop, price=price):
        raise Denied(f"the stop {plain(stop)} is on the wrong side of the price {plain(price)}")
    if behind(direction=direction, level=stop, price=market):
        raise Denied(f"the price is {plain(market)} now, already through the stop {plain(stop)}")
