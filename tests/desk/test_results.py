"""Results: trades out of fills, their sums, how well orders were filled, and all of it as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from desk import export, scores
from desk.results import Closed, Execution, Gain, Results, Takings, _Open, midnight
from desk.scores import Scope, since
from store import feed

LONG = {"action": "buy", "price": "42000", "long SL": "41500", "long TP": "43500"}
SHORT = {"action": "sell", "price": "42500", "short SL": "43000", "short TP": "41000"}
LADDER = {"tp Close": "25", "tp1 Mult": "1", "tp2 Mult": "2"}
AT = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture
def rig(sqlite_rigs: Callable[..., Any]) -> Any:
    """On SQLite; what is asked of the database, `test_everything_as_csv` asks of both."""
    return sqlite_rigs()


def trade(net: str, *, days: int = 0, risk: str | None = "100", strategy: str = "A") -> Closed:
    at = AT - timedelta(days=days)
    return Closed(
        intent_id="x",
        opened_at=at,
        closed_at=at,
        day=midnight(at),
        strategy=strategy,
        account="MAIN",
        venue="PAPER:X",
        symbol="BTC-USDT-PERP",
        direction="LONG",
        net=Decimal(net),
        fee=Decimal(1),
        risk=None if risk is None else Decimal(risk),
    )


def gain(net: str, *, days: int = 0, strategy: str = "A", venue: str = "PAPER:X") -> Gain:
    at = AT - timedelta(days=days)
    return Gain(at, midnight(at), strategy, "MAIN", venue, "BTC-USDT-PERP", Decimal(net), Decimal(1))


def execution(slipped: str | None, **stages: float) -> Execution:
    notional = None if slipped is None else Decimal(10_000)
    return Execution(
        at=AT,
        strategy="A",
        account="MAIN",
        venue="PAPER:X",
        symbol="BTC-USDT-PERP",
        role="entry",
        slipped=None if slipped is None else Decimal(slipped),
        notional=notional,
        received=stages.get("received"),
        sent=stages.get("sent"),
        filled=stages.get("filled"),
    )


def test_a_trade_from_its_entry_to_where_it_is_flat(rig: Any) -> None:
    entry = rig.send("entry", **LONG, **LADDER, strategy="Momentum")
    results = Results(rig.store)
    assert results.now().trades == []
    rig.price("42500")
    rig.send("exit", price="42400")
    told = results.now()
    (closed,) = told.trades
    assert (closed.intent_id, closed.strategy, closed.direction) == (entry, "Momentum", "LONG")
    assert closed.risk == 1000
    # A quarter at 42500, the rest at 42400, and the fees of all.
    assert closed.net + closed.fee == Decimal("0.5") * 500 + Decimal("1.5") * 400
    assert sum(each.net for each in told.gains) == closed.net
    assert {each.strategy for each in told.gains} == {"Momentum"}


def test_coins_that_are_too_few_to_sell_do_not_keep_a_trade_open() -> None:
    held = _Open(intent_id="x", opened_at=AT, strategy="A", direction="LONG", risk=None)
    bought = {"side": "BUY", "quantity": Decimal(1), "fee": Decimal("0.001"), "fee_currency": "BTC"}
    held.add(bought | {"symbol": "BTC-USDT"})
    assert (held.quantity, held.is_over) == (Decimal("0.999"), False)
    sold = {"side": "SELL", "quantity": Decimal("0.998"), "fee": Decimal(40), "fee_currency": "USDT"}
    held.add(sold | {"symbol": "BTC-USDT"})
    assert (held.quantity, held.is_over) == (Decimal("0.001"), True)


def test_a_reversal_ends_one_trade_and_begins_the_next(rig: Any) -> None:
    rig.send("entry", **LONG, interval="60")
    rig.price("42500")
    rig.send("entry", **SHORT)
    rig.send("exit", price="42500")
    first, second = Results(rig.store).now().trades
    assert (first.strategy, first.direction, second.strategy, second.direction) == (
        "MAIN 60",
        "LONG",
        "MAIN",
        "SHORT",
    )
    assert first.net > 0 > second.net


def test_counting_goes_on_where_it_ended_and_nothing_counts_twice(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "PAGE", 3)
    results = Results(rig.store)
    for number in range(4):
        rig.send("entry", **LONG, **LADDER)
        rig.price("42500")
        rig.send("exit", price="42500")
        assert len(results.now().trades) == number + 1
    fresh = Results(rig.store).now()
    again = results.now()
    assert (again.trades, again.gains) == (fresh.trades, fresh.gains)
    assert sorted(again.executions) == sorted(fresh.executions)


def test_slippage_against_the_alerts_price_on_both_sides(rig: Any) -> None:
    rig.store_only("entry", **LONG, time=rig.clock().strftime("%Y-%m-%dT%H:%M:%SZ"))
    rig.price("42010")  # a millisecond later, before anything was done
    rig.store_only("exit", price="42005")
    rig.price("42002")
    entry, close = Results(rig.store).now().executions
    assert (entry.role, close.role) == ("entry", "close")
    quantity = (entry.notional or 0) / 42000
    assert entry.slipped == 10 * quantity > 0
    assert close.slipped == 3 * quantity
    assert (entry.received, entry.sent, entry.filled) == (0.0, 0.001, 0.0)
    assert (close.received, close.sent) == (None, 0.001)


def test_scores_of_trades() -> None:
    told = Takings(
        gains=[gain("300", days=2), gain("-100", days=1), gain("-50"), gain("20")],
        trades=[trade("300", days=2), trade("-100", days=1), trade("-50", risk=None), trade("20", risk="10")],
        executions=[],
    )
    total = scores.results(told, Scope())["total"]
    assert (total["net"], total["trades"], total["win_rate"]) == (170, 4, Decimal("0.5"))
    assert (total["expectancy"], round(total["multiple"], 4)) == (Decimal("42.5"), Decimal("1.3333"))
    assert (total["won"], total["lost"]) == (160, -75)
    assert round(total["profit_factor"], 4) == Decimal("2.1333")
    assert total["drawdown"] == 150


def test_scores_of_nothing() -> None:
    told = scores.results(Takings(), Scope())
    assert told["curve"] == told["days"] == told["executions"] == []
    assert told["total"]["net"] == told["total"]["drawdown"] == 0
    assert told["total"]["win_rate"] is told["total"]["profit_factor"] is None


def test_tables_by_day_and_strategy() -> None:
    told = Takings(
        gains=[gain("5", days=1), gain("7"), gain("-9", strategy="B")],
        trades=[trade("7"), trade("-9", strategy="B")],
    )
    model = scores.results(told, Scope())
    assert [(row["name"].day, row["net"], row["trades"]) for row in model["days"]] == [(5, -2, 2), (4, 5, 0)]
    assert [(row["name"], row["net"]) for row in model["strategies"]] == [("A", 12), ("B", -9)]


@pytest.mark.parametrize(
    ("scope", "net"),
    [
        (Scope(), 5),
        (Scope(since=AT - timedelta(hours=1)), 3),
        (Scope(strategy="B"), 4),
        (Scope(account="MAIN", symbol="BTC-USDT-PERP"), 5),
        (Scope(account="OTHER"), 0),
        (Scope(paper=True), 5),
        (Scope(paper=False), 0),
    ],
)
def test_a_scope_narrows(scope: Scope, net: int) -> None:
    told = Takings(gains=[gain("2", days=1), gain("-1"), gain("4", strategy="B")])
    assert scores.results(told, scope)["total"]["net"] == net


def test_what_is_real_and_what_is_paper_are_counted_apart() -> None:
    told = Takings(gains=[gain("100"), gain("-3", venue="X"), gain("1", venue="PAPERHOUSE")])
    nets = [scores.results(told, Scope(paper=paper))["total"]["net"] for paper in (True, False)]
    assert nets == [100, -2]


def test_a_long_table_keeps_the_best_and_the_newest() -> None:
    told = Takings(
        gains=[gain(str(900 - number), days=number, strategy=f"{number:03}") for number in range(450)]
    )
    model = scores.results(told, Scope())
    assert [len(model[name]) for name in ("strategies", "days")] == [400, 400]
    assert model["strategies"][0]["name"] == "000"
    assert model["days"][0]["name"] == midnight(AT)


@pytest.mark.parametrize(
    ("period", "begins"),
    [
        ("1d", datetime(2026, 1, 5, tzinfo=UTC)),
        ("7d", datetime(2025, 12, 30, tzinfo=UTC)),
        ("all", None),
        ("0d", None),
        ("-1d", None),
        ("²d", None),
        ("99999d", None),
        ("", None),
    ],
)
def test_periods_are_whole_days(period: str, begins: datetime | None) -> None:
    assert since(period, AT) == begins


def test_a_long_curve_has_a_point_a_day() -> None:
    told = Takings(gains=[gain("1", days=number % 40) for number in range(2000)])
    curve = scores.results(told, Scope())["curve"]
    assert len(curve) == 40
    assert curve[-1][1] == "2000"
    assert [at for at, _ in curve] == sorted(at for at, _ in curve)


def test_execution_in_money_points_and_time() -> None:
    told = Takings(
        executions=[
            execution("10", received=1.0, sent=0.1, filled=0.5),
            execution("-2", received=3.0),
            execution(None),
        ]
    )
    (row,) = scores.results(told, Scope())["executions"]
    assert (row["orders"], row["slipped"], row["points"], row["worst_points"]) == (3, 8, 4, 10)
    assert (row["received"], row["sent"], row["filled"]) == ((2.0, 3.0), (0.1, 0.1), (0.5, 0.5))


def table(lines: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(lines), newline="")))


def test_everything_as_csv(make_rig: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    rig = make_rig()
    monkeypatch.setattr(feed, "PAGE", 2)
    alert_id = rig.send("entry", **LONG, **LADDER, strategy='=1+1, "quoted"')
    rig.price("42500")
    rig.send("exit", price="42400")
    alerts = table(export.stored(rig.store, "alerts"))
    assert [row["message"] for row in alerts] == ["entry", "exit"]
    assert (alerts[0]["id"], alerts[0]["status"], alerts[0]["worst_loss"]) == (alert_id, "DONE", "1000")
    assert len(table(export.stored(rig.store, "orders"))) == 6
    assert [row["price"] for row in table(export.stored(rig.store, "fills"))] == ["42000", "42500", "42400"]
    assert len(table(export.stored(rig.store, "events"))) > 10
    told = Results(rig.store).now()
    (closed,) = table(export.counted(told, "trades"))
    assert closed["strategy"] == '\'=1+1, "quoted"'  # no spreadsheet takes it for a formula
    assert closed["net"] == format(told.trades[0].net.normalize(), "f")
    assert [row["role"] for row in table(export.counted(told, "executions"))] == ["entry", "close"]


@pytest.mark.parametrize("beginning", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_begins_a_formula(beginning: str) -> None:
    """Each of these does in one spreadsheet or another."""
    said = f"{beginning}HYPERLINK(1)"
    (row,) = table(export.counted(Takings(trades=[trade("1", strategy=said)]), "trades"))
    assert row["strategy"] == f"'{said}"


def test_a_loss_stays_a_number() -> None:
    (row,) = table(export.counted(Takings(trades=[trade("-5")]), "trades"))
    assert row["net"] == "-5"
