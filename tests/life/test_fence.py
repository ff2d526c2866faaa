"""The fence with real processes: one is stopped on its way to the venue, another takes its lane and trades.

Then the first one wakes up, or what it had sent arrives at last: the venue refuses it, and one entry and one
stop are there. What each process does is real, but for the clock, which is the same for all and is turned on.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest

from store import orders
from tests.emulator.server import Fault, Request, Response
from tests.life.clocked_runner import Ahead
from tests.life.scenarios import LONG, VENUES
from tests.processes import RUNNER, Process, Stage, bare_environ, until
from trading.model import Role

pytestmark = pytest.mark.timeout(120)

Lives = Callable[..., Any]
Pair = tuple[Process, Process]

CLOCKED = ("tests.life.clocked_runner",)
#: Past the lease of whoever holds the lane, and past the moment when the venue takes a request no more.
FAR = 15.0
#: How each venue refuses a request for its age; an order of the third one has a deadline of its own.
STALE = {"BINANCE": ("-1021",), "BYBIT": ("10002",), "FTX": ("rejectAfterTs", "Timestamp too far")}
ENTRIES = {"BINANCE": "POST /fapi/v1/order", "BYBIT": "POST /v5/order/create", "FTX": "POST /api/orders"}


@dataclass
class Scene:
    """A venue and the processes that trade there, and all writes that the venue was asked for."""

    life: Any
    start: Callable[[], Process]
    heard: list[tuple[datetime, Request, Response]] = field(default_factory=list)

    def __post_init__(self) -> None:
        dialect = self.life.server.dialect
        handle = dialect.handle

        def listen(request: Request) -> Response:
            response: Response = handle(request)
            if request.method != "GET":
                self.heard.append((self.life.clock(), request, response))
            return response

        dialect.handle = listen

    def orders(self, alert_id: str) -> list[tuple[datetime, Response]]:
        """Every request with an id of this alert, or its stop where that has none, with its answer."""
        return [
            (at, response)
            for at, request, response in self.heard
            if alert_id in f"{request.query_text}{request.body!r}" or "conditional" in request.path
        ]

    def hold(self, both: Pair, stage: str) -> None:
        """Of two processes the first one that comes to the stage is stopped there, from now on."""
        both[0].order(Stage(stage), what=signal.SIGSTOP, group=False)

    def stopped(self, both: Pair) -> Pair:
        """The one that is, and the other one."""
        folder = both[0].folder
        (name,) = until(lambda: [path.name for path in folder.glob("obeyed-*")], "one comes to its stage")
        pid = int(name.removeprefix("obeyed-"))
        until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, "it is stopped")
        return both if both[0].popen.pid == pid else both[::-1]

    def done(self, alert_id: str, *others: Process) -> None:
        def told() -> str:
            return f"{self.life.alert(alert_id)}\n" + "\n".join(each.log() for each in others)

        until(lambda: self.life.status(alert_id) not in ("RECEIVED", "APPROVED", "EXECUTING"), told)
        assert self.life.status(alert_id) == "DONE", told()

    def wake(self, process: Process, alert_id: str) -> Response:
        """Lets it go on; the venue's answer to what it had been about to send."""
        before = len(self.heard)
        os.kill(process.popen.pid, signal.SIGCONT)
        until(lambda: len(self.heard) > before, lambda: f"it sends: {process.log()}")
        assert len(self.heard) == before + 1
        return self.heard[-1][2]

    def is_refused(self, response: Response) -> None:
        text = f"{response.status} {response.body}"
        assert any(each in text for each in STALE[self.life.name]), text

    def is_calm(self, alert_id: str, *processes: Process) -> None:
        """What is open was looked at again, all have ended, and nothing was sent; what must hold, holds."""
        sent = len(self.heard)
        self.life.clock.advance(5)
        looked = len(self.life.server.log)
        if self.life.position:
            until(lambda: len(self.life.server.log) > looked, "somebody looks at the lane")
        for process in processes:
            process.popen.send_signal(signal.SIGTERM)
        for process in processes:
            assert process.ended() == 0, process.log()
            assert "Traceback" not in process.log(), process.log()
        assert len(self.heard) == sent, self.life.server.story()
        self.life.check()
        assert "alarm" not in [event["event"] for event in self.life.alert(alert_id)["timeline"]]


@pytest.fixture
def clock(tmp_path: Path) -> Ahead:
    """For the desk, for the venue and for the processes."""
    made = Ahead(tmp_path / "clock")
    made.advance(0)
    return made


@pytest.fixture
def scenes(lives: Lives, tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    """A venue, and a way to start runners that trade there; `module` is what they run."""
    started: list[Process] = []

    def make(name: str, module: tuple[str, ...] = CLOCKED) -> Scene:
        life = lives(name)
        url = life.store._url.render_as_string(hide_password=False)
        environ = bare_environ() | life.environ | {"DATABASE_URL": url, "CLOCK": str(tmp_path / "clock")}

        def start() -> Process:
            # One folder, so that an order is for whoever comes first.
            process = Process(module, environ, tmp_path / "runners")
            started.append(process)
            return process

        return Scene(life, start)

    yield make
    for process in started:
        process.kill()


def entered_once(scene: Scene, alert_id: str) -> None:
    assert scene.life.entered(alert_id) == scene.life.position == 2
    assert len(scene.life.stops()) == 1


@pytest.mark.parametrize("venue", VENUES)
def test_a_process_that_was_stopped_before_it_sent_wakes_up_late(
    scenes: Callable[..., Scene], venue: str
) -> None:
    scene = scenes(venue)
    both = scene.start(), scene.start()
    scene.hold(both, "entry.submitted")
    alert_id = scene.life.store_only("entry", **LONG)
    first, second = scene.stopped(both)
    assert scene.orders(alert_id) == []
    scene.life.clock.advance(FAR)
    scene.done(alert_id, second)
    entered_once(scene, alert_id)
    scene.is_refused(scene.wake(first, alert_id))
    scene.is_calm(alert_id, first, second)
    entered_once(scene, alert_id)


#: What is sent, and the stage at which its first bearer stops; a stop of its own follows the entry at two.
HELD = [
    *(("entry", "stop", venue) for venue in VENUES if venue != "BYBIT"),
    *((alert, role, venue) for venue in VENUES for alert, role in (("entry", "target"), ("exit", "close"))),
    *(("breakeven", "stop", venue) for venue in VENUES),
]


@pytest.mark.slow
@pytest.mark.parametrize(("alert", "role", "venue"), HELD)
def test_so_does_one_with_any_other_order_in_hand(
    scenes: Callable[..., Scene], alert: str, role: str, venue: str
) -> None:
    scene = scenes(venue)
    life, both = scene.life, (scene.start(), scene.start())
    stage = f"{role}.submitted"
    if alert == "entry":
        scene.hold(both, stage)
    entry = alert_id = life.store_only("entry", **LONG)
    if alert != "entry":
        scene.done(entry, *both)
        life.engine.move(life.market.symbol, Decimal(42600))
        scene.hold(both, stage)
        alert_id = life.store_only(alert, **{"long Breakeven": "42010"})
    first, second = scene.stopped(both)
    life.clock.advance(FAR)
    scene.done(alert_id, second)
    scene.is_refused(scene.wake(first, alert_id))
    scene.is_calm(alert_id, first, second)
    assert life.entered(entry) == 2
    if alert == "exit":
        assert life.position == 0
        return
    entered_once(scene, entry)
    assert [stop.trigger for stop in life.stops()] == [42010 if alert == "breakeven" else 41500]
    assert [target.quantity for target in life.targets()] == [2]


@pytest.mark.slow
@pytest.mark.parametrize("venue", VENUES)
def test_it_holds_by_the_clock_on_the_wall(scenes: Callable[..., Scene], venue: str) -> None:
    """`python -m desk.runner` as people start it: the lease and the fence are waited for."""
    scene = scenes(venue, RUNNER)
    both = scene.start(), scene.start()
    scene.hold(both, "entry.submitted")
    alert_id = scene.life.store_only("entry", **LONG)
    first, second = scene.stopped(both)
    scene.done(alert_id, second)
    scene.is_refused(scene.wake(first, alert_id))
    scene.is_calm(alert_id, first, second)
    entered_once(scene, alert_id)


@pytest.mark.slow
@pytest.mark.parametrize("venue", VENUES)
def test_a_request_that_was_long_on_the_wire_is_refused(scenes: Callable[..., Scene], venue: str) -> None:
    """Its sender is dead: the lane is free at once, and the fence alone keeps the next one from sending."""
    scene = scenes(venue)
    life, first = scene.life, scene.start()
    life.server.fault(Fault.LATE, (ENTRIES[venue], 1))
    alert_id = life.store_only("entry", **LONG)
    until(lambda: not life.server.unfired, lambda: f"the entry is on the wire: {first.log()}")
    first.kill()
    with life.store.read() as tx:
        entry = next(order for order in orders.of_intent(tx, alert_id) if order.role is Role.ENTRY)
    second = scene.start()
    scene.done(alert_id, second)
    (entered_at, _), *_ = scene.orders(alert_id)
    assert entry.retry_at is not None
    assert entered_at > entry.retry_at, "it waited until the venue refuses the first one by itself"
    (late,) = life.server.deliver_late()
    scene.is_refused(late)
    scene.is_calm(alert_id, second)
    entered_once(scene, alert_id)
