"""TradingView tickers to the house's symbols: `BTCUSDT.P` is `BTC-USDT-PERP`, `BTCUSDT` is `BTC-USDT`.

By rule, so that a new coin needs no edit. Never guesses: what reads as a dated future, a spread or a
pair of unknown quote is refused with its reason; whether a venue trades the symbol, the venue says.
"""

from __future__ import annotations

import re

from trading.errors import AlertInvalid
from trading.model import InstrumentKind

MAX_LENGTH = 30

# What people and venues settle in: looked for at the end of any ticker.
_MONEY = (
    *("FDUSD", "USDT", "USDC", "USDE", "USD1", "BUSD", "TUSD", "RLUSD", "PYUSD", "USDP", "USD"),
    *("EUR", "GBP", "TRY", "BRL", "JPY", "AUD", "CAD", "CHF", "MXN", "ZAR", "PLN", "UAH", "RUB"),
    *("ARS", "COP", "IDR", "NGN", "RON", "CZK", "KRW", "EURI"),
)
# Quotes that are coins as well: `WBTCPERP` is WBTC in dollars, so a bare PERP does not look for them.
_COINS = ("BTC", "ETH", "BNB", "DAI", "SOL", "TRX", "XRP", "DOGE", "DOT", "MNT")
_QUOTES = frozenset(_MONEY + _COINS)
_BY_LENGTH = sorted(_QUOTES, key=lambda quote: (-len(quote), quote))

# Coins that end in the first letter of BUSD or TUSD: `SHIBUSD` is SHIB in dollars.
_WHOLE = frozenset({"SHIB", "1000SHIB", "KSHIB", "USDT", "PNUT", "DENT", "GHST", "BLAST"})

_PREFIX = re.compile(r"[A-Z0-9_]{1,20}:")
_PERPETUAL = re.compile(r"(?P<dot>\.P)$|[._/-]?PERP$")
_SEPARATOR = re.compile(r"[-/_]")
_DATED = re.compile(
    r"[0-9]{1,2}[A-Z]{3}[0-9]{2}$"  # 21FEB25
    r"|[FGHJKMNQUVXZ]20[0-9]{2}$"  # H2023
    r"|USD[TC]?[FGHJKMNQUVXZ][0-9]{2}$"  # USDH23
    r"|[-_/][0-9]{4,8}$"  # -0325, _240329
)
_MEND = 'write "ticker": "{{ticker}}", on the chart of a perpetual or a spot pair'
_SYMBOL = re.compile(r"([A-Z0-9]{1,30})-([A-Z0-9]{2,6})(-PERP)?")


def symbol_of(ticker: str) -> str:
    """The house's symbol of a TradingView ticker, or of a house symbol itself.

    Raises AlertInvalid for field `ticker`.
    """
    text = ticker.strip()
    if not text.isascii():  # before upper(), which turns some foreign letters into A-Z
        raise _refused(text, "only A-Z and 0-9 are known")
    text = _PREFIX.sub("", text.upper(), count=1) if ":" in text else text.upper()
    if not text:
        raise _refused(ticker, "there is no instrument in it")
    if len(text) > MAX_LENGTH:
        raise _refused(ticker, f"longer than {MAX_LENGTH} characters")
    if text.endswith("!"):
        raise _refused(ticker, "a continuous future cannot be traded; use the perpetual, as BTCUSDT.P")
    perpetual = _PERPETUAL.search(text)
    pair = text[: perpetual.start()] if perpetual else text
    if _DATED.search(pair):
        raise _refused(ticker, "dated futures are not traded; use the perpetual, as BTCUSDT.P")
    parts = _SEPARATOR.split(pair)
    if not all(re.fullmatch(r"[A-Z0-9]+", part) for part in parts):
        raise _refused(ticker, "expected a pair such as BTCUSDT or BTCUSDT.P")
    base, quote = _pair(parts, coins=not perpetual or bool(perpetual["dot"]))
    if quote is None and not perpetual:
        raise _refused(ticker, "its quote currency is not known; write the pair as BASE/QUOTE, as BTC/USDT")
    return f"{base}-{quote or 'USD'}{'-PERP' if perpetual else ''}"


def split(symbol: str) -> tuple[str, str, InstrumentKind]:
    """Base, quote and kind of a house symbol; ValueError for anything else."""
    match = _SYMBOL.fullmatch(symbol)
    if not match:
        raise ValueError(f"not a symbol of the house: {symbol[:40]!r}")
    return match[1], match[2], InstrumentKind.PERPETUAL if match[3] else InstrumentKind.SPOT


def _pair(parts: list[str], *, coins: bool) -> tuple[str, str | None]:
    """Base and quote; the quote is None where none is known."""
    joined = "".join(parts)
    if len(parts) > 1 and parts[-1] in _QUOTES:  # a separator says where the quote begins
        return "".join(parts[:-1]), parts[-1]
    for quote in _BY_LENGTH:
        base = joined.removesuffix(quote)
        if not base or base == joined or (quote in _COINS and not coins):
            continue
        if quote in ("BUSD", "TUSD") and (len(base) < 3 or base + quote[0] in _WHOLE):
            continue  # BNBUSD, DOTUSD, SHIBUSD: a dollar pair of a coin that ends in B or T
        return base, quote
    return joined, None


def _refused(ticker: str, reason: str) -> AlertInvalid:
    return AlertInvalid(f"{ticker[:40]!a}: {reason}", field="ticker", mend=_MEND)
