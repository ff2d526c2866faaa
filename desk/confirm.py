"""Learns from the venue what became of our orders, and keeps every position under its stop.

`catch_up` asks and writes down; `guard` acts on what `trading.protect` finds missing. It must never take
one unanswered question for proof, and never leave an open position without asking what covers it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from desk import books, coins, fence, heels, strangers
from desk.stages import mark
from desk.venues import in_time
from desk.view import DRIFT_LIMIT, NAKED_LIMIT, WATCH, View, tell_fill
from desk.work import Later, Work
from exchanges import Look
from store import Transaction, journal, orders, outbox, sentries, switches
from store.orders import LaneState
from trading import parts
from trading.errors import OrderNotFound, VenueError
from trading.model import Instrument, Order, OrderReport, OrderStatus, Role
from trading.protect import (
    ATTEMPTS,
    Cancel,
    Close,
    Send,
    Swap,
    closing,
    covering,
    in_the_way,
    protect,
    protected,
    refused,
    since_entry,
)
from trading.reconcile import reconcile

log = logging.getLogger(__name__)

_ROUNDS = 12
#: Seconds that a missing stop waits for an answer that it can do without.
STOP_WAITS = 1.5


def catch_up(work: Work, seen: Look | None = None, *, stop_first: bool = False, news: bool = False) -> View:
    """Asks the venue about the lane, writes down what is new, and returns both sides.

    `seen` is a look at it that was taken just now, with nothing of the lane's in doubt. `stop_first` asks
    for no fills while the position may lack its stop: the caller is about to send it. `news` says that one of
    our orders has just been answered with a fill.
    """
    with work.store.read() as tx:
        state = orders.lane_state(tx, work.lane)
    symbol = work.lane.symbol
    planned = _planned_stops(state)
    look = seen or work.exchange.look(symbol, ours=[*state.unsettled, *planned])
    position, resting = look.position, look.resting
    listed = {report.client_order_id for report in resting}
    unlisted = [order for order in state.unsettled if order.client_order_id not in listed]
    may_miss = stop_first and not work.capabilities.coins
    hurries = bool(may_miss and unlisted) and _may_be_bare(work, state, look)
    asked, absent, missed = _ask(work, unlisted, may_miss=may_miss, hurries=hurries)
    doubted = _doubted(work, unlisted, absent)
    absent -= doubted
    if unlisted:
        # What the position shows must be no older than what the orders show.
        position = work.exchange.position(symbol)
    unwritten = list(_unwritten(planned, resting))
    changed = reconcile(orders=[*state.unsettled, *unwritten], reports=[*resting, *asked])
    gone = _gone(state.unsettled, absent)
    in_coins = work.capabilities.coins
    is_bare = stop_first and not in_coins and books.is_bare(work, state, changed, position)
    told = None if in_coins or is_bare else books.new_fills(work, state, changed, position)
    fills, news = told or [], news or any(order.filled_quantity for order in changed)
    if changed or gone or fills:
        with work.store.write() as tx:
            now = work.clock()
            for order in unwritten:
                orders.resize(tx, work.claim, order, now=now)
            for order in (*changed, *gone):
                orders.settle(tx, work.claim, order, now=now)
            mine = [*(state.trade.orders if state.trade else ()), *state.unsettled, *changed]
            # The close of an exit is none of the trade's, and has ended by the time that its fill is told.
            mine += orders.numbered(tx, work.lane, (fill.venue_order_id for fill in fills))
            for fill in orders.add_fills(tx, work.claim, books.named(fills, mine), now=now):
                tell_fill(tx, fill, now)
                news = True
            if fills:
                orders.price(tx, work.claim, mine, now=now)
            if not in_coins:
                books.note_missing(tx, work, state, changed)
        with work.store.read() as tx:
            state = orders.lane_state(tx, work.lane)
        if fills and state.ledger.quantity != position.quantity:
            # The fills may be newer than the position that was read before them.
            position = work.exchange.position(symbol)
    view = View(state=state, position=position, resting=resting, absent=frozenset(absent))
    if in_coins:
        view = coins.agree(work, view)
    else:
        view = books.agree(work, view, heard=told is not None, news=news)
    lost = [o for o in view.state.unsettled if o.client_order_id in missed and _is_stop(o)]
    if 0 < len(lost) < ATTEMPTS:
        # Where it was, nobody knows: it proves nothing. Where so many cannot be asked for, one more would be
        # known no better.
        proved = tuple(order for order in view.state.unsettled if order not in lost)
        view = replace(view, state=replace(view.state, unsettled=proved))
    return replace(view, drifting=True) if missed or doubted else view


def _may_be_bare(work: Work, state: LaneState, look: Look) -> bool:
    """Whether nothing that rests covers what our entry fills."""
    told = reconcile(orders=state.unsettled, reports=look.resting)
    names = {report.client_order_id for report in look.resting}
    listed = tuple(order for order in state.unsettled if order.client_order_id in names)
    return books.is_bare(work, replace(state, unsettled=listed), told, look.position)


def _is_stop(order: Order) -> bool:
    return order.role is Role.STOP and order.status.is_open


def is_protected(work: Work, view: View) -> bool:
    """Whether proved stops cover all of an open position that is ours."""
    trade, position, unsettled = view.state.trade, view.position, view.state.unsettled
    if trade is None or position.is_flat:
        return True
    if work.capabilities.coins:
        return parts.covered(unsettled) >= position.quantity
    return protected(position, trade, unsettled)


def guard(work: Work, *, keep: Collection[str] = (), leaving: bool = False) -> View | Later:
    """Acts until the position has its stop and targets and nothing rests without a reason.

    Returns the last view, or Later when the venue's answer must be waited for. `keep` are the ids of
    intents at work on the lane; `leaving` says that one of them ends the position. A position whose stop
    cannot be had within NAKED_LIMIT is closed.
    """
    for attempt in range(_ROUNDS):
        view = catch_up(work, stop_first=True)
        if _swept(work, view) or strangers.disown(work, view):
            continue
        with work.store.read() as tx:
            halted = switches.halted(tx) is not None
        actions = _missing(work, view, keep=keep, halted=halted, leaving=leaving)
        if view.drifting and not any(isinstance(action, Close) for action in actions):
            # Nothing is taken away while the venue and our fills disagree, but for what a close ends.
            actions = tuple(action for action in actions if not _takes_away(action))
        overdue = _watch_naked(work, view)
        if strangers.may_be(work, view):
            # A stop may lie there for a while; nothing is sold.
            actions = tuple(a for a in actions if isinstance(a, Send) and a.order.role is Role.STOP)
            overdue = ()
        # After a restart the clock may have run out while nobody could try: one try comes first.
        if overdue and (attempt or not actions or coins.has_tried(work, view.state)):
            actions = overdue
        if not actions:
            return _rest(work, view)
        is_refused = False
        for action in actions:
            done = _do(work, action)
            if isinstance(action, Close) and done is not None and done.status is OrderStatus.REJECTED:
                is_refused = True
        # A venue may refuse it for what has been taken back right behind it: then it is tried again at once.
        tries = 1 + _refusals(view)
        if is_refused and (tries > 1 or len(actions) == 1):
            return Later(work.clock() + patience(tries))
    return Later(work.clock() + WATCH)


def _takes_away(action: parts.Change) -> bool:
    return isinstance(action, Cancel) or (isinstance(action, Swap) and bool(action.old))


def _refusals(view: View) -> int:
    """How many closes of the trade the venue has refused in a row; what made room for it does not count."""
    trade = view.state.trade
    return 0 if trade is None else refused([o for o in since_entry(trade) if o.role is Role.CLOSE])


def _swept(work: Work, view: View) -> bool:
    """Takes back orders of ours that rest without a position, though our records have them ended."""
    trade = view.state.trade
    if view.drifting or not view.position.is_flat or (trade is not None and not trade.entry.status.is_final):
        return False
    live = {order.client_order_id for order in view.state.unsettled}
    named = {report.client_order_id: report for report in view.resting if report.client_order_id}
    with work.store.read() as tx:
        mine = sentries.known(tx, work.lane, named.keys() - live) if named.keys() - live else set()
        ended = {name for name in mine if orders.named(tx, name).status.is_final}
    for name in sorted(ended):
        work.breathe()
        work.exchange.cancel_report(named[name])
        log.warning("%s: %s rested without a reason and was taken back", work.lane, name)
        with work.store.write() as tx:
            journal.tell(tx, name.partition("-")[0], "swept", name, work.clock())
    return bool(ended)


def _missing(
    work: Work, view: View, *, keep: Collection[str], halted: bool, leaving: bool
) -> tuple[parts.Change, ...]:
    """What `trading` says that the lane needs."""
    state, position = view.state, view.position
    if work.capabilities.coins:
        return parts.protect(
            position=position,
            trade=state.trade,
            unsettled=state.unsettled,
            price=price_for_parts(work, view),
            instrument=work.exchange.instrument(work.lane.symbol),
            keep=keep,
            halted=halted,
            leaving=leaving,
            pairs=work.capabilities.pairs,
        )
    return protect(
        position=position,
        trade=state.trade,
        unsettled=state.unsettled,
        price=price_of(work) if _wants_stop(view) else None,
        instrument=_instrument(work),
        keep=keep,
        halted=halted,
        leaving=leaving,
    )


def price_for_parts(work: Work, view: View) -> Decimal | None:
    """The price, where something of a position in coins may have to be sent; else it decides nothing.

    Where no target can rest it is asked for at every look: a target is sold when the price is seen there.
    """
    watches = not work.capabilities.pairs and view.state.trade is not None and not view.position.is_flat
    return price_of(work) if watches or not is_protected(work, view) else None


def patience(attempt: int) -> timedelta:
    """How long to wait after the `attempt`-th refusal: 1 s, 2 s, 4 s … a minute at most."""
    return timedelta(seconds=min(60, 2 ** min(attempt - 1, 6)))


def alarm(work: Work, text: str, *, alert_id: str | None) -> None:
    """Tells people that they are needed, once for each reason and alert."""
    log.error("%s: %s", work.lane, text)
    with work.store.write() as tx:
        now = work.clock()
        if alert_id is not None and journal.was_told(tx, alert_id, "alarm", text):
            return
        outbox.notify(tx, kind="alarm", text=f"{work.lane}: {text}", alert_id=alert_id, now=now)
        if alert_id is not None:
            journal.tell(tx, alert_id, "alarm", text, now)


def _planned_stops(state: LaneState) -> list[Order]:
    """Stops of the trade that have not left, by the journal; what did was behind the entry (see `heels`)."""
    if state.trade is None:
        return []
    made = [o for o in state.trade.orders if o.role is Role.STOP and o.status is OrderStatus.INITIALIZED]
    return [replace(order, signed_at=state.trade.entry.signed_at) for order in made]


def _unwritten(planned: Collection[Order], resting: Collection[OrderReport]) -> Iterator[Order]:
    """Those that rest all the same: they left while the journal could not be written."""
    there = {report.client_order_id: report.quantity for report in resting}
    for order in planned:
        if order.client_order_id in there:
            quantity = there[order.client_order_id]
            yield replace(order, status=OrderStatus.SUBMITTED, quantity=quantity)


def _ask(
    work: Work, unlisted: list[Order], *, may_miss: bool, hurries: bool
) -> tuple[list[OrderReport], set[str], set[str]]:
    """Reports of orders that do not rest, the ids of those that the venue surely does not have, and of those
    that could not be asked for: all but closes, where they `may_miss`, for a stop does not wait for them.
    `hurries` where that stop is missing.
    """
    reports: list[OrderReport] = []
    absent: set[str] = set()
    missed: set[str] = set()
    # One moment for all: an entry and the stop that went with it are lost or not lost together.
    asked_at = work.exchange.time()
    is_late = False
    for order in unlisted:
        if is_late and order.role is not Role.CLOSE:
            # The time that the missing stop has was used up by another question.
            missed.add(order.client_order_id)
            continue
        try:
            try:
                reports.append(_order(work, order, hurries=hurries))
                continue
            except OrderNotFound:
                if order.retry_at is not None and asked_at < order.retry_at:
                    continue
            reports.append(_order(work, order, hurries=hurries))
        except OrderNotFound:
            absent.add(order.client_order_id)
        except (VenueError, TimeoutError) as error:
            if not may_miss or order.role is Role.CLOSE:
                raise
            log.warning("%s: not known yet what became of it: %s", order.client_order_id, error)
            missed.add(order.client_order_id)
            is_late = hurries and isinstance(error, TimeoutError)
    return reports, absent, missed


def _order(work: Work, order: Order, *, hurries: bool) -> OrderReport:
    """What became of it; TimeoutError where that is not told within the time that a missing stop has."""
    if not hurries or order.role is Role.CLOSE:
        return work.exchange.order(order)
    return in_time(lambda: work.exchange.order(order), STOP_WAITS)


def _doubted(work: Work, unlisted: Sequence[Order], absent: Collection[str]) -> set[str]:
    """Of what is absent, an entry that rested: lists may forget it for a moment, and it may fill after that.
    It is gone once it has been unknown for DRIFT_LIMIT."""
    waits = next((o for o in unlisted if o.role is Role.ENTRY and o.status.is_open), None)
    if waits is None or waits.client_order_id not in absent:
        work.unknown.pop(work.lane, None)
        return set()
    now, (name, since) = work.clock(), work.unknown.get(work.lane, ("", work.clock()))
    if name != waits.client_order_id or since > now:
        work.unknown[work.lane] = (waits.client_order_id, now)
    elif now - since >= DRIFT_LIMIT:
        return set()
    return {waits.client_order_id}


def _gone(unsettled: Collection[Order], absent: Collection[str]) -> list[Order]:
    """What absence means: an entry may be sent again by its intent, with the stop that went with it.

    Everything else is made anew when it is still wanted.
    """
    gone = []
    lost = [order for order in unsettled if order.client_order_id in absent]
    entries = {order.intent_id for order in lost if order.role is Role.ENTRY}
    for order in unsettled:
        if order.client_order_id not in absent:
            continue
        if order.status.is_open:
            reason = "the venue knows it no more"
            gone.append(replace(order, status=OrderStatus.CANCELED, reason=reason))
        elif order.role is not Role.ENTRY and order.intent_id not in entries:
            gone.append(replace(order, status=OrderStatus.EXPIRED, reason="it never reached the venue"))
    return gone


def _do(work: Work, action: parts.Change) -> Order | None:
    match action:
        case Swap():
            swap(work, action)
            return None
        case Cancel(order=order):
            work.breathe()
            work.exchange.cancel(order)
            mark(f"{order.role}.cancelled")
            return None
        case Send(order=order):
            return fence.send(work, order, first=lambda tx: _write_down(work, tx, order))
        case Close(order=order, reason=reason):
            alarm(work, f"closing at the market: {reason}", alert_id=order.intent_id)
            return fence.send(work, order, first=lambda tx: _write_down(work, tx, order))


def swap(work: Work, change: Swap) -> tuple[Order, ...] | None:
    """Takes orders back and sends what takes their place; None if they may have filled: then look again."""
    if change.old:
        work.breathe()
    made = [o for missing in change.new for o in (missing.order, missing.stop) if o is not None]
    # Before anything is taken away: the journal may fail after that, and the way to the venue goes on.
    leaving = fence.submit(work, *made, first=lambda tx: _write_down(work, tx, *made))
    submitted = {order.client_order_id: order for order in leaving}
    try:
        is_free = _taken_back(work, change.old)
    except VenueError:
        fence.withdraw(work, *submitted.values())
        raise
    if not is_free:
        fence.withdraw(work, *submitted.values())
        return None
    # From here to their answers these parts are bare.
    return heels.deliver_all(work, change.new, submitted)


def _taken_back(work: Work, resting: Sequence[Order]) -> bool:
    """Cancels what locks coins, targets before the stops that go with them. False where something may have
    filled."""
    entries = [order for order in resting if order.role is Role.ENTRY]
    for order in (*entries, *parts.heads(resting)):
        told = work.exchange.cancel(order)
        mark(f"{order.role}.cancelled")
        is_unfilled = told is not None and told.filled_quantity == order.filled_quantity
        if told is None or told.status is not OrderStatus.CANCELED or not is_unfilled:
            return False
    return True


def _instrument(work: Work) -> Instrument | None:
    try:
        return work.exchange.instrument(work.lane.symbol)
    except VenueError as error:
        log.warning("%s: no instrument, so no targets: %s", work.lane, error)
        return None


def _write_down(work: Work, tx: Transaction, *made: Order) -> None:
    """Planned orders take their final quantity, new ones their row, before they leave."""
    for order in made:
        known = {each.client_order_id for each in orders.of_intent(tx, order.intent_id)}
        if order.client_order_id in known:
            orders.resize(tx, work.claim, order, now=work.clock())
        else:
            orders.add(tx, work.claim, [order], now=work.clock())


def _rest(work: Work, view: View) -> View | Later:
    """Nothing is left to do: what that means for the trade and for the next look."""
    trade, position = view.state.trade, view.position
    if view.drifting:
        if view.state.naked_since is not None and is_protected(work, view):
            # Else the next stop that goes would be missing since this one was.
            _forget_naked(work)
        # A balance that lags keeps coins from their stop: it is asked for again soon.
        return Later(work.clock() + (coins.pause(work, view.state) if work.capabilities.coins else WATCH))
    doubt = view.doubt(*Role)
    if doubt is not None:
        settled_at = work.ours(doubt)
        return Later(min(settled_at, work.clock() + WATCH) if not position.is_flat else settled_at)
    if view.state.naked_since is not None:
        _forget_naked(work)
    if trade is not None and position.is_flat and trade.entry.status.is_final and not view.state.unsettled:
        with work.store.write() as tx:
            reason = "the position is flat and nothing rests"
            orders.end_trade(tx, work.claim, reason=reason, now=work.clock())
            coins.leave_dust(work, tx, view.state)
    return view


def _forget_naked(work: Work) -> None:
    with work.store.write() as tx:
        orders.set_naked(tx, work.claim, since=None)


def _watch_naked(work: Work, view: View) -> tuple[parts.Change, ...]:
    """Remembers since when a position has no proved stop; what ends it once that is too long."""
    trade, position = view.state.trade, view.position
    if trade is None or is_protected(work, view):
        return ()
    now = work.clock()
    since = view.state.naked_since
    # One that is to come is of a clock that was set back, or of another runner's.
    if since is None or since > now:
        with work.store.write() as tx:
            orders.set_naked(tx, work.claim, since=now)
        return ()
    if now - since < NAKED_LIMIT or view.doubt(Role.CLOSE) is not None:
        return ()
    reason = f"no stop was proved within {NAKED_LIMIT.total_seconds():.0f} s"
    if work.capabilities.coins:
        close = parts.close_naked(
            position=position,
            trade=trade,
            unsettled=view.state.unsettled,
            instrument=work.exchange.instrument(work.lane.symbol),
            reason=reason,
        )
        return () if close is None else (close,)
    attempt = 1 + sum(order.role is Role.CLOSE for order in trade.orders)
    order = closing(position=position, intent_id=trade.intent_id, attempt=attempt)
    return (Close(order=order, reason=reason), *in_the_way(view.state.unsettled))


def _wants_stop(view: View) -> bool:
    """Whether a stop may have to be sent: the only question that the price decides."""
    trade, position = view.state.trade, view.position
    return (
        trade is not None and not position.is_flat and covering(position, trade, view.state.unsettled) is None
    )


def price_of(work: Work) -> Decimal | None:
    """The last price; None if the venue does not tell it, or not soon: a stop may wait for it."""
    try:
        return in_time(lambda: work.exchange.price(work.lane.symbol), STOP_WAITS)
    except (VenueError, TimeoutError) as error:
        log.warning("%s: no price: %s", work.lane, error)
        return None
