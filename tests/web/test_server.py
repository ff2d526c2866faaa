"""The real gunicorn on loopback: what only HTTP, processes and signals can show."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from sqlalchemy import func, select

from store import open_store
from store.tables import alerts, intents, metadata

ORDER = b"/tradingview-to-webhook-order"


def head(*lines: bytes) -> bytes:
    start = b"POST " + ORDER + b" HTTP/1.1"
    return b"\r\n".join((start, b"Host: desk", b"Connection: close", *lines)) + b"\r\n\r\n"


def code(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_five_equal_alerts_at_once_are_one(serve: Callable[..., Any], database_url: str, body: Any) -> None:
    server = serve(DATABASE_URL=database_url, WEB_CONCURRENCY="2")
    start = threading.Barrier(5)

    def send(_: int) -> Any:
        start.wait()
        return server.post(body.raw())

    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(send, range(5)))

    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [202]
    assert sorted(answer.json()["status"] for answer in answers) == ["RECEIVED"] + ["duplicate"] * 4
    assert len({answer.json()["alert_id"] for answer in answers}) == 1
    store = open_store(database_url)
    with store.read() as tx:
        assert tx.execute(select(func.count()).select_from(alerts)).scalar_one() == 1
        assert tx.execute(select(func.count()).select_from(intents)).scalar_one() == 1
    store.close()


def test_broken_http_gets_a_plain_answer_and_leaves_no_secret(
    serve: Callable[..., Any], sqlite_url: str, body: Any
) -> None:
    server = serve(DATABASE_URL=sqlite_url)
    raw = body.raw()
    chunk = b"%x\r\n%s\r\n"
    chunked = head(b"Transfer-Encoding: chunked")

    assert code(server.exchange(chunked + chunk % (len(raw), raw) + b"0\r\n\r\n")) == 202
    endless = chunked + b"".join(chunk % (1000, b" " * 1000) for _ in range(40)) + b"0\r\n\r\n"
    assert code(server.exchange(endless)) == 413
    assert code(server.exchange(chunked + b"zz\r\n" + raw)) == 400
    assert code(server.exchange(chunked + b"ffff\r\n" + raw)) == 400
    assert code(server.exchange(head(b"Content-Length: %d" % (10**9)) + raw)) == 413
    assert code(server.exchange(head(b"Content-Length: %d" % (len(raw) + 9)) + raw)) == 400
    assert code(server.exchange(head(b"Content-Length: -1") + raw)) == 400
    assert code(server.exchange(head() + raw)) == 400
    short = head(b"Content-Length: 5").replace(b"Connection: close\r\n", b"") + raw
    assert code(server.exchange(short)) == 400
    assert code(server.exchange(raw + b"\r\n\r\n")) == 400
    assert code(server.exchange(b'{"passphrase": "canary-of-somebody-else"}\r\n\r\n')) == 400
    assert code(server.exchange(head(b"X: " + b"y" * 9000))) == 431
    assert server.post(b" " * 300_000).status_code == 413

    server.stop()
    log = server.log()
    assert "Traceback" not in log
    assert "Invalid request from ip=127.0.0.1" in log
    assert "canary" not in log
    assert body.passphrase not in log
    assert json.dumps(body.passphrase)[1:-1] not in log


def test_nothing_redirects(serve: Callable[..., Any], sqlite_url: str, body: Any) -> None:
    server = serve(DATABASE_URL=sqlite_url)

    raw = body.raw()
    request = head(b"Content-Length: %d" % len(raw)) + raw
    for path in (
        b"/." + ORDER,
        b"/x/.." + ORDER,
        b"/x/" + ORDER,
        ORDER + b"//",
        b"/api",
        b"/api/",
        b"//evil.test/",
    ):
        answer = server.exchange(request.replace(ORDER, path, 1))
        assert code(answer) == 404, path
        assert b'"success": false' in answer
        assert b"location" not in answer.lower()


def test_slow_senders_do_not_keep_good_ones_waiting(
    serve: Callable[..., Any], sqlite_url: str, body: Any
) -> None:
    server = serve(DATABASE_URL=sqlite_url)
    starts = [b"", b"POST " + ORDER + b" HTTP/1.1\r\nHost: de", head(b"Content-Length: 4000") + b'{"ticker"']
    slow = [server.connect() for _ in range(60)]
    over = threading.Event()

    def drip() -> None:
        while not over.wait(0.2):
            for number, link in enumerate(slow):
                if number % 3:
                    link.send(b" ")

    for number, link in enumerate(slow):
        link.sendall(starts[number % 3])
    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        time.sleep(1)
        for number in range(3):
            began = time.monotonic()
            assert server.post(body.raw(id=f"n{number}")).status_code == 202
            assert time.monotonic() - began < 3
    finally:
        over.set()
        dripping.join()
        for link in slow:
            link.close()


def test_more_slow_senders_than_threads_are_let_go(
    serve: Callable[..., Any], sqlite_url: str, body: Any
) -> None:
    server = serve(DATABASE_URL=sqlite_url)
    slow = [server.connect() for _ in range(80)]
    for link in slow:
        link.sendall(head(b"Content-Length: 4000") + b'{"ticker"')
    began = time.monotonic()
    while time.monotonic() - began < 20:
        try:
            assert server.post(body.raw()).status_code in (202, 200)
            break
        except OSError:
            continue
    assert time.monotonic() - began < 15
    for link in slow:
        link.close()


@pytest.mark.parametrize("runner", [pytest.param("off", marks=pytest.mark.slow), "embedded"])
def test_sigterm_ends_it_within_ten_seconds_with_a_request_on_its_way(
    serve: Callable[..., Any], sqlite_url: str, body: Any, runner: str
) -> None:
    server = serve(DATABASE_URL=sqlite_url, RUNNER=runner, WEB_CONCURRENCY="2")
    assert server.post(body.raw()).status_code == 202
    raw = body.raw(id="late")
    stuck = [server.connect() for _ in range(5)]
    for link in stuck:
        link.sendall(head(b"Content-Length: 4000") + b'{"ticker"')
    late = server.connect()
    late.sendall(head(b"Content-Length: %d" % len(raw)) + raw[:50])
    time.sleep(0.5)

    answer: list[bytes] = []

    def finish() -> None:
        time.sleep(0.5)
        late.sendall(raw[50:])
        answer.append(late.recv(65536))

    finishing = threading.Thread(target=finish)
    finishing.start()
    assert server.stop() < 10
    finishing.join()
    assert code(answer[0]) == 202
    assert server.process.returncode == 0
    assert "Traceback" not in server.log()
    for link in (*stuck, late):
        link.close()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.slow
def test_a_signal_to_all_processes_ends_it_within_ten_seconds(
    serve: Callable[..., Any], sqlite_url: str, body: Any, sent: signal.Signals
) -> None:
    server = serve(DATABASE_URL=sqlite_url, RUNNER="embedded")
    assert server.post(body.raw()).status_code == 202
    stuck = [server.connect() for _ in range(5)]
    for link in stuck:
        link.sendall(head(b"Content-Length: 4000") + b'{"ticker"')
    time.sleep(0.3)

    began = time.monotonic()
    for process in (*psutil.Process(server.process.pid).children(), server.process):
        process.send_signal(sent)
    server.process.wait(timeout=15)

    assert time.monotonic() - began < 10
    assert "Traceback" not in server.log()
    for link in stuck:
        link.close()


def test_it_starts_without_its_database_and_asks_for_a_resend(serve: Callable[..., Any], body: Any) -> None:
    server = serve(DATABASE_URL="postgresql://desk:canary-db@127.0.0.1:9/none", RUNNER="embedded")

    began = time.monotonic()
    assert server.post(body.raw()).status_code == 503
    assert time.monotonic() - began < 3
    health = requests.get(server.url + "/health", timeout=5)
    assert (health.status_code, health.json()["database"]) == (503, "failing")
    assert server.stop() < 10
    assert "canary-db" not in server.log()
    assert "Traceback" not in server.log()


def test_an_alert_is_traded_by_the_embedded_runner(
    serve: Callable[..., Any], sqlite_url: str, body: Any
) -> None:
    server = serve(DATABASE_URL=sqlite_url, RUNNER="embedded")
    alert_id = server.post(body.raw(time=None)).json()["alert_id"]

    def get(path: str) -> Any:
        return requests.get(server.url + path, auth=("any", body.password), timeout=5).json()

    deadline = time.monotonic() + 20
    while (alert := get(f"/api/alerts/{alert_id}"))["status"] != "DONE" and time.monotonic() < deadline:
        time.sleep(0.1)

    assert alert["status"] == "DONE", alert
    assert [order["role"] for order in alert["orders"]] == ["entry", "stop", "target"]
    assert [row["symbol"] for row in get("/api/positions")["positions"]] == ["BTC-USDT-PERP"]
    health = get("/health")
    assert (health["status"], health["oldest_undone_alert"]) == ("ok", None)
    assert health["runner"]["age_s"] < 30


def test_a_new_database_gets_its_tables_by_itself(
    serve: Callable[..., Any], tmp_path: Path, body: Any
) -> None:
    server = serve(DATABASE_URL=f"sqlite:///{tmp_path}/new/desk.db", WEB_CONCURRENCY="2")

    assert server.post(body.raw()).status_code == 202
    assert server.post(body.raw()).json()["status"] == "duplicate"
    assert "alembic" not in server.log().lower() or "Traceback" not in server.log()


def test_no_passphrase_in_the_log_or_the_database_of_a_real_server(
    serve: Callable[..., Any], sqlite_url: str, body: Any
) -> None:
    server = serve(DATABASE_URL=sqlite_url)
    server.post(body.raw())
    server.post(body.raw(ticker=None))
    server.post(body.raw(other=body.passphrase))
    server.post(b'{"passphrase": ' + body.passphrase.encode())
    server.post(body.raw(), path=f"/wrong/{body.passphrase}")
    server.stop()

    store = open_store(sqlite_url)
    with store.read() as tx:
        rows = [repr(tuple(row)) for table in metadata.sorted_tables for row in tx.execute(select(table))]
    store.close()
    kept = Path(sqlite_url.removeprefix("sqlite:///")).read_bytes()
    for canary in (body.passphrase, json.dumps(body.passphrase)[1:-1], body.password):
        assert not any(canary in row for row in rows)
        assert canary.encode() not in kept
        assert canary not in server.log()


def test_a_missing_setting_is_one_clear_line(tmp_path: Path, environ: dict[str, str]) -> None:
    root = Path(__file__).resolve().parents[2]
    kept = {"PATH": os.environ["PATH"], "PORT": "1", "WEBHOOK_PASSPHRASE": "change-me"}
    ended = subprocess.run(
        [sys.executable, "-m", "gunicorn", "app:app"],
        cwd=root,
        env=kept,
        capture_output=True,
        timeout=30,
        check=False,
    )

    said = (ended.stdout + ended.stderr).decode()
    assert ended.returncode == 4
    assert "WEBHOOK_PASSPHRASE" in said
    assert "Traceback" not in said


def test_importing_the_door_opens_nothing() -> None:
    import app

    assert callable(app.create_app)
    assert "app" not in vars(app)
    with pytest.raises(AttributeError):
        _ = app.nothing
    assert isinstance(socket.gethostname(), str)
