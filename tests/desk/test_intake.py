"""The only door in, on both databases: what it keeps, what it answers, and what it never lets out."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from desk.intake import Answer, Intake, new_id, venue_of
from store import Store, journal, views
from store.tables import alerts, intents, notices, positions, refusals
from tests.desk.door import ENTRY, EXCHANGES, HOME, PASSPHRASE, SECOND, Door, blocked, everything, gone
from tests.processes import PATIENCE, until
from tests.store.together import shared_write
from trading.model import Lane, Route


@pytest.fixture
def door(store: Store, clock: Any, database_url: str) -> Door:
    return Door(store, clock, database_url)


def test_a_good_alert_is_stored_then_acknowledged_then_worked_on(door: Door) -> None:
    answer = door()

    assert answer.code == 202
    assert answer.body["success"] is True
    assert answer.body["status"] == "RECEIVED"
    with door.store.read() as tx:
        alert = tx.execute(select(alerts)).one()
        intent = tx.execute(select(intents)).one()
    assert alert.id == intent.id == answer.body["alert_id"]
    assert (alert.source, alert.route) == ("tradingview", "tradingview-to-webhook-order")
    assert (intent.venue, intent.account, intent.symbol) == ("PAPER:BINANCE", "MAIN", "BTC-USDT-PERP")
    assert alert.received_at == door.clock()
    assert "passphrase" not in alert.body.lower()
    assert door.wakes == [1]


def test_an_alert_makes_its_lane_due_whatever_a_runner_does_there(door: Door) -> None:
    lane = Lane("PAPER:BINANCE", "MAIN", "BTC-USDT-PERP")

    def due() -> list[Lane]:
        with door.store.read() as tx:
            return journal.due_lanes(tx, now=door.clock(), limit=9)

    def claim() -> Any:
        with door.store.write() as tx:
            return journal.claim(tx, lane=lane, owner="a", now=door.clock(), lease=timedelta(seconds=4))

    def release(held: Any) -> None:
        with door.store.write() as tx:
            journal.release(tx, held, due_at=None, now=door.clock())

    assert door(id="at first").code == 202
    assert due() == [lane]
    held = claim()
    assert door(id="while it is held").code == 202
    release(held)
    assert due() == [lane]
    release(claim())
    assert due() == []
    assert door(id="while it rests").code == 202
    assert due() == [lane]


def test_a_resend_is_the_same_alert(door: Door) -> None:
    first = door()
    door.clock.advance(timedelta(days=400))
    again = door()

    assert again.code == 200
    assert again.body["success"] is True
    assert (again.body["status"], again.body["alert_id"]) == ("duplicate", first.body["alert_id"])
    assert door.count(alerts) == 1
    assert len(door.wakes) == 1


def test_alerts_of_a_lane_that_share_a_commit_keep_their_order(door: Door) -> None:
    """An exit and the entry after it, the other way round, would close what was just opened."""
    sent = [f"n{number}" for number in range(8)]
    bodies = [{"message": ("exit", "entry")[number % 2], "id": name} for number, name in enumerate(sent)]
    # Of one id the first to come is the one that counts.
    answers = at_once(door, [*bodies, {"message": "exit", "id": "n7"}])

    assert [answer.code for answer in answers] == [202] * 8 + [409]
    with door.store.read() as tx:
        stored = tx.execute(select(alerts.c.body).order_by(alerts.c.seq)).scalars()
        assert [json.loads(body)["id"] for body in stored] == sent


def test_equal_alerts_that_share_a_commit_are_one(door: Door) -> None:
    for same in ({"id": "a"}, {"time": None}):
        answers = at_once(door, [same] * 5)
        assert [answer.code for answer in answers] == [202] + [200] * 4
        assert len({answer.body["alert_id"] for answer in answers}) == 1
    assert (door.count(alerts), door.count(intents)) == (2, 2)


def test_without_time_or_id_the_same_words_are_another_alert_after_a_minute(door: Door) -> None:
    first = door(time=None)
    door.clock.advance(59)
    assert door(time=None).body["status"] == "duplicate"
    door.clock.advance(61)
    later = door(time=None)

    assert later.code == 202
    assert later.body["alert_id"] != first.body["alert_id"]
    door.clock.advance(59)
    again = door(time=None)
    assert (again.body["status"], again.body["alert_id"]) == ("duplicate", later.body["alert_id"])


def test_an_id_is_known_for_ever_without_a_time_as_well(door: Door) -> None:
    first = door(id="a-1", time=None)
    door.clock.advance(timedelta(days=400))
    again = door(id="a-1", time=None)

    assert (again.body["status"], again.body["alert_id"]) == ("duplicate", first.body["alert_id"])
    assert door(id="a-1", time=None, price="50001").code == 409
    assert door.count(alerts) == 1


def test_the_passphrase_is_no_part_of_what_makes_alerts_equal(door: Door) -> None:
    first = door()
    assert door(passphrase=SECOND).body["alert_id"] == first.body["alert_id"]


def test_one_id_for_two_bodies_is_kept_once_and_not_traded(door: Door) -> None:
    first = door(id="a-1")
    answers = [door(id="a-1", price="50001") for _ in range(3)]

    for answer in answers:
        assert answer.code == 409
        assert answer.body["success"] is False
        assert answer.body["alert_id"] == first.body["alert_id"]
    assert (door.count(alerts), door.count(refusals)) == (1, 1)
    assert door(id="a-1", price="50002").code == 409
    assert door.count(refusals) == 2
    assert door(id="a-1", subaccount="other").code == 202


def test_what_is_only_told_is_kept_and_ignored(door: Door) -> None:
    answer = door(message="tp1")

    assert (answer.code, answer.body["status"], answer.body["success"]) == (200, "ignored", True)
    with door.store.read() as tx:
        assert tx.execute(select(intents.c.status)).scalar_one() == "IGNORED"
    assert door.wakes == []
    assert door(message="tp1").body["status"] == "duplicate"
    assert (door.count(notices), door.count(positions)) == (1, 0)


def test_a_field_that_is_missing_is_named_kept_and_told(door: Door) -> None:
    answer = door(long__SL=None)

    assert (answer.code, answer.body["success"], answer.body["field"]) == (422, False, "long SL")
    with door.store.read() as tx:
        kept = tx.execute(select(refusals)).one()
        told = tx.execute(select(notices)).one()
    assert (kept.code, kept.field, kept.route) == (422, "long SL", "tradingview-to-webhook-order")
    assert "BTCUSDT.P" in kept.body
    mend = 'rite "long SL": "{{plot("Long SL")}}", and plot the level from the signal on'
    assert answer.body["mend"] == f"w{mend}"
    assert told.text == f"An alert was refused and not traded. long SL: an entry needs a stop. W{mend}"
    assert door.count(alerts) == 0


def test_what_is_not_json_is_kept_and_told_only_to_who_knows_the_passphrase(door: Door) -> None:
    assert door.raw(b"hello").code == 400
    assert (door.count(refusals), door.count(notices)) == (1, 0)

    unquoted = b'{"ticker": {{ticker}}, "passphrase": "' + PASSPHRASE.encode() + b'"}'
    answer = door.raw(unquoted)

    assert answer.code == 400
    assert "ticker" in str(answer.body["message"])
    assert (door.count(refusals), door.count(notices)) == (2, 1)


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "wrong",
        PASSPHRASE + " ",
        PASSPHRASE.upper(),
        "п",
        "\ud800",
        7,
        True,
        {"a": 1},
        f"{PASSPHRASE},{SECOND}",
    ],
)
def test_missing_and_wrong_passphrases_get_the_same_words(door: Door, given: Any) -> None:
    answer = door(passphrase=given)
    missing = door(passphrase=None)

    if isinstance(given, dict):
        assert answer.code == 422  # not flat: refused before anything is compared
    else:
        assert answer == missing
    assert (missing.code, missing.body["success"]) == (401, False)
    assert (door.count(alerts), door.count(intents)) == (0, 0)


def test_every_passphrase_of_a_rotation_is_good(door: Door) -> None:
    assert [door(passphrase=word, id=word[:9]).code for word in (PASSPHRASE, SECOND)] == [202, 202]


def test_equal_alerts_at_the_same_moment_are_one(door: Door, database_url: str) -> None:
    doors = [Door(door.store, door.clock, database_url) for _ in range(8)]
    start = threading.Barrier(len(doors))
    answers: list[Any] = []

    def send(each: Door) -> None:
        start.wait()
        answers.append(each())

    threads = [threading.Thread(target=send, args=(each,)) for each in doors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answer.code for answer in answers) == [200] * 7 + [202]
    assert len({answer.body["alert_id"] for answer in answers}) == 1
    assert door.count(alerts) == door.count(intents) == 1


def test_what_could_not_be_stored_is_503_soon_and_the_resend_is_taken(door: Door) -> None:
    with blocked(door):
        began = time.monotonic()
        answer = door()
        assert time.monotonic() - began < 3
        assert (answer.code, answer.body["success"]) == (503, False)
        assert door(passphrase="wrong").code == 503
        assert door(ticker=None).code == 503
        assert door.raw(b"nonsense").code == 503
    assert door.wakes == []

    assert door().code == 202
    assert door.count(alerts) == 1


def test_a_database_that_is_gone_is_503_and_back_again_202(
    door: Door, database_url: str, postgres_server: Any
) -> None:
    assert door(id="before").code == 202
    with gone(database_url, door.store, postgres_server):
        began = time.monotonic()
        assert door(id="after").code == 503
        assert time.monotonic() - began < 3
    assert door(id="after").code == 202


def test_a_defect_before_the_commit_asks_for_a_resend(
    store: Store, clock: Any, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(tuple[str, ...]):
        def __iter__(self) -> Iterator[str]:
            raise RuntimeError("a defect")

    door = Door(store, clock, database_url, exchanges=Broken())
    with caplog.at_level(logging.ERROR):
        assert door().code == 503
    assert "a defect" in caplog.text
    assert door.count(alerts) == 0


def test_a_runner_that_cannot_be_woken_changes_no_answer(door: Door) -> None:
    def broken() -> None:
        raise RuntimeError("no runner")

    intake = Intake(door.store, door.settings, door.clock, broken, exchanges=EXCHANGES)
    assert intake.receive(json.dumps(ENTRY).encode(), route=Route.ORDER, address=HOME).code == 202


def test_a_command_from_discord_walks_the_same_path(door: Door) -> None:
    fields = {name: value for name, value in ENTRY.items() if name != "passphrase"} | {"message": "exit"}

    def submit(body: object) -> Answer:
        return door.intake.submit(json.dumps(body).encode(), by="Ann (discord:7)")

    answer = submit(fields)

    assert answer.code == 202
    with door.store.read() as tx:
        alert = tx.execute(select(alerts)).one()
    assert (alert.source, alert.route, alert.kind) == ("discord", "discord", "exit")
    with door.store.read() as tx:
        events = views.alert_events(tx, alert.id)
    assert [event["detail"] for event in events if event["event"] == "commanded"] == ["by Ann (discord:7)"]
    assert submit(fields | {"passphrase": "whatever"}).body["status"] == "duplicate"
    assert submit(fields | {"ticker": ""}).code == 422
    assert submit({"a": {"b": 1}}).code == 422
    assert submit([]).code == 400
    assert len(door.wakes) == 1


def test_no_passphrase_reaches_a_table_or_a_log(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    escaped = json.dumps(PASSPHRASE)[1:-1]
    with caplog.at_level(logging.DEBUG):
        door()
        door()
        door(ticker=None)
        door(id=PASSPHRASE, price="1")
        door(subaccount=PASSPHRASE)
        door(chart_url=f"https://x.test/?{PASSPHRASE}", extra=PASSPHRASE)
        door(passphrase=None, Pass__phrase=PASSPHRASE)
        door(passphrase="wrong", other=PASSPHRASE)
        for template in (
            '{{"passphrase": "{}", "ticker": BTC}}',
            '{{"passphrase": {}}}',
            "passphrase={}&x=1",
            '[{{"passphrase": "{}"}}]',
            '{{"passphrase": ["{}"]}}',
            '{{"ticker": "{{{{ticker}}}}", "passphrase": "{}"}}',
        ):
            door.raw(template.format(PASSPHRASE).encode())
            door.raw(template.format(escaped).encode())
            door.raw(template.format(SECOND).encode("utf-16"))

    for canary in (PASSPHRASE, PASSPHRASE.upper(), escaped, SECOND):
        assert canary not in caplog.text
        assert canary not in everything(door.store)


def test_ids_are_twenty_hex_digits_in_the_order_of_time() -> None:
    at = datetime(2026, 1, 5, 12, tzinfo=UTC)
    ids = [new_id(at + timedelta(milliseconds=number)) for number in range(50)]

    assert ids == sorted(ids)
    assert len(set(ids)) == 50
    assert all(len(each) == 20 and set(each) <= set("0123456789abcdef") for each in ids)


@pytest.mark.parametrize(
    ("exchange", "live", "venue"),
    [
        ("BINANCE", False, "PAPER:BINANCE"),
        ("binance", True, "BINANCE"),
        ("PAPER", True, "PAPER:PAPER"),
        ("paper", False, "PAPER:PAPER"),
    ],
)
def test_nothing_is_live_unless_said(exchange: str, live: bool, venue: str) -> None:
    assert venue_of(exchange, live=live) == venue


def at_once(door: Door, bodies: list[dict[str, Any]]) -> list[Any]:
    """Their answers, where they came one after the other while another alert was being stored."""
    begun, go_on = threading.Event(), threading.Event()

    def first(tx: Any) -> None:
        begun.set()
        while not go_on.wait(0.2):  # Postgres ends who says nothing
            tx.execute(select(1))

    with ThreadPoolExecutor(len(bodies) + 1) as pool:
        leader = pool.submit(shared_write, door.store, first)
        assert begun.wait(PATIENCE)
        answers = []
        for number, body in enumerate(bodies, 1):
            answers.append(pool.submit(door, **body))
            until(lambda there=number: len(door.store._company._waiting) == there, "it waits")
        go_on.set()
        leader.result(PATIENCE)
        return [answer.result(PATIENCE) for answer in answers]
