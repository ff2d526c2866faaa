"""`make release`: whether this tree can be released, and what to type then. Tags nothing, pushes nothing.

The version stands in pyproject.toml; CHANGELOG.md begins with what it brings.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BRANCH = "main"
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def version(root: Path) -> str:
    """What pyproject.toml says."""
    told = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return str(told["project"]["version"])


def newest(root: Path) -> tuple[str, str]:
    """Heading and text of the changelog's first section."""
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    heading, _, text = changelog.partition("\n## ")[2].partition("\n")
    return heading.strip(), text.partition("\n## ")[0].strip()


def problems(root: Path) -> list[str]:
    """What stands in the way, a line each."""
    found = []
    number = version(root)
    heading, text = newest(root)
    if not _VERSION.fullmatch(number):
        found.append(f"pyproject.toml: version {number!r} is not of the form 1.2.3")
    if heading != number:
        found.append(f"CHANGELOG.md begins with {heading!r} and pyproject.toml says {number!r}: one is wrong")
    if not text:
        found.append(f"CHANGELOG.md says nothing under {heading!r}")
    branch = _git(root, "branch", "--show-current")
    if branch != BRANCH:
        found.append(f"this is the branch {branch or '(none)'}: releases are made from {BRANCH}")
    if changed := _git(root, "status", "--porcelain"):
        found.append(f"not committed: {', '.join(line[2:].strip() for line in changed.splitlines())}")
    if _git(root, "tag", "--list", f"v{number}"):
        found.append(f"the tag v{number} is there already: raise the version in pyproject.toml")
    return found


def main(root: Path = ROOT) -> int:
    """0 where it could be released, else 1."""
    if found := problems(root):
        print("\n".join(["not to be released:", *(f"  {each}" for each in found)]))
        return 1
    number = version(root)
    commit = _git(root, "rev-parse", "--short", "HEAD")
    print(f"desk {number} could be released from {commit}; nothing was done.")
    print("What .ci/run and `make slow` say counts; then:\n")
    print(f"git tag --annotate v{number} --cleanup=verbatim --file=- <<'END'")
    print(f"desk {number}\n\n{newest(root)[1]}\nEND")
    print(f"git push origin v{number}")
    return 0


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
    return done.stdout.rstrip()


if __name__ == "__main__":
    sys.exit(main())
