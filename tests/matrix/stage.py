"""One play of the matrix: a venue, a database, the processes that trade, and the clock's hand.

Speaks like a Life of tests/life, so that both play the same scenarios. The clock is turned only when nobody
has anything left to do; what dies is started again. It must never look into the database of a process that
has just died before its successor has: recovering it is the successor's.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import requests

from desk import report
from desk.owner import started as started_at
from store import Store, open_store
from store._engine import sqlite_driver
from tests.emulator.server import Fault, Server
from tests.emulator.wire import Request, Response
from tests.life.books import Books, CoinBooks
from tests.matrix.mortal import Point
from tests.matrix.shared import Shared
from tests.matrix.zygote import Zygote
from tests.processes import PASSPHRASE, PASSWORD, bare_environ

#: Seconds of this machine's clock that a play may take, and that a turn of it may.
PATIENCE, PAUSE = 180.0, 0.02
#: The longest turn of the clock, and that while a dead process still holds a lane.
_FAR, _NEAR = 2.0, 0.25
#: Who waits for the clock amid its work, as a limiter does, gets it when nobody has come to rest in more than
#: so many looks. Not in so much time: where the machine is busy, others work for longer.
_STUCK = 5
#: A lane that a living process could not give back waits for its lease: after so many, so far is turned on.
_HELD, _ON = 90, 1.0
#: A lane that is due or in hand is looked at again after this long, if nobody says anything before.
_LOOK_EVERY = 0.3
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LANES = "SELECT owner, due_at FROM positions"
_INTENTS = "SELECT id, status FROM intents ORDER BY seq"
_UNDONE = ("RECEIVED", "APPROVED", "EXECUTING")

_TWO = [("web", "web"), ("runner", "runner"), ("runner", "runner")]
#: Which processes there are, by role and module: one with the runner in it; or a runner apart; or two, on
#: one host or each on its own, where nobody can see that the other has died.
LAYOUTS: dict[str, list[tuple[str, str]]] = {
    "one": [("server", "web")],
    "apart": _TWO[:2],
    "two": _TWO,
    "hosts": _TWO,
}


@dataclass(frozen=True)
class Life:
    """A process under test."""

    pid: int
    slot: int
    role: str
    module: str
    bell: int


@dataclass(frozen=True)
class Rest:
    """The database at a moment when nobody had anything to do. `dead`: a dead process still holds a lane.
    `left`: a lane is due and every runner leaves it to the others, for a moment.
    """

    due: tuple[datetime, ...]
    dead: bool
    left: bool
    intents: tuple[tuple[str, str], ...]


class Cover:
    """How long, by the venue's clock and by this machine's, a position lay without its stop."""

    def __init__(self, books: Books, shared: Shared) -> None:
        self._books, self._shared = books, shared
        self._since: tuple[float, float] | None = None
        self.longest, self.longest_here = 0.0, 0.0
        dialect: Any = books.server.dialect
        handle = dialect.handle

        def listening(request: Request) -> Response:
            response: Response = handle(request)
            if request.method != "GET":
                self.look()
            return response

        dialect.handle = listening

    def look(self, *, restarted: bool = False) -> None:
        """Called whenever the venue or the clock has moved on."""
        now = self._shared.monotonic(), time.monotonic()
        with self._books.engine.lock:
            covered = self._books.covered()
        if self._since is not None and not restarted:
            self.longest = max(self.longest, now[0] - self._since[0])
            self.longest_here = max(self.longest_here, now[1] - self._since[1])
        if covered:
            self._since = None
        elif self._since is None or restarted:
            # Nobody can cover what is open before there is somebody.
            self._since = now


class Stage(Books):
    """`point` is where somebody dies; None: nobody does. `late`: the venue's request that is held up, and
    whose sender dies while it waits."""

    def __init__(
        self,
        name: str,
        server: Server,
        *,
        shared: Shared,
        zygote: Zygote,
        url: str,
        folder: Path,
        port: int,
        layout: str,
        point: Point | None = None,
        late: tuple[str, int] | None = None,
        cut: bool = False,
        **environ: str,
    ) -> None:
        super().__init__(name, server)
        self._shared, self._zygote, self._folder = shared, zygote, folder
        self._url, self._port, self._layout = url, port, layout
        self._point, self._late, self._cut = point, late, cut
        self._lives: list[Life] = []
        self._slots = 0
        self._count = 0
        self._deliver = False
        self._busy_at: list[tuple[int, int]] | None = None
        self._free_at: list[tuple[int, int]] | None = None
        self._looked = 0.0
        self._votes: set[str] = set()
        self._store: Store | None = None
        self._eye: psycopg.Connection[Any] | None = None
        self.kills = 0
        self.cover = Cover(self, shared)
        # The play's own settings last: bare_environ unsets whatever a person's .env sets.
        self.environ = {
            **bare_environ(),
            **self.environ,
            "DATABASE_URL": url,
            "WEBHOOK_PASSPHRASE": PASSPHRASE,
            "DASHBOARD_PASSWORD": PASSWORD,
            "PORT": str(port),
            "RUNNER": "embedded" if layout == "one" else "off",
            **environ,
        }
        self.trace_file = folder / "trace"
        for role, module in LAYOUTS[layout]:
            self._start(role, module)

    # -- what a scenario does, as in tests/life --------------------------------------------------------

    def store_only(self, message: str, **fields: str) -> str:
        """Sends the alert that the play is about: effects count from here on."""
        # What is under way when the play begins has ended.
        self._drive(lambda rest: True)
        self.server.reset_log()
        if self._late is not None:
            self.server.fault(Fault.LATE, self._late)
        self._shared.armed = True
        return self._send(message, fields)

    def send(self, message: str, **fields: str) -> str:
        alert_id = self._send(message, fields)
        self.finish(alert_id)
        return alert_id

    def wait(self, seconds: float, *, step: float = 1.0) -> None:
        ends_at = self._shared.monotonic() + seconds
        self._drive(lambda rest: self._shared.monotonic() >= ends_at)

    def price(self, *path: str) -> None:
        self.engine.move(self.market.symbol, *(Decimal(each) for each in path))
        self.wait(3)

    # -- driving ---------------------------------------------------------------------------------------

    def finish(self, alert_id: str) -> None:
        """Until it has ended; who is asked says yes."""

        def ended(rest: Rest) -> bool:
            status = dict(rest.intents)[alert_id]
            if status == "AWAITING_APPROVAL":
                self._approve(alert_id)
            return status not in (*_UNDONE, "AWAITING_APPROVAL")

        self._drive(ended)

    def close(self) -> None:
        """Kills what is left; then the records can be read."""
        for life in self._lives:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(life.pid, signal.SIGKILL)
        for life in self._lives:
            self._bury(life)
        self._lives.clear()
        if self._eye is not None:
            self._eye.close()
            self._eye = None
        if self._store is not None:
            self._store.close()

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self._folder.glob("*.log")))

    def trace(self) -> list[tuple[str, str, int]]:
        """Role, effect and process, of all since the play began."""
        lines = self.trace_file.read_text().splitlines() if self.trace_file.exists() else []
        return [(role, name, int(pid)) for role, name, pid in (line.split("\t") for line in lines)]

    # -- what became of it -----------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        """Opened when every process has ended."""
        assert not self._lives
        if self._store is None:
            self._store = open_store(self._url)
        return self._store

    def alert(self, alert_id: str) -> dict[str, Any]:
        found = report.alert(self.store, alert_id)
        assert found is not None
        return found

    def status(self, alert_id: str) -> str:
        return str(self.alert(alert_id)["status"])

    # -- within ----------------------------------------------------------------------------------------

    def _send(self, message: str, fields: dict[str, str]) -> str:
        self._count += 1
        body = {
            "passphrase": PASSPHRASE,
            "ticker": self.market.ticker,
            "exchange": self.venue,
            "message": message,
            "id": f"n{self._count}",
            **fields,
        }
        code, answer = self._post("/tradingview-to-webhook-order", body)
        # A sender who got no answer sends again; then it may have been stored already.
        assert code in (200, 202), answer
        assert code == 202 or (self.kills and answer["status"] == "duplicate"), answer
        return str(answer["alert_id"])

    def _approve(self, alert_id: str) -> None:
        if alert_id in self._votes:
            return
        code, answer = self._post(f"/api/intents/{alert_id}/approve", {})
        self._votes.add(alert_id)
        # 409: the first one was heard, though its answer was not.
        assert code == 202 or (self.kills and code == 409), answer

    def _post(self, path: str, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Posts until somebody answers."""
        deadline = time.monotonic() + PATIENCE
        password = base64.b64encode(f"any:{PASSWORD}".encode()).decode()
        while True:
            try:
                answer = requests.post(
                    f"http://127.0.0.1:{self._port}{path}",
                    data=json.dumps(body),
                    headers={"Authorization": f"Basic {password}"},
                    timeout=PATIENCE,
                )
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                assert time.monotonic() < deadline, f"nobody answers\n{self.log()}"
                self._tend()
                time.sleep(PAUSE)
                continue
            if answer.status_code != 503:
                return answer.status_code, answer.json()
            # As the sender does five seconds later.
            self._turn(5)

    def _start(self, role: str, module: str) -> None:
        slot, self._slots = self._slots, self._slots + 1
        point = None if self._shared.obeyed else self._point
        bell = self._folder / f"{slot}.bell"
        os.mkfifo(bell)
        pid = self._zygote.start(
            module=module,
            role=role,
            slot=slot,
            environ=self.environ,
            trace=str(self.trace_file),
            log=str(self._folder / f"{slot}-{role}.log"),
            point=point,
            cut=self._cut,
            alone=self._layout == "hosts",
            bell=str(bell),
        )
        # For reading too, so that nobody has to have come to listen yet.
        self._lives.append(Life(pid, slot, role, module, os.open(bell, os.O_RDWR | os.O_NONBLOCK)))

    def _tend(self) -> None:
        """Kills who sent what is held up; starts what has died again."""
        if self._late is not None and self.server.held and not self._shared.obeyed:
            self._shared.obeyed = True
            self._deliver = True
            sender = next(pid for _, name, pid in reversed(self.trace()) if name.startswith("request"))
            os.killpg(os.getpgid(sender), signal.SIGKILL)
        ended = self._zygote.ended()
        for life in [life for life in self._lives if life.pid in ended]:
            status = ended.pop(life.pid)
            assert status == signal.SIGKILL, f"{life.role} ended by itself with {status}\n{self.log()}"
            assert self._shared.obeyed, f"{life.role} was killed by somebody else"
            self._bury(life)
            self._lives.remove(life)
            self.kills += 1
            self.cover.look(restarted=True)
            self._start(life.role, life.module)

    def _bury(self, life: Life) -> None:
        """Waits until nothing of its group is left, so that its port is free."""
        os.close(life.bell)
        deadline = time.monotonic() + PATIENCE
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(life.pid, 0)
                time.sleep(PAUSE / 4)

    def _drive(self, done: Callable[[Rest], bool]) -> None:
        """Turns the clock until `done` says that the database at rest is as it should be."""
        began, looks = time.monotonic(), 0
        while True:
            assert time.monotonic() - began < PATIENCE, f"never at rest at {self._shared()}\n{self.log()}"
            self._tend()
            rest = self._rest()
            if rest is None:
                looks += 1
                awaited = self._shared.awaited if looks > _STUCK else 0
                if seconds := awaited or (_ON if looks > _HELD else 0):
                    self._turn(seconds)
                    looks = 0
                time.sleep(PAUSE)
                continue
            if self._deliver and not rest.left:
                # The new one has looked, and knows no better than to wait.
                self._deliver = False
                self.server.deliver_late()
                self.cover.look()
                continue
            if not rest.left and done(rest):
                return
            self._turn(self._step(rest))
            looks = 0

    def _step(self, rest: Rest) -> float:
        if rest.dead or rest.left:
            return _NEAR
        next_at = min(rest.due, default=self._shared() + timedelta(seconds=1))
        return min(max((next_at - self._shared()).total_seconds(), 0.001), _FAR)

    def _turn(self, seconds: float) -> None:
        self._shared.advance(seconds)
        self.cover.look()

    def _rest(self) -> Rest | None:
        """The database, if nobody has anything to do at this moment."""
        runners = [life for life in self._lives if life.role != "web"]
        late = [life for life in runners if not self._shared.is_up_to_date(life.slot)]
        self._ring(late)
        if late or self.server.requests_in_flight:
            return None
        # Whoever ends its work begins a round.
        rounds = [self._shared.rounds(life.slot) for life in runners]
        if rounds == self._busy_at and time.monotonic() - self._looked < _LOOK_EVERY:
            return None
        self._looked = time.monotonic()
        lanes, intents = self._rows(_LANES), self._rows(_INTENTS)
        now = (self._shared() - _EPOCH) // timedelta(microseconds=1)
        free = False
        for owner, due_at in lanes:
            if owner and _lives(owner):
                return None
            free = free or (not owner and due_at is not None and due_at <= now)
        if free and not self._is_left(rounds):
            self._ring(runners)
            return None
        return Rest(
            left=free,
            due=tuple(_EPOCH + timedelta(microseconds=due) for _, due in lanes if due is not None),
            dead=any(owner for owner, _ in lanes),
            intents=tuple(intents),
        )

    def _is_left(self, rounds: list[tuple[int, int]]) -> bool:
        """Whether each runner has asked for work, from start to end, since a lane was seen to be free."""
        before = self._free_at
        if before is None or [seen for seen, _ in before] != [seen for seen, _ in rounds]:
            self._free_at = rounds
            return False
        return all(now >= then + 2 for (_, then), (_, now) in zip(before, rounds, strict=True))

    def _ring(self, lives: list[Life]) -> None:
        for life in lives:
            with contextlib.suppress(BlockingIOError):
                os.write(life.bell, b"!")

    def _rows(self, query: str) -> list[Any]:
        if self._url.startswith("sqlite"):
            # Opened for each look: recovering the file of one who died must not be ours.
            connection = sqlite_driver().connect(self._url.removeprefix("sqlite:///"), timeout=5)
            with contextlib.closing(connection):
                return list(connection.execute(query).fetchall())
        if self._eye is None:
            self._eye = psycopg.connect(self._url, autocommit=True)
        return list(self._eye.execute(query).fetchall())


class CoinStage(CoinBooks, Stage):
    """The same at a venue of coins."""


def _lives(owner: str) -> bool:
    """Whether the process that an owner names is there."""
    _, pid, started = owner.rsplit(":", 2)
    return bool(started) and started_at(int(pid)) == started
