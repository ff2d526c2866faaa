"""What a request to the emulated FTX says: its parameters, read as strictly as the venue reads them.

An amount is a JSON number without an exponent; nothing is guessed or rounded here.
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

_NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)
_CLIENT_ID = re.compile(r"[A-Za-z0-9_-]{1,36}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MARGIN = "Account does not have enough margin for order."
REDUCE_ONLY = "Invalid reduce-only order"

#: What the venue says for each of the engine's refusals; a trigger's text depends on its side.
TEXTS: Mapping[Kind, str] = {
    Kind.NO_PRICE: "Try again",
    Kind.DUPLICATE: "Duplicate client order ID",
    Kind.PARAMETER: "Invalid parameter type",
    Kind.TICK: "Invalid price",
    Kind.LOT: "Invalid parameter size",
    Kind.MIN_QUANTITY: "Size too small",
    Kind.MAX_QUANTITY: "Size too large",
    Kind.REDUCE_ONLY: REDUCE_ONLY,
    Kind.MARGIN: MARGIN,
    Kind.NOT_FOUND: "Order not found",
    Kind.ENDED: "Order already closed",
    Kind.LEVERAGE: "Invalid parameter leverage",
}


class No(Exception):
    """The venue refuses with `text`; `status` None is the status of its business errors."""

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters of one request; null and absent are the same, except where `present` is asked."""

    values: Mapping[str, Any]
    of_query: bool = False

    def known(self, *names: str) -> None:
        """Refuses any other."""
        for name in self.values:
            if name not in names:
                raise _invalid(name)

    def present(self, name: str) -> None:
        """The key must be there, be it with null."""
        if name not in self.values:
            raise _missing(name)

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise _invalid(name)
        return value

    def need_text(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise _missing(name)
        return value

    def choice(self, name: str, *choices: str, default: str | None = None) -> str:
        value = self.text(name) if default is not None else self.need_text(name)
        value = default if value is None else value
        if value not in choices:
            raise _invalid(name)
        return value

    def number(self, name: str) -> Decimal | None:
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise _invalid(name)
        return Decimal(value)

    def need_number(self, name: str) -> Decimal:
        value = self.number(name)
        if value is None:
            raise _missing(name)
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Of a body, true or false; of a query, those words (or True and False, as Python writes them)."""
        value = self.values.get(name)
        if self.of_query and value in ("true", "True", "false", "False"):
            value = value in ("true", "True")
        if value is not None and not isinstance(value, bool):
            raise _invalid(name)
        return default if value is None else value

    def client_id(self, name: str = "clientId") -> str | None:
        value = self.text(name)
        if value is not None and not _CLIENT_ID.fullmatch(value):
            raise _invalid(name)
        return value

    def at(self, name: str) -> datetime | None:
        """Of a query: unix seconds, decimals allowed."""
        value = self.text(name)
        if value is None:
            return None
        # What is far beyond any date is most likely milliseconds, which this venue does not take.
        if not _NUMBER.fullmatch(value) or Decimal(value) > 10**11:
            raise _invalid(name)
        return _EPOCH + timedelta(microseconds=int(Decimal(value) * 1_000_000))

    def rows(self, *, default: int, most: int) -> int:
        """Of a query, `limit`: more than there may be is cut, without a word."""
        value = self.text("limit")
        if value is None:
            return default
        if not value.isascii() or not value.isdigit() or not int(value):
            raise _invalid("limit")
        return min(int(value), most)


def asked(request: Request) -> Asked:
    """The query of a GET, the JSON body of anything else (whose query says nothing)."""
    if request.method == "GET":
        return Asked(request.query, of_query=True)
    if not request.body:
        return Asked({})
    if request.headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
        return Asked({})  # the venue does not read it
    try:
        body = json.loads(request.body, parse_float=_exact, parse_constant=str)
    except ValueError:
        raise No("Invalid JSON") from None
    if not isinstance(body, dict):
        raise No("Invalid JSON")
    return Asked(body)


def seconds(at: datetime) -> Decimal:
    return Decimal((at - _EPOCH) // timedelta(microseconds=1)) / 1_000_000


def milliseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(milliseconds=1)


def _exact(text: str) -> Decimal | str:
    """A number with an exponent stays a text, which no amount may be."""
    return text if "e" in text.lower() else Decimal(text)


def _invalid(name: str) -> No:
    return No(f"Invalid parameter {name}")


def _missing(name: str) -> No:
    return No(f"Missing parameter {name}")
