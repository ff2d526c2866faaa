"""`python -m desk.serve` around a web server and a bot in small: who is started, and who outlives whom."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from desk.settings import ROOT
from tests.processes import until

#: Writes its name and process id down, and waits for its end.
BEING = """
import os, pathlib, signal, sys, time
with open({name!r}, "a") as file:
    file.write(f"{{os.getpid()}}\\n")
signal.signal(signal.SIGTERM, lambda *_: sys.exit({status}))
time.sleep(600)
"""
WITH_BOT = {"BOT": "embedded", "DISCORD_TOKEN": "token-of-the-bot", "DISCORD_CHANNEL_ID": "1"}


class Serving:
    """`desk.serve` in a project of its own, whose gunicorn and bot are beings."""

    def __init__(self, home: Path, same_word: float = 0.1, **variables: str) -> None:
        self.home = home
        # Imports come from the project, but for gunicorn and the bot, which are here.
        code = (
            f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pathlib import Path; from desk import"
            f" children, serve; children.BOT_AGAIN = 0.05; serve._SAME_WORD = {same_word};"
            f" sys.exit(serve.main(Path('.env'), Path({str(home)!r})))"
        )
        given = {"PATH": os.environ["PATH"], "WEBHOOK_PASSPHRASE": "correct-horse-battery", **variables}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=home, env=given, stderr=subprocess.PIPE, text=True
        )

    def pids(self, name: str) -> list[int]:
        path = self.home / name
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def came(self, name: str, times: int = 1) -> int:
        """The process id of the nth that came."""
        return until(lambda: self.pids(name)[times - 1 :], f"{name} comes")[0]

    def ended(self) -> tuple[int, str]:
        """Exit status, and what it said."""
        said = self.process.communicate(timeout=30)[1]
        return self.process.returncode, said


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    opened: list[Serving] = []
    write(tmp_path, "gunicorn", status=0)
    write(tmp_path, "discord_bot", status=0)

    def start(**given: Any) -> Serving:
        opened.append(Serving(tmp_path, **given))
        return opened[-1]

    yield start
    for each in opened:
        each.process.kill()
        each.process.communicate()
    left = [pid for name in ("gunicorn", "discord_bot") for pid in opened[0].pids(f"{name}.pids")]
    assert not [pid for pid in left if alive(pid)]


def write(home: Path, name: str, *, status: int, text: str = BEING) -> None:
    (home / name).mkdir(exist_ok=True)
    (home / name / "__init__.py").touch()
    (home / name / "__main__.py").write_text(text.format(name=f"{name}.pids", status=status))


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_without_the_bot_it_becomes_the_web_server(serve: Callable[..., Serving]) -> None:
    served = serve(**WITH_BOT | {"BOT": ""})
    assert served.came("gunicorn.pids") == served.process.pid
    served.process.terminate()
    assert served.ended() == (0, "")
    assert served.pids("discord_bot.pids") == []


def test_a_bot_without_a_token_is_told_and_left_out(serve: Callable[..., Serving]) -> None:
    served = serve(BOT="embedded")
    assert served.came("gunicorn.pids") == served.process.pid
    served.process.terminate()
    assert served.ended() == (0, "desk: BOT=embedded and no DISCORD_TOKEN: no bot\n")


def test_a_bot_that_dies_is_started_again_and_the_end_is_for_both(serve: Callable[..., Serving]) -> None:
    served = serve(**WITH_BOT)
    web = served.came("gunicorn.pids")
    os.kill(served.came("discord_bot.pids"), signal.SIGKILL)
    second = served.came("discord_bot.pids", times=2)
    assert alive(web)
    served.process.terminate()
    code, said = served.ended()
    assert code == 0
    assert said == "desk: the bot ended (status -9); trading goes on, and it is started again in 0.05 s\n"
    assert not alive(web)
    assert not alive(second)


def test_a_web_server_that_dies_takes_the_bot_along(serve: Callable[..., Serving]) -> None:
    served = serve(**WITH_BOT)
    bot = served.came("discord_bot.pids")
    os.kill(served.came("gunicorn.pids"), signal.SIGKILL)
    assert served.ended() == (
        1,
        "desk: the web server ended by itself (status -9); the reason stands above\n",
    )
    assert not alive(bot)


def test_a_word_to_stop_that_comes_to_the_web_server_first_is_no_failure(
    serve: Callable[..., Serving],
) -> None:
    served = serve(same_word=30, **WITH_BOT)
    served.came("discord_bot.pids")
    web = served.came("gunicorn.pids")
    os.kill(web, signal.SIGTERM)
    until(lambda: not alive(web), "the web server ends")
    served.process.terminate()
    assert served.ended()[0] == 0


def test_a_wrong_setting_is_one_line(serve: Callable[..., Serving]) -> None:
    code, said = serve(BOT="beside").ended()
    assert (code, said) == (1, "cannot start: BOT: 'beside' is not one of off, embedded\n")


def test_sqlite_on_a_dyno_is_refused_with_the_mend(serve: Callable[..., Serving]) -> None:
    code, said = serve(DYNO="web.1").ended()
    assert code == 1
    assert said.count("\n") == 1
    assert "heroku addons:create heroku-postgresql" in said
