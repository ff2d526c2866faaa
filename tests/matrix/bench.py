"""Runs one case of the matrix after another, and says what each came to.

A case is a venue, an action, a database, a layout of processes and the point at which one of them dies.
"""

from __future__ import annotations

import importlib
import os
import random
import shutil
import signal
import socket
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from sqlalchemy import select

from store.tables import fills, orders, positions
from tests.databases import PostgresServer, migrate
from tests.emulator.server import Server
from tests.life import scenarios
from tests.life.books import MARKETS, OWN
from tests.matrix.mortal import Point
from tests.matrix.shared import Shared
from tests.matrix.stage import CoinStage, Stage
from tests.matrix.zygote import Zygote
from trading.model import ZERO, OrderStatus

#: Longest that a position may lie without its stop, in seconds of the venue's clock.
NAKED_LIMIT = 5.0
#: How long the play goes on when the alert has ended: past the doubts of lists and balances.
_AFTERWARDS = 6.0
#: Ports below those that the system gives to connections.
_PORTS = range(20_000, 32_000)
_OPEN = (OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED, OrderStatus.SUBMITTED)


def approval(life: Any) -> tuple[str, list[str]]:
    """An entry that waits for a yes, which comes over the API as soon as it is asked for."""
    return life.store_only("entry", **scenarios.LONG, **scenarios.LADDER), []


PERPETUAL = scenarios.WITHOUT_PEOPLE | {"approval": approval}
COINS = scenarios.COINS_WITHOUT_PEOPLE | {"approval": approval}


def actions_of(venue: str) -> dict[str, scenarios.Scenario]:
    return COINS if MARKETS[venue].venue else PERPETUAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`how`: kill (at `point`), late (the request `late` is held up and its sender killed), cut (the
    database ends all connections at `point`). Without a point nobody dies: that run finds the points."""

    venue: str
    action: str
    database: str
    layout: str
    how: str = "kill"
    point: Point | None = None
    late: tuple[str, int] | None = None

    @property
    def is_disturbed(self) -> bool:
        return self.point is not None or self.late is not None

    def __str__(self) -> str:
        where = self.point or self.late or "undisturbed"
        return f"{self.venue} {self.action} on {self.database}, {self.layout}: {self.how} at {where}"


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a case came to. `wrong` names what did not hold, `told` all that is known of it.

    `points` and `requests` are what an undisturbed run found. `bare` is the longest time without a stop by
    the venue's clock, `bare_here` by this machine's, both after the restart.
    """

    case: Case
    struck: bool = False
    wrong: str = ""
    told: str = ""
    bare: float = 0.0
    bare_here: float = 0.0
    seconds: float = 0.0
    points: list[Point] = field(default_factory=list)
    requests: list[tuple[str, int]] = field(default_factory=list)


class Wrong(Exception):
    """Something did not hold: its name."""


class Bench:
    """A zygote, a folder and a port; one case at a time."""

    def __init__(
        self, folder: Path, postgres: PostgresServer | None, *, template: Path | None = None
    ) -> None:
        self._postgres = postgres
        self._folder = Path(tempfile.mkdtemp(dir=folder))
        self._shared = Shared(self._folder / "shared", new=True)
        self._zygote = Zygote(self._folder / "shared")
        self._port = _free_port()
        self._template = template or self._folder / "template.db"
        if template is None:
            migrate(f"sqlite:///{self._template}")

    def close(self) -> None:
        """Ends the zygote."""
        self._zygote.close()

    def run(self, case: Case) -> Outcome:
        """Plays it to its end, whatever happens, and judges."""
        outcome, began = Outcome(case=case), time.monotonic()
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        name = None
        if case.database == "postgres":
            assert self._postgres is not None
            name = self._postgres.create()
            url = self._postgres.url(name)
        else:
            shutil.copyfile(self._template, folder / "desk.db")
            url = f"sqlite:///{folder / 'desk.db'}"
        self._shared.reset()
        try:
            self._play(case, outcome, folder, url)
        except Wrong as wrong:
            outcome.wrong = str(wrong)
        except Exception:  # noqa: BLE001  # told with the case, whatever it is: the others go on
            outcome.wrong = outcome.wrong or "broken"
            outcome.told += traceback.format_exc()
        finally:
            if name is not None and self._postgres is not None:
                self._postgres.drop(name)
            shutil.rmtree(folder, ignore_errors=True)
        outcome.seconds = time.monotonic() - began
        return outcome

    def strike(self, case: Case) -> Outcome:
        """As `run`, once more where nobody died: threads take turns, and so do the neighbours of a point."""
        outcome = self.run(case)
        if case.is_disturbed and not outcome.struck and not outcome.wrong:
            outcome = self.run(case)
        return outcome

    def _play(self, case: Case, outcome: Outcome, folder: Path, url: str) -> None:
        is_coins = bool(MARKETS[case.venue].venue)
        more: dict[str, Any] = {"own": {"BTC": OWN, "BNB": Decimal(5)}} if is_coins else {}
        engine, dialect = importlib.import_module(f"tests.emulator.{case.venue.lower()}").build(
            self._shared, **more
        )
        engine.move(MARKETS[case.venue].symbol, Decimal(42000))
        with Server(dialect, engine) as server:
            stage = (CoinStage if is_coins else Stage)(
                case.venue,
                server,
                shared=self._shared,
                zygote=self._zygote,
                url=url,
                folder=folder,
                port=self._port,
                layout=case.layout,
                point=case.point if case.how != "late" else None,
                late=case.late,
                cut=case.how == "cut",
                **({"APPROVAL_MAIN": "discord"} if case.action == "approval" else {}),
            )
            try:
                alert_id, before = actions_of(case.venue)[case.action](stage)
                stage.finish(alert_id)
                outcome.points, outcome.requests = _numbered(stage), _requests(server)
                stage.wait(_AFTERWARDS)
                server.settle()
                stage.close()
                outcome.struck = self._shared.obeyed
                outcome.bare, outcome.bare_here = stage.cover.longest, stage.cover.longest_here
                judge(stage, case, alert_id, before)
            except BaseException as error:
                outcome.struck = self._shared.obeyed
                outcome.told = f"{error}: {error.__cause__}\n{stage.trace()}\n{server.story()}\n{stage.log()}"
                raise
            finally:
                stage.close()


_bench: Bench | None = None


def begin(folder: Path, uri: str) -> None:
    """Once in each process of a pool: its bench. `uri` as in PostgresServer, or empty."""
    global _bench  # noqa: PLW0603  # one to each process
    bench = _bench = Bench(folder, PostgresServer(uri, f"matrix{os.getpid()}") if uri else None)
    Finalize(bench, bench.close, exitpriority=10)
    # Ctrl-C is for the one that hands out the cases: what is under way comes to its end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def run(case: Case) -> Outcome:
    """One case, on the bench of this process."""
    assert _bench is not None
    return _bench.strike(case)


def judge(stage: Stage, case: Case, alert_id: str, before: list[str]) -> None:
    """What must hold, by the venue's own record first; raises Wrong with the name of what does not."""
    for each in (*before, alert_id):
        made = [r for r in stage.account.records.values() if (r.client_id or "").startswith(f"{each}-e")]
        if sum(1 for record in made if record.filled or record.is_open) > 1 or stage.entered(each) > 2:
            raise Wrong("doubled") from AssertionError(f"{made}")
    status = stage.status(alert_id)
    if status not in ("DONE", "FAILED", "DENIED", "EXPIRED", "DECLINED"):
        raise Wrong("lost") from AssertionError(f"{alert_id} is {status}")
    if stage.cover.longest > NAKED_LIMIT:
        raise Wrong("naked") from AssertionError(f"{stage.cover.longest} s")
    try:
        scenarios.must_hold(stage, case.action, alert_id, before, str(case))
    except AssertionError as error:
        raise Wrong("wrong end") from error
    try:
        equal_records(stage)
    except AssertionError as error:
        raise Wrong("records") from error


def equal_records(stage: Stage) -> None:
    """Our orders, fills and position are the venue's."""
    with stage.store.read() as tx:
        ours = [row for row in tx.execute(select(orders)) if row.status in _OPEN]
        filled = list(tx.execute(select(fills)))
        (lane,) = tx.execute(select(positions))
    doubts = [row.client_order_id for row in ours if row.status == OrderStatus.SUBMITTED]
    assert doubts == [], f"nobody knows what became of {doubts}"
    # A stop that came with its entry has no id of ours; side and level say which it is.
    mine = Counter((row.side, row.trigger_price or row.price) for row in ours)
    theirs = Counter(
        (str(each.side), each.trigger if each.conditional or each.attached else each.price)
        for each in stage.resting
    )
    # Those that wait for the entry's first fill.
    brought = [each for each in stage.resting if each.attached_stop is not None and not each.filled]
    theirs.update((str(each.side.opposite), each.attached_stop) for each in brought)
    assert mine == theirs, f"ours {mine}, theirs {theirs}"
    traded = [fill for fill in stage.account.fills if fill.symbol == stage.market.symbol]
    for side in ("BUY", "SELL"):
        told = sum((row.quantity for row in filled if row.side == side), ZERO)
        made = sum((fill.quantity for fill in traded if fill.side == side), ZERO)
        assert told == made, f"{side}: ours {told}, theirs {made}"
    if lane.quantity or stage.tradable:
        assert lane.quantity == stage.position, f"ours {lane.quantity}, theirs {stage.position}"
    assert lane.owner is None
    assert lane.naked_since is None
    assert lane.drift_since is None


def _numbered(stage: Stage) -> list[Point]:
    """Each effect of the play, with which of its name it is."""
    counts: Counter[tuple[str, str]] = Counter()
    found = []
    for role, name, _ in stage.trace():
        counts[role, name] += 1
        found.append((role, name, counts[role, name]))
    return found


def _requests(server: Server) -> list[tuple[str, int]]:
    return [seen.key for seen in server.log if seen.method != "GET"]


def _free_port(ports: Sequence[int] = _PORTS) -> int:
    for port in random.sample(ports, len(ports)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free")
