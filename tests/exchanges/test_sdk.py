"""The venues' own SDKs send what the adapters send: same order, same clock, same emulated venue.

Each side meets a fresh venue that verifies signature and window; what both sent is then compared, and what
the venue has afterwards. An SDK's clock alone is replaced: its requests go over real HTTP.
"""

from __future__ import annotations

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
from tests.exchanges.sdk_acts import BTC, LOW, PRICE, RESTING_ID, Act, D, Venue
from tests.exchanges.sdk_binance import BINANCE
from tests.exchanges.sdk_bybit import BYBIT
from trading.errors import BadCredentials, StaleRequest, VenueError
from trading.model import OrderType, Side

LATE = timedelta(seconds=90)
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
