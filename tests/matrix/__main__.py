"""`python -m tests.matrix`: every point between two effects, on every venue, for every action: kill, restart,
and the venue's own record is checked.

The points come from a first run of each combination in which nobody dies. Ends with 1 if an entry was
doubled, an alert lost, a position naked for more than 5 s, or anything else not as it should be.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TextIO, TypeVar

from tests.databases import serve, stop
from tests.life.scenarios import SPOTS, VENUES
from tests.matrix.bench import Case, Outcome, actions_of, begin, run
from tests.matrix.stage import LAYOUTS

DATABASES = ("sqlite", "postgres")
HOWS = ("kill", "late", "cut")
ACTIONS = tuple(dict.fromkeys(action for venue in (*VENUES, *SPOTS) for action in actions_of(venue)))
#: What `judge` calls by these names, in the order of the table.
_WRONG = ("doubled", "lost", "naked")
#: Where there is room, databases lie in memory: what is killed here are processes, not machines.
_MEMORY = Path("/dev/shm")  # noqa: S108  # a folder of this run's own is made in it
_LONGEST_TOLD = 12_000

T = TypeVar("T")


@dataclass
class Tally:
    """What one row of the table counts."""

    points: int = 0
    struck: int = 0
    missed: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    bare: float = 0.0
    bare_here: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """Counts one case."""
        if not outcome.case.is_disturbed:
            self.points += len(outcome.points)
        elif outcome.struck:
            self.struck += 1
        else:
            self.missed += 1
        if outcome.wrong:
            self.wrong[outcome.wrong] += 1
        self.bare = max(self.bare, outcome.bare)
        self.bare_here = max(self.bare_here, outcome.bare_here)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.points + other.points,
            self.struck + other.struck,
            self.missed + other.missed,
            self.wrong + other.wrong,
            max(self.bare, other.bare),
            max(self.bare_here, other.bare_here),
        )

    def cells(self) -> list[str]:
        """In the order of the table's head."""
        known = [self.wrong[name] for name in _WRONG]
        other = sum(self.wrong.values()) - sum(known)
        counts = [self.points, self.struck, self.missed, *known, other]
        return [*map(str, counts), f"{self.bare:.2f}", f"{self.bare_here:.2f}"]


class Matrix:
    """The cases that were asked for, and what became of them."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked = asked
        self._rows: defaultdict[tuple[str, ...], Tally] = defaultdict(Tally)
        self._began = time.monotonic()
        self._done = 0
        self._known: dict[Case, Outcome] = {}
        self._record: TextIO | None = None
        if asked.record:
            self._known = _read(Path(asked.record))
            self._record = Path(asked.record).open("a", encoding="utf-8")  # noqa: SIM115  # open for the whole run

    def run(self, pool: ProcessPoolExecutor) -> int:
        """All of them; how many did not hold."""
        waiting: set[Future[Outcome]] = set()

        def hand_out(cases: Iterator[Case]) -> None:
            for case in cases:
                known = self._known.get(case)
                if known is None:
                    waiting.add(pool.submit(run, case))
                else:
                    self._count(known)
                    if not case.is_disturbed:
                        hand_out(self._disturbed(known))

        try:
            hand_out(self._undisturbed())
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                waiting -= done
                for future in done:
                    outcome = future.result()
                    self._note(outcome)
                    if not outcome.case.is_disturbed and not outcome.wrong:
                        hand_out(self._disturbed(outcome))
        except KeyboardInterrupt:
            print(f"# ended early, with {len(waiting)} runs to go")
            pool.shutdown(cancel_futures=True)
        return sum(self._total().wrong.values())

    def table(self) -> str:
        """A row for each venue, action, database and layout, and the sum."""
        head = ["venue", "action", "database", "runners", "points", "kills", "missed", *_WRONG, "other"]
        head += ["naked s", "(here)"]
        rows = [[*key, *tally.cells()] for key, tally in sorted(self._rows.items())]
        rows.append(["all", "", "", "", *self._total().cells()])
        widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
        lines = [
            "  ".join(
                cell.ljust(width) if at < 4 else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in [head, *rows]
        ]
        return "\n".join(line.rstrip() for line in lines)

    def _undisturbed(self) -> Iterator[Case]:
        asked = self._asked
        for venue, database, layout in product(asked.venues, asked.databases, asked.runners):
            for action in actions_of(venue):
                if action in asked.actions:
                    yield Case(venue=venue, action=action, database=database, layout=layout)

    def _disturbed(self, first: Outcome) -> Iterator[Case]:
        found: list[Case] = []
        for how in self._asked.how:
            if how == "late":
                found += [replace(first.case, how=how, late=key) for key in first.requests]
            elif how == "kill":
                found += [replace(first.case, how=how, point=point) for point in first.points]
            elif first.case.database == "postgres":
                commits = [point for point in first.points if point[1].startswith("commit")]
                found += [replace(first.case, how=how, point=point) for point in commits]
        wanted = [case for case in found if self._asked.match in str(case)]
        yield from _spread(wanted, self._asked.sample)

    def _note(self, outcome: Outcome) -> None:
        case = outcome.case
        self._count(outcome)
        self._done += 1
        if outcome.wrong:
            print(f"NOT HELD, {outcome.wrong}: {case}\n{outcome.told[:_LONGEST_TOLD]}\n", flush=True)
        elif self._done % 50 == 0:
            spent = time.monotonic() - self._began
            print(f"# {self._done} runs in {spent:.0f} s, the last: {case}", flush=True)
        if self._record is not None:
            self._record.write(json.dumps(asdict(outcome)) + "\n")
            self._record.flush()

    def _count(self, outcome: Outcome) -> None:
        case = outcome.case
        self._rows[case.venue, case.action, case.database, case.layout].add(outcome)

    def _total(self) -> Tally:
        return sum(self._rows.values(), Tally())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is asked for and prints the table."""
    asked = _asked(arguments)
    if "TMPDIR" not in os.environ and os.access(_MEMORY, os.W_OK):
        os.environ["TMPDIR"] = str(_MEMORY)
    # What ends it early still prints what it has.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="desk-matrix-", ignore_cleanup_errors=True) as name:
        folder, uri = Path(name), ""
        try:
            if "postgres" in asked.databases:
                uri = serve(folder / "postgres", "main").uri
            spawn = multiprocessing.get_context("spawn")
            matrix = Matrix(asked)
            with ProcessPoolExecutor(asked.jobs, spawn, begin, (folder, uri)) as pool:
                wrong = matrix.run(pool)
        finally:
            if uri:
                stop(folder / "postgres")
    print(f"{matrix.table()}\n{time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__.partition("\n\n")[0])

    def some(name: str, choices: Sequence[str], told: str, default: Sequence[str] | None = None) -> None:
        parser.add_argument(
            f"--{name}",
            type=lambda text: _chosen(text, choices),
            default=list(default or choices),
            metavar=",".join(choices).replace(" ", "_"),
            help=told,
        )

    some("venues", (*VENUES, *SPOTS), "where it trades")
    some("actions", ACTIONS, "what is sent")
    some("databases", DATABASES, "on which it is written down")
    some("runners", tuple(LAYOUTS), "in the web process, in one of its own, in two, on two hosts")
    some("how", HOWS, "kill; kill with a request on its way; the database ends all connections")
    parser.add_argument("--sample", type=int, default=0, help="so many points of each combination; 0: all")
    parser.add_argument("--match", default="", help="only cases that are told with this text in them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="so many at a time")
    parser.add_argument(
        "--record",
        default="",
        help="a file that takes each outcome, as a line of JSON; what held there is not run again",
    )
    return parser.parse_args(arguments)


def _read(path: Path) -> dict[Case, Outcome]:
    """The outcomes that a file holds, but for what was not as it should be."""
    known: dict[Case, Outcome] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        told = json.loads(line)
        case = told["case"]
        for name in ("point", "late"):
            case[name] = tuple(case[name]) if case[name] else None
        for name in ("points", "requests"):
            told[name] = [tuple(each) for each in told[name]]
        if not told["wrong"]:
            known[Case(**case)] = Outcome(**{**told, "case": Case(**case)})
    return known


def _chosen(text: str, choices: Sequence[str]) -> list[str]:
    chosen = [name.strip().replace("_", " ") for name in text.split(",")]
    known = {choice.replace("_", " "): choice for choice in choices}
    if not set(chosen) <= known.keys():
        raise argparse.ArgumentTypeError(f"takes some of {','.join(choices)}")
    return [known[name] for name in chosen]


def _spread(found: Sequence[T], count: int) -> Sequence[T]:
    """So many of them, evenly, the first and the last included."""
    if not 0 < count < len(found):
        return found
    if count == 1:
        return found[len(found) // 2 : len(found) // 2 + 1]
    return [found[round(at * (len(found) - 1) / (count - 1))] for at in range(count)]


if __name__ == "__main__":
    sys.exit(main())
