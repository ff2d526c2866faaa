"""`make release` on repositories in small, and on the versions of this one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import release

CHANGELOG = '# Changelog\n\n## {version}\n\n- It\'s new: `$HOME` "quoted".\n\n## 0.0.9\n\n- Old.\n'


def git(root: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *words], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout


def write(root: Path, version: str = "0.1.0", heading: str = "0.1.0") -> None:
    (root / "pyproject.toml").write_text(f'[project]\nname = "desk"\nversion = "{version}"\n')
    (root / "CHANGELOG.md").write_text(CHANGELOG.format(version=heading))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write(tmp_path)
    git(tmp_path, "init", "--initial-branch=main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "all")
    return tmp_path


def test_what_it_prints_works_as_pasted_and_it_does_nothing(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = git(tree, "for-each-ref")
    assert release.main(tree) == 0
    assert git(tree, "for-each-ref") == before
    said = capsys.readouterr().out
    tag, _, push = said[said.index("git tag") :].partition("git push")
    assert push == " origin v0.1.0\n"
    git(tree, "config", "user.name", "a")
    git(tree, "config", "user.email", "a@b")
    subprocess.run(["sh", "-ec", tag], cwd=tree, check=True)
    assert git(tree, "tag", "--list", "--format=%(contents)", "v0.1.0") == (
        'desk 0.1.0\n\n- It\'s new: `$HOME` "quoted".\n\n'
    )
    assert release.main(tree) == 1
    assert "the tag v0.1.0 is there already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda tree: (tree / "new.py").touch(), "not committed: new.py"),
        (lambda tree: write(tree, version="0.2.0"), "CHANGELOG.md begins with '0.1.0' and pyproject.toml"),
        (lambda tree: write(tree, heading="Unreleased"), "CHANGELOG.md begins with 'Unreleased'"),
        (lambda tree: write(tree, version="0.2", heading="0.2"), "'0.2' is not of the form 1.2.3"),
        (lambda tree: (tree / "CHANGELOG.md").write_text("# C\n\n## 0.1.0\n\n## 0\n"), "says nothing under"),
        (lambda tree: git(tree, "switch", "-c", "draft"), "this is the branch draft"),
    ],
)
def test_what_stands_in_the_way_is_told(
    tree: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], object], says: str
) -> None:
    spoil(tree)
    assert release.main(tree) == 1
    said = capsys.readouterr().out
    assert said.startswith("not to be released:\n")
    assert says in said
    assert "git tag" not in said


def test_the_changelog_of_this_tree_is_the_one_of_its_version() -> None:
    heading, text = release.newest(release.ROOT)
    assert heading == release.version(release.ROOT)
    assert text.endswith(".")
