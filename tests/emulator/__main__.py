"""`python -m tests.emulator`: the emulated venues on loopback, and the settings that point a server at them.

Time is this machine's. Prices stand still until a line of the input moves one: `BTC 42500` takes every
venue's BTC perpetual there, by small steps. Ends with the input, or on Ctrl-C. It must never listen beyond
this machine.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal

from tests.emulator.server import Server

VENUES = ("binance", "bybit", "ftx")
#: One account of every venue, so that one account of the server trades at all of them.
KEY, SECRET = "emulator-key-of-all", "emulator-secret-of-all"
_PRICE = re.compile(r"([A-Z0-9]{1,30})[ =]([0-9]{1,9}(?:\.[0-9]{1,9})?)")
#: What follows the settings: from here on, lines are answers.
READY = "# Say `BTC 42500` to move a price, Ctrl-C to end."


def main() -> int:
    """Serves until the input ends."""
    with ExitStack() as stack:
        servers = {name: stack.enter_context(_opened(name)) for name in VENUES}
        print("# Emulated venues of this process alone: put this in the environment of a server.")
        for line in settings({name: server.url for name, server in servers.items()}):
            print(line)
        print(READY, flush=True)
        try:
            for line in sys.stdin:
                print(f"# {told(list(servers.values()), line.strip())}", flush=True)
        except KeyboardInterrupt:
            return 0
    return 0


def settings(urls: dict[str, str]) -> Iterator[str]:
    """What a server needs to trade here, as lines of a `.env`."""
    yield from ("LIVE_TRADING=1", f"API_KEY_MAIN={KEY}", f"API_SECRET_MAIN={SECRET}")
    for name, url in urls.items():
        yield f"{name.upper()}_API_URL={url}"
    yield f"BINANCE_SPOT_API_URL={urls['binance']}"


def told(servers: Sequence[Server], line: str) -> str:
    """Moves a price as a line asks; what to answer."""
    asked = _PRICE.fullmatch(line.upper())
    if asked is None or not Decimal(asked[2]):
        return f"what is {line[:40]!r}? Say a coin and its price, as in BTC 42500"
    coin, price, moved = asked[1], Decimal(asked[2]), 0
    for server in servers:
        engine = server.engine
        for listing in engine.listings():
            if listing.symbol.startswith(f"{coin}-") and listing.symbol.endswith("-PERP"):
                engine.move(listing.symbol, *walk(engine.price(listing.symbol), price))
                moved += 1
    return f"{coin} is {price} at {moved} venues" if moved else f"{coin} is traded nowhere here"


def walk(start: Decimal, end: Decimal) -> list[Decimal]:
    """The way of a price: what rests between is met at its own level, or a step behind it.

    A step is a ten-thousandth of the larger price or more, a thousandth at most.
    """
    step = Decimal(1).scaleb(max(start, end).adjusted() - 3)
    low, high = sorted((start, end))
    between = [step * count for count in range(int(low // step) + 1, -int(-high // step))]
    return [*(between if start < end else reversed(between)), end]


def _opened(name: str) -> Server:
    engine, dialect = importlib.import_module(f"tests.emulator.{name}").build(lambda: datetime.now(UTC))
    for account in engine.accounts:
        account.key, account.secret = KEY, SECRET
    return Server(dialect, engine)


if __name__ == "__main__":
    sys.exit(main())
