"""Every process says in one line why it does not start, and leaves a database of another release alone."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from store import Store, open_store, switches
from store.schema import SchemaState, check
from tests.processes import PASSPHRASE, PATIENCE, ROOT, RUNNER, WEB, Process, bare_environ, until

BOT = ("discord_bot",)
HELPFUL = ("desk.runner", "desk.migrate", "discord_bot")
PROCESSES = [WEB, ("desk.serve",), RUNNER, BOT]
NEWER = "the database belongs to a newer release: install that one"
OLDER = "the database is not up to date: run `python -m desk.migrate`"


def settings(url: str, **more: str) -> dict[str, str]:
    token = {"DISCORD_TOKEN": "token", "DISCORD_CHANNEL_ID": "1"}
    return bare_environ() | token | {"WEBHOOK_PASSPHRASE": PASSPHRASE, "DATABASE_URL": url} | more


def run(*module: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *module]
    environ = environ | {"PYTHONPATH": ""}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=PATIENCE)


@pytest.mark.parametrize("module", PROCESSES, ids=lambda module: module[0])
def test_a_wrong_setting_is_told_in_one_line(module: tuple[str, ...], sqlite_url: str) -> None:
    ended = run(*module, environ=settings(sqlite_url, RISK_MAIN="200"))
    assert ended.returncode in (1, 4)
    assert ended.stderr == "cannot start: RISK_MAIN: 200 is out of range: more than 0 and 100 at most\n"


@pytest.mark.parametrize(
    ("module", "found", "told"),
    [
        pytest.param(WEB, "unheard of", NEWER, id="web"),
        pytest.param(RUNNER, "unheard of", NEWER, id="runner", marks=pytest.mark.slow),
        pytest.param(RUNNER, "0001", OLDER, id="runner, older"),
        pytest.param(BOT, "9", NEWER, id="bot", marks=pytest.mark.slow),
    ],
)
def test_a_database_of_another_release_is_left_alone(
    module: tuple[str, ...], found: str, told: str, sqlite_url: str
) -> None:
    store = open_store(sqlite_url)
    with store.write() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = :found"), {"found": found})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    ended = run(*module, environ=settings(sqlite_url, PORT=port))
    assert ended.returncode != 0
    assert f"cannot start: DATABASE_URL: {told}\n" in ended.stderr
    assert "Traceback" not in ended.stderr
    with store.read() as tx:
        assert tx.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [found]
    store.close()


@pytest.mark.parametrize("module", ["desk.migrate", "desk.audit"])
def test_a_command_at_a_newer_database_says_so(module: str, database_url: str) -> None:
    store = open_store(database_url)
    with store.write() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    ended = run(module, environ=settings(database_url))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"DATABASE_URL: {NEWER}\n"


def test_a_runner_that_comes_first_makes_the_tables(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/desk.db"
    store = open_store(url)
    runner = Process(RUNNER, settings(url), tmp_path / "runner")
    try:
        until(lambda: works(store), runner.log)
        runner.popen.send_signal(signal.SIGTERM)
        assert runner.ended() == 0
        assert "Traceback" not in runner.log()
    finally:
        runner.popen.kill()
        runner.popen.wait()
        store.close()


def works(store: Store) -> bool:
    if check(store) is not SchemaState.CURRENT:
        return False
    with store.read() as tx:
        return switches.last_beat(tx, "runner") is not None


@pytest.mark.parametrize(
    "module", ["desk.serve", *(pytest.param(each, marks=pytest.mark.slow) for each in HELPFUL)]
)
def test_who_asks_for_help_starts_nothing(module: str, tmp_path: Path) -> None:
    ended = run(module, "--help", environ=settings(f"sqlite:///{tmp_path}/desk.db"))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"usage: python -m {module} [-h]")
    assert list(tmp_path.iterdir()) == []


def test_a_runner_ends_that_is_told_to_amid_its_own_waiting(sqlite_url: str, tmp_path: Path) -> None:
    """A signal's handler runs in the main thread, whatever lock that holds."""
    process = Process(("tests.desk.signalled_runner",), settings(sqlite_url), tmp_path / "runner")
    try:
        assert process.ended() == 0, process.log()
    finally:
        process.kill()
