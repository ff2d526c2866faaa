"""A copy of a SQLite database that is whole although a server writes meanwhile, and its way back.

What is copied is one moment: every transaction is in it with all it wrote, or not at all. Never overwrites
anything, and leaves nothing half-made under the name that was asked for.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from store import _engine
from trading.errors import BackupFailed

_BUSY = 10.0
_DRAFT = ".draft"
_LOGS = ("-wal", "-shm", "-journal")


def is_sqlite(url: str) -> bool:
    """Whether this can copy the database at `url`. SettingsError for a bad address."""
    return _engine.resolve(url).get_backend_name() == "sqlite"


def file_of(url: str) -> Path:
    """Where the SQLite database at `url` lies."""
    return Path(_engine.resolve(url).database or "")


def draft_of(url: str) -> str:
    """The address beside that of `url` where a database is made ready before it gets its name."""
    address = _engine.resolve(url)
    return address.set(database=f"{address.database}{_DRAFT}").render_as_string(hide_password=False)


def throw_away(draft: Path) -> None:
    """Removes a draft with its logs; that there is none is no error."""
    for ending in ("", *_LOGS):
        draft.with_name(f"{draft.name}{ending}").unlink(missing_ok=True)


def give_name(draft: Path, target: Path) -> None:
    """Makes a draft that nobody has open the database `target`. Raises BackupFailed."""
    need_free(target)
    if any(draft.with_name(f"{draft.name}{ending}").exists() for ending in _LOGS):
        raise BackupFailed(f"{draft} is still open")
    try:
        draft.rename(target)
        _sync(target.parent)
    except OSError as error:
        raise BackupFailed(f"{target}: {error}") from None


def need_free(target: Path) -> None:
    """Raises BackupFailed where something would be overwritten."""
    for taken in (target, *(target.with_name(f"{target.name}{end}") for end in ("-wal", "-journal"))):
        if taken.exists():
            raise BackupFailed(f"{taken} exists, and nothing is overwritten")


def copy(source: Path, target: Path) -> None:
    """Copies the database `source`, checks the copy, and only then gives it its name. Raises BackupFailed."""
    if not source.exists():
        raise BackupFailed(f"{source} does not exist")
    need_free(target)
    part = target.with_name(f"{target.name}.part")
    driver = _engine.sqlite_driver()
    try:
        part.unlink(missing_ok=True)
        # Everything that a trader did stands in it: it is for its owner alone.
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _transfer(driver, source, part)
        _sync(part)
        part.rename(target)
        _sync(target.parent)
    except (OSError, driver.Error) as error:
        raise BackupFailed(f"{target}: {error}") from None
    finally:
        part.unlink(missing_ok=True)


def _transfer(driver: Any, source: Path, target: Path) -> None:
    with _open(driver, f"{source.absolute().as_uri()}?mode=rw") as old, _open(driver, str(target)) as new:
        # All pages at once: in steps, it would begin again with each commit of the server.
        old.backup(new, pages=-1)
        # One file, without a log beside it, whatever the source has.
        new.execute("PRAGMA journal_mode = DELETE")
        found = new.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise BackupFailed(f"{source} is damaged: {found}")


@contextlib.contextmanager
def _open(driver: Any, path: str) -> Iterator[Any]:
    with contextlib.closing(
        driver.connect(path, uri=True, timeout=_BUSY, isolation_level=None)
    ) as connection:
        yield connection


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
