"""The process ends at every stage of an alert's way; the next one goes on, and nothing is done twice."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.desk.test_faults import SCENARIOS
from trading.model import Protection


class Killed(BaseException):
    """The process is gone: no handler of ours may see it as an error."""


class Killer:
    """Listens to the stages; ends the run at the `at`-th one."""

    def __init__(self) -> None:
        self.at: int | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def arm(self, at: int) -> None:
        self.at, self.seen = at, []

    def disarm(self) -> None:
        self.at = None

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "desk.stage" and self.at is not None:
            self.seen.append(args[0])
            if len(self.seen) > self.at:
                self.at = None
                raise Killed(args[0])


@pytest.fixture(scope="module")
def killer() -> Killer:
    return Killer()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("protection", list(Protection))
@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_a_kill_at_every_stage(
    sqlite_rigs: Any, killer: Killer, scenario: str, protection: Protection
) -> None:
    at = 0
    stages = []
    while True:
        rig = sqlite_rigs(protection)
        alert_id, before = SCENARIOS[scenario](rig)
        killer.arm(at)
        try:
            rig.settle()
        except Killed as killed:
            stages.append(str(killed))
        else:
            break
        finally:
            killer.disarm()
        rig.die()
        rig.settle()
        rig.wait(8, step=2)
        where = f"{scenario}, killed at {stages[-1]} ({at}): {rig.alert(alert_id)}"
        assert rig.status(alert_id) == "DONE", where
        rig.check()
        if scenario in ("entry", "reverse"):
            assert rig.entered(alert_id) == 2, where
            assert len(rig.orders(alert_id, "entry")) == 1, where
            assert rig.position().quantity == 2, where
        if scenario == "exit":
            assert rig.position().is_flat, where
        assert all(rig.entered(other) == 2 for other in before), where
        at += 1
    assert len(stages) > 5
