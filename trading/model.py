"""The nouns of the house: one name each, in code, tables, API and docs.

Every amount is a Decimal, every time a UTC-aware datetime, every object frozen. Nothing here decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

ZERO = Decimal(0)


def plain(value: Decimal) -> str:
    """A Decimal as people write it: no exponent, no zeros at the end.

    >>> plain(Decimal("41500.0")), plain(Decimal("1E+3"))
    ('41500', '1000')
    """
    text = format(value, "f")  # not normalize(): that rounds to the context's precision
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


class Side(StrEnum):
    """What an order does."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def opposite(self) -> Side:
        return Side.SELL if self is Side.BUY else Side.BUY

    @property
    def sign(self) -> int:
        """+1 for BUY, -1 for SELL: the direction in which a fill moves the position."""
        return 1 if self is Side.BUY else -1


class Direction(StrEnum):
    """What a position is."""

    LONG = "LONG"
    SHORT = "SHORT"
    FLAT = "FLAT"


class InstrumentKind(StrEnum):
    PERPETUAL = "PERPETUAL"
    SPOT = "SPOT"


class OrderType(StrEnum):
    """MARKET and LIMIT as in FIX; STOP becomes a market order when the price reaches its trigger."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP = "STOP"


class TimeInForce(StrEnum):
    GTC = "GTC"
    IOC = "IOC"


class Role(StrEnum):
    """What an order is for within its intent."""

    ENTRY = "entry"
    STOP = "stop"
    TARGET = "target"
    CLOSE = "close"


class OrderStatus(StrEnum):
    """INITIALIZED is ours alone; SUBMITTED may be at the venue; the rest is proved."""

    INITIALIZED = "INITIALIZED"
    SUBMITTED = "SUBMITTED"
    ACCEPTED = "ACCEPTED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    DENIED = "DENIED"
    REJECTED = "REJECTED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"

    @property
    def is_open(self) -> bool:
        """Known to rest on the venue."""
        return self in (OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED)

    @property
    def is_final(self) -> bool:
        return self in (
            OrderStatus.FILLED,
            OrderStatus.DENIED,
            OrderStatus.REJECTED,
            OrderStatus.CANCELED,
            OrderStatus.EXPIRED,
        )


class IntentStatus(StrEnum):
    """The life of what we mean to do about one alert."""

    RECEIVED = "RECEIVED"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    APPROVED = "APPROVED"
    EXECUTING = "EXECUTING"
    DONE = "DONE"
    DENIED = "DENIED"
    DECLINED = "DECLINED"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"
    IGNORED = "IGNORED"

    @property
    def is_final(self) -> bool:
        return self not in (
            IntentStatus.RECEIVED,
            IntentStatus.AWAITING_APPROVAL,
            IntentStatus.APPROVED,
            IntentStatus.EXECUTING,
        )


class AlertKind(StrEnum):
    """What an alert's `message` asks for."""

    ENTRY = "entry"
    EXIT = "exit"
    BREAKEVEN = "breakeven"
    TOLD = "told"


class Route(StrEnum):
    """The door that an alert came through."""

    ORDER = "tradingview-to-webhook-order"
    STUDY = "tradingview-to-discord-study"
    DISCORD = "discord"


class Source(StrEnum):
    TRADINGVIEW = "tradingview"
    DISCORD = "discord"


class ApprovalMode(StrEnum):
    AUTO = "auto"
    DISCORD = "discord"


class DriftMode(StrEnum):
    """What becomes of an alert that counts on another position than the one that is there."""

    REPORT = "report"
    BLOCK = "block"
    RESYNC = "resync"


class Protection(StrEnum):
    """How a venue lets a stop reach the position: the strongest that it offers."""

    ATTACHED = "ATTACHED"
    BEFORE = "BEFORE"
    AFTER = "AFTER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Price levels of one direction; None means that the alert names none."""

    stop: Decimal | None = None
    target: Decimal | None = None
    breakeven: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One intermediate target: `number` as in tpN, `multiple` of the stop distance."""

    number: int
    multiple: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What an alert says, parsed and checked; the passphrase is not in it.

    `account` is the settings' spelling of the subaccount, `symbol` the house's spelling of the
    ticker (`BTC-USDT-PERP`), `key` the alert's own `id`, `fingerprint` the SHA-256 of its canonical
    body, `sent_at` its `time`.
    """

    kind: AlertKind
    message: str
    ticker: str
    symbol: str
    exchange: str
    subaccount: str
    account: str
    fingerprint: str
    side: Side | None = None
    order_type: OrderType = OrderType.MARKET
    price: Decimal | None = None
    sent_at: datetime | None = None
    long: Levels = field(default_factory=Levels)
    short: Levels = field(default_factory=Levels)
    target_close_percent: Decimal | None = None
    rungs: tuple[Rung, ...] = ()
    size: Decimal | None = None
    key: str | None = None
    interval: str | None = None
    chart_url: str | None = None
    market_position: str | None = None
    prev_market_position: str | None = None
    prev_market_position_size: Decimal | None = None
    contracts: Decimal | None = None

    @property
    def levels(self) -> Levels:
        """The levels of the direction that an entry takes."""
        return self.short if self.side is Side.SELL else self.long


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """What is traded, with the venue's rules. Quantities are in base units.

    `max_stops` is how many stops of one account may rest at once, None where the venue names no number.
    `note` says where the rules come from when that is worth telling.
    """

    symbol: str
    base: str
    quote: str
    kind: InstrumentKind
    tick_size: Decimal
    lot_size: Decimal
    min_quantity: Decimal
    min_notional: Decimal = ZERO
    max_quantity: Decimal | None = None
    contract_size: Decimal = Decimal(1)
    max_stops: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One child order. Quantity in base units, prices in quote units.

    `client_order_id` is ours and fixed before anything leaves. `signed_at` and `retry_at` belong to
    the fence: until `retry_at` a copy of the request may still be accepted by the venue.
    """

    client_order_id: str
    intent_id: str
    symbol: str
    role: Role
    side: Side
    type: OrderType
    quantity: Decimal
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    reduce_only: bool = False
    rung: int = 0
    attempt: int = 1
    status: OrderStatus = OrderStatus.INITIALIZED
    venue_order_id: str | None = None
    filled_quantity: Decimal = ZERO
    average_price: Decimal | None = None
    signed_at: datetime | None = None
    retry_at: datetime | None = None
    reason: str = ""

    @property
    def open_quantity(self) -> Decimal:
        """What may still be filled."""
        return ZERO if self.status.is_final else self.quantity - self.filled_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReport:
    """What a venue says about one order; `client_order_id` is None for an order that is not ours."""

    symbol: str
    client_order_id: str | None
    venue_order_id: str
    side: Side
    type: OrderType
    quantity: Decimal
    status: OrderStatus
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    reduce_only: bool = False
    filled_quantity: Decimal = ZERO
    average_price: Decimal | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution; `trade_id` is unique per venue, account and symbol. A positive fee is paid."""

    trade_id: str
    symbol: str
    client_order_id: str | None
    venue_order_id: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_currency: str
    at: datetime
    maker: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Net quantity of one account and instrument: positive is long, negative short."""

    symbol: str
    quantity: Decimal = ZERO
    average_price: Decimal | None = None

    @property
    def direction(self) -> Direction:
        if self.quantity > 0:
            return Direction.LONG
        return Direction.SHORT if self.quantity < 0 else Direction.FLAT

    @property
    def is_flat(self) -> bool:
        return self.quantity == 0

    @property
    def closing_side(self) -> Side:
        """The side that reduces it; meaningless when flat."""
        return Side.SELL if self.quantity > 0 else Side.BUY


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Money of one account in `currency`: `total` is equity, `free` is what may back a new position."""

    currency: str
    total: Decimal
    free: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """One bar; `opened_at` is its first instant."""

    opened_at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """How a quantity came about: money in quote units, `risk` in percent of free collateral.

    `cut_by` names the rule that made the quantity smaller than the risk alone (or the alert's size) would
    have, `uncut` is what it would have been.
    """

    free_collateral: Decimal
    risk: Decimal
    quantity: Decimal
    worst_loss: Decimal
    notional: Decimal
    cut_by: str = ""
    uncut: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The sized, rounded child orders of one entry; `notes` are told to people."""

    entry: Order
    stop: Order
    targets: tuple[Order, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lane:
    """What is traded one thing at a time: one instrument of one account at one venue."""

    venue: str
    account: str
    symbol: str

    def __str__(self) -> str:
        return f"{self.venue} {self.account} {self.symbol}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """The entry that a lane follows, as far as its stop and targets depend on it.

    `price` and `stop` are the alert's (unrounded) reference and stop, `stop_price` is where the stop
    belongs now, `orders` every child order made for it so far, stops that breakevens moved included.
    """

    intent_id: str
    side: Side
    price: Decimal
    stop: Decimal
    stop_price: Decimal
    entry: Order
    target: Decimal | None = None
    close_percent: Decimal | None = None
    rungs: tuple[Rung, ...] = ()
    orders: tuple[Order, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """LIMITS_NAME: None means that the rule is not set. Money in quote units."""

    max_notional: Decimal | None = None
    max_open_positions: int | None = None
    max_daily_loss: Decimal | None = None
    max_orders_per_minute: int | None = None
    symbols: tuple[str, ...] | None = None
    cooldown_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRules:
    """What an account may do. `risk` in percent, `leverage` as notional / free collateral.

    `flatten`: where max_daily_loss is reached, what is open is closed.
    """

    account: str
    risk: Decimal | None = None
    leverage: Decimal | None = None
    exchange: str | None = None
    network: str = "live"
    approval: ApprovalMode = ApprovalMode.AUTO
    limits: Limits = field(default_factory=Limits)
    drift: DriftMode = DriftMode.REPORT
    flatten: bool = False
