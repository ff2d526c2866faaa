"""Candles out of a seed: 15 minutes each, a market that runs away from its mean and comes back.

Prices are whole ticks. Most bars open where the one before closed, a few after a gap.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

TICK = Decimal("0.1")
LENGTH = timedelta(minutes=15)
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)

_STEPS = 8
_GAPS = 0.01


class Bar(NamedTuple):
    """One candle; prices in ticks."""

    opened_at: datetime
    open: int
    high: int
    low: int
    close: int


def candles(count: int, seed: int) -> list[Bar]:
    """The same for the same seed."""
    chance = random.Random(seed)
    price, drift, bars = 500_000.0, 0.0, []
    for number in range(count):
        if chance.random() < 0.04:
            drift = chance.uniform(-1, 1) * 0.0012
        if chance.random() < _GAPS:
            price *= 1 + chance.uniform(-1, 1) * 0.003
        path = [price]
        for _ in range(_STEPS):
            pull = (500_000 - path[-1]) / 500_000 * 0.0015
            path.append(path[-1] * (1 + drift / _STEPS + pull + chance.gauss(0, 0.0009)))
        ticks = [round(each) for each in path]
        bars.append(Bar(BEGIN + number * LENGTH, ticks[0], max(ticks), min(ticks), ticks[-1]))
        price = float(ticks[-1])
    return bars
