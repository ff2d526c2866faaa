"""One log format: time, level, alert id, logger, message, on every physical line, secrets taken out.

Whatever a message or a traceback holds, it cannot begin a line of its own or reach the terminal's escape
codes. Never shows a secret that Settings know, and never raises into the code that logs.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO
from urllib.parse import quote, quote_plus

from desk.settings import Settings
from store import Store, outbox
from trading.errors import StoreUnavailable

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

#: Lines that wait for the database, and characters of one.
_RELAYED, _RELAYED_LENGTH = 1000, 1700
_RELAY_AGAIN = 2.0
_AT_ONCE = 50
_ABOUT_TELLING = ("discord.", "discord_bot.feed", "discord_bot.speaker", "discord_bot.bot", "sqlalchemy")
#: Of others only what went wrong is told.
_OURS = ("desk", "web", "exchanges", "store", "trading", "discord_bot")

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


def redactor(secrets: Iterable[str]) -> Callable[[str], str]:
    """What takes every one of `secrets` out of a text, however it is spelt there."""
    spellings = {spelling for secret in secrets for spelling in _spellings(secret)}
    if not spellings:
        return str
    # The longest first: one secret may begin another.
    ordered = sorted(spellings, key=len, reverse=True)
    pattern = re.compile("|".join(re.escape(each) for each in ordered))
    return lambda text: pattern.sub(REDACTED, text)


def relay(settings: Settings, store: Store) -> None:
    """Tells every line in Discord as well, through the outbox; does nothing where there is no bot."""
    if settings.discord_token is None:
        return
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Relay)]:
        root.removeHandler(old)
    handler = _Relay(store)
    handler.setFormatter(Formatter(settings.secrets))
    root.addHandler(handler)


class Formatter(logging.Formatter):
    """Renders a record as one line, and one more for each line of its traceback, without any of `secrets`."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        self._hide = redactor(secrets)

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        head = f"{at.removesuffix('+00:00')}Z {record.levelname:<7} [{_alert.get()}] {record.name}"
        lines = [self._hide(_message(record))]
        if record.exc_info:
            lines += self._hide(self.formatException(record.exc_info)).splitlines()
        if record.stack_info:
            lines += self._hide(self.formatStack(record.stack_info)).splitlines()
        return "\n".join(_UNPRINTABLE.sub(_escaped, f"{head} {line}") for line in lines)


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, and known by its class."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Says nothing: the stream itself is gone, and logging's own complaint would show the arguments."""


class _Relay(logging.Handler):
    """Keeps the newest lines until a thread of its own has put them into the outbox.

    It must never write from the caller's thread, which may hold the database's turn, and never log.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(logging.INFO)
        self._store = store
        self._lines: deque[tuple[datetime, str, str]] = deque(maxlen=_RELAYED)
        self._come = threading.Event()
        threading.Thread(target=self._run, name="relay", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        # What fails while telling must not be told: it would never end.
        if record.name.startswith(_ABOUT_TELLING) or threading.current_thread().name == "relay":
            return
        if record.levelno < logging.WARNING and record.name.partition(".")[0] not in _OURS:
            return
        kind = "error" if record.levelno >= logging.ERROR else "log"
        self._lines.append((datetime.fromtimestamp(record.created, UTC), kind, self.format(record)))
        self._come.set()

    def _run(self) -> None:
        while True:
            self._come.wait()
            self._come.clear()
            while self._lines:
                if not self._put(list(self._lines)[:_AT_ONCE]):
                    time.sleep(_RELAY_AGAIN)

    def _put(self, lines: list[tuple[datetime, str, str]]) -> bool:
        try:
            with self._store.write() as tx:
                for at, kind, text in lines:
                    outbox.notify(tx, kind=kind, text=_middle_out(text), alert_id=None, now=at)
        except StoreUnavailable:
            return False
        except Exception as error:  # noqa: BLE001  # not worth the lines that follow; its own stream has these
            sys.stderr.write(f"lines of the log were not told: {type(error).__name__}\n")
        for line in lines:
            # A full queue may have dropped it meanwhile.
            with contextlib.suppress(ValueError):
                self._lines.remove(line)
        return True


def _middle_out(text: str) -> str:
    """A long text without its middle: what a traceback says stands at its end."""
    cut = len(text) - _RELAYED_LENGTH
    return text if cut <= 0 else f"{text[:500]}\n… {cut} characters …\n{text[500 + cut :]}"


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  # whatever an argument's __str__ raises: the caller only wanted to log
        return f"{record.msg} (its arguments could not be rendered)"


def _spellings(secret: str) -> set[str]:
    """How a secret may stand in a URL, in JSON, in a repr, or cut at its line ends as a PEM key is."""
    quoted = {quote(secret, safe="", errors="replace"), quote_plus(secret, errors="replace")}
    whole = {
        secret,
        *quoted,
        *(re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), each) for each in quoted),
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
