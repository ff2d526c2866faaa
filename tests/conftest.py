"""Fixtures for every test: both databases for real, a clock to turn, and no network beyond this machine.

One Postgres server per test run, started when the first test asks for it and stopped by the process that
started the run, so that pytest-xdist's workers share it.
"""

from __future__ import annotations

import gc
import ipaddress
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis
import psutil
import pytest

import store._engine
from store import Store, open_store
from tests.databases import PostgresServer, migrate, serve, stop

#: Databases of a test live in memory where there is room: what is killed here are processes, not machines.
_MEMORY = Path("/dev/shm")  # noqa: S108  # a folder of this run's own is made in it
_ROOM = 4 * 2**30
if "TMPDIR" not in os.environ and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM:
    os.environ["TMPDIR"] = str(_MEMORY)
    tempfile.tempdir = None

_HERE = Path(__file__).parent
#: Tests of the whole take the same paths many times: what a line of code needs, its own tests show, and
#: counting lines would take these half as long again.
_UNCOUNTED = frozenset(
    {
        "deploy",
        "life",
        "pine",
        "scale",
        "test_architecture.py",
        "test_browser.py",
        "test_crash.py",
        "test_demo.py",
        "test_demo_venues.py",
        "test_faults.py",
        "test_feed.py",
        "test_fuzz.py",
        "test_kill.py",
        "test_matrix.py",
        "test_migrations.py",
        "test_processes.py",
        "test_promises.py",
        "test_server.py",
        "test_upgrade.py",
        "test_votes.py",
    }
)

#: What these test does not care which database it is; on Postgres they are slow tests.
_SQLITE_FIRST = frozenset(
    {
        "test_audit.py",
        "test_board.py",
        "test_commands.py",
        "test_decide.py",
        "test_execute.py",
        "test_faults.py",
        "test_feed.py",
        "test_halt.py",
        "test_lockout.py",
        "test_losses.py",
        "test_promises.py",
        "test_question.py",
        "test_runner.py",
        "test_stance.py",
        "test_start.py",
        "test_together.py",
        "test_votes.py",
    }
)


#: What these show, each venue's own tests show of its adapter: here each test is one venue's, the next one
#: another's; at the other venues they are slow tests.
_IN_TURN = frozenset(
    {
        "test_crashes.py",
        "test_fence.py",
        "test_guard.py",
        "test_late_ends.py",
        "test_late_lists.py",
        "test_life.py",
        "test_silence.py",
        "test_spot.py",
        "test_strangers.py",
        "test_trouble.py",
    }
)


class _Compiled(dict[Any, Any]):
    """Statements as SQLAlchemy compiled them: an engine has a dialect, and with it a cache, of its own, and
    every test an engine. Here all engines for one kind of database share what any of them compiled.
    """

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(self._shared(key), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        super().__setitem__(self._shared(key), compiled)

    @staticmethod
    def _shared(key: Any) -> Any:
        dialect, *statement = key
        return (type(dialect), dialect.dbapi, dialect.server_version_info, *statement)


_COMPILED = _Compiled()
_create_engine = store._engine.create_engine


def _sharing(*args: Any, **options: Any) -> Any:
    engine = _create_engine(*args, **options)
    engine.update_execution_options(compiled_cache=_COMPILED)
    return engine


store._engine.create_engine = _sharing

_PREFIX = "desk-postgres-"
_LOOPBACK_NAMES = frozenset({"localhost", "", None})

hypothesis.settings.register_profile(
    "desk",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    database=None,
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
    ],
)
hypothesis.settings.load_profile("desk")


class Clock:
    """The time that the code under test is told: `clock()` now, `clock.advance(seconds)`, `clock.set(at)`."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def __call__(self) -> datetime:
        return self._at

    def advance(self, seconds: float | timedelta) -> datetime:
        """Moves on and returns the new time."""
        self._at += seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)
        return self._at

    def set(self, at: datetime) -> None:
        assert at.tzinfo is not None
        self._at = at


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 1, 5, 12, 0, tzinfo=UTC))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite file, closed: to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated, empty SQLite database of this test's own."""
    path = tmp_path / "desk.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def postgres_server() -> PostgresServer:
    """The run's Postgres, without durability (the tests kill connections, not the machine)."""
    return serve(_postgres_folder(), os.environ.get("PYTEST_XDIST_WORKER", "main"))


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A migrated, empty Postgres database of this test's own."""
    name = postgres_server.create()
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated, empty database; the test runs once on each kind."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = open_store(database_url)
    yield opened
    opened.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    _take_turns([item for item in items if item.path.name in _IN_TURN])
    for item in items:
        is_postgres = "postgres" in getattr(getattr(item, "callspec", None), "params", {}).values()
        # Of two databases one is enough to count on.
        if _UNCOUNTED & set(item.path.parts[len(_HERE.parts) :]) or is_postgres:
            item.add_marker(pytest.mark.no_cover)
        if is_postgres and item.path.name in _SQLITE_FIRST:
            item.add_marker(pytest.mark.slow)


def _take_turns(items: list[pytest.Item]) -> None:
    venues: dict[str, list[str]] = {}
    for item in items:
        found = venues.setdefault(item.nodeid.partition("[")[0], [])
        found += [name for name in _venues_of(item) if name not in found]
    turns = {test: number for number, test in enumerate(test for test, found in venues.items() if found)}
    for item in items:
        test = item.nodeid.partition("[")[0]
        if venues[test] and venues[test][turns[test] % len(venues[test])] not in _venues_of(item):
            item.add_marker(pytest.mark.slow)


def _venues_of(item: pytest.Item) -> list[str]:
    params = getattr(getattr(item, "callspec", None), "params", {}).values()
    return [name for name in params if isinstance(name, str) and name.isupper()]


def pytest_collection_finish() -> None:
    # Thousands of collected tests live to the end: walking them again and again is a tenth of the run.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The run's first process stops its server, and those that a killed run left behind."""
    if hasattr(config, "workerinput"):
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = int(folder.name.removeprefix(_PREFIX))
        if owner == os.getpid() or not psutil.pid_exists(owner):
            stop(folder)


def _postgres_folder() -> Path:
    """Named after the run's first process, which is the parent of each of pytest-xdist's workers."""
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    return Path(tempfile.gettempdir()) / f"{_PREFIX}{owner}"


def _guard(wrapped: Callable[..., Any], place: int) -> Callable[..., Any]:
    """`wrapped`, refused when its argument number `place` is an address or name beyond this machine."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        target = args[place] if len(args) > place else kwargs.get("host")
        host = target[0] if isinstance(target, tuple) else target
        unix = isinstance(args[0], socket.socket) and args[0].family == socket.AF_UNIX
        if not unix and not _is_loopback(host):
            pytest.fail(f"a test reached for the network: {host!r}")
        return wrapped(*args, **kwargs)

    return guarded


def _is_loopback(host: Any) -> bool:
    if host in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def _loopback_only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test but those marked `live` leaves this machine."""
    if request.node.get_closest_marker("live"):
        return
    monkeypatch.setattr(socket.socket, "connect", _guard(socket.socket.connect, 1))
    monkeypatch.setattr(socket.socket, "connect_ex", _guard(socket.socket.connect_ex, 1))
    monkeypatch.setattr(socket, "getaddrinfo", _guard(socket.getaddrinfo, 0))
