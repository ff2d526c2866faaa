"""Hours of a desk's life in minutes: random alerts, prices, faults and kills, and books that agree.

Real processes trade over HTTP at three emulated venues, in real time. What happens is drawn from one seed;
when it meets what, the machine decides, so that no run is another's repetition.
"""

from __future__ import annotations

import importlib
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
from sqlalchemy import Row

from store.journal import UNDONE
from store.tables import fills, intents, notices, orders, positions
from tests.emulator.__main__ import walk
from tests.emulator.engine import Account, Record
from tests.emulator.server import Fault, Server
from tests.processes import RUNNER, WEB, House, Process
from trading.model import ZERO, OrderStatus, OrderType, Side

VENUES = ("binance", "bybit", "ftx")
COINS = ("BTC", "ETH")
KEY, SECRET = "emulator-key-of-all", "emulator-secret-of-all"
#: A venue whose clock jumps by a minute and back is none: how that heals, other tests show. Bans are rare.
FAULTS = tuple(fault for fault in Fault if fault not in (Fault.SKEW, Fault.BANNED))
#: Seconds that the books have to agree in, once all is quiet, and after a ban: the longest is ten minutes.
_PATIENCE, _AFTER_BAN = 120.0, 720.0
_TICK = 0.25
_OPEN = (OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED, OrderStatus.SUBMITTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Mean seconds from one to the next of each kind."""

    alert: float = 1.5
    jump: float = 4.0
    hand: float = 45.0
    fault: float = 4.0
    kill: float = 15.0
    cut: float = 90.0
    ban: float = 900.0


@dataclass(slots=True, kw_only=True)
class Report:
    """What was done, and what did not hold: a line each in `wrong`."""

    seconds: float = 0.0
    done: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    notices: Counter[str] = field(default_factory=Counter)
    fills: int = 0
    bare: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.seconds:.0f} s: {_list(self.done)}",
            f"faults met: {_list(self.faults)}",
            f"alerts: {_list(self.statuses)}; {self.fills} fills; notices: {_list(self.notices)}",
            *(f"  {count} not done: {reason}" for reason, count in self.reasons.most_common(12)),
            f"longest without a stop, faults and kills included: {self.bare:.1f} s",
            f"not as it must be: {len(self.wrong)}",
        ]
        return "\n".join([*lines, *self.wrong[:40]])


class Market:
    """One instrument of one emulated venue, looked at from inside."""

    def __init__(self, server: Server, symbol: str) -> None:
        self.server, self.symbol = server, symbol
        self.engine = server.engine
        self.venue = server.dialect.name.upper()
        self.account: Account = server.engine.accounts[0]
        listing = self.engine.listing(symbol)
        self.tick = listing.instrument.tick_size
        name = listing.venue_symbol
        self.ticker = name.replace("-", "") if self.venue == "FTX" else f"{name}.P"
        self.start = self.engine.price(symbol)
        self.bare_since: float | None = None

    def __str__(self) -> str:
        return f"{self.venue} {self.symbol}"

    @property
    def position(self) -> Decimal:
        return self.account.position(self.symbol).quantity

    @property
    def resting(self) -> list[Record]:
        return self.account.orders(self.symbol, open=True)

    @property
    def is_covered(self) -> bool:
        """Whether what is open has its stop."""
        with self.engine.lock:
            position = self.position
            side = Side.SELL if position > 0 else Side.BUY
            stops = [o for o in self.resting if o.conditional and o.side is side]
            stops = [o for o in stops if o.type is OrderType.MARKET]
            return not position or any(
                o.attached or o.whole_position or o.remaining >= abs(position) for o in stops
            )

    def go(self, share: float) -> None:
        """Moves the price by this share of it, and never far from where it began."""
        with self.engine.lock:
            price = self.engine.price(self.symbol)
            drift = float((self.start - price) / self.start) * abs(share)
            wanted = self.near(price * Decimal(1 + share + drift))
            path = walk(price, wanted) if abs(share) > 0.001 else [wanted]
            self.engine.move(self.symbol, *path)

    def near(self, price: Decimal) -> Decimal:
        return price // self.tick * self.tick


class Soak:
    """`run` it once. On Postgres there are two web processes and two runners, on SQLite one does both."""

    def __init__(self, house: House, *, seconds: float, seed: int, pace: Pace | None = None) -> None:
        self._house, self._seconds = house, seconds
        self._pace = pace or Pace()
        self._dice = random.Random(seed)
        self._report = Report()
        self._acknowledged: dict[str, tuple[Market, str]] = {}
        self._count = 0
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._layout = ["web", "web", "runner", "runner"] if "postgres" in house.url else ["both"]
        self._processes: list[Process | None] = [None] * len(self._layout)
        self._late: deque[tuple[float, Server]] = deque()

    def run(self, tell: Callable[[str], None] = lambda _: None) -> Report:
        """Lives, comes to rest, and is judged."""
        with ExitStack() as stack:
            servers = [stack.enter_context(opened(name)) for name in VENUES]
            markets = [Market(server, symbol) for server in servers for symbol in _symbols(server)]
            self._settings = _settings(servers)
            for number in range(len(self._layout)):
                self._start(number)
            pool = stack.enter_context(ThreadPoolExecutor(16))
            stack.callback(self._ends.set)
            began = time.monotonic()
            self._live(pool, servers, markets, tell)
            self._come_to_rest(servers, markets)
            self._report.seconds = time.monotonic() - began
            self._judge(markets)
        return self._report

    # -- life ------------------------------------------------------------------------------------------

    def _live(
        self,
        pool: ThreadPoolExecutor,
        servers: list[Server],
        markets: list[Market],
        tell: Callable[[str], None],
    ) -> None:
        dice, pace = self._dice, self._pace
        began = word = time.monotonic()
        while (now := time.monotonic()) < began + self._seconds:
            for market in markets:
                market.go(dice.gauss(0, 0.0003))
                self._watch(market, now)
            if self._comes(pace.jump):
                dice.choice(markets).go(dice.uniform(-0.025, 0.025))
                self._report.done["jumps of a price"] += 1
            if self._comes(pace.alert):
                pool.submit(self._send, dice.choice(markets), dice.random(), dice.random())
            if self._comes(pace.fault):
                server = dice.choice(servers)
                server.fault_next(dice.choice(FAULTS), method=dice.choice(("POST", "POST", "GET", "DELETE")))
                self._late.append((now + dice.uniform(1, 12), server))
            if self._comes(pace.ban):
                dice.choice(servers).fault_next(Fault.BANNED, method="GET")
            while self._late and self._late[0][0] <= now:
                self._late.popleft()[1].deliver_late()
            if self._comes(pace.hand):
                self._close_by_hand(dice.choice(markets))
            if self._comes(pace.kill):
                pool.submit(self._kill, dice.randrange(len(self._layout)), dice.uniform(0, 3))
            if self._comes(pace.cut) and "postgres" in self._house.url:
                _cut(self._house.url)
                self._report.done["cuts of the database"] += 1
            if now >= word:
                word = now + 30
                tell(f"{now - began:.0f} s: {_list(self._report.done)}; bare {self._report.bare:.1f} s")
            time.sleep(max(0.0, now + _TICK - time.monotonic()))

    def _comes(self, mean: float) -> bool:
        return self._dice.random() < _TICK / mean

    def _watch(self, market: Market, now: float) -> None:
        if market.is_covered:
            market.bare_since = None
            return
        market.bare_since = market.bare_since or now
        self._report.bare = max(self._report.bare, now - market.bare_since)

    def _send(self, market: Market, kind: float, size: float) -> None:
        """One alert, again and again until it is acknowledged."""
        price = market.engine.price(market.symbol)
        message = "entry" if kind < 0.6 else "exit" if kind < 0.8 else "tp1_breakeven"
        side = ("buy", "long") if size < 0.5 else ("sell", "short")
        sign = 1 if side[0] == "buy" else -1
        levels = {
            f"{side[1]} SL": market.near(price * (1 - sign * Decimal("0.008"))),
            f"{side[1]} TP": market.near(price * (1 + sign * Decimal("0.016"))),
            f"{side[1]} Breakeven": market.near(price * (1 - sign * Decimal("0.002"))),
        }
        fields = {"action": side[0], "price": f"{price:f}"}
        fields |= {name: f"{level:f}" for name, level in levels.items()}
        fields |= {"tp Close": "25", "tp1 Mult": "1", "tp2 Mult": "1.5"}
        if size % 0.25 < 0.06 and message == "entry":
            fields["type"] = "limit"
        with self._lock:
            body = self._house.body(
                "MAIN", market.ticker, message=message, **{"exchange": market.venue, **fields}
            )
        while not self._ends.is_set():
            web = self._any_web()
            answer = self._house.send(web, body) if web is not None else None
            if answer is not None and answer.status_code in (200, 202):
                with self._lock:
                    self._acknowledged[str(answer.json()["alert_id"])] = (market, message)
                    self._report.done[f"{message} alerts"] += 1
                return
            if answer is not None and answer.status_code != 503:
                self._report.wrong.append(f"{market}: {message} answered {answer.status_code}: {answer.text}")
                return
            self._ends.wait(0.2)

    def _close_by_hand(self, market: Market) -> None:
        with market.engine.lock:
            position = market.position
            if position:
                side = Side.SELL if position > 0 else Side.BUY
                market.engine.hand(market.account, market.symbol, side, abs(position), reduce_only=True)
                self._report.done["closed by hand"] += 1

    def _kill(self, number: int, pause: float) -> None:
        process = self._processes[number]
        if process is None:
            return
        self._processes[number] = None
        process.kill()
        self._report.done["kills"] += 1
        if not self._ends.wait(pause):
            self._start(number)

    def _start(self, number: int) -> None:
        role = self._layout[number]
        module = RUNNER if role == "runner" else WEB
        settings = self._settings | ({"RUNNER": "off"} if role == "web" else {})
        self._processes[number] = self._house.start(module, name=f"{role}-{number}", **settings)

    def _any_web(self) -> Process | None:
        webs = [
            process
            for role, process in zip(self._layout, self._processes, strict=True)
            if role != "runner" and process is not None
        ]
        with self._lock:
            return self._dice.choice(webs) if webs else None

    # -- its end ---------------------------------------------------------------------------------------

    def _come_to_rest(self, servers: list[Server], markets: list[Market]) -> None:
        """No more alerts, faults and kills; prices stand; waits until every alert has ended and the books
        agree, or cannot be made to.
        """
        for server in servers:
            self._report.faults.update(str(seen.fault) for seen in server.log if seen.fault)
            server.forget_faults()
            server.deliver_late()
        was_banned = self._report.faults[Fault.BANNED] > 0
        deadline = time.monotonic() + (_AFTER_BAN if was_banned else _PATIENCE)
        while time.monotonic() < deadline:
            going = [row for row in self._house.rows(intents) if row.status in UNDONE]
            if None not in self._processes and not going and not self._differences(markets):
                return
            time.sleep(1)

    def _judge(self, markets: list[Market]) -> None:
        report, house = self._report, self._house
        stored = {row.id: row for row in house.rows(intents)}
        report.statuses.update(row.status for row in stored.values())
        report.reasons.update(row.reason for row in stored.values() if row.status != "DONE")
        report.notices.update(row.kind for row in house.rows(notices))
        report.fills = sum(len(account.fills) for account in {m.account for m in markets})
        for alert_id, (market, message) in self._acknowledged.items():
            if alert_id not in stored:
                report.wrong.append(f"lost: {market} {message} {alert_id}")
            elif stored[alert_id].status in UNDONE:
                report.wrong.append(f"never ended: {market} {message} {alert_id}")
        ordered = {row.client_order_id: row.quantity for row in house.rows(orders, role="entry")}
        for market in markets:
            entries: Counter[str] = Counter()
            filled: Counter[str] = Counter()
            for record in market.account.records.values():
                alert_id, _, role = (record.client_id or "").partition("-")
                if role.startswith("e") and record.symbol == market.symbol:
                    entries[alert_id] += 1 if record.filled or record.is_open else 0
                    filled[alert_id] += record.filled
            for alert_id, count in entries.items():
                most = max(
                    (q for name, q in ordered.items() if name.startswith(f"{alert_id}-e")), default=ZERO
                )
                if count > 1 or filled[alert_id] > most:
                    report.wrong.append(f"doubled: {market} {alert_id}: {count} entries, {filled[alert_id]}")
        report.wrong += self._differences(markets)

    def _differences(self, markets: list[Market]) -> list[str]:
        """Where our books are not the venue's, or a position is not as it must be at rest."""
        ours = _by_lane(self._house.rows(orders))
        told = _by_lane(self._house.rows(fills))
        kept = {(row.venue, row.symbol): row for row in self._house.rows(positions)}
        return [
            f"{market}: {found}"
            for market in markets
            for found in _differ(
                market,
                ours.get((market.venue, market.symbol), []),
                told.get((market.venue, market.symbol), []),
                kept.get((market.venue, market.symbol)),
            )
        ]


def _differ(
    market: Market, ours: list[Row[Any]], told: list[Row[Any]], kept: Row[Any] | None
) -> Iterator[str]:
    with market.engine.lock:
        position, resting = market.position, market.resting
        traded = [fill for fill in market.account.fills if fill.symbol == market.symbol]
    made = Counter((str(fill.side), fill.quantity, fill.price) for fill in traded)
    known = Counter((row.side, row.quantity, row.price) for row in told)
    if made != known:
        yield f"fills: only the venue has {made - known}, only we have {known - made}"
    if position != (kept.quantity if kept is not None else ZERO):
        yield f"position: the venue has {position}, we have {kept and kept.quantity}"
    doubts = [row.client_order_id for row in ours if row.status == OrderStatus.SUBMITTED]
    if doubts:
        yield f"nobody knows what became of {doubts}"
    theirs = Counter((str(o.side), o.trigger if o.conditional or o.attached else o.price) for o in resting)
    brought = [o for o in resting if o.attached_stop is not None and not o.filled]
    theirs.update((str(o.side.opposite), o.attached_stop) for o in brought)
    mine = Counter((row.side, row.trigger_price or row.price) for row in ours if row.status in _OPEN)
    if mine != theirs:
        yield f"resting: only the venue has {theirs - mine}, only we have {mine - theirs}"
    if not market.is_covered:
        yield f"no stop on {position}"
    if not position and any(o.reduce_only or o.conditional for o in resting):
        yield f"orders rest on nothing: {resting}"


def _by_lane(rows: list[Row[Any]]) -> dict[tuple[str, str], list[Row[Any]]]:
    found: dict[tuple[str, str], list[Row[Any]]] = {}
    for row in rows:
        found.setdefault((row.venue, row.symbol), []).append(row)
    return found


def opened(name: str) -> Server:
    """An emulated venue, in real time, whose one account has KEY and SECRET."""
    engine, dialect = importlib.import_module(f"tests.emulator.{name}").build(lambda: datetime.now(UTC))
    for account in engine.accounts:
        account.key, account.secret = KEY, SECRET
    return Server(dialect, engine)


def _symbols(server: Server) -> list[str]:
    found = [listing.symbol for listing in server.engine.listings()]
    return [symbol for symbol in found if symbol.partition("-")[0] in COINS]


def _settings(servers: list[Server]) -> dict[str, str]:
    """For every process: the venues, and a risk that leaves room for all of them."""
    urls = {f"{server.dialect.name.upper()}_API_URL": server.url for server in servers}
    keys = {"LIVE_TRADING": "1", "API_KEY_MAIN": KEY, "API_SECRET_MAIN": SECRET}
    return urls | keys | {"RISK_MAIN": "0.5", "LEVERAGE_MAIN": "5"}


def _cut(url: str) -> None:
    """Ends every connection to the database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def _list(counted: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counted.items())) or "none"
