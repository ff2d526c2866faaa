"""A process that has imported all of the program and done nothing, and forks itself into servers and runners.

`python -m tests.matrix.zygote SHARED` speaks JSON lines over its standard input and output. What it forks is
a process like any other: a group, sockets, threads and database connections of its own, opened after the
fork, and SIGKILL ends it. Only the second of imports is saved. Nothing else could pass from one life to the
next: the zygote has no thread, no connection and no settings, and its memory is not that of the one killed.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial, partialmethod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.matrix.mortal import Mortal
from tests.matrix.shared import Shared
from tests.processes import ROOT, bare_environ

#: All that a server and a runner load on their way, the venues included.
_LOADED = (
    "app",
    "desk.runner",
    "encodings.utf_8_sig",
    "gunicorn.app.wsgiapp",
    "gunicorn.arbiter",
    "gunicorn.glogging",
    "psycopg",
    "pysqlite3.dbapi2",
    "sqlalchemy.dialects.postgresql.psycopg",
    "web.worker",
)
_SUBREAPER = 36
#: Seconds of this machine's clock between two looks for work, where nobody rings.
_TICK = 1.0


class Zygote:
    """The harness's end of it."""

    def __init__(self, shared: Path) -> None:
        # Not the harness's own environment: what a person's .env sets must not be read here.
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, str(shared)],
            cwd=ROOT,
            env=bare_environ() | {"PYTHONPATH": "", "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._say, self._hear = self._process.stdin, self._process.stdout
        self._ended: dict[int, int] = {}
        self._line()

    def start(self, **life: Any) -> int:
        """Forks a life (see `_live`); its process id, which is its group's."""
        self._say.write(json.dumps(life).encode() + b"\n")
        self._say.flush()
        while "pid" not in (told := self._line()):
            self._note(told)
        # A number that was given out again: what is known of it is of another one.
        self._ended.pop(told["pid"], None)
        return int(told["pid"])

    def ended(self) -> dict[int, int]:
        """How the lives that have ended did so, as from `waitpid`."""
        while select.select([self._hear], [], [], 0)[0]:
            self._note(self._line())
        return self._ended

    def close(self) -> None:
        """Ends it, and all that it has forked."""
        self._say.close()
        self._process.wait(20)
        self._hear.close()

    def _note(self, told: dict[str, Any]) -> None:
        self._ended[told["ended"]] = told["status"]

    def _line(self) -> dict[str, Any]:
        # Byte by byte: what a buffer holds, select does not see.
        line = b""
        while not line.endswith(b"\n"):
            got = os.read(self._hear.fileno(), 1)
            if not got:
                raise AssertionError("the zygote has died")
            line += got
        return dict(json.loads(line))


def _live(shared: Shared, life: dict[str, Any]) -> int:
    """One life: `module` (web or runner) with `environ` and a `log`; the rest as in Mortal.

    `alone`: on a host of its own, where process ids of others say nothing.
    """
    log = os.open(life["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.clear()
    os.environ.update(life["environ"])
    runner: Any = importlib.import_module("desk.runner")
    # What is done now and then is done by the clock that all share.
    runner.time = SimpleNamespace(monotonic=partial(shared.round, life["slot"]), sleep=runner.time.sleep)
    runner.TICK = _TICK
    runner.Runner.run = partialmethod(_run_with_bell, runner.Runner.run, life["bell"])
    http: Any = importlib.import_module("exchanges._http")
    http.Hosts.__init__ = partialmethod(http.Hosts.__init__, pause=shared.pause)
    if life["alone"]:
        runner.is_dead = lambda owner: False
    point = tuple(life["point"]) if life["point"] else None
    mortal: Any = Mortal
    mortal(shared, Path(life["trace"]), life["role"], point, cut=life["cut"]).install()
    if life["module"] == "runner":
        return int(runner.main(shared))
    app: Any = importlib.import_module("app")
    app.wire = partial(app.wire, clock=shared)
    # Nobody looks at a page here.
    browser: Any = importlib.import_module("web.browser")
    browser.prepare = lambda _: None
    sys.argv = ["gunicorn", "app:app"]
    importlib.import_module("gunicorn.app.wsgiapp").run()
    return 0


def _run_with_bell(
    runner: Any, run: Callable[..., None], bell: str, stop: threading.Event, wake: threading.Event
) -> None:
    """Runs a runner that looks for work when the harness rings, as when the clock was turned: a process that
    polls would cost more than what it does."""

    def listen() -> None:
        with open(bell, "rb", buffering=0) as rings:
            while rings.read(1):
                wake.set()

    threading.Thread(target=listen, name="bell", daemon=True).start()
    run(runner, stop, wake)


def _fork(shared: Shared, life: dict[str, Any]) -> int:
    pid = os.fork()
    # Said by both, so that it is so for both before they go on.
    os.setpgid(pid, pid)
    if pid:
        return pid
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        status = _live(shared, life)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001  # the last handler of this process: it must not become a second zygote
        traceback.print_exc()
    finally:
        os._exit(status)


def _reap(lives: set[int]) -> None:
    """Tells which lives have ended, and buries their children with them."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        if pid in lives:
            lives.discard(pid)
            _tell({"ended": pid, "status": status})


def _tell(what: dict[str, Any]) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def main() -> int:
    """Forks what it is told to, until its input ends; then kills what is left."""
    shared = Shared(Path(sys.argv[1]))
    for name in _LOADED:
        importlib.import_module(name)
    for name in importlib.import_module("exchanges").available():
        importlib.import_module(f"exchanges.{name.lower()}")
    # Workers of a master that is killed are this process's to bury.
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    heard, woken = socket.socketpair()
    for end in (heard, woken):
        end.setblocking(False)
    signal.set_wakeup_fd(woken.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    gc.collect()
    gc.freeze()
    _tell({"ready": True})
    lives: set[int] = set()
    text = b""
    while True:
        ready, _, _ = select.select([0, heard], [], [])
        if heard in ready:
            heard.recv(4096)
            _reap(lives)
        if 0 not in ready:
            continue
        got = os.read(0, 65536)
        if not got:
            break
        *lines, text = (text + got).split(b"\n")
        for line in lines:
            pid = _fork(shared, json.loads(line))
            lives.add(pid)
            _tell({"pid": pid})
    signal.set_wakeup_fd(-1)
    for pid in lives:
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return 0


if __name__ == "__main__":
    sys.exit(main())
