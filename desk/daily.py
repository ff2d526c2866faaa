"""An account's day in money: what was realised since midnight UTC, fees taken off, and what is open now.

Asks and adds; must never count a doubt as nothing: what cannot be known is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from desk.venues import key_of
from desk.view import OVERLAP
from exchanges import Exchange
from store import Transaction, orders, ownership
from trading.errors import Denied, VenueError
from trading.model import ZERO, Lane, Position, Role
from trading.pnl import Ledger, unrealised
from trading.symbols import split


class Unknown(Exception):
    """The day cannot be known now; its text says why."""


class Unread(Unknown):
    """The venue shows less open than our books, or our orders closed more than these know: at what price, is
    not read yet.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self.lanes = lanes
        super().__init__(f"what closed {', '.join(lane.symbol for lane in lanes)} is not read yet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the journal knew at one moment: what was realised since midnight, and what is open.

    `unread` are lanes where more was closed than the executions tell that are known.
    """

    realised: Decimal
    ledgers: Mapping[Lane, Ledger]
    unread: Sequence[Lane] = ()


def books(tx: Transaction, *, venue: str, account: str, now: datetime) -> Books:
    """An account's books, in quote units. To be read before the venue is asked, and in one transaction: what
    is closed afterwards is then missing in both halves, and shows.
    """
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return Books(
        realised=orders.realised_since(tx, venue=venue, account=account, since=midnight),
        ledgers=orders.ledgers(tx, venue=venue, account=account),
        unread=[at for at in ownership.drifting(tx, venue=venue, account=account) if _is_unread(tx, at)],
    )


def pnl(known: Books, exchange_of: Callable[[Lane], Exchange], *, lanes: Iterable[Lane] = ()) -> Decimal:
    """The day with what is open now, of each kind of instrument that the books have open or `lanes` have.

    Raises Unknown if a venue does not say, Unread where it is ahead of the books.
    """
    if known.unread:
        raise Unread(known.unread)
    total = known.realised
    for lane in {key_of(lane): lane for lane in (*known.ledgers, *lanes)}.values():
        try:
            total += _open(exchange_of(lane), lane, known)
        except (VenueError, Denied) as error:
            raise Unknown(str(error)) from error
    return total


def _is_unread(tx: Transaction, lane: Lane) -> bool:
    """Whether an order of the lane has closed something that its executions do not tell yet."""
    last = orders.lane_state(tx, lane).last_fill_at
    untold = ownership.untold(tx, lane, since=last - OVERLAP if last else None)
    return any(order.role is not Role.ENTRY for order, _ in untold)


def _open(exchange: Exchange, lane: Lane, known: Books) -> Decimal:
    """What is open of the lane's kind of instrument, in money."""
    total, kind = ZERO, split(lane.symbol)[2]
    mine = {each: ledger for each, ledger in known.ledgers.items() if split(each.symbol)[2] is kind}
    if exchange.capabilities(lane.symbol).coins:
        held = _coins(mine)
    else:
        # The paper venue has both kinds in one list.
        held = [position for position in exchange.positions() if split(position.symbol)[2] is kind]
        _need_read(mine, held)
    for position in held:
        if position.average_price is None:
            raise Unknown(f"at what price {position.symbol} was entered is not told")
        price = exchange.price(position.symbol)
        total += unrealised(quantity=position.quantity, average_price=position.average_price, price=price)
    return total


def _need_read(mine: Mapping[Lane, Ledger], held: Iterable[Position]) -> None:
    """Raises Unread where a position is smaller at the venue than in the books, or on the other side. What
    has grown made nothing yet.
    """
    there = {position.symbol: position.quantity for position in held}
    behind = []
    for lane, ledger in mine.items():
        left = there.get(lane.symbol, ZERO)
        if left * ledger.quantity < 0 or abs(left) < abs(ledger.quantity):
            behind.append(lane)
    if behind:
        raise Unread(sorted(behind, key=lambda lane: lane.symbol))


def _coins(mine: Mapping[Lane, Ledger]) -> list[Position]:
    """What our own books say, where the venue knows no positions."""
    return [
        Position(symbol=lane.symbol, quantity=ledger.quantity, average_price=ledger.average_price)
        for lane, ledger in mine.items()
        if ledger.quantity > 0
    ]
