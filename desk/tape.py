"""What a replay is fed: alerts from JSON lines or TradingView's alert log, candles from a file or made up.

Reads files and text; must never guess a price or a time that nobody gave, and made-up candles say so.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any

from trading.alert import parse_time
from trading.body import Body, decode
from trading.errors import AlertInvalid, DeskError
from trading.model import Candle, Route
from trading.rounding import need_positive

#: Alerts that carry no time at all are a second apart, from here on.
START = datetime(2026, 1, 1, tzinfo=UTC)
#: Most candles that are made up between two alerts of one instrument, and the shortest that they are.
MOST_BETWEEN, SHORTEST = 60, timedelta(minutes=1)
#: How far a made-up candle strays, as a share of the price, one step of chance.
STRAY = Decimal("0.0005")

_DIGITS = 8
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MESSAGE_COLUMNS = ("description", "message")
_CANDLE_COLUMNS = ("time", "open", "high", "low", "close")


#: Line number, what is told about an alert, and its text.
_Told = tuple[int, Mapping[str, Any], str]


class Unreadable(DeskError):
    """A file that a replay cannot be made from; says where and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One alert as it came; `line` is its place in the file, `body` what it says, without its passphrase, or
    None where that cannot be read, `status` what became of it then, where that is told."""

    line: int
    at: datetime
    raw: bytes = field(repr=False)
    body: Body | None
    route: Route = Route.ORDER
    status: str | None = None


def text_of(raw: bytes, name: str) -> str:
    """The text of a file: UTF-8, or the UTF-16 that Windows writes."""
    is_wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return raw.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Unreadable(f"{name}: line {line} is not UTF-8 text: save it as UTF-8") from None


def read_alerts(text: str) -> list[Heard]:
    """All alerts of a file, oldest first: JSON lines, the JSON of GET /api/alerts, or TradingView's log."""
    text = text.removeprefix("\ufeff")
    start = text.lstrip()
    if not start:
        raise Unreadable("there is nothing in it")
    if start.startswith(("{", "[")):
        heard = _timed(_rows(text))
    else:
        heard = _timed(_logged(text))
    if not heard:
        raise Unreadable("there is no alert in it")
    if len(heard) > 1 and heard[0].at > heard[-1].at:
        heard.reverse()  # newest first, as the API and the log have it: alerts of one second too
    return sorted(heard, key=lambda each: each.at)


def _rows(text: str) -> Iterator[_Told]:
    """Line number, what is told about an alert, and the alert."""
    whole = _json(text)
    listed = whole.get("alerts") if isinstance(whole, dict) else whole
    if isinstance(listed, list):
        for number, row in enumerate(listed, start=1):
            yield _stored(number, row) if _is_row(row) else (number, {}, json.dumps(row))
        return
    if whole is not None:  # one alert, on however many lines
        yield _stored(1, whole) if _is_row(whole) else (1, {}, text)
        return
    for number, line in enumerate(text.split("\n"), start=1):  # a text may hold other ends of lines
        if not line.strip():
            continue
        row = _json(line)  # the server reads more than JSON allows, and says what is wrong with the rest
        yield _stored(number, row) if _is_row(row) else (number, {}, line)


def _json(text: str) -> Any:
    """None for what is no JSON, or nested too deep for it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_row(row: object) -> bool:
    """Whether it is what the server tells about an alert, not the alert itself."""
    return isinstance(row, dict) and not {"body", "timeline", "sizing"}.isdisjoint(row)


def _stored(number: int, row: Any) -> _Told:
    body = row.get("body") if isinstance(row, dict) else None
    if isinstance(body, dict):
        if "subaccount" not in body and row.get("subaccount"):
            body = body | {"subaccount": row["subaccount"]}
        return number, row, json.dumps(body)
    if isinstance(body, str):
        return number, row, body
    raise Unreadable(
        f"line {number}: what is told about an alert, without its body: export with "
        "GET /api/alerts?format=jsonl"
    )


def _logged(text: str) -> Iterator[_Told]:
    """The rows of TradingView's log: Alert ID, Ticker, Name, Description, Time, Webhook status."""
    header, rows = _table(text)
    message = next((header.index(name) for name in _MESSAGE_COLUMNS if name in header), None)
    if message is None or "time" not in header:
        raise Unreadable(
            "line 1: neither JSON lines nor TradingView's alert log, whose first line names the columns "
            "Description and Time"
        )
    for number, row in rows:
        if len(row) <= max(message, header.index("time")):
            continue
        yield number, {"received_at": row[header.index("time")]}, row[message]


def _table(text: str) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The columns of a CSV, in small letters, and its rows with the lines on which they end; semicolons and
    tabs are good too, as spreadsheets save them."""
    first = text.lstrip().partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))

    def rows() -> Iterator[tuple[int, list[str]]]:
        try:
            for row in reader:
                yield reader.line_num, row
        except csv.Error as error:
            where = f"line {reader.line_num}"
            raise Unreadable(f"{where}: it is no CSV ({error}): is a quote not closed?") from None

    numbered = rows()
    _, header = next(numbered, (1, []))
    return [name.strip().casefold() for name in header], numbered


def _timed(rows: Iterable[_Told]) -> list[Heard]:
    heard: list[Heard] = []
    for number, row, text in rows:
        raw = text.encode("utf-8", "replace")
        try:
            body = decode(raw)
        except AlertInvalid:
            body = None  # the door says why
        told = row.get("received_at") or (body.fields.get("time") if body else None)
        at = parse_time(str(told).strip()) if told else None
        if at is None and row.get("received_at"):
            raise Unreadable(f"line {number}: {str(told)[:40]!r} is no time: ISO 8601 or Unix seconds")
        if at is None:
            at = heard[-1].at + timedelta(seconds=1) if heard else START
        route = Route.STUDY if row.get("route") == Route.STUDY else Route.ORDER
        status = row.get("status") if isinstance(row.get("status"), str) else None
        heard.append(Heard(line=number, at=at, raw=raw, body=body, route=route, status=status))
    return heard


# --- candles ------------------------------------------------------------------------------------------


def read_candles(text: str) -> list[Candle]:
    """Candles of a CSV with the columns time, open, high, low, close (volume), as TradingView exports them;
    oldest first."""
    header, rows = _table(text.removeprefix("\ufeff"))
    missing = [name for name in _CANDLE_COLUMNS if name not in header]
    if missing:
        raise Unreadable(f"candles: line 1 names no column {', '.join(missing)}")
    places = [header.index(name) for name in _CANDLE_COLUMNS]
    volume = header.index("volume") if "volume" in header else None
    candles = []
    for number, row in rows:
        if not row:
            continue
        try:
            opened_at = _opened_at(row[places[0]].strip())
            prices = [Decimal(row[place]) for place in places[1:]]
            traded = Decimal(row[volume] or 0) if volume is not None else Decimal(0)
            need_positive(open=prices[0], high=prices[1], low=prices[2], close=prices[3])
        except (InvalidOperation, IndexError, ValueError):
            raise Unreadable(f"candles: line {number}: not a time and four prices above 0") from None
        if opened_at is None:
            raise Unreadable(f"candles: line {number}: no time: ISO 8601 or Unix seconds")
        first, high, low, last = prices
        if high != max(prices) or low != min(prices):
            raise Unreadable(
                f"candles: line {number}: its high is not the highest, or its low not the lowest"
            )
        candles.append(Candle(opened_at=opened_at, open=first, high=high, low=low, close=last, volume=traded))
    if not candles:
        raise Unreadable("candles: there is none in it")
    return sorted(candles, key=lambda candle: candle.opened_at)


def _opened_at(text: str) -> datetime | None:
    """As `parse_time`; a day alone, which daily charts have, begins at midnight, UTC."""
    return parse_time(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)


def made_up(known: Sequence[tuple[datetime, Decimal]], seed: str) -> list[Candle]:
    """Candles that lead from each known price to the next and stray between them by chance: the same for
    the same `seed`, no market's."""
    chance = random.Random(seed)  # noqa: S311  # candles, not secrets
    candles = []
    for (begin, first), (end, last) in pairwise(known):
        steps = min(MOST_BETWEEN, (end - begin) // SHORTEST)
        if steps < 1:
            continue
        length, price = (end - begin) / steps, first
        for step in range(steps):
            rest = steps - step
            stray = price * STRAY * chance.randint(-10, 10) if rest > 1 else Decimal(0)
            close = _round(price + (last - price) / rest + stray)
            high, low = max(price, close), min(price, close)
            high = _round(high * (1 + STRAY * chance.randint(0, 4)))
            low = _round(low * (1 - STRAY * chance.randint(0, 4)))
            candles.append(
                Candle(
                    opened_at=begin + step * length,
                    open=price,
                    high=max(high, price, close),
                    low=min(low, price, close),
                    close=close,
                    volume=Decimal(0),
                )
            )
            price = close
    return candles


def path(candles: Sequence[Candle]) -> Iterator[tuple[datetime, Decimal]]:
    """The prices of the candles in order: each goes from its open first to the nearer of its extremes, as
    TradingView's broker emulator does; the last candle is as long as the one before it."""
    for number, candle in enumerate(candles):
        following = candles[number + 1].opened_at if number + 1 < len(candles) else None
        if following is None:
            before = candles[number - 1].opened_at if number else candle.opened_at - SHORTEST
            following = candle.opened_at + (candle.opened_at - before)
        quarter = (following - candle.opened_at) / 4
        up_first = candle.high - candle.open < candle.open - candle.low
        extremes = (candle.high, candle.low) if up_first else (candle.low, candle.high)
        for step, price in enumerate((candle.open, *extremes, candle.close)):
            yield candle.opened_at + step * quarter, price


def _round(price: Decimal) -> Decimal:
    """To eight digits, and never to 0."""
    return price.quantize(Decimal(1).scaleb(price.adjusted() - _DIGITS + 1))
