"""What the documents say is so: settings, targets, modules and links are those that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from desk.settings import ACCOUNT_VARIABLES, API_URL_VARIABLE, VARIABLES

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

ids = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


def settings_of(text: str) -> dict[str, str]:
    """Variable and default, of the table under "## Settings"."""
    section = text.partition("\n## Settings\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if re.match(r"\| [A-Z]", line)]
    return {name.strip(): default.strip() for name, _, default in rows if name.strip() != "Variable"}


def test_the_settings_table_is_complete() -> None:
    named = settings_of(README)
    urls = {name for name in named if name not in VARIABLES and API_URL_VARIABLE.fullmatch(name)}
    assert sorted(named) == sorted([*VARIABLES, *ACCOUNT_VARIABLES, *urls])


def test_the_example_and_the_table_name_the_same() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert list(settings_of(README)) == re.findall(r"^([A-Z0-9_]+)=", example, re.MULTILINE)


def test_defaults_are_those_of_the_example() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    given = dict(re.findall(r"^([A-Z0-9_]+)=(.+)$", example, re.MULTILINE))
    told = {name: default.strip("`") for name, default in settings_of(README).items()}
    for name in VARIABLES:
        if name in given:
            assert told[name] == given[name]


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if not target.startswith(("http://", "https://", "mailto:", "#")):
            assert (path.parent / target.partition("#")[0]).exists(), f"{path.name}: {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_what_is_to_be_typed_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE)) <= targets
    for module in re.findall(r"python -m ([a-z_.]+[a-z_])", text):
        file = ROOT / module.replace(".", "/")
        assert file.with_suffix(".py").exists() or (file / "__main__.py").exists(), f"{path.name}: {module}"


def test_every_target_is_told_and_is_no_file() -> None:
    targets = re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE)
    assert targets == re.findall(r"^([a-z]+):.*## \S", MAKEFILE, re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert sorted(targets) == sorted(phony[1].split())
    assert {target for target in targets if target not in ("help", "run")} <= set(
        re.findall(r"make ([a-z]+)", README)
    )


def test_decisions_are_numbered_without_a_gap_and_fit_on_a_page() -> None:
    decisions = sorted((ROOT / "docs" / "adr").glob("*.md"))
    for number, path in enumerate(decisions, start=1):
        text = path.read_text(encoding="utf-8")
        assert path.name.startswith(f"{number:04}-")
        assert text.startswith(f"# {number}. ")
        assert len(text.splitlines()) <= 60


def test_runtime_requirements_are_pinned_and_hold_no_test_tool() -> None:
    runtime = requirements("requirements.txt")
    beside = requirements("requirements-dev.txt")
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][^ ;]*( *;.*)?", line) for line in [*runtime, *beside])
    names = {line.partition("==")[0].lower() for line in runtime}
    assert not names & {line.partition("==")[0].lower() for line in beside}
    assert not {name for name in names if re.search(r"pytest|hypothesis|mypy|ruff|coverage|pgserver", name)}


def test_what_builds_the_site_is_pinned_and_agrees_with_the_rest() -> None:
    site = requirements("requirements-docs.txt")
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][^ ;]*", line) for line in site)
    others = dict(
        line.split("==")
        for name in ("requirements.txt", "requirements-dev.txt")
        for line in requirements(name)
        if ";" not in line
    )
    for name, version in (line.split("==") for line in site):
        assert others.get(name, version) == version


def test_every_page_is_in_the_navigation() -> None:
    told = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    navigation = re.findall(r"^ +- .*: (\S+\.md)$", told.partition("\nnav:\n")[2], re.MULTILINE)
    waiting = re.findall(
        r"^  (\S+\.md)$", told.partition("\nnot_in_nav: |\n")[2].partition("\nhooks:")[0], re.MULTILINE
    )
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}
    assert len(navigation) == len(set(navigation))
    assert pages - set(waiting) == set(navigation)


def requirements(name: str) -> list[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-r "))]
