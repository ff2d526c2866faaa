"""What requests and answers are made of: amounts, times, bars, and orders that carry no id of ours.

Shared by the venues' files. It must never read a number that is none, or take an order for ours that was
not sent so and then.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from exchanges._catalogue import Listing
from exchanges._http import Request, plain_number
from trading.errors import Ambiguous
from trading.model import ZERO, Candle, Order, OrderReport, OrderType
from trading.rounding import ceil_to

log = logging.getLogger(__name__)

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
_UNITS = {"S": 1, "": 60, "H": 3600, "D": 86400, "W": 7 * 86400}


def understood(venue: str, request: Request, read: Callable[[], T]) -> T:
    """What `read` finds in an answer; one that is not as the venue's pages have it proves nothing."""
    try:
        return read()
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        # Of the error's own text only a key is ours; the rest may be anything that a stranger says.
        what = f"no {error}" if isinstance(error, KeyError) else type(error).__name__
        raise Ambiguous(venue, request.endpoint, f"an answer that cannot be read: {what}") from None


def amount(value: Any) -> Decimal:
    """A JSON number as it stands."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise TypeError(f"{type(value).__name__} is no amount")
    return Decimal(value)


def above_zero(value: Decimal) -> Decimal:
    """A price or a quantity; zero is none of either."""
    if value <= 0:
        raise ValueError("zero or less")
    return value


def readable(rows: Iterable[Any], read: Callable[[Any], Listing | None]) -> list[Listing]:
    """What can be read of a list of instruments: an odd row takes itself away, and not the others.

    None is what the house does not trade. A list of which nothing can be read is none.
    """
    found, odd = [], 0
    for row in rows:
        try:
            listing = read(row)
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
            odd += 1
            continue
        if listing is not None:
            found.append(listing)
    if odd:
        log.warning("%d rows of a list of instruments cannot be read", odd)
    if not found:
        raise ValueError("no instrument is in it")
    return found


def maybe(value: Any) -> Decimal | None:
    """The same, or nothing for null."""
    return None if value is None else amount(value)


def json_of(params: Iterable[tuple[str, Any]]) -> bytes:
    """One JSON object; a Decimal becomes a number of exactly its digits.

    >>> json_of((("name", "a"), ("size", Decimal("1E-2")), ("price", None), ("on", False)))
    b'{"name": "a", "size": 0.01, "price": null, "on": false}'
    """
    spelt = ((name, plain_number(v) if isinstance(v, Decimal) else json.dumps(v)) for name, v in params)
    return ("{" + ", ".join(f'"{name}": {value}' for name, value in spelt) + "}").encode()


def milliseconds(at: datetime) -> int:
    """Since 1970, begun ones not counted."""
    return (at - EPOCH) // timedelta(milliseconds=1)


def seconds(at: datetime) -> str:
    """Since 1970, with decimals.

    >>> seconds(EPOCH + timedelta(seconds=61, milliseconds=5))
    '61.005000'
    """
    whole, rest = divmod(at - EPOCH, timedelta(seconds=1))
    return f"{whole}.{rest.microseconds:06d}"


def moment(text: Any) -> datetime:
    """An ISO 8601 time, which must name its offset."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("a time without its offset")
    return at.astimezone(UTC)


def length_of(interval: str) -> timedelta | None:
    """How long a bar of TradingView's `interval` is; None for months and what is no interval.

    >>> length_of("240") == length_of("4H"), str(length_of("W")), length_of("M")
    (True, '7 days, 0:00:00', None)
    >>> length_of("99999999999999D")
    """
    spelt = re.fullmatch(r"([0-9]{0,5})([SHDW]?)", interval)
    length = timedelta(seconds=int(spelt[1] or 1) * _UNITS[spelt[2]]) if spelt and interval else None
    return length or None


def joined(candles: Iterable[Candle], step: timedelta) -> tuple[Candle, ...]:
    """Bars of `step` out of shorter ones or of such, oldest first; weeks begin on Monday.

    >>> at, one = EPOCH + timedelta(minutes=45), Decimal(1)
    >>> bar = Candle(opened_at=at, open=one, high=one, low=one, close=one, volume=one)
    >>> later = replace(bar, opened_at=at - timedelta(minutes=15), low=ZERO)
    >>> [(str(bar.opened_at.time()), str(bar.low), str(bar.volume))
    ...     for bar in joined([bar, later], timedelta(minutes=30))]
    [('00:30:00', '0', '2')]
    """
    bars: dict[datetime, Candle] = {}
    for bar in sorted(candles, key=lambda candle: candle.opened_at):
        opened_at = bar.opened_at - (bar.opened_at - _MONDAY) % step
        first = bars.get(opened_at, replace(bar, opened_at=opened_at, volume=ZERO))
        bars[opened_at] = replace(
            first,
            high=max(first.high, bar.high),
            low=min(first.low, bar.low),
            close=bar.close,
            volume=first.volume + bar.volume,
        )
    return tuple(bars.values())


def as_sent(order: Order, listing: Listing) -> Order:
    """What only reduces is rounded up to the lot: the venue trims it, and no rest of the position stays."""
    if not order.reduce_only and order.type is not OrderType.STOP:
        return order
    quantity = ceil_to(value=order.quantity, step=listing.instrument.lot_size)
    return replace(order, quantity=quantity, reduce_only=True)


def recognised(
    ours: Sequence[Order], seen: Sequence[tuple[OrderReport, datetime]], *, tolerance: timedelta
) -> Mapping[str, str]:
    """Our ids by the venue's, for orders that the venue keeps no id of ours with.

    `ours` as they were sent, `seen` with the time when the venue took them. The venue's id counts where
    it is known. Else it is an order that is like ours and no older, the nearest in time: one for each, and
    the last sent chooses first, since fewest are no older than it.
    """
    left = {report.venue_order_id: (report, at) for report, at in seen}
    found = {o.venue_order_id: o.client_order_id for o in ours if o.venue_order_id in left}
    for number in found:
        del left[number]
    waiting = [(o.signed_at, o) for o in ours if o.venue_order_id is None and o.signed_at is not None]
    for signed_at, order in sorted(waiting, key=lambda each: each[0], reverse=True):
        alike = [
            (abs(at - signed_at), number)
            for number, (report, at) in left.items()
            if at >= signed_at - tolerance and _sent(order) == _sent(report)
        ]
        if alike:
            number = min(alike)[1]
            found[number] = order.client_order_id
            del left[number]
    return found


def _sent(order: Order | OrderReport) -> tuple[object, ...]:
    return (order.side, order.type, order.quantity, order.price, order.trigger_price, order.reduce_only)
