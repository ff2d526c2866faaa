"""The doctor on settings of a test's own, and the venues that it examines."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from desk import doctor
from desk.settings import VARIABLES
from tests.desk.doctor.clinic import PASSPHRASE, Place, Told
from tests.emulator.server import Server

ACCOUNT_VARIABLE = re.compile(
    r"(API_KEY|API_SECRET|RISK|LEVERAGE|EXCHANGE|NETWORK|APPROVAL|LIMITS)_|.*_API_URL"
)


@pytest.fixture
def places(clock: Any) -> Iterator[Callable[..., Place]]:
    """Opens a venue; `how` as its emulator's build takes it."""
    with ExitStack() as stack:

        def make(name: str, *, spot: bool = False, **how: Any) -> Place:
            module = f"tests.emulator.{name.lower()}{'_spot' if spot else ''}"
            engine, dialect = importlib.import_module(module).build(clock, **how)
            return Place(name, stack.enter_context(Server(dialect, engine)))

        yield make


@pytest.fixture
def examine(
    sqlite_url: str,
    clock: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Told]:
    """The doctor on settings of this test's own; an empty variable is unset. No secret may show."""
    for name in list(os.environ):
        if name in (*VARIABLES, "DYNO") or ACCOUNT_VARIABLE.match(name):
            monkeypatch.delenv(name)

    def run(**environ: str) -> Told:
        given = {
            "WEBHOOK_PASSPHRASE": PASSPHRASE,
            "DATABASE_URL": sqlite_url,
            "RISK_MAIN": "1",
            "LEVERAGE_MAIN": "3",
            **environ,
        }
        path = tmp_path / ".env"
        path.write_text("".join(f"{name}='{value}'\n" for name, value in given.items()), encoding="utf-8")
        code = doctor.main([], env_file=path, clock=clock)
        said = capsys.readouterr()
        assert said.err == ""
        for name, value in given.items():
            if name.startswith(("API_KEY", "API_SECRET", "WEBHOOK", "DASHBOARD")) and value:
                assert value not in said.out, name
        return Told(code, said.out)

    return run
