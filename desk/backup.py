"""Copies the database while the server works, or restores a copy: `python -m desk.backup [--restore] FILE`.

For SQLite; Postgres has tools of its own, which docs/backup.md names. What is restored is halted until a
person has compared it with the venues. Never overwrites anything.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from desk.settings import from_environment
from store import audit, backup, open_store, words
from store.schema import SchemaState, check
from trading.errors import BackupFailed, SettingsError, StoreUnavailable

_POSTGRES = (
    "DATABASE_URL is a Postgres: pg_dump copies it while the server works, pg_restore brings it back. "
    "The lines stand in docs/backup.md"
)


def main(argv: Sequence[str] | None = None) -> int:
    """0 done, 1 not, with the reason."""
    asked = _arguments().parse_args(argv)
    try:
        url = from_environment().database_url
        if not backup.is_sqlite(url):
            raise BackupFailed(_POSTGRES)
        if asked.restore:
            restore(url, asked.file, now=datetime.now(UTC))
            return 0
        backup.copy(backup.file_of(url), asked.file)
        print(
            f"{asked.file}: {asked.file.stat().st_size / 1024:.0f} KiB, checked. Keep it on another machine"
        )
        return 0
    except (BackupFailed, SettingsError, StoreUnavailable) as error:
        print(error, file=sys.stderr)
        return 1


def restore(url: str, file: Path, *, now: datetime) -> None:
    """Makes `file` the database at `url`, which must not exist yet, halted. Raises BackupFailed."""
    target, address = backup.file_of(url), backup.draft_of(url)
    backup.need_free(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = backup.file_of(address)
    backup.throw_away(draft)
    try:
        backup.copy(file, draft)
        # Before it has its name: whatever happens here, no server finds it as it was.
        found = _halted(address, file, now)
        backup.give_name(draft, target)
    finally:
        backup.throw_away(draft)
    print(f"{target}: restored, HALTED. Compare positions and orders with the venues, then resume")
    for finding in found:
        print(f"its journal is not sound: {finding}")


def _halted(url: str, file: Path, now: datetime) -> list[audit.Finding]:
    """Halts what was copied; what is wrong with its journal."""
    store = open_store(url)
    try:
        if check(store) is not SchemaState.CURRENT:
            raise BackupFailed(
                f"{file} has another schema than this release. Bring a copy of it up to date and restore "
                "that: DATABASE_URL=sqlite:///COPY python -m desk.migrate"
            )
        with store.write() as tx:
            words.halt(
                tx, reason=f"restored from {file.name}: compare with the venues", by="restore", now=now
            )
        return audit.verify(store).findings
    finally:
        store.close()


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m desk.backup", description="Copies the database.")
    parser.add_argument("file", type=Path, help="the copy: to be made, or to be restored")
    parser.add_argument(
        "--restore", action="store_true", help="bring it back as the database of DATABASE_URL"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
