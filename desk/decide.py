"""Says what becomes of an intent before anything is sent: policy, votes, expiry.

It must never approve by default: a doubt, an error or an old vote ends in a refusal with its reason.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from desk import daily
from desk.intake import is_paper
from desk.question import question, would_be
from desk.stages import mark
from desk.view import DRIFT_LIMIT, WATCH
from desk.work import Work
from store import Transaction, journal, orders, outbox, sentries, switches, trades
from store.journal import Intent
from trading import policy
from trading.errors import VenueError
from trading.lifecycle import IntentEvent
from trading.model import ZERO, AlertKind, IntentStatus, Limits
from trading.policy import Decision, History

log = logging.getLogger(__name__)

#: How long an entry waits for what was closed elsewhere to be read, before it is refused.
READ_WITHIN = DRIFT_LIMIT + 2 * WATCH

_EVENTS = {
    IntentStatus.APPROVED: IntentEvent.APPROVE,
    IntentStatus.AWAITING_APPROVAL: IntentEvent.ASK,
    IntentStatus.DENIED: IntentEvent.DENY,
    IntentStatus.EXPIRED: IntentEvent.EXPIRE,
    IntentStatus.IGNORED: IntentEvent.IGNORE,
}


def decide(work: Work, intent: Intent) -> IntentStatus:
    """Decides an intent that was just received, and starts it where nobody is asked; on paper its price
    becomes the last price, if it is fresh.
    """
    now = work.clock()
    halted, history = _circumstances(work, intent, now)
    decision = policy.decide(
        alert=intent.alert,
        route=intent.route,
        rules=work.rules,
        history=history,
        now=now,
        received_at=intent.received_at,
        max_age=work.settings.max_alert_age,
        halted=halted,
        live=work.settings.live_trading and not is_paper(work.lane.venue),
        venue_known=True,
        has_keys=_has_keys(work),
    )
    if decision.status is not IntentStatus.EXPIRED:
        work.observe(work.lane, intent.alert, intent.received_at)
    expires_at, asked = None, None
    if decision.status is IntentStatus.AWAITING_APPROVAL:
        asked = question(work, intent)
        # The time to answer begins when the question is put.
        now = work.clock()
        expires_at = now + work.settings.approval_timeout
    with work.store.write() as tx:
        if asked is not None and asked.market is not None:
            journal.asked(tx, work.claim, intent.id, asked.market)
        status = journal.advance(
            tx,
            work.claim,
            intent,
            _EVENTS[decision.status],
            reason=decision.reason,
            now=now,
            expires_at=expires_at,
            data=asked.data if asked is not None else None,
        )
        if status is IntentStatus.APPROVED:
            status = start(work, tx, replace(intent, status=status), now)
    if status is not IntentStatus.EXECUTING:
        say(status, decision.reason)
    mark("decided")
    record_refusal(work, intent, decision)
    return status


def say(status: IntentStatus, reason: str) -> None:
    """In the log, once it is committed, what became of the alert at hand."""
    log.info("%s", f"{status}: {reason}" if reason else status)


def start(work: Work, tx: Transaction, intent: Intent, now: datetime) -> IntentStatus:
    """EXECUTING, with what it makes obsolete out of the way."""
    status = journal.advance(
        tx, work.claim, intent, IntentEvent.EXECUTE, reason="", now=now, expires_at=intent.expires_at
    )
    if intent.kind is not AlertKind.BREAKEVEN:
        journal.supersede(tx, work.claim, by=intent, now=now)
    return status


def count_votes(work: Work, intent: Intent) -> IntentStatus:
    """Decides an intent that waits for a person, if somebody voted or its time is over."""
    now = work.clock()
    with work.store.read() as tx:
        votes = outbox.votes(tx, intent.id)
    expires_at = intent.expires_at or now
    first = next((vote for vote in votes if vote.at < expires_at), None)
    if first is None:
        if now < expires_at:
            return intent.status
        limit = work.settings.approval_timeout.total_seconds()
        return _conclude(work, intent, IntentEvent.EXPIRE, f"nobody approved it within {limit:.0f} s")
    if not first.approve:
        return _conclude(work, intent, IntentEvent.DECLINE, f"declined by {first.by}")
    decision = recheck(work, intent)
    if decision.status is IntentStatus.APPROVED:
        drifted = _drift(work, intent)
        if drifted is not None:
            return _conclude(work, intent, IntentEvent.DENY, drifted)
        return _conclude(work, intent, IntentEvent.APPROVE, f"approved by {first.by}")
    status = _conclude(work, intent, _EVENTS[decision.status], decision.reason)
    record_refusal(work, intent, decision)
    return status


def record_refusal(work: Work, intent: Intent, decision: Decision) -> None:
    """On the timeline of an entry that a limit refused: which one, and what it would have been in money."""
    if not decision.rule:
        return
    text = f"refused by {decision.rule}; {would_be(work, intent)}; {decision.standing}"
    with work.store.write() as tx:
        journal.tell(tx, intent.id, "limits", text, work.clock())


def recheck(work: Work, intent: Intent) -> Decision:
    """Policy once more, right before something is sent."""
    now = work.clock()
    halted, history = _circumstances(work, intent, now)
    return policy.recheck(
        alert=intent.alert,
        rules=work.rules,
        history=history,
        now=now,
        received_at=intent.received_at,
        max_age=work.settings.max_alert_age,
        expires_at=intent.expires_at,
        halted=halted,
        live=work.settings.live_trading and not is_paper(work.lane.venue),
        venue_known=True,
        has_keys=_has_keys(work),
    )


def _conclude(work: Work, intent: Intent, event: IntentEvent, reason: str) -> IntentStatus:
    # The deadline stays on record: an approval counts no longer than it, also while it waits to be sent.
    with work.store.write() as tx:
        status = journal.advance(
            tx,
            work.claim,
            intent,
            event,
            reason=reason,
            now=work.clock(),
            expires_at=intent.expires_at,
        )
    say(status, reason)
    mark("voted")
    return status


def _has_keys(work: Work) -> bool:
    account = work.settings.accounts.get(work.lane.account)
    return bool(account and account.api_key and account.api_secret)


def _drift(work: Work, intent: Intent) -> str | None:
    """Why the price has moved too far since the alert; a price that cannot be had is reason enough."""
    alert, stop = intent.alert, intent.alert.levels.stop
    if alert.kind is not AlertKind.ENTRY or stop is None:
        return None
    then = policy.price_then(alert=alert, asked_price=intent.asked_price)
    if then is None:
        return policy.PRICE_UNTOLD
    try:
        price = work.exchange.price(work.lane.symbol)
    except VenueError as error:
        return f"the price could not be checked at the vote: {error}"
    return policy.drift(
        price_then=then,
        price_now=price,
        entry=alert.price if alert.price is not None else then,
        stop=stop,
        max_share=work.settings.approval_max_drift,
    )


def _circumstances(work: Work, intent: Intent, now: datetime) -> tuple[bool, History]:
    """Whether trading is halted, and what happened before this intent, as far as its limits need it."""
    lane, limits = work.lane, work.rules.limits if work.rules else Limits()
    others, sent, is_over = 0, 0, False
    read: daily.Books | None = None
    with work.store.read() as tx:
        halted = switches.halted(tx) is not None
        effective_at, traded_at = orders.last_entry(tx, lane, but=intent.id)
        if limits.cooldown_s is not None and traded_at is not None:
            since = now - timedelta(seconds=limits.cooldown_s)
            if traded_at > since:
                traded_at = trades.entered_since(tx, lane, since=since, but=intent.id)
        if limits.max_open_positions is not None:
            open_now = orders.open_lanes(tx, venue=lane.venue, account=lane.account)
            others = sum(other != lane for other in open_now)
        if limits.max_orders_per_minute is not None:
            since = now - timedelta(minutes=1)
            sent = orders.made_since(tx, venue=lane.venue, account=lane.account, since=since, but=intent.id)
        if limits.max_daily_loss is not None:
            read = daily.books(tx, venue=lane.venue, account=lane.account, now=now)
            is_over = sentries.breached(
                tx, venue=lane.venue, account=lane.account, limit=limits.max_daily_loss, now=now
            )
    pnl: Decimal | None = ZERO
    doubt = ""
    if read is not None and intent.kind is AlertKind.ENTRY and not is_over:
        pnl, doubt = _day(work, intent, read)
    return halted, History(
        last_entry_at=effective_at,
        last_entry_traded_at=traded_at,
        open_positions=others,
        orders_last_minute=sent,
        day_pnl=pnl,
        day_doubt=doubt,
        day_is_over=is_over,
    )


def _day(work: Work, intent: Intent, read: daily.Books) -> tuple[Decimal | None, str]:
    """The account's day in money, or None and the reason. Raises Unread while that is worth waiting for."""
    try:
        return daily.pnl(read, work.exchange_of, lanes=[work.lane]), ""
    except daily.Unread as unread:
        now = work.clock()
        with work.store.write() as tx:
            first = journal.told_at(tx, intent.id, "waits", str(unread))
            # One that it waited out long ago, such as before the vote, does not count.
            if first is None or now - first >= READ_WITHIN + DRIFT_LIMIT:
                first = None
                journal.tell(tx, intent.id, "waits", str(unread), now)
        # What gets out waits for no entry.
        with work.store.read() as tx:
            later = [other for other in journal.undone(tx, work.lane) if other.seq > intent.seq]
        hurries = any(other.kind in (AlertKind.EXIT, AlertKind.BREAKEVEN) for other in later)
        if hurries or (first is not None and now - first >= READ_WITHIN):
            return None, str(unread)
        # Its own lane is looked at in this very run.
        for lane in unread.lanes:
            if lane == work.lane:
                continue
            with work.store.write() as tx:
                journal.look_at(tx, lane=lane, now=now)
        raise
    except daily.Unknown as unknown:
        log.warning("%s: the day's P&L cannot be known: %s", work.lane, unknown)
        return None, str(unknown)
