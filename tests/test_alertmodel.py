"""alertmodel.txt: every example in it is an alert, and says what its title says."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from trading.alert import decode, parse
from trading.alertmodel import Example, examples
from trading.errors import AlertInvalid
from trading.keys import KEYS, PLACEHOLDER, canonical
from trading.model import Alert, AlertKind, Levels, OrderType, Rung, Side

TEXT = (Path(__file__).parents[1] / "alertmodel.txt").read_text(encoding="utf-8")
EXAMPLES = examples(TEXT)
TEMPLATES = [example for example in EXAMPLES if example.is_template]
FILLED = [example for example in EXAMPLES if not example.is_template]
BY_TITLE = {example.title: example for example in EXAMPLES}

# What TradingView would put in for a long entry.
VALUES = {
    "ticker": "BTCUSDT.P",
    "exchange": "BYBIT",
    "interval": "15",
    "timenow": "2026-11-02T10:15:00Z",
    "close": "42000",
    "strategy.order.action": "buy",
    "strategy.order.alert_message": "entry",
    "strategy.order.contracts": "0.5",
    "strategy.order.id": "Long",
    "strategy.order.price": "42000",
    "strategy.market_position": "long",
    "strategy.position_size": "0.5",
    "strategy.prev_market_position": "flat",
    "strategy.prev_market_position_size": "0",
    'plot("Long SL")': "41500",
    'plot("Long TP")': "44000",
    'plot("Long Breakeven")': "NaN",
    'plot("Short SL")': "0",
    'plot("Short TP")': "0",
    'plot("Short Breakeven")': "NaN",
    'plot("TP Close")': "25",
    'plot("TP1 Mult")': "1",
    'plot("TP2 Mult")': "2",
    'plot("TP3 Mult")': "0",
}


def fill(text: str) -> str:
    return PLACEHOLDER.sub(lambda placeholder: VALUES[placeholder[1]], text)


def read(text: str) -> Alert:
    return parse(
        decode(text.encode()),
        default_subaccount=None,
        exchanges=["BINANCE", "BYBIT"],
        received_at=datetime(2026, 11, 2, 21, 0, tzinfo=UTC),
    )


def test_it_has_what_people_look_for() -> None:
    assert [example.title for example in TEMPLATES] == [
        "Strategy: template",
        "Multiple targets: template",
        "Position fields and id: template",
        "Study: template",
    ]
    assert len(BY_TITLE) == len(EXAMPLES)
    kinds = [read(example.body_text).kind for example in FILLED]
    assert set(kinds) == set(AlertKind)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_every_example_is_an_alert(example: Example) -> None:
    body = decode(fill(example.body_text).encode())
    assert body.passphrase == "your-passphrase"
    alert = read(fill(example.body_text))
    assert (alert.symbol, alert.account) == ("BTC-USDT-PERP", "MAIN")
    assert alert.sent_at is not None


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_every_key_is_spelt_as_the_server_spells_it(example: Example) -> None:
    keys = json.loads(fill(example.body_text))
    assert [canonical(key) for key in keys] == list(keys)


@pytest.mark.parametrize("example", TEMPLATES, ids=lambda example: example.title)
def test_a_template_is_a_long_entry_once_filled_in(example: Example) -> None:
    alert = read(fill(example.body_text))
    assert (alert.kind, alert.side, alert.exchange) == (AlertKind.ENTRY, Side.BUY, "BYBIT")
    assert alert.levels == Levels(stop=Decimal(41500), target=Decimal(44000))
    assert alert.short == Levels()


@pytest.mark.parametrize("example", TEMPLATES, ids=lambda example: example.title)
def test_a_template_as_it_stands_is_refused_with_a_placeholder_named(example: Example) -> None:
    with pytest.raises(AlertInvalid, match=r"\{\{.*\}\}"):
        decode(example.body_text.encode())


@pytest.mark.parametrize("example", TEMPLATES, ids=lambda example: example.title)
@pytest.mark.parametrize("missing", ["NaN", "", "null", "0"])
def test_a_template_filled_without_a_stop_is_refused(example: Example, missing: str) -> None:
    text = example.body_text.replace('{{plot("Long SL")}}', missing)
    with pytest.raises(AlertInvalid, match="needs a stop") as refused:
        read(fill(text))
    assert refused.value.field == "long SL"


def test_every_placeholder_stands_in_quotes() -> None:
    for example in TEMPLATES:
        bare = re.sub(r'"[^"\n]*": "(.*)"(,?)\n', "", example.body_text)
        assert "{{" not in bare, example.title


def test_the_long_entry() -> None:
    alert = read(BY_TITLE["Strategy: a long entry"].body_text)
    assert (alert.kind, alert.side, alert.order_type) == (AlertKind.ENTRY, Side.BUY, OrderType.MARKET)
    assert alert.price == Decimal(42000)
    assert alert.long == Levels(stop=Decimal(41500), target=Decimal(43000), breakeven=Decimal(42050))
    assert alert.short == Levels()
    assert (alert.rungs, alert.target_close_percent, alert.size) == ((), None, None)
    assert alert.sent_at == datetime(2026, 11, 2, 10, 15, tzinfo=UTC)
    assert alert.chart_url == "https://www.tradingview.com/chart/"


def test_the_ladder() -> None:
    alert = read(BY_TITLE["Multiple targets: a long entry"].body_text)
    assert alert.rungs == tuple(Rung(number=n, multiple=Decimal(n)) for n in (1, 2, 3))
    assert alert.target_close_percent == Decimal(25)
    assert alert.long.target == Decimal(44000)


def test_the_messages_that_are_no_entry() -> None:
    assert read(BY_TITLE["Strategy: exit"].body_text).kind is AlertKind.EXIT
    assert read(BY_TITLE["Multiple targets: tp1"].body_text).kind is AlertKind.TOLD
    for title in ("Strategy: breakeven", "Multiple targets: tp1 and breakeven"):
        alert = read(BY_TITLE[title].body_text)
        assert alert.kind is AlertKind.BREAKEVEN
        assert alert.long.breakeven == Decimal(42050)


def test_the_short_entry_with_position_fields() -> None:
    alert = read(BY_TITLE["Position fields and id: a short entry"].body_text)
    assert (alert.side, alert.levels.stop, alert.levels.target) == (Side.SELL, Decimal(43000), Decimal(41000))
    assert alert.key == "BTCUSDT.P 15 2026-11-02T16:00:00Z Short -0.6"
    assert (alert.market_position, alert.prev_market_position) == ("short", "long")
    assert (alert.prev_market_position_size, alert.contracts) == (Decimal("0.6"), Decimal("1.2"))
    assert alert.interval == "15"


def test_the_limit_entry() -> None:
    alert = read(BY_TITLE["Limit: a long entry of a fixed size"].body_text)
    assert (alert.order_type, alert.price, alert.size) == (
        OrderType.LIMIT,
        Decimal(41000),
        Decimal("0.05"),
    )


def test_the_filled_in_ones_are_one_story() -> None:
    """Told in order, nothing twice, and over before the day is."""
    alerts = [read(example.body_text) for example in FILLED]
    times = [alert.sent_at for alert in alerts if alert.sent_at]
    assert times == sorted(set(times))
    assert times[-1] - times[0] < timedelta(days=1)
    assert len({alert.fingerprint for alert in alerts}) == len(alerts)
    assert {alert.exchange for alert in alerts} == {"BINANCE"}


def test_its_text_names_every_key() -> None:
    prose = re.sub(r"```json.*?```", "", TEXT, flags=re.DOTALL)
    assert [key for key in KEYS if key not in prose and not key.endswith("Breakeven")] == []
    assert all(f'"{word} Breakeven"' in prose for word in ("long", "short"))


def test_examples_keep_order_title_and_text() -> None:
    text = '## One\nwords\n```json\n{\n "a": 1}\n```\n## Two \n```json\n{"t": "{{ticker}}"}\n```  \nend\n'
    assert examples(text) == [
        Example(title="One", body_text='{\n "a": 1}\n', is_template=False),
        Example(title="Two", body_text='{"t": "{{ticker}}"}\n', is_template=True),
    ]
    assert examples("") == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("```json\n{}\n```\n", "line 1"),
        ("## One\n```json\n{}\n```\n```json\n{}\n```\n", "line 5"),
        ("## \n```json\n{}\n```\n", "without a title"),
        ("## One\n```json\n{}\n", "One: its block"),
    ],
)
def test_a_broken_form_is_told(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        examples(text)
