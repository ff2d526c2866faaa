"""The server applies what the fault allows, and tells the client what the fault says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests

from tests.emulator.engine import Account, Engine, Listing, Refusal
from tests.emulator.server import Dialect, Fault, Request, Response, Server
from trading.model import Instrument, InstrumentKind, OrderType, Side

D = Decimal
SYMBOL = "BTC-USDT-PERP"
PLACE = ("POST /order", 1)


class Toy(Dialect):
    """The least that a dialect is: a key, a time limit, one order, one position."""

    name = "toy"

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def handle(self, request: Request) -> Response:
        account = self.engine.account(request.headers.get("Toy-Key", ""))
        if account is None:
            return Response(status=401, body={"error": "who?"})
        if request.path == "/time":
            return Response(body={"time": self.engine.now().isoformat()})
        if request.path == "/position":
            return Response(body={"quantity": account.position(SYMBOL).quantity})
        if request.path.startswith("/order/"):
            record = account.find(client_id=request.path.rpartition("/")[2])
            return Response(body={"filled": record.filled if record else None})
        if request.path != "/order":
            return Response(status=404, body={"error": "what?"})
        order = request.json()
        if abs(self.engine.now() - datetime.fromisoformat(order["at"])) > timedelta(seconds=2):
            return Response(status=400, body={"error": "stale"})
        try:
            record = account.submit(
                SYMBOL, Side(order["side"]), OrderType.MARKET, D(order["quantity"]), client_id=order.get("id")
            )
        except Refusal as refusal:
            return Response(status=400, body={"error": refusal.text})
        return Response(body={"id": record.id, "filled": record.filled})

    def throttled(self, retry_after_s: int) -> Response:
        return Response(status=429, body={"error": "slowly"})

    def banned(self, until: datetime) -> Response:
        return Response(status=418, body={"error": f"banned until {until.timestamp():.0f}"})

    def unknown(self) -> Response:
        return Response(status=503, body={"error": "perhaps"})

    def route(self, path: str) -> str:
        return "/order/{id}" if path.startswith("/order/") else path


@pytest.fixture
def server(clock: Callable[[], datetime]) -> Iterator[Server]:
    engine = Engine(clock)
    instrument = Instrument(
        symbol=SYMBOL,
        base="BTC",
        quote="USDT",
        kind=InstrumentKind.PERPETUAL,
        tick_size=D("0.1"),
        lot_size=D("0.001"),
        min_quantity=D("0.001"),
    )
    engine.list(Listing(symbol=SYMBOL, venue_symbol="BTCUSDT", instrument=instrument), D(100))
    engine.open(Account("k", "s"))
    with Server(Toy(engine), engine) as server:
        yield server


@pytest.fixture
def client() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Toy-Key"] = "k"
        yield session


def _place(client: requests.Session, server: Server, **order: Any) -> requests.Response:
    body = {"side": "BUY", "quantity": "0.3", "at": server.engine.clock().isoformat(), **order}
    return client.post(f"{server.url}/order", json=body, timeout=0.25)


def _held(server: Server) -> D:
    server.settle()
    return server.engine.accounts[0].position(SYMBOL).quantity


def test_an_order_over_one_kept_connection(server: Server, client: requests.Session) -> None:
    first = _place(client, server, id="a")
    assert (first.status_code, first.text) == (200, '{"id":1000001,"filled":0.3}')
    assert client.get(f"{server.url}/order/a", timeout=1).json() == {"filled": 0.3}
    assert _place(client, server, id="a").json() == {"error": "client id a is used"}
    assert [seen.key for seen in server.log] == [PLACE, ("GET /order/{id}", 1), ("POST /order", 2)]
    assert server.log[0].headers["toy-key"] == "***"
    assert server.story().splitlines()[0].startswith("  1 POST /order side=BUY quantity=0.3 at=")
    assert server.story().splitlines()[2].endswith("id=a -> 400")
    assert client.get(f"{server.url}/x", headers={"Toy-Key": "?"}, timeout=1).status_code == 401


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.LOST_BEFORE, requests.ConnectionError),
        (Fault.LOST_AFTER, requests.ConnectionError),
        (Fault.SILENT_BEFORE, requests.ReadTimeout),
        (Fault.SILENT_AFTER, requests.ReadTimeout),
        (Fault.CUT_SHORT, requests.exceptions.ChunkedEncodingError),
    ],
)
def test_no_answer(server: Server, client: requests.Session, fault: Fault, error: type[Exception]) -> None:
    server.fault(fault, PLACE)
    with pytest.raises(error):
        _place(client, server)
    applied = fault not in (Fault.LOST_BEFORE, Fault.SILENT_BEFORE)
    assert _held(server) == (D("0.3") if applied else 0)
    assert [(seen.applied, seen.fault) for seen in server.log] == [(applied, fault)]
    assert _place(client, server).status_code == 200, "a fault is for one request"
    assert server.unfired == {}


@pytest.mark.parametrize(
    ("fault", "status", "text", "held"),
    [
        (Fault.ERROR_BEFORE, 502, "Bad Gateway", "0"),
        (Fault.ERROR_AFTER, 502, "<!DOCTYPE html>", "0.3"),
        (Fault.UNKNOWN_BEFORE, 503, "perhaps", "0"),
        (Fault.UNKNOWN_AFTER, 503, "perhaps", "0.3"),
        (Fault.HTML, 200, "<html>", "0.3"),
        (Fault.CUT, 200, '{"id":1000001', "0.3"),
        (Fault.THROTTLED, 429, "slowly", "0"),
        (Fault.SKEW, 400, "stale", "0"),
        (Fault.PARTIAL, 200, '"filled":0.1}', "0.1"),
    ],
)
def test_another_answer(
    server: Server, client: requests.Session, fault: Fault, status: int, text: str, held: str
) -> None:
    server.fault(fault.value, PLACE)
    answer = _place(client, server)
    assert (answer.status_code, text in answer.text) == (status, True)
    assert answer.headers.get("Retry-After") == ("1" if fault is Fault.THROTTLED else None)
    assert _held(server) == D(held)


def test_a_late_request_is_judged_by_the_clock_of_its_arrival(
    server: Server, client: requests.Session, clock: Any
) -> None:
    server.fault(Fault.LATE, PLACE)
    server.fault(Fault.LATE, ("POST /order", 2))
    for _ in range(2):
        with pytest.raises(requests.ReadTimeout):
            _place(client, server)
        assert _held(server) == 0
        assert not server.log[-1].applied
        if len(server.log) == 1:
            assert [answer.status for answer in server.deliver_late()] == [200]
            assert _held(server) == D("0.3")
            server.engine.hand(server.engine.accounts[0], SYMBOL, Side.SELL, D("0.3"))
    clock.advance(3)
    assert [answer.body for answer in server.deliver_late()] == [{"error": "stale"}]
    assert server.deliver_late() == []
    assert _held(server) == 0


def test_a_ban_lasts_until_the_clock_passes_it(server: Server, client: requests.Session, clock: Any) -> None:
    server.fault(Fault.BANNED, PLACE)
    until = clock() + timedelta(seconds=5)
    assert _place(client, server).json() == {"error": f"banned until {until.timestamp():.0f}"}
    clock.advance(4)
    assert client.get(f"{server.url}/position", timeout=1).status_code == 418
    clock.advance(1)
    assert client.get(f"{server.url}/position", timeout=1).json() == {"quantity": 0}


def test_the_skew_stays(server: Server, client: requests.Session, clock: Any) -> None:
    server.skew = timedelta(seconds=-7)
    answer = client.get(f"{server.url}/time", timeout=1)
    assert answer.json() == {"time": (clock() - timedelta(seconds=7)).isoformat()}
    assert answer.headers["Date"] == "Mon, 05 Jan 2026 11:59:53 GMT"
    assert clock().tzinfo is UTC


def test_settle_tells_of_a_request_that_nobody_gave_up(server: Server) -> None:
    server.fault(Fault.SILENT_BEFORE, ("GET /time", 1))
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), 2) as raw:
        raw.sendall(b"GET /time HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(200):
            if server.requests_in_flight:
                break
            threading.Event().wait(0.01)
        with pytest.raises(AssertionError, match=r"(?s)in flight.*GET /time -> no answer \[silent_before"):
            server.settle(timeout=0.05)
    server.settle()


def test_a_dialect_that_fails_is_told_at_the_end(clock: Callable[[], datetime]) -> None:
    engine = Engine(clock)
    engine.open(Account("k", "s"))
    with pytest.raises(Refusal, match="no BTC-USDT-PERP here"):
        _ask_once(Server(_Broken(engine), engine))


def _ask_once(unstarted: Server) -> None:
    with unstarted as server:
        answer = requests.get(f"{server.url}/position", headers={"Toy-Key": "k"}, timeout=2)
        assert answer.status_code == 500


class _Broken(Toy):
    def handle(self, request: Request) -> Response:
        return Response(body=self.engine.price(SYMBOL))
