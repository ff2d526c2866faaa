"""An alert's template: its placeholders, what TradingView would put in, and what a Pine script plots.

Reads Pine by its calls alone, and never judges a script: only TradingView's compiler can.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trading.keys import PLACEHOLDER, WORD_PLACEHOLDERS, canonical
from trading.syntax import TOKEN, line_of

#: What TradingView documents for `{{plot_N}}`: the first 20.
MOST_PLOTS = 20

_ANYWHERE = frozenset(
    ("ticker", "exchange", "interval", "time", "timenow", "open", "high", "low", "close", "volume")
) | {"syminfo.currency", "syminfo.basecurrency"}
_STRATEGY = frozenset(
    "strategy." + name
    for name in (
        *("position_size", "order.action", "order.contracts", "order.price", "order.id", "order.comment"),
        *("order.alert_message", "market_position", "market_position_size"),
        *("prev_market_position", "prev_market_position_size"),
    )
)
#: Every placeholder by name, those of plots aside (support articles 43000531021 and 43000481368).
PLACEHOLDERS = _ANYWHERE | _STRATEGY

_NUMBERED = re.compile(r"plot_([0-9]{1,2})")
_TITLED = re.compile(r'plot\(\s*"(.*)"\s*\)')
_MARK = re.compile("\ue000([0-9]{1,4})\ue001")

# A long and a short that hold together; what stands at a key is what its placeholder is filled with.
_LEVELS = {
    "long SL": "41500",
    "long TP": "44000",
    "long Breakeven": "42050",
    "short SL": "42500",
    "short TP": "40000",
    "short Breakeven": "41950",
    "tp Close": "5",
}
_WORDS = {
    "ticker": "BTCUSDT.P",
    "interval": "15",
    "volume": "1",
    "syminfo.currency": "USDT",
    "syminfo.basecurrency": "BTC",
    "strategy.order.alert_message": "entry",
    "strategy.order.id": "Entry",
    "strategy.order.comment": "Entry",
    "strategy.prev_market_position": "flat",
    "strategy.prev_market_position_size": "0",
}
_PRICES = dict.fromkeys(("open", "close", "strategy.order.price"), "42000") | {
    "high": "42100",
    "low": "41900",
}

_CODE = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|//[^\n]*')
_PLOT = re.compile(r"(?<![\w.])plot(?:shape|char|arrow|bar|candle)?\s*\(")
_TITLE = re.compile(r"\s*(?:title\s*=\s*)?(\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')\s*\Z")
_KIND = re.compile(r"^\s*(strategy|indicator|study|library)\s*\(", re.MULTILINE)
_CONDITION = re.compile(r"(?<![\w.])alertcondition\s*\(")
_PIECE = re.compile(
    r"(?:\s*\+\s*|\A)(?:(?P<literal>\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')|(?P<name>[A-Za-z_]\w*))"
)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\r", "t": "\t"}
#: The rest of a line, and those that follow one that ends in +.
_LINES = r"((?:[^\n]*\+[ \t]*\n)*[^\n]*)"
_MOST_NESTED = 3
_MESSAGE_MARK = re.compile(r"^//@strategy_alert_message[ \t]+(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One placeholder as it is written; `key` is the JSON key that it stands at, quoted or not."""

    text: str
    name: str
    key: str
    line: int
    quoted: bool

    @property
    def title(self) -> str | None:
        """Of `{{plot("Title")}}`."""
        match = _TITLED.fullmatch(self.name)
        return match[1] if match else None

    @property
    def number(self) -> int | None:
        """Of `{{plot_N}}`."""
        match = _NUMBERED.fullmatch(self.name)
        return int(match[1]) if match else None

    @property
    def known(self) -> bool:
        """Whether TradingView has it, as far as that can be told without the script."""
        numbered = self.number is not None and self.number < MOST_PLOTS
        return numbered or self.title is not None or self.name in PLACEHOLDERS

    @property
    def is_padded(self) -> bool:
        return self.text != f"{{{{{self.name}}}}}"

    @property
    def of_strategy(self) -> bool:
        return self.name in _STRATEGY

    @property
    def is_word(self) -> bool:
        """Whether what comes is text, not a number."""
        return self.name in WORD_PLACEHOLDERS


@dataclass(frozen=True, slots=True)
class Script:
    """What a Pine script offers its alerts; a title is None where it is no literal."""

    kind: str
    titles: Sequence[str | None]
    #: Of its entries: buy, sell or both; both where that cannot be told.
    sides: tuple[str, ...] = ("buy", "sell")

    @property
    def is_strategy(self) -> bool:
        return self.kind == "strategy"


class Template:
    """A text with its placeholders told apart. Unquoted ones are given quotes, to see what else is wrong."""

    def __init__(self, text: str) -> None:
        found = list(PLACEHOLDER.finditer(text))
        numbers = iter(range(len(found)))
        marked = PLACEHOLDER.sub(lambda _: f"\ue000{next(numbers)}\ue001", text)
        self._marked, places = _quote(marked)
        self.placeholders = tuple(
            Placeholder(
                text=match[0],
                name=match[1].strip(),
                key=places.get(number, ("", True))[0],
                line=line_of(text, match.start()),
                quoted=places.get(number, ("", True))[1],
            )
            for number, match in enumerate(found)
        )

    @property
    def is_template(self) -> bool:
        """Whether TradingView fills anything in; else it is an alert, whatever was left in it."""
        return any(each.known for each in self.placeholders)

    def filled(self, *, side: str, exchange: str, now: str) -> str:
        """The text as TradingView might send it for an entry on `side` (buy or sell), on the same lines."""

        def value(match: re.Match[str]) -> str:
            each = self.placeholders[int(match[1])]
            return _sample(each, side=side, exchange=exchange, now=now, in_template=self.is_template)

        return _MARK.sub(value, self._marked)


def read_script(text: str) -> Script:
    """The kind of a Pine script, and the titles of its plots in order."""
    code = _blank_comments(text)
    kind = _KIND.search(code)
    titles = []
    for match in _PLOT.finditer(_blank_strings(code)):
        arguments = list(_arguments(code, match.end()))
        title_at = [a for a in arguments if re.match(r"\s*title\s*=", a)]
        given = title_at or [a for a in arguments[1:2] if "=" not in _blank_strings(a)]
        title = _TITLE.fullmatch(given[0]) if given else None
        titles.append(title[1][1:-1] if title else None)
    named = re.findall(r"\bstrategy\.(long|short)\b", _blank_strings(code))
    sides = tuple(side for side, word in (("buy", "long"), ("sell", "short")) if word in named)
    return Script(kind=kind[1] if kind else "", titles=tuple(titles), sides=sides or ("buy", "sell"))


def messages_of(text: str) -> Iterator[tuple[int, str]]:
    """The templates that a Pine script carries, each with its line: the message of //@strategy_alert_message
    and those of alertcondition()."""
    for match in _MESSAGE_MARK.finditer(text):
        yield line_of(text, match.start()), match[1]
    code = _blank_comments(text)
    for match in _CONDITION.finditer(_blank_strings(code)):
        arguments = list(_arguments(code, match.end()))
        named = [a.partition("=")[2] for a in arguments if re.match(r"\s*message\s*=", a)]
        for argument in (named or arguments[2:3])[:1]:
            message = _constant(code, argument)
            if message is not None and "{" in message:
                yield line_of(text, match.start()), message


def _constant(code: str, expression: str, nested: int = 0) -> str | None:
    """The text that literals and named constants joined by + come to; None where it is anything else."""
    parts: list[str] = []
    expression = expression.strip()
    end = 0
    for piece in _PIECE.finditer(expression):
        if piece.start() != end:
            return None
        end = piece.end()
        if piece["literal"]:
            # \n as a space of JSON that does not count as a line: the message stands on those of the script.
            parts.append(_ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), piece["literal"][1:-1]))
            continue
        given = re.search(
            rf"^[ \t]*(?:(?:const|var|string)[ \t]+)*{piece['name']}[ \t]*=(?!=){_LINES}", code, re.MULTILINE
        )
        value = _constant(code, given[1], nested + 1) if given and nested < _MOST_NESTED else None
        if value is None:
            return None
        parts.append(value)
    return "".join(parts) if parts and end == len(expression) else None


def _quote(marked: str) -> tuple[str, dict[int, tuple[str, bool]]]:
    """The text with quotes around bare placeholders, and of each its key and whether it had quotes."""
    places: dict[int, tuple[str, bool]] = {}
    parts: list[str] = []
    key = before = ""
    end = 0
    for token in TOKEN.finditer(marked):
        found = token[0]
        is_string = token.lastgroup == "string"
        if is_string and before != ":":
            key = found.strip('"')
        for mark in _MARK.finditer(found):
            places[int(mark[1])] = (canonical(key) or key, is_string)
        if token.lastgroup == "word" and _MARK.search(found):
            parts += [marked[end : token.start()], f'"{found}"']
            end = token.end()
        before = found
    return "".join(parts) + marked[end:], places


def _sample(placeholder: Placeholder, *, side: str, exchange: str, now: str, in_template: bool) -> str:
    name, key = placeholder.name, placeholder.key
    if name == "exchange":
        return exchange
    if name in ("time", "timenow"):
        return now
    if name in _PRICES:
        return _PRICES[name]
    if name == "strategy.order.action":
        return side
    if name == "strategy.market_position":
        return "long" if side == "buy" else "short"
    if name in _WORDS:
        return _WORDS[name]
    if name == "strategy.position_size":
        return "0.5" if side == "buy" else "-0.5"
    if name in PLACEHOLDERS:
        return "0.5"
    if key.endswith(" Mult"):
        return key.removeprefix("tp").removesuffix(" Mult")
    # A misspelt one is told already: what it should have been keeps the rest readable.
    told = {"ticker": "BTCUSDT.P", "exchange": exchange, "time": now, "action": side, "message": "entry"}
    if key in told:
        return told[key]
    return (_LEVELS | {"price": "42000"}).get(key, "1") if in_template else ""


def _blank_comments(text: str) -> str:
    """The code, every character at its place."""
    return _CODE.sub(lambda match: " " * len(match[0]) if match[0].startswith("//") else match[0], text)


def _blank_strings(code: str) -> str:
    return _CODE.sub(lambda match: '"' + " " * (len(match[0]) - 2) + '"', code)


def _arguments(code: str, start: int) -> Iterator[str]:
    """The arguments of the call whose bracket has just been opened at `start`."""
    plain, depth, begin = _blank_strings(code), 0, start
    for at in range(start, len(code)):
        char = plain[at]
        if char in ")]" and depth == 0:
            yield code[begin:at]
            return
        depth += (char in "([") - (char in ")]")
        if char == "," and depth == 0:
            yield code[begin:at]
            begin = at + 1
