"""The api/v3 dialect: spot of the venue that speaks fapi, spelt, judged and read as its own pages have it.

Data and pure functions; signing is that of fapi. It must never send anything, take one refusal for another
(most of them share a code, and only the text tells them apart), or read an amount out of what is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from exchanges import Capabilities, Finding, _fapi
from exchanges._answers import above_zero
from exchanges._catalogue import Listing
from exchanges._fapi import amount, from_ms, level
from exchanges._limits import Budget
from trading import errors
from trading.model import (
    ZERO,
    Balance,
    Fill,
    Instrument,
    InstrumentKind,
    Order,
    OrderReport,
    OrderStatus,
    OrderType,
    Protection,
    Side,
    TimeInForce,
    plain,
)

TIME, INSTRUMENTS, BARS = "/api/v3/time", "/api/v3/exchangeInfo", "/api/v3/klines"
TICKER, ACCOUNT, TRADES = "/api/v3/ticker/price", "/api/v3/account", "/api/v3/myTrades"
ORDER, OPEN_ORDERS, PAIR = "/api/v3/order", "/api/v3/openOrders", "/api/v3/orderList/oco"

CAPABILITIES = Capabilities(
    # Coins can be promised once they are there, so a stop follows the fill.
    protection=Protection.AFTER,
    receive_window=timedelta(seconds=2),
    margin=timedelta(seconds=1),
    taker_fee=Decimal("0.001"),
    coins=True,
    # One weighs 26: they take three fifths of the address's 6000.
    looks=138,
)

#: Per address (exchangeInfo, rateLimits).
ADDRESS = {"weight": Budget(6000, timedelta(minutes=1))}

KEY = "check API_KEY and API_SECRET, the NETWORK they belong to, their IP list, and that spot is enabled"
_ROOM = "move money to the spot wallet, or lower RISK"
_SMALLER = "cancel stops of your own that rest for this instrument"

#: Page "Error codes", messages of -1013, -2010 and -2011: what the text proves, and the mend.
_BY_TEXT: tuple[tuple[str, type[errors.Rejected], str], ...] = (
    ("insufficient balance", errors.InsufficientFunds, _ROOM),
    ("duplicate order", errors.DuplicateOrder, ""),
    ("unknown order", errors.OrderNotFound, ""),
    ("trigger immediately", errors.InvalidOrder, "the price is through the trigger already"),
    (
        "relationship of the prices",
        errors.InvalidOrder,
        "the price is beyond the stop or the target",
    ),
    ("percent_price", errors.InvalidOrder, "the price is further away than the venue allows"),
    ("max_num_algo", errors.InvalidOrder, _SMALLER),
    ("max_num_order", errors.InvalidOrder, _SMALLER),
    ("notional", errors.InvalidOrder, "it is worth less than the venue's minimum"),
    ("may not place or cancel", errors.BadCredentials, _fapi.SUPPORT),
    ("disabled on this account", errors.BadCredentials, _fapi.SUPPORT),
)
_KIND_OF: Mapping[int, type[errors.Rejected]] = {
    -1021: errors.StaleRequest,
    **dict.fromkeys((-1022, -2014, -2015), errors.BadCredentials),
    # -2026: an order so old that it is archived, which ended without a fill.
    **dict.fromkeys((-2011, -2013, -2026), errors.OrderNotFound),
    **dict.fromkeys((-1013, -1111, -1121, -2010), errors.InvalidOrder),
    **dict.fromkeys(range(-1199, -1099), errors.InvalidOrder),
}

_STATUSES = {
    "NEW": OrderStatus.ACCEPTED,
    "PENDING_NEW": OrderStatus.ACCEPTED,
    "PENDING_CANCEL": OrderStatus.ACCEPTED,
    "EXPIRED_IN_MATCH": OrderStatus.EXPIRED,
}
#: What a listed instrument must take: the stop by itself, and the pair.
_NEEDED = {"LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS"}


class Api3Dialect(_fapi.FapiDialect):
    """How one account speaks to the spot host."""

    counted: Mapping[str, Budget] = {"X-MBX-ORDER-COUNT-10S": Budget(100, timedelta(seconds=10))}
    key = KEY

    def _proves(self, code: int, text: str) -> tuple[type[errors.Rejected] | None, str]:
        if code in (-1013, -2010, -2011):
            for words, kind, mend in _BY_TEXT:
                if words in text.lower():
                    return kind, mend
        kind_of = _KIND_OF.get(code)
        return kind_of, KEY if kind_of is errors.BadCredentials else ""


def listing(row: Any) -> Listing | None:
    """What is traded there and takes all the orders that a position needs; else None."""
    base, quote = row["baseAsset"], row["quoteAsset"]
    is_traded = row["status"] == "TRADING" and row.get("isSpotTradingAllowed") is True
    can_stop = row.get("ocoAllowed") is True and set(row["orderTypes"]) >= _NEEDED
    is_spelt = re.fullmatch(r"[A-Z0-9]{1,30}-[A-Z0-9]{2,6}", f"{base}-{quote}")
    if not (is_traded and can_stop and is_spelt):
        return None
    return Listing(name=row["symbol"], instrument=_instrument(base, quote, row["filters"]))


def _instrument(base: str, quote: str, filters: Any) -> Instrument:
    rules: dict[str, Any] = {rule["filterType"]: rule for rule in filters}
    # A stop becomes a market order: the stricter of both. A step or a bound of 0 says nothing.
    lots = [rules["LOT_SIZE"], rules.get("MARKET_LOT_SIZE", rules["LOT_SIZE"])]
    most = [amount(lot["maxQty"]) for lot in lots]
    worth = [rules[name]["minNotional"] for name in ("NOTIONAL", "MIN_NOTIONAL") if name in rules]
    stops = [
        int(rules[name][field])
        for name, field in (
            ("MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders"),
            ("MAX_NUM_ORDER_LISTS", "maxNumOrderLists"),
        )
        if name in rules
    ]
    return Instrument(
        symbol=f"{base}-{quote}",
        base=base,
        quote=quote,
        kind=InstrumentKind.SPOT,
        tick_size=above_zero(amount(rules["PRICE_FILTER"]["tickSize"])),
        lot_size=above_zero(max(amount(lot["stepSize"]) for lot in lots)),
        min_quantity=max(amount(lot["minQty"]) for lot in lots),
        min_notional=max(map(amount, worth), default=ZERO),
        max_quantity=min((each for each in most if each > 0), default=None),
        max_stops=min(stops, default=None),
    )


def spelt(order: Order, listing: Listing) -> Iterator[tuple[str, str]]:
    """An order's parameters. Nothing is rounded up: what is sold must be there."""
    yield from (("symbol", listing.name), ("side", order.side.value))
    if order.type is OrderType.STOP:
        yield from (("type", "STOP_LOSS"), ("stopPrice", _needed(order.trigger_price)))
    elif order.type is OrderType.LIMIT:
        yield from (("type", "LIMIT"), ("timeInForce", order.time_in_force.value))
        yield ("price", _needed(order.price))
    else:
        yield ("type", "MARKET")
    yield from (("quantity", plain(order.quantity)), ("newClientOrderId", order.client_order_id))
    yield ("newOrderRespType", "RESULT")


def paired(target: Order, stop: Order, listing: Listing) -> Iterator[tuple[str, str]]:
    """A target and a stop as one list, of which one ends the other, our ids on both."""
    if target.quantity != stop.quantity or {target.side, stop.side} != {Side.SELL}:
        raise ValueError("a pair sells one quantity")
    if target.time_in_force is not TimeInForce.GTC:
        raise ValueError("a pair rests")
    yield from (("symbol", listing.name), ("side", "SELL"), ("quantity", plain(target.quantity)))
    yield from (("aboveType", "LIMIT_MAKER"), ("abovePrice", _needed(target.price)))
    yield ("aboveClientOrderId", target.client_order_id)
    yield from (("belowType", "STOP_LOSS"), ("belowStopPrice", _needed(stop.trigger_price)))
    yield from (("belowClientOrderId", stop.client_order_id), ("newOrderRespType", "RESULT"))


def one_of(symbol: str, client_order_id: str, body: Any) -> OrderReport:
    """One leg out of the answer to a pair."""
    reports = [report(symbol, each) for each in body["orderReports"]]
    (mine,) = [each for each in reports if each.client_order_id == client_order_id]
    return mine


def report(symbol: str, told: Any) -> OrderReport:
    """One order. What waits for its price is a STOP, whatever it becomes."""
    filled, worth = amount(told["executedQty"]), amount(told["cummulativeQuoteQty"])
    kind = str(told["type"])
    waits = kind.startswith(("STOP_LOSS", "TAKE_PROFIT"))
    other = OrderType.MARKET if kind == "MARKET" else OrderType.LIMIT
    return OrderReport(
        symbol=symbol,
        # An answer to a cancellation has a new id in the usual place.
        client_order_id=told.get("origClientOrderId") or told["clientOrderId"] or None,
        venue_order_id=str(told["orderId"]),
        side=Side(told["side"]),
        type=OrderType.STOP if waits else other,
        quantity=amount(told["origQty"]),
        status=_STATUSES.get(told["status"]) or OrderStatus(told["status"]),
        price=level(told.get("price")),
        trigger_price=level(told.get("stopPrice")),
        filled_quantity=filled,
        # A negative worth is one that is not available.
        average_price=worth / filled if filled and worth > 0 else None,
    )


def resting(symbol: str, name: str, body: Any) -> tuple[OrderReport, ...]:
    """What rests of one instrument."""
    listed = [report(symbol, each) for each in _fapi.rows(body) if each["symbol"] == name]
    return tuple(told for told in listed if told.status.is_open)


def fill(symbol: str, told: Any) -> Fill:
    """One execution; whose id of ours it was, the venue does not say there."""
    return Fill(
        trade_id=str(told["id"]),
        symbol=symbol,
        client_order_id=None,
        venue_order_id=str(told["orderId"]),
        side=Side.BUY if told["isBuyer"] is True else Side.SELL,
        quantity=above_zero(amount(told["qty"])),
        price=above_zero(amount(told["price"])),
        fee=amount(told["commission"]),
        fee_currency=told["commissionAsset"],
        at=from_ms(told["time"]),
        maker=told["isMaker"] is True,
    )


def rights(key: Any) -> Iterator[Finding]:
    """What is wrong with the rights of a key."""
    may = {name: key[name] in (True, "true") for name in ("enableWithdrawals", "enableSpotAndMarginTrading")}
    if may["enableWithdrawals"]:
        mend = "take that right away in API Management, or make a key without it"
        yield Finding(fatal=True, text="the key may withdraw", mend=mend)
    if not may["enableSpotAndMarginTrading"]:
        yield Finding(
            fatal=True, text="the key may not trade spot", mend="enable spot for it in API Management"
        )


def balance(account: Mapping[str, Any], currency: str) -> Balance:
    """What the wallet holds of one currency; none where it is not listed."""
    told = Balance(currency=currency, total=ZERO, free=ZERO)
    for each in account["balances"]:
        if each["asset"] == currency:
            free, locked = amount(each["free"]), amount(each["locked"])
            told = replace(told, total=free + locked, free=free)
    return told


def _needed(price: Decimal | None) -> str:
    if price is None:
        raise ValueError("an order of this type needs its price")
    return plain(price)
