"""What the processes weigh, how soon they answer, and what they do while nothing is to be done."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil

from tests.bench import load
from tests.bench.answer import ROUTE, alerts
from tests.bench.place import Line, server
from tests.processes import ROOT, bare_environ
from tests.soak.play import KEY, SECRET, VENUES, opened

STARTS = 5
IDLE = 30.0
_MODULES = {"web": "app", "runner": "desk.runner", "bot": "discord_bot.__main__"}


def measure(url: str, folder: Path) -> Iterator[Line]:
    """One server with its runner, at three venues that nothing is asked of."""
    kind = "SQLite" if url.startswith("sqlite") else "Postgres"
    with ExitStack() as stack:
        venues = [stack.enter_context(opened(name)) for name in VENUES]
        urls = {f"{venue.dialect.name.upper()}_API_URL": venue.url for venue in venues}
        keys = {"LIVE_TRADING": "1", "API_KEY_MAIN": KEY, "API_SECRET_MAIN": SECRET}
        starts = []
        for _ in range(STARTS):
            with server(url, folder, **urls, **keys) as desk:
                starts.append(desk.answered)
        yield Line(
            name=f"{kind}: start to first answer",
            value=1000 * sorted(starts)[STARTS // 2],
            limit=1000,
            note=f"slowest {1000 * max(starts):.0f}",
        )
        desk = stack.enter_context(server(url, folder, **urls, **keys))
        load.run(
            desk.port,
            [load.post(ROUTE, body) for body in alerts(200, f"weight{kind}", message="tp1")],
            connections=8,
            expect=200,
        )
        time.sleep(5)
        group = [psutil.Process(desk.pid), *psutil.Process(desk.pid).children(recursive=True)]
        weight = max(each.memory_info().rss for each in group) / 2**20
        yield Line(
            name=f"{kind}: memory of the web process, with its runner", value=weight, unit="MiB", limit=90
        )
        asked, spent = sum(len(venue.log) for venue in venues), _cpu(group)
        time.sleep(IDLE)
        yield Line(
            name=f"{kind}: CPU while idle",
            value=100 * (_cpu(group) - spent) / IDLE,
            unit="%",
            note="of one core",
        )
        requests = (sum(len(venue.log) for venue in venues) - asked) * 3600 / IDLE
        yield Line(name=f"{kind}: requests to venues an hour, idle", value=requests, unit="/h")
    for name, module in _MODULES.items():
        seconds, size = _imported(module)
        yield Line(
            name=f"{name}: imports", value=1000 * seconds, note=f"{size:.0f} MiB with nothing done yet"
        )


def _cpu(group: list[psutil.Process]) -> float:
    times = [each.cpu_times() for each in group]
    return float(sum(each.user + each.system for each in times))


def _imported(module: str) -> tuple[float, float]:
    code = (
        "import time; t = time.perf_counter()\n"
        f"import {module}\n"
        "took = time.perf_counter() - t\n"
        # Not the most that it ever was: that counts what started it, before it became this.
        "import resource\n"
        "pages = int(open('/proc/self/statm').read().split()[1])\n"
        "print(took, pages * resource.getpagesize() / 2**20)"
    )
    runs = []
    for _ in range(STARTS):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=bare_environ() | {"PYTHONPATH": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        seconds, size = done.stdout.split()
        runs.append((float(seconds), float(size)))
    return sorted(runs)[STARTS // 2]
