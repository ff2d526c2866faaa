"""What Binance USDⓈ-M says and how it reads: refusals with code and text, parameters, amounts as text.

It must never take a number that the venue would not take.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tests.emulator.nouns import Kind
from trading.model import ZERO, plain

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_AMOUNT = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
_WHOLE = r"^[0-9]{1,20}$"
_CLIENT_ID = r"^[\.A-Z\:/a-z0-9_-]{1,36}$"
_OF_SIGNING = ("timestamp", "recvWindow", "signature")


class Wrong(Exception):
    """An error answer: `code`, `text`, and its HTTP status."""

    def __init__(self, code: int, text: str = "", status: int = 400) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text or TEXTS[code]
        self.status = status


TEXTS = {
    -1003: "Too many requests; current limit is 2400 requests per minute. "
    "Please use the websocket for live updates to avoid polling the API.",
    -1021: "Timestamp for this request is outside of the recvWindow.",
    -1022: "Signature for this request is not valid.",
    -1115: "Invalid timeInForce.",
    -1116: "Invalid orderType.",
    -1117: "Invalid side.",
    -1120: "Invalid interval.",
    -1121: "Invalid symbol.",
    -1111: "Precision is over the maximum defined for this asset.",
    -2011: "Unknown order sent.",
    -2013: "Order does not exist.",
    -2014: "API-key format invalid.",
    -2015: "Invalid API-key, IP, or permissions for action.",
    -2019: "Margin is insufficient.",
    -2021: "Order would immediately trigger.",
    -2022: "ReduceOnly Order is rejected.",
    -2025: "Reach max open order limit.",
    -2027: "Exceeded the maximum allowable position at current leverage.",
    -2028: "Leverage is smaller than permitted: insufficient margin balance.",
    -4003: "Quantity less than or equal to zero.",
    -4004: "Quantity less than min quantity.",
    -4005: "Quantity greater than max quantity.",
    -4006: "Stop price less than or equal to zero.",
    -4013: "Price less than min price.",
    -4002: "Price greater than max price.",
    -4014: "Price not increased by tick size.",
    -4015: "Client order id is not valid.",
    -4023: "Qty not increased by step size.",
    -4045: "Reach max stop order limit.",
    -4046: "No need to change margin type.",
    -4047: "Margin type cannot be changed if there exists open orders.",
    -4048: "Margin type cannot be changed if there exists position.",
    -4059: "No need to change position side.",
    -4061: "Order's position side does not match user's setting.",
    -4067: "Position side cannot be changed if there exists open orders.",
    -4068: "Position side cannot be changed if there exists position.",
    -4116: "ClientOrderId is duplicated.",
    -4118: "ReduceOnly Order Failed. Please check your existing position and open orders.",
    -4120: "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead.",
    -4130: "An open stop or take profit order with GTE and closePosition in the direction is existing.",
    -4136: "Target strategy invalid for orderType and closePosition.",
    -4137: "Quantity must be zero with closePosition equals true.",
    -4140: "Invalid symbol status for opening position.",
    -4141: "Symbol is closed.",
    -4142: "REJECT: take profit or stop order will be triggered immediately.",
    -4161: "Leverage reduction is not supported in Isolated Margin Mode with open positions.",
    -4165: "Maximum time interval is 7 days.",
    -4509: "Time in Force (TIF) GTE can only be used with open positions. "
    "Please ensure that positions are available.",
    -5021: "Due to the order could not be filled immediately, the FOK order has been rejected. "
    "The order will not be recorded in the order history.",
    -5022: "Due to the order could not be executed as maker, the Post Only order will be rejected. "
    "The order will not be recorded in the order history.",
    -5027: "No need to modify the order.",
    -5047: "The original order is not a reduce-only order.",
}

#: What the engine refuses; all that it could find in an order is looked for before it is asked.
CODES = {
    Kind.UNKNOWN_SYMBOL: -1121,
    Kind.HEDGE_MODE: -4061,
    Kind.DUPLICATE: -4116,
    Kind.TICK: -4014,
    Kind.LOT: -4023,
    Kind.MIN_QUANTITY: -4004,
    Kind.MAX_QUANTITY: -4005,
    Kind.REDUCE_ONLY: -2022,
    Kind.MARGIN: -2019,
    Kind.CLOSE_EXISTS: -4130,
    Kind.TOO_MANY: -4045,
    Kind.NO_POSITION: -4509,
    Kind.NOT_FOUND: -2011,
    Kind.ENDED: -2011,
    Kind.NOT_MODIFIED: -5027,
}


class Params:
    """The parameters of one request. Whatever is missing or misshapen raises Wrong."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = dict(given)

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def check(self, allowed: Iterable[str], *, signed: bool, strict: bool) -> None:
        """Nothing is empty, and (`strict`) nothing is there that nobody reads."""
        known = set(allowed) | set(_OF_SIGNING if signed else ())
        read = [name for name in self._given if name in known]
        if strict and len(read) != len(self._given):
            raise Wrong(
                -1104,
                f"Not all sent parameters were read; read '{len(read)}' parameter(s) "
                f"but was sent '{len(self._given)}'.",
            )
        for name, value in self._given.items():
            if not value:
                raise Wrong(-1105, f"Parameter '{name}' was empty.")

    def text(self, name: str) -> str:
        if not self._given.get(name):
            raise missing(name)
        return self._given[name]

    def choice(self, name: str, allowed: Iterable[str], code: int, default: str | None = None) -> str:
        value = self._given.get(name, default)
        if value is None:
            raise missing(name)
        if value not in allowed:
            text = TEXTS.get(code) or f"Data sent for parameter '{name}' is not valid."
            raise Wrong(code, text)
        return value

    def flag(self, name: str) -> bool:
        """ "true" or "false", nothing else; absent is false."""
        return self.choice(name, ("true", "false"), -1130, "false") == "true"

    def amount(self, name: str) -> Decimal | None:
        """Plain digits: no sign, no exponent."""
        return Decimal(self._shaped(name, _AMOUNT)) if name in self else None

    def whole(self, name: str, default: int | None = None) -> int | None:
        if name not in self:
            return default
        if not re.fullmatch(_WHOLE, self._given[name]):
            raise missing(name)
        return int(self._given[name])

    def limit(self, default: int, most: int) -> int:
        limit = self.whole("limit", default)
        if not limit or limit > most:
            raise Wrong(-1130, "Data sent for parameter 'limit' is not valid.")
        return limit

    def client_id(self, name: str) -> str | None:
        if name not in self:
            return None
        if len(self._given[name]) > 36:
            raise Wrong(-4015)
        return self._shaped(name, _CLIENT_ID)

    def forbid(self, *names: str) -> None:
        for name in names:
            if name in self:
                raise Wrong(-1106, f"Parameter '{name.lower()}' sent when not required.")

    def _shaped(self, name: str, pattern: str) -> str:
        value = self.text(name)
        if not re.fullmatch(pattern, value):
            raise Wrong(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{pattern}'.")
        return value


def missing(name: str) -> Wrong:
    return Wrong(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def done() -> dict[str, object]:
    return {"code": 200, "msg": "success"}


def ms(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


def from_ms(value: int) -> datetime:
    """Far-off values are brought to what a datetime can hold."""
    return EPOCH + timedelta(milliseconds=min(value, 200_000_000_000_000))


def stepped(value: Decimal | None, step: Decimal) -> str:
    """As many decimals as the step has; nothing is "0"."""
    return format(value.quantize(step), "f") if value else "0"


def money(value: Decimal) -> str:
    return f"{value + ZERO:.8f}"


def decimals(value: Decimal) -> int:
    """How many decimals it needs."""
    return len(plain(value).partition(".")[2])
