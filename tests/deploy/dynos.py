"""The Procfile as Heroku runs it: a shell for each dyno, config vars alone, SIGTERM to every process.

What app.json promises to set is set; a dyno that has not ended 30 seconds after SIGTERM is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.processes import ROOT, bare_environ

#: Heroku's own: seconds from SIGTERM to SIGKILL.
GRACE = 30.0
_LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")


def procfile() -> dict[str, str]:
    """Command by process type."""
    lines = (ROOT / "Procfile").read_text(encoding="utf-8").splitlines()
    found = [_LINE.fullmatch(line) for line in lines]
    assert all(found), lines
    return {match[1]: match[2] for match in found if match}


def manifest() -> dict[str, Any]:
    """app.json."""
    read: dict[str, Any] = json.loads((ROOT / "app.json").read_text(encoding="utf-8"))
    return read


def config_vars(database_url: str, **filled_in: str) -> dict[str, str]:
    """What an app has after the deploy button: what app.json gives, the database, what a person filled in."""
    given = {}
    for name, about in manifest()["env"].items():
        if about.get("generator") == "secret":
            given[name] = secrets.token_hex(32)
        elif "value" in about:
            given[name] = about["value"]
    address = database_url.partition("://")[2]
    return {**given, "DATABASE_URL": f"postgres://{address}", **filled_in}


class Dyno:
    """One process type of the Procfile, at work."""

    def __init__(
        self, name: str, config: Mapping[str, str], folder: Path, *, port: int | None = None
    ) -> None:
        self.name = name
        self._log = folder / f"{name}-{time.monotonic_ns()}.log"
        own = bare_environ() | dict(config) | {"DYNO": f"{name}.1"}
        own["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
        del own["PYTHONPATH"]
        if port is not None:
            own["PORT"] = str(port)
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                # The exit status is to be the command's, and not that of a shell that got SIGTERM too.
                ["sh", "-c", f"exec {procfile()[name]}"],
                cwd=ROOT,
                env=own,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._known = psutil.Process(self._popen.pid)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def processes(self) -> list[psutil.Process]:
        """Every process of the dyno."""
        return [self._known, *self._known.children(recursive=True)]

    def finished(self, within: float = 60.0) -> int:
        """Exit status of one that ends by itself."""
        return self._popen.wait(within)

    def terminate(self) -> list[psutil.Process]:
        """SIGTERM to all that there is; who got it."""
        told = self.processes()
        for process in told:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
        return told

    def stop(self) -> tuple[int, float]:
        """Exit status and seconds, after SIGTERM; what is left when GRACE is over gets SIGKILL."""
        began = time.monotonic()
        told = self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(GRACE)
        psutil.wait_procs(told[1:], timeout=max(0.0, GRACE - (time.monotonic() - began)))
        took = time.monotonic() - began
        self.kill(told)
        return self._popen.wait(), took

    def kill(self, known: list[psutil.Process] | None = None) -> None:
        """SIGKILL; no error where nothing is left."""
        with contextlib.suppress(psutil.NoSuchProcess):
            known = self.processes() if known is None else known
        for process in known or []:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._popen.wait()
