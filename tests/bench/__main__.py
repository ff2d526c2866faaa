"""`python -m tests.bench [PART…]`: one table; ratios are to a floor that was measured in the same run.

Needs a quiet machine. Ends with 0 whether targets are met or not: the table says which.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench import answer, burst, footprint, growth, order, signing
from tests.bench.place import HEAD, Line, databases

PARTS: dict[str, Callable[[str, Path], Iterator[Line]]] = {
    "answer": answer.measure,
    "order": order.measure,
    "burst": burst.measure,
    "footprint": footprint.measure,
    "growth": growth.measure,
    "signing": signing.measure,
}
DATABASES = ("sqlite", "postgres")
#: Parts in which the database counts for little.
_ONCE = ("order", "signing")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--databases", default=",".join(DATABASES))
    parser.add_argument("--alerts", type=int, default=growth.MANY, help="how many are stored in the end")
    asked = parser.parse_args()
    growth.MANY = asked.alerts
    print(f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}\n{HEAD}")
    missed = 0
    for part in asked.parts or PARTS:
        for name in asked.databases.split(",")[: 1 if part in _ONCE else None]:
            with tempfile.TemporaryDirectory() as folder, databases(Path(folder), (name,)) as urls:
                for line in PARTS[part](urls[name], Path(folder)):
                    print(line, flush=True)
                    missed += not line.is_met
    print(f"targets missed: {missed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
