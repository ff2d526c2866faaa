"""`make demo` for real: the whole story, a story that goes wrong, and every way in which it is cut short.

On the emulated venues: tests/desk/test_demo_venues.py.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import psutil
import pytest

from desk import demo
from desk.settings import ROOT, environment, load
from trading.alertmodel import examples

# A loaded machine may take its time; each run ends by itself long before.
pytestmark = pytest.mark.timeout(240)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: What would change the story if it came through to the server.
HOSTILE = {
    "WEBHOOK_PASSPHRASE": "the user's own passphrase",
    "DATABASE_URL": "postgresql://127.0.0.1:1/users",
    "LIVE_TRADING": "1",
    "RISK_MAIN": "50",
    "LEVERAGE_MAIN": "1",
    "EXCHANGE_MAIN": "PAPER",
    "APPROVAL_MAIN": "discord",
    "LIMITS_MAIN": '{"max_notional": 5}',
    "DEFAULT_SUBACCOUNT": "OTHER",
    "PAPER_BALANCE": "7",
    "TRADINGVIEW_IPS_ONLY": "1",
    "RUNNER": "off",
    "WEB_CONCURRENCY": "4",
    "PORT": "1",
    "DYNO": "web.1",
    "GUNICORN_CMD_ARGS": "--workers 3",
}
LONG = {"message": "entry", "action": "buy", "type": "market", "ticker": "BTCUSDT.P", "price": "42000"}
LONG |= {"long SL": "41500", "long TP": "44000"}


def titles() -> list[str]:
    text = (ROOT / "alertmodel.txt").read_text(encoding="utf-8")
    return [each.title for each in examples(text) if not each.is_template]


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary folders go, empty again at the end; signals and children are as they were, too."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield tmp_path
    for number, handler in before.items():
        signal.signal(number, handler)
    assert not list(tmp_path.iterdir())
    assert not psutil.Process().children(recursive=True)


# The whole of it


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """One run by itself, with a user's settings all around it."""
    folder = tmp_path_factory.mktemp("demo")
    env = os.environ | HOSTILE | {"TMPDIR": str(folder)}
    command = [sys.executable, "-m", "desk.demo"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert not list(folder.iterdir())
    return done


def test_all_comes_as_expected_whatever_the_environment_holds(run: subprocess.CompletedProcess[str]) -> None:
    assert (run.returncode, run.stderr) == (0, ""), run.stdout + run.stderr
    told, table = run.stdout.split("\n# ")
    steps = ["A wrong passphrase", "An entry without its stop", titles()[0], "The same alert again"]
    steps += [*titles()[1:], "After the last exit"]
    assert re.findall(r"(?m)^[ 1]\d  (.*)$", told) == steps
    assert len(re.findall(r"(?m) ok$", table)) == len(steps)
    assert table.endswith(f"\n{len(steps)} of {len(steps)} as expected\n")
    assert "NOT AS EXPECTED" not in run.stdout


def test_it_is_plain_text_of_a_hundred_columns(run: subprocess.CompletedProcess[str]) -> None:
    assert max(map(len, run.stdout.splitlines())) <= demo.WIDTH == 100
    assert re.fullmatch(r"[ -~\n]*", run.stdout)


@pytest.mark.parametrize(
    "said",
    [
        "asks entry buy market BTCUSDT.P at 42000, long SL 41500, long TP 43000 answer 401 - ",
        "answer 422 long SL - ",
        "answer 200 duplicate - ",
        "sized 100000 free, risk 1 %: 2, worst loss 1000 status DONE entry bought 2 at 42000",
        "entry bought 2 at 42000 stop sell 2 at 41500 tp sell 2 at 43000 position LONG 2 at 42000",
        "close sold 2 at 42600 position FLAT orders none P&L +1200.00",
        "stop sell 2.022 at 41500 tp1 sell 0.505 at 42500 tp2 sell 0.505 at 43000",
        "tp3 sell 0.505 at 43500 tp sell 0.507 at 44000",
        "hit tp1 sold 0.505 at 42500 stop sell 1.517 at 42050 position LONG 1.517 at 42000",
        "close sold 1.517 at 42400 entry sold 1.698 at 42400 stop buy 1.698 at 43000",
        "entry buy 0.05 at 41000 stop sell 0.05 at 40500 tp sell 0.05 at 42500 INITIALIZED position FLAT",
        "asked AWAITING_APPROVAL approval taken",
        "hit stop sold 1.714 at 41400 close nothing position FLAT orders none",
        "position FLAT orders none P&L +2049.70 venue empty",
    ],
)
def test_it_tells_numbers(said: str, run: subprocess.CompletedProcess[str]) -> None:
    assert said in squeezed(run.stdout)


@pytest.mark.slow
def test_another_quantity_than_the_formula_s_is_not_as_expected(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "RISK", Decimal("1.5"))
    assert demo.main() == 1
    told, table = capsys.readouterr().out.split("\n#")
    assert "entry     bought 2 at 42000 - NOT AS EXPECTED, which was: bought 3 at 42000\n" in told
    rows = [squeezed(row) for row in table.splitlines()]
    assert " 1 A wrong passphrase answer 401 401 ok" in rows
    assert " 3 Strategy: a long entry answer 202 RECEIVED 202 RECEIVED NOT AS EXPECTED" in rows
    assert any(row.endswith("entry bought 3 at 42000 bought 2 at 42000 differs") for row in rows)
    assert re.search(r"\n\d+ of \d+ as expected\n$", table)


@pytest.mark.slow
def test_a_server_that_does_not_trade_is_not_as_expected(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(demo.SETTINGS, "RUNNER", "off")
    patient = demo.Server.ended

    def hasty(self: demo.Server, alert_id: str, *until: str) -> demo.Json:
        monkeypatch.setattr(demo, "LIMIT", 0.1)
        found = patient(self, alert_id, *until)
        monkeypatch.setattr(demo, "LIMIT", 60.0)
        return found

    monkeypatch.setattr(demo.Server, "ended", hasty)
    assert demo.main() == 1
    out = capsys.readouterr().out
    assert "status    RECEIVED after 0.1 s - NOT AS EXPECTED, which was: DONE\n" in out
    assert "approval  409 - " in out


# The ways in which it is cut short


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_all_is_tidied_up(folder: Path, number: signal.Signals) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.default_int_handler)  # an ignored one would stay ignored in the child
    with subprocess.Popen(
        [sys.executable, "-m", "desk.demo"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        process.send_signal(number)
        told, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (1, "\ndemo: stopped, and all tidied up\n")
    assert "as expected" not in told
    assert len(children) >= 2
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def test_a_server_that_does_not_start_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(demo.SETTINGS, "RISK_MAIN", "much")
    assert demo.main() == 1
    said = capsys.readouterr().err
    assert said.startswith("\ndemo: no good answer to GET /health (")
    assert "cannot start: RISK_MAIN: 'much' is not a plain number" in said


@pytest.mark.slow
def test_a_server_that_will_not_end_is_made_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "STOP_LIMIT", 0.0)
    place = folder / "server"
    place.mkdir()
    server = demo.Server(place)
    try:
        assert server.ask("GET", "/health")[0] == 200
    finally:
        server.end()
        shutil.rmtree(place)


# What it takes along, and what it expects


@pytest.mark.slow
def test_nothing_of_the_users_settings_reaches_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in HOSTILE.items()), encoding="utf-8")
    before = env_file.read_bytes()
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    own = {"WEBHOOK_PASSPHRASE": "one of its own", "DATABASE_URL": "sqlite:///own.db"}
    found = demo.shielded(env_file) | own
    assert found["PATH"] == os.environ["PATH"]
    assert {name: value for name, value in found.items() if name in HOSTILE and value} == own
    monkeypatch.setattr("os.environ", found)
    assert load(environment(env_file)) == load(own)
    assert env_file.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "free", "quantity"),
    [
        ({}, "100000", "2"),
        ({}, "101115.4", "2.022"),
        ({"long SL": "41999"}, "100000", "6.928"),
        ({"size": "0.0509"}, "100000", "0.050"),
        ({"size": "50"}, "100000", "6.928"),
        ({"action": "sell", "short SL": "42600"}, "101895.7851", "1.698"),
        ({}, "0", "0"),
    ],
)
def test_the_quantity_that_it_expects(change: dict[str, str], free: str, quantity: str) -> None:
    assert demo.quantity_of(LONG | change, Decimal(free), Decimal("0.001")) == Decimal(quantity)


def test_the_targets_that_it_expects() -> None:
    rungs = {"tp Close": "25", "tp1 Mult": "1", "tp2 Mult": "0", "tp3 Mult": "2.5"}
    short = {"action": "sell", "short SL": "42600", "short TP": "40000"}
    found = demo.ladder(LONG | short | rungs, Decimal("0.101"), Decimal("0.001"))
    assert {name: (str(quantity), price) for name, (quantity, price) in found.items()} == {
        "tp1": ("0.025", Decimal(41400)),
        "tp3": ("0.025", Decimal(40500)),
        "tp": ("0.051", Decimal(40000)),
    }


def test_an_order_that_is_not_as_it_should_be_is_seen() -> None:
    order = {"side": "SELL", "role": "stop", "status": "ACCEPTED", "quantity": "2", "average_price": None}
    order |= {"trigger_price": "41500", "price": None, "reduce_only": True, "client_order_id": "a-sl"}
    assert demo.shown(order) == "sell 2 at 41500"
    assert demo.shown(order | {"status": "CANCELED"}) == "sell 2 at 41500 CANCELED"
    assert demo.shown(order | {"reduce_only": False}) == "sell 2 at 41500 not reduce-only"
    assert demo.shown(order | {"status": "FILLED", "average_price": "41490"}) == "sold 2 at 41490"


def test_one_that_filled_at_a_price_that_nobody_tells_is_seen() -> None:
    order = {"side": "SELL", "role": "close", "status": "FILLED", "quantity": "2", "average_price": None}
    assert demo.shown(order | {"reduce_only": True}) == "sell 2 filled, nobody says at which price"


def test_what_is_missing_and_what_nobody_expected_differ(capsys: pytest.CaptureFixture[str]) -> None:
    steps: list[demo.Step] = []
    step = demo.Step(steps, "Something", "to be done")
    step.compare(
        {"status": "DONE", "stop": "sell 2 at 41500"}, {"status": "DONE", "close": "sold 2 at 42000"}
    )
    assert demo.concluded(steps) == 1
    table = squeezed(capsys.readouterr().out)
    assert "status DONE DONE NOT AS EXPECTED" in table
    assert "stop sell 2 at 41500 nothing differs" in table
    assert "close nothing sold 2 at 42000 differs" in table
    assert table.endswith(" 0 of 1 as expected ")
