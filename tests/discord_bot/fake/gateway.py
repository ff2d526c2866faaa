"""The gateway half: HELLO, IDENTIFY, heartbeats, events by intent, RESUME with replay, breaks to order."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.discord_bot.fake.world import APPLICATION, BOT, GUILD, TEXT, TOKEN, World

_GUILDS, _MESSAGES, _REACTIONS, _DIRECT, _CONTENT = 1 << 0, 1 << 9, 1 << 10, 1 << 12, 1 << 15
_PRIVILEGED = 1 << 1 | 1 << 8 | 1 << 15
_WANTS = {
    "MESSAGE_CREATE": _MESSAGES,
    "MESSAGE_UPDATE": _MESSAGES,
    "MESSAGE_DELETE": _MESSAGES,
    "MESSAGE_REACTION_ADD": _REACTIONS,
    "MESSAGE_REACTION_REMOVE": _REACTIONS,
    "THREAD_CREATE": _GUILDS,
}


@dataclass
class Session:
    """One identified client, over any number of connections."""

    id: str
    intents: int
    seq: int = 0
    sent: list[dict[str, Any]] = field(default_factory=list)
    socket: web.WebSocketResponse | None = None


class Gateway:
    """All sessions of the bot; several at once are possible, as in the real one."""

    def __init__(self, world: World, url: Callable[[], str]) -> None:
        self.world = world
        self.sessions: dict[str, Session] = {}
        self.heartbeat_ms = 41250
        self.heartbeats = 0
        self.identified = 0
        self.resumed = 0
        self.refuse_content = False
        #: Off: the server stays unavailable, as in an outage.
        self.tells_guild = True
        self.forget_sessions = False
        #: So many connections are refused from now on.
        self.turn_away = 0
        self._url = url
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self._loop = asyncio.get_running_loop()
        if self.turn_away:
            self.turn_away -= 1
            raise web.HTTPServiceUnavailable
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json(
            {"op": 10, "d": {"heartbeat_interval": self.heartbeat_ms}, "s": None, "t": None}
        )
        session: Session | None = None
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                break
            said = json.loads(frame.data)
            if said["op"] == 1:
                self._note("heartbeats")
                await socket.send_json({"op": 11, "d": None, "s": None, "t": None})
            elif said["op"] == 2:
                session = await self._identify(socket, said["d"])
            elif said["op"] == 6:
                session = await self._resume(socket, said["d"])
            elif session is None:
                await socket.close(code=4003, message=b"Not authenticated")
            if socket.closed:
                break
        if session is not None and session.socket is socket:
            session.socket = None
        return socket

    def tell(self, name: str, data: dict[str, Any]) -> None:
        """One event, to every session that asked for its kind; from any thread."""
        # Told at once: what is in `data` may change before it is sent.
        text = json.dumps(data)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._dispatch, name, text)

    def break_off(self, code: int) -> None:
        """Closes every connection with `code`."""
        self._each(lambda session, socket: socket.close(code=code))

    def ask_to_reconnect(self) -> None:
        self._each(lambda session, socket: socket.send_json({"op": 7, "d": None, "s": None, "t": None}))

    def invalidate(self, *, resumable: bool) -> None:
        """Op 9: the session is to be resumed, or is gone."""
        if not resumable:
            self.sessions = {key: one for key, one in self.sessions.items() if one.socket is not None}
            self.forget_sessions = True
        self._each(lambda session, socket: socket.send_json({"op": 9, "d": resumable, "s": None, "t": None}))

    @property
    def connected(self) -> int:
        return sum(one.socket is not None and not one.socket.closed for one in self.sessions.values())

    async def close(self) -> None:
        for session in list(self.sessions.values()):
            if session.socket is not None:
                await session.socket.close(code=1001)

    def _each(self, act: Callable[[Session, web.WebSocketResponse], Any]) -> None:
        async def run() -> None:
            for session in list(self.sessions.values()):
                if session.socket is not None:
                    await act(session, session.socket)

        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    async def _identify(self, socket: web.WebSocketResponse, given: dict[str, Any]) -> Session | None:
        if given["token"] != TOKEN:
            await socket.close(code=4004, message=b"Authentication failed.")
            return None
        if self.refuse_content and given["intents"] & _PRIVILEGED:
            await socket.close(code=4014, message=b"Disallowed intent(s).")
            return None
        assert given["properties"].keys() >= {"os", "browser", "device"}
        session = Session(secrets.token_hex(16), given["intents"], socket=socket)
        self.sessions[session.id] = session
        ready = {
            "v": 10,
            "user": self.world.people[BOT],
            "guilds": [{"id": str(GUILD), "unavailable": True}],
            "session_id": session.id,
            "resume_gateway_url": self._url(),
            "application": {"id": str(APPLICATION), "flags": 0},
        }
        await self._send(session, "READY", ready)
        if self.tells_guild:
            await self._send(session, "GUILD_CREATE", self._guild())
        self._note("identified")
        return session

    async def _resume(self, socket: web.WebSocketResponse, given: dict[str, Any]) -> Session | None:
        session = self.sessions.get(given["session_id"])
        if given["token"] != TOKEN or session is None or self.forget_sessions:
            self.forget_sessions = False
            await socket.send_json({"op": 9, "d": False, "s": None, "t": None})
            return None
        session.socket = socket
        for frame in [one for one in session.sent if one["s"] > given["seq"]]:
            await socket.send_json(frame)
        await self._send(session, "RESUMED", {})
        self._note("resumed")
        return session

    def _dispatch(self, name: str, text: str) -> None:
        for session in list(self.sessions.values()):
            data = json.loads(text)
            wants = _WANTS.get(name, 0)
            if name.startswith("MESSAGE") and "guild_id" not in data and name != "MESSAGE_DELETE":
                wants = _DIRECT
            if wants and not session.intents & wants:
                continue
            if name in ("MESSAGE_CREATE", "MESSAGE_UPDATE") and not session.intents & _CONTENT:
                data |= {"content": "", "embeds": []} if data["author"]["id"] != str(BOT) else {}
            asyncio.ensure_future(self._send(session, name, data))  # noqa: RUF006  # in order: one loop

    async def _send(self, session: Session, name: str, data: dict[str, Any]) -> None:
        session.seq += 1
        frame = {"op": 0, "t": name, "s": session.seq, "d": data}
        session.sent.append(frame)
        if session.socket is not None and not session.socket.closed:
            try:
                await session.socket.send_json(frame)
            except ConnectionError:
                session.socket = None

    def _guild(self) -> dict[str, Any]:
        channels = [each for each in self.world.channels.values() if each["type"] == TEXT]
        roles = sorted({role for roles in self.world.roles.values() for role in roles})
        named = [{"id": str(role), "name": f"role-{role}", **_ROLE} for role in (GUILD, *roles)]
        return {
            "id": str(GUILD), "name": "desk", "owner_id": "1", "unavailable": False, "member_count": 3,
            "roles": named, "channels": channels, "members": [self.world.member(BOT)], "emojis": [],
            "stickers": [], "voice_states": [], "threads": [], "presences": [], "stage_instances": [],
            "guild_scheduled_events": [], "soundboard_sounds": [], "features": [], "large": False,
            "premium_tier": 0, "preferred_locale": "en-US", "afk_timeout": 300, "verification_level": 0,
            "default_message_notifications": 0, "explicit_content_filter": 0, "mfa_level": 0,
            "nsfw_level": 0, "premium_progress_bar_enabled": False, "system_channel_flags": 0,
        }  # fmt: skip

    def _note(self, name: str) -> None:
        with self.world.changed:
            setattr(self, name, getattr(self, name) + 1)
            self.world.changed.notify_all()


_ROLE = {
    "permissions": "8", "position": 0, "color": 0, "hoist": False, "managed": False, "mentionable": False,
    "flags": 0, "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
}  # fmt: skip
