"""`python -m desk.paper`: what it does, what it says, and how it fails."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from desk import paper as cli
from exchanges.paper import PaperExchange
from store import Store
from store.paper import SqlPaperLedger
from store.tables import positions
from trading.model import ZERO, Order, OrderType, Role, Side

PERP = "BTC-USDT-PERP"


@pytest.fixture(autouse=True)
def _environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("WEBHOOK_PASSPHRASE", "a-long-passphrase")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """What a good command says."""
    assert cli.main(arguments) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return said.out.splitlines()


def enter(store: Store) -> None:
    venue = PaperExchange(
        venue="PAPER:BINANCE",
        account="MAIN",
        ledger=SqlPaperLedger(store),
        clock=lambda: datetime.now(UTC),
        starting_balance=Decimal(100000),
    )
    entry = Order(
        client_order_id="a-e",
        intent_id="a",
        symbol=PERP,
        role=Role.ENTRY,
        side=Side.BUY,
        type=OrderType.MARKET,
        quantity=Decimal("0.5"),
    )
    stop = Order(
        client_order_id="a-sl",
        intent_id="a",
        symbol=PERP,
        role=Role.STOP,
        side=Side.SELL,
        type=OrderType.STOP,
        quantity=Decimal("0.5"),
        trigger_price=Decimal(41000),
        reduce_only=True,
    )
    venue.place(entry, signed_at=datetime.now(UTC), stop=stop)


def test_a_price_moves_the_market(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "price", PERP, "42000") == [f"{PERP} is 42000"]
    enter(store)
    assert run(capsys, "price", "BTCUSDT.P", "40000") == [
        f"{PERP} is 40000",
        "PAPER:BINANCE MAIN: a-sl SELL 0.5 at 41000, fee 10.25",
        "PAPER:BINANCE MAIN: a-sl STOP SELL 0.5 of 0.5 at 41000: FILLED (triggered)",
    ]


def test_a_price_wakes_the_lanes_of_its_instrument(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    with store.write() as tx:
        for symbol in (PERP, "ETH-USDT-PERP"):
            row: dict[str, Any] = {"venue": "PAPER:BINANCE", "account": "MAIN", "symbol": symbol}
            money = {"quantity": ZERO, "realised_pnl": ZERO, "fees": ZERO}
            tx.execute(insert(positions).values(**row, **money, token=0, updated_at=long_ago))
    before = datetime.now(UTC)
    run(capsys, "price", PERP, "42000")
    with store.read() as tx:
        due = {row.symbol: row.due_at for row in tx.execute(select(positions))}
    assert before <= due[PERP] <= datetime.now(UTC)
    assert due["ETH-USDT-PERP"] is None


def test_show_tells_prices_accounts_and_orders(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "show") == ["no price is known yet: python -m desk.paper price BTC-USDT-PERP 42000"]
    run(capsys, "price", PERP, "42000")
    enter(store)
    run(capsys, "liquidity", PERP, "0.1")
    told, *rest = run(capsys, "show")
    assert told.startswith(f"{PERP} 42000 since 20")
    assert told.endswith(" UTC, at most 0.1 in one act")
    assert rest == [
        "PAPER:BINANCE MAIN: equity 99989.5, free 78989.5 USDT",
        f"  {PERP} LONG 0.5 at 42000, leverage 1",
        "    a-sl STOP SELL 0 of 0.5 at 41000: ACCEPTED",
    ]
    run(capsys, "price", PERP, "40000")
    assert "  " + f"{PERP} LONG 0.4 at 42000, leverage 1" in run(capsys, "show")


def test_show_tells_orders_without_a_position(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "price", PERP, "42000")
    run(capsys, "liquidity", PERP, "0.5")
    enter(store)
    run(capsys, "liquidity", PERP, "off")
    ledger = SqlPaperLedger(store)
    venue = PaperExchange(
        venue="PAPER:BINANCE",
        account="MAIN",
        ledger=ledger,
        clock=lambda: datetime.now(UTC),
        starting_balance=Decimal(100000),
    )
    close = Order(
        client_order_id="a-x",
        intent_id="a",
        symbol=PERP,
        role=Role.CLOSE,
        side=Side.SELL,
        type=OrderType.MARKET,
        quantity=Decimal("0.5"),
        reduce_only=True,
    )
    venue.place(close, signed_at=datetime.now(UTC))
    assert run(capsys, "show")[-2:] == [
        f"  {PERP} FLAT",
        "    a-sl STOP SELL 0 of 0.5 at 41000: ACCEPTED",
    ]


def test_liquidity_is_set_and_taken_off(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "liquidity", PERP, "0.25") == [f"{PERP} trades at most 0.25 in one act"]
    assert run(capsys, "liquidity", PERP, "off") == [f"{PERP} trades without limit"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("price", "BTC", "42000"), "argument symbol: 'BTC': its quote currency is not known"),
        (("price", PERP, "dear"), "argument price: 'dear' is not a number above zero, such as 42000"),
        (("price", PERP, "0"), "'0' is not a number above zero"),
        (("price", PERP, "NaN"), "'NaN' is not a number above zero"),
        (("price", PERP), "the following arguments are required: price"),
        (("liquidity", PERP, "some"), "argument quantity: 'some' is not a number above zero"),
        ((), "the following arguments are required: COMMAND"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_settings_and_database_faults_are_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/without-tables.db")
    assert cli.main(["show"]) == 1
    assert capsys.readouterr().err.startswith("database: no such table")
    monkeypatch.setenv("DATABASE_URL", "mysql://nowhere/x")
    assert cli.main(["show"]) == 1
    assert capsys.readouterr().err.startswith("DATABASE_URL: ")
