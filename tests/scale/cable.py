"""A wire between a process and what it talks to, which a test can cut and mend.

Cut is how a network fails between two hosts: nothing arrives, nothing is refused and nobody is told.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType

_CHUNK = 65536


class Cable:
    """`with Cable(target) as cable:` passes on what comes to `cable.port`, both ways.

    `target` is a TCP address, or the path of a Unix socket; `tap` is given what comes to the port.
    """

    def __init__(
        self, target: tuple[str, int] | str, *, tap: Callable[[bytes], None] = lambda data: None
    ) -> None:
        self._target = target
        self._tap = tap
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._door.getsockname()[1])
        self._whole = threading.Event()
        self._whole.set()
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        self._closed = False

    def __enter__(self) -> Cable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        # The thread that waits at the door is woken by a last visitor.
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        self._whole.set()
        with self._lock:
            for end in self._ends:
                _shut(end)
        for thread in self._threads:
            thread.join(10)
        self._door.close()

    def cut(self) -> None:
        """From now on nothing passes; what was under way stays in the wire."""
        self._whole.clear()

    def mend(self) -> None:
        """The wire is whole again: connections of before are dead, as after a real outage."""
        with self._lock:
            for end in self._ends:
                _shut(end)
        self._whole.set()

    def _accept(self) -> None:
        while True:
            near, _ = self._door.accept()
            if self._closed:
                near.close()
                return
            thread = threading.Thread(target=self._serve, args=(near,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            self._whole.wait()
            with self._dial() as far:
                with self._lock:
                    self._ends |= {near, far}
                back = threading.Thread(target=self._pass, args=(far, near), daemon=True)
                back.start()
                self._pass(near, far, self._tap)
                back.join()
                with self._lock:
                    self._ends -= {near, far}

    def _dial(self) -> socket.socket:
        if isinstance(self._target, str):
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._target)
            return far
        return socket.create_connection(self._target)

    def _pass(
        self, source: socket.socket, sink: socket.socket, tap: Callable[[bytes], None] = lambda data: None
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                tap(data)
                self._whole.wait()
                sink.sendall(data)
        # Either end gone is both ends gone.
        _shut(source)
        _shut(sink)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
