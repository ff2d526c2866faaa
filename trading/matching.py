"""A small matching engine: resting orders and a price path in, executions and changed orders out.

One Book is one account and instrument. The price moves continuously: from 100 to 90 it passes every
price between. It must never invent a quantity, read a clock, or let a reduce-only order open a position.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Decimal, localcontext

from trading import pnl
from trading.model import ZERO, Order, OrderStatus, OrderType, Position, Side, TimeInForce
from trading.rounding import MONEY, need_decimals, need_positive

#: `Order.reason` of a STOP that the price has reached: what is left of it continues as a market order.
TRIGGERED = "triggered"
NOTHING_TO_REDUCE = "nothing to reduce"
NO_LIQUIDITY = "no more could be traded at once"
CANCELED_ON_REQUEST = "canceled on request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fees:
    """Shares of the notional (0.0005 is 0.05 %): `maker` for an order that rested, `taker` for the rest."""

    maker: Decimal
    taker: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """One account and instrument: the last price, the position, and the orders that rest, oldest first.

    `price` is None until one is known. `long_only` is spot: a sale never goes below flat.
    """

    symbol: str
    price: Decimal | None
    position: Position
    orders: tuple[Order, ...]
    long_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A Book and the leverage of its account and instrument: notional / margin."""

    book: Book
    leverage: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One trade of one order: base units, quote units. `realised` is the P&L that it booked, before `fee`."""

    client_order_id: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    realised: Decimal
    maker: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one act did: the Book after it, each changed order once as it stands now, the trades in order."""

    book: Book
    changed: tuple[Order, ...] = ()
    executions: tuple[Execution, ...] = ()

    @property
    def refusal(self) -> str:
        """Why the order was refused; empty if it was taken."""
        return next((order.reason for order in self.changed if order.status is OrderStatus.REJECTED), "")

    @property
    def cash(self) -> Decimal:
        """What the act added to the account's cash: realised P&L less fees, in quote units."""
        with localcontext(MONEY):
            return sum((done.realised - done.fee for done in self.executions), ZERO)


def submit(*, book: Book, order: Order, fees: Fees, liquidity: Decimal | None) -> Outcome:
    """An order arrives: it is refused (REJECTED, the book unchanged), trades at the book's price, or rests.

    `liquidity` is how much can trade in this act, in base units; None is without limit. What is left of a
    MARKET or IOC order is CANCELED. Raises ValueError for an order without its amounts, or a known id.

    >>> from trading.model import Role
    >>> flat = Position(symbol="BTC-USDT-PERP")
    >>> book = Book(symbol="BTC-USDT-PERP", price=Decimal(100), position=flat, orders=())
    >>> order = Order(client_order_id="a-e", intent_id="a", symbol="BTC-USDT-PERP", role=Role.ENTRY,
    ...     side=Side.BUY, type=OrderType.MARKET, quantity=Decimal(2))
    >>> fees = Fees(maker=Decimal("0.0002"), taker=Decimal("0.0005"))
    >>> done = submit(book=book, order=order, fees=fees, liquidity=Decimal("1.5"))
    >>> done.changed[0].status.value, done.book.position.quantity, done.cash
    ('CANCELED', Decimal('1.5'), Decimal('-0.07500'))
    """
    _need_amounts(order, fees, liquidity)
    if any(resting.client_order_id == order.client_order_id for resting in book.orders):
        raise ValueError(f"{order.client_order_id} rests already")
    with localcontext(MONEY):
        return _submit(book, order, fees, liquidity)


def cancel(*, book: Book, client_order_id: str) -> Outcome:
    """Ends a resting order; nothing changes if none has that id.

    >>> flat = Book(symbol="BTC-USDT-PERP", price=None, position=Position(symbol="BTC-USDT-PERP"), orders=())
    >>> cancel(book=flat, client_order_id="a-e") == Outcome(book=flat)
    True
    """
    for order in book.orders:
        if order.client_order_id == client_order_id:
            ended = replace(order, status=OrderStatus.CANCELED, reason=CANCELED_ON_REQUEST)
            return _put(Outcome(book=book), ended)
    return Outcome(book=book)


def move(*, book: Book, price: Decimal, fees: Fees, liquidity: Decimal | None) -> Outcome:
    """The price goes from the book's to `price` and meets the resting orders in the order of its path.

    A LIMIT fills at its limit, a STOP at its trigger, one that was triggered before at the path's start.
    At one price limits come before stops, and what opens before what reduces: an entry is met before the
    stop behind it. A reduce-only order met while there is nothing to reduce is EXPIRED. `liquidity` as in
    `submit`: it is shared by all the orders of this act.

    >>> flat = Book(symbol="BTC-USDT-PERP", price=None, position=Position(symbol="BTC-USDT-PERP"), orders=())
    >>> move(book=flat, price=Decimal(7), fees=Fees(maker=ZERO, taker=ZERO), liquidity=None).book.price
    Decimal('7')
    """
    need_positive(price=price)
    _need_liquidity(fees, liquidity)
    with localcontext(MONEY):
        return _move(book, price, fees, liquidity)


def meets(*, order: Order, start: Decimal, end: Decimal) -> bool:
    """Whether a price on its way from `start` to `end` comes to an open order, so that `move` may change it.

    >>> from trading.model import Role, Side
    >>> bid = Order(client_order_id="a", intent_id="a", symbol="BTC-USDT-PERP", role=Role.ENTRY,
    ...             side=Side.BUY, type=OrderType.LIMIT, quantity=Decimal(1), price=Decimal(90))
    >>> [meets(order=bid, start=Decimal(100), end=Decimal(end)) for end in (91, 90, 89)]
    [False, True, True]
    """
    return _touched_at(order, start, end) is not None


def equity(*, cash: Decimal, holdings: Iterable[Holding]) -> Decimal:
    """Cash and what closing everything at the last prices would realise, in quote units.

    >>> equity(cash=Decimal(100), holdings=[])
    Decimal('100')
    """
    with localcontext(MONEY):
        return sum((_unrealised(holding.book) for holding in holdings), cash)


def free_collateral(*, cash: Decimal, holdings: Iterable[Holding]) -> Decimal:
    """Equity less the margin of positions and of resting orders that may open one, in quote units.

    Rounded down to 18 decimals; negative when losses have eaten the margin.

    >>> free_collateral(cash=Decimal(100), holdings=[])
    Decimal('100')
    """
    held = tuple(holdings)
    with localcontext(MONEY):
        margin = sum((_margin(holding) for holding in held), ZERO)
        free = equity(cash=cash, holdings=held) - margin
        return free if _is_plain(free) else free.quantize(pnl.PRICE_STEP, rounding=ROUND_FLOOR)


def cost(*, holding: Holding, order: Order, fees: Fees) -> Decimal:
    """Free collateral that an order needs: margin for what it opens, and the taker fee, in quote units.

    Zero if it can only reduce. Raises ValueError for a book without a price.

    >>> from trading.model import Role
    >>> flat = Position(symbol="ETH-USDT-PERP")
    >>> book = Book(symbol="ETH-USDT-PERP", price=Decimal(100), position=flat, orders=())
    >>> order = Order(client_order_id="a-e", intent_id="a", symbol="ETH-USDT-PERP", role=Role.ENTRY,
    ...     side=Side.BUY, type=OrderType.MARKET, quantity=Decimal(2))
    >>> fees = Fees(maker=Decimal("0.0002"), taker=Decimal("0.0005"))
    >>> cost(holding=Holding(book=book, leverage=Decimal(4)), order=order, fees=fees)
    Decimal('50.1000')
    """
    last = _known(holding.book.price)
    need_positive(price=last, leverage=holding.leverage)
    if _only_reduces(holding.book, order):
        return ZERO
    with localcontext(MONEY):
        price = order.price or order.trigger_price or last
        if order.side is Side.SELL and order.type is OrderType.LIMIT:
            price = max(price, last)  # it trades there if it is marketable
        before = holding.book.position.quantity
        opened = max(ZERO, abs(before + order.side.sign * order.quantity) - abs(before))
        return opened * price / holding.leverage + order.quantity * price * fees.taker


def _submit(book: Book, order: Order, fees: Fees, liquidity: Decimal | None) -> Outcome:
    if book.price is None:
        return _refused(book, order, f"no price is known for {book.symbol}")
    taken = replace(order, status=OrderStatus.ACCEPTED, reason="")
    outcome = _put(Outcome(book=book), taken)
    if _touched_at(taken, book.price, book.price) is not None:
        if order.type is OrderType.STOP:
            return _refused(book, order, f"the stop would trigger at once, the price is {book.price}")
        if _tradable(book, taken) == 0:
            return _refused(book, order, NOTHING_TO_REDUCE)
        outcome = _trade(outcome, taken, price=book.price, maker=False, fees=fees, liquidity=liquidity)
    (left,) = outcome.changed
    if left.status.is_final or (
        order.type is not OrderType.MARKET and order.time_in_force is TimeInForce.GTC
    ):
        return outcome
    return _put(outcome, replace(left, status=OrderStatus.CANCELED, reason=NO_LIQUIDITY))


def _move(book: Book, price: Decimal, fees: Fees, liquidity: Decimal | None) -> Outcome:
    start = price if book.price is None else book.price
    met = [(order, at) for order in book.orders if (at := _touched_at(order, start, price)) is not None]
    met.sort(key=lambda pair: (abs(pair[1] - start), pair[0].type is OrderType.STOP, pair[0].reduce_only))
    outcome = Outcome(book=book)
    for order, at in met:
        if order.type is OrderType.STOP:
            fired = replace(order, reason=TRIGGERED)
            outcome = _trade(outcome, fired, price=at, maker=False, fees=fees, liquidity=liquidity)
        else:
            limit = _known(order.price)
            outcome = _trade(outcome, order, price=limit, maker=True, fees=fees, liquidity=liquidity)
    return replace(outcome, book=replace(outcome.book, price=price))


def _need_amounts(order: Order, fees: Fees, liquidity: Decimal | None) -> None:
    _need_liquidity(fees, liquidity)
    need_positive(quantity=order.quantity)
    if order.filled_quantity:
        raise ValueError("a new order has no fills")
    if order.type is OrderType.LIMIT:
        need_positive(price=order.price)
    if order.type is OrderType.STOP:
        need_positive(trigger_price=order.trigger_price)


def _need_liquidity(fees: Fees, liquidity: Decimal | None) -> None:
    need_decimals(maker=fees.maker, taker=fees.taker, liquidity=ZERO if liquidity is None else liquidity)
    if liquidity is not None and liquidity < 0:
        raise ValueError(f"liquidity must not be negative, it is {liquidity}")


def _refused(book: Book, order: Order, reason: str) -> Outcome:
    return Outcome(book=book, changed=(replace(order, status=OrderStatus.REJECTED, reason=reason),))


def _touched_at(order: Order, start: Decimal, end: Decimal) -> Decimal | None:
    """The price at which the path from `start` to `end` first meets the order; None if it does not."""
    if order.type is OrderType.MARKET or order.reason == TRIGGERED:
        return start
    level = _known(order.trigger_price if order.type is OrderType.STOP else order.price)
    # A buy limit and a sell stop wait for the price to come down, the other two for it to come up.
    waits_below = (order.type is OrderType.STOP) != (order.side is Side.BUY)
    for price, met_at in ((start, start), (end, level)):
        if price <= level if waits_below else price >= level:
            return met_at
    return None


def _tradable(book: Book, order: Order) -> Decimal:
    """What the order may trade as far as the position goes."""
    if not _only_reduces(book, order):
        return order.open_quantity
    reducible = -order.side.sign * book.position.quantity
    return max(ZERO, min(order.open_quantity, reducible))


def _only_reduces(book: Book, order: Order) -> bool:
    return order.reduce_only or (book.long_only and order.side is Side.SELL)


def _trade(
    outcome: Outcome, order: Order, *, price: Decimal, maker: bool, fees: Fees, liquidity: Decimal | None
) -> Outcome:
    """Executes what position and liquidity allow; ends the order if it is done or has nothing to reduce."""
    wanted = _tradable(outcome.book, order)
    if wanted == 0:
        status = OrderStatus.CANCELED if order.filled_quantity else OrderStatus.EXPIRED
        return _put(outcome, replace(order, status=status, reason=NOTHING_TO_REDUCE))
    used = sum((done.quantity for done in outcome.executions), ZERO)
    quantity = wanted if liquidity is None else min(wanted, liquidity - used)
    if quantity == 0:
        return outcome if order in outcome.book.orders else _put(outcome, order)
    position, realised = _add(outcome.book.position, order.side, quantity, price)
    done = Execution(
        client_order_id=order.client_order_id,
        side=order.side,
        quantity=quantity,
        price=price,
        fee=quantity * price * (fees.maker if maker else fees.taker),
        realised=realised,
        maker=maker,
    )
    outcome = replace(
        outcome,
        book=replace(outcome.book, position=position),
        executions=(*outcome.executions, done),
    )
    return _put(
        outcome, _filled(order, quantity, price, cut=wanted < order.open_quantity and quantity == wanted)
    )


def _filled(order: Order, quantity: Decimal, price: Decimal, *, cut: bool) -> Order:
    """The order after one execution; `cut` says that the position ended before the order did."""
    # Seen as a position of its own, the order gets its average from the one place that makes averages.
    seen = Position(
        symbol=order.symbol,
        quantity=order.side.sign * order.filled_quantity,
        average_price=order.average_price,
    )
    total, _ = _add(seen, order.side, quantity, price)
    status, reason = OrderStatus.PARTIALLY_FILLED, order.reason
    if abs(total.quantity) == order.quantity:
        status = OrderStatus.FILLED
    elif cut:
        status, reason = OrderStatus.CANCELED, NOTHING_TO_REDUCE
    return replace(
        order,
        filled_quantity=abs(total.quantity),
        average_price=total.average_price,
        status=status,
        reason=reason,
    )


def _add(position: Position, side: Side, quantity: Decimal, price: Decimal) -> tuple[Position, Decimal]:
    before = replace(pnl.FLAT, quantity=position.quantity, average_price=position.average_price)
    after, realised = pnl.add_fill(ledger=before, side=side, quantity=quantity, price=price, fee=ZERO)
    return replace(position, quantity=after.quantity, average_price=after.average_price), realised


def _put(outcome: Outcome, order: Order) -> Outcome:
    """The outcome with this version of the order: in the book while it is open, in `changed` once."""
    mine = order.client_order_id
    resting = tuple(
        order if other.client_order_id == mine else other
        for other in outcome.book.orders
        if not (order.status.is_final and other.client_order_id == mine)
    )
    if order.status.is_open and all(other.client_order_id != mine for other in resting):
        resting = (*resting, order)
    return replace(
        outcome,
        book=replace(outcome.book, orders=resting),
        changed=(*(other for other in outcome.changed if other.client_order_id != mine), order),
    )


def _unrealised(book: Book) -> Decimal:
    position = book.position
    if position.is_flat:
        return ZERO
    return pnl.unrealised(
        quantity=position.quantity, average_price=position.average_price, price=_known(book.price)
    )


def _margin(holding: Holding) -> Decimal:
    book = holding.book
    notional = ZERO if book.position.is_flat else abs(book.position.quantity) * _known(book.price)
    for order in book.orders:
        if not _only_reduces(book, order):
            notional += order.open_quantity * _known(order.price or order.trigger_price)
    return notional / holding.leverage


def _known(price: Decimal | None) -> Decimal:
    if price is None:
        raise ValueError("a price is missing")
    return price


def _is_plain(amount: Decimal) -> bool:
    exponent = amount.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -18
