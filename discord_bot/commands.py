"""What people type: `!positions` and the like, and the same as slash commands.

What trades or stops needs an approver, and goes on record with the person's id. It must never trade in any
other way than an alert does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from desk import report
from desk.intake import Intake, venue_of
from desk.settings import Settings, exchange_names
from discord_bot.approvals import Person
from discord_bot.texts import MOST_CONTENT, Tongue, shortened
from store import Store, charts, trades, views, words
from trading.errors import AlertInvalid, StoreUnavailable
from trading.model import plain
from trading.symbols import symbol_of

log = logging.getLogger(__name__)

#: Of a chart that somebody asks for; where the alert does not tell.
INTERVAL = "15"
_INTERVAL = re.compile(r"[0-9]{1,4}[SDWM]?|[DWM]", re.IGNORECASE)
_ID = re.compile(r"[0-9a-f]{20}")
_FENCE = re.compile(r"\A`{1,3}(?:json)?\s*|\s*`{1,3}\Z")
_NOT_YOU = "Only those named in DISCORD_APPROVERS may do that."
_ROWS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One command as it was given. `key` is the id of its message or interaction: one call, one key."""

    who: Person
    may: bool
    rest: str
    key: int
    channel_id: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command: how it is written, what it does, whether it needs an approver."""

    run: Callable[[Call], Awaitable[str]]
    usage: str
    does: str
    guarded: bool = False


class Commands:
    """Every command by its name. `latency` gives the gateway's, in seconds."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        clock: Callable[[], datetime],
        tongue: Tongue,
        latency: Callable[[], float],
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._tongue = tongue
        self._latency = latency
        self._started_at = clock()
        self._intake = Intake(store, settings, clock, _nobody, exchanges=exchange_names())
        self.all: dict[str, Command] = {
            "ping": Command(run=self._ping, usage="", does="whether everything is alive"),
            "positions": Command(run=self._positions, usage="", does="what is open, with its stop"),
            "pnl": Command(run=self._pnl, usage="", does="realised P&L after fees, by account"),
            "chart": Command(run=self._chart, usage="TICKER [interval] [exchange]", does="a chart"),
            "close": Command(
                run=self._close,
                usage="TICKER [account]",
                does="closes it and cancels its orders",
                guarded=True,
            ),
            "halt": Command(
                run=self._halt, usage="[reason]", does="refuses every entry from now on", guarded=True
            ),
            "resume": Command(run=self._resume, usage="", does="ends a halt", guarded=True),
            "payload": Command(
                run=self._payload,
                usage="[{json} | ALERT_ID]",
                does="sends an alert; without {json}, one to copy",
                guarded=True,
            ),
            "help": Command(run=self._help, usage="", does="this list"),
        }

    async def run(self, name: str, call: Call) -> str:
        """The answer, fit to be said; also to nonsense, and where the database is away."""
        command = self.all[name]
        if command.guarded and not call.may:
            return _NOT_YOU
        try:
            return shortened(await command.run(call), MOST_CONTENT)
        except StoreUnavailable:
            return "The database does not answer: nothing was done. Try again."
        except AlertInvalid as error:
            return self._tongue.clean(str(error), 500)
        except Exception:
            log.exception("!%s failed", name)
            return f"!{name} failed here, by a defect of ours: the log has it. Look before you try again."

    # -- reads -----------------------------------------------------------------------------------------

    async def _help(self, call: Call) -> str:
        lines = [
            f"`!{name}{' ' + one.usage if one.usage else ''}`  {one.does}" for name, one in self.all.items()
        ]
        return "\n".join([*lines, "The same as slash commands. What trades or stops needs an approver."])

    async def _ping(self, call: Call) -> str:
        def read() -> report.Model:
            now = self._clock()
            return report.health(self._store, now=now, started_at=self._started_at)

        health = await asyncio.to_thread(read)
        age = health["runner"]["age_s"]
        runner = "never seen" if age is None else f"{age} s ago"
        halted = {True: "HALTED", False: "not halted", None: "unknown"}[health["halted"]]
        pong = f"pong in {self._latency() * 1000:.0f} ms"
        return f"{pong}; database {health['database']}; runner {runner}; {halted}"

    async def _positions(self, call: Call) -> str:
        rows = await asyncio.to_thread(report.positions, self._store)
        if not rows:
            return "Nothing is open."
        lines = [
            f"{row['symbol']} {row['direction']} {row['quantity']} at {_short(row['average_price'])}"
            f"  stop {row['stop_price'] or 'NONE'}  {row['account']} {row['venue']}"
            for row in rows[:_ROWS]
        ]
        more = [f"and {len(rows) - _ROWS} more"] if len(rows) > _ROWS else []
        return self._tongue.code("\n".join(lines + more))

    async def _pnl(self, call: Call) -> str:
        now = self._clock()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        spans = {"today": midnight, "7 days": now - timedelta(days=7), "all": now - timedelta(days=36500)}

        def read() -> dict[str, list[tuple[str, str, Decimal, Decimal]]]:
            with self._store.read() as tx:
                return {span: trades.realised(tx, since) for span, since in spans.items()}

        found = await asyncio.to_thread(read)
        if not found["all"]:
            return "Nothing was traded yet."
        lines = []
        for venue, account, _, _ in found["all"]:
            sums = {
                span: next((won - paid for v, a, won, paid in rows if (v, a) == (venue, account)), Decimal(0))
                for span, rows in found.items()
            }
            told = "  ".join(f"{span} {plain(round(value, 2))}" for span, value in sums.items())
            lines.append(f"{account} {venue}: {told}")
        return self._tongue.code("\n".join(["realised, fees taken off, since 00:00 UTC:", *lines]))

    async def _chart(self, call: Call) -> str:
        ticker, interval, exchange, *_ = [*call.rest.split(), "", "", ""]
        if not ticker:
            return "Which? `!chart BTCUSDT.P 60`"
        symbol = symbol_of(ticker)
        interval = (interval or INTERVAL).upper()
        if not _INTERVAL.fullmatch(interval):
            return "The interval is as TradingView writes it: 15, 60, 240, 1D."
        known = exchange_names()
        name = exchange.upper() or await asyncio.to_thread(self._exchange_of, symbol)
        if name not in known:
            return f"Name the exchange: `!chart {symbol} {interval} NAME`, one of {', '.join(sorted(known))}."

        def write() -> None:
            with self._store.write() as tx:
                charts.ask(
                    tx,
                    exchange=name,
                    symbol=symbol,
                    interval=interval,
                    channel_id=call.channel_id,
                    now=call.at,
                )

        await asyncio.to_thread(write)
        return f"{symbol}: the chart comes."

    # -- what stops and trades -------------------------------------------------------------------------

    async def _halt(self, call: Call) -> str:
        reason = self._tongue.bare(call.rest or "by hand", 200)

        def write() -> None:
            with self._store.write() as tx:
                words.halt(tx, reason=reason, by=call.who.by, now=self._clock())

        await asyncio.to_thread(write)
        return "Halted: entries are refused. Exits, breakevens, stops and targets go on. `!resume` ends it."

    async def _resume(self, call: Call) -> str:
        def write() -> bool:
            with self._store.write() as tx:
                return words.resume(tx, by=call.who.by, now=self._clock())

        lifted = await asyncio.to_thread(write)
        return "Resumed: entries are traded again." if lifted else "It was not halted."

    async def _payload(self, call: Call) -> str:
        body = _FENCE.sub("", call.rest.strip())
        if not body or _ID.fullmatch(body):
            return await asyncio.to_thread(self._template, body)
        answer = await asyncio.to_thread(self._intake.submit, body.encode(), by=call.who.by)
        return self._said(answer.body)

    async def _close(self, call: Call) -> str:
        ticker, account, *_ = [*call.rest.split(), "", ""]
        if not ticker:
            return "Which? `!close BTCUSDT.P`"
        symbol = symbol_of(ticker)
        rows = await asyncio.to_thread(self._closable, symbol, account.upper())
        if not rows:
            return f"Nothing of {symbol} is open or rests."
        if len({row["account"] for row in rows}) > 1 and not account:
            names = ", ".join(sorted({row["account"] for row in rows}))
            return f"Of which account? `!close {symbol} NAME`, one of {names}."
        told = []
        for number, row in enumerate(rows):
            body = {
                "message": "exit",
                "ticker": symbol,
                "exchange": row["exchange"],
                "subaccount": row["subaccount"],
                "time": call.at.isoformat(timespec="seconds").replace("+00:00", "Z"),
                "id": f"discord-{call.key}-{number}",
            }
            answer = await asyncio.to_thread(self._intake.submit, json.dumps(body).encode(), by=call.who.by)
            told.append(f"{row['account']} at {row['exchange']}: {self._said(answer.body)}")
        return "\n".join(told)

    # -- helpers ---------------------------------------------------------------------------------------

    def _said(self, body: dict[str, object]) -> str:
        text = str(body["message"])
        if "field" in body:
            text += f" (field {body['field']})"
        if "alert_id" in body:
            text += f"; alert {body['alert_id']} {body.get('status', '')}"
        return self._tongue.clean(text.rstrip(), 600)

    def _template(self, alert_id: str) -> str:
        """A stored alert to copy, change and send: the newest where none is named."""
        with self._store.read() as tx:
            newest = views.alert_list(tx, limit=1, before=None, status=None, account=None)
            row = views.alert(tx, alert_id) if alert_id else next(iter(newest), None)
        if row is None:
            return 'There is none yet: `!payload {"ticker": "BTCUSDT.P", "message": "exit"}`'
        # With its time and id it would be the same alert again, and an old one.
        body = {name: value for name, value in json.loads(row["body"]).items() if name not in ("time", "id")}
        text = f"!payload {json.dumps(body, indent=1)}"
        return f"Copy, change, send:\n{self._tongue.code(text, MOST_CONTENT - 40)}"

    def _closable(self, symbol: str, account: str) -> list[dict[str, Any]]:
        """Places where something of an instrument is open or rests and an alert of today would reach it."""
        with self._store.read() as tx:
            live = {
                (row["venue"], row["account"])
                for row in views.order_list(tx, limit=500, live_only=True)
                if row["symbol"] == symbol
            }
            found = []
            for row in views.position_list(tx):
                exchange = str(row["venue"]).rpartition(":")[2]
                reached = venue_of(exchange, live=self._settings.live_trading) == row["venue"]
                busy = row["quantity"] != 0 or (row["venue"], row["account"]) in live
                if row["symbol"] == symbol and reached and busy and account in ("", row["account"]):
                    spelt = views.subaccount(tx, row["account"]) or row["account"]
                    found.append({"account": row["account"], "exchange": exchange, "subaccount": spelt})
        return found

    def _exchange_of(self, symbol: str) -> str:
        """Where the instrument was last dealt with; empty if it never was."""
        rows = [row for row in report.positions(self._store, flat_too=True) if row["symbol"] == symbol]
        rows.sort(key=lambda row: str(row["updated_at"]))
        return str(rows[-1]["exchange"]) if rows else ""


def _short(price: str | None) -> str:
    """A price as people read it."""
    return "?" if price is None else plain(round(Decimal(price), 8))


def _nobody() -> None:
    """The runner is another process: it looks by itself."""
