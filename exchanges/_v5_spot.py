"""Spot of the venue that speaks V5, long only: one unified account.

A stop is a TP/SL order, which holds what it sells until it fires: it can never be short of coins then. So
nothing can rest beside it, and there are no targets. The direction of a trigger is not told there: the venue
takes it from the last price, so that a stop that comes too late is taken for its opposite. This file must
never let such a one pass for a stop, nor take "accepted" for "filled".
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from exchanges import Capabilities, Credentials, Finding, Look, Terms, _checks, _v5
from exchanges._answers import readable
from exchanges._catalogue import Listing
from exchanges._http import CLOCK_FRESH, Hosts, plain_number
from exchanges._v5 import Row, number
from exchanges._v5_account import V5Account
from trading.errors import InvalidOrder, OrderNotFound, VenueError
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
    Position,
    Protection,
    Side,
    TimeInForce,
    plain,
)

log = logging.getLogger(__name__)

CAPABILITIES = Capabilities(
    # Coins can be promised once they are there, so a stop follows the fill.
    protection=Protection.AFTER,
    receive_window=timedelta(seconds=2),
    margin=timedelta(seconds=1),
    taker_fee=Decimal("0.001"),
    coins=True,
    pairs=False,
)

#: Page create-order: so many TP/SL orders of one instrument may be open.
_MOST_STOPS = 30
#: The kinds of orders that are cancelled apart (page cancel-all). The stop goes last.
_ORDINARY, _STOP = "Order", "tpslOrder"
_OTHERS = ("StopOrder", "OcoOrder", "BidirectionalTpslOrder")
#: An order that was cancelled may be listed as open for a moment.
_LOOKS = 3
_TOO_LATE = "the price was through its trigger already: the venue took it for a rising one"


class V5Spot(V5Account):
    """One account at one host: its spot instruments."""

    category = "spot"

    def __init__(self, name: str, credentials: Credentials, hosts: Hosts, url: str) -> None:
        super().__init__(name, credentials, hosts, url, CAPABILITIES.receive_window)

    def capabilities(self, symbol: str) -> Capabilities:
        return CAPABILITIES

    def instrument(self, symbol: str) -> Instrument:
        return self._find(symbol, wait=False).instrument

    def max_leverage(self, symbol: str) -> Decimal | None:
        return Decimal(1)

    def balance(self, symbol: str) -> Balance:
        return self._wallet(symbol)[1]

    def position(self, symbol: str) -> Position:
        return self._wallet(symbol)[0]

    def positions(self) -> Sequence[Position]:
        """None: there are balances alone."""
        return ()

    def look(self, symbol: str, *, ours: Sequence[Order]) -> Look:
        self._name(symbol)
        calls: list[Callable[[], Any]] = [partial(self._wallet, symbol), partial(self._rests, symbol)]
        (position, _), rows = self._host.together(*calls)
        return Look(position=position, resting=self._sound(rows, symbol, ours))

    def prepare(self, symbol: str, *, ours: Sequence[Order], leverage: Decimal) -> Terms:
        """There is no leverage to set."""
        if not self._catalogue.is_known:
            self._host.together(self._wire.set_clock, lambda: self._find(symbol))
        listing = self._find(symbol)
        calls: list[Callable[[], Any]] = [
            partial(self._wallet, symbol),
            partial(self._rests, symbol),
            partial(self.price, symbol),
        ]
        if not self._host.knows_time(CLOCK_FRESH):
            calls.append(self._wire.set_clock)
        (position, balance), rows, price, *_ = self._host.together(*calls)
        look = Look(position=position, resting=self._sound(rows, symbol, ours))
        return Terms(look=look, instrument=listing.instrument, price=price, balance=balance)

    def place(self, order: Order, *, signed_at: datetime, stop: Order | None = None) -> OrderReport:
        if stop is not None:
            raise ValueError("a target and a stop cannot rest as one there")
        said: dict[str, Any] = {
            "symbol": self._name(order.symbol),
            "side": order.side.capitalize(),
            "orderType": "Limit" if order.type is OrderType.LIMIT else "Market",
            "qty": plain_number(order.quantity),
        }
        if order.type is OrderType.LIMIT:
            said["price"] = _needed(order.price)
            said["timeInForce"] = "IOC" if order.time_in_force is TimeInForce.IOC else "GTC"
        else:
            # A purchase at the market would else be counted in money.
            said["marketUnit"] = "baseCoin"
        if order.type is OrderType.STOP:
            said |= {"triggerPrice": _needed(order.trigger_price), "orderFilter": _STOP}
        said |= {"isLeverage": 0, "orderLinkId": order.client_order_id}
        request = self._post(_v5.CREATE, urgent=order.reduce_only, **said)
        body = self._wire.write(request, signed_at=signed_at)
        result = body.get("result")
        number_ = result.get("orderId", "") if isinstance(result, dict) else ""
        if order.type is OrderType.STOP and self._came_late(order):
            raise InvalidOrder(self.name, request.endpoint, _TOO_LATE)
        return _v5.accepted(order, str(number_))

    def _came_late(self, stop: Order) -> bool:
        """Whether a new stop was taken for its opposite, and taken back. Where the venue does not show it
        yet, the next look tells."""
        for _ in range(_LOOKS):
            try:
                return self.order(stop).reason == _TOO_LATE
            except OrderNotFound:
                continue
            except VenueError as error:
                log.warning("%s is not looked at yet: %s", stop.client_order_id, error)
                return False
        return False

    def cancel(self, order: Order) -> OrderReport | None:
        """What it was at its end, as soon as the venue shows it."""
        kind = _STOP if order.type is OrderType.STOP else _ORDINARY
        if not self._end(order.symbol, kind, orderLinkId=order.client_order_id):
            return None
        for _ in range(_LOOKS):
            with suppress(OrderNotFound):
                report = self.order(order)
                if report.status.is_final:
                    return report
        return None

    def cancel_report(self, report: OrderReport) -> None:
        kinds = (_STOP, *_OTHERS) if report.type is OrderType.STOP else (_ORDINARY,)
        for kind in kinds:
            if self._end(report.symbol, kind, orderId=report.venue_order_id):
                return

    def cancel_all(self, symbol: str) -> None:
        for kind in (_ORDINARY, *_OTHERS, _STOP):
            self._wire.write(self._post(_v5.CANCEL_ALL, symbol=self._name(symbol), orderFilter=kind))

    def order(self, order: Order) -> OrderReport:
        symbol, link = order.symbol, order.client_order_id
        for path in (_v5.OPEN, _v5.HISTORY):
            ask = self._get(path, urgent=True, symbol=self._name(symbol), orderLinkId=link)
            for row in self._rows(ask, dict):
                if row.get("orderLinkId") == link:
                    report = self._read_row(symbol, row)
                    return self._undone(report) if _is_opposite(report, row) else report
        raise OrderNotFound(self.name, f"GET {_v5.HISTORY}", f"no order {link}")

    def check(self) -> Sequence[Finding]:
        try:
            self._wire.set_clock()
            money = self._read(self._get(_v5.WALLET, accountType="UNIFIED"), partial(_free, coin="USDT"))
        except VenueError as error:
            return [_checks.trouble(error, key="set API_KEY_… and API_SECRET_… anew")]
        text = f"{plain(money.free)} of {plain(money.total)} USDT are free for spot"
        mend = "" if money.free > 0 else "move money to the unified account"
        return [_checks.clock(self._host), Finding(fatal=False, text=text, mend=mend)]

    # What the verbs are made of.

    def _load(self) -> list[Listing]:
        """One page: of spot there are no more."""
        ask = replace(self._get(_v5.INSTRUMENTS), signed=False, bulky=True)
        return self._read(ask, lambda result: readable(result["list"], _listing))

    def _fill_of(self, symbol: str, listing: Listing, row: Row) -> Fill | None:
        """A fee is taken out of what is received, whether the row names it or not."""
        instrument = listing.instrument
        received = instrument.base if row["side"] == "Buy" else instrument.quote
        return _v5.fill(symbol, received, row)

    def _wallet(self, symbol: str) -> tuple[Position, Balance]:
        """All that the account holds of the coin, and the money that is free."""
        instrument = self._known(symbol).instrument
        ask = self._get(_v5.WALLET, urgent=True, accountType="UNIFIED")

        def both(result: Any) -> tuple[Position, Balance]:
            held = number(_coin(result, instrument.base).get("walletBalance"))
            return Position(symbol=symbol, quantity=held), _free(result, coin=instrument.quote)

        return self._read(ask, both)

    def _rests(self, symbol: str) -> list[Row]:
        ask = self._get(_v5.OPEN, urgent=True, symbol=self._name(symbol), limit=50)
        return self._all(ask, dict, full=True)

    def _sound(self, rows: Sequence[Row], symbol: str, ours: Sequence[Order]) -> tuple[OrderReport, ...]:
        """What rests; a stop of ours that waits for a rise is taken back at once, since it is none."""
        names = {order.client_order_id for order in ours if order.type is OrderType.STOP}
        resting = []
        for row in rows:
            report = self._read_row(symbol, row)
            if report.client_order_id in names and _is_opposite(report, row):
                self._undone(report)
            elif report.status.is_open:
                resting.append(report)
        return tuple(resting)

    def _undone(self, report: OrderReport) -> OrderReport:
        self._end(report.symbol, _STOP, orderId=report.venue_order_id)
        return replace(report, status=OrderStatus.CANCELED, reason=_TOO_LATE)

    def _read_row(self, symbol: str, row: Row) -> OrderReport:
        ask = self._get(_v5.OPEN, symbol=self._name(symbol))
        return self._understood(ask, lambda: _v5.seen(symbol, row).report)

    def _end(self, symbol: str, kind: str, **by: Any) -> bool:
        """False where there is nothing left to end."""
        try:
            self._wire.write(self._post(_v5.CANCEL, symbol=self._name(symbol), orderFilter=kind, **by))
        except OrderNotFound:
            return False
        return True


def _listing(row: Row) -> Listing | None:
    """A row of the instruments' list; None for what has no rules yet."""
    lots, tick = row["lotSizeFilter"], number(row["priceFilter"]["tickSize"])
    lot = number(lots["basePrecision"])
    if row["status"] != "Trading" or not tick or not lot:
        return None
    base, quote = row["baseCoin"], row["quoteCoin"]
    # One limit for all orders: the smaller, which is that of market orders.
    most = [number(lots.get(name)) for name in ("maxLimitOrderQty", "maxMarketOrderQty")]
    instrument = Instrument(
        symbol=f"{base}-{quote}",
        base=base,
        quote=quote,
        kind=InstrumentKind.SPOT,
        tick_size=tick,
        lot_size=lot,
        min_quantity=lot,
        min_notional=number(lots["minOrderAmt"]),
        max_quantity=min((each for each in most if each), default=None),
        max_stops=_MOST_STOPS,
    )
    return Listing(name=row["symbol"], instrument=instrument)


def _coin(result: Any, coin: str) -> Row:
    """One coin of the wallet; coins of which there is none are not listed."""
    found: Row = next((row for row in result["list"][0]["coin"] if row["coin"] == coin), {})
    return found


def _free(result: Any, *, coin: str) -> Balance:
    """Money that nothing holds: no order, and no position of the same unified account."""
    row = _coin(result, coin)
    taken = ("totalPositionIM", "totalOrderIM", "locked", "bonus", "spotBorrow")
    free = number(row.get("walletBalance")) - sum((number(row.get(name)) for name in taken), ZERO)
    return Balance(currency=coin, total=number(row.get("equity")), free=max(ZERO, free))


def _is_opposite(report: OrderReport, row: Row) -> bool:
    """Whether a sale that is open waits for the price to rise to its trigger."""
    if report.trigger_price is None or report.side is not Side.SELL or not report.status.is_open:
        return False
    direction = row.get("triggerDirection")
    if direction in (1, 2):
        return bool(direction == 1)
    base = number(row.get("basePrice"))
    return base > 0 and report.trigger_price >= base


def _needed(price: Decimal | None) -> str:
    if price is None:
        raise ValueError("an order of this type needs its price")
    return plain_number(price)
