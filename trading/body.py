"""The raw body of an alert to flat, checked, canonical fields.

Must never compute a number, descend into nested values, keep the passphrase, or raise anything but
AlertInvalid; every step is linear in the length of the body.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from trading.errors import AlertInvalid

MAX_KEYS = 100
MAX_DEPTH = 8
MASK = "***"

# The keys as alertmodel.txt spells them; `tpN Mult` aside.
KEYS = (
    *("ticker", "exchange", "time", "action", "price", "message", "type", "subaccount", "passphrase"),
    *("chart_url", "long SL", "long TP", "long Breakeven", "short SL", "short TP", "short Breakeven"),
    *("tp Close", "id", "size", "interval", "market_position", "prev_market_position"),
    *("prev_market_position_size", "contracts"),
)

# How TradingView, Pine and people write that there is no value.
NOTHING = frozenset({"", "nan", "na", "n/a", "null", "none"}) | {
    sign + word for sign in ("", "-", "+") for word in ("infinity", "inf")
}

PLACEHOLDER = re.compile(r"\{\{(.{0,80}?)\}\}", re.DOTALL)

_SPACE = " \t\r\n"
_TOKEN = re.compile(
    rf'(?P<string>"(?:[^"\\]++|\\.)*+"?)'
    rf"|(?P<word>[^{_SPACE}\"{{}}\[\],:]++)"
    rf"|(?P<empty>:(?=[{_SPACE}]*+[,}}]))"
    r"|(?P<other>[{}\[\]:,])",
    re.DOTALL,
)
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_KEY_BEFORE = re.compile(r'"([^"]{1,40})"\s*:\s*\Z')
_UNCLEAN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_RUNG = re.compile(r"tp([0-9]{1,3})mult")
_SHORT_SECRET = 8  # a shorter passphrase is too likely to be part of an honest value to be masked there

# What TradingView puts in as bare text, so that it wants quotes around it; and where it is used.
_WORDS = {
    "ticker": "ticker",
    "exchange": "exchange",
    "interval": "interval",
    "time": "timenow",
    "action": "strategy.order.action",
    "message": "strategy.order.alert_message",
    "market_position": "strategy.market_position",
    "prev_market_position": "strategy.prev_market_position",
}
_WORD_PLACEHOLDERS = frozenset(_WORDS.values()) | {
    *("time", "strategy.order.id", "strategy.order.comment", "syminfo.currency", "syminfo.basecurrency"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A decoded alert: `fields` has canonical keys and no passphrase; numbers are their literal text.

    `text` is the canonical JSON of `fields`, `fingerprint` its SHA-256 in hex.
    """

    passphrase: str | None = field(repr=False)
    fields: Mapping[str, str | bool | None]
    text: str
    fingerprint: str


class _Object(list[tuple[str, "str | bool | list[object] | None"]]):
    """A JSON object as it was written: a repeated key is still there twice."""


class _Literal(str):
    """A number as it was written."""


def decode(raw: bytes) -> Body:
    """The fields of a body; AlertInvalid 400 if it is no flat-looking JSON object, else 422 with the key."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise AlertInvalid("the body is not UTF-8 text", code=400) from None
    pairs = _load(text)
    if len(pairs) > MAX_KEYS:
        raise AlertInvalid(f"more than {MAX_KEYS} keys", code=400)
    passphrase, fields = _fields(pairs)
    canonical_text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return Body(
        passphrase=passphrase,
        fields=MappingProxyType(fields),
        text=canonical_text,
        fingerprint=hashlib.sha256(canonical_text.encode()).hexdigest(),
    )


def canonical(key: str) -> str | None:
    """alertmodel.txt's spelling of a key in any case and spacing; None for a key that it does not have."""
    folded = _folded(key)
    rung = _RUNG.fullmatch(folded)
    return f"tp{int(rung[1])} Mult" if rung else _CANONICAL.get(folded)


def shown(text: str, limit: int = 40) -> str:
    """Foreign text for a reason: short, printable, on one line."""
    return ascii(text if len(text) <= limit else text[:limit] + "...")


def _folded(key: str) -> str:
    """What two spellings of one key have in common."""
    kept = "".join(char for char in unicodedata.normalize("NFKC", key).casefold() if char.isalnum())
    return kept or key


_CANONICAL = {_folded(key): key for key in KEYS}


def _load(text: str) -> _Object:
    if not text.strip():
        raise AlertInvalid("the body is empty", code=400)
    tolerated = _tolerate(text)
    try:
        loaded = json.loads(
            tolerated, strict=False, object_pairs_hook=_Object, parse_int=_Literal, parse_float=_Literal
        )
    except json.JSONDecodeError as error:
        reason = _why_not_json(text) or f"the body is not JSON: {error.msg}, line {error.lineno}"
        raise AlertInvalid(reason, code=400) from None
    if not isinstance(loaded, _Object):
        raise AlertInvalid('the body is JSON but no object: expected {"ticker": ...}', code=400)
    return loaded


def _tolerate(text: str) -> str:
    """Valid JSON out of NaN, na, Infinity and empty values; strings stay as they are."""
    depth = 0

    def mend(token: re.Match[str]) -> str:
        nonlocal depth
        found = token[0]
        if token.lastgroup == "word":
            return "null" if found.casefold() in NOTHING else found
        if token.lastgroup == "empty":
            return ": null"
        depth += (found in "{[") - (found in "}]") if token.lastgroup == "other" else 0
        if depth > MAX_DEPTH:
            raise AlertInvalid("nested too deep: an alert is one flat JSON object", code=400)
        return found

    return _TOKEN.sub(mend, text)


def _why_not_json(text: str) -> str | None:
    """What a person must change in the alert's message, where that can be told."""
    placeholder = PLACEHOLDER.search(text)
    if placeholder:
        name = placeholder[1].strip()
        if name not in _WORD_PLACEHOLDERS or text[: placeholder.start()].endswith('"'):
            return _unfilled(placeholder[0])
        before = _KEY_BEFORE.search(text[: placeholder.start()][-80:])
        key = before[1] if before else name
        return f'{placeholder[0]} wants quotes around it: "{key}": "{placeholder[0]}"'
    bare = _unquoted(text)
    if bare is None:
        return None
    known = canonical(bare)
    if known not in _WORDS:
        return f"the value of {shown(known or bare)} is neither a number nor text in quotes"
    example = "{{" + _WORDS[known] + "}}"
    return f'the value of "{known}" wants quotes around it: "{known}": "{example}"'


def _unquoted(text: str) -> str | None:
    """The first key whose value is a bare word, such as BTCUSDT."""
    key = before = ""
    for token in _TOKEN.finditer(text):
        found = token[0]
        if token.lastgroup == "string":
            key = found.strip('"') if before != ":" else key
        elif before == ":" and token.lastgroup == "word" and not _is_value(found):
            return key
        before = found
    return None


def _is_value(word: str) -> bool:
    return word.casefold() in NOTHING | {"true", "false"} or bool(_NUMBER.fullmatch(word))


def _unfilled(placeholder: str) -> str:
    return (
        f"TradingView did not fill in {shown(placeholder, 90)[1:-1]}: check its spelling, and that this "
        "kind of alert has it (the title of a plot is case-sensitive)"
    )


def _fields(pairs: _Object) -> tuple[str | None, dict[str, str | bool | None]]:
    """The passphrase and the other fields, every key once, every value flat and clean."""
    seen: set[str] = set()
    given: object = None
    fields: dict[str, str | bool | None] = {}
    for raw_key, value in pairs:
        known = canonical(raw_key)
        name = known or shown(raw_key)[1:-1]
        folded = known or _folded(raw_key)
        if folded in seen:
            raise AlertInvalid("the key is there twice", field=name)
        seen.add(folded)
        if isinstance(value, list):
            raise AlertInvalid("a nested value: an alert is one flat JSON object", field=name)
        if known == "passphrase":
            given = value
            continue
        fields[known or raw_key.strip()] = _clean(raw_key, value, name)
    usable = isinstance(given, str) and not isinstance(given, _Literal) and not _UNCLEAN.search(given)
    if isinstance(given, str) and len(given) >= _SHORT_SECRET:
        fields = {
            key if canonical(key) else key.replace(given, MASK): (
                value.replace(given, MASK) if isinstance(value, str) else value
            )
            for key, value in fields.items()
        }
    return str(given) if usable else None, fields


def _clean(key: str, value: str | bool | None, name: str) -> str | bool | None:
    for text in (key, value):
        if not isinstance(text, str):
            continue
        if _UNCLEAN.search(text):
            raise AlertInvalid("holds a control character or half a character", field=name)
        if "{{" in text:
            placeholder = PLACEHOLDER.search(text)
            raise AlertInvalid(_unfilled(placeholder[0] if placeholder else text), field=name)
    return str(value) if isinstance(value, str) else value
