"""The words of the emulated exchange: listings, records, fills, refusals. Nothing here decides."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from trading import matching
from trading.matching import Fees
from trading.model import ZERO, Instrument, OrderType, Side, TimeInForce


class Kind(StrEnum):
    """Why the exchange says no; a dialect turns each into its own code."""

    UNKNOWN_SYMBOL = "unknown symbol"
    NO_PRICE = "no price"
    HEDGE_MODE = "the account is in hedge mode"
    DUPLICATE = "duplicate client id"
    PARAMETER = "parameter"
    TICK = "tick"
    LOT = "lot"
    MIN_QUANTITY = "below the minimum quantity"
    MAX_QUANTITY = "above the maximum quantity"
    MIN_NOTIONAL = "below the minimum notional"
    REDUCE_ONLY = "nothing to reduce"
    MARGIN = "margin"
    TRIGGERS_AT_ONCE = "triggers at once"
    STOP_SIDE = "the attached stop is on the wrong side of the price"
    CLOSE_EXISTS = "one that closes the position in that direction exists"
    TOO_MANY = "too many open orders"
    NO_POSITION = "no position"
    NOT_MODIFIED = "nothing changed"
    NOT_FOUND = "not found"
    ENDED = "ended already"
    LEVERAGE = "leverage"
    POSITION_OPEN = "a position is open"
    ORDERS_OPEN = "orders are open"


class Refusal(Exception):
    """The exchange did not do it, and nothing has changed. `text` is for people."""

    def __init__(self, kind: Kind, text: str = "") -> None:
        super().__init__(text or kind.value)
        self.kind = kind
        self.text = text or kind.value


class State(StrEnum):
    """TRIGGERED is the end of a conditional order that made an order of its own."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    TRIGGERED = "TRIGGERED"

    @property
    def is_open(self) -> bool:
        return self in (State.NEW, State.PARTIALLY_FILLED)


class Reason:
    """`Record.reason` of one that ended unfilled."""

    REQUEST = matching.CANCELED_ON_REQUEST
    NO_LIQUIDITY = matching.NO_LIQUIDITY
    NOTHING_TO_REDUCE = matching.NOTHING_TO_REDUCE
    MARGIN = "not enough margin when it triggered"
    POSITION_GONE = "the position is gone"
    REPLACED = "another stop took its place"


class Unique(StrEnum):
    """Among which orders a client id must be new."""

    OPEN = "open"
    EVER = "ever"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What differs between exchanges.

    `separate_triggers`: a conditional order that triggers makes a second order, with an id of its own;
    otherwise it goes on itself. `shared_ids`: conditional and other orders share their client ids.
    `reduce_only_goes`: resting reduce-only orders end with the position that they reduce.
    `max_conditional`: how many untriggered ones a symbol may have.
    """

    separate_triggers: bool = True
    shared_ids: bool = False
    reduce_only_goes: bool = False
    max_conditional: int | None = None
    fees: Fees = field(default=Fees(maker=Decimal("0.0002"), taker=Decimal("0.0005")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What is traded: `symbol` as the house spells it, `venue_symbol` as the venue does."""

    symbol: str
    venue_symbol: str
    instrument: Instrument
    max_leverage: Decimal = Decimal(100)


@dataclass(slots=True, kw_only=True)
class Record:
    """One order as the exchange keeps it, for ever. `id` grows; `client_id` is the client's, if it gave one.

    Of a conditional order: `trigger`, reached from below if `rises`; with a `price` it makes a limit order.
    `whole_position`: its size follows the position and it ends with it; `attached`: it came with an order or
    was set on the position, so it has no client id. `triggered_order_id` is the order that it last made,
    `parent_id` and `parent_client_id` are the order that made this one, or that this stop came with.
    `attached_stop` is the stop that this order brings with its first fill.
    """

    id: int
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    created_at: datetime
    updated_at: datetime
    client_id: str | None = None
    conditional: bool = False
    price: Decimal | None = None
    trigger: Decimal | None = None
    rises: bool = False
    time_in_force: TimeInForce = TimeInForce.GTC
    reduce_only: bool = False
    whole_position: bool = False
    attached: bool = False
    attached_stop: Decimal | None = None
    retry: bool = False
    state: State = State.NEW
    filled: Decimal = ZERO
    average: Decimal | None = None
    triggered_at: datetime | None = None
    triggered_order_id: int | None = None
    parent_id: int | None = None
    parent_client_id: str | None = None
    reason: str = ""

    @property
    def is_open(self) -> bool:
        return self.state.is_open

    @property
    def is_waiting(self) -> bool:
        """Conditional and not triggered."""
        return self.conditional and self.is_open and self.triggered_at is None

    @property
    def is_stop(self) -> bool:
        """A conditional order that follows the price (a stop), not one that takes a profit."""
        return self.conditional and self.rises == (self.side is Side.BUY)

    @property
    def remaining(self) -> Decimal:
        """What may still be filled; zero once it has ended."""
        return self.quantity - self.filled if self.is_open else ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution. `realised` is the P&L that it booked before `fee`; `closed` is how much it closed."""

    id: int
    order_id: int
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    realised: Decimal
    closed: Decimal
    maker: bool
    at: datetime
