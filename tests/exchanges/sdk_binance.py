"""Binance's official SDK: the same acts as the adapter's, and what both may say differently."""

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
    RESTING_STOP_ID,
    STOP_ID,
    TARGET,
    TARGET_ID,
    THEIRS,
    Act,
    D,
    Difference,
    Venue,
    hmac_of,
)
from trading.model import OrderType, Side


def _binance_sdk(url: str, secret: str) -> Any:
    # Here: it takes more than a second, and most runs do not need it.
    from binance_common.configuration import ConfigurationRestAPI
    from binance_sdk_derivatives_trading_usds_futures import DerivativesTradingUsdsFutures

    config = ConfigurationRestAPI(
        api_key="emulator-key-binance", api_secret=secret, base_path=url, timeout=5000
    )
    api = DerivativesTradingUsdsFutures(config_rest_api=config).rest_api
    api.close = api._session.close
    return api


def _binance_signed(request: Request, secret: str) -> tuple[str, str]:
    payload, _, signature = request.query_text.partition("&signature=")
    return signature, hmac_of(secret, payload) if signature else ""


def _binance_prepare(api: Any) -> None:
    api.change_initial_leverage(THEIRS, 5)
    api.position_information_v3(symbol=THEIRS)
    api.current_all_open_orders(symbol=THEIRS)
    api.current_all_algo_open_orders(symbol=THEIRS)
    api.account_information_v3()
    api.futures_account_configuration()
    api.symbol_price_ticker_v2(symbol=THEIRS)


def _binance_cancel_all(api: Any) -> None:
    api.cancel_all_open_orders(THEIRS)
    api.cancel_all_algo_open_orders(THEIRS)


BINANCE = Venue(
    name="BINANCE",
    clock="binance_common.utils",
    sdk=_binance_sdk,
    signed=_binance_signed,
    headers=r"X-MBX-.*|Content-Type",
    code="code",
    furnish=lambda account: account.submit(
        BTC,
        Side.SELL,
        OrderType.MARKET,
        D("0.020"),
        client_id=RESTING_STOP_ID,
        trigger=D(58000),
        reduce_only=True,
    ),
    acts=(
        Act(
            name="market entry",
            ours=lambda venue, at: venue.place(MARKET, signed_at=at),
            theirs=lambda api: api.new_order(
                THEIRS, "BUY", "MARKET", quantity=0.012, new_client_order_id=ENTRY_ID
            ),
        ),
        Act(
            name="limit entry",
            ours=lambda venue, at: venue.place(LIMIT, signed_at=at),
            theirs=lambda api: api.new_order(
                THEIRS,
                "BUY",
                "LIMIT",
                quantity=0.012,
                price=59000.0,
                time_in_force="GTC",
                new_client_order_id=ENTRY_ID,
            ),
        ),
        Act(
            name="target",
            ours=lambda venue, at: venue.place(TARGET, signed_at=at),
            theirs=lambda api: api.new_order(
                THEIRS,
                "SELL",
                "LIMIT",
                quantity=0.008,
                price=62000.0,
                time_in_force="GTC",
                reduce_only="true",
                new_client_order_id=TARGET_ID,
            ),
        ),
        Act(
            name="stop",
            ours=lambda venue, at: venue.place(GUARD, signed_at=at),
            theirs=lambda api: api.new_algo_order(
                "CONDITIONAL",
                THEIRS,
                "SELL",
                "STOP_MARKET",
                quantity=0.02,
                trigger_price=58500.0,
                working_type="CONTRACT_PRICE",
                reduce_only="true",
                client_algo_id=STOP_ID,
            ),
        ),
        Act(
            name="close",
            ours=lambda venue, at: venue.place(CLOSE, signed_at=at),
            theirs=lambda api: api.new_order(
                THEIRS, "SELL", "MARKET", quantity=0.02, reduce_only="true", new_client_order_id=CLOSE_ID
            ),
        ),
        Act(
            name="cancel",
            ours=lambda venue, _: venue.cancel(RESTING),
            theirs=lambda api: api.cancel_order(THEIRS, orig_client_order_id=RESTING_ID),
        ),
        Act(
            name="cancel a stop",
            ours=lambda venue, _: venue.cancel(RESTING_STOP),
            theirs=lambda api: api.cancel_algo_order(client_algo_id=RESTING_STOP_ID),
        ),
        Act(name="cancel all", ours=lambda venue, _: venue.cancel_all(BTC), theirs=_binance_cancel_all),
        Act(
            name="query",
            ours=lambda venue, _: venue.order(RESTING),
            theirs=lambda api: api.query_order(THEIRS, orig_client_order_id=RESTING_ID),
        ),
        Act(
            name="query a stop",
            ours=lambda venue, _: venue.order(RESTING_STOP),
            theirs=lambda api: api.query_algo_order(client_algo_id=RESTING_STOP_ID),
        ),
        Act(
            name="leverage and reads",
            ours=lambda venue, _: venue.prepare(BTC, ours=(), leverage=D("4.5")),
            theirs=_binance_prepare,
        ),
    ),
    differences=(
        Difference(
            on="(POST|DELETE) .*",
            name="recvWindow",
            ours="2000",
            theirs=None,
            why="what changes the account is good for two seconds, which the fence counts on",
        ),
        Difference(
            on="POST /fapi/v1/order",
            name="newOrderRespType",
            ours="RESULT",
            theirs=None,
            why="the answer tells what became of it; what is done is the same",
        ),
        Difference(
            on="GET /fapi/v2/ticker/price",
            name="X-MBX-APIKEY",
            ours=None,
            theirs="emulator-key-binance",
            why="who asks what everybody may know need not be told",
        ),
    ),
)
