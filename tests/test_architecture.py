"""The house's rules, read from the source: who may import whom, and what may stand where."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("trading", "exchanges", "store", "desk", "web", "discord_bot")

#: A package, or app.py, and what of the house it may import; a name with a dot is one module.
ALLOWED = {
    "trading": set(),
    "exchanges": {"trading"},
    "store": {"trading"},
    "desk": {"trading", "exchanges", "store"},
    "web": {"trading", "desk"},
    "discord_bot": {"trading", "store", "desk.intake", "desk.report", "desk.settings", "desk.logs"},
    "app": {"trading", "store", "desk", "web"},
    "gunicorn.conf": {"trading", "desk"},
}
#: The same for what is not of the house.
FOREIGN = {
    "trading": set(),
    "exchanges": {"requests", "urllib3"},
    "store": {"sqlalchemy", "psycopg", "pysqlite3"},
    "desk": {"dotenv"},
    "web": {"flask", "gunicorn", "markupsafe", "werkzeug"},
    "discord_bot": {"aiohttp", "discord", "PIL", "yarl"},
    "app": {"flask"},
    "gunicorn.conf": set(),
}
SQL = {"sqlalchemy", "alembic", "psycopg", "pysqlite3", "sqlite3"}
#: Runs the migrations, in a process of its own.
MIGRATOR = "desk.migrate"
#: What the bot may import of desk: these, and all that they import, may not reach a venue.
BOT_DOORS = ("desk.intake", "desk.report", "desk.settings", "desk.logs")
VENUES = re.compile(r"ftx|binance|bybit", re.IGNORECASE)
MAX_LINES = 500
#: Files that are longer, and why.
LONG = {
    "docs/openapi.json": "made of the code by `python -m tests.docs`",
    "tests/desk/broken_alerts.py": "a list: each way to break an alert",
    "tests/desk/test_replay.py": "one tape after another, played both ways",
    "tests/discord_bot/test_feed.py": "one notice after another",
    "tests/exchanges/test_paper.py": "one venue, verb by verb",
    "tests/exchanges/toy_venue.json": "what a venue is asked and answers, word for word",
    "tests/trading/test_alert.py": "the grammar, key by key",
    "tests/trading/test_matching.py": "the engine, rule by rule",
    "tests/venues/binance.json": "what a venue is asked and answers, word for word",
    "tests/venues/bybit.json": "the same",
    "tests/venues/ftx.json": "the same",
}


def sources() -> dict[str, Path]:
    """Every module of the house by its dotted name."""
    found = {"app": ROOT / "app.py", "gunicorn.conf": ROOT / "gunicorn.conf.py"}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return dict(sorted(found.items()))


@cache
def texts() -> dict[str, str]:
    """Every file of the repository that somebody here wrote, by its path."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    found = {}
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if path.is_file() and path.suffix != ".png" and "/vendor/" not in name:
            found[name] = path.read_text(encoding="utf-8")
    return found


SOURCES = sources()


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(SOURCES[name].read_text(encoding="utf-8"), filename=str(SOURCES[name]))


def room(name: str) -> str:
    """The package of a module; app and gunicorn.conf are rooms of their own."""
    return name if name in ALLOWED else name.partition(".")[0]


@cache
def imports(name: str) -> set[str]:
    """All that a module imports, wherever in it: `from a import b` counts as a.b where that is a module."""
    found: set[str] = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno} imports relatively"
            base = node.module or ""
            names = {f"{base}.{alias.name}" for alias in node.names}
            found |= {each if each in SOURCES else base for each in names}
    return found


def reached(name: str) -> Iterator[str]:
    """The modules of the house that importing `name` loads, packages on the way included."""
    seen, waiting = set(), [name]
    while waiting:
        each = waiting.pop()
        if each in seen or each not in SOURCES:
            continue
        seen.add(each)
        yield each
        waiting += [*imports(each), each.rpartition(".")[0]]


def calls(name: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def test_the_six_packages_stand() -> None:
    assert set(PACKAGES) <= {room(name) for name in SOURCES}


def test_who_may_import_whom() -> None:
    for name in SOURCES:
        mine = room(name)
        for imported in imports(name):
            top = imported.partition(".")[0]
            if top in PACKAGES:
                rooms = ALLOWED[mine] | {mine}
                assert {top, imported} & rooms, f"{name} may not import {imported}"
            elif top not in sys.stdlib_module_names:
                known = FOREIGN[mine] | (SQL if name == MIGRATOR else set())
                assert top in known, f"{name} may not import {imported}"


def test_sql_stands_in_store_alone() -> None:
    for name in SOURCES:
        if room(name) != "store" and name != MIGRATOR:
            spoken = {imported.partition(".")[0] for imported in imports(name)} & SQL
            assert not spoken, f"{name} imports {spoken}"


def test_migrations_stay_out_of_what_serves_and_trades() -> None:
    for name in SOURCES:
        assert name == MIGRATOR or MIGRATOR not in imports(name), f"{name} imports {MIGRATOR}"


@pytest.mark.parametrize("door", [*BOT_DOORS, *(name for name in SOURCES if room(name) == "discord_bot")])
def test_the_bot_reaches_no_exchange(door: str) -> None:
    assert not [name for name in reached(door) if room(name) == "exchanges"]


@pytest.mark.parametrize("name", [name for name in SOURCES if room(name) == "trading"])
def test_trading_has_no_float_no_clock_no_file(name: str) -> None:
    banned = ("float", "open", "print", "input")
    for line, function in calls(name):
        clock = function.endswith(("datetime.now", "datetime.utcnow", "date.today", "time.time"))
        assert function not in banned, f"{name}:{line} calls {function}"
        assert not clock, f"{name}:{line} calls {function}"
    assert not imports(name) & {"os", "io", "pathlib", "logging", "random", "secrets", "socket", "time"}


def test_a_venues_name_stands_in_its_own_file_alone() -> None:
    for name, path in SOURCES.items():
        own = room(name) == "exchanges" and not path.name.startswith("_")
        if not own:
            lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
            assert not [number for number, line in lines if VENUES.search(line)], f"{path} names a venue"


@pytest.mark.parametrize("name", [name for name in SOURCES if name in PACKAGES])
def test_a_package_says_what_it_must_never_do(name: str) -> None:
    assert re.search(r"\b(never|not)\b", ast.get_docstring(tree(name)) or "", re.IGNORECASE)


def test_a_module_says_what_it_does() -> None:
    for name in SOURCES:
        assert ast.get_docstring(tree(name)), f"{name} has no docstring"


def test_the_door_stays_small() -> None:
    assert len(SOURCES["app"].read_text(encoding="utf-8").splitlines()) <= 60


def test_nothing_is_swallowed() -> None:
    for name in SOURCES:
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.ExceptHandler):
                only_pass = len(node.body) == 1 and isinstance(node.body[0], ast.Pass)
                assert not only_pass, f"{name}:{node.lineno} swallows"


def test_nothing_is_put_off() -> None:
    later = re.compile(r"\b(?:T[O]DO|F[I]XME|X[X]X|H[A]CK)\b")  # the brackets: this file is looked at as well
    assert {name: found for name, text in texts().items() if (found := later.findall(text))} == {}


def test_a_long_file_has_its_reason() -> None:
    long = {name for name, text in texts().items() if len(text.splitlines()) > MAX_LINES}
    assert long == set(LONG)
