"""The two lines of a chart that are not candles: a slow average and a momentum.

Pure arithmetic for the eye alone: nothing here is ever traded on.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def ema(closes: Sequence[float], length: int) -> list[float | None]:
    """Exponential moving average, begun with the plain one of the first `length`; None before that.

    >>> ema([1, 2, 3, 4], 2)
    [None, 1.5, 2.5, 3.5]
    """
    if len(closes) < length:
        return [None] * len(closes)
    value = sum(closes[:length]) / length
    found: list[float | None] = [None] * (length - 1) + [value]
    for close in closes[length:]:
        value += (close - value) * 2 / (length + 1)
        found.append(value)
    return found


def rsi(closes: Sequence[float], length: int) -> list[float | None]:
    """Wilder's relative strength index, 0 to 100; None for the first `length`.

    >>> rsi([1, 2, 3, 2, 3], 2)
    [None, None, 100.0, 50.0, 75.0]
    """
    if len(closes) <= length:
        return [None] * len(closes)
    moves = [after - before for before, after in pairwise(closes)]
    up = sum(max(move, 0.0) for move in moves[:length]) / length
    down = sum(max(-move, 0.0) for move in moves[:length]) / length
    found: list[float | None] = [None] * length + [_strength(up, down)]
    for move in moves[length:]:
        up = (up * (length - 1) + max(move, 0.0)) / length
        down = (down * (length - 1) + max(-move, 0.0)) / length
        found.append(_strength(up, down))
    return found


def _strength(up: float, down: float) -> float:
    return 50.0 if up == down == 0 else 100 * up / (up + down)
