"""A person's word: halt, resume, approve, decline. What the web and Discord both write down.

Nothing here acts: the runner does. Every function works inside the caller's transaction, and must never
count a second word of the same person, nor change an intent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from store import journal, outbox, switches, views
from trading.model import IntentStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """What became of a vote: the intent's status, and this person's word if one counts (now or before)."""

    status: IntentStatus
    said: bool | None


def storable(text: str) -> str:
    """Without what no database takes as text: NUL and lone surrogates."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def halt(tx: Connection, *, reason: str, by: str, now: datetime) -> None:
    """Stops all sending of entries from this commit on, and tells it; a repeat changes the reason."""
    # No text is a reason not to halt.
    reason = storable(reason)
    switches.halt(tx, reason=reason, by=by, now=now)
    outbox.notify(tx, kind="halt", text=f"Halted by {by}: {reason}", alert_id=None, now=now)


def resume(tx: Connection, *, by: str, now: datetime) -> bool:
    """Lets entries be sent again, and tells it; False if there was no halt."""
    lifted = switches.resume(tx, by=by, now=now)
    if lifted:
        outbox.notify(tx, kind="resume", text=f"Resumed by {by}", alert_id=None, now=now)
    return lifted


def vote(
    tx: Connection, *, intent_id: str, approve: bool, voter: str, now: datetime, name: str | None = None
) -> Ballot | None:
    """Writes one person's word on an intent that waits for it and wakes its lane; None: no such intent."""
    status = views.intent_status(tx, intent_id)
    if status is None:
        return None
    said = {each.voter: each.approve for each in outbox.votes(tx, intent_id)}.get(voter)
    if said is None and status is IntentStatus.AWAITING_APPROVAL:
        outbox.vote(tx, intent_id=intent_id, voter=voter, approve=approve, now=now, name=name)
        journal.wake_lane(tx, intent_id=intent_id, now=now)
        said = approve
    return Ballot(status=status, said=said)
