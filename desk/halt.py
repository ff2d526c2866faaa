"""HALT from the command line: `python -m desk.halt [--flatten] [REASON]`, `python -m desk.halt --resume`.

Writes the word down, and exits where it is told to flatten; the runner acts on both. Never reaches a venue.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from desk import control
from desk.intake import Intake
from desk.losses import close
from desk.settings import Settings, from_environment
from exchanges import available
from store import Store, open_store, orders, sentries
from store.schema import SchemaState, check
from trading.errors import SettingsError, StoreUnavailable

PAPER = "PAPER"


def main(
    arguments: Sequence[str] | None = None, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> int:
    """Exit status 0 when it was done, 1 with a reason when it was not, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(prog="python -m desk.halt", description="Refuses entries, or ends that.")
    parser.add_argument("reason", nargs="?", default="from the command line")
    parser.add_argument("--flatten", action="store_true", help="and close all that this server has open")
    parser.add_argument("--resume", action="store_true", help="let entries be sent again")
    asked = parser.parse_args(arguments)
    if asked.flatten and asked.resume:
        parser.error("--flatten and --resume exclude each other")
    try:
        settings = from_environment()
        store = open_store(settings.database_url)
    except SettingsError as error:
        return _failed(error)
    try:
        if check(store) is SchemaState.EMPTY:
            raise SettingsError("DATABASE_URL", "this database has no tables: is it the server's?")
        said = _resume(store, clock) if asked.resume else _halt(store, settings, clock, asked)
    except (SettingsError, StoreUnavailable) as error:
        return _failed(error)
    finally:
        store.close()
    sys.stdout.write(f"{said}\n")
    return 0


def _resume(store: Store, clock: Callable[[], datetime]) -> str:
    control.resume(store, by=_who(), now=clock())
    return "resumed"


def _halt(store: Store, settings: Settings, clock: Callable[[], datetime], asked: argparse.Namespace) -> str:
    now = clock()
    control.halt(store, reason=asked.reason, by=_who(), now=now)
    if not asked.flatten:
        return "halted: entries are refused, what is open stays under its stops"
    with store.read() as tx:
        # As everywhere: paper where LIVE_TRADING is off, and nothing but real venues where it is on.
        places = [p for p in sentries.places(tx) if p[0].startswith(PAPER) is not settings.live_trading]
        lanes = [lane for place in places for lane in orders.open_lanes(tx, venue=place[0], account=place[1])]
    intake = Intake(store, settings, clock, lambda: None, exchanges=available())
    closing = close(store, intake, lanes, by=_who(), name=f"halt {now.isoformat()}")
    what = "1 position is" if closing == 1 else f"{closing} positions are"
    return f"halted: entries are refused, and {what} being closed"


def _who() -> str:
    return f"{getpass.getuser()} on the command line"


def _failed(error: Exception) -> int:
    sys.stderr.write(f"{error}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
