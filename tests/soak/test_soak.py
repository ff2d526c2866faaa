"""A minute of the soak, on both databases."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.processes import House
from tests.soak.__main__ import audited
from tests.soak.play import Pace, Soak

BUSY = Pace(alert=1.0, jump=2.0, hand=20.0, fault=2.0, kill=8.0, cut=20.0, ban=math.inf)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_books_agree_after_a_minute_of_everything(database_url: str, tmp_path: Path) -> None:
    house = House(database_url, tmp_path / "processes")
    try:
        report = Soak(house, seconds=60, seed=5, pace=BUSY).run()
        house.close()
        assert report.wrong + audited(database_url) == [], str(report)
        assert report.done["kills"] >= 3, str(report)
        assert report.statuses["DONE"] >= 20, str(report)
        assert sum(report.faults.values()) >= 10, str(report)
    finally:
        house.close()
