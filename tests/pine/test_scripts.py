"""pinestrategies/: every script runs offline, and its alerts bring the server to the script's own trades."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from desk import lint
from desk.playback import Clock
from desk.settings import load
from desk.wholedesk import WholeDesk
from exchanges import available
from store import open_store
from tests.pine import proof
from tests.pine.candles import LENGTH, TICK
from tests.pine.proof import LOT, MAIN, OTHERS, SCRIPTS, STRATEGY, Market
from trading.alertmodel import Example, examples
from trading.lint import lint as check
from trading.model import Route, plain
from trading.template import messages_of, read_script

DOCUMENT = proof.ROOT / "docs" / "pine.md"
STUDY, ONE, LIBRARY = (
    "Quick-Mean-Reversion-Study.pine",
    "Quick-One-Target-Strat.pine",
    "Quick-Alert-Library.pine",
)
SHORT = Market(1, 0, 900)
TEMPLATES = [
    example
    for example in examples((proof.ROOT / "alertmodel.txt").read_text(encoding="utf-8"))
    if example.is_template
]
NAMES = sorted(path.name for path in SCRIPTS.glob("*.pine"))


def text(name: str) -> str:
    return (SCRIPTS / name).read_text(encoding="utf-8")


#: What is broken on purpose, by what it is: what stands in the strategy, and what is put in its place.
BROKEN = {
    "a bracket is missing": ("ta.ema(close, emaLength)", "ta.ema(close, emaLength"),
    "an operator too many": ("if longSignal or shortSignal\n", "if longSignal or or shortSignal\n"),
    "text for a series": ("ta.ema(close, emaLength)", 'ta.ema("close", emaLength)'),
    "a name that is none": ("strategy.position_avg_price", "strategy.average_price"),
}
HELPED = r"""//@version=6
indicator("x")
HELPERS
string odd = alertEntry("sell", 7, 100.26, 101, na, na, "my \"own\" \\ account", "two\nlines")
string bare = alertBreakeven("buy", 8, na, "MAIN", "x")
alertcondition(bar_index == 5, "odd", odd)
string later = alertBreakeven("buy", 8, 99, "MAIN", "x")
alertcondition(bar_index == 5, "bare", bare)
alertcondition(bar_index == 6, "later", later)
"""
FEW, DAYS = Market(1, 0, 10), Market(1, 0, 240)


@pytest.fixture(scope="session", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where scripts made for the tests stand. All that the quick tests need has run, once for all processes
    of the test run."""
    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "pine"
    made.mkdir(exist_ok=True)
    for what, (old, new) in BROKEN.items():
        assert old in text(STRATEGY)
        (made / f"{what}.pine").write_text(text(STRATEGY).replace(old, new, 1))
    (made / "helped.pine").write_text(HELPED.replace("HELPERS", _helpers(ONE)))
    own = [*(f"{what}.pine" for what in BROKEN), "helped.pine"]
    assert "initial_capital = 100000," in text(STRATEGY)
    small = text(STRATEGY).replace("initial_capital = 100000,", "initial_capital = 50,")
    (made / "small.pine").write_text(small)
    proof.run_all(
        [
            (STRATEGY, MAIN),
            *((name, SHORT) for name in NAMES if name != STRATEGY),
            (STRATEGY, DAYS),
            *((str(made / name), FEW) for name in own),
            (str(made / "small.pine"), SHORT),
        ],
        made,
    )
    return made


# --- the tool -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_script_passes_the_tool(name: str) -> None:
    market = MAIN if name == STRATEGY else SHORT
    assert len(proof.ran(name, market)["plots"]) == len(market.bars)


@pytest.mark.parametrize("what", BROKEN)
def test_the_tool_catches_what_is_wrong(what: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=r"Error"):
        proof.ran(str(folder / f"{what}.pine"), FEW)


@pytest.mark.parametrize("name", NAMES)
def test_a_header_says_what_it_is(name: str) -> None:
    version, *rest = text(name).splitlines()
    header = " ".join(re.match(r"// ?(.*)", line)[1] for line in rest if line.startswith("// "))  # type: ignore[index]
    assert version == "//@version=6"
    assert "no advice" in header
    assert "lert" in header
    assert name == LIBRARY or "Inputs." in header


@pytest.mark.parametrize("name", NAMES)
def test_the_linter_finds_nothing(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lint.main([str(SCRIPTS / name)], env_file=tmp_path / "none") == 0, capsys.readouterr().out


@pytest.mark.parametrize("example", TEMPLATES, ids=lambda example: example.title)
def test_the_templates_of_alertmodel_read_plots_that_are_there(example: Example) -> None:
    script = read_script(text(STUDY if example.title.startswith("Study") else STRATEGY))
    now = datetime(2026, 11, 3, tzinfo=UTC)
    found = check(
        example.body_text.encode(), exchanges=available(), default_subaccount=None, now=now, script=script
    )
    assert found == []


@pytest.mark.parametrize("name", NAMES)
def test_a_plot_that_an_alert_reads_is_never_na(name: str) -> None:
    told = proof.ran(name, MAIN if name == STRATEGY else SHORT)
    read = set(re.findall(r'\{\{plot\("([^"]+)"\)\}\}', text(name)))
    assert not [title for plots in told["plots"] for title in read if plots[title] is None]


# --- the strategy -------------------------------------------------------------------------------------


def test_the_strategy_trades_both_sides_and_every_way_out() -> None:
    books = proof.of_script(proof.ran(STRATEGY), MAIN.bars)
    ways = Counter(leg for book in books for leg in book.legs)
    assert Counter(book.direction for book in books) == {"long": 40, "short": 40}
    assert ways == {"tp1": 33, "tp2": 12, "tp": 6, "sl": 64, "x": 10}
    at_breakeven = [b for b in books if {"tp1", "sl"} <= set(b.legs) and _gain(b, "sl") >= 0]
    assert len(at_breakeven) == sum({"tp1", "sl"} <= set(book.legs) for book in books) > 10


def _gain(book: proof.Book, leg: str) -> Decimal:
    return (book.legs[leg][1] - book.entered[1]) * (1 if book.direction == "long" else -1)


def test_a_stop_never_says_tp() -> None:
    fills = proof.ran(STRATEGY)["fills"]
    assert {fill["message"] for fill in fills if fill["leg"] == "loss"} == {"exit"}
    assert {fill["message"] for fill in fills} == {"entry", "tp1_breakeven", "tp2", "exit"}


def test_what_the_lot_cuts_off_is_no_first_target(folder: Path) -> None:
    """Of a lot and a half one is bought: nothing has been sold yet, and the stop stays where it was."""
    fills = proof.ran(str(folder / "small.pine"), SHORT)["fills"]
    entries, left = fills[::2], fills[1::2]
    assert {abs(fill["after"]) for fill in entries} == {0.001}
    assert len(entries) > 10
    assert {fill["leg"] for fill in left} == {"loss", "profit"}
    for entry, ended in zip(entries, left, strict=True):
        gained = (ended["price"] - entry["price"]) * entry["after"]
        assert (gained > 0) == (ended["leg"] == "profit")


@pytest.mark.parametrize("forming", [False, True], ids=["plots of the last bar", "plots of the forming bar"])
def test_the_server_comes_to_the_strategys_own_trades(forming: bool) -> None:
    """Every entry, target, breakeven, stop and exit within a tick, every quantity within a lot."""
    told, template = proof.ran(STRATEGY), proof.template_of(STRATEGY)
    tape = proof.tape(told, MAIN.bars, template, forming=forming, size=True)
    result = proof.served(tape, MAIN.bars, proof.moments(told["fills"], MAIN.bars))
    assert {row.status for row in result.rows} <= {"DONE", "IGNORED"}
    mine, theirs = proof.of_script(told, MAIN.bars), proof.of_server(result)
    assert proof.differences(mine, theirs, MAIN.bars, quantities=True) == []
    assert max(abs(a.entered[0] - b.entered[0]) for a, b in zip(mine, theirs, strict=True)) <= LOT


def test_stops_and_targets_need_no_alert() -> None:
    """What the strategy says of its own stops and of tp2 only tells: the orders rest at the venue."""
    told = proof.ran(STRATEGY)
    alerts = proof.tape(told, MAIN.bars, proof.template_of(STRATEGY), size=True)
    needed = [
        alert
        for alert, fill in zip(alerts, told["fills"], strict=True)
        if fill["message"] in ("entry", "tp1_breakeven") or not fill["leg"]
    ]
    assert len(needed) < len(alerts) / 2
    moments = proof.moments(told["fills"], MAIN.bars)
    mine, theirs = proof.of_script(told, MAIN.bars), proof.of_server(proof.served(needed, MAIN.bars, moments))
    assert proof.differences(mine, theirs, MAIN.bars, quantities=True) == []


@pytest.mark.slow
def test_sized_by_risk_the_server_loses_no_more_than_that() -> None:
    """Off by fees, of which targets pay less here; more only where a gap moved the entry from the close,
    which gave the strategy its size."""
    compared = proof.compare(MAIN)
    bars = MAIN.bars
    for number, share in proof.by_risk(compared):
        entered = (compared.mine[number - 1].at - bars[0].opened_at) // LENGTH
        assert share < 1 or bars[entered].open != bars[entered - 1].close, number
    result = proof.served(proof.tape(proof.ran(STRATEGY), bars, proof.template_of(STRATEGY)), bars)
    sized = [row.sizing for row in result.rows if row.sizing]
    assert len(sized) == 80
    assert all(each.worst_loss <= each.free_collateral / 100 for each in sized)


def test_the_whole_desk_does_the_same(sqlite_url: str) -> None:
    """Door, journal, runner: the first trades."""
    _whole(DAYS, sqlite_url, at_least=2)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_whole_desk_does_the_same_at_length(sqlite_url: str) -> None:
    _whole(Market(1, 0, 1200), sqlite_url, at_least=20)


def _whole(market: Market, url: str, *, at_least: int) -> None:
    told, bars = proof.ran(STRATEGY, market), market.bars
    alerts = proof.tape(told, bars, proof.template_of(STRATEGY), size=True)
    clock, store = Clock(), open_store(url)
    engine = WholeDesk(store, load(proof.SETTINGS), clock, votes="approve")
    moments = proof.moments(told["fills"], bars)
    theirs = proof.of_server(proof.served(alerts, bars, moments, engine=engine, clock=clock))
    store.close()
    mine = proof.of_script(told, bars)
    assert len(mine) >= at_least
    assert proof.differences(mine, theirs, bars, quantities=True) == []


def test_the_table_is_in_the_docs() -> None:
    assert proof.table(proof.compare(MAIN)) in DOCUMENT.read_text(encoding="utf-8")


@pytest.mark.slow
def test_differences_are_explained_and_in_the_docs() -> None:
    proof.run_all([(STRATEGY, market) for market in OTHERS])
    compared = [proof.compare(market) for market in OTHERS]
    found = [each.why for market in compared for each in market.found]
    assert found == [proof.GAPPED, proof.CAPPED, proof.EARLIER]
    assert proof.explained(compared) in DOCUMENT.read_text(encoding="utf-8")


# --- the study ----------------------------------------------------------------------------------------


def test_the_study_signals_what_the_strategy_enters() -> None:
    """An entry fills on the bar behind its signal, with the levels of the signal."""
    told, study = proof.ran(STRATEGY), proof.ran(STUDY, SHORT)
    signals = {(bar, title) for bar, title, _ in study["conditions"]}
    entries = [f for f in told["fills"] if f["message"] == "entry" and f["bar"] < SHORT.last]
    assert len(entries) > 10
    for fill in entries:
        side = "Long" if fill["after"] > 0 else "Short"
        assert (fill["bar"] - 1, side) in signals
        for level in (f"{side} SL", f"{side} TP"):
            assert study["plots"][fill["bar"] - 1][level] == told["plots"][fill["bar"] - 1][level]


def test_the_studys_alerts_ask_first_and_are_traded_once_approved() -> None:
    study, bars = proof.ran(STUDY, SHORT), SHORT.bars
    alerts = []
    for number, (bar, title, message) in enumerate(study["conditions"], start=1):
        at = bars[bar].opened_at + LENGTH
        values = {"timenow": at.strftime("%Y-%m-%dT%H:%M:%SZ"), "close": plain(bars[bar].close * TICK)}
        alert = proof.filled(message, values, study["plots"][bar])
        alerts.append(proof.heard(number, at, alert, Route.ORDER if title == "Exit" else Route.STUDY))
    result = proof.served(alerts, bars)
    titles = Counter(title for _, title, _ in study["conditions"])
    assert min(titles[title] for title in ("Long", "Short", "Exit")) >= 5
    assert {row.status for row in result.rows} == {"DONE"}
    entries = [row for row in result.rows if row.sizing is not None]
    assert len(entries) == titles["Long"] + titles["Short"]
    declined = proof.Rehearsal(load(proof.SETTINGS), clock := Clock(), votes="decline")
    refused = proof.served(alerts, bars, engine=declined, clock=clock)
    assert {row.status for row in refused.rows if row.heard.route is Route.STUDY} == {"DECLINED"}
    assert not proof.of_server(refused)


# --- alerts built in the script -----------------------------------------------------------------------


def test_the_simple_strategy_builds_its_own_alerts_and_the_server_follows() -> None:
    told, bars = proof.ran(ONE, SHORT), SHORT.bars
    messages = [json.loads(fill["message"], parse_constant=pytest.fail) for fill in told["fills"]]
    ids = [message["id"] for message in messages]
    assert len(ids) == len(set(ids)) > 20
    assert all(message["ticker"].endswith("BTCUSDT.P") for message in messages)
    moments = proof.moments(told["fills"], bars)
    alerts = [
        proof.heard(number, moment.at, message)
        for number, (moment, message) in enumerate(zip(moments, messages, strict=True), start=1)
    ]
    result = proof.served(alerts, bars, moments)
    assert {row.status for row in result.rows} == {"DONE"}
    mine, theirs = proof.of_script(told, bars), proof.of_server(result)
    found = proof.differences(mine, theirs, bars, quantities=True)
    # It names the close as its price: after a gap the paper venue, which believes it, enters there.
    gaps = {
        number
        for number, book in enumerate(mine, start=1)
        if bars[bar := (book.at - bars[0].opened_at) // LENGTH].open != bars[bar - 1].close
    }
    assert {each.number for each in found} <= gaps
    assert len(mine) - len(gaps) > 10


def test_the_helpers_stand_in_it_as_in_the_library() -> None:
    assert _helpers(LIBRARY).replace("export ", "") == _helpers(ONE)
    assert _helpers(LIBRARY).count("\nexport ") == 7


def _helpers(name: str) -> str:
    return re.split(r"\n// --- (?:begin|end) of the helpers -+\n", text(name))[1]


def test_helpers_escape_and_know_no_na(folder: Path) -> None:
    told = proof.ran(str(folder / "helped.pine"), FEW)
    odd, bare, later = (json.loads(message) for _, _, message in told["conditions"])
    assert (odd["subaccount"], odd["passphrase"]) == ('my "own" \\ account', "two lines")
    assert (odd["price"], odd["short SL"], Decimal(odd["short TP"]), odd["size"]) == (
        "100.3",
        "101.0",
        0,
        "0",
    )
    assert Decimal(bare["long Breakeven"]) == 0
    assert bare["action"] == "sell"
    assert bare["id"] != later["id"]


def test_the_readme_names_every_script() -> None:
    said = DOCUMENT.read_text(encoding="utf-8")
    assert [name for name in NAMES if f"../pinestrategies/{name}" not in said] == []
    assert [name for name in NAMES if not list(messages_of(text(name))) and name != LIBRARY] == []
