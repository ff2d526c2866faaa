"""What a replay came to, in numbers: trades out of fills, and the measures that runs are compared by.

Money in quote units. It must never mix two lanes, or count a fill twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from desk.playback import REFUSED, Result
from desk.report import instant
from trading import pnl
from trading.model import ZERO, Direction, Fill, IntentStatus, Lane, plain
from trading.rounding import MONEY

CENT = Decimal("0.01")
#: What becomes of an alert that asked for something and did not get it.
NOT_TRADED = frozenset({REFUSED}) | {
    each.value
    for each in (IntentStatus.DENIED, IntentStatus.DECLINED, IntentStatus.EXPIRED, IntentStatus.FAILED)
}
MOST_REASONS = 8

CSV_COLUMNS = (
    *("run", "line", "received_at", "account", "exchange", "ticker", "message", "action", "was", "status"),
    *("reason", "quantity", "worst_loss", "entered_at", "exit_at", "average_entry", "average_exit"),
    *("pnl", "fees", "net"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """One trade from flat to flat, or as far as it came: `line` is that of the alert that opened it.

    `ended_at` is None while it is open. P&L is before `fees`.
    """

    lane: Lane
    line: int | None
    direction: Direction
    quantity: Decimal
    opened_at: datetime
    ended_at: datetime | None
    average_entry: Decimal
    average_exit: Decimal | None
    pnl: Decimal
    fees: Decimal

    @property
    def net(self) -> Decimal:
        with localcontext(MONEY):
            return self.pnl - self.fees


def trips(result: Result) -> list[Trip]:
    """Every trade of every lane, in the order in which they began."""
    found = [trip for lane, fills in result.fills.items() for trip in _trips(lane, fills, result)]
    return sorted(found, key=lambda trip: (trip.opened_at, str(trip.lane), trip.line or 0))


def measures(result: Result) -> list[tuple[str, list[tuple[str, str]]]]:
    """Titled groups of names and values: the alerts, then a group for each lane, then all of them."""
    made = trips(result)
    groups = [("Alerts", _alerts(result))]
    lanes = sorted(result.fills, key=str)
    groups += [(str(lane), _money([t for t in made if t.lane == lane], result)) for lane in lanes]
    if len(lanes) != 1:
        groups.append(("All", _money(made, result)))
    return groups


def reasons(result: Result) -> list[tuple[str, int]]:
    """Why alerts were not traded, the commonest first, each with how many; the rest of them in one sum."""
    told = Counter(f"{row.status}: {row.reason}" for row in result.rows if row.status in NOT_TRADED)
    common = sorted(told.items(), key=lambda each: (-each[1], each[0]))
    rest = common[MOST_REASONS:]
    if rest:
        common[MOST_REASONS:] = [("for other reasons (--csv tells all)", sum(count for _, count in rest))]
    return common


def rows(result: Result, run: str) -> Iterator[tuple[str, ...]]:
    """One row of CSV_COLUMNS per alert, in the order of the file's times."""
    by_line = {trip.line: trip for trip in trips(result) if trip.line is not None}
    for row in result.rows:
        alert, sizing, trip = row.alert, row.sizing, by_line.get(row.line)
        side = alert.side.value.lower() if alert and alert.side else ""
        yield (
            *(run, str(row.line), instant(row.heard.at) or ""),
            *((alert.account, alert.exchange, alert.ticker, alert.message, side) if alert else ("",) * 5),
            *(row.heard.status or "", row.status, row.reason),
            *((plain(sizing.quantity), money(sizing.worst_loss)) if sizing else ("", "")),
            *(_trip_cells(trip) if trip else ("",) * 7),
        )


def money(amount: Decimal) -> str:
    """To the cent."""
    with localcontext(MONEY):
        rounded = amount.quantize(CENT, rounding=ROUND_HALF_EVEN)
    return f"{rounded or CENT * 0:f}"


def _trips(lane: Lane, fills: Sequence[Fill], result: Result) -> Iterator[Trip]:
    """Cuts a lane's fills where the position is flat, or turns over."""
    ledger, mine = pnl.FLAT, _Open()
    for fill in fills:
        before = ledger.quantity
        with localcontext(MONEY):
            turns = before != 0 and (before + fill.side.sign * fill.quantity) * before < 0
        parts = _halves(fill, abs(before)) if turns else [fill]
        for part in parts:
            ledger, realised = pnl.apply(ledger=ledger, fill=part)
            mine.add(part, realised, opens=before == 0 or (before > 0) == (part.side.sign > 0))
            before = ledger.quantity
            if not ledger.quantity:
                yield mine.trip(lane, result, ended=True)
                mine = _Open()
    if ledger.quantity:
        yield mine.trip(lane, result, ended=False)


def _halves(fill: Fill, first: Decimal) -> list[Fill]:
    """What ends the old position, and what opens the new one; the fee in proportion."""
    with localcontext(MONEY):
        fee = fill.fee * first / fill.quantity
        return [
            replace(fill, quantity=first, fee=fee),
            replace(fill, quantity=fill.quantity - first, fee=fill.fee - fee),
        ]


class _Open:
    """A trade that is being added up."""

    def __init__(self) -> None:
        self._in: list[Fill] = []
        self._out: list[Fill] = []
        self._pnl = self._fees = ZERO

    def add(self, fill: Fill, realised: Decimal, *, opens: bool) -> None:
        with localcontext(MONEY):
            (self._in if opens else self._out).append(fill)
            self._pnl += realised
            self._fees += fill.fee

    def trip(self, lane: Lane, result: Result, *, ended: bool) -> Trip:
        first = self._in[0]
        opener = (first.client_order_id or "").partition("-")[0]
        with localcontext(MONEY):
            return Trip(
                lane=lane,
                line=result.lines.get(opener),
                direction=Direction.LONG if first.side.sign > 0 else Direction.SHORT,
                quantity=sum((fill.quantity for fill in self._in), ZERO),
                opened_at=first.at,
                ended_at=self._out[-1].at if ended else None,
                average_entry=_average(self._in) or ZERO,
                average_exit=_average(self._out),
                pnl=self._pnl,
                fees=self._fees,
            )


def _average(fills: Sequence[Fill]) -> Decimal | None:
    with localcontext(MONEY):
        quantity = sum((fill.quantity for fill in fills), ZERO)
        return sum((fill.quantity * fill.price for fill in fills), ZERO) / quantity if quantity else None


def _alerts(result: Result) -> list[tuple[str, str]]:
    statuses = Counter(row.status for row in result.rows)
    return [("alerts", str(len(result.rows))), *((name, str(statuses[name])) for name in sorted(statuses))]


def _money(made: Sequence[Trip], result: Result) -> list[tuple[str, str]]:
    ended = [trip for trip in made if trip.ended_at is not None]
    with localcontext(MONEY):
        gross, fees = sum((t.pnl for t in made), ZERO), sum((t.fees for t in made), ZERO)
        unrealised = sum((_unrealised(t, result) for t in made if t.ended_at is None), ZERO)
        return [
            ("trades", str(len(ended))),
            ("long", str(sum(t.direction is Direction.LONG for t in ended))),
            ("short", str(sum(t.direction is Direction.SHORT for t in ended))),
            ("won after fees", str(sum(t.net > 0 for t in ended))),
            ("P&L before fees", money(gross)),
            ("fees", money(fees)),
            ("P&L", money(gross - fees)),
            ("best trade", money(max((t.net for t in ended), default=ZERO))),
            ("worst trade", money(min((t.net for t in ended), default=ZERO))),
            ("largest drawdown", money(_drawdown(ended))),
            ("still open", str(len(made) - len(ended))),
            ("P&L of what is open", money(unrealised)),
        ]


def _drawdown(ended: Iterable[Trip]) -> Decimal:
    """How far the sum of ended trades fell below its highest."""
    total = highest = deepest = ZERO
    for trip in sorted(ended, key=lambda t: (t.ended_at or t.opened_at, str(t.lane))):
        total += trip.net
        highest = max(highest, total)
        deepest = max(deepest, highest - total)
    return deepest


def _unrealised(trip: Trip, result: Result) -> Decimal:
    """Of what is left of an open trade, at the last price."""
    ledger = pnl.FLAT
    for fill in result.fills[trip.lane]:
        ledger, _ = pnl.apply(ledger=ledger, fill=fill)
    price = result.prices.get(trip.lane.symbol)
    if price is None:
        return ZERO
    return pnl.unrealised(quantity=ledger.quantity, average_price=ledger.average_price, price=price)


def _trip_cells(trip: Trip) -> tuple[str, ...]:
    exit_ = "" if trip.average_exit is None else _price(trip.average_exit)
    return (
        instant(trip.opened_at) or "",
        instant(trip.ended_at) or "",
        _price(trip.average_entry),
        exit_,
        money(trip.pnl),
        money(trip.fees),
        money(trip.net),
    )


def _price(value: Decimal) -> str:
    """An average, to ten digits."""
    with localcontext(MONEY) as context:
        context.prec = 10
        return plain(+value)
