"""The V5 dialect: how its requests are signed, what its answers prove, how its rows read.

Half of the one venue that speaks it, as data and pure functions. It must never send anything, take one
status for another, or read an amount out of what is none: such a row raises ValueError or its like.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from exchanges import Credentials, Finding
from exchanges._answers import EPOCH, milliseconds
from exchanges._catalogue import Listing
from exchanges._http import Reply, Request, Sealed, retry_after
from exchanges._limits import Budget, Limiter
from trading.errors import (
    Ambiguous,
    BadCredentials,
    DuplicateOrder,
    InsufficientFunds,
    InvalidOrder,
    OrderNotFound,
    Rejected,
    StaleRequest,
    Throttled,
    VenueError,
)
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
)

Row = Mapping[str, Any]

CREATE, CANCEL, CANCEL_ALL = "/v5/order/create", "/v5/order/cancel", "/v5/order/cancel-all"
OPEN, HISTORY, FILLS = "/v5/order/realtime", "/v5/order/history", "/v5/execution/list"
POSITION, STOP, LEVERAGE = "/v5/position/list", "/v5/position/trading-stop", "/v5/position/set-leverage"
WALLET, ACCOUNT, KEY = "/v5/account/wallet-balance", "/v5/account/info", "/v5/user/query-api"
TIME, TICKER, BARS = "/v5/market/time", "/v5/market/tickers", "/v5/market/kline"
INSTRUMENTS = "/v5/market/instruments-info"

#: Per address, over all endpoints (page rate-limit).
ADDRESS = {"address": Budget(600, timedelta(seconds=5))}
#: Per account and second (page rate-limit).
_PER_SECOND = {CREATE: 10, CANCEL: 10, CANCEL_ALL: 10, STOP: 10, LEVERAGE: 10} | dict.fromkeys(
    (OPEN, HISTORY, FILLS, POSITION, WALLET), 50
)
#: What an address has to wait that sent more (page rate-limit).
_BAN = timedelta(minutes=10)
#: Longer no account waits for its own budget, whatever the header says.
_LONGEST_RESET = timedelta(minutes=1)

HEDGE = "the account is in hedge mode"
HEDGE_MEND = "switch it to one-way mode (derivatives settings, position mode) while nothing is open"
#: What a retCode proves (page error). One that is not here is a refusal.
_CODES: dict[int, type[VenueError]] = {
    10002: StaleRequest,
    110001: OrderNotFound,
    # Answers to a cancel: there is nothing left to cancel.
    110008: OrderNotFound,
    110010: OrderNotFound,
    # 10014 is a request, 110072 an order that was there already.
    10014: DuplicateOrder,
    110072: DuplicateOrder,
    **dict.fromkeys((10000, 10016, 170001, 170007, 170032, 170146), Ambiguous),
    # 110079: the order is at work right now, come again.
    **dict.fromkeys((429, 10006, 10018, 110079, 170005, 170222), Throttled),
    **dict.fromkeys((10003, 10004, 10005, 10007, 10008, 10009, 10010), BadCredentials),
    **dict.fromkeys((10024, 10027, 10028, 33004, 110123, 110124, 110125), BadCredentials),
    **dict.fromkeys((110004, 110006, 110007, 110012, 110014, 110040), InsufficientFunds),
    **dict.fromkeys((110044, 110045, 110051, 110052, 110053), InsufficientFunds),
    **dict.fromkeys((10001, 10029, 30208, 30209, 30228, 110003, 110009, 110013, 110017), InvalidOrder),
    **dict.fromkeys((110020, 110021, 110023, 110042, 110057, 110058, 110059, 110060), InvalidOrder),
    **dict.fromkeys((110061, 110066, 110074, 110086, 110089, 110090, 110092, 110093), InvalidOrder),
    **dict.fromkeys((110094, 110120, 110121), InvalidOrder),
    # Spot. 170139, 170142, 170143, 170190: answers to a cancel, there is nothing left to cancel.
    **dict.fromkeys((170213, 170139, 170142, 170143, 170190), OrderNotFound),
    170141: DuplicateOrder,
    **dict.fromkeys((170147, 170234), Ambiguous),
    **dict.fromkeys((170191, 170212), Throttled),
    **dict.fromkeys((170033, 170131), InsufficientFunds),
    **dict.fromkeys((170124, 170130, 170132, 170133, 170134, 170135, 170136, 170137, 170140), InvalidOrder),
    **dict.fromkeys((170148, 170151, 170157, 170159, 170192, 170193, 170194, 170201, 170202), InvalidOrder),
    **dict.fromkeys((170203, 170204, 170206, 170210, 170218, 170228, 170229, 170810), InvalidOrder),
}
#: "Not modified" is what was asked for; 110038: with portfolio margin there is no leverage to set.
_DONE = frozenset({0, 110025, 110026, 110038, 110043, 34040})
_MENDS = {
    10003: "the key is not one of this host: check API_KEY_… and NETWORK_…",
    10004: "the secret does not belong to the key: check API_SECRET_…",
    10005: "give the key the right to trade contracts: orders and positions",
    10010: "add this server's address to the key's list",
    10028: "upgrade the account to a unified trading account",
    10029: "add the symbol to the key's list",
    **dict.fromkeys((110003, 170192, 170193, 170194), "it is beyond the band that the venue allows now"),
    33004: "the key has expired: make a new one, bound to an address",
}

_SIDES = {"Buy": Side.BUY, "Sell": Side.SELL}
_TYPES = {"Market": OrderType.MARKET, "Limit": OrderType.LIMIT}
#: Page enum. A status that is not here is believed to rest: nothing is sent in its place.
_STATUS = {
    "PartiallyFilled": OrderStatus.PARTIALLY_FILLED,
    "Filled": OrderStatus.FILLED,
    "Cancelled": OrderStatus.CANCELED,
    "PartiallyFilledCanceled": OrderStatus.CANCELED,
    "Deactivated": OrderStatus.CANCELED,
    "Rejected": OrderStatus.REJECTED,
}
_NO_REASON = ("", "UNKNOWN", "EC_NoError")
#: The executions that move a position; funding and the like do not.
_TRADES = ("Trade", "AdlTrade", "BustTrade")
_MILLISECOND = timedelta(milliseconds=1)


class V5Dialect:
    """Signs one account's requests and reads what the answers prove."""

    def __init__(self, venue: str, credentials: Credentials, window: timedelta) -> None:
        self.venue = venue
        self._key = credentials.key
        self._secret = credentials.secret.encode()
        self._window = str(window // _MILLISECOND)
        self.secrets = (credentials.key, credentials.secret)

    def seal(self, request: Request, at: datetime) -> Sealed:
        """The signature covers time, key, window, and query or body to the byte; not path and method."""
        target, body, said = request.path, None, ""
        if request.method == "GET":
            # Cursors come percent-encoded; nothing else that is sent needs it.
            said = "&".join(f"{name}={value}" for name, value in request.params)
            target = f"{target}?{said}" if said else target
        else:
            said = json.dumps(dict(request.params))
            body = said.encode()
        if not request.signed:
            return Sealed(target=target, headers={}, body=body)
        stamp = str(milliseconds(at))
        payload = f"{stamp}{self._key}{self._window}{said}".encode()
        headers = {
            "Content-Type": "application/json",
            "X-BAPI-API-KEY": self._key,
            "X-BAPI-TIMESTAMP": stamp,
            "X-BAPI-RECV-WINDOW": self._window,
            "X-BAPI-SIGN-TYPE": "2",
            "X-BAPI-SIGN": hmac.new(self._secret, payload, hashlib.sha256).hexdigest(),
        }
        return Sealed(target=target, headers=headers, body=body)

    def judge(self, reply: Reply) -> VenueError | None:
        """Business errors come with status 200 and a retCode; 403 stands for the whole address."""
        endpoint, status = reply.request.endpoint, reply.status
        if status == 403:
            text = "this address is refused, for too many requests or for its country (USA, China)"
            return Throttled(self.venue, endpoint, text, after=retry_after(reply, _BAN), code="403")
        if status >= 500 or status in (408, 429):
            return None
        code = reply.body.get("retCode") if isinstance(reply.body, dict) else None
        if status == 401 and not isinstance(code, int):
            return BadCredentials(self.venue, endpoint, "the key is refused: check API_KEY_…", code="401")
        if not isinstance(code, int):
            return Ambiguous(self.venue, endpoint, "an answer that says nothing") if status < 300 else None
        return None if code in _DONE else self._refusal(endpoint, code, reply)

    def heard(self, reply: Reply, limiter: Limiter) -> None:
        """The venue's own count of what is left to this account in this second."""
        left = reply.headers.get("X-Bapi-Limit-Status", "")
        most = _PER_SECOND.get(reply.request.path)
        if most is not None and left.isascii() and left.isdigit():
            limiter.told(self._budget(reply.request.path), most - int(left))

    def clock_request(self) -> Request:
        return Request(method="GET", path=TIME, signed=False, costs=self.costs(TIME))

    def read_clock(self, body: Any) -> datetime:
        return EPOCH + timedelta(microseconds=int(body["result"]["timeNano"]) // 1000)

    def _refusal(self, endpoint: str, code: int, reply: Reply) -> VenueError:
        kind, text = _CODES.get(code, Rejected), " ".join(str(reply.body.get("retMsg", "")).split())[:120]
        mend = _MENDS.get(code, "")
        if "position idx not match" in text:
            text, mend = HEDGE, HEDGE_MEND
        text = f"{text}: {mend}" if mend else text or "no reason given"
        if kind is Throttled:
            return Throttled(self.venue, endpoint, text, after=_until_reset(reply), code=str(code))
        return kind(self.venue, endpoint, text, code=str(code))

    def budgets(self) -> Mapping[str, Budget]:
        """This account's own."""
        return {self._budget(path): Budget(n, timedelta(seconds=1)) for path, n in _PER_SECOND.items()}

    def costs(self, path: str) -> Mapping[str, int]:
        """What one request to `path` takes."""
        return {"address": 1} | ({self._budget(path): 1} if path in _PER_SECOND else {})

    def _budget(self, path: str) -> str:
        return f"{self._key} {path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A position with what belongs to it; zero where there is no stop, or no leverage."""

    position: Position
    stop: Decimal = ZERO
    leverage: Decimal = ZERO
    is_hedged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An order as the venue lists it. `is_stop` is the position's own stop, `stop` one that it carries."""

    report: OrderReport
    is_stop: bool = False
    stop: Decimal = ZERO
    changed_at: datetime = EPOCH

    def is_(self, order: Order) -> bool:
        """Whether it is one of our stops, which are known by side and trigger alone."""
        mine = order.type is OrderType.STOP and order.side is self.report.side
        return self.is_stop and mine and order.trigger_price == self.report.trigger_price


def number(value: Any) -> Decimal:
    """An amount as a text, which may have an exponent; "" and null are zero.

    >>> number("1e-2"), number(""), number("0.00") == 0
    (Decimal('0.01'), Decimal('0'), True)
    """
    if isinstance(value, bool):
        raise TypeError("a truth value is no amount")
    found = ZERO if value in (None, "") else Decimal(str(value))
    if not found.is_finite():
        raise ValueError(f"{found} is no amount")
    return found


def positive(value: Any) -> Decimal:
    """The same, where zero cannot be."""
    if (found := number(value)) <= 0:
        raise ValueError(f"{found} is no price")
    return found


def time_of(stamp: Any) -> datetime:
    """A time out of its milliseconds."""
    return EPOCH + int(stamp) * _MILLISECOND


def listing(row: Row) -> Listing | None:
    """A perpetual of the instruments' list; None for a dated future, or for what has no rules yet."""
    lots, tick = row["lotSizeFilter"], number(row["priceFilter"]["tickSize"])
    lot = number(lots["qtyStep"])
    if row["contractType"] != "LinearPerpetual" or not tick or not lot:
        return None
    base, quote = row["baseCoin"], row["quoteCoin"]
    # One limit for all orders: the smaller, which is that of market orders.
    most = [number(lots.get(name)) for name in ("maxOrderQty", "maxMktOrderQty")]
    instrument = Instrument(
        symbol=f"{base}-{quote}-PERP",
        base=base,
        quote=quote,
        kind=InstrumentKind.PERPETUAL,
        tick_size=tick,
        lot_size=lot,
        min_quantity=number(lots["minOrderQty"]),
        min_notional=number(lots.get("minNotionalValue")),
        max_quantity=min((each for each in most if each), default=None),
    )
    leverage = number(row["leverageFilter"]["maxLeverage"])
    return Listing(name=row["symbol"], instrument=instrument, max_leverage=leverage or None)


def candle(row: Sequence[Any]) -> Candle:
    """A bar of the list; its volume is in base units."""
    opened, high, low, close, volume = (number(value) for value in row[1:6])
    return Candle(opened_at=time_of(row[0]), open=opened, high=high, low=low, close=close, volume=volume)


def money(row: Row, coin: str) -> Balance:
    """What may back a position: of the whole account in dollars, or of one coin with isolated margin."""
    # With isolated margin the account's own fields are empty.
    if row.get("totalAvailableBalance") not in (None, ""):
        free = max(ZERO, number(row["totalAvailableBalance"]))
        return Balance(currency="USD", total=number(row["totalEquity"]), free=free)
    held: Row = next((each for each in row["coin"] if each["coin"] == coin), {})
    taken = ("totalPositionIM", "totalOrderIM", "locked", "bonus")
    free = number(held.get("walletBalance")) - sum((number(held.get(name)) for name in taken), ZERO)
    return Balance(currency=coin, total=number(held.get("equity")), free=max(ZERO, free))


def is_hedged(row: Row) -> bool:
    """Whether a row of positions is one half of a hedge."""
    return row.get("positionIdx") in (1, 2)


def net(row: Row, symbol: str = "") -> Position:
    """A row of positions; the size there has no sign."""
    size = number(row["size"])
    if not size:
        return Position(symbol=symbol)
    quantity = size * _SIDES[row["side"]].sign
    return Position(symbol=symbol, quantity=quantity, average_price=number(row["avgPrice"]) or None)


def holding(symbol: str, name: str, rows: Sequence[Row]) -> Held:
    """The position of one instrument in one-way mode, flat where no row tells of it."""
    row = next((each for each in rows if each["symbol"] == name), None)
    if row is None:
        return Held(position=Position(symbol=symbol))
    return Held(
        position=net(row, symbol),
        stop=number(row.get("stopLoss")),
        leverage=number(row.get("leverage")),
        is_hedged=any(is_hedged(each) for each in rows if each["symbol"] == name),
    )


def seen(symbol: str, row: Row) -> Seen:
    """A row of orders, open or ended."""
    trigger, kind = number(row.get("triggerPrice")) or None, _TYPES[row["orderType"]]
    status = _STATUS.get(row["orderStatus"], OrderStatus.ACCEPTED)
    reasons = [row.get(name) or "" for name in ("rejectReason", "cancelType")] if status.is_final else []
    report = OrderReport(
        symbol=symbol,
        client_order_id=row.get("orderLinkId") or None,
        venue_order_id=row["orderId"],
        side=_SIDES[row["side"]],
        type=OrderType.STOP if trigger else kind,
        quantity=number(row["qty"]),
        status=status,
        # Market orders show the worst price that they may trade at.
        price=(number(row.get("price")) or None) if kind is OrderType.LIMIT else None,
        trigger_price=trigger,
        reduce_only=bool(row.get("reduceOnly")),
        filled_quantity=number(row.get("cumExecQty")),
        average_price=number(row.get("avgPrice")) or None,
        reason=next((reason for reason in reasons if reason not in _NO_REASON), ""),
    )
    changed = max(int(row.get(name) or 0) for name in ("createdTime", "updatedTime"))
    return Seen(
        report=report,
        is_stop=row.get("stopOrderType") == "StopLoss",
        stop=number(row.get("stopLoss")),
        changed_at=time_of(changed),
    )


def stop_of(held: Held) -> Seen:
    """The stop that a position says it has, for where the list of orders does not show it yet."""
    return _own_stop(held.position.symbol, held.position.closing_side, abs(held.position.quantity), held.stop)


def carried(entry: Seen) -> Seen:
    """The stop that a resting entry brings with it."""
    return _own_stop(entry.report.symbol, entry.report.side.opposite, entry.report.quantity, entry.stop)


def fill(symbol: str, quote: str, row: Row) -> Fill | None:
    """A row of executions; None for one that moves no position, such as funding."""
    if row["execType"] not in _TRADES:
        return None
    return Fill(
        trade_id=row["execId"],
        symbol=symbol,
        client_order_id=row.get("orderLinkId") or None,
        venue_order_id=row["orderId"],
        side=_SIDES[row["side"]],
        quantity=positive(row["execQty"]),
        price=positive(row["execPrice"]),
        fee=number(row["execFee"]),
        fee_currency=row.get("feeCurrency") or quote,
        at=time_of(row["execTime"]),
        maker=row.get("isMaker") is True,
    )


def accepted(order: Order, venue_order_id: str = "") -> OrderReport:
    """What the answer to an order proves: that it was taken, not what became of it."""
    return OrderReport(
        symbol=order.symbol,
        client_order_id=order.client_order_id,
        venue_order_id=venue_order_id,
        side=order.side,
        type=order.type,
        quantity=order.quantity,
        status=OrderStatus.ACCEPTED,
        price=order.price,
        trigger_price=order.trigger_price,
        reduce_only=order.reduce_only,
    )


def rights(key: Row | None) -> list[Finding]:
    """What a key may do (page apikey-info)."""
    if key is None:
        mend = "look at the key's page yourself: it must not be able to withdraw"
        return [Finding(fatal=False, text="the venue does not tell the key's rights", mend=mend)]
    found, may = [], key.get("permissions") or {}
    if "Withdraw" in (may.get("Wallet") or ()):
        found.append(
            Finding(fatal=True, text="the key may withdraw", mend="make a key without the right to withdraw")
        )
    contracts = {"Order", "Position"} <= set(may.get("ContractTrade") or ())
    if key.get("readOnly") == 1 or not (contracts or may.get("Derivatives")):
        mend = _MENDS[10005]
        found.append(Finding(fatal=True, text="the key may not trade contracts", mend=mend))
    if "*" in (key.get("ips") or ("*",)):
        days = key.get("deadlineDay")
        ends = f" and ends in {days} days" if isinstance(days, int) and days > 0 else ""
        text = f"the key may be used from every address{ends}"
        found.append(Finding(fatal=False, text=text, mend="bind it to this server's address if it has one"))
    return found


def _own_stop(symbol: str, side: Side, quantity: Decimal, level: Decimal) -> Seen:
    report = OrderReport(
        symbol=symbol,
        client_order_id=None,
        venue_order_id="",
        side=side,
        type=OrderType.STOP,
        quantity=quantity,
        status=OrderStatus.ACCEPTED,
        trigger_price=level,
        reduce_only=True,
    )
    return Seen(report=report, is_stop=True)


def _until_reset(reply: Reply) -> timedelta:
    """How long until the account's budget is whole again, by the venue's own clock."""
    reset, now = reply.headers.get("X-Bapi-Limit-Reset-Timestamp", ""), reply.body.get("time")
    if not (reset.isascii() and reset.isdigit() and isinstance(now, int)):
        return timedelta(seconds=1)
    return min(max((int(reset) - now) * _MILLISECOND, _MILLISECOND), _LONGEST_RESET)
