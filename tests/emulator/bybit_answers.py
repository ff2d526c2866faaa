"""The rows that the emulated Bybit answers with: every amount a text, "" for what is not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext
from typing import Any
from uuid import UUID

from tests.emulator.bybit_asked import milliseconds
from tests.emulator.engine import Account, Fill, Reason, Record, State
from trading.model import ZERO, OrderType, Side, plain
from trading.rounding import MONEY

MAKER, TAKER = Decimal("0.0002"), Decimal("0.00055")
SIDES: Mapping[str, Side] = {"Buy": Side.BUY, "Sell": Side.SELL}
_WORDS = {side: word for word, side in SIDES.items()}
#: How far beyond the last price a market order may go; its row shows that price.
_SLIPPAGE = Decimal("0.05")
_IDS = 0x5A37 << 112
#: Listed, but not traded here: a perpetual of another coin and a dated future.
FOREIGN: tuple[Mapping[str, str], ...] = (
    {
        "symbol": "BTCPERP",
        "contractType": "LinearPerpetual",
        "baseCoin": "BTC",
        "quoteCoin": "USDC",
        "settleCoin": "USDC",
        "deliveryTime": "0",
    },
    {
        "symbol": "BTCUSDT-26MAR27",
        "contractType": "LinearFutures",
        "baseCoin": "BTC",
        "quoteCoin": "USDT",
        "settleCoin": "USDT",
        "deliveryTime": "1806048000000",
    },
)


@dataclass(slots=True, kw_only=True)
class Note:
    """What the venue shows of an order that the engine does not keep."""

    time_in_force: str = "GTC"
    trigger_by: str = ""
    close_on_trigger: bool = False
    stop_by: str = "LastPrice"
    refused: str = ""  # a rejectReason
    last: Decimal = ZERO  # the price when it came


def order_id(record: Record) -> str:
    return str(UUID(int=_IDS | record.id))


def engine_id(text: str) -> int:
    """Zero for what is no order's id."""
    try:
        number = UUID(text).int
    except ValueError:
        return 0
    return number ^ _IDS if text == str(UUID(text)) else 0


def stamp(at: datetime) -> str:
    return str(milliseconds(at))


def scaled(value: Decimal, step: Decimal) -> str:
    """As many decimals as the step has."""
    return format(value.quantize(step, context=MONEY), "f")


def maybe(value: Decimal | None, empty: str = "") -> str:
    return empty if value is None else plain(value)


# -- orders --------------------------------------------------------------------------------------------


def status(record: Record, *, queued: bool = False) -> str:
    if queued or record.is_open:
        if record.conditional and record.triggered_at is None:
            return "Untriggered"
        return "PartiallyFilled" if record.filled else "New"
    if record.state is State.FILLED:
        return "Filled"
    return "Deactivated" if record.conditional and record.triggered_at is None else "Cancelled"


def order(account: Account, record: Record, note: Note, *, queued: bool = False) -> dict[str, Any]:
    """`queued`: its cancellation was taken, but has not been done yet."""
    listing = account.engine.listing(record.symbol)
    lot, tick = listing.instrument.lot_size, listing.instrument.tick_size
    market, ended = record.type is OrderType.MARKET, not queued and not record.is_open
    fee = account.fees(record)
    with localcontext(MONEY):
        value = record.filled * (record.average or ZERO)
        worst = note.last * (1 + record.side.sign * _SLIPPAGE) // tick * tick
        left = ZERO if ended else record.quantity - record.filled
        price = record.price or ZERO if not market or record.conditional else worst
        left_value = left * price
    return {
        "orderId": order_id(record),
        "orderLinkId": record.client_id or "",
        "parentOrderLinkId": (record.parent_client_id or "") if record.attached else "",
        "blockTradeId": "",
        "symbol": listing.venue_symbol,
        "price": plain(price),
        "qty": scaled(record.quantity, lot),
        "side": _WORDS[record.side],
        "isLeverage": "",
        "positionIdx": 0,
        "orderStatus": status(record, queued=queued),
        "createType": "CreateByStopLoss" if record.attached else "CreateByUser",
        "cancelType": _cancel_type(record) if ended else "UNKNOWN",
        "rejectReason": _reject_reason(record, note) if ended else "EC_NoError",
        "avgPrice": maybe(record.average),
        "leavesQty": scaled(left, lot) if left else "0",
        "leavesValue": plain(left_value),
        "cumExecQty": scaled(record.filled, lot) if record.filled else "0",
        "cumExecValue": plain(value),
        "cumExecFee": "",
        "cumFeeDetail": {listing.instrument.quote: plain(fee)} if fee else {},
        "timeInForce": "IOC" if market else note.time_in_force,
        "orderType": "Market" if market else "Limit",
        "stopOrderType": _stop_type(record, ""),
        "orderIv": "",
        "triggerPrice": maybe(record.trigger),
        "triggerDirection": 0 if record.trigger is None else 1 if record.rises else 2,
        "triggerBy": note.trigger_by,
        "lastPriceOnCreated": plain(note.last) if note.last else "",
        "takeProfit": "",
        "stopLoss": maybe(record.attached_stop),
        "tpTriggerBy": "",
        "slTriggerBy": "" if record.attached_stop is None else note.stop_by,
        "tpLimitPrice": "0",
        "slLimitPrice": "0",
        "tpslMode": "Full" if record.attached or record.attached_stop is not None else "",
        "reduceOnly": record.reduce_only,
        "closeOnTrigger": note.close_on_trigger,
        "placeType": "",
        "smpType": "None",
        "smpGroup": 0,
        "smpOrderId": "",
        "createdTime": stamp(record.created_at),
        "updatedTime": stamp(record.updated_at),
    }


def _stop_type(record: Record, none: str) -> str:
    if record.attached:
        return "StopLoss"
    return "Stop" if record.conditional else none


def _cancel_type(record: Record) -> str:
    if record.state is State.FILLED:
        return "UNKNOWN"
    if record.reason == Reason.REQUEST:
        return "CancelByUser"
    if record.attached:
        return "CancelByTpSlTsClear"
    reduces = record.reason in (Reason.NOTHING_TO_REDUCE, Reason.POSITION_GONE)
    return "CancelByReduceOnly" if reduces else "UNKNOWN"


def _reject_reason(record: Record, note: Note) -> str:
    if record.state is State.FILLED:
        return "EC_NoError"
    if note.refused:
        return note.refused
    if record.reason == Reason.REQUEST:
        return "EC_PerCancelRequest"
    return "EC_NoImmediateQtyToFill" if record.reason == Reason.NO_LIQUIDITY else "EC_NoError"


# -- what has traded -----------------------------------------------------------------------------------


def execution(account: Account, fill: Fill) -> dict[str, Any]:
    record, listing = account.records[fill.order_id], account.engine.listing(fill.symbol)
    lot = listing.instrument.lot_size
    with localcontext(MONEY):
        value = fill.quantity * fill.price
    return {
        "symbol": listing.venue_symbol,
        "orderId": order_id(record),
        "orderLinkId": record.client_id or "",
        "side": _WORDS[fill.side],
        "orderPrice": maybe(record.price, "0"),
        "orderQty": scaled(record.quantity, lot),
        "leavesQty": scaled(record.remaining, lot),
        "createType": "CreateByStopLoss" if record.attached else "CreateByUser",
        "orderType": "Market" if record.type is OrderType.MARKET else "Limit",
        "stopOrderType": _stop_type(record, "UNKNOWN"),
        "execId": str(UUID(int=_IDS | fill.id)),
        "execPrice": plain(fill.price),
        "execQty": scaled(fill.quantity, lot),
        "execValue": plain(value),
        "execFee": plain(fill.fee),
        "feeRate": plain(MAKER if fill.maker else TAKER),
        "feeCurrency": listing.instrument.quote,
        "execType": "Trade",
        "execTime": stamp(fill.at),
        "isMaker": fill.maker,
        "tradeIv": "",
        "markIv": "",
        "markPrice": plain(fill.price),
        "indexPrice": "",
        "underlyingPrice": "",
        "blockTradeId": "",
        "closedSize": scaled(fill.closed, lot) if fill.closed else "0",
        "seq": fill.id,
        "extraFees": "",
    }


def closed(account: Account, fills: list[Fill]) -> dict[str, Any]:
    """Of one order, what it closed: net of its own fees and of those that opened it."""
    record, listing = account.records[fills[0].order_id], account.engine.listing(fills[0].symbol)
    lot = listing.instrument.lot_size
    with localcontext(MONEY):
        size = sum((fill.closed for fill in fills), ZERO)
        realised = sum((fill.realised for fill in fills), ZERO)
        went_out = sum((fill.closed * fill.price for fill in fills), ZERO)
        came_in = went_out + fills[0].side.sign * realised
        close_fee = sum((fill.fee * fill.closed / fill.quantity for fill in fills), ZERO)
        open_fee = came_in * TAKER
        entry, left, net = came_in / size, went_out / size, realised - open_fee - close_fee
    return {
        "symbol": listing.venue_symbol,
        "orderId": order_id(record),
        "side": _WORDS[record.side],
        "qty": scaled(record.quantity, lot),
        "orderPrice": maybe(record.price, "0"),
        "orderType": "Market" if record.type is OrderType.MARKET else "Limit",
        "execType": "Trade",
        "closedSize": scaled(size, lot),
        "cumEntryValue": plain(came_in),
        "avgEntryPrice": plain(entry),
        "cumExitValue": plain(went_out),
        "avgExitPrice": plain(left),
        "closedPnl": plain(net),
        "fillCount": str(len(fills)),
        "leverage": plain(account.leverage(record.symbol)),
        "openFee": plain(open_fee),
        "closeFee": plain(close_fee),
        "createdTime": stamp(record.created_at),
        "updatedTime": stamp(fills[-1].at),
    }
