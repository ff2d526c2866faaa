"""One lane of a rehearsal: its orders at the paper venue, its position, and what protects it.

What `desk.execute` and `desk.confirm` do with a journal and with doubts, without both: the same thinking,
the same order of acts. It must never keep a position without asking `trading.protect` what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from desk.draft import Draft, draft
from desk.paperbook import Account
from exchanges import Terms
from exchanges.paper import CAPABILITIES, PaperExchange
from trading import pnl, rounding
from trading.errors import Denied, InsufficientFunds, InvalidOrder, Rejected
from trading.model import (
    AccountRules,
    Alert,
    Direction,
    IntentStatus,
    Lane,
    Order,
    OrderStatus,
    OrderType,
    Position,
    Role,
    Trade,
    plain,
)
from trading.protect import Cancel, Close, behind, closing, protect, stop_order

_ROUNDS = 20

#: How an intent ends: its status, and why.
Ending = tuple[IntentStatus, str]


@dataclass(slots=True)
class _Entered:
    """The trade that a lane follows: its alert, its levels, and the names of its orders."""

    intent_id: str
    alert: Alert
    price: Decimal
    stop: Decimal
    stop_price: Decimal
    orders: list[str]
    moved: list[str] = field(default_factory=list)


class BareLane:
    """One lane without a journal. `planned` is told of every order that is made."""

    def __init__(
        self,
        lane: Lane,
        exchange: PaperExchange,
        account: Account,
        clock: Callable[[], datetime],
        planned: Callable[[str], None],
    ) -> None:
        self.lane = lane
        self.exchange = exchange
        self.ledger = pnl.FLAT
        #: When money was made, and how much after fees.
        self.realised: list[tuple[datetime, Decimal]] = []
        self.last_entry_at: datetime | None = None
        self._account = account
        self._clock = clock
        self._planned = planned
        self._orders: dict[str, Order] = {}
        #: What may rest, as the venue told it last.
        self._unsettled: dict[str, Order | None] = {}
        self._of_intent: dict[str, list[str]] = {}
        self._fills = 0
        self._entered: _Entered | None = None

    @property
    def is_open(self) -> bool:
        """Whether it holds a position or follows a trade."""
        return bool(self.ledger.quantity) or self._entered is not None

    @property
    def has_trade(self) -> bool:
        """Whether what is open is of its making."""
        return self._entered is not None

    def follows(self, intent_id: str) -> bool:
        """Whether its trade is this intent's."""
        return self._entered is not None and self._entered.intent_id == intent_id

    def levels(self) -> Iterator[Decimal]:
        """Where its orders rest."""
        for order in self._account.resting(self.lane.symbol).values():
            level = order.trigger_price or order.price
            if level is not None:
                yield level

    def enter(
        self, intent_id: str, alert: Alert, rules: AccountRules, *, then: Callable[[Draft], None]
    ) -> Ending:
        """Closes what is open and enters; `then` hears what was planned. Denied or Rejected: it did not."""
        if rules.leverage is None:
            raise Denied(f"set LEVERAGE_{alert.account}")
        self._flatten(intent_id)
        terms = self._prepare(rules.leverage)
        drafted = draft(
            intent_id=intent_id,
            alert=alert,
            rules=rules,
            instrument=terms.instrument,
            market=terms.price,
            free=terms.balance.free,
            capabilities=CAPABILITIES,
        )
        plan, stop = drafted.plan, alert.levels.stop
        if stop is None or plan.stop.trigger_price is None:
            raise Denied("an entry needs a stop")
        then(drafted)
        self._add(plan.entry, plan.stop, *plan.targets)
        self._entered = _Entered(
            intent_id=intent_id,
            alert=alert,
            price=drafted.price,
            stop=stop,
            stop_price=plan.stop.trigger_price,
            orders=self._of_intent[intent_id],
        )
        self._place(plan.entry, stop=plan.stop)
        if self._orders[plan.entry.client_order_id].status is not OrderStatus.REJECTED:
            self.last_entry_at = self._clock()
        self.guard()
        return self._concluded(intent_id, plan.entry.client_order_id)

    def exit(self, intent_id: str) -> Ending:
        """Closes the position and takes every order back."""
        self._flatten(intent_id)
        closed = any(self._orders[name].filled_quantity for name in self._of_intent.get(intent_id, ()))
        return IntentStatus.DONE, "" if closed else "it was flat already"

    def breakeven(self, intent_id: str, alert: Alert) -> Ending:
        """Moves the stop of the open trade. Denied where it would trigger at once."""
        position, entered = self.exchange.position(self.lane.symbol), self._entered
        if position.is_flat:
            return IntentStatus.DONE, "it is flat: there is no stop to move"
        if entered is None or entered.alert.side is position.closing_side or position.average_price is None:
            raise Denied("the open position is not one that this server entered: its stop is yours to move")
        level = self._breakeven_level(alert, position, position.average_price)
        old = plain(entered.stop_price)
        if behind(direction=position.direction, level=entered.stop_price, price=level):
            return IntentStatus.DONE, f"the stop stays at {old}: {plain(level)} would be further away"
        price = self.exchange.price(self.lane.symbol)
        if behind(direction=position.direction, level=level, price=price):
            raise Denied(
                f"the old stop {old} stays: the price {plain(price)} is through {plain(level)} already"
            )
        order = stop_order(position=position, intent_id=intent_id, trigger_price=level, attempt=1)
        self._add(order)
        entered.moved.append(order.client_order_id)
        self._place(order)
        placed = self._orders[order.client_order_id]
        if placed.status is OrderStatus.REJECTED:
            return IntentStatus.FAILED, f"the old stop stays: the new one is {placed.status}, {placed.reason}"
        entered.stop_price = level
        self.guard()
        return IntentStatus.DONE, ""

    def guard(self) -> None:
        """Acts until the position has its stop and targets and nothing rests without a reason."""
        symbol = self.lane.symbol
        self.sync()
        if not self.is_open and not self._unsettled:
            return
        for _ in range(_ROUNDS):
            self.sync()
            position = self.exchange.position(symbol)
            trade, unsettled = self._trade(), [self._orders[name] for name in self._unsettled]
            actions = protect(
                position=position,
                trade=trade,
                unsettled=unsettled,
                price=None if position.is_flat else self.exchange.price(symbol),
                instrument=self.exchange.instrument(symbol),
                keep=(),
                halted=False,
                leaving=False,
            )
            if not actions:
                if position.is_flat and trade and trade.entry.status.is_final and not unsettled:
                    self._entered = None
                return
            for action in actions:
                if isinstance(action, Cancel):
                    self.exchange.cancel(action.order)
                    continue
                self._add(action.order)
                self._place(action.order)
                placed = self._orders[action.order.client_order_id]
                if isinstance(action, Close) and placed.status is OrderStatus.REJECTED:
                    return

    def sync(self) -> None:
        """Learns what the venue has of its orders, and the fills that are new."""
        for name, seen in list(self._unsettled.items()):
            told = self._account.order(name)
            if told is None or told.status.is_final:
                del self._unsettled[name]
            else:
                self._unsettled[name] = told
            if told is not None and told is not seen:
                mine = self._orders[name]
                self._orders[name] = replace(
                    told, intent_id=mine.intent_id, rung=mine.rung, attempt=mine.attempt
                )
        fills = self._account.all_fills(self.lane.symbol)
        for fill in fills[self._fills :]:
            self.ledger, realised = pnl.apply(ledger=self.ledger, fill=fill)
            self.realised.append((fill.at, realised - fill.fee))
        self._fills = len(fills)

    def _concluded(self, intent_id: str, name: str) -> Ending:
        """What an entry came to, in the words of the desk."""
        order = self._orders[name]
        names = self._of_intent[intent_id]
        made = [self._orders[each] for each in names]
        refused = sum(each.role is Role.TARGET and each.status is OrderStatus.REJECTED for each in made)
        later = made[names.index(name) + 1 :]
        if order.status.is_final and not order.filled_quantity:
            return (
                IntentStatus.FAILED,
                f"nothing was entered: the entry is {order.status} {order.reason}".rstrip(),
            )
        if not self.ledger.quantity and any(o.role is Role.CLOSE and o.filled_quantity for o in later):
            return IntentStatus.FAILED, "the position was closed, since it could not be protected"
        if order.status.is_open:
            return IntentStatus.DONE, "the entry rests; what is missing yet follows its fills"
        return IntentStatus.DONE, f"the venue refused {refused} targets" if refused else ""

    def _prepare(self, leverage: Decimal) -> Terms:
        ours = [self._orders[name] for name in self._unsettled]
        try:
            return self.exchange.prepare(self.lane.symbol, ours=ours, leverage=leverage)
        except (InvalidOrder, InsufficientFunds):
            # Asked once more, as the desk does.
            return self.exchange.prepare(self.lane.symbol, ours=ours, leverage=leverage)

    def _flatten(self, intent_id: str) -> None:
        """No position and no order, the stop last."""
        symbol, closes = self.lane.symbol, 0
        for _ in range(_ROUNDS):
            look = self.exchange.look(symbol, ours=())
            if not look.position.is_flat:
                for report in look.resting:
                    if report.type is not OrderType.STOP:
                        self.exchange.cancel_report(report)
                closes += 1
                order = closing(position=look.position, intent_id=intent_id, attempt=closes)
                self._add(order)
                self._place(order)
            elif look.resting:
                self.exchange.cancel_all(symbol)
            else:
                break
        self.sync()
        self._entered = None

    def _breakeven_level(self, alert: Alert, position: Position, average_price: Decimal) -> Decimal:
        levels = alert.long if position.direction is Direction.LONG else alert.short
        level = levels.breakeven or pnl.breakeven_price(
            direction=position.direction, average_price=average_price, fee_rate=CAPABILITIES.taker_fee
        )
        tick_size = self.exchange.instrument(self.lane.symbol).tick_size
        return rounding.breakeven_to_tick(direction=position.direction, price=level, tick_size=tick_size)

    def _add(self, *orders: Order) -> None:
        """Orders that are planned; one that was planned before takes its final quantity."""
        for order in orders:
            if order.client_order_id not in self._orders:
                self._of_intent.setdefault(order.intent_id, []).append(order.client_order_id)
                self._planned(order.intent_id)
            self._orders[order.client_order_id] = order

    def _place(self, order: Order, *, stop: Order | None = None) -> None:
        sent = [each for each in (order, stop) if each is not None]
        try:
            self.exchange.place(order, signed_at=self._clock(), stop=stop)
        except Rejected as error:
            for each in sent:
                refused = replace(each, status=OrderStatus.REJECTED, reason=error.message)
                self._orders[each.client_order_id] = refused
            return
        self._unsettled |= {each.client_order_id: None for each in sent}
        self.sync()

    def _trade(self) -> Trade | None:
        entered = self._entered
        if entered is None:
            return None
        made = [self._orders[name] for name in (*entered.orders, *entered.moved)]
        entry = next(order for order in made if order.role is Role.ENTRY)
        return Trade(
            intent_id=entered.intent_id,
            side=entry.side,
            price=entered.price,
            stop=entered.stop,
            stop_price=entered.stop_price,
            entry=entry,
            target=entered.alert.levels.target,
            close_percent=entered.alert.target_close_percent,
            rungs=entered.alert.rungs,
            orders=tuple(made),
        )
