"""The bot's supervisor: what ends a client is tried again, and what no try can mend is said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from desk.migrate import upgrade
from desk.settings import exchange_names, load
from discord_bot import __main__ as entry
from discord_bot import bot as bot_module
from exchanges import available
from store import open_store
from tests.discord_bot.conftest import BotThread
from tests.discord_bot.fake import Discord
from trading.errors import SettingsError

ENVIRON = {"WEBHOOK_PASSPHRASE": "correct-horse-battery", "DISCORD_TOKEN": "wrong", "DISCORD_CHANNEL_ID": "1"}


def test_the_message_content_intent_may_be_missing(make_room: Callable[..., Any], ann: int) -> None:
    room = make_room(DISCORD_APPROVERS=str(ann))
    room.discord.gateway.refuse_content = True
    room.start_bot()
    room.discord.say(ann, "!ping")
    assert "pong" in room.discord.slash(ann, "ping").text
    assert not any("pong" in message.text for message in room.discord.in_channel(room.discord.main))


def test_a_gateway_that_is_away_at_first_is_tried_again(make_room: Callable[..., Any]) -> None:
    room = make_room()
    room.discord.fault("GET", "/users/@me$", 503, times=2)
    room.discord.gateway.turn_away = 1
    room.start_bot()
    alert_id, _ = room.ask()
    assert room.status(alert_id) == "AWAITING_APPROVAL"


def test_a_connection_that_is_lost_for_long_is_made_anew(
    make_room: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bot_module, "GIVE_UP", 0.3)
    room = make_room()
    room.start_bot()
    room.discord.gateway.turn_away = 10**6
    room.discord.gateway.break_off(4000)
    alert_id = room.send("entry", action="buy", price="42000", **{"long SL": "41500"})
    room.discord.until(lambda: room.discord.calls("GET", "/users/@me$") > 1, what="a new login")
    room.discord.gateway.turn_away = 0
    room.discord.ready(2)
    room.shows(room.discord.card(alert_id), "open")


def test_an_event_that_cannot_be_read_ends_no_bot(make_room: Callable[..., Any], ann: int) -> None:
    room = make_room(DISCORD_APPROVERS=str(ann))
    room.start_bot()
    room.discord.tell("MESSAGE_CREATE", {"guild_id": "1", "author": {"id": "5"}, "content": ""})
    room.discord.ready(2)
    assert "pong" in room.discord.slash(ann, "ping").text


def test_slash_commands_that_cannot_be_published_leave_the_text_commands(
    make_room: Callable[..., Any], ann: int
) -> None:
    room = make_room()
    room.discord.fault("PUT", "/commands$", 403)
    room.start_bot()
    room.discord.say(ann, "!ping")
    room.discord.card("pong")


@pytest.mark.parametrize("was_ready", [True, False])
def test_a_bot_that_is_thrown_out_whenever_it_comes_keeps_its_token(was_ready: bool) -> None:
    pace, now, count = entry.Pace(), 0.0, 0
    while now < 86400:
        count += 1
        now += pace.after(now, identified=1, was_ready=was_ready) + 1
    assert count < 900
    assert pace.after(now + 4000, identified=1, was_ready=True) == entry.FIRST


def test_a_discord_that_is_away_is_looked_for_often() -> None:
    pace = entry.Pace()
    pauses = [pace.after(number * 20.0, identified=0, was_ready=False) for number in range(200)]
    assert pauses[:3] == [entry.FIRST, 2 * entry.FIRST, 4 * entry.FIRST]
    assert max(pauses) == entry.LONGEST


def test_slash_commands_that_have_to_wait_hold_nothing_up(make_room: Callable[..., Any]) -> None:
    room = make_room()
    room.discord.throttle("PUT", "/commands$", 300.0, times=99)
    room.start_bot()
    alert_id, _ = room.ask()
    assert room.status(alert_id) == "AWAITING_APPROVAL"


def test_a_refused_token_ends_it(discord_: Discord, sqlite_url: str) -> None:
    async def live() -> None:
        await entry.supervise(load(ENVIRON), store, asyncio.Event(), lambda: datetime.now(UTC))

    store = open_store(sqlite_url)
    with pytest.raises(SettingsError, match="is refused by Discord"):
        asyncio.run(live())
    store.close()


def test_without_a_token_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load(ENVIRON | {"DISCORD_TOKEN": ""})
    monkeypatch.setattr(entry, "from_environment", lambda: settings)
    assert entry.main() == 1
    assert capsys.readouterr().err.startswith("cannot start: DISCORD_TOKEN: is not set")


def test_told_to_end_while_it_is_on_its_way_in(make_room: Callable[..., Any]) -> None:
    room = make_room()
    room.discord.throttle("GET", "/users/@me$", 50.0, times=99)
    bot = BotThread(room, room._url)
    room.discord.until(lambda: room.discord.calls("GET", "/users/@me$"))
    bot.stop()


def test_a_database_that_is_not_migrated_is_waited_for(tmp_path: Any, discord_: Discord) -> None:
    url = f"sqlite:///{tmp_path}/new.db"
    store = open_store(url)
    settings = load(ENVIRON | discord_.environ)

    async def live() -> None:
        stop = asyncio.Event()
        bot = asyncio.create_task(entry.supervise(settings, store, stop, lambda: datetime.now(UTC)))
        await asyncio.sleep(0)
        assert not entry._is_fit(store)
        await asyncio.to_thread(upgrade, url)
        await asyncio.to_thread(discord_.ready)
        stop.set()
        await bot

    asyncio.run(live())
    store.close()


def test_the_names_of_exchanges_are_those_that_can_be_opened() -> None:
    assert exchange_names() == available()
