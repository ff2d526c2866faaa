"""What a request to the emulated Bybit says: its parameters, read as strictly as the venue reads them.

An amount is a text without sign and exponent; nothing is guessed or rounded here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.emulator.nouns import Kind
from tests.emulator.wire import Request

PARAMETER, NOT_FOUND, REDUCE_ONLY, NOT_MODIFIED = 10001, 110001, 110017, 34040
BAD_MODE = "position idx not match position mode"
NO_POSITION = "can not set tp/sl/ts for zero position"
QTY, PRICE = "Qty invalid", "price invalid"
FLAT = "current position is zero, cannot fix reduce-only order qty"

_NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)
_LINK_ID = re.compile(r"[A-Za-z0-9_-]{1,36}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WEEK = timedelta(days=7)

#: What the venue says for each of the engine's refusals, where an act does not say it better.
REFUSALS: Mapping[Kind, tuple[int, str]] = {
    Kind.UNKNOWN_SYMBOL: (PARAMETER, "params error: symbol invalid"),
    Kind.NO_PRICE: (10016, "Server error"),
    Kind.HEDGE_MODE: (PARAMETER, BAD_MODE),
    Kind.DUPLICATE: (110072, "OrderLinkedID is duplicate"),
    Kind.PARAMETER: (PARAMETER, "Request parameter error"),
    Kind.TICK: (PARAMETER, PRICE),
    Kind.LOT: (PARAMETER, QTY),
    Kind.MIN_QUANTITY: (PARAMETER, QTY),
    Kind.MAX_QUANTITY: (PARAMETER, QTY),
    Kind.MIN_NOTIONAL: (110094, "Order does not meet minimum order value 5USDT"),
    Kind.REDUCE_ONLY: (REDUCE_ONLY, FLAT),
    Kind.MARGIN: (110007, "ab not enough for new order"),
    Kind.STOP_SIDE: (PARAMETER, "StopLoss set on the wrong side"),
    Kind.TOO_MANY: (110009, "The number of stop orders exceeds the maximum allowable limit"),
    Kind.NO_POSITION: (PARAMETER, NO_POSITION),
    Kind.NOT_MODIFIED: (NOT_MODIFIED, "not modified"),
    Kind.NOT_FOUND: (NOT_FOUND, "order not exists or too late to cancel"),
    Kind.ENDED: (NOT_FOUND, "order not exists or too late to cancel"),
    Kind.LEVERAGE: (PARAMETER, "leverage invalid"),
    Kind.POSITION_OPEN: (110024, "You have an existing position, so the position mode cannot be switched"),
    Kind.ORDERS_OPEN: (110028, "You have existing orders, so the position mode cannot be switched"),
}


class No(Exception):
    """A refusal: HTTP 200 with a code and a text, and what `result` holds."""

    def __init__(self, code: int, text: str, result: Any = None) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.result = {} if result is None else result


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters of one request; "" and absent are the same, of a body null as well."""

    values: Mapping[str, Any]
    of_query: bool = False

    def known(self, *names: str) -> None:
        """Refuses any other."""
        for name in self.values:
            if name not in names:
                raise invalid(name)

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise invalid(name)
        return value or None

    def need_text(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise invalid(name)
        return value

    def choice(self, name: str, *choices: str, default: str | None = None) -> str:
        value = self.text(name) if default is not None else self.need_text(name)
        value = default if value is None else value
        if value not in choices:
            raise invalid(name)
        return value

    def amount(self, name: str, wrong: str = "") -> Decimal | None:
        """A price or a quantity: a text of digits. `wrong` is said of any other."""
        value = self.values.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str) or not _NUMBER.fullmatch(value):
            raise No(PARAMETER, wrong) if wrong else invalid(name)
        return Decimal(value)

    def need_amount(self, name: str, wrong: str = "") -> Decimal:
        value = self.amount(name, wrong)
        if value is None:
            raise No(PARAMETER, wrong) if wrong else invalid(name)
        return value

    def whole(self, name: str, *choices: int) -> int | None:
        """Of a body, a JSON integer; of a query, its digits."""
        value = self.values.get(name)
        if value is None or (self.of_query and value == ""):
            return None
        if self.of_query and value.isascii() and value.isdigit():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or (choices and value not in choices):
            raise invalid(name)
        return value

    def flag(self, name: str) -> bool:
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            raise invalid(name)
        return bool(value)

    def link_id(self, name: str = "orderLinkId") -> str | None:
        value = self.text(name)
        if value is not None and not _LINK_ID.fullmatch(value):
            raise invalid(name)
        return value

    def rows(self, *, default: int, most: int) -> int:
        """Of a query, `limit`: what is out of bounds is refused."""
        value = self.whole("limit")
        if value is None:
            return default
        if not 1 <= value <= most:
            raise invalid("limit")
        return value

    def at(self, name: str) -> datetime | None:
        """Of a query: milliseconds."""
        value = self.whole(name)
        if value is None:
            return None
        if not 10**12 <= value < 10**13:  # seconds, most likely
            raise invalid(name)
        return _EPOCH + timedelta(milliseconds=value)

    def week(self, now: datetime) -> tuple[datetime, datetime]:
        """`startTime` and `endTime`, seven days at most; unsaid, the last seven."""
        start, end = self.at("startTime"), self.at("endTime")
        if start is None:
            end = end or now
            start = end - _WEEK
        end = end or start + _WEEK
        if end < start or end - start > _WEEK:
            raise No(PARAMETER, "The time range between startTime and endTime cannot exceed 7 days")
        return start, end


def of_query(request: Request) -> Asked:
    return Asked(request.query, of_query=True)


def of_body(request: Request) -> Asked:
    if request.headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
        raise No(PARAMETER, "Request parameter error: not application/json")
    try:
        body = json.loads(request.body, parse_float=Decimal, parse_constant=_no_constant)
    except ValueError:
        raise No(PARAMETER, "Request parameter error: no JSON") from None
    if not isinstance(body, dict):
        raise No(PARAMETER, "Request parameter error: no JSON object")
    return Asked(body)


def invalid(name: str) -> No:
    return No(PARAMETER, f"params error: {name} invalid")


def milliseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(milliseconds=1)


def _no_constant(text: str) -> Any:
    raise ValueError(text)
