"""Bybit V5: the linear perpetuals (USDT, USDC) of one unified account in one-way mode; spot is beside it.

A stop belongs to the position there: it goes out with the entry, is moved in one act, follows the size, and
carries no id of ours, so that it is known by its trigger. Every act is asynchronous: this file must never
take "accepted" for "filled", nor remove a stop whose trigger is another than the one that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from exchanges import Capabilities, Credentials, Exchange, Finding, Look, Terms, _checks, _v5
from exchanges._answers import EPOCH, as_sent, readable, understood
from exchanges._catalogue import Listing
from exchanges._http import CLOCK_FRESH, Hosts, Request, plain_number
from exchanges._v5_account import V5Account
from exchanges._v5_spot import V5Spot
from trading.errors import (
    Denied,
    InvalidOrder,
    OrderNotFound,
    Rejected,
    VenueError,
)
from trading.ladder import client_order_id
from trading.model import (
    ZERO,
    Balance,
    Instrument,
    InstrumentKind,
    Order,
    OrderReport,
    OrderStatus,
    OrderType,
    Position,
    Protection,
    TimeInForce,
    plain,
)
from trading.rounding import ceil_to
from trading.symbols import split

T = TypeVar("T")
Row = Mapping[str, Any]

NAME = "BYBIT"

HOSTS = {
    "live": "https://api.bybit.com",
    "testnet": "https://api-testnet.bybit.com",
    "demo": "https://api-demo.bybit.com",
}

CAPABILITIES = Capabilities(
    protection=Protection.ATTACHED,
    receive_window=timedelta(seconds=2),
    margin=timedelta(seconds=1),
    taker_fee=Decimal("0.00055"),
    # One is three requests: they take three fifths of the address's 7200 a minute.
    looks=1440,
)

#: leverageStep of every linear perpetual.
_LEVERAGE_STEP = Decimal("0.01")
_COINS = ("USDT", "USDC")
#: A request may be signed so far ahead of the venue's clock.
_AHEAD = timedelta(seconds=1)


def connect(
    credentials: Credentials, *, network: str, hosts: Hosts, urls: Mapping[str, str]
) -> BybitExchange:
    """One account; Denied for a network that the venue does not have."""
    return BybitExchange(credentials, hosts, _url(network, urls))


def _url(network: str, urls: Mapping[str, str]) -> str:
    url = urls.get(NAME) or HOSTS.get(network)
    if url is None:
        raise Denied(f"{NAME} has no network {network!r}: set it to one of {', '.join(HOSTS)}")
    return url


def connect_spot(
    credentials: Credentials, *, network: str, hosts: Hosts, urls: Mapping[str, str]
) -> Exchange:
    """The same account's spot; Denied for a network that the venue does not have."""
    return V5Spot(NAME, credentials, hosts, _url(network, urls))


class BybitExchange(V5Account):
    """One account at one host: its linear perpetuals."""

    category = "linear"

    def __init__(self, credentials: Credentials, hosts: Hosts, url: str) -> None:
        super().__init__(NAME, credentials, hosts, url, CAPABILITIES.receive_window)
        self._leverage: dict[str, Decimal] = {}
        #: The newest of our stops by symbol: of two with one trigger the position has but one.
        self._stops: dict[str, Order] = {}

    def capabilities(self, symbol: str) -> Capabilities:
        return CAPABILITIES

    def instrument(self, symbol: str) -> Instrument:
        return self._find(symbol, wait=False).instrument

    def max_leverage(self, symbol: str) -> Decimal | None:
        return self._find(symbol).max_leverage

    def balance(self, symbol: str) -> Balance:
        return self._balance(self._known(symbol).instrument.quote)

    def position(self, symbol: str) -> Position:
        return self._held(symbol, urgent=False).position

    def positions(self) -> Sequence[Position]:
        asks = [self._get(_v5.POSITION, settleCoin=coin, limit=200) for coin in _COINS]
        pages = self._host.together(*(lambda ask=ask: self._all(ask, _named, full=True) for ask in asks))
        named = [(self._catalogue.named(name), held) for page in pages for name, held in page]
        return tuple(
            replace(held, symbol=row.instrument.symbol) for row, held in named if row and not held.is_flat
        )

    def look(self, symbol: str, *, ours: Sequence[Order]) -> Look:
        held, seen = self._look(symbol)
        return Look(position=held.position, resting=self._labelled(seen, ours))

    def prepare(self, symbol: str, *, ours: Sequence[Order], leverage: Decimal) -> Terms:
        if not self._catalogue.is_known:
            self._host.together(self._wire.set_clock, lambda: self._find(symbol))
        listing = self._find(symbol)
        wanted = ceil_to(value=max(Decimal(1), leverage), step=_LEVERAGE_STEP)
        wanted = min(wanted, listing.max_leverage or wanted)
        setting = self._leverage.get(symbol) != wanted
        calls: list[Callable[[], Any]] = [
            lambda: self._held(symbol),
            lambda: self._open(symbol),
            lambda: self._price(listing.name),
            lambda: self._balance(listing.instrument.quote),
        ]
        if setting:
            calls.append(lambda: self._set_leverage(symbol, wanted))
        if not self._host.knows_time(CLOCK_FRESH):
            calls.append(self._wire.set_clock)
        held, seen, price, balance, *_ = self._host.together(*calls)
        if not setting and ZERO < held.leverage < wanted:
            # Somebody has lowered it since.
            self._set_leverage(symbol, wanted)
        resting = self._labelled(_with_own_stop(held, seen), ours)
        look = Look(position=held.position, resting=resting)
        return Terms(
            look=look,
            instrument=listing.instrument,
            price=price,
            balance=balance,
            max_leverage=listing.max_leverage,
        )

    def place(self, order: Order, *, signed_at: datetime, stop: Order | None = None) -> OrderReport:
        if order.type is OrderType.STOP:
            self._wire.write(self._move(order.symbol, _level(order)), signed_at=signed_at)
            self._stops[order.symbol] = order
            return _v5.accepted(order)
        listing = self._known(order.symbol)
        said: dict[str, Any] = {
            "symbol": listing.name,
            "side": order.side.capitalize(),
            "orderType": order.type.capitalize(),
            "qty": plain_number(as_sent(order, listing).quantity),
        }
        if order.price is not None:
            said["price"] = plain_number(order.price)
            said["timeInForce"] = "IOC" if order.time_in_force is TimeInForce.IOC else "GTC"
        said |= {"positionIdx": 0, "orderLinkId": order.client_order_id}
        if order.reduce_only:
            said["reduceOnly"] = True
        if stop is not None:
            said |= {"stopLoss": _level(stop), "tpslMode": "Full"}
            said |= {"slTriggerBy": "LastPrice", "slOrderType": "Market"}
        request = self._post(_v5.CREATE, urgent=order.reduce_only, **said)
        body = self._wire.write(request, signed_at=signed_at)
        if stop is not None:
            self._stops[order.symbol] = stop
        result = body.get("result")
        their_id = result.get("orderId", "") if isinstance(result, dict) else ""
        return _v5.accepted(order, str(their_id))

    def cancel(self, order: Order) -> None:
        if order.type is not OrderType.STOP:
            self._cancel(order.symbol, orderLinkId=order.client_order_id)
        elif not self._is_replaced(order):
            self._cancel_stop(_v5.accepted(order))

    def cancel_report(self, report: OrderReport) -> None:
        if report.venue_order_id:
            self._cancel(report.symbol, orderId=report.venue_order_id)
        else:
            self._cancel_stop(report)

    def cancel_all(self, symbol: str) -> None:
        """The position's own stop is among them."""
        self._wire.write(self._post(_v5.CANCEL_ALL, symbol=self._name(symbol)))

    def order(self, order: Order) -> OrderReport:
        if order.type is OrderType.STOP:
            return self._find_stop(order)
        for path in (_v5.OPEN, _v5.HISTORY):
            for seen in self._by_id(path, order.symbol, orderLinkId=order.client_order_id):
                if seen.report.client_order_id == order.client_order_id:
                    return seen.report
        raise OrderNotFound(NAME, f"GET {_v5.HISTORY}", f"no order {order.client_order_id}")

    def check(self) -> Sequence[Finding]:
        calls: list[Callable[[], Any]] = [
            lambda: self._read(self._get(_v5.ACCOUNT), dict),
            lambda: self._balance(_COINS[0]),
            lambda: self._rows(self._get(_v5.POSITION, symbol="BTCUSDT"), dict),
            self._key_rights,
        ]
        try:
            self._wire.set_clock()
            account, wallet, rows, key = self._host.together(*calls)
        except VenueError as error:
            return [_checks.trouble(error, key="set API_KEY_… and API_SECRET_… anew")]
        found = [_checks.clock(self._host)]
        if any(_v5.is_hedged(row) for row in rows):
            found.append(Finding(fatal=True, text=_v5.HEDGE, mend=_v5.HEDGE_MEND))
        status = account.get("unifiedMarginStatus")
        if status in (1, 2):
            found.append(Finding(fatal=True, text="no unified trading account", mend="upgrade the account"))
        mode = account.get("marginMode", "unknown")
        found.append(
            Finding(fatal=False, text=f"margin mode {mode}, free {plain(wallet.free)} {wallet.currency}")
        )
        return [*found, *_v5.rights(key)]

    # What the verbs are made of.

    def _load(self) -> list[Listing]:
        ask = replace(self._get(_v5.INSTRUMENTS, limit=1000), signed=False, bulky=True)
        rows = self._all(ask, lambda row: row, full=False)
        return understood(NAME, ask, lambda: readable(rows, _v5.listing))

    def _find(self, symbol: str, *, wait: bool = True) -> Listing:
        """By the catalogue, which is read anew when it has grown old."""
        if split(symbol)[2] is InstrumentKind.SPOT:
            ticker = symbol.replace("-", "")
            text = f"{symbol} is spot, not of this product: use the perpetual, {ticker}.P"
            raise InvalidOrder(NAME, f"GET {_v5.INSTRUMENTS}", text)
        return super()._find(symbol, wait=wait)

    def _balance(self, coin: str) -> Balance:
        ask = self._get(_v5.WALLET, accountType="UNIFIED")
        return self._read(ask, lambda result: _v5.money(result["list"][0], coin))

    def _held(self, symbol: str, *, urgent: bool = True) -> _v5.Held:
        ask = self._get(_v5.POSITION, urgent=urgent, symbol=self._name(symbol))
        name = self._name(symbol)
        held = self._read(ask, lambda result: _v5.holding(symbol, name, result["list"]))
        if held.is_hedged:
            raise InvalidOrder(NAME, ask.endpoint, f"{_v5.HEDGE}: {_v5.HEDGE_MEND}")
        return held

    def _look(self, symbol: str) -> tuple[_v5.Held, list[_v5.Seen]]:
        self._name(symbol)
        calls: list[Callable[[], Any]] = [lambda: self._held(symbol), lambda: self._open(symbol)]
        held, seen = self._host.together(*calls)
        return held, _with_own_stop(held, seen)

    def _labelled(self, seen: Sequence[_v5.Seen], ours: Sequence[Order]) -> tuple[OrderReport, ...]:
        """Stops get the id of the newest of `ours` with their trigger, and cover what that one covers."""
        reports = []
        for each in seen:
            fit = [order for order in reversed(ours) if each.is_(order)]
            report = each.report
            if fit:
                mine = max(fit, key=lambda order: order.signed_at or EPOCH)
                self._stops[mine.symbol] = mine
                report = _as(mine, report)
            reports.append(report)
        return tuple(reports)

    def _is_replaced(self, stop: Order) -> bool:
        """Whether a newer stop of ours has this one's trigger, so that what rests is the newer one's."""
        newest = self._stops.get(stop.symbol)
        if newest is None or newest.client_order_id == stop.client_order_id:
            return False
        same = (newest.side, newest.trigger_price) == (stop.side, stop.trigger_price)
        return same and (newest.signed_at or EPOCH) >= (stop.signed_at or EPOCH)

    def _find_stop(self, stop: Order) -> OrderReport:
        if self._is_replaced(stop):
            text = "a newer stop with the same trigger took its place"
            return replace(_v5.accepted(stop), status=OrderStatus.CANCELED, reason=text)
        entry = client_order_id(intent_id=stop.intent_id, leg="e", attempt=1)
        self._name(stop.symbol)
        calls: list[Callable[[], Any]] = [
            lambda: self._look(stop.symbol)[1],
            lambda: self._by_id(_v5.OPEN, stop.symbol, orderLinkId=entry),
        ]
        if stop.venue_order_id:
            calls.append(lambda: self._by_id(_v5.OPEN, stop.symbol, orderId=stop.venue_order_id or ""))
        listed, entries, *known = self._host.together(*calls)
        waiting = [_v5.carried(each) for each in entries if each.stop and each.report.status.is_open]
        for each in (*listed, *waiting, *(row for rows in known for row in rows)):
            if each.is_(stop):
                return _as(stop, each.report)
        # An older stop may have had the same trigger: what ended before this one was signed is not it.
        since = (stop.signed_at or EPOCH) - _AHEAD
        ask = self._get(_v5.HISTORY, urgent=True, symbol=self._name(stop.symbol), limit=50)
        for page in self._pages(ask, lambda row: _v5.seen(stop.symbol, row), full=False):
            fit = [each for each in page if each.is_(stop) and each.changed_at >= since]
            if fit:
                return _as(stop, max(fit, key=lambda each: each.changed_at).report)
        raise OrderNotFound(
            NAME, f"GET {_v5.HISTORY}", f"no stop at {_level(stop)} for {stop.client_order_id}"
        )

    def _move(self, symbol: str, level: str) -> Request:
        """The request that gives the position this stop in place of any other; "0" takes it away."""
        said: dict[str, Any] = {"stopLoss": level, "slTriggerBy": "LastPrice", "tpslMode": "Full"}
        return self._post(_v5.STOP, symbol=self._name(symbol), **said, positionIdx=0)

    def _set_leverage(self, symbol: str, leverage: Decimal) -> None:
        said = plain(leverage)
        request = self._post(_v5.LEVERAGE, symbol=self._name(symbol), buyLeverage=said, sellLeverage=said)
        self._wire.write(replace(request, urgent=False))
        self._leverage[symbol] = leverage

    def _cancel(self, symbol: str, **by: Any) -> None:
        with suppress(OrderNotFound):
            self._wire.write(self._post(_v5.CANCEL, symbol=self._name(symbol), **by))

    def _cancel_stop(self, stop: OrderReport) -> None:
        """Ends the stop with this trigger, and no other."""
        _, seen = self._look(stop.symbol)
        for each in seen:
            theirs = each.report
            if not each.is_stop or (theirs.side, theirs.trigger_price) != (stop.side, stop.trigger_price):
                continue
            if theirs.venue_order_id:
                self._cancel(stop.symbol, orderId=theirs.venue_order_id)
            else:
                self._wire.write(self._move(stop.symbol, "0"))
            return

    def _key_rights(self) -> dict[str, Any] | None:
        """What the key may do; None where the venue does not tell, as on the demo host."""
        try:
            return self._read(self._get(_v5.KEY), dict)
        except Rejected:
            return None


def _with_own_stop(held: _v5.Held, listed: list[_v5.Seen]) -> list[_v5.Seen]:
    """The open orders, and the position's stop where their list does not show it yet."""
    if held.position.is_flat or not held.stop:
        return listed
    shown = any(each.is_stop and each.report.trigger_price == held.stop for each in listed)
    return listed if shown else [*listed, _v5.stop_of(held)]


def _named(row: Mapping[str, Any]) -> tuple[str, Position]:
    return row["symbol"], _v5.net(row)


def _level(stop: Order) -> str:
    if stop.trigger_price is None:
        raise ValueError(f"the stop {stop.client_order_id} has no trigger")
    return plain_number(stop.trigger_price)


def _as(stop: Order, report: OrderReport) -> OrderReport:
    """A stop of the position's as ours: it follows the size, so that it covers what ours was to cover."""
    return replace(report, client_order_id=stop.client_order_id, quantity=stop.quantity)
