"""JSON answers and the headers that every answer carries.

Never redirects what a machine sends, and never says a word about what went wrong inside.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from trading.body import TOO_LONG
from trading.errors import StoreUnavailable

_CSP = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": _CSP,
}
_MESSAGES = {
    404: "there is nothing here",
    405: "not with this method",
    413: TOO_LONG,
    503: "the database does not answer; try again",
}

_log = logging.getLogger(__name__)


def answer(code: int, body: Mapping[str, object]) -> Response:
    """A JSON answer."""
    return Response(json.dumps(body) + "\n", status=code, content_type="application/json")


def lines(rows: Iterable[Mapping[str, object]]) -> Response:
    """JSON lines, sent while they are read."""
    return Response((json.dumps(row) + "\n" for row in rows), content_type="application/x-ndjson")


def install(app: Flask) -> None:
    """Gives `app` JSON errors, safe headers, and no redirects of its own."""
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(StoreUnavailable, unavailable)
    app.register_error_handler(Exception, _defect)
    app.before_request(_refuse_nul)
    app.after_request(_secure)


def failure(code: int, message: str) -> Response:
    """A JSON answer that says no."""
    return answer(code, {"success": False, "message": message})


def unavailable(error: StoreUnavailable) -> Response:
    """The database does not answer, in JSON."""
    _log.error("the database does not answer: %s", error)
    return failure(503, _MESSAGES[503])


def _http_error(error: HTTPException) -> Response:
    code = error.code or 500
    response = failure(code, _MESSAGES.get(code, HTTPStatus(code).phrase.lower()))
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _defect(error: Exception) -> Response:
    _log.error("a request failed", exc_info=error)
    return failure(500, "this is a defect of the server; its log says more")


def _refuse_nul() -> Response | None:
    """No database takes it as text, and nothing that is stored has it in its name."""
    return failure(404, _MESSAGES[404]) if "\x00" in request.path else None


def _secure(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response
