"""Binance spot over HTTP (api/v3), as its documents of July 2026 describe it.

Not emulated, and refused: trailing and iceberg orders, quoteOrderQty, cancelReplace, order lists other than
an OCO of LIMIT_MAKER above and STOP_LOSS below. Where nothing settles a question, the answer is the one that
is harder on a client: an id is free again only after its order has filled, a target that begins to fill ends
its stop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.emulator.binance import KEY, SECRET, Binance
from tests.emulator.binance_calls import Call, Flags, call, with_symbol
from tests.emulator.binance_market import INTERVALS
from tests.emulator.binance_words import Params, Wrong, from_ms, missing, ms
from tests.emulator.coins import CoinFill, CoinRecord, Coins
from tests.emulator.engine import Engine, Kind, Listing, Refusal, Rules, State
from trading.matching import Fees
from trading.model import ZERO, Instrument, InstrumentKind, OrderType, Side, TimeInForce, plain

__all__ = ["KEY", "PRICES", "SECRET", "BinanceSpot", "build"]

D = Decimal
BTC, ETH, PEPE = "BTC-USDT", "ETH-USDT", "PEPE-USDT"
PRICES = {BTC: D(61000), ETH: D(3000), PEPE: D("0.00001234")}

_WEIGHT_A_MINUTE, _ORDERS_IN_10_S = 6000, 100
_DAY = timedelta(hours=24)
_PERCENT_UP, _PERCENT_DOWN = D(5), D("0.2")
_ORDER = (
    "symbol side type timeInForce quantity price newClientOrderId stopPrice newOrderRespType "
    "selfTradePreventionMode"
)
_PAIR = (
    "symbol side quantity listClientOrderId aboveType aboveClientOrderId abovePrice belowType "
    "belowClientOrderId belowStopPrice newOrderRespType selfTradePreventionMode"
)
_ONE = "symbol orderId origClientOrderId"
_TYPES = (
    "LIMIT",
    "LIMIT_MAKER",
    "MARKET",
    "STOP_LOSS",
    "STOP_LOSS_LIMIT",
    "TAKE_PROFIT",
    "TAKE_PROFIT_LIMIT",
)
_PLAIN = ("LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS")

_BALANCE = "Account has insufficient balance for requested action."
_RELATION = "The relationship of the prices for the orders is not correct."
_FILTERS = {
    Kind.TICK: "PRICE_FILTER",
    Kind.LOT: "LOT_SIZE",
    Kind.MIN_QUANTITY: "LOT_SIZE",
    Kind.MAX_QUANTITY: "LOT_SIZE",
    Kind.MIN_NOTIONAL: "NOTIONAL",
    Kind.TOO_MANY: "MAX_NUM_ALGO_ORDERS",
}


def _listing(symbol: str, tick: str, lot: str, least: str, most: str) -> Listing:
    base, quote = symbol.split("-")
    instrument = Instrument(
        symbol=symbol,
        base=base,
        quote=quote,
        kind=InstrumentKind.SPOT,
        tick_size=D(tick),
        lot_size=D(lot),
        min_quantity=D(lot),
        min_notional=D(least),
        max_quantity=D(most),
        max_stops=5,
    )
    return Listing(symbol=symbol, venue_symbol=base + quote, instrument=instrument)


LISTINGS = (
    _listing(BTC, "0.01", "0.00001", "5", "9000"),
    _listing(ETH, "0.01", "0.0001", "5", "9000"),
    _listing(PEPE, "0.00000001", "1", "1", "92141578"),
)


def build(
    clock: Callable[[], datetime],
    *,
    cash: Decimal = Decimal(100_000),
    own: dict[str, Decimal] | None = None,
    fee_coin: str | None = None,
) -> tuple[Engine, BinanceSpot]:
    """All instruments at PRICES, and one account of KEY and SECRET with `own` coins beside its `cash`."""
    engine = Engine(clock, Rules(fees=Fees(maker=D("0.001"), taker=D("0.001"))))
    for listing in LISTINGS:
        engine.list(listing, PRICES[listing.symbol])
    account: Any = Coins(KEY, SECRET, coins={"USDT": cash, **(own or {})}, fee_coin=fee_coin)
    engine.open(account)
    return engine, BinanceSpot(engine)


class BinanceSpot(Binance):
    """The same signing, clock and faults as the futures; calls, weights and refusals are its own."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, Flags())
        free = {"signed": False}
        trade: dict[str, Any] = {"trade": True}
        self.calls: dict[tuple[str, str], Call] = {
            ("GET", "/api/v3/ping"): call(lambda _, __: {}, **free),
            ("GET", "/api/v3/time"): call(lambda _, __: {"serverTime": ms(engine.now())}, **free),
            ("GET", "/api/v3/exchangeInfo"): call(
                self.info, "symbol symbolStatus showPermissionSets permissions", 20, **free
            ),
            ("GET", "/api/v3/ticker/price"): call(self.ticker, "symbol", with_symbol(2, 4), **free),
            ("GET", "/api/v3/klines"): call(
                self.klines, "symbol interval startTime endTime limit", 2, **free
            ),
            ("GET", "/api/v3/account"): call(self.wallet, "omitZeroBalances", 20),
            ("GET", "/api/v3/myTrades"): call(
                self.trades, "symbol orderId startTime endTime fromId limit", 20
            ),
            ("POST", "/api/v3/order"): call(self.place, _ORDER, 1, orders=1, **trade),
            ("POST", "/api/v3/orderList/oco"): call(self.pair, _PAIR, 1, orders=2, **trade),
            ("GET", "/api/v3/order"): call(self.one, _ONE, 4),
            ("DELETE", "/api/v3/order"): call(self.cancel, f"{_ONE} newClientOrderId", 1, **trade),
            ("GET", "/api/v3/openOrders"): call(self.open, "symbol", with_symbol(6, 80)),
            ("DELETE", "/api/v3/openOrders"): call(self.cancel_all, "symbol", 1, **trade),
        }

    def _count(self, call: Call, params: Params, headers: dict[str, str]) -> None:
        now = int(self.engine.now().timestamp())
        minute, ten = ("weight", now // 60), ("orders", now // 10)
        self._spent[minute] += call.weight(params)
        headers["X-MBX-USED-WEIGHT-1M"] = str(self._spent[minute])
        if self._spent[minute] > _WEIGHT_A_MINUTE:
            raise Wrong(-1003, status=429)
        if call.orders:
            self._spent[ten] += call.orders
            headers["X-MBX-ORDER-COUNT-10S"] = str(self._spent[ten])
            if self._spent[ten] > _ORDERS_IN_10_S:
                raise Wrong(-1015, "Too many new orders.", 429)

    def _wrong(self, refusal: Refusal) -> Wrong:
        if refusal.kind in _FILTERS:
            return Wrong(-1013, f"Filter failure: {_FILTERS[refusal.kind]}")
        texts = {
            Kind.MARGIN: (-2010, _BALANCE),
            Kind.TRIGGERS_AT_ONCE: (-2010, "Order would trigger immediately."),
            Kind.PARAMETER: (-2010, "Order would immediately match and take."),
            Kind.NOT_FOUND: (-2011, "Unknown order sent."),
            Kind.ENDED: (-2011, "Unknown order sent."),
            Kind.UNKNOWN_SYMBOL: (-1121, "Invalid symbol."),
        }
        if refusal.kind not in texts:
            raise refusal
        return Wrong(*texts[refusal.kind])

    # -- public ----------------------------------------------------------------------------------------

    def info(self, _: None, params: Params) -> dict[str, Any]:
        rows = [_row(listing.instrument) for listing in LISTINGS]
        halted = _row(LISTINGS[1].instrument) | {"symbol": "LUNAUSDT", "baseAsset": "LUNA", "status": "BREAK"}
        no_stop = _row(LISTINGS[1].instrument) | {
            "symbol": "OLDUSDT",
            "baseAsset": "OLD",
            "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT"],
        }
        if "symbolStatus" not in params:
            rows.append(halted)
        return {
            "timezone": "UTC",
            "serverTime": ms(self.engine.now()),
            "rateLimits": [],
            "exchangeFilters": [],
            "symbols": [no_stop, *rows],
        }

    def ticker(self, _: None, params: Params) -> Any:
        listings = [self._listing(params)] if "symbol" in params else self.engine.listings()
        rows = [
            {"symbol": each.venue_symbol, "price": f"{self.engine.price(each.symbol):.8f}"}
            for each in listings
        ]
        return rows[0] if "symbol" in params else rows

    def klines(self, _: None, params: Params) -> list[list[Any]]:
        listing, interval = self._listing(params), params.text("interval")
        if interval not in INTERVALS:
            raise Wrong(-1120)
        limit, step = params.limit(500, 1000), INTERVALS[interval]
        end = self.engine.now()
        bars = self.engine.candles(listing.symbol, step, end - step * limit, end)[-limit:]
        return [
            [
                ms(bar.opened_at),
                *(f"{price:.8f}" for price in (bar.open, bar.high, bar.low, bar.close, bar.volume)),
                ms(bar.opened_at + step) - 1,
                *("0", 0, "0", "0", "0"),
            ]
            for bar in bars
        ]

    # -- the account -----------------------------------------------------------------------------------

    def wallet(self, account: Coins, params: Params) -> dict[str, Any]:
        bare = params.flag("omitZeroBalances")
        return {
            "makerCommission": 10,
            "takerCommission": 10,
            "canTrade": account.may_trade,
            "canWithdraw": True,
            "canDeposit": True,
            "updateTime": ms(self.engine.now()),
            "accountType": "SPOT",
            "balances": [
                {"asset": coin, "free": f"{account.free(coin):.8f}", "locked": f"{account.locked(coin):.8f}"}
                for coin in sorted({*account.coins, "BNB"})
                if account.total(coin) or not bare
            ],
            "permissions": ["SPOT"],
            "uid": 1,
        }

    def trades(self, account: Coins, params: Params) -> list[dict[str, Any]]:
        listing, limit = self._listing(params), params.limit(500, 1000)
        start, end = params.whole("startTime"), params.whole("endTime")
        number, order_id = params.whole("fromId"), params.whole("orderId")
        if start is not None and end is not None and not timedelta() <= from_ms(end) - from_ms(start) <= _DAY:
            raise Wrong(-1127, "More than 24 hours between startTime and endTime.")
        if number is not None and (start is not None or end is not None):
            raise Wrong(-1128, "Combination of optional parameters invalid.")
        found = [
            fill
            for fill in account.fills
            if fill.symbol == listing.symbol
            and (order_id is None or fill.order_id == order_id)
            and (start is None or ms(fill.at) >= start)
            and (end is None or ms(fill.at) <= end)
            and (number is None or fill.id >= number)
        ]
        oldest_first = start is not None or number is not None
        return [self._trade(fill) for fill in (found[:limit] if oldest_first else found[-limit:])]

    # -- orders ----------------------------------------------------------------------------------------

    def place(self, account: Coins, params: Params) -> dict[str, Any]:
        listing = self._listing(params)
        side = Side(params.choice("side", ("BUY", "SELL"), -1117))
        kind = params.choice("type", _TYPES, -1116)
        if kind not in _PLAIN:
            raise Wrong(-2010, "Stop loss limit orders are not supported for this symbol.")
        quantity, price, trigger = (params.amount(name) for name in ("quantity", "price", "stopPrice"))
        if quantity is None:
            raise missing("quantity")
        wanted = {"LIMIT": ("price", "timeInForce"), "LIMIT_MAKER": ("price",), "STOP_LOSS": ("stopPrice",)}
        for name in ("price", "timeInForce", "stopPrice"):
            if name in wanted.get(kind, ()):
                params.text(name)
            else:
                params.forbid(name)
        force = params.choice("timeInForce", ("GTC", "IOC"), -1115, "GTC")
        client_id = self._new_id(account, params, "newClientOrderId")
        self._percent(listing, price)
        record = account.submit(
            listing.symbol,
            side,
            OrderType.LIMIT if price is not None else OrderType.MARKET,
            quantity,
            client_id=client_id,
            price=price,
            trigger=trigger,
            time_in_force=TimeInForce(force),
            maker_only=kind == "LIMIT_MAKER",
        )
        self._form(params)
        return self.row(record)

    def pair(self, account: Coins, params: Params) -> dict[str, Any]:
        listing = self._listing(params)
        if params.choice("side", ("BUY", "SELL"), -1117) != "SELL":
            raise Wrong(-1106, "only sales are emulated")
        params.choice("aboveType", ("LIMIT_MAKER",), -1116)
        params.choice("belowType", ("STOP_LOSS",), -1116)
        amounts = {name: params.amount(name) for name in ("quantity", "abovePrice", "belowStopPrice")}
        for name, amount in amounts.items():
            if amount is None:
                raise missing(name)
        quantity, price, trigger = (amount or ZERO for amount in amounts.values())
        ids = [self._new_id(account, params, f"{leg}ClientOrderId") for leg in ("above", "below")]
        if ids[0] is not None and ids[0] == ids[1]:
            raise Wrong(-2010, "Duplicate order sent.")
        last = self.engine.price(listing.symbol)
        if not price > last > trigger:
            raise Wrong(-2010, _RELATION)
        self._percent(listing, price)
        target, stop = account.submit_pair(
            listing.symbol, quantity, price=price, trigger=trigger, target_id=ids[0], stop_id=ids[1]
        )
        self._form(params)
        names = [
            {"symbol": listing.venue_symbol, "orderId": leg.id, "clientOrderId": self._name(leg)}
            for leg in (stop, target)
        ]
        return {
            "orderListId": target.list_id,
            "contingencyType": "OCO",
            "listStatusType": "EXEC_STARTED",
            "listOrderStatus": "EXECUTING",
            "listClientOrderId": f"list{target.list_id}",
            "transactionTime": ms(self.engine.now()),
            "symbol": listing.venue_symbol,
            "orders": names,
            "orderReports": [self.row(stop), self.row(target)],
        }

    def one(self, account: Coins, params: Params) -> dict[str, Any]:
        record = self._find(account, params)
        if record is None:
            raise Wrong(-2013)
        return self.row(record)

    def open(self, account: Coins, params: Params) -> list[dict[str, Any]]:
        symbol = self._listing(params).symbol if "symbol" in params else None
        return [self.row(record) for record in account.orders(symbol, open=True)]

    def cancel(self, account: Coins, params: Params) -> dict[str, Any]:
        record = self._find(account, params)
        if record is None or not record.is_open:
            raise Wrong(-2011)
        account.cancel(record.id)
        return self.ended_row(record)

    def cancel_all(self, account: Coins, params: Params) -> list[dict[str, Any]]:
        ended = account.cancel_all(self._listing(params).symbol)
        if not ended:
            raise Wrong(-2011)
        return [self.ended_row(record) for record in ended]

    # -- rows ------------------------------------------------------------------------------------------

    def row(self, record: CoinRecord) -> dict[str, Any]:
        kind = (
            "STOP_LOSS" if record.conditional else "LIMIT_MAKER" if record.maker_only else record.type.value
        )
        worth = record.filled * (record.average or ZERO)
        row = {
            "symbol": self.engine.listing(record.symbol).venue_symbol,
            "orderId": record.id,
            "orderListId": -1 if record.list_id is None else record.list_id,
            "clientOrderId": self._name(record),
            "price": f"{record.price or ZERO:.8f}",
            "origQty": f"{record.quantity:.8f}",
            "executedQty": f"{record.filled:.8f}",
            "origQuoteOrderQty": "0.00000000",
            "cummulativeQuoteQty": f"{worth:.8f}",
            "status": record.state.value,
            "timeInForce": record.time_in_force.value,
            "type": "STOP_LOSS" if record.conditional else kind,
            "side": record.side.value,
            "transactTime": ms(record.updated_at),
            "updateTime": ms(record.updated_at),
            "selfTradePreventionMode": "EXPIRE_MAKER",
        }
        return row | ({"stopPrice": f"{record.trigger:.8f}"} if record.trigger is not None else {})

    def ended_row(self, record: CoinRecord) -> dict[str, Any]:
        """An answer to a cancellation, which has an id of its own."""
        return self.row(record) | {
            "origClientOrderId": self._name(record),
            "clientOrderId": f"cancel{record.id:018d}",
        }

    def _trade(self, fill: CoinFill) -> dict[str, Any]:
        return {
            "symbol": self.engine.listing(fill.symbol).venue_symbol,
            "id": fill.id,
            "orderId": fill.order_id,
            "orderListId": -1,
            "price": f"{fill.price:.8f}",
            "qty": f"{fill.quantity:.8f}",
            "quoteQty": f"{fill.quantity * fill.price:.8f}",
            "commission": plain(fill.fee),
            "commissionAsset": fill.fee_currency,
            "time": ms(fill.at),
            "isBuyer": fill.side is Side.BUY,
            "isMaker": fill.maker,
            "isBestMatch": True,
        }

    # -- what is asked for -----------------------------------------------------------------------------

    def _listing(self, params: Params) -> Listing:
        return self.engine.by_venue_symbol(params.text("symbol"))

    def _find(self, account: Coins, params: Params) -> CoinRecord | None:
        symbol = self._listing(params).symbol
        order_id, client_id = params.whole("orderId"), params.client_id("origClientOrderId")
        if order_id is None and client_id is None:
            raise Wrong(-1102, "Param 'origClientOrderId' or 'orderId' must be sent.")
        for record in reversed(account.orders(symbol)):
            if record.id == order_id or (order_id is None and self._name(record) == client_id):
                return record
        return None

    def _name(self, record: CoinRecord) -> str:
        return record.client_id or f"web_{record.id:018d}"

    def _new_id(self, account: Coins, params: Params, name: str) -> str | None:
        wanted = params.client_id(name)
        for record in account.records.values():
            if wanted is not None and record.client_id == wanted and record.state is not State.FILLED:
                raise Wrong(-2010, "Duplicate order sent.")
        return wanted

    def _percent(self, listing: Listing, price: Decimal | None) -> None:
        last = self.engine.price(listing.symbol)
        if price is not None and not last * _PERCENT_DOWN <= price <= last * _PERCENT_UP:
            raise Wrong(-1013, "Filter failure: PERCENT_PRICE_BY_SIDE")

    def _form(self, params: Params) -> None:
        params.choice("newOrderRespType", ("ACK", "RESULT", "FULL"), -1130, "FULL")


def _row(instrument: Instrument) -> dict[str, Any]:
    """Its element of exchangeInfo's `symbols`, amounts with the venue's zeros."""
    assert instrument.max_quantity is not None

    def padded(*amounts: tuple[str, Decimal]) -> dict[str, str]:
        return {name: f"{amount:.8f}" for name, amount in amounts}

    tick, lot, most = instrument.tick_size, instrument.lot_size, instrument.max_quantity
    filters: Sequence[dict[str, Any]] = [
        {
            "filterType": "PRICE_FILTER",
            **padded(("minPrice", tick), ("maxPrice", D(1_000_000)), ("tickSize", tick)),
        },
        {"filterType": "LOT_SIZE", **padded(("minQty", lot), ("maxQty", most), ("stepSize", lot))},
        {
            "filterType": "MARKET_LOT_SIZE",
            **padded(("minQty", ZERO), ("maxQty", most / 9), ("stepSize", ZERO)),
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": f"{instrument.min_notional:.8f}",
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": instrument.max_stops},
        {"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": 20},
    ]
    return {
        "symbol": instrument.base + instrument.quote,
        "status": "TRADING",
        "baseAsset": instrument.base,
        "baseAssetPrecision": 8,
        "quoteAsset": instrument.quote,
        "quotePrecision": 8,
        "orderTypes": list(_TYPES),
        "icebergAllowed": True,
        "ocoAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": True,
        "filters": filters,
        "permissions": [],
    }
