"""Processes of ours that live and die together, and the bot among them, which may die alone.

Starts, watches and ends them; never decides whether one is wanted, and never leaves one behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

#: Seconds for a child to end in.
STOP_LIMIT = 10.0
#: Seconds until a bot that died is started again: the first time, and the longest.
BOT_AGAIN, BOT_LONGEST = 5.0, 60.0

WEB, BOT = "the web server", "the bot"


class Children:
    """Processes that live and die together, each in a session of its own: Ctrl-C is for us to pass on."""

    def __init__(self, home: Path, variables: Mapping[str, str]) -> None:
        self._home = home
        self._variables = dict(variables)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *arguments: str) -> None:
        """Starts `python -m …`."""
        command = [sys.executable, "-m", *arguments]
        self._running[name] = subprocess.Popen(
            command,
            cwd=self._home,
            env=self._variables,
            start_new_session=True,
            umask=0o077,  # the database is its owner's, to read as well
        )

    def ended(self) -> dict[str, int]:
        """Exit status by name, of those that ended by themselves."""
        return {name: code for name, child in self._running.items() if (code := child.poll()) is not None}

    def forget(self, name: str) -> None:
        """One that was to end, and did."""
        del self._running[name]

    def end(self) -> None:
        """Asks all to end, and makes them when STOP_LIMIT is over; a repeat is no error."""
        for child in self._running.values():
            child.terminate()
        deadline = time.monotonic() + STOP_LIMIT
        for child in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, deadline - time.monotonic()))
            # Itself, if it would not end, and what a dead one left behind.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        self._running.clear()


class Bot:
    """The bot beside the server, where there is to be one; `look` now and then."""

    def __init__(self, children: Children, *, wanted: bool) -> None:
        self._children = children
        self._due: float | None = time.monotonic() if wanted else None
        self._began = 0.0
        self._pause = BOT_AGAIN

    def look(self) -> None:
        """Starts it when it is due, and says so when it died."""
        now = time.monotonic()
        if self._due is not None and now >= self._due:
            self._children.start(BOT, "discord_bot")
            self._began, self._due = now, None
        code = self._children.ended().get(BOT)
        if code is None:
            return
        self._children.forget(BOT)
        if now - self._began > BOT_LONGEST:
            self._pause = BOT_AGAIN
        again = f"trading goes on, and it is started again in {self._pause:g} s"
        print(f"desk: {BOT} ended (status {code}); {again}", file=sys.stderr, flush=True)
        self._due, self._pause = now + self._pause, min(self._pause * 2, BOT_LONGEST)
