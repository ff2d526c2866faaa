"""Bot and server as processes of their own: a trade by a tap, kills at every step, and what the bot costs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from store.tables import votes
from tests.discord_bot.conftest import NOBODY
from tests.discord_bot.fake import Discord
from tests.discord_bot.fake.world import NO, YES, Message
from tests.emulator.server import Server
from tests.processes import ACCOUNTS, LADDER, LONG, PASSPHRASE, ROOT, House, Process, Stage, tickers, until

BOT_MODULE = ("discord_bot",)
_STUDY = "/tradingview-to-discord-study"
#: What happens between a question and its trade, as the bot goes through it.
STEPS = (
    *(
        Stage("bot.posted"),
        Stage("bot.kept"),
        Stage("bot.invited"),
        Stage("bot.invited", 2),
        Stage("bot.stamped"),
    ),
    *(Stage("bot.seen"), Stage("bot.voted"), Stage("bot.edited"), Stage("bot.threaded"), Stage("bot.told")),
)

pytestmark = pytest.mark.timeout(180)


class Street:
    """A house, a Discord, one server, and one bot after another."""

    def __init__(self, house: House, discord: Discord, **environ: str) -> None:
        self.house, self.discord = house, discord
        self.ann = discord.person("ann")
        self._environ = {
            "BINANCE_API_URL": NOBODY,
            **discord.environ,
            "DISCORD_APPROVERS": str(self.ann),
            **environ,
        }
        self.server = house.start(name="web", **self._environ)
        self._free = zip(ACCOUNTS, tickers(), strict=False)
        self._bots = 0

    def start_bot(self) -> Process:
        process = self.house.start(BOT_MODULE, name="bot", **self._environ)
        self._bots += 1
        before = self.discord.gateway.identified
        self.discord.until(lambda: self.discord.gateway.identified > before, what=f"a bot\n{process.log()}")
        return process

    def ask(self, ticker: str | None = None) -> str:
        account, free = next(self._free)
        body = self.house.body(account, ticker or free, message="entry", **LONG, **LADDER)
        answer = requests.post(f"{self.server.url}{_STUDY}", data=body, timeout=20)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["alert_id"])

    def cards(self, alert_id: str) -> list[Message]:
        return [m for m in self.discord.in_channel(self.discord.main) if alert_id in m.text]

    def check(self, alert_id: str) -> None:
        """The end that every story must have: one card that says so, one vote, one trade."""
        card = self.discord.card(alert_id)
        self.discord.until(lambda: ": open" in card.text, what=card.text)
        assert self.cards(alert_id) == [card]
        assert len(self.house.rows(votes, intent_id=alert_id)) == 1
        self.house.check_entered_once(alert_id)


@pytest.fixture
def discord_() -> Iterator[Discord]:
    with Discord() as server:
        yield server
        assert server.pings == []


@pytest.fixture
def house(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    made = House(sqlite_url, tmp_path)
    yield made
    made.close()


def test_a_tap_trades_and_a_bot_that_is_killed_loses_nothing(
    house: House, discord_: Discord, exchange: Server
) -> None:
    street = Street(house, discord_, BINANCE_API_URL=exchange.url)
    bot = street.start_bot()
    bot.order(Stage("bot.posted"))
    alert_id = street.ask("BTCUSDT.P")
    assert bot.ended() == -signal.SIGKILL

    bot = street.start_bot()
    # Of its own: this machine may have other things to do.
    spent = psutil.Process(bot.popen.pid).cpu_times()
    assert spent.user + spent.system < 5
    card = discord_.card(alert_id, reactions=2)
    assert len(card.attachments) == 1
    bot.order(Stage("bot.seen"))
    discord_.tap(street.ann, card, YES)
    assert bot.ended() == -signal.SIGKILL
    assert house.rows(votes) == []

    bot = street.start_bot()
    house.done(street.server, alert_id)
    street.check(alert_id)
    assert psutil.Process(bot.popen.pid).memory_info().rss < 200 * 2**20
    health = requests.get(f"{street.server.url}/health", timeout=20).json()
    assert health["bot"]["age_s"] < 60
    discord_.card("stored: entry", channel=discord_.logs)
    assert PASSPHRASE not in discord_.story()

    bot.popen.terminate()
    assert bot.ended() == 0, bot.log()


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.name}-{step.nth}")
def test_killed_at_each_step(house: House, discord_: Discord, step: Stage) -> None:
    street = Street(house, discord_)
    bot = street.start_bot()
    early = STEPS.index(step) <= STEPS.index(Stage("bot.stamped"))
    if early:
        bot.order(step)
    alert_id = street.ask()
    if early:
        assert bot.ended() == -signal.SIGKILL
        bot = street.start_bot()
    card = discord_.card(alert_id, reactions=2)
    if not early:
        until(lambda: "bot.stamped" in [stage for _, stage in bot.seen()], "it is stamped")
        bot.order(step)
    discord_.tap(street.ann, card, YES)
    if not early:
        assert bot.ended() == -signal.SIGKILL
        bot = street.start_bot()
    house.done(street.server, alert_id)
    street.check(alert_id)
    house.check_calm()


@pytest.mark.slow
def test_two_bots_at_once_and_a_server_that_is_killed(house: House, discord_: Discord) -> None:
    street = Street(house, discord_)
    street.start_bot()
    house.start(BOT_MODULE, name="second", **street._environ)
    discord_.ready(2)
    street.server.order(Stage("voted"))
    alert_id = street.ask()
    card = discord_.card(alert_id, reactions=2)
    discord_.tap(street.ann, card, YES)
    discord_.tap(street.ann, card, NO)
    assert street.server.ended() == -signal.SIGKILL
    street.server = house.start(name="web", **street._environ)
    house.done(street.server, alert_id)
    street.check(alert_id)


@pytest.mark.slow
def test_discord_is_away_at_the_start_and_for_a_minute(house: House, discord_: Discord) -> None:
    discord_.down()
    street = Street(house, discord_)
    bot = house.start(BOT_MODULE, name="bot", **street._environ)
    alert_id = street.ask()
    time.sleep(60)
    assert bot.popen.poll() is None
    discord_.up()
    card = discord_.card(alert_id, reactions=2)
    discord_.tap(street.ann, card, YES)
    house.done(street.server, alert_id)
    street.check(alert_id)


def test_with_a_token_that_is_refused_it_ends_with_one_line(house: House, discord_: Discord) -> None:
    addresses = {name: value for name, value in discord_.environ.items() if name.endswith("_URL")}
    bot = house.start(BOT_MODULE, **addresses, DISCORD_TOKEN="wrong", DISCORD_CHANNEL_ID="1")
    assert bot.ended() == 1
    assert "cannot start: DISCORD_TOKEN" in bot.log()
    assert "Traceback" not in bot.log()


def test_the_server_loads_neither_discord_nor_what_draws() -> None:
    code = (
        "import json, sys, app, web.worker, desk.runner, desk.wiring, exchanges, desk.painter;"
        "print(json.dumps([each for each in ('discord', 'PIL', 'aiohttp') if each in sys.modules]))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert json.loads(ran.stdout) == [], ran.stderr
