"""Notices are told once and in order; a voter has one vote."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection, Table, insert

from store import Conflict, Store, outbox
from store.tables import DecimalText, UtcDateTime, alerts, intents

INTENT = "0123456789abcdef0123"


def add(tx: Connection, table: Table, now: datetime, **values: object) -> None:
    """A row with any value in every column that must have one."""
    for column in table.columns:
        if column.name not in values and not column.nullable and column.autoincrement is not True:
            if isinstance(column.type, UtcDateTime):
                values[column.name] = now
            elif isinstance(column.type, DecimalText):
                values[column.name] = Decimal(0)
            else:
                values[column.name] = column.type.python_type()
    tx.execute(insert(table).values(values))


@pytest.fixture
def intent(store: Store, clock: Any) -> str:
    with store.write() as tx:
        add(tx, alerts, clock(), id=INTENT)
        add(tx, intents, clock(), id=INTENT)
    return INTENT


def notify(store: Store, clock: Any, *texts: str) -> None:
    with store.write() as tx:
        for text in texts:
            outbox.notify(tx, kind="entry", text=text, alert_id=INTENT, now=clock())


def waiting(store: Store, limit: int = 100) -> list[outbox.Notice]:
    with store.read() as tx:
        return outbox.unposted(tx, limit)


def test_the_oldest_notices_come_first(store: Store, clock: Any) -> None:
    notify(store, clock, "one", "two", "three")
    assert [notice.text for notice in waiting(store)] == ["one", "two", "three"]
    assert [notice.text for notice in waiting(store, limit=2)] == ["one", "two"]


def test_a_notice_comes_back_whole(store: Store, clock: Any) -> None:
    with store.write() as tx:
        outbox.notify(tx, kind="halt", text="Halted: ütf-8 €", alert_id=None, now=clock())
    (notice,) = waiting(store)
    assert notice == outbox.Notice(
        seq=notice.seq, at=clock(), kind="halt", alert_id=None, text="Halted: ütf-8 €"
    )


def test_a_notice_goes_with_its_transaction(store: Store, clock: Any) -> None:
    def fail() -> None:
        with store.write() as tx:
            outbox.notify(tx, kind="entry", text="never happened", alert_id=None, now=clock())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert waiting(store) == []


def test_a_posted_notice_is_stamped_once(store: Store, clock: Any) -> None:
    notify(store, clock, "one", "two")
    first, second = waiting(store)
    with store.write() as tx:
        assert outbox.posted(tx, first.seq, clock())
        assert not outbox.posted(tx, first.seq, clock.advance(1))
        assert not outbox.posted(tx, second.seq + 1, clock())
    assert waiting(store) == [second]


def test_votes_come_back_in_order(store: Store, clock: Any, intent: str) -> None:
    with store.write() as tx:
        assert outbox.vote(tx, intent_id=intent, voter="zoe", approve=True, now=clock())
        assert outbox.vote(tx, intent_id=intent, voter="abe", approve=False, now=clock.advance(1))
    with store.read() as tx:
        zoe, abe = outbox.votes(tx, intent)
        assert outbox.votes(tx, "another") == []
    assert (zoe.voter, zoe.approve, abe.voter, abe.approve) == ("zoe", True, "abe", False)
    assert abe.at == clock()


def test_the_first_word_of_a_voter_stands(store: Store, clock: Any, intent: str) -> None:
    with store.write() as tx:
        assert outbox.vote(tx, intent_id=intent, voter="zoe", approve=True, now=clock())
        assert not outbox.vote(tx, intent_id=intent, voter="zoe", approve=False, now=clock())
    with store.read() as tx:
        assert [vote.approve for vote in outbox.votes(tx, intent)] == [True]


def test_one_of_many_simultaneous_votes_counts(store: Store, clock: Any, intent: str) -> None:
    def vote(number: int) -> bool:
        with store.write() as tx:
            return outbox.vote(tx, intent_id=intent, voter="zoe", approve=number % 2 == 0, now=clock())

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(vote, range(8))) == [False] * 7 + [True]


def test_nobody_votes_on_what_is_not_there(store: Store, clock: Any) -> None:
    with pytest.raises(Conflict), store.write() as tx:
        outbox.vote(tx, intent_id="none", voter="zoe", approve=True, now=clock())
