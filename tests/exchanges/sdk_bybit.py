"""Bybit's official SDK: the same acts as the adapter's, and what both may say differently."""

from __future__ import annotations

from typing import Any

from tests.emulator.server import Request
from tests.exchanges.sdk_acts import (
    BTC,
    CLOSE,
    CLOSE_ID,
    ENTRY_ID,
    GUARD,
    LIMIT,
    MARKET,
    RESTING,
    RESTING_ID,
    RESTING_STOP,
    TARGET,
    TARGET_ID,
    THEIRS,
    Act,
    D,
    Difference,
    Venue,
    hmac_of,
)


def _bybit_sdk(url: str, secret: str) -> Any:
    from pybit.unified_trading import HTTP

    # It repeats by itself what is refused for its time.
    api = HTTP(api_key="emulator-key-bybit", api_secret=secret, max_retries=1, retry_delay=0)
    api.endpoint, api.close = url, api.client.close
    return api


def _bybit_signed(request: Request, secret: str) -> tuple[str, str]:
    head = request.headers
    signature = head.get("X-BAPI-SIGN", "")
    names = ("X-BAPI-TIMESTAMP", "X-BAPI-API-KEY", "X-BAPI-RECV-WINDOW")
    payload = "".join(head.get(name, "") for name in names) + request.query_text + request.body.decode()
    return signature, hmac_of(secret, payload) if signature else ""


def _bybit_prepare(api: Any) -> None:
    api.set_leverage(category="linear", symbol=THEIRS, buyLeverage="4.5", sellLeverage="4.5")
    api.get_positions(category="linear", symbol=THEIRS)
    api.get_open_orders(category="linear", symbol=THEIRS, limit=50)
    api.get_wallet_balance(accountType="UNIFIED")
    api.get_tickers(category="linear", symbol=THEIRS)


def _bybit_cancel_stop(api: Any) -> None:
    api.get_positions(category="linear", symbol=THEIRS)
    listed = api.get_open_orders(category="linear", symbol=THEIRS, limit=50)["result"]["list"]
    stop = next(row for row in listed if row["stopOrderType"] == "StopLoss")
    api.cancel_order(category="linear", symbol=THEIRS, orderId=stop["orderId"])


_ATTACHED = {"stopLoss": "58500", "slTriggerBy": "LastPrice", "slOrderType": "Market", "tpslMode": "Full"}

BYBIT = Venue(
    name="BYBIT",
    clock="pybit._helpers",
    sdk=_bybit_sdk,
    signed=_bybit_signed,
    headers=r"X-BAPI-.*|Content-Type",
    code="retCode",
    furnish=lambda account: account.set_stop(BTC, D(58000)),
    acts=(
        Act(
            name="market entry with its stop",
            ours=lambda venue, at: venue.place(MARKET, signed_at=at, stop=GUARD),
            theirs=lambda api: api.place_order(
                category="linear",
                symbol=THEIRS,
                side="Buy",
                orderType="Market",
                qty="0.012",
                positionIdx=0,
                orderLinkId=ENTRY_ID,
                **_ATTACHED,
            ),
        ),
        Act(
            name="limit entry with its stop",
            ours=lambda venue, at: venue.place(LIMIT, signed_at=at, stop=GUARD),
            theirs=lambda api: api.place_order(
                category="linear",
                symbol=THEIRS,
                side="Buy",
                orderType="Limit",
                qty="0.012",
                price="59000",
                timeInForce="GTC",
                positionIdx=0,
                orderLinkId=ENTRY_ID,
                **_ATTACHED,
            ),
        ),
        Act(
            name="target",
            ours=lambda venue, at: venue.place(TARGET, signed_at=at),
            theirs=lambda api: api.place_order(
                category="linear",
                symbol=THEIRS,
                side="Sell",
                orderType="Limit",
                qty="0.008",
                price="62000",
                timeInForce="GTC",
                reduceOnly=True,
                positionIdx=0,
                orderLinkId=TARGET_ID,
            ),
        ),
        Act(
            name="stop",
            ours=lambda venue, at: venue.place(GUARD, signed_at=at),
            theirs=lambda api: api.set_trading_stop(
                category="linear",
                symbol=THEIRS,
                stopLoss="58500",
                slTriggerBy="LastPrice",
                tpslMode="Full",
                positionIdx=0,
            ),
        ),
        Act(
            name="close",
            ours=lambda venue, at: venue.place(CLOSE, signed_at=at),
            theirs=lambda api: api.place_order(
                category="linear",
                symbol=THEIRS,
                side="Sell",
                orderType="Market",
                qty="0.02",
                reduceOnly=True,
                positionIdx=0,
                orderLinkId=CLOSE_ID,
            ),
        ),
        Act(
            name="cancel",
            ours=lambda venue, _: venue.cancel(RESTING),
            theirs=lambda api: api.cancel_order(category="linear", symbol=THEIRS, orderLinkId=RESTING_ID),
        ),
        Act(
            name="cancel a stop", ours=lambda venue, _: venue.cancel(RESTING_STOP), theirs=_bybit_cancel_stop
        ),
        Act(
            name="cancel all",
            ours=lambda venue, _: venue.cancel_all(BTC),
            theirs=lambda api: api.cancel_all_orders(category="linear", symbol=THEIRS),
        ),
        Act(
            name="query",
            ours=lambda venue, _: venue.order(RESTING),
            theirs=lambda api: api.get_open_orders(category="linear", symbol=THEIRS, orderLinkId=RESTING_ID),
        ),
        Act(
            name="leverage and reads",
            ours=lambda venue, _: venue.prepare(BTC, ours=(), leverage=D("4.5")),
            theirs=_bybit_prepare,
        ),
    ),
    differences=(
        Difference(
            on="(GET|POST) /v5/(order|position|account)/.*",
            name="X-BAPI-RECV-WINDOW",
            ours="2000",
            theirs="5000",
            why="a request is good for two seconds, which the fence counts on; five are the default",
        ),
        Difference(
            on="GET /v5/market/.*",
            name="Content-Type",
            ours=None,
            theirs="application/json",
            why="there is no content",
        ),
    ),
)
