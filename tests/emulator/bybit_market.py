"""What the emulated Bybit shows to anybody, and what it shows of one account's money and positions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, localcontext
from itertools import groupby
from typing import Any

from tests.emulator.bybit_answers import maybe, scaled, stamp
from tests.emulator.engine import Account, Engine, Listing
from trading.model import ZERO, Candle, plain
from trading.rounding import MONEY

#: A market order may have half of what a limit order may.
MOST_AT_MARKET = Decimal("0.5")
#: Prices end at so many ticks.
MOST_TICKS = 19_999_998


def instrument(listing: Listing) -> dict[str, Any]:
    rules = listing.instrument
    own = {
        "symbol": listing.venue_symbol,
        "contractType": "LinearPerpetual",
        "baseCoin": rules.base,
        "quoteCoin": rules.quote,
        "settleCoin": rules.quote,
        "deliveryTime": "0",
    }
    most = rules.max_quantity or ZERO
    return _instrument(own, rules.tick_size, rules.lot_size, rules.min_quantity, most, listing.max_leverage)


def foreign(own: Mapping[str, str]) -> dict[str, Any]:
    lot = Decimal("0.001")
    return _instrument(own, Decimal("0.10"), lot, lot, Decimal(100), Decimal(50))


def _instrument(
    own: Mapping[str, str], tick: Decimal, lot: Decimal, least: Decimal, most: Decimal, leverage: Decimal
) -> dict[str, Any]:
    return {
        "symbol": own["symbol"],
        "contractType": own["contractType"],
        "status": "Trading",
        "baseCoin": own["baseCoin"],
        "quoteCoin": own["quoteCoin"],
        "launchTime": "1585526400000",
        "deliveryTime": own["deliveryTime"],
        "deliveryFeeRate": "",
        "priceScale": str(-int(tick.as_tuple().exponent)),
        "leverageFilter": {
            "minLeverage": "1",
            "maxLeverage": scaled(leverage, Decimal("0.01")),
            "leverageStep": "0.01",
        },
        "priceFilter": {
            "minPrice": format(tick, "f"),
            "maxPrice": format(tick * MOST_TICKS, "f"),
            "tickSize": format(tick, "f"),
        },
        "lotSizeFilter": {
            "maxOrderQty": scaled(most, lot),
            "minOrderQty": plain(least),
            "qtyStep": plain(lot),
            "postOnlyMaxOrderQty": scaled(most, lot),
            "maxMktOrderQty": scaled(most * MOST_AT_MARKET, lot),
            "minNotionalValue": "5",
        },
        "unifiedMarginTrade": True,
        "fundingInterval": 480,
        "settleCoin": own["settleCoin"],
        "copyTrading": "both",
        "upperFundingRate": "0.00375",
        "lowerFundingRate": "-0.00375",
        "isPreListing": False,
        "preListingInfo": None,
        "riskParameters": {"priceLimitRatioX": "0.01", "priceLimitRatioY": "0.02"},
    }


def ticker(engine: Engine, listing: Listing) -> dict[str, Any]:
    """The mark is the last price, the index a little off it."""
    last, tick = engine.price(listing.symbol), listing.instrument.tick_size
    same = scaled(last, tick)
    return {
        "symbol": listing.venue_symbol,
        "lastPrice": same,
        "indexPrice": scaled(last - 3 * tick, tick),
        "markPrice": same,
        "prevPrice24h": same,
        "price24hPcnt": "0",
        "highPrice24h": same,
        "lowPrice24h": same,
        "prevPrice1h": same,
        "openInterest": "49758.332",
        "openInterestValue": "2986499919.2",
        "turnover24h": "5110483192.16",
        "volume24h": "85211.448",
        "fundingRate": "0.0001",
        "nextFundingTime": stamp(engine.now()),
        "predictedDeliveryPrice": "",
        "basisRate": "",
        "deliveryFeeRate": "",
        "deliveryTime": "0",
        "ask1Size": "3.241",
        "bid1Price": scaled(last - tick, tick),
        "ask1Price": scaled(last + tick, tick),
        "bid1Size": "0.983",
        "basis": "",
    }


def candle(bar: Candle, *, mark: bool) -> list[str]:
    row = [stamp(bar.opened_at), *(plain(price) for price in (bar.open, bar.high, bar.low, bar.close))]
    return row if mark else [*row, plain(bar.volume), plain(bar.volume * bar.close)]


def months(days: Iterable[Candle]) -> Sequence[Candle]:
    """Bars of months out of those of their days."""
    made = []
    for _, group in groupby(days, key=lambda bar: (bar.opened_at.year, bar.opened_at.month)):
        bars = list(group)
        made.append(
            Candle(
                opened_at=bars[0].opened_at.replace(day=1),
                open=bars[0].open,
                high=max(bar.high for bar in bars),
                low=min(bar.low for bar in bars),
                close=bars[-1].close,
                volume=sum((bar.volume for bar in bars), ZERO),
            )
        )
    return made


# -- money and positions -------------------------------------------------------------------------------


def wallet(account: Account, *, isolated: bool, coins: set[str] | None) -> dict[str, Any]:
    """In isolated margin all that is account-wide is "" (the coin's own numbers are not)."""
    with localcontext(MONEY):
        equity, free = account.equity(), account.free()
        unrealised = equity - account.cash
        taken = equity - free
        held = sum((_margin(account, position.symbol) for position in account.positions()), ZERO)
        in_orders = max(taken - held, ZERO)
        in_positions, maintenance = taken - in_orders, held / 20
        realised = sum((account.realised(symbol) for symbol in account.traded()), ZERO)
        totals = {
            "accountIMRate": taken / equity if equity > 0 else ZERO,
            "accountMMRate": maintenance / equity if equity > 0 else ZERO,
            "totalEquity": equity,
            "totalWalletBalance": account.cash,
            "totalMarginBalance": equity,
            "totalAvailableBalance": max(free, ZERO),
            "totalPerpUPL": unrealised,
            "totalInitialMargin": taken,
            "totalMaintenanceMargin": maintenance,
        }
    usdt = {
        "coin": "USDT",
        "equity": plain(equity),
        "usdValue": plain(equity),
        "walletBalance": plain(account.cash),
        "locked": "0",
        "spotHedgingQty": "0",
        "borrowAmount": "0",
        "spotBorrow": "0",
        "accruedInterest": "0",
        "totalOrderIM": plain(in_orders),
        "totalPositionIM": plain(in_positions),
        "totalPositionMM": plain(maintenance),
        "unrealisedPnl": plain(unrealised),
        "cumRealisedPnl": plain(realised),
        "bonus": "0",
        "availableToWithdraw": "",
        "availableToBorrow": "",
        "marginCollateral": True,
        "collateralSwitch": True,
    }
    shown = account.cash != 0 and (coins is None or "USDT" in coins)
    return {
        "accountType": "UNIFIED",
        **{name: "" if isolated else plain(value) for name, value in totals.items()},
        "accountLTV": "",
        "coin": [usdt] if shown else [],
    }


def position(account: Account, listing: Listing, *, index: int, unset: str) -> dict[str, Any]:
    """A flat one, too."""
    symbol = listing.symbol
    held, last, stop = account.position(symbol), account.engine.price(symbol), account.stop_of(symbol)
    lot, tick, flat = listing.instrument.lot_size, listing.instrument.tick_size, held.is_flat
    fills = [fill for fill in account.fills if fill.symbol == symbol]
    average = None if flat else held.average_price
    with localcontext(MONEY):
        value, margin = abs(held.quantity) * (average or ZERO), _margin(account, symbol)
        realised = account.realised(symbol) - sum((fill.fee for fill in fills), ZERO)
    return {
        "positionIdx": index,
        "riskId": 1,
        "riskLimitValue": "2000000",
        "symbol": listing.venue_symbol,
        "side": "" if flat else "Buy" if held.quantity > 0 else "Sell",
        "size": "0" if flat else scaled(abs(held.quantity), lot),
        "avgPrice": maybe(average, "0"),
        "positionValue": "" if flat else plain(value),
        "tradeMode": 0,
        "autoAddMargin": 0,
        "positionStatus": "Normal",
        "leverage": plain(account.leverage(symbol)),
        "markPrice": scaled(last, tick),
        "liqPrice": "",
        "bustPrice": "",
        "breakEvenPrice": maybe(average),
        "positionIM": "" if flat else plain(margin),
        "positionMM": "" if flat else plain(margin / 20),
        "positionBalance": "0",
        "tpslMode": "Full",
        "takeProfit": "",
        "stopLoss": unset if stop is None or stop.trigger is None else scaled(stop.trigger, tick),
        "trailingStop": "0",
        "sessionAvgPrice": "",
        "unrealisedPnl": "" if flat else plain(account.unrealised(symbol)),
        "curRealisedPnl": plain(realised),
        "cumRealisedPnl": plain(realised),
        "adlRankIndicator": 0 if flat else 2,
        "isReduceOnly": False,
        "mmrSysUpdatedTime": "",
        "leverageSysUpdatedTime": "",
        "seq": fills[-1].id if fills else -1,
        "createdTime": "1676538056258",
        "updatedTime": stamp(fills[-1].at) if fills else "1676538056258",
    }


def _margin(account: Account, symbol: str) -> Decimal:
    held = account.position(symbol)
    with localcontext(MONEY):
        return abs(held.quantity) * (held.average_price or ZERO) / account.leverage(symbol)
