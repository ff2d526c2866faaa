"""What is open to all: the login, /health, and the files that the pages are made of.

Never shows a secret, nor anything about a position.
"""

from __future__ import annotations

from flask import Blueprint, Response, abort, request

from desk import report
from desk.gate import Admission
from trading.errors import StoreUnavailable
from web.access import address_of, bucket, is_foreign
from web.answers import answer
from web.browser import away, forget, keeps_no_login, page, remember, session_of, the_desk
from web.shown import file

blueprint = Blueprint("lobby", __name__)
blueprint.register_error_handler(StoreUnavailable, away)

_MAX_BODY = 4096
_FOREIGN = (
    "This came from another site's page. If it did not: the proxy in front has to pass on the Host that the "
    "browser asked for."
)
_PLAIN = (
    "This page came over plain http, and a browser keeps no login there. Open it by https, or by 127.0.0.1 "
    "on the machine itself."
)
_WORDS = {
    Admission.CLOSED: (403, "The dashboard is closed. Set DASHBOARD_PASSWORD and start again to open it."),
    Admission.WRONG: (401, "That is not the password."),
    Admission.LOCKED: (429, "Too many wrong passwords from this address. Wait ten minutes."),
}


@blueprint.get("/login")
def login() -> Response:
    """The door to the dashboard."""
    desk = the_desk()
    if session_of(request):
        return _to("/")
    if not desk.settings.dashboard_password:
        code, words = _WORDS[Admission.CLOSED]
        return page("login.html", code, words=words, closed=True, next=_next())
    return page("login.html", words="", closed=False, next=_next())


@blueprint.post("/login")
def enter() -> Response:
    """Opens a session for whom the password lets in."""
    desk = the_desk()
    request.max_content_length = _MAX_BODY
    if is_foreign(request):
        return page("login.html", 403, words=_FOREIGN, closed=False, next="/")
    if keeps_no_login(request):
        return page("login.html", 403, words=_PLAIN, closed=False, next=_next())
    given = request.form.get("password", "")
    admission = desk.login.admit(given, bucket(address_of(request, desk.settings.trusted_proxies)))
    if admission is Admission.IN:
        desk.results.warm()
        return remember(_to(_next()), desk.sessions.open())
    code, words = _WORDS[admission]
    return page("login.html", code, words=words, closed=admission is Admission.CLOSED, next=_next())


@blueprint.post("/logout")
def leave() -> Response:
    """Ends the session, in every process."""
    token = session_of(request)
    if token and not is_foreign(request):
        the_desk().sessions.close(token)
        return forget(_to("/login"))
    return _to("/login")


@blueprint.get("/robots.txt")
def robots() -> Response:
    """Nothing here is for search engines."""
    return Response("User-agent: *\nDisallow: /\n", content_type="text/plain; charset=utf-8")


@blueprint.get("/health")
def health() -> Response:
    """200, or 503 where alerts would not be stored or handled."""
    desk = the_desk()
    model = report.health(desk.store, now=desk.clock(), started_at=desk.started_at)
    return answer(200 if model["status"] == "ok" else 503, model)


@blueprint.get("/static/<path:name>")
def static(name: str) -> Response:
    """What the pages are made of; asked for by its version, it is kept for good."""
    found = file(name)
    if found is None:
        abort(404)
    packed = request.accept_encodings.quality("gzip") > 0
    response = Response(found.packed if packed else found.content, content_type=found.kind)
    response.headers["Vary"] = "Accept-Encoding"
    if packed:
        response.headers["Content-Encoding"] = "gzip"
    if request.args.get("v") == found.version:
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response


def _next() -> str:
    """Where to go after the login: a page of this site."""
    wanted = request.values.get("next", "/")
    plain = wanted.startswith("/") and not wanted.startswith("//") and wanted.isprintable()
    return wanted if plain and "\\" not in wanted and len(wanted) < 500 else "/"


def _to(path: str) -> Response:
    return Response("", status=303, headers={"Location": path})
