"""The bench: write an alert, read what is wrong with it, send it to paper.

Behind the same door as the other pages. Never sends anywhere but to the paper venue.
"""

from __future__ import annotations

import json

from flask import Blueprint, Response, request

from desk import tryout
from trading.body import MAX_BODY
from trading.errors import StoreUnavailable
from trading.model import Route
from web.answers import answer, failure, unavailable
from web.browser import address, away, keep_out, the_desk
from web.pages import framed, guard

blueprint = Blueprint("tryit", __name__)

#: A text of the longest alert, each of its characters escaped.
_MAX_REQUEST = 6 * MAX_BODY + 1024


@blueprint.before_request
def keep() -> Response | None:
    """Pages send to the login, the rest is answered in JSON."""
    return guard() if request.method in ("GET", "HEAD") else keep_out(request)


@blueprint.errorhandler(StoreUnavailable)
def not_now(error: StoreUnavailable) -> Response:
    """A page for who came for one; a script's request is answered in JSON, as everywhere."""
    return away(error) if request.method in ("GET", "HEAD") else unavailable(error)


@blueprint.get("/try")
def bench() -> Response:
    """The editor, templates, the webhook's addresses."""
    here, templates = address(request), tryout.templates(the_desk().settings)
    urls = [
        ("trades it, or asks first where the account says so", f"{here}/{Route.ORDER}"),
        ("asks a person first, always", f"{here}/{Route.STUDY}"),
    ]
    return framed("try.html", "try", templates=list(templates), urls=urls, here=here)


@blueprint.post("/api/lint")
def check() -> Response:
    """Every problem of the `text` of a JSON body."""
    text, _ = _read()
    if text is None:
        return failure(400, "a JSON object with the alert's `text` is missing")
    desk = the_desk()
    return answer(200, {"findings": tryout.check(text, desk.settings, now=desk.clock())})


@blueprint.post("/api/try")
def send() -> Response:
    """Sends the `text` of a JSON body to paper; `ask` takes the route that asks a person."""
    text, ask = _read()
    if text is None:
        return failure(400, "a JSON object with the alert's `text` is missing")
    desk = the_desk()
    given = tryout.send(text, desk.intake, desk.settings, ask=ask, now=desk.clock())
    return answer(given.code, given.body)


def _read() -> tuple[str | None, bool]:
    request.max_content_length = _MAX_REQUEST
    try:
        said = json.loads(request.get_data() or b"{}")
    except (ValueError, RecursionError):
        return None, False
    text = said.get("text") if isinstance(said, dict) else None
    return (text, said.get("ask") is True) if isinstance(text, str) else (None, False)
