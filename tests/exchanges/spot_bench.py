"""A spot adapter in front of its emulated venue, and the orders that its tests begin with."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from exchanges import Credentials, Exchange, connect
from exchanges._http import Hosts
from tests.conftest import Clock
from tests.emulator.server import Server
from tests.exchanges.scripted import CALM
from trading.model import InstrumentKind, Order, OrderType, Role, Side

D = Decimal
BTC = "BTC-USDT"
SPOT = InstrumentKind.SPOT


class SpotBench:
    """`url` is what the variable with the venue's address is called."""

    def __init__(self, venue: str, url: str, clock: Clock, server: Server) -> None:
        self.clock, self.server, self.engine = clock, server, server.engine
        self.account: Any = server.engine.accounts[0]
        secret = self.account.secret
        self.exchange: Exchange = connect(
            venue,
            Credentials(key=self.account.key, secret=secret),
            network="testnet",
            hosts=Hosts(clock, patience=CALM),
            urls={url: server.url},
            kind=SPOT,
        )

    def place(self, order: Order, stop: Order | None = None) -> Any:
        return self.exchange.place(order, signed_at=self.exchange.time(), stop=stop)

    def resting(self, *ours: Order) -> Any:
        return self.exchange.look(BTC, ours=ours).resting


def order(leg: str, role: Role, **more: Any) -> Order:
    made: dict[str, Any] = {
        "client_order_id": f"a-{leg}",
        "intent_id": "a",
        "symbol": BTC,
        "role": role,
        "side": Side.SELL,
        "type": OrderType.MARKET,
        "quantity": D("0.5"),
        "reduce_only": role is not Role.ENTRY,
    }
    return Order(**made | more)
