"""Who gets to the pages: the login, the session's cookie, the form key."""

from __future__ import annotations

import gzip
import hmac
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from desk.session import Sessions
from store import Store
from store.tables import state
from tests.web.person import Visitor

PAGES = ["/", "/alerts", "/alerts/x"]


@pytest.fixture
def visitor(make_app: Callable[..., Flask], body: Any) -> Visitor:
    return Visitor(make_app(), body.password)


@pytest.mark.parametrize("path", PAGES)
def test_a_stranger_is_shown_to_the_login(visitor: Visitor, path: str) -> None:
    answer = visitor.get(path)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/login")
    assert answer.text == ""


def test_the_password_opens_and_leads_back(visitor: Visitor) -> None:
    wanted = visitor.get("/alerts?status=DONE").headers["Location"]
    form = visitor.get(wanted)
    assert 'value="/alerts?status=DONE"' in form.text
    answer = visitor.client.post("/login", data={"password": visitor.password, "next": "/alerts?status=DONE"})
    assert answer.headers["Location"] == "/alerts?status=DONE"
    assert visitor.get("/").status_code == 200
    assert visitor.get("/login").headers["Location"] == "/"


@pytest.mark.parametrize(
    "next_", ["//evil.test/", "https://evil.test/", "/\\evil.test", "javascript:1", "/\x00", ""]
)
def test_the_way_back_is_on_this_site(visitor: Visitor, next_: str) -> None:
    answer = visitor.client.post("/login", data={"password": visitor.password, "next": next_})
    assert answer.headers["Location"] == "/"


def test_a_wrong_password_is_refused_and_counted(visitor: Visitor) -> None:
    codes = [visitor.client.post("/login", data={"password": f"no{n}"}).status_code for n in range(11)]
    assert codes == [401] * 10 + [429]
    assert visitor.client.post("/login", data={"password": visitor.password}).status_code == 429
    assert visitor.get("/").status_code == 303


def test_no_more_of_a_login_is_read_than_it_needs(visitor: Visitor) -> None:
    long = visitor.client.post("/login", data={"password": "x" * 5000})
    assert long.status_code == 413


@pytest.mark.parametrize("fits", [True, False])
def test_what_a_browser_brings_is_compared_in_constant_time(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch, fits: bool
) -> None:
    """The password at both of its doors, the session's mark, the form key."""
    compared: list[int] = []
    compare = hmac.compare_digest

    def watched(one: Any, other: Any) -> bool:
        compared.append(len(one))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watched)

    def comparisons(ask: Callable[[], Any]) -> int:
        compared.clear()
        ask()
        return len(compared)

    password = visitor.password if fits else "wrong"
    stranger = visitor.client.application.test_client()
    assert comparisons(lambda: stranger.get("/api/orders", auth=("any", password))) == 1
    assert comparisons(lambda: stranger.post("/login", data={"password": password})) == 1
    visitor.log_in()
    assert comparisons(lambda: visitor.get("/api/orders")) == 1
    visitor.get("/")
    headers = {"X-Form-Key": visitor.form_key if fits else "0" * 64}
    assert comparisons(lambda: visitor.client.post("/api/resume", headers=headers)) == 2


def test_without_a_password_set_nothing_opens(make_app: Callable[..., Flask]) -> None:
    visitor = Visitor(make_app(DASHBOARD_PASSWORD=""), "")
    form = visitor.get("/login")
    assert form.status_code == 403
    assert "DASHBOARD_PASSWORD" in form.text
    assert "<form" not in form.text
    assert visitor.client.post("/login", data={"password": ""}).status_code == 403
    assert visitor.get("/").status_code == 303


@pytest.mark.parametrize(
    ("base", "secure", "name"),
    [
        ("http://127.0.0.1:8000", False, "desk"),
        ("http://localhost", False, "desk"),
        ("http://[::1]:8000", False, "desk"),
        ("https://localhost", True, "__Host-desk"),
        ("http://desk.test", True, "__Host-desk"),
        ("http://127.0.0.1.desk.test", True, "__Host-desk"),
    ],
)
def test_the_cookie_is_kept_from_scripts_and_other_sites(
    visitor: Visitor, base: str, secure: bool, name: str
) -> None:
    cookie = visitor.log_in(base_url=base).headers["Set-Cookie"]
    assert cookie.startswith(f"{name}=")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie
    assert ("Secure" in cookie) is secure


def test_a_login_that_the_browser_would_not_keep_is_refused_with_the_reason(visitor: Visitor) -> None:
    form, at = {"password": visitor.password}, {"base_url": "http://desk.test"}
    plain = visitor.client.post("/login", data=form, headers={"Origin": "http://desk.test"}, **at)
    assert plain.status_code == 403
    assert "plain http" in plain.text
    assert "Set-Cookie" not in plain.headers
    # Behind a proxy that ends TLS.
    good = visitor.client.post("/login", data=form, headers={"Origin": "https://desk.test"}, **at)
    assert good.status_code == 303
    here = {"base_url": "http://127.0.0.1:8000", "headers": {"Origin": "http://127.0.0.1:8000"}}
    assert visitor.client.post("/login", data=form, **here).status_code == 303
    # Behind one that asks for another host than the browser did.
    lost = visitor.client.post("/login", data=form, headers={"Origin": "https://desk.test"})
    assert lost.status_code == 403
    assert "pass on the Host" in lost.text


def test_a_logout_ends_the_session_for_good(visitor: Visitor) -> None:
    visitor.log_in()
    (cookie,) = visitor.client._cookies.values()  # type: ignore[union-attr]
    answer = visitor.client.post("/logout")
    assert answer.headers["Location"] == "/login"
    assert visitor.get("/").status_code == 303
    visitor.client.set_cookie("desk", cookie.value)
    assert visitor.get("/").status_code == 303
    assert visitor.client.post("/logout").status_code == 303


def test_no_other_site_logs_in_or_out(visitor: Visitor) -> None:
    evil = {"Origin": "https://evil.test"}
    form = {"password": visitor.password}
    assert visitor.client.post("/login", data=form, headers=evil).status_code == 403
    visitor.log_in()
    visitor.client.post("/logout", headers=evil)
    assert visitor.get("/").status_code == 200


def test_a_change_needs_the_form_key_of_this_session(visitor: Visitor) -> None:
    visitor.log_in()
    assert visitor.client.post("/api/halt").status_code == 403
    assert visitor.client.post("/api/halt", headers={"X-Form-Key": "0" * 64}).status_code == 403
    assert visitor.client.post("/api/halt", headers={"X-Form-Key": "ä"}).status_code == 403
    another = Visitor(visitor.client.application, visitor.password)
    another.log_in()
    another.get("/")
    assert visitor.client.post("/api/halt", headers={"X-Form-Key": another.form_key}).status_code == 403
    visitor.get("/")
    other = {"X-Form-Key": visitor.form_key, "Origin": "https://evil.test"}
    assert visitor.client.post("/api/halt", headers=other).status_code == 403
    assert visitor.post("/api/halt", json={"reason": "news"}).get_json()["halted"] is True
    assert visitor.client.post("/api/resume", data={"form_key": visitor.form_key}).status_code == 200


def test_a_session_reads_the_api_and_a_browser_is_not_asked_for_a_password(visitor: Visitor) -> None:
    visitor.log_in()
    assert visitor.get("/api/positions").status_code == 200
    stranger = visitor.client.application.test_client()
    refused = stranger.get("/api/positions", headers={"X-Form-Key": "x"})
    assert refused.status_code == 401
    assert "WWW-Authenticate" not in refused.headers


def test_http_basic_opens_the_pages_too(visitor: Visitor) -> None:
    assert visitor.get("/", auth=("any", visitor.password)).status_code == 200
    assert visitor.get("/", auth=("any", "wrong")).status_code == 401


def test_a_session_ends_with_its_time_and_with_its_password(store: Store, clock: Any) -> None:
    sessions = Sessions(store, "first password", clock)
    token = sessions.open()
    assert sessions.knows(token)
    elsewhere = Sessions(store, "first password", clock)
    assert elsewhere.knows(token)
    assert not Sessions(store, "another password", clock).knows(token)
    assert not Sessions(store, None, clock).knows(token)
    assert not any(sessions.knows(each) for each in (None, "", "x", "x" * 5000))
    with store.read() as tx:
        kept = repr(tx.execute(state.select()).all())
    assert token not in kept
    ended = sessions.open()
    sessions.close(ended)
    assert not elsewhere.knows(ended)
    clock.advance(timedelta(days=7) - timedelta(seconds=1))
    assert sessions.knows(token)
    clock.advance(2)
    assert not sessions.knows(token)
    sessions.open()
    with store.read() as tx:
        assert len(tx.execute(state.select()).all()) == 1


def test_pages_have_a_policy_without_inline_anything(visitor: Visitor) -> None:
    visitor.log_in()
    for path in ("/login", "/", "/alerts"):
        answer = visitor.client.get(path, follow_redirects=True)
        policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self' data:",
            "connect-src": "'self'",
            "form-action": "'self'",
            "frame-ancestors": "'none'",
            "base-uri": "'none'",
        }
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "<style" not in answer.text
        assert " style=" not in answer.text
        assert " onclick=" not in answer.text
        assert answer.text.count("<script") == answer.text.count('<script src="/static/')


def test_files_are_kept_by_their_version_and_nothing_else_is_served(visitor: Visitor) -> None:
    visitor.log_in()
    page = visitor.get("/").text
    address = page.partition('<link rel="stylesheet" href="')[2].partition('"')[0]
    assert "immutable" in visitor.get(address).headers["Cache-Control"]
    packed = visitor.get(address, headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(packed.data) == visitor.get(address).data
    assert "immutable" not in visitor.get("/static/desk.css?v=old").headers["Cache-Control"]
    for path in ("/static/../pages.py", "/static/%2e%2e/pages.py", "/static/nothing.js", "/static/"):
        assert visitor.get(path).status_code == 404


def test_an_unchanged_page_is_not_sent_again(visitor: Visitor) -> None:
    visitor.log_in()
    tag = visitor.get("/").headers["ETag"]
    again = visitor.get("/", headers={"If-None-Match": tag})
    assert again.status_code == 304
    assert again.data == b""
