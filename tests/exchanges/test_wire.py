"""What a host's words do: refusals, limits, its clock; and calls that go out side by side."""

from __future__ import annotations

import logging
import threading
from contextvars import ContextVar
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from exchanges._http import READ_TRIES, Hosts, Reply, Wire, retry_after
from exchanges._limits import Budget
from tests.exchanges.plain_venue import KEY, OK, READ, SECRET, STALE, THEIRS, WRITE, Dialect, Open
from tests.exchanges.scripted import PATIENCE, Answer, Seen
from trading.errors import (
    Ambiguous,
    Rejected,
    StaleRequest,
    Throttled,
    VenueError,
)

Clock = Any  # the fixture of conftest

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
    calls = [lambda n=n: wire.read(replace(READ, params=(("n", n),))) for n in range(4)]
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
