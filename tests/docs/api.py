"""docs/openapi.json, and the table of docs/api.md that is made of it: every route, answer and field.

What stands here is held against the routes of the app and against real answers by test_api.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.docs.schemas import SCHEMAS, STRING, obj, ref
from trading.model import Route

#: Longer lines are broken.
_WIDTH = 116

Model = dict[str, Any]


def _answer(description: str, schema: Model) -> Model:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _no(description: str) -> Model:
    return _answer(description, ref("Refused"))


def _page(description: str) -> Model:
    return {"description": description, "content": {"text/html": {"schema": STRING}}}


def _to(description: str) -> Model:
    return {"description": description, "headers": {"Location": {"schema": STRING}}}


def _file(description: str, *kinds: str) -> Model:
    return {"description": description, "content": {kind: {"schema": STRING} for kind in kinds}}


def _rows(name: str, schema: str) -> Model:
    return _answer("Newest first.", obj(**{name: {"type": "array", "items": ref(schema)}}))


#: Answers that several routes give, by the name that they have in the document.
ANSWERS: Mapping[str, Model] = {
    "Unauthorized": _no("The password is missing or wrong; WWW-Authenticate asks for HTTP Basic."),
    "Forbidden": _no("DASHBOARD_PASSWORD is not set, or the request came from another site's page."),
    "Locked": _no("Ten wrong passwords came from this address within ten minutes."),
    "Unavailable": _no("The database does not answer. Ask again."),
    "NoSuchAlert": _no("There is no such alert."),
    "TooLong": _no("The body is too long."),
    "NoText": _no("There is no `text`, or it is no JSON object."),
    "NoPage": _page("There is nothing of that name."),
    "Page": _page("The page."),
    "PageAway": _page("The database does not answer; the page says so and asks again by itself."),
    "ToLogin": _to("To the login."),
    "Known": _answer(
        "`duplicate`: the same alert was stored before, and is not traded again. `ignored`: stored; it asks "
        "for nothing.",
        ref("Stored"),
    ),
    "Accepted": _answer("Stored, will be handled.", ref("Stored")),
    "Unreadable": _no("It is no JSON object, it is compressed, or it did not arrive whole."),
    "NotLetIn": _no("The passphrase is missing or wrong; the same words for both."),
    "Elsewhere": _no("TRADINGVIEW_IPS_ONLY is set, and this is not one of TradingView's addresses."),
    "Conflict": _answer("The same `id` with another body. It is kept, and not traded.", ref("Conflict")),
    "Over16KiB": _no("Over 16 KiB."),
    "Wrong": _no("A field is missing or wrong; `field` names it, `mend` says what to write instead."),
    "LockedOut": _no("Ten wrong passphrases came from this address within ten minutes."),
    "NotStored": _no("It could not be stored and will not be traded. TradingView sends it again."),
    "Voted": _answer("Written; the runner acts on it. The same word again is no error.", ref("Voted")),
    "NotWaiting": _answer("It does not wait (any more), or you have said the opposite.", ref("Voted")),
}
_HOOK = {
    "200": "Known",
    "202": "Accepted",
    "400": "Unreadable",
    "401": "NotLetIn",
    "403": "Elsewhere",
    "409": "Conflict",
    "413": "Over16KiB",
    "422": "Wrong",
    "429": "LockedOut",
    "503": "NotStored",
}
_GUARD = {"401": "Unauthorized", "403": "Forbidden", "429": "Locked", "503": "Unavailable"}
_PAGE = _GUARD | {"200": "Page", "303": "ToLogin", "503": "PageAway"}
_TRY = {code: _HOOK[code] for code in ("200", "202", "409", "413", "422")} | {"400": "NoText"}


def _operation(
    tag: str,
    summary: str,
    answers: Mapping[str, str | Model],
    *parameters: Model,
    body: Model | None = None,
    is_open: bool = False,
) -> Model:
    made: Model = {"tags": [tag], "summary": summary}
    if parameters:
        made["parameters"] = list(parameters)
    if body:
        made["requestBody"] = body
    made["responses"] = {
        code: {"$ref": f"#/components/responses/{answer}"} if isinstance(answer, str) else answer
        for code, answer in sorted(answers.items())
    }
    return made | ({"security": []} if is_open else {})


def _asked(name: str, description: str, schema: Model = STRING) -> Model:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _in_path(name: str) -> Model:
    return {"name": name, "in": "path", "required": True, "schema": STRING}


def _limit(default: int) -> Model:
    number = {"type": "integer", "minimum": 1, "maximum": 500, "default": default}
    return _asked("limit", "At most so many.", number)


def _sent(*required: str, kind: str = "application/json", **properties: Model) -> Model:
    schema: Model = {"type": "object", "properties": properties}
    schema |= {"required": list(required)} if required else {}
    return {"required": bool(required), "content": {kind: {"schema": schema}}}


_ALERT_ID = _in_path("alert_id")
_FLAG = {"type": "string", "enum": ["1"]}
_ALERT = {
    "required": True,
    "description": "An alert (docs/alerts.md), read as JSON whatever the Content-Type says.",
    "content": {"application/json": {"schema": {"type": "object"}}, "text/plain": {"schema": STRING}},
}
_LIST = _answer(
    "A page of them; with `format=jsonl` all of them, one a line.",
    obj(
        alerts={"type": "array", "items": ref("AlertRow")},
        next_before={"type": ["integer", "null"], "description": "What `before` takes next; null: no more."},
    ),
)
_LIST["content"]["application/x-ndjson"] = {"schema": ref("AlertRow")}
_NO_INTENT = _no("There is no such intent.")
_VOTE: dict[str, str | Model] = {**_GUARD, "202": "Voted", "404": _NO_INTENT, "409": "NotWaiting"}

PATHS: Mapping[str, Mapping[str, Model]] = {
    f"/{Route.ORDER}": {
        "post": _operation(
            "Alerts",
            "Trades an alert, or asks first where its account says so.",
            _HOOK,
            body=_ALERT,
            is_open=True,
        )
    },
    f"/{Route.STUDY}": {
        "post": _operation(
            "Alerts", "Asks a person about an alert, always.", _HOOK, body=_ALERT, is_open=True
        )
    },
    "/health": {
        "get": _operation(
            "State",
            "Whether alerts that arrive now would be stored and handled.",
            {
                "200": _answer("They would.", ref("Health")),
                "503": _answer(
                    "They would not: no database, or the runner has not stepped for 30 s.", ref("Health")
                ),
            },
            is_open=True,
        )
    },
    "/api/alerts": {
        "get": _operation(
            "Reads",
            "The newest alerts.",
            {**_GUARD, "200": _LIST, "400": _no("There is no such status.")},
            _limit(50),
            _asked("before", "Those before this `seq` or id."),
            _asked("status", "Those that stand there.", ref("Status")),
            _asked("account", "Those of this account."),
            _asked("format", "All of them, as JSON lines.", {"type": "string", "enum": ["jsonl"]}),
        )
    },
    "/api/alerts/{alert_id}": {
        "get": _operation(
            "Reads",
            "One alert, and what became of it.",
            {**_GUARD, "200": _answer("All that is known of it.", ref("Alert")), "404": "NoSuchAlert"},
            _ALERT_ID,
        )
    },
    "/api/alerts/{alert_id}/chart": {
        "get": _operation(
            "Reads",
            "Candles or known prices around an alert, its levels and fills.",
            {**_GUARD, "200": _answer("What is drawn.", ref("Chart")), "404": "NoSuchAlert"},
            _ALERT_ID,
        ),
        "post": _operation(
            "Reads",
            "Asks the runner for the candles of that chart.",
            {**_GUARD, "202": _answer("It is asked.", ref("Done")), "404": "NoSuchAlert"},
            _ALERT_ID,
        ),
    },
    "/api/positions": {
        "get": _operation(
            "Reads",
            "What is open.",
            {
                **_GUARD,
                "200": _answer(
                    "By venue, account, instrument.",
                    obj(positions={"type": "array", "items": ref("Position")}),
                ),
            },
            _asked("all", "Adds what was open.", _FLAG),
        )
    },
    "/api/orders": {
        "get": _operation(
            "Reads",
            "The newest orders.",
            {**_GUARD, "200": _rows("orders", "OrderRow")},
            _limit(100),
            _asked("open", "Leaves out those that have ended.", _FLAG),
        )
    },
    "/api/refusals": {
        "get": _operation(
            "Reads",
            "The newest bodies that were refused at the door, without passphrases.",
            {**_GUARD, "200": _rows("refusals", "Refusal")},
            _limit(50),
        )
    },
    "/api/halt": {
        "post": _operation(
            "Decisions",
            "Refuses every entry from now on.",
            {**_GUARD, "200": _answer("Halted.", ref("Switched"))},
            body=_sent(reason=STRING),
        )
    },
    "/api/resume": {
        "post": _operation(
            "Decisions", "Ends a halt.", {**_GUARD, "200": _answer("Not halted.", ref("Switched"))}
        )
    },
    "/api/intents/{intent_id}/approve": {
        "post": _operation(
            "Decisions", "A yes to an alert that waits; its intent has its id.", _VOTE, _in_path("intent_id")
        )
    },
    "/api/intents/{intent_id}/decline": {
        "post": _operation("Decisions", "A no to an alert that waits.", _VOTE, _in_path("intent_id"))
    },
    "/api/lint": {
        "post": _operation(
            "Trials",
            "Every problem of an alert or of its template.",
            {
                **_GUARD,
                "200": _answer(
                    "By line; none: it is good.", obj(findings={"type": "array", "items": ref("Finding")})
                ),
                "400": "NoText",
                "413": "TooLong",
            },
            body=_sent("text", text=STRING),
        )
    },
    "/api/try": {
        "post": _operation(
            "Trials",
            "Sends an alert to the paper venue, whatever LIVE_TRADING says; placeholders are filled.",
            _GUARD | _TRY,
            body=_sent("text", text=STRING, ask={"type": "boolean", "description": "Asks a person first."}),
        )
    },
    "/": {"get": _operation("Pages", "Accounts, positions, what waits for you, HALT.", _PAGE)},
    "/frame": {
        "get": _operation("Pages", "What stands around every page.", _PAGE, _asked("view", "Of which page."))
    },
    "/alerts": {
        "get": _operation(
            "Pages",
            "What came, newest first.",
            _PAGE,
            *(_asked(name, "A filter.") for name in ("account", "ticker", "status", "text", "before")),
        )
    },
    "/alerts/{alert_id}": {
        "get": _operation("Pages", "The story of one alert.", _PAGE | {"404": "NoPage"}, _ALERT_ID)
    },
    "/results": {
        "get": _operation(
            "Pages",
            "What trading has brought.",
            _PAGE,
            *(_asked(name, "A filter.") for name in ("period", "account", "strategy", "symbol", "money")),
        )
    },
    "/export/{name}.csv": {
        "get": _operation(
            "Pages",
            "Everything of one kind.",
            {**_PAGE, "200": _file("The table.", "text/csv"), "404": "NoPage"},
            _in_path("name"),
        )
    },
    "/try": {"get": _operation("Pages", "An editor that lints alerts and sends them to paper.", _PAGE)},
    "/login": {
        "get": _operation(
            "Pages",
            "The login.",
            {
                "200": "Page",
                "303": _to("You are in: to the dashboard."),
                "403": _page("DASHBOARD_PASSWORD is not set."),
                "503": "PageAway",
            },
            _asked("next", "Where to go from there."),
            is_open=True,
        ),
        "post": _operation(
            "Pages",
            "Opens a session.",
            {
                "303": _to("In; the session is a cookie."),
                "401": _page("That is not the password."),
                "403": _page("It came from another site's page, or over plain http from another machine."),
                "413": "TooLong",
                "429": _page("Ten wrong passwords came from this address within ten minutes."),
                "503": "PageAway",
            },
            body=_sent("password", kind="application/x-www-form-urlencoded", password=STRING, next=STRING),
            is_open=True,
        ),
    },
    "/logout": {
        "post": _operation("Pages", "Ends the session.", {"303": "ToLogin", "503": "PageAway"}, is_open=True)
    },
    "/robots.txt": {
        "get": _operation(
            "Pages", "Keeps search engines out.", {"200": _file("It.", "text/plain")}, is_open=True
        )
    },
    "/static/{name}": {
        "get": _operation(
            "Pages",
            "A file of the pages.",
            {
                "200": _file("It.", "text/css", "text/javascript", "image/svg+xml", "text/plain"),
                "404": _no("There is no such file."),
            },
            _in_path("name"),
            is_open=True,
        )
    },
}
DOCUMENT: Model = {
    "openapi": "3.1.0",
    "info": {
        "title": "Desk",
        "version": "1",
        "description": "A trading server of one's own for TradingView's alerts. What is not listed is 404, "
        "another method than listed is 405, a defect of the server is 500; all of them in JSON.",
        "license": {"name": "MIT", "identifier": "MIT"},
    },
    "servers": [{"url": "http://127.0.0.1:8000", "description": "`make run`"}],
    "tags": [{"name": name} for name in ("Alerts", "State", "Reads", "Decisions", "Trials", "Pages")],
    "security": [{"password": []}, {"session": []}],
    "paths": PATHS,
    "components": {
        "securitySchemes": {
            "password": {
                "type": "http",
                "scheme": "basic",
                "description": "Any user name, DASHBOARD_PASSWORD.",
            },
            "session": {
                "type": "apiKey",
                "in": "cookie",
                "name": "__Host-desk",
                "description": "A browser's session (`desk` over http on the machine itself); a change wants "
                "its form key as well, in X-Form-Key.",
            },
        },
        "responses": ANSWERS,
        "schemas": SCHEMAS,
    },
}


def document() -> str:
    return _written(DOCUMENT, 0, 0) + "\n"


def table() -> str:
    """Routes by tag, with the statuses that each may answer."""
    lines: list[str] = []
    for tag in (each["name"] for each in DOCUMENT["tags"]):
        if tag == "Pages":
            continue
        lines.append(f"\n### {tag}\n\n| Route | Does | Answers |\n|---|---|---|\n")
        for path, methods in PATHS.items():
            for method, each in methods.items():
                if each["tags"] == [tag]:
                    codes = ", ".join(each["responses"])
                    lines.append(f"| `{method.upper()} {path}` | {each['summary']} | {codes} |\n")
    return "".join(lines) + "\n"


def answers() -> str:
    """What each status of an alert means."""
    rows = [f"| {code} | {ANSWERS[name]['description']} |\n" for code, name in _HOOK.items()]
    return "| Answer | Means |\n|---|---|\n" + "".join(rows)


def _written(value: Any, depth: int, before: int) -> str:
    """JSON, on one line where it fits."""
    flat = json.dumps(value, ensure_ascii=False)
    if before + len(flat) <= _WIDTH or not value or not isinstance(value, dict | list):
        return flat
    pad = " " * (depth + 1)
    if isinstance(value, dict):
        keys = {key: f"{pad}{json.dumps(key)}: " for key in value}
        items = [keys[key] + _written(each, depth + 1, len(keys[key])) for key, each in value.items()]
        return "{\n" + ",\n".join(items) + "\n" + " " * depth + "}"
    return (
        "[\n"
        + ",\n".join(pad + _written(each, depth + 1, len(pad)) for each in value)
        + "\n"
        + " " * depth
        + "]"
    )
