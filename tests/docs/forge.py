"""A python that has imported the desk already: what `.venv/bin/python` is where a test runs the documents.

`python -m MODULE …` costs a second, nearly all of it imports. Here a process imports once and forks for each
command; the one that is called hands its arguments, folder, environment and terminal over, passes signals on
and ends with the same status. What runs are the very modules of the folder, as `__main__`.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_LONGEST = 1 << 20


def install(venv: Path, sock: Path, python: str) -> None:
    """Makes `venv` an environment whose python is this one."""
    (venv / "bin").mkdir(parents=True)
    (venv / "installed").touch()
    shim = venv / "bin" / "python"
    shim.write_text(f'#!/bin/sh\nexec {python} -IS {Path(__file__).resolve()} {sock} "$0" "$@"\n')
    shim.chmod(0o755)


def serve(path: Path, modules: Sequence[str]) -> None:
    """Imports `modules` from the working folder, and forks for whoever asks."""
    sys.path[0] = os.getcwd()
    for name in modules:
        importlib.import_module(name)
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(path))
    door.listen()
    door.settimeout(5)
    parent = os.getppid()
    while True:
        try:
            caller, _ = door.accept()
        except TimeoutError:
            if os.getppid() != parent:
                return  # whoever ran the tests is no more
            continue
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        if os.fork() == 0:
            door.close()
            os._exit(_attend(caller))
        caller.close()


def _attend(caller: socket.socket) -> int:
    message, files, _, _ = socket.recv_fds(caller, _LONGEST, 3)
    order = json.loads(message)
    child = os.fork()
    if child == 0:
        os._exit(_become(order, files))
    caller.sendall(f"{child}\n".encode())
    _, status = os.waitpid(child, 0)
    caller.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    return 0


def _become(order: dict[str, Any], files: Sequence[int]) -> int:
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environ"])
    sys.executable = order["python"]  # whom it starts, it starts so
    flag, module, *arguments = order["arguments"]
    code: object = 2
    try:
        assert flag == "-m", f"python {flag}: a module is run here, and nothing else"
        sys.argv = [module, *arguments]
        warnings.simplefilter("ignore", RuntimeWarning)  # that the module is there already
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001  # as python itself would end
        traceback.print_exc()
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return int(code or 0)  # type: ignore[call-overload]


def main() -> int:
    """The one that forks (`serve SOCKET MODULE …`), or the python that is called (`SOCKET PYTHON -m …`)."""
    _, path, python, *arguments = sys.argv
    if path == "serve":
        serve(Path(python), arguments)
        return 0
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        order = {"arguments": arguments, "folder": os.getcwd(), "environ": dict(os.environ)}
        order["python"] = os.path.abspath(python)
        socket.send_fds(server, [json.dumps(order).encode()], [0, 1, 2])
        with server.makefile() as told:
            child = int(told.readline())
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda number, _: os.kill(child, number))
            status = int(told.readline())
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
