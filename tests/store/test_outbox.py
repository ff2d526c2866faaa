"""Notices are told once and in order; a voter has one vote."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from store import Conflict, Store, outbox
from store.tables import alerts, intents
from tests.store.rows import add

INTENT = "0123456789abcdef0123"


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


def test_the_data_of_a_notice_goes_once_it_was_told(store: Store, clock: Any) -> None:
    with store.write() as tx:
        outbox.notify(tx, kind="chart", text="c", alert_id=None, now=clock(), data='{"bars":[]}')
    (notice,) = waiting(store)
    assert notice.data == '{"bars":[]}'
    with store.write() as tx:
        assert outbox.posted(tx, notice.seq, clock())
        assert not tx.exec_driver_sql("SELECT data FROM notices").scalar_one()


def test_what_is_too_old_to_be_news_is_not_told(store: Store, clock: Any) -> None:
    notify(store, clock, "old")
    clock.advance(timedelta(hours=2))
    notify(store, clock, "new")
    with store.write() as tx:
        assert outbox.forgo(tx, before=clock() - timedelta(hours=1), now=clock()) == 1
    assert [notice.text for notice in waiting(store)] == ["new"]


def test_old_log_lines_are_deleted_and_nothing_else(store: Store, clock: Any) -> None:
    with store.write() as tx:
        for kind in ("log", "log", "entry"):
            outbox.notify(tx, kind=kind, text=kind, alert_id=None, now=clock())
        told, _, entry = outbox.unposted(tx, 9)
        outbox.posted(tx, told.seq, clock())
        outbox.posted(tx, entry.seq, clock())
        assert outbox.prune(tx, kinds=("log", "error"), before=clock.advance(1)) == 1
        assert tx.exec_driver_sql("SELECT count(*) FROM notices").scalar_one() == 2
