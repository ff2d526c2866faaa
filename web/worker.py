"""gunicorn's threaded worker, with patience that ends: for slow senders, and when it must stop.

A sender that drips its request keeps a thread for READ_LIMIT seconds and no longer. On SIGTERM the runner
is told to stop while the last requests are answered. Never cuts off an answer: only reading ends.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from web import browser

#: Seconds that a sender may take for a whole request.
READ_LIMIT = 10.0
#: The same, once this process is asked to end.
STOP_READ_LIMIT = 2.0
#: Seconds after which the pages are made ready.
_PREPARED_AFTER = 3.0
#: Seconds that the runner has to end in.
STOP_LIMIT = 7.0


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """One process of the web server."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._busy: dict[Any, float] = {}
        self._limit = READ_LIMIT

    def init_process(self) -> None:
        logging.getLogger("gunicorn.error").addFilter(hide_request)
        super().init_process()

    def run(self) -> None:
        """Serves until told to stop."""
        # Not among the first requests: right after a start an alert is likelier than somebody who looks.
        soon = threading.Timer(_PREPARED_AFTER, browser.prepare, (self.wsgi,))
        soon.daemon = True
        soon.start()
        super().run()

    def handle(self, conn: Any) -> Any:
        """Serves one connection in a thread of the pool."""
        self._busy[conn] = time.monotonic()
        try:
            return super().handle(conn)
        finally:
            self._busy.pop(conn, None)

    def notify(self) -> None:
        """Comes about once a second from the main loop."""
        super().notify()
        late = time.monotonic() - self._limit
        for conn, began in list(self._busy.items()):
            if began < late:
                self._busy.pop(conn, None)
                _stop_reading(conn.sock)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: the runner ends beside the last requests, not after them."""
        if self.alive:
            self._limit = STOP_READ_LIMIT
            threading.Thread(target=self.stop_desk, daemon=True).start()
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: Any) -> None:
        """Ctrl-C: nothing more is read, what was read is answered."""
        self._limit = 0.0
        for conn in list(self._busy):
            _stop_reading(conn.sock)
        super().handle_quit(sig, frame)

    def stop_desk(self) -> None:
        """Ends the runner of this process; a repeat waits for the first."""
        desk = getattr(getattr(self, "wsgi", None), "extensions", {}).get("desk")
        if desk is not None:
            desk.stop(STOP_LIMIT)


def hide_request(record: logging.LogRecord) -> bool:
    """Keeps what a broken request holds out of the log: it may be a body, with its passphrase."""
    said = record.getMessage()
    if said.startswith("Invalid request from ip="):
        record.msg, record.args = said.partition(":")[0], ()
    return True


def _stop_reading(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RD)
    except OSError:
        logging.getLogger(__name__).debug("a slow sender has gone by itself")
