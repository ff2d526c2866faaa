"""A scripted HTTP server on loopback: says what it is told to, or nothing, and keeps all that it was sent.

It judges nothing: what an answer is worth, whoever scripts it says.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from exchanges._http import Patience

#: Longer than this no test waits for what is to happen.
PATIENCE = 20.0
#: For a client whose answers all come: it outlasts whatever a busy machine takes.
CALM = Patience(connect=PATIENCE, silence=2 * PATIENCE, total=2 * PATIENCE, long=2 * PATIENCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request as it came, `number` from 0 on; `connection` tells kept-alive ones apart."""

    number: int
    connection: int
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def on(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What to say. `promised` is the Content-Length where that is to be a lie; the connection then ends.

    `silent` says nothing until the client or the test gives up, `close` hangs up without a word, `drip`
    sends the body for ever, as long as the client listens.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    promised: int | None = None
    silent: bool = False
    close: bool = False
    drip: bool = False


class Scripted:
    """The server, as a context: `url`, `seen`, and `refuse()`, after which its port takes no connection."""

    def __init__(self, script: Callable[[Seen], Answer], *, keep_alive: bool = True) -> None:
        self.seen: list[Seen] = []
        self.ending = threading.Event()
        self._script = script
        self._keep_alive = keep_alive
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                self.connection_number = outer._connected(self.connection)

            def finish(self) -> None:
                super().finish()
                outer._open.discard(self.connection)

            def log_message(self, *args: Any) -> None:
                """Nothing: the test tells what matters."""

            def answer(self) -> None:
                outer._answer(self, self.connection_number)

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815  # the library's names

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()

    def refuse(self) -> None:
        """Ends the server and every connection to it. A second call does nothing."""
        if self.ending.is_set():
            return
        self.ending.set()
        self._server.shutdown()
        self._thread.join(PATIENCE)
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                self._open.discard(connection)
        self._server.server_close()

    def on(self, path: str) -> list[Seen]:
        """The requests to one path."""
        return [seen for seen in self.seen if seen.path == path]

    def _connected(self, connection: socket.socket) -> int:
        with self._lock:
            self._open.add(connection)
            self._connections += 1
            return self._connections

    def _answer(self, handler: BaseHTTPRequestHandler, connection: int) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        with self._lock:
            seen = Seen(
                number=len(self.seen),
                connection=connection,
                method=handler.command,
                target=handler.path,
                headers=handler.headers,  # type: ignore[arg-type]  # a mapping that knows no case
                body=body,
            )
            self.seen.append(seen)
        answer = self._script(seen)
        if answer.silent:
            self.ending.wait(PATIENCE)
        if answer.silent or answer.close:
            handler.close_connection = True
            return
        length = len(answer.body) if answer.promised is None else answer.promised
        headers = {"Content-Type": "application/json", "Content-Length": str(length)} | dict(answer.headers)
        if answer.drip:
            del headers["Content-Length"]
        if not self._keep_alive or answer.drip or answer.promised is not None:
            headers["Connection"] = "close"
            handler.close_connection = True
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        try:
            handler.wfile.write(f"HTTP/1.1 {answer.status} X\r\n{head}\r\n".encode("latin-1") + answer.body)
            while answer.drip and not self.ending.wait(0.005):
                handler.wfile.write(answer.body)
        except OSError:
            # The client has gone.
            handler.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that the client ended is no news."""
