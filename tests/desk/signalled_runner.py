"""`python -m desk.runner`, told to end while it holds the lock of an Event of its own."""

from __future__ import annotations

import os
import signal
import sys
import threading

from desk import runner


class Held(threading.Event):
    """Its first `clear` is interrupted by SIGTERM, between the lock's taking and its giving back."""

    is_told = False

    def clear(self) -> None:
        with self._cond:
            if not Held.is_told:
                Held.is_told = True
                os.kill(os.getpid(), signal.SIGTERM)
        super().clear()


if __name__ == "__main__":
    threading.Event = Held  # type: ignore[misc]  # every Event that the runner makes
    sys.exit(runner.main())
