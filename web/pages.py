"""What is open to all: a sign that says where to look, and /health.

Never shows a secret, nor anything about a position.
"""

from __future__ import annotations

from flask import Blueprint, Response, current_app

from desk import report
from desk.wiring import Desk
from web.answers import answer

blueprint = Blueprint("pages", __name__)

_SIGN = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Trading desk</title>
<h1>Trading desk</h1>
<p>It listens. A person looks here (user name: any, password: DASHBOARD_PASSWORD):</p>
<ul>
<li><a href="/api/alerts">alerts</a></li>
<li><a href="/api/positions">positions</a></li>
<li><a href="/api/orders?open=1">open orders</a></li>
<li><a href="/api/refusals">refused bodies</a></li>
<li><a href="/health">health</a></li>
</ul>
</html>
"""


@blueprint.get("/")
def sign() -> Response:
    """Where to look."""
    return Response(_SIGN, content_type="text/html; charset=utf-8")


@blueprint.get("/robots.txt")
def robots() -> Response:
    """Nothing here is for search engines."""
    return Response("User-agent: *\nDisallow: /\n", content_type="text/plain; charset=utf-8")


@blueprint.get("/health")
def health() -> Response:
    """200, or 503 where alerts would not be stored or handled."""
    desk: Desk = current_app.extensions["desk"]
    model = report.health(desk.store, now=desk.clock(), started_at=desk.started_at)
    return answer(200 if model["status"] == "ok" else 503, model)
