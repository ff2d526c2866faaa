"""The emulated Binance spot takes what its documents take, and refuses the rest with its own words."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.conftest import Clock
from tests.emulator import binance_spot
from tests.emulator.binance_client import Venue
from trading.model import Side

D = Decimal
ORDER, PAIR, OPEN = "/api/v3/order", "/api/v3/orderList/oco", "/api/v3/openOrders"
BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1"}
OCO = {
    "symbol": "BTCUSDT",
    "side": "SELL",
    "quantity": "0.5",
    "aboveType": "LIMIT_MAKER",
    "abovePrice": "62000",
}
OCO |= {"aboveClientOrderId": "up", "belowType": "STOP_LOSS", "belowStopPrice": "60000"}
OCO |= {"belowClientOrderId": "down"}
STOP = {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_LOSS", "quantity": "0.5", "stopPrice": "60000"}


class SpotVenue(Venue):
    """The same questions to the spot dialect."""

    def __init__(self, clock: Clock, **options: Any) -> None:
        self.clock = clock
        self.engine, self.dialect = binance_spot.build(clock, **options)
        self.account: Any = self.engine.accounts[0]

    def refusal(self, path: str, **params: Any) -> str:
        answer = self.send("POST", path, self.signed(params))
        assert answer.status == 400, answer
        return f"{answer.body['code']} {answer.body['msg']}"


@pytest.fixture
def venue(clock: Clock) -> SpotVenue:
    return SpotVenue(clock, own={"BTC": D(1)})


def test_a_wrong_signature_is_refused(venue: SpotVenue) -> None:
    answer = venue.send("GET", "/api/v3/account", venue.signed({})[:-1] + "0")
    assert answer.body["code"] == -1022
    assert venue.ask("GET", "/api/v3/account")["canTrade"] is True


def test_a_purchase_pays_its_fee_in_the_coin(venue: SpotVenue) -> None:
    bought = venue.ask("POST", ORDER, **BUY)
    assert (bought["status"], bought["executedQty"]) == ("FILLED", "1.00000000")
    held = {row["asset"]: row["free"] for row in venue.ask("GET", "/api/v3/account")["balances"]}
    assert (held["BTC"], held["USDT"]) == ("1.99900000", "39000.00000000")
    (trade,) = venue.ask("GET", "/api/v3/myTrades", symbol="BTCUSDT")
    assert (trade["commission"], trade["commissionAsset"], trade["isBuyer"]) == ("0.001", "BTC", True)


def test_a_pair_locks_its_coins_once_and_one_ends_the_other(venue: SpotVenue) -> None:
    told = venue.ask("POST", PAIR, **OCO)
    assert [report["clientOrderId"] for report in told["orderReports"]] == ["down", "up"]
    assert venue.account.free("BTC") == D("0.5")
    venue.engine.move("BTC-USDT", D(62000))
    rows = {
        name: venue.ask("GET", ORDER, symbol="BTCUSDT", origClientOrderId=name) for name in ("up", "down")
    }
    assert (rows["up"]["status"], rows["down"]["status"]) == ("FILLED", "EXPIRED")
    assert venue.ask("GET", OPEN, symbol="BTCUSDT") == []


def test_a_stop_that_fires_ends_its_target_and_sells_at_the_market(venue: SpotVenue) -> None:
    venue.ask("POST", PAIR, **OCO)
    venue.engine.move("BTC-USDT", D(59000))
    down = venue.ask("GET", ORDER, symbol="BTCUSDT", origClientOrderId="down")
    assert (down["status"], down["type"], down["executedQty"]) == ("FILLED", "STOP_LOSS", "0.50000000")
    assert venue.account.total("BTC") == D("0.5")


def test_a_target_that_begins_to_fill_ends_its_stop(venue: SpotVenue) -> None:
    venue.ask("POST", PAIR, **OCO)
    venue.engine.liquidity["BTC-USDT"] = D("0.1")
    venue.engine.move("BTC-USDT", D(62000))
    (left,) = venue.ask("GET", OPEN, symbol="BTCUSDT")
    assert (left["clientOrderId"], left["status"]) == ("up", "PARTIALLY_FILLED")


def test_cancelling_one_ends_both_and_the_answer_has_an_id_of_its_own(venue: SpotVenue) -> None:
    venue.ask("POST", PAIR, **OCO)
    ended = venue.ask("DELETE", ORDER, symbol="BTCUSDT", origClientOrderId="up")
    assert (ended["origClientOrderId"], ended["status"], ended["executedQty"]) == (
        "up",
        "CANCELED",
        "0.00000000",
    )
    assert ended["clientOrderId"] != "up"
    assert venue.ask("GET", OPEN, symbol="BTCUSDT") == []
    assert venue.code("DELETE", ORDER, symbol="BTCUSDT", origClientOrderId="down") == -2011
    assert venue.code("DELETE", OPEN, symbol="BTCUSDT") == -2011


@pytest.mark.parametrize(
    ("path", "asked", "said"),
    [
        (ORDER, BUY | {"quantity": "2"}, "-2010 Account has insufficient balance"),
        (ORDER, BUY | {"side": "SELL", "quantity": "1.00001"}, "-2010 Account has insufficient balance"),
        (ORDER, BUY | {"quantity": "0.000015"}, "-1013 Filter failure: LOT_SIZE"),
        (ORDER, BUY | {"quantity": "0.00001"}, "-1013 Filter failure: NOTIONAL"),
        (ORDER, BUY | {"price": "60000"}, "-1106 "),
        (ORDER, BUY | {"reduceOnly": "true"}, "-1104 "),
        (ORDER, BUY | {"symbol": "LUNAUSDT"}, "-1121 "),
        (ORDER, STOP | {"stopPrice": "61000"}, "-2010 Order would trigger immediately."),
        (ORDER, STOP | {"stopPrice": "60000.001"}, "-1013 Filter failure: PRICE_FILTER"),
        (ORDER, STOP | {"type": "STOP_LOSS_LIMIT"}, "-2010 Stop loss limit orders"),
        (PAIR, OCO | {"quantity": "1.5"}, "-2010 Account has insufficient balance"),
        (PAIR, OCO | {"abovePrice": "61000"}, "-2010 The relationship of the prices"),
        (PAIR, OCO | {"belowStopPrice": "61000"}, "-2010 The relationship of the prices"),
        (PAIR, OCO | {"abovePrice": "310000"}, "-1013 Filter failure: PERCENT_PRICE_BY_SIDE"),
        (PAIR, OCO | {"belowClientOrderId": "up"}, "-2010 Duplicate order sent."),
        (PAIR, OCO | {"quantity": "0.00008"}, "-1013 Filter failure: NOTIONAL"),
    ],
)
def test_what_is_wrong_is_refused(venue: SpotVenue, path: str, asked: dict[str, str], said: str) -> None:
    assert venue.refusal(path, **asked).startswith(said)
    assert venue.ask("GET", OPEN, symbol="BTCUSDT") == []


def test_an_id_is_free_again_once_its_order_has_filled(venue: SpotVenue) -> None:
    small = BUY | {"quantity": "0.1", "newClientOrderId": "mine"}
    for _ in range(2):
        assert venue.ask("POST", ORDER, **small)["status"] == "FILLED"
    venue.ask("POST", PAIR, **OCO)
    assert venue.refusal(PAIR, **OCO) == "-2010 Duplicate order sent."
    venue.ask("DELETE", ORDER, symbol="BTCUSDT", origClientOrderId="up")
    assert venue.refusal(PAIR, **OCO) == "-2010 Duplicate order sent."


def test_no_more_than_five_stops_rest(venue: SpotVenue) -> None:
    for number in range(5):
        names = {"aboveClientOrderId": f"u{number}", "belowClientOrderId": f"d{number}"}
        venue.ask("POST", PAIR, **OCO | {"quantity": "0.1"} | names)
    more = OCO | {"quantity": "0.1", "aboveClientOrderId": "u9", "belowClientOrderId": "d9"}
    assert venue.refusal(PAIR, **more) == "-1013 Filter failure: MAX_NUM_ALGO_ORDERS"


def test_trades_are_told_a_day_at_a_time_or_from_a_number_on(venue: SpotVenue, clock: Clock) -> None:
    for side in (Side.BUY, Side.SELL):
        venue.engine.hand(venue.account, "BTC-USDT", side, D("0.1"))
        clock.advance(3600)
    first, second = venue.ask("GET", "/api/v3/myTrades", symbol="BTCUSDT")
    assert venue.ask("GET", "/api/v3/myTrades", symbol="BTCUSDT", fromId=second["id"]) == [second]
    assert venue.ask("GET", "/api/v3/myTrades", symbol="BTCUSDT", limit=1) == [second]
    start = first["time"]
    wide = {"symbol": "BTCUSDT", "startTime": start, "endTime": start + 86_400_001}
    assert venue.code("GET", "/api/v3/myTrades", **wide) == -1127
    assert venue.ask("GET", "/api/v3/myTrades", symbol="BTCUSDT", startTime=start, limit=1) == [first]
