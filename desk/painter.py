"""Answers the charts that people ask for: candles from the exchange into a notice, or for the dashboard.

Works beside the lanes, one request at a time. Never trades, and never draws: the bot does.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from datetime import datetime

from desk.intake import venue_of
from desk.venues import Venues
from store import Store, charts, outbox, views
from store.charts import Request
from trading.errors import StoreUnavailable
from trading.model import Lane, plain

log = logging.getLogger(__name__)

#: Requests that are looked at in one go.
_BATCH = 5


class Painter:
    """What a runner has at hand for charts. `look` returns at once."""

    def __init__(self, store: Store, venues: Venues, clock: Callable[[], datetime], *, live: bool) -> None:
        self._store = store
        self._venues = venues
        self._clock = clock
        self._live = live
        self._busy = threading.Lock()

    def look(self) -> None:
        """Starts to answer what is asked for, unless that is going on already. Raises StoreUnavailable."""
        with self._store.read() as tx:
            asked = charts.open_requests(tx, 1)
        if asked and not self._busy.locked():
            threading.Thread(target=self.answer, name="painter", daemon=True).start()

    def answer(self) -> None:
        """Answers all that is asked for now; another call that is at it already makes this one return."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            with self._store.read() as tx:
                asked = charts.open_requests(tx, _BATCH)
            for request in asked:
                self._answer(request)
        except StoreUnavailable as error:
            log.error("charts have to wait for the database: %s", error)
        finally:
            self._busy.release()

    def _answer(self, request: Request) -> None:
        account, levels = self._open_trade(request.symbol)
        lane = Lane(venue_of(request.exchange, live=self._live), account, request.symbol)
        bars, missing = self._venues.candles(lane, request.interval, shown=True)
        if request.channel_id == charts.PAGE:
            with self._store.write() as tx:
                now = self._clock()
                if charts.answered(tx, request.seq, now):
                    charts.keep(tx, request, bars=charts.packed(bars), missing=missing, now=now)
            return
        data = {
            "channel_id": request.channel_id,
            "symbol": request.symbol,
            "exchange": request.exchange,
            "interval": request.interval,
            "bars": charts.packed(bars),
            "no_bars": missing,
            **levels,
        }
        with self._store.write() as tx:
            now = self._clock()
            if charts.answered(tx, request.seq, now):
                text = f"{request.symbol} at {request.exchange}, bars of {request.interval}"
                outbox.notify(tx, kind="chart", text=text, alert_id=None, now=now, data=json.dumps(data))

    def _open_trade(self, symbol: str) -> tuple[str, dict[str, str]]:
        """Account and levels of what is open of an instrument, if something is."""
        with self._store.read() as tx:
            rows = [row for row in views.position_list(tx) if row["symbol"] == symbol]
        rows.sort(key=lambda row: (row["quantity"] == 0, -row["updated_at"].timestamp()))
        if not rows:
            return "", {}
        first = rows[0]
        levels = {"price": first["average_price"], "stop": first["stop_price"]}
        return first["account"], {name: plain(level) for name, level in levels.items() if level is not None}
