"""How the pages write amounts, times and files.

Amounts stay decimals, and times are told in UTC: the browser turns them to the viewer's zone. Never guesses a
unit.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path

from markupsafe import Markup, escape

from desk.intake import is_paper as is_paper

_STATIC = Path(__file__).with_name("static")
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_NOTHING = "–"
_DIGITS = 10
_WORDS = {
    "RECEIVED": "received",
    "AWAITING_APPROVAL": "waits for you",
    "APPROVED": "approved",
    "EXECUTING": "executing",
    "DONE": "done",
    "DENIED": "denied",
    "DECLINED": "declined",
    "EXPIRED": "expired",
    "FAILED": "failed",
    "IGNORED": "ignored",
}


def money(value: str | Decimal | None, *, sign: bool = False) -> str:
    """Two digits after the point, thousands apart; a plus where `sign` is asked for."""
    if value is None:
        return _NOTHING
    amount = round(Decimal(value), 2) or Decimal("0.00")  # not -0.00
    return f"{amount:+,.2f}" if sign and amount else f"{amount:,.2f}"


def number(value: str | Decimal | None) -> str:
    """Thousands apart, ten digits that count: an average has as many as one likes.

    >>> number("42000.123456789012345678"), number("0.000012345"), number("123456789012"), number("1E+3")
    ('42,000.12346', '0.000012345', '123,456,789,012', '1,000')
    """
    if value is None:
        return _NOTHING
    amount = Decimal(value)
    digits = max(_DIGITS - 1 - amount.adjusted(), 0)
    text = f"{round(amount, digits) if -int(amount.as_tuple().exponent) > digits else amount:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def share(value: Decimal | None) -> str:
    """A share as percent."""
    return _NOTHING if value is None else f"{value * 100:.0f} %"


def tone(value: str | Decimal | None) -> str:
    """The class of a gain or a loss."""
    amount = Decimal(value or 0)
    return "up" if amount > 0 else "down" if amount < 0 else ""


def ladder(
    entry: str | None, stop: str | None, targets: Sequence[Mapping[str, str | None]]
) -> list[dict[str, str | None]]:
    """Levels as they lie on a chart: the highest first. A row has its role, price and what else is known."""
    rows: list[dict[str, str | None]] = [{"role": "target", **each} for each in targets]
    rows += [{"role": role, "price": price} for role, price in (("entry", entry), ("stop", stop)) if price]
    return sorted(rows, key=lambda row: Decimal(row["price"] or 0), reverse=True)


def seconds(value: float | None) -> str:
    """A duration, given in seconds."""
    if value is None:
        return _NOTHING
    if abs(value) < 1:
        return f"{value * 1000:.0f} ms"
    if abs(value) < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.0f} min" if abs(value) < 7200 else f"{value / 3600:.1f} h"


def when(at: str | None, *, style: str = "time") -> Markup:
    """A moment, told as ISO-8601 in UTC; `style` is time, date or both, in the viewer's zone later on."""
    if at is None:
        return Markup(_NOTHING)  # noqa: S704  # a constant of this file
    words = {"time": at[11:19], "date": at[:10]}.get(style, f"{at[:10]} {at[11:19]}")
    return Markup('<time datetime="{}" data-style="{}">{}</time>').format(at, style, words)


def status(value: str) -> Markup:
    """A status as a badge."""
    return Markup('<span class="badge" data-status="{}">{}</span>').format(
        value, _WORDS.get(value, escape(value.lower().replace("_", " ")))
    )


@dataclass(frozen=True, slots=True)
class File:
    """A file of the pages, as it goes over the wire: `packed` is the same, gzipped."""

    content: bytes
    packed: bytes
    kind: str
    version: str


@cache
def file(name: str) -> File | None:
    """A file of the pages, by its name below /static/; None if there is none."""
    path = _names().get(name)
    if path is None:
        return None
    content = path.read_bytes()
    kind = _KINDS.get(path.suffix, "text/plain; charset=utf-8")
    return File(content, gzip.compress(content, mtime=0), kind, hashlib.sha256(content).hexdigest()[:12])


def pack() -> None:
    """Reads every file of the pages."""
    for name in _names():
        file(name)


def asset(name: str) -> str:
    """The address of a file, with its version. ValueError if there is none."""
    found = file(name)
    if found is None:
        raise ValueError(f"no such file: {name}")
    return f"/static/{name}?v={found.version}"


@cache
def _names() -> Mapping[str, Path]:
    return {path.relative_to(_STATIC).as_posix(): path for path in _STATIC.rglob("*") if path.is_file()}
