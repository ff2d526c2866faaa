"""Results as a page shows them: totals, a curve, and tables by day, strategy, instrument and execution.

Pure: takings in, plain models out. Amounts stay decimals until the page writes them.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Context, Decimal, localcontext
from operator import attrgetter
from typing import Any, TypeVar

from desk.intake import is_paper
from desk.results import Closed, Execution, Gain, Takings, midnight
from trading.model import ZERO, plain

_MOST_POINTS = 500
#: Sums that are shown, not traded.
_SHOWN = Context(prec=40)
_MOST_ROWS = 400

Row = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which results: from `since` on, None for all; of one account, strategy or instrument, None for any;
    of `paper` alone, or of what is real alone, None for both."""

    since: datetime | None = None
    account: str | None = None
    strategy: str | None = None
    symbol: str | None = None
    paper: bool | None = None

    def holds(self, at: datetime, row: Gain | Closed | Execution) -> bool:
        return (
            (self.since is None or at >= self.since)
            and self.account in (None, row.account)
            and self.strategy in (None, row.strategy)
            and self.symbol in (None, row.symbol)
            and (self.paper is None or is_paper(row.venue) is self.paper)
        )


def results(takings: Takings, scope: Scope) -> Row:
    """Everything on the page of results."""
    with localcontext(_SHOWN):
        gains = [gain for gain in takings.gains if scope.holds(gain.at, gain)]
        trades = [trade for trade in takings.trades if scope.holds(trade.closed_at, trade)]
        orders = [order for order in takings.executions if scope.holds(order.at, order)]
        curve = _curve(gains)
        return {
            "total": _scored(gains, trades) | {"drawdown": _drawdown(curve)},
            "curve": _drawn(curve),
            "days": _by(gains, trades, "day")[::-1][:_MOST_ROWS],
            "strategies": _best(_by(gains, trades, "strategy")),
            "instruments": _best(_by(gains, trades, "symbol")),
            "executions": [
                {"strategy": key[0], "venue": key[1], **_quality(each)}
                for key, each in sorted(_grouped(orders, "strategy", "venue").items())
            ],
        }


def since(period: str, now: datetime) -> datetime | None:
    """Where a period of whole UTC days, today's included, begins: `7d`; None for any other word."""
    days = period.removesuffix("d")
    known = period.endswith("d") and days.isascii() and days.isdigit() and 0 < int(days) < 10_000
    return midnight(now) - timedelta(days=int(days) - 1) if known else None


def _scored(gains: Sequence[Gain], trades: Sequence[Closed]) -> Row:
    won = [t.net for t in trades if t.net > 0]
    lost = [t.net for t in trades if t.net < 0]
    multiples = [t.net / t.risk for t in trades if t.risk]
    return {
        "net": sum((g.net for g in gains), ZERO),
        "fees": sum((g.fee for g in gains), ZERO),
        "trades": len(trades),
        "win_rate": Decimal(len(won)) / len(trades) if trades else None,
        "expectancy": sum((t.net for t in trades), ZERO) / len(trades) if trades else None,
        "multiple": sum(multiples, ZERO) / len(multiples) if multiples else None,
        "won": sum(won, ZERO) / len(won) if won else None,
        "lost": sum(lost, ZERO) / len(lost) if lost else None,
        "profit_factor": sum(won, ZERO) / -sum(lost, ZERO) if lost else None,
    }


def _by(gains: Iterable[Gain], trades: Iterable[Closed], name: str) -> list[Row]:
    earned, closed = _grouped(gains, name), _grouped(trades, name)
    names = sorted({*earned, *closed})
    return [{"name": each, **_scored(earned.get(each, []), closed.get(each, []))} for each in names]


def _best(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: Decimal(row["net"]), reverse=True)[:_MOST_ROWS]


def _grouped(rows: Iterable[T], *names: str) -> dict[Any, list[T]]:
    """The rows by one attribute, or by several."""
    found: defaultdict[Any, list[T]] = defaultdict(list)
    key = attrgetter(*names)
    for row in rows:
        found[key(row)].append(row)
    return found


def _curve(gains: Iterable[Gain]) -> list[tuple[datetime, Decimal]]:
    """What was earned up to each fill, from nothing on."""
    total = ZERO
    points: list[tuple[datetime, Decimal]] = []
    for gain in sorted(gains, key=lambda g: g.at):
        total += gain.net
        points.append((gain.at, total))
    return [(points[0][0] - timedelta(seconds=1), ZERO), *points] if points else []


def _drawn(curve: Sequence[tuple[datetime, Decimal]]) -> list[list[Any]]:
    """The curve as it is drawn: in seconds, and by the day where it has more points than a screen."""
    points = curve
    if len(curve) > _MOST_POINTS:
        points = list({midnight(at): (at, value) for at, value in curve}.values())
    return [[int(at.timestamp()), plain(round(value, 2))] for at, value in points]


def _drawdown(curve: Iterable[tuple[datetime, Decimal]]) -> Decimal:
    """The furthest that the curve fell below where it had been."""
    peak = worst = ZERO
    for _, value in curve:
        peak = max(peak, value)
        worst = max(worst, peak - value)
    return worst


def _quality(orders: Sequence[Execution]) -> Row:
    slipped = [e.slipped for e in orders if e.slipped is not None]
    notional = sum((e.notional for e in orders if e.notional is not None), ZERO)
    points = [e.slipped / e.notional * 10_000 for e in orders if e.slipped is not None and e.notional]
    return {
        "orders": len(orders),
        "slipped": sum(slipped, ZERO) if slipped else None,
        "points": sum(slipped, ZERO) / notional * 10_000 if notional else None,
        "worst_points": max(points) if points else None,
        "received": _took(e.received for e in orders),
        "sent": _took(e.sent for e in orders),
        "filled": _took(e.filled for e in orders),
    }


def _took(seconds: Iterable[float | None]) -> tuple[float, float] | None:
    """The middle and the worst."""
    known = [each for each in seconds if each is not None]
    return (statistics.median(known), max(known)) if known else None
