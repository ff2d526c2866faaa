"""Whose address a request has, and which browser pages may act."""

from __future__ import annotations

import pytest
from flask import Flask, request

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
