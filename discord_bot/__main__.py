"""`python -m discord_bot`: settings, log, store, and a bot that is started again whatever ended it.

Ends with status 0 when told to, with 1 and one line where no new try could help: a refused token, a setting.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any

import discord
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from desk import logs
from desk.settings import Settings, from_environment
from discord_bot.bot import Bot
from store import Store, open_store
from store.schema import SchemaState, check
from trading.errors import SettingsError, StoreUnavailable

log = logging.getLogger("discord_bot")

#: Seconds before a new try: the first, and the longest.
FIRST, LONGEST = 1.0, 15.0
_LOOK = 0.5
#: After so many identifications in an hour, so slowly.
_HOUR, _OFTEN, _SLOWLY = 3600.0, 20, 120.0
#: A task that ends may have begun another: so often.
_GENERATIONS = 10


def main() -> int:
    """Runs until SIGTERM or SIGINT (0), or until a setting makes it senseless (1)."""
    try:
        settings = from_environment()
        if settings.discord_token is None:
            raise SettingsError("DISCORD_TOKEN", "is not set: the bot has nobody to be")
        logs.configure(settings)
        store = open_store(settings.database_url)
    except SettingsError as error:
        return _failed(error)
    redirect(settings)
    if not settings.discord_approvers:
        log.warning("DISCORD_APPROVERS is empty: nobody may vote or command here")
    logs.relay(settings, store)
    try:
        return asyncio.run(_main(settings, store))
    except SettingsError as error:
        return _failed(error)
    finally:
        store.close()


def redirect(settings: Settings) -> None:
    """Points discord.py at DISCORD_API_URL and DISCORD_GATEWAY_URL."""
    Route.BASE = settings.discord_api_url
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(settings.discord_gateway_url)


async def _main(settings: Settings, store: Store) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await supervise(settings, store, stop, lambda: datetime.now(UTC))
    return 0


async def supervise(
    settings: Settings, store: Store, stop: asyncio.Event, clock: Callable[[], datetime]
) -> None:
    """One bot after another until `stop`. SettingsError where the token is refused."""
    pace, reads_text = Pace(), True
    while not stop.is_set():
        if not await asyncio.to_thread(_is_fit, store):
            await _sleep(stop, _LOOK * 2)
            continue
        others = asyncio.all_tasks()
        bot = Bot(settings, store, clock, reads_text=reads_text)
        try:
            await _run(bot, settings.discord_token or "", stop)
        except discord.LoginFailure:
            raise SettingsError("DISCORD_TOKEN", "is refused by Discord: copy the bot's token anew") from None
        except discord.PrivilegedIntentsRequired:
            log.warning("the Message Content intent is off in the developer portal: only slash commands work")
            reads_text = False
        except Exception as error:  # noqa: BLE001  # whatever ends a client, an event that it cannot read too
            log.error("the connection to Discord ended: %s: %s", type(error).__name__, error)
        await _settle(others)
        pause = pace.after(time.monotonic(), identified=bot.identified, was_ready=bot.was_ready)
        if not stop.is_set():
            await _sleep(stop, pause)


class Pace:
    """Seconds until the next connection, more each time.

    Discord takes a token away that identifies itself 1000 times within a day: a bot that is thrown out at
    once, whenever it comes, must not come every second.
    """

    def __init__(self) -> None:
        self._pause = FIRST
        self._identified: deque[float] = deque()

    def after(self, now: float, *, identified: int, was_ready: bool) -> float:
        """The pause after a connection that ended at `now`; times in seconds of one clock."""
        self._identified.extend([now] * identified)
        while self._identified and self._identified[0] <= now - _HOUR:
            self._identified.popleft()
        pause = FIRST if was_ready else self._pause
        self._pause = min(pause * 2, LONGEST)
        return max(pause, _SLOWLY) if len(self._identified) > _OFTEN else pause


async def _run(bot: Bot, token: str, stop: asyncio.Event) -> None:
    """One bot until it ends, is lost, or `stop`, also while it is still on its way in."""
    life = asyncio.create_task(_live(bot, token))
    while not (stop.is_set() or bot.is_lost or life.done()):
        await asyncio.wait({life}, timeout=_LOOK)
    if life.done():
        await life
        return
    await bot.close()
    life.cancel()
    await asyncio.wait({life}, timeout=_LOOK * 10)


async def _live(bot: Bot, token: str) -> None:
    async with bot:
        await bot.login(token)
        await bot.connect()


async def _settle(others: Collection[asyncio.Task[Any]]) -> None:
    """Lets end what a client left behind, events in hand and what they begin; what does not end is ended."""
    for _ in range(_GENERATIONS):
        left = asyncio.all_tasks().difference(others)
        if not left:
            return
        _, left = await asyncio.wait(left, timeout=1)
        for task in left:
            task.cancel()


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


def _is_fit(store: Store) -> bool:
    """Whether the database is there and of this release; the server makes it so."""
    try:
        state = check(store)
    except StoreUnavailable as error:
        log.error("waiting for the database: %s", error)
        return False
    if state is SchemaState.NEWER:
        raise SettingsError("DATABASE_URL", "the database belongs to a newer release: install that one")
    if state is not SchemaState.CURRENT:
        log.warning("waiting for the database to be migrated: `python -m desk.migrate`")
    return state is SchemaState.CURRENT


def _failed(error: SettingsError) -> int:
    sys.stderr.write(f"cannot start: {error}\n")
    return 1


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="python -m discord_bot", description="The Discord bot, until it is told to stop."
    ).parse_args()
    sys.exit(main())
