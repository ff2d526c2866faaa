"""The data of a notice -> the chart that goes with it. It must never raise: then there is no chart."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from discord_bot.charts import Chart, Level, render
from store import charts
from trading.model import Candle, Side

log = logging.getLogger(__name__)

Model = dict[str, Any]
_UNITS = {"S": "s", "D": " day", "W": " week", "M": " month"}


def of_question(model: Model, question: Model, now: datetime) -> bytes | None:
    """The chart of a waiting alert: `model` is report.card's."""
    levels = [_level("entry", "Entry", question.get("price") or model["price"] or question.get("market"))]
    levels.append(_level("stop", "Stop", question.get("stop") or model["stop"]))
    levels += [
        _level("target", f"TP {number}  {each['reward']}R", each["price"])
        for number, each in enumerate(question.get("targets", []), start=1)
    ]
    entry = model["kind"] == "entry"
    side = Side(model["side"]) if entry and model["side"] else None
    name = f"{model['venue']}   {model['account']}"
    return _drawn(question, model["symbol"], name, levels if entry else [], side, now)


def of_request(data: Model, now: datetime) -> bytes | None:
    """The chart that a person asked for."""
    levels = [_level("entry", "Entry", data.get("price")), _level("stop", "Stop", data.get("stop"))]
    return _drawn(data, data["symbol"], data["exchange"], levels, None, now)


def _drawn(
    data: Model, symbol: str, name: str, levels: list[Level | None], side: Side | None, now: datetime
) -> bytes | None:
    bars: list[Candle] = charts.unpacked(data.get("bars") or [])
    if len(bars) < 2:
        return None
    subtitle = f"{spelt(data['interval'])}   {name}   {now:%d %b %H:%M} UTC"
    known = tuple(level for level in levels if level is not None)
    try:
        return render(Chart(title=symbol, subtitle=subtitle, candles=bars, levels=known, side=side))
    except Exception:  # a picture is never worth a question that is not put
        log.exception("no chart of %s", symbol)
        return None


def spelt(interval: str) -> str:
    """TradingView's interval in words: 15 is minutes, 240 is 4 h, 1D a day."""
    if interval.isdigit():
        minutes = int(interval)
        return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"
    number, unit = interval[:-1] or "1", interval[-1:].upper()
    return f"{number}{_UNITS[unit]}" if unit in _UNITS and number.isdigit() else interval


def _level(kind: str, label: str, price: str | None) -> Level | None:
    return None if price is None else Level(kind, label, float(price), price)
