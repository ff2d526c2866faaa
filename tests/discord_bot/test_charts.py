"""Charts: opened and looked at as pictures are, at any price, with few bars and many; their arithmetic."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO

import pytest
from PIL import Image

from discord_bot import pictures
from discord_bot.charts import HEIGHT, WIDTH, Chart, Level, render
from discord_bot.indicators import ema, rsi
from store import charts
from trading.model import Candle, Side, plain

AT = datetime(2026, 1, 5, 12, tzinfo=UTC)


def walk(price: float, digits: int, count: int = 400) -> list[Candle]:
    """Bars that go up and down like any others."""
    dice, bars = random.Random(7), []
    for number in range(count):
        close = price * (1 + dice.gauss(0, 0.004))
        high, low = max(price, close) * 1.001, min(price, close) * 0.999
        first, top, bottom, last = (Decimal(f"{value:.{digits}f}") for value in (price, high, low, close))
        opened_at = AT + timedelta(minutes=15 * number)
        bars.append(
            Candle(opened_at=opened_at, open=first, high=top, low=bottom, close=last, volume=Decimal(1))
        )
        price = close
    return bars


def level(kind: str, label: str, price: float, digits: int) -> Level:
    shown = plain(Decimal(f"{price:.{digits}f}"))
    return Level(kind, label, float(shown), shown)


def picture(chart: Chart) -> Image.Image:
    png = render(chart)
    assert len(png) < 300_000
    image = Image.open(BytesIO(png))
    assert image.format == "PNG"
    assert image.size == (WIDTH, HEIGHT)
    return image.convert("RGB")


def colours(image: Image.Image) -> set[tuple[int, ...]]:
    return {colour for _, colour in image.getcolors(2**21) or [] if isinstance(colour, tuple)}


def near(seen: set[tuple[int, ...]], wanted: str) -> bool:
    """Whether a colour is there as the palette of the file has it."""
    mine = [int(wanted[at : at + 2], 16) for at in (1, 3, 5)]
    return any(sum(abs(a - b) for a, b in zip(mine, each, strict=True)) < 30 for each in seen)


@pytest.mark.parametrize(
    ("price", "digits", "side", "multiples"),
    [
        (42000.0, 1, Side.BUY, [2]),
        (42000.0, 1, Side.BUY, [1, 2, 3, 4]),
        (3000.0, 2, Side.SELL, [1.5, 3]),
        (0.00000123, 10, Side.BUY, [1, 2]),
        (123456789.5, 1, Side.SELL, [1, 8]),
        (1e15, 0, Side.BUY, [1]),
    ],
    ids=["long", "ladder", "short", "tiny", "huge", "largest"],
)
def test_any_plan_can_be_seen(price: float, digits: int, side: Side, multiples: list[float]) -> None:
    bars = walk(price, digits)
    last, sign = float(bars[-1].close), side.sign
    levels = [level("entry", "Entry", last, digits), level("stop", "Stop", last * (1 - sign * 0.01), digits)]
    levels += [level("target", f"TP {m}R", last * (1 + sign * 0.01 * m), digits) for m in multiples]
    began = time.process_time()
    image = picture(
        Chart(title="BTC-USDT-PERP", subtitle="15 min", candles=bars, levels=tuple(levels), side=side)
    )
    assert time.process_time() - began < 1
    seen = colours(image)
    for wanted in ("#131722", "#26a69a", "#ef5350", "#4f8cff", "#f5a623", "#b388ff"):
        assert near(seen, wanted), wanted
    assert len(seen) > 50


@pytest.mark.parametrize("count", [2, 3, 25, 199, 200, 1500])
def test_few_bars_and_many(count: int) -> None:
    bars = walk(42000, 1, count)
    assert len(colours(picture(Chart(title="X", subtitle="", candles=bars)))) > 20


def test_a_market_that_does_not_move() -> None:
    bar = walk(42000, 1, 1)[0]
    still = Candle(
        opened_at=AT, open=bar.open, high=bar.open, low=bar.open, close=bar.open, volume=Decimal(0)
    )
    picture(Chart(title="X", subtitle="", candles=[still] * 30, levels=(Level("stop", "Stop", 1.0, "1"),)))


def test_one_bar_is_no_chart() -> None:
    with pytest.raises(ValueError, match="two candles"):
        render(Chart(title="X", subtitle="", candles=walk(1, 2, 1)))


def test_the_same_chart_is_the_same_file() -> None:
    chart = Chart(title="X", subtitle="", candles=walk(42000, 1, 120))
    assert render(chart) == render(chart)


def test_the_average_and_the_momentum() -> None:
    assert ema([1.0] * 5, 3) == [None, None, 1, 1, 1]
    assert ema([1.0], 3) == [None]
    assert rsi([1.0] * 4, 2) == [None, None, 50, 50]
    assert rsi([3.0, 2.0, 1.0], 2)[-1] == 0
    assert rsi([1.0], 2) == [None]
    # Wilder's own method on a published series (StockCharts, RSI): 70.46, 66.25.
    closes = "44.34 44.09 44.15 43.61 44.33 44.83 45.10 45.42 45.84 46.08 45.89 46.03 45.61 46.28 46.28 46.00"
    found = rsi([float(close) for close in closes.split()], 14)
    assert [round(value, 1) for value in found[-2:] if value] == [70.5, 66.2]


def test_a_notice_becomes_a_chart() -> None:
    data = {"bars": charts.packed(walk(42000, 1, 50)), "interval": "60", "price": "42000", "stop": "41500"}
    model = {
        "kind": "entry",
        "side": "BUY",
        "price": None,
        "stop": None,
        "symbol": "X",
        "venue": "V",
        "account": "A",
    }
    targets = [{"price": "43000", "quantity": "1", "reward": "2"}]
    asked = pictures.of_question(model, data | {"targets": targets}, AT)
    wished = pictures.of_request(data | {"symbol": "X", "exchange": "V"}, AT)
    assert asked is not None
    assert wished is not None
    assert pictures.of_question(model, {"bars": [], "interval": "60"}, AT) is None
    broken = data | {"symbol": "X", "exchange": "V", "bars": [[0, "1", "1", "1", "NaN", "0"]] * 3}
    assert pictures.of_request(broken, AT) is None


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ("15", "15 min"),
        ("60", "1 h"),
        ("240", "4 h"),
        ("1D", "1 day"),
        ("W", "1 week"),
        ("30S", "30s"),
        ("?", "?"),
    ],
)
def test_intervals_in_words(interval: str, words: str) -> None:
    assert pictures.spelt(interval) == words
