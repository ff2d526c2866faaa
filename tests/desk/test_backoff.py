"""How long a lane leaves a venue alone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from desk.lane import backoff
from desk.view import LONGEST_REST
from trading.errors import Throttled, Unreachable, VenueError

SECOND = timedelta(seconds=1)


def throttled(seconds: float, code: str | None) -> Throttled:
    return Throttled("FTX", "GET /positions", "slowly", after=timedelta(seconds=seconds), code=code)


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (Unreachable("FTX", "GET /positions", "no connection"), SECOND),
        (throttled(0.2, "429"), SECOND),
        (throttled(7, "429"), 7 * SECOND),
        (throttled(600, "403"), LONGEST_REST),
        # Our own count of the venue's limits knows when there is room again.
        (throttled(0.2, None), SECOND / 5),
        (throttled(600, None), LONGEST_REST),
    ],
)
def test_by_what_the_venue_or_our_own_count_says(error: VenueError, wait: timedelta) -> None:
    assert backoff(error) == wait
