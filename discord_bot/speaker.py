"""One message, in the fullest form that Discord takes: with its picture, its embed, or in bare words.

It must never say the same twice, nor say nothing because of what makes a message beautiful.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from io import BytesIO
from typing import Any, Protocol

import aiohttp
import discord
from discord.abc import Messageable

from discord_bot.texts import MOST_CONTENT, shortened
from trading.errors import StoreUnavailable

log = logging.getLogger(__name__)

#: What is nobody's defect here: it is tried again.
OUTSIDE = (discord.HTTPException, aiohttp.ClientError, OSError, TimeoutError, StoreUnavailable)
#: Seconds for one thing that is told or read, rate limits included: an answer that never comes must not
#: outlast a question.
PATIENCE = 90.0
CHART = "chart.png"
#: Discord's own troubles with one picture, until the message goes without.
_TRIES = 3


class Channels(Protocol):
    """Where to speak: the bot itself."""

    async def place(self, channel_id: int) -> Messageable:
        """A channel or thread. Raises discord.HTTPException where it cannot be had."""


class Speaker:
    """Says things in channels; what has no place of its own any more goes to `main`."""

    def __init__(self, places: Channels, main: int) -> None:
        self._places = places
        self._main = main
        self._unsent: Counter[str] = Counter()

    async def say(
        self,
        channel_id: int,
        text: str | None,
        key: str,
        picture: bytes | None = None,
        embed: discord.Embed | None = None,
    ) -> discord.Message:
        """One message, in the main channel where its own is closed; the same key again is the same one."""
        try:
            return await self.post(channel_id, text, key, picture, embed)
        except discord.HTTPException as error:
            if channel_id == self._main or passes(error):
                raise
            log.error("channel %d cannot be written to: %s", channel_id, error)
            return await self.post(self._main, text, key, picture, embed)

    async def post(
        self,
        channel_id: int,
        text: str | None,
        key: str,
        picture: bytes | None = None,
        embed: discord.Embed | None = None,
    ) -> discord.Message:
        """One message in the fullest form that Discord takes there; raises its last refusal."""
        refused: discord.HTTPException | None = None
        for content, given in _forms(text, picture, embed):
            try:
                place = await self._places.place(channel_id)
                message = await place.send(content, nonce=_nonce(key), **given)
            except discord.HTTPException as error:
                self._unsent[key] += "file" in given and error.status >= 500
                # Where uploads are down for long, a question without its chart is better than none.
                is_tired = "file" in given and self._unsent[key] >= _TRIES
                closed = isinstance(error, discord.Forbidden) and not given
                if (passes(error) and not is_tired) or closed or isinstance(error, discord.NotFound):
                    raise
                log.error("not all of it can be shown in channel %d: %s", channel_id, error)
                refused = error
            else:
                del self._unsent[key]
                return message
        raise refused or ValueError("a message without any form")


def passes(error: discord.HTTPException) -> bool:
    """Whether it is Discord's own trouble, over some time later."""
    return error.status >= 500 or error.status in (401, 408, 429)


def _forms(
    text: str | None, picture: bytes | None, embed: discord.Embed | None
) -> list[tuple[str | None, dict[str, Any]]]:
    """The same message with less and less in it: better a bare line than no card."""
    words = text if embed is None else bare(embed)
    shown: dict[str, Any] = {} if embed is None else {"embed": embed}
    forms: list[tuple[str | None, dict[str, Any]]] = []
    if picture is not None:
        forms.append((text, shown | {"file": discord.File(BytesIO(picture), CHART)}))
    if shown:
        forms.append((text, shown))
    about = f" ({embed.footer.text})" if embed is not None else ""
    return [*forms, (words, {}), (f"Discord refuses to show this; the dashboard has it{about}.", {})]


def bare(embed: discord.Embed) -> str:
    """What a card says where it cannot be shown as one."""
    return shortened(f"{embed.title}\n{embed.description or ''}\n{embed.footer.text or ''}", MOST_CONTENT)


def _nonce(key: str) -> int:
    """The key as Discord takes it: at most 25 characters."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
