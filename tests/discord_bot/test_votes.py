"""A card, a tap, a trade: who may vote, what decides, and what the card says afterwards."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from desk import control
from discord_bot import speaker
from store import outbox
from tests.desk.conftest import LONG
from tests.discord_bot.fake.world import BOT, NO, YES
from tests.emulator.server import Server
from trading.model import Route


@pytest.mark.parametrize("room_url", ["sqlite", "postgres"], indirect=True)
def test_a_yes_trades_and_the_card_follows(room: Any, ann: int) -> None:
    alert_id, card = room.ask()
    assert "waits for a yes" in card.text
    for words in ("41500", "42500  ×  0.5  (1 R)", "43500  ×  1  (3 R)", "1000 USDT (1 %)", "expires <t:"):
        assert words in card.text
    room.discord.tap(ann, card, YES)
    room.voted(alert_id)
    assert room.status(alert_id) == "DONE"
    assert room.position().quantity == 2
    room.shows(card, "entry LONG BTC-USDT-PERP: open", "approved by ann", "Filled: 2 at 42000", "slippage 0")

    room.send("breakeven", **{"long Breakeven": "42100"})
    room.price("42600")
    room.send("breakeven", id="again", **{"long Breakeven": "42100"})
    room.shows(card, "Stop now: 42100", "Open: 1.5")
    room.send("exit")
    room.shows(card, "closed", "Closed at", "P&L: ")
    room.hears(card.id, "approved by ann", "**sized**", "**fill** BUY 2 at 42000", "**moved**", "**closed**")


def test_the_card_has_a_chart(make_room: Callable[..., Any], exchange: Server, ann: int) -> None:
    room = make_room(DISCORD_APPROVERS=str(ann), BINANCE_API_URL=exchange.url)
    room.start_bot()
    alert_id, card = room.ask(interval="15", chart_url="https://www.tradingview.com/x/AbC123/")
    (picture,) = card.attachments
    png = room.discord.files[picture["url"].partition(str(room.discord.port))[2]]
    image = Image.open(BytesIO(png))
    assert (image.format, image.width) == ("PNG", 1200)
    assert len(png) < 300_000
    assert len(image.convert("RGB").getcolors(2**20) or []) > 20
    assert "https://www.tradingview.com/x/AbC123/" in card.text
    assert "No chart" not in card.text
    room.discord.tap(ann, card, YES)
    room.voted(alert_id)
    room.shows(card, "open")
    assert card.attachments == [picture]


def test_a_card_without_candles_says_so(room: Any) -> None:
    _, card = room.ask()
    assert "No chart: the exchange does not answer" in card.text
    assert card.attachments == []


def test_a_no_declines(room: Any, ann: int) -> None:
    alert_id, card = room.ask()
    room.discord.tap(ann, card, NO)
    room.voted(alert_id)
    assert room.status(alert_id) == "DECLINED"
    room.shows(card, "declined, not traded", "declined by ann")
    assert room.position().is_flat


def test_a_role_may_vote(room: Any, bob: int) -> None:
    alert_id, card = room.ask()
    room.discord.tap(bob, card, YES)
    room.voted(alert_id)
    assert room.status(alert_id) == "DONE"


def test_a_strangers_reaction_is_taken_away_and_told(room: Any, eve: int, ann: int) -> None:
    alert_id, card = room.ask()
    room.discord.tap(eve, card, YES)
    room.discord.until(lambda: eve not in card.reactions[YES])
    letter = room.discord.until(lambda: next(iter(room.discord.in_channel(direct(room, eve))), None))
    assert "DISCORD_APPROVERS" in letter.content
    assert room.status(alert_id) == "AWAITING_APPROVAL"

    room.discord.closed_doors.add(eve)
    room.discord.tap(eve, card, NO)
    room.discord.card("eve: Your reaction was taken away")
    room.discord.tap(ann, card, YES)
    room.voted(alert_id)
    assert room.status(alert_id) == "DONE"


def direct(room: Any, user: int) -> int:
    return int(room.discord.direct(user)["id"])


def test_where_reactions_cannot_be_taken_away_they_count_no_more(room: Any, eve: int) -> None:
    alert_id, card = room.ask()
    room.discord.forbidden.add(("manage", room.discord.main))
    room.discord.tap(eve, card, YES)
    room.discord.until(lambda: room.discord.in_channel(direct(room, eve)))
    room.settle()
    assert room.status(alert_id) == "AWAITING_APPROVAL"


def test_without_approvers_nobody_votes(make_room: Callable[..., Any], ann: int) -> None:
    room = make_room()
    room.start_bot()
    alert_id, card = room.ask()
    room.discord.tap(ann, card, YES)
    room.discord.until(lambda: ann not in card.reactions[YES])
    assert room.status(alert_id) == "AWAITING_APPROVAL"


def test_nobody_votes_and_the_card_says_so(room: Any, ann: int) -> None:
    alert_id, card = room.ask()
    room.clock.advance(300)
    room.settle()
    room.shows(card, "expired, not traded", "nobody approved it within 300 s")
    room.discord.tap(ann, card, YES)
    letter = room.discord.until(lambda: next(iter(room.discord.in_channel(direct(room, ann))), None))
    assert "it does not wait any more: EXPIRED" in letter.content
    room.settle()
    assert room.status(alert_id) == "EXPIRED"
    assert room.position().is_flat


def test_a_price_that_ran_away_is_not_followed(room: Any, ann: int) -> None:
    alert_id, card = room.ask()
    room.price("42260")
    room.discord.tap(ann, card, YES)
    room.voted(alert_id)
    room.shows(card, "refused, not traded", "the price moved from 42000 to 42260")
    assert room.status(alert_id) == "DENIED"


def test_halt_counts_at_the_vote(room: Any, ann: int) -> None:
    alert_id, card = room.ask()
    control.halt(room.store, reason="news", by="web", now=room.clock())
    room.discord.tap(ann, card, YES)
    room.voted(alert_id)
    room.shows(card, "refused, not traded", "trading is halted")
    room.discord.card("Halted by web: news")


def test_limits_and_size_count_at_the_vote(make_room: Callable[..., Any], ann: int) -> None:
    room = make_room(DISCORD_APPROVERS=str(ann), LIMITS_MAIN='{"max_open_positions": 1}')
    room.start_bot()
    alert_id, card = room.ask()
    room.send("entry", ticker="ETHUSDT.P", action="buy", price="3000", **{"long SL": "2900"})
    room.discord.tap(ann, card, YES)
    room.voted(alert_id)
    room.shows(card, "refused, not traded", "max")
    assert room.position().is_flat


def test_two_people_decide_once(room: Any, ann: int, bob: int) -> None:
    alert_id, card = room.ask()
    room.discord.tap(ann, card, YES)
    room.discord.tap(bob, card, NO)
    room.voted(alert_id, votes=2)
    with room.store.read() as tx:
        first = outbox.votes(tx, alert_id)[0]
    assert room.status(alert_id) == ("DONE" if first.approve else "DECLINED")
    assert room.entered(alert_id) == (2 if first.approve else 0)


@pytest.mark.parametrize("room_url", ["sqlite", "postgres"], indirect=True)
def test_two_bots_ask_once_and_vote_once(room: Any, ann: int) -> None:
    room.start_bot()
    alert_id, card = room.ask()
    room.discord.tap(ann, card, YES)
    room.voted(alert_id)
    room.shows(card, "open")
    room.told()
    cards = [message for message in room.discord.in_channel(room.discord.main) if alert_id in message.text]
    assert cards == [card]
    with room.store.read() as tx:
        assert len(outbox.votes(tx, alert_id)) == 1
    assert room.entered(alert_id) == 2


def test_the_web_and_discord_decide_once(room: Any, ann: int) -> None:
    alert_id, card = room.ask()
    control.vote(room.store, intent_id=alert_id, approve=False, voter="web", now=room.clock())
    room.discord.tap(ann, card, YES)
    room.voted(alert_id, votes=2)
    assert room.status(alert_id) == "DECLINED"
    room.shows(card, "declined by web")


def test_a_vote_made_while_the_bot_was_away_is_read_at_its_return(room: Any, ann: int, eve: int) -> None:
    alert_id, card = room.ask()
    room.stop_bots()
    room.discord.tap(eve, card, NO)
    room.discord.tap(ann, card, YES)
    room.settle()
    assert room.status(alert_id) == "AWAITING_APPROVAL"
    room.start_bot()
    room.voted(alert_id)
    assert room.status(alert_id) == "DONE"
    room.shows(card, "approved by ann")
    assert eve not in card.reactions[NO]


def test_a_vote_made_while_the_bot_was_away_comes_too_late(room: Any, ann: int) -> None:
    alert_id, card = room.ask()
    room.stop_bots()
    room.discord.tap(ann, card, YES)
    room.clock.advance(301)
    room.settle()
    room.start_bot()
    room.shows(card, "expired, not traded")
    assert room.status(alert_id) == "EXPIRED"


def test_who_cannot_be_looked_up_is_nobody_and_stops_nobody(room: Any, ann: int, eve: int) -> None:
    alert_id, card = room.ask()
    room.stop_bots()
    room.discord.tap(eve, card, NO)
    room.discord.tap(ann, card, YES)
    for path in ("/members/", "/users/"):
        room.discord.fault("GET", f"{path}{eve}$", 404, times=99)
    room.discord.fault("POST", "/users/@me/channels$", 403, times=99)
    room.start_bot()
    room.voted(alert_id)
    assert room.status(alert_id) == "DONE"
    room.discord.card("eve: Your reaction was taken away")


def test_where_nobody_knows_which_came_first_a_no_counts(room: Any, ann: int, bob: int) -> None:
    alert_id, card = room.ask()
    room.stop_bots()
    room.discord.tap(ann, card, YES)
    room.discord.tap(bob, card, NO)
    room.start_bot()
    room.voted(alert_id, votes=2)
    assert room.status(alert_id) == "DECLINED"


def test_a_reaction_that_is_no_vote_means_nothing(room: Any, ann: int) -> None:
    alert_id, card = room.ask()
    other = room.discord.say(ann, "what about this?")
    room.discord.tap(ann, other, YES)
    room.discord.tap(ann, card, "\N{THUMBS UP SIGN}")
    room.discord.tap(ann, card, NO)
    room.voted(alert_id)
    with room.store.read() as tx:
        assert [vote.approve for vote in outbox.votes(tx, alert_id)] == [False]


@pytest.mark.parametrize("message", ["exit", "breakeven"])
def test_what_is_no_entry_is_asked_as_well(room: Any, ann: int, message: str) -> None:
    room.send("entry", action="buy", price="42000", **{"long SL": "41500"})
    alert_id, card = room.ask(message, **{"long Breakeven": "41800"})
    assert "waits for a yes" in card.text
    room.discord.tap(ann, card, YES)
    room.voted(alert_id)
    assert room.status(alert_id) == "DONE"
    room.shows(card, "done")


def test_who_is_quicker_than_discords_answer_has_voted(room: Any, ann: int) -> None:
    """The card is seen, and answered to, before the bot is told which message it is."""
    room.discord.fault("POST", "/messages$", 503, times=2, after=True)
    alert_id = room.send("entry", route=Route.STUDY, **LONG)
    card = room.discord.card(alert_id)
    room.discord.tap(ann, card, YES)
    room.voted(alert_id)
    assert room.status(alert_id) == "DONE"


def test_a_vote_is_read_though_the_bots_own_reaction_came_between(
    room: Any, ann: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message counts one, and by the time that it is asked who that is, the bot stands before her."""
    alert_id, card = room.ask()
    room.stop_bots()
    for emoji in (YES, NO):
        room.discord.unreact(BOT, card, emoji)
    room.discord.tap(ann, card, YES)
    listed = room.discord.rest._reactions

    def late(*asked: Any) -> Any:
        room.discord.react(BOT, card, YES)
        return listed(*asked)

    routes = [(*route[:2], late if route[2] == listed else route[2]) for route in room.discord.rest._routes]
    monkeypatch.setattr(room.discord.rest, "_routes", routes)
    room.start_bot()
    room.voted(alert_id)
    assert room.status(alert_id) == "DONE"


def test_a_card_whose_answer_never_comes_is_read_again(
    room: Any, ann: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speaker, "PATIENCE", 0.3)
    alert_id, card = room.ask()
    room.stop_bots()
    room.discord.tap(ann, card, YES)
    room.discord.fault("GET", f"/messages/{card.id}$", 0)
    room.start_bot()
    room.voted(alert_id)
    assert room.status(alert_id) == "DONE"


def test_what_cannot_be_taken_away_or_read_keeps_no_vote_from_counting(room: Any, ann: int, eve: int) -> None:
    first, _ = room.ask()
    alert_id, card = room.ask(subaccount="other")
    room.stop_bots()
    room.discord.tap(eve, card, NO)
    room.discord.tap(ann, card, YES)
    room.discord.fault("DELETE", f"/{card.id}/reactions/", 400, times=99)
    room.discord.fault("GET", f"/messages/{room.discord.card(first).id}$", 503, times=99)
    room.start_bot()
    room.voted(alert_id)
    assert room.status(alert_id) == "DONE"
    assert room.status(first) == "AWAITING_APPROVAL"


def test_targets_are_told_as_they_were_sized_at_the_yes(room: Any, ann: int) -> None:
    """Another trade has taken half of the collateral meanwhile."""
    alert_id, card = room.ask()
    assert "42500  ×  0.5  (1 R)" in card.text
    room.send("entry", ticker="ETHUSDT.P", action="buy", price="3000", **{"long SL": "2990"})
    room.discord.tap(ann, card, YES)
    room.voted(alert_id)
    room.shows(card, ": open")
    targets = [order for order in room.alert(alert_id)["orders"] if order["role"] == "target"]
    assert targets[0]["quantity"] != "0.5"
    for order in targets:
        assert f"{order['price']}  ×  {order['quantity']}  (" in card.text


def test_where_nothing_can_be_told_votes_are_read(room: Any, ann: int) -> None:
    alert_id, card = room.ask()
    room.told()
    room.stop_bots()
    room.discord.tap(ann, card, YES)
    room.discord.throttle("POST", "/messages$", 300.0, times=99)
    room.send("tp1")
    room.start_bot()
    room.voted(alert_id)
    assert room.status(alert_id) == "DONE"


def test_a_role_votes_also_while_the_gateway_has_not_told_the_server(room: Any, bob: int) -> None:
    alert_id, card = room.ask()
    room.stop_bots()
    room.discord.tap(bob, card, YES)
    room.discord.gateway.tells_guild = False
    room.start_bot()
    room.voted(alert_id)
    assert room.status(alert_id) == "DONE"


def test_what_is_over_before_it_could_be_asked_bears_no_reactions(make_room: Callable[..., Any]) -> None:
    room = make_room()
    alert_id = room.send("entry", route=Route.STUDY, **LONG)
    room.clock.advance(301)
    room.settle()
    room.start_bot()
    card = room.discord.card(alert_id)
    room.told()
    assert "expired, not traded" in card.text
    assert card.reactions == {}
