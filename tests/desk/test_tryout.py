"""A trial is carried out on paper where trading is live, and no venue hears of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from desk import tryout
from tests.desk.conftest import LONG
from trading.model import Route

LIVE = {
    "LIVE_TRADING": "1",
    "EXCHANGE_MAIN": "BINANCE",
    "API_KEY_MAIN": "key-of-the-test",
    "API_SECRET_MAIN": "secret-of-the-test",
    # Nobody is there: whoever asks fails.
    "BINANCE_API_URL": "http://127.0.0.1:9",
}


def test_a_trial_needs_no_keys_where_trading_is_live(sqlite_rigs: Callable[..., Any]) -> None:
    rig = sqlite_rigs(LIVE_TRADING="1")
    assert rig.status(rig.send("entry", exchange="PAPER", **LONG)) == "DONE"
    asked = rig.send("entry", exchange="PAPER", route=Route.STUDY, **LONG)
    rig.vote(asked, approve=True)
    assert rig.status(asked) == "DONE"


def test_a_trial_is_simulated_where_trading_is_live(sqlite_rigs: Callable[..., Any]) -> None:
    rig = sqlite_rigs(**LIVE)
    text = json.dumps({"ticker": "BTCUSDT.P", "exchange": "BINANCE", "message": "entry", "action": "buy",
                       "price": "42000", "long SL": "41500"})  # fmt: skip
    answer = tryout.send(text, rig.intake, rig.settings, ask=False, now=rig.clock())
    rig.settle()
    alert = rig.alert(str(answer.body["alert_id"]))
    assert (alert["status"], alert["reason"]) == ("DONE", "")
    assert [order["status"] for order in alert["orders"]] == ["FILLED", "ACCEPTED"]
    assert rig.position().quantity == 2
    tryout.send(text.replace("entry", "exit"), rig.intake, rig.settings, ask=False, now=rig.clock())
    rig.settle()
    assert rig.position().is_flat
