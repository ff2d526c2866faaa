"""The bench: what its linter says, and that what it sends reaches paper alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from desk import tryout
from tests.web.person import Visitor


@pytest.fixture
def visitor(make_app: Callable[..., Flask], body: Any) -> Visitor:
    return arrived(make_app(), body)


def arrived(app: Flask, body: Any) -> Visitor:
    visitor = Visitor(app, body.password)
    visitor.log_in()
    visitor.get("/try")
    return visitor


def test_only_who_is_logged_in_may_use_it(make_app: Callable[..., Flask], body: Any) -> None:
    visitor = Visitor(make_app(), body.password)
    assert visitor.get("/try").status_code == 303
    assert visitor.post("/api/lint", json={"text": "{}"}).status_code == 401
    assert visitor.post("/api/try", json={"text": "{}"}).status_code == 401
    visitor.log_in()
    assert visitor.client.post("/api/try", json={"text": "{}"}).status_code == 403


def test_the_page_has_addresses_and_no_passphrase(visitor: Visitor, body: Any) -> None:
    page = visitor.get("/try").text
    assert "http://localhost/tradingview-to-webhook-order" in page
    assert body.passphrase not in page
    far = visitor.client.get("/try", base_url="http://desk.test", auth=("any", body.password))
    assert "https://desk.test/tradingview-to-discord-study" in far.text


def test_every_template_is_without_a_fault_and_of_this_servers_account(visitor: Visitor) -> None:
    desk = visitor.desk
    every = list(tryout.templates(desk.settings))
    assert len(every) > 10
    for each in every:
        assert tryout.check(each["text"], desk.settings, now=desk.clock()) == [], each["title"]
    named = [json.loads(each["text"]) for each in every if "{{plot" not in each["text"]]
    assert {each.get("exchange", "BINANCE") for each in named} == {"BINANCE"}
    assert {each["subaccount"] for each in named} == {"MAIN"}


def test_the_linters_words(visitor: Visitor) -> None:
    text = '{"ticker": "BTCUSDT.P",\n "message": "enter"}'
    findings = visitor.post("/api/lint", json={"text": text}).get_json()["findings"]
    (wrong,) = [each for each in findings if each["field"] == "message"]
    assert (wrong["line"], wrong["code"]) == (2, 422)
    assert wrong["mend"] == 'did you mean "entry"?'


@pytest.mark.parametrize("sent", [b"", b"nonsense", b"[1]", b'{"text": 1}', b'{"text":' + b"[" * 5000])
def test_what_is_no_text_is_refused(visitor: Visitor, sent: bytes) -> None:
    for path in ("/api/lint", "/api/try"):
        answer = visitor.post(path, data=sent, content_type="application/json")
        assert answer.status_code == 400
        assert "`text`" in answer.get_json()["message"]


def test_a_text_that_is_too_long_is_refused(visitor: Visitor) -> None:
    assert visitor.post("/api/try", json={"text": "x" * 17000}).status_code == 413
    assert visitor.post("/api/lint", json={"text": "x" * 17000}).get_json()["findings"][0]["code"] == 413
    assert visitor.post("/api/lint", json={"text": "x" * 200_000}).status_code == 413


def test_each_template_is_taken_once_it_is_filled(visitor: Visitor, body: Any) -> None:
    for each in tryout.templates(visitor.desk.settings):
        answer = visitor.post("/api/try", json={"text": each["text"]})
        # Two templates filled in one second may be the same alert.
        assert answer.status_code in (200, 202, 409), (each["title"], answer.text)
    rows = visitor.get("/api/alerts").get_json()["alerts"]
    assert len(rows) > 8
    assert {row["route"] for row in rows} == {"tradingview-to-webhook-order"}
    story = visitor.get("/alerts/" + rows[0]["id"])
    assert "your-passphrase" not in story.text
    assert body.passphrase not in story.text


def test_a_fault_is_told_with_its_mend(visitor: Visitor) -> None:
    answer = visitor.post("/api/try", json={"text": '{"ticker": "BTCUSDT.P", "message": "enter"}'})
    assert answer.status_code == 422
    assert answer.get_json()["field"] == "message"
    assert visitor.post("/api/try", json={"text": "{"}).status_code == 400


def test_a_person_may_be_asked_first(visitor: Visitor) -> None:
    text = next(tryout.templates(visitor.desk.settings))["text"]
    alert_id = visitor.post("/api/try", json={"text": text, "ask": True}).get_json()["alert_id"]
    assert visitor.get(f"/api/alerts/{alert_id}").get_json()["route"] == "tradingview-to-discord-study"


def test_it_stays_on_paper_where_trading_is_live(make_app: Callable[..., Flask], body: Any) -> None:
    live = {"LIVE_TRADING": "1", "API_KEY_MAIN": "k" * 20, "API_SECRET_MAIN": "s" * 20}
    visitor = arrived(make_app(**live), body)
    text = json.dumps(body(passphrase=None, exchange="BINANCE"))
    alert_id = visitor.post("/api/try", json={"text": text}).get_json()["alert_id"]
    (row,) = visitor.get("/api/alerts").get_json()["alerts"]
    assert (row["id"], row["venue"], row["exchange"]) == (alert_id, "PAPER:BINANCE", "BINANCE")


@pytest.mark.parametrize("name", ["the very alert", None])
def test_a_trial_is_not_the_alert_itself(visitor: Visitor, body: Any, name: str | None) -> None:
    alert = body(id=name)
    text = json.dumps({key: value for key, value in alert.items() if key != "passphrase"})
    tried = visitor.post("/api/try", json={"text": text}).get_json()
    came = visitor.client.post("/tradingview-to-webhook-order", json=alert)
    assert came.status_code == 202
    assert came.get_json()["alert_id"] != tried["alert_id"]
