"""Carries an approved intent out: entry and exit.

Each of them looks at what is there and does what is missing, so that it can be called again after any
crash and goes on where the last one ended. It must never send an entry while something of the lane is in
doubt or open, and never take a stop away before its successor is proved.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from desk import coins, fence, heels
from desk.confirm import alarm, catch_up, guard, is_protected, patience, swap
from desk.decide import recheck, record_refusal
from desk.draft import draft
from desk.question import in_money
from desk.stages import mark
from desk.turn import Turn, TurnLost, patience_of, turn
from desk.view import DRIFT_LIMIT, SOON, WATCH, View
from desk.work import Later, Work
from exchanges import Look, Terms
from store import Transaction, journal, orders
from store.journal import Intent
from trading import ladder, parts
from trading.errors import Denied, InsufficientFunds, InvalidOrder
from trading.lifecycle import IntentEvent
from trading.model import (
    AlertKind,
    IntentStatus,
    Order,
    OrderReport,
    OrderStatus,
    OrderType,
    Plan,
    Protection,
    Role,
)
from trading.protect import Send, Swap, closing

log = logging.getLogger(__name__)

#: Looks at the lane within one run; what takes longer is taken up by the next run.
_ROUNDS = 20
#: Refused closes after which a person must act.
CLOSE_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Ended:
    """The intent ends here, with this event and this reason."""

    event: IntentEvent
    reason: str = ""


def entry(work: Work, intent: Intent) -> Later | Ended:
    """Closes what is open, enters, and stays until stop and targets are proved. Denied before it sends."""
    with work.store.read() as tx:
        made = orders.of_intent(tx, intent.id)
    order = next((o for o in made if o.role is Role.ENTRY), None)
    early: Later | Ended | None = None
    if order is None or order.status is OrderStatus.INITIALIZED:
        early = _enter(work, intent, made if order is not None else [])
    elif order.status is OrderStatus.SUBMITTED and order.client_order_id in catch_up(work).absent:
        early = _again(work, intent)
    return early or _finish_entry(work, intent)


def exit_(work: Work, intent: Intent) -> Later | Ended:
    """Closes the position and takes every order of the instrument back."""
    early = flatten(work, intent, end_trade=True)
    if early is not None:
        return early
    with work.store.read() as tx:
        closed = any(o.filled_quantity for o in orders.of_intent(tx, intent.id))
    return Ended(IntentEvent.FINISH, "" if closed else "it was flat already")


def flatten(work: Work, intent: Intent, *, end_trade: bool, seen: Look | None = None) -> Later | Ended | None:
    """Brings the lane to no position and no order, the stop last; None when it is there.

    Orders that are not ours go too, but for those of a person at a venue of coins, which an exit alone takes.
    What is in doubt is waited for. `seen` as in `catch_up`.
    """
    in_coins, has_closed = work.capabilities.coins, False
    for _ in range(_ROUNDS):
        view = catch_up(work, seen, news=has_closed)
        seen = None
        doubt = view.doubt(*Role) if in_coins else view.doubt(Role.ENTRY, Role.CLOSE)
        if doubt is not None:
            return Later(work.ours(doubt))
        unmatched = _unmatched(work, view)
        if unmatched is not None:
            return unmatched
        if in_coins and view.drifting:
            return Later(work.clock() + coins.pause(work, view.state))
        if not view.position.is_flat:
            if not in_coins:
                _cancel(work, intent, [told for told in view.resting if told.type is not OrderType.STOP])
            refused = _close(work, intent, view)
            if refused is not None:
                return refused
            has_closed = True
        elif in_coins and intent.kind is AlertKind.ENTRY and _of_ours(view):
            _cancel(work, intent, _of_ours(view))
        elif view.resting and not (in_coins and intent.kind is AlertKind.ENTRY):
            _cancel(work, intent, view.resting, all_of_it=True)
        else:
            return _flat(work, view, intent, end_trade=end_trade)
    return Later(work.clock() + WATCH)


def _unmatched(work: Work, view: View) -> Later | None:
    """A close that was taken and, as far as is told, has not traded yet is waited for: what it closes is not
    closed twice."""
    closes = [o for o in view.state.unsettled if o.role is Role.CLOSE and o.status.is_open and o.signed_at]
    if not closes:
        return None
    is_new = work.clock() - max(work.ours(o.signed_at) for o in closes if o.signed_at) < DRIFT_LIMIT
    return Later(work.clock() + (SOON if is_new else WATCH))


def _of_ours(view: View) -> tuple[OrderReport, ...]:
    """What rests and is ours, the target before the stop that is paired with it."""
    names = {order.client_order_id for order in view.state.unsettled}
    mine = [report for report in view.resting if report.client_order_id in names]
    return tuple(sorted(mine, key=lambda report: report.type is OrderType.STOP))


def _flat(work: Work, view: View, intent: Intent, *, end_trade: bool) -> Later | None:
    """Nothing is open and nothing rests: done, unless a request may still arrive, or an entry fill."""
    doubt = view.doubt(*Role)
    if doubt is not None:
        return Later(work.ours(doubt))
    waiting = [o for o in view.state.unsettled if o.role is Role.ENTRY and o.status.is_open]
    if waiting:
        # No list shows it, and it may fill yet: it is taken back by its id, and its end is waited for.
        for order in waiting:
            work.breathe()
            work.exchange.cancel(order)
            mark("cancelled")
        return Later(work.clock() + SOON)
    if end_trade and view.state.trade is not None:
        with work.store.write() as tx:
            ours = any(o.role is Role.CLOSE and o.filled_quantity for o in orders.of_intent(tx, intent.id))
            by = f"closed by the {intent.alert.message} {intent.id}"
            reason = by if ours else f"it was flat when the {intent.alert.message} {intent.id} came"
            orders.end_trade(tx, work.claim, reason=reason, now=work.clock())
            coins.leave_dust(work, tx, view.state)
    return None


def _cancel(work: Work, intent: Intent, resting: Sequence[OrderReport], *, all_of_it: bool = False) -> None:
    work.breathe()
    if all_of_it:
        work.exchange.cancel_all(work.lane.symbol)
        mark("cancelled")
    else:
        for report in resting:
            work.breathe()
            work.exchange.cancel_report(report)
            mark("cancelled")
    if resting:
        names = ", ".join(r.client_order_id or f"{r.venue_order_id} (not ours)" for r in resting)
        with work.store.write() as tx:
            journal.tell(tx, intent.id, "cancelled", names, work.clock())


def _close(work: Work, intent: Intent, view: View) -> Later | Ended | None:
    with work.store.read() as tx:
        closes = [o for o in orders.of_intent(tx, intent.id) if o.role is Role.CLOSE]
    # What one of them filled may not stand in our fills yet: it is not closed twice.
    if view.drifting and any(o.filled_quantity for o in closes):
        return Later(work.clock() + SOON)
    refused = sum(o.status is OrderStatus.REJECTED for o in closes)
    if refused >= CLOSE_ATTEMPTS and intent.kind is AlertKind.ENTRY:
        return Ended(IntentEvent.FAIL, f"the venue does not close the position: {closes[-1].reason}")
    close = closing(position=view.position, intent_id=intent.id, attempt=len(closes) + 1)
    if work.capabilities.coins:
        # What rests locks what is to be sold: it goes right before, once nothing can hold the close up.
        change = Swap(old=view.state.unsettled, new=(Send(order=close),))
        sold = swap(work, change)
        if sold is None:
            return None
        (order,) = sold
    else:
        order = fence.send(
            work, close, first=lambda tx: orders.add(tx, work.claim, [close], now=work.clock())
        )
    if order.status is not OrderStatus.REJECTED:
        return None
    alarm(work, f"the venue refuses to close the position: {order.reason}", alert_id=intent.id)
    return Later(work.clock() + patience(refused + 1))


def _enter(work: Work, intent: Intent, made: list[Order]) -> Later | Ended | None:
    """Up to the request that enters; `made` is the plan that an earlier run wrote down, if it came so far."""
    is_clear = seems_flat(work)
    if made or not is_clear:
        unwanted = _unwanted(work, intent)
        if unwanted is not None:
            if made:
                with work.store.write() as tx:
                    orders.end_trade(tx, work.claim, reason=unwanted.reason, now=work.clock())
            return unwanted
    if not is_clear:
        early = flatten(work, intent, end_trade=not made)
        if early is not None:
            return early
    if made:
        early = flatten(work, intent, end_trade=False)
        return early or _send_entry(work, _planned(work, intent))
    with turn(work) as held:
        if held is None:
            return Later(work.clock() + patience_of(work))
        # Others of the account may have entered since.
        unwanted = _unwanted(work, intent, told=True)
        if unwanted is not None:
            return unwanted
        try:
            return _size_and_send(work, intent, held, is_clear=is_clear)
        except TurnLost:
            log.warning("%s: the turn was over before the entry could leave: it is sized anew", work.lane)
            return Later(work.clock() + patience_of(work))


def _size_and_send(work: Work, intent: Intent, held: Turn, *, is_clear: bool) -> Later | Ended | None:
    """With the account's turn: reads what the entry depends on, sizes it, sends it. `is_clear` says that
    nothing of the lane was open before, as far as we know.
    """
    if work.rules is None or work.rules.leverage is None:
        raise Denied(f"set LEVERAGE_{intent.alert.account}")
    leverage = work.rules.leverage
    terms: Terms | None = None
    try:
        terms = _prepare(work, leverage, is_clear=is_clear)
    except (InvalidOrder, InsufficientFunds) as error:
        # What somebody opened by hand may stand in the leverage's way: it is closed first.
        log.warning("%s: %s", work.lane, error)
    # At a venue of coins the look shows a person's too: there the journal says whether anything was ours.
    was_clear = work.capabilities.coins and seems_flat(work)
    is_empty = terms is not None and not terms.look.resting and terms.look.position.is_flat
    # Where journal and venue agree that there is nothing, nothing has to be written down first.
    if not (is_clear and is_empty):
        early = flatten(work, intent, end_trade=True, seen=terms.look if terms else None)
        if early is not None:
            return early
    if terms is None or not (was_clear or is_empty):
        terms = _prepare(work, leverage)
    plan, write_down = _plan(work, intent, terms, held)
    mark("planned")
    return _send_entry(work, plan, write_down)


def _prepare(work: Work, leverage: Decimal, *, is_clear: bool = False) -> Terms:
    ours: Sequence[Order] = ()
    if not is_clear:
        with work.store.read() as tx:
            ours = orders.lane_state(tx, work.lane).unsettled
    return work.exchange.prepare(work.lane.symbol, ours=ours, leverage=leverage)


def seems_flat(work: Work) -> bool:
    """Whether, as far as we know, nothing of the lane is open or rests."""
    with work.store.read() as tx:
        state = orders.lane_state(tx, work.lane)
    is_agreed = state.drift_since is None
    return is_agreed and state.trade is None and not state.unsettled and not state.ledger.quantity


def _again(work: Work, intent: Intent) -> Later | Ended | None:
    """The entry is proved absent: sends it once more, or drops it if its time is over."""
    plan = _planned(work, intent)
    unwanted = _unwanted(work, intent) or _overtaken(work, intent)
    if unwanted is not None:
        with work.store.write() as tx:
            for order in (plan.entry, plan.stop):
                lost = replace(order, status=OrderStatus.EXPIRED, reason="it never reached the venue")
                if order.status is OrderStatus.SUBMITTED:
                    orders.settle(tx, work.claim, lost, now=work.clock())
            orders.end_trade(tx, work.claim, reason=unwanted.reason, now=work.clock())
        return unwanted
    early = flatten(work, intent, end_trade=False)
    return early or _send_entry(work, _planned(work, intent))


def _finish_entry(work: Work, intent: Intent) -> Later | Ended:
    """What is proved by now decides: done, failed, or to be looked at again."""
    guarded = guard(work)
    if isinstance(guarded, Later):
        return guarded
    with work.store.read() as tx:
        made = orders.of_intent(tx, intent.id)
    order = next(o for o in made if o.role is Role.ENTRY)
    if order.status is OrderStatus.SUBMITTED:
        return Later(work.clock())
    if order.status.is_final and not order.filled_quantity:
        return Ended(
            IntentEvent.FAIL, f"nothing was entered: the entry is {order.status} {order.reason}".rstrip()
        )
    if guarded.position.is_flat and _closed_again(made, order):
        return Ended(IntentEvent.FAIL, "the position was closed, since it could not be protected")
    if not is_protected(work, guarded):
        return Later(work.clock() + WATCH)
    if order.status.is_open and order.type is OrderType.MARKET:
        # Taken and not matched yet: some venues answer before they trade.
        return Later(work.clock() + SOON)
    if order.status.is_open:
        return Ended(IntentEvent.FINISH, "the entry rests; what is missing yet follows its fills")
    refused = sum(o.role is Role.TARGET and o.status is OrderStatus.REJECTED for o in made)
    return Ended(IntentEvent.FINISH, f"the venue refused {refused} targets" if refused else "")


def _overtaken(work: Work, intent: Intent) -> Ended | None:
    """A lost entry is not sent again when somebody has asked for something else since."""
    with work.store.read() as tx:
        later = [i for i in journal.undone(tx, work.lane) if i.seq > intent.seq]
    for other in later:
        if other.kind in (AlertKind.ENTRY, AlertKind.EXIT) and other.status is IntentStatus.RECEIVED:
            return Ended(IntentEvent.EXPIRE, f"overtaken by the {other.alert.message} {other.id}")
    return None


def _closed_again(made: list[Order], entry: Order) -> bool:
    """True if a close followed the entry; one before it made room for it."""
    later = made[made.index(entry) + 1 :]
    return any(o.role is Role.CLOSE and o.filled_quantity for o in later)


def _unwanted(work: Work, intent: Intent, *, told: bool = False) -> Ended | None:
    """Policy once more: why the entry must not leave any more, if so; `told`: how it stands to its limits."""
    decision = recheck(work, intent)
    if decision.status is IntentStatus.APPROVED:
        if told and decision.standing:
            text = f"kept: {decision.standing}"
            with work.store.write() as tx:
                if not journal.was_told(tx, intent.id, "limits", text):
                    journal.tell(tx, intent.id, "limits", text, work.clock())
        return None
    record_refusal(work, intent, decision)
    event = IntentEvent.DENY if decision.status is IntentStatus.DENIED else IntentEvent.EXPIRE
    return Ended(event, decision.reason)


def _plan(work: Work, intent: Intent, terms: Terms, held: Turn) -> tuple[Plan, Callable[[Transaction], None]]:
    """Sizes the entry from the balance of this moment; its orders, and what writes them down: TurnLost once
    that moment may be past."""
    instrument = terms.instrument
    drafted = draft(
        intent_id=intent.id,
        alert=intent.alert,
        rules=work.rules,
        instrument=instrument,
        market=terms.price,
        free=terms.balance.free,
        capabilities=work.capabilities,
        max_leverage=terms.max_leverage,
    )
    sized, plan = drafted.sizing, drafted.plan

    def write_down(tx: Transaction) -> None:
        held.keep(tx)
        now = work.clock()
        orders.follow(
            tx,
            work.claim,
            intent,
            sizing=sized,
            planned=drafted.orders,
            reference_price=drafted.price,
            stop_price=_trigger(plan.stop),
            now=now,
        )
        journal.tell(tx, intent.id, "sized", in_money(sized, instrument), now)
        for note in drafted.notes:
            journal.tell(tx, intent.id, "note", note, now)

    return plan, write_down


def _planned(work: Work, intent: Intent) -> Plan:
    """The plan as it was written down before the process ended, and as its orders stand now."""
    with work.store.read() as tx:
        last = {(order.role, order.rung): order for order in orders.of_intent(tx, intent.id)}
    # Where stops lie in parts, the one that stands for all of them.
    stop = last.get((Role.STOP, parts.ALONE)) or last[Role.STOP, 0]
    return Plan(entry=last[Role.ENTRY, 0], stop=stop)


def _send_entry(
    work: Work, plan: Plan, first: Callable[[Transaction], None] | None = None
) -> Later | Ended | None:
    """Sends entry and stop; a HALT that came since ends it. `first` writes a plan down that is not yet."""
    try:
        return _send_protected(work, plan, first)
    except Denied as denied:
        with work.store.write() as tx:
            now = work.clock()
            known = {order.client_order_id for order in orders.of_intent(tx, plan.entry.intent_id)}
            if first is not None and plan.entry.client_order_id not in known:
                first(tx)
            for order in (plan.entry, plan.stop):
                if order.status is OrderStatus.SUBMITTED:
                    lost = replace(order, status=OrderStatus.EXPIRED, reason="it never reached the venue")
                    orders.settle(tx, work.claim, lost, now=now)
            orders.end_trade(tx, work.claim, reason=denied.reason, now=now)
        raise


def _send_protected(
    work: Work, plan: Plan, first: Callable[[Transaction], None] | None
) -> Later | Ended | None:
    """Entry and stop in as few acts as the venue allows; where the stop goes first, no entry without it."""
    protection = work.capabilities.protection
    if protection is Protection.ATTACHED:
        fence.send(work, plan.entry, stop=plan.stop, first=first)
        return None
    if protection is Protection.BEFORE:
        stop = plan.stop
        if stop.status in (OrderStatus.EXPIRED, OrderStatus.CANCELED):
            stop = _next_stop(work, stop)
        if stop.status is OrderStatus.INITIALIZED:
            stop, first = fence.send(work, stop, first=first), None
        if stop.status is OrderStatus.SUBMITTED:
            return when_proved(work, stop)
        if not stop.status.is_open:
            reason = f"not entered: the stop is {stop.status}, {stop.reason}"
            with work.store.write() as tx:
                orders.end_trade(tx, work.claim, reason=reason, now=work.clock())
            return Ended(IntentEvent.FAIL, reason)
    if work.capabilities.coins and plan.entry.type is OrderType.MARKET:
        heels.buy(work, plan.entry, plan.stop, first=first)
        return None
    sent = fence.send(work, plan.entry, first=first)
    if protection is Protection.AFTER and not work.capabilities.coins:
        heels.follow(work, sent, plan.stop)
    return None


def when_proved(work: Work, order: Order) -> Later:
    """When the venue's silence about an order becomes proof."""
    return Later(work.ours(order.retry_at) if order.retry_at else work.clock() + WATCH)


def _next_stop(work: Work, lost: Order) -> Order:
    """The same stop under a new id: the one before was lost on its way, or swept after a crash."""
    attempt = lost.attempt + 1
    stop = replace(
        lost,
        client_order_id=ladder.client_order_id(intent_id=lost.intent_id, leg="sl", attempt=attempt),
        attempt=attempt,
        status=OrderStatus.INITIALIZED,
        signed_at=None,
        retry_at=None,
        reason="",
    )
    with work.store.write() as tx:
        orders.add(tx, work.claim, [stop], now=work.clock())
    return stop


def _trigger(stop: Order) -> Decimal:
    if stop.trigger_price is None:
        raise ValueError(f"the stop {stop.client_order_id} has no trigger")
    return stop.trigger_price
