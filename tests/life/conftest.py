"""A desk that trades live at an emulated exchange: one process, real HTTP, a clock that the test turns."""

from __future__ import annotations

import gc
import importlib
import json
import shutil
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from requests.adapters import HTTPAdapter

from desk import confirm, report
from desk.intake import Intake
from desk.runner import Runner
from desk.settings import load
from desk.venues import Venues
from exchanges import available
from exchanges._http import Host, Hosts, Patience
from store import Store, journal, open_store
from tests.emulator.server import Server
from tests.life.books import MARKETS, OWN, Books, CoinBooks
from trading.model import Route

PASSPHRASE = "correct-horse-battery"
#: Short, so that a silent venue costs a test little; the desk's own clock does not move meanwhile.
HASTY = Patience(connect=2, silence=0.3, total=0.6, long=2)
#: Where the venue answers, a busy machine may take its time.
CALM = Patience(connect=20, silence=20, total=20, long=20)
REFUSED = "refused"


class Chain:
    """How many requests stood one behind another's answer, without asking a clock.

    A request stands behind all that its own thread has asked, and behind what was asked by the calls whose
    results that thread has waited for.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._here = threading.local()
        self._sent: list[tuple[int, str]] = []
        real = Host.together

        def together(host: Host, *calls: Callable[[], Any]) -> list[Any]:
            before, depths = self._depth, []

            def one(call: Callable[[], Any]) -> Any:
                self._depth = before
                try:
                    return call()
                finally:
                    depths.append(self._depth)

            try:
                return real(host, *(partial(one, call) for call in calls))
            finally:
                self._depth = max(depths, default=before)

        monkeypatch.setattr(Host, "together", together)

    @property
    def _depth(self) -> int:
        return int(getattr(self._here, "depth", 0))

    @_depth.setter
    def _depth(self, depth: int) -> None:
        self._here.depth = depth

    def begin(self) -> None:
        self._depth = 0
        self._sent.clear()

    def add(self, request: requests.PreparedRequest) -> None:
        self._depth += 1
        self._sent.append((self._depth, f"{request.url} {request.body!r}"))

    def depth_of(self, word: str) -> int:
        """The place in its chain, from 1, of the first request that holds `word`."""
        return next(depth for depth, text in self._sent if word in text)


class Transport(HTTPAdapter):
    """Real connections, but for one request, which meets a port where nobody listens."""

    def __init__(self, route: Callable[[str], str]) -> None:
        super().__init__(max_retries=0, pool_maxsize=32)
        self._route = route
        self._counts: Counter[str] = Counter()
        self.refuse: tuple[str, int] | None = None
        self.chain: Chain | None = None
        #: Told before each request that changes something, and before its answer is read.
        self.around: Callable[[str], None] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._closed = free.getsockname()[1]

    def reset(self) -> None:
        self._counts.clear()

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        parts = urlsplit(str(request.url))
        name = f"{request.method} {self._route(parts.path)}"
        self._counts[name] += 1
        if self.chain is not None:
            self.chain.add(request)
        if self.refuse == (name, self._counts[name]):
            self.refuse = None
            request.url = parts._replace(netloc=f"127.0.0.1:{self._closed}").geturl()
        if self.around is None or request.method == "GET":
            return super().send(request, *args, **kwargs)
        self.around(f"request {name}")
        answer = super().send(request, *args, **kwargs)
        try:
            self.around(f"answer {name}")
        except BaseException:
            answer.close()
            raise
        return answer


class Life(Books):
    """One desk and one venue; `send` an alert, let it `settle`, look at what the venue has."""

    def __init__(self, name: str, server: Server, store: Store, clock: Any, **environ: str) -> None:
        super().__init__(name, server)
        self.store, self.clock = store, clock
        self.environ = {**self.environ, "WEBHOOK_PASSPHRASE": PASSPHRASE, **environ}
        self.settings = load(self.environ)
        self.patience = CALM
        self.transport = Transport(server.dialect.route)
        self.intake = Intake(store, self.settings, clock, lambda: None, exchanges=available())
        self._count = 0
        self.start()

    def start(self) -> None:
        """A new process: nothing is known but what the database holds."""
        hosts = Hosts(
            self.clock, patience=self.patience, transport=lambda: self.transport, pause=self.clock.advance
        )
        self.venues = Venues(self.store, self.settings, self.clock, hosts=hosts)
        self.runner = Runner(self.store, self.settings, self.clock, venues=self.venues)

    def die(self) -> None:
        """What kill -9 leaves: claims that the next runner frees."""
        with self.store.write() as tx:
            journal.release_owners(tx, owners=journal.owners(tx))
        self.start()

    def settle(self) -> None:
        for _ in range(200):
            if not self.runner.step():
                return
        raise AssertionError("the lane is never at rest")

    def wait(self, seconds: float, *, step: float = 1.0) -> None:
        passed = 0.0
        while passed < seconds:
            self.clock.advance(step)
            passed += step
            self.settle()

    def store_only(self, message: str, **fields: str) -> str:
        self._count += 1
        body = {
            "passphrase": PASSPHRASE,
            "ticker": self.market.ticker,
            "exchange": self.venue,
            "message": message,
            "id": f"n{self._count}",
            **fields,
        }
        answer = self.intake.receive(json.dumps(body).encode(), route=Route.ORDER, address="127.0.0.1")
        assert answer.code == 202, answer
        return str(answer.body["alert_id"])

    def send(self, message: str, **fields: str) -> str:
        alert_id = self.store_only(message, **fields)
        self.settle()
        return alert_id

    def price(self, *path: str) -> None:
        """The market moves, and the desk has its next look."""
        self.engine.move(self.market.symbol, *(Decimal(each) for each in path))
        self.wait(3)

    def alert(self, alert_id: str) -> dict[str, Any]:
        found = report.alert(self.store, alert_id)
        assert found is not None
        return found

    def status(self, alert_id: str) -> str:
        return str(self.alert(alert_id)["status"])


class CoinLife(CoinBooks, Life):
    """The position is what was bought and is held; a person's own coins are not in it."""


@pytest.fixture
def lives(
    sqlite_template: Path,
    tmp_path_factory: pytest.TempPathFactory,
    clock: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Life]]:
    """As many lives as a test wants, one at a time, each with a venue and a database of its own."""
    monkeypatch.setattr(confirm, "STOP_WAITS", CALM.total)
    opened: list[tuple[Store, Server]] = []

    def close() -> None:
        for store, server in opened:
            store.close()
            server.close()
            assert not server.failures, server.failures
        if opened:
            opened.clear()
            # A life is a ring of objects: its threads and connections would stay until it is collected.
            gc.collect()

    def make(name: str, *, account: dict[str, Any] | None = None, **environ: str) -> Life:
        """`account` is what a spot account has besides OWN."""
        close()
        module = importlib.import_module(f"tests.emulator.{name.lower()}")
        kind, more = Life, {}
        if MARKETS[name].venue:
            kind, more = CoinLife, {"own": {"BTC": OWN, "BNB": Decimal(5)}} | (account or {})
        engine, dialect = module.build(clock, **more)
        engine.move(MARKETS[name].symbol, Decimal(42000))
        server = Server(dialect, engine)
        server.__enter__()
        path = tmp_path_factory.mktemp("life") / "desk.db"
        shutil.copyfile(sqlite_template, path)
        store = open_store(f"sqlite:///{path}")
        opened.append((store, server))
        return kind(name, server, store, clock, **environ)

    yield make
    close()
