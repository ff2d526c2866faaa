"""Listens, in a process under test, to the stages of an alert's way; ends the process at one of them.

Python imports this by itself where the folder is on PYTHONPATH. The folder that STAGES names is how the
test and the process talk: `seen` gets a line per stage; `order` says what to do at which (see
tests/processes.py); `obeyed` is there once it was done.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any


class Listener:
    """Counts each stage from the moment that an order is given."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._order: dict[str, Any] = {}
        self._count = 0
        self._lock = threading.Lock()
        self._seen = os.open(folder / "seen", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event != "desk.stage":
            return
        with self._lock:
            os.write(self._seen, f"{os.getpid()} {args[0]}\n".encode())
            try:
                order = json.loads((self._folder / "order").read_text())
            except FileNotFoundError:
                return
            if order != self._order:
                self._order, self._count = order, 0
            if args[0] == order["stage"] or (order["stage"] is None and args[0] not in order["spare"]):
                self._count += 1
                if self._count == order["nth"]:
                    self._obey(order, args[0])

    def _obey(self, order: dict[str, Any], stage: str) -> None:
        (self._folder / f"obeyed-{os.getpid()}").write_text(stage)
        if order["meet"]:
            while len(list(self._folder.glob("obeyed-*"))) < order["meet"]:
                time.sleep(0.005)
            return
        (self._folder / "order").unlink()
        if order["group"]:
            os.killpg(os.getpgrp(), order["signal"])
        elif order["signal"] == signal.SIGSTOP:
            # To this thread: where another one takes it, this one goes on for a moment.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        else:
            os.kill(os.getpid(), order["signal"])


if "STAGES" in os.environ:
    sys.addaudithook(Listener(Path(os.environ["STAGES"])).hear)
