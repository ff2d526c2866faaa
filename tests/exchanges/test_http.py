"""The way to a venue over real sockets: what each outcome proves, and what is never sent twice or shown."""

from __future__ import annotations

import gzip
import logging
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter
from urllib3.exceptions import MaxRetryError, NewConnectionError, SSLError

from exchanges import _http
from exchanges._http import READ_TRIES, Hosts, Patience, Reply, Request, Sealed, Wire, retry_after
from exchanges._limits import Budget, Limiter
from tests.exchanges.contract import CALM
from tests.exchanges.scripted import PATIENCE, Answer, Scripted, Seen
from trading.errors import (
    Ambiguous,
    BadCredentials,
    Rejected,
    StaleRequest,
    Throttled,
    Unreachable,
    VenueError,
)

Clock = Any  # the fixture of conftest

#: Silence ends soon; all the rest has time.
HASTY = Patience(connect=PATIENCE, silence=0.2, total=0.2, long=PATIENCE)
KEY, SECRET = "the-key-of-this-test", "the-secret-of-this-test"
READ = Request(method="GET", path="/read")
WRITE = Request(method="POST", path="/write", params=(("quantity", "1"),))
THEIRS = datetime(2026, 1, 5, 12, 0, 30, tzinfo=UTC)

OK = Answer(body=b'{"ok": true}')
TIME = Answer(body=b'{"now": "2026-01-05T12:00:30+00:00"}')
STALE = Answer(status=400, body=b'{"error": "stale"}')
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
    "too deep": Answer(body=b"[" * 100_000),
    "not gzip": Answer(body=b"no", headers={"Content-Encoding": "gzip"}),
    "drips": Answer(body=b" ", drip=True),
    "redirect": Answer(status=302, headers={"Location": "/elsewhere"}, body=b"{}"),
    "redirect that drips": Answer(status=302, headers={"Location": "/elsewhere"}, body=b" ", drip=True),
}


class Dialect:
    """Signs with headers; refuses with an `error`."""

    venue = "TOY"

    def __init__(self, key: str = KEY, secrets: Sequence[str] = (KEY, SECRET)) -> None:
        self.key = key
        self.secrets = secrets

    def seal(self, request: Request, at: datetime) -> Sealed:
        query = "&".join(f"{name}={value}" for name, value in request.params)
        headers = {"X-Key": self.key, "X-At": at.isoformat()} if request.signed else {}
        if request.method == "GET":
            return Sealed(target=f"{request.path}?{query}" if query else request.path, headers=headers)
        return Sealed(target=request.path, headers=headers, body=query.encode())

    def judge(self, reply: Reply) -> VenueError | None:
        code = reply.body.get("error") if isinstance(reply.body, dict) else None
        if code == "stale":
            return StaleRequest(self.venue, reply.request.endpoint, "too late")
        if code == "slow":
            return Throttled(self.venue, reply.request.endpoint, "slow", after=retry_after(reply))
        if code is not None:
            return Rejected(self.venue, reply.request.endpoint, code, code="7")
        return None

    def heard(self, reply: Reply, limiter: Limiter) -> None:
        if used := reply.headers.get("X-Used"):
            limiter.told("all", int(used))

    def clock_request(self) -> Request:
        return Request(method="GET", path="/time", signed=False)

    def read_clock(self, body: Any) -> datetime:
        return datetime.fromisoformat(body["now"])


class Venue(Scripted):
    """Answers by path: each of its answers once, the last for ever."""

    def __init__(self, **paths: Answer | list[Answer]) -> None:
        self.script = {
            f"/{path}": [answers] if isinstance(answers, Answer) else list(answers)
            for path, answers in ({"read": OK, "write": OK, "time": TIME} | paths).items()
        }
        super().__init__(self._next)

    def _next(self, seen: Seen) -> Answer:
        answers = self.script[seen.path]
        return answers.pop(0) if len(answers) > 1 else answers[0]


Open = Callable[..., tuple[Venue, Wire]]


@pytest.fixture
def venue(clock: Clock) -> Iterator[Open]:
    """Opens a server that answers as told, and a way to it."""
    servers: list[Venue] = []

    def build(
        patience: Patience = CALM,
        dialect: Dialect | None = None,
        budgets: Mapping[str, Budget] | None = None,
        **paths: Answer | list[Answer],
    ) -> tuple[Venue, Wire]:
        server = Venue(**paths)
        server.__enter__()
        servers.append(server)
        host = Hosts(clock, patience=patience).host(server.url, budgets or {})
        return server, Wire(host, dialect or Dialect())

    yield build
    for server in servers:
        server.refuse()


# What comes back, and what goes out


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
        wire.host.patience = replace(CALM, total=0.2)
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
    assert len(server.seen) == 2


@pytest.mark.parametrize("request_", [READ, WRITE], ids=["read", "write"])
def test_where_nobody_listens_nothing_has_left(venue: Open, request_: Request) -> None:
    server, wire = venue()
    server.refuse()
    with pytest.raises(Unreachable, match="no connection could be made"):
        wire.read(request_) if request_ is READ else wire.write(request_)


def test_what_drips_ends_with_the_patience_and_a_long_list_has_more_of_it(venue: Open) -> None:
    _, wire = venue(replace(CALM, total=0.2), write=NOTHINGS["drips"])
    with pytest.raises(Ambiguous, match="does not end"):
        wire.write(WRITE)
    _, wire = venue(replace(CALM, long=0.2), read=[NOTHINGS["drips"], OK])
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


# Refusals


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_a_refusal_is_told_by_its_status_where_the_dialect_says_nothing(venue: Open, status: int) -> None:
    server, wire = venue(read=Answer(status=status, body=b"<b>No\r\n\tentry</b>"))
    with pytest.raises(Rejected) as raised:
        wire.read(READ)
    assert str(raised.value) == f"TOY GET /read [{status}]: refused: <b>No entry</b>"
    assert len(server.seen) == 1


def test_the_dialect_has_the_first_word(venue: Open) -> None:
    for status in (200, 400, 503):
        _, wire = venue(write=Answer(status=status, body=b'{"error": "no money"}'))
        with pytest.raises(Rejected, match=r"TOY POST /write \[7\]: no money"):
            wire.write(WRITE)


def test_no_error_shows_a_secret(venue: Open) -> None:
    words = f"{KEY} {'x' * 170} {SECRET} {SECRET}".encode()
    _, wire = venue(
        dialect=Dialect(secrets=("", KEY, SECRET)),
        read=Answer(status=403, body=words),
        write=Answer(status=200, body=b'{"error": "' + words + b'\\n\\n!"}'),
    )
    for call in (lambda: wire.read(READ), lambda: wire.write(WRITE)):
        with pytest.raises(Rejected) as raised:
            call()
        text = str(raised.value)
        assert "*** xxx" in text
        assert len(raised.value.message) <= 200
        assert not any(part in text for part in (KEY, SECRET, SECRET[:8], "\n"))


def test_a_redacted_refusal_stays_what_it_was(venue: Open) -> None:
    class Chatty(Dialect):
        def judge(self, reply: Reply) -> VenueError:
            return Throttled("TOY", "x", f"{KEY}\nslow", after=timedelta(seconds=9), code="8")

    _, wire = venue(dialect=Chatty())
    with pytest.raises(Throttled) as raised:
        wire.write(WRITE)
    assert (raised.value.message, raised.value.code) == ("*** slow", "8")
    assert raised.value.after == timedelta(seconds=9)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("3", 3), ("0", 0), ("", 1), ("1.5", 1), ("-5", 1), ("soon", 1), ("٣", 1), ("9" * 30, 3 * 86400)],
)
def test_retry_after_in_seconds_or_a_default(said: str, seconds: int) -> None:
    reply = Reply(status=429, headers={"Retry-After": said}, body=None, text="", request=READ)
    assert retry_after(reply) == timedelta(seconds=seconds)


def test_a_host_that_wants_to_hear_nothing_hears_nothing(venue: Open, clock: Clock) -> None:
    server, wire = venue(read=[Answer(status=429, headers={"Retry-After": "7"}), OK])
    with pytest.raises(Throttled, match="too many requests") as raised:
        wire.read(READ)
    assert (raised.value.after, raised.value.code) == (timedelta(seconds=7), "429")
    other = Wire(wire.host, Dialect())
    with pytest.raises(Throttled, match="held back here") as raised:
        other.write(replace(WRITE, urgent=True))
    assert raised.value.after == timedelta(seconds=7)
    assert len(server.seen) == 1
    clock.advance(7)
    assert wire.read(READ) == {"ok": True}


def test_a_limit_of_one_account_does_not_shut_the_host(venue: Open) -> None:
    _, wire = venue(write=Answer(status=400, headers={"Retry-After": "7"}, body=b'{"error": "slow"}'))
    with pytest.raises(Throttled):
        wire.write(WRITE)
    assert wire.read(READ) == {"ok": True}


def test_budgets_are_kept_and_the_host_is_listened_to(venue: Open) -> None:
    budgets = {"all": Budget(10, timedelta(minutes=1))}
    server, wire = venue(budgets=budgets, read=Answer(body=b"{}", headers={"X-Used": "9"}))
    dear = replace(READ, costs={"all": 1})
    wire.read(dear)
    with pytest.raises(Throttled, match="held back here") as raised:
        wire.read(dear)
    assert raised.value.after == timedelta(minutes=1)
    assert len(server.seen) == 1
    wire.write(replace(WRITE, costs={"all": 1}, urgent=True))
    assert len(server.seen) == 2


# The clock


def test_the_clock_is_asked_for_once(venue: Open, clock: Clock) -> None:
    server, wire = venue()
    assert not wire.host.knows_time()
    assert wire.time() == THEIRS
    clock.advance(5)
    assert wire.time() == wire.host.now() == THEIRS + timedelta(seconds=5)
    assert [seen.on for seen in server.seen] == ["GET /time"]
    assert server.seen[0].headers.get("X-Key") is None


def test_the_middle_of_the_journey_is_when_the_host_told_its_clock(clock: Clock) -> None:
    host = Hosts(clock).host("http://toy.test", {})
    sent_at = clock()
    clock.advance(4)
    host.learn_time(THEIRS, sent_at)
    assert host.now() == THEIRS + timedelta(seconds=2)


def test_what_is_known_of_the_clock_grows_old(clock: Clock) -> None:
    host = Hosts(clock).host("http://toy.test", {})
    assert not host.knows_time(timedelta(minutes=10))
    host.learn_time(THEIRS, clock())
    clock.advance(599)
    assert host.knows_time(timedelta(minutes=10))
    clock.advance(1)
    assert not host.knows_time(timedelta(minutes=10))
    assert host.knows_time()
    clock.advance(-3600)
    assert not host.knows_time(timedelta(minutes=10))


def test_a_read_that_came_too_late_is_asked_again_with_the_right_time(venue: Open, clock: Clock) -> None:
    server, wire = venue(read=[STALE, OK])
    ours = clock()
    assert wire.read(READ) == {"ok": True}
    assert [seen.path for seen in server.seen] == ["/read", "/time", "/read"]
    assert [seen.headers["X-At"] for seen in server.on("/read")] == [ours.isoformat(), THEIRS.isoformat()]


def test_a_read_that_comes_too_late_each_time_is_given_up(venue: Open) -> None:
    server, wire = venue(read=STALE)
    with pytest.raises(StaleRequest):
        wire.read(READ)
    assert len(server.on("/read")) == READ_TRIES


def test_a_write_that_came_too_late_is_told_and_the_clock_learnt(venue: Open, clock: Clock) -> None:
    server, wire = venue(write=STALE)
    signed_at = clock() - timedelta(milliseconds=1)
    with pytest.raises(StaleRequest):
        wire.write(WRITE, signed_at=signed_at)
    assert [seen.path for seen in server.seen] == ["/write", "/time"]
    assert server.seen[0].headers["X-At"] == signed_at.isoformat()
    assert wire.time() == THEIRS
    assert len(server.seen) == 2


@pytest.mark.parametrize("answer", [b"{}", b"[]", b'{"now": "soon"}', b'{"now": null}', b'"x"', b"<html>"])
def test_a_clock_that_tells_nothing_changes_nothing(
    venue: Open, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    _, wire = venue(write=STALE, time=Answer(body=answer))
    with pytest.raises(StaleRequest):
        wire.write(WRITE)
    assert "the venue's clock is not known" in caplog.text
    with pytest.raises(Ambiguous):
        wire.time()
    assert not wire.host.knows_time()


def test_a_write_without_a_time_of_its_own_takes_the_hosts(venue: Open) -> None:
    server, wire = venue()
    wire.set_clock()
    wire.write(WRITE)
    assert server.on("/write")[0].headers["X-At"] == THEIRS.isoformat()


# Side by side


def test_calls_go_out_side_by_side_and_come_back_in_order(venue: Open) -> None:
    server, wire = venue()
    gate = threading.Barrier(4, timeout=PATIENCE)

    def script(seen: Seen) -> Answer:
        gate.wait()
        return Answer(body=f'"{seen.query}"'.encode())

    server._script = script
    calls = [lambda n=n: wire.read(replace(READ, params=(("n", n),))) for n in range(4)]  # type: ignore[misc]
    assert wire.host.together(*calls) == ["n=0", "n=1", "n=2", "n=3"]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("error", [Rejected("TOY", "x", "no"), ZeroDivisionError("a fault of ours")])
def test_one_error_lets_the_others_end_first(clock: Clock, place: int, error: Exception) -> None:
    raised, ended = threading.Event(), []

    def fail() -> None:
        raised.set()
        raise error

    def end() -> None:
        assert raised.wait(PATIENCE) or place == 0
        ended.append(1)

    calls = [end, end]
    calls.insert(place, fail)
    with pytest.raises(type(error)):
        Hosts(clock).host("http://toy.test", {}).together(*calls)
    assert len(ended) == 2


def test_what_the_log_says_of_the_caller_holds_for_all_its_calls(clock: Clock) -> None:
    alert: ContextVar[str] = ContextVar("alert", default="none")
    alert.set("a1")
    host = Hosts(clock).host("http://toy.test", {})
    assert host.together(alert.get, alert.get, alert.get) == ["a1"] * 3
    assert host.together(alert.get) == ["a1"]


# Who shares what


def test_accounts_share_a_host_by_its_address(clock: Clock) -> None:
    hosts = Hosts(clock)
    one = hosts.host("https://toy.test/api", {"all": Budget(1, timedelta(seconds=1))})
    assert one is hosts.host("https://toy.test/api", {})
    assert one is not hosts.host("https://other.test/api", {})
    assert (one.url, one.clock) == ("https://toy.test", clock)
    first = one.catalogue("TOY", "perpetuals", list)
    assert first is one.catalogue("TOY", "perpetuals", list)
    assert first is not one.catalogue("TOY", "spot", list)


def test_requests_are_logged_without_what_they_say(venue: Open, caplog: pytest.LogCaptureFixture) -> None:
    _, wire = venue()
    with caplog.at_level(logging.DEBUG, logger="exchanges"):
        wire.write(WRITE)
    assert "TOY POST /write 200 in" in caplog.text
    assert KEY not in caplog.text
