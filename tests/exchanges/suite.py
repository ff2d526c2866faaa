"""The questions of the contract suite: what every venue's adapter does alike, whatever its dialect.

`cases(fixture)` are all that apply to a venue. What it cannot do stands in its fixture with the reason, and
is all that is left out; `complete(fixture)` sees to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from exchanges import Finding, Look, Terms
from tests.exchanges.contract import (
    KEY,
    NOW,
    ORDERS,
    SECRET,
    Fixture,
    HttpBench,
    perform,
    ready,
    resting,
    signature,
)
from tests.exchanges.paper_bench import PaperBench
from tests.exchanges.scripted import Seen
from trading.errors import (
    Ambiguous,
    BadCredentials,
    DuplicateOrder,
    InsufficientFunds,
    InvalidOrder,
    OrderNotFound,
    Rejected,
    StaleRequest,
    Throttled,
    Unreachable,
    VenueError,
)
from trading.model import (
    Balance,
    Candle,
    Direction,
    Fill,
    InstrumentKind,
    OrderReport,
    OrderStatus,
    OrderType,
    Position,
    Protection,
    Side,
)
from trading.symbols import symbol_of

AnyBench = HttpBench | PaperBench

KINDS: dict[str, type[VenueError]] = {
    "margin": InsufficientFunds,
    "rule": InvalidOrder,
    "reduce_only": InvalidOrder,
    "trigger": InvalidOrder,
    "duplicate": DuplicateOrder,
    "credentials": BadCredentials,
    "stale": StaleRequest,
    "rate": Throttled,
    "ban": Throttled,
    "unknown": Ambiguous,
    "business": Rejected,
    "hedge": InvalidOrder,
}
FAULTS: dict[str, type[VenueError]] = {
    "refused": Unreachable,
    "refused_read": Unreachable,
    "silent": Ambiguous,
    "closed": Ambiguous,
    "http_502": Ambiguous,
    "html": Ambiguous,
    "cut": Ambiguous,
    "cut_short": Ambiguous,
}
PLACES = [act for act in ORDERS if act not in ("exponents", "stranger")]
CANCELS = ["cancel", "cancel_stop", "cancel_report", "cancel_report_stop", "cancel_all"]
POSITIONS = {"flat": "0", "long": "0.010", "short": "-0.010", "exponents": "0.010"}
#: What `order()` must say, by the name of the case: whose order, its status, what was filled at what.
REPORTS: dict[str, tuple[str, OrderStatus, str, str | None]] = {
    "accepted": ("entry_limit", OrderStatus.ACCEPTED, "0", None),
    "partial": ("entry_limit", OrderStatus.PARTIALLY_FILLED, "0.004", "60000"),
    "filled": ("entry_market", OrderStatus.FILLED, "0.010", "61000"),
    "cancelled": ("entry_limit", OrderStatus.CANCELED, "0", None),
    "cancelled_partly": ("entry_limit", OrderStatus.CANCELED, "0.004", "60000"),
    "stop_resting": ("stop", OrderStatus.ACCEPTED, "0", None),
    "stop_filled": ("stop", OrderStatus.FILLED, "0.010", "57990"),
}
NOT_FOUND = ("not_found", "stop_not_found")
CHECKS = ("healthy", "bad_key", "withdraw", "hedge", "stale", "junk")
STATES = (*POSITIONS, "resting", "gone")


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to prove of one venue."""

    name: str
    run: Callable[[AnyBench], None]


def cases(fixture: Fixture) -> Iterator[Case]:
    """All that is asked of a venue, and is not declared impossible."""
    yield from (case for case in _all(fixture) if not any(map(fixture.cannot, _names(case.name))))


def complete(fixture: Fixture) -> None:
    """A fixture has all that is required, or says why not; and says so of nothing else."""
    assert fixture["about"]
    known = {name for case in _all(fixture) for name in _names(case.name)}
    known |= {name for name, _ in required(fixture)}
    known |= {f"{kind} id:{act}" for kind in ("client", "venue") for act in PLACES}
    for what, reason in fixture.part("cannot").items():
        assert what in known, f"nothing is called {what}"
        assert len(reason.split()) > 3, f"{what}: say why"
    for what, has in required(fixture):
        assert has is not fixture.cannot(what), f"{what}: give it or declare it impossible, not both"


def _names(name: str) -> list[str]:
    """`a:b:c` is also an `a:b`, and an `a`."""
    parts = name.split(":")
    return [":".join(parts[: end + 1]) for end in range(len(parts))]


def _all(fixture: Fixture) -> Iterator[Case]:
    plain = (name, capabilities, clock, instrument, max_leverage, price, balance, candles, fills, positions)
    plain += (look, prepare)
    yield from (Case(check.__name__, check) for check in plain)
    for number, vector in enumerate(fixture.part("vectors")):
        yield Case(f"vector:{number}", partial(vectors, vector=vector))
    for row in fixture["symbols"]["trade"]:
        yield Case(f"symbol:{row['ticker']}", partial(traded, row=row))
    for row in fixture["symbols"]["refuse"]:
        yield Case(f"symbol:{row['ticker']}", partial(untraded, row=row))
    for state, quantity in POSITIONS.items():
        yield Case(f"states:{state}", partial(position, state=state, quantity=Decimal(quantity)))
    for act in [*PLACES, "entry_with_stop"]:
        yield Case(f"acts:{act}", partial(place, act=act))
    yield Case("exponents", exponents)
    for act in CANCELS:
        yield Case(f"acts:{act}", partial(cancel, act=act))
        yield Case(f"gone:{act}", partial(cancel, act=act, gone=True))
    for row in fixture["orders"]:
        yield Case(f"orders:{row['name']}", partial(order, row=row))
    for row in fixture["checks"]:
        yield Case(f"checks:{row['name']}", partial(check, row=row))
    for number, row in enumerate(fixture["refusals"]):
        yield Case(f"refusals:{row['kind']}:{number}", partial(refused, row=row))
    for fault in FAULTS:
        for act in ("price",) if fault == "refused_read" else ("entry_market", "stop"):
            yield Case(f"faults:{fault}:{act}", partial(failed, fault=fault, act=act))
    yield Case("faults:echo", partial(failed, fault="echo", act="entry_market"))


def required(fixture: Fixture) -> Iterator[tuple[str, bool]]:
    """Each name that a fixture must have or declare impossible, and whether it has it."""
    for state in STATES:
        yield f"states:{state}", state in fixture["states"]
    for act in [*PLACES, "entry_with_stop", *CANCELS, "look", "prepare"]:
        yield f"acts:{act}", act in fixture["acts"]
    for case in [*REPORTS, *NOT_FOUND]:
        yield f"orders:{case}", any(row["name"] == case for row in fixture["orders"])
    for case in CHECKS:
        yield f"checks:{case}", any(row["name"] == case for row in fixture["checks"])
    for kind in KINDS:
        yield f"refusals:{kind}", any(row["kind"] == kind for row in fixture["refusals"])
    yield "vectors", bool(fixture.part("vectors"))
    yield "symbols:refuse", bool(fixture["symbols"]["refuse"])


# What a venue says of itself


def name(bench: AnyBench) -> None:
    assert bench.exchange.name == bench.fixture.data.get("venue", bench.fixture.name)


def capabilities(bench: AnyBench) -> None:
    wanted, known = bench.fixture["capabilities"], bench.exchange.capabilities(bench.fixture.symbol)
    assert known.protection is Protection(wanted["protection"])
    assert known.receive_window == timedelta(milliseconds=wanted["receive_window_ms"])
    assert known.margin == timedelta(milliseconds=wanted["margin_ms"])
    assert known.taker_fee == Decimal(wanted["taker_fee"])
    assert known.candles is wanted["candles"]
    assert not bench.writes()


def clock(bench: AnyBench) -> None:
    assert bench.exchange.time() == NOW
    bench.forget()
    bench.clock.advance(90)
    assert bench.exchange.time() == NOW + timedelta(seconds=90)
    assert not sent(bench), "the clock was asked for twice"


def vectors(bench: AnyBench, vector: Mapping[str, str]) -> None:
    seen = Seen(
        number=0,
        connection=0,
        method=vector["method"],
        target=vector["target"],
        headers=vector["headers"],  # type: ignore[arg-type]  # a mapping in the fixture
        body=vector["body"].encode(),
    )
    assert signature(bench.fixture["signing"], seen, vector["secret"]) == vector["signature"]


def traded(bench: AnyBench, row: Mapping[str, str]) -> None:
    """From TradingView's ticker to the venue's own name, and back."""
    assert symbol_of(row["ticker"]) == row["symbol"]
    assert bench.exchange.instrument(row["symbol"]).symbol == row["symbol"]
    bench.forget()
    assert bench.exchange.price(row["symbol"]) > 0
    for seen in sent(bench):
        assert row["name"] in f"{seen.target}&".replace("=", "/").replace("&", "/").split("/"), seen.target


def untraded(bench: AnyBench, row: Mapping[str, str]) -> None:
    assert symbol_of(row["ticker"]) == row["symbol"]
    with pytest.raises(InvalidOrder, match=row["says"]):
        bench.exchange.instrument(row["symbol"])


def instrument(bench: AnyBench) -> None:
    found, wanted = bench.exchange.instrument(bench.fixture.symbol), bench.fixture["instrument"]
    assert found.symbol == bench.fixture.symbol
    assert found.kind is InstrumentKind(wanted["kind"])
    for field, value in wanted.items():
        assert str(getattr(found, field)) == value or getattr(found, field) == Decimal(value), field
    bench.forget()
    bench.exchange.instrument(bench.fixture.symbol)
    assert not sent(bench), "the instruments were asked for twice"


def max_leverage(bench: AnyBench) -> None:
    wanted = bench.fixture["max_leverage"]
    ready(bench)
    found = bench.exchange.max_leverage(bench.fixture.symbol)
    assert found == (None if wanted is None else Decimal(wanted))
    assert found is None or type(found) is Decimal
    assert not bench.writes(), "a question is no write"
    for row in bench.fixture["symbols"]["refuse"]:
        with pytest.raises(InvalidOrder):
            bench.exchange.max_leverage(row["symbol"])


def price(bench: AnyBench) -> None:
    assert bench.exchange.price(bench.fixture.symbol) == 61000


def balance(bench: AnyBench) -> None:
    wanted = bench.fixture["balance"]
    assert bench.exchange.balance(bench.fixture.symbol) == Balance(
        currency=wanted["currency"], total=Decimal(wanted["total"]), free=Decimal(wanted["free"])
    )


def candles(bench: AnyBench) -> None:
    spec = bench.fixture["candles"]
    bars = bench.exchange.candles(bench.fixture.symbol, spec["interval"], spec["limit"])
    wanted = [
        Candle(
            opened_at=datetime.fromisoformat(row["opened_at"]),
            **{key: Decimal(row[key]) for key in ("open", "high", "low", "close", "volume")},
        )
        for row in spec["bars"]
    ]
    assert list(bars) == wanted
    assert bool(wanted) is bench.fixture["capabilities"]["candles"]
    assert wanted == sorted(wanted, key=lambda candle: candle.opened_at)


def fills(bench: AnyBench) -> None:
    bench.arrange(bench.fixture["fills"])
    found = list(perform(bench, "fills"))
    rows = bench.fixture["fills"]["rows"]
    assert [fill.trade_id for fill in found] == [row["trade_id"] for row in rows]
    for fill, row in zip(found, rows, strict=True):
        wanted = {
            "symbol": bench.fixture.symbol,
            **row,
            "side": Side(row["side"]),
            "at": datetime.fromisoformat(row["at"]),
            **{key: Decimal(row[key]) for key in ("quantity", "price", "fee")},
        }
        assert fill == Fill(**wanted)
    assert found == sorted(found, key=lambda fill: fill.at)
    assert found


# What a venue holds


def position(bench: AnyBench, state: str, quantity: Decimal) -> None:
    bench.state(state)
    found = bench.exchange.position(bench.fixture.symbol)
    wanted = Position(symbol=bench.fixture.symbol)
    if quantity:
        wanted = Position(symbol=bench.fixture.symbol, quantity=quantity, average_price=Decimal(61000))
    assert found == wanted
    assert found.direction is [Direction.FLAT, Direction.LONG, Direction.SHORT][int(quantity.compare(0))]


def positions(bench: AnyBench) -> None:
    bench.state("flat")
    assert tuple(bench.exchange.positions()) == ()
    bench.state("long")
    (held,) = bench.exchange.positions()
    assert (held.symbol, held.quantity) == (bench.fixture.symbol, Decimal("0.010"))


def look(bench: AnyBench) -> None:
    bench.state("resting")
    ready(bench)
    with bench.together("look"):
        found = perform(bench, "look")
    bench.verify("look")
    assert isinstance(found, Look)
    assert found.position.quantity == Decimal("0.010")
    by_id = {report.client_order_id: report for report in found.resting}
    for act in ("stop", "target"):
        told(bench, by_id.pop(bench.fixture.order(act).client_order_id), act, OrderStatus.ACCEPTED)
    (stranger,) = by_id.values()
    assert (stranger.side, stranger.type, stranger.status) == (
        Side.BUY,
        OrderType.LIMIT,
        OrderStatus.ACCEPTED,
    )
    assert (stranger.quantity, stranger.price) == (Decimal("0.002"), Decimal(50000))
    assert not stranger.reduce_only
    assert len({report.venue_order_id for report in found.resting} - {""}) == 3


def prepare(bench: AnyBench) -> None:
    ready(bench)
    with bench.together("prepare"):
        terms = perform(bench, "prepare")
    bench.verify("prepare")
    assert isinstance(terms, Terms)
    assert terms.look == Look(position=Position(symbol=bench.fixture.symbol), resting=())
    assert terms.price == 61000
    assert terms.instrument == bench.exchange.instrument(bench.fixture.symbol)
    assert terms.balance == bench.exchange.balance(bench.fixture.symbol)


# What a venue does


def arranged(bench: AnyBench, act: str) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = bench.fixture["acts"][act]
    bench.arrange(spec)
    ready(bench)
    return spec


def place(bench: AnyBench, act: str) -> None:
    spec = arranged(bench, act)
    report = perform(bench, act)
    bench.verify(act)
    assert bench.writes() in (None, 1)
    assert bool(report.venue_order_id) is not bench.fixture.cannot(f"venue id:{act}")
    like = "entry_market" if act == "entry_with_stop" else act
    more = {key: Decimal(spec[key]) for key in ("filled_quantity", "average_price") if key in spec}
    told(bench, report, like, OrderStatus(spec.get("status", "ACCEPTED")), **more)
    carries = f"client id:{like}"
    for seen in sent(bench) if not bench.fixture.cannot(carries) else ():
        assert bench.fixture.order(like).client_order_id in seen.target + seen.body.decode()


def exponents(bench: AnyBench) -> None:
    arranged(bench, "entry_limit")
    report = perform(bench, "exponents")
    bench.verify("entry_limit")
    told(bench, report, "entry_limit", OrderStatus.ACCEPTED)


def cancel(bench: AnyBench, act: str, gone: bool = False) -> None:
    spec = bench.fixture["acts"][act]
    if act.startswith("cancel_report"):
        bench.state("resting")
        ready(bench)
        report = resting(bench)[bench.fixture.order("stop" if "stop" in act else "target").client_order_id]
        call = partial(bench.exchange.cancel_report, report)
    else:
        bench.arrange(spec)
        call = partial(perform, bench, act)
    if gone:
        bench.state("gone")
    ready(bench)
    assert call() is None
    if not gone:
        bench.verify(act)


def order(bench: AnyBench, row: Mapping[str, Any]) -> None:
    bench.arrange(row)
    ready(bench)
    asked = bench.fixture.order(row["order"], venue_order_id=row.get("venue_order_id"))
    if row["name"] in NOT_FOUND:
        with pytest.raises(OrderNotFound):
            bench.exchange.order(asked)
        return
    _, status, filled, average = REPORTS.get(row["name"], (row["order"], OrderStatus.ACCEPTED, "0", None))
    wanted: dict[str, Any] = {
        "filled_quantity": Decimal(filled),
        "average_price": None if average is None else Decimal(average),
    }
    given = dict(row.get("report", {}))
    status = OrderStatus(given.pop("status", status))
    for field in ("filled_quantity", "average_price", "quantity", "price", "trigger_price"):
        if given.get(field) is not None:
            given[field] = Decimal(given[field])
    report = bench.exchange.order(asked)
    assert report.venue_order_id
    told(bench, report, row["order"], status, **wanted | given)
    assert not bench.writes(), "a question is no write"


def told(bench: AnyBench, report: OrderReport, act: str, status: OrderStatus, **more: Any) -> None:
    """A report speaks of the act's order."""
    order = bench.fixture.order(act)
    names = ("symbol", "side", "type", "quantity", "price", "trigger_price", "reduce_only")
    wanted: dict[str, Any] = {name: getattr(order, name) for name in (*names, "client_order_id")}
    wanted |= {"filled_quantity": Decimal(0)} | more
    assert report.status is status
    assert {field: getattr(report, field) for field in wanted} == wanted


def check(bench: AnyBench, row: Mapping[str, Any]) -> None:
    bench.arrange(row)
    found = tuple(bench.exchange.check())
    assert all(isinstance(finding, Finding) and finding.text for finding in found)
    assert all(finding.mend for finding in found if finding.fatal), "a fatal finding says what to do"
    text = " ".join(f"{finding.text} {finding.mend}" for finding in found)
    for secret in (KEY, SECRET):
        assert secret not in text
    assert any(finding.fatal for finding in found) is row.get("fatal", row["name"] != "healthy"), found
    assert row.get("says", "").lower() in text.lower()
    assert not bench.writes(), "a check changes nothing"


# How a venue says no, or nothing


def refused(bench: AnyBench, row: Mapping[str, Any]) -> None:
    ready(bench)
    bench.refuse(row)
    with pytest.raises(KINDS[row["kind"]]) as raised:
        perform(bench, row["act"])
    error = raised.value
    assert type(error) is KINDS[row["kind"]]
    discreet(bench, error)
    assert row.get("says", "").lower() in str(error).lower()
    assert row.get("code") in (None, error.code)
    if row["act"] in ORDERS:
        assert bench.writes() in (None, 1), "sent twice"
    if isinstance(error, Throttled):
        assert error.after == timedelta(milliseconds=row["after_ms"])
    if row["kind"] == "ban":
        bench.forget()
        with pytest.raises(Throttled):
            perform(bench, "price")
        assert not sent(bench), "a banned address goes on asking"


def failed(bench: AnyBench, fault: str, act: str) -> None:
    """The way to the venue breaks: what that proves, and that nothing is sent twice."""
    bench.state("long")
    ready(bench)
    bench.fault(fault, act)
    kind = FAULTS.get(fault, VenueError)
    with pytest.raises(kind) as raised:
        perform(bench, act)
    assert fault == "echo" or type(raised.value) is kind
    discreet(bench, raised.value)
    assert bench.writes() in (None, 0 if kind is Unreachable else 1)


def discreet(bench: AnyBench, error: VenueError) -> None:
    shown = f"{error!r} {error} {error.__cause__!r}"
    signatures = [signature(bench.fixture["signing"], seen, SECRET) for seen in sent(bench)]
    for secret in (KEY, SECRET, *signatures):
        assert secret not in shown


def sent(bench: AnyBench) -> list[Seen]:
    return list(bench.sent) if isinstance(bench, HttpBench) else []
