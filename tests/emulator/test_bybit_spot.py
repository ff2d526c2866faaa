"""The emulated Bybit spot takes what its documents take, and refuses the rest in its own words."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.conftest import Clock
from tests.emulator.bybit_client import (
    CANCEL,
    CANCEL_ALL,
    CREATE,
    EXECUTIONS,
    HISTORY,
    REALTIME,
    WALLET,
    Client,
)
from tests.emulator.bybit_spot import build

D = Decimal
BUY = {"category": "spot", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "1"}
BUY |= {"marketUnit": "baseCoin", "orderLinkId": "buy"}
STOP = {"category": "spot", "symbol": "BTCUSDT", "side": "Sell", "orderType": "Market", "qty": "0.5"}
STOP |= {"triggerPrice": "59000", "orderFilter": "tpslOrder", "orderLinkId": "stop"}
SPOT = {"category": "spot", "symbol": "BTCUSDT"}


@pytest.fixture
def venue(clock: Clock) -> Client:
    at_once: dict[str, Any] = {"unseen_reads": 0, "queued_reads": 0, "limited": False}
    return Client(*build(clock, own={"BTC": D(1)}, **at_once))


def coin(venue: Client, name: str) -> dict[str, str]:
    rows = venue.get(WALLET, accountType="UNIFIED")["list"][0]["coin"]
    return next(row for row in rows if row["coin"] == name)


def test_a_purchase_in_base_pays_its_fee_in_the_coin(venue: Client) -> None:
    venue.post(CREATE, BUY)
    assert (coin(venue, "BTC")["walletBalance"], coin(venue, "USDT")["walletBalance"]) == ("1.999", "40000")
    (row,) = venue.get(EXECUTIONS, **SPOT)["list"]
    assert (row["orderLinkId"], row["execFee"], row["feeCurrency"]) == ("buy", "0.001", "BTC")
    (ended,) = venue.get(HISTORY, **SPOT)["list"]
    assert (ended["orderStatus"], ended["cumExecQty"]) == ("Filled", "1")


def test_a_stop_holds_its_coins_and_a_conditional_order_does_not(venue: Client) -> None:
    venue.post(CREATE, STOP)
    assert coin(venue, "BTC")["locked"] == "0.5"
    venue.post(CREATE, STOP | {"orderFilter": "StopOrder", "qty": "1", "orderLinkId": "waits"})
    assert coin(venue, "BTC")["locked"] == "0.5"
    venue.engine.move("BTC-USDT", D(58000))
    rows = {row["orderLinkId"]: row for row in venue.get(HISTORY, **SPOT)["list"]}
    assert (rows["stop"]["orderStatus"], rows["waits"]["orderStatus"]) == ("Filled", "Cancelled")


def test_the_last_price_decides_from_where_a_trigger_is_met(venue: Client) -> None:
    venue.post(CREATE, STOP | {"triggerPrice": "60100"})
    venue.engine.move("BTC-USDT", D(59000))
    (row,) = venue.get(REALTIME, **SPOT)["list"]
    assert (row["orderStatus"], row["basePrice"], row["triggerDirection"]) == ("Untriggered", "60000", 0)
    venue.engine.move("BTC-USDT", D(60100))
    assert venue.get(REALTIME, **SPOT)["list"] == []


def test_a_cancellation_names_the_kind(venue: Client) -> None:
    venue.post(CREATE, STOP)
    assert venue.refused("POST", CANCEL, {**SPOT, "orderLinkId": "stop"})[0] == 170213
    assert venue.post(CANCEL_ALL, SPOT)["list"] == []
    venue.post(CANCEL, {**SPOT, "orderLinkId": "stop", "orderFilter": "tpslOrder"})
    assert coin(venue, "BTC")["locked"] == "0"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (BUY | {"qty": "2"}, 170131),
        (BUY | {"marketUnit": "quoteCoin"}, 170131),
        (BUY | {"qty": "0.0000001"}, 170136),
        (BUY | {"qty": "0.0000015"}, 170137),
        (BUY | {"qty": "0.00005"}, 170140),
        (BUY | {"qty": "42"}, 170135),
        (BUY | {"category": "linear"}, 10001),
        (BUY | {"reduceOnly": True}, 10001),
        (BUY | {"qty": 1}, 10001),
        (BUY | {"isLeverage": 1}, 170037),
        (BUY | {"triggerPrice": "61000"}, 170202),
        (STOP | {"triggerPrice": "60000"}, 170130),
        (STOP | {"triggerPrice": "59000.05"}, 170134),
        (STOP | {"qty": "1.5"}, 170131),
    ],
)
def test_what_is_wrong_is_refused_and_burns_its_id(venue: Client, asked: dict[str, Any], code: int) -> None:
    assert venue.refused("POST", CREATE, asked)[0] == code
    assert venue.get(REALTIME, **SPOT)["list"] == []


def test_an_id_is_never_free_again(venue: Client) -> None:
    venue.post(CREATE, BUY | {"qty": "0.1"})
    assert venue.refused("POST", CREATE, BUY | {"qty": "0.1"})[0] == 170141
