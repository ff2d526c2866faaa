"""An account's day in money: what was realised since midnight UTC, fees taken off, and what is open now.

Asks and adds; must never count a doubt as nothing: what cannot be known is None.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from exchanges import Exchange
from store import Store, Transaction, orders
from trading.errors import VenueError
from trading.model import InstrumentKind, Lane, Position
from trading.pnl import unrealised
from trading.symbols import split

log = logging.getLogger(__name__)


def realised(tx: Transaction, lane: Lane, now: datetime) -> Decimal:
    """What the account of a lane made since midnight, in quote units."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return orders.realised_since(tx, venue=lane.venue, account=lane.account, since=midnight)


def with_open(store: Store, exchange: Exchange, lane: Lane, made: Decimal) -> Decimal | None:
    """`made` and what is open of the lane's kind of instrument now; None if the venue does not say."""
    total = made
    try:
        for position in _open(store, exchange, lane):
            price = exchange.price(position.symbol)
            total += unrealised(quantity=position.quantity, average_price=position.average_price, price=price)
    except VenueError as error:
        log.warning("%s %s: the day's P&L cannot be known: %s", lane.venue, lane.account, error)
        return None
    return total


def _open(store: Store, exchange: Exchange, lane: Lane) -> Sequence[Position]:
    """What the account has open; where the venue knows no positions, what our own books say."""
    if not exchange.capabilities(lane.symbol).coins:
        return exchange.positions()
    held = []
    with store.read() as tx:
        for each in orders.open_lanes(tx, venue=lane.venue, account=lane.account):
            ledger = orders.lane_state(tx, each).ledger
            if split(each.symbol)[2] is InstrumentKind.SPOT and ledger.quantity > 0:
                held.append(
                    Position(symbol=each.symbol, quantity=ledger.quantity, average_price=ledger.average_price)
                )
    return held
