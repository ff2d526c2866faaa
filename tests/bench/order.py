"""From an alert's last byte to the first byte of its entry order at the venue."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import requests

from tests.bench import load
from tests.bench.answer import ROUTE
from tests.bench.place import Line, Running, server
from tests.processes import PASSPHRASE, PASSWORD
from tests.soak.play import KEY, SECRET, VENUES, Market, opened

ENTRIES = 12
#: Seconds of a round trip to the venue.
TRIPS = (0.0, 0.05)
#: At a round trip of 50 ms: so many before the entry leaves.
MOST_TRIPS = 1
#: Seconds between two plays: it is not a venue's rate limit that is measured.
_REST = 1.5
_PATIENCE = 30.0


def measure(url: str, folder: Path) -> Iterator[Line]:
    """Each venue in turn; the first entry of a process, for which nothing is known yet, is told apart.

    The venues outlast the servers, as they do: one that had begun anew would number new fills like old ones.
    """
    with ExitStack() as stack:
        markets = [Market(venue, _bitcoin(venue)) for venue in map(stack.enter_context, map(opened, VENUES))]
        for trip in TRIPS:
            for market in markets:
                market.server.delay = trip / 2
            yield from _trip(markets, trip, url, folder)


def _trip(markets: list[Market], trip: float, url: str, folder: Path) -> Iterator[Line]:
    with ExitStack() as stack:
        urls = {f"{market.venue}_API_URL": market.server.url for market in markets}
        keys = {"LIVE_TRADING": "1", "API_KEY_MAIN": KEY, "API_SECRET_MAIN": SECRET}
        order = f"{markets[0].server.url}/fapi/v1/order"
        bare = stack.enter_context(server(url, folder, "tests.bench.bare:app", ORDER_URL=order))
        floor = statistics.median(_bare(markets[0], bare, trip))
        desk = stack.enter_context(server(url, folder, **urls, **keys))
        for market in markets:
            first, *others = _entries(market, desk, trip)
            middle = statistics.median(took for took, _ in others)
            name = f"{market.venue}, {trip * 1000:.0f} ms round trip: entry on its way"
            limit = 2 * floor if not trip else 1000 * trip * (MOST_TRIPS + 0.5) + 2 * floor
            yield Line(name=name, value=middle, floor=floor, limit=limit, note=f"first {first[0]:.0f}")
            if trip:
                yield Line(
                    name=f"{market.venue}: round trips before the entry",
                    value=max(trips for _, trips in others),
                    unit="",
                    limit=MOST_TRIPS,
                    note=f"first {first[1]}",
                )


def _bare(market: Market, floor: Running, trip: float) -> list[float]:
    took = []
    for number in range(ENTRIES):
        market.server.reset_log()
        body = json.dumps({"id": f"bare{trip}{number}", "size": "0.01"}).encode()
        took.append(_until_order(market, floor.port, load.post("/order", body))[0])
    return took[2:]


def _entries(market: Market, desk: Running, trip: float) -> list[tuple[float, int]]:
    """Of each entry: milliseconds, and the round trips that were waited for."""
    took = []
    for number in range(ENTRIES):
        price = market.engine.price(market.symbol)
        fields = {"passphrase": PASSPHRASE, "exchange": market.venue, "subaccount": "MAIN"}
        fields |= {"ticker": market.ticker, "price": f"{price:f}", "action": "buy"}
        levels = {"long SL": price * 99 / 100, "long TP": price * 102 / 100}
        fields |= {name: f"{market.near(level):f}" for name, level in levels.items()}
        entry = fields | {"message": "entry", "size": "0.01", "id": f"e{market.venue}{trip}{number}"}
        market.server.reset_log()
        request = load.post(ROUTE, json.dumps(entry).encode())
        milliseconds, asked = _until_order(market, desk.port, request)
        # What goes out side by side comes within half a round trip.
        trips = sum(later - sooner > trip / 2 for sooner, later in pairwise(asked))
        took.append((milliseconds, trips))
        _all_done(desk)
        leave = fields | {"message": "exit", "id": f"x{market.venue}{trip}{number}"}
        load.run(desk.port, [load.post(ROUTE, json.dumps(leave).encode())], connections=1)
        _all_done(desk)
        time.sleep(_REST)
    return took


def _until_order(market: Market, port: int, request: bytes) -> tuple[float, list[float]]:
    """Milliseconds from the request's last byte until an order that opens comes to the venue; when that and
    what was asked before it came.
    """
    sent_at = load.run(port, [request], connections=1).sent_at[0]
    deadline = time.monotonic() + _PATIENCE
    while True:
        for seen in list(market.server.log):
            if seen.method == "POST" and seen.key[0].rpartition("/")[2] in ("order", "orders", "create"):
                asked = sorted(each.at for each in market.server.log if sent_at <= each.at <= seen.at)
                return 1000 * (seen.at - sent_at), asked
        assert time.monotonic() < deadline, market.server.story()
        time.sleep(0.001)


def _all_done(desk: Running) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        answer = requests.get(
            f"http://127.0.0.1:{desk.port}/api/alerts?limit=1", auth=("any", PASSWORD), timeout=10
        )
        status = answer.json()["alerts"][0]["status"]
        if status == "DONE":
            return
        assert status in ("RECEIVED", "APPROVED", "EXECUTING"), answer.json()["alerts"][0]
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.02)


def _bitcoin(venue: object) -> str:
    listings = venue.engine.listings()  # type: ignore[attr-defined]
    return next(listing.symbol for listing in listings if listing.symbol.startswith("BTC-"))
