"""What a browser needs beyond JSON: the session's cookie, the form key, the page's headers.

Lets in by a session or by HTTP Basic. Never takes a change from another site's page, and never puts a
script or a style into the page itself.
"""

from __future__ import annotations

import hmac
import logging
from ipaddress import ip_address
from typing import Any

from flask import Flask, Request, Response, current_app, make_response, render_template, request

from desk.session import LIFETIME, form_key
from desk.wiring import Desk
from trading.errors import StoreUnavailable
from web import shown
from web.access import is_foreign, refusal
from web.answers import failure

FORM_KEY = "form_key"
FORM_KEY_HEADER = "X-Form-Key"
FOREIGN = "this came from another site's page"
#: Seconds until a page that could not be made is asked for again, by the browser itself.
_AGAIN = 5
#: A cookie with the prefix is bound to this very host; plain http to this machine itself cannot have it.
_BOUND, _PLAIN = "__Host-desk", "desk"
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

_log = logging.getLogger(__name__)


def the_desk() -> Desk:
    """The desk behind this request."""
    desk: Desk = current_app.extensions["desk"]
    return desk


def session_of(asked: Request) -> str | None:
    """The token of a session that goes on; None for anybody else. Raises StoreUnavailable."""
    token = asked.cookies.get(_cookie_name(asked))
    return token if the_desk().sessions.knows(token) else None


def keep_out(asked: Request) -> Response | None:
    """None for whom a session or HTTP Basic lets in, else the answer in JSON. Raises StoreUnavailable.

    What changes something comes from a page of this site, and brings the session's form key along.
    """
    token = session_of(asked) if asked.authorization is None else None
    if token is None:
        refused = refusal(the_desk(), asked)
        if refused is not None:
            if FORM_KEY_HEADER in asked.headers:  # a page's own request: the browser is not to ask as well
                refused.headers.pop("WWW-Authenticate", None)
            return refused
    if asked.method in ("GET", "HEAD"):
        return None
    if is_foreign(asked):
        return failure(403, FOREIGN)
    if token is not None:
        given = asked.headers.get(FORM_KEY_HEADER) or asked.form.get(FORM_KEY, "")
        if not hmac.compare_digest(given.encode(), form_key(token).encode()):
            return failure(403, "this page is of another session: load it again")
    return None


def page(template: str, code: int = 200, **model: Any) -> Response:
    """A page with its headers; an unchanged one is not sent again. Asks the database nothing."""
    model |= {"shown": shown, "asset": shown.asset}
    response = make_response(render_template(template, **model), code)
    response.headers["Content-Security-Policy"] = _CSP
    # Without a referrer a browser says that a form of this very page came from nowhere.
    response.headers["Referrer-Policy"] = "same-origin"
    # What one may see is kept on no disk: the tag is for the page's own script, which remembers it.
    response.headers["Cache-Control"] = "no-store"
    response.add_etag()
    response.make_conditional(request)
    return response


def prepare(app: Flask) -> None:
    """Compiles the templates and packs the files, so that the first view need not wait for it."""
    for name in app.jinja_env.list_templates(extensions=["html"]):
        app.jinja_env.get_template(name)
    shown.pack()


def key_of(asked: Request) -> str:
    """What the page of a session sends along with a change; empty without one. Raises StoreUnavailable."""
    token = session_of(asked)
    return form_key(token) if token else ""


def away(error: StoreUnavailable) -> Response:
    """The database does not answer: a page says so, and tries again."""
    _log.error("the database does not answer: %s", error)
    words = "The database does not answer. Alerts get 503 until it does."
    response = page("trouble.html", 503, words=words)
    if request.method in ("GET", "HEAD"):
        response.headers["Refresh"] = str(_AGAIN)
    return response


def remember(response: Response, token: str) -> Response:
    """Hands the session's token to the browser."""
    response.set_cookie(_cookie_name(request), token, max_age=int(LIFETIME.total_seconds()), **_flags())
    return response


def forget(response: Response) -> Response:
    """Takes it away again."""
    response.delete_cookie(_cookie_name(request), **_flags())
    return response


def _flags() -> dict[str, Any]:
    bound = _cookie_name(request) == _BOUND
    return {"secure": bound, "httponly": True, "samesite": "Strict", "path": "/"}


def _cookie_name(asked: Request) -> str:
    """Over plain http only this machine itself is served: some browsers keep no secure cookie there."""
    return _PLAIN if _is_here(asked) and not asked.is_secure else _BOUND


def keeps_no_login(asked: Request) -> bool:
    """Whether the browser has this page over plain http from elsewhere: it would throw the cookie away."""
    return _cookie_name(asked) == _BOUND and asked.headers.get("Origin", "").startswith("http:")


def address(asked: Request) -> str:
    """Where this server is found from outside: whatever is not this machine itself has https before it."""
    return f"{'http' if _is_here(asked) and not asked.is_secure else 'https'}://{asked.host}"


def _is_here(asked: Request) -> bool:
    name, _, port = asked.host.rpartition(":")
    host = name if port.isdigit() else asked.host
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
