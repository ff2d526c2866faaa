"""One log format: time, level, alert id, logger, message, on every physical line, secrets taken out.

Whatever a message or a traceback holds, it cannot begin a line of its own or reach the terminal's escape
codes. Never shows a secret that Settings know, and never raises into the code that logs.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO
from urllib.parse import quote, quote_plus

from desk.settings import Settings

REDACTED = "***"
#: Shown in the alert's place where a line belongs to none.
NO_ALERT = "-"

_alert: ContextVar[str] = ContextVar("alert", default=NO_ALERT)
#: All that moves a terminal's cursor or ends a line: C0, DEL, C1, and Unicode's separators and overrides.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
#: Shorter lines of a many-line secret are no secret.
_LINE_OF_A_KEY = 16
#: These write whole requests at DEBUG, signatures and tokens included.
_TALKATIVE = ("urllib3", "discord", "asyncio")
#: These bring handlers of their own; their lines are to be ours.
_FOREIGN = ("gunicorn.error", "gunicorn.access")

_log = logging.getLogger(__name__)


@contextmanager
def about(alert_id: str) -> Iterator[None]:
    """What is logged within belongs to this alert; other threads are not touched."""
    token = _alert.set(alert_id)
    try:
        yield
    finally:
        _alert.reset(token)


def configure(settings: Settings, level: int | str = "INFO", stream: TextIO | None = None) -> None:
    """Sends everything that is logged, warned or uncaught to `stream` (stderr); a repeat replaces it."""
    handler = _Handler(stream)
    handler.setFormatter(Formatter(settings.secrets))
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.INFO, root.level))
    logging.captureWarnings(True)
    for name in _FOREIGN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    for warning in settings.warnings:
        _log.warning(warning)


class Formatter(logging.Formatter):
    """Renders a record as one line, and one more for each line of its traceback, without any of `secrets`."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        spellings = {spelling for secret in secrets for spelling in _spellings(secret)}
        # The longest first: one secret may begin another.
        ordered = sorted(spellings, key=len, reverse=True)
        self._secrets = re.compile("|".join(re.escape(each) for each in ordered)) if ordered else None

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        head = f"{at.removesuffix('+00:00')}Z {record.levelname:<7} [{_alert.get()}] {record.name}"
        lines = [self._hide(_message(record))]
        if record.exc_info:
            lines += self._hide(self.formatException(record.exc_info)).splitlines()
        if record.stack_info:
            lines += self._hide(self.formatStack(record.stack_info)).splitlines()
        return "\n".join(_UNPRINTABLE.sub(_escaped, f"{head} {line}") for line in lines)

    def _hide(self, text: str) -> str:
        return self._secrets.sub(REDACTED, text) if self._secrets else text


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, and known by its class."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Says nothing: the stream itself is gone, and logging's own complaint would show the arguments."""


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  # whatever an argument's __str__ raises: the caller only wanted to log
        return f"{record.msg} (its arguments could not be rendered)"


def _spellings(secret: str) -> set[str]:
    """How a secret may stand in a URL, in JSON, in a repr, or cut at its line ends as a PEM key is."""
    whole = {
        secret,
        quote(secret, safe="", errors="replace"),
        quote_plus(secret, errors="replace"),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
    }
    return whole | {line for line in secret.splitlines() if len(line) >= _LINE_OF_A_KEY}


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        _log.critical("nobody caught this", exc_info=(kind, error, trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        _uncaught(args.exc_type, args.exc_value, args.exc_traceback)
