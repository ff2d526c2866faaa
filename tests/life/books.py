"""What a venue's own record says of the one account and the one instrument that are traded there."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.emulator.engine import Account, Record
from tests.emulator.server import Server
from trading.model import OrderType, Side

#: Beside what these hold, a spot account has coins of a person's own.
OWN = Decimal("0.7")


@dataclass(frozen=True)
class Market:
    """What is traded at a venue in these tests, as TradingView and the emulator spell it."""

    ticker: str
    symbol: str
    #: Of a spot market: the venue, and what a variable for its address is called.
    venue: str = ""
    url: str = ""
    #: Whether a target can rest beside its stop there.
    pairs: bool = True


MARKETS = {
    "BINANCE": Market("BTCUSDT.P", "BTC-USDT-PERP"),
    "BYBIT": Market("BTCUSDT.P", "BTC-USDT-PERP"),
    "FTX": Market("BTCPERP", "BTC-USD-PERP"),
    "BINANCE_SPOT": Market("BTCUSDT", "BTC-USDT", venue="BINANCE", url="BINANCE_SPOT"),
    "BYBIT_SPOT": Market("BTCUSDT", "BTC-USDT", venue="BYBIT", url="BYBIT", pairs=False),
}


class Books:
    """One emulated venue, looked at from inside."""

    def __init__(self, name: str, server: Server) -> None:
        self.name, self.server = name, server
        self.engine = server.engine
        self.market = MARKETS[name]
        self.venue = self.market.venue or name
        self.key, self.secret = f"emulator-key-{self.venue.lower()}", f"emulator-secret-{self.venue.lower()}"
        found = self.engine.account(self.key)
        assert found is not None
        self.account: Account = found
        #: What a server is told to trade here, as account MAIN.
        self.environ = {
            "LIVE_TRADING": "1",
            "API_KEY_MAIN": self.key,
            "API_SECRET_MAIN": self.secret,
            "RISK_MAIN": "1",
            "LEVERAGE_MAIN": "3",
            f"{self.market.url or name}_API_URL": server.url,
        }

    #: What an entry of the scenarios buys, and one of theirs at a limit of 41900 asks for.
    full = Decimal(2)
    limit_quantity = Decimal("2.5")

    @property
    def tradable(self) -> Decimal:
        """The position, as far as it can be sold."""
        return self.position

    @property
    def position(self) -> Decimal:
        return self.account.position(self.market.symbol).quantity

    @property
    def resting(self) -> list[Record]:
        """All that rests; an attached stop is among it."""
        return self.account.orders(self.market.symbol, open=True)

    def stops(self) -> list[Record]:
        return [order for order in self.resting if order.conditional]

    def targets(self) -> list[Record]:
        return [order for order in self.resting if not order.conditional and order.reduce_only]

    def entered(self, alert_id: str) -> Decimal:
        """What the venue's own record says was filled under the id of an alert's entry."""
        made = [r for r in self.account.records.values() if (r.client_id or "").startswith(f"{alert_id}-e")]
        return sum((record.filled for record in made), Decimal(0))

    def covered(self) -> bool:
        """Whether what is open has its stop at this moment."""
        position = self.position
        side = Side.SELL if position > 0 else Side.BUY
        stops = [order for order in self.stops() if order.side is side and order.type is OrderType.MARKET]
        return not position or any(s.attached or s.remaining >= abs(position) for s in stops)

    def check(self) -> None:
        """What must hold whenever the desk is at rest: the stop covers, nothing rests on nothing."""
        position, resting = self.position, self.resting
        if not position:
            assert resting == [], f"orders rest on no position: {resting}"
            return
        side = Side.SELL if position > 0 else Side.BUY
        stops = [order for order in self.stops() if order.side is side and order.type is OrderType.MARKET]
        assert len(stops) == 1, f"not one stop: {self.stops()}"
        assert stops[0].attached or stops[0].remaining >= abs(position), "the stop does not cover"
        targets = sum((order.remaining for order in self.targets()), Decimal(0))
        assert targets <= abs(position), "targets for more than there is"


class CoinBooks(Books):
    """The position is what was bought and is held; a person's own coins are not in it."""

    #: Less the fee of one in a thousand, which is taken in the coin.
    full = Decimal("1.998")

    @property
    def limit_quantity(self) -> Decimal:  # type: ignore[override]
        """97 % of the money, in lots."""
        lot = self.engine.listing(self.market.symbol).instrument.lot_size
        return Decimal(97000) / 41900 // lot * lot

    def covered(self) -> bool:
        """Whether what is open has its stops at this moment."""
        sales = sum((o.remaining for o in self.stops() if o.side is Side.SELL), Decimal(0))
        return not self.tradable or sales >= self.tradable

    @property
    def coins(self) -> Any:
        return self.account

    @property
    def own(self) -> Decimal:
        return Decimal(self.coins.deposits.get("BTC", 0))

    def stops(self) -> list[Any]:
        return [order for order in self.resting if order.conditional]

    def targets(self) -> list[Any]:
        """Ours; a person's own orders have no id."""
        return [o for o in self.resting if not o.conditional and o.side is Side.SELL and o.client_id]

    @property
    def tradable(self) -> Decimal:
        """The position in whole lots; none where it is worth less than the venue takes."""
        instrument = self.engine.listing(self.market.symbol).instrument
        whole = self.position // instrument.lot_size * instrument.lot_size
        return whole if whole * 41500 >= instrument.min_notional else Decimal(0)

    def check(self) -> None:
        """Stops cover exactly what is held, targets lie within, nothing rests on nothing, own coins stand."""
        assert self.position >= 0, "a person's own coins were sold"
        if not self.tradable:
            assert self.resting == [], f"orders rest on no position: {self.resting}"
            return
        sales = [order for order in self.stops() if order.side is Side.SELL]
        assert sum(order.remaining for order in sales) == self.tradable, self.stops()
        assert sum(t.remaining for t in self.targets()) <= self.tradable
        alone = [t for t in self.targets() if t.list_id is None]
        assert alone == [], "a target rests without a stop"
