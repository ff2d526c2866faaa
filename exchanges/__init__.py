"""TALK: one file a venue, all behind the same protocol; a file with an underscore is machinery.

An adapter translates and nothing else: it must never decide what to trade, remember anything that the
journal should hold, or retry a request that may have changed something.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Protocol, cast

from trading.model import (
    Balance,
    Candle,
    Fill,
    Instrument,
    InstrumentKind,
    Order,
    OrderReport,
    Position,
    Protection,
)

if TYPE_CHECKING:
    from exchanges._http import Hosts


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What differs between venues and their instruments, as data.

    `receive_window` is how long after its signing time the venue still takes a request, `margin` what
    is added for clock error before the absence of an order proves anything. `taker_fee` is a share of
    the notional.

    `coins` is spot: the venue knows balances and no positions, so that the quantity of a Position is all that
    the account holds of the coin, whoever bought it; no order only reduces, and a sale that rests locks what
    it sells. Then `pairs` says whether a target and a stop can rest as one, of which one ends the other.

    `looks` is how many a minute one address has room for, beside what trades and protects; None: any number.
    """

    protection: Protection
    receive_window: timedelta
    margin: timedelta
    taker_fee: Decimal
    candles: bool = True
    coins: bool = False
    pairs: bool = True
    looks: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What signs one account's requests. `subaccount` is its name as the venue spells it, if it has one."""

    key: str = field(repr=False)
    secret: str = field(repr=False)
    subaccount: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One instrument of one account as the venue has it: the net position, and all that rests there."""

    position: Position
    resting: tuple[OrderReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """All that an entry depends on, read side by side; `balance` is what may back this instrument.

    `max_leverage` as the verb has it, where the venue's list of instruments tells it.
    """

    look: Look
    instrument: Instrument
    price: Decimal
    balance: Balance
    max_leverage: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a check of an account found. `fatal` would stop a trade; `mend` says what to do."""

    fatal: bool
    text: str
    mend: str = ""


class Exchange(Protocol):
    """One account at one venue. Every call may raise a VenueError; reads may be repeated freely.

    `ours` are our orders that may rest there: a venue that keeps no id of ours with an order finds it by
    them, and names it in its report.
    """

    @property
    def name(self) -> str: ...

    def capabilities(self, symbol: str) -> Capabilities:
        """Of one instrument; asks nobody."""

    def time(self) -> datetime:
        """The venue's clock, UTC: ours and an offset; asks the venue only until it is known."""

    def instrument(self, symbol: str) -> Instrument:
        """Rules of `BTC-USDT-PERP`; InvalidOrder if the venue does not trade it."""

    def max_leverage(self, symbol: str) -> Decimal | None:
        """The most that notional / margin may be for a small position; None if the venue sets no bound."""

    def price(self, symbol: str) -> Decimal:
        """The last price."""

    def candles(self, symbol: str, interval: str, limit: int) -> Sequence[Candle]:
        """The last `limit` bars, oldest first; empty where there are none. `interval` as TradingView's."""

    def balance(self, symbol: str) -> Balance:
        """Equity, and the collateral that is free for this instrument."""

    def position(self, symbol: str) -> Position:
        """The net position; flat if there is none."""

    def positions(self) -> Sequence[Position]:
        """All that are not flat."""

    def look(self, symbol: str, *, ours: Sequence[Order]) -> Look:
        """Position and resting orders, asked for side by side."""

    def prepare(self, symbol: str, *, ours: Sequence[Order], leverage: Decimal) -> Terms:
        """Makes room for positions of up to `leverage` times the margin, and reads all that an entry needs.

        One round trip where the instruments are known. InvalidOrder for an account in hedge mode.
        """

    def place(self, order: Order, *, signed_at: datetime, stop: Order | None = None) -> OrderReport:
        """Sends one order once, signed with exactly `signed_at`.

        `stop` is given where the instrument's protection is ATTACHED, and is then in force from the first
        fill of `order`, in the same act; and with a target where it makes `pairs`: both rest, one ends the
        other.
        """

    def cancel(self, order: Order) -> OrderReport | None:
        """Ends one of our orders, and what is paired with it; one that has ended already, or is unknown, is
        no error. What it was at its end, where the answer tells."""

    def cancel_report(self, report: OrderReport) -> None:
        """Ends an order that may not be ours, by the venue's own id."""

    def cancel_all(self, symbol: str) -> None:
        """Ends all that rests of one instrument, conditional orders included, and of no other."""

    def order(self, order: Order) -> OrderReport:
        """What became of one of our orders, also after it ended; OrderNotFound if the venue knows none."""

    def fills(self, symbol: str, *, since: datetime) -> Sequence[Fill]:
        """Executions from `since` on, oldest first."""

    def check(self) -> Sequence[Finding]:
        """What a person should know of this account before it trades: its key, its mode, its clock."""


class Connect(Protocol):
    """What every venue's file offers as `connect`; the paper venue, which lives in the database, has none."""

    def __call__(
        self, credentials: Credentials, *, network: str, hosts: Hosts, urls: Mapping[str, str]
    ) -> Exchange: ...


@cache
def available() -> frozenset[str]:
    """The venues of this release by name, the paper venue among them: the files of this folder."""
    return frozenset(
        module.name.upper() for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")
    )


def connect(
    name: str,
    credentials: Credentials,
    *,
    network: str,
    hosts: Hosts,
    urls: Mapping[str, str],
    kind: InstrumentKind = InstrumentKind.PERPETUAL,
) -> Exchange:
    """Opens an account at the venue `name`; nothing is sent yet. Denied if the venue cannot be used so.

    `network` is live, testnet or demo; `urls` are base URLs that take its place, by venue. `kind` is what is
    traded: a venue's spot may have a host and a dialect of its own, which its file offers as `connect_spot`.
    """
    module = importlib.import_module(f"exchanges.{name.lower()}")
    is_apart = kind is InstrumentKind.SPOT and hasattr(module, "connect_spot")
    opened = cast(Connect, module.connect_spot if is_apart else module.connect)
    return opened(credentials, network=network, hosts=hosts, urls=urls)
