"""The alert's keys: how alertmodel.txt spells them, what TradingView puts in for each, what means nothing.

Only words; must never read a value or decide whether it is good.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

# The keys as alertmodel.txt spells them; `tpN Mult` aside.
KEYS = (
    *("ticker", "exchange", "time", "action", "price", "message", "type", "subaccount", "passphrase"),
    *("chart_url", "long SL", "long TP", "long Breakeven", "short SL", "short TP", "short Breakeven"),
    *("tp Close", "id", "size", "interval", "market_position", "prev_market_position"),
    *("prev_market_position_size", "contracts", "strategy"),
)

# How TradingView, Pine and people write that there is no value.
NOTHING = frozenset({"", "nan", "na", "n/a", "null", "none"}) | {
    sign + word for sign in ("", "-", "+") for word in ("infinity", "inf")
}

PLACEHOLDER = re.compile(r"\{\{([^{}\n]{0,80})\}\}")

# What TradingView puts in as bare text, so that it wants quotes around it; and where it is used.
WORDS = {
    "ticker": "ticker",
    "exchange": "exchange",
    "interval": "interval",
    "time": "timenow",
    "action": "strategy.order.action",
    "message": "strategy.order.alert_message",
    "market_position": "strategy.market_position",
    "prev_market_position": "strategy.prev_market_position",
}
WORD_PLACEHOLDERS = frozenset(WORDS.values()) | {
    *("time", "strategy.order.id", "strategy.order.comment", "syminfo.currency", "syminfo.basecurrency"),
}
_NUMBERS = {
    "price": "strategy.order.price",
    "size": "strategy.order.contracts",
    "contracts": "strategy.order.contracts",
    "prev_market_position_size": "strategy.prev_market_position_size",
}
_FIXED = {
    "type": "market",
    "subaccount": "MAIN",
    "passphrase": "the server's WEBHOOK_PASSPHRASE",
    "strategy": "its name",
}

_RUNG = re.compile(r"tp([0-9]{1,3})mult")
_CLOSE_ENOUGH = 0.55


def canonical(key: str) -> str | None:
    """alertmodel.txt's spelling of a key in any case and spacing; None for a key that it does not have."""
    folded_key = folded(key)
    rung = _RUNG.fullmatch(folded_key)
    return f"tp{int(rung[1])} Mult" if rung else _CANONICAL.get(folded_key)


def folded(key: str) -> str:
    """What two spellings of one key have in common."""
    spelt = unicodedata.normalize("NFKC", key).casefold()
    kept = "".join(char for char in spelt if char.isalnum() or _is_unit(char))
    return "tpclose" if kept == "tpclose%" else kept or key


def _is_unit(char: str) -> bool:
    """`size %` is not `size`, nor is `$size`; `tp Close` alone is in percent anyway."""
    return char in "%\u2030" or unicodedata.category(char).startswith("S")


def member(key: str) -> str:
    """A key with what belongs there, as it stands in a template.

    >>> member("ticker"), member("tp2 Mult")
    ('"ticker": "{{ticker}}"', '"tp2 Mult": "{{plot("TP2 Mult")}}"')
    """
    if key in _FIXED:
        return f'"{key}": "{_FIXED[key]}"'
    name = WORDS.get(key) or _NUMBERS.get(key) or f'plot("{key[:1].upper()}{key[1:]}")'
    if key.startswith("tp"):
        name = f'plot("TP{key[2:]}")'
    return f'"{key}": "{{{{{name}}}}}"'


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a misspelt one may have meant, whatever its case; None if none is near."""
    by_fold = {each.casefold(): each for each in known}
    near = get_close_matches(word.casefold(), by_fold, n=1, cutoff=_CLOSE_ENOUGH)
    return by_fold[near[0]] if near else None


def shown(text: str, limit: int = 40) -> str:
    """Foreign text for a reason: short, printable, on one line."""
    return ascii(text if len(text) <= limit else text[:limit] + "...")


_CANONICAL = {folded(key): key for key in KEYS}
