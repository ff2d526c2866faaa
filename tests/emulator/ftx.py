"""FTX as its documents describe it, over HTTP, in front of the engine: who asks, what for, and the answer.

It must never be kinder than the venue was: what its documents leave open (`Doubts`) is read against the
client.
Not emulated: trailing stops, bulk cancels, spot and dated markets (listed, not traded).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from tests.emulator import ftx_answers as answers
from tests.emulator.engine import Account, Engine, Listing, Refusal, Rules
from tests.emulator.ftx_acts import Acts
from tests.emulator.ftx_asked import TEXTS, Asked, No, asked, milliseconds
from tests.emulator.wire import Dialect, Request, Response
from trading.matching import Fees
from trading.model import Instrument, InstrumentKind

KEY, SECRET = "emulator-key-ftx", "emulator-secret-ftx"
BTC, ETH, KSHIB = "BTC-USD-PERP", "ETH-USD-PERP", "KSHIB-USD-PERP"
#: What `build` lists, and at which price.
PRICES: Mapping[str, Decimal] = {
    BTC: Decimal(60000),
    ETH: Decimal("3000.5"),
    KSHIB: Decimal("0.012345"),
}

_WINDOW = timedelta(seconds=30)
_SUBACCOUNT = re.compile(r"[A-Za-z0-9_.~!*'()/-]*(%[0-9A-Fa-f]{2}[A-Za-z0-9_.~!*'()/-]*)*", re.ASCII)
#: symbol: tick, lot, the smallest size that may rest.
_STEPS = {BTC: ("1", "0.0001", "0.001"), ETH: ("0.1", "0.001", "0.001"), KSHIB: ("0.000001", "10", "10")}
_NOT_LOGGED_IN = "Not logged in"
_GET, _POST, _DELETE = "GET", "POST", "DELETE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubts:
    """What the documents leave open, and what is done here.

    `status`: HTTP status of business errors. `queued_reads`: how often an order still shows as open after
    its cancellation was queued. `settled`: positions' entry prices have just been reset to the last price.
    `rounds`: prices and sizes between two steps are rounded (otherwise refused). `refuses_unknown`:
    parameters that a call does not have are refused (otherwise passed over). `forgets_unfilled_after`: when
    a closed order without a fill can no longer be queried (None: never). `modify_loses`: a refused change
    leaves the old order cancelled. `fills_rows`, `fills_most`: fills a page, and at most. `late_text`: to
    an order that came after its rejectAfterTs. `unknown_text`: when the outcome is unknown.
    `orders_per_200ms`: of one account (None: without limit, for a clock that stands still). `shift`:
    conditional ids start that much later than the others, so that the two kinds share their numbers.
    `band`: a price may reach so far beyond the last one.
    """

    status: int = 400
    queued_reads: int = 1
    settled: bool = True
    rounds: bool = False
    refuses_unknown: bool = True
    forgets_unfilled_after: timedelta | None = timedelta(hours=1)
    modify_loses: bool = True
    fills_rows: int = 20
    fills_most: int = 100
    late_text: str = "Order rejected: it came after rejectAfterTs"
    unknown_text: str = "An unexpected error occurred, please try again later (4f1c)"
    orders_per_200ms: int | None = None
    shift: int = 1
    band: Decimal = Decimal("0.05")
    header_prefix: str = "FTX-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    method: str
    template: str
    name: str
    public: bool = False
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        # A market's name may hold a slash, unescaped.
        text = self.template.replace("{market}", "(?P<market>.+)").replace("{future}", "(?P<future>.+)")
        text = re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", text)
        object.__setattr__(self, "pattern", re.compile(text))


def _routes(*rows: tuple[str, str, str], public: bool = False) -> list[Route]:
    return [
        Route(method=method, template=f"/api{path}", name=name, public=public) for method, path, name in rows
    ]


_ROUTES = [
    *_routes(
        (_GET, "/time", "time"),
        (_GET, "/markets", "markets"),
        (_GET, "/markets/{market}/candles", "candles"),
        (_GET, "/markets/{market}", "market"),
        (_GET, "/futures", "futures"),
        (_GET, "/futures/{future}", "future"),
        (_GET, "/funding_rates", "funding_rates"),
        public=True,
    ),
    *_routes(
        (_GET, "/account", "account"),
        (_POST, "/account/leverage", "set_leverage"),
        (_GET, "/positions", "positions"),
        (_GET, "/wallet/balances", "balances"),
        (_GET, "/wallet/all_balances", "all_balances"),
        (_GET, "/funding_payments", "funding_payments"),
        (_GET, "/fills", "fills"),
        (_GET, "/orders", "open_orders"),
        (_POST, "/orders", "place"),
        (_DELETE, "/orders", "cancel_all"),
        (_GET, "/orders/history", "order_history"),
        (_GET, "/orders/by_client_id/{clientId}", "order"),
        (_DELETE, "/orders/by_client_id/{clientId}", "cancel"),
        (_POST, "/orders/by_client_id/{clientId}/modify", "modify"),
        (_GET, "/orders/{id}", "order"),
        (_DELETE, "/orders/{id}", "cancel"),
        (_POST, "/orders/{id}/modify", "modify"),
        (_GET, "/conditional_orders", "open_conditional"),
        (_POST, "/conditional_orders", "place_conditional"),
        (_GET, "/conditional_orders/history", "conditional_history"),
        (_GET, "/conditional_orders/{id}/triggers", "triggers"),
        (_POST, "/conditional_orders/{id}/modify", "modify_conditional"),
        (_DELETE, "/conditional_orders/{id}", "cancel_conditional"),
    ),
]


class Ftx(Acts, Dialect):
    """`min_provide`: the smallest size that may rest, by the house's symbol (absent: one lot)."""

    name = "FTX"

    def __init__(self, engine: Engine, *, min_provide: Mapping[str, Decimal], doubts: Doubts) -> None:
        super().__init__(engine, min_provide=min_provide, doubts=doubts)

    # -- as a dialect ----------------------------------------------------------------------------------

    def handle(self, request: Request) -> Response:
        try:
            return Response(body={"success": True, **self._answer(request)})
        except Refusal as refusal:
            return self._failure(TEXTS[refusal.kind])
        except No as no:
            return self._failure(no.text, no.status)

    def throttled(self, retry_after_s: int) -> Response:
        return self._failure("Do not send more than 2 orders per 200ms", 429)

    def banned(self, until: datetime) -> Response:
        return self._failure("Cannot send more than 1500 requests per minute", 429)

    def unknown(self) -> Response:
        return self._failure(self.doubts.unknown_text)

    def route(self, path: str) -> str:
        return next((route.template for route in _ROUTES if route.pattern.fullmatch(path)), path)

    # -- who asks, and what for ------------------------------------------------------------------------

    def _answer(self, request: Request) -> dict[str, Any]:
        matching = [
            (route, match)
            for route in _ROUTES
            if (match := route.pattern.fullmatch(request.path)) is not None
        ]
        # "/orders/history" is no order's id: the first path that fits is the one.
        template = matching[0][0].template if matching else None
        for route, match in matching:
            if (route.method, route.template) == (request.method, template):
                ids = {name: unquote(value) for name, value in match.groupdict().items()}
                if route.public:
                    result = getattr(self, f"_{route.name}")(asked(request), **ids)
                else:
                    account = self._logged_in(request)
                    if request.method != _GET and not account.may_trade:
                        raise No("Not approved to trade this product")
                    result = getattr(self, f"_{route.name}")(account, asked(request), **ids)
                return result if isinstance(result, answers.Page) else {"result": result}
        raise No("Not found", 404)

    def _logged_in(self, request: Request) -> Account:
        key, stamp, signature = (
            request.headers.get(self.doubts.header_prefix + name) for name in ("KEY", "TS", "SIGN")
        )
        if key is None or stamp is None or signature is None:
            raise No(_NOT_LOGGED_IN, 401)
        known = [account for account in self.engine.accounts if account.key == key]
        if not known:
            raise No(f"{_NOT_LOGGED_IN}: Invalid API key", 401)
        if not stamp.isascii() or not stamp.isdigit():
            raise No(_NOT_LOGGED_IN, 401)
        payload = f"{stamp}{request.method}{request.target}".encode() + request.body
        right = hmac.new(known[0].secret.encode(), payload, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(right.encode(), signature.encode()):
            raise No(f"{_NOT_LOGGED_IN}: Invalid signature", 401)
        if abs(milliseconds(self.engine.now()) - int(stamp)) > _WINDOW // timedelta(milliseconds=1):
            raise No(f"{_NOT_LOGGED_IN}: Timestamp too far from current time", 401)
        return self._of_subaccount(known, request.headers.get(f"{self.doubts.header_prefix}SUBACCOUNT"))

    def _of_subaccount(self, known: list[Account], header: str | None) -> Account:
        """A key of the main account reaches them all; one that is bound to a subaccount, that one only."""
        if header is not None and not _SUBACCOUNT.fullmatch(header):
            raise No("No such subaccount")
        name = unquote(header or "")
        found = next((account for account in known if account.subaccount == name), None)
        if found is not None:
            return found
        if any(not account.subaccount for account in known):
            raise No("No such subaccount")
        raise No(f"Only have permissions for subaccount {known[0].subaccount}")

    def _failure(self, text: str, status: int | None = None) -> Response:
        return Response(status=status or self.doubts.status, body={"success": False, "error": text})

    # -- public ----------------------------------------------------------------------------------------

    def _time(self, asked: Asked) -> str:
        return self.engine.now().isoformat()

    def _markets(self, asked: Asked) -> list[dict[str, Any]]:
        own = [answers.market(self.engine, one, self._provide(one)) for one in self.engine.listings()]
        return [*own, *(answers.foreign_market(name) for name in answers.FOREIGN)]

    def _market(self, asked: Asked, market: str) -> dict[str, Any]:
        if market in answers.FOREIGN:
            return answers.foreign_market(market)
        listing = self._listing(market)
        return answers.market(self.engine, listing, self._provide(listing))

    def _futures(self, asked: Asked) -> list[dict[str, Any]]:
        own = [answers.future(self.engine, one, self.doubts.band) for one in self.engine.listings()]
        dated = [name for name in answers.FOREIGN if "/" not in name]
        return [*own, *(answers.foreign_future(name, self.doubts.band) for name in dated)]

    def _future(self, asked: Asked, future: str) -> dict[str, Any]:
        if future in answers.FOREIGN and "/" not in future:
            return answers.foreign_future(future, self.doubts.band)
        return answers.future(self.engine, self._listing(future, "future"), self.doubts.band)

    def _funding_rates(self, asked: Asked) -> list[dict[str, Any]]:
        self._known(asked, "future", "start_time", "end_time")
        hour = self.engine.now().replace(minute=0, second=0, microsecond=0)
        names = [listing.venue_symbol for listing in self.engine.listings()]
        wanted = [name for name in names if asked.text("future") in (None, name)]
        return [{"future": name, "rate": 0.00001, "time": hour.isoformat()} for name in wanted]

    def _candles(self, asked: Asked, market: str) -> list[dict[str, Any]]:
        self._known(asked, "resolution", "start_time", "end_time", "limit")
        text, day = asked.need_text("resolution"), 86400
        step = int(text) if text.isascii() and text.isdigit() else 0
        days = step % day == 0 and day <= step <= 30 * day
        if step not in (15, 60, 300, 900, 3600, 14400) and not days:
            raise No("Invalid parameter resolution")
        start, end = asked.at("start_time"), asked.at("end_time")
        rows = asked.rows(default=1501, most=5000)
        width, last = timedelta(seconds=step), min(end or self.engine.now(), self.engine.now())
        first = max(start or last - width * rows, last - width * rows)
        bars = self.engine.candles(self._listing(market).symbol, width, first, last)
        return [answers.candle(bar) for bar in bars[-rows:]]


def build(
    clock: Callable[[], datetime],
    *,
    cash: Decimal = Decimal(100_000),
    subaccount: str = "",
    leverage: Decimal = Decimal(10),
    may_trade: bool = True,
    prices: Mapping[str, Decimal] = PRICES,
    **doubts: Any,
) -> tuple[Engine, Ftx]:
    """Three perpetuals at `prices`, and one account of KEY and SECRET; `doubts` as in Doubts."""
    engine = Engine(clock, Rules(fees=Fees(maker=answers.MAKER, taker=answers.TAKER)))
    for symbol, price in prices.items():
        engine.list(_perpetual(symbol), price)
    engine.open(
        Account(KEY, SECRET, subaccount, cash=cash, leverage=leverage, may_trade=may_trade),
    )
    min_provide = {symbol: Decimal(provide) for symbol, (_, _, provide) in _STEPS.items()}
    return engine, Ftx(engine, min_provide=min_provide, doubts=Doubts(**doubts))


def _perpetual(symbol: str) -> Listing:
    base, quote, _ = symbol.split("-")
    tick, lot, _ = _STEPS[symbol]
    instrument = Instrument(
        symbol=symbol,
        base=base,
        quote=quote,
        kind=InstrumentKind.PERPETUAL,
        tick_size=Decimal(tick),
        lot_size=Decimal(lot),
        min_quantity=Decimal(lot),
        max_quantity=Decimal(99_999_999),
    )
    return Listing(
        symbol=symbol, venue_symbol=f"{base}-PERP", instrument=instrument, max_leverage=Decimal(20)
    )
