"""The floors: what the same gunicorn does with a route that does next to nothing.

`/bare` reads the JSON and answers. `/commit` writes a row durably before it does. `/order` signs one order
and sends it to ORDER_URL on a connection that stays.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import threading
import time
from typing import Any
from urllib.parse import urlencode

import psycopg
import requests
from flask import Flask, jsonify, request

from store._engine import sqlite_driver

_SECRET = b"secret-of-the-bench"
_INSERT = "INSERT INTO bare (id, body) VALUES (?, ?)"


class Sqlite:
    """One connection, as durable as the server's, and a turn to take."""

    def __init__(self, path: str) -> None:
        self._turn = threading.Lock()
        self._database = sqlite_driver().connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = wal")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute("CREATE TABLE IF NOT EXISTS bare (id TEXT PRIMARY KEY, body TEXT)")

    def keep(self, key: str, body: str) -> None:
        """Durable when it returns."""
        with self._turn:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute(_INSERT, (key, body))
            self._database.execute("COMMIT")


class Postgres:
    """A connection for each thread."""

    def __init__(self, url: str) -> None:
        self._url, self._here = url, threading.local()
        with psycopg.connect(url) as first:
            first.execute("CREATE TABLE IF NOT EXISTS bare (id TEXT PRIMARY KEY, body TEXT)")

    def keep(self, key: str, body: str) -> None:
        """Durable when it returns."""
        if not hasattr(self._here, "connection"):
            self._here.connection = psycopg.connect(self._url, autocommit=True)
        self._here.connection.execute(_INSERT.replace("?", "%s"), (key, body))


def create_app() -> Flask:
    """The floors, on DATABASE_URL."""
    app = Flask(__name__)
    url = os.environ["DATABASE_URL"]
    database: Any = Sqlite(url.removeprefix("sqlite:///")) if url.startswith("sqlite") else Postgres(url)
    session = requests.Session()
    session.trust_env = False

    @app.post("/bare")
    def bare() -> Any:
        alert = json.loads(request.get_data())
        return jsonify(success=True, alert_id=alert["id"]), 202

    @app.post("/commit")
    def commit() -> Any:
        body = request.get_data(as_text=True)
        alert = json.loads(body)
        database.keep(alert["id"], body)
        return jsonify(success=True, alert_id=alert["id"]), 202

    @app.post("/order")
    def order() -> Any:
        alert = json.loads(request.get_data())
        asked = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": alert["size"]}
        asked |= {"newClientOrderId": alert["id"], "timestamp": str(int(time.time() * 1000))}
        query = urlencode(asked)
        mark = hmac.new(_SECRET, query.encode(), hashlib.sha256).hexdigest()
        session.post(
            f"{os.environ['ORDER_URL']}?{query}&signature={mark}", headers={"X-MBX-APIKEY": "key"}, timeout=10
        )
        return jsonify(success=True, alert_id=alert["id"]), 202

    return app


def __getattr__(name: str) -> Flask:
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = app = create_app()
    return app
