"""What the emulated Binance tells everybody: its clock, its contracts, prices, bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.emulator.binance_calls import Call, Desk, call, with_symbol
from tests.emulator.binance_rules import Contract, exchange_info
from tests.emulator.binance_words import Params, Wrong, from_ms, ms, stepped
from trading.model import Candle, plain

_MONTH = timedelta(days=31)
_MINUTES = {"1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30}
_HOURS = {"1h": 1, "2h": 2, "4h": 4, "6h": 6, "8h": 8, "12h": 12, "1d": 24, "3d": 72, "1w": 168}
INTERVALS = {
    **{name: timedelta(minutes=count) for name, count in _MINUTES.items()},
    **{name: timedelta(hours=count) for name, count in _HOURS.items()},
}


class Market:
    """What is public."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def calls(self) -> dict[tuple[str, str], Call]:
        return {
            ("GET", "/fapi/v1/ping"): call(lambda _, __: {}, signed=False),
            ("GET", "/fapi/v1/time"): call(self.time, signed=False),
            ("GET", "/api/v3/time"): call(self.time, signed=False),
            ("GET", "/fapi/v1/exchangeInfo"): call(self.info, signed=False),
            ("GET", "/fapi/v2/ticker/price"): call(self.ticker, "symbol", with_symbol(1, 2), signed=False),
            ("GET", "/fapi/v1/ticker/bookTicker"): call(self.book, "symbol", with_symbol(2, 5), signed=False),
            ("GET", "/fapi/v1/premiumIndex"): call(self.premium, "symbol", with_symbol(1, 10), signed=False),
            ("GET", "/fapi/v1/klines"): call(
                self.klines, "symbol interval startTime endTime limit", _klines_cost, signed=False
            ),
        }

    def time(self, _: None, __: Params) -> dict[str, Any]:
        return {"serverTime": ms(self.desk.engine.now())}

    def info(self, _: None, __: Params) -> dict[str, Any]:
        contracts = tuple(self.desk.contracts.values())
        return exchange_info(self.desk.engine.now(), contracts, coin_margined=self.desk.flags.coin_margined)

    def ticker(self, _: None, params: Params) -> Any:
        return self._one_or_all(
            params, lambda contract, price, now: {"symbol": contract.name, "price": price, "time": now}
        )

    def book(self, _: None, params: Params) -> Any:
        return self._one_or_all(
            params,
            lambda contract, price, now: {
                "symbol": contract.name,
                "bidPrice": price,
                "bidQty": "31.000",
                "askPrice": price,
                "askQty": "9.000",
                "time": now,
            },
        )

    def premium(self, _: None, params: Params) -> Any:
        return self._one_or_all(
            params,
            lambda contract, price, now: {
                "symbol": contract.name,
                "markPrice": f"{Decimal(price):.8f}",
                "indexPrice": f"{Decimal(price):.8f}",
                "estimatedSettlePrice": f"{Decimal(price):.8f}",
                "lastFundingRate": "0.00010000",
                "interestRate": "0.00010000",
                "nextFundingTime": now - now % 28_800_000 + 28_800_000,
                "time": now,
            },
        )

    def klines(self, _: None, params: Params) -> list[list[Any]]:
        contract = self.desk.contract(params)
        interval = params.text("interval")
        if interval != "1M" and interval not in INTERVALS:
            raise Wrong(-1120)
        limit = params.limit(500, 1500)
        start_ms, end_ms = params.whole("startTime"), params.whole("endTime")
        end = self.desk.engine.now() if end_ms is None else from_ms(end_ms)
        step = INTERVALS.get(interval, _MONTH)
        start = end - step * limit if start_ms is None else from_ms(start_ms)
        bars: Sequence[Candle]
        if interval == "1M":
            bars = self._months(contract, start, end)
        else:
            bars = self.desk.engine.candles(contract.listing.symbol, step, start, end)
        bars = bars[-limit:] if start_ms is None else bars[:limit]
        tick = contract.instrument.tick_size
        return [
            [
                ms(bar.opened_at),
                *(stepped(price, tick) for price in (bar.open, bar.high, bar.low, bar.close)),
                plain(bar.volume),
                ms(_next(bar.opened_at) if interval == "1M" else bar.opened_at + step) - 1,
                "0",
                0,
                "0",
                "0",
                "0",
            ]
            for bar in bars
        ]

    def _months(self, contract: Contract, start: datetime, end: datetime) -> list[Candle]:
        """Months that open in [start, end], out of days."""
        months: list[Candle] = []
        first = start.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        first = first if first == start else _next(first)
        for day in self.desk.engine.candles(contract.listing.symbol, timedelta(days=1), first, _next(end)):
            opened_at = day.opened_at.replace(day=1)
            if not months or months[-1].opened_at != opened_at:
                months.append(replace(day, opened_at=opened_at))
                continue
            so_far = months[-1]
            months[-1] = replace(
                so_far, high=max(so_far.high, day.high), low=min(so_far.low, day.low), close=day.close
            )
        return [month for month in months if month.opened_at <= end]

    def _one_or_all(self, params: Params, row: Any) -> Any:
        now = ms(self.desk.engine.now())
        rows = []
        for contract in self.desk.wanted(params):
            price = self.desk.engine.price(contract.listing.symbol)
            rows.append(row(contract, f"{price:.{contract.price_precision}f}", now))
        if "symbol" in params:
            return rows[0]
        if self.desk.flags.coin_margined:
            rows.append(rows[0] | {"symbol": "BTCUSD_PERP", "pair": "BTCUSD"})
        return rows


def _next(at: datetime) -> datetime:
    """The first instant of the month after."""
    later = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)
    return later.replace(day=1)


def _klines_cost(params: Params) -> int:
    limit = params.whole("limit", 500) or 500
    return next((cost for below, cost in ((100, 1), (500, 2), (1001, 5)) if limit < below), 10)
