"""Every command of the documents is run as it stands there, in a copy of the repository with its server.

What cannot be run here is named, line by line, with the reason.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from tests.docs import forge
from tests.docs.made import ROOT
from tests.docs.test_api import SCHEMAS, check
from trading.lint import lint

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: What a line that is not run begins with, and why it is not.
NOT_RUN = {
    "git clone <this repository>": "a place that is not known; the copy is what it would bring",
    "git pull": "there is no newer release here",
    "make run": "the server of this test was started so",
    "make demo VENUES=emulated": "tests/desk/test_demo_venues.py plays it",
    "pg_dump ": "tests/desk/test_backup.py runs it against a Postgres",
    "pg_restore ": "tests/desk/test_backup.py runs it against a Postgres",
    ".venv/bin/python -m pytest ": "a part of this very suite",
}
#: A database of its own is made for each play: `make slow` runs it.
HEAVY = ".venv/bin/python -m desk.replay "
#: What the server is made of.
SERVER = ("desk.up", "desk.migrate", "gunicorn.app.wsgiapp", "app", "web.worker")
#: What a block may be in. `sh` is typed, `text` is what one sees, the others are what one writes.
LANGUAGES = {"sh", "text", "json", "ini"}
#: Pages whose commands, in `shell`, are typed on another machine, and why they are not run here.
ELSEWHERE = {
    "docs/heroku.md": "Heroku's command line and account; tests/deploy/test_pages.py reads every line of it",
    "docs/vps.md": "systemd, Docker and root on a machine of one's own; the same test reads every line",
}
PATIENCE = 60.0
#: For a block: a machine that does ten other things replays slowly.
LONG = 240.0
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    page: str
    number: int
    language: str
    text: str


def blocks(language: str | None = None) -> list[Block]:
    found = []
    for path in PAGES:
        for number, fence in enumerate(_FENCE.finditer(path.read_text(encoding="utf-8"))):
            if language in (None, fence[2]):
                found.append(
                    Block(path.relative_to(ROOT).as_posix(), number, fence[2], textwrap.dedent(fence[3]))
                )
    return found


def to_run(text: str) -> tuple[str, list[str]]:
    """A block without the lines that cannot be run, and those."""
    kept, left = [], []
    for line in text.splitlines():
        reason = next((start for start in NOT_RUN if line.startswith(start)), None)
        (kept if reason is None else left).append(line if reason is None else reason)
    return "\n".join(kept), left


class House:
    """A copy of the repository with its server at work, and a shell in it."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "TMPDIR": str(home),
            "PORT": str(port),
        }
        self.said: list[str] = []

    def start(self) -> None:
        self._server = subprocess.Popen(
            ["make", "run"],
            cwd=self.home,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        up = threading.Event()

        def hear() -> None:
            assert self._server.stdout is not None
            for line in self._server.stdout:
                self.said.append(line.rstrip("\n"))
                if line.startswith("Ctrl-C"):
                    up.set()
            up.set()

        self._ears = threading.Thread(target=hear, daemon=True)
        self._ears.start()
        assert up.wait(PATIENCE)
        assert self._server.poll() is None, self.said
        secrets = dict(re.findall(r"^(\w+)=(.*)$", (self.home / ".env").read_text(), re.MULTILINE))
        self.environ["PASSWORD"] = secrets["DASHBOARD_PASSWORD"]

    def stop(self) -> None:
        os.killpg(self._server.pid, signal.SIGINT)
        code = self._server.wait(PATIENCE)
        self._ears.join(PATIENCE)
        assert self._server.stdout is not None
        self._server.stdout.close()
        assert code in (0, 2, -signal.SIGINT), self.said  # make tells in its own way that it was interrupted
        assert "desk: all ended" in self.said

    def type(self, text: str) -> str:
        """What a shell says to a block; it must end well."""
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{self.port}")
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.home,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=LONG,
        )
        assert ran.returncode == 0, f"{text}\n{ran.stdout}\n{ran.stderr}"
        assert '"success": false' not in ran.stdout, f"{text}\n{ran.stdout}"
        self.settle()
        return ran.stdout

    def read(self, path: str) -> Any:
        return requests.get(self.url + path, auth=("desk", self.environ["PASSWORD"]), timeout=PATIENCE).json()

    def settle(self) -> None:
        """Until the server owes no alert its end."""
        deadline = time.monotonic() + PATIENCE
        while requests.get(self.url + "/health", timeout=PATIENCE).json()["oldest_undone_alert"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def copy_of_the_repository(home: Path) -> None:
    """What git has of it, the tests aside; compiled already where it is here."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in names:
        if name and not name.startswith("tests/") and (ROOT / name).is_file():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, home / name)
    for folder in {(home / name).parent for name in names if name.endswith(".py") and (home / name).exists()}:
        compiled = ROOT / folder.relative_to(home) / "__pycache__"
        if compiled.is_dir():
            shutil.copytree(compiled, folder / "__pycache__", dirs_exist_ok=True)
    for requirements in home.glob("requirements*.txt"):
        os.utime(requirements, (0, 0))  # what is installed is newer


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[Callable[[bool], House]]:
    ends = ExitStack()

    def make(real: bool) -> House:
        home = tmp_path / "desk"
        home.mkdir()
        copy_of_the_repository(home)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        house = House(home, port)
        if real:
            (home / ".venv").symlink_to((ROOT / ".venv").resolve())
        else:
            ends.callback(forged(home, house.environ))
        ends.callback(house.stop)
        house.start()
        return house

    with ends:
        yield make


def forged(home: Path, environ: dict[str, str]) -> Callable[[], object]:
    """Lets one process import for all commands; what ends it."""
    modules = sorted(
        set(re.findall(r"\.venv/bin/python -m (desk[\w.]*)", "".join(b.text for b in blocks("sh"))))
    )
    path = home.parent / "forge"
    forge.install(home / ".venv", path, sys.executable)
    command = [sys.executable, forge.__file__, "serve", str(path), *SERVER, *modules]
    server = subprocess.Popen(command, cwd=home, env=environ, start_new_session=True)
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert server.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)

    def end() -> None:
        server.kill()
        server.wait()

    return end


def test_every_block_says_what_it_is() -> None:
    known = {
        page: {*LANGUAGES, "shell"} if page in ELSEWHERE else LANGUAGES for page in {b.page for b in blocks()}
    }
    assert [block for block in blocks() if block.language not in known[block.page]] == []
    assert {block.page for block in blocks("shell")} == set(ELSEWHERE)


def test_what_is_not_run_stands_in_the_documents() -> None:
    left = {reason for block in blocks("sh") for reason in to_run(block.text)[1]}
    assert left == set(NOT_RUN)


@pytest.mark.parametrize("block", blocks("json"), ids=lambda block: f"{block.page}:{block.number}")
def test_json_is_what_it_shows(block: Block) -> None:
    """An alert or a template that is good, or an answer as the server gives it."""
    if '"ticker": "{{' in block.text or '"passphrase"' in block.text:
        asked = {
            "exchanges": ["BINANCE"],
            "default_subaccount": None,
            "now": datetime(2026, 11, 2, tzinfo=UTC),
        }
        assert lint(block.text.encode(), **asked) == []  # type: ignore[arg-type]
    else:
        shown = json.loads(block.text)
        check(shown, SCHEMAS["Alert" if "timeline" in shown else "Stored"])


@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["forged", "real"])
@pytest.mark.timeout(600)
def test_every_command_runs(make_house: Callable[[bool], House], real: bool) -> None:
    house = make_house(real)
    start_is_told(house)
    first_alert(house)
    template = next(b for b in blocks("json") if b.page == "docs/tradingview.md")
    (house.home / "alert.json").write_text(template.text)
    done: set[str] = set()
    for block in blocks("sh"):
        text, _ = to_run(block.text)
        text = "\n".join(line for line in text.splitlines() if real or not line.startswith(HEAVY))
        if text and text not in done and block.page != "docs/first-alert.md":
            house.type(text)
        done.add(text)


def start_is_told(house: House) -> None:
    """docs/first-alert.md shows what `make run` says."""
    shown = next(b for b in blocks("text") if b.page == "docs/first-alert.md").text
    said = "\n".join(house.said).replace(f":{house.port}/", ":8000/")
    for line in shown.splitlines():
        assert line.partition(" -d ")[0] in said


def first_alert(house: House) -> None:
    """From the first line to a trade that is over."""
    typed = [b.text for b in blocks("sh") if b.page == "docs/first-alert.md"]
    _, send, look, close = typed
    answer = json.loads(house.type(send))
    assert answer["status"] == "RECEIVED"
    story = house.read(f"/api/alerts/{answer['alert_id']}")
    assert story["status"] == "DONE"
    assert story["sizing"]["worst_loss"] == "1000"
    assert sorted(order["role"] for order in story["orders"]) == ["entry", "stop", *["target"] * 3]
    house.type(look)
    assert json.loads(house.type(close))["status"] == "RECEIVED"
    assert house.read("/api/positions")["positions"] == []
    assert {row["status"] for row in house.read("/api/alerts")["alerts"]} == {"DONE"}
