"""Holds what an alert expects against the venue, once, when its turn comes and before anything is sent.

What was found is committed first, so that whoever goes on after a crash comes to the same verdict. It must
never ask a venue about an alert that expects nothing.
"""

from __future__ import annotations

import logging

from desk import coins
from desk.confirm import catch_up
from desk.execute import Ended, flatten
from desk.stages import mark
from desk.work import Later, Work
from store import journal, orders, outbox, stances
from store.journal import Intent
from trading import stance
from trading.lifecycle import IntentEvent
from trading.model import AccountRules, AlertKind, Direction, DriftMode, Role
from trading.stance import Act, Verdict

log = logging.getLogger(__name__)

#: How far back an alert of the same moment is looked for.
EARLIER = 20
HEALED = "what was open is closed"


def gate(work: Work, intent: Intent) -> Later | Ended | None:
    """None where the intent goes on as always; else how it ends, or when to ask again."""
    if not stance.speaks(intent.alert):
        return None
    with work.store.read() as tx:
        found = stances.found(tx, intent.id)
        made = orders.of_intent(tx, intent.id)
    # What is on its way goes on, whatever DRIFT says by now; closes alone do not say what they are for.
    if made and (found is None or any(order.role is not Role.CLOSE for order in made)):
        return None
    is_new = found is None
    if found is None:
        looked = _look(work)
        if isinstance(looked, Later):
            return looked
        found = looked
    verdict = _judge(work, intent, found)
    if is_new:
        _keep(work, intent, found, verdict)
    if verdict.act is Act.GO or (made and intent.kind is AlertKind.EXIT):
        return None
    # A close that has left is brought to its end, and nothing is entered behind it.
    if verdict.act is Act.CLOSE or made:
        return _heal(work, intent, verdict)
    return ended(verdict, intent.lane.account, work.rules)


def ended(verdict: Verdict, account: str, rules: AccountRules | None) -> Ended:
    """How an alert ends that is not carried out."""
    if verdict.act is Act.SKIP:
        return Ended(IntentEvent.EXPIRE, verdict.reason)
    return Ended(IntentEvent.DENY, f"{verdict.reason} (DRIFT_{account}={mode_of(rules)})")


def mode_of(rules: AccountRules | None) -> DriftMode:
    """The account's DRIFT, the default where it has no settings."""
    return rules.drift if rules else DriftMode.REPORT


def _look(work: Work) -> Direction | Later:
    """The direction of what is open now."""
    if not work.capabilities.coins:
        return work.exchange.position(work.lane.symbol).direction
    # Which of the account's coins are ours, only the journal knows.
    view = catch_up(work)
    return Later(work.clock() + coins.pause(work, view.state)) if view.drifting else view.position.direction


def _judge(work: Work, intent: Intent, found: Direction) -> Verdict:
    with work.store.read() as tx:
        earlier = stances.earlier(tx, work.lane, intent, EARLIER)
    return stance.judge(
        alert=intent.alert,
        received_at=intent.received_at,
        found=found,
        mode=mode_of(work.rules),
        earlier=earlier,
    )


def _keep(work: Work, intent: Intent, found: Direction, verdict: Verdict) -> None:
    """The position as it was found, and the difference for people; what ends is told by its end."""
    with work.store.write() as tx:
        now = work.clock()
        stances.keep(tx, work.claim, intent.id, found)
        if verdict.reason and verdict.act in (Act.GO, Act.CLOSE):
            log.warning("%s: %s", work.lane, verdict.reason)
            journal.tell(tx, intent.id, "drift", verdict.reason, now)
            text = f"{work.lane}: {intent.alert.message}: {verdict.reason}"
            outbox.notify(tx, kind="drift", text=text, alert_id=intent.id, now=now)
    mark("held against the venue")


def _heal(work: Work, intent: Intent, verdict: Verdict) -> Later | Ended:
    """The strategy is flat: what of ours is open ends. What a person opened is theirs."""
    with work.store.read() as tx:
        made = orders.of_intent(tx, intent.id)
        is_ours = orders.lane_state(tx, work.lane).trade is not None
    if not is_ours and not made:
        return ended(verdict, work.lane.account, work.rules)
    early = flatten(work, intent, end_trade=True)
    if early is not None:
        return early
    if intent.kind is AlertKind.ENTRY:
        return Ended(IntentEvent.DENY, f"{verdict.reason}: {HEALED}, nothing is entered")
    return Ended(IntentEvent.FINISH, f"{verdict.reason}: {HEALED}")
