"""`make demo VENUES=emulated` for real: the server's own adapters, and venues in a process beside it."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from desk import demo
from desk.demo_venues import Emulators
from desk.settings import ROOT, load
from tests.emulator import __main__ as emulators
from tests.emulator.server import Server

#: What a user may have set; none of it may reach the server of the demo.
HOSTILE = {
    "LIVE_TRADING": "1",
    "API_KEY_MAIN": "a-real-key",
    "API_SECRET_MAIN": "a-real-secret",
    "NETWORK_MAIN": "testnet",
    "RISK_MAIN": "50",
    "DATABASE_URL": "postgresql://127.0.0.1:1/users",
    "BINANCE_API_URL": "https://fapi.binance.com",
}
SETTINGS = ["LIVE_TRADING=1", "API_KEY_MAIN=k", "API_SECRET_MAIN=s"]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "desk.demo", "--venues", "emulated", *arguments],
        cwd=ROOT,
        env=os.environ | HOSTILE | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
    )
    assert not list(folder.iterdir())
    return done


def as_expected(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The venues of the tables, each of which has all 16 steps as expected."""
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "NOT AS EXPECTED" not in done.stdout
    venues = re.findall(r"(?m) at http://127\.0\.0\.1:[0-9]+, at ([A-Z]+): ", done.stdout)
    assert len(re.findall(r"(?m)^16 of 16 as expected$", done.stdout)) == len(venues)
    assert len(re.findall(r"(?m) ok$", done.stdout)) == 16 * len(venues)
    return venues


@pytest.mark.timeout(240)
@pytest.mark.slow
def test_the_real_adapters_do_what_the_paper_venue_does(tmp_path: Path) -> None:
    done = run(tmp_path, "--only", "binance")
    assert as_expected(done) == ["BINANCE"]
    told = re.sub(r"\s+", " ", done.stdout)
    for said in (
        "BTCUSDT.P, lot 0.001, a stop leaves when its entry has filled.",
        "sized 100000 free, risk 1 %: 2, worst loss 1000 status DONE entry bought 2 at 42000",
        "hit tp1 sold 0.505 at 42500 stop sell 1.517 at 42050 position LONG 1.517 at 42000",
        "close sold 1.517 at 42400 entry sold 1.698 at 42400 stop buy 1.698 at 43000",
        "stop sell 0.05 at 40500 INITIALIZED tp sell 0.05 at 42500 INITIALIZED position FLAT",
        "hit stop sold 1.714 at 41400 close nothing position FLAT orders none",
        "position FLAT orders none P&L +2049.70 venue empty",
    ):
        assert said in told, said


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_at_every_venue_with_one_server(tmp_path: Path) -> None:
    assert as_expected(run(tmp_path)) == ["BINANCE", "BYBIT", "FTX"]


def test_a_name_that_is_not_emulated_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--venues", "emulated", "--only", "kraken"]) == 1
    assert "no KRAKEN is emulated: --only takes one of BINANCE, BYBIT, FTX" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        demo.main(["--only", "ftx"])
    assert ended.value.code == 2
    assert "add --venues emulated" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url", ["https://fapi.binance.com", "http://localhost.example.com:80", "http://localhost:80", "nonsense"]
)
def test_nothing_is_sent_beyond_this_machine(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A name might lead anywhere: addresses alone are taken."""
    lines = iter([*SETTINGS, "BYBIT_API_URL=http://127.0.0.1:1", f"BINANCE_API_URL={url}", emulators.READY])
    monkeypatch.setattr(Emulators, "_heard", lambda _: next(lines))
    with pytest.raises(ConnectionError, match=r"BINANCE_API_URL is .*: nothing is sent beyond this machine"):
        Emulators()


def test_venues_that_are_not_there_or_end_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("desk.demo_venues.ROOT", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"tests\.emulator is not here"):
        Emulators()
    silent = tmp_path / "tests" / "emulator"
    silent.mkdir(parents=True)
    (silent / "__main__.py").touch()
    with pytest.raises(ConnectionError, match="the emulated venues have ended"):
        Emulators()


# `python -m tests.emulator`


def test_what_it_prints_are_settings_that_point_a_server_at_it() -> None:
    started = Emulators()
    try:
        told = started.settings
        settings = load({"WEBHOOK_PASSPHRASE": "correct-horse-battery", **told})
        assert settings.live_trading
        assert settings.accounts["MAIN"].api_key == told["API_KEY_MAIN"]
        assert set(settings.api_urls) == {"BINANCE", "BINANCE_SPOT", "BYBIT", "FTX"}
        venues = started.venues()
        assert [(venue.exchange, venue.ticker, str(venue.lot)) for venue in venues] == [
            ("BINANCE", "BTCUSDT.P", "0.001"),
            ("BYBIT", "BTCUSDT.P", "0.001"),
            ("FTX", "BTCPERP", "0.0001"),
        ]
        started.move(Decimal("42500.5"))
        assert [venue.left() for venue in venues] == ["empty"] * 3
    finally:
        started.end()
        started.end()


def test_a_line_moves_a_price_everywhere(clock: Any) -> None:
    with ExitStack() as stack:
        servers = []
        for name in emulators.VENUES:
            engine, dialect = importlib.import_module(f"tests.emulator.{name}").build(clock)
            servers.append(stack.enter_context(Server(dialect, engine)))
        assert emulators.told(servers, "BTC 42500.5") == "BTC is 42500.5 at 3 venues"
        symbols = ("BTC-USDT-PERP", "BTC-USDT-PERP", "BTC-USD-PERP")
        prices = {each.engine.price(symbol) for each, symbol in zip(servers, symbols, strict=True)}
        assert prices == {Decimal("42500.5")}
        assert emulators.told(servers, "NOSUCH 1") == "NOSUCH is traded nowhere here"
        for line in ("", "BTC", "BTC 0", "BTC 1e9", "BTC -1", "help"):
            assert "Say a coin and its price" in emulators.told(servers, line)


@pytest.mark.parametrize(
    ("start", "end", "path"),
    [
        ("42000", "42030", ["42010", "42020", "42030"]),
        ("42000", "41985", ["41990", "41985"]),
        ("41985.5", "42000", ["41990", "42000"]),
        ("42000", "42000", ["42000"]),
        ("0.012", "0.01203", ["0.01201", "0.01202", "0.01203"]),
    ],
)
def test_a_price_goes_by_small_steps(start: str, end: str, path: list[str]) -> None:
    assert emulators.walk(Decimal(start), Decimal(end)) == [Decimal(each) for each in path]
