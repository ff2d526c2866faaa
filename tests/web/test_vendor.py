"""Files that others wrote: the very bytes of the release that their lock names, with the licence beside."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = [ROOT / folder / "vendor/lock.json" for folder in ("web/static", "tests/web", "docs")]


@pytest.mark.parametrize("lock", LOCKS, ids=["web", "tests", "docs"])
def test_every_file_is_the_one_that_its_lock_names(lock: Path) -> None:
    told = json.loads(lock.read_text(encoding="utf-8"))
    licences = {each["licence_file"] for each in told.values()}
    assert {path.name for path in lock.parent.iterdir()} == {"lock.json", *told, *licences}
    for name, each in told.items():
        content = (lock.parent / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == each["sha256"]
        assert each["version"].encode() in content[:300] or each.get("unmarked")
        assert each["integrity"].startswith("sha512-")
        assert (lock.parent / each["licence_file"]).stat().st_size > 1000
