"""Commands as text and as slash commands: what they answer, who may give them, what they leave behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from desk import report
from store import switches
from tests.desk.conftest import PASSPHRASE
from tests.discord_bot.fake.world import BOT
from tests.emulator.server import Server
from trading.errors import StoreUnavailable

LONG = {"action": "buy", "price": "42000", "long SL": "41500", "long TP": "43500"}
ENTRY = {"ticker": "BTCUSDT.P", "exchange": "BINANCE", "message": "entry", **LONG}


def answer(room: Any, who: int, text: str, *, channel: int | None = None) -> str:
    """What the bot says to a text command."""
    where = channel or room.discord.main
    mine = room.discord.say(who, text, channel=channel)

    def see() -> str | None:
        return next((m.text for m in room.discord.in_channel(where) if m.reply_to == mine.id), None)

    return str(room.discord.until(see, what=f"an answer to {text}"))


def test_ping_tells_what_is_alive(room: Any, eve: int) -> None:
    room.runner.beat()
    said = answer(room, eve, "!ping")
    assert said.startswith("pong in ")
    assert "database ok; runner" in said
    assert "not halted" in said
    assert "database ok" in room.discord.slash(eve, "ping").text


def test_help_names_every_command(room: Any, eve: int) -> None:
    said = answer(room, eve, "!HELP")
    assert {command["name"] for command in room.discord.commands} == {
        *("ping", "payload", "positions", "pnl", "halt", "resume", "close", "chart", "help")
    }
    for command in room.discord.commands:
        assert f"`!{command['name']}" in said


def test_positions_and_pnl(room: Any, eve: int) -> None:
    assert answer(room, eve, "!positions") == "Nothing is open."
    assert answer(room, eve, "!pnl") == "Nothing was traded yet."
    room.send("entry", **LONG)
    said = answer(room, eve, "!positions")
    assert "BTC-USDT-PERP LONG 2 at 42000  stop 41500  MAIN PAPER:BINANCE" in said
    assert "MAIN PAPER:BINANCE: today -42  7 days -42  all -42" in room.discord.slash(eve, "pnl").text


@pytest.mark.parametrize("text", ["!halt", "!resume", "!close BTCUSDT.P", "!payload {}"])
def test_a_stranger_commands_nothing(room: Any, eve: int, text: str) -> None:
    room.send("entry", **LONG)
    assert "DISCORD_APPROVERS" in answer(room, eve, text)
    with room.store.read() as tx:
        assert switches.halted(tx) is None
    assert len(report.alerts(room.store)) == 1


def test_halt_and_resume_go_on_record(room: Any, ann: int, bob: int) -> None:
    assert "Halted" in answer(room, ann, "!halt the news @everyone")
    with room.store.read() as tx:
        halted = switches.halted(tx)
    assert halted is not None
    assert halted.by == f"ann (discord:{ann})"
    room.discord.card("⛔ Halted by ann")
    assert "Resumed" in room.discord.slash(bob, "resume").text
    assert "not halted" in answer(room, ann, "!resume")


def test_close_ends_a_position_as_an_exit_does(room: Any, ann: int) -> None:
    assert "Nothing of BTC-USDT-PERP" in answer(room, ann, "!close BTCUSDT.P")
    assert "Which?" in answer(room, ann, "!close")
    assert "quote currency" in answer(room, ann, "!close nonsense")
    room.send("entry", **LONG)
    said = answer(room, ann, "!close BTC-USDT-PERP")
    room.settle()
    assert room.position().is_flat
    newest = report.alerts(room.store)[0]
    assert newest["id"] in said
    assert (newest["source"], newest["message"], newest["status"]) == ("discord", "exit", "DONE")
    assert f"by ann (discord:{ann})" in str(room.alert(newest["id"])["timeline"])


def test_close_asks_which_account_where_there_are_two(room: Any, ann: int) -> None:
    room.send("entry", **LONG)
    room.send("entry", subaccount="OTHER", **LONG)
    assert "one of MAIN, OTHER" in answer(room, ann, "!close BTCUSDT.P")
    room.discord.slash(ann, "close", ticker="BTCUSDT.P", account="other")
    room.settle()
    assert room.position(account="OTHER").is_flat
    assert not room.position().is_flat


def test_two_bots_hear_one_command_once(room: Any, ann: int) -> None:
    room.start_bot()
    room.send("entry", **LONG)
    answer(room, ann, "!close BTCUSDT.P")
    room.discord.until(
        lambda: [1 for m in room.discord.in_channel(room.discord.main) if "stored" in m.text][1:]
    )
    assert [row["message"] for row in report.alerts(room.store)] == ["exit", "entry"]


def test_an_alert_by_hand_takes_the_same_way(room: Any, ann: int) -> None:
    said = answer(room, ann, f"!payload ```json\n{json.dumps(ENTRY)}\n```")
    assert "stored, will be handled" in said
    room.settle()
    newest = report.alerts(room.store)[0]
    assert (newest["route"], newest["status"]) == ("discord", "DONE")
    assert "this alert was stored before" in answer(room, ann, f"!payload {json.dumps(ENTRY)}")
    assert "(field long SL)" in answer(room, ann, f"!payload {json.dumps(ENTRY | {'long SL': ''})}")
    assert "not" in answer(room, ann, "!payload hello")


def test_an_alert_to_copy_change_and_send(room: Any, ann: int) -> None:
    assert "There is none yet" in answer(room, ann, "!payload")
    first = room.send("entry", time=room.clock().isoformat(), **LONG)
    room.send("tp1")
    assert '"message": "tp1"' in answer(room, ann, "!payload")
    said = answer(room, ann, f"!payload {first}")
    assert PASSPHRASE not in said
    copied = said.partition("```\n")[2].partition("\n```")[0]
    assert not {"time", "id", "passphrase"} & json.loads(copied.removeprefix("!payload ")).keys()
    assert "stored, will be handled" in answer(room, ann, copied.replace("43500", "43600"))
    assert "There is none yet" in answer(room, ann, f"!payload {'0' * 20}")


def test_an_account_that_asks_asks_here_too(make_room: Callable[..., Any], ann: int) -> None:
    room = make_room(DISCORD_APPROVERS=str(ann), APPROVAL_MAIN="discord")
    room.start_bot()
    room.discord.slash(ann, "payload", json=json.dumps(ENTRY))
    room.settle()
    newest = report.alerts(room.store)[0]
    assert newest["status"] == "AWAITING_APPROVAL"
    room.discord.card(newest["id"], reactions=2)


def test_a_passphrase_does_not_stay_in_the_channel(room: Any, ann: int) -> None:
    body = json.dumps(ENTRY | {"passphrase": PASSPHRASE})
    answer(room, ann, f"!payload {body}")
    assert PASSPHRASE not in room.discord.story()
    room.discord.forbidden.add(("manage", room.discord.main))
    answer(room, ann, f"!payload {body}")
    assert all(PASSPHRASE not in m.text for m in room.discord.messages.values() if m.author_id == BOT)


def test_a_chart_comes_by_way_of_the_runner(
    make_room: Callable[..., Any], exchange: Server, eve: int
) -> None:
    room = make_room(BINANCE_API_URL=exchange.url)
    room.start_bot()
    assert "Name the exchange" in answer(room, eve, "!chart BTCUSDT.P")
    assert "as TradingView writes it" in answer(room, eve, "!chart BTCUSDT.P soon BINANCE")
    assert "Which?" in answer(room, eve, "!chart")
    room.send("entry", **LONG)
    assert "the chart comes" in room.discord.slash(eve, "chart", ticker="BTCUSDT.P").text

    def come() -> Any:
        room.runner.draw()
        return [m for m in room.discord.in_channel(room.discord.main) if m.attachments]

    (picture,) = room.discord.until(come)
    assert "BTC-USDT-PERP at BINANCE, bars of 15" in picture.text
    answer(room, eve, "!chart NOSUCHUSDT.P 60 BINANCE")

    def missing() -> Any:
        room.runner.draw()
        return [m for m in room.discord.in_channel(room.discord.main) if "No chart of" in m.text]

    room.discord.until(missing)


def test_other_channels_are_not_listened_to(room: Any, ann: int) -> None:
    elsewhere = room.discord.channel("elsewhere")
    room.discord.say(ann, "!halt", channel=elsewhere)
    room.discord.say(ann, "!nonsense")
    room.discord.say(ann, "hello")
    assert "pong" in answer(room, ann, "!ping", channel=room.discord.logs)
    assert room.discord.in_channel(elsewhere)[1:] == []
    with room.store.read() as tx:
        assert switches.halted(tx) is None


def test_a_database_that_is_away_is_said(room: Any, ann: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: object, **kwargs: object) -> Any:
        raise StoreUnavailable("database: gone")

    monkeypatch.setattr("store.words.halt", away)
    assert "nothing was done" in answer(room, ann, "!halt")


def test_a_defect_is_answered_as_well(room: Any, eve: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "positions", lambda *args, **kwargs: {}["a defect"])
    assert "failed here" in answer(room, eve, "!positions")
    assert "failed here" in room.discord.slash(eve, "positions").text


def test_a_slash_command_with_the_passphrase_is_answered_in_private(room: Any, ann: int) -> None:
    assert room.discord.slash(ann, "payload", json=json.dumps(ENTRY | {"passphrase": PASSPHRASE})).private
    assert not room.discord.slash(ann, "payload", json=json.dumps(ENTRY)).private
