"""Bodies that nobody should send: each gets a planned answer, and only a good parse is stored."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from desk.wiring import Desk
from exchanges import available
from store.tables import alerts, intents
from trading.alert import decode, parse
from trading.errors import AlertInvalid
from trading.model import AlertKind

ORDER = "/tradingview-to-webhook-order"
PLANNED = {200, 202, 400, 401, 409, 422, 429}

nasty = (
    st.sampled_from(
        [
            None,
            True,
            0,
            -1,
            1e308,
            10**30,
            "",
            " ",
            "0",
            "-5",
            "1e999999999",
            "1_000",
            "١٢",
            "NaN",
            "na",
            "Infinity",
            "{{close}}",
            "\x00",
            "\ud800",
            "é" * 500,
            "a\r\nb",
            "'; drop table alerts; --",
            "<script>",
            "@everyone",
            [],
            {},
            [[[[]]]],
            {"a": {"b": 1}},
            "buy",
            "sell",
            "entry",
            "exit",
            "tp1",
            "BTCUSDT.P",
            "ETHUSD",
            "BINANCE",
            "BINANCE_DL",
            "50000",
            "49000",
            "51000",
            "limit",
            "2026-01-05T11:59:58Z",
            "9999-12-31T23:59:59Z",
            "1767614398",
        ]
    )
    | st.text(max_size=30)
    | st.integers()
    | st.floats(allow_nan=True)
)
names = st.sampled_from(
    [
        "ticker",
        "exchange",
        "time",
        "action",
        "price",
        "message",
        "type",
        "subaccount",
        "chart_url",
        "long SL",
        "long TP",
        "long Breakeven",
        "short SL",
        "short TP",
        "tp Close",
        "tp1 Mult",
        "tp2 Mult",
        "tp99 Mult",
        "id",
        "size",
        "interval",
        "TICKER",
        "long_sl",
        "passphrase",
        "contracts",
    ]
) | st.text(max_size=12)
changes = st.dictionaries(names, nasty, max_size=5)
cuts = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 5), st.binary(max_size=6)), max_size=3)


def bodies(base: dict[str, Any]) -> st.SearchStrategy[bytes]:
    changed = st.builds(
        lambda change, gone: {name: value for name, value in (base | change).items() if name not in gone},
        changes,
        st.sets(names, max_size=2),
    )
    written = st.builds(lambda fields: json.dumps(fields).encode(), changed)

    def cut(raw: bytes, places: list[tuple[int, int, bytes]]) -> bytes:
        for at, length, put in places:
            raw = raw[:at] + put + raw[at + length :]
        return raw

    noise = st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
    return st.integers(0, 9).flatmap(
        lambda die: written if die < 6 else st.builds(cut, written, cuts) if die < 8 else st.binary() | noise
    )


def fuzz(app: Flask, body: Any, caplog: pytest.LogCaptureFixture, examples: int) -> None:
    desk: Desk = app.extensions["desk"]
    client = app.test_client()
    stored: set[str] = set()
    senders = itertools.cycle(f"203.0.{third}.{fourth}" for third in range(100) for fourth in range(250))

    @settings(max_examples=examples)
    @given(raw=bodies(body()))
    def each(raw: bytes) -> None:
        answer = client.post(ORDER, data=raw, environ_base={"REMOTE_ADDR": next(senders)})
        assert answer.status_code in PLANNED
        said = answer.get_json()
        assert isinstance(said["message"], str)
        assert said["success"] is (answer.status_code in (200, 202))
        assert body.passphrase not in answer.get_data(as_text=True)
        if answer.status_code not in (200, 202):
            return
        meant = decode(raw)
        assert meant.passphrase == body.passphrase
        alert = parse(meant, default_subaccount="main", exchanges=available(), received_at=desk.clock())
        if said["status"] == "duplicate":
            assert said["alert_id"] in stored
        else:
            assert (answer.status_code == 200) is (alert.kind is AlertKind.TOLD)
            stored.add(said["alert_id"])

    with caplog.at_level(logging.INFO):
        each()
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert body.passphrase not in caplog.text
    with desk.store.read() as tx:
        assert set(tx.execute(select(alerts.c.id)).scalars()) == stored
        assert tx.execute(select(func.count()).select_from(intents)).scalar_one() == len(stored)
    assert stored


@pytest.mark.timeout(300)
def test_a_hundred_bodies(
    make_app: Callable[..., Flask], body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fuzz(make_app(), body, caplog, 100)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_thousand_bodies(
    make_app: Callable[..., Flask], body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fuzz(make_app(), body, caplog, 20_000)


def test_the_fuzz_knows_what_a_good_body_is(body: Any) -> None:
    with pytest.raises(AlertInvalid):
        decode(b"[]")
    assert decode(body.raw()).passphrase == body.passphrase
