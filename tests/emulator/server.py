"""One emulated exchange over real HTTP on loopback: a dialect in front of an engine, a log, and faults.

It must never apply a request twice, nor tell a test that it is quiet while a handler still runs.
"""

from __future__ import annotations

import select
import socket
import sys
import threading
import time
from collections import Counter
from datetime import datetime, timedelta
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, cast

from requests.structures import CaseInsensitiveDict

from tests.emulator.engine import Engine
from tests.emulator.wire import Dialect, Key, Request, Response, Seen, without_secrets

__all__ = ["Dialect", "Fault", "Key", "Request", "Response", "Seen", "Server"]

BAN = timedelta(seconds=5)
SKEW = timedelta(seconds=90)
RETRY_AFTER_S = 1
#: How long an answer is withheld from a client that does not give up.
PATIENCE_S = 60.0

_DATE = "%a, %d %b %Y %H:%M:%S GMT"
_HTML = b"<!DOCTYPE html>\n<html><head><title>%s</title></head><body><h1>%s</h1></body></html>\n"


class Fault(StrEnum):
    """What becomes of one request; "before": nothing was applied, "after": it was."""

    LOST_BEFORE = "lost_before"
    LOST_AFTER = "lost_after"
    SILENT_BEFORE = "silent_before"
    SILENT_AFTER = "silent_after"
    LATE = "late"
    ERROR_BEFORE = "error_before"
    ERROR_AFTER = "error_after"
    UNKNOWN_BEFORE = "unknown_before"
    UNKNOWN_AFTER = "unknown_after"
    HTML = "html"
    CUT = "cut"
    CUT_SHORT = "cut_short"
    THROTTLED = "throttled"
    BANNED = "banned"
    SKEW = "skew"
    PARTIAL = "partial"


#: Of these the venue never sees the request, or not yet.
_NOT_APPLIED = frozenset(
    {
        Fault.LOST_BEFORE,
        Fault.SILENT_BEFORE,
        Fault.LATE,
        Fault.ERROR_BEFORE,
        Fault.UNKNOWN_BEFORE,
        Fault.THROTTLED,
        Fault.BANNED,
    }
)


class Server:
    """`with Server(dialect, engine) as server:` answers at `server.url` until the block ends.

    `delay` are the seconds that a request, and an answer, takes on its way.
    A fault of the emulator itself (a dialect that raises) is answered with 500 and raised at the block's end.
    """

    def __init__(
        self,
        dialect: Dialect,
        engine: Engine,
        *,
        port: int = 0,
        delay: float = 0.0,
    ) -> None:
        self.dialect = dialect
        self.delay = delay
        self.engine = engine
        self.log: list[Seen] = []
        self.failures: list[BaseException] = []
        self._faults: dict[Key, Fault] = {}
        self._coming: list[tuple[str, Fault]] = []
        self._late: list[tuple[Request, Seen]] = []
        self._counts: Counter[str] = Counter()
        self._numbers = 0
        self._banned_until: datetime | None = None
        self._in_flight = 0
        self._state = threading.Lock()
        self._closing = threading.Event()
        self._http = _Listener(("127.0.0.1", port), _Handler)
        self._http.emulated = self
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    # -- life ------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if error is None and self.failures:
            raise self.failures[0]

    def close(self) -> None:
        """Ends every connection and waits for the handlers."""
        self._closing.set()
        if self._thread.is_alive():
            self._http.shutdown()
        self._http.server_close()
        self._http.hang_up()
        self._thread.join(timeout=5)

    # -- what a test does ------------------------------------------------------------------------------

    @property
    def skew(self) -> timedelta:
        """How far the venue's clock is ahead."""
        return self.engine.skew

    @skew.setter
    def skew(self, ahead: timedelta) -> None:
        self.engine.skew = ahead

    def fault(self, kind: Fault | str, key: Key) -> None:
        """Does `kind` to the request `key`, once: ("POST /api/orders", 1) is the first of its kind."""
        with self._state:
            assert key not in self._faults, f"{key} has a fault already"
            self._faults[key] = Fault(kind)

    def fault_next(self, kind: Fault | str, *, method: str) -> None:
        """Does `kind` to the next request of that method, whatever it asks for."""
        with self._state:
            self._coming.append((method, Fault(kind)))

    def forget_faults(self) -> None:
        """Those that no request has met."""
        with self._state:
            self._faults.clear()
            self._coming.clear()

    @property
    def unfired(self) -> dict[Key, Fault]:
        """Faults whose request has not come."""
        with self._state:
            return dict(self._faults)

    @property
    def held(self) -> int:
        """How many late requests are on their way."""
        with self._state:
            return len(self._late)

    def deliver_late(self) -> list[Response]:
        """The late requests reach the venue now, by its clock of now; what it says, nobody hears."""
        with self._state:
            late, self._late = self._late, []
        answers = []
        for request, seen in late:
            answers.append(self._apply(request, seen, None))
        return answers

    def reset_log(self) -> None:
        """Forgets what was asked; the next request of each kind is the first again."""
        with self._state:
            self.log = []
            self._counts.clear()

    def story(self) -> str:
        """The log, one line a request."""
        with self._state:
            return "\n".join(str(seen) for seen in self.log)

    @property
    def requests_in_flight(self) -> int:
        with self._state:
            return self._in_flight

    def settle(self, timeout: float = 10.0) -> None:
        """Waits until no handler runs and nothing is unread, also of requests that clients have given up."""
        deadline, quiet = time.monotonic() + timeout, 0
        # Two looks: between them a handler that has just taken a request counts itself.
        while quiet < 2:
            quiet = 0 if self.requests_in_flight or self._http.has_unread() else quiet + 1
            assert time.monotonic() < deadline, f"requests are still in flight:\n{self.story()}"
            self._closing.wait(0.005)

    # -- one request -----------------------------------------------------------------------------------

    def _serve(self, request: Request, handler: _Handler) -> None:
        self._travel()
        with self._state:
            self._numbers += 1
            name = f"{request.method} {self.dialect.route(request.path)}"
            self._counts[name] += 1
            key = (name, self._counts[name])
            fault = self._faults.pop(key, None)
            for coming in self._coming if fault is None else ():
                if coming[0] == request.method:
                    self._coming.remove(coming)
                    fault = coming[1]
                    break
            seen = Seen(
                number=self._numbers,
                method=request.method,
                path=request.path,
                query=request.query_text,
                body=request.body,
                headers=without_secrets(request.headers),
                key=key,
                at=time.perf_counter(),
                fault=fault,
            )
            self.log.append(seen)
            self._in_flight += 1
        try:
            self._answer(request, seen, fault, handler)
        finally:
            with self._state:
                self._in_flight -= 1

    def _answer(self, request: Request, seen: Seen, fault: Fault | None, handler: _Handler) -> None:
        response = self._turned_away(fault)
        if response is None:
            response = self._judge(request, seen, fault)
        if fault in (Fault.SILENT_BEFORE, Fault.SILENT_AFTER, Fault.LATE):
            handler.wait_until_given_up(self._closing)
        if fault in (Fault.LOST_BEFORE, Fault.LOST_AFTER) or response is None:
            handler.drop()
            return
        content, content_type = response.encoded()
        self._travel()
        if fault is Fault.CUT:
            content = content[: len(content) // 2]
        seen.status = response.status
        handler.write(
            response, content, content_type, stop_at=len(content) // 2 if fault is Fault.CUT_SHORT else None
        )

    def _travel(self) -> None:
        if self.delay:
            self._closing.wait(self.delay)

    def _turned_away(self, fault: Fault | None) -> Response | None:
        """The answer to what never reaches the venue's order book, if this is such a request."""
        with self.engine.lock:
            now = self.engine.now()
            if fault is Fault.BANNED:
                self._banned_until = now + BAN
            if self._banned_until is not None:
                if now < self._banned_until:
                    return self.dialect.banned(self._banned_until)
                self._banned_until = None
            if fault is Fault.THROTTLED:
                answer = self.dialect.throttled(RETRY_AFTER_S)
                return Response(
                    status=answer.status,
                    body=answer.body,
                    headers={"Retry-After": str(RETRY_AFTER_S), **answer.headers},
                )
        return None

    def _judge(self, request: Request, seen: Seen, fault: Fault | None) -> Response | None:
        """Applies the request unless the fault forbids it; what the client is to hear, None for nothing."""
        if fault is Fault.LATE:
            with self._state:
                self._late.append((request, seen))
            return None
        said = None if fault in _NOT_APPLIED else self._apply(request, seen, fault)
        if fault in (Fault.ERROR_BEFORE, Fault.ERROR_AFTER):
            return Response(status=502, body=_HTML % (b"502 Bad Gateway", b"502 Bad Gateway"))
        if fault is Fault.HTML:
            return Response(status=200, body=_HTML % (b"Please wait", b"Checking your browser"))
        if fault in (Fault.UNKNOWN_BEFORE, Fault.UNKNOWN_AFTER):
            with self.engine.lock:
                return self.dialect.unknown()
        return None if fault in (Fault.SILENT_BEFORE, Fault.SILENT_AFTER) else said

    def _apply(self, request: Request, seen: Seen, fault: Fault | None) -> Response:
        with self.engine.lock:
            if fault is Fault.SKEW:
                self.engine.skew = SKEW
            seen.applied = True
            try:
                if fault is Fault.PARTIAL:
                    with self.engine.thin():
                        return self.dialect.handle(request)
                return self.dialect.handle(request)
            except Exception as error:  # noqa: BLE001  # a handler's thread has nobody to tell: kept and raised at the end
                self.failures.append(error)
                return Response(status=500, body=b"the emulator itself failed")


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    emulated: Server

    def __init__(self, address: tuple[str, int], handler: type[_Handler]) -> None:
        super().__init__(address, handler)
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()
        super().shutdown_request(request)

    def has_unread(self) -> bool:
        """Whether a connection waits to be taken, or to be read."""
        with self._changed:
            readable, _, _ = select.select([self.socket, *self._open], [], [], 0)
        return bool(readable)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the game; anything else is told at the end."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError):
            self.emulated.failures.append(error)

    def hang_up(self) -> None:
        """Ends every connection; a connection that was kept alive has a thread that waits on it."""
        with self._changed:
            for connection in self._open:
                _shut(connection)
            self._changed.wait_for(lambda: not self._open, timeout=5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _one(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        path, _, query = self.path.partition("?")
        request = Request(
            method=self.command,
            path=path,
            query_text=query,
            headers=cast("Any", CaseInsensitiveDict(self.headers.items())),
            body=body,
        )
        cast("_Listener", self.server).emulated._serve(request, self)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _one  # noqa: N815  # http.server finds them by these names

    def write(self, response: Response, content: bytes, content_type: str, *, stop_at: int | None) -> None:
        """The whole answer in one piece; `stop_at`: the connection ends after so many bytes of the body."""
        reason, _ = self.responses.get(cast("Any", response.status), ("", ""))
        headers = {
            "Content-Type": content_type,
            "Date": cast("_Listener", self.server).emulated.engine.now().strftime(_DATE),
            **response.headers,
            "Content-Length": str(len(content)),
        }
        lines = [f"{self.protocol_version} {response.status} {reason}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(lines) + "\r\n\r\n"
        self.wfile.write(head.encode("latin-1") + content[:stop_at])
        if stop_at is not None:
            self.drop()

    def wait_until_given_up(self, closing: threading.Event) -> None:
        """Until the client closes its end."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and not closing.is_set():
            readable, _, _ = select.select([self.connection], [], [], 0.05)
            if readable and not self._peek():
                return

    def drop(self) -> None:
        """Ends the connection without another byte."""
        self.close_connection = True
        _shut(self.connection)

    def log_message(self, format: str, *arguments: Any) -> None:
        """The log is `server.log`."""

    def _peek(self) -> bytes:
        try:
            return cast("bytes", self.connection.recv(1, socket.MSG_PEEK))
        except ConnectionError:
            return b""


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other end was first
