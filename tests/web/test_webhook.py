"""The two TradingView routes: every answer that the outside may see."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from desk.intake import TRADINGVIEW_ADDRESSES
from web.worker import hide_request

ORDER = "/tradingview-to-webhook-order"
STUDY = "/tradingview-to-discord-study"


@pytest.mark.parametrize("route", [ORDER, STUDY])
@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "text/plain; charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        None,
    ],
)
def test_an_alert_is_taken_whatever_its_content_type(
    client: FlaskClient, body: Any, route: str, content_type: str | None
) -> None:
    answer = client.post(route, data=body.raw(), content_type=content_type)

    assert answer.status_code == 202
    assert answer.content_type == "application/json"
    said = answer.get_json()
    assert said["success"] is True
    assert said["status"] == "RECEIVED"
    assert len(said["alert_id"]) == 20
    assert isinstance(said["message"], str)
    stored = client.get(f"/api/alerts/{said['alert_id']}", auth=("any", body.password)).get_json()
    assert stored["route"] == route[1:]


@pytest.mark.parametrize(
    ("changes", "code", "expected"),
    [
        ({"message": "tp1"}, 200, {"success": True, "status": "ignored"}),
        ({"passphrase": "wrong"}, 401, {"success": False}),
        ({"passphrase": None}, 401, {"success": False}),
        ({"ticker": None}, 422, {"success": False, "field": "ticker"}),
        ({"long__SL": "NaN"}, 422, {"success": False, "field": "long SL"}),
        ({"action": "hold"}, 422, {"success": False, "field": "action"}),
    ],
)
def test_each_body_gets_its_answer(
    client: FlaskClient, body: Any, changes: dict[str, Any], code: int, expected: dict[str, Any]
) -> None:
    answer = client.post(ORDER, data=body.raw(**changes))

    assert answer.status_code == code
    said = answer.get_json()
    assert expected.items() <= said.items()
    assert isinstance(said["message"], str)
    assert said["message"]


def test_the_same_alert_again_names_the_first(client: FlaskClient, body: Any) -> None:
    first = client.post(ORDER, data=body.raw()).get_json()
    again = client.post(ORDER, data=body.raw())

    assert again.status_code == 200
    assert again.get_json()["status"] == "duplicate"
    assert again.get_json()["alert_id"] == first["alert_id"]


def test_the_same_id_with_another_body_is_a_conflict(client: FlaskClient, body: Any) -> None:
    first = client.post(ORDER, data=body.raw(id="a-1")).get_json()
    other = client.post(ORDER, data=body.raw(id="a-1", price="50001"))

    assert other.status_code == 409
    assert other.get_json()["success"] is False
    assert other.get_json()["alert_id"] == first["alert_id"]


@pytest.mark.parametrize("data", [b"", b"hello", b"[]", b"\xff\xfe", b'{"a": ', b"null", b"[" * 9000])
def test_what_is_not_json_is_400(client: FlaskClient, data: bytes) -> None:
    answer = client.post(ORDER, data=data)

    assert answer.status_code == 400
    assert answer.get_json()["success"] is False


def test_over_16_kib_is_413_and_just_under_is_read(client: FlaskClient, body: Any) -> None:
    longest = body.raw() + b" " * (16 * 1024 - len(body.raw()))

    assert client.post(ORDER, data=longest + b" ").status_code == 413
    assert client.post(ORDER, data=longest + b" ").get_json() == {"success": False, "message": "over 16 KiB"}
    assert client.post(ORDER, data=longest).status_code == 202


def test_a_compressed_body_is_refused_with_the_reason(client: FlaskClient, body: Any) -> None:
    answer = client.post(ORDER, data=body.raw(), headers={"Content-Encoding": "gzip"})

    assert answer.status_code == 400
    assert "uncompressed" in answer.get_json()["message"]


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", ORDER, 405),
        ("PUT", ORDER, 405),
        ("OPTIONS", ORDER, 405),
        ("HEAD", STUDY, 405),
        ("POST", "/nothing", 404),
        ("POST", "//tradingview-to-webhook-order", 404),
        ("POST", "/Tradingview-to-webhook-order", 404),
        ("POST", "/health", 405),
        ("GET", "/api/nothing", 404),
        ("TRACE", "/", 405),
    ],
)
def test_the_rest_is_refused_in_json_and_never_redirected(
    client: FlaskClient, method: str, path: str, code: int
) -> None:
    answer = client.open(path, method=method)

    assert answer.status_code == code
    assert answer.content_type == "application/json"
    assert "Location" not in answer.headers
    if method != "HEAD":
        assert json.loads(answer.data)["success"] is False


def test_a_slash_at_the_end_is_forgiven(client: FlaskClient, body: Any) -> None:
    assert client.post(ORDER + "/", data=body.raw()).status_code == 202


def test_where_only_tradingview_may_send_others_get_403(make_app: Callable[..., Flask], body: Any) -> None:
    client = make_app(TRADINGVIEW_IPS_ONLY="1", TRUSTED_PROXIES="1").test_client()
    known = min(TRADINGVIEW_ADDRESSES)

    def send(forwarded: str) -> int:
        return client.post(ORDER, data=body.raw(), headers={"X-Forwarded-For": forwarded}).status_code

    assert send("198.51.100.7") == 403
    assert send(f"{known}, 198.51.100.7") == 403
    assert send(known) == 202
    assert client.post(ORDER, data=body.raw()).status_code == 403


def test_spoofing_an_address_does_not_escape_the_lock_out(make_app: Callable[..., Flask], body: Any) -> None:
    client = make_app(TRUSTED_PROXIES="1").test_client()

    def send(spoofed: str, passphrase: str) -> int:
        headers = {"X-Forwarded-For": f"{spoofed}, 198.51.100.7"}
        return client.post(ORDER, data=body.raw(passphrase=passphrase), headers=headers).status_code

    codes = [send(f"203.0.113.{number}", "wrong") for number in range(10)]
    assert codes == [401] * 10
    assert send(min(TRADINGVIEW_ADDRESSES), "wrong") == 429
    assert send(min(TRADINGVIEW_ADDRESSES), body.passphrase) == 429
    other = {"X-Forwarded-For": "198.51.100.8"}
    assert client.post(ORDER, data=body.raw(), headers=other).status_code == 202


def test_every_answer_carries_safe_headers(client: FlaskClient) -> None:
    for path in ("/", "/health", "/nothing", "/api/alerts", "/robots.txt"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"


def test_a_broken_request_is_not_repeated_in_the_log() -> None:
    """It may hold a passphrase, and one that these settings do not know."""
    said = ("Invalid request from ip=%s: %s", ("198.51.100.7", "Invalid HTTP request line: 'canary'"))
    record = logging.LogRecord("gunicorn.error", logging.WARNING, "", 0, *said, None)
    assert hide_request(record)
    assert record.getMessage() == "Invalid request from ip=198.51.100.7"


def test_robots_stay_out(client: FlaskClient) -> None:
    assert b"Disallow: /" in client.get("/robots.txt").data


def test_a_defect_is_told_in_json_without_a_word_of_it(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()

    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError("a secret of the inside")

    with caplog.at_level(logging.ERROR):
        answer = app.test_client().get("/broken")

    assert answer.status_code == 500
    assert answer.get_json()["success"] is False
    assert b"inside" not in answer.data
    assert "a secret of the inside" in caplog.text
