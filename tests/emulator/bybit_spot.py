"""Bybit V5 spot over HTTP, as its documents of July 2026 describe it.

A TP/SL order holds its coins until it fires, a conditional one does not; of neither the direction is told: it
follows from the last price, so that a stop that comes too late becomes its opposite. Not emulated: margin,
attached TP/SL, OCO and bidirectional orders, amendments, a purchase counted in money.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from tests.emulator import bybit_answers as answers
from tests.emulator import bybit_market as market
from tests.emulator.bybit import KEY, SECRET, Bybit, Doubts
from tests.emulator.bybit_answers import SIDES
from tests.emulator.bybit_asked import PARAMETER, Asked, No, invalid
from tests.emulator.coins import CoinFill, CoinRecord, Coins
from tests.emulator.engine import Engine, Kind, Listing, Reason, Refusal, Rules, State
from trading.matching import Fees
from trading.model import ZERO, Instrument, InstrumentKind, OrderType, Side, TimeInForce, plain

__all__ = ["KEY", "SECRET", "BybitSpot", "build"]

D = Decimal
BTC, ETH = "BTC-USDT", "ETH-USDT"
PRICES = {BTC: D(60000), ETH: D(3000)}
#: symbol: tick, base precision, the largest limit order, the largest market order.
_STEPS = {BTC: ("0.1", "0.000001", "83", "41.5"), ETH: ("0.01", "0.00001", "1229", "614")}
_LEAST = D(5)
_FEE = D("0.001")
_FILTERS = ("Order", "tpslOrder", "StopOrder")
_IDS = 0x5A37 << 112

#: What the venue says for each refusal of the account.
_SAID = {
    Kind.UNKNOWN_SYMBOL: (170121, "Invalid symbol."),
    Kind.TICK: (170134, "Order price decimal too long."),
    Kind.LOT: (170137, "Order volume decimal too long"),
    Kind.MIN_QUANTITY: (170136, "Order quantity lower than the minimum."),
    Kind.MAX_QUANTITY: (170135, "Order quantity exceeded upper limit."),
    Kind.MIN_NOTIONAL: (170140, "Order value exceeded lower limit"),
    Kind.MARGIN: (170131, "Insufficient balance."),
    Kind.TOO_MANY: (170810, "The number of open orders exceeds the limit."),
    Kind.TRIGGERS_AT_ONCE: (170130, "Data sent for paramter 'triggerPrice' is not valid."),
    Kind.NOT_FOUND: (170213, "Order does not exist."),
    Kind.ENDED: (170213, "Order does not exist."),
}


def build(
    clock: Callable[[], datetime],
    *,
    cash: Decimal = Decimal(100_000),
    own: dict[str, Decimal] | None = None,
    fee_coin: str | None = None,
    **doubts: Any,
) -> tuple[Engine, BybitSpot]:
    """Two instruments at PRICES, and one account of KEY and SECRET with `own` coins beside its `cash`."""
    engine = Engine(clock, Rules(fees=Fees(maker=_FEE, taker=_FEE)))
    for symbol, price in PRICES.items():
        base, quote = symbol.split("-")
        tick, lot, most, _ = _STEPS[symbol]
        instrument = Instrument(
            symbol=symbol,
            base=base,
            quote=quote,
            kind=InstrumentKind.SPOT,
            tick_size=D(tick),
            lot_size=D(lot),
            min_quantity=D(lot),
            min_notional=_LEAST,
            max_quantity=D(most),
            max_stops=30,
        )
        engine.list(Listing(symbol=symbol, venue_symbol=base + quote, instrument=instrument), price)
    account: Any = Coins(KEY, SECRET, coins={"USDT": cash, **(own or {})}, fee_coin=fee_coin)
    engine.open(account)
    return engine, BybitSpot(engine, doubts=Doubts(**doubts))


class BybitSpot(Bybit):
    """The same signing, clock and faults as the perpetuals."""

    category = "spot"

    # -- public ----------------------------------------------------------------------------------------

    def _instruments(self, asked: Asked) -> dict[str, Any]:
        """All in one page: there is no cursor."""
        self._known(asked, "category", "symbol", "status", "baseCoin")
        self._category(asked)
        return {"category": "spot", "list": [_instrument(each) for each in self.engine.listings()]}

    def _tickers(self, asked: Asked) -> dict[str, Any]:
        self._known(asked, "category", "symbol")
        listing = self._listing(asked)
        row = market.ticker(self.engine, listing)
        return {"category": "spot", "list": [{name: row[name] for name in ("symbol", "lastPrice")}]}

    # -- the account -----------------------------------------------------------------------------------

    def _wallet(self, account: Any, asked: Asked) -> dict[str, Any]:
        self._known(asked, "accountType", "coin")
        if asked.need_text("accountType") != "UNIFIED":
            raise No(PARAMETER, "accountType only support UNIFIED.")
        coins = [
            {
                "coin": coin,
                "equity": plain(account.total(coin)),
                "walletBalance": plain(account.total(coin)),
                "locked": plain(account.locked(coin)),
                "totalOrderIM": "0",
                "totalPositionIM": "0",
                "spotBorrow": "0",
                "bonus": "",
            }
            for coin in sorted(account.coins)
            if account.total(coin)
        ]
        return {"list": [{"accountType": "UNIFIED", "totalAvailableBalance": "", "coin": coins}]}

    def _executions(self, account: Any, asked: Asked) -> dict[str, Any]:
        names = ("category", "symbol", "orderId", "orderLinkId", "startTime", "endTime", "limit", "cursor")
        self._known(asked, *names)
        self._category(asked)
        rows = asked.rows(default=50, most=100)
        start, end = asked.week(self.engine.now())
        own = self.engine.by_venue_symbol(asked.need_text("symbol")).symbol
        found = [
            fill
            for fill in reversed(account.fills)
            if fill.symbol == own and start <= fill.at <= end + timedelta(milliseconds=1)
        ]
        return self._page(asked, found, rows, lambda fill: self._execution(account, fill))

    def _create(self, account: Any, asked: Asked) -> dict[str, Any]:
        self._known(
            asked,
            *("category", "symbol", "side", "orderType", "qty", "marketUnit", "price", "timeInForce"),
            *("isLeverage", "orderFilter", "triggerPrice", "orderLinkId"),
        )
        with _in_words():
            return self._placed_spot(account, asked)

    def _placed_spot(self, account: Any, asked: Asked) -> dict[str, Any]:
        listing, link = self._listing(asked), asked.link_id()
        if link is not None and (account.find(client_id=link) or (0, link) in self._burned):
            raise No(170141, "Duplicate clientOrderId")
        side = SIDES[asked.choice("side", *SIDES)]
        is_market = asked.choice("orderType", "Market", "Limit") == "Market"
        kind = asked.choice("orderFilter", *_FILTERS, default="Order")
        quantity, price = asked.need_amount("qty"), asked.amount("price")
        trigger = asked.amount("triggerPrice")
        if asked.whole("isLeverage", 0, 1):
            raise No(170037, "margin is not emulated")
        if is_market and side is Side.BUY and asked.text("marketUnit") != "baseCoin":
            raise No(170131, "a purchase counted in money is not emulated")
        if (kind == "Order") != (trigger is None):
            raise No(170202, "Please enter the TP/SL price.")
        if is_market:
            price = None
        elif price is None:
            raise invalid("price")
        force = asked.choice("timeInForce", "GTC", "IOC", default="GTC")
        last = self.engine.price(listing.symbol)
        most = D(_STEPS[listing.symbol][3])
        if is_market and quantity > most:
            raise No(170135, "Order quantity exceeded upper limit.")
        try:
            record = account.submit(
                listing.symbol,
                side,
                OrderType.MARKET if is_market else OrderType.LIMIT,
                quantity,
                client_id=link,
                price=price,
                trigger=trigger,
                # Nobody says from where the price must come: where it is now decides.
                rises=None if trigger is None else trigger > last,
                time_in_force=TimeInForce(force),
                holds=kind != "StopOrder",
            )
        except Refusal:
            if link is not None and self.doubts.burns_refused:
                self._burned.add((0, link))
            raise
        self._notes[record.id] = answers.Note(time_in_force=force, last=last)
        self._unseen[record.id] = self.doubts.unseen_reads
        return {"orderId": _order_id(record), "orderLinkId": link or ""}

    def _cancel(self, account: Any, asked: Asked) -> dict[str, Any]:
        self._known(asked, "category", "symbol", "orderId", "orderLinkId", "orderFilter")
        listing, kind = self._listing(asked), asked.choice("orderFilter", *_KINDS, default="Order")
        record = self._named_spot(account, asked)
        if record is None or record.symbol != listing.symbol or _kind(record) != kind or not record.is_open:
            raise No(170213, "Order does not exist.")
        account.cancel(record.id)
        self._queued[record.id] = self.doubts.queued_reads
        return {"orderId": _order_id(record), "orderLinkId": record.client_id or ""}

    def _cancel_all(self, account: Any, asked: Asked) -> dict[str, Any]:
        self._known(asked, "category", "symbol", "orderFilter")
        listing, kind = self._listing(asked), asked.choice("orderFilter", *_KINDS, default="Order")
        ended = [each for each in account.orders(listing.symbol, open=True) if _kind(each) == kind]
        for record in ended:
            account.cancel(record.id)
            self._queued[record.id] = self.doubts.queued_reads
        rows = [{"orderId": _order_id(each), "orderLinkId": each.client_id or ""} for each in ended]
        return {"list": rows, "success": "1"}

    def _realtime(self, account: Any, asked: Asked) -> dict[str, Any]:
        self._known(asked, "category", "symbol", "orderId", "orderLinkId", "openOnly", "limit", "cursor")
        rows, symbol = asked.rows(default=20, most=50), self._listing(asked).symbol
        by_id = asked.text("orderId") is not None or asked.text("orderLinkId") is not None
        if by_id:
            found = self._named_spot(account, asked)
            records = [] if found is None else [found]
        else:
            records = [
                each for each in reversed(account.orders()) if each.is_open or self._queued.get(each.id)
            ]
        seen = [each for each in records if each.symbol == symbol and self._is_seen(each)]
        return self._page(asked, seen, rows, lambda record: self._spot_row(account, record))

    def _history(self, account: Any, asked: Asked) -> dict[str, Any]:
        self._known(asked, "category", "symbol", "orderId", "orderLinkId", "limit", "cursor")
        rows, symbol = asked.rows(default=20, most=50), self._listing(asked).symbol
        name, link = asked.text("orderId"), asked.link_id()
        found = [
            each
            for each in reversed(account.orders(symbol, open=False))
            if name in (None, _order_id(each))
            and link in (None, each.client_id)
            and self._is_seen(each, of_history=True)
        ]
        return self._page(asked, found, rows, lambda record: self._spot_row(account, record))

    # -- rows ------------------------------------------------------------------------------------------

    def _named_spot(self, account: Any, asked: Asked) -> CoinRecord | None:
        name, link = asked.text("orderId"), asked.link_id()
        if name is None and link is None:
            raise No(PARAMETER, "Missing some parameters that must be filled in, orderId or orderLinkId")
        if name is not None:
            found: CoinRecord | None = account.find(order_id=UUID(name).int ^ _IDS)
            return found
        named: CoinRecord | None = account.find(client_id=link)
        return named

    def _spot_row(self, account: Any, record: CoinRecord) -> dict[str, Any]:
        queued = self._queued.get(record.id, 0)
        if queued:
            self._queued[record.id] = queued - 1
        ended, note = not queued and not record.is_open, self.note(record)
        is_market = record.type is OrderType.MARKET
        return {
            "orderId": _order_id(record),
            "orderLinkId": record.client_id or "",
            "symbol": self.engine.listing(record.symbol).venue_symbol,
            "price": plain(record.price or ZERO),
            "qty": plain(record.quantity),
            "side": "Buy" if record.side is Side.BUY else "Sell",
            "isLeverage": "0",
            "orderStatus": _status(record, queued=bool(queued)),
            "cancelType": "CancelByUser" if ended and record.reason == Reason.REQUEST else "UNKNOWN",
            "rejectReason": _reject_reason(record) if ended else "EC_NoError",
            "avgPrice": "" if record.average is None else plain(record.average),
            "leavesQty": "0" if ended else plain(record.quantity - record.filled),
            "cumExecQty": plain(record.filled),
            "cumExecValue": plain(record.filled * (record.average or ZERO)),
            "timeInForce": "IOC" if is_market else note.time_in_force,
            "orderType": "Market" if is_market else "Limit",
            "marketUnit": "baseCoin",
            "stopOrderType": "" if not record.conditional else _kind(record) if record.holds else "Stop",
            "triggerPrice": "" if record.trigger is None else plain(record.trigger),
            "triggerDirection": 0,
            "basePrice": plain(note.last) if note.last else "",
            "takeProfit": "",
            "stopLoss": "",
            "reduceOnly": False,
            "createdTime": answers.stamp(record.created_at),
            "updatedTime": answers.stamp(record.updated_at),
        }

    def _execution(self, account: Any, fill: CoinFill) -> dict[str, Any]:
        record: CoinRecord = account.records[fill.order_id]
        return {
            "symbol": self.engine.listing(fill.symbol).venue_symbol,
            "orderId": _order_id(record),
            "orderLinkId": record.client_id or "",
            "side": "Buy" if fill.side is Side.BUY else "Sell",
            "execId": str(UUID(int=_IDS | fill.id)),
            "execPrice": plain(fill.price),
            "execQty": plain(fill.quantity),
            "execValue": plain(fill.quantity * fill.price),
            "execFee": plain(fill.fee),
            "feeCurrency": fill.fee_currency,
            "execType": "Trade",
            "execTime": answers.stamp(fill.at),
            "isMaker": fill.maker,
        }


_KINDS = (*_FILTERS, "OcoOrder", "BidirectionalTpslOrder")


@contextmanager
def _in_words() -> Iterator[None]:
    """An account's refusals in the venue's own codes."""
    try:
        yield
    except Refusal as refusal:
        raise No(*_SAID[refusal.kind]) from None


def _order_id(record: CoinRecord) -> str:
    return str(UUID(int=_IDS | record.id))


def _kind(record: CoinRecord) -> str:
    """Its orderFilter; what has triggered is an order like any other."""
    if not record.is_waiting and record.is_open:
        return "Order"
    return "Order" if not record.conditional else "tpslOrder" if record.holds else "StopOrder"


def _status(record: CoinRecord, *, queued: bool) -> str:
    if queued or record.is_open:
        if record.conditional and record.triggered_at is None:
            return "Untriggered"
        return "PartiallyFilled" if record.filled else "New"
    if record.state is State.FILLED:
        return "Filled"
    if record.filled:
        return "PartiallyFilledCanceled"
    return "Cancelled"


def _reject_reason(record: CoinRecord) -> str:
    if record.reason == Reason.REQUEST:
        return "EC_PerCancelRequest"
    return "EC_NoImmediateQtyToFill" if record.reason == Reason.NO_LIQUIDITY else "EC_NoError"


def _instrument(listing: Listing) -> dict[str, Any]:
    tick, lot, most, at_market = _STEPS[listing.symbol]
    return {
        "symbol": listing.venue_symbol,
        "baseCoin": listing.instrument.base,
        "quoteCoin": listing.instrument.quote,
        "innovation": "0",
        "status": "Trading",
        "marginTrading": "utaOnly",
        "lotSizeFilter": {
            "basePrecision": lot,
            "quotePrecision": "0.0000001",
            # Deprecated, and no longer what is looked at.
            "minOrderQty": "0.000048",
            "maxOrderQty": "71.73956243",
            "minOrderAmt": plain(_LEAST),
            "maxLimitOrderQty": most,
            "maxMarketOrderQty": at_market,
        },
        "priceFilter": {"tickSize": tick},
        "riskParameters": {"priceLimitRatioX": "0.05", "priceLimitRatioY": "0.05"},
    }
