"""Answers that no page of a venue promises: what is no amount is none, an odd row harms no other."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

from exchanges import Credentials, Exchange, connect
from exchanges._catalogue import FRESH
from exchanges._http import Hosts
from tests.emulator.server import Request, Response, Server
from tests.exchanges.scripted import CALM
from tests.life.conftest import MARKETS
from trading.errors import Ambiguous, InvalidOrder
from trading.model import InstrumentKind, OrderType, Side

Change = Callable[[Any], None]

#: Where a venue lists its instruments, and where the list is in the answer.
LISTS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "BINANCE": ("/fapi/v1/exchangeInfo", lambda body: body["symbols"]),
    "BINANCE_SPOT": ("/api/v3/exchangeInfo", lambda body: body["symbols"]),
    "BYBIT": ("/v5/market/instruments-info", lambda body: body["result"]["list"]),
    "BYBIT_SPOT": ("/v5/market/instruments-info", lambda body: body["result"]["list"]),
    "FTX": ("/api/markets", lambda body: body["result"]),
}
#: Where a venue tells the last price, what its field is called, and how it spells a number.
PRICES: dict[str, tuple[str, str, Callable[[Any], Any], type]] = {
    "BINANCE": ("/fapi/v2/ticker/price", "price", lambda body: body, str),
    "BINANCE_SPOT": ("/api/v3/ticker/price", "price", lambda body: body, str),
    "BYBIT": ("/v5/market/tickers", "lastPrice", lambda body: body["result"]["list"][0], str),
    "BYBIT_SPOT": ("/v5/market/tickers", "lastPrice", lambda body: body["result"]["list"][0], str),
    "FTX": ("/api/markets/BTC-PERP", "last", lambda body: body["result"], Decimal),
}


@dataclass
class Bench:
    """An adapter in front of its emulated venue, whose answers can be changed on their way."""

    venue: str
    exchange: Exchange
    server: Server
    clock: Any

    @property
    def symbol(self) -> str:
        return MARKETS[self.venue].symbol

    def change(self, path: str, act: Change) -> None:
        """What the venue says to a GET of this path is `act`ed on."""
        handle = self.server.dialect.handle

        def changed(request: Request) -> Response:
            response = handle(request)
            if (request.method, request.path) != ("GET", path):
                return response
            body = deepcopy(response.body)
            act(body)
            return replace(response, body=body)

        self.server.dialect.handle = changed  # type: ignore[method-assign]  # this one server's


@pytest.fixture
def benches(clock: Any) -> Iterator[Callable[[str], Bench]]:
    servers: list[Server] = []

    def make(venue: str) -> Bench:
        market = MARKETS[venue]
        engine, dialect = importlib.import_module(f"tests.emulator.{venue.lower()}").build(clock)
        engine.move(market.symbol, Decimal(42000))
        server = Server(dialect, engine)
        server.__enter__()
        servers.append(server)
        account = engine.accounts[0]
        exchange = connect(
            market.venue or venue,
            Credentials(key=account.key, secret=account.secret),
            network="live",
            hosts=Hosts(clock, patience=CALM),
            urls={market.url or venue: server.url},
            kind=InstrumentKind.SPOT if market.venue else InstrumentKind.PERPETUAL,
        )
        return Bench(venue, exchange, server, clock)

    yield make
    for server in servers:
        server.close()
        assert not server.failures, server.failures


@pytest.mark.parametrize("said", ["0", "0E-8", "-1"])
@pytest.mark.parametrize("venue", PRICES)
def test_a_price_of_nothing_is_no_price(benches: Callable[[str], Bench], venue: str, said: str) -> None:
    """A guard that believed it would close a position at the market."""
    bench = benches(venue)
    path, field, where, kind = PRICES[venue]
    assert bench.exchange.price(bench.symbol) == 42000
    bench.change(path, lambda body: where(body).update({field: kind(said)}))
    with pytest.raises(Ambiguous, match="cannot be read"):
        bench.exchange.price(bench.symbol)
    with pytest.raises(Ambiguous, match="cannot be read"):
        bench.exchange.prepare(bench.symbol, ours=(), leverage=Decimal(2))


@pytest.mark.parametrize("venue", LISTS)
def test_rows_that_cannot_be_read_take_no_other_instrument_away(
    benches: Callable[[str], Bench], venue: str
) -> None:
    bench = benches(venue)
    path, where = LISTS[venue]

    def add(body: Any) -> None:
        rows = where(body)
        blank = dict.fromkeys(rows[0])
        rows[:0] = [{}, None, "a row", blank]

    bench.change(path, add)
    assert bench.exchange.instrument(bench.symbol).symbol == bench.symbol


@pytest.mark.parametrize("venue", LISTS)
def test_a_list_without_instruments_is_none(benches: Callable[[str], Bench], venue: str) -> None:
    bench = benches(venue)
    path, where = LISTS[venue]
    known = bench.exchange.instrument(bench.symbol)
    bench.change(path, lambda body: where(body).clear())
    bench.clock.advance(FRESH)
    # The old list is better than none.
    assert bench.exchange.instrument(bench.symbol) == known
    with pytest.raises(InvalidOrder):
        bench.exchange.instrument("FOO-USDT" + ("-PERP" if known.symbol.endswith("-PERP") else ""))


@pytest.mark.parametrize("venue", LISTS)
def test_where_the_first_list_is_empty_nothing_is_said_to_be_unknown(
    benches: Callable[[str], Bench], venue: str
) -> None:
    bench = benches(venue)
    path, where = LISTS[venue]
    bench.change(path, lambda body: where(body).clear())
    with pytest.raises(Ambiguous, match="cannot be read"):
        bench.exchange.instrument(bench.symbol)


@pytest.mark.parametrize("quantity", ["0", "", None])
def test_a_persons_stop_that_closes_everything_is_seen_whatever_its_quantity(
    benches: Callable[[str], Bench], quantity: str | None
) -> None:
    bench = benches("BINANCE")
    engine = bench.server.engine
    account = engine.accounts[0]
    engine.hand(account, bench.symbol, Side.BUY, Decimal(1))
    account.submit(
        bench.symbol,
        Side.SELL,
        OrderType.MARKET,
        Decimal(1),
        trigger=Decimal(40000),
        reduce_only=True,
    )

    def whole(body: Any) -> None:
        for row in body:
            row |= {"closePosition": True, "quantity": quantity}
            del row["triggerPrice"]

    bench.change("/fapi/v1/openAlgoOrders", whole)
    look = bench.exchange.look(bench.symbol, ours=())
    assert look.position.quantity == 1
    assert [(told.type, told.quantity, told.reduce_only) for told in look.resting] == [
        (OrderType.STOP, 0, True)
    ]
