"""A person's word is written once, and only where it is waited for."""

from __future__ import annotations

from typing import Any

import pytest

from store import Store, outbox, switches, words
from store.tables import alerts, intents
from tests.store.rows import add
from trading.model import IntentStatus

INTENT = "0123456789abcdef0123"


@pytest.fixture(params=[IntentStatus.AWAITING_APPROVAL])
def intent(store: Store, clock: Any, request: pytest.FixtureRequest) -> str:
    with store.write() as tx:
        add(tx, alerts, clock(), id=INTENT)
        add(tx, intents, clock(), id=INTENT, status=request.param)
    return INTENT


def vote(store: Store, clock: Any, voter: str, *, approve: bool, intent_id: str = INTENT) -> Any:
    with store.write() as tx:
        return words.vote(
            tx, intent_id=intent_id, approve=approve, voter=voter, now=clock(), name=voter.upper()
        )


def test_the_first_word_of_a_person_counts(store: Store, clock: Any, intent: str) -> None:
    assert vote(store, clock, "ann", approve=True).said is True
    assert vote(store, clock, "ann", approve=False).said is True
    assert vote(store, clock, "bob", approve=False).said is False
    with store.read() as tx:
        ann, bob = outbox.votes(tx, intent)
    assert (ann.by, ann.approve, bob.by, bob.approve) == ("ANN (ann)", True, "BOB (bob)", False)


@pytest.mark.parametrize("intent", [IntentStatus.EXPIRED, IntentStatus.EXECUTING], indirect=True)
def test_a_word_that_nobody_waits_for_is_not_written(store: Store, clock: Any, intent: str) -> None:
    ballot = vote(store, clock, "ann", approve=True)
    assert ballot.said is None
    with store.read() as tx:
        assert outbox.votes(tx, intent) == []
        assert ballot.status is not IntentStatus.AWAITING_APPROVAL


def test_an_intent_that_is_not_there(store: Store, clock: Any) -> None:
    assert vote(store, clock, "ann", approve=True, intent_id="none") is None


def test_halt_and_resume_are_told(store: Store, clock: Any) -> None:
    with store.write() as tx:
        assert not words.resume(tx, by="ann", now=clock())
        words.halt(tx, reason="news", by="ann", now=clock())
        assert switches.halted(tx) is not None
        assert words.resume(tx, by="bob", now=clock())
        assert switches.halted(tx) is None
        assert [notice.text for notice in outbox.unposted(tx, 9)] == ["Halted by ann: news", "Resumed by bob"]
