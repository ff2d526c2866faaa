"""The venues' own SDKs send for spot what the adapters send: same order, same clock, same emulated venue."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import Clock
from tests.emulator.server import Server
from tests.exchanges.spot_bench import SpotBench, order
from trading.model import Order, OrderType, Role, Side, TimeInForce

D = Decimal
BUY = order("e", Role.ENTRY, side=Side.BUY)
LIMIT = replace(BUY, type=OrderType.LIMIT, price=D(59000))
STOP = order("sl", Role.STOP, type=OrderType.STOP, trigger_price=D(58500))
TARGET = order("tp", Role.TARGET, type=OrderType.LIMIT, price=D(62000))
SALE = replace(TARGET, price=D(59500), time_in_force=TimeInForce.IOC)
CLOSE = order("x", Role.CLOSE)
#: Said by the adapters alone, or of the moment and not of the order.
_OURS_ALONE = {"recvWindow", "timestamp", "signature"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """`ours` is sent by the adapter; `theirs` says the same to the SDK. `first` is sent before, by hand."""

    name: str
    ours: Callable[[SpotBench], Any]
    theirs: Callable[[Any], Any]
    first: Order | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """A venue and its SDK; `clock` is the module that tells the SDK the time."""

    venue: str
    url: str
    module: str
    clock: str
    sdk: Callable[[str], Any]
    acts: tuple[Act, ...]


def _binance(url: str) -> Any:
    # Here: it takes more than a second, and most runs do not need it.
    from binance_common.configuration import ConfigurationRestAPI
    from binance_sdk_spot import Spot

    config = ConfigurationRestAPI(
        api_key="emulator-key-binance", api_secret="emulator-secret-binance", base_path=url, timeout=5000
    )
    api = Spot(config_rest_api=config).rest_api
    api.close = api._session.close
    return api


def _bybit(url: str) -> Any:
    from pybit.unified_trading import HTTP

    api = HTTP(api_key="emulator-key-bybit", api_secret="emulator-secret-bybit", max_retries=1, retry_delay=0)
    api.endpoint, api.close = url, api.client.close
    return api


def place(made: Order, stop: Order | None = None) -> Callable[[SpotBench], Any]:
    return lambda bench: bench.place(made, stop)


def new(kind: str, side: str, name: str, **more: Any) -> Callable[[Any], Any]:
    return lambda api: api.new_order(
        "BTCUSDT", side, kind, quantity=0.5, new_client_order_id=name, new_order_resp_type="RESULT", **more
    )


def create(kind: str, side: str, name: str, **more: Any) -> Callable[[Any], Any]:
    said = {"symbol": "BTCUSDT", "orderType": kind, "qty": "0.5", "isLeverage": 0, **more}
    return lambda api: api.place_order(category="spot", side=side, orderLinkId=name, **said)


_IN_BASE = {"marketUnit": "baseCoin"}
BINANCE = Kit(
    venue="BINANCE",
    url="BINANCE_SPOT",
    module="tests.emulator.binance_spot",
    clock="binance_common.utils",
    sdk=_binance,
    acts=(
        Act(name="market", ours=place(BUY), theirs=new("MARKET", "BUY", "a-e")),
        Act(
            name="limit",
            ours=place(LIMIT),
            theirs=new("LIMIT", "BUY", "a-e", price=59000.0, time_in_force="GTC"),
        ),
        Act(name="stop", ours=place(STOP), theirs=new("STOP_LOSS", "SELL", "a-sl", stop_price=58500.0)),
        Act(
            name="pair",
            ours=place(TARGET, STOP),
            theirs=lambda api: api.order_list_oco(
                "BTCUSDT",
                "SELL",
                0.5,
                "LIMIT_MAKER",
                "STOP_LOSS",
                above_client_order_id="a-tp",
                above_price=62000.0,
                below_client_order_id="a-sl",
                below_stop_price=58500.0,
                new_order_resp_type="RESULT",
            ),
        ),
        Act(
            name="sale at once",
            ours=place(SALE),
            theirs=new("LIMIT", "SELL", "a-tp", price=59500.0, time_in_force="IOC"),
        ),
        Act(name="close", ours=place(CLOSE), theirs=new("MARKET", "SELL", "a-x")),
        Act(
            name="cancel",
            first=LIMIT,
            ours=lambda bench: bench.exchange.cancel(LIMIT),
            theirs=lambda api: api.delete_order("BTCUSDT", orig_client_order_id="a-e"),
        ),
    ),
)
BYBIT = Kit(
    venue="BYBIT",
    url="BYBIT",
    module="tests.emulator.bybit_spot",
    clock="pybit._helpers",
    sdk=_bybit,
    acts=(
        Act(name="market", ours=place(BUY), theirs=create("Market", "Buy", "a-e", **_IN_BASE)),
        Act(
            name="limit",
            ours=place(LIMIT),
            theirs=create("Limit", "Buy", "a-e", price="59000", timeInForce="GTC"),
        ),
        Act(
            name="stop",
            ours=place(STOP),
            theirs=create(
                "Market", "Sell", "a-sl", **_IN_BASE, triggerPrice="58500", orderFilter="tpslOrder"
            ),
        ),
        Act(
            name="sale at once",
            ours=place(SALE),
            theirs=create("Limit", "Sell", "a-tp", price="59500", timeInForce="IOC"),
        ),
        Act(name="close", ours=place(CLOSE), theirs=create("Market", "Sell", "a-x", **_IN_BASE)),
        Act(
            name="cancel",
            first=LIMIT,
            ours=lambda bench: bench.exchange.cancel(LIMIT),
            theirs=lambda api: api.cancel_order(
                category="spot", symbol="BTCUSDT", orderFilter="Order", orderLinkId="a-e"
            ),
        ),
    ),
)


@contextmanager
def scene(kit: Kit, act: Act, clock: Clock) -> Iterator[tuple[Server, Any]]:
    """A venue at 60000 with a coin to sell, and what the act needs there."""
    engine, dialect = importlib.import_module(kit.module).build(clock, own={"BTC": D(1)})
    engine.move("BTC-USDT", D(60000))
    account = engine.accounts[0]
    if act.first is not None:
        first = act.first
        account.submit(
            first.symbol,
            first.side,
            first.type,
            first.quantity,
            client_id=first.client_order_id,
            price=first.price,
        )
    with Server(dialect, engine) as server:
        yield server, account


def acted(server: Server) -> list[tuple[str, dict[str, Any]]]:
    """What was sent that changes something; numbers as numbers."""
    found = []
    for seen in server.log:
        if seen.method != "GET":
            assert seen.status == 200, seen
            said = dict(_pairs(seen.query)) | (json.loads(seen.body) if seen.body else {})
            amounts = {name: _value(value) for name, value in said.items() if name not in _OURS_ALONE}
            found.append((f"{seen.method} {seen.path}", amounts))
    return found


def _pairs(query: str) -> list[list[str]]:
    return [pair.split("=", 1) for pair in query.split("&") if pair]


def _value(value: Any) -> Any:
    try:
        return D(value) if isinstance(value, str) else value
    except ArithmeticError:
        return value


@pytest.mark.parametrize(
    ("kit", "act"),
    [pytest.param(kit, act, id=f"{kit.venue}-{act.name}") for kit in (BINANCE, BYBIT) for act in kit.acts],
)
def test_the_sdk_sends_what_the_adapter_sends(
    kit: Kit, act: Act, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scene(kit, act, clock) as (server, ours):
        bench = SpotBench(kit.venue, kit.url, clock, server)
        bench.exchange.instrument(BUY.symbol)
        act.ours(bench)
        mine = acted(server)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    moment: datetime = clock()
    sdk_clock = importlib.import_module(kit.clock)
    monkeypatch.setattr(sdk_clock, "time", SimpleNamespace(time=moment.timestamp))
    with scene(kit, act, clock) as (server, theirs), closing(kit.sdk(server.url)) as api:
        act.theirs(api)
        sdks = acted(server)
    assert mine == sdks != []
    assert list(ours.records.values()) == list(theirs.records.values())
    assert ours.coins == theirs.coins
