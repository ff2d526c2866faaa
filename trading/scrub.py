"""A refused body as text that is safe to keep: no secret, no control characters, not long.

When in doubt it drops more than it must; it never raises, and never parses.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from trading.body import MASK

MAX_SCRUBBED = 4096

_CONTROL = re.compile(r"[\x01-\x1f\x7f-\x9f]")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}


def _spelt(text: str, gap: str = "") -> str:
    """A pattern for `text`, with any of its characters escaped as JSON or a URL would."""
    return gap.join(_character(char) for char in text)


def _character(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    codes = [units[start : start + 2].hex() for start in range(0, len(units), 2)]
    spellings = [
        "".join(rf"\\{{1,4}}u{code}" for code in codes),
        "".join(f"%{byte:02x}" for byte in char.encode("utf-8", "surrogatepass")),
        re.escape(char),
    ]
    if _CONTROL.match(char):
        spellings.append(" ")  # as `scrub` writes it
    if char in _ESCAPES:
        spellings.insert(0, rf"\\{{1,4}}{re.escape(_ESCAPES[char])}")
    return f"(?:{'|'.join(spellings)})"


# The key in any spelling; then its value: a string and all that follows up to the next key, or the end.
_KEYED = re.compile(
    "(?P<key>(?:"
    + "|".join(
        _spelt(word, r"[\W_]{0,3}") for word in ("passphrase", "password", "passwd", "passcode", "secret")
    )
    + r")[\s_.\-]{0,3}\\{0,4}[\"']?\s{0,20}[:=]?)"
    r"\s*+(?:\"(?:[^\"\\]++|\\.)*+\"?)?"
    r".*?(?=,\s{0,20}\\{0,4}[\"'][^\"':,]{0,60}[\"']\s{0,20}:|\Z)",
    re.IGNORECASE | re.DOTALL,
)


def scrub(raw: bytes, secrets: Iterable[str]) -> str:
    """`raw` as text of at most 4096 characters, with every secret and passphrase value as ***."""
    text = unicodedata.normalize("NFKC", raw.decode("utf-8", "replace"))
    text = _CONTROL.sub(" ", text.replace("\0", ""))  # without NUL, UTF-16 can be searched as well
    text = _KEYED.sub(rf"\g<key> {MASK}", text)
    spellings = {
        spelling for secret in secrets for spelling in (secret, unicodedata.normalize("NFKC", secret))
    }
    for secret in sorted(spellings, key=len, reverse=True):
        if secret:
            text = re.sub(_spelt(secret), MASK, text, flags=re.IGNORECASE)
    return text[:MAX_SCRUBBED]
