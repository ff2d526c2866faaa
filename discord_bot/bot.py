"""The Discord client: what the gateway tells goes to votes and commands, what was committed goes to channels.

It must never keep anything that only it knows: killed at any moment, the next one goes on from the database.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import discord
from discord import app_commands
from discord.abc import Messageable

from desk.settings import Settings
from discord_bot.approvals import Approvals, person
from discord_bot.commands import Call, Commands
from discord_bot.feed import Feed
from discord_bot.speaker import OUTSIDE
from discord_bot.texts import Tongue
from store import Store, switches
from trading.errors import StoreUnavailable

log = logging.getLogger(__name__)

#: Seconds between two looks into the outbox, between two heartbeats, and after a failure at most.
POLL, BEAT, PATIENCE = 0.4, 5.0, 30.0
#: Seconds between two cleanings of the outbox.
PRUNE = 3600.0
#: Seconds that the first sight of the server may take after its predecessor.
GUILDS_WITHIN = 0.5
#: Seconds without the gateway after which a new connection is a better hope than the old one.
GIVE_UP = 20.0
PREFIX = "!"


class Bot(discord.Client):
    """One connection to Discord. Without `reads_text`, the message content intent, `!` is not heard."""

    def __init__(
        self, settings: Settings, store: Store, clock: Callable[[], datetime], *, reads_text: bool = True
    ) -> None:
        # It never speaks aloud.
        discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
        intents = discord.Intents.none()
        intents.guilds = intents.guild_messages = intents.guild_reactions = True
        intents.message_content = reads_text
        super().__init__(
            intents=intents,
            allowed_mentions=discord.AllowedMentions.none(),
            max_messages=None,
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            guild_ready_timeout=GUILDS_WITHIN,
        )
        channels = (
            settings.discord_channel_id,
            settings.discord_logs_channel_id,
            settings.discord_err_channel_id,
        )
        self._main, self._logs, self._errors = (channel or 0 for channel in channels)
        self._store = store
        self._clock = clock
        tongue = self._tongue = Tongue(settings.secrets)
        self._feed = Feed(self, store, clock, tongue, main=self._main, logs=self._logs, errors=self._errors)
        self._approvals = Approvals(self, store, clock, tongue, self._feed, settings.discord_approvers)
        self._commands = Commands(store, settings, clock, tongue, lambda: self.latency)
        self._tree = app_commands.CommandTree(self)
        self._tasks: list[asyncio.Task[None]] = []
        self.away_since: float | None = time.monotonic()
        self.was_ready = False
        self.identified = 0
        self._has_begun = False
        self._pruned_at = -PRUNE

    async def place(self, channel_id: int) -> Messageable:
        """A channel or thread to speak in; one that the gateway has not told is taken on trust."""
        known = self.get_channel(channel_id)
        return known if isinstance(known, Messageable) else self.get_partial_messageable(channel_id)

    @property
    def is_lost(self) -> bool:
        """Whether the gateway has been away for too long."""
        return self.away_since is not None and time.monotonic() - self.away_since > GIVE_UP

    # -- what discord.py calls -------------------------------------------------------------------------

    async def setup_hook(self) -> None:
        """Once, before the gateway: the commands and the tasks; none of them holds the connection up."""
        self._add_commands()
        works = (self._go_on(self._tell), self._go_on(self._count), self._beat_on(), self._publish())
        self._tasks = [asyncio.create_task(work) for work in works]

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Counts: Discord allows a number of them a day."""
        self.identified += 1
        await super().before_identify_hook(shard_id, initial=initial)

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        """Events that come while it closes have nobody left to go to."""
        if not self.is_closed():
            super().dispatch(event, *args, **kwargs)

    async def on_ready(self) -> None:
        """A new session: what happened before it must be read."""
        log.info("in Discord as %s", self.user)
        self._back()
        self._approvals.missed.set()

    async def on_resumed(self) -> None:
        """The old session: nothing was missed."""
        self._back()

    async def on_disconnect(self) -> None:
        """Away; discord.py tries again."""
        if self.away_since is None:
            self.away_since = time.monotonic()

    async def on_raw_reaction_add(self, payload: discord.RawReactionActionEvent) -> None:
        """Perhaps a vote."""
        await self._approvals.reacted(payload)

    async def on_message(self, message: discord.Message) -> None:
        """Perhaps a command."""
        if message.author.bot or not message.content.startswith(PREFIX) or not self._is_ours(message.channel):
            return
        name, _, rest = message.content.removeprefix(PREFIX).partition(" ")
        name, _, more = name.partition("\n")
        if name.lower() not in self._commands.all:
            return
        call = self._call(message.author, f"{more}\n{rest}" if more else rest, message.id, message.channel.id)
        if self._tongue.holds_secret(message.content):
            await self._take_away(message)
        try:
            said = await self._commands.run(name.lower(), call)
            await message.channel.send(said, reference=message.to_reference(fail_if_not_exists=False))
        except discord.HTTPException as error:
            log.error("!%s could not be answered: %s", name, error)

    async def close(self) -> None:
        """Ends the tasks, then the connection; a repeat is no error."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await super().close()

    # -- tasks -----------------------------------------------------------------------------------------

    async def _go_on(self, work: Callable[[], Awaitable[None]]) -> None:
        """Does it for as long as the bot lives.

        Telling and reading votes are a task each: where nothing can be told, people may still vote.
        """
        pause = POLL
        while True:
            done = await self._tried(work, pause)
            await asyncio.sleep(pause)
            pause = POLL if done else min(pause * 2, PATIENCE)

    async def _tried(self, work: Callable[[], Awaitable[None]], pause: float) -> bool:
        if self.away_since is not None:
            return True
        try:
            await work()
        except OUTSIDE as error:
            log.warning("it is tried again in %.1f s: %s", pause, error)
        except Exception:
            log.exception("it is tried again in %.1f s", pause)
        else:
            return True
        return False

    async def _tell(self) -> None:
        if not self._has_begun:
            await self._feed.forgo()
            self._has_begun = True
        await self._feed.step()
        if time.monotonic() - self._pruned_at >= PRUNE:
            await self._feed.prune()
            self._pruned_at = time.monotonic()

    async def _count(self) -> None:
        if self._approvals.are_due:
            await self._approvals.catch_up()

    async def _beat_on(self) -> None:
        """Says in the database that the bot is in Discord, as long as it is."""

        def beat() -> None:
            with self._store.write() as tx:
                switches.beat(tx, "bot", self._clock())

        while True:
            if self.away_since is None:
                try:
                    await asyncio.to_thread(beat)
                except StoreUnavailable as error:
                    log.error("no heartbeat: %s", error)
            await asyncio.sleep(BEAT if self.away_since is None else POLL)

    def _back(self) -> None:
        self.away_since = None
        self.was_ready = True

    # -- commands --------------------------------------------------------------------------------------

    def _is_ours(self, channel: object) -> bool:
        """One of the configured channels, or a thread of one."""
        ours = {self._main, self._logs, self._errors}
        return getattr(channel, "id", 0) in ours or getattr(channel, "parent_id", 0) in ours

    def _call(self, user: discord.abc.User, rest: str, key: int, channel_id: int) -> Call:
        who = person(user)
        at = discord.utils.snowflake_time(key).astimezone(UTC)
        return Call(
            who=who, may=self._approvals.may(who), rest=rest.strip(), key=key, channel_id=channel_id, at=at
        )

    async def _take_away(self, message: discord.Message) -> None:
        """A passphrase is nothing for a channel."""
        try:
            await message.delete()
        except discord.HTTPException as error:
            log.error("a message that holds the passphrase stays, delete it by hand: %s", error)

    async def _answer(self, interaction: discord.Interaction, name: str, *given: str | None) -> None:
        """One slash command: a sign of life at once, since three seconds are short, then the answer."""
        if not self._is_ours(interaction.channel):
            await interaction.response.send_message("Not in this channel.", ephemeral=True)
            return
        rest = " ".join(each for each in given if each)
        # What was given is shown above the answer, to whoever sees that.
        await interaction.response.defer(ephemeral=self._tongue.holds_secret(rest))
        call = self._call(interaction.user, rest, interaction.id, interaction.channel_id or self._main)
        await interaction.followup.send(await self._commands.run(name, call))

    def _add_commands(self) -> None:
        async def plainly(interaction: discord.Interaction) -> None:
            await self._answer(interaction, str(interaction.command.name if interaction.command else ""))

        async def halt(interaction: discord.Interaction, reason: str | None = None) -> None:
            await self._answer(interaction, "halt", reason)

        async def close(interaction: discord.Interaction, ticker: str, account: str | None = None) -> None:
            await self._answer(interaction, "close", ticker, account)

        async def payload(interaction: discord.Interaction, json: str | None = None) -> None:
            await self._answer(interaction, "payload", json)

        async def chart(
            interaction: discord.Interaction,
            ticker: str,
            interval: str | None = None,
            exchange: str | None = None,
        ) -> None:
            await self._answer(interaction, "chart", ticker, interval or "15", exchange)

        say = app_commands.describe
        own: dict[str, Any] = {
            "halt": say(reason="told to everybody, as in: news")(halt),
            "close": say(ticker="as in an alert: BTCUSDT.P", account="where more than one holds it")(close),
            "payload": say(json="the alert, without a passphrase; or the id of one to copy")(payload),
            "chart": say(
                ticker="as in an alert: BTCUSDT.P",
                interval="as TradingView writes it: 15, 60, 240, 1D",
                exchange="where the instrument is traded",
            )(chart),
        }
        for name, command in self._commands.all.items():
            added: app_commands.Command[Any, ..., None] = app_commands.Command(
                name=name, description=command.does, callback=own.get(name, plainly)
            )
            added.guild_only = True
            self._tree.add_command(added)

    async def _publish(self) -> None:
        """Tells Discord the slash commands; without them the text commands remain.

        Discord may ask to wait for minutes here, where a bot was started often.
        """
        try:
            await self._tree.sync()
        except Exception as error:  # noqa: BLE001  # nothing about them is worth being without a bot
            log.error("no slash commands: %s", error)
