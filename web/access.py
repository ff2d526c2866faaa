"""Whose request it is: the sender's address behind proxies, HTTP Basic, same-origin.

Never believes a header that a trusted proxy did not write, and never says which part was wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address, ip_network

from flask import Request, Response

from desk.gate import Admission
from desk.wiring import Desk
from web.answers import answer

_REFUSALS = {
    Admission.CLOSED: (403, "closed: set DASHBOARD_PASSWORD to open it"),
    Admission.WRONG: (401, "the password is missing or wrong"),
    Admission.LOCKED: (429, "too many wrong passwords from this address; wait ten minutes"),
}


def client_address(remote: str | None, forwarded: Sequence[str], trusted_proxies: int) -> str:
    """The address that sent the request, normalised; "unknown" without one.

    `forwarded` are the X-Forwarded-For headers in order. Each of the `trusted_proxies` adds one hop at
    the right; what stands further left was written by the sender and is ignored.
    """
    nearest = _normalised(remote or "") or "unknown"
    hops = [hop for line in forwarded for hop in line.split(",")]
    if trusted_proxies < 1 or len(hops) < trusted_proxies:
        return nearest
    return _normalised(hops[-trusted_proxies]) or nearest


def bucket(address: str) -> str:
    """What is counted as one sender: an IPv6 network of 64 bits is one household."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, 64), strict=False))
    return str(parsed)


def address_of(request: Request, trusted_proxies: int) -> str:
    """The address that sent this request."""
    return client_address(request.remote_addr, request.headers.getlist("X-Forwarded-For"), trusted_proxies)


def refusal(desk: Desk, request: Request) -> Response | None:
    """None for whom HTTP Basic lets in, under any user name; else the answer. Raises StoreUnavailable."""
    given = request.authorization
    password = given.password if given is not None and given.type == "basic" else None
    admission = desk.login.admit(password, bucket(address_of(request, desk.settings.trusted_proxies)))
    if admission is Admission.IN:
        return None
    code, message = _REFUSALS[admission]
    response = answer(code, {"success": False, "message": message})
    if code == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="trading desk", charset="UTF-8"'
    return response


def is_foreign(request: Request) -> bool:
    """Whether a browser says that another site's page sent this."""
    if request.headers.get("Sec-Fetch-Site", "").lower() == "cross-site":
        return True
    origin = request.headers.get("Origin")
    return origin is not None and origin.partition("://")[2].lower() != request.host.lower()


def _normalised(text: str) -> str | None:
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address):
        return None if parsed.scope_id else str(parsed.ipv4_mapped or parsed)
    return str(parsed)
