"""`python -m desk.runner`, at a time that a test turns: the file CLOCK says how many seconds it is ahead."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from desk import runner


class Ahead:
    """This machine's clock, and how far a test has turned it on, for all processes that read the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=float(self._path.read_text()))

    def advance(self, seconds: float) -> datetime:
        """Turns it on for everybody at once; the new time."""
        ahead = float(self._path.read_text()) if self._path.exists() else 0.0
        draft = self._path.with_suffix(".draft")
        draft.write_text(f"{ahead + seconds}")
        draft.replace(self._path)
        return self()


if __name__ == "__main__":
    sys.exit(runner.main(Ahead(Path(os.environ["CLOCK"]))))
