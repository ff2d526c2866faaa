"""The runner as a thread of the web process, woken right after an alert is stored.

Starts, wakes and stops a Runner; must never do its work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

from desk.runner import Runner
from desk.settings import Settings
from store import Store


class Service:
    """One runner thread, for the life of the process."""

    def __init__(self, store: Store, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._runner = Runner(store, settings, clock)
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread; a repeat is no error."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._runner.run, args=(self._stop, self._wake), name="runner", daemon=True
            )
            self._thread.start()

    def wake(self) -> None:
        """Says that something was stored: look now."""
        self._wake.set()

    def stop(self, timeout: float) -> None:
        """Lets what is in flight end, `timeout` seconds at most; what is left goes on at the next start."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)
