"""The fapi dialect: how its requests are spelt and signed, what its answers prove, how its rows read.

Half of the one venue that speaks it, as data and pure functions. It must never send anything, take one
status for another, or read an amount out of what is none: such a row raises ValueError or its like.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from exchanges import Credentials, Finding
from exchanges._answers import EPOCH, above_zero, understood
from exchanges._catalogue import Listing
from exchanges._http import Host, Reply, Request, Sealed, retry_after
from exchanges._limits import Budget, Limiter
from trading import errors
from trading.errors import Ambiguous, BadCredentials, InvalidOrder, Throttled, VenueError
from trading.model import (
    ZERO,
    Balance,
    Candle,
    Fill,
    Instrument,
    InstrumentKind,
    Order,
    OrderReport,
    OrderStatus,
    OrderType,
    Position,
    Side,
    plain,
)
from trading.rounding import ceil_to

TIME, INSTRUMENTS, BARS = "/fapi/v1/time", "/fapi/v1/exchangeInfo", "/fapi/v1/klines"
TICKER = "/fapi/v2/ticker/price"
CONFIG, ACCOUNT, POSITIONS = "/fapi/v1/accountConfig", "/fapi/v3/account", "/fapi/v3/positionRisk"
LEVERAGE, TRADES = "/fapi/v1/leverage", "/fapi/v1/userTrades"
BRACKETS = "/fapi/v1/leverageBracket"
#: Of the spot host of the live network alone: what a key may do (Wallet API, "Get API Key Permission").
SPOT_TIME, RIGHTS = "/api/v3/time", "/sapi/v1/account/apiRestrictions"
#: Regular orders and conditional ones live in two namespaces with ids of their own.
ORDER, OPEN_ORDERS, ALL_ORDERS = "/fapi/v1/order", "/fapi/v1/openOrders", "/fapi/v1/allOpenOrders"
ALGO, OPEN_ALGOS, ALL_ALGOS = "/fapi/v1/algoOrder", "/fapi/v1/openAlgoOrders", "/fapi/v1/algoOpenOrders"
#: What each calls our id where an order is asked for or cancelled, and what its own.
IDS = {ORDER: ("origClientOrderId", "orderId"), ALGO: ("clientAlgoId", "algoId")}

#: Per address (exchangeInfo, rateLimits).
ADDRESS = {"weight": Budget(2400, timedelta(minutes=1))}
#: Per account. Placing an order costs these and no weight.
_PER_ACCOUNT: Mapping[str, Budget] = {
    "X-MBX-ORDER-COUNT-10S": Budget(300, timedelta(seconds=10)),
    "X-MBX-ORDER-COUNT-1M": Budget(1200, timedelta(minutes=1)),
}
_WEIGHT_USED = "X-MBX-USED-WEIGHT-1M"

ONE_WAY = "switch the account to one-way mode: Futures, Preferences, Position Mode"
KEY = "check API_KEY and API_SECRET, the NETWORK they belong to, their IP list, and that futures are enabled"
SUPPORT = "the account is restricted: ask the venue's support"
_COUNTRY = "it serves no server in this country: run this one elsewhere"

#: Page "Error Code": what a code proves.
_KINDS: Mapping[type[errors.Rejected], tuple[int, ...]] = {
    errors.StaleRequest: (-1021, -5028),
    errors.BadCredentials: (-1022, -2014, -2015, -4087, -4088),
    errors.OrderNotFound: (-2011, -2013),
    errors.DuplicateOrder: (-4116,),
    errors.InsufficientFunds: (-2018, -2019, -2028),
    errors.InvalidOrder: (
        *(-1100, -1101, -1102, -1103, -1104, -1105, -1106, -1111, -1121, -1128, -1130),
        *(-2010, -2020, -2021, -2022, -2024, -2025, -2026, -2027, -4142),
        *(-4003, -4004, -4005, -4013, -4014, -4015, -4016, -4023, -4024, -4028, -4045, -4061, -4062),
        *(-4118, -4120, -4130, -4131, -4136, -4137, -4138, -4139, -4140, -4141, -4161, -4164, -4192),
        *(-4400, -4401, -5021, -5022),
    ),
}
_KIND_OF = {code: kind for kind, codes in _KINDS.items() for code in codes}
_MENDS = {
    **dict.fromkeys((-1022, -2014, -2015), KEY),
    **dict.fromkeys((-4087, -4088, -4400, -4401), SUPPORT),
    **dict.fromkeys((-4061, -4062), ONE_WAY),
    -2018: "move collateral to the futures wallet",
    -2019: "move collateral to the futures wallet, or lower RISK",
    -2021: "the price is through the trigger already",
    -2022: "there is nothing left to reduce",
    -2025: "cancel orders that rest",
    -2027: "lower LEVERAGE, at which the venue allows larger positions",
    -2028: "raise LEVERAGE, or lower RISK",
    **dict.fromkeys((-4016, -4024), "it is beyond the band around the price that the venue allows now"),
    -4028: "lower LEVERAGE of this account to what the instrument allows",
    -4045: "cancel stops that rest",
    -4118: "other reduce-only orders take the whole position: cancel them",
    -4130: "cancel the stop that closes the whole position",
    -4142: "the price is through the trigger already",
    -4161: "close the isolated position, or leave LEVERAGE as it was",
}
#: "General Info" (HTTP 503) and "Error Code": executed or not, nobody says.
_UNKNOWN = (-1000, -1001, -1006, -1007)
#: The same pages: refused for rate, not executed; and how long to wait where no header says so.
_THROTTLED = {-1003: None, -1008: timedelta(seconds=1), -1015: timedelta(seconds=10)}
_BAN = timedelta(minutes=2)

#: Of regular and of conditional orders; what is not here is called as in the house.
_STATUSES = {
    "NEW": OrderStatus.ACCEPTED,
    "EXPIRED_IN_MATCH": OrderStatus.EXPIRED,
    "TRIGGERING": OrderStatus.ACCEPTED,
    "TRIGGERED": OrderStatus.ACCEPTED,
    "FINISHED": OrderStatus.EXPIRED,  # unless the regular order that it became says more
}
_FIRED = ("TRIGGERING", "TRIGGERED", "FINISHED")

INTERVALS = (
    {str(n): f"{n}m" for n in (1, 3, 5, 15, 30)}
    | {spelt: f"{n}h" for n in (1, 2, 4, 6, 8, 12) for spelt in (str(60 * n), f"{n}H")}
    | {"D": "1d", "1D": "1d", "3D": "3d", "W": "1w", "1W": "1w", "M": "1M", "1M": "1M"}
)


class FapiDialect:
    """How one account speaks. `now` is the host's clock, `time` where it is asked for."""

    #: What an account's orders are counted by.
    counted: Mapping[str, Budget] = _PER_ACCOUNT
    #: What to do about a key that is refused.
    key = KEY

    def __init__(
        self,
        venue: str,
        credentials: Credentials,
        window: timedelta,
        now: Callable[[], datetime],
        *,
        time: str = TIME,
    ) -> None:
        self.venue = venue
        self._credentials = credentials
        self._window = ("recvWindow", window // timedelta(milliseconds=1))
        self._now = now
        self._time = time
        # Accounts are told apart by their key, which the limiter never shows.
        self._counters = {header: f"{header} {credentials.key}" for header in self.counted}

    @property
    def secrets(self) -> Sequence[str]:
        return (self._credentials.key, self._credentials.secret)

    @property
    def budgets(self) -> Mapping[str, Budget]:
        """Those of this account alone."""
        return {name: self.counted[header] for header, name in self._counters.items()}

    def ask(self, path: str, weight: int, *params: tuple[str, Any], **how: bool) -> Request:
        """A question. `how`: signed, urgent, bulky."""
        return Request(method="GET", path=path, params=params, costs={"weight": weight}, **how)

    def tell(self, on: str, *params: tuple[str, Any], urgent: bool, orders: int = 0) -> Request:
        """Something that changes the account, good for the receive window alone; it makes so many orders."""
        method, path = on.split(" ")
        costs = dict.fromkeys(self._counters.values(), orders) if orders else {"weight": 1}
        return Request(method=method, path=path, params=(*params, self._window), costs=costs, urgent=urgent)

    def seal(self, request: Request, at: datetime) -> Sealed:
        """All parameters in the query, encoded first and then signed; the body stays empty."""
        if not request.signed:
            query = urlencode(request.params)
            return Sealed(target=request.path + (f"?{query}" if query else ""), headers={})
        query = urlencode((*request.params, ("timestamp", to_ms(at))))
        signature = hmac.new(self._credentials.secret.encode(), query.encode(), hashlib.sha256).hexdigest()
        target = f"{request.path}?{query}&signature={signature}"
        return Sealed(target=target, headers={"X-MBX-APIKEY": self._credentials.key})

    def judge(self, reply: Reply) -> VenueError | None:
        endpoint, status, code = reply.request.endpoint, reply.status, _refusal(reply.body)
        if 200 <= status < 300 and code is None:
            return None
        told = reply.body.get("msg") if isinstance(reply.body, dict) else None
        text, number = str(told or reply.text).rstrip(". ") or f"HTTP {status}", str(code or status)
        if status in (418, 429) or code in _THROTTLED or (status == 403 and code is None):
            return Throttled(self.venue, endpoint, text, after=self._pause(reply, code), code=number)
        if status >= 500 or status == 408 or code in _UNKNOWN:
            return Ambiguous(self.venue, endpoint, text, code=number)
        if code is None and status not in (401, 451):
            return None
        by_status = BadCredentials if status in (401, 451) else errors.Rejected
        kind, mend = self._proves(code or 0, text)
        mend = mend or {401: self.key, 451: _COUNTRY}.get(status, "")
        return (kind or by_status)(self.venue, endpoint, f"{text}: {mend}" if mend else text, code=number)

    def _proves(self, code: int, text: str) -> tuple[type[errors.Rejected] | None, str]:
        """What a code proves, and the mend; nothing where only the status speaks."""
        if code == -1106 and "reduceonly" in text.lower():
            return _KIND_OF[code], ONE_WAY  # how hedge mode refuses a reduce-only order
        return _KIND_OF.get(code), _MENDS.get(code, "")

    def heard(self, reply: Reply, limiter: Limiter) -> None:
        for header, name in (self._counters | {_WEIGHT_USED: "weight"}).items():
            used = reply.headers.get(header, "")
            # On the ticker the count of the weight is not accurate.
            if used.isascii() and used.isdigit() and reply.request.path != TICKER:
                limiter.told(name, int(used))

    def clock_request(self) -> Request:
        return self.ask(self._time, 1, signed=False, urgent=True)

    def read_clock(self, body: Any) -> datetime:
        return understood(self.venue, self.clock_request(), lambda: from_ms(body["serverTime"]))

    def _pause(self, reply: Reply, code: int | None) -> timedelta:
        """How long the venue wants to hear nothing: as it says, else as its documentation says."""
        now = self._now()
        until = re.search(r"banned until (\d{13})\b", reply.text)
        if until:
            return max(timedelta(seconds=1), from_ms(until[1]) - now)
        rest_of_minute = timedelta(seconds=60 - now.second)
        usual = _BAN if reply.status == 418 else _THROTTLED.get(code or 0) or rest_of_minute
        return retry_after(reply, usual)


def wallet(venue: str, credentials: Credentials, host: Host) -> FapiDialect:
    """How the same account speaks to the spot host."""
    return FapiDialect(venue, credentials, timedelta(seconds=5), host.now, time=SPOT_TIME)


def path_of(kind: OrderType) -> str:
    """The namespace of an order."""
    return ALGO if kind is OrderType.STOP else ORDER


def spelt(order: Order, listing: Listing) -> Iterator[tuple[str, str]]:
    """An order's parameters. One that only reduces is rounded up: the venue trims it to the position."""
    is_stop, quantity = order.type is OrderType.STOP, order.quantity
    reduces = order.reduce_only or is_stop
    if reduces:
        quantity = ceil_to(value=quantity, step=listing.instrument.lot_size)
    yield from (("symbol", listing.name), ("side", order.side.value), ("quantity", plain(quantity)))
    if reduces:
        yield ("reduceOnly", "true")
    if is_stop:
        # A quantity, not closePosition: of those a second one is refused while the first is there.
        yield from (("algoType", "CONDITIONAL"), ("type", "STOP_MARKET"), ("workingType", "CONTRACT_PRICE"))
        yield from (("triggerPrice", _needed(order.trigger_price)), ("clientAlgoId", order.client_order_id))
        return
    yield ("type", order.type.value)
    if order.type is OrderType.LIMIT:
        yield from (("timeInForce", order.time_in_force.value), ("price", _needed(order.price)))
    yield from (("newClientOrderId", order.client_order_id), ("newOrderRespType", "RESULT"))


def rows(body: Any) -> list[Any]:
    """A list; nothing else is an empty one."""
    if not isinstance(body, list):
        raise TypeError("not a list")
    return body


def row(body: Any) -> Mapping[str, Any]:
    """An object."""
    if not isinstance(body, dict):
        raise TypeError("not an object")
    return body


def perpetual(row: Any) -> Listing | None:
    """A perpetual in money that is traded and whose name the house can spell; else None."""
    base, quote, money = row["baseAsset"], row["quoteAsset"], row["marginAsset"]
    traded = (row["contractType"], row["status"], money) == ("PERPETUAL", "TRADING", quote)
    if not traded or not re.fullmatch(r"[A-Z0-9]{1,30}-[A-Z0-9]{2,6}", f"{base}-{quote}"):
        return None
    rules = {rule["filterType"]: rule for rule in row["filters"]}
    # What was entered by limit orders may have to be closed at the market: the stricter of both.
    lots = (rules["LOT_SIZE"], rules.get("MARKET_LOT_SIZE", rules["LOT_SIZE"]))
    instrument = Instrument(
        symbol=f"{base}-{quote}-PERP",
        base=base,
        quote=quote,
        kind=InstrumentKind.PERPETUAL,
        tick_size=above_zero(amount(rules["PRICE_FILTER"]["tickSize"])),
        lot_size=above_zero(max(amount(lot["stepSize"]) for lot in lots)),
        min_quantity=max(amount(lot["minQty"]) for lot in lots),
        min_notional=amount(rules.get("MIN_NOTIONAL", {}).get("notional", 0)),
        max_quantity=min(amount(lot["maxQty"]) for lot in lots),
    )
    return Listing(name=row["symbol"], instrument=instrument)


def mode(body: Any) -> Mapping[str, bool]:
    """The account's settings that a trade depends on."""
    names = ("dualSidePosition", "canTrade", "multiAssetsMargin")
    return {name: body[name] in (True, "true") for name in names}


def most_leverage(name: str, body: Any) -> Decimal:
    """That of the lowest bracket of one instrument, which comes by itself or in a list."""
    listed = body if isinstance(body, list) else [body]
    (mine,) = [each for each in listed if each["symbol"] == name]
    return max(amount(each["initialLeverage"]) for each in mine["brackets"])


def rights(key: Any) -> Iterator[Finding]:
    """What is wrong with the rights of a key."""
    may = {name: key[name] in (True, "true") for name in ("enableWithdrawals", "enableFutures", "ipRestrict")}
    if may["enableWithdrawals"]:
        mend = "take that right away in API Management, or make a key without it"
        yield Finding(fatal=True, text="the key may withdraw", mend=mend)
    if not may["enableFutures"]:
        mend = "enable futures for it in API Management; a key older than the futures account needs a new one"
        yield Finding(fatal=True, text="the key may not trade futures", mend=mend)
    if may["enableFutures"] and not may["enableWithdrawals"]:
        yield Finding(fatal=False, text="the key may trade futures, and may not withdraw")
    if not may["ipRestrict"]:
        text = "the key may be used from every address"
        yield Finding(fatal=False, text=text, mend="bind it to this server's address if it has one")


def untold(why: str) -> Finding:
    """Where nobody says what a key may do."""
    mend = "look at it in API Management: reading and futures enabled, withdrawals not"
    return Finding(fatal=False, text=f"whether the key may withdraw, {why}", mend=mend)


def backing(account: Mapping[str, Any], settings: Mapping[str, bool], quote: str) -> Balance:
    """What may back a position in `quote`: everything in multi-assets mode, else its own kind of money.

    Without that mode the account's totals are those of USDT alone.
    """
    everything = settings["multiAssetsMargin"]
    total, free = ZERO, ZERO
    if everything or quote == "USDT":
        total, free = amount(account["totalMarginBalance"]), amount(account["availableBalance"])
    else:
        for each in account["assets"]:
            if each["asset"] == quote:
                total, free = amount(each["marginBalance"]), amount(each["availableBalance"])
    return Balance(currency="USD" if everything else quote, total=total, free=max(ZERO, free))


def position(venue: str, symbol: str, name: str, body: Any) -> Position:
    """The position of one instrument out of a list. InvalidOrder where one is held in hedge mode."""
    held = [each for each in rows(body) if each["symbol"] == name and amount(each["positionAmt"])]
    if not held:
        return Position(symbol=symbol)
    if any(each["positionSide"] != "BOTH" for each in held):
        # A net of both sides would call a hedged position flat.
        raise InvalidOrder(venue, "positionRisk", f"{symbol} is held in hedge mode: close it and {ONE_WAY}")
    quantity, average = amount(held[0]["positionAmt"]), level(held[0]["entryPrice"])
    return Position(symbol=symbol, quantity=quantity, average_price=average)


def resting(symbol: str, name: str, body: Any) -> tuple[OrderReport, ...]:
    """What rests of one instrument; a conditional order that became a regular one rests no more."""
    listed = [each for each in rows(body) if each["symbol"] == name and not became(each)]
    return tuple(told for told in (report(symbol, each) for each in listed) if told.status.is_open)


def report(symbol: str, told: Any) -> OrderReport:
    """A regular or a conditional order; of the latter all are STOP, for the type tells the namespace."""
    algo = "algoStatus" in told
    status = told["algoStatus" if algo else "status"]
    filled = ZERO if algo else amount(told["executedQty"])
    average, worth = level(told.get("avgPrice")), level(told.get("cumQuote"))
    if average is None and worth and filled:
        average = worth / filled
    regular = OrderType.MARKET if told.get("type") == "MARKET" else OrderType.LIMIT
    return OrderReport(
        symbol=symbol,
        client_order_id=told.get("clientAlgoId" if algo else "clientOrderId") or None,
        venue_order_id=str(told["algoId" if algo else "orderId"]),
        side=Side(told["side"]),
        type=OrderType.STOP if algo else regular,
        quantity=_quantity(told) if algo else amount(told["origQty"]),
        status=_STATUSES.get(status) or OrderStatus(status),
        price=level(told.get("price")),
        trigger_price=level(told.get("triggerPrice")) if algo else None,
        reduce_only=True in (told.get("reduceOnly"), told.get("closePosition")),
        filled_quantity=filled,
        average_price=average if filled else None,
    )


def became(told: Any) -> str:
    """The id of the regular order that a conditional one became; empty before, and for regular ones."""
    number = str(told.get("actualOrderId") or "") if told.get("algoStatus") in _FIRED else ""
    return "" if number == "0" else number


def fill(symbol: str, told: Any) -> Fill:
    """One execution; whose id of ours it was, the venue does not say there."""
    return Fill(
        trade_id=str(told["id"]),
        symbol=symbol,
        client_order_id=None,
        venue_order_id=str(told["orderId"]),
        side=Side(told["side"]),
        quantity=above_zero(amount(told["qty"])),
        price=above_zero(amount(told["price"])),
        fee=amount(told["commission"]),
        fee_currency=told["commissionAsset"],
        at=from_ms(told["time"]),
        maker=told["maker"] is True,
    )


def candle(told: Any) -> Candle:
    """One bar, which comes as a list."""
    prices = zip(("open", "high", "low", "close", "volume"), map(amount, told[1:6]), strict=True)
    return Candle(opened_at=from_ms(told[0]), **dict(prices))


def amount(value: Any) -> Decimal:
    """A finite number, as text or as JSON's."""
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError("not a number")
    return number


def level(value: Any) -> Decimal | None:
    """A price; 0, nothing or an empty text where there is none."""
    return None if value in (None, "") else amount(value) or None


def to_ms(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


def from_ms(value: Any) -> datetime:
    return EPOCH + timedelta(milliseconds=int(value))


def _quantity(algo: Any) -> Decimal:
    """Of a conditional order; one that closes the whole position may name none."""
    closes = algo.get("closePosition") in (True, "true")
    return level(algo.get("quantity")) or ZERO if closes else amount(algo["quantity"])


def _needed(price: Decimal | None) -> str:
    if price is None:
        raise ValueError("an order of this type needs its price")
    return plain(price)


def _refusal(body: Any) -> int | None:
    """The code of an error body. A success has none, or one that is not negative; both may be texts."""
    code = str(body.get("code")) if isinstance(body, dict) else ""
    return int(code) if re.fullmatch(r"-[0-9]{1,6}", code) else None
