"""Whose address a request has, and which browser pages may act."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from web.access import bucket, client_address, is_foreign


@pytest.mark.parametrize(
    ("remote", "forwarded", "proxies", "address"),
    [
        ("203.0.113.9", [], 0, "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], 0, "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1"], 1, "198.51.100.1"),
        ("10.0.0.1", ["52.89.214.238, 198.51.100.1"], 1, "198.51.100.1"),
        ("10.0.0.1", ["52.89.214.238", "198.51.100.1"], 1, "198.51.100.1"),
        ("10.0.0.1", ["52.89.214.238, 198.51.100.1, 10.0.0.2"], 2, "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], 1, "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], 1, "2001:db8::1"),
        ("10.0.0.1", ["2001:db8:0:0::1"], 1, "2001:db8::1"),
        ("10.0.0.1", ["::ffff:198.51.100.1"], 1, "198.51.100.1"),
        ("::ffff:10.0.0.1", [], 0, "10.0.0.1"),
        ("10.0.0.1", ["nonsense"], 1, "10.0.0.1"),
        ("10.0.0.1", [""], 1, "10.0.0.1"),
        ("10.0.0.1", ["fe80::1%eth0"], 1, "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], 2, "10.0.0.1"),
        ("10.0.0.1", [], 1, "10.0.0.1"),
        (None, [], 0, "unknown"),
        ("", ["52.89.214.238"], 0, "unknown"),
    ],
)
def test_only_what_a_trusted_proxy_wrote_is_believed(
    remote: str | None, forwarded: list[str], proxies: int, address: str
) -> None:
    assert client_address(remote, forwarded, proxies) == address


def test_one_household_is_one_sender() -> None:
    assert bucket("2001:db8:1:2:3::4") == bucket("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
    assert bucket("2001:db8:1:3::1") != bucket("2001:db8:1:2::1")
    assert bucket("198.51.100.1") == "198.51.100.1"
    assert bucket("unknown") == "unknown"


def sends(client: FlaskClient, body: Any, headers: dict[str, str], *, good: bool) -> int:
    raw = body.raw(passphrase=body.passphrase if good else "wrong")
    return client.post("/tradingview-to-webhook-order", data=raw, headers=headers).status_code


def logs_in(client: FlaskClient, body: Any, headers: dict[str, str], *, good: bool) -> int:
    form = {"password": body.password if good else "wrong"}
    return client.post("/login", data=form, headers=headers).status_code


def reads(client: FlaskClient, body: Any, headers: dict[str, str], *, good: bool) -> int:
    auth = ("any", body.password if good else "wrong")
    return client.get("/api/orders", auth=auth, headers=headers).status_code


@pytest.mark.parametrize(("knocks", "welcome"), [(sends, 202), (logs_in, 303), (reads, 200)])
def test_no_door_is_fooled_by_another_address_of_the_same_network(
    make_app: Callable[..., Flask], body: Any, knocks: Callable[..., int], welcome: int
) -> None:
    client = make_app(TRUSTED_PROXIES="1").test_client()

    def knock(address: str, *, good: bool) -> int:
        return knocks(client, body, {"X-Forwarded-For": address}, good=good)

    assert [knock(f"2001:db8:1:2::{number:x}", good=False) for number in range(10)] == [401] * 10
    assert knock("2001:db8:1:2:ffff::1", good=True) == 429
    assert knock("2001:db8:1:3::1", good=True) == welcome


def test_without_a_proxy_no_door_believes_who_writes_an_address(client: FlaskClient, body: Any) -> None:
    for knocks in (sends, logs_in, reads):
        forged = [{"X-Forwarded-For": f"198.51.100.{number}"} for number in range(11)]
        codes = [knocks(client, body, headers, good=False) for headers in forged]
        # The password's guesses are counted together, whichever door they come by.
        assert codes[-1] == 429


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({}, False),
        ({"Origin": "http://desk.test"}, False),
        ({"Origin": "https://DESK.test"}, False),
        ({"Origin": "https://desk.test:8443"}, True),
        ({"Origin": "https://evil.test"}, True),
        ({"Origin": "https://desk.test.evil.test"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": ""}, True),
        ({"Origin": "http://[broken"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://desk.test"}, False),
    ],
)
def test_another_sites_page_is_told_apart(headers: dict[str, str], foreign: bool) -> None:
    with Flask(__name__).test_request_context("/", base_url="http://desk.test", headers=headers):
        assert is_foreign(request) is foreign
