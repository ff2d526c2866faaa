"""What an order costs this machine, from our words to the answer's: ours, the venue's own SDK, ccxt.

The network is taken out: a transport hands out the answer that the emulated venue gave the first time.
ccxt has an environment of its own, which is made when it is asked for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.response import HTTPResponse

import exchanges
from exchanges import Credentials
from exchanges._http import Hosts
from tests.bench.place import Line
from tests.exchanges.sdk_acts import BTC, Act, Venue
from tests.exchanges.sdk_binance import BINANCE
from tests.exchanges.sdk_bybit import BYBIT
from tests.exchanges.test_sdk import scene
from tests.processes import ROOT

ORDERS = 300
CCXT = "ccxt==4.5.90"
_LIMIT = "limit entry"


class Replay(HTTPAdapter):
    """Passes on until it is told to hand out the last answer again."""

    def __init__(self) -> None:
        super().__init__()
        self.repeats = False
        self.body = b""
        self._headers: dict[str, str] = {}

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        if not self.repeats:
            real = super().send(request, *args, **kwargs | {"stream": True})
            self.body, self._headers = real.content, dict(real.headers)
        raw = HTTPResponse(
            BytesIO(self.body), self._headers, status=200, preload_content=False, decode_content=False
        )
        return self.build_response(request, raw)


class Clock:
    """This machine's until it is told to run: by a second each time that it is read, so that no limit of the
    venue holds an order back.
    """

    def __init__(self) -> None:
        self._ahead = timedelta()
        self.runs = False

    def __call__(self) -> datetime:
        self._ahead += timedelta(seconds=self.runs)
        return datetime.now(UTC) + self._ahead


def measure(url: str, folder: Path) -> Iterator[Line]:
    """The same limit order. The database has no part in it."""
    for venue in (BINANCE, BYBIT):
        act = next(act for act in venue.acts if act.name.startswith(_LIMIT))
        ours, body = _ours(venue, act)
        others = {"its SDK": _theirs(venue, act), "ccxt": _ccxt(venue.name, body)}
        said = ", ".join(f"{name} {value:.2f}" for name, value in others.items())
        yield Line(name=f"{venue.name}: an order signed and its answer read", value=ours, note=said)


def _ours(venue: Venue, act: Act) -> tuple[float, bytes]:
    clock, wire = Clock(), Replay()
    with scene(venue, clock) as at:  # type: ignore[arg-type]  # it is only asked for the time
        opened = exchanges.connect(
            venue.name,
            Credentials(key=venue.key, secret=venue.secret),
            network="live",
            hosts=Hosts(clock, transport=lambda: wire),
            urls={venue.name: at.server.url},
        )
        opened.instrument(BTC)
        opened.time()
        act.ours(opened, clock())
        wire.repeats = clock.runs = True
        return _timed(lambda: act.ours(opened, clock())), wire.body


def _theirs(venue: Venue, act: Act) -> float:
    wire = Replay()
    with scene(venue, Clock()) as at:  # type: ignore[arg-type]  # as above
        api = venue.sdk(at.server.url, venue.secret)
        session = getattr(api, "_session", None) or api.client
        session.mount("http://", wire)
        act.theirs(api)
        wire.repeats = True
        return _timed(lambda: act.theirs(api))


def _timed(act: Callable[[], Any]) -> float:
    """Milliseconds of this process each."""
    for _ in range(20):
        act()
    began = time.process_time()
    for _ in range(ORDERS):
        act()
    return 1000 * (time.process_time() - began) / ORDERS


def _ccxt(venue: str, body: bytes) -> float:
    python = ROOT / ".venv" / "ccxt" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", CCXT], check=True
        )
    told = json.dumps({"venue": venue, "body": body.decode(), "orders": ORDERS})
    script = ROOT / "tests" / "bench" / "by_ccxt.py"
    done = subprocess.run([python, script], input=told, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return float(done.stdout)
