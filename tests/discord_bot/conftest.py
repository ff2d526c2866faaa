"""A desk, a Discord and a bot between them: real sockets, a real database, a clock that the test turns.

The runner is stepped by the test, the bot lives in a thread of its own as it would in its process.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import discord.gateway
import discord.http
import pytest

from discord_bot import __main__ as entry
from discord_bot import bot as bot_module
from store import Store, open_store, outbox
from tests.desk.conftest import LADDER, LONG, Rig
from tests.discord_bot.fake import Discord
from tests.discord_bot.fake.world import Message
from tests.emulator.server import Server
from trading.model import Protection, Route

#: An exchange without candles.
NOBODY = "http://127.0.0.1:9"


class BotThread:
    """The bot as `python -m discord_bot` runs it, without the process."""

    def __init__(self, rig: Room, database_url: str) -> None:
        self._store = open_store(database_url)
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(rig,), name="bot")
        self._thread.start()
        assert self._begun.wait(30)

    def _run(self, rig: Room) -> None:
        async def live() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            self._begun.set()
            await entry.supervise(rig.settings, self._store, self._stop, rig.clock)

        # Its own threads end with it, as those of a process do.
        asyncio.run(live())
        self._store.close()

    def stop(self) -> None:
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it ended meanwhile
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()


class Room(Rig):
    """A desk with a Discord; `ask` a question, `tap` an answer."""

    def __init__(self, store: Store, url: str, clock: Any, discord: Discord, **environ: str) -> None:
        given = {"BINANCE_API_URL": NOBODY, **discord.environ, **environ}
        super().__init__(store, clock, Protection.ATTACHED, **given)
        self.discord = discord
        self._url = url
        self._bots: list[BotThread] = []

    def start_bot(self) -> BotThread:
        """A bot that has come to Discord."""
        before = self.discord.gateway.identified
        bot = BotThread(self, self._url)
        self._bots.append(bot)
        self.discord.ready(before + 1)
        return bot

    def stop_bots(self) -> None:
        for bot in self._bots:
            bot.stop()

    def ask(self, message: str = "entry", **fields: str) -> tuple[str, Message]:
        """A study alert, and its card with both reactions."""
        alert_id = self.send(message, route=Route.STUDY, **{**LONG, **LADDER, **fields})
        return alert_id, self.discord.card(alert_id, reactions=2)

    def voted(self, alert_id: str, *, votes: int = 1) -> None:
        """Waits for votes to be written, and lets the desk act on them."""

        def see() -> bool:
            with self.store.read() as tx:
                return len(outbox.votes(tx, alert_id)) >= votes

        self.discord.until(see, what="a vote")
        self.settle()

    def shows(self, message: Message, *words: str) -> None:
        """Waits until a card says all of these."""

        def see() -> bool:
            self.settle()
            return all(word in message.text for word in words)

        self.discord.until(see, what=f"{words} on {message.text!r}")

    def hears(self, thread: int, *words: str) -> None:
        """Waits until a channel or thread has said all of these."""

        def see() -> bool:
            text = "\n".join(message.text for message in self.discord.in_channel(thread))
            return all(word in text for word in words)

        self.discord.until(see, what=str(words))

    def told(self) -> None:
        """Waits until the outbox is empty."""

        def see() -> bool:
            with self.store.read() as tx:
                return not outbox.unposted(tx, 1)

        self.discord.until(see, what="an empty outbox")


@pytest.fixture
def discord_(monkeypatch: pytest.MonkeyPatch) -> Iterator[Discord]:
    """A Discord, and discord.py pointed at it."""
    with Discord() as server:
        monkeypatch.setattr(discord.http.Route, "BASE", server.api_url)
        gateway = importlib.import_module("yarl").URL(server.gateway_url)
        monkeypatch.setattr(discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", gateway)
        monkeypatch.setattr(bot_module, "POLL", 0.03)
        monkeypatch.setattr(bot_module, "PATIENCE", 0.2)
        monkeypatch.setattr(bot_module, "GUILDS_WITHIN", 0.05)
        monkeypatch.setattr(entry, "_LOOK", 0.05)
        monkeypatch.setattr(entry, "FIRST", 0.05)
        yield server
        assert server.pings == []


@pytest.fixture
def exchange(clock: Any) -> Iterator[Server]:
    """An exchange that has candles to tell."""
    clock.set(datetime.now(UTC))
    engine, dialect = importlib.import_module("tests.emulator.binance").build(clock)
    clock.advance(timedelta(hours=-60))
    for number in range(240):
        engine.move("BTC-USDT-PERP", Decimal(42000 + number % 17 * 10 - number % 5 * 13))
        clock.advance(timedelta(minutes=15))
    engine.move("BTC-USDT-PERP", Decimal(42000))
    with Server(dialect, engine) as server:
        yield server


@pytest.fixture
def room_url(request: pytest.FixtureRequest) -> str:
    """A database of this test's own: SQLite, unless the test asks for postgres."""
    return str(request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_url"))


@pytest.fixture
def make_room(room_url: str, clock: Any, discord_: Discord) -> Iterator[Callable[..., Room]]:
    """Rooms; `ann` may vote, `bob` may by his role, `eve` may not."""
    opened: list[tuple[Room, Store]] = []

    def make(**environ: str) -> Room:
        if not opened:
            clock.set(datetime.now(UTC))
        store = open_store(room_url)
        room = Room(store, room_url, clock, discord_, **environ)
        opened.append((room, store))
        return room

    yield make
    for room, store in opened:
        room.stop_bots()
        store.close()


@pytest.fixture
def ann(discord_: Discord) -> int:
    return discord_.person("ann")


@pytest.fixture
def bob(discord_: Discord) -> int:
    return discord_.person("bob", roles=(777000000000000001,))


@pytest.fixture
def eve(discord_: Discord) -> int:
    return discord_.person("eve")


@pytest.fixture
def room(make_room: Callable[..., Room], ann: int, bob: int) -> Room:
    """A desk whose bot is there already."""
    made = make_room(DISCORD_APPROVERS=f"{ann},777000000000000001")
    made.start_bot()
    return made
