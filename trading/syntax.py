"""The text of an alert as JSON: what is forgiven, what breaks it, and where.

Must never parse a value or descend into one; every step is linear in the length of the text, and no
reason shows a value, which may be the passphrase.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from trading.errors import AlertInvalid
from trading.keys import NOTHING, PLACEHOLDER, WORD_PLACEHOLDERS, WORDS, canonical, member, shown

MAX_DEPTH = 8

_SPACE = " \t\r\n"
TOKEN = re.compile(
    rf'(?P<string>"(?:[^"\\]++|\\.)*+"?)'
    rf"|(?P<word>[^{_SPACE}\"{{}}\[\],:]++)"
    rf"|(?P<empty>:(?=[{_SPACE}]*+[,}}]))"
    r"|(?P<other>[{}\[\]:,])",
    re.DOTALL,
)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_KEY_BEFORE = re.compile(r'"([^"]{1,40})"\s*:\s*\Z')
_BARE_KEY = re.compile(r"([A-Za-z_][A-Za-z0-9_ ]{0,39}?)\s*:")
_QUOTES = "'`‘’‚‛“”„‟«»＂＇"  # the last two are wide ones, of another keyboard
_STRAIGHT = dict.fromkeys(map(ord, _QUOTES), '"')


@dataclass(frozen=True, slots=True)
class Fault:
    """What keeps a text from being JSON. `line` counts from 1; `mended` is the text without this fault,
    None where only its author can tell."""

    reason: str
    mend: str
    line: int
    mended: str | None = None


class Object(list[tuple[str, "str | bool | list[object] | None"]]):
    """A JSON object as it was written: a repeated key is still there twice."""


class Literal(str):
    """A number as it was written."""


def load(text: str) -> Object:
    """The members of a text that is an object; AlertInvalid 400 with the first fault."""
    found, fault = read(text)
    if fault is not None:
        raise AlertInvalid(fault.reason, code=400, mend=fault.mend)
    if not isinstance(found, Object):
        reason = 'the body is JSON but no object: expected {"ticker": ...}'
        raise AlertInvalid(reason, code=400, mend="begin with { and end with }")
    return found


def read(text: str) -> tuple[object, Fault | None]:
    """What the text says, or its first fault; AlertInvalid 400 for what is empty or nested too deep."""
    if not text.strip():
        raise AlertInvalid("the body is empty", code=400, mend="paste one of alertmodel.txt's templates")
    tolerated = tolerate(text)
    try:
        found = json.loads(
            tolerated, strict=False, object_pairs_hook=Object, parse_int=Literal, parse_float=Literal
        )
    except json.JSONDecodeError as error:
        return None, _message_fault(text) or _syntax_fault(tolerated, error)
    return found, None


def tolerate(text: str) -> str:
    """Valid JSON out of NaN, na, Infinity and empty values; strings and lines stay as they are."""
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
            reason = "nested too deep: an alert is one flat JSON object"
            raise AlertInvalid(reason, code=400, mend="one pair of braces, no lists")
        return found

    return TOKEN.sub(mend, text)


def unfilled(placeholder: str) -> str:
    """The reason for a placeholder that came as it was written."""
    return (
        f"TradingView did not fill in {shown(placeholder, 90)[1:-1]}: check its spelling, and that this "
        "kind of alert has it (the title of a plot is case-sensitive)"
    )


def unquoted(key: str, placeholder: str) -> str:
    """The reason for a placeholder without quotes."""
    return f'{placeholder} wants quotes around it: "{key}": "{placeholder}"'


def line_of(text: str, at: int) -> int:
    """The number of the line that holds the character `at`, from 1."""
    return text.count("\n", 0, at) + 1


def _message_fault(text: str) -> Fault | None:
    """What a person must change in the alert's message, where that can be told."""
    placeholder = PLACEHOLDER.search(text)
    if placeholder:
        line, name = line_of(text, placeholder.start()), placeholder[1].strip()
        if name not in WORD_PLACEHOLDERS or text[: placeholder.start()].endswith('"'):
            return Fault(unfilled(placeholder[0]), "`python -m desk.lint FILE` says more", line)
        before = _KEY_BEFORE.search(text[: placeholder.start()][-80:])
        key = before[1] if before else name
        return Fault(unquoted(key, placeholder[0]), "put it in quotes", line)
    bare = next(_bare_values(text), None)
    if bare is None:
        return None
    key, token = bare
    line, known = line_of(text, token.start()), canonical(key)
    if _is_unseen(token[0][0]):
        return _unseen_fault(text, token[0][0], line)
    if token[0][0] in _QUOTES:
        return _quotes_fault(text, line)
    mended = f'{text[: token.start()]}"{token[0]}"{text[token.end() :]}'
    if known not in WORDS:
        reason = f"the value of {shown(known or key)} is neither a number nor text in quotes"
        return Fault(reason, "put it in quotes", line, mended)
    reason = f'the value of "{known}" wants quotes around it: {member(known)}'
    return Fault(reason, "put it in quotes", line, mended)


def _bare_values(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Keys whose value is a bare word, such as BTCUSDT, and the word."""
    key = before = ""
    for token in TOKEN.finditer(text):
        found = token[0]
        if token.lastgroup == "string":
            key = found.strip('"') if before != ":" else key
        elif key and before == ":" and token.lastgroup == "word" and not _is_value(found):
            yield key, token
        before = found


def _is_value(word: str) -> bool:
    return word.casefold() in NOTHING | {"true", "false"} or bool(_NUMBER.fullmatch(word))


def _quotes_fault(text: str, line: int) -> Fault:
    reason = f"the body is not JSON: its quotes are not straight double ones, line {line}"
    return Fault(reason, 'write " everywhere', line, text.translate(_STRAIGHT))


def _is_unseen(char: str) -> bool:
    """Whether it looks like a space, or like nothing, and is no space of JSON's."""
    return not char.isascii() and unicodedata.category(char) in ("Zs", "Zl", "Zp", "Cf")


def _unseen_fault(text: str, char: str, line: int) -> Fault:
    code = f"U+{ord(char):04X}"
    reason = f"the body is not JSON: it holds a space that is none, {code}, line {line}"
    return Fault(
        reason, "write plain spaces: such ones come along from web pages", line, text.replace(char, " ")
    )


def _syntax_fault(text: str, error: json.JSONDecodeError) -> Fault:
    """The fault in our own words: the parser's differ from one Python to the next."""
    before, rest = text[: error.pos].rstrip(_SPACE), text[error.pos :].lstrip(_SPACE)
    after = rest[1:].lstrip(_SPACE)
    start, end = len(text) - len(rest), len(before)
    if rest[:1] == "," and after[:1] in ("}", "]"):  # Python 3.13 stops at the comma, 3.11 behind it
        before, rest, end = text[: start + 1], after, start + 1
    what, mend, at, mended = "a value or a quote is missing", "compare with alertmodel.txt", start, None
    if text.lstrip(_SPACE)[0] not in "{[":
        what, mend = "it does not begin with {", "paste one of alertmodel.txt's templates, whole"
        at = len(text) - len(text.lstrip(_SPACE))
    elif before.endswith(",") and rest[:1] in ("}", "]"):
        what, mend, at = "a comma too many, before the closing brace", "take it out", end - 1
        mended = before[:-1] + text[end:]
    elif not rest:
        what, mend, at = "it ends before it is whole", "close the quote or the brace that is open", end - 1
    elif error.msg.startswith("Unterminated string"):
        what, mend = "a quote is not closed", "close it at the end of the value"
    elif _is_unseen(rest[0]):
        return _unseen_fault(text, rest[0], line_of(text, at))
    elif rest[0] in _QUOTES:
        return _quotes_fault(text, line_of(text, at))
    elif error.msg.startswith("Extra data"):
        what, mend = "something stands behind the closing brace", "send one object and nothing else"
    elif error.msg.startswith("Expecting ',' delimiter") and rest[0] == '"':
        what, mend = "a comma is missing in front of a key", "put it in"
        mended = f"{before},{text[end:]}"
    elif (slip := _slip(error, before, rest)) is not None:
        what, mend, mended = slip
    line = line_of(text, max(at, 0))
    return Fault(f"the body is not JSON: {what}, line {line}", mend, line, mended)


def _slip(error: json.JSONDecodeError, before: str, rest: str) -> tuple[str, str, str | None] | None:
    """What other languages allow and JSON does not: the fault, the mend, the text without it."""
    space = error.doc[len(before) : len(error.doc) - len(rest)]
    if error.msg.startswith("Expecting ':' delimiter"):
        return "a colon is missing behind a key", 'write "key": "value"', None
    if rest[0] in "/#":
        return "it holds a comment", "take it out: JSON knows none", None
    if error.msg.startswith("Invalid"):
        return "a backslash that escapes nothing", "take it out, or write it twice", None
    if rest[0] == ";":
        return "a semicolon where a comma belongs", "write a comma", f"{before},{rest[1:]}"
    key = _BARE_KEY.match(rest)
    if key and error.msg.startswith("Expecting property name"):
        mended = f'{before}{space}"{key[1]}"{rest[key.end(1) :]}'
        return f"the key {shown(key[1])} has no quotes", f'write "{key[1]}"', mended
    if error.msg.startswith("Expecting ',' delimiter") and rest[0].isalnum():
        return "text behind a value that has ended", 'write \\" for a quote within a text', None
    return None
