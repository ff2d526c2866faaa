"""What the emulated Binance lists, with the rules of each contract, and what exchangeInfo says of them.

Traps of the real list are in it: precisions that are finer than the steps, a market step of its own,
dated contracts, contracts that are not traded, contracts margined in coin.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from tests.emulator.binance_words import ms
from tests.emulator.nouns import Listing
from trading.model import Instrument, InstrumentKind, plain

D = Decimal
BTC = "BTC-USDT-PERP"
ETH = "ETH-USDT-PERP"
SOL = "SOL-USDT-PERP"
PEPE = "1000PEPE-USDT-PERP"

PRICES = {BTC: D(61000), ETH: D(3000), SOL: D(200), PEPE: D("0.0123456")}

MULTIPLIER_UP, MULTIPLIER_DOWN = D("1.05"), D("0.95")
MAX_ORDERS = 200
MAX_ALGO_ORDERS = 200
WEIGHT_A_MINUTE = 2400
ORDERS_A_MINUTE = 1200
ORDERS_IN_10_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """Up to `cap` of notional at up to `leverage`, with this maintenance margin."""

    leverage: int
    cap: Decimal
    maintenance: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """A Listing and what the venue has rules for besides."""

    listing: Listing
    price_precision: int
    quantity_precision: int
    market_step: Decimal
    market_max: Decimal
    min_price: Decimal
    max_price: Decimal
    brackets: tuple[Bracket, ...]

    @property
    def name(self) -> str:
        return self.listing.venue_symbol

    @property
    def instrument(self) -> Instrument:
        return self.listing.instrument

    def most_at(self, leverage: Decimal) -> Decimal:
        """The notional that a position may have at this leverage."""
        return max(bracket.cap for bracket in self.brackets if bracket.leverage >= leverage)

    def row(self) -> dict[str, Any]:
        """Its element of exchangeInfo's `symbols`."""
        instrument = self.instrument
        lot = {"minQty": plain(instrument.min_quantity), "stepSize": plain(instrument.lot_size)}
        market = {"minQty": plain(self.market_step), "stepSize": plain(self.market_step)}
        assert instrument.max_quantity is not None
        return {
            **_row(self.name, instrument.base, instrument.quote, instrument.quote),
            "pricePrecision": self.price_precision,
            "quantityPrecision": self.quantity_precision,
            "filters": [
                {
                    "filterType": "PRICE_FILTER",
                    "minPrice": plain(self.min_price),
                    "maxPrice": plain(self.max_price),
                    # With zeros at its end, as the venue writes it.
                    "tickSize": f"{instrument.tick_size:.{self.price_precision}f}",
                },
                {"filterType": "LOT_SIZE", "maxQty": plain(instrument.max_quantity), **lot},
                {"filterType": "MARKET_LOT_SIZE", "maxQty": plain(self.market_max), **market},
                {"filterType": "MAX_NUM_ORDERS", "limit": MAX_ORDERS},
                {"filterType": "MIN_NOTIONAL", "notional": plain(instrument.min_notional)},
                {
                    "filterType": "PERCENT_PRICE",
                    "multiplierUp": f"{MULTIPLIER_UP:.4f}",
                    "multiplierDown": f"{MULTIPLIER_DOWN:.4f}",
                    "multiplierDecimal": "4",
                },
                {"filterType": "POSITION_RISK_CONTROL", "positionControlSide": "NONE"},
            ],
        }

    def bracket_rows(self) -> list[dict[str, Any]]:
        """Of leverageBracket: here the venue writes JSON numbers."""
        rows, floor, sum_before, last = [], D(0), D(0), D(0)
        for number, bracket in enumerate(self.brackets, 1):
            sum_before += floor * (bracket.maintenance - last)
            rows.append(
                {
                    "bracket": number,
                    "initialLeverage": bracket.leverage,
                    "notionalCap": int(bracket.cap),
                    "notionalFloor": int(floor),
                    "maintMarginRatio": bracket.maintenance,
                    "cum": sum_before,
                }
            )
            floor, last = bracket.cap, bracket.maintenance
        return rows


def exchange_info(now: datetime, contracts: tuple[Contract, ...], *, coin_margined: bool) -> dict[str, Any]:
    dated = {
        **_row("BTCUSDT_260327", "BTC", "USDT", "USDT", contract="CURRENT_QUARTER"),
        "pair": "BTCUSDT",
        "deliveryDate": 1774598400000,
    }
    stock = _row("TSLAUSDT", "TSLA", "USDT", "USDT", contract="TRADIFI_PERPETUAL")
    closed = _row("LUNAUSDT", "LUNA", "USDT", "USDT", status="SETTLING")
    coin = {**_row("BTCUSD_PERP", "BTC", "USD", "BTC"), "pair": "BTCUSD", "contractSize": 100}
    strangers = [dated, stock, closed, *([coin] if coin_margined else [])]
    return {
        "timezone": "UTC",
        "serverTime": ms(now),
        "futuresType": "U_MARGINED",
        "rateLimits": [
            _limit("REQUEST_WEIGHT", "MINUTE", 1, WEIGHT_A_MINUTE),
            _limit("ORDERS", "MINUTE", 1, ORDERS_A_MINUTE),
            _limit("ORDERS", "SECOND", 10, ORDERS_IN_10_S),
        ],
        "exchangeFilters": [],
        "assets": [
            {"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"},
            {"asset": "BNB", "marginAvailable": True, "autoAssetExchange": "-10"},
        ],
        "symbols": [strangers[0], *(contract.row() for contract in contracts), *strangers[1:]],
    }


#: Listed, but not to be traded here: an order for one of them is answered with its status.
NOT_TRADED = {"LUNAUSDT": -4141, "BTCUSDT_260327": -4140, "TSLAUSDT": -4140}


def _limit(kind: str, interval: str, number: int, most: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": most}


def _row(
    name: str, base: str, quote: str, margin: str, *, contract: str = "PERPETUAL", status: str = "TRADING"
) -> dict[str, Any]:
    return {
        "symbol": name,
        "pair": name,
        "contractType": contract,
        "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000,
        "status": status,
        "baseAsset": base,
        "quoteAsset": quote,
        "marginAsset": margin,
        "pricePrecision": 2,
        "quantityPrecision": 3,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": ["PoW"],
        "triggerProtect": "0.0500",
        "marketTakeBound": "0.05",
        "liquidationFee": "0.012500",
        "orderTypes": [
            "LIMIT",
            "MARKET",
            "STOP",
            "STOP_MARKET",
            "TAKE_PROFIT",
            "TAKE_PROFIT_MARKET",
            "TRAILING_STOP_MARKET",
        ],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.1", "maxPrice": "1000000", "tickSize": "0.1"},
            {"filterType": "LOT_SIZE", "minQty": "1", "maxQty": "1000000", "stepSize": "1"},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "1", "maxQty": "60000", "stepSize": "1"},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": "1.0500",
                "multiplierDown": "0.9500",
                "multiplierDecimal": "4",
            },
        ],
    }


def _contract(
    symbol: str,
    *,
    tick: str,
    lot: str,
    most: str,
    notional: str,
    market: tuple[str, str],
    precisions: tuple[int, int],
    prices: tuple[str, str],
    leverages: tuple[int, ...],
) -> Contract:
    base, quote, _ = symbol.split("-")
    instrument = Instrument(
        symbol=symbol,
        base=base,
        quote=quote,
        kind=InstrumentKind.PERPETUAL,
        tick_size=D(tick),
        lot_size=D(lot),
        min_quantity=D(lot),
        min_notional=D(notional),
        max_quantity=D(most),
    )
    brackets = tuple(
        Bracket(leverage=leverage, cap=D(50_000) * 20**number, maintenance=D("0.004") * (number + 1))
        for number, leverage in enumerate(leverages)
    )
    return Contract(
        listing=Listing(
            symbol=symbol, venue_symbol=base + quote, instrument=instrument, max_leverage=D(leverages[0])
        ),
        price_precision=precisions[0],
        quantity_precision=precisions[1],
        market_step=D(market[0]),
        market_max=D(market[1]),
        min_price=D(prices[0]),
        max_price=D(prices[1]),
        brackets=brackets,
    )


CONTRACTS = (
    _contract(
        BTC,
        tick="0.1",
        lot="0.001",
        most="1000",
        notional="50",
        market=("0.001", "120"),
        precisions=(2, 3),
        prices=("556.80", "4529764"),
        leverages=(125, 100, 50),
    ),
    _contract(
        ETH,
        tick="0.01",
        lot="0.001",
        most="10000",
        notional="20",
        market=("0.01", "2000"),
        precisions=(2, 3),
        prices=("39.86", "306177"),
        leverages=(100, 75, 25),
    ),
    _contract(
        SOL,
        tick="0.01",
        lot="0.1",
        most="100000",
        notional="5",
        market=("0.1", "5000"),
        precisions=(4, 2),
        prices=("0.42", "6857"),
        leverages=(75, 50, 20),
    ),
    _contract(
        PEPE,
        tick="0.0000001",
        lot="1",
        most="80000000",
        notional="5",
        market=("1", "15000000"),
        precisions=(7, 0),
        prices=("0.0000021", "200"),
        leverages=(50, 25, 10),
    ),
)
