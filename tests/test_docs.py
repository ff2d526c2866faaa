"""What the documents say is so: targets, modules and links are those that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

ids = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


def anchors(path: Path) -> set[str]:
    """What a link may name in a page, as readers of Markdown make it of its headings."""
    text = re.sub(r"^ *```.*?^ *```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = [
        re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", each)).lower() for each in headings
    ]
    return {each.strip().replace(" ", "-") for each in plain}


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'<img src="([^"]+)"', text)
    for target in targets:
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        place = path.parent / name if name else path
        assert place.exists(), f"{path.name}: {target}"
        if anchor:
            assert anchor in anchors(place), f"{path.name}: {target}"


def test_no_page_stands_alone() -> None:
    """Each is reached from the README by links."""
    found, todo = set[Path](), [ROOT / "README.md"]
    while todo:
        path = todo.pop()
        if path.suffix != ".md" or path in found:
            continue
        found.add(path)
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
        todo += [(path.parent / link).resolve() for link in links]
    alone = {path for path in ROOT.glob("docs/*.md") if path.name != "index.md"} - found
    assert {path.name for path in alone} <= {"performance.md"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_what_is_to_be_typed_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE)) <= targets
    for module in set(re.findall(r"python -m ([a-z_.]+[a-z_])", text)) - {"pytest"}:
        file = ROOT / module.replace(".", "/")
        assert file.with_suffix(".py").exists() or (file / "__main__.py").exists(), f"{path.name}: {module}"


def test_every_defence_names_tests_that_there_are() -> None:
    """What the table of docs/security.md calls by name is a test, or a case of one."""
    table = (ROOT / "docs" / "security.md").read_text(encoding="utf-8").partition("\n## Not promised")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    written = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/test_*.py"))
    for against, _, shown in rows:
        names = re.findall(r"`([^`]+)`", shown)
        assert names, against
        for name in names:
            test, _, case = name.rstrip("]").partition("[")
            assert f"def test_{test}" in written, name
            assert case in written, name


def test_every_target_is_told_and_is_no_file() -> None:
    targets = re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE)
    assert targets == re.findall(r"^([a-z]+):.*## \S", MAKEFILE, re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert sorted(targets) == sorted(phony[1].split())
    assert {target for target in targets if target != "help"} == set(re.findall(r"`make ([a-z]+)`", COMMANDS))


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
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}
    assert len(navigation) == len(set(navigation))
    assert pages == set(navigation)


def requirements(name: str) -> list[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-r "))]
