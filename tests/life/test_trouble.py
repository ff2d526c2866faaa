"""Trouble that outlives a request: a clock that was ahead, a ban of days, an instrument that nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from desk.settings import load
from store import orders, outbox
from tests.life.scenarios import LADDER, LONG, SHORT, SPOTS, VENUES
from tests.life.test_crashes import Killed, mortal
from tests.life.test_life import FILLS
from trading.model import Lane, Side

Lives = Callable[..., Any]

AHEAD = timedelta(seconds=30)
#: The request that the trouble comes with, by its number among those that write.
JUMPS = [("BINANCE", "entry", 1), ("BINANCE", "entry", 2), ("BINANCE", "exit", 1), ("BYBIT", "exit", 1)]
BANS = [
    ("BINANCE", "entry", 2),
    ("BINANCE", "entry", 3),
    ("BINANCE", "exit", 2),
    ("BYBIT", "exit", 2),
    ("BINANCE_SPOT", "entry", 2),
    ("BYBIT_SPOT", "exit", 2),
]
CANCELS = {"BINANCE_SPOT": "DELETE /api/v3/order", "BYBIT_SPOT": "POST /v5/order/cancel"}
UNKNOWN = {"FTX": "FOOPERP"} | dict.fromkeys(SPOTS, "FOOUSDT")


def on_stage(life: Any, message: str) -> dict[str, str]:
    """What an alert of this kind needs before it, and its fields."""
    if message == "entry":
        return LONG
    life.send("entry", **LONG)
    life.price("42600")
    return {}


def before_request(life: Any, number: int, act: Callable[[], None]) -> None:
    left = [number]

    def around(what: str) -> None:
        if what.startswith("request"):
            left[0] -= 1
            if left[0] == 0:
                act()

    life.transport.around = around


@pytest.mark.parametrize(("venue", "message", "number"), JUMPS)
def test_a_clock_that_was_set_ahead_holds_nothing_up(
    lives: Lives, venue: str, message: str, number: int
) -> None:
    """What is dated ahead is refused, and so proved absent: it is not waited for until its time comes."""
    life = lives(venue)
    fields = on_stage(life, message)

    def jump() -> None:
        life.clock.advance(AHEAD.total_seconds())
        life.engine.skew -= AHEAD

    before_request(life, number, jump)
    alert_id = life.send(message, **fields)
    life.wait(4)
    assert life.status(alert_id) == "DONE", life.alert(alert_id)
    assert bool(life.tradable) is (message == "entry")
    life.check()


@pytest.mark.parametrize(("venue", "message", "number"), BANS)
def test_a_ban_of_days_is_over_where_the_next_process_is_not_banned(
    lives: Lives, venue: str, message: str, number: int
) -> None:
    life = lives(venue)
    fields = on_stage(life, message)

    def ban() -> None:
        life.server._banned_until = life.engine.now() + timedelta(days=3)

    before_request(life, number, ban)
    alert_id = life.send(message, **fields)
    life.wait(4)
    asked = len(life.server.log)
    life.wait(200, step=20)
    # What is banned here asks nobody, and a person knows.
    assert len(life.server.log) == asked
    with life.store.read() as tx:
        told = [note.text for note in outbox.unposted(tx, 200) if "takes nothing from this" in note.text]
    assert len(told) == 1, told
    life.server._banned_until = None
    life.die()
    life.settle()
    life.wait(120, step=4)
    assert life.status(alert_id) in ("DONE", "FAILED", "EXPIRED"), life.alert(alert_id)
    if message == "exit":
        assert life.status(alert_id) == "DONE"
        assert not life.tradable
    life.check()


@pytest.mark.parametrize("venue", [*VENUES, *SPOTS])
def test_an_instrument_that_the_venue_does_not_know_ends_every_alert(lives: Lives, venue: str) -> None:
    life = lives(venue)
    ticker = UNKNOWN.get(venue, "FOOUSDT.P")
    for message, fields in (("exit", {}), ("entry", LONG), ("breakeven", {}), ("exit", {})):
        alert_id = life.send(message, **fields, ticker=ticker)
        life.wait(3)
        assert life.status(alert_id) == "FAILED", life.alert(alert_id)
        assert "is not traded there" in life.alert(alert_id)["reason"]


def test_the_fills_of_a_first_entry_are_found_however_long_nobody_was_there(lives: Lives) -> None:
    """The process dies between the entry, of which it has written down that it filled, and its stop."""
    life = lives("BINANCE")
    life.store_only("entry", **LONG)
    with mortal(life) as watched:
        life.settle()
    planned = watched.points.index("request POST /fapi/v1/algoOrder") - 1
    life = lives("BINANCE")
    alert_id = life.store_only("entry", **LONG)
    with mortal(life, planned), pytest.raises(Killed):
        life.settle()
    assert life.position == 2
    life.clock.advance(45)
    life.die()
    life.settle()
    life.wait(12)
    life.check()
    assert "fill" in [event["event"] for event in life.alert(alert_id)["timeline"]]
    with life.store.read() as tx:
        assert "drift" not in [notice.kind for notice in outbox.unposted(tx, 50)]


@pytest.mark.parametrize(("venue", "cancel"), CANCELS.items())
def test_what_was_to_follow_a_cancel_that_did_not_happen_is_in_no_doubt(
    lives: Lives, venue: str, cancel: str
) -> None:
    life = lives(venue)
    life.send("entry", **LONG)
    life.price("42600")
    life.server.reset_log()
    life.server.fault("throttled", (cancel, 1))
    alert_id = life.send("breakeven", **{"long Breakeven": "42010"})
    life.wait(2)
    assert not life.server.unfired
    assert life.status(alert_id) == "DONE", life.alert(alert_id)
    assert {stop.trigger for stop in life.stops()} == {42010}
    life.check()


@pytest.mark.parametrize("venue", ["BYBIT", "FTX"])
def test_more_leverage_than_the_venue_gives_is_not_counted_on(lives: Lives, venue: str) -> None:
    life = lives(venue, LEVERAGE_MAIN="120")
    alert_id = life.send("entry", **LONG | {"long SL": "41995", "long TP": "43000"})
    life.wait(3)
    assert life.status(alert_id) == "DONE", life.alert(alert_id)
    assert life.position > 0
    life.check()


class Unheard:
    """A life at a venue that answers everything but the list of fills."""

    def __init__(self, life: Any) -> None:
        self.life = life
        self.lane = Lane(life.venue, "MAIN", life.market.symbol)

    def begin(self) -> None:
        self.life.server.reset_log()
        for number in range(1, 500):
            self.life.server.fault("error_before", (FILLS[self.life.name], number))

    def end(self) -> None:
        """The list comes back, and the longest that a lane waits for it passes."""
        self.life.server.forget_faults()
        self.life.wait(180, step=20)

    def asked(self) -> int:
        """How many requests for fills there were."""
        return sum(seen.key[0] == FILLS[self.life.name] for seen in self.life.server.log)

    def told(self) -> list[str]:
        with self.life.store.read() as tx:
            return [note.text for note in outbox.unposted(tx, 500) if note.kind in ("drift", "alarm")]

    def books(self) -> tuple[Decimal, Decimal]:
        """The quantity, and the day's P&L."""
        with self.life.store.read() as tx:
            state = orders.lane_state(tx, self.lane)
            since = self.life.clock() - timedelta(hours=12)
            made = orders.realised_since(tx, venue=self.life.venue, account="MAIN", since=since)
        return state.ledger.quantity, made


@pytest.mark.parametrize(("venue", "knows_entry"), [*((venue, True) for venue in VENUES), ("BINANCE", False)])
def test_a_loss_is_booked_however_long_the_list_of_fills_fails(
    lives: Lives, venue: str, knows_entry: bool
) -> None:
    """Also where neither the entry's fills nor the stop's could be had, so that the books look even."""
    here = Unheard(life := lives(venue))
    if not knows_entry:
        here.begin()
    first = life.send("entry", **LONG)
    assert life.status(first) == "DONE", life.alert(first)
    if knows_entry:
        here.begin()
    life.price("41400")
    life.wait(8)
    assert life.position == 0
    assert "closed" in [each["event"] for each in life.alert(first)["timeline"]]
    life.wait(60, step=2)
    life.die()
    before = here.asked()
    life.wait(3600, step=20)
    # A read that fails is tried again at once, a few times.
    assert here.asked() - before < 60 * 5, "it is asked for once a minute"
    (told,) = here.told()
    assert "does not tell what our orders filled at" in told
    here.end()
    quantity, made = here.books()
    assert (quantity, made < -900) == (0, True)
    assert len(here.told()) == 1
    asked = len(life.server.log)
    life.wait(300, step=20)
    assert len(life.server.log) == asked, "nothing is left to ask for"


@pytest.mark.parametrize("venue", VENUES)
def test_trading_goes_on_while_the_list_of_fills_fails(lives: Lives, venue: str) -> None:
    """An exit ends, an entry has its stop, what a person closes is over; the books are right in the end."""
    here = Unheard(life := lives(venue))
    life.send("entry", **LONG)
    here.begin()
    life.price("42100")
    ended = life.send("exit")
    assert (life.status(ended), life.position) == ("DONE", 0), life.alert(ended)
    with life.store.read() as tx:
        assert orders.open_lanes(tx, venue=life.venue, account="MAIN") == []
    life.wait(60, step=20)
    entered = life.send("entry", **SHORT)
    assert life.status(entered) == "DONE", life.alert(entered)
    assert life.position < 0
    life.check()
    life.engine.hand(life.account, life.market.symbol, Side.BUY, abs(life.position), reduce_only=True)
    life.wait(6)
    assert life.resting == []
    here.end()
    assert here.books()[0] == 0
    # A person's fills are on the list too: there was nothing to correct.
    assert not [text for text in here.told() if "by our fills" in text]


@pytest.mark.parametrize("turns", [False, True])
def test_a_stop_leaves_before_its_entrys_fills_are_asked_for(lives: Lives, turns: bool) -> None:
    """Also where the entry closed what was open on the other side before."""
    here = Unheard(life := lives("BINANCE"))
    if turns:
        life.send("entry", **SHORT)
        life.wait(4)
    life.send("entry", **{**LONG, "price": "41900"}, type="limit")
    life.wait(2)
    here.begin()
    life.price("41850")
    paths = [seen.key[0] for seen in life.server.log]
    assert paths.index("POST /fapi/v1/algoOrder") < paths.index(FILLS["BINANCE"])
    life.check()


@pytest.mark.parametrize("venue", SPOTS)
def test_coins_whose_fills_cannot_be_had_are_looked_at_as_often_as_any(lives: Lives, venue: str) -> None:
    here = Unheard(life := lives(venue))
    here.begin()
    alert_id = life.send("entry", **LONG)
    assert life.covered()
    life.wait(10, step=0.25)
    before, asked = len(life.server.log), here.asked()
    life.wait(60, step=0.25)
    assert life.covered()
    # A look every two seconds; a read that fails is tried again at once, a few times.
    assert here.asked() - asked <= 8 * 3
    assert len(life.server.log) - before < 30 * 5
    here.end()
    assert life.status(alert_id) == "DONE"
    life.check()


@pytest.mark.parametrize("venue", SPOTS)
def test_coins_are_traded_while_their_fills_cannot_be_had(lives: Lives, venue: str) -> None:
    here = Unheard(life := lives(venue))
    life.send("entry", **LONG)
    life.wait(4)
    here.begin()
    for _ in range(2):
        ended = life.send("exit")
        life.wait(12, step=0.5)
        assert (life.status(ended), life.tradable) == ("DONE", 0), life.alert(ended)
        life.check()
        with life.store.read() as tx:
            assert orders.open_lanes(tx, venue=life.venue, account="MAIN") == []
        entered = life.send("entry", **LONG, size="1")
        life.wait(12, step=0.5)
        assert life.status(entered) == "DONE", life.alert(entered)
        assert life.entered(entered) == 1
        life.check()
    life.send("exit")
    life.wait(12, step=0.5)
    here.end()
    assert here.books()[0] == 0
    assert life.coins.total("BTC") >= life.own
    assert not [text for text in here.told() if "our fills make" in text]
    asked = len(life.server.log)
    life.wait(300, step=20)
    assert len(life.server.log) == asked, "nothing is left to ask for"


@pytest.mark.parametrize("venue", SPOTS)
def test_coins_have_their_stop_before_their_fills_are_told(lives: Lives, venue: str) -> None:
    here = Unheard(life := lives(venue))
    alert_id = life.send("entry", **{**LONG, "price": "41900"}, **LADDER, type="limit")
    life.wait(2)
    here.begin()
    life.engine.move(life.market.symbol, Decimal(41850))
    life.wait(3)
    assert life.tradable > 2
    assert life.covered()
    life.wait(30)
    assert life.tradable > 2
    assert life.covered()
    here.end()
    assert life.tradable > 2
    assert "close" not in {order["role"] for order in life.alert(alert_id)["orders"]}
    life.check()


#: What is left out at a start, and what people are told to set.
AWAY = {"LIVE_TRADING": "LIVE_TRADING=1", "API_KEY_MAIN": "set API_KEY_MAIN and API_SECRET_MAIN"}


@pytest.mark.parametrize(
    ("venue", "without"), [("BINANCE", "LIVE_TRADING"), ("FTX", "LIVE_TRADING"), ("BYBIT", "API_KEY_MAIN")]
)
def test_a_lane_that_a_start_may_not_trade_is_told_once_and_looked_after_at_the_next(
    lives: Lives, venue: str, without: str
) -> None:
    """A limit entry rests; it fills while nothing may be sent, and gets its stop when that is over."""
    life = lives(venue)
    life.send("entry", **{**LONG, "price": "41900"}, type="limit")
    life.wait(3)
    full, away = life.settings, {without, without.replace("KEY", "SECRET")}
    life.settings = load({name: value for name, value in life.environ.items() if name not in away})
    life.die()
    life.server.reset_log()
    life.engine.move(life.market.symbol, Decimal(41850))
    life.wait(60, step=3)
    assert life.server.log == []
    with life.store.read() as tx:
        told = [note.text for note in outbox.unposted(tx, 500) if "is not looked after" in note.text]
    assert len(told) == 1, told
    assert AWAY[without] in told[0]
    assert told[0].endswith(", or close by hand what is open there")
    life.clock.advance(3 * 86400)
    life.settings = full
    life.die()
    life.wait(4)
    assert life.position > 0
    life.check()
