"""`python -m desk.serve`: the web server, and with BOT=embedded the bot beside it: one container, one dyno.

Without the bot it becomes gunicorn itself. Where the web server dies, all ends, for whoever started this to
start it again; the bot alone is started again here. Never migrates, writes no `.env`, and tells no secret.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from desk.children import WEB, Bot, Children
from desk.settings import ENV_FILE, ROOT, environment, load
from trading.errors import SettingsError

_SERVER = ("gunicorn", "app:app")
_TICK = 0.25
#: Seconds in which the word to stop comes to us as well, where it goes to every process of a dyno at once.
_SAME_WORD = 1.0


def main(env_file: Path = ENV_FILE, home: Path = ROOT) -> int:
    """Runs until it is told to stop (0) or cannot go on (1, with one line that says why)."""
    stop = threading.Event()
    try:
        variables = environment(env_file)
        settings = load(variables)
    except SettingsError as error:
        return _failed(f"cannot start: {error}")
    wanted = settings.bot == "embedded"
    if wanted and settings.discord_token is None:
        print("desk: BOT=embedded and no DISCORD_TOKEN: no bot", file=sys.stderr, flush=True)
    if not wanted or settings.discord_token is None:
        os.chdir(home)
        os.execv(sys.executable, [sys.executable, "-m", *_SERVER])  # noqa: S606  # no shell, a constant
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    children = Children(home, variables)
    try:
        code = _run(children, stop)
    finally:
        children.end()
    if code is None:
        return 0
    return _failed(f"desk: {WEB} ended by itself (status {code}); the reason stands above")


def _run(children: Children, stop: threading.Event) -> int | None:
    """None when `stop` is set, the web server's exit status when it ended by itself."""
    children.start(WEB, *_SERVER)
    bot = Bot(children, wanted=True)
    while not stop.wait(_TICK):
        bot.look()
        code = children.ended().get(WEB)
        if code is not None and not stop.wait(_SAME_WORD):
            return code
    return None


def _failed(reason: str) -> int:
    print(reason, file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="python -m desk.serve", description="The web server, and with BOT=embedded the bot beside it."
    ).parse_args()
    sys.exit(main())
