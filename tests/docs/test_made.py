"""What the documents say of settings and alerts is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from desk.settings import ACCOUNT_VARIABLES, VARIABLES, environment, load
from desk.variables import ACCOUNT, GROUPS, Variable
from tests.docs import grammar, made
from trading.errors import SettingsError
from trading.keys import KEYS

LEAST = {"WEBHOOK_PASSPHRASE": "correct-horse-battery", "RISK_MAIN": "1"}
DOCUMENTS = made.all_made()


@pytest.mark.parametrize("path", DOCUMENTS, ids=[path.name for path in DOCUMENTS])
def test_what_is_made_of_code_is_as_the_code_is(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == DOCUMENTS[path], "run `python -m tests.docs`"


def test_all_that_can_be_made_stands_somewhere() -> None:
    told = "".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    assert sorted(re.findall(r"<!-- made: ([a-z-]+) -->", told)) == sorted(made.MAKERS)
    assert told.count("<!-- end -->") == len(made.MAKERS)


@pytest.mark.parametrize(
    ("name", "default"),
    [
        (each.name.replace("_NAME", "_MAIN") if group is ACCOUNT else each.name, each.default)
        for group in GROUPS
        for each in group.variables
        if each.default
    ],
)
def test_a_default_is_the_same_as_nothing(name: str, default: str) -> None:
    assert load(LEAST | {name: default}) == load(LEAST)


def test_a_variable_has_a_default_or_a_word_on_having_none() -> None:
    variables: list[Variable] = [made.ADDRESS, *(each for group in GROUPS for each in group.variables)]
    assert all(bool(each.default) != bool(each.unset) for each in variables)
    # Else a start takes nothing for it, and nothing is not what the page would say.
    assert [each.name for each in variables if each.unset == "required"] == ["WEBHOOK_PASSPHRASE"]


def test_the_example_is_what_a_start_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {})
    named = environment(made.EXAMPLE)
    assert sorted(named) == sorted([*VARIABLES, *ACCOUNT_VARIABLES, *made.addresses()])
    assert load(named | {"WEBHOOK_PASSPHRASE": "x"}).accounts["NAME"].rules.leverage == 3


def test_every_variable_that_refuses_anything_is_told() -> None:
    told = {name for wrong in made.WRONG for name in wrong}
    for name in (*VARIABLES, *(each.replace("_NAME", "_MAIN") for each in ACCOUNT_VARIABLES)):
        for nonsense in ("?!", ",", "-1", "1e9"):
            try:
                load(LEAST | {name: nonsense})
            except SettingsError:
                assert name in told, f"{name}={nonsense} is refused, and the page does not say so"


@pytest.mark.parametrize("wrong", made.WRONG, ids=str)
def test_a_refusal_names_its_variable(wrong: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(LEAST | wrong)
    missing = {"DISCORD_TOKEN": "DISCORD_CHANNEL_ID", "API_KEY_MAIN": "API_SECRET_MAIN"}
    missing |= {"API_SECRET_MAIN": "API_KEY_MAIN"}
    assert caught.value.variable in {*wrong, *(missing.get(name) for name in wrong)}


@pytest.mark.parametrize("path", sorted((made.ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_settings_in_the_pages_are_taken(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {})
    blocks = re.findall(r"^```ini\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for number, block in enumerate(blocks):
        file = tmp_path / str(number)
        file.write_text(block)
        assert load(LEAST | environment(file)).accounts


def test_every_key_has_its_words() -> None:
    assert {*KEYS, "tp1 Mult"} <= set(grammar.means())
    assert all(grammar.means().values())


def test_what_the_table_calls_needed_and_nothing_else_is_needed() -> None:
    grammar.read(grammar.changed({}))
    rows = re.findall(r"^\| `([^`]+)` \| ([a-z ,]*) \|", grammar.fields(), re.MULTILINE)
    assert {key for key, by in rows if by == "all"} == {
        "ticker",
        "exchange",
        "message",
        "subaccount",
        "passphrase",
    }
    assert {key for key, by in rows if by == "entry"} == {"action", "long SL"}
    assert {key for key, by in rows if by == "targets"} == {"tp Close"}
