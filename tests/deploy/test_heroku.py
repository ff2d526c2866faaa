"""Heroku as near as this machine gets: the Procfile with app.json's config vars, from release to SIGTERM."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from desk.settings import ACCOUNT_VARIABLES, VARIABLES, load
from store import schema
from store.tables import orders
from tests.databases import PostgresServer
from tests.deploy.dynos import Dyno, config_vars, manifest, procfile
from tests.discord_bot.fake import Discord
from tests.discord_bot.fake.world import YES
from tests.processes import LADDER, LONG, ROOT, House, until

#: Seconds, of Heroku's thirty.
STOP_LIMIT = 10.0
#: An exchange without candles.
NOBODY = "http://127.0.0.1:9"

pytestmark = pytest.mark.timeout(180)


class App:
    """One app: config vars, a database, its dynos, and a person in Discord."""

    def __init__(self, url: str, folder: Path, discord: Discord, **filled_in: str) -> None:
        self.discord = discord
        self.ann = discord.person("ann")
        filled_in = {
            **discord.environ,
            "DISCORD_APPROVERS": str(self.ann),
            "BINANCE_API_URL": NOBODY,
            **filled_in,
        }
        self.config = config_vars(url, **filled_in)
        self.house = House(url, folder)
        self.dynos: list[Dyno] = []
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def release(self) -> str:
        """Runs the release phase; what it said."""
        dyno = Dyno("release", self.config, self._folder)
        self.dynos.append(dyno)
        assert dyno.finished() == 0, dyno.log()
        return dyno.log()

    def start(self, name: str) -> Dyno:
        """One dyno; a web dyno has opened its port."""
        bots = self.discord.gateway.identified
        dyno = Dyno(name, self.config, self._folder, port=self.port if name == "web" else None)
        self.dynos.append(dyno)
        if name == "web":
            until(lambda: self.health() is not None, lambda: f"the port is open:\n{dyno.log()}")
        if name == "bot" or (name == "web" and self.config["BOT"] == "embedded"):
            self.discord.until(lambda: self.discord.gateway.identified > bots, what=f"a bot\n{dyno.log()}")
        return dyno

    def health(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = requests.get(f"{self.url}/health", timeout=20).json()
            return found
        except requests.ConnectionError:
            return None

    def body(self, ticker: str = "BTCUSDT.P", **fields: str) -> bytes:
        fields = {"message": "entry", **LONG, **LADDER, **fields}
        return self.house.body("MAIN", ticker, passphrase=self.config["WEBHOOK_PASSPHRASE"], **fields)

    def ask(self, **fields: str) -> str:
        """A study alert, by way of the router."""
        headers = {"X-Forwarded-For": "198.51.100.7, 203.0.113.9", "X-Forwarded-Proto": "https"}
        answer = requests.post(
            f"{self.url}/tradingview-to-discord-study",
            data=self.body(**fields),
            headers=headers,
            timeout=20,
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["alert_id"])

    def approve(self, alert_id: str, symbol: str = "BTC-USDT-PERP") -> None:
        """A tap in Discord, and the trade that it is for."""
        self.discord.tap(self.ann, self.discord.card(alert_id, reactions=2), YES)
        login = ("any", self.config["DASHBOARD_PASSWORD"])

        def done() -> bool:
            alert = requests.get(f"{self.url}/api/alerts/{alert_id}", auth=login, timeout=20).json()
            assert alert["status"] in ("AWAITING_APPROVAL", "APPROVED", "EXECUTING", "DONE"), alert
            return bool(alert["status"] == "DONE")

        until(done, lambda: self.house.story(alert_id) + self.dynos[-1].log())
        self.house.check_entered_once(alert_id)
        self.house.check_lane("MAIN", symbol)

    def check_logs(self) -> None:
        for dyno in self.dynos:
            said = dyno.log()
            assert "Traceback" not in said, said
            for name in ("WEBHOOK_PASSPHRASE", "DASHBOARD_PASSWORD", "DISCORD_TOKEN"):
                assert self.config[name] not in said, f"{dyno.name} tells {name}"


@pytest.fixture
def discord_() -> Iterator[Discord]:
    with Discord() as server:
        yield server
        assert server.pings == []


@pytest.fixture
def bare_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database as the add-on gives it: without a table."""
    name = postgres_server.create(template="template0")
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture
def app(bare_url: str, tmp_path: Path, discord_: Discord, request: pytest.FixtureRequest) -> Iterator[App]:
    """An app behind the deploy button; a test's parameters are config vars that were changed since."""
    made = App(bare_url, tmp_path, discord_, **getattr(request, "param", {}))
    yield made
    for dyno in made.dynos:
        dyno.kill()


# What the files say


def test_every_process_type_is_a_module_of_this_project() -> None:
    commands = procfile()
    assert list(commands) == ["release", "web", "bot", "worker"]
    for command in commands.values():
        module = re.fullmatch(r"python -m ([a-z_.]+)", command)
        assert module is not None, command
        file = ROOT / module[1].replace(".", "/")
        assert file.with_suffix(".py").exists() or (file / "__main__.py").exists()


def test_what_the_deploy_button_sets_are_settings_and_good_ones() -> None:
    told = manifest()
    prefixes = tuple(name.removesuffix("NAME") for name in ACCOUNT_VARIABLES)
    for name, about in told["env"].items():
        assert name in VARIABLES or name.startswith(prefixes), name
        assert about["description"].endswith("."), name
        # Without a value that Heroku makes or is given here, a person has to be free to leave it empty.
        assert "generator" in about or "value" in about or about["required"] is False, name
        assert set(about) <= {"description", "value", "required", "generator"}
    assert set(told["formation"]) <= set(procfile())
    settings = load(config_vars("postgres://host/desk") | {"DYNO": "web.1"})
    assert settings.warnings == ()
    assert settings.live_trading is False
    assert (settings.trusted_proxies, settings.web_concurrency, settings.bot) == (1, 1, "embedded")
    rules = settings.accounts["MAIN"].rules
    assert (settings.default_subaccount, rules.risk, rules.leverage) == ("MAIN", 1, 3)


def test_the_python_that_is_asked_for_is_the_one_that_the_linters_hold() -> None:
    asked = (ROOT / ".python-version").read_text(encoding="utf-8").strip()
    assert f'python_version = "{asked}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.fullmatch(r"3\.\d+", asked)  # a patch release would have to be raised by hand


# What happens


def test_one_dyno_from_release_to_sigterm(app: App) -> None:
    assert app.release() == f"database: schema {schema.HEAD} is in place\n"
    web = app.start("web")
    alert_id = app.ask()
    app.approve(alert_id)
    health = app.health()
    assert health is not None
    assert health["bot"]["age_s"] < 60
    # The router comes from outside of the dyno.
    assert {each.laddr.ip for each in listening(web)} == {"0.0.0.0"}  # noqa: S104  # seen, not bound
    code, took = web.stop()
    assert code == 0, web.log()
    assert took < STOP_LIMIT
    app.check_logs()


@pytest.mark.slow
@pytest.mark.parametrize("app", [{"BOT": "off", "RUNNER": "off", "WEB_CONCURRENCY": "2"}], indirect=True)
def test_a_dyno_for_each_through_a_day_and_a_new_release(app: App) -> None:
    app.release()
    web, bot, worker = (app.start(name) for name in ("web", "bot", "worker"))
    first = app.ask()
    app.approve(first)

    # Once a day every dyno is started anew, at its own hour.
    for old, name in ((web, "web"), (bot, "bot"), (worker, "worker")):
        code, took = old.stop()
        assert (code, took < STOP_LIMIT) == (0, True), f"{name}: {took}\n{old.log()}"
        app.start(name)
        app.house.check_lane("MAIN", "BTC-USDT-PERP")
    web, bot, worker = app.dynos[-3:]
    second = app.ask(ticker="ETHUSDT.P")
    app.approve(second, "ETH-USDT-PERP")

    # A new release migrates while the old dynos still trade; then all are told to end, one amid an alert.
    app.release()
    raw = app.body(ticker="SOLUSDT.P")
    head = f"POST /tradingview-to-webhook-order HTTP/1.1\r\nHost: desk\r\nContent-Length: {len(raw)}\r\n"
    with socket.create_connection(("127.0.0.1", app.port), timeout=20) as late:
        late.sendall(head.encode() + b"Connection: close\r\n\r\n" + raw[:40])
        ended: dict[str, tuple[int, float]] = {}

        def stop(dyno: Dyno) -> None:
            ended[dyno.name] = dyno.stop()

        stopping = [threading.Thread(target=stop, args=(dyno,)) for dyno in (web, bot, worker)]
        for thread in stopping:
            thread.start()
        late.sendall(raw[40:])
        assert late.recv(65536).split(b" ", 2)[1] == b"202"
        for thread in stopping:
            thread.join()
    assert {name: code for name, (code, _) in ended.items()} == {"web": 0, "bot": 0, "worker": 0}
    assert max(took for _, took in ended.values()) < STOP_LIMIT

    # What was acknowledged in the last moment is traded by the dynos of the new release.
    for name in ("web", "bot", "worker"):
        app.start(name)
    alert_id = app.house.stored(raw)
    assert alert_id is not None
    entered = {"intent_id": alert_id, "role": "entry", "status": "FILLED"}
    until(lambda: app.house.rows(orders, **entered), lambda: app.house.story(alert_id))
    app.house.check_entered_once(alert_id)
    app.check_logs()


def listening(dyno: Dyno) -> list[Any]:
    found = []
    for process in dyno.processes():
        connections = process.net_connections(kind="tcp")
        found += [each for each in connections if each.status == psutil.CONN_LISTEN]
    return found
