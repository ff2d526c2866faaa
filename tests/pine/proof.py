"""Alerts of a script's own fills, fed to the server on the paper venue, and both books side by side.

`python -m tests.pine.proof` prints the table of docs/pine.md.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from heapq import merge
from pathlib import Path
from typing import Any, NamedTuple

import fasteners

from desk.playback import Clock, Engine, Result, play
from desk.rehearsal import Rehearsal
from desk.settings import load
from desk.tape import Heard, path
from desk.wholedesk import PASSPHRASE
from tests.pine.candles import LENGTH, TICK, Bar, candles
from trading.alert import decode
from trading.keys import PLACEHOLDER
from trading.model import Candle, Route, plain
from trading.template import messages_of

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "pinestrategies"
SYMBOL = "BTC-USDT-PERP"
LOT = Decimal("0.001")
SETTINGS = {
    "WEBHOOK_PASSPHRASE": PASSPHRASE,
    "RUNNER": "off",
    "RISK_MAIN": "1",
    "LEVERAGE_MAIN": "3",
}
STRATEGY = "Quick-Mean-Reversion-Strat.pine"


class Market(NamedTuple):
    """Candles `first` to `last` of a seed."""

    seed: int
    first: int
    last: int

    @property
    def bars(self) -> Sequence[Bar]:
        return _bars(self)


@cache
def _bars(market: Market) -> Sequence[Bar]:
    return tuple(candles(market.last, market.seed)[market.first :])


#: The one of the table, and three that hold every kind of difference that the first forty seeds show.
MAIN = Market(1, 0, 3000)
OTHERS = (Market(2, 0, 460), Market(8, 0, 900), Market(13, 1850, 2250))

Json = dict[str, Any]


Job = tuple[str, Market]

_results: dict[Job, Json] = {}


def run_all(jobs: Sequence[Job], folder: Path | None = None) -> None:
    """Runs scripts, in pinestrategies/ or elsewhere, in one call of the engine; once for all processes that
    share `folder`."""
    written = json.dumps([[str(SCRIPTS / script), *market] for script, market in jobs])
    if folder is None:
        told = _run(written)
    else:
        name = hashlib.sha256(written.encode()).hexdigest()
        with fasteners.InterProcessLock(folder / f"{name}.lock"):
            path = folder / f"{name}.json"
            if not path.exists():
                path.write_text(_run(written), encoding="utf-8")
            told = path.read_text(encoding="utf-8")
    _results.update(zip(jobs, json.loads(told), strict=True))


def ran(script: str, market: Market = MAIN) -> Json:
    """What `tests.pine.engine` says of a script. ValueError where it cannot be translated or run."""
    if (script, market) not in _results:
        run_all([(script, market)])
    told = _results[script, market]
    if "error" in told:
        raise ValueError(told["error"])
    return told


def _run(jobs: str) -> str:
    command = [sys.executable, "-W", "error", "-m", "tests.pine.engine"]
    return subprocess.run(command, cwd=ROOT, input=jobs, capture_output=True, text=True, check=True).stdout


# --- alerts as TradingView sends them -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Moment:
    """One order of the script that filled: when on the way of the price, and everything about it."""

    at: datetime
    fill: Json
    price: Decimal


def moments(fills: Iterable[Json], bars: Sequence[Bar]) -> list[Moment]:
    """The fills with their times: where the price, on its way through the bar, was at theirs."""
    found: list[Moment] = []
    bar_before, reached = -1, (0, 0.0)
    for fill in fills:
        bar = bars[fill["bar"]]
        if fill["bar"] != bar_before:
            bar_before, reached = fill["bar"], (0, 0.0)
        points = [int(price / TICK) for _, price in path([candle(bar)])]
        ticks = round(Decimal(fill["price"]) / TICK)
        reached = _where(points, ticks, reached)
        found.append(Moment(at=bar.opened_at + LENGTH / 4 * sum(reached), fill=fill, price=ticks * TICK))
    return found


def _where(points: Sequence[int], ticks: int, after: tuple[int, float]) -> tuple[int, float]:
    """The leg of the path on which a price is met next, not before `after`, and how far along."""
    for leg in range(after[0], 3):
        first, last = points[leg], points[leg + 1]
        share = abs(ticks - first) / abs(last - first) if last != first else 0.0
        if min(first, last) <= ticks <= max(first, last) and (leg, share) >= after:
            return leg, share
    raise ValueError(f"{ticks} ticks are not on the way {list(points)} after {after}")


def of_order(moment: Moment) -> dict[str, str]:
    """What TradingView puts in for a strategy's order that filled."""
    fill = moment.fill
    return {
        "timenow": moment.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "strategy.order.id": fill["order"],
        "strategy.order.action": "buy" if fill["after"] > fill["before"] else "sell",
        "strategy.order.price": plain(moment.price),
        "strategy.order.contracts": plain(_quantity(fill)),
        "strategy.order.alert_message": fill["message"],
        "strategy.market_position": _position(fill["after"]),
        "strategy.prev_market_position": _position(fill["before"]),
    }


def filled(template: str, values: Mapping[str, str], plots: Mapping[str, float | None]) -> Json:
    """The alert as TradingView's placeholders make it; JSON as strict as it gets."""
    known = {"ticker": "BTCUSDT.P", "exchange": "BINANCE", "interval": "15", **values}

    def value(match: Any) -> str:
        name = match[1].strip()
        if not name.startswith("plot("):
            return known[name]
        plotted = plots[name[6:-2]]
        return "NaN" if plotted is None else plain(Decimal(str(plotted)))

    alert: Json = json.loads(PLACEHOLDER.sub(value, template), parse_constant=_no_constant)
    return alert


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _quantity(fill: Json) -> Decimal:
    return Decimal(str(round(abs(fill["after"] - fill["before"]), 6)))


def _position(size: float) -> str:
    return "long" if size > 0 else "short" if size < 0 else "flat"


def heard(line: int, at: datetime, alert: Json, route: Route = Route.ORDER) -> Heard:
    """An alert as the server's tape has it: it comes when the price has been where it says."""
    body = decode(json.dumps(alert).encode())
    return Heard(line=line, at=at + timedelta(microseconds=1), raw=body.text.encode(), body=body, route=route)


def tape(
    told: Json, bars: Sequence[Bar], template: str, *, forming: bool = False, size: bool = False
) -> list[Heard]:
    """All alerts of a run. `forming`: plots of the bar that fills, else of the last one that closed, which
    TradingView leaves open; `size`: entries carry the script's quantity."""
    found = []
    for number, moment in enumerate(moments(told["fills"], bars), start=1):
        plots = told["plots"][moment.fill["bar"] - (not forming)]
        alert = filled(template, of_order(moment), plots)
        if size and alert["message"] == "entry":
            alert["size"] = alert["contracts"]
        found.append(heard(number, moment.at, alert))
    return found


def candle(bar: Bar) -> Candle:
    prices = (each * TICK for each in bar[1:])
    first, high, low, last = prices
    return Candle(opened_at=bar.opened_at, open=first, high=high, low=low, close=last, volume=Decimal(0))


def served(
    alerts: Sequence[Heard],
    bars: Sequence[Bar],
    told: Iterable[Moment] = (),
    *,
    engine: Engine | None = None,
    clock: Clock | None = None,
) -> Result:
    """The alerts and the market through the server, which is told yes to whatever it asks. At the moments of
    `told` the market is where the script's order filled."""
    clock = clock or Clock()
    engine = engine or Rehearsal(load(SETTINGS), clock, votes="approve")
    fills = [(each.at, each.price) for each in told]
    market = merge(path([candle(bar) for bar in bars]), fills, key=lambda each: each[0])
    return play(engine, clock, alerts, {SYMBOL: market}, lambda done: None)


# --- two books ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Book:
    """One trade: what was entered and what left, by leg: tp1, tp2, tp (the target), sl (the stop), x."""

    entered: tuple[Decimal, Decimal]
    at: datetime
    direction: str
    legs: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    times: dict[str, datetime] = field(default_factory=dict)

    def leave(self, leg: str, quantity: Decimal, price: Decimal, at: datetime) -> None:
        before = self.legs.get(leg, (Decimal(0), price))[0]
        self.legs[leg] = (before + quantity, price)
        self.times.setdefault(leg, at)


def of_script(told: Json, bars: Sequence[Bar]) -> list[Book]:
    """The script's own trades."""
    books: list[Book] = []
    for moment in moments(told["fills"], bars):
        fill = moment.fill
        quantity = _quantity(fill)
        if not fill["before"]:
            direction = "long" if fill["after"] > 0 else "short"
            books.append(Book(entered=(quantity, moment.price), at=moment.at, direction=direction))
            continue
        leg = "sl" if fill["leg"] == "loss" else "x"
        if fill["leg"] == "profit":
            leg = {"TP1": "tp1", "TP2": "tp2", "Exit": "tp"}[fill["order"].split()[-1]]
        books[-1].leave(leg, quantity, moment.price, moment.at)
    return books


def of_server(result: Result) -> list[Book]:
    """The server's trades, flat to flat."""
    books: list[Book] = []
    held = Decimal(0)
    for fill in (fill for fills in result.fills.values() for fill in fills):
        leg = (fill.client_order_id or "").split("-")[1]
        if not held:
            direction = "long" if fill.side.sign > 0 else "short"
            books.append(Book(entered=(fill.quantity, fill.price), at=fill.at, direction=direction))
        else:
            books[-1].leave(leg, fill.quantity, fill.price, fill.at)
        held += fill.side.sign * fill.quantity
    return books


@dataclass(frozen=True, slots=True)
class Difference:
    """One trade that did not come to the same, and why: `why` is empty where nothing explains it."""

    number: int
    what: str
    why: str


#: The reasons, as docs/pine.md tells them.
EARLIER = "the server's stop is at breakeven from the moment of tp1, the strategy's from the next bar on"
GAPPED = "a gap across the level: the strategy trades at the bar's open, the paper venue at the level"
CAPPED = "entered after a gap, tp2 lies beyond the target: the strategy takes it there, the server by `exit`"


def differences(
    script: Sequence[Book], server: Sequence[Book], bars: Sequence[Bar], *, quantities: bool
) -> list[Difference]:
    """Trade by trade, prices within a tick and, where `quantities`, within a lot."""
    entries = [
        [((book.at - bars[0].opened_at) // LENGTH, book.direction) for book in books]
        for books in (script, server)
    ]
    if entries[0] != entries[1]:
        return [Difference(0, "not the same entries", "")]
    found = []
    for number, (mine, theirs) in enumerate(zip(script, server, strict=True), start=1):
        what = _what(mine, theirs, quantities=quantities)
        if what:
            found.append(Difference(number, what, _why(mine, theirs, bars)))
    return found


def _what(mine: Book, theirs: Book, *, quantities: bool) -> str:
    if abs(mine.entered[1] - theirs.entered[1]) > TICK:
        return f"entered at {mine.entered[1]} and {theirs.entered[1]}"
    if quantities and abs(mine.entered[0] - theirs.entered[0]) > LOT:
        return f"entered {mine.entered[0]} and {theirs.entered[0]}"
    if set(mine.legs) != set(theirs.legs):
        return f"left by {_legs(mine)}; by {_legs(theirs)}"
    for leg, (quantity, price) in mine.legs.items():
        other, at = theirs.legs[leg]
        if abs(price - at) > TICK:
            return f"{leg} at {price} and {at}"
        if quantities and abs(quantity - other) > LOT:
            return f"{leg} of {quantity} and {other}"
    return ""


def _why(mine: Book, theirs: Book, bars: Sequence[Bar]) -> str:
    def bar_of(at: datetime) -> int:
        return (at - bars[0].opened_at) // LENGTH

    off = [leg for leg in {*mine.legs, *theirs.legs} if mine.legs.get(leg) != theirs.legs.get(leg)]
    for leg in off:
        if leg in theirs.legs:
            bar, level = bar_of(theirs.times[leg]), theirs.legs[leg][1] / TICK
            before, opened = bars[bar - 1].close, bars[bar].open
            if before != opened and min(before, opened) <= level <= max(before, opened):
                return GAPPED
    tp1, stopped = mine.times.get("tp1"), theirs.times.get("sl")
    if tp1 is not None and stopped is not None and bar_of(tp1) == bar_of(stopped):
        return EARLIER
    if set(off) == {"tp2", "x"} and mine.legs.get("tp2") == theirs.legs.get("x") and "tp" in mine.legs:
        return CAPPED
    return ""


def _legs(book: Book) -> str:
    return ", ".join(sorted(book.legs)) or "nothing"


def template_of(script: str) -> str:
    """The message that a strategy carries."""
    return next(messages_of((SCRIPTS / script).read_text(encoding="utf-8")))[1]


@dataclass(frozen=True, slots=True)
class Compared:
    """One market: the script's trades, the server's with the script's quantities and with those of RISK."""

    market: Market
    mine: list[Book]
    sized: list[Book]
    risked: list[Book]

    @property
    def found(self) -> list[Difference]:
        return differences(self.mine, self.sized, self.market.bars, quantities=True)


@cache
def compare(market: Market, script: str = STRATEGY) -> Compared:
    """Runs script and server over a market."""
    told, template, bars = ran(script, market), template_of(script), market.bars
    filled_at = moments(told["fills"], bars)
    return Compared(
        market=market,
        mine=of_script(told, bars),
        sized=of_server(served(tape(told, bars, template, size=True), bars, filled_at)),
        risked=of_server(served(tape(told, bars, template), bars, filled_at)),
    )


def table(compared: Compared) -> str:
    """Counts of trades by side and by the way out: both books, and how many agree in price and quantity."""
    off = {each.number for each in compared.found}
    pairs = [(n, a, b) for n, (a, b) in enumerate(zip(compared.mine, compared.sized, strict=True), start=1)]
    rows = ["| | strategy | server | agree | differ |", "|---|---|---|---|---|"]

    def row(name: str, mine: Sequence[int], theirs: Sequence[int]) -> None:
        agree, differ = len({*mine} & {*theirs} - off), len({*mine, *theirs} & off)
        rows.append(f"| {name} | {len(mine)} | {len(theirs)} | {agree} | {differ} |")

    row("trades", [n for n, _, _ in pairs], [n for n, _, _ in pairs])
    for side in ("long", "short"):
        row(side, *([n for n, *both in pairs if both[which].direction == side] for which in (0, 1)))
    for leg, name in WAYS_OUT.items():
        row(name, *([n for n, *both in pairs if leg in both[which].legs] for which in (0, 1)))
    return "\n".join(rows) + "\n"


WAYS_OUT = {
    "tp1": "first target, then breakeven",
    "tp2": "second target",
    "tp": "final target",
    "sl": "stop, at breakeven too",
    "x": "exit at the mean",
}


def explained(compared: Sequence[Compared]) -> str:
    """Every trade that differs, and why."""
    rows = ["| market | trade | strategy; server | why |", "|---|---|---|---|"]
    for each in compared:
        where = f"seed {each.market.seed}, candles {each.market.first} to {each.market.last}"
        rows += [f"| {where} | {d.number} | {d.what} | {d.why or 'NOT EXPLAINED'} |" for d in each.found]
        rows += [f"| {where} | | | |"] if not each.found else []
    return "\n".join(rows) + "\n"


def by_risk(compared: Compared) -> list[tuple[int, Decimal]]:
    """How far, in percent, the quantity by the server's RISK is from the strategy's, the furthest first."""
    shares = [
        (number, abs(a.entered[0] - b.entered[0]) / a.entered[0] * 100)
        for number, (a, b) in enumerate(zip(compared.mine, compared.risked, strict=True), start=1)
    ]
    return sorted(shares, key=lambda pair: -pair[1])


if __name__ == "__main__":
    run_all([(STRATEGY, market) for market in (MAIN, *OTHERS)])
    main, *others = [compare(market) for market in (MAIN, *OTHERS)]
    sys.stdout.write(f"{table(main)}\n{explained(others)}\n")
    sys.stdout.writelines(f"trade {number}: {share:.2f} %\n" for number, share in by_risk(main)[:5])
