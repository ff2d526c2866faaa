"""python -m desk.lint: every problem of a broken alert, to the letter, and none of a good one."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desk import lint as command
from desk.intake import Intake
from desk.settings import load
from store import open_store
from tests.desk import broken_alerts as broken
from trading.alertmodel import Example, examples
from trading.lint import Finding, lint
from trading.model import Route
from trading.template import PLACEHOLDERS, Script, messages_of, read_script

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
EXCHANGES = ("BINANCE", "PAPER")


BROKEN = broken.BROKEN
EXAMPLES = examples((ROOT / "alertmodel.txt").read_text(encoding="utf-8"))


def found(text: str | bytes, script: str | None = None, now: datetime = NOW) -> list[Finding]:
    raw = text if isinstance(text, bytes) else text.encode()
    read = read_script(script) if script else None
    return lint(raw, exchanges=EXCHANGES, default_subaccount=None, now=now, script=read)


def test_there_are_thirty_and_more() -> None:
    assert len(BROKEN) >= 30


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_one_gets_its_exact_answer(name: str) -> None:
    case = BROKEN[name]
    told = [(f.line, f.field, f.code, f.reason, f.mend) for f in found(case.text, case.script)]
    assert told == case.findings
    assert all(each.mend for each in found(case.text, case.script))


@pytest.mark.parametrize(
    "name", [name for name in BROKEN if "{{" not in BROKEN[name].text and name != "too long"]
)
def test_the_server_says_the_same_words(name: str, sqlite_url: str) -> None:
    """What the door refuses, it refuses in words that the linter has; what it takes was no refusal here."""
    case = BROKEN[name]
    with_settings = {"WEBHOOK_PASSPHRASE": "canary-passphrase", "DATABASE_URL": sqlite_url, "RUNNER": "off"}
    store = open_store(sqlite_url)
    intake = Intake(store, load(with_settings), lambda: NOW, lambda: None, exchanges=EXCHANGES)
    answer = intake.receive(case.text.encode(), route=Route.ORDER, address="198.51.100.7")
    store.close()
    refusals = [each for each in found(case.text) if each.code is not None]
    if not refusals:
        assert answer.code == 202
        return
    # A wrong passphrase names no field and no mend to a stranger.
    words = {(each.code, each.reason, each.field, each.mend) for each in refusals if each.code != 401}
    told = (answer.code, answer.body["message"], answer.body.get("field"), answer.body.get("mend"))
    assert told in words | {(401, each.reason, None, None) for each in refusals if each.code == 401}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_a_good_one_gets_none(example: Example) -> None:
    assert found(example.body_text, now=datetime(2026, 11, 3, tzinfo=UTC)) == []


def test_the_good_ones_of_the_table_get_none() -> None:
    assert found(broken.ALERT) == []
    assert found(broken.TEMPLATE, broken.SCRIPT) == []


def test_a_bars_low_or_high_is_a_good_stop() -> None:
    text = broken.edited(
        broken.TEMPLATE, '{{plot("Long SL")}}', "{{low}}", '{{plot("Short SL")}}', "{{high}}"
    )
    assert found(text) == []
    assert [each.field for each in found(text.replace("{{low}}", "{{high}}"))] == ["long SL"]


def test_a_message_that_the_script_builds_whole_is_the_scripts() -> None:
    assert found(" {{strategy.order.alert_message}}\n") == []
    assert found(" {{strategy.order.alert_message}} now") != []


def test_no_answer_shows_the_passphrase() -> None:
    for name, case in BROKEN.items():
        assert "canary-passphrase" not in str(found(case.text, case.script)), name


def test_a_body_that_is_no_text() -> None:
    (only,) = found(b"\xff\xfe{}")
    assert (only.code, only.reason, only.mend) == (400, "the body is not UTF-8 text", "save it as UTF-8")


@given(st.text(alphabet=st.sampled_from(list("{}[]\":, \n,“'/aN0{{ticker}}")), max_size=60))
@settings(max_examples=300)
def test_no_text_breaks_it(text: str) -> None:
    assert found(text)


# --- what a Pine script says --------------------------------------------------------------------------


def test_the_plots_of_a_script() -> None:
    text = """//@version=6
indicator("Plots, of all kinds", overlay = true)
plot(ta.sma(close, math.max(1, 2)), "First")  // plot(close, "in a comment")
plot(close, title = 'Second', color = color.new(color.red, 0))
note = "plot(close, \\"in a string\\")"
plotshape(close > open, "Third", style = shape.circle)
plot(close)
myplot(close, "no plot")
"""
    assert read_script(text) == Script(kind="indicator", titles=("First", "Second", "Third", None))


def test_a_script_that_names_a_plot_by_a_variable_is_not_judged() -> None:
    script = broken.SCRIPT + "plot(close, NAME)\n"
    assert found(broken.TEMPLATE.replace('"Long SL")', '"Anything")'), script) == []


def test_the_twenty_first_plot_is_told() -> None:
    many = "".join(f'plot(close, "P{number}")\n' for number in range(20))
    (first, second) = found(broken.TEMPLATE, 'strategy("x")\n' + many + broken.SCRIPT.partition("\n")[2])
    assert "first 20" in first.mend
    assert "first 20" in second.mend


def test_a_strategy_that_only_buys_needs_no_short_stop() -> None:
    case = BROKEN["no short stop"]
    script = broken.SCRIPT + 'strategy.entry("Long", strategy.long)\n'
    assert found(case.text, script) == []


def test_the_messages_that_a_script_carries() -> None:
    text = (
        '//@version=6\n//@strategy_alert_message {"ticker": "{{ticker}}"}\nindicator("x")\n'
        "alertcondition(close > open, 'Long', '{\"a\": \"it\\'s\"}')\n"
        'alertcondition(close > open, title = "Words", message = "only words")\n'
    )
    assert list(messages_of(text)) == [(2, '{"ticker": "{{ticker}}"}'), (4, '{"a": "it\'s"}')]


def test_a_message_may_be_put_together() -> None:
    """Of literals and constants, over several lines; what is computed is not judged."""
    text = r"""indicator("x")
const string TAIL = '"ticker": ' +
  '"{{ticker}}"}'
string HEAD = "{\n"
alertcondition(close > open, "A", HEAD + '"a": "b",' +
  TAIL)
alertcondition(close > open, "B", '{' + str.tostring(close) + '}')
alertcondition(close > open, "C", '{' + UNKNOWN)
loop = loop + '{'
alertcondition(close > open, "D", loop)
"""
    assert list(messages_of(text)) == [(5, '{\r"a": "b","ticker": "{{ticker}}"}')]


@pytest.mark.parametrize("name", sorted(PLACEHOLDERS))
def test_every_placeholder_is_known(name: str) -> None:
    text = broken.ALERT.replace('"MAIN"', f'"MAIN", "note": "{{{{{name}}}}}"')
    assert not [each for each in found(text) if "did not fill in" in each.reason]


# --- the command --------------------------------------------------------------------------------------


@pytest.fixture
def no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("WEBHOOK_PASSPHRASE", "DEFAULT_SUBACCOUNT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "none.env"


def run(path: Path | str, env_file: Path, *more: str) -> int:
    return command.main([str(path), *more], env_file=env_file, clock=lambda: NOW)


def test_the_command_tells_line_reason_and_mend(
    no_settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "alert.json"
    path.write_text(BROKEN["NaN stop"].text)
    assert run(path, no_settings) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{path}:11: long SL: an entry needs a stop (answered with 422)",
        '    write "long SL": "{{plot("Long SL")}}", and plot the level from the signal on',
        f"{path}:11: long SL: 'NaN' is no number: it is read as if there were none (taken all the same)",
        "    let the script plot 0 where it has no level: nz(level)",
        "2 problems",
    ]


def test_the_command_reads_the_script_beside_it(
    no_settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = BROKEN["misspelt plot"]
    (tmp_path / "strategy.pine").write_text(case.script)
    (tmp_path / "template.json").write_text(case.text)
    assert run(tmp_path / "template.json", no_settings) == 1
    said = capsys.readouterr().out
    assert f"read beside it: {tmp_path / 'strategy.pine'}" in said
    assert 'did you mean {{plot("Long SL")}}?' in said
    (tmp_path / "other.pine").write_text("")
    assert run(tmp_path / "template.json", no_settings) == 0
    assert run(tmp_path / "template.json", no_settings, "--script", str(tmp_path / "strategy.pine")) == 1


def test_the_command_reads_what_a_script_carries(
    no_settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.pine"
    one_line = json.dumps({"ticker": "{{tikker}}"})
    path.write_text(broken.SCRIPT.replace("\n", f"\n//@strategy_alert_message {one_line}\n", 1))
    assert run(path, no_settings) == 1
    said = capsys.readouterr().out
    assert f"{path}:2: ticker: TradingView did not fill in {{{{tikker}}}}" in said
    assert "no settings of a server are read here (WEBHOOK_PASSPHRASE: is not set" in said
    path.write_text(broken.SCRIPT)
    assert run(path, no_settings) == 0
    assert "it carries no message" in capsys.readouterr().out


def test_the_command_reads_the_blocks_of_a_text(
    no_settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = datetime(2026, 11, 3, tzinfo=UTC)
    assert command.main([str(ROOT / "alertmodel.txt")], env_file=no_settings, clock=lambda: later) == 0
    path = tmp_path / "notes.md"
    blocks = [f"```json\n{text}```\n" for text in (broken.ALERT, BROKEN["NaN target"].text)]
    path.write_text("# Mine\n\n" + "\n".join(blocks))
    assert run(path, no_settings) == 1
    line = 3 + broken.ALERT.count("\n") + 3 + 12
    assert f"{path}:{line}: long TP: 'NaN' is no number" in capsys.readouterr().out


def test_the_command_knows_a_block_from_another(
    no_settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "notes.md"
    path.write_text(f"```pine\nplot(close)\n```\n\n```\n{broken.ALERT}```\n")
    assert run(path, no_settings) == 0, capsys.readouterr().out


def test_the_command_reads_what_windows_writes(
    no_settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "alert.json").write_text(broken.ALERT, encoding="utf-16")
    assert run(tmp_path / "alert.json", no_settings) == 0, capsys.readouterr().out
    script = broken.SCRIPT.replace("\n", '\n//@strategy_alert_message {"ticker": "{{tikker}}"}\n', 1)
    (tmp_path / "own.pine").write_text(script, encoding="utf-16")
    assert run(tmp_path / "own.pine", no_settings) == 1
    assert "{{tikker}}" in capsys.readouterr().out
    (tmp_path / "own.pine").write_text("// Rück", encoding="latin-1")
    assert run(tmp_path / "own.pine", no_settings) == 2
    assert "own.pine is not UTF-8 text: save it as UTF-8" in capsys.readouterr().err


def test_the_command_takes_the_servers_default_account(no_settings: Path, tmp_path: Path) -> None:
    path = tmp_path / "alert.json"
    path.write_text(BROKEN["no account"].text)
    assert run(path, no_settings) == 1
    no_settings.write_text("WEBHOOK_PASSPHRASE=correct-horse\nDEFAULT_SUBACCOUNT=MAIN\n")
    assert run(path, no_settings) == 0


def test_the_command_reads_a_pipe(
    no_settings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(broken.ALERT.encode())))
    assert run("-", no_settings) == 0
    assert capsys.readouterr().out == "nothing found\n"


def test_a_file_that_is_not_there(
    no_settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "nowhere.json", no_settings) == 2
    assert "nowhere.json" in capsys.readouterr().err
