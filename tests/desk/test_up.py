"""`make run`, for real: processes, signals, the lines that it prints, and the ways in which it gives up."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from desk import children, up
from desk.settings import ROOT, VARIABLES, environment, load

PASSPHRASE = "correct horse"
#: A web server in small: what `app.py` and `desk.migrate` are to the real one.
APP = """
def app(environ, start):
    start({status!r}, [])
    return [b"{{}}"]
"""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind((up.HOST, 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def env_file(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for `.env`, and an environment that holds nothing of the machine's own settings."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PORT", str(port))
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'desk.db'}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    others = set(psutil.Process().children(recursive=True))
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield tmp_path / ".env"
    for number, handler in before.items():
        signal.signal(number, handler)
    assert set(psutil.Process().children(recursive=True)) <= others


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A project in small, with a web server that is well and a migration that does nothing."""
    write(tmp_path / "app.py", APP.format(status="200 OK"))
    write(tmp_path / "desk" / "__init__.py", "")
    write(tmp_path / "desk" / "migrate.py", "")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
    return found


@contextmanager
def meanwhile(work: Callable[[], object], *, number: int = signal.SIGTERM) -> Iterator[None]:
    """Does `work` beside `up.main`, then sends this process the signal, whatever became of it.

    Leaves when both are through: until then the signal finds the handlers of `up.main`.
    """

    def run() -> None:
        try:
            work()
        finally:
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def request(port: int, method: str, path: str, body: str = "", password: str = "") -> tuple[int, Any]:
    connection = http.client.HTTPConnection(up.HOST, port, timeout=10)
    login = base64.b64encode(f"desk:{password}".encode()).decode()
    connection.request(method, path, body.encode(), {"Authorization": f"Basic {login}"} if password else {})
    response = connection.getresponse()
    read = response.status, json.loads(response.read() or b"null")
    connection.close()
    return read


def arguments(line: str, shell: str = "sh") -> list[str]:
    """What the shell makes of a curl line, with curl's part left out."""
    script = f'curl() {{ printf "%s\\0" "$@"; }}\n{line}\n'
    done = subprocess.run([shell, "-c", script], capture_output=True, check=True, text=True)
    return done.stdout.split("\0")[:-1]


# The whole of it


def test_from_nothing_to_a_first_alert_to_the_end(
    env_file: Path, port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    found: dict[str, Any] = {}

    def use() -> None:
        wait_for(lambda: env_file.exists() and up._health(port) == 200)
        found["settings"] = settings = load(environment(env_file))
        password = settings.dashboard_password or ""
        statuses = found["statuses"] = []
        for shell in ("bash", "sh"):
            *_, body = arguments(up.first_alert(settings, port), shell)
            code, answer = request(port, "POST", "/tradingview-to-webhook-order", body)
            assert (code, answer["success"]) == (202, True)
            path = f"/api/alerts/{answer['alert_id']}"
            statuses.append(
                wait_for(
                    lambda path=path: (
                        (status := request(port, "GET", path, password=password)[1]["status"])
                        in ("DONE", "DENIED", "EXPIRED", "FAILED")
                        and status
                    )
                )
            )
            time.sleep(1.1)  # the second alert is another one: its time has whole seconds

    with meanwhile(use, number=signal.SIGINT):
        assert up.main(env_file) == 0
    said = capfd.readouterr()
    settings = found["settings"]
    assert found["statuses"] == ["DONE", "DONE"]
    assert env_file.stat().st_mode & 0o777 == 0o600
    assert {each.stat().st_mode & 0o777 for each in env_file.parent.glob("desk.db*")} == {0o600}
    assert f"http://127.0.0.1:{port}/ " in said.out
    assert f"\n{up.first_alert(settings, port)}\n" in said.out
    assert f"\ncurl -sS -u desk http://127.0.0.1:{port}/api/alerts/" in said.out
    assert settings.passphrases[0] not in said.err
    assert settings.dashboard_password not in said.out + said.err
    assert up._health(port) is None


def test_a_second_start_leaves_the_file_alone(env_file: Path, home: Path, port: int) -> None:
    write(env_file, f"WEBHOOK_PASSPHRASE={PASSPHRASE}\n")
    before = env_file.stat().st_mtime_ns
    with meanwhile(lambda: wait_for(lambda: up._health(port))):
        assert up.main(env_file, home) == 0
    assert env_file.stat().st_mtime_ns == before


def test_every_first_file_has_secrets_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {})
    found = set()
    for name in ("one", "two"):
        assert up._created(tmp_path / name)
        settings = load(environment(tmp_path / name))
        rules = settings.accounts["MAIN"].rules
        assert (settings.default_subaccount, rules.risk, rules.leverage) == ("MAIN", 1, 3)
        assert settings.live_trading is False
        found |= set(settings.secrets)
    assert len(found) == 4
    assert not up._created(tmp_path / "one")


# The ways in which it gives up


def gives_up(env_file: Path, home: Path, capfd: pytest.CaptureFixture[str]) -> str:
    assert up.main(env_file, home) == 1
    return capfd.readouterr().err.strip().splitlines()[-1]


def test_a_bad_setting(env_file: Path, home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(env_file, f"WEBHOOK_PASSPHRASE={PASSPHRASE}\nRUNNER=fast\n")
    assert gives_up(env_file, home, capfd).startswith("desk: RUNNER: 'fast' is not one of")


def test_a_place_that_cannot_be_written(
    env_file: Path, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert gives_up(home / "missing" / ".env", home, capfd).startswith("desk: [Errno 2]")


def test_a_port_that_is_taken(
    env_file: Path, home: Path, port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server((up.HOST, port)):
        said = gives_up(env_file, home, capfd)
    assert said.startswith(f"desk: PORT: {port} cannot be used")
    assert said.endswith("set another PORT")


def test_a_migration_that_fails(env_file: Path, home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(home / "desk" / "migrate.py", "raise SystemExit('no such database')")
    said = gives_up(env_file, home, capfd)
    assert said == "desk: the database could not be brought to this version; the reason stands above"


def test_a_web_server_that_does_not_start(
    env_file: Path, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(home / "app.py", "raise SystemExit(4)")
    assert gives_up(env_file, home, capfd).startswith("desk: the web server ended by itself (status ")


def test_a_web_server_that_does_not_answer(
    env_file: Path, home: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "START_LIMIT", 0.5)
    write(home / "app.py", "import time\ntime.sleep(600)")
    monkeypatch.setattr(children, "STOP_LIMIT", 0.5)
    assert gives_up(env_file, home, capfd) == "desk: the web server did not answer within 0.5 s"


def test_a_web_server_that_dies_takes_the_bot_along(
    env_file: Path, home: Path, port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    text = f"WEBHOOK_PASSPHRASE={PASSPHRASE}\nDISCORD_TOKEN=token-of-the-bot\nDISCORD_CHANNEL_ID=1\n"
    write(env_file, text)
    write(home / "discord_bot" / "__init__.py", "")
    write(home / "discord_bot" / "__main__.py", "import time\nopen('bot', 'w').close()\ntime.sleep(600)")

    def kill() -> None:
        wait_for(lambda: up._health(port) and (home / "bot").exists())
        (web,) = (each for each in psutil.Process().children() if "gunicorn" in each.cmdline())
        web.kill()
        wait_for(lambda: not web.is_running())

    with meanwhile(kill, number=signal.SIGHUP):
        said = gives_up(env_file, home, capfd)
    assert said == "desk: the web server ended by itself (status -9); the reason stands above"


def test_a_bot_that_dies_is_started_again_and_takes_nobody_along(
    env_file: Path, home: Path, port: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "BOT_AGAIN", 0.1)
    text = f"WEBHOOK_PASSPHRASE={PASSPHRASE}\nDISCORD_TOKEN=token-of-the-bot\nDISCORD_CHANNEL_ID=1\n"
    write(env_file, text)
    write(home / "discord_bot" / "__init__.py", "")
    write(home / "discord_bot" / "__main__.py", "open('bots', 'a').write('x')\nraise SystemExit(3)")

    def thrice() -> None:
        wait_for(lambda: (home / "bots").exists() and len((home / "bots").read_text()) >= 3)
        wait_for(lambda: up._health(port) == 200)

    with meanwhile(thrice):
        assert up.main(env_file, home) == 0
    said = capfd.readouterr().err
    assert "the bot ended (status 3); trading goes on, and it is started again in 0.1 s" in said
    assert "in 0.2 s" in said


# The ways in which it is stopped


@pytest.mark.parametrize("number", SIGNALS)
def test_stopped_while_the_database_is_migrated(env_file: Path, home: Path, number: int) -> None:
    write(home / "desk" / "migrate.py", "import time\nopen('began', 'w').close()\ntime.sleep(600)")
    with meanwhile(lambda: wait_for((home / "began").exists), number=number):
        assert up.main(env_file, home) == 0


def test_stopped_while_it_waits(env_file: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "STOP_LIMIT", 0.5)
    write(home / "app.py", "import time\nopen('began', 'w').close()\ntime.sleep(600)")
    with meanwhile(lambda: wait_for((home / "began").exists)):
        assert up.main(env_file, home) == 0


def test_nohup_outlives_the_terminal(env_file: Path, home: Path, port: int) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def hang_up() -> None:
        wait_for(lambda: up._health(port))
        os.kill(os.getpid(), signal.SIGHUP)

    with meanwhile(hang_up):
        assert up.main(env_file, home) == 0
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_child_that_will_not_end_is_made_to(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "STOP_LIMIT", 0.2)
    text = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen('deaf', 'w').close()\n"
    write(home / "stubborn.py", text + "time.sleep(600)")
    family = children.Children(home, os.environ)
    family.start("it", "stubborn")
    wait_for((home / "deaf").exists)
    assert family.ended() == {}
    family.end()
    family.end()
    assert not [each for each in psutil.Process().children() if "stubborn" in each.cmdline()]


# What it says


def test_an_unwell_server_is_told(
    env_file: Path, home: Path, port: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "HEALTH_LIMIT", 0.2)
    write(home / "app.py", APP.format(status="503 Service Unavailable"))
    said: list[str] = []
    with meanwhile(
        lambda: wait_for(lambda: said.append(capfd.readouterr().out) or "Ctrl-C" in "".join(said))
    ):
        assert up.main(env_file, home) == 0
    assert f"not well yet: http://127.0.0.1:{port}/health says why (status 503)" in "".join(said)


@pytest.mark.parametrize("passphrase", [PASSPHRASE, 'it\'s "quoted"', "$(reboot) `x` !! \\n", "Zürich €uro"])
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_any_passphrase_survives_the_shell(shell: str, passphrase: str) -> None:
    settings = load({"WEBHOOK_PASSPHRASE": passphrase, "RISK_MY_OWN": "1", "EXCHANGE_MY_OWN": "somewhere"})
    *_, body = arguments(up.first_alert(settings, 8000), shell)
    alert = json.loads(body)
    assert alert["passphrase"] == passphrase
    assert (alert["subaccount"], alert["exchange"]) == ("MY_OWN", "SOMEWHERE")
    assert abs(datetime.now(UTC) - datetime.fromisoformat(alert["time"])) < timedelta(seconds=60)


GOOD = {
    "WEBHOOK_PASSPHRASE": PASSPHRASE,
    "RISK_MAIN": "1",
    "LEVERAGE_MAIN": "3",
    "DISCORD_TOKEN": "token-of-bot",
}
GOOD |= {"DISCORD_CHANNEL_ID": "1", "DISCORD_APPROVERS": "2", "DASHBOARD_PASSWORD": "eight888"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, "in .env"),
        ({"DASHBOARD_PASSWORD": ""}, "closed until DASHBOARD_PASSWORD is set"),
        ({"RUNNER": "off"}, "`python -m desk.runner`"),
        ({"RISK_MAIN": ""}, "every entry will be refused"),
        ({"TRADINGVIEW_IPS_ONLY": "1"}, "alerts from this machine are refused"),
        ({"DISCORD_TOKEN": ""}, "no bot"),
        ({"DISCORD_APPROVERS": ""}, "nobody may vote"),
        ({"LIVE_TRADING": "1"}, "LIVE: orders leave this machine"),
    ],
)
def test_what_the_user_should_know(
    change: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DASHBOARD_PASSWORD", raising=False)
    text = up.welcome(load(GOOD | change), 200)
    assert says in text
    assert "tradingview-to-webhook-order" in text
    if change:
        assert (says in up.welcome(load(GOOD), 200)) is False


def test_no_line_to_try_where_it_would_spend_money(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHBOARD_PASSWORD", "eight888")
    text = up.welcome(load(GOOD | {"LIVE_TRADING": "1", "EXCHANGE_MAIN": "somewhere"}), 200)
    assert "it would spend money" in text
    assert "tradingview-to-webhook-order" not in text
    assert "in the environment" in text
