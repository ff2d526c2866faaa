"""JSON reads and a person's decisions, behind HTTP Basic or the dashboard's session.

Changes nothing but by POST from the same site. Never shows a secret.
"""

from __future__ import annotations

import json

from flask import Blueprint, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from desk import control, report, story
from desk.intake import Answer
from trading.model import IntentStatus
from web.answers import answer, failure, lines
from web.browser import keep_out, the_desk

VOTER = "web"
_MAX_BODY = 4096
_ID_LENGTH = 20

blueprint = Blueprint("api", __name__, url_prefix="/api")


@blueprint.before_request
def guard() -> Response | None:
    """Lets in whom HTTP Basic or a session names, and no other site's page."""
    kept_out = keep_out(request)
    if kept_out is None and any("\x00" in value for value in request.args.values()):
        return failure(400, "the address holds a NUL (%00): take it out")
    return kept_out


@blueprint.get("/alerts")
def alerts() -> Response:
    """The newest alerts: ?limit= &before= (seq or id) &status= &account=; all as JSON lines: ?format=jsonl"""
    before = _before()
    status = request.args.get("status", "").upper() or None
    if status is not None and status not in IntentStatus.__members__:
        return failure(400, f"status is one of {', '.join(IntentStatus)}")
    account = request.args.get("account", "").upper() or None
    if request.args.get("format", "").lower() == "jsonl":
        return lines(report.exported(the_desk().store, status=status, account=account))
    limit = _limit()
    rows = report.alerts(the_desk().store, limit=limit, before=before, status=status, account=account)
    more = rows[-1]["seq"] if len(rows) == limit else None
    return answer(200, {"alerts": rows, "next_before": more})


@blueprint.get("/alerts/<alert_id>")
def alert(alert_id: str) -> Response:
    """One alert with its sizing, orders and timeline."""
    model = report.alert(the_desk().store, alert_id)
    return failure(404, "there is no such alert") if model is None else answer(200, model)


@blueprint.get("/alerts/<alert_id>/chart")
def chart(alert_id: str) -> Response:
    """Candles or known prices around an alert, with its levels and fills."""
    desk = the_desk()
    model = story.chart(desk.store, alert_id, now=desk.clock())
    return failure(404, "there is no such alert") if model is None else answer(200, model)


@blueprint.post("/alerts/<alert_id>/chart")
def want_chart(alert_id: str) -> Response:
    """Asks the runner for the candles of an alert's chart."""
    desk = the_desk()
    if not story.want_chart(desk.store, alert_id, now=desk.clock()):
        return failure(404, "there is no such alert")
    return answer(202, {"success": True, "message": "the runner asks the exchange"})


@blueprint.get("/positions")
def positions() -> Response:
    """What is open; ?all=1 adds what was."""
    return answer(200, {"positions": report.positions(the_desk().store, flat_too=_flag("all"))})


@blueprint.get("/orders")
def orders() -> Response:
    """The newest orders; ?open=1 leaves out those that have ended."""
    rows = report.orders(the_desk().store, live_only=_flag("open"), limit=_limit(100))
    return answer(200, {"orders": rows})


@blueprint.get("/refusals")
def refusals() -> Response:
    """The newest bodies that were refused at the door."""
    return answer(200, {"refusals": report.refusals(the_desk().store, limit=_limit())})


@blueprint.post("/halt")
def halt() -> Response:
    """Stops all sending of entries; a JSON body may give the `reason`."""
    desk = the_desk()
    return _decided(control.halt(desk.store, reason=_reason(), by=VOTER, now=desk.clock()))


@blueprint.post("/resume")
def resume() -> Response:
    """Ends a halt."""
    desk = the_desk()
    return _decided(control.resume(desk.store, by=VOTER, now=desk.clock()))


@blueprint.post("/intents/<intent_id>/approve")
def approve(intent_id: str) -> Response:
    """A yes to an intent that waits for one."""
    return _vote(intent_id, approve=True)


@blueprint.post("/intents/<intent_id>/decline")
def decline(intent_id: str) -> Response:
    """A no to an intent that waits for a word."""
    return _vote(intent_id, approve=False)


def _vote(intent_id: str, *, approve: bool) -> Response:
    desk = the_desk()
    now = desk.clock()
    return _decided(control.vote(desk.store, intent_id=intent_id, approve=approve, voter=VOTER, now=now))


def _decided(given: Answer) -> Response:
    if given.code < 300:
        the_desk().wake()
    return answer(given.code, given.body)


def _reason() -> str:
    request.max_content_length = _MAX_BODY
    try:
        said = json.loads(request.get_data() or b"{}")
        reason = said.get("reason") if isinstance(said, dict) else None
    except (ValueError, RecursionError, RequestEntityTooLarge):
        reason = None
    return reason.strip()[:200] if isinstance(reason, str) and reason.strip() else "by hand"


def _before() -> str | int | None:
    text = request.args.get("before", "")
    if not text:
        return None
    if len(text) < _ID_LENGTH - 1 and text.isascii() and text.isdigit():
        return int(text)
    return text


def _limit(default: int = 50) -> int:
    text = request.args.get("limit", "")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else default
    return max(1, min(number, report.MOST_ROWS))


def _flag(name: str) -> bool:
    return request.args.get(name, "").lower() in ("1", "true", "yes")
