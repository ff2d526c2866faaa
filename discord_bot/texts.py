"""What may leave for Discord: text without secrets, without pings, and without anybody's markup.

All text that an alert, a venue or a person wrote goes through here. When in doubt it escapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from discord.utils import escape_markdown, escape_mentions

from desk.logs import redactor

#: Discord's own limits, in characters.
MOST_CONTENT, MOST_FIELD, MOST_TITLE, MOST_DESCRIPTION = 2000, 1024, 256, 4096
_INVISIBLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_ADDRESS = re.compile(
    r"https?://(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}(?::[0-9]{1,4})?"
    r"(?:[/?#][A-Za-z0-9._~:/?#!$&()*+,;=%-]*)?",
    re.IGNORECASE | re.ASCII,
)
_ESCAPED_MENTION = re.compile(r"<(?=[@#])")


class Tongue:
    """Makes text fit to be said; knows the secrets that must not be."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._hide: Callable[[str], str] = redactor(secrets)

    def clean(self, text: object, most: int = MOST_FIELD) -> str:
        """Foreign text within an embed or a message."""
        unlinked = self._bare(text).replace("](", "]\u200b(")
        return shortened(self._plain(escape_markdown(unlinked, ignore_links=False)), most)

    def code(self, text: object, most: int = MOST_CONTENT) -> str:
        """Foreign text as a block of its own, in letters of one width; `most` counts the fences."""
        inner = self._plain(self._bare(text)).replace("```", "`\u200b``")
        return f"```\n{shortened(inner, most - 8)}\n```"

    def bare(self, text: object, most: int) -> str:
        """Foreign text to be kept, not said: without secrets and control characters."""
        return shortened(self._bare(text), most)

    def link(self, text: str | None) -> str | None:
        """An http(s) address that may be linked; None for anything else."""
        if text is None or self.holds_secret(text) or len(text) > 2000:
            return None
        # Stricter than need be: one address that Discord takes for none, and the whole card is refused.
        return text if _ADDRESS.fullmatch(text) else None

    def holds_secret(self, text: str) -> bool:
        """Whether something stands in it that must not be said."""
        return self._hide(text) != text

    def _bare(self, text: object) -> str:
        return _INVISIBLE.sub(" ", self._hide(str(text)))

    def _plain(self, text: str) -> str:
        return _ESCAPED_MENTION.sub("<\u200b", escape_mentions(text))


def shortened(text: str, most: int) -> str:
    """At most `most` characters, with an ellipsis where something was cut."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def packed(lines: Iterable[str], most: int) -> list[str]:
    """Lines joined into as few texts as go into `most` characters each; a longer line is cut."""
    texts: list[str] = []
    for line in lines:
        line = shortened(line, most)
        if texts and len(texts[-1]) + len(line) + 1 <= most:
            texts[-1] += f"\n{line}"
        else:
            texts.append(line)
    return texts
