"""docs/openapi.json has every route of the app, and every answer that it gives is one that stands there.

One play over the test client provokes each status; whatever comes is read strictly against its schema.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import app as door
from desk.settings import load
from store import switches
from store.tables import intents
from tests.docs.made import OPENAPI
from trading.model import IntentStatus

DOCUMENT = json.loads(OPENAPI.read_text(encoding="utf-8"))
SCHEMAS = DOCUMENT["components"]["schemas"]
PASSPHRASE, PASSWORD = "correct-horse-battery", "dashboard-correct-horse"
SETTINGS = {
    "WEBHOOK_PASSPHRASE": PASSPHRASE,
    "DASHBOARD_PASSWORD": PASSWORD,
    "RISK_MAIN": "1",
    "LEVERAGE_MAIN": "3",
    "DEFAULT_SUBACCOUNT": "MAIN",
}
ORDER, STUDY = "/tradingview-to-webhook-order", "/tradingview-to-discord-study"
PATIENCE = 30.0
_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
_WORDS = {"description", "type", "properties", "required", "additionalProperties", "items", "enum", "const"}
_WORDS |= {"pattern", "minimum", "maximum", "default"}


def check(value: Any, schema: dict[str, Any], at: str = "") -> None:
    """AssertionError where a value is not what the schema says; the part of JSON Schema that is used here."""
    if "$ref" in schema:
        return check(value, SCHEMAS[schema["$ref"].rpartition("/")[2]], at)
    assert set(schema) <= _WORDS, f"{at}: {set(schema) - _WORDS} is not understood"
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        fits = any(isinstance(value, _TYPES[name]) for name in names)
        assert fits, f"{at}: {value!r} is no {names}"
        assert not isinstance(value, bool) or "boolean" in names, f"{at}: {value!r} is no {names}"
    assert "const" not in schema or value == schema["const"], f"{at}: {value!r}"
    assert "enum" not in schema or value in schema["enum"], f"{at}: {value!r} is none of {schema['enum']}"
    if isinstance(value, str) and "pattern" in schema:
        assert re.search(schema["pattern"], value), f"{at}: {value!r}"
    if isinstance(value, list) and "items" in schema:
        for number, each in enumerate(value):
            check(each, schema["items"], f"{at}[{number}]")
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        assert set(schema.get("required", ())) <= set(value), f"{at}: {sorted(value)}"
        assert schema.get("additionalProperties", True) or set(value) <= set(known), f"{at}: {sorted(value)}"
        for name, each in value.items():
            check(each, known.get(name, {}), f"{at}.{name}")
    return None


class Caller:
    """Sends requests, and holds every answer against the document."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.client: FlaskClient = app.test_client()
        self.seen: set[tuple[str, str, str]] = set()

    def __call__(self, method: str, path: str, *, auth: Any = True, **more: Any) -> TestResponse:
        if auth is True and not path.startswith(("/tradingview", "/log")):
            auth = ("desk", PASSWORD)
        if auth and auth is not True:
            more["auth"] = auth
        answer = self.client.open(path, method=method, **more)
        template = self._template(path.partition("?")[0])
        operation = DOCUMENT["paths"][template][method.lower()]
        code = str(answer.status_code)
        assert code in operation["responses"], f"{method} {path}: {code} {answer.text[:200]}"
        told = resolved(operation["responses"][code])
        kind = answer.content_type and answer.content_type.partition(";")[0]
        if "content" in told:
            assert kind in told["content"], f"{method} {path}: {code} {kind}"
            schema = told["content"][kind]["schema"]
            if kind == "application/json":
                check(answer.get_json(), schema, f"{method} {path} {code}")
            elif kind == "application/x-ndjson":
                for line in answer.text.splitlines():
                    check(json.loads(line), schema, path)
        assert set(told.get("headers", ())) <= set(answer.headers.keys())
        self.seen.add((method.lower(), template, code))
        return answer

    def _template(self, path: str) -> str:
        for template in DOCUMENT["paths"]:
            if re.fullmatch(re.sub(r"\\\{[a-z_]+\\\}", "[^/]+", re.escape(template)), path):
                return str(template)
        raise AssertionError(f"no route of the document is {path}")


def resolved(answer: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = answer
    if "$ref" in answer:
        found = DOCUMENT["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    return found


def body(**changes: Any) -> str:
    fields: dict[str, Any] = {
        "ticker": "BTCUSDT.P",
        "exchange": "BINANCE",
        "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "action": "buy",
        "price": "42000",
        "message": "entry",
        "passphrase": PASSPHRASE,
        "long SL": "41500",
        "long TP": "43500",
        "tp Close": "25",
        "tp1 Mult": "1",
    }
    fields |= {name.replace("_", " "): value for name, value in changes.items()}
    return json.dumps({name: value for name, value in fields.items() if value is not None})


@pytest.fixture
def make_caller(sqlite_url: str) -> Iterator[Callable[..., Caller]]:
    made: list[Flask] = []

    def make(**changes: str) -> Caller:
        made.append(door.create_app(load(SETTINGS | {"DATABASE_URL": sqlite_url} | changes)))
        return Caller(made[-1])

    yield make
    for app in made:
        app.extensions["desk"].stop(5)
        app.extensions["desk"].store.close()


def test_the_document_has_every_route_and_no_other(make_caller: Callable[..., Caller]) -> None:
    routes = {
        (method.lower(), re.sub(r"<(?:path:)?([a-z_]+)>", r"{\1}", rule.rule))
        for rule in make_caller(RUNNER="off").app.url_map.iter_rules()
        for method in rule.methods or ()
        if method not in ("HEAD", "OPTIONS")
    }
    assert {(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods} == routes


def test_nothing_in_it_is_unused_or_missing() -> None:
    text = json.dumps(DOCUMENT)
    for kind in ("schemas", "responses"):
        pointed = set(re.findall(rf'"#/components/{kind}/(\w+)"', text))
        assert pointed == set(DOCUMENT["components"][kind])


def test_the_reading_is_strict() -> None:
    for value, name in (({"success": True, "message": ""}, "Refused"), ("1E+3", "Amount"), (1, "Amount")):
        with pytest.raises(AssertionError):
            check(value, SCHEMAS[name])
    with pytest.raises(AssertionError):
        check({"success": False, "message": "", "more": 1}, SCHEMAS["Refused"])
    with pytest.raises(AssertionError):
        check(True, {"type": "integer"})


def test_every_answer_is_told_and_every_told_answer_is_given(
    make_caller: Callable[..., Caller], sqlite_url: str
) -> None:
    call = make_caller()
    alerts_in(call)
    traded(call)
    decisions(call)
    trials(call)
    pages(call)
    seen = call.seen | strangers(make_caller(RUNNER="off")).seen
    seen |= closed(make_caller(RUNNER="off", DASHBOARD_PASSWORD="", TRADINGVIEW_IPS_ONLY="1")).seen
    seen |= away(make_caller(RUNNER="off"), Path(sqlite_url.removeprefix("sqlite:///"))).seen
    told = {
        (method, path, code)
        for path, methods in DOCUMENT["paths"].items()
        for method, each in methods.items()
        for code in each["responses"]
    }
    assert seen == told


def alerts_in(call: Caller) -> None:
    for route in (ORDER, STUDY):
        first = body(id=f"first {route}")
        assert call("POST", route, data=first).status_code == 202
        assert call("POST", route, data=first).get_json()["status"] == "duplicate"
        assert call("POST", route, data=body(message="tp1")).status_code == 200
        assert call("POST", route, data=body(id=f"first {route}", price="42001")).status_code == 409
        assert call("POST", route, data="buy").status_code == 400
        assert call("POST", route, data=first, headers={"Content-Encoding": "gzip"}).status_code == 400
        assert call("POST", route, data=body(passphrase="wrong")).status_code == 401
        assert call("POST", route, data=body(ticker=None)).status_code == 422
        assert call("POST", route, data="x" * 16385).status_code == 413


def traded(call: Caller) -> None:
    """Reads, with something in each of them."""
    alert_id = call("POST", ORDER, data=body(ticker="ETHUSDT.P")).get_json()["alert_id"]
    deadline = time.monotonic() + PATIENCE
    while call("GET", f"/api/alerts/{alert_id}").get_json()["status"] != "DONE":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # A bot that has been there, and an alert that the runner still owes its end.
    desk = call.app.extensions["desk"]
    with desk.store.write() as tx:
        switches.beat(tx, "bot", datetime.now(UTC))
    assert call("GET", "/health").status_code == 200
    assert call("GET", "/api/alerts?limit=1").get_json()["next_before"]
    assert len(call("GET", "/api/alerts?format=jsonl").text.splitlines()) > 2
    assert call("GET", "/api/alerts?status=SOLD").status_code == 400
    assert call("GET", f"/api/alerts/{alert_id}").get_json()["orders"]
    assert call("GET", "/api/alerts/none").status_code == 404
    for method in ("GET", "POST"):
        assert call(method, f"/api/alerts/{alert_id}/chart").status_code in (200, 202)
        assert call(method, "/api/alerts/none/chart").status_code == 404
    assert call("GET", "/api/positions").get_json()["positions"]
    assert call("GET", "/api/orders?open=1").get_json()["orders"]
    assert call("GET", "/api/refusals").get_json()["refusals"]


def decisions(call: Caller) -> None:
    assert call("POST", "/api/halt", json={"reason": "news"}).get_json()["halted"] is True
    assert call("POST", "/api/halt", data="x" * 5000).status_code == 200
    assert call("POST", "/api/resume").get_json()["halted"] is False
    desk = call.app.extensions["desk"]
    for word, other in (("approve", "decline"), ("decline", "approve")):
        alert_id = call("POST", STUDY, data=body(ticker="SOLUSDT.P", id=word)).get_json()["alert_id"]
        later = datetime.now(UTC) + timedelta(minutes=5)
        desk.stop(5)  # nobody acts on the word before the opposite is said
        with desk.store.write() as tx:
            waiting = {"status": IntentStatus.AWAITING_APPROVAL, "expires_at": later}
            tx.execute(intents.update().where(intents.c.id == alert_id).values(**waiting))
        assert call("POST", f"/api/intents/{alert_id}/{word}").status_code == 202
        assert call("POST", f"/api/intents/{alert_id}/{other}").status_code == 409
        assert call("POST", f"/api/intents/none/{word}").status_code == 404


def trials(call: Caller) -> None:
    assert call("POST", "/api/lint", json={"text": body(ticker=None)}).get_json()["findings"]
    assert call("POST", "/api/lint", json={}).status_code == 400
    assert call("POST", "/api/lint", data="x" * 200_000).status_code == 413
    first = {"text": body(id="trial")}
    assert call("POST", "/api/try", json=first).status_code == 202
    assert call("POST", "/api/try", json=first).status_code == 200
    assert call("POST", "/api/try", json={"text": body(id="trial", price="42001")}).status_code == 409
    assert call("POST", "/api/try", json={"text": body(ticker=None)}).status_code == 422
    assert call("POST", "/api/try", json={"text": "x" * 16385}).status_code == 413
    assert call("POST", "/api/try", json={"ask": True}).status_code == 400
    # Nobody is at work on it.
    assert call("GET", "/health").get_json()["oldest_undone_alert"]["status"] == "RECEIVED"


def pages(call: Caller) -> None:
    alert_id = call("GET", "/api/alerts").get_json()["alerts"][0]["id"]
    for path in ("/", "/frame", "/alerts", f"/alerts/{alert_id}", "/results", "/try", "/export/trades.csv"):
        assert call("GET", path).status_code == 200
        assert call("GET", path, auth=False).status_code == 303
    assert call("GET", "/alerts/none").status_code == 404
    assert call("GET", "/export/none.csv").status_code == 404
    assert call("GET", "/robots.txt", auth=False).status_code == 200
    for name in ("desk.css", "desk.js", "desk.svg"):
        assert call("GET", f"/static/{name}", auth=False).status_code == 200
    assert call("GET", "/static/none", auth=False).status_code == 404
    assert call("GET", "/login").status_code == 200
    assert call("POST", "/login", data={"password": "wrong"}).status_code == 401
    foreign = {"Origin": "https://elsewhere.test"}
    assert call("POST", "/login", data={"password": PASSWORD}, headers=foreign).status_code == 403
    assert call("POST", "/login", data={"password": "x" * 5000}).status_code == 413
    assert call("POST", "/login", data={"password": PASSWORD}).status_code == 303
    assert call("GET", "/login").status_code == 303
    assert call("POST", "/logout").status_code == 303


def guarded() -> Iterator[tuple[str, str]]:
    """Every route that wants the password, a real path for each."""
    for path, methods in DOCUMENT["paths"].items():
        for method, each in methods.items():
            if "security" not in each:
                yield method.upper(), re.sub(r"\{[a-z_]+\}", "none", path)


def strangers(call: Caller) -> Caller:
    """Wrong words, until the address is locked out."""
    for number, (method, path) in enumerate(guarded()):
        wrong = {"auth": ("desk", "wrong"), "environ_base": {"REMOTE_ADDR": f"203.0.113.{number}"}}
        assert call(method, path, **wrong).status_code == 401
    guesser: dict[str, Any] = {"environ_base": {"REMOTE_ADDR": "198.51.100.1"}}
    for _ in range(10):
        call("GET", "/api/orders", auth=("desk", "wrong"), **guesser)
        call("POST", ORDER, data=body(passphrase="wrong"), **guesser)
    for method, path in guarded():
        assert call(method, path, **guesser).status_code == 429
    for route in (ORDER, STUDY):
        assert call("POST", route, data=body(), **guesser).status_code == 429
    assert call("POST", "/login", data={"password": PASSWORD}, **guesser).status_code == 429
    return call


def closed(call: Caller) -> Caller:
    """No password is set, and TradingView alone may send."""
    for method, path in [*guarded(), ("GET", "/login")]:
        assert call(method, path).status_code == 403
    for route in (ORDER, STUDY):
        assert call("POST", route, data=body()).status_code == 403
    return call


def away(call: Caller, database: Path) -> Caller:
    """The database is gone, as with a disk that is."""
    assert call("POST", "/login", data={"password": PASSWORD}).status_code == 303
    call.app.extensions["desk"].store.close()
    database.rename(database.with_name("kept.db"))
    database.mkdir()
    asked = [("POST", ORDER), ("POST", STUDY), ("GET", "/health")]
    asked += [("GET", "/login"), ("POST", "/login"), ("POST", "/logout"), *guarded()]
    for method, path in asked:
        data = body() if path in (ORDER, STUDY) else {"password": PASSWORD} if path == "/login" else None
        assert call(method, path, data=data).status_code == 503, path
    return call
