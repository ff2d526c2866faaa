"""The examples of alertmodel.txt, for whoever tests or sends them.

Pure text in, text out: reads no file, and checks no alert.
"""

from __future__ import annotations

from dataclasses import dataclass

_TITLE = "## "
_OPEN, _CLOSE = "```json", "```"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One JSON block and the title above it; a template still holds TradingView's placeholders."""

    title: str
    body_text: str
    is_template: bool


def examples(text: str) -> list[Example]:
    """The examples in the order of the text; ValueError, with the line, where its form is broken."""
    found: list[Example] = []
    title: str | None = None
    block: list[str] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if block is not None and line.rstrip() == _CLOSE:
            body = "\n".join(block) + "\n"
            found.append(Example(title=title or "", body_text=body, is_template="{{" in body))
            title = block = None
        elif block is not None:
            block.append(line)
        elif line.startswith(_TITLE):
            title = line.removeprefix(_TITLE).strip()
        elif line.rstrip() == _OPEN:
            if not title:
                raise ValueError(f"line {number}: a block of JSON without a title of its own above it")
            block = []
    if block is not None:
        raise ValueError(f"{title}: its block of JSON is not closed")
    return found
