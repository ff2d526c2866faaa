"""The REST half: routes, form bodies, buckets and faults to order.

Answers `application/json` without a charset and a 429 with `Via`, as Discord does and discord.py insists on.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from tests.discord_bot.fake.world import APPLICATION, BOT, TOKEN, Asked, Refused, World

_PREFIX = "/api/v10"
_SNOWFLAKE = r"(\d{15,20})"


@dataclass
class Fault:
    """What becomes of the next `times` requests that match; with status 0 nothing ever does."""

    method: str
    path: re.Pattern[str]
    status: int
    times: int
    body: dict[str, Any]
    after: bool = False
    headers: dict[str, str] | None = None


class Rest:
    """One application's view of the API."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.log: list[tuple[str, str, Any]] = []
        self.faults: list[Fault] = []
        self.limited = 0
        #: Calls of one method and route within a second, by channel.
        self.bucket = 50
        self._calls: dict[tuple[str, str], deque[float]] = {}
        self._routes: list[tuple[str, re.Pattern[str], Callable[..., Any]]] = [
            (method, re.compile(path.replace("{id}", _SNOWFLAKE) + "$"), getattr(self, f"_{name}"))
            for method, path, name in (
                ("GET", "/users/@me", "me"),
                ("GET", "/oauth2/applications/@me", "application"),
                ("PUT", "/applications/{id}/(?:guilds/{id}/)?commands", "sync"),
                ("POST", "/users/@me/channels", "direct"),
                ("GET", "/users/{id}", "user"),
                ("GET", "/channels/{id}", "channel"),
                ("GET", "/guilds/{id}/members/{id}", "member"),
                ("POST", "/channels/{id}/messages", "post"),
                ("GET", "/channels/{id}/messages/{id}", "message"),
                ("PATCH", "/channels/{id}/messages/{id}", "edit"),
                ("DELETE", "/channels/{id}/messages/{id}", "delete"),
                ("POST", "/channels/{id}/messages/{id}/threads", "thread"),
                ("PUT", "/channels/{id}/messages/{id}/reactions/([^/]+)/@me", "react"),
                ("GET", "/channels/{id}/messages/{id}/reactions/([^/]+)", "reactions"),
                ("DELETE", "/channels/{id}/messages/{id}/reactions/([^/]+)/(@me|\\d+)", "unreact"),
                ("POST", "/interactions/{id}/([^/]+)/callback", "answer"),
                ("POST", "/webhooks/{id}/([^/]+)", "follow_up"),
                ("PATCH", "/webhooks/{id}/([^/]+)/messages/@original", "follow_up"),
            )
        ]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path
        if path in self.world.files:
            return web.Response(body=self.world.files[path], content_type="image/png")
        path = path.removeprefix(_PREFIX)
        given, files = await _body(request)
        with self.world.changed:
            self.log.append((request.method, path, given))
            self.world.changed.notify_all()
        fault = self._fault(request.method, path)
        if fault is not None and fault.status == 0:
            while request.transport is not None and not request.transport.is_closing():
                await asyncio.sleep(0.02)
        if fault is not None and not fault.after:
            return _json(fault.body, fault.status, fault.headers)
        headers, wait = self._count(request.method, path)
        if wait:
            return self.too_many(wait)
        try:
            result = self._route(request, path, given, files)
            if isinstance(result, Awaitable):
                result = await result
        except Refused as refused:
            return _json(refused.body, refused.status, headers)
        if fault is not None:
            return _json(fault.body, fault.status, fault.headers)
        return web.Response(status=204, headers=headers) if result is None else _json(result, 200, headers)

    def too_many(self, wait: float, *, everywhere: bool = False) -> web.Response:
        self.limited += 1
        body = {"message": "You are being rate limited.", "retry_after": wait, "global": everywhere}
        return _json(body, 429, {"Via": "1.1 google", "Retry-After": str(max(1, round(wait)))})

    def _fault(self, method: str, path: str) -> Fault | None:
        with self.world.changed:
            for fault in self.faults:
                if fault.times and fault.method in (method, "*") and fault.path.search(path):
                    fault.times -= 1
                    return fault
        return None

    def _count(self, method: str, path: str) -> tuple[dict[str, str], float]:
        """Headers of the bucket, and how long to wait if it is empty."""
        key = (method, re.sub(r"/(messages|reactions)/.*", r"/\1", path))
        calls, now = self._calls.setdefault(key, deque()), time.monotonic()
        while calls and now - calls[0] > 1:
            calls.popleft()
        reset = 1 - (now - calls[0]) if calls else 1.0
        if len(calls) >= self.bucket:
            return {}, reset
        calls.append(now)
        headers = {
            "X-RateLimit-Limit": str(self.bucket),
            "X-RateLimit-Remaining": str(self.bucket - len(calls)),
            "X-RateLimit-Reset-After": f"{reset:.3f}",
            "X-RateLimit-Bucket": str(abs(hash(key[0] + re.sub(r"\d{15,}", "", key[1])))),
        }
        return headers, 0.0

    def _route(self, request: web.Request, path: str, given: Any, files: dict[str, bytes]) -> Any:
        for method, pattern, handler in self._routes:
            found = pattern.match(path)
            if method != request.method or found is None:
                continue
            if not path.startswith(("/interactions", "/webhooks")):
                self._authorize(request)
            parts = [int(each) if each and each.isdigit() else each for each in found.groups()]
            with self.world.changed:
                return handler(request, given, files, *parts)
        raise Refused(404, 0, f"404: Not Found {request.method} {path}")

    def _authorize(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != f"Bot {TOKEN}":
            raise Refused(401, 0, "401: Unauthorized")
        if not request.headers.get("User-Agent", "").startswith("DiscordBot ("):
            raise Refused(400, 0, "a bot says DiscordBot in its User-Agent")

    # -- handlers --------------------------------------------------------------------------------------

    def _me(self, request: web.Request, given: Any, files: Any) -> Any:
        return self.world.people[BOT]

    def _application(self, request: web.Request, given: Any, files: Any) -> Any:
        person = {"id": "1", "username": "owner", "discriminator": "0", "avatar": None}
        return {
            "id": str(APPLICATION), "name": "desk", "icon": None, "description": "", "bot_public": False,
            "bot_require_code_grant": False, "verify_key": "0" * 64, "owner": person, "flags": 0,
        }  # fmt: skip

    def _sync(self, request: web.Request, given: Any, files: Any, *ids: Any) -> Any:
        for command in given:
            if not re.fullmatch(r"[-_a-z0-9]{1,32}", command["name"]):
                raise Refused(400, 50035, "Invalid Form Body")
            if not 1 <= len(command["description"]) <= 100:
                raise Refused(400, 50035, "Invalid Form Body")
        made = [
            {"type": 1, "options": []}
            | command
            | {"id": str(self.world.snowflake()), "application_id": str(APPLICATION), "version": "1"}
            for command in given
        ]
        self.world.commands = made
        self.world.changed.notify_all()
        return made

    def _direct(self, request: web.Request, given: Any, files: Any) -> Any:
        return self.world.direct(int(given["recipient_id"]))

    def _channel(self, request: web.Request, given: Any, files: Any, channel: int) -> Any:
        return self.world.need("see", channel)

    def _member(self, request: web.Request, given: Any, files: Any, guild: int, user: int) -> Any:
        if user not in self.world.people:
            raise Refused(404, 10007, "Unknown Member")
        return self.world.member(user)

    def _user(self, request: web.Request, given: Any, files: Any, user: int) -> Any:
        if user not in self.world.people:
            raise Refused(404, 10013, "Unknown User")
        return self.world.people[user]

    def _post(self, request: web.Request, given: Any, files: Any, channel: int) -> Any:
        found = self.world.need("send", channel)
        if found["type"] == 1 and int(found["recipients"][0]["id"]) in self.world.closed_doors:
            raise Refused(403, 50007, "Cannot send messages to this user")
        if files:
            self.world.need("attach", channel)
            if ("upload", channel) in self.world.forbidden:
                raise Refused(503, 0, "nothing can be uploaded now")
        return self.world.shown(self.world.post(BOT, channel, given, files))

    def _message(self, request: web.Request, given: Any, files: Any, channel: int, message: int) -> Any:
        self.world.need("history", channel)
        return self.world.shown(self.world.message(channel, message))

    def _edit(self, request: web.Request, given: Any, files: Any, channel: int, message: int) -> Any:
        self.world.need("send", channel)
        return self.world.shown(self.world.edit(BOT, self.world.message(channel, message), given, files))

    def _delete(self, request: web.Request, given: Any, files: Any, channel: int, message: int) -> Any:
        found = self.world.message(channel, message)
        if found.author_id != BOT:
            self.world.need("manage", channel)
        del self.world.messages[message]
        self.world.tell("MESSAGE_DELETE", {"id": str(message), "channel_id": str(channel)})

    def _thread(self, request: web.Request, given: Any, files: Any, channel: int, message: int) -> Any:
        self.world.need("thread", channel)
        return self.world.thread(self.world.message(channel, message), given)

    def _react(
        self, request: web.Request, given: Any, files: Any, channel: int, message: int, emoji: str
    ) -> Any:
        self.world.need("react", channel)
        self.world.react(BOT, self.world.message(channel, message), unquote(emoji))

    def _reactions(
        self, request: web.Request, given: Any, files: Any, channel: int, message: int, emoji: str
    ) -> Any:
        self.world.need("history", channel)
        who = sorted(self.world.message(channel, message).reactions.get(unquote(emoji), []))
        after = int(request.query.get("after", 0))
        limit = int(request.query.get("limit", 25))
        return [self.world.people[each] for each in who if each > after][:limit]

    def _unreact(
        self, request: web.Request, given: Any, files: Any, channel: int, message: int, emoji: str, who: Any
    ) -> Any:
        if who != "@me":
            self.world.need("manage", channel)
        user = BOT if who == "@me" else int(who)
        self.world.unreact(user, self.world.message(channel, message), unquote(emoji))

    def _answer(self, request: web.Request, given: Any, files: dict[str, bytes], id_: int, token: str) -> Any:
        asked = self._asked(token)
        if asked.acknowledged is not None:
            raise Refused(400, 40060, "Interaction has already been acknowledged.")
        asked.acknowledged = given["type"]
        asked.private = bool((given.get("data") or {}).get("flags", 0) & 64)
        if given["type"] == 4:
            self._keep(asked, given["data"], files)
        self.world.changed.notify_all()
        return {"interaction": {"id": str(id_), "type": 2}}

    def _follow_up(
        self, request: web.Request, given: Any, files: dict[str, bytes], app: int, token: str
    ) -> Any:
        asked = self._asked(token)
        if asked.acknowledged is None:
            raise Refused(404, 10015, "Unknown Webhook")
        self._keep(asked, given, files)
        message = {"id": str(self.world.snowflake()), "type": 0, "content": given.get("content") or ""}
        author = {"author": self.world.people[BOT], "channel_id": str(next(iter(self.world.channels)))}
        self.world.changed.notify_all()
        return message | author | {"attachments": [], "embeds": [], "mentions": [], "mention_roles": []}

    def _asked(self, token: str) -> Asked:
        if token not in self.world.asked:
            raise Refused(404, 10062, "Unknown interaction")
        return self.world.asked[token]

    def _keep(self, asked: Asked, data: dict[str, Any], files: dict[str, bytes]) -> None:
        allowed = data.get("allowed_mentions")
        if allowed is None or allowed.get("parse"):
            self.world.pings.append("allowed_mentions is missing in an answer")
        if len(data.get("content") or "") > 2000:
            raise Refused(400, 50035, "Invalid Form Body")
        asked.answers.append(data)
        asked.pictures += list(files)


async def _body(request: web.Request) -> tuple[Any, dict[str, bytes]]:
    """The JSON of a request and its files; waits for all of it."""
    if request.content_type != "multipart/form-data":
        raw = await request.read()
        return (json.loads(raw) if raw else None), {}
    given, files = None, {}
    async for part in await request.multipart():
        name = part.name or ""  # type: ignore[union-attr]
        content = bytes(await part.read())  # type: ignore[union-attr]
        if name == "payload_json":
            given = json.loads(content)
        else:
            assert re.fullmatch(r"files\[\d\]", name), name
            files[str(part.filename)] = content  # type: ignore[union-attr]
    told = [each["filename"] for each in (given or {}).get("attachments", []) if "filename" in each]
    assert set(files) <= set(told), f"files {list(files)}, attachments {told}"
    await asyncio.sleep(0)
    return given, files


def _json(body: Any, status: int, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=json.dumps(body).encode(), status=status, headers=headers, content_type="application/json"
    )
