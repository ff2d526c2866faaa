"""An order and everything around it, said twice: in the house's words and in an official SDK's."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from exchanges import Exchange
from tests.emulator.engine import Account
from tests.emulator.server import Request
from trading.model import Order, OrderType, Role, Side

D = Decimal
BTC, THEIRS = "BTC-USDT-PERP", "BTCUSDT"
PRICE, STOP, LOW, HIGH = D(60000), D(58500), D(59000), D(62000)
ENTRY_ID, STOP_ID, TARGET_ID, CLOSE_ID = (f"sdk4f2a9c-{leg}1" for leg in ("e", "s", "t", "c"))
#: Of what rests there before anything is sent.
RESTING_ID, RESTING_STOP_ID = "sdk77b1e0-e1", "sdk77b1e0-s1"


def _order(client_order_id: str, role: Role, kind: OrderType, side: Side, **more: Any) -> Order:
    return Order(
        client_order_id=client_order_id,
        intent_id=client_order_id.partition("-")[0],
        symbol=BTC,
        role=role,
        side=side,
        type=kind,
        **{"quantity": D("0.020"), "reduce_only": role is not Role.ENTRY, **more},
    )


MARKET = _order(ENTRY_ID, Role.ENTRY, OrderType.MARKET, Side.BUY, quantity=D("0.012"))
LIMIT = _order(ENTRY_ID, Role.ENTRY, OrderType.LIMIT, Side.BUY, quantity=D("0.0120"), price=LOW)
TARGET = _order(TARGET_ID, Role.TARGET, OrderType.LIMIT, Side.SELL, quantity=D("0.008"), price=HIGH)
GUARD = _order(STOP_ID, Role.STOP, OrderType.STOP, Side.SELL, trigger_price=STOP)
CLOSE = _order(CLOSE_ID, Role.CLOSE, OrderType.MARKET, Side.SELL)
RESTING = _order(RESTING_ID, Role.ENTRY, OrderType.LIMIT, Side.BUY, quantity=D("0.005"), price=LOW)
RESTING_STOP = _order(RESTING_STOP_ID, Role.STOP, OrderType.STOP, Side.SELL, trigger_price=D(58000))


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """The same thing said twice: to the adapter in the house's words, to the SDK in the venue's."""

    name: str
    ours: Callable[[Exchange, datetime], Any]
    theirs: Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What the two sides may say differently, on requests that match `on`; None: it is not said."""

    on: str
    name: str
    ours: Any
    theirs: Any
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """`sdk(url, secret)` opens the SDK, whose module `clock` reads the time. `headers` are those that count.

    `furnish` gives an account with a position and a resting entry its resting stop.
    """

    name: str
    clock: str
    sdk: Callable[[str, str], Any]
    signed: Callable[[Request, str], tuple[str, str]]
    headers: str
    furnish: Callable[[Account], Any]
    acts: tuple[Act, ...]
    differences: tuple[Difference, ...]
    code: str

    @property
    def key(self) -> str:
        return f"emulator-key-{self.name.lower()}"

    @property
    def secret(self) -> str:
        return f"emulator-secret-{self.name.lower()}"


def hmac_of(secret: str, payload: str) -> str:
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
