"""One run of one lane: its intents in the order of arrival, then the guard of its position.

An intent that must wait holds back the ones behind it, unless it waits for a person. It must never let
the failure of an intent keep the guard from its work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from desk import books, decide, execute, strangers
from desk.breakeven import breakeven
from desk.confirm import alarm, guard
from desk.daily import Unread
from desk.execute import Ended
from desk.logs import about
from desk.pace import next_look
from desk.stages import mark
from desk.stance import gate
from desk.view import LONGEST_REST, SOON
from desk.work import Later, Stopping, Work
from store import journal, orders
from store.journal import Intent
from trading.errors import (
    BadCredentials,
    Denied,
    InvalidOrder,
    LostClaim,
    Rejected,
    StaleRequest,
    StoreUnavailable,
    Throttled,
    VenueError,
)
from trading.lifecycle import IntentEvent
from trading.model import AlertKind, IntentStatus, OrderStatus

log = logging.getLogger(__name__)

#: After a failure of the venue's, or of ours.
_BACKOFF = timedelta(seconds=1)
#: How often a position that is not ours is looked at, where a lane of ours knows of it.
ALIEN = timedelta(seconds=30)
#: So many errors that nobody foresaw end an intent.
_POISON = 5

_DO: dict[AlertKind, Callable[[Work, Intent], Later | Ended]] = {
    AlertKind.ENTRY: execute.entry,
    AlertKind.EXIT: execute.exit_,
    AlertKind.BREAKEVEN: breakeven,
}


def run_lane(work: Work, *, first: bool = False) -> datetime | None:
    """Does all that a lane's intents and its position ask for; when it wants the next look, if ever.

    `first` is this process's first run there: before anything new, venue and records are brought together.
    """
    due: list[datetime] = []
    with work.store.read() as tx:
        todo = journal.undone(tx, work.lane)
    # What was under way looks by itself, and knows what it has in doubt.
    if first and not any(intent.status is IntentStatus.EXECUTING for intent in todo):
        again = _reconcile(work)
        if again is not None:
            due.append(again)
    for number, intent in enumerate(todo):
        with about(intent.id):
            status, at = _safely(work, intent, is_new=not number)
        if at is not None:
            due.append(at)
            if status is not IntentStatus.AWAITING_APPROVAL:
                break
    watched = _watch(work)
    if watched is not None:
        due.append(watched)
    return min(due, default=None)


def backoff(error: VenueError) -> timedelta:
    """How long to leave a venue alone after an error."""
    if not isinstance(error, Throttled):
        return _BACKOFF
    # Held back here, before anything left: by then there is room, and nobody was annoyed.
    least = timedelta() if error.code is None else _BACKOFF
    return min(max(least, error.after), LONGEST_REST)


def _safely(work: Work, intent: Intent, *, is_new: bool) -> tuple[IntentStatus, datetime | None]:
    """`_advance`, and whatever nobody foresaw in it: the guard's turn comes all the same."""
    try:
        return _advance(work, intent, is_new=is_new)
    except (Stopping, LostClaim, StoreUnavailable):
        raise
    except Unread as unread:
        log.info("%s", unread)
        return _status(work, intent), work.clock() + 2 * SOON
    except VenueError as error:
        log.warning("%s: %s", work.lane, error)
        work.failures.append(error)
        return _status(work, intent), work.clock() + backoff(error)
    except Exception as error:
        log.exception("%s: unforeseen", work.lane)
        with work.store.write() as tx:
            errors = journal.stumble(tx, work.claim, intent.id)
            doubt = any(o.status is OrderStatus.SUBMITTED for o in orders.of_intent(tx, intent.id))
        if errors < _POISON or doubt:
            return _status(work, intent), work.clock() + _BACKOFF
        alarm(work, f"given up after {errors} errors: {error!r}", alert_id=intent.id)
        reason = f"an error that nobody foresaw: {type(error).__name__}"
        with work.store.write() as tx:
            fresh = journal.find(tx, intent.id)
            status = journal.advance(tx, work.claim, fresh, IntentEvent.FAIL, reason=reason, now=work.clock())
        return status, None


def _advance(work: Work, intent: Intent, *, is_new: bool) -> tuple[IntentStatus, datetime | None]:
    """One intent as far as it goes now; its status, and when to look again if it is not done. `is_new` says
    that nothing was done since it was read.
    """
    work.breathe()
    status = intent.status
    if not is_new:
        status = _status(work, intent)
        if status is not intent.status:
            return status, None
    if status is IntentStatus.RECEIVED:
        status = decide.decide(work, intent)
    elif status is IntentStatus.AWAITING_APPROVAL:
        status = decide.count_votes(work, intent)
    if status is IntentStatus.AWAITING_APPROVAL:
        expires_at = intent.expires_at or work.clock() + work.settings.approval_timeout
        return status, expires_at
    if status.is_final:
        return status, None
    if status is not IntentStatus.EXECUTING:
        intent = _started(work, intent)
    intent = replace(intent, status=IntentStatus.EXECUTING)
    result = _carry_out(work, intent)
    if isinstance(result, Later):
        return intent.status, result.at
    with work.store.write() as tx:
        status = journal.advance(tx, work.claim, intent, result.event, reason=result.reason, now=work.clock())
    decide.say(status, result.reason)
    mark("ended")
    return status, None


def _status(work: Work, intent: Intent) -> IntentStatus:
    """Where it stands by now: what failed may have come after the vote, and holds back what is behind it."""
    with work.store.read() as tx:
        return journal.status_of(tx, intent.id)


def _started(work: Work, intent: Intent) -> Intent:
    """As it is now, and at work from here on."""
    with work.store.write() as tx:
        fresh = journal.find(tx, intent.id)
        decide.start(work, tx, fresh, work.clock())
    mark("executing")
    return fresh


def _carry_out(work: Work, intent: Intent) -> Later | Ended:
    """Runs the intent; a refusal becomes a reason to end it or to come back."""
    try:
        return gate(work, intent) or _DO[intent.kind](work, intent)
    except Denied as denied:
        return Ended(IntentEvent.DENY, denied.reason)
    except Rejected as error:
        # A refusal outside the sending of an order is final for an entry of which nothing has left. An exit
        # is not given up, what it should close is open; but for one where nothing of ours is, such as of an
        # instrument that the venue does not know.
        passing = isinstance(error, (BadCredentials, StaleRequest))
        is_needed = intent.kind is AlertKind.EXIT and not (
            isinstance(error, InvalidOrder) and execute.seems_flat(work)
        )
        if passing or is_needed or _has_left(work, intent):
            alarm(work, f"{intent.alert.message}: {error}", alert_id=intent.id)
            return Later(work.clock() + backoff(error))
        return Ended(IntentEvent.FAIL, error.message)


def _has_left(work: Work, intent: Intent) -> bool:
    with work.store.read() as tx:
        made = orders.of_intent(tx, intent.id)
    return any(order.status not in (OrderStatus.INITIALIZED, OrderStatus.REJECTED) for order in made)


def _reconcile(work: Work) -> datetime | None:
    """A look, whatever our records say. One that fails holds nothing up, for each act looks again; when it is
    due once more, without haste: nothing that we know of waits for it."""
    try:
        _watch(work, look=True)
    except VenueError as error:
        log.warning("%s: not reconciled yet: %s", work.lane, error)
        if not isinstance(error, Rejected):
            work.failures.append(error)
            return work.clock() + ALIEN
    return None


def _watch(work: Work, *, look: bool = False) -> datetime | None:
    """Guards the position, if there is one or to `look` is asked for; when it wants the next look."""
    with work.store.read() as tx:
        state = orders.lane_state(tx, work.lane)
        undone = journal.undone(tx, work.lane)
        owes = books.owes(tx, work, state)
    keep = {i.id for i in undone if i.kind is AlertKind.BREAKEVEN}
    mine = state.trade.intent_id if state.trade else None
    leaving = any(
        i.status is IntentStatus.EXECUTING and i.kind is not AlertKind.BREAKEVEN and i.id != mine
        for i in undone
    )
    is_over = state.trade is None and not state.unsettled and not state.ledger.quantity
    if is_over and not look and not owes:
        return None
    with about(state.trade.intent_id if state.trade else "-"):
        guarded = guard(work, keep=keep, leaving=leaving)
    if isinstance(guarded, Later):
        return guarded.at
    is_idle = guarded.state.trade is None and not guarded.state.unsettled
    if is_idle and not leaving:
        strangers.meet(work, guarded.position)
    if guarded.state.trade is None and guarded.position.is_flat:
        return work.clock() + books.rest(work, guarded.state) if guarded.owing else None
    if is_idle:
        # A person's: what it needs is theirs to say.
        return work.clock() + ALIEN
    return work.clock() + next_look(work, guarded)
