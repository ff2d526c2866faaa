"""The log holds one format, the alert's id, nothing that forges a line, and no secret in any spelling."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from desk import logs
from desk.settings import Settings, load

CANARIES = {
    "WEBHOOK_PASSPHRASE": "canary passphrase,canary 'quoted' \"p\u00e4ss\"",
    "API_KEY_MAIN": "canary-key",
    "API_SECRET_MAIN": "canary-secret-first-line\ncanary-secret-second-line",
    "DASHBOARD_PASSWORD": "canary-password",
    "DISCORD_TOKEN": "canary-token",
    "DISCORD_CHANNEL_ID": "1",
    "DATABASE_URL": "postgres://user:canary%2Fdatabase@host/desk",
}
HEAD = re.compile(
    r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) +\[[^\]]+\] [\w.]+ "
)

log = logging.getLogger("test.log")


@pytest.fixture
def settings() -> Settings:
    return load(CANARIES)


@pytest.fixture
def stream(settings: Settings) -> Iterator[io.StringIO]:
    """What `configure` writes to; everything that it turned is turned back."""
    root = logging.getLogger()
    names = ("urllib3", "discord", "asyncio", "gunicorn.error", "gunicorn.access")
    levels = {name: logging.getLogger(name).level for name in names}
    before = (root.level, root.handlers[:], sys.excepthook, threading.excepthook)
    out = io.StringIO()
    logs.configure(settings, "DEBUG", out)
    yield out
    logging.captureWarnings(False)
    root.level, root.handlers[:], sys.excepthook, threading.excepthook = before
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def emit(message: str, *args: object) -> None:
    """Logs by our handler alone: pytest's own raise at what ours must bear, and xdist cannot pass it on."""
    (handler,) = (each for each in logging.getLogger().handlers if isinstance(each.formatter, logs.Formatter))
    handler.handle(log.makeRecord(log.name, logging.INFO, "", 1, message, args, None))


def test_one_format(stream: io.StringIO) -> None:
    log.info("sent %s", 1)
    (line,) = lines(stream)
    assert HEAD.match(line)
    assert line.endswith("INFO    [-] test.log sent 1")


def test_the_alert_stands_on_every_line_of_its_own(stream: io.StringIO) -> None:
    def other() -> None:
        log.info("elsewhere")

    with logs.about("a1"):
        log.info("within")
        with logs.about("b2"):
            log.info("deeper")
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    log.info("after")
    assert [re.findall(r"\[(.*?)\]", line)[0] for line in lines(stream)] == ["a1", "b2", "-", "-"]


def test_a_traceback_has_the_head_on_every_line(stream: io.StringIO) -> None:
    with logs.about("a1"):
        try:
            raise ValueError("first\n2026-01-01T00:00:00.000Z INFO    [-] forged line")
        except ValueError:
            log.exception("it broke")
    assert len(lines(stream)) > 4
    assert all(HEAD.match(line) and "[a1] test.log" in line for line in lines(stream))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nb", r"a\r\nb"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x9b2J", r"\x9b2J"),
        ("a\u2028b\u202ec\x00\x7f", r"a\u2028b\u202ec\x00\x7f"),
        ("\ud800", r"\ud800"),
        ("Zürich 東京 ×", "Zürich 東京 ×"),
    ],
)
def test_nothing_forges_a_line_or_reaches_the_terminal(stream: io.StringIO, text: str, shown: str) -> None:
    emit("said %s", text)
    assert stream.getvalue().endswith(f" said {shown}\n")
    assert stream.getvalue().count("\n") == 1


def test_secrets_are_taken_out_of_messages(stream: io.StringIO, settings: Settings) -> None:
    for secret in settings.secrets:
        log.info("plain %s, repr %r, in a mapping %s", secret, secret, {"key": secret})
        log.info("in a query ?key=%s&next=1", quote(secret, safe=""))
        log.info("in a query ?key=%s&next=1", re.sub("%..", lambda f: f[0].lower(), quote(secret, safe="")))
        log.info("in JSON %s", json.dumps({"key": secret}))
        for line in secret.splitlines():
            log.info("one line of it: %s", line)
    log.info("connecting to %s", settings.database_url)
    assert "canary" not in stream.getvalue()
    assert "&next=1" in stream.getvalue()


def test_secrets_are_taken_out_of_tracebacks(stream: io.StringIO, settings: Settings) -> None:
    for secret in settings.secrets:
        try:
            try:
                raise KeyError(secret)
            except KeyError as error:
                raise RuntimeError(f"refused: {secret}") from error
        except RuntimeError:
            log.exception("failed with %s", secret)
    assert "canary" not in "".join(line for line in lines(stream) if "Error" in line)
    assert stream.getvalue().count("RuntimeError: refused: ***") == len(settings.secrets)


def test_secrets_are_taken_out_of_stacks(settings: Settings) -> None:
    shown = logging.makeLogRecord(
        {"msg": "here", "name": "x", "stack_info": 'File "x"\n  sign("canary-key")'}
    )
    assert logs.Formatter(settings.secrets).format(shown).splitlines()[-1].endswith('sign("***")')


def test_a_secret_within_a_longer_one_leaves_no_rest() -> None:
    formatter = logs.Formatter(["secret", "secret-and-more"])
    record = logging.makeLogRecord({"msg": "it is secret-and-more", "name": "x"})
    assert formatter.format(record).endswith("x it is ***")


def test_without_secrets_nothing_is_touched() -> None:
    record = logging.makeLogRecord({"msg": "as it is", "name": "x", "stack_info": "one\ntwo"})
    first, second, third = logs.Formatter([]).format(record).splitlines()
    assert [first[-8:], second[-3:], third[-3:]] == ["as it is", "one", "two"]


def test_a_bad_format_shows_no_argument(stream: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("canary-key")

    emit("%d items", "canary-key")
    emit("from %s", Broken())
    assert "%d items (its arguments could not be rendered)" in stream.getvalue()
    assert "canary" not in stream.getvalue() + capsys.readouterr().err


def test_a_stream_that_is_gone_is_no_error(stream: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    stream.close()
    log.info("canary-key")
    stream.__init__()  # type: ignore[misc]  # open again, for the fixture
    assert capsys.readouterr().err == ""


def test_uncaught_errors_are_logged(stream: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise ValueError("canary-token")

    def leaves() -> None:
        raise SystemExit

    for target in (broken, leaves):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    error = ValueError("canary-token")
    sys.excepthook(ValueError, error, None)
    assert stream.getvalue().count("ValueError: ***") == 2
    assert "canary" not in stream.getvalue() + capsys.readouterr().err
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert "KeyboardInterrupt" in capsys.readouterr().err


def test_warnings_are_logged(settings: Settings, stream: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logs.configure(settings, "DEBUG", stream)
        warnings.warn("old canary-key", UserWarning, stacklevel=1)
    assert "UserWarning: old ***" in stream.getvalue()


def test_a_repeat_replaces_the_first(stream: io.StringIO, settings: Settings) -> None:
    second = io.StringIO()
    logs.configure(settings, "INFO", second)
    log.debug("too fine")
    log.info("once")
    assert stream.getvalue() == ""
    assert second.getvalue().count("once") == 1
    assert "too fine" not in second.getvalue()


def test_gunicorn_speaks_the_same_format(settings: Settings, stream: io.StringIO) -> None:
    logger = logging.getLogger("gunicorn.error")
    logger.addHandler(logging.StreamHandler(io.StringIO()))
    logger.propagate = False
    logs.configure(settings, "INFO", stream)
    logger.error("worker failed, canary-key")
    assert lines(stream)[-1].endswith("gunicorn.error worker failed, ***")


def test_talkative_libraries_are_kept_from_debug(stream: io.StringIO) -> None:
    logging.getLogger("urllib3.connectionpool").debug("GET /account?signature=abc")
    logging.getLogger("urllib3.connectionpool").warning("retrying")
    assert "signature" not in stream.getvalue()
    assert "retrying" in stream.getvalue()
