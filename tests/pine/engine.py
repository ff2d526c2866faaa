"""Runs Pine scripts offline: `python -m tests.pine.engine`, jobs in and results out as JSON.

PyneCore's broker emulator over pine2pyne's translation. The runtime takes two seconds to import and keeps its
state in modules: it is imported once, here alone, and every run has a child of its own. Fills are taken from
the emulator as they happen, alerts of indicators from their alertcondition().
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from datetime import time
from pathlib import Path
from typing import Any

from tests.pine.candles import TICK, Bar, candles

LOT = "0.001"


def run(pine: str, bars: list[Bar]) -> dict[str, Any]:
    """`fills` (bar, order, leg, side, quantity, price, message, position before and after), `plots` of every
    bar, and `conditions` (bar, title, message) that came true at its close."""
    # Not above: whoever only looks at this file should not wait for it, nor have its import hooks.
    import pine2pyne
    import pynecore.lib as lib
    from pynecore.core.script_runner import ScriptRunner
    from pynecore.core.syminfo import SymInfo, SymInfoInterval
    from pynecore.lib import strategy
    from pynecore.types.ohlcv import OHLCV

    fills: list[dict[str, Any]] = []
    conditions: list[tuple[int, str, str]] = []
    original = strategy.SimPosition._fill_order

    def hooked(self: Any, order: Any, price: float, *args: Any, **kwargs: Any) -> None:
        before = self.size
        original(self, order, price, *args, **kwargs)
        if self.size == before:
            return
        legs = {"profit": order.alert_profit, "loss": order.alert_loss, "trailing": order.alert_trailing}
        fills.append(
            {
                "bar": int(lib.bar_index),
                "order": order.exit_id or order.order_id,
                "leg": order.filled_by_type or "",
                "price": float(price),
                "before": float(before),
                "after": float(self.size),
                "message": legs.get(order.filled_by_type) or order.alert_message or "",
            }
        )

    def condition(met: Any, title: Any = "", message: Any = "") -> None:
        if bool(met):
            conditions.append((int(lib.bar_index), str(title), str(message)))

    strategy.SimPosition._fill_order = hooked
    lib.alertcondition = condition
    every_day = [SymInfoInterval(day=day, start=time(0), end=time(23, 59, 59)) for day in range(7)]
    info = SymInfo(
        prefix="BINANCE",
        description="",
        ticker="BTCUSDT.P",
        currency="USDT",
        basecurrency="BTC",
        period="15",
        type="crypto",
        mintick=float(TICK),
        pricescale=round(1 / float(TICK)),
        pointvalue=1.0,
        mincontract=float(LOT),
        opening_hours=every_day,
        session_starts=[],
        session_ends=[],
    )
    with tempfile.TemporaryDirectory() as folder:  # the runtime leaves a file beside the script
        script = Path(folder) / "script.py"
        script.write_text(pine2pyne.transpile(pine), encoding="utf-8")
        tick = float(TICK)
        series = [
            OHLCV(
                int(bar.opened_at.timestamp() * 1000),
                round(bar.open * tick, 1),
                round(bar.high * tick, 1),
                round(bar.low * tick, 1),
                round(bar.close * tick, 1),
                1.0,
            )
            for bar in bars
        ]
        plots = [_plain(item[1]) for item in ScriptRunner(script, series, info).run_iter()]
    return {"fills": fills, "plots": plots, "conditions": conditions}


def _plain(plots: Any) -> dict[str, float | None]:
    """na is None."""
    found: dict[str, float | None] = {}
    for title, value in dict(plots).items():
        number = float(value) if isinstance(value, (int, float)) else float("nan")
        found[str(title)] = None if number != number else number
    return found


def _apart(path: str, seed: int, first: int, last: int) -> dict[str, Any]:
    """`run` in a child of this process; an `error` where the script cannot be translated or run."""
    with tempfile.TemporaryFile() as told:
        child = os.fork()
        if not child:
            try:
                result = run(Path(path).read_text(encoding="utf-8"), candles(last, seed)[first:])
            except BaseException as error:  # noqa: BLE001  # whatever it was, it is this script's
                result = {"error": repr(error)}
            told.write(json.dumps(result).encode())
            told.flush()
            os._exit(0)
        os.waitpid(child, 0)
        told.seek(0)
        found: dict[str, Any] = json.loads(told.read())
        return found


if __name__ == "__main__":
    importlib.import_module("pynecore.core.script_runner")  # once, for all children
    jobs: list[tuple[str, int, int, int]] = json.load(sys.stdin)
    json.dump([_apart(*job) for job in jobs], sys.stdout)
