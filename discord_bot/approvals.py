"""Reactions under cards -> votes: who may vote, once, whenever it was seen.

It writes a person's word down and nothing else: the runner checks everything again and decides. It must
never take a reaction for a vote that somebody else than an approver made.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

import discord

from discord_bot import speaker
from discord_bot.feed import NO, YES, Feed, mark
from discord_bot.speaker import OUTSIDE
from discord_bot.texts import Tongue
from store import Store, cards, words
from store.cards import Card
from store.words import Ballot
from trading.model import IntentStatus

log = logging.getLogger(__name__)

#: People under one card whose reactions are read.
_MANY = 1000
_STRANGER = "Your reaction was taken away: only those named in DISCORD_APPROVERS may vote."


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in Discord. `voter` tells people apart, `name` is for reading."""

    id: int
    name: str
    roles: frozenset[int]
    is_bot: bool

    @property
    def voter(self) -> str:
        return f"discord:{self.id}"

    @property
    def by(self) -> str:
        return f"{self.name} ({self.voter})"


def person(user: discord.abc.User) -> Person:
    """Who it is; a user who is no member of the server has no roles."""
    # As Discord sent them: who may vote must not depend on which roles the server's cache knows.
    roles = frozenset(user._roles) if isinstance(user, discord.Member) else frozenset()
    return Person(user.id, user.name, roles, user.bot)


class Approvals:
    """The voters' side of the cards. `approvers` are ids of users and roles; empty: nobody."""

    def __init__(
        self,
        client: discord.Client,
        store: Store,
        clock: Callable[[], datetime],
        tongue: Tongue,
        feed: Feed,
        approvers: Collection[int],
    ) -> None:
        self._client = client
        self._store = store
        self._clock = clock
        self._tongue = tongue
        self._feed = feed
        self._approvers = frozenset(approvers)
        #: Set when votes may have been missed: by a start, or by a database that did not answer.
        self.missed = asyncio.Event()

    @property
    def are_due(self) -> bool:
        """Whether reactions are to be read that no event has told, or told before their card was known."""
        return self.missed.is_set() or bool(self._feed.born)

    def may(self, who: Person) -> bool:
        """Whether somebody may vote and command."""
        return who.id in self._approvers or bool(who.roles & self._approvers)

    async def reacted(self, payload: discord.RawReactionActionEvent) -> None:
        """One reaction, as the gateway told it."""
        mine = self._client.user
        if (mine is not None and payload.user_id == mine.id) or payload.emoji.name not in (YES, NO):
            return
        try:
            card = await asyncio.to_thread(self._card, payload.message_id)
            if card is None:
                return
            who = await self._who(card, payload.user_id, payload.member)
            await self._judge(card, who, approve=payload.emoji.name == YES)
        except OUTSIDE as error:
            log.error("a reaction could not be read, it is looked at again: %s", error)
            self.missed.set()

    async def catch_up(self) -> None:
        """Reads what stands under cards that wait: reactions made while nobody looked.

        Under all of them where some were missed, else under new ones: whoever is quick sees a card before
        Discord has told its number here. A card that cannot be read keeps no other from being read; raises
        the first failure.
        """
        all_of_them = self.missed.is_set()
        born = set(self._feed.born)
        self.missed.clear()
        self._feed.born.clear()
        failed: list[Exception] = []
        try:
            for card in await asyncio.to_thread(self._waiting):
                works = (self._read, self._feed.invite) if all_of_them else (self._read,)
                for work in works if all_of_them or card.message_id in born else ():
                    try:
                        async with asyncio.timeout(speaker.PATIENCE):
                            await work(card)
                    except OUTSIDE as error:
                        failed.append(error)
            if failed:
                raise failed[0]
        except BaseException:
            self.missed.set()
            raise

    async def _read(self, card: Card) -> None:
        """Nobody can say which came first: where there is a no, it counts before every yes."""
        place = self._client.get_partial_messageable(card.channel_id)
        strangers: list[tuple[Person, bool]] = []
        for emoji, approve in ((NO, False), (YES, True)):
            try:
                message = await place.fetch_message(card.message_id)
            except discord.NotFound:
                return
            reaction = next((one for one in message.reactions if str(one.emoji) == emoji), None)
            if reaction is None:
                continue
            # By itself it would ask for as many as the message counted: one less than there are if the bot's
            # own has come since, and that may be listed first.
            async for user in reaction.users(limit=_MANY):
                if user == self._client.user:
                    continue
                who = await self._who(card, user.id, user)
                if self._may_vote(who):
                    await self._judge(card, who, approve=approve, late=True)
                else:
                    strangers.append((who, approve))
        # Last: whoever must be sent away, and that Discord does not let it, keeps no vote from counting.
        for who, approve in strangers:
            await self._send_away(card, who, YES if approve else NO)

    def _may_vote(self, who: Person) -> bool:
        return not who.is_bot and self.may(who)

    async def _judge(self, card: Card, who: Person, *, approve: bool, late: bool = False) -> None:
        """`late`: what it finds may have been judged and told before."""
        if not self._may_vote(who):
            await self._send_away(card, who, YES if approve else NO)
            return

        def write() -> Ballot | None:
            with self._store.write() as tx:
                return words.vote(
                    tx,
                    intent_id=card.alert_id,
                    approve=approve,
                    voter=who.voter,
                    now=self._clock(),
                    name=self._tongue.bare(who.name, 40),
                )

        mark("seen")
        ballot = await asyncio.to_thread(write)
        mark("voted")
        log.info("alert %s: %s says %s", card.alert_id, who.by, "yes" if approve else "no")
        if ballot is not None and ballot.said is not approve and not late:
            known = ballot.said is not None and ballot.status is IntentStatus.AWAITING_APPROVAL
            why = "your first word stands" if known else f"it does not wait any more: {ballot.status}"
            await self._tell(card, who, f"Your vote does not count, {why}.")

    async def _send_away(self, card: Card, who: Person, emoji: str) -> None:
        log.warning("alert %s: %s may not vote", card.alert_id, who.by)
        message = self._client.get_partial_messageable(card.channel_id).get_partial_message(card.message_id)
        try:
            await message.remove_reaction(emoji, discord.Object(who.id))
        except discord.NotFound:
            return
        except discord.Forbidden as error:
            log.error("a stranger's reaction stays, the bot lacks Manage Messages: %s", error)
        if not who.is_bot:
            await self._tell(card, who, _STRANGER)

    async def _tell(self, card: Card, who: Person, text: str) -> None:
        """In private, else in the thread, else in the channel: nothing depends on it."""
        whole = f"{text} (alert {card.alert_id})"
        aloud = f"{self._tongue.clean(who.name, 40)}: {whole}"
        places = [card.thread_id or card.channel_id, card.channel_id]
        try:
            await (await self._client.create_dm(discord.Object(who.id))).send(whole)
        except discord.HTTPException as error:
            log.info("%s cannot be written to in private: %s", who.by, error)
            for place in places:
                try:
                    await self._client.get_partial_messageable(place).send(aloud)
                except discord.HTTPException as refused:
                    log.warning("%s could not be told: %s", who.by, refused)
                else:
                    return

    async def _who(self, card: Card, user_id: int, user: discord.abc.User | None) -> Person:
        """With the roles that somebody has now; who cannot be looked up has none."""
        if isinstance(user, discord.Member):
            return person(user)
        try:
            if user_id not in self._approvers:
                # The gateway tells a server late, or not at all while that has its bad minutes.
                channel = self._client.get_channel(card.channel_id)
                channel = channel or await self._client.fetch_channel(card.channel_id)
                if isinstance(channel, discord.abc.GuildChannel):
                    return person(await channel.guild.fetch_member(user_id))
            return person(user or await self._client.fetch_user(user_id))
        except (discord.NotFound, discord.Forbidden) as error:
            log.warning("nobody says who %d is: %s", user_id, error)
            bare = Person(user_id, str(user_id), frozenset(), is_bot=False)
            return bare if user is None else person(user)

    def _card(self, message_id: int) -> Card | None:
        with self._store.read() as tx:
            return cards.of_message(tx, message_id)

    def _waiting(self) -> list[Card]:
        with self._store.read() as tx:
            return cards.waiting(tx)
