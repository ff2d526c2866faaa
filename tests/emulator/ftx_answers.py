"""How the emulated FTX writes what it has: orders, fills, positions, accounts, markets. It only reads.

Amounts are JSON numbers as Python writes a float: 60388.0, and 1e-06 for the tick of a small coin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from tests.emulator.engine import Account, Engine, Fill, Listing, Reason, Record, State
from tests.emulator.ftx_asked import MARGIN, REDUCE_ONLY, milliseconds
from trading.model import ZERO, Candle, OrderType, Side, TimeInForce

MAKER, TAKER = Decimal("0.0002"), Decimal("0.0005")

#: Markets that are listed beside the engine's: what an adapter for perpetuals must leave alone.
FOREIGN: Mapping[str, Mapping[str, Any]] = {
    "BTC/USD": {"type": "spot", "baseCurrency": "BTC", "quoteCurrency": "USD", "underlying": None},
    "BTC-1230": {"type": "future", "baseCurrency": None, "quoteCurrency": None, "underlying": "BTC"},
}


class Page(dict[str, Any]):
    """A whole answer, not just its result: a history also says whether there is more."""


_ERRORS = {Reason.MARGIN: MARGIN, Reason.NOTHING_TO_REDUCE: REDUCE_ONLY}


def number(value: Decimal) -> float:
    return float(value)


def maybe(value: Decimal | None) -> float | None:
    return None if value is None else number(value)


def side(value: Side) -> str:
    return value.value.lower()


# -- orders --------------------------------------------------------------------------------------------


def order(
    listing: Listing, record: Record, *, new: bool = False, queued: bool = False, post_only: bool = False
) -> dict[str, Any]:
    """`new`: as it is answered at once, before it was processed. `queued`: its end does not show yet."""
    is_open = record.is_open or new or queued
    filled = ZERO if new else record.filled
    return {
        "createdAt": record.created_at.isoformat(),
        "id": record.id,
        "market": listing.venue_symbol,
        "future": listing.venue_symbol,
        "price": maybe(record.price),
        "size": number(record.quantity),
        "filledSize": number(filled),
        "remainingSize": number(record.quantity - filled if is_open else ZERO),
        "avgFillPrice": None if new else maybe(record.average),
        "side": side(record.side),
        "type": record.type.value.lower(),
        "status": "new" if new else "open" if is_open else "closed",
        "ioc": record.type is OrderType.MARKET or record.time_in_force is TimeInForce.IOC,
        "postOnly": post_only,
        "reduceOnly": record.reduce_only,
        "liquidation": False,
        "clientId": record.client_id,
    }


def conditional(
    listing: Listing, record: Record, *, shown_id: int, queued: bool = False, made: Sequence[Record] | None
) -> dict[str, Any]:
    """`made`: the orders that it made, for the history; None leaves out what they filled."""
    status = _conditional_status(record, queued=queued)
    cancelled = status == "cancelled"
    answer = {
        "id": shown_id,
        "market": listing.venue_symbol,
        "future": listing.venue_symbol,
        "side": side(record.side),
        "type": "stop" if record.is_stop else "take_profit",
        "orderType": record.type.value.lower(),
        "orderPrice": maybe(record.price),
        "triggerPrice": maybe(record.trigger),
        "size": number(record.quantity),
        "status": status,
        "createdAt": record.created_at.isoformat(),
        "triggeredAt": _iso(record.triggered_at),
        "orderId": record.triggered_order_id,
        "error": error(record),
        "reduceOnly": record.reduce_only,
        "trailValue": None,
        "trailStart": None,
        "cancelledAt": _iso(record.updated_at) if cancelled else None,
        "cancelReason": None,
        "retryUntilFilled": record.retry,
    }
    if made is not None:
        filled = sum((one.filled for one in made), ZERO)
        worth = sum((one.filled * (one.average or ZERO) for one in made), ZERO)
        answer |= {"filledSize": number(filled), "avgFillPrice": maybe(worth / filled if filled else None)}
    return answer


def trigger(record: Record) -> dict[str, Any]:
    """One order that a conditional one made."""
    return {
        "time": record.created_at.isoformat(),
        "orderId": record.id,
        "error": None,
        "orderSize": number(record.quantity),
        "filledSize": number(record.filled),
    }


def failed_trigger(record: Record) -> dict[str, Any]:
    return {
        "time": _iso(record.triggered_at),
        "orderId": None,
        "error": error(record),
        "orderSize": None,
        "filledSize": None,
    }


def error(record: Record) -> str | None:
    """Why a conditional order that triggered made no order."""
    return _ERRORS.get(record.reason) if record.state is State.EXPIRED else None


def fill(listing: Listing, done: Fill) -> dict[str, Any]:
    return {
        "id": done.id,
        "tradeId": done.id - 1_000,
        "orderId": done.order_id,
        "market": listing.venue_symbol,
        "future": listing.venue_symbol,
        "baseCurrency": None,
        "quoteCurrency": None,
        "side": side(done.side),
        "type": "order",
        "liquidity": "maker" if done.maker else "taker",
        "price": number(done.price),
        "size": number(done.quantity),
        "fee": number(done.fee),
        "feeRate": number(MAKER if done.maker else TAKER),
        "feeCurrency": "USD",
        "time": done.at.isoformat(),
    }


# -- account -------------------------------------------------------------------------------------------


def account(held: Account, *, settled: bool) -> dict[str, Any]:
    leverage = held.leverage("")
    equity = held.equity()
    notional = sum((abs(one.quantity) * held.engine.price(one.symbol) for one in held.positions()), ZERO)
    opened = notional + sum((_resting(held, symbol) for symbol in held.traded()), ZERO)
    return {
        "username": "emulator@example.com",
        "collateral": number(equity if settled else held.cash),
        "freeCollateral": number(held.free()),
        "totalAccountValue": number(equity),
        "totalPositionSize": number(notional),
        "initialMarginRequirement": number(1 / leverage),
        "maintenanceMarginRequirement": 0.03,
        "marginFraction": maybe(equity / notional if notional else None),
        "openMarginFraction": maybe(equity / opened if opened else None),
        "liquidating": False,
        "backstopProvider": False,
        "leverage": int(leverage),
        "positionLimit": None,
        "makerFee": number(MAKER),
        "takerFee": number(TAKER),
        "positions": positions(held, average=False, settled=settled),
    }


def balances(held: Account) -> list[dict[str, Any]]:
    cash, free = number(held.cash), number(max(ZERO, min(held.free(), held.cash)))
    return [
        {
            "coin": "USD",
            "free": free,
            "total": cash,
            "usdValue": cash,
            "spotBorrow": 0.0,
            "availableWithoutBorrow": free,
        }
    ]


def positions(held: Account, *, average: bool, settled: bool) -> list[dict[str, Any]]:
    """Of every market that ever had an order, flat ones too. `average`: with the average prices.

    `settled`: the unrealised P&L went into the balance just now, so the entry price is the last price.
    """
    return [_position(held, symbol, average=average, settled=settled) for symbol in held.traded()]


def _position(held: Account, symbol: str, *, average: bool, settled: bool) -> dict[str, Any]:
    position, last = held.position(symbol), held.engine.price(symbol)
    net, unrealised = position.quantity, held.unrealised(symbol)
    entry = None if position.is_flat else last if settled else position.average_price
    longs, shorts = (_resting_size(held, symbol, one) for one in (Side.BUY, Side.SELL))
    buys, sells, realised = _since_opened(held, symbol)
    leverage = held.leverage(symbol)
    room = last / leverage
    answer = {
        "future": held.engine.listing(symbol).venue_symbol,
        "side": "sell" if net < 0 else "buy",
        "size": number(abs(net)),
        "netSize": number(net),
        "openSize": number(max(abs(net + longs), abs(net - shorts))),
        "entryPrice": maybe(entry),
        "cost": number(net * (entry or ZERO)),
        "unrealizedPnl": 0.0 if settled else number(unrealised),
        "realizedPnl": number(held.realised(symbol) + (unrealised if settled else ZERO)),
        "initialMarginRequirement": number(1 / leverage),
        "maintenanceMarginRequirement": 0.03,
        "collateralUsed": number(abs(net) * last / leverage),
        "estimatedLiquidationPrice": None
        if position.is_flat
        else number(last - room if net > 0 else last + room),
        "longOrderSize": number(longs),
        "shortOrderSize": number(shorts),
        "cumulativeBuySize": number(buys),
        "cumulativeSellSize": number(sells),
    }
    if average:
        paid = position.average_price
        answer |= {
            "recentAverageOpenPrice": maybe(paid),
            "recentBreakEvenPrice": None if paid is None else number(paid - realised / net),
            "recentPnl": None if paid is None else number(realised + unrealised),
        }
    return answer


def _since_opened(held: Account, symbol: str) -> tuple[Decimal, Decimal, Decimal]:
    """Bought, sold and realised since the position was last flat."""
    net, sums, realised = ZERO, {Side.BUY: ZERO, Side.SELL: ZERO}, ZERO
    for done in (done for done in held.fills if done.symbol == symbol):
        opened = done.quantity - done.closed
        if net == 0 or (done.closed and opened):
            sums, realised = {Side.BUY: ZERO, Side.SELL: ZERO}, ZERO
            sums[done.side] = opened
        else:
            sums[done.side] += done.quantity
            realised += done.realised
        net += done.side.sign * done.quantity
    return sums[Side.BUY], sums[Side.SELL], realised


def _resting_size(held: Account, symbol: str, of: Side) -> Decimal:
    resting = [record for record in held.orders(symbol, open=True, conditional=False) if record.side is of]
    return sum((record.remaining for record in resting), ZERO)


def _resting(held: Account, symbol: str) -> Decimal:
    resting = held.orders(symbol, open=True, conditional=False)
    return sum((one.remaining * (one.price or ZERO) for one in resting if not one.reduce_only), ZERO)


# -- markets -------------------------------------------------------------------------------------------


def market(engine: Engine, listing: Listing, min_provide: Decimal) -> dict[str, Any]:
    last, tick = engine.price(listing.symbol), listing.instrument.tick_size
    own = {
        "type": "future",
        "baseCurrency": None,
        "quoteCurrency": None,
        "underlying": listing.instrument.base,
    }
    return _market(listing.venue_symbol, own, last, tick, listing.instrument.lot_size, min_provide)


def foreign_market(name: str) -> dict[str, Any]:
    return _market(name, FOREIGN[name], Decimal(60000), Decimal(1), Decimal("0.0001"), Decimal("0.001"))


def _market(
    name: str, own: Mapping[str, Any], last: Decimal, tick: Decimal, lot: Decimal, min_provide: Decimal
) -> dict[str, Any]:
    return {
        "name": name,
        "type": own["type"],
        "enabled": True,
        "postOnly": False,
        "priceIncrement": number(tick),
        "sizeIncrement": number(lot),
        "minProvideSize": number(min_provide),
        "baseCurrency": own["baseCurrency"],
        "quoteCurrency": own["quoteCurrency"],
        "underlying": own["underlying"],
        "restricted": False,
        "highLeverageFeeExempt": True,
        "largeOrderThreshold": 5000.0,
        "bid": number(last - tick),
        "ask": number(last + tick),
        "last": number(last),
        "price": number(last),
        "change1h": 0.0,
        "change24h": 0.0,
        "changeBod": 0.0,
        "quoteVolume24h": 2892083192.6,
        "volumeUsd24h": 2892083192.6,
    }


def future(engine: Engine, listing: Listing, band: Decimal) -> dict[str, Any]:
    last, tick = engine.price(listing.symbol), listing.instrument.tick_size
    base = listing.instrument.base
    return _future(listing.venue_symbol, base, "perpetual", last, tick, listing.instrument.lot_size, band)


def foreign_future(name: str, band: Decimal) -> dict[str, Any]:
    base = FOREIGN[name]["underlying"]
    return _future(name, base, "future", Decimal(60000), Decimal(1), Decimal("0.0001"), band)


def _future(
    name: str, base: str, type: str, last: Decimal, tick: Decimal, lot: Decimal, band: Decimal
) -> dict[str, Any]:
    """The mark and the index are a little off the last price, as they are."""
    return {
        "name": name,
        "underlying": base,
        "type": type,
        "perpetual": type == "perpetual",
        "expiry": None if type == "perpetual" else "2026-12-30T03:00:00+00:00",
        "expired": False,
        "enabled": True,
        "postOnly": False,
        "priceIncrement": number(tick),
        "sizeIncrement": number(lot),
        "last": number(last),
        "bid": number(last - tick),
        "ask": number(last + tick),
        "mark": number(last + 2 * tick),
        "index": number(last - 3 * tick),
        "imfFactor": 0.002,
        "lowerBound": number(last * (1 - band)),
        "upperBound": number(last * (1 + band)),
        "positionLimitWeight": 1.0,
        "marginPrice": number(last + 2 * tick),
        "openInterest": 1234.5,
    }


def candle(bar: Candle) -> dict[str, Any]:
    return {
        "startTime": bar.opened_at.isoformat(),
        "time": float(milliseconds(bar.opened_at)),
        "open": number(bar.open),
        "high": number(bar.high),
        "low": number(bar.low),
        "close": number(bar.close),
        "volume": number(bar.volume),
    }


def _conditional_status(record: Record, *, queued: bool) -> str:
    if record.is_waiting or queued:
        return "open"
    return "cancelled" if record.triggered_at is None else "triggered"


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
