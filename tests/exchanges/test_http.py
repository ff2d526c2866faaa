"""The way to a venue over real sockets: what each outcome proves, and what is never sent twice or shown."""

from __future__ import annotations

import gzip
import json
import ssl
import threading
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter
from urllib3.exceptions import MaxRetryError, NewConnectionError, SSLError

from exchanges import _http
from exchanges._http import READ_TRIES, Hosts, Patience, Request, Wire
from tests.exchanges.plain_venue import OK, READ, SECRET, WRITE, Dialect, Open
from tests.exchanges.scripted import CALM, PATIENCE, Answer, Scripted, Seen
from trading.errors import (
    Ambiguous,
    BadCredentials,
    Unreachable,
    VenueError,
)

Clock = Any  # the fixture of conftest

#: Silence ends soon; all the rest has time.
HASTY = Patience(connect=PATIENCE, silence=0.5, total=0.5, long=PATIENCE)
NOTHINGS = {
    "silent": Answer(silent=True),
    "closed": Answer(close=True),
    "502": Answer(status=502, body=b"<html>Bad Gateway</html>"),
    "500 with JSON": Answer(status=500, body=b'{"ok": true}'),
    "408": Answer(status=408, body=b"{}"),
    "html": Answer(body=b"<html>Back soon.</html>"),
    "cut": Answer(body=b'{"ok": tr'),
    "cut short": Answer(body=b'{"ok"', promised=12),
    "empty": Answer(body=b""),
    "NaN": Answer(body=b'{"price": NaN}'),
    "Infinity": Answer(body=b'{"price": -Infinity}'),
    "beyond any number": Answer(body=b'{"price": 1e99999999999999999999}'),
    "too deep": Answer(body=b"[" * 100_000),
    "not gzip": Answer(body=b"no", headers={"Content-Encoding": "gzip"}),
    "drips": Answer(body=b" ", drip=True),
    "redirect": Answer(status=302, headers={"Location": "/elsewhere"}, body=b"{}"),
    "redirect that drips": Answer(status=302, headers={"Location": "/elsewhere"}, body=b" ", drip=True),
}


# What comes back, and what goes out


def test_calls_go_out_side_by_side(clock: Clock) -> None:
    """The venue answers none of three before all have come."""
    all_here = threading.Barrier(3)

    def script(seen: Seen) -> Answer:
        all_here.wait(PATIENCE)
        return replace(OK, body=json.dumps({"number": seen.target[-1]}).encode())

    with Scripted(script) as server:
        host = Hosts(clock, patience=CALM).host(server.url, {})
        wire = Wire(host, Dialect())
        asks = [replace(READ, params=(("n", number),)) for number in "123"]
        told = host.together(*(partial(wire.read, ask) for ask in asks))
    assert [each["number"] for each in told] == ["1", "2", "3"]


def test_amounts_come_as_decimals_to_the_digit(venue: Open) -> None:
    body = b'{"a": 0.1000, "b": 1e-7, "c": 123456789012345678901234567890, "d": "1.5", "e": null}'
    _, wire = venue(read=Answer(body=body))
    got = wire.read(READ)
    assert str(got["a"]) == "0.1000"
    assert got == {
        "a": Decimal("0.1"),
        "b": Decimal("1E-7"),
        "c": 123456789012345678901234567890,
        "d": "1.5",
        "e": None,
    }
    assert not any(isinstance(value, float) for value in got.values())


def test_what_is_sent_is_what_was_signed_to_the_byte(venue: Open) -> None:
    odd = (("id", "a%3Ab%2Fc"), ("cursor", "page%253D1"), ("sort", "a,b:c"), ("x", ""))
    server, wire = venue()
    wire.read(replace(READ, params=odd))
    wire.write(replace(WRITE, params=odd))
    read, write = server.seen
    assert read.target == "/read?id=a%3Ab%2Fc&cursor=page%253D1&sort=a,b:c&x="
    assert (read.body, read.headers.get("Content-Length")) == (b"", None)
    assert (write.target, write.body) == ("/write", b"id=a%3Ab%2Fc&cursor=page%253D1&sort=a,b:c&x=")


def test_an_answer_may_be_packed(venue: Open) -> None:
    packed = Answer(body=gzip.compress(b'{"ok": 1}'), headers={"Content-Encoding": "gzip"})
    _, wire = venue(read=packed)
    assert wire.read(READ) == {"ok": 1}


def test_a_connection_is_used_again(venue: Open) -> None:
    server, wire = venue()
    for _ in range(3):
        wire.read(READ)
        wire.write(WRITE)
    assert {seen.connection for seen in server.seen} == {1}


def test_neither_proxies_nor_netrc_nor_cookies_have_a_say(
    venue: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none"))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server, wire = venue(read=Answer(body=b"{}", headers={"Set-Cookie": "who=you; Path=/"}))
    wire.read(READ)
    wire.read(READ)
    for seen in server.seen:
        assert seen.headers.get("Authorization") is None
        assert seen.headers.get("Cookie") is None


# What no answer proves


@pytest.mark.parametrize("kind", NOTHINGS)
def test_a_write_that_nobody_answered_is_ambiguous_and_is_never_sent_again(venue: Open, kind: str) -> None:
    server, wire = venue(HASTY if kind in ("silent", "drips") else CALM, write=NOTHINGS[kind])
    if kind == "redirect that drips":
        wire.host.patience = replace(CALM, total=0.5)
    with pytest.raises(Ambiguous) as raised:
        wire.write(WRITE)
    assert type(raised.value) is Ambiguous
    assert [seen.on for seen in server.seen] == ["POST /write"]
    assert raised.value.endpoint == "POST /write"


@pytest.mark.parametrize("kind", ["closed", "502", "html", "cut short", "NaN", "redirect"])
def test_a_read_is_asked_again(venue: Open, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    server, wire = venue(read=[NOTHINGS[kind]] * (READ_TRIES - 1) + [OK])
    assert wire.read(READ) == {"ok": True}
    assert len(server.on("/read")) == len(server.seen) == READ_TRIES
    assert caplog.text.count("asked again: TOY GET /read") == READ_TRIES - 1


def test_a_read_is_not_asked_for_ever(venue: Open) -> None:
    server, wire = venue(read=NOTHINGS["closed"])
    with pytest.raises(Ambiguous, match="TOY GET /read: no answer: ConnectionError"):
        wire.read(READ)
    assert len(server.seen) == READ_TRIES


def test_a_read_that_was_met_with_silence_is_asked_again(venue: Open) -> None:
    server, wire = venue(HASTY, read=[NOTHINGS["silent"], OK])
    assert wire.read(READ) == {"ok": True}
    assert len(server.seen) > 1


@pytest.mark.parametrize("request_", [READ, WRITE], ids=["read", "write"])
def test_where_nobody_listens_nothing_has_left(venue: Open, request_: Request) -> None:
    server, wire = venue()
    server.refuse()
    with pytest.raises(Unreachable, match="no connection could be made"):
        wire.read(request_) if request_ is READ else wire.write(request_)


def test_what_drips_ends_with_the_patience_and_a_long_list_has_more_of_it(venue: Open) -> None:
    _, wire = venue(replace(CALM, total=0.5), write=NOTHINGS["drips"])
    with pytest.raises(Ambiguous, match=r"does not end|no answer"):
        wire.write(WRITE)
    _, wire = venue(replace(CALM, long=0.5), read=[NOTHINGS["drips"], OK])
    assert wire.read(replace(READ, bulky=True)) == {"ok": True}
    server, wire = venue(replace(HASTY, long=0.3), read=NOTHINGS["silent"])
    with pytest.raises(Ambiguous, match="no answer: ReadTimeout"):
        wire.read(replace(READ, bulky=True))
    assert len(server.seen) == READ_TRIES


def test_what_is_too_long_is_not_read_to_its_end(venue: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "LARGEST", 1000)
    bomb = gzip.compress(b'{"ok": "' + b"x" * 10_000_000 + b'"}')
    _, wire = venue(
        read=Answer(body=b" " * 1001), write=Answer(body=bomb, headers={"Content-Encoding": "gzip"})
    )
    with pytest.raises(Ambiguous, match="too long"):
        wire.read(READ)
    with pytest.raises(Ambiguous, match="too long"):
        wire.write(WRITE)


class Broken(BaseAdapter):
    """A transport that fails as one does that cannot be made to on loopback."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        raise self.error

    def close(self) -> None:
        """There is nothing open."""


def _wrapped(reason: Exception) -> MaxRetryError:
    return MaxRetryError(None, f"/write?signature={SECRET}", reason)  # type: ignore[arg-type]  # no pool


@pytest.mark.parametrize(
    ("error", "proves"),
    [
        (requests.ConnectTimeout(), Unreachable),
        (requests.ConnectionError(_wrapped(NewConnectionError(None, "no such name"))), Unreachable),  # type: ignore[arg-type]
        (requests.exceptions.SSLError(_wrapped(SSLError(ssl.SSLCertVerificationError("bad")))), Unreachable),
        # A connection can break so when the request is on its way.
        (requests.exceptions.SSLError(_wrapped(SSLError(ssl.SSLEOFError("EOF")))), Ambiguous),
        (requests.exceptions.SSLError(_wrapped(SSLError())), Ambiguous),
        (requests.ReadTimeout(f"/write?signature={SECRET}"), Ambiguous),
        (requests.ConnectionError(), Ambiguous),
        (ConnectionResetError(SECRET), Ambiguous),
    ],
)
def test_only_what_broke_before_the_request_is_safe_to_send_again(
    clock: Clock, error: Exception, proves: type[VenueError]
) -> None:
    host = Hosts(clock, transport=lambda: Broken(error)).host("https://toy.test", {})
    with pytest.raises(proves) as raised:
        Wire(host, Dialect()).write(WRITE)
    assert type(raised.value) is proves
    assert SECRET not in repr(raised.value)
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("key", ["with a\nbreak", "wíth ł", " ahead"])
def test_a_key_that_no_header_can_carry_is_told_and_not_shown(venue: Open, key: str) -> None:
    server, wire = venue(dialect=Dialect(key, (key, SECRET)))
    with pytest.raises(BadCredentials, match="holds a character that no header can") as raised:
        wire.write(WRITE)
    assert key not in str(raised.value)
    assert not server.seen
