"""What tells much may be cut short by the program that reads it, as any other command may."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.processes import ROOT, bare_environ


def test_a_reader_that_has_enough_is_no_trouble(tmp_path: Path) -> None:
    alerts = tmp_path / "alerts"
    alerts.write_text("\n".join('{"ticker": 1, "message": []}' for _ in range(4000)))
    told = subprocess.Popen(
        [sys.executable, "-m", "desk.lint", alerts],
        cwd=ROOT,
        env=bare_environ() | {"PYTHONPATH": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert told.stdout is not None
    assert told.stderr is not None
    assert told.stdout.readline()
    told.stdout.close()
    assert told.stderr.read() == b""
    told.stderr.close()
    assert told.wait(30) != 0


def test_the_doctor_may_be_cut_short_too(tmp_path: Path) -> None:
    told = subprocess.Popen(
        [sys.executable, "-m", "desk.doctor"],
        cwd=ROOT,
        env=bare_environ() | {"PYTHONPATH": "", "DATABASE_URL": f"sqlite:///{tmp_path}/desk.db"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert told.stdout is not None
    assert told.stderr is not None
    told.stdout.close()
    assert told.stderr.read() == b""
    told.stderr.close()
    assert told.wait(30) == 1
