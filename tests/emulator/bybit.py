"""Bybit V5 as its documents describe it, over HTTP, in front of the engine: linear perpetuals.

It must never be kinder than the venue: what its documents leave open (`Doubts`) is read against the client.
Not emulated: spot, orders of a hedge account, take-profits and trailing stops of the position, partial stops.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.emulator import bybit_answers as answers
from tests.emulator import bybit_market as market
from tests.emulator.bybit_asked import PARAMETER, REFUSALS, Asked, No, milliseconds, of_body, of_query
from tests.emulator.bybit_asks import Asks
from tests.emulator.engine import Account, Engine, Listing, Refusal, Rules
from tests.emulator.wire import Dialect, Request, Response
from trading.matching import Fees
from trading.model import Instrument, InstrumentKind

KEY, SECRET = "emulator-key-bybit", "emulator-secret-bybit"
BTC, ETH, PEPE = "BTC-USDT-PERP", "ETH-USDT-PERP", "1000PEPE-USDT-PERP"
#: What `build` lists, and at which price.
PRICES: Mapping[str, Decimal] = {BTC: Decimal(60000), ETH: Decimal(3000), PEPE: Decimal("0.0123456")}
#: symbol: tick, lot, the largest size.
_STEPS = {
    BTC: ("0.10", "0.001", "1190"),
    ETH: ("0.01", "0.01", "7240"),
    PEPE: ("0.0000001", "100", "200000000"),
}

_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)
_INTERVALS = {
    **{str(minutes): minutes * _MINUTE for minutes in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720)},
    "D": _DAY,
    "W": timedelta(days=7),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubts:
    """What the documents leave open, and what is done here.

    `queued_reads`: how often an order still shows as open after its cancellation was taken. `unseen_reads`:
    how often a new order does not show yet. `burns_refused`: an order that was refused has used up its
    client id. `tells_ended`: to cancel what has ended is 110008 or 110010 (otherwise 110001, as of one that
    never was). `needs_symbol`: an order is asked for by its id and a symbol. `remembers`: how many ended
    orders the open orders' call still finds by id. `conditional_needs_position`: a conditional reduce-only
    order needs a position when it is placed. `refuses_unknown`: parameters that a call does not have are
    refused (otherwise passed over). `unset`: a stop that is not set. `margin_code`: 110007 or 110012.
    `band`: a price may reach so far beyond the last one. `instrument_rows`: most rows of a page of
    instruments. `limited`: calls of one account and path in a second are counted and refused (otherwise only
    counted, for a clock that stands still). `throttled_status`: HTTP status of too many visits.
    """

    queued_reads: int = 1
    unseen_reads: int = 1
    burns_refused: bool = True
    tells_ended: bool = False
    needs_symbol: bool = True
    remembers: int = 500
    conditional_needs_position: bool = True
    refuses_unknown: bool = True
    unset: str = "0.00"
    margin_code: int = 110007
    band: Decimal = Decimal("0.02")
    instrument_rows: int = 1000
    limited: bool = True
    throttled_status: int = 200


#: (method, path): its name here; the public ones first.
_PUBLIC = {
    ("GET", "/v5/market/time"): "time",
    ("GET", "/v5/market/instruments-info"): "instruments",
    ("GET", "/v5/market/tickers"): "tickers",
    ("GET", "/v5/market/kline"): "candles",
    ("GET", "/v5/market/mark-price-kline"): "mark_candles",
}
_PRIVATE = {
    ("GET", "/v5/account/wallet-balance"): "wallet",
    ("GET", "/v5/account/info"): "info",
    ("POST", "/v5/account/set-margin-mode"): "set_margin_mode",
    ("GET", "/v5/user/query-api"): "query_api",
    ("GET", "/v5/position/list"): "positions",
    ("GET", "/v5/position/closed-pnl"): "closed_pnl",
    ("POST", "/v5/position/set-leverage"): "set_leverage",
    ("POST", "/v5/position/switch-mode"): "switch_mode",
    ("POST", "/v5/position/trading-stop"): "trading_stop",
    ("GET", "/v5/execution/list"): "executions",
    ("POST", "/v5/order/create"): "create",
    ("POST", "/v5/order/amend"): "amend",
    ("POST", "/v5/order/cancel"): "cancel",
    ("POST", "/v5/order/cancel-all"): "cancel_all",
    ("GET", "/v5/order/realtime"): "realtime",
    ("GET", "/v5/order/history"): "history",
}
_SECOND = timedelta(seconds=1)
#: Calls of one account in a second, where they are not 50.
_PER_SECOND = {
    **dict.fromkeys(("create", "amend", "cancel", "cancel_all"), 10),
    **dict.fromkeys(("set_leverage", "switch_mode", "trading_stop", "query_api"), 10),
    "set_margin_mode": 5,
}
_PATHS = {path for _, path in (*_PUBLIC, *_PRIVATE)}


class Bybit(Asks, Dialect):
    name = "BYBIT"

    def __init__(self, engine: Engine, *, doubts: Doubts) -> None:
        super().__init__(engine, doubts=doubts)
        self._visits: dict[tuple[str, str], list[datetime]] = {}

    # -- as a dialect ----------------------------------------------------------------------------------

    def handle(self, request: Request) -> Response:
        if request.path not in _PATHS:
            return Response(status=404, body=b"404 page not found")
        if request.method == "GET" and request.body:
            return Response(status=403, body=b"403 Forbidden")
        try:
            return self._answer(request)
        except No as no:
            return self._said(no.code, no.text, no.result)
        except Refusal as refusal:
            return self._said(*REFUSALS[refusal.kind])

    def throttled(self, retry_after_s: int) -> Response:
        free_at = self.engine.now() + timedelta(seconds=retry_after_s)
        text, status = "Too many visits. Exceeded the API Rate Limit.", self.doubts.throttled_status
        said = self._said(10006, text, status=status)
        return replace(said, headers=self._limits(10, 0, free_at))

    def banned(self, until: datetime) -> Response:
        return Response(status=403, body=b"access too frequent")

    def unknown(self) -> Response:
        return self._said(10016, "Server error")

    # -- who asks, and what for ------------------------------------------------------------------------

    def _answer(self, request: Request) -> Response:
        call = (request.method, request.path)
        if call in _PUBLIC:
            return self._said(0, "OK", getattr(self, f"_{_PUBLIC[call]}")(of_query(request)))
        if call not in _PRIVATE:
            return Response(status=400, body=b"400 Bad Request")
        names = ("X-BAPI-API-KEY", "X-BAPI-TIMESTAMP", "X-BAPI-SIGN")
        if not all(request.headers.get(name) for name in names):
            return Response(status=401, body=b"")
        account = self._logged_in(request)
        name = _PRIVATE[call]
        left = self._left(account, name)
        if left < 0:
            return self.throttled(1)
        try:
            if request.method == "POST" and not account.may_trade:
                raise No(10005, "Permission denied, please check your API key permissions.")
            asked = of_query(request) if request.method == "GET" else of_body(request)
            said = self._said(0, "OK", getattr(self, f"_{name}")(account, asked))
        except No as no:
            said = self._said(no.code, no.text, no.result)
        except Refusal as refusal:
            said = self._said(*REFUSALS[refusal.kind])
        return replace(said, headers=self._limits(_PER_SECOND.get(name, 50), left))

    def _logged_in(self, request: Request) -> Account:
        key, at, signature = (request.headers[f"X-BAPI-{name}"] for name in ("API-KEY", "TIMESTAMP", "SIGN"))
        said = request.headers.get("X-BAPI-RECV-WINDOW")
        window = "5000" if said is None else said
        if request.headers.get("X-BAPI-SIGN-TYPE", "2") != "2":
            raise No(10004, "Error sign, please check your signature generation algorithm.")
        account = self.engine.account(key)
        if account is None:
            raise No(10003, "API key is invalid.")
        digits = at.isascii() and at.isdigit() and window.isascii() and window.isdigit()
        now = milliseconds(self.engine.now())
        if not digits or not now - int(window) <= int(at) < now + 1000:
            raise No(
                10002,
                "invalid request, please check your server timestamp or recv_window param. "
                f"req_timestamp[{at}],server_timestamp[{now}],recv_window[{window}]",
            )
        content = request.query_text.encode() if request.method == "GET" else request.body
        # The query of a POST says nothing and is not signed; the window is signed as it was sent.
        payload = f"{at}{key}{said or ''}".encode() + content
        right = hmac.new(account.secret.encode(), payload, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(right.encode(), signature.encode()):
            raise No(10004, "Error sign, please check your signature generation algorithm.")
        return account

    def _left(self, account: Account, name: str) -> int:
        """How many more calls this second takes after this one; negative for one too many."""
        now, visits = self.engine.now(), self._visits.setdefault((account.key, name), [])
        visits[:] = [at for at in visits if now - at < _SECOND]
        left = _PER_SECOND.get(name, 50) - len(visits) - 1
        if left < 0:
            return left if self.doubts.limited else 0
        visits.append(now)
        return left

    def _limits(self, most: int, left: int, free_at: datetime | None = None) -> dict[str, str]:
        return {
            "X-Bapi-Limit": str(most),
            "X-Bapi-Limit-Status": str(left),
            "X-Bapi-Limit-Reset-Timestamp": answers.stamp(free_at or self.engine.now()),
        }

    def _said(self, code: int, text: str, result: Any = None, *, status: int = 200) -> Response:
        body = {
            "retCode": code,
            "retMsg": text,
            "result": {} if result is None else result,
            "retExtInfo": {},
            "time": milliseconds(self.engine.now()),
        }
        return Response(status=status, body=body)

    # -- public ----------------------------------------------------------------------------------------

    def _time(self, asked: Asked) -> dict[str, str]:
        now = milliseconds(self.engine.now())
        return {"timeSecond": str(now // 1000), "timeNano": f"{now}456789"}

    def _instruments(self, asked: Asked) -> dict[str, Any]:
        self._known(asked, "category", "symbol", "status", "baseCoin", "symbolType", "limit", "cursor")
        self._category(asked)
        rows = min(asked.rows(default=500, most=1000), self.doubts.instrument_rows)
        symbol, base = asked.text("symbol"), asked.text("baseCoin")
        found = [market.foreign(own) for own in answers.FOREIGN]
        found += [market.instrument(listing) for listing in self.engine.listings()]
        wanted = [row for row in found if symbol in (None, row["symbol"]) and base in (None, row["baseCoin"])]
        if symbol is not None and not wanted:
            raise No(PARAMETER, "params error: symbol invalid")
        if (
            asked.choice("status", "Trading", "PreLaunch", "Delivering", "Closed", default="Trading")
            != "Trading"
        ):
            wanted = []
        return self._page(asked, wanted, rows, lambda row: row)

    def _tickers(self, asked: Asked) -> dict[str, Any]:
        self._known(asked, "category", "symbol", "baseCoin", "expDate")
        self._category(asked)
        symbol = asked.text("symbol")
        wanted = self.engine.listings() if symbol is None else [self.engine.by_venue_symbol(symbol)]
        return {
            "category": self.category,
            "list": [market.ticker(self.engine, listing) for listing in wanted],
        }

    def _candles(self, asked: Asked, *, mark: bool = False) -> dict[str, Any]:
        """Newest first; the first may still be open."""
        self._known(asked, "category", "symbol", "interval", "start", "end", "limit")
        listing = self._listing(asked)
        interval = asked.choice("interval", *_INTERVALS, "M")
        width, each = _INTERVALS.get(interval, timedelta(days=31)), _INTERVALS.get(interval, _DAY)
        rows = asked.rows(default=200, most=1000)
        start, end = asked.at("start"), asked.at("end")
        last = min(end or self.engine.now(), self.engine.now())
        first = max(start or last - width * rows, last - width * rows)
        bars = self.engine.candles(listing.symbol, each, first, last)
        bars = (market.months(bars) if interval == "M" else bars)[-rows:]
        return {
            "category": self.category,
            "symbol": listing.venue_symbol,
            "list": [market.candle(bar, mark=mark) for bar in reversed(bars)],
        }

    def _mark_candles(self, asked: Asked) -> dict[str, Any]:
        return self._candles(asked, mark=True)


def build(
    clock: Callable[[], datetime],
    *,
    cash: Decimal = Decimal(100_000),
    leverage: Decimal = Decimal(10),
    hedge: bool = False,
    may_trade: bool = True,
    may_withdraw: bool = False,
    prices: Mapping[str, Decimal] = PRICES,
    **doubts: Any,
) -> tuple[Engine, Bybit]:
    """Three perpetuals at `prices`, and one account of KEY and SECRET; `doubts` as in Doubts."""
    rules = Rules(
        separate_triggers=False,
        shared_ids=True,
        reduce_only_goes=True,
        max_conditional=10,
        fees=Fees(maker=answers.MAKER, taker=answers.TAKER),
    )
    engine = Engine(clock, rules)
    for symbol, price in prices.items():
        engine.list(_perpetual(symbol), price)
    engine.open(
        Account(
            KEY,
            SECRET,
            cash=cash,
            hedge=hedge,
            leverage=leverage,
            may_trade=may_trade,
            may_withdraw=may_withdraw,
        )
    )
    return engine, Bybit(engine, doubts=Doubts(**doubts))


def _perpetual(symbol: str) -> Listing:
    base, quote, _ = symbol.split("-")
    tick, lot, most = _STEPS[symbol]
    instrument = Instrument(
        symbol=symbol,
        base=base,
        quote=quote,
        kind=InstrumentKind.PERPETUAL,
        tick_size=Decimal(tick),
        lot_size=Decimal(lot),
        min_quantity=Decimal(lot),
        min_notional=Decimal(5),
        max_quantity=Decimal(most),
    )
    return Listing(symbol=symbol, venue_symbol=f"{base}{quote}", instrument=instrument)
