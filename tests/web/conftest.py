"""A desk behind its doors: in this process for most tests, behind a real gunicorn where HTTP matters."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient

import app as door
from desk.demo import shielded
from desk.settings import ENV_FILE, load

ROOT = Path(__file__).resolve().parents[2]
PASSPHRASE = "canary-pässphrase-7f3a91"
PASSWORD = "canary-dashboard-51c0de"


class Body:
    """Bodies as TradingView sends them."""

    passphrase = PASSPHRASE
    password = PASSWORD

    def __call__(self, **changes: Any) -> dict[str, Any]:
        """An entry; `_` in a name stands for a space, None leaves the key out."""
        fields: dict[str, Any] = {
            "ticker": "BTCUSDT.P",
            "exchange": "BINANCE",
            "time": "2026-01-05T11:59:58Z",
            "action": "buy",
            "price": "50000",
            "message": "entry",
            "type": "market",
            "subaccount": "main",
            "passphrase": PASSPHRASE,
            "long SL": "49000",
            "long TP": "53000",
        }
        fields |= {name.replace("__", " "): value for name, value in changes.items()}
        return {name: value for name, value in fields.items() if value is not None}

    def raw(self, **changes: Any) -> bytes:
        return json.dumps(self(**changes)).encode()


@pytest.fixture(scope="session")
def body() -> Body:
    return Body()


@pytest.fixture
def environ() -> dict[str, str]:
    """Settings of a desk whose runner is elsewhere."""
    return {
        "WEBHOOK_PASSPHRASE": PASSPHRASE,
        "DASHBOARD_PASSWORD": PASSWORD,
        "RUNNER": "off",
        "RISK_MAIN": "1",
        "LEVERAGE_MAIN": "3",
        "EXCHANGE_MAIN": "BINANCE",
    }


@pytest.fixture
def make_app(sqlite_url: str, environ: dict[str, str]) -> Iterator[Callable[..., Flask]]:
    """Builds a door on this test's SQLite; keyword arguments are settings."""
    made: list[Flask] = []

    def make(**changes: str) -> Flask:
        made.append(door.create_app(load(environ | {"DATABASE_URL": sqlite_url} | changes)))
        return made[-1]

    yield make
    for app in made:
        app.extensions["desk"].stop(5)
        app.extensions["desk"].store.close()


@pytest.fixture
def client(make_app: Callable[..., Flask]) -> FlaskClient:
    return make_app().test_client()


class Server:
    """A real gunicorn on loopback."""

    def __init__(self, environ: dict[str, str], folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / f"server-{self.port}.log"
        # A person's .env beside app.py says nothing here.
        kept = shielded(ENV_FILE)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "app:app"],
                cwd=ROOT,
                env=kept | environ | {"PORT": str(self.port), "PYTHONUNBUFFERED": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                requests.get(self.url + "/robots.txt", timeout=2)
                return
            except requests.RequestException:
                time.sleep(0.05)
        raise AssertionError(f"the server did not come up:\n{self.log()}")

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def post(self, data: Any, path: str = "/tradingview-to-webhook-order", **more: Any) -> requests.Response:
        return requests.post(self.url + path, data=data, timeout=10, allow_redirects=False, **more)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=15)

    def exchange(self, request: bytes) -> bytes:
        """Sends raw bytes; all that comes back until the server closes."""
        with self.connect() as link:
            link.sendall(request)
            link.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := link.recv(65536):
                answer += piece
        return answer

    def stop(self) -> float:
        """SIGTERM; the seconds that it took to end."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=30)
        finally:
            self.process.kill()
            self.process.wait()
        return time.monotonic() - began


@pytest.fixture
def serve(environ: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts a server; keyword arguments are settings."""
    servers: list[Server] = []

    def start(**changes: str) -> Server:
        servers.append(Server(environ | changes, tmp_path))
        servers[-1].wait()
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop()
