"""No package is pinned that nothing needs: each is imported, or needed by one that is, or named as a tool."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
SERVER = ("trading", "exchanges", "store", "desk", "web", "discord_bot", "migrations")
#: Not imported by name, and why they are here.
TOOLS = {
    "requirements.txt": {
        "psycopg-binary": "what psycopg is made of",
        "pysqlite3": "asked for by its name in a text, where there is a wheel of it",
        "audioop-lts": "for discord.py, from Python 3.13 on",
    },
    "requirements-dev.txt": {
        "mypy": "`make lint`",
        "ruff": "`make lint`",
        "pytest-cov": "a plugin",
        "pytest-timeout": "a plugin",
        "pytest-xdist": "a plugin",
        "types-requests": "for mypy",
        "vulture": "`make lint`",
    },
}
_IMPORT = re.compile(r"^ *(?:import|from) ([A-Za-z_]\w*)", re.MULTILINE)


def pinned(name: str) -> set[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return {normal(line.partition("==")[0]) for line in lines if "==" in line}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def imported(*folders: str) -> set[str]:
    """The packages that files import, by the name that they are installed under."""
    files = [*ROOT.glob("*.py"), *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]
    modules = {module for path in files for module in _IMPORT.findall(path.read_text(encoding="utf-8"))}
    return {normal(dist) for module in modules for dist in installed().get(module, ())}


@cache
def installed() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def needed_by(names: set[str]) -> set[str]:
    """These, and all that they ask for, and so on."""
    found, todo = set[str](), list(names)
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        todo += [normal(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]) for line in requires(name)]
    return found


def requires(name: str) -> list[str]:
    """What it asks for, a line each; nothing where it is of another platform or Python."""
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []


@pytest.mark.parametrize(
    ("name", "folders"), [("requirements.txt", SERVER), ("requirements-dev.txt", (*SERVER, "tests"))]
)
def test_every_package_is_needed(name: str, folders: tuple[str, ...]) -> None:
    tools = set(TOOLS[name])
    assert tools <= pinned(name)
    assert sorted(pinned(name) - needed_by(imported(*folders) | tools)) == []


def test_every_import_of_the_server_is_pinned() -> None:
    """And not only brought along by the tests' own packages."""
    assert imported(*SERVER) <= pinned("requirements.txt")


def test_what_the_server_pulls_in_is_pinned_too() -> None:
    needed = {
        normal(asked.name)
        for name in pinned("requirements.txt")
        for asked in map(Requirement, requires(name))
        if asked.marker is None or asked.marker.evaluate({"extra": ""})
    }
    assert needed - pinned("requirements.txt") == set()
