"""LIMITS_NAME: JSON -> Limits, strictly: what is misspelt would else be a limit that nobody keeps.

Reads no environment, and applies no limit: that is trading.policy's.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import fields
from decimal import Decimal
from typing import Any

from trading.errors import SettingsError
from trading.model import Limits

#: A number as people write it: ASCII digits, no exponent, and never so many that it grows expensive.
DECIMAL = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")

_KNOWN = tuple(each.name for each in fields(Limits))
_WHOLE = frozenset({"max_open_positions", "max_orders_per_minute", "cooldown_s"})


def parse_limits(variable: str, text: str | None) -> Limits:
    """The limits that `text` sets; none at all for None. SettingsError names `variable` and the mend."""
    if text is None:
        return Limits()
    try:
        given = json.loads(
            text,
            object_pairs_hook=_without_repeats,
            parse_float=_number,
            parse_int=_number,
            parse_constant=_number,
        )
    except (ValueError, RecursionError) as error:
        raise SettingsError(variable, f"is not good JSON: {error}") from None
    if not isinstance(given, dict):
        raise SettingsError(variable, 'is not a JSON object, such as {"max_notional": 5000}')
    return Limits(**{name: _limit(variable, name, value) for name, value in given.items()})


def shown(value: str) -> str:
    """A wrong value, cut short: it may be a secret in the wrong place."""
    return repr(value if len(value) <= 12 else f"{value[:6]}…")


def _limit(variable: str, name: str, value: object) -> Any:
    """One limit in its type; null means that it is not set."""
    if name not in _KNOWN:
        near = difflib.get_close_matches(name, _KNOWN, n=1, cutoff=0.5)
        mend = f"did you mean {near[0]}?" if near else f"known are {', '.join(_KNOWN)}"
        raise SettingsError(variable, f"there is no limit {name[:40]!r}; {mend}")
    if value is None:
        return None
    if name == "symbols":
        return _symbols(variable, value)
    if not isinstance(value, Decimal) or (name in _WHOLE and value != value.to_integral_value()):
        raise SettingsError(
            variable, f"{name} is a {'whole ' if name in _WHOLE else ''}number without quotes"
        )
    if value == 0 and name != "cooldown_s":
        raise SettingsError(variable, f"{name} is 0: leave it out where nothing is to be limited")
    return int(value) if name in _WHOLE else value


def _symbols(variable: str, value: object) -> tuple[str, ...]:
    names = value if isinstance(value, list) else []
    if not names or not all(isinstance(each, str) and each.strip() for each in names):
        raise SettingsError(variable, 'symbols is a list of names, such as ["BTC-USDT-PERP"]')
    return tuple(each.strip().upper() for each in names)


def _number(literal: str) -> Decimal:
    if not DECIMAL.fullmatch(literal):
        raise ValueError(f"{shown(literal)} is not a plain number, such as 5000 or 0.5")
    return Decimal(literal)


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands in it twice")
    return found
