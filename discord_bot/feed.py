"""Notices of the outbox to their channels, and cards after their alerts: what was committed is told.

It posts first and stamps after: a crash between the two repeats a post, which Discord takes for the first
one by its nonce, and loses none. It must never drop a notice because Discord is away.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import discord

from desk import report
from discord_bot import embeds, pictures, speaker
from discord_bot.embeds import Model
from discord_bot.speaker import OUTSIDE, Channels, Speaker, bare, passes
from discord_bot.texts import MOST_CONTENT, Tongue, packed
from store import Store, cards, outbox, views
from store.cards import Card, Event
from store.outbox import Notice
from trading.errors import StoreUnavailable
from trading.model import IntentStatus

log = logging.getLogger(__name__)

YES, NO = "\N{WHITE HEAVY CHECK MARK}", "\N{CROSS MARK}"
#: Notices looked at in one go, and told before cards are followed; cards that nothing happened to are
#: looked at this often; what is older is no news.
_BATCH = 40
_GROUPS = 20
_BORN = 100
_QUIET = timedelta(seconds=20)
OLD = timedelta(hours=24)
#: Told log lines are kept for so long.
_KEPT = timedelta(days=7)

#: Kinds of notices that are lines of the log.
_LINES = {"log", "error"}
#: Kinds that a person should see beside the card as well, and where: errors go to their own channel.
_ICONS = {
    "alarm": "🚨",
    "drift": "⚠️",
    "rejected": "🚫",
    "refused": "🚫",
    "halt": "⛔",
    "resume": "▶️",
    "ignored": "💬",
}
_ERRORS = {"alarm", "drift", "rejected", "refused", "error"}
#: Thread: a message has one already; and how often a failing Discord is asked for one.
_HAS_THREAD, _TRIES = 160004, 3
#: Of an alert's story, what says no more than the card itself.
_SILENT = {"received", "awaiting_approval"}


def mark(stage: str) -> None:
    """Says that a stage was just reached, as `desk.stages` does: tests end the process there."""
    sys.audit("desk.stage", f"bot.{stage}")


class Feed:
    """All that is told, by one task. `channels` are main, logs, errors."""

    def __init__(
        self,
        places: Channels,
        store: Store,
        clock: Callable[[], datetime],
        tongue: Tongue,
        *,
        main: int,
        logs: int,
        errors: int,
    ) -> None:
        self._places = places
        self._store = store
        self._clock = clock
        self._tongue = tongue
        self._main, self._logs, self._errors = main, logs, errors
        self._speaker = Speaker(places, main)
        self._threadless: dict[int, int] = {}
        #: Messages that became cards here, until their reactions are read.
        self.born: deque[int] = deque(maxlen=_BORN)

    async def step(self) -> bool:
        """Tells what is to be told now; False if that was nothing. Raises what Discord or the store raise."""
        failed: list[Exception] = []
        try:
            await self._tell_waiting()
        except OUTSIDE as error:
            failed.append(error)
        late = await asyncio.to_thread(self._behind)
        for card in late:
            # What cannot be told now keeps no card from saying where its alert is.
            if len(failed) < _TRIES:
                try:
                    async with asyncio.timeout(speaker.PATIENCE):
                        await self._follow_somehow(card)
                except OUTSIDE as error:
                    failed.append(error)
        if failed:
            raise failed[0]
        return bool(late)

    async def _tell_waiting(self) -> None:
        for _ in range(_GROUPS):
            # Asked anew each time: a question does not wait for lines of the log that came before it.
            group = _group(await asyncio.to_thread(self._waiting))
            if not group:
                break
            async with asyncio.timeout(speaker.PATIENCE):
                await self._tell_somehow(group)
            await asyncio.to_thread(self._stamp, group)
            mark("stamped")

    async def forgo(self) -> None:
        """What nobody was told for a day is told as a number."""

        def write() -> int:
            with self._store.write() as tx:
                now = self._clock()
                return outbox.forgo(tx, before=now - OLD, now=now)

        count = await asyncio.to_thread(write)
        if count:
            text = f"{count} notices of more than a day ago were not told here; the dashboard has them."
            await self._speaker.say(self._main, text, f"forgo {self._clock()}")

    async def prune(self) -> None:
        """Log lines that were told long ago go."""

        def write() -> None:
            with self._store.write() as tx:
                outbox.prune(tx, kinds=_LINES, before=self._clock() - _KEPT)

        await asyncio.to_thread(write)

    # -- notices ---------------------------------------------------------------------------------------

    async def _tell_somehow(self, group: list[Notice]) -> None:
        """One notice that cannot be shown, by a defect of ours, must not hold up all that follow."""
        try:
            await self._tell(group)
        except discord.HTTPException as error:
            # A channel that is closed can be opened again; what Discord takes in no form, it never will.
            if passes(error) or isinstance(error, (discord.NotFound, discord.Forbidden)):
                raise
            log.error("a notice of kind %s is told nowhere: %s", group[0].kind, error)
        except OUTSIDE:
            raise
        except Exception:
            log.exception("a notice comes as bare text: %s", group[0].kind)
            await self._tell_text(group[0])

    async def _tell(self, group: list[Notice]) -> None:
        first = group[0]
        if first.kind in _LINES:
            await self._tell_lines(group)
        elif first.kind == "chart":
            await self._tell_chart(first)
        elif first.alert_id is None or first.kind == "ignored":
            await self._tell_text(first)
        else:
            await self._tell_card(first)
            if first.kind in _ERRORS:
                await self._tell_text(first)

    async def _tell_lines(self, group: list[Notice]) -> None:
        where = self._errors if group[0].kind == "error" else self._logs
        for number, text in enumerate(packed((notice.text for notice in group), MOST_CONTENT - 100)):
            # With its words in the key: lines that have come since a lost answer are not taken for told.
            await self._speaker.say(where, self._tongue.code(text), f"{_key(group[0])} {number} {text}")

    async def _tell_text(self, notice: Notice) -> None:
        where = self._errors if notice.kind in _ERRORS else self._main
        icon = _ICONS.get(notice.kind, "")
        text = self._tongue.clean(notice.text, MOST_CONTENT - 60)
        about = f" (alert {notice.alert_id})" if notice.alert_id and notice.kind in _ERRORS else ""
        await self._speaker.say(where, f"{icon} {text}{about}".strip(), _key(notice))

    async def _tell_chart(self, notice: Notice) -> None:
        data = _data(notice.data)
        picture = await asyncio.to_thread(pictures.of_request, data, notice.at)
        text = self._tongue.clean(notice.text, 200)
        if picture is None:
            why = self._tongue.clean(data.get("no_bars") or "there are no candles", 300)
            text = f"No chart of {text}: {why}"
        channel = int(data.get("channel_id") or self._main)
        await self._speaker.say(channel, text, _key(notice), picture)

    async def _tell_card(self, notice: Notice) -> None:
        """The message of an alert, unless it has one; a question gets its two reactions."""
        alert_id = str(notice.alert_id)
        asks = notice.kind == "awaiting_approval"
        card = await asyncio.to_thread(self._card, alert_id)
        if card is None:
            card = await self._post_card(notice, alert_id)
        if asks and card is not None and await asyncio.to_thread(self._waits, alert_id):
            await self.invite(card)

    async def _post_card(self, notice: Notice, alert_id: str) -> Card | None:
        model = await asyncio.to_thread(report.card, self._store, alert_id)
        if model is None:
            log.error("a notice is about alert %s, which is not there", alert_id)
            return None
        question = _data(notice.data)
        embed = embeds.card(model, question, self._tongue)
        picture = await asyncio.to_thread(pictures.of_question, model, question, self._clock())
        message = await self._speaker.say(self._main, None, _key(notice), picture, embed)
        mark("posted")
        kept = {key: value for key, value in question.items() if key != "bars"}

        def write() -> Card:
            with self._store.write() as tx:
                now = self._clock()
                data = json.dumps(kept) if kept else None
                made = cards.add(
                    tx,
                    alert_id=alert_id,
                    channel_id=message.channel.id,
                    message_id=message.id,
                    data=data,
                    now=now,
                )
                cards.shown(tx, alert_id, digest=embeds.digest(embed), live=True, now=now)
                return made

        card = await asyncio.to_thread(write)
        self.born.append(card.message_id)
        mark("kept")
        return card

    async def invite(self, card: Card) -> None:
        """Puts both reactions under a question, or makes sure that they are there."""
        message = await self._message(card)
        try:
            for emoji in (YES, NO):
                await message.add_reaction(emoji)
                mark("invited")
        except discord.NotFound:
            log.warning("the card of alert %s was deleted: decide it on the dashboard", card.alert_id)
        except discord.HTTPException as error:
            if passes(error):
                raise
            # People can still bring their own.
            log.error("no reaction can be put under cards: %s", error)

    # -- cards -----------------------------------------------------------------------------------------

    async def _follow_somehow(self, card: Card) -> None:
        """The same for cards: one that cannot be followed is left as it is."""
        try:
            await self._follow(card)
        except OUTSIDE:
            raise
        except Exception:
            log.exception("the card of alert %s is not followed any more", card.alert_id)
            await asyncio.to_thread(self._leave, card)

    async def _follow(self, card: Card) -> None:
        """Brings a card's message and thread to where its alert is."""
        model, news = await asyncio.to_thread(self._news, card)
        if model is None:
            return
        embed = embeds.card(model, _data(card.data), self._tongue)
        digest = embeds.digest(embed)
        shown = digest == card.shown or await self._edit(card, embed)
        if shown is not False:
            await self._tell_story(card, model, news)
        # What could not be shown is tried again when the card is looked at next.
        live = shown is None or (shown and (bool(news) or not model["over"]))

        def write() -> None:
            with self._store.write() as tx:
                said = card.shown if shown is None else digest
                cards.shown(tx, card.alert_id, digest=said, live=live, now=self._clock())
                if news:
                    cards.told(tx, card.alert_id, seq=news[-1].seq)

        await asyncio.to_thread(write)

    async def _edit(self, card: Card, embed: discord.Embed) -> bool | None:
        """Changes the message; False if somebody has deleted it, None if it may not be changed now."""
        message = await self._message(card)
        line: dict[str, Any] = {"content": bare(embed), "embed": None}
        for given in ({"content": None, "embed": embed}, line):
            try:
                # Unlike a new message, an edit does not take the client's word for it.
                await message.edit(**given, allowed_mentions=discord.AllowedMentions.none())
                break
            except discord.NotFound:
                log.warning("the card of alert %s was deleted; it is not followed any more", card.alert_id)
                return False
            except discord.HTTPException as error:
                if passes(error):
                    raise
                log.error("the card of alert %s cannot be changed: %s", card.alert_id, error)
                if isinstance(error, discord.Forbidden):
                    return None
        mark("edited")
        return True

    async def _tell_story(self, card: Card, model: Model, news: list[Event]) -> None:
        """What happened, into the thread; a card without one must do by itself."""
        lines = [
            f"{embeds.stamp(event.at, 'T')} **{event.event}** {self._tongue.clean(event.detail, 600)}"
            for event in news
            if event.event not in _SILENT
        ]
        # What was refused at once has no story: its card says it all.
        has_story = bool(model["orders"]) or card.data is not None
        if not lines or not has_story or self._threadless.get(card.message_id, 0) >= _TRIES:
            return
        try:
            thread = card.thread_id or await self._open_thread(card, model)
            for number, text in enumerate(packed(map(str.rstrip, lines), MOST_CONTENT)):
                await self._speaker.post(thread, text, f"{card.alert_id} {news[-1].seq} {number}")
                mark("told")
        except (StoreUnavailable, aiohttp.ClientError, OSError, TimeoutError):
            raise
        except Exception as error:
            is_over_soon = isinstance(error, discord.HTTPException) and passes(error)
            self._threadless[card.message_id] = (
                self._threadless.get(card.message_id, 0) + 1 if is_over_soon else _TRIES
            )
            if is_over_soon and self._threadless[card.message_id] < _TRIES:
                raise
            log.error("no thread for alert %s, its card says the rest: %s", card.alert_id, error)

    async def _open_thread(self, card: Card, model: Model) -> int:
        """The thread of a card that has none yet, as far as we know."""
        message = await self._message(card)
        name = self._tongue.bare(f"{model['message']} {model['symbol']} {card.alert_id[-6:]}", 90)
        try:
            thread_id = (await message.create_thread(name=name, auto_archive_duration=1440)).id
        except discord.HTTPException as error:
            if error.code != _HAS_THREAD:
                raise
            # A thread has the number of its message.
            thread_id = card.message_id
        mark("threaded")

        def write() -> None:
            with self._store.write() as tx:
                cards.threaded(tx, card.alert_id, thread_id)

        await asyncio.to_thread(write)
        return thread_id

    # -- Discord ---------------------------------------------------------------------------------------

    async def _message(self, card: Card) -> discord.PartialMessage:
        place = await self._places.place(card.channel_id)
        if not isinstance(place, (discord.TextChannel, discord.Thread, discord.PartialMessageable)):
            raise TypeError(f"channel {card.channel_id} is none that holds cards: {type(place).__name__}")
        return place.get_partial_message(card.message_id)

    # -- the database ----------------------------------------------------------------------------------

    def _waiting(self) -> list[Notice]:
        with self._store.read() as tx:
            return outbox.unposted(tx, _BATCH, last=_LINES | {"chart"})

    def _stamp(self, group: list[Notice]) -> None:
        with self._store.write() as tx:
            now = self._clock()
            for notice in group:
                outbox.posted(tx, notice.seq, now)

    def _behind(self) -> list[Card]:
        with self._store.read() as tx:
            return cards.behind(tx, quiet_before=self._clock() - _QUIET)

    def _card(self, alert_id: str) -> Card | None:
        with self._store.read() as tx:
            return cards.of_alert(tx, alert_id)

    def _waits(self, alert_id: str) -> bool:
        with self._store.read() as tx:
            return views.intent_status(tx, alert_id) is IntentStatus.AWAITING_APPROVAL

    def _leave(self, card: Card) -> None:
        with self._store.write() as tx:
            cards.shown(tx, card.alert_id, digest=card.shown, live=False, now=self._clock())

    def _news(self, card: Card) -> tuple[Model | None, list[Event]]:
        with self._store.read() as tx:
            news = cards.news(tx, card)
        return report.card(self._store, card.alert_id), news


def _group(notices: list[Notice]) -> list[Notice]:
    """The first notice; of log lines all of its kind, they go into the same message."""
    kind = notices[0].kind if notices else ""
    return [each for each in notices if each.kind == kind] if kind in _LINES else notices[:1]


def _data(text: str | None) -> Model:
    model: Model = json.loads(text) if text else {}
    return model


def _key(notice: Notice) -> str:
    return f"notice {notice.seq} {notice.at.isoformat()} {notice.kind}"
