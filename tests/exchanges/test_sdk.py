"""The venues' own SDKs send what the adapters send: same order, same clock, same emulated venue.

Each side meets a fresh venue that verifies signature and window; what both sent is then compared, and what
the venue has afterwards. An SDK's clock alone is replaced: its requests go over real HTTP.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

import exchanges
from exchanges import Credentials, Exchange
from exchanges._http import Hosts
from tests.conftest import Clock
from tests.emulator.engine import Account, Engine
from tests.emulator.server import Request, Response, Server
from trading.errors import BadCredentials, StaleRequest, VenueError
from trading.model import Order, OrderType, Role, Side

D = Decimal
BTC, THEIRS = "BTC-USDT-PERP", "BTCUSDT"
PRICE, STOP, LOW, HIGH = D(60000), D(58500), D(59000), D(62000)
ENTRY_ID, STOP_ID, TARGET_ID, CLOSE_ID = (f"sdk4f2a9c-{leg}1" for leg in ("e", "s", "t", "c"))
#: Of what rests there before anything is sent.
RESTING_ID, RESTING_STOP_ID = "sdk77b1e0-e1", "sdk77b1e0-s1"
LATE = timedelta(seconds=90)


def _order(client_order_id: str, role: Role, kind: OrderType, side: Side, **more: Any) -> Order:
    return Order(
        client_order_id=client_order_id,
        intent_id=client_order_id.partition("-")[0],
        symbol=BTC,
        role=role,
        side=side,
        type=kind,
        **{"quantity": D("0.020"), "reduce_only": role is not Role.ENTRY, **more},
    )


MARKET = _order(ENTRY_ID, Role.ENTRY, OrderType.MARKET, Side.BUY, quantity=D("0.012"))
LIMIT = _order(ENTRY_ID, Role.ENTRY, OrderType.LIMIT, Side.BUY, quantity=D("0.0120"), price=LOW)
TARGET = _order(TARGET_ID, Role.TARGET, OrderType.LIMIT, Side.SELL, quantity=D("0.008"), price=HIGH)
GUARD = _order(STOP_ID, Role.STOP, OrderType.STOP, Side.SELL, trigger_price=STOP)
CLOSE = _order(CLOSE_ID, Role.CLOSE, OrderType.MARKET, Side.SELL)
RESTING = _order(RESTING_ID, Role.ENTRY, OrderType.LIMIT, Side.BUY, quantity=D("0.005"), price=LOW)
RESTING_STOP = _order(RESTING_STOP_ID, Role.STOP, OrderType.STOP, Side.SELL, trigger_price=D(58000))


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """The same thing said twice: to the adapter in the house's words, to the SDK in the venue's."""

    name: str
    ours: Callable[[Exchange, datetime], Any]
    theirs: Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What the two sides may say differently, on requests that match `on`; None: it is not said."""

    on: str
    name: str
    ours: Any
    theirs: Any
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """`sdk(url, secret)` opens the SDK, whose module `clock` reads the time. `headers` are those that count.

    `furnish` gives an account with a position and a resting entry its resting stop.
    """

    name: str
    clock: str
    sdk: Callable[[str, str], Any]
    signed: Callable[[Request, str], tuple[str, str]]
    headers: str
    furnish: Callable[[Account], Any]
    acts: tuple[Act, ...]
    differences: tuple[Difference, ...]
    code: str

    @property
    def key(self) -> str:
        return f"emulator-key-{self.name.lower()}"

    @property
    def secret(self) -> str:
        return f"emulator-secret-{self.name.lower()}"


def _hmac(secret: str, payload: str) -> str:
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


# Binance


def _binance_sdk(url: str, secret: str) -> Any:
    # Here: it takes more than a second, and most runs do not need it.
    from binance_common.configuration import ConfigurationRestAPI
    from binance_sdk_derivatives_trading_usds_futures import DerivativesTradingUsdsFutures

    config = ConfigurationRestAPI(
        api_key="emulator-key-binance", api_secret=secret, base_path=url, timeout=5000
    )
    api = DerivativesTradingUsdsFutures(config_rest_api=config).rest_api
    api.close = api._session.close
    return api


def _binance_signed(request: Request, secret: str) -> tuple[str, str]:
    payload, _, signature = request.query_text.partition("&signature=")
    return signature, _hmac(secret, payload) if signature else ""


def _binance_prepare(api: Any) -> None:
    api.change_initial_leverage(THEIRS, 5)
    api.position_information_v3(symbol=THEIRS)
    api.current_all_open_orders(symbol=THEIRS)
    api.current_all_algo_open_orders(symbol=THEIRS)
    api.account_information_v3()
    api.futures_account_configuration()
    api.symbol_price_ticker_v2(symbol=THEIRS)


def _binance_cancel_all(api: Any) -> None:
    api.cancel_all_open_orders(THEIRS)
    api.cancel_all_algo_open_orders(THEIRS)


BINANCE = Venue(
    name="BINANCE",
    clock="binance_common.utils",
    sdk=_binance_sdk,
    signed=_binance_signed,
    headers=r"X-MBX-.*|Content-Type",
    code="code",
    furnish=lambda account: account.submit(
        BTC,
        Side.SELL,
        OrderType.MARKET,
        D("0.020"),
        client_id=RESTING_STOP_ID,
        trigger=D(58000),
        reduce_only=True,
    ),
    acts=(
        Act(
            name="market entry",
            ours=lambda venue, at: venue.place(MARKET, signed_at=at),
            theirs=lambda api: api.new_order(
                THEIRS, "BUY", "MARKET", quantity=0.012, new_client_order_id=ENTRY_ID
            ),
        ),
        Act(
            name="limit entry",
            ours=lambda venue, at: venue.place(LIMIT, signed_at=at),
            theirs=lambda api: api.new_order(
                THEIRS,
                "BUY",
                "LIMIT",
                quantity=0.012,
                price=59000.0,
                time_in_force="GTC",
                new_client_order_id=ENTRY_ID,
            ),
        ),
        Act(
            name="target",
            ours=lambda venue, at: venue.place(TARGET, signed_at=at),
            theirs=lambda api: api.new_order(
                THEIRS,
                "SELL",
                "LIMIT",
                quantity=0.008,
                price=62000.0,
                time_in_force="GTC",
                reduce_only="true",
                new_client_order_id=TARGET_ID,
            ),
        ),
        Act(
            name="stop",
            ours=lambda venue, at: venue.place(GUARD, signed_at=at),
            theirs=lambda api: api.new_algo_order(
                "CONDITIONAL",
                THEIRS,
                "SELL",
                "STOP_MARKET",
                quantity=0.02,
                trigger_price=58500.0,
                working_type="CONTRACT_PRICE",
                reduce_only="true",
                client_algo_id=STOP_ID,
            ),
        ),
        Act(
            name="close",
            ours=lambda venue, at: venue.place(CLOSE, signed_at=at),
            theirs=lambda api: api.new_order(
                THEIRS, "SELL", "MARKET", quantity=0.02, reduce_only="true", new_client_order_id=CLOSE_ID
            ),
        ),
        Act(
            name="cancel",
            ours=lambda venue, _: venue.cancel(RESTING),
            theirs=lambda api: api.cancel_order(THEIRS, orig_client_order_id=RESTING_ID),
        ),
        Act(
            name="cancel a stop",
            ours=lambda venue, _: venue.cancel(RESTING_STOP),
            theirs=lambda api: api.cancel_algo_order(client_algo_id=RESTING_STOP_ID),
        ),
        Act(name="cancel all", ours=lambda venue, _: venue.cancel_all(BTC), theirs=_binance_cancel_all),
        Act(
            name="query",
            ours=lambda venue, _: venue.order(RESTING),
            theirs=lambda api: api.query_order(THEIRS, orig_client_order_id=RESTING_ID),
        ),
        Act(
            name="query a stop",
            ours=lambda venue, _: venue.order(RESTING_STOP),
            theirs=lambda api: api.query_algo_order(client_algo_id=RESTING_STOP_ID),
        ),
        Act(
            name="leverage and reads",
            ours=lambda venue, _: venue.prepare(BTC, ours=(), leverage=D("4.5")),
            theirs=_binance_prepare,
        ),
    ),
    differences=(
        Difference(
            on="(POST|DELETE) .*",
            name="recvWindow",
            ours="2000",
            theirs=None,
            why="what changes the account is good for two seconds, which the fence counts on",
        ),
        Difference(
            on="POST /fapi/v1/order",
            name="newOrderRespType",
            ours="RESULT",
            theirs=None,
            why="the answer tells what became of it; what is done is the same",
        ),
        Difference(
            on="GET /fapi/v2/ticker/price",
            name="X-MBX-APIKEY",
            ours=None,
            theirs="emulator-key-binance",
            why="who asks what everybody may know need not be told",
        ),
    ),
)


# Bybit


def _bybit_sdk(url: str, secret: str) -> Any:
    from pybit.unified_trading import HTTP

    # It repeats by itself what is refused for its time.
    api = HTTP(api_key="emulator-key-bybit", api_secret=secret, max_retries=1, retry_delay=0)
    api.endpoint, api.close = url, api.client.close
    return api


def _bybit_signed(request: Request, secret: str) -> tuple[str, str]:
    head = request.headers
    signature = head.get("X-BAPI-SIGN", "")
    names = ("X-BAPI-TIMESTAMP", "X-BAPI-API-KEY", "X-BAPI-RECV-WINDOW")
    payload = "".join(head.get(name, "") for name in names) + request.query_text + request.body.decode()
    return signature, _hmac(secret, payload) if signature else ""


def _bybit_prepare(api: Any) -> None:
    api.set_leverage(category="linear", symbol=THEIRS, buyLeverage="4.5", sellLeverage="4.5")
    api.get_positions(category="linear", symbol=THEIRS)
    api.get_open_orders(category="linear", symbol=THEIRS, limit=50)
    api.get_wallet_balance(accountType="UNIFIED")
    api.get_tickers(category="linear", symbol=THEIRS)


def _bybit_cancel_stop(api: Any) -> None:
    api.get_positions(category="linear", symbol=THEIRS)
    listed = api.get_open_orders(category="linear", symbol=THEIRS, limit=50)["result"]["list"]
    stop = next(row for row in listed if row["stopOrderType"] == "StopLoss")
    api.cancel_order(category="linear", symbol=THEIRS, orderId=stop["orderId"])


_ATTACHED = {"stopLoss": "58500", "slTriggerBy": "LastPrice", "slOrderType": "Market", "tpslMode": "Full"}

BYBIT = Venue(
    name="BYBIT",
    clock="pybit._helpers",
    sdk=_bybit_sdk,
    signed=_bybit_signed,
    headers=r"X-BAPI-.*|Content-Type",
    code="retCode",
    furnish=lambda account: account.set_stop(BTC, D(58000)),
    acts=(
        Act(
            name="market entry with its stop",
            ours=lambda venue, at: venue.place(MARKET, signed_at=at, stop=GUARD),
            theirs=lambda api: api.place_order(
                category="linear",
                symbol=THEIRS,
                side="Buy",
                orderType="Market",
                qty="0.012",
                positionIdx=0,
                orderLinkId=ENTRY_ID,
                **_ATTACHED,
            ),
        ),
        Act(
            name="limit entry with its stop",
            ours=lambda venue, at: venue.place(LIMIT, signed_at=at, stop=GUARD),
            theirs=lambda api: api.place_order(
                category="linear",
                symbol=THEIRS,
                side="Buy",
                orderType="Limit",
                qty="0.012",
                price="59000",
                timeInForce="GTC",
                positionIdx=0,
                orderLinkId=ENTRY_ID,
                **_ATTACHED,
            ),
        ),
        Act(
            name="target",
            ours=lambda venue, at: venue.place(TARGET, signed_at=at),
            theirs=lambda api: api.place_order(
                category="linear",
                symbol=THEIRS,
                side="Sell",
                orderType="Limit",
                qty="0.008",
                price="62000",
                timeInForce="GTC",
                reduceOnly=True,
                positionIdx=0,
                orderLinkId=TARGET_ID,
            ),
        ),
        Act(
            name="stop",
            ours=lambda venue, at: venue.place(GUARD, signed_at=at),
            theirs=lambda api: api.set_trading_stop(
                category="linear",
                symbol=THEIRS,
                stopLoss="58500",
                slTriggerBy="LastPrice",
                tpslMode="Full",
                positionIdx=0,
            ),
        ),
        Act(
            name="close",
            ours=lambda venue, at: venue.place(CLOSE, signed_at=at),
            theirs=lambda api: api.place_order(
                category="linear",
                symbol=THEIRS,
                side="Sell",
                orderType="Market",
                qty="0.02",
                reduceOnly=True,
                positionIdx=0,
                orderLinkId=CLOSE_ID,
            ),
        ),
        Act(
            name="cancel",
            ours=lambda venue, _: venue.cancel(RESTING),
            theirs=lambda api: api.cancel_order(category="linear", symbol=THEIRS, orderLinkId=RESTING_ID),
        ),
        Act(
            name="cancel a stop", ours=lambda venue, _: venue.cancel(RESTING_STOP), theirs=_bybit_cancel_stop
        ),
        Act(
            name="cancel all",
            ours=lambda venue, _: venue.cancel_all(BTC),
            theirs=lambda api: api.cancel_all_orders(category="linear", symbol=THEIRS),
        ),
        Act(
            name="query",
            ours=lambda venue, _: venue.order(RESTING),
            theirs=lambda api: api.get_open_orders(category="linear", symbol=THEIRS, orderLinkId=RESTING_ID),
        ),
        Act(
            name="leverage and reads",
            ours=lambda venue, _: venue.prepare(BTC, ours=(), leverage=D("4.5")),
            theirs=_bybit_prepare,
        ),
    ),
    differences=(
        Difference(
            on="(GET|POST) /v5/(order|position|account)/.*",
            name="X-BAPI-RECV-WINDOW",
            ours="2000",
            theirs="5000",
            why="a request is good for two seconds, which the fence counts on; five are the default",
        ),
        Difference(
            on="GET /v5/market/.*",
            name="Content-Type",
            ours=None,
            theirs="application/json",
            why="there is no content",
        ),
    ),
)

VENUES = (BINANCE, BYBIT)


# One side at a time, each at a venue of its own


@dataclass(slots=True)
class Scene:
    """An emulated venue where something is held and rests, and all that it was asked, with its answers."""

    server: Server
    account: Account
    heard: list[tuple[Request, Response]] = field(default_factory=list)

    @property
    def has(self) -> Any:
        """Orders, position and leverage."""
        return (
            list(self.account.records.values()),
            self.account.position(BTC),
            self.account.leverage(BTC),
        )


@contextmanager
def scene(venue: Venue, clock: Clock) -> Iterator[Scene]:
    engine: Engine
    engine, dialect = importlib.import_module(f"tests.emulator.{venue.name.lower()}").build(clock)
    account = engine.account(venue.key)
    assert account is not None
    engine.move(BTC, PRICE)
    engine.hand(account, BTC, Side.BUY, D("0.020"))
    account.submit(BTC, Side.BUY, OrderType.LIMIT, D("0.005"), price=LOW, client_id=RESTING_ID)
    venue.furnish(account)
    handle = dialect.handle
    with Server(dialect, engine) as server:
        made = Scene(server, account)

        def listen(request: Request) -> Response:
            response = handle(request)
            made.heard.append((request, response))
            return response

        dialect.handle = listen
        yield made


@contextmanager
def adapter(venue: Venue, at: Scene, clock: Clock, secret: str) -> Iterator[Exchange]:
    """The adapter as it stands before an order: it knows the instruments and the venue's clock."""
    credentials = Credentials(key=venue.key, secret=secret)
    urls = {venue.name: at.server.url}
    opened = exchanges.connect(venue.name, credentials, network="live", hosts=Hosts(clock), urls=urls)
    opened.instrument(BTC)
    opened.time()
    at.heard.clear()
    yield opened


@pytest.fixture
def now(clock: Clock) -> Clock:
    """Between two milliseconds."""
    clock.advance(timedelta(microseconds=125_750))
    return clock


@pytest.fixture
def pin(monkeypatch: pytest.MonkeyPatch) -> Callable[[Venue, datetime], None]:
    """Gives an SDK its time; nothing of how it signs and sends is touched."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def to(venue: Venue, moment: datetime) -> None:
        module = importlib.import_module(venue.clock)
        monkeypatch.setattr(module, "time", SimpleNamespace(time=moment.timestamp))

    return to


# What was sent


def said(venue: Venue, request: Request, secret: str) -> dict[str, Any]:
    """A request as one flat dict: endpoint, parameters, headers that count; its signature is proved here."""
    signature, wanted = venue.signed(request, secret)
    assert signature == wanted, f"{request.method} {request.target} is signed wrongly"
    params: dict[str, Any] = request.query | (request.json() if request.body else {})
    params.pop("signature", None)
    headers = {name: value for name, value in request.headers.items() if re.fullmatch(venue.headers, name)}
    headers.pop("X-BAPI-SIGN", None)
    assert not params.keys() & headers.keys()
    endpoint = {"on": f"{request.method} {request.path}", "signed": bool(signature)}
    return endpoint | {name: _value(value) for name, value in params.items()} | headers


def _value(value: Any) -> Any:
    """Texts that are numbers are equal as numbers: 0.020 and 0.02. A text is no number of JSON's, though."""
    is_number = isinstance(value, str) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value)
    return ("text", Decimal(value)) if is_number else value


def differing(venue: Venue, on: str) -> dict[str, tuple[Any, Any]]:
    """What may differ in a request: to the letter, and it has to."""
    found = (each for each in venue.differences if re.fullmatch(each.on, on))
    headers = re.compile(venue.headers)
    return {
        each.name: (each.ours, each.theirs)
        if headers.fullmatch(each.name)
        else (_value(each.ours), _value(each.theirs))
        for each in found
    }


def everything(venue: Venue, at: Scene) -> list[dict[str, Any]]:
    """All that was asked; side by side means in any order."""
    for request, response in at.heard:
        told = response.body if isinstance(response.body, dict) else {}
        assert response.status == 200, f"{request.method} {request.target}: {response}"
        assert told.get(venue.code, 0) in (0, 200, "200"), f"{request.method} {request.target}: {response}"
    return sorted((said(venue, request, venue.secret) for request, _ in at.heard), key=lambda one: one["on"])


@pytest.mark.parametrize(
    ("venue", "act"),
    [pytest.param(venue, act, id=f"{venue.name}-{act.name}") for venue in VENUES for act in venue.acts],
)
def test_the_sdk_sends_what_the_adapter_sends(
    venue: Venue,
    act: Act,
    now: Clock,
    pin: Callable[[Venue, datetime], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with scene(venue, now) as ours, adapter(venue, ours, now, venue.secret) as opened:
        act.ours(opened, now())
    pin(venue, now())
    with scene(venue, now) as theirs, closing(venue.sdk(theirs.server.url, venue.secret)) as api:
        act.theirs(api)
    mine, sdks = everything(venue, ours), everything(venue, theirs)
    assert [one["on"] for one in mine] == [one["on"] for one in sdks] != []
    for one, other in zip(mine, sdks, strict=True):
        different = {
            name: (one.get(name), other.get(name))
            for name in one.keys() | other.keys()
            if one.get(name) != other.get(name)
        }
        assert different == differing(venue, one["on"]), one["on"]
    assert ours.has == theirs.has
    # An SDK warns of an answer that its models do not take.
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.name)
@pytest.mark.parametrize(
    ("secret", "late", "kind"),
    [("another", timedelta(), BadCredentials), ("", LATE, StaleRequest), ("", -LATE, StaleRequest)],
    ids=["secret", "late", "early"],
)
def test_what_is_signed_wrongly_is_refused_to_both_alike(
    venue: Venue,
    secret: str,
    late: timedelta,
    kind: type[VenueError],
    now: Clock,
    pin: Callable[[Venue, datetime], None],
) -> None:
    secret, moment, act = secret or venue.secret, now() - late, venue.acts[0]
    with scene(venue, now) as ours, adapter(venue, ours, now, secret) as opened:
        before = ours.has
        with pytest.raises(kind):
            act.ours(opened, moment)
    pin(venue, moment)
    with scene(venue, now) as theirs, closing(venue.sdk(theirs.server.url, secret)) as api:
        with pytest.raises(Exception, match=r".") as refused:
            act.theirs(api)
        assert type(refused.value).__module__.startswith(venue.clock.partition(".")[0])
    (mine, answer), (sdks, other) = ours.heard[0], theirs.heard[0]
    assert (mine.method, mine.path) == (sdks.method, sdks.path)
    assert answer.body[venue.code] == other.body[venue.code] != 0
    assert ours.has == theirs.has == before
