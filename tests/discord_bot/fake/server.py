"""Both halves on one port of this machine, in a thread of their own, and a test's hands on them."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from aiohttp import web

from tests.discord_bot.fake.gateway import Gateway
from tests.discord_bot.fake.rest import Fault, Rest
from tests.discord_bot.fake.world import APPLICATION, BOT, GUILD, TOKEN, Asked, Message, World

#: Seconds until something that must happen is given up.
PATIENCE = 30.0

T = TypeVar("T")


class Discord(World):
    """`with Discord() as discord:` listens until the block ends; `down()` and `up()` between."""

    token = TOKEN

    def __init__(self) -> None:
        super().__init__(lambda: f"http://127.0.0.1:{self.port}")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.rest = Rest(self)
        self.gateway = Gateway(self, lambda: self.gateway_url)
        self.tell = self.gateway.tell
        self.main = self.channel("alerts")
        self.logs = self.channel("logs")
        self.errors = self.channel("errors")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="discord", daemon=True)
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v10"

    @property
    def gateway_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"

    @property
    def environ(self) -> dict[str, str]:
        """What a bot needs to come here."""
        return {
            "DISCORD_TOKEN": TOKEN,
            "DISCORD_API_URL": self.api_url,
            "DISCORD_GATEWAY_URL": self.gateway_url,
            "DISCORD_CHANNEL_ID": str(self.main),
            "DISCORD_LOGS_CHANNEL_ID": str(self.logs),
            "DISCORD_ERR_CHANNEL_ID": str(self.errors),
        }

    # -- life ------------------------------------------------------------------------------------------

    def __enter__(self) -> Discord:
        self._thread.start()
        self.up()
        return self

    def __exit__(self, *error: object) -> None:
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def up(self) -> None:
        """Listens (again)."""
        self._do(self._up())

    def down(self) -> None:
        """Nobody is there: connections end, new ones are refused."""
        self._do(self._down())

    async def _up(self) -> None:
        app = web.Application(client_max_size=20 * 2**20)
        app.router.add_get("/", self.gateway.serve)
        app.router.add_route("*", "/{rest:.+}", self.rest.serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await self._site.start()

    async def _down(self) -> None:
        if self._runner is not None:
            # The door first: who is sent away comes back at once.
            await self._site.stop()
            await self.gateway.close()
            await self._runner.cleanup()
            self._runner = None

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    # -- what a test sees ------------------------------------------------------------------------------

    def until(self, see: Callable[[], T | None], *, what: str = "", within: float = PATIENCE) -> T:
        """What `see` returns once that is true; it is asked after every change."""
        deadline = time.monotonic() + within
        with self.changed:
            while not (found := see()):
                if time.monotonic() > deadline:
                    raise AssertionError(f"it never came{': ' + what if what else ''}\n{self.story()}")
                self.changed.wait(0.05)
            return found

    def ready(self, times: int = 1) -> None:
        """Waits until a bot has identified and taken its place, `times` times since the start."""
        self.until(lambda: self.gateway.identified >= times, what="a bot")

    def card(self, word: str, *, channel: int | None = None, reactions: int = 0) -> Message:
        """The newest message of the bot that says `word` (and has so many reactions of its own)."""

        def see() -> Message | None:
            found = [
                m for m in self.in_channel(channel or self.main) if m.author_id == BOT and word in m.text
            ]
            found = [m for m in found if sum(BOT in who for who in m.reactions.values()) >= reactions]
            return found[-1] if found else None

        return self.until(see, what=f"a card with {word!r}")

    def story(self) -> str:
        """Every message, for a person who wants to know what went wrong."""
        with self.changed:
            lines = [
                f"#{self.channels[m.channel_id].get('name')} {self.people[m.author_id]['username']}:"
                f" {m.text!r} {m.reactions or ''}"
                for m in sorted(self.messages.values(), key=lambda m: m.id)
            ]
            lines += [f"{method} {path}" for method, path, _ in self.rest.log[-40:]]
        return "\n".join(lines)

    def calls(self, method: str, path: str) -> int:
        """How many requests have matched."""
        with self.changed:
            return sum(m == method and bool(re.search(path, p)) for m, p, _ in self.rest.log)

    def picture(self, message: Message) -> bytes:
        """The file behind the embed's image."""
        return self.files[message.embeds[0]["image"]["url"].partition(str(self.port))[2]]

    # -- what people do --------------------------------------------------------------------------------

    def tap(self, who: int, message: Message, emoji: str) -> None:
        """A reaction."""
        self.react(who, message, emoji)

    def say(self, who: int, text: str, *, channel: int | None = None) -> Message:
        """A message."""
        return self.post(who, channel or self.main, {"content": text})

    def slash(self, who: int, name: str, **options: str) -> Asked:
        """A slash command; returns once the bot has answered it."""
        self.until(lambda: self.commands, what="slash commands")
        with self.changed:
            (command,) = [each for each in self.commands if each["name"] == name]
            known = {option["name"]: option for option in command["options"]}
            assert options.keys() <= known.keys(), known
            missing = [one for one, option in known.items() if option.get("required") and one not in options]
            assert not missing, missing
            asked = Asked(self.snowflake(), secrets.token_hex(20))
            self.asked[asked.token] = asked
            given = [
                {"name": key, "type": known[key]["type"], "value": value} for key, value in options.items()
            ]
            data = {
                "id": str(asked.id), "application_id": str(APPLICATION), "type": 2, "token": asked.token,
                "version": 1, "guild_id": str(GUILD), "channel_id": str(self.main), "locale": "en-US",
                "channel": self.channels[self.main], "member": self.member(who), "entitlements": [],
                "app_permissions": "8", "attachment_size_limit": 10485760, "context": 0,
                "authorizing_integration_owners": {"0": str(GUILD)},
                "data": {"id": command["id"], "name": name, "type": 1, "options": given},
            }  # fmt: skip
            self._say("INTERACTION_CREATE", data)
        self.until(lambda: asked.answers, what=f"an answer to /{name}")
        return asked

    # -- what goes wrong -------------------------------------------------------------------------------

    def fault(self, method: str, path: str, status: int, *, times: int = 1, after: bool = False) -> None:
        """The next `times` requests that match get this status; `after`: and have done their work."""
        body = {"code": 0, "message": f"{status}: to order"}
        with self.changed:
            self.rest.faults.append(Fault(method, re.compile(path), status, times, body, after))

    def throttle(
        self, method: str, path: str, wait: float, *, times: int = 1, everywhere: bool = False
    ) -> None:
        """The next `times` requests that match are told to wait."""
        body = {"message": "You are being rate limited.", "retry_after": wait, "global": everywhere}
        with self.changed:
            headers = {"Via": "1.1 google"}
            self.rest.faults.append(Fault(method, re.compile(path), 429, times, body, headers=headers))
