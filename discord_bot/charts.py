"""Candles and the levels of a plan as a PNG: dark, 1200 pixels wide, readable on a phone.

Pure: the same chart gives the same bytes. Never asks anybody, and never shows more than it was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from math import ceil, floor, log10

from PIL import Image, ImageDraw, ImageFont

from discord_bot.indicators import ema, rsi
from trading.model import Candle, Side, plain

WIDTH, HEIGHT = 1200, 1200
#: Bars that are drawn: more would be too thin for a phone.
SHOWN = 90
SLOW, MOMENTUM = 200, 14
#: Shapes are drawn at twice the size and made smaller: smooth lines.
_SCALE = 2
_TOP, _BOTTOM, _MIDDLE, _LEFT = 120, 56, 84, 14
_RSI_HEIGHT = 220
#: The bars get this share of the height at least, however far away a level is.
_LEAST = 0.4

_BACK, _GRID, _TEXT, _DIM = "#131722", "#232838", "#e6e9f0", "#8a93a6"
_UP, _DOWN, _SLOW, _RSI = "#26a69a", "#ef5350", "#f5a623", "#b388ff"
_ENTRY, _STOP, _TARGET, _LAST = "#4f8cff", "#ef5350", "#26a69a", "#cfd6e4"
_COLOURS = {"entry": _ENTRY, "stop": _STOP, "target": _TARGET}

Colour = str | tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Level:
    """A price with a name: `kind` is entry, stop or target, `price` as the label shows it."""

    kind: str
    label: str
    price: float
    shown: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What is drawn. `candles` are oldest first, two at least; the slow average begins after 200."""

    title: str
    subtitle: str
    candles: Sequence[Candle]
    levels: tuple[Level, ...] = ()
    side: Side | None = None


def render(chart: Chart) -> bytes:
    """The PNG. ValueError where there are less than two candles."""
    if len(chart.candles) < 2:
        raise ValueError("a chart needs two candles at least")
    return _Drawing(chart).png()


class _Drawing:
    """One picture in the making; x and y are pixels of the finished one."""

    def __init__(self, chart: Chart) -> None:
        self._chart = chart
        closes = [float(bar.close) for bar in chart.candles]
        self._bars = chart.candles[-SHOWN:]
        self._slow = ema(closes, SLOW)[-SHOWN:]
        self._rsi = rsi(closes, MOMENTUM)[-SHOWN:]
        self._low, self._high = self._range()
        self._steps = _steps(self._low, self._high)
        self._axis = ceil(max(_font(30).getlength(label) for label in self._labels())) + 40
        self._right = WIDTH - self._axis
        self._floor = HEIGHT - _BOTTOM - _RSI_HEIGHT - _MIDDLE
        self._image = Image.new("RGB", (WIDTH * _SCALE, HEIGHT * _SCALE), _BACK)
        self._shapes = ImageDraw.Draw(self._image, "RGBA")

    def png(self) -> bytes:
        self._grid()
        self._zones()
        self._candles()
        self._line([(self._x(at), self._y(value)) for at, value in enumerate(self._slow) if value], _SLOW)
        self._momentum()
        for level in self._chart.levels:
            self._dashes(self._y(level.price), _COLOURS[level.kind])
        small = self._image.reduce(_SCALE)
        self._words(ImageDraw.Draw(small))
        out = BytesIO()
        small.quantize(128, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(out, "PNG")
        return out.getvalue()

    # -- where things are ------------------------------------------------------------------------------

    def _range(self) -> tuple[float, float]:
        """Lowest and highest price: bars, average and levels, as far as the bars stay large."""
        low = min(float(bar.low) for bar in self._bars)
        high = max(float(bar.high) for bar in self._bars)
        span = (high - low) or abs(high) * 0.01 or 1.0
        most = span / _LEAST
        bottom, top = low, high
        ordered = sorted(self._chart.levels, key=lambda level: level.kind == "target")
        for price in [*(level.price for level in ordered), *(value for value in self._slow if value)]:
            # What would make the bars too small stays beyond the picture; what one risks comes first.
            if max(top, price) - min(bottom, price) <= most:
                bottom, top = min(bottom, price), max(top, price)
        margin = max(top - bottom, span) * 0.06
        return bottom - margin, top + margin

    def _x(self, at: int) -> float:
        """The middle of a bar."""
        return _LEFT + (at + 0.5) * self._pitch

    @property
    def _pitch(self) -> float:
        names = max((_font(28).getlength(level.label) + 60 for level in self._chart.levels), default=12)
        return (self._right - _LEFT - names) / max(len(self._bars), 20)

    def _y(self, price: float) -> float:
        share = (price - self._low) / (self._high - self._low)
        return min(max(self._floor - share * (self._floor - _TOP), _TOP), self._floor)

    def _y_rsi(self, value: float) -> float:
        return HEIGHT - _BOTTOM - value / 100 * _RSI_HEIGHT

    # -- shapes ----------------------------------------------------------------------------------------

    def _box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        edges = [edge * _SCALE for edge in (left, top, right, bottom)]
        self._shapes.rectangle(
            (edges[0], edges[1], max(edges[2], edges[0] + 1), max(edges[3], edges[1] + 1)), colour
        )

    def _line(self, points: list[tuple[float, float]], colour: str, width: float = 3) -> None:
        scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
        if len(scaled) > 1:
            self._shapes.line(scaled, colour, round(width * _SCALE), joint="curve")

    def _dashes(self, y: float, colour: str) -> None:
        x = float(_LEFT)
        while x < self._right:
            self._box(x, y - 1, min(x + 16, self._right), y + 1, colour)
            x += 28

    def _grid(self) -> None:
        for value, _ in self._steps:
            self._box(_LEFT, self._y(value), self._right, self._y(value) + 1, _GRID)
        for at, _ in self._times():
            self._box(self._x(at), _TOP, self._x(at) + 1, HEIGHT - _BOTTOM, _GRID)

    def _zones(self) -> None:
        prices = {kind: [one.price for one in self._chart.levels if one.kind == kind] for kind in _COLOURS}
        if not prices["entry"]:
            return
        entry = self._y(prices["entry"][0])
        for kind, colour in (("stop", (239, 83, 80, 46)), ("target", (38, 166, 154, 40))):
            for price in prices[kind]:
                top, bottom = sorted((entry, self._y(price)))
                self._box(_LEFT, top, self._right, bottom, colour if kind == "stop" else (*colour[:3], 26))

    def _candles(self) -> None:
        half = max(self._pitch * 0.36, 1.0)
        for at, bar in enumerate(self._bars):
            colour, x = _UP if bar.close >= bar.open else _DOWN, self._x(at)
            self._box(x - 1, self._y(float(bar.high)), x + 1, self._y(float(bar.low)), colour)
            top, bottom = sorted((self._y(float(bar.open)), self._y(float(bar.close))))
            self._box(x - half, top, x + half, max(bottom, top + 1.5), colour)

    def _momentum(self) -> None:
        self._box(_LEFT, self._y_rsi(70), self._right, self._y_rsi(30), (179, 136, 255, 22))
        for value in (30, 70):
            self._box(_LEFT, self._y_rsi(value), self._right, self._y_rsi(value) + 1, "#3a4055")
        points = [
            (self._x(at), self._y_rsi(value)) for at, value in enumerate(self._rsi) if value is not None
        ]
        self._line(points, _RSI)

    # -- words -----------------------------------------------------------------------------------------

    def _words(self, draw: ImageDraw.ImageDraw) -> None:
        draw.text((_LEFT + 6, 14), self._chart.title, _TEXT, _font(46))
        draw.text((_LEFT + 6, 70), self._chart.subtitle, _DIM, _font(30))
        if self._chart.side is not None:
            word, colour = ("LONG", _UP) if self._chart.side is Side.BUY else ("SHORT", _DOWN)
            width = _font(42).getlength(word)
            draw.rounded_rectangle((WIDTH - width - 60, 14, WIDTH - 16, 78), 12, colour)
            draw.text((WIDTH - width - 38, 21), word, "#ffffff", _font(42))
        slow = f"EMA {SLOW}" if any(self._slow) else f"EMA {SLOW}: too few bars"
        self._legend(draw, _LEFT + 6, _TOP + 4, slow, _SLOW)
        value = next((each for each in reversed(self._rsi) if each is not None), None)
        said = f"RSI {MOMENTUM}" + (f"   {value:.0f}" if value is not None else ": too few bars")
        self._legend(draw, _LEFT + 6, HEIGHT - _BOTTOM - _RSI_HEIGHT - 38, said, _RSI)
        for mark in (30, 70):
            draw.text((self._right + 12, self._y_rsi(mark) - 16), str(mark), _DIM, _font(26))
        for at, label in self._times():
            width = _font(26).getlength(label)
            draw.text(
                (min(self._x(at) - width / 2, self._right - width), HEIGHT - 44), label, _DIM, _font(26)
            )
        self._tags(draw)

    def _legend(self, draw: ImageDraw.ImageDraw, x: float, y: float, text: str, colour: str) -> None:
        width = _font(28).getlength(text)
        draw.rectangle((x - 4, y, x + width + 6, y + 36), _BACK)
        draw.text((x, y + 2), text, colour, _font(28))

    def _tags(self, draw: ImageDraw.ImageDraw) -> None:
        """Prices at the right: levels with their names, the last price, and the grid's where room is left."""
        last = self._bars[-1].close
        wanted = [(self._y(one.price), one.shown, _COLOURS[one.kind]) for one in self._chart.levels]
        if all(shown != plain(last) for _, shown, _ in wanted):
            wanted.append((self._y(float(last)), plain(last), _LAST))
        placed = _spread(wanted, 44, _TOP, self._floor)
        for y, shown, colour in placed:
            draw.rectangle((self._right, y - 20, WIDTH, y + 20), colour)
            ink = "#131722" if colour == _LAST else "#ffffff"
            draw.text((self._right + 12, y - 18), shown, ink, _font(30))
        self._names(draw, placed)
        for value, label in self._steps:
            y = self._y(value)
            if all(abs(y - other) > 40 for other, _, _ in placed) and _TOP + 10 < y < self._floor - 10:
                draw.text((self._right + 12, y - 17), label, _DIM, _font(30))

    def _names(self, draw: ImageDraw.ImageDraw, placed: list[tuple[float, str, str]]) -> None:
        """What a level is, beside its price; a triangle where it lies beyond the picture."""
        for y, shown, colour in placed:
            level = next(
                (one for one in self._chart.levels if one.shown == shown and _COLOURS[one.kind] == colour),
                None,
            )
            if level is None:
                continue
            width = _font(28).getlength(level.label)
            x = self._right - width - 22
            draw.rounded_rectangle((x - 10, y - 19, self._right - 6, y + 19), 8, _BACK, colour, 2)
            draw.text((x, y - 17), level.label, colour, _font(28))
            beyond = 1 if level.price > self._high else -1 if level.price < self._low else 0
            if beyond:
                tip = [(x - 36, y + 10 * beyond), (x - 20, y + 10 * beyond), (x - 28, y - 10 * beyond)]
                draw.polygon(tip, colour)

    def _labels(self) -> list[str]:
        last = plain(self._bars[-1].close)
        return [last, *(label for _, label in self._steps), *(one.shown for one in self._chart.levels)]

    def _times(self) -> list[tuple[int, str]]:
        """Four bars and when they opened."""
        bars = self._bars
        step = max(len(bars) // 4, 1)
        long = bars[-1].opened_at - bars[0].opened_at
        form = "%H:%M" if long.days < 1 else "%d %b %H:%M" if long.days < 12 else "%d %b %Y"
        return [(at, f"{bars[at].opened_at:{form}}") for at in range(step // 2, len(bars), step)][:4]


def _spread(
    tags: list[tuple[float, str, str]], room: float, top: float, bottom: float
) -> list[tuple[float, str, str]]:
    """The same tags, none over another: moved as little as it takes, within top and bottom."""
    ordered = sorted(tags)
    ys = [y for y, _, _ in ordered]
    for at in range(1, len(ys)):
        ys[at] = max(ys[at], ys[at - 1] + room)
    over = ys[-1] - bottom if ys else 0
    if over > 0:
        ys[-1] -= over
        for at in range(len(ys) - 2, -1, -1):
            ys[at] = min(ys[at], ys[at + 1] - room)
    return [(max(y, top), shown, colour) for y, (_, shown, colour) in zip(ys, ordered, strict=True)]


def _steps(low: float, high: float) -> list[tuple[float, str]]:
    """Some round prices between low and high."""
    rough = (high - low) / 9
    power = floor(log10(rough))
    step = next(each for each in (1, 2, 5, 10) if each * 10.0**power >= rough) * 10.0**power
    digits = max(0, -floor(log10(step) + 1e-9))
    first = ceil(low / step)
    return [(number * step, f"{number * step:.{digits}f}") for number in range(first, floor(high / step) + 1)]


_FONTS: dict[int, ImageFont.FreeTypeFont] = {}


def _font(size: int) -> ImageFont.FreeTypeFont:
    if size not in _FONTS:
        font = ImageFont.load_default(size)
        if not isinstance(font, ImageFont.FreeTypeFont):
            raise RuntimeError("Pillow was built without FreeType: install its wheel")
        _FONTS[size] = font
    return _FONTS[size]
