"""Lanes for tests: one long or short trade, its journal and its venue, and what may happen to them.

`Lane` plays the runner and the venue (on `trading.matching`), and checks at every step what must never
happen and, once nothing is left to do, what must be true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from trading import ladder, matching
from trading.matching import Book, Fees
from trading.model import (
    ZERO,
    Alert,
    AlertKind,
    Instrument,
    InstrumentKind,
    Levels,
    Order,
    OrderReport,
    OrderStatus,
    OrderType,
    Position,
    Role,
    Rung,
    Side,
    Trade,
)
from trading.protect import Action, Cancel, Close, covering, protect, stop_order
from trading.reconcile import reconcile

D = Decimal
S = OrderStatus
ID, OTHER = "aaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbb"
QUANTITY = D(2)
RUNGS = tuple(Rung(number=n, multiple=D(n)) for n in (1, 2, 3))
FREE = Fees(maker=ZERO, taker=ZERO)
PERP = Instrument(
    symbol="BTC-USDT-PERP",
    base="BTC",
    quote="USDT",
    kind=InstrumentKind.PERPETUAL,
    tick_size=D("0.5"),
    lot_size=D("0.1"),
    min_quantity=D("0.1"),
)


def level(side: Side, long: Decimal | int | str) -> Decimal:
    """A price as for a long; for a short, as far on the other side of 100."""
    return D(long) if side is Side.BUY else 200 - D(long)


def planned(side: Side = Side.BUY, kind: OrderType = OrderType.MARKET) -> list[Order]:
    """Entry of 2 at 100, stop at 90, targets of 0.5 at 110, 120, 130 and 140."""
    levels = Levels(stop=level(side, 90), target=level(side, 140))
    alert = Alert(
        kind=AlertKind.ENTRY,
        message="entry",
        ticker="BTCUSDTPERP",
        symbol=PERP.symbol,
        exchange="PAPER",
        subaccount="main",
        account="MAIN",
        fingerprint="0",
        side=side,
        order_type=kind,
        price=D(100),
        long=levels,
        short=levels,
        target_close_percent=D(25),
        rungs=RUNGS,
    )
    made = ladder.plan(intent_id=ID, alert=alert, instrument=PERP, quantity=QUANTITY, price=D(100))
    return [made.entry, made.stop, *made.targets]


def trade_of(
    orders: Sequence[Order], *, stop_price: Decimal | None = None, rungs: tuple[Rung, ...] | None = None
) -> Trade:
    entry = next(order for order in orders if order.role is Role.ENTRY)
    return Trade(
        intent_id=ID,
        side=entry.side,
        price=D(100),
        stop=level(entry.side, 90),
        stop_price=level(entry.side, 90) if stop_price is None else stop_price,
        entry=entry,
        target=level(entry.side, 140),
        close_percent=D(25),
        rungs=RUNGS if rungs is None else rungs,
        orders=tuple(order for order in orders if order.intent_id == ID),
    )


def at_venue(order: Order) -> bool:
    return order.status is S.SUBMITTED or order.status.is_open


FAULTS = ("ok", "ok", "ok", "refused", "late", "lost", "thin", "crash")


@dataclass
class Lane:
    """A journal and a venue that both keep what happened, and the invariants that hold at every step.

    `faults` are what becomes of the next requests; `surprises` are moves of the price at bad moments.
    """

    side: Side
    kind: OrderType
    protection: str
    faults: list[str]
    surprises: list[tuple[int, str | None]]
    book: Book = field(init=False)
    halted: bool = False
    added: bool = False
    blind: bool = False
    keep: set[str] = field(default_factory=set)
    journal: dict[str, Order] = field(default_factory=dict)
    venue: dict[str, Order] = field(default_factory=dict)
    air: dict[str, Order] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        # Taken from the end; what was drawn stays as it is, to be told.
        self.faults, self.surprises = self.faults[::-1], self.surprises[::-1]
        start = level(self.side, 100 if self.kind is OrderType.MARKET else 102)
        flat = Position(symbol=PERP.symbol)
        self.book = Book(symbol=PERP.symbol, price=start, position=flat, orders=())
        self.stop_price = level(self.side, 90)
        self.journal = {order.client_order_id: order for order in planned(self.side, self.kind)}
        entry, stop = list(self.journal.values())[:2]
        self.request(entry, *([stop] if self.protection == "attached" else []))

    def took(self, outcome: matching.Outcome) -> None:
        self.book = outcome.book
        self.venue |= {order.client_order_id: order for order in outcome.changed}

    def move(self, long: int, liquidity: str | None) -> None:
        much = None if liquidity is None else D(liquidity)
        self.took(matching.move(book=self.book, price=level(self.side, long), fees=FREE, liquidity=much))

    def surprise(self) -> None:
        if self.surprises:
            self.move(*self.surprises.pop())

    def hand_trade(self, quantity: str) -> None:
        self.added = self.added or D(quantity) > 0
        moved = self.book.position.quantity + self.side.sign * D(quantity)
        position = replace(self.book.position, quantity=moved, average_price=D(100) if moved else None)
        self.book = replace(self.book, position=position)

    def hand_cancel(self, index: int) -> None:
        if self.book.orders:
            victim = self.book.orders[index % len(self.book.orders)]
            self.took(matching.cancel(book=self.book, client_order_id=victim.client_order_id))

    def move_stop(self, long: int) -> None:
        """As a breakeven does: the new stop is proved, then the trade follows it."""
        trigger, position = level(self.side, long), self.book.position
        if self.side.sign * position.quantity > 0 and (self.book.price or ZERO) != trigger:
            attempt = 1 + sum(order.intent_id == OTHER for order in self.journal.values())
            stop = stop_order(position=position, intent_id=OTHER, trigger_price=trigger, attempt=attempt)
            self.journal[stop.client_order_id] = stop
            self.request(stop)
            if self.journal[stop.client_order_id].status.is_open:
                self.stop_price = trigger

    def request(self, *orders: Order) -> bool:
        """One request, which may be refused or vanish; False if the process does not go on."""
        fault = self.faults.pop() if self.faults else "ok"
        if fault == "crash":
            return False
        status = {"refused": S.REJECTED}.get(fault, S.SUBMITTED)
        for order in orders:
            assert order.client_order_id not in self.sent, "an id leaves once"
            self.sent.add(order.client_order_id)
            self.journal[order.client_order_id] = replace(order, status=status)
            if fault == "late":
                self.air[order.client_order_id] = order
        if fault in ("ok", "thin"):
            # The stop that goes with an entry is in force before it.
            for order in reversed(orders):
                self.arrive(order, "0.3" if fault == "thin" else None)
            self.read(order.client_order_id for order in orders)
        return True

    def arrive(self, order: Order, liquidity: str | None) -> None:
        much = None if liquidity is None else D(liquidity)
        self.took(matching.submit(book=self.book, order=order, fees=FREE, liquidity=much))

    def read(self, names: Any) -> None:
        told = [_report(self.venue[name]) for name in names if name in self.venue]
        for order in reconcile(orders=self.journal.values(), reports=told):
            self.journal[order.client_order_id] = order

    def look(self) -> tuple[Position, list[Order]]:
        """What the next actions are asked for: orders first, the position last."""
        for name in [*self.air]:
            self.arrive(self.air.pop(name), None)
        unsettled = [name for name, order in self.journal.items() if at_venue(order)]
        self.read(unsettled)
        for name in unsettled:
            self.looks[name] = self.looks.get(name, 0) + 1
            if name not in self.venue and self.looks[name] > 2:
                self.journal[name] = replace(self.journal[name], status=S.EXPIRED)
        self.surprise()
        return self.book.position, [order for order in self.journal.values() if at_venue(order)]

    def round(self) -> bool:
        """Asks once and acts; False if nothing was to do."""
        position, unsettled = self.look()
        trade = trade_of([*self.journal.values()], stop_price=self.stop_price)
        actions = protect(
            position=position,
            trade=trade,
            unsettled=unsettled,
            price=None if self.blind else self.book.price,
            instrument=PERP,
            keep=self.keep,
            halted=self.halted,
            leaving=False,
        )
        self.check_actions(actions, position, trade, unsettled)
        for action in actions:
            self.surprise()
            if not self.act(action):
                break
        return bool(actions)

    def check_actions(
        self, actions: Sequence[Action], position: Position, trade: Trade, unsettled: Sequence[Order]
    ) -> None:
        mine = self.is_mine(position)
        cancelled = [action.order for action in actions if isinstance(action, Cancel)]
        assert all(order in unsettled and order.status.is_open for order in cancelled)
        assert not {order.intent_id for order in cancelled} & self.keep
        assert mine or len(cancelled) == len(actions), "what is not ours gets no order"
        if not mine:
            return
        left = [order for order in unsettled if order not in cancelled]
        if any(order.role is Role.STOP for order in cancelled):
            assert covering(position, trade, left), "a proved stop covers it before another one goes"
        wait = any(
            order.role is Role.CLOSE or (order.role is Role.STOP and order.trigger_price == self.stop_price)
            for order in unsettled
        )
        helps = any(action.order.role in (Role.STOP, Role.CLOSE) for action in actions)
        assert wait or helps, "an open position is not left alone"
        for action in actions:
            if isinstance(action, Close):
                assert covering(position, trade, unsettled) is None
                assert action.order.quantity == abs(position.quantity)

    def act(self, action: Action) -> bool:
        order = action.order
        if isinstance(action, Cancel):
            if (self.faults.pop() if self.faults else "ok") not in ("ok", "thin"):
                return False
            was = self.stops()
            self.took(matching.cancel(book=self.book, client_order_id=order.client_order_id))
            gone = was and not self.stops()
            assert self.added or not (gone and self.is_mine(self.book.position)), "the last stop went first"
            return True
        known = self.journal.get(order.client_order_id)
        assert known is None or known.status is S.INITIALIZED, "ids are not used again"
        self.journal[order.client_order_id] = replace(order, status=S.INITIALIZED)
        return self.request(order)

    def is_mine(self, position: Position) -> bool:
        return self.side.sign * position.quantity > 0

    def stops(self) -> list[Order]:
        return [order for order in self.book.orders if order.role is Role.STOP]

    def settle(self) -> None:
        for _ in range(60):
            doubt = bool(self.surprises) or any(o.status is S.SUBMITTED for o in self.journal.values())
            if not self.round() and not doubt:
                return
        raise AssertionError("it does not come to rest")

    def check_rest(self) -> None:
        """Nothing is left to do: what must be true on the venue now."""
        position, resting = self.book.position, self.book.orders
        entry = next(iter(self.journal.values()))
        free = [order for order in resting if order.intent_id not in self.keep]
        if not self.is_mine(position):
            waits = entry.status.is_open and position.is_flat and not self.halted
            allowed = (Role.ENTRY, Role.STOP) if waits else ()
            assert all(order.role in allowed for order in free)
            return
        stops = [order for order in free if order.role is Role.STOP]
        if entry.status.is_open:
            # A larger one elsewhere waits with the entry for what that may fill.
            stops = [order for order in stops if order.trigger_price == self.stop_price]
        assert len(stops) == 1 or (self.keep and not stops)
        right = [order for order in self.stops() if order.trigger_price == self.stop_price]
        assert any(order.open_quantity >= abs(position.quantity) for order in right)
        assert not (self.halted and entry.status.is_open)
        self.check_targets(entry, [order for order in resting if order.role is Role.TARGET])

    def check_targets(self, entry: Order, resting: list[Order]) -> None:
        position = abs(self.book.position.quantity)
        shares, _ = ladder.targets(
            intent_id=ID,
            symbol=PERP.symbol,
            side=self.side,
            quantity=entry.filled_quantity or position,
            price=D(100),
            stop=level(self.side, 90),
            target=level(self.side, 140),
            close_percent=D(25),
            rungs=RUNGS,
            instrument=PERP,
        )
        assert all(order.side is self.side.opposite and order.reduce_only for order in resting)
        assert sum(order.open_quantity for order in resting) <= position
        assert {order.rung for order in resting} <= {share.rung for share in shares}
        wanted = ZERO
        for share in shares:
            made = [o for o in self.journal.values() if o.role is Role.TARGET and o.rung == share.rung]
            left = max(ZERO, share.quantity - sum(order.filled_quantity for order in made))
            here = [order for order in resting if order.rung == share.rung]
            assert len(here) <= 1
            assert sum(order.open_quantity for order in here) <= left
            wanted += left
        if all(order.status is not S.REJECTED for order in self.journal.values()):
            lots = position // PERP.lot_size * PERP.lot_size
            assert sum(order.open_quantity for order in resting) == min(wanted, lots)


def _report(order: Order) -> OrderReport:
    return OrderReport(
        symbol=order.symbol,
        client_order_id=order.client_order_id,
        venue_order_id="1",
        side=order.side,
        type=order.type,
        quantity=order.quantity,
        status=order.status,
        filled_quantity=order.filled_quantity,
        average_price=order.average_price,
    )


MOVES = st.tuples(
    st.sampled_from([88, 90, 92, 97, 99, 100, 103, 108, 110, 115, 120, 131, 140]),
    st.sampled_from([None, "0.1", "0.3", "0.5", "1"]),
)
EVENTS = st.lists(
    st.one_of(
        st.just(("round",)),
        MOVES.map(lambda move: ("move", *move)),
        st.tuples(st.just("hand_cancel"), st.integers(0, 6)),
        st.tuples(st.just("hand_trade"), st.sampled_from(["-3", "-1", "-0.55", "0.5"])),
        st.tuples(st.just("move_stop"), st.sampled_from([92, 97, 101])),
        st.just(("halted",)),
        st.tuples(st.sampled_from(["blind", "at_work"])),
    ),
    max_size=12,
)
LANES = st.builds(
    Lane,
    side=st.sampled_from(list(Side)),
    kind=st.sampled_from([OrderType.MARKET, OrderType.LIMIT]),
    protection=st.sampled_from(["attached", "after"]),
    faults=st.lists(st.sampled_from(FAULTS), max_size=10),
    surprises=st.lists(MOVES, max_size=4),
)
