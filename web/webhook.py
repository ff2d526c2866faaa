"""The two TradingView routes: read at most 16 KiB, hand them to the intake, answer.

Whatever the Content-Type says, the raw body counts. Never reads more, never redirects, never logs a body.
"""

from __future__ import annotations

from flask import Blueprint, Response, current_app, request
from werkzeug.exceptions import RequestEntityTooLarge

from desk.intake import TRADINGVIEW_ADDRESSES
from desk.wiring import Desk
from trading.body import MAX_BODY
from trading.model import Route
from web.access import address_of, bucket
from web.answers import answer, failure

blueprint = Blueprint("webhook", __name__)


@blueprint.post(f"/{Route.ORDER}")
def order() -> Response:
    """An alert to trade, or to ask about where its account says so."""
    return _take(Route.ORDER)


@blueprint.post(f"/{Route.STUDY}")
def study() -> Response:
    """An alert to ask about, always."""
    return _take(Route.STUDY)


def _take(route: Route) -> Response:
    desk: Desk = current_app.extensions["desk"]
    address = address_of(request, desk.settings.trusted_proxies)
    if desk.settings.tradingview_ips_only and address not in TRADINGVIEW_ADDRESSES:
        return failure(403, "only TradingView's own addresses may send here")
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        return failure(400, "send it uncompressed: a Content-Encoding is not read")
    raw = _read()
    if raw is None:
        return failure(400, "the body did not arrive whole")
    given = desk.intake.receive(raw, route=route, address=bucket(address))
    return answer(given.code, given.body)


def _read() -> bytes | None:
    """The body; None if it broke off or its framing is wrong. Raises RequestEntityTooLarge."""
    # One byte more than may be: a stream without a length is cut at this limit without a word.
    request.max_content_length = MAX_BODY + 1
    try:
        raw = request.get_data(cache=False)
    except RequestEntityTooLarge:
        raise
    except Exception:  # noqa: BLE001  # servers raise what they like for broken chunks, or a sender that left
        return None
    if len(raw) > MAX_BODY:
        raise RequestEntityTooLarge
    told = request.content_length
    return None if told is not None and len(raw) != told else raw
