"""Where the demo's story is played: at the paper venue, or at emulated venues that are spoken to for real.

The emulated ones live in a process of their own, on this machine; the server trades there with its real
adapters. It must never let anything be sent to a host beyond this machine.
"""

from __future__ import annotations

import contextlib
import ipaddress
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import IO, cast
from urllib.parse import urlsplit

from desk.settings import API_URL_VARIABLE, ROOT
from exchanges import Credentials, Exchange, available, connect
from exchanges._http import Hosts
from store import open_store, paper
from trading.errors import InvalidOrder
from trading.model import Instrument, Protection, plain
from trading.symbols import symbol_of

#: All that the examples trade, as most venues and as the others spell it.
TICKERS = ("BTCUSDT.P", "BTCPERP")
_MODULE = "tests.emulator"
#: Seconds: for the process to end, and for a venue's lists to show what its answers said.
_STOP_LIMIT, _PATIENCE = 5.0, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """What the story must know of where it is played.

    `exchange` and `ticker` are what its alerts say, `stop_waits` means that a stop leaves when the entry has
    filled. `move` takes the market to a price (paper takes it from the alert), `left` tells what is there.
    The lists of a venue over HTTP follow its answers: `patience` is how many seconds they may take.
    """

    about: str
    lot: Decimal
    stop_waits: bool
    left: Callable[[], str]
    move: Callable[[Decimal], None]
    exchange: str | None = None
    ticker: str = TICKERS[0]
    patience: float = 0.0


def on_paper(database_url: str) -> Venue:
    """The paper venue, whose books stand in the server's database."""

    def left() -> str:
        store = open_store(database_url)
        with contextlib.closing(store), store.read() as tx:
            books = [each.book for account in paper.accounts(tx) for each in account.holdings()]
        found = [f"{each.position.quantity} {each.symbol}, {len(each.orders)} orders" for each in books]
        return "; ".join(found) or "empty"

    return Venue(
        about="on the paper venue",
        lot=Decimal("0.001"),
        stop_waits=False,
        left=left,
        move=lambda _: None,
    )


class Emulators:
    """The emulated venues' process: what to set to trade there, and a line to it that moves prices."""

    def __init__(self) -> None:
        if not (ROOT / _MODULE.replace(".", "/") / "__main__.py").exists():
            raise FileNotFoundError(f"{_MODULE} is not here: run it from a clone of the project")
        command = [sys.executable, "-m", _MODULE]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C is for the demo, which ends it.
            start_new_session=True,
        )
        self._pipes = cast(tuple[IO[str], IO[str]], (self._process.stdin, self._process.stdout))
        self.settings: Mapping[str, str] = {}
        try:
            self.settings = dict(self._settings())
        except BaseException:
            self.end()
            raise

    def venues(self, only: str | None = None) -> list[Venue]:
        """Each of them, or the one of that name."""
        urls = {
            found[1]: url
            for name, url in self.settings.items()
            if (found := API_URL_VARIABLE.fullmatch(name)) is not None
        }
        key, secret = self.settings["API_KEY_MAIN"], self.settings["API_SECRET_MAIN"]
        hosts = Hosts(lambda: datetime.now(UTC))
        accounts = [
            connect(name, Credentials(key=key, secret=secret), network="live", hosts=hosts, urls=urls)
            for name in sorted(urls)
            if name in available() and only in (None, name)
        ]
        if not accounts:
            names = ", ".join(sorted(available() & urls.keys()))
            raise ConnectionError(f"no {only} is emulated: --only takes one of {names}")
        return [self._venue(account) for account in accounts]

    def move(self, price: Decimal) -> None:
        """Takes the market there; it has met all orders on its way when this returns."""
        coin = symbol_of(TICKERS[0]).partition("-")[0]
        self._say(f"{coin} {plain(price)}")

    def end(self) -> None:
        """Ends the process; a repeat is no error."""
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            self._process.wait(_STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _settings(self) -> Iterator[tuple[str, str]]:
        while not (line := self._heard()).startswith("# Say"):
            if not line.startswith("#"):
                name, _, value = line.partition("=")
                if name.endswith("_API_URL") and not _is_here(value):
                    raise ConnectionError(f"{name} is {value}: nothing is sent beyond this machine")
                yield name, value

    def _say(self, line: str) -> None:
        print(line, file=self._pipes[0], flush=True)
        answer = self._heard()
        if not answer.startswith(f"# {line.replace(' ', ' is ')} "):
            raise ConnectionError(f"the emulated venues say {answer!r} to {line!r}")

    def _heard(self) -> str:
        line = self._pipes[1].readline()
        if not line:
            raise ConnectionError("the emulated venues have ended")
        return line.rstrip("\n")

    def _venue(self, account: Exchange) -> Venue:
        ticker, instrument = _traded(account)
        capabilities = account.capabilities(instrument.symbol)
        stop_waits = capabilities.protection is Protection.AFTER
        how = "a stop leaves when its entry has filled" if stop_waits else "a stop goes with its entry"

        def left() -> str:
            look = account.look(instrument.symbol, ours=())
            held, resting = look.position.quantity, len(look.resting)
            return "empty" if not held and not resting else f"{plain(held)}, {resting} orders"

        return Venue(
            about=f"at {account.name}: {ticker}, lot {plain(instrument.lot_size)}, {how}",
            lot=instrument.lot_size,
            stop_waits=stop_waits,
            left=left,
            move=self.move,
            exchange=account.name,
            ticker=ticker,
            patience=_PATIENCE,
        )


def _traded(account: Exchange) -> tuple[str, Instrument]:
    """The ticker that the venue knows, and its rules."""
    for ticker in TICKERS:
        with contextlib.suppress(InvalidOrder):
            return ticker, account.instrument(symbol_of(ticker))
    raise ConnectionError(f"{account.name} trades none of {', '.join(TICKERS)}")


def _is_here(url: str) -> bool:
    """Whether an address is one of this machine's own; a name might lead anywhere."""
    try:
        return ipaddress.ip_address(urlsplit(url).hostname or "").is_loopback
    except ValueError:
        return False
