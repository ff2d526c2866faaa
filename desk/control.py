"""What a person decides over the web: halt, resume, approve, decline.

Writes the word down and nothing else: the runner acts on it. Never changes an intent itself.
"""

from __future__ import annotations

from datetime import datetime

from desk.intake import Answer, refused
from store import Store, words
from trading.model import IntentStatus


def halt(store: Store, *, reason: str, by: str, now: datetime) -> Answer:
    """Stops all sending of entries at once; a repeat changes the reason. Raises StoreUnavailable."""
    with store.write() as tx:
        words.halt(tx, reason=reason, by=by, now=now)
    return Answer(code=200, body={"success": True, "message": "halted", "halted": True})


def resume(store: Store, *, by: str, now: datetime) -> Answer:
    """Lets entries be sent again; a repeat is no error. Raises StoreUnavailable."""
    with store.write() as tx:
        words.resume(tx, by=by, now=now)
    return Answer(code=200, body={"success": True, "message": "resumed", "halted": False})


def vote(store: Store, *, intent_id: str, approve: bool, voter: str, now: datetime) -> Answer:
    """Writes one person's word on an intent that waits for it. Raises StoreUnavailable.

    202 written, or the same word again; 404 no such intent; 409 it does not wait (any more), or this
    person has said the opposite.
    """
    with store.write() as tx:
        ballot = words.vote(tx, intent_id=intent_id, approve=approve, voter=voter, now=now)
    if ballot is None:
        return refused(404, "there is no such intent")
    said, status = ballot.said, ballot.status
    message = "approved" if approve else "declined"
    if said is approve:
        return _answer(202, True, f"{message}; the runner acts on it", intent_id, status)
    if said is not None:
        return _answer(409, False, "you have said the opposite before", intent_id, status)
    return _answer(409, False, f"it does not wait for approval: {status}", intent_id, status)


def _answer(code: int, success: bool, message: str, intent_id: str, status: IntentStatus) -> Answer:
    body: dict[str, object] = {"success": success, "message": message}
    return Answer(code=code, body=body | {"alert_id": intent_id, "status": status.value})
