"""The raw body of an alert to flat, checked, canonical fields.

Must never compute a number, descend into nested values, keep the passphrase, or raise anything but
AlertInvalid; every step is linear in the length of the body.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from trading.errors import AlertInvalid
from trading.keys import PLACEHOLDER, canonical, folded, member, shown
from trading.syntax import Literal, Object, load, unfilled

#: Bytes; a longer body is not read.
MAX_BODY = 16 * 1024
TOO_LONG = "over 16 KiB"
MAX_KEYS = 100
MASK = "***"
#: One reason for both, so that a guess learns nothing.
NOT_LET_IN = "the passphrase is missing or wrong"

_UNCLEAN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SHORT_SECRET = 8  # a shorter passphrase is too likely to be part of an honest value to be masked there


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A decoded alert: `fields` has canonical keys and no passphrase; numbers are their literal text.

    `text` is the canonical JSON of `fields`, `fingerprint` its SHA-256 in hex.
    """

    passphrase: str | None = field(repr=False)
    fields: Mapping[str, str | bool | None]
    text: str
    fingerprint: str


def decode(raw: bytes) -> Body:
    """The fields of a body; AlertInvalid 400 if it is no flat-looking JSON object, else 422 with the key."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise AlertInvalid("the body is not UTF-8 text", code=400, mend="save it as UTF-8") from None
    pairs = load(text)
    if len(pairs) > MAX_KEYS:
        raise AlertInvalid(f"more than {MAX_KEYS} keys", code=400, mend="keep those of alertmodel.txt")
    passphrase, fields = _fields(pairs)
    canonical_text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return Body(
        passphrase=passphrase,
        fields=MappingProxyType(fields),
        text=canonical_text,
        fingerprint=hashlib.sha256(canonical_text.encode()).hexdigest(),
    )


def _fields(pairs: Object) -> tuple[str | None, dict[str, str | bool | None]]:
    """The passphrase and the other fields, every key once, every value flat and clean."""
    seen: set[str] = set()
    given: object = None
    fields: dict[str, str | bool | None] = {}
    for raw_key, value in pairs:
        known = canonical(raw_key)
        name = known or shown(raw_key)[1:-1]
        spelling = known or folded(raw_key)
        if spelling in seen:
            raise AlertInvalid("the key is there twice", field=name, mend="take one of the two out")
        seen.add(spelling)
        if isinstance(value, list):
            reason = "a nested value: an alert is one flat JSON object"
            raise AlertInvalid(reason, field=name, mend="write it as text in quotes, or take it out")
        if known == "passphrase":
            given = value
            continue
        fields[known or raw_key.strip()] = _clean(raw_key, value, name)
    usable = isinstance(given, str) and not isinstance(given, Literal) and not _UNCLEAN.search(given)
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
            reason = "holds a control character or half a character"
            raise AlertInvalid(reason, field=name, mend="write it anew, by hand and on one line")
        if "{{" in text:
            placeholder = PLACEHOLDER.search(text)
            reason = unfilled(placeholder[0] if placeholder else text)
            raise AlertInvalid(reason, field=name, mend=f"as in a template: {member(name)}")
    return str(value) if isinstance(value, str) else value
