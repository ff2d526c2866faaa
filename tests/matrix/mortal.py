"""Inside a process under test: counts its effects, and kills it right before one of them.

An effect is what outlives the process: a commit that wrote something, a request that changes something on
its way to the venue, its answer on the way back, the answer to who sent an alert or a vote. Each has a name
that is read from what happens (the tables that a transaction wrote, the route of a request), so that nothing
is listed by hand. Between two of them a kill leaves the same behind, wherever it strikes.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import flask
import psycopg
import requests
from requests.adapters import HTTPAdapter
from sqlalchemy import Connection, Engine, event

from store._engine import WRITES
from tests.matrix.shared import Shared

_WRITTEN = re.compile(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+\"?(\w+)")
#: Part of a path that is somebody's id.
_ID = re.compile(r"/(?=[^/]*\d)[^/]{5,}")


#: Role of the process, name of the effect, which one of that name.
Point = tuple[str, str, int]


class Mortal:
    """The effects of one process. `role` is what it is; it dies at `point`, where that is one of its own.

    Processes of one role count together. With `cut` nobody dies: the database ends all its connections.
    """

    def __init__(self, shared: Shared, trace: Path, role: str, point: Point | None, *, cut: bool) -> None:
        self._shared, self._role, self._point, self._cut = shared, role, point, cut
        self._trace = trace.open("a+b", buffering=0)
        self._turn = threading.Lock()
        self._here = threading.local()

    def install(self) -> None:
        """From now on, in this process."""
        event.listen(Engine, "begin", self._begin)
        event.listen(Engine, "before_cursor_execute", self._execute)
        event.listen(Engine, "commit", self._commit)
        send, called = HTTPAdapter.send, flask.Flask.__call__

        def sending(adapter: HTTPAdapter, request: requests.PreparedRequest, *args: Any, **more: Any) -> Any:
            if request.method == "GET":
                return send(adapter, request, *args, **more)
            name = f"{request.method} {_ID.sub('/*', request.path_url.partition('?')[0])}"
            self.step(f"request {name}")
            answer = send(adapter, request, *args, **more)
            self.step(f"answer {name}")
            return answer

        def answering(app: flask.Flask, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            answer: Iterable[bytes] = called(app, environ, start)
            if environ["REQUEST_METHOD"] != "GET":
                self.step(f"answered {_ID.sub('/*', environ['PATH_INFO'])}")
            return answer

        HTTPAdapter.send = sending  # type: ignore[method-assign]  # in this process alone
        flask.Flask.__call__ = answering  # type: ignore[method-assign]  # the same

    def step(self, name: str) -> None:
        """The next effect is about to come."""
        if not self._shared.armed:
            return
        mine = f"{self._role}\t{name}\t"
        with self._turn:
            fcntl.flock(self._trace, fcntl.LOCK_EX)
            self._trace.write(f"{mine}{os.getpid()}\n".encode())
            if self._point is not None and self._point[:2] == (self._role, name) and not self._shared.obeyed:
                self._trace.seek(0)
                seen = self._trace.read().decode().splitlines()
                if sum(line.startswith(mine) for line in seen) == self._point[2]:
                    self._obey()
            fcntl.flock(self._trace, fcntl.LOCK_UN)

    def _obey(self) -> None:
        self._shared.obeyed = True
        if not self._cut:
            # The whole group: a master that lived on would start the next one by itself.
            os.killpg(os.getpgrp(), signal.SIGKILL)
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                # The program's own: the harness looks on.
                " WHERE datname = current_database() AND application_name = 'desk'"
            )

    def _begin(self, connection: Connection) -> None:
        self._here.tables = []

    def _execute(self, connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        written = _WRITTEN.match(statement)
        if written is not None and written[1] not in self._here.tables:
            self._here.tables.append(written[1])

    def _commit(self, connection: Connection) -> None:
        tables, self._here.tables = self._here.tables, []
        if tables and WRITES in connection.get_execution_options():
            # In no order of theirs: it depends on which of the chain's heads were there before.
            self.step(f"commit {' '.join(sorted(tables))}")
