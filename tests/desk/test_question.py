"""What goes with a question: the entry as it would be sent, the market, and candles where they can be had."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from desk import logs
from desk.painter import Painter
from desk.venues import in_time
from store import charts, outbox
from tests.emulator.server import Server
from trading.model import Route

LONG = {"action": "buy", "price": "42000", "long SL": "41500", "long TP": "43500"}
LADDER = {"tp Close": "25", "tp1 Mult": "1", "tp2 Mult": "2"}
BOT = {"DISCORD_TOKEN": "token-of-the-test", "DISCORD_CHANNEL_ID": "1"}


@pytest.fixture
def exchange(clock: Any) -> Iterator[Server]:
    """An exchange with half a day behind it."""
    engine, dialect = importlib.import_module("tests.emulator.binance").build(clock)
    clock.advance(timedelta(hours=-12))
    for hour in range(12):
        engine.move("BTC-USDT-PERP", Decimal(42000 + hour), Decimal(41900), Decimal(42100 - hour))
        clock.advance(timedelta(hours=1))
    with Server(dialect, engine) as server:
        yield server


@pytest.fixture
def rig(sqlite_rigs: Callable[..., Any], exchange: Server) -> Any:
    return sqlite_rigs(BINANCE_API_URL=exchange.url, **BOT)


def asked(rig: Any, message: str = "entry", **fields: str) -> dict[str, Any]:
    rig.send(message, route=Route.STUDY, **{**LONG, **fields})
    with rig.store.read() as tx:
        *_, notice = outbox.unposted(tx, 9)
    assert notice.kind == "awaiting_approval"
    return dict(json.loads(notice.data))


def test_the_venues_own_cap_cuts_the_question_too(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exchanges.paper.PaperExchange.max_leverage", lambda *_: Decimal("0.42"))
    assert Decimal(asked(rig, **LADDER)["quantity"]) < 1


def test_the_entry_as_it_would_be_sent(rig: Any) -> None:
    told = asked(rig, **LADDER)
    assert (told["quantity"], told["worst_loss"], told["worst_percent"]) == ("2", "1000", "1")
    assert (told["price"], told["stop"], told["notional"]) == ("42000", "41500", "84000")
    assert [(each["price"], each["quantity"], each["reward"]) for each in told["targets"]] == [
        ("42500", "0.5", "1"),
        ("43000", "0.5", "2"),
        ("43500", "1", "3"),
    ]
    assert rig.alert(rig.send("tp1"))["status"] == "IGNORED"
    assert rig.resting() == []


def test_candles_come_from_the_exchange_that_the_alert_names(rig: Any) -> None:
    told = asked(rig, interval="60")
    bars = charts.unpacked(told["bars"])
    assert len(bars) >= 12
    assert (told["interval"], told["no_bars"]) == ("60", "")
    assert (bars[-2].low, bars[-2].close) == (41900, 42089)
    assert bars[-1].opened_at - bars[-2].opened_at == timedelta(hours=1)


def test_an_exchange_without_an_answer_is_said_and_not_asked_again(rig: Any, exchange: Server) -> None:
    exchange.close()
    assert asked(rig)["no_bars"] == "the exchange does not answer"
    assert asked(rig)["no_bars"] == "the exchange did not answer a moment ago"
    assert rig.status(rig.send("exit")) == "DONE"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"exchange": "PAPER"}, "the paper venue has no candles"),
        ({"exchange": "FTX"}, "FTX_API_URL"),
        ({"ticker": "NOSUCHUSDT.P"}, "NOSUCH"),
        ({"interval": "7"}, "no candles of 7"),
    ],
    ids=str,
)
def test_no_candles_have_their_reason(rig: Any, fields: dict[str, str], said: str) -> None:
    told = asked(rig, **fields)
    assert told["bars"] == []
    assert said in told["no_bars"]


def test_without_a_bot_nobody_is_asked_for_candles(sqlite_rigs: Callable[..., Any], exchange: Server) -> None:
    rig = sqlite_rigs(BINANCE_API_URL=exchange.url)
    assert asked(rig)["bars"] == []
    assert exchange.log == []


def test_what_would_be_refused_is_asked_with_a_warning(sqlite_rigs: Callable[..., Any]) -> None:
    rig = sqlite_rigs(PAPER_BALANCE="1")
    assert "as things are it would be refused" in asked(rig)["warning"]


def test_a_venue_that_tells_nothing_does_not_stop_the_question(sqlite_rigs: Callable[..., Any]) -> None:
    rig = sqlite_rigs()
    rig.flaky().order_fault("unreachable", at=0, verb="price")
    assert "tells no price" in asked(rig)["warning"]
    rig.flaky().order_fault("unreachable", at=0, verb="balance")
    assert "size cannot be told" in asked(rig)["warning"]


def test_an_exit_is_asked_without_a_size(rig: Any) -> None:
    told = asked(rig, "exit")
    assert "quantity" not in told
    assert "warning" not in told


def test_a_chart_that_was_asked_for_comes_as_a_notice(rig: Any, exchange: Server) -> None:
    rig.send("entry", **LONG)
    with rig.store.write() as tx:
        for symbol in ("BTC-USDT-PERP", "NOSUCH-USDT-PERP"):
            charts.ask(tx, exchange="BINANCE", symbol=symbol, interval="60", channel_id=7, now=rig.clock())
    painter = Painter(rig.store, rig.venues, rig.clock, live=False)
    painter.answer()
    painter.answer()
    with rig.store.read() as tx:
        good, bad = (json.loads(n.data) for n in outbox.unposted(tx, 99) if n.kind == "chart")
    assert (good["stop"], good["price"], good["channel_id"]) == ("41500", "42000", 7)
    assert len(good["bars"]) >= 12
    assert bad["bars"] == []
    assert "NOSUCH" in bad["no_bars"]


def test_the_runner_answers_charts_beside_its_lanes(rig: Any) -> None:
    with rig.store.write() as tx:
        charts.ask(tx, exchange="PAPER", symbol="BTC-USDT-PERP", interval="60", channel_id=7, now=rig.clock())

    def told() -> bool:
        rig.runner.draw()
        with rig.store.read() as tx:
            return any(notice.kind == "chart" for notice in outbox.unposted(tx, 99))

    in_time(lambda: any(iter(told, True)) or None, 20)
    assert told()


def test_an_answer_that_comes_too_late_is_dropped() -> None:
    with pytest.raises(TimeoutError):
        in_time(lambda: importlib.import_module("threading").Event().wait(2), 0.01)
    with pytest.raises(ZeroDivisionError):
        in_time(lambda: 1 // 0, 5)


def test_what_is_asked_in_time_is_logged_with_its_alert() -> None:
    with logs.about("n1"):
        assert in_time(logs._alert.get, 5) == "n1"


def test_the_dashboards_charts_are_kept_for_it_and_told_to_nobody(
    sqlite_rigs: Callable[..., Any], exchange: Server
) -> None:
    rig = sqlite_rigs(BINANCE_API_URL=exchange.url)  # no bot: candles are fetched for who asks, and else not
    asked = {"exchange": "BINANCE", "symbol": "BTC-USDT-PERP", "interval": "60"}
    with rig.store.write() as tx:
        charts.ask(tx, **asked, channel_id=charts.PAGE, now=rig.clock())
    Painter(rig.store, rig.venues, rig.clock, live=False).answer()
    with rig.store.read() as tx:
        kept = charts.kept(tx, **asked)
        assert charts.open_requests(tx, 9) == []
        assert [notice for notice in outbox.unposted(tx, 99) if notice.kind == "chart"] == []
    assert kept is not None
    assert len(kept.bars) >= 12
    assert (kept.missing, kept.at) == ("", rig.clock())
