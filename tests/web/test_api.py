"""JSON reads and a person's decisions: who may, and what they see."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update

from desk import report
from desk.tape import read_alerts
from desk.wiring import Desk
from store.tables import intents
from trading.model import IntentStatus

ORDER = "/tradingview-to-webhook-order"
READS = ["/api/alerts", "/api/alerts/x", "/api/positions", "/api/orders", "/api/refusals"]
WRITES = ["/api/halt", "/api/resume", "/api/intents/x/approve", "/api/intents/x/decline"]


class Person:
    """Somebody with the password."""

    def __init__(self, app: Flask, password: str) -> None:
        self.client = app.test_client()
        self.auth = ("trader", password)
        self.desk: Desk = app.extensions["desk"]

    def get(self, path: str, **more: Any) -> Any:
        return self.client.get(path, auth=self.auth, **more)

    def post(self, path: str, **more: Any) -> Any:
        return self.client.post(path, auth=self.auth, **more)

    def waiting(self, body: Any, **changes: Any) -> str:
        """The id of an intent that waits for approval."""
        alert_id = str(self.client.post(ORDER, data=body.raw(**changes)).get_json()["alert_id"])
        self.put(alert_id, IntentStatus.AWAITING_APPROVAL)
        return alert_id

    def put(self, alert_id: str, status: IntentStatus) -> None:
        with self.desk.store.write() as tx:
            tx.execute(update(intents).where(intents.c.id == alert_id).values(status=status))


@pytest.fixture
def person(make_app: Callable[..., Flask], body: Any) -> Person:
    return Person(make_app(), body.password)


@pytest.mark.parametrize("path", READS)
def test_reads_want_the_password(client: FlaskClient, body: Any, path: str) -> None:
    assert client.get(path).status_code == 401
    wrong = client.get(path, auth=("any", "wrong"))
    assert wrong.status_code == 401
    assert wrong.headers["WWW-Authenticate"].startswith("Basic ")
    assert wrong.get_json() == client.get(path).get_json()
    assert client.get(path, headers={"Authorization": "Bearer " + body.password}).status_code == 401
    assert client.get(path, headers={"Authorization": "Basic ???"}).status_code == 401
    assert client.get(path, auth=("", body.password)).status_code in (200, 404)


@pytest.mark.parametrize("path", WRITES)
def test_decisions_want_the_password_and_the_same_site(client: FlaskClient, body: Any, path: str) -> None:
    assert client.post(path).status_code == 401
    auth = ("any", body.password)
    for headers in ({"Origin": "https://evil.test"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.post(path, auth=auth, headers=headers).status_code == 403
    own = client.post(path, auth=auth, headers={"Origin": "http://localhost"})
    assert own.status_code in (200, 404)
    assert client.get(path, auth=auth).status_code == 405


@pytest.mark.parametrize("path", READS)
def test_without_a_password_set_the_api_is_closed(make_app: Callable[..., Flask], path: str) -> None:
    answer = make_app(DASHBOARD_PASSWORD="").test_client().get(path, auth=("any", ""))

    assert answer.status_code == 403
    assert "DASHBOARD_PASSWORD" in answer.get_json()["message"]


def test_guessing_the_password_locks_the_api_and_not_the_alerts(client: FlaskClient, body: Any) -> None:
    codes = [client.get("/api/orders", auth=("any", str(number))).status_code for number in range(11)]

    assert codes == [401] * 10 + [429]
    assert client.get("/api/orders", auth=("any", body.password)).status_code == 429
    assert client.post("/api/halt", auth=("any", body.password)).status_code == 429
    assert client.get("/health").status_code == 200
    assert client.post(ORDER, data=body.raw()).status_code == 202


def test_a_browser_that_brings_no_password_yet_is_not_guessing(client: FlaskClient, body: Any) -> None:
    assert {client.get("/api/orders").status_code for _ in range(30)} == {401}
    assert client.get("/api/orders", auth=("any", body.password)).status_code == 200


def test_an_alert_has_the_promised_shape(person: Person, body: Any) -> None:
    alert_id = person.client.post(ORDER, data=body.raw()).get_json()["alert_id"]

    shown = person.get(f"/api/alerts/{alert_id}").get_json()

    assert set(shown) == {
        "id", "received_at", "source", "route", "exchange", "subaccount", "ticker", "action", "message",
        "status", "reason", "sizing", "orders", "timeline",
    }  # fmt: skip
    assert set(shown["sizing"]) == {"free_collateral", "risk", "quantity", "worst_loss", "notional"}
    assert shown["id"] == alert_id
    assert shown["source"] == "tradingview"
    assert shown["route"] == ORDER[1:]
    assert (shown["exchange"], shown["subaccount"], shown["ticker"]) == ("BINANCE", "main", "BTCUSDT.P")
    assert shown["message"] == "entry"
    assert shown["status"] == "RECEIVED"
    assert shown["orders"] == []
    assert [set(event) for event in shown["timeline"]] == [{"at", "event", "detail"}]
    assert shown["received_at"].endswith("Z")
    assert datetime.fromisoformat(shown["received_at"]).tzinfo == UTC


def test_all_alerts_are_exported_as_json_lines_that_a_replay_reads(
    person: Person, body: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MOST_ROWS", 2)  # more than a page
    for number in range(5):
        person.client.post(ORDER, data=body.raw(id=f"n{number}"))

    answer = person.get("/api/alerts?format=jsonl")

    assert answer.content_type == "application/x-ndjson"
    assert body.passphrase not in answer.text
    rows = [json.loads(each) for each in answer.text.splitlines()]
    assert [row["body"]["id"] for row in rows] == ["n4", "n3", "n2", "n1", "n0"]
    heard = read_alerts(answer.text)
    assert [each.body and each.body.fields["id"] for each in heard] == ["n0", "n1", "n2", "n3", "n4"]
    assert {each.status for each in heard} == {"RECEIVED"}
    person.put(rows[0]["id"], IntentStatus.DONE)
    assert len(person.get("/api/alerts?format=jsonl&status=DONE").text.splitlines()) == 1
    assert person.get("/api/alerts?format=jsonl&account=nobody").text == ""


def test_unknown_alerts_are_404_in_json(person: Person) -> None:
    for alert_id in ("0" * 20, "x", "%00", "a%00b", "' or 1=1 --"):
        answer = person.get(f"/api/alerts/{alert_id}")
        assert answer.status_code == 404
        assert answer.get_json()["success"] is False


def test_alerts_are_listed_newest_first_page_by_page(person: Person, body: Any) -> None:
    ids = [
        person.client.post(ORDER, data=body.raw(id=f"n{number}")).get_json()["alert_id"]
        for number in range(5)
    ]
    person.put(ids[0], IntentStatus.DONE)

    page = person.get("/api/alerts?limit=2").get_json()
    assert [row["id"] for row in page["alerts"]] == [ids[4], ids[3]]
    rest = person.get(f"/api/alerts?before={page['next_before']}").get_json()
    assert [row["id"] for row in rest["alerts"]] == [ids[2], ids[1], ids[0]]
    assert rest["next_before"] is None
    by_id = person.get(f"/api/alerts?before={ids[1]}").get_json()
    assert [row["id"] for row in by_id["alerts"]] == [ids[0]]
    done = person.get("/api/alerts?status=done").get_json()
    assert [row["id"] for row in done["alerts"]] == [ids[0]]
    assert person.get("/api/alerts?account=other").get_json()["alerts"] == []
    assert len(person.get("/api/alerts?account=main&limit=99999").get_json()["alerts"]) == 5
    assert person.get("/api/alerts?before=unknown").get_json()["alerts"] == []
    assert person.get("/api/alerts?status=nonsense").status_code == 400


def test_a_nul_in_the_address_reaches_no_database(person: Person) -> None:
    """Postgres would not take it, and the answer would be 500."""
    for path in ("/api/alerts?before=%00", "/api/alerts?account=a%00b", "/api/orders?limit=%00"):
        answer = person.get(path)
        assert (answer.status_code, answer.get_json()["message"]) == (
            400,
            "the address holds a NUL (%00): take it out",
        )
    assert person.post("/api/intents/%00/approve").status_code == 404
    assert person.get("/alerts/%00").status_code == 404


def test_refused_bodies_can_be_read_without_passphrase(person: Person, body: Any) -> None:
    person.client.post(ORDER, data=body.raw(ticker=None))
    person.client.post(ORDER, data=b'{"ticker": BTCUSDT, "passphrase": "' + body.passphrase.encode() + b'"}')

    answer = person.get("/api/refusals")
    rows = answer.get_json()["refusals"]

    assert [row["code"] for row in rows] == [400, 422]
    assert rows[1]["field"] == "ticker"
    assert body.passphrase not in answer.get_data(as_text=True)
    assert "BTCUSDT" in rows[0]["body"]


def test_a_halt_is_shown_and_ends(person: Person) -> None:
    halted = person.post("/api/halt", json={"reason": "lunch"})
    assert halted.status_code == 200
    assert halted.get_json()["success"] is True
    assert person.client.get("/health").get_json()["halted"] is True
    assert person.post("/api/halt").status_code == 200
    assert person.post("/api/resume").status_code == 200
    assert person.client.get("/health").get_json()["halted"] is False
    assert person.post("/api/resume").status_code == 200


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"nonsense", b"[1]", b'{"reason": 7}', b"[" * 3000, b"x" * 100_000),
        *(b'{"reason": "\\ud83d"}', b'{"reason": "a\\u0000b"}', b'{"reason": "\xff"}'),
    ],
)
def test_a_halt_never_fails_for_its_reason(person: Person, data: bytes) -> None:
    assert person.post("/api/halt", data=data).status_code == 200
    assert person.client.get("/health").get_json()["halted"] is True


@pytest.mark.parametrize(("word", "other"), [("approve", "decline"), ("decline", "approve")])
def test_a_vote_is_written_once_and_not_taken_back(person: Person, body: Any, word: str, other: str) -> None:
    alert_id = person.waiting(body)

    first = person.post(f"/api/intents/{alert_id}/{word}")
    assert first.status_code == 202
    assert first.get_json()["success"] is True
    assert first.get_json()["alert_id"] == alert_id
    assert first.get_json()["status"] == "AWAITING_APPROVAL"
    assert person.post(f"/api/intents/{alert_id}/{word}").status_code == 202
    assert person.post(f"/api/intents/{alert_id}/{other}").status_code == 409
    person.put(alert_id, IntentStatus.DONE)
    assert person.post(f"/api/intents/{alert_id}/{word}").status_code == 202
    opposite = person.post(f"/api/intents/{alert_id}/{other}")
    assert opposite.status_code == 409
    assert opposite.get_json()["status"] == "DONE"


def test_a_vote_on_what_does_not_wait_is_409_with_its_status(person: Person, body: Any) -> None:
    alert_id = person.waiting(body)
    person.put(alert_id, IntentStatus.EXPIRED)

    answer = person.post(f"/api/intents/{alert_id}/approve")

    assert answer.status_code == 409
    assert answer.get_json()["status"] == "EXPIRED"
    assert person.post(f"/api/intents/{'0' * 20}/approve").status_code == 404


def test_health_tells_of_runner_bot_and_work(person: Person, body: Any) -> None:
    shown = person.client.get("/health")
    assert shown.status_code == 200
    assert shown.get_json() == {
        "status": "ok",
        "database": "ok",
        "runner": {"last_step_at": None, "age_s": None},
        "bot": None,
        "oldest_undone_alert": None,
        "halted": False,
    }
    waiting = person.waiting(body, id="waits")
    assert person.client.get("/health").get_json()["oldest_undone_alert"] is None
    alert_id = person.client.post(ORDER, data=body.raw()).get_json()["alert_id"]
    oldest = person.client.get("/health").get_json()["oldest_undone_alert"]
    assert oldest["id"] == alert_id != waiting
    assert oldest["status"] == "RECEIVED"
    assert timedelta(0).total_seconds() <= oldest["age_s"] < 60
    assert body.passphrase not in person.client.get("/health").get_data(as_text=True)
