"""What was committed is told, once, whatever Discord does; and nothing that must stay inside goes out."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from desk import control, logs
from discord_bot import embeds, speaker
from store import cards, outbox, switches
from tests.desk.conftest import PASSPHRASE
from tests.discord_bot.fake.world import BOT, NO, YES
from tests.emulator.server import Server
from trading.model import Route

LONG = {"action": "buy", "price": "42000", "long SL": "41500", "long TP": "43500"}


def texts(room: Any, channel: int) -> list[str]:
    return [message.text for message in room.discord.in_channel(channel)]


def test_an_automatic_trade_has_its_card(room: Any) -> None:
    alert_id = room.send("entry", **LONG)
    card = room.discord.card(alert_id)
    room.shows(card, "open", "Filled: 2 at 42000", "Worst loss: 1000", "(1 %)")
    assert card.reactions == {}
    room.price("41400")
    room.shows(card, "closed", "P&L: −1083.5 USDT")
    exit_id = room.send("exit")
    room.shows(room.discord.card(exit_id), "exit", "done", "it was flat already")


def test_an_exit_tells_what_it_closed(room: Any) -> None:
    room.send("entry", **LONG)
    room.price("42100")
    card = room.discord.card(room.send("exit"))
    room.shows(card, "Closed: 2 at 42100", "P&L of it: 157.9 USDT after its fee of 42.1")


def test_what_was_refused_at_once_has_a_card_and_no_thread(room: Any) -> None:
    room.send("entry", **LONG)
    control.halt(room.store, reason="news", by="web", now=room.clock())
    alert_id = room.send("entry", **{**LONG, "price": "42001"})
    card = room.discord.card(alert_id)
    room.shows(card, "refused, not traded", "trading is halted")
    room.told()
    assert card.id not in room.discord.channels


def test_what_concerns_no_alert_is_a_line(room: Any) -> None:
    room.post("entry", action="buy", price="42000")
    room.discord.card("An alert was refused and not traded", channel=room.discord.errors)
    room.send("tp1")
    room.discord.card("💬 tp1")
    control.halt(room.store, reason="news", by="web", now=room.clock())
    control.resume(room.store, by="web", now=room.clock())
    room.discord.card("Resumed by web")


def test_an_alarm_stands_among_the_errors_as_well(room: Any) -> None:
    alert_id = room.send("entry", **LONG)
    with room.store.write() as tx:
        outbox.notify(tx, kind="alarm", text="closing at the market", alert_id=alert_id, now=room.clock())
    room.discord.card(f"🚨 closing at the market (alert {alert_id})", channel=room.discord.errors)


def test_lines_of_the_log_go_to_their_channels(room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    monkeypatch.setattr(root, "level", logging.INFO)
    logs.relay(room.settings, room.store)
    logger = logging.getLogger("desk.of.the.test")
    logger.info("all is well with %s", PASSPHRASE)
    logger.error("a ``` fence and @everyone")
    logging.getLogger("discord_bot.feed").error("about telling")
    logging.getLogger("gunicorn.error").info("a worker is born")
    try:
        raise ValueError("the end of it")
    except ValueError:
        logger.exception("long %s", "x" * 3000)
    log = room.discord.card("all is well", channel=room.discord.logs)
    assert "all is well with ***" in log.text
    assert log.text.startswith("```")
    error = room.discord.card("fence", channel=room.discord.errors)
    assert error.text.count("```") == 2
    assert room.discord.card("the end of it", channel=room.discord.errors).text.count("x") < 3000
    room.told()
    assert not any("about telling" in text for text in texts(room, room.discord.errors))
    assert not any("a worker is born" in text for text in texts(room, room.discord.logs))


def test_many_lines_are_few_messages(make_room: Callable[..., Any]) -> None:
    room = make_room()
    with room.store.write() as tx:
        for number in range(40):
            outbox.notify(tx, kind="log", text=f"line {number} " + "x" * 60, alert_id=None, now=room.clock())
    room.start_bot()
    room.told()
    found = texts(room, room.discord.logs)
    assert len(found) == 2
    assert all(f"line {number} " in "".join(found) for number in range(40))


def test_lines_that_come_after_a_lost_answer_are_told(room: Any) -> None:
    def line(text: str) -> None:
        with room.store.write() as tx:
            outbox.notify(tx, kind="log", text=text, alert_id=None, now=room.clock())

    room.told()
    path = f"/{room.discord.logs}/messages$"
    room.discord.fault("POST", path, 503, times=10**6, after=True)
    line("the first")
    room.discord.until(lambda: "the first" in "".join(texts(room, room.discord.logs)))
    line("the second")
    with room.discord.changed:
        room.discord.rest.faults.clear()
    room.told()
    assert "the second" in "".join(texts(room, room.discord.logs))


HOSTILE = "@everyone <@1> <@&2> <#3> [x](http://evil.example) **b** ||s|| `c` entry"


def test_what_an_alert_says_is_escaped_and_pings_nobody(room: Any, ann: int) -> None:
    alert_id, card = room.ask("entry", subaccount="main", interval="60", chart_url="javascript:alert(1)")
    assert "javascript" not in card.text
    with room.store.write() as tx:
        outbox.notify(tx, kind="alarm", text=HOSTILE, alert_id=alert_id, now=room.clock())
        outbox.notify(tx, kind="refused", text=f"{HOSTILE} {PASSPHRASE}", alert_id=None, now=room.clock())
        outbox.notify(
            tx, kind="error", text=f"{HOSTILE} {room.discord.token}", alert_id=None, now=room.clock()
        )
    room.told()
    for text in texts(room, room.discord.errors):
        assert "@everyone" not in text
        assert "<@" not in text
        assert "<#3>" not in text
        assert PASSPHRASE not in text
        assert room.discord.token not in text
    assert "\\*\\*b" in texts(room, room.discord.errors)[0]


def test_the_bot_fetches_no_chart_url_either(room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[object] = []
    look_up = socket.getaddrinfo

    def note(host: Any, *rest: Any, **more: Any) -> Any:
        looked_up.append(host)
        return look_up(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", note)
    _, card = room.ask("entry", chart_url="https://charts.example.com/x")
    room.told()
    assert "(https://charts.example.com/x)" in card.text
    assert "charts.example.com" not in looked_up


def test_discord_is_down_for_a_minute_and_nothing_is_lost(room: Any, ann: int) -> None:
    """A minute of the desk's clock; the bot's own patience is short here."""
    room.told()
    room.discord.down()
    first = room.send("entry", **LONG)
    asked = room.send(
        "entry", ticker="ETHUSDT.P", route=Route.STUDY, action="buy", price="3000", **{"long SL": "2900"}
    )
    room.clock.advance(60)
    room.settle()
    control.halt(room.store, reason="news", by="web", now=room.clock())
    control.resume(room.store, by="web", now=room.clock())
    room.discord.up()
    room.shows(room.discord.card(first), "open")
    card = room.discord.card(asked, reactions=2)
    room.discord.card("Resumed by web")
    room.discord.tap(ann, card, YES)
    room.voted(asked)
    assert room.status(asked) == "DONE"
    assert sum(asked in text for text in texts(room, room.discord.main)) == 1


@pytest.mark.parametrize(
    ("status", "after"),
    [
        # discord.py waits a second before it tries a 502 again.
        pytest.param(502, False, marks=pytest.mark.slow),
        pytest.param(502, True, marks=pytest.mark.slow),
        (503, True),
    ],
)
def test_an_answer_that_is_lost_doubles_nothing(room: Any, status: int, after: bool) -> None:
    room.discord.fault("POST", "/messages$", status, after=after)
    room.discord.fault("PUT", "/reactions/", status, after=after)
    alert_id, card = room.ask()
    room.told()
    assert [text for text in texts(room, room.discord.main) if alert_id in text] == [card.text]


def test_an_answer_that_never_comes_is_not_waited_for(room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaker, "PATIENCE", 0.3)
    room.told()
    room.discord.fault("POST", "/messages$", 0)
    room.discord.fault("PUT", "/reactions/", 0)
    alert_id, card = room.ask()
    room.told()
    assert [text for text in texts(room, room.discord.main) if alert_id in text] == [card.text]


def test_rate_limits_are_waited_for(room: Any) -> None:
    room.discord.throttle("POST", "/messages$", 0.05, times=2)
    room.discord.throttle("PUT", "/reactions/", 0.05, everywhere=True)
    alert_id, card = room.ask()
    room.told()
    assert [text for text in texts(room, room.discord.main) if alert_id in text] == [card.text]
    assert len(card.reactions) == 2


def test_a_channel_that_is_closed_is_replaced_by_the_main_one(room: Any) -> None:
    room.discord.forbidden.add(("send", room.discord.errors))
    room.post("entry", action="buy", price="42000")
    room.discord.card("An alert was refused and not traded")


def test_without_threads_the_card_says_it_all(room: Any) -> None:
    room.discord.forbidden.add(("thread", room.discord.main))
    alert_id = room.send("entry", **LONG)
    room.shows(room.discord.card(alert_id), "open", "Filled: 2 at 42000")
    room.price("41400")
    room.shows(room.discord.card(alert_id), "closed")


def test_a_thread_that_cannot_be_written_to_is_done_without(room: Any) -> None:
    alert_id = room.send("entry", **LONG)
    card = room.discord.card(alert_id)
    room.shows(card, "open")
    room.told()
    room.discord.forbidden.add(("send", card.id))
    room.price("41400")
    room.shows(card, "closed")
    room.told()
    assert not any("**filled**" in text for text in texts(room, room.discord.main))


def test_a_thread_that_exists_already_is_found(room: Any) -> None:
    room.discord.fault("POST", "/threads$", 503, after=True)
    card = room.discord.card(room.send("entry", **LONG))
    room.hears(card.id, "**filled**", "**done**")


def test_a_discord_that_has_no_threads_is_not_asked_for_ever(room: Any) -> None:
    room.discord.fault("POST", "/threads$", 503, times=99)
    card = room.discord.card(room.send("entry", **LONG))
    room.discord.until(lambda: room.discord.calls("POST", f"/{card.id}/threads$") == 3)
    room.send("exit")
    room.shows(card, "closed")
    room.told()
    assert room.discord.calls("POST", f"/{card.id}/threads$") == 3


def test_a_card_that_was_deleted_stops_nobody(room: Any) -> None:
    gone = room.discord.card(room.send("entry", **LONG))
    room.told()
    with room.discord.changed:
        del room.discord.messages[gone.id]
    room.price("41400")
    alert_id = room.send("entry", **{**LONG, "price": "42010"})
    room.shows(room.discord.card(alert_id), "open")


def test_a_card_that_discord_refuses_comes_as_a_line(room: Any) -> None:
    room.discord.fault("POST", "/messages$", 400)
    alert_id = room.send("entry", **LONG)
    room.discord.card("entry LONG BTC-USDT-PERP")
    room.told()
    with room.store.read() as tx:
        assert cards.of_alert(tx, alert_id) is not None


def test_a_card_that_cannot_be_drawn_holds_nobody_up(room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of ours in one card: it comes as text, and the next ones as they should."""
    drawn = embeds.card

    def broken(model: Any, *rest: Any) -> Any:
        if model["symbol"].startswith("ETH"):
            raise KeyError("a defect")
        return drawn(model, *rest)

    monkeypatch.setattr(embeds, "card", broken)
    room.send("entry", ticker="ETHUSDT.P", action="buy", price="3000", **{"long SL": "2900"})
    alert_id = room.send("entry", **LONG)
    room.shows(room.discord.card(alert_id), "open")
    room.told()
    assert any("entry BUY ETH-USDT-PERP" in text for text in texts(room, room.discord.main))


def test_a_card_that_cannot_be_followed_holds_nobody_up(room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = room.discord.card(room.send("entry", **LONG))
    room.told()
    drawn = embeds.card

    def broken(model: Any, *rest: Any) -> Any:
        if model["id"] in first.text:
            raise KeyError("a defect")
        return drawn(model, *rest)

    monkeypatch.setattr(embeds, "card", broken)
    alert_id = room.send("exit")
    room.shows(room.discord.card(alert_id), "done")


def test_a_day_of_silence_is_told_as_a_number(make_room: Callable[..., Any]) -> None:
    room = make_room()
    room.send("entry", **LONG)
    room.clock.advance(timedelta(hours=25))
    control.halt(room.store, reason="news", by="web", now=room.clock())
    room.start_bot()
    room.discord.card("notices of more than a day ago were not told")
    room.discord.card("Halted by web: news")
    room.told()
    assert not any("LONG" in text for text in texts(room, room.discord.main))


def test_old_lines_of_the_log_go(make_room: Callable[..., Any]) -> None:
    room = make_room()
    with room.store.write() as tx:
        outbox.notify(tx, kind="log", text="long ago", alert_id=None, now=room.clock())
        (notice,) = outbox.unposted(tx, 9)
        outbox.posted(tx, notice.seq, room.clock())
    room.clock.advance(timedelta(days=8))
    room.start_bot()

    def gone() -> bool:
        with room.store.read() as tx:
            return not tx.exec_driver_sql("SELECT count(*) FROM notices WHERE kind = 'log'").scalar_one()

    room.discord.until(gone)


def test_a_finished_alert_is_looked_at_no_more(room: Any) -> None:
    alert_id = room.send("entry", **LONG)
    room.shows(room.discord.card(alert_id), "open")
    room.send("exit")
    room.shows(room.discord.card(alert_id), "closed")

    def at_rest() -> bool:
        room.clock.advance(25)
        with room.store.read() as tx:
            return not getattr(cards.of_alert(tx, alert_id), "live", True)

    room.discord.until(at_rest)


def test_the_bot_says_that_it_lives_as_long_as_it_is_there(room: Any) -> None:
    def beat() -> Any:
        with room.store.read() as tx:
            return switches.last_beat(tx, "bot")

    assert room.discord.until(beat) is not None
    assert room.alert(room.send("tp1"))["status"] == "IGNORED"


def test_dropped_connections_are_taken_up_again(room: Any, ann: int) -> None:
    alert_id, card = room.ask()
    gateway = room.discord.gateway
    gateway.ask_to_reconnect()
    room.discord.until(lambda: gateway.resumed >= 1, what="a resume")
    gateway.break_off(4000)
    room.discord.until(lambda: gateway.resumed >= 2, what="a second resume")
    room.discord.tap(ann, card, YES)
    room.voted(alert_id)
    assert room.status(alert_id) == "DONE"
    assert gateway.identified == 1


def test_a_reaction_during_a_gap_is_replayed(room: Any, ann: int) -> None:
    alert_id, card = room.ask()
    gateway = room.discord.gateway
    gateway.ask_to_reconnect()
    room.discord.tap(ann, card, YES)
    room.voted(alert_id)
    assert room.status(alert_id) == "DONE"


@pytest.mark.slow  # discord.py takes its time before it identifies anew
def test_a_session_that_is_gone_loses_no_vote(room: Any, ann: int) -> None:
    alert_id, card = room.ask()
    gateway = room.discord.gateway
    gateway.invalidate(resumable=False)
    room.discord.tap(ann, card, YES)
    room.voted(alert_id)
    assert room.status(alert_id) == "DONE"
    # The vote may have been read before the bot was back.
    room.discord.until(lambda: gateway.connected == 1, what="the bot, back")


def test_heartbeats_are_answered(make_room: Callable[..., Any]) -> None:
    room = make_room()
    room.discord.gateway.heartbeat_ms = 60
    room.start_bot()
    room.discord.until(lambda: room.discord.gateway.heartbeats > 3)


def test_the_bots_own_messages_are_no_commands(room: Any) -> None:
    room.discord.post(BOT, room.discord.main, {"content": "!ping", "allowed_mentions": {"parse": []}})
    room.send("tp1")
    room.discord.card("💬 tp1")
    room.told()
    assert not any("pong" in text for text in texts(room, room.discord.main))


def test_a_chart_for_a_channel_that_is_gone_holds_nobody_up(room: Any) -> None:
    """The thread in which somebody asked was deleted before the chart came."""
    gone = room.discord.channel("gone")
    with room.discord.changed:
        del room.discord.channels[gone]
    data = json.dumps({"channel_id": gone, "symbol": "BTC-USDT-PERP", "exchange": "X", "interval": "15"})
    with room.store.write() as tx:
        outbox.notify(tx, kind="chart", text="a chart", alert_id=None, now=room.clock(), data=data)
    alert_id = room.send("entry", **LONG)
    room.told()
    room.discord.card("No chart of a chart")
    room.shows(room.discord.card(alert_id), "open")


def test_what_cannot_be_told_now_keeps_no_card_from_following(room: Any, ann: int) -> None:
    alert_id, card = room.ask()
    room.told()
    room.discord.fault("POST", "/messages$", 503, times=10**6)
    room.send("tp1")
    room.discord.tap(ann, card, NO)
    room.voted(alert_id)
    room.shows(card, "declined, not traded")


@pytest.mark.parametrize("path", ["/messages$", "/reactions/"])
def test_what_discord_never_takes_holds_nobody_up(room: Any, path: str) -> None:
    """As for words that it blocks, or where twenty reactions stand under a card already."""
    room.discord.fault("*", path, 400, times=10**6)
    asked = room.send("entry", route=Route.STUDY, **LONG)
    room.told()
    with room.discord.changed:
        room.discord.rest.faults.clear()
    alert_id = room.send("entry", ticker="ETHUSDT.P", action="buy", price="3000", **{"long SL": "2900"})
    room.shows(room.discord.card(alert_id), "open")
    assert room.status(asked) == "AWAITING_APPROVAL"


@pytest.mark.parametrize("trouble", ["attach", "upload"])
def test_where_no_file_can_be_attached_the_question_is_put(
    make_room: Callable[..., Any], exchange: Server, ann: int, trouble: str
) -> None:
    """For want of a permission, or since Discord takes none for a while."""
    room = make_room(DISCORD_APPROVERS=str(ann), BINANCE_API_URL=exchange.url)
    room.discord.forbidden.add((trouble, room.discord.main))
    room.start_bot()
    alert_id, card = room.ask(interval="15")
    assert card.attachments == []
    room.discord.tap(ann, card, YES)
    room.voted(alert_id)
    room.shows(card, "open")


def test_a_card_that_came_as_a_line_is_a_card_as_soon_as_it_may(room: Any, ann: int) -> None:
    room.discord.fault("POST", "/messages$", 400)
    alert_id, card = room.ask()
    assert "waits for a yes" in card.content
    room.discord.tap(ann, card, NO)
    room.voted(alert_id)
    room.shows(card, "declined, not traded")
    assert "waits for a yes" not in card.text


def test_a_card_that_is_refused_when_it_changes_says_it_in_a_line(room: Any, ann: int) -> None:
    alert_id, card = room.ask()
    room.discord.fault("PATCH", f"/{card.id}$", 400)
    room.discord.tap(ann, card, NO)
    room.voted(alert_id)
    room.shows(card, "declined, not traded")
    assert "waits for a yes" not in card.text


def test_a_card_that_could_not_be_changed_is_changed_later(room: Any, ann: int) -> None:
    alert_id, card = room.ask()
    room.told()
    room.discord.fault("PATCH", f"/{card.id}$", 403)
    room.discord.tap(ann, card, NO)
    room.voted(alert_id)
    room.discord.until(lambda: room.discord.calls("PATCH", f"/{card.id}$"))

    def see() -> bool:
        room.clock.advance(25)
        return "declined by ann" in card.text

    room.discord.until(see, what=card.text)


def test_a_question_does_not_wait_for_lines_of_the_log(make_room: Callable[..., Any]) -> None:
    """Hundreds of lines before it, of two kinds in turn: Discord takes five messages in five seconds."""
    room = make_room()
    with room.store.write() as tx:
        for number in range(300):
            kind = "log" if number % 2 else "error"
            outbox.notify(tx, kind=kind, text=f"line {number}", alert_id=None, now=room.clock())
    alert_id = room.send("entry", route=Route.STUDY, **LONG)
    room.start_bot()
    card = room.discord.card(alert_id, reactions=2)
    room.told()
    lines = texts(room, room.discord.logs) + texts(room, room.discord.errors)
    assert len(lines) < 25
    assert all(f"line {number}\n" in "".join(lines) for number in range(300))
    assert all(message.id > card.id for message in room.discord.in_channel(room.discord.logs))


def test_the_name_of_a_thread_keeps_secrets_as_well(room: Any) -> None:
    room.send("entry", **LONG)
    alert_id = room.send(f"{room.discord.token} breakeven", **{"long Breakeven": "41800"})
    card = room.discord.card(alert_id)
    thread = room.discord.until(lambda: room.discord.channels.get(card.id))
    assert "breakeven BTC-USDT-PERP" in thread["name"]
    assert room.discord.token not in thread["name"] + card.text
