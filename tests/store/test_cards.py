"""Cards remember what was told, and candles and requests for them pass through the database unchanged."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from store import Store, cards, charts, journal
from store.tables import alerts, intents
from tests.store.rows import add
from trading.model import Candle, IntentStatus

ALERT = "0123456789abcdef0123"


@pytest.fixture
def card(store: Store, clock: Any) -> cards.Card:
    with store.write() as tx:
        add(tx, alerts, clock(), id=ALERT)
        add(tx, intents, clock(), id=ALERT, status=IntentStatus.AWAITING_APPROVAL)
        return cards.add(tx, alert_id=ALERT, channel_id=2**60, message_id=2**61, data="{}", now=clock())


def test_the_first_message_of_an_alert_stays(store: Store, clock: Any, card: cards.Card) -> None:
    with store.write() as tx:
        again = cards.add(tx, alert_id=ALERT, channel_id=1, message_id=2, data=None, now=clock())
        assert again == card
        assert cards.of_message(tx, 2**61) == card == cards.of_alert(tx, ALERT)
        assert cards.of_message(tx, 2) is None


def test_a_card_waits_as_long_as_its_intent(store: Store, card: cards.Card) -> None:
    with store.write() as tx:
        assert cards.waiting(tx) == [card]
        tx.execute(intents.update().values(status=IntentStatus.DECLINED))
        assert cards.waiting(tx) == []


def test_a_card_is_behind_until_its_story_is_told(store: Store, clock: Any, card: cards.Card) -> None:
    long_ago = clock.advance(-60)
    clock.advance(60)
    with store.write() as tx:
        assert cards.behind(tx, quiet_before=long_ago) == []
        journal.tell(tx, ALERT, "sized", "2 BTC", clock())
        journal.tell(tx, ALERT, "fill", "at 42000", clock())
        (late,) = cards.behind(tx, quiet_before=long_ago)
        first, second = cards.news(tx, late)
        assert (first.event, first.detail, second.event) == ("sized", "2 BTC", "fill")
        cards.told(tx, ALERT, seq=first.seq)
        (late,) = cards.behind(tx, quiet_before=long_ago)
        assert cards.news(tx, late) == [second]
        cards.told(tx, ALERT, seq=second.seq)
        assert cards.behind(tx, quiet_before=long_ago) == []
        assert len(cards.behind(tx, quiet_before=clock.advance(1))) == 1
        cards.shown(tx, ALERT, digest="x", live=False, now=clock())
        journal.tell(tx, ALERT, "note", "nobody looks any more", clock())
        assert cards.behind(tx, quiet_before=clock.advance(1)) == []


def test_what_was_told_is_never_told_back(store: Store, card: cards.Card) -> None:
    with store.write() as tx:
        cards.told(tx, ALERT, seq=9)
        cards.told(tx, ALERT, seq=4)
        cards.threaded(tx, ALERT, 77)
        found = cards.of_alert(tx, ALERT)
    assert found is not None
    assert (found.told_seq, found.thread_id) == (9, 77)


def test_candles_come_back_as_they_went_in() -> None:
    prices = (Decimal("0.00000123"), Decimal("1E+3"), Decimal("-0"), Decimal(7), Decimal("12.50"))
    first, high, low, last, volume = prices
    at = datetime(2026, 1, 5, 12, tzinfo=UTC)
    bar = Candle(opened_at=at, open=first, high=high, low=low, close=last, volume=volume)
    (packed,) = charts.packed([bar])
    assert packed[1:3] == ["0.00000123", "1000"]
    assert charts.unpacked([packed]) == [bar]


def test_a_request_is_answered_once(store: Store, clock: Any) -> None:
    with store.write() as tx:
        charts.ask(tx, exchange="PAPER", symbol="BTC-USDT", interval="60", channel_id=2**60, now=clock())
        (asked,) = charts.open_requests(tx, 5)
        assert (asked.symbol, asked.interval, asked.channel_id) == ("BTC-USDT", "60", 2**60)
        assert charts.answered(tx, asked.seq, clock())
        assert not charts.answered(tx, asked.seq, clock())
        assert charts.open_requests(tx, 5) == []
