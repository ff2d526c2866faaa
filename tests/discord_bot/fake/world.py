"""What a Discord holds: people, channels, threads, messages, reactions; and what it refuses.

One lock for everything; whoever changes something notifies, so that a test can wait for it.
"""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

APPLICATION = 900000000000000001
BOT = 900000000000000002
GUILD = 900000000000000003
TOKEN = "fake.discord.token-of-the-bot"
YES, NO = "\N{WHITE HEAVY CHECK MARK}", "\N{CROSS MARK}"
_EPOCH_MS = 1420070400000
_LIMITS = {"title": 256, "description": 4096}
#: Of a message's `allowed_mentions`: who may be pinged by it.
_WHOM = ("parse", "users", "roles", "replied_user")
#: text, DM, public thread
TEXT, DIRECT, THREAD = 0, 1, 11


class Refused(Exception):
    """An error as the REST API tells it."""

    def __init__(self, status: int, code: int, message: str, errors: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "message": message} | ({"errors": errors} if errors else {})


@dataclass
class Message:
    """One message, with every state that it has shown."""

    id: int
    channel_id: int
    author_id: int
    content: str
    embeds: list[dict[str, Any]] = field(default_factory=list)
    attachments: list[dict[str, Any]] = field(default_factory=list)
    reactions: dict[str, list[int]] = field(default_factory=dict)
    nonce: str | None = None
    reply_to: int | None = None
    flags: int = 0

    @property
    def text(self) -> str:
        """All that a person reads in it."""
        parts = [self.content]
        for embed in self.embeds:
            parts += [embed.get("title", ""), embed.get("description", ""), embed.get("url", "")]
            parts += [f"{each['name']}: {each['value']}" for each in embed.get("fields", [])]
            parts.append(embed.get("footer", {}).get("text", ""))
        return "\n".join(part for part in parts if part)


@dataclass
class Asked:
    """One slash command of a person, and what the bot answered."""

    id: int
    token: str
    acknowledged: int | None = None
    private: bool = False
    answers: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        found = []
        for each in self.answers:
            found.append(each.get("content") or "")
            found += [embed.get("description", "") for embed in each.get("embeds", [])]
        return "\n".join(found)


class World:
    """The state of one Discord."""

    def __init__(self, url: Callable[[], str]) -> None:
        self.changed = threading.Condition(threading.RLock())
        self._url = url
        self._count = itertools.count()
        self.people: dict[int, dict[str, Any]] = {}
        self.roles: dict[int, list[int]] = {}
        self.closed_doors: set[int] = set()
        self.channels: dict[int, dict[str, Any]] = {}
        self.messages: dict[int, Message] = {}
        self.files: dict[str, bytes] = {}
        self.commands: list[dict[str, Any]] = []
        self.asked: dict[str, Asked] = {}
        self.forbidden: set[tuple[str, int]] = set()
        self.pings: list[str] = []
        self.tell: Callable[[str, dict[str, Any]], None] = lambda name, data: None
        self.person("desk-bot", id_=BOT, bot=True)

    # -- ids -------------------------------------------------------------------------------------------

    def snowflake(self) -> int:
        """A growing id, as Discord makes them: the time is in it."""
        return ((int(time.time() * 1000) - _EPOCH_MS) << 22) | (next(self._count) & 0x3FFFFF)

    def person(
        self, name: str, *, roles: tuple[int, ...] = (), id_: int | None = None, bot: bool = False
    ) -> int:
        """Somebody on the server."""
        with self.changed:
            mine = id_ or self.snowflake()
            user = {"id": str(mine), "username": name, "discriminator": "0", "avatar": None}
            self.people[mine] = user | {"global_name": None, "bot": bot}
            self.roles[mine] = list(roles)
            return mine

    def channel(self, name: str) -> int:
        """A text channel."""
        with self.changed:
            mine = self.snowflake()
            self.channels[mine] = {
                "id": str(mine),
                "type": TEXT,
                "name": name,
                "position": len(self.channels),
                "guild_id": str(GUILD),
                "permission_overwrites": [],
            }
            return mine

    # -- what is seen ----------------------------------------------------------------------------------

    def member(self, user_id: int) -> dict[str, Any]:
        return {
            "user": self.people[user_id],
            "roles": [str(role) for role in self.roles[user_id]],
            "flags": 0,
            "joined_at": "2026-01-01T00:00:00+00:00",
            "deaf": False,
            "mute": False,
            "permissions": "8",
        }

    def shown(self, message: Message) -> dict[str, Any]:
        """A whole message as REST and gateway tell it."""
        direct = self.channels[message.channel_id]["type"] == DIRECT
        data = {
            "id": str(message.id),
            "channel_id": str(message.channel_id),
            "author": self.people[message.author_id],
            "content": message.content,
            "timestamp": "2026-01-05T12:00:00+00:00",
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "attachments": message.attachments,
            "embeds": message.embeds,
            "components": [],
            "pinned": False,
            "flags": message.flags,
            "type": 0,
            "reactions": [
                {"count": len(who), "me": BOT in who, "emoji": {"id": None, "name": name}}
                for name, who in message.reactions.items()
                if who
            ],
        }
        if message.nonce is not None:
            data["nonce"] = message.nonce
        if not direct:
            data |= {"guild_id": str(GUILD), "member": self._bare_member(message.author_id)}
        return data

    def _bare_member(self, user_id: int) -> dict[str, Any]:
        return {name: value for name, value in self.member(user_id).items() if name != "user"}

    def in_channel(self, channel_id: int) -> list[Message]:
        """A channel's messages, oldest first."""
        with self.changed:
            return sorted(
                (m for m in self.messages.values() if m.channel_id == channel_id), key=lambda m: m.id
            )

    # -- what is done ----------------------------------------------------------------------------------

    def need(self, what: str, channel_id: int) -> dict[str, Any]:
        """The channel, where the bot may do that; Refused."""
        channel = self.channels.get(channel_id)
        if channel is None:
            raise Refused(404, 10003, "Unknown Channel")
        if ("see", channel_id) in self.forbidden:
            raise Refused(403, 50001, "Missing Access")
        if (what, channel_id) in self.forbidden:
            raise Refused(403, 50013, "Missing Permissions")
        return channel

    def message(self, channel_id: int, message_id: int) -> Message:
        found = self.messages.get(message_id)
        if found is None or found.channel_id != channel_id:
            raise Refused(404, 10008, "Unknown Message")
        return found

    def post(
        self, author: int, channel_id: int, given: dict[str, Any], files: dict[str, bytes] | None = None
    ) -> Message:
        """A new message; the same nonce again gives the message of before."""
        with self.changed:
            nonce = given.get("nonce")
            if nonce is not None and (not isinstance(nonce, str) or len(nonce) > 25):
                raise _malformed("nonce", "Must be 25 or fewer in length.")
            if nonce is not None and given.get("enforce_nonce"):
                for old in self.in_channel(channel_id):
                    if old.nonce == nonce and old.author_id == author:
                        return old
            made = Message(
                self.snowflake(),
                channel_id,
                author,
                given.get("content") or "",
                nonce=nonce,
                flags=given.get("flags") or 0,
            )
            self._fill(made, given, files or {})
            if not (made.content or made.embeds or made.attachments):
                raise Refused(400, 50006, "Cannot send an empty message")
            reference = given.get("message_reference")
            if reference:
                if reference.get("fail_if_not_exists", True):
                    self.message(channel_id, int(reference["message_id"]))
                made.reply_to = int(reference["message_id"])
            self._note_pings(author, made, given)
            self.messages[made.id] = made
            self._say("MESSAGE_CREATE", self.shown(made))
            return made

    def edit(self, author: int, message: Message, given: dict[str, Any], files: dict[str, bytes]) -> Message:
        with self.changed:
            if message.author_id != author:
                raise Refused(403, 50005, "Cannot edit a message authored by another user")
            self._fill(message, given, files)
            self._note_pings(author, message, given)
            self._say("MESSAGE_UPDATE", self.shown(message))
            return message

    def react(self, user: int, message: Message, emoji: str) -> None:
        with self.changed:
            if len(emoji) > 2 or emoji.isascii():
                raise Refused(400, 10014, "Unknown Emoji")
            who = message.reactions.setdefault(emoji, [])
            if user not in who:
                who.append(user)
                self._say("MESSAGE_REACTION_ADD", self._reaction(user, message, emoji) | self._who(user))

    def unreact(self, user: int, message: Message, emoji: str) -> None:
        with self.changed:
            if user not in message.reactions.get(emoji, []):
                raise Refused(404, 10014, "Unknown Emoji")
            message.reactions[emoji].remove(user)
            self._say("MESSAGE_REACTION_REMOVE", self._reaction(user, message, emoji))

    def thread(self, message: Message, given: dict[str, Any]) -> dict[str, Any]:
        with self.changed:
            if message.id in self.channels:
                raise Refused(400, 160004, "A thread has already been created for this message")
            name = given.get("name")
            if not isinstance(name, str) or not 1 <= len(name) <= 100:
                raise _malformed("name", "Must be between 1 and 100 in length.")
            if given.get("auto_archive_duration", 1440) not in (60, 1440, 4320, 10080):
                raise _malformed("auto_archive_duration", "Value must be one of {60, 1440, 4320, 10080}.")
            made = {
                "id": str(message.id),
                "type": THREAD,
                "name": name,
                "guild_id": str(GUILD),
                "parent_id": str(message.channel_id),
                "owner_id": str(BOT),
                "message_count": 0,
                "member_count": 1,
                "thread_metadata": {
                    "archived": False,
                    "auto_archive_duration": 1440,
                    "archive_timestamp": "2026-01-05T12:00:00+00:00",
                    "locked": False,
                },
            }
            self.channels[message.id] = made
            self._say("THREAD_CREATE", made)
            return made

    def direct(self, user_id: int) -> dict[str, Any]:
        """The private channel with a person."""
        with self.changed:
            for channel in self.channels.values():
                if channel["type"] == DIRECT and channel["recipients"][0]["id"] == str(user_id):
                    return channel
            mine = self.snowflake()
            self.channels[mine] = {"id": str(mine), "type": DIRECT, "recipients": [self.people[user_id]]}
            return self.channels[mine]

    def _fill(self, message: Message, given: dict[str, Any], files: dict[str, bytes]) -> None:
        if "content" in given:
            message.content = given["content"] or ""
            if len(message.content) > 2000:
                raise _malformed("content", "Must be 2000 or fewer in length.")
        if "embeds" in given:
            message.embeds = [_checked(embed) for embed in given["embeds"]]
        if "attachments" in given:
            kept = {int(each["id"]) for each in given["attachments"]}
            message.attachments = [each for each in message.attachments if int(each["id"]) in kept]
        for name, content in files.items():
            if len(content) > 10 * 2**20:
                raise Refused(413, 40005, "Request entity too large")
            mine = self.snowflake()
            path = f"/attachments/{mine}/{name}"
            self.files[path] = content
            url = f"{self._url()}{path}"
            message.attachments.append(
                {"id": str(mine), "filename": name, "size": len(content), "url": url, "proxy_url": url}
            )
        self._inline(message)

    def _inline(self, message: Message) -> None:
        """`attachment://name` in an embed becomes its address, and the file is the embed's from then on."""
        for embed in message.embeds:
            picture = embed.get("image", {}).get("url", "")
            if not picture.startswith("attachment://"):
                continue
            name = picture.removeprefix("attachment://")
            for each in message.attachments:
                if each["filename"] == name:
                    embed["image"] = {"url": each["url"]}
                    message.attachments.remove(each)
                    break

    def _note_pings(self, author: int, message: Message, given: dict[str, Any]) -> None:
        allowed = given.get("allowed_mentions")
        if author == BOT and (allowed is None or any(allowed.get(each) for each in _WHOM)):
            self.pings.append(f"{allowed} may be pinged by {message.content[:80]!r}")

    def _reaction(self, user: int, message: Message, emoji: str) -> dict[str, Any]:
        data: dict[str, Any] = {
            "user_id": str(user),
            "channel_id": str(message.channel_id),
            "message_id": str(message.id),
            "emoji": {"id": None, "name": emoji},
            "type": 0,
        }
        if self.channels[message.channel_id]["type"] != DIRECT:
            data["guild_id"] = str(GUILD)
        return data

    def _who(self, user: int) -> dict[str, Any]:
        return {"member": self.member(user)}

    def _say(self, name: str, data: dict[str, Any]) -> None:
        self.tell(name, data)
        self.changed.notify_all()


def _checked(embed: dict[str, Any]) -> dict[str, Any]:
    """An embed as it is kept; Refused for what is too long."""
    total = 0
    for name, most in _LIMITS.items():
        total += len(embed.get(name) or "")
        if len(embed.get(name) or "") > most:
            raise _malformed("embeds", f"{name}: Must be {most} or fewer in length.")
    fields = embed.get("fields", [])
    if len(fields) > 25:
        raise _malformed("embeds", "fields: Must be 25 or fewer in length.")
    for each in fields:
        if not 1 <= len(each["name"]) <= 256 or not 1 <= len(each["value"]) <= 1024:
            raise _malformed("embeds", "fields: a name or a value is empty or too long.")
        total += len(each["name"]) + len(each["value"])
    total += len(embed.get("footer", {}).get("text", ""))
    if total > 6000:
        raise _malformed("embeds", "Embed size exceeds maximum size of 6000")
    url = embed.get("url")
    if url is not None and not re.match(r"https?://[^\s]+$", url):
        raise _malformed("embeds", "url: Not a well formed URL.")
    return dict(embed)


def _malformed(field_: str, message: str) -> Refused:
    errors = {field_: {"_errors": [{"code": "BASE_TYPE", "message": message}]}}
    return Refused(400, 50035, "Invalid Form Body", errors)
