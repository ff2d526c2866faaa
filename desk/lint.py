"""`python -m desk.lint FILE`: every problem of an alert or of its template, with the line and the mend.

A Pine script may stand in place of the template: then the messages that it carries are read. It must never
send or store anything, or show a passphrase.
"""

from __future__ import annotations

import argparse
import codecs
import re
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from desk.settings import ENV_FILE, from_environment
from exchanges import available
from trading.errors import SettingsError
from trading.lint import Finding, lint
from trading.template import messages_of, read_script

PINE = ".pine"
_BLOCK = re.compile(rb"^```([a-z]*)[ \t]*\r?\n(.*?)^```[ \t]*\r?$", re.MULTILINE | re.DOTALL)
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def main(
    arguments: Sequence[str] | None = None,
    *,
    env_file: Path = ENV_FILE,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> int:
    """Exit status 0 where nothing was found, 1 where something was, 2 for a file that cannot be read."""
    asked = _parser().parse_args(arguments)
    try:
        path = None if asked.file == "-" else Path(asked.file)
        raw = _read(path)
        beside = asked.script or (None if path is None else _beside(path))
        script_text = None if beside is None else _read(beside).decode("utf-8-sig")
    except OSError as error:
        print(f"desk.lint: {error}", file=sys.stderr)
        return 2
    except UnicodeDecodeError:
        print(f"desk.lint: {beside} is not UTF-8 text: save it as UTF-8", file=sys.stderr)
        return 2
    script = None if script_text is None else read_script(script_text)
    if beside is not None and beside != path:
        print(f"read beside it: {beside}")
    messages = _messages(raw)
    if path is not None and path.suffix == PINE:
        messages = [(line, text.encode()) for line, text in messages_of(script_text or "")]
        if not messages:
            print(f"{path}: it carries no message: nothing to check")
    default, note = _default_subaccount(env_file)
    found = [
        replace(each, line=each.line + line - 1)
        for line, body in messages
        for each in lint(body, exchanges=available(), default_subaccount=default, now=clock(), script=script)
    ]
    if note and any(each.field == "subaccount" for each in found):
        print(note)
    _print(asked.file, found)
    return 1 if found else 0


def _parser() -> argparse.ArgumentParser:
    what = "Every problem of an alert, or of the template of one, with its line and its mend."
    parser = argparse.ArgumentParser(prog="python -m desk.lint", description=what)
    parser.add_argument(
        "file", metavar="FILE", help="alert, template, text with ```json blocks, or .pine; - is a pipe"
    )
    parser.add_argument(
        "--script",
        type=Path,
        metavar="PINE",
        help="the script whose plots the template reads; else the one beside FILE, if there is just one",
    )
    return parser


def _messages(raw: bytes) -> list[tuple[int, bytes]]:
    """The message of a file, or those that a text like alertmodel.txt has in blocks of ```json (or of ```
    alone); with their lines."""
    blocks = [block for block in _BLOCK.finditer(raw) if block[1] in (b"", b"json")]
    found = [(raw.count(b"\n", 0, block.start(2)) + 1, block[2]) for block in blocks]
    return found or [(1, raw)]


def _read(path: Path | None) -> bytes:
    """A file, or the pipe; UTF-16, which Windows writes, as UTF-8."""
    raw = sys.stdin.buffer.read() if path is None else path.read_bytes()
    return raw.decode("utf-16", "replace").encode() if raw.startswith(_WIDE) else raw


def _beside(path: Path) -> Path | None:
    """The Pine script that belongs to a template: of its name, or the only one in its folder."""
    if path.suffix == PINE:
        return path
    own = path.with_suffix(PINE)
    others = sorted(path.parent.glob(f"*{PINE}"))
    return own if own.exists() else others[0] if len(others) == 1 else None


def _default_subaccount(env_file: Path) -> tuple[str | None, str]:
    """The server's, as far as its settings stand here; why they could not be read, where they could not."""
    try:
        return from_environment(env_file).default_subaccount, ""
    except SettingsError as error:
        return None, f"no settings of a server are read here ({error})"


def _print(name: str, found: Sequence[Finding]) -> None:
    for each in found:
        field = f"{each.field}: " if each.field else ""
        answer = "taken all the same" if each.code is None else f"answered with {each.code}"
        print(f"{name}:{each.line}: {field}{each.reason} ({answer})")
        print(f"    {each.mend}")
    count = len(found)
    print(f"{count} problem{'s' * (count != 1)}" if count else "nothing found")


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is no trouble
    sys.exit(main())
