"""`python -m desk.replay FILE`: what stored alerts would have come to on the paper venue, under any settings.

Reads the server's settings, and the accounts' rules in them; what `--set` changes is played beside them. It
must never touch the server's database, send anything, or show a passphrase.
"""

from __future__ import annotations

import argparse
import csv
import logging
import signal
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TextIO

from desk import tally
from desk.playback import VOTES, Clock, Result, play
from desk.rehearsal import Rehearsal
from desk.settings import ENV_FILE, Settings, environment, load
from desk.tape import Heard, Unreadable, made_up, path, read_alerts, read_candles, text_of
from desk.wholedesk import PASSPHRASE, WholeDesk, database, workplace
from trading.alert import account_of
from trading.errors import AlertInvalid, SettingsError
from trading.model import Candle, plain
from trading.symbols import symbol_of

#: A longer tape goes through the desk's thinking alone, unless --whole asks for all of it.
WHOLE_UP_TO = 100
MADE_UP = "synthetic"
VOTES_NAME = "VOTES"

_CHANGEABLE = ("RISK_", "LEVERAGE_", "LIMITS_", "APPROVAL_", "EXCHANGE_")
_ALSO = ("MAX_ALERT_AGE", "PAPER_BALANCE", "DEFAULT_SUBACCOUNT", "APPROVAL_TIMEOUT", "APPROVAL_MAX_DRIFT")
#: For an account of which neither is set: what .env.example proposes.
_ASSUMED = {"RISK": "1", "LEVERAGE": "3"}
_NAME, _WIDTH = 30, 22


@dataclass(frozen=True, slots=True)
class Run:
    """One set of settings under which the tape is played."""

    name: str
    settings: Settings
    votes: str


def main(arguments: Sequence[str] | None = None, *, env_file: Path = ENV_FILE) -> int:
    """Exit status 0 when it was played, 1 for a file or a setting that is no good, 2 for a wrong command."""
    asked = _parser().parse_args(arguments)
    # What the desk logs on its way is told by the table; without a handler it would go to the terminal.
    logging.basicConfig(handlers=[logging.NullHandler()])
    try:
        tape = read_alerts(_text(asked.file))
        notes, runs = _runs(tape, asked, env_file)
        candles = _candles(tape, asked.candles, asked.seed, notes)
        whole = asked.whole or len(tape) <= WHOLE_UP_TO
        notes.append(_how(whole))
        with ExitStack() as stack:
            # Before it plays: a place that cannot be written to is told at once.
            out = None
            if asked.csv is not None:
                out = stack.enter_context(open(asked.csv, "w", encoding="utf-8", newline=""))
            results = [_play(run, tape, candles, whole=whole) for run in runs]
            _print(tape, notes, runs, results)
            if out is not None:
                _write(out, runs, results)
    except (OSError, Unreadable, SettingsError) as error:
        print(f"desk.replay: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    what = "Plays stored alerts on the paper venue: what would have happened, and what under other settings."
    parser = argparse.ArgumentParser(prog="python -m desk.replay", description=what)
    parser.add_argument(
        "file",
        metavar="FILE",
        help="JSON lines (alerts, or GET /api/alerts?format=jsonl) or TradingView's alert log",
    )
    parser.add_argument(
        "--candles",
        action="append",
        default=[],
        metavar="[TICKER=]CSV",
        help=f"prices between the alerts: time, open, high, low, close; or `{MADE_UP}`. Without, the alerts' "
        "own prices are all that the venue hears",
    )
    parser.add_argument("--seed", default="1", help=f"of `{MADE_UP}` candles (default: 1)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="plays a second time with RISK_…, LEVERAGE_…, LIMITS_…, APPROVAL_… (or VOTES) changed, and "
        "compares",
    )
    parser.add_argument(
        "--votes",
        choices=VOTES,
        default=VOTES[0],
        help="what people say to alerts that wait: as recorded (yes where nothing is), or the same to all",
    )
    parser.add_argument("--csv", metavar="OUT", help="writes a row per alert and run")
    parser.add_argument(
        "--whole",
        action="store_true",
        help=f"the whole desk with its journal, also for more than {WHOLE_UP_TO} alerts: some ten a second",
    )
    return parser


# --- what is played -----------------------------------------------------------------------------------


def _text(name: str) -> str:
    raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    return text_of(raw, "it" if name == "-" else name)


def _runs(tape: Sequence[Heard], asked: argparse.Namespace, env_file: Path) -> tuple[list[str], list[Run]]:
    """The settings as they are, and changed where `--set` asks for it; what is to be told about them."""
    changes = dict(_change(text) for text in asked.set)
    votes = changes.pop(VOTES_NAME, asked.votes)
    if votes not in VOTES:
        raise SettingsError(VOTES_NAME, f"is one of {', '.join(VOTES)}")
    environ = _kept(environment(env_file))
    assumed = _assumed(tape, environ)
    notes = [f"{name} is not set: {value} is assumed" for name, value in assumed.items()]
    environ = assumed | environ
    runs = [Run("as set", load(environ), asked.votes)]
    if asked.set:
        runs.append(Run("changed", load(environ | changes), votes))
        known = {_account(heard) or run.settings.default_subaccount for heard in tape for run in runs}
        accounts = {name.upper() for name in known if name}
        for text in asked.set:
            account = text.partition("=")[0].partition("_")[2] if text.startswith(_CHANGEABLE) else ""
            strange = account and account not in accounts
            notes.append(f"changed: {text}" + f" (no alert is of {account})" * bool(strange))
    return notes, runs


def _change(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not (name.startswith(_CHANGEABLE) or name in (*_ALSO, VOTES_NAME)):
        known = ", ".join([*(f"{prefix}NAME" for prefix in _CHANGEABLE), *_ALSO, VOTES_NAME])
        raise SettingsError(name or "--set", f"is nothing to change here: NAME=VALUE with one of {known}")
    return name, value


def _kept(environ: Mapping[str, str]) -> dict[str, str]:
    """Of the server's settings, what decides about alerts: no keys, no doors, no database."""
    kept = {n: v for n, v in environ.items() if n.startswith(_CHANGEABLE) or n in _ALSO}
    return kept | {"WEBHOOK_PASSPHRASE": PASSPHRASE, "RUNNER": "off"}


def _assumed(tape: Sequence[Heard], environ: Mapping[str, str]) -> dict[str, str]:
    """RISK and LEVERAGE of accounts that the alerts name and nobody has set up, and an account for alerts
    that name none."""
    named = {_account(heard) for heard in tape if heard.body is not None}
    accounts = sorted(name for name in named if name)
    if None in named and not accounts and not any(name.startswith("RISK_") for name in environ):
        accounts = [environ.get("DEFAULT_SUBACCOUNT") or "MAIN"]
    assumed: dict[str, str] = {}
    for account in accounts:
        if not any(environ.get(f"{word}_{account}") for word in _ASSUMED):
            assumed |= {f"{word}_{account}": value for word, value in _ASSUMED.items()}
    return assumed


def _account(heard: Heard) -> str | None:
    subaccount = heard.body.fields.get("subaccount") if heard.body is not None else None
    try:
        return account_of(subaccount) if isinstance(subaccount, str) and subaccount.strip() else None
    except AlertInvalid:
        return None


def _candles(
    tape: Sequence[Heard], asked: Sequence[str], seed: str, notes: list[str]
) -> dict[str, list[Candle]]:
    known = _known_prices(tape)
    candles: dict[str, list[Candle]] = {}
    for text in asked:
        ticker, equals, name = text.rpartition("=")
        if text == MADE_UP:
            candles |= {
                symbol: made_up(prices, f"{seed} {symbol}")
                for symbol, prices in known.items()
                if symbol not in candles
            }
            notes.append(f"candles made up between the alerts' prices, seed {seed}: chance, no market")
            continue
        if not equals and len(known) != 1:
            raise Unreadable(f"--candles {text}: several instruments, so say which: TICKER={text}")
        try:
            symbol = symbol_of(ticker) if equals else next(iter(known))
        except AlertInvalid as error:
            raise Unreadable(f"--candles {text}: {error.reason}") from None
        candles[symbol] = read_candles(text_of(Path(name).read_bytes(), name))
        notes.append(_spanned(symbol, candles[symbol], tape, known))
    if not asked:
        notes.append(
            "prices: those of the alerts alone; stops and targets fill when a later one has passed them"
        )
    return candles


def _spanned(symbol: str, candles: Sequence[Candle], tape: Sequence[Heard], known: Collection[str]) -> str:
    """How many candles there are, from when to when, and why they would change nothing."""
    begin, end = candles[0].opened_at, candles[-1].opened_at
    text = f"{symbol}: {len(candles)} candles from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    if symbol not in known:
        return f"{text}; no alert is about it"
    return f"{text}; all before the first alert" if end < tape[0].at else text


def _known_prices(tape: Sequence[Heard]) -> dict[str, list[tuple[datetime, Decimal]]]:
    """The prices that alerts tell, by instrument."""
    known: dict[str, list[tuple[datetime, Decimal]]] = {}
    for heard in tape:
        fields = heard.body.fields if heard.body is not None else {}
        ticker, price = fields.get("ticker"), fields.get("price")
        try:
            symbol = symbol_of(ticker) if isinstance(ticker, str) else None
            value = Decimal(price) if isinstance(price, str) else None
        except (AlertInvalid, ArithmeticError):
            continue
        if symbol is None:
            continue
        prices = known.setdefault(symbol, [])
        # A limit's price is where the order belongs, not where the market is.
        if value is not None and value.is_finite() and value > 0 and fields.get("type") != "limit":
            prices.append((heard.at, value))
    return known


def _play(run: Run, tape: Sequence[Heard], candles: Mapping[str, Sequence[Candle]], *, whole: bool) -> Result:
    clock, progress = Clock(), _Progress(run.name, len(tape), sys.stderr)
    prices = {symbol: path(each) for symbol, each in candles.items()}
    if not whole:
        return play(Rehearsal(run.settings, clock, votes=run.votes), clock, tape, prices, progress)
    with workplace() as folder, database(folder) as store:
        engine = WholeDesk(store, run.settings, clock, votes=run.votes)
        return play(engine, clock, tape, prices, progress)


class _Progress:
    """Tells how far it is, a line for each tenth and at least every few seconds."""

    def __init__(self, name: str, total: int, out: TextIO) -> None:
        self._name, self._total, self._out = name, total, out
        self._began = self._told_at = time.monotonic()
        self._tenth = 0

    def __call__(self, done: int) -> None:
        now, tenth = time.monotonic(), 10 * done // self._total
        if tenth == self._tenth and now - self._told_at < 5:
            return
        self._tenth, self._told_at = tenth, now
        share, spent = 100 * done // self._total, now - self._began
        print(
            f"{self._name}: {done} of {self._total} alerts ({share} %), {spent:.0f} s",
            file=self._out,
            flush=True,
        )


# --- what is told -------------------------------------------------------------------------------------


def _how(whole: bool) -> str:
    if whole:
        return "played through the whole desk: door, journal, runner, paper venue"
    return "played through the desk's decisions and the paper venue, without its journal (--whole: with it)"


def _print(
    tape: Sequence[Heard], notes: Sequence[str], runs: Sequence[Run], results: Sequence[Result]
) -> None:
    print(f"{len(tape)} alerts from {tape[0].at:%Y-%m-%d %H:%M} to {tape[-1].at:%Y-%m-%d %H:%M} UTC")
    for note in notes:
        print(f"  {note}")
    tables = [_table(result) for result in results]
    titles = [run.name for run in runs] + (["difference"] if len(runs) == 2 else [])
    for title in dict.fromkeys(title for table in tables for title, _ in table):
        groups = [dict(table).get(title, []) for table in tables]
        print(f"\n{title:32}" + "".join(f"{name:>{_WIDTH}}" for name in titles))
        for name in dict.fromkeys(name for group in groups for name, _ in group):
            values = [dict(group).get(name, "0") for group in groups]
            if len(values) == 2:
                values.append(_difference(*values))
            if len(name) > _NAME:
                print(f"  {name}")
            shown = "" if len(name) > _NAME else name
            print(f"  {shown:{_NAME}}" + "".join(f"{value:>{_WIDTH}}" for value in values))


def _table(result: Result) -> list[tuple[str, list[tuple[str, str]]]]:
    """The measures of a run; behind the counts of the alerts, why some were not traded."""
    alerts, *money = tally.measures(result)
    why = tally.reasons(result)
    if not why:
        return [alerts, *money]
    return [alerts, ("Not traded, and why", [(name, str(count)) for name, count in why]), *money]


def _difference(before: str, after: str) -> str:
    change = Decimal(after) - Decimal(before)
    return f"{change:+}" if change else plain(change)


def _write(file: TextIO, runs: Sequence[Run], results: Sequence[Result]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(tally.CSV_COLUMNS)
    for run, result in zip(runs, results, strict=True):
        writer.writerows(tally.rows(result, run.name))


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is no trouble
    sys.exit(main())
