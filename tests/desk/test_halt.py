"""`python -m desk.halt`: halts, flattens and resumes from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from desk import halt
from store import switches
from tests.desk.conftest import ENVIRON, LADDER, LONG


@pytest.fixture(autouse=True)
def _environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**ENVIRON, "DATABASE_URL": database_url}.items():
        monkeypatch.setenv(name, value)


def run(rig: Any, *arguments: str) -> str:
    """What is said of it afterwards: the reason of the halt, or nothing."""
    assert halt.main(arguments, rig.clock) == 0
    rig.settle()
    with rig.store.read() as tx:
        halted = switches.halted(tx)
    return halted.reason if halted is not None else ""


def test_it_halts_and_leaves_what_is_open(rig: Any) -> None:
    rig.send("entry", **LONG, **LADDER)
    assert run(rig, "news") == "news"
    assert rig.position().quantity == 2
    rig.check()
    assert "halted" in rig.alert(rig.send("entry", **LONG))["reason"]
    assert run(rig, "--resume") == ""
    assert rig.status(rig.send("entry", **LONG)) == "DONE"


@pytest.mark.parametrize(
    ("reason", "kept"), [("a\x00b", "a\ufffdb"), ("half \ud83d", "half ?"), ("a\udcffb", "a?b")]
)
def test_it_halts_whatever_the_reason_is_made_of(rig: Any, reason: str, kept: str) -> None:
    assert run(rig, reason) == kept


def test_it_flattens_what_is_ours(rig: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rig.send("entry", **LONG, **LADDER)
    rig.send("entry", subaccount="OTHER", **LONG)
    assert run(rig, "--flatten") == "from the command line"
    assert "2 positions are being closed" in capsys.readouterr().out
    assert rig.position().is_flat
    assert rig.position(account="OTHER").is_flat
    assert rig.resting() == []


def test_on_a_live_server_paper_is_not_closed(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.send("entry", **LONG)
    monkeypatch.setenv("LIVE_TRADING", "1")
    assert run(rig, "--flatten", "lunch") == "lunch"
    assert rig.position().quantity == 2


def test_what_cannot_be_done_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        halt.main(["--flatten", "--resume"])
    monkeypatch.setenv("DATABASE_URL", "mysql://somewhere")
    assert halt.main(["news"]) == 1
    assert "DATABASE_URL" in capsys.readouterr().err


def test_a_database_without_tables_is_no_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/typo.db")
    assert halt.main(["news"]) == 1
    assert capsys.readouterr().err == "DATABASE_URL: this database has no tables: is it the server's?\n"
