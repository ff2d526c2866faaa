"""python -m desk.replay: stored alerts on the paper venue, twice the same, and as the whole desk has it."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from desk import replay, tally
from desk.playback import VOTES, Clock, Result, play, word
from desk.rehearsal import Rehearsal
from desk.settings import Settings, load
from desk.tape import Unreadable, made_up, path, read_alerts, read_candles, text_of
from desk.wholedesk import PASSPHRASE, WholeDesk
from store import open_store
from trading.model import Candle, Direction, Lane, Route

ROOT = Path(__file__).parents[2]
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
ENVIRON = {
    "WEBHOOK_PASSPHRASE": PASSPHRASE,
    "RUNNER": "off",
    "RISK_MAIN": "1",
    "LEVERAGE_MAIN": "3",
    "RISK_SWING": "2",
    "LEVERAGE_SWING": "3",
    "APPROVAL_SWING": "discord",
    "DRIFT_MAIN": "resync",
    "LIMITS_MAIN": '{"max_orders_per_minute": 40, "max_daily_loss": 2500, "max_open_positions": 2}',
}
ENTRY = {
    "exchange": "BINANCE",
    "ticker": "BTCUSDT.P",
    "subaccount": "MAIN",
    "message": "entry",
    "action": "buy",
    "price": "50000",
    "long SL": "49500",
    "long TP": "51500",
    "tp Close": "25",
    "tp1 Mult": "1",
    "tp2 Mult": "2",
}


def at(seconds: float) -> str:
    return (BEGIN + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def line(seconds: float, *, told: dict[str, Any] | None = None, **changes: Any) -> str:
    body = ENTRY | {"time": at(seconds)} | {key.replace("__", " "): value for key, value in changes.items()}
    kept = {key: value for key, value in body.items() if value is not None}
    return json.dumps({"received_at": at(seconds), "body": kept} | (told or {}))


STORY = [
    line(0, id="a"),
    line(1, id="a"),  # another body under its id
    line(60, message="tp1_breakeven", price="50500", long__Breakeven="50050"),
    line(120, message="exit", price="50900"),
    line(121, message="exit", price="50900"),
    line(180, long__SL=None),
]


def many(count: int, seed: int) -> str:
    """A long story: two accounts, four instruments, all messages, limits, repeats, questions, nonsense."""
    chance, stance = random.Random(seed), random.Random(-seed)
    prices = {
        "BTCUSDT.P": Decimal(50000),
        "ETHUSDT.P": Decimal(3000),
        "XRPUSDT.P": Decimal("0.5"),
        "SOLUSDT": Decimal(150),
    }
    lines, now = [], 0.0
    for number in range(count):
        now += chance.choice((1, 20, 90, 700))
        ticker = chance.choice(list(prices))
        price = prices[ticker] = round(prices[ticker] * (1 + Decimal(chance.randint(-80, 80)) / 10000), 4)
        buys = chance.random() < 0.5
        sign = 1 if buys else -1
        stop, target = price * (1 - sign * Decimal("0.01")), price * (1 + sign * Decimal("0.025"))
        side = "long" if buys else "short"
        told: dict[str, Any] = {"status": chance.choice(("DONE", "DECLINED", "EXPIRED"))}
        told["route"] = Route.STUDY if chance.random() < 0.1 else Route.ORDER
        changes: dict[str, Any] = {
            "ticker": ticker,
            "price": f"{price:f}",
            "subaccount": chance.choice(("MAIN", "SWING")),
            "message": chance.choice(("entry", "entry", "exit", "tp1", "tp1_breakeven", "breakeven")),
            "action": "buy" if buys else "sell",
            "long__SL": None,
            "long__TP": None,
            f"{side}__SL": f"{stop:.4f}",
            f"{side}__TP": f"{target:.4f}" if chance.random() < 0.8 else None,
            f"{side}__Breakeven": f"{price * (1 + sign * Decimal('0.0005')):.4f}"
            if chance.random() < 0.5
            else None,
            "type": "limit" if chance.random() < 0.15 else "market",
            "id": f"{number}" if chance.random() < 0.8 else chance.choice((None, "again")),
        }
        if chance.random() < 0.05:
            changes["time"] = at(now - 300)
        if chance.random() < 0.05:
            changes["size"] = "0.001"
        if stance.random() < 0.3:
            changes["prev_market_position"] = stance.choice(("long", "short", "flat", None))
            changes["market_position"] = stance.choice(("long", "short", "flat", None))
        lines += [line(now, told=told, **changes)] * chance.choice((1, 1, 1, 1, 1, 2))
    return "\n".join(lines)


def settings(**changes: str) -> Settings:
    return load(ENVIRON | changes)


def prices(candles: dict[str, list[Candle]]) -> dict[str, Iterator[tuple[datetime, Decimal]]]:
    return {symbol: path(each) for symbol, each in candles.items()}


def rehearsed(
    text: str, candles: dict[str, list[Candle]] | None = None, *, votes: str = "recorded", **changes: str
) -> Result:
    clock = Clock()
    engine = Rehearsal(settings(**changes), clock, votes=votes)
    return play(engine, clock, read_alerts(text), prices(candles or {}), lambda done: None)


def whole(text: str, candles: dict[str, list[Candle]], url: str, *, votes: str = "recorded") -> Result:
    clock, store = Clock(), open_store(url)
    try:
        engine = WholeDesk(store, settings(), clock, votes=votes)
        return play(engine, clock, read_alerts(text), prices(candles), lambda done: None)
    finally:
        store.close()


def told(result: Result) -> Iterator[tuple[Any, ...]]:
    """All that a run came to, without the names of orders."""
    for row in result.rows:
        yield row.line, row.status, row.reason, row.sizing and (row.sizing.quantity, row.sizing.worst_loss)
    for lane, fills in sorted(result.fills.items(), key=lambda pair: str(pair[0])):
        for fill in fills:
            name, _, leg = (fill.client_order_id or "").partition("-")
            yield str(lane), result.lines[name], leg, fill.at, fill.side, fill.quantity, fill.price, fill.fee
    yield result.prices


def candles_of(text: str) -> dict[str, list[Candle]]:
    known = replay._known_prices(read_alerts(text))
    return {symbol: made_up(prices, f"1 {symbol}") for symbol, prices in known.items()}


# --- the two engines ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_rehearsal_is_what_the_whole_desk_does(seed: int, sqlite_url: str) -> None:
    text = many(20 if seed == 1 else 12, seed)
    candles = candles_of(text) if seed == 2 else {}
    expected, got = list(told(whole(text, candles, sqlite_url))), list(told(rehearsed(text, candles)))
    assert got == expected


def test_what_arrives_swapped_or_adrift_ends_the_same_in_both(sqlite_url: str) -> None:
    """DRIFT_MAIN=resync; each pair is of one moment."""

    def says(prev: str, now: str) -> dict[str, str]:
        return {"prev_market_position": prev, "market_position": now}

    short = {"action": "sell", "long__SL": None, "long__TP": None, "short__SL": "50500", "short__TP": "48000"}
    text = "\n".join(
        (
            line(0, id="1", **says("flat", "long")),
            line(100, id="2", **short, **says("flat", "short")),
            line(100, id="3", message="exit", **says("long", "flat")),
            line(200, id="4", message="exit", **says("short", "flat")),
            line(300, id="5", message="exit", **says("long", "flat")),
            line(300, id="6", **says("flat", "long")),
            line(400, id="7", **says("flat", "long")),
            line(500, id="8", message="tp1_breakeven", **says("long", "flat")),
            line(600, id="9", **short, **says("long", "flat")),
            line(700, id="10", message="tp1_breakeven", **says("short", "short")),
        )
    )
    expected, got = list(told(whole(text, {}, sqlite_url))), list(told(rehearsed(text)))
    assert got == expected
    statuses = [row[1] for row in expected if isinstance(row, tuple) and len(row) == 4]
    assert statuses == [
        *("DONE", "DONE", "EXPIRED", "DONE", "DONE", "EXPIRED", "DONE", "DONE", "DENIED", "DONE")
    ]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(3, 9))
def test_the_rehearsal_is_what_the_whole_desk_does_at_length(seed: int, sqlite_url: str) -> None:
    text = many(150, seed)
    candles = candles_of(text) if seed % 2 else {}
    votes = VOTES[seed % len(VOTES)]
    expected = list(told(whole(text, candles, sqlite_url, votes=votes)))
    assert list(told(rehearsed(text, candles, votes=votes))) == expected


def test_a_long_story_has_every_kind_of_end() -> None:
    statuses = {row.status for row in rehearsed(many(400, 1)).rows}
    assert statuses >= {
        *("DONE", "DENIED", "DECLINED", "EXPIRED", "IGNORED", "REFUSED", "DUPLICATE"),
    }


def test_a_story_comes_to_what_it_should() -> None:
    result = rehearsed("\n".join(STORY))
    assert [(row.status, row.reason) for row in result.rows] == [
        ("DONE", ""),
        ("REFUSED", "id: the id a was used before by alert of line 1 with another body; not traded"),
        ("DONE", ""),
        ("DONE", ""),
        ("DONE", "it was flat already"),
        ("REFUSED", "long SL: an entry needs a stop"),
    ]
    (trip,) = tally.trips(result)
    assert (trip.line, trip.direction, trip.quantity) == (1, Direction.LONG, Decimal(2))
    assert (trip.average_entry, trip.average_exit) == (Decimal(50000), Decimal(50800))
    # 0.5 at 50500 as maker, 1.5 at 50900 and the entry as taker
    assert trip.pnl == Decimal(1600)
    assert trip.fees == Decimal(2) * 50000 * Decimal("0.0005") + Decimal("0.5") * 50500 * Decimal(
        "0.0002"
    ) + Decimal("1.5") * 50900 * Decimal("0.0005")


def test_candles_move_the_market_between_alerts() -> None:
    down = [candle(1, 50000, 50010, 49400, 49450)]
    result = rehearsed(line(0), {"BTC-USDT-PERP": down})
    (trip,) = tally.trips(result)
    assert (trip.average_exit, trip.net < -1000) == (Decimal(49500), True)
    assert result.prices == {"BTC-USDT-PERP": Decimal(49450)}


def candle(minutes: int, *prices: int) -> Candle:
    """Open, high, low, close."""
    first, high, low, last = map(Decimal, prices)
    opened_at = BEGIN + timedelta(minutes=minutes)
    return Candle(opened_at=opened_at, open=first, high=high, low=low, close=last, volume=Decimal(0))


def test_the_path_of_a_candle_goes_to_the_nearer_extreme_first() -> None:
    told = path([candle(0, 10, 12, 9, 11), candle(4, 11, 12, 8, 9)])
    assert [(int((when - BEGIN).total_seconds()), int(price)) for when, price in told] == [
        *((0, 10), (60, 9), (120, 12), (180, 11)),
        *((240, 11), (300, 12), (360, 8), (420, 9)),
    ]


# --- what is read -------------------------------------------------------------------------------------


def test_alerts_are_read_in_every_form_and_sorted() -> None:
    rows = [json.loads(each) for each in STORY[:4]]
    bodies = [json.dumps(row["body"]) for row in rows]
    log = io.StringIO()
    writer = csv.writer(log)
    writer.writerow(["Alert ID", "Ticker", "Name", "Description", "Time", "Webhook status"])
    for row in reversed(rows):  # newest first, as TradingView has it
        message = json.dumps(row["body"] | {"passphrase": "of-somebody"}, indent=1)
        writer.writerow(["1", "BINANCE:BTCUSDT.P", "Mine", message, row["received_at"], "Delivered"])
    forms = {
        "exported": "\n".join(STORY[:4]),
        "newest first": "\n".join(reversed(STORY[:4])),
        "page": json.dumps({"alerts": list(reversed(rows)), "next_before": None}),
        "bodies": "\n".join(bodies) + "\n\n",
        "list": f"[{', '.join(bodies)}]",
        "log": log.getvalue(),
    }
    for name, text in forms.items():
        heard = read_alerts(text)
        assert [each.at for each in heard] == [BEGIN + timedelta(seconds=s) for s in (0, 1, 60, 120)], name
        assert [each.body and each.body.fields["message"] for each in heard] == [
            *("entry", "entry", "tp1_breakeven", "exit"),
        ], name
    assert "of-somebody" not in str(read_alerts(log.getvalue()))


def test_what_is_nested_too_deep_is_left_to_the_door() -> None:
    """Beside good ones, and alone."""
    deep = "[" * 100_000
    assert [each.body is None for each in read_alerts(f"{STORY[0]}\n{deep}")] == [False, True]
    assert [each.body for each in read_alerts(deep)] == [None]


def test_a_line_ends_where_the_file_says() -> None:
    """Not at a separator of Unicode's within a text."""
    body = json.dumps(ENTRY | {"strategy": "a\u2028b"}, ensure_ascii=False)
    assert [each.line for each in read_alerts(f"{body}\r\n{body}\r\n")] == [1, 2]


def test_a_log_that_a_spreadsheet_saved_is_read() -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";")
    writer.writerows([["Name", "Description", "Time"], ["Mine", json.dumps(ENTRY), at(5)]])
    (only,) = read_alerts(out.getvalue())
    assert only.body is not None
    assert (only.at, only.body.fields["action"]) == (BEGIN + timedelta(seconds=5), "buy")


def test_files_of_windows_are_read_and_others_told() -> None:
    text = STORY[0]
    assert [text_of(text.encode(name), "x") for name in ("utf-8", "utf-8-sig", "utf-16")] == [text] * 3
    with pytest.raises(Unreadable, match=r"x: line 2 is not UTF-8 text: save it as UTF-8"):
        text_of("a\nRück".encode("latin-1"), "x")


def test_one_alert_on_many_lines_is_one_alert() -> None:
    (only,) = read_alerts(json.dumps(ENTRY | {"time": at(7)}, indent=2))
    assert (only.line, only.at) == (1, BEGIN + timedelta(seconds=7))


def test_alerts_without_a_time_are_a_second_apart() -> None:
    first, second = read_alerts(json.dumps(ENTRY) + "\n" + json.dumps(ENTRY))
    assert second.at - first.at == timedelta(seconds=1)


def test_the_account_of_a_stored_alert_is_kept() -> None:
    row = {"body": {"message": "exit"}, "subaccount": "swing", "route": Route.STUDY.value, "status": "DONE"}
    (heard,) = read_alerts(json.dumps(row))
    assert heard.body is not None
    assert (heard.body.fields["subaccount"], heard.route, heard.status) == ("swing", Route.STUDY, "DONE")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (" \n", "nothing in it"),
        ("hello", "line 1: neither JSON lines nor TradingView's alert log"),
        ('{"received_at": "soon", "body": {}}', "line 1: 'soon' is no time"),
        ('{"ticker": "X", "timeline": []}', "without its body"),
        ("[]", "there is no alert in it"),
        ('{"alerts": [], "next_before": null}', "there is no alert in it"),
        ("Description,Time\n", "there is no alert in it"),
        ('Description,Time\n"' + "x" * 200_000, "line 2: it is no CSV .*: is a quote not closed"),
    ],
)
def test_a_file_that_is_no_tape_is_told(text: str, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        read_alerts(text)


def test_candles_are_read_as_tradingview_exports_them() -> None:
    text = "time,open,high,low,close,Volume\n1767571200,10,12,9,11,5\n2026-01-05T00:15:00Z,11,12,8,9,\n"
    first, second = read_candles(text)
    assert read_candles(text.replace(",", ";").replace("1767571200", "2026-01-05")) == [first, second]
    assert (first.opened_at, first.close, first.volume) == (BEGIN, Decimal(11), Decimal(5))
    assert second.opened_at == BEGIN + timedelta(minutes=15)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time,open\n", "names no column high, low, close"),
        ("time,open,high,low,close\nnever,1,1,1,1\n", "line 2: no time"),
        ("time,open,high,low,close\n1767571200,1,x,1,1\n", "line 2: not a time and four prices"),
        ("time,open,high,low,close\n1767571200,3,2,4,3\n", "line 2: its high is not the highest"),
        ("time,open,high,low,close\n", "candles: there is none in it"),
    ],
)
def test_candles_that_are_none_are_told(text: str, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        read_candles(text)


def test_made_up_candles_lead_from_price_to_price_and_are_the_same_twice() -> None:
    known = [
        (BEGIN + timedelta(hours=hours, seconds=seconds), Decimal(price))
        for hours, seconds, price in ((0, 0, 100), (3, 0, 103), (3, 5, 104))
    ]
    candles = made_up(known, "1 X")
    assert candles == made_up(known, "1 X") != made_up(known, "2 X")
    assert len(candles) == 60
    assert (candles[0].open, candles[-1].close) == (Decimal(100), Decimal(103))
    for before, after in pairwise(candles):
        assert before.close == after.open
        assert after.low <= min(after.open, after.close) <= max(after.open, after.close) <= after.high


def test_what_people_say() -> None:
    assert [word("recorded", status) for status in ("DONE", "DECLINED", "EXPIRED", None)] == [
        *(True, False, None, True),
    ]
    assert [word(votes, "DONE") for votes in ("approve", "decline", "none")] == [True, False, None]


# --- the command --------------------------------------------------------------------------------------


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ENVIRON:
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "settings.env"
    file.write_text("DATABASE_URL=sqlite:///never-touched.db\nLIVE_TRADING=1\nRISK_MAIN=1\nLEVERAGE_MAIN=3\n")
    return file


def test_the_command_compares_and_writes_a_row_per_alert_and_run(
    env_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "WHOLE_UP_TO", 0)
    tape, out = tmp_path / "alerts.jsonl", tmp_path / "out.csv"
    tape.write_text("\n".join(STORY))
    arguments = [str(tape), "--set", "RISK_MAIN=2", "--csv", str(out)]
    assert replay.main(arguments, env_file=env_file) == 0
    said = capsys.readouterr()
    assert "6 alerts from 2026-01-05 00:00 to 2026-01-05 00:03 UTC" in said.out
    table = {row[:32].strip(): row[32:].split() for row in said.out.splitlines()}
    assert table["P&L before fees"] == ["1600.00", "3200.00", "+1600.00"]
    assert table["trades"] == ["1", "1", "0"]
    assert table["REFUSED"] == ["2", "2", "0"]
    assert "as set: 6 of 6 alerts (100 %)" in said.err
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [(row["run"], row["line"], row["status"]) for row in rows if row["message"] == "entry"] == [
        ("as set", "1", "DONE"),
        ("changed", "1", "DONE"),
    ]
    first = next(row for row in rows if row["run"] == "changed" and row["line"] == "1")
    assert (first["quantity"], first["average_exit"], first["pnl"]) == ("4", "50800", "3200.00")


def test_two_runs_give_the_same_bytes(
    env_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = tmp_path / "alerts.jsonl"
    tape.write_text(many(150, 1))
    seen = set()
    for number in (1, 2):
        out = tmp_path / f"{number}.csv"
        arguments = [str(tape), "--candles", "synthetic", "--set", "VOTES=none", "--csv", str(out)]
        assert replay.main(arguments, env_file=env_file) == 0
        seen.add((capsys.readouterr().out, out.read_bytes()))
    ((said, _),) = seen
    assert "RISK_SWING is not set: 1 is assumed" in said
    assert "candles made up between the alerts' prices, seed 1" in said


@pytest.mark.slow
def test_the_whole_desk_prints_the_same_table(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a trader calls it: a short tape goes through door, journal and runner."""
    tape = tmp_path / "alerts.jsonl"
    tape.write_text("\n".join(STORY[:4]))
    command = [sys.executable, "-m", "desk.replay", str(tape)]
    env = {"PATH": "/usr/bin:/bin", "RISK_MAIN": "1", "LEVERAGE_MAIN": "3"}
    said = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
    monkeypatch.setattr(replay, "WHOLE_UP_TO", 0)
    assert replay.main([str(tape)], env_file=env_file) == 0
    note = "  played through the whole desk: door, journal, runner, paper venue"
    assert note in said.splitlines()
    rehearsed_table = capsys.readouterr().out.splitlines()
    assert [row for row in said.splitlines() if row != note] == [
        row for row in rehearsed_table if not row.startswith("  played through")
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl"),
        (["--set", "API_KEY_MAIN=x", "alerts.jsonl"], "API_KEY_MAIN: is nothing to change here"),
        (["--set", "RISK_MAIN=lots", "alerts.jsonl"], "RISK_MAIN: 'lots' is not a plain number"),
        (["--set", "VOTES=maybe", "alerts.jsonl"], "VOTES: is one of recorded, approve, decline, none"),
        (["--candles", "BTC1!=x.csv", "alerts.jsonl"], "a continuous future cannot be traded"),
        (["--csv", "nowhere/out.csv", "alerts.jsonl"], "nowhere/out.csv"),
    ],
)
def test_what_cannot_be_played_is_told(
    arguments: list[str],
    said: str,
    env_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("alerts.jsonl").write_text(STORY[0])
    assert replay.main(arguments, env_file=env_file) == 1
    told = capsys.readouterr()
    assert said in told.err
    assert (told.out, "alerts (" in told.err) == ("", False), "nothing has been played"


def test_why_alerts_were_not_traded_is_in_the_table(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(replay, "WHOLE_UP_TO", 0)
    tape = tmp_path / "alerts.jsonl"
    lost = [line(9 + n, long__SL=None, price=str(50000 + n)) for n in range(2)]
    tape.write_text("\n".join([*lost, line(99, ticker="ETHUSDT.P"), line(100, ticker=None)]))
    limits = 'LIMITS_MAIN={"symbols": ["BTC-USDT-PERP"]}'
    assert replay.main([str(tape), "--set", limits, "--set", "RISK_MIAN=2"], env_file=env_file) == 0
    said = capsys.readouterr().out
    assert "changed: RISK_MIAN=2 (no alert is of MIAN)" in said
    table = said.partition("Not traded, and why")[2].partition("\n\n")[0].splitlines()[1:]
    assert [" ".join(row.split()) for row in table] == [
        *("REFUSED: long SL: an entry needs a stop", "2 2 0"),
        *("REFUSED: ticker: is missing or empty", "1 1 0"),
        *("DENIED: ETH-USDT-PERP is not among symbols (LIMITS_MAIN)", "0 1 +1"),
    ]


def test_the_commonest_reasons_are_told_and_the_rest_summed() -> None:
    lines = [line(n, price=f"{49000 - n}") for n in range(tally.MOST_REASONS + 2)]
    told = tally.reasons(rehearsed("\n".join(lines)))
    assert len(told) == tally.MOST_REASONS + 1
    assert told[-1] == ("for other reasons (--csv tells all)", 2)


def test_an_account_is_assumed_for_alerts_that_name_none(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(replay, "WHOLE_UP_TO", 0)
    tape = tmp_path / "alerts.jsonl"
    tape.write_text(line(0, subaccount=None))
    env_file.write_text("")
    assert replay.main([str(tape)], env_file=env_file) == 0
    said = capsys.readouterr().out
    assert "RISK_MAIN is not set: 1 is assumed" in said
    assert ["DONE", "1"] in [row.split() for row in said.splitlines()]


def test_candles_that_change_nothing_are_told(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(replay, "WHOLE_UP_TO", 0)
    tape, candles = tmp_path / "alerts.jsonl", tmp_path / "candles.csv"
    tape.write_text(line(0))
    candles.write_text("time,open,high,low,close\n2026-01-03,1,2,1,2\n2026-01-04,1,2,1,2\n")
    for ticker, why in (("BTCUSDT.P", "all before the first alert"), ("ETHUSDT.P", "no alert is about it")):
        assert replay.main([str(tape), "--candles", f"{ticker}={candles}"], env_file=env_file) == 0
        span = "2 candles from 2026-01-03 00:00 to 2026-01-04 00:00 UTC"
        assert f"{span}; {why}\n" in capsys.readouterr().out


@pytest.mark.slow
def test_ten_thousand_alerts_take_less_than_a_minute(
    env_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = tmp_path / "alerts.jsonl"
    tape.write_text("\n".join(many(10_000, 1).splitlines()[:10_000]))
    begun = datetime.now(UTC)
    assert replay.main([str(tape)], env_file=env_file) == 0
    assert datetime.now(UTC) - begun < timedelta(seconds=60)
    assert "10000 of 10000 alerts (100 %)" in capsys.readouterr().err


def test_a_position_that_turns_over_is_two_trades() -> None:
    """Cut where it is flat; the fee of the fill that turned it is shared out."""
    lane = Lane("PAPER:X", "MAIN", "BTC-USDT-PERP")
    result = rehearsed(line(0, id="a"))
    (fills,) = result.fills.values()
    turning = [
        fills[0],
        _like(fills[0], trade_id="2", side=fills[0].side.opposite, quantity=Decimal(5), fee=Decimal(50)),
    ]
    made = tally.trips(Result(rows=[], fills={lane: turning}, lines=result.lines, prices=result.prices))
    assert [(trip.direction, trip.quantity, trip.ended_at is None) for trip in made] == [
        (Direction.LONG, Decimal(2), False),
        (Direction.SHORT, Decimal(3), True),
    ]
    assert [trip.fees for trip in made] == [fills[0].fee + 20, Decimal(30)]


def _like(fill: Any, **changes: Any) -> Any:
    return dataclasses.replace(fill, **changes)
