"""TALK: one file a venue, all behind the same protocol; a file with an underscore is machinery.

An adapter translates and nothing else: it must never decide what to trade, remember anything that the
journal should hold, or retry a request that may have changed something.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from trading.model import (
    Balance,
    Candle,
    Fill,
    Instrument,
    Order,
    OrderReport,
    Position,
    Protection,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What differs between venues, as data.

    `receive_window` is how long after its signing time the venue still takes a request, `margin` what
    is added for clock error before the absence of an order proves anything.
    """

    protection: Protection
    receive_window: timedelta
    margin: timedelta
    taker_fee: Decimal
    candles: bool = True
    leverage: bool = True


class Exchange(Protocol):
    """One account at one venue. Every call may raise a VenueError; reads may be repeated freely."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    def time(self) -> datetime:
        """The venue's clock, UTC."""

    def instrument(self, symbol: str) -> Instrument:
        """Rules of `BTC-USDT-PERP`; InvalidOrder if the venue does not trade it."""

    def price(self, symbol: str) -> Decimal:
        """The last price."""

    def candles(self, symbol: str, interval: str, limit: int) -> Sequence[Candle]:
        """The last `limit` bars, oldest first; empty where there are none."""

    def balance(self) -> Balance:
        """Equity and free collateral of the account."""

    def position(self, symbol: str) -> Position:
        """The net position; flat if there is none."""

    def positions(self) -> Sequence[Position]:
        """All that are not flat."""

    def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        """Makes room for positions of up to `leverage` times the margin; a repeat is no error."""

    def place(self, order: Order, *, signed_at: datetime, stop: Order | None = None) -> OrderReport:
        """Sends one order once, signed with exactly `signed_at`.

        `stop` is given only where `capabilities.protection` is ATTACHED, and is then in force from the
        first fill of `order`, in the same act.
        """

    def cancel(self, symbol: str, client_order_id: str) -> None:
        """Ends one order; one that has ended already, or is unknown, is no error."""

    def cancel_report(self, report: OrderReport) -> None:
        """Ends an order that may not be ours, by the venue's own id."""

    def order(self, symbol: str, client_order_id: str) -> OrderReport:
        """One order, also after it ended; OrderNotFound if the venue knows none."""

    def open_orders(self, symbol: str) -> Sequence[OrderReport]:
        """All that rests, conditional orders included, ours or not."""

    def fills(self, symbol: str, *, since: datetime) -> Sequence[Fill]:
        """Executions from `since` on, oldest first."""
