"""The instruments of a venue: found by the list alone, and when that list is read anew."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from exchanges._catalogue import AGAIN, FRESH, Catalogue, Listing
from trading.errors import InvalidOrder, Unreachable
from trading.model import Instrument, InstrumentKind

Clock = Any  # the fixture of conftest

PERP, SPOT = InstrumentKind.PERPETUAL, InstrumentKind.SPOT


def listing(name: str, base: str, quote: str, kind: InstrumentKind = PERP, tick: str = "0.1") -> Listing:
    symbol = f"{base}-{quote}" + ("-PERP" if kind is PERP else "")
    instrument = Instrument(
        symbol=symbol,
        base=base,
        quote=quote,
        kind=kind,
        tick_size=Decimal(tick),
        lot_size=Decimal("0.001"),
        min_quantity=Decimal("0.001"),
    )
    return Listing(name=name, instrument=instrument)


class Source:
    """A venue's list, and how often it was read."""

    def __init__(self, *rows: Listing) -> None:
        self.rows = list(rows)
        self.reads = 0
        self.down = False

    def __call__(self) -> Iterable[Listing]:
        self.reads += 1
        if self.down:
            raise Unreachable("TOY", "GET /list", "no connection could be made")
        yield from self.rows


BTC = listing("btc", "BTC", "USDT")
ETH = listing("eth", "ETH", "USDT")


@pytest.fixture
def source() -> Source:
    return Source(BTC, listing("btc/usdt", "BTC", "USDT", SPOT))


@pytest.fixture
def catalogue(source: Source, clock: Clock) -> Catalogue:
    return Catalogue("TOY", source, clock)


def test_nothing_is_read_before_it_is_asked_for(catalogue: Catalogue, source: Source) -> None:
    assert (catalogue.is_known, source.reads) == (False, 0)
    assert catalogue.listing("BTC-USDT-PERP") == BTC
    assert (catalogue.is_known, source.reads) == (True, 1)


def test_kinds_are_told_apart_and_names_lead_back(catalogue: Catalogue) -> None:
    assert catalogue.listing("BTC-USDT").name == "btc/usdt"
    assert catalogue.named("btc") == BTC
    assert catalogue.named("BTC") is None
    assert [row.name for row in catalogue.all()] == ["btc", "btc/usdt"]


def test_where_the_quote_begins_the_list_says_and_the_symbol_stays_as_asked(
    source: Source, clock: Clock
) -> None:
    source.rows = [listing("x", "ABUS", "DUSDT")]
    found = Catalogue("TOY", source, clock).listing("ABUSD-USDT-PERP")
    assert found.name == "x"
    assert found.instrument.symbol == "ABUSD-USDT-PERP"
    assert (found.instrument.base, found.instrument.quote) == ("ABUS", "DUSDT")


@pytest.mark.parametrize("symbol", ["ETH-USDT-PERP", "BTC-USD-PERP", "ETH-USDT"])
def test_what_the_list_does_not_hold_is_no_order(catalogue: Catalogue, symbol: str) -> None:
    with pytest.raises(InvalidOrder, match=f"TOY instruments: {symbol} is not traded there"):
        catalogue.listing(symbol)


def test_what_is_no_symbol_is_a_fault_of_ours(catalogue: Catalogue) -> None:
    with pytest.raises(ValueError, match="not a symbol of the house"):
        catalogue.listing("BTCUSDT")


def test_a_list_is_kept_until_it_is_old(catalogue: Catalogue, source: Source, clock: Clock) -> None:
    catalogue.all()
    clock.advance(FRESH - timedelta(seconds=1))
    catalogue.listing("BTC-USDT-PERP")
    assert source.reads == 1
    source.rows = [listing("btc", "BTC", "USDT", tick="0.5")]
    clock.advance(1)
    assert catalogue.listing("BTC-USDT-PERP").instrument.tick_size == Decimal("0.5")
    assert catalogue.named("btc/usdt") is None
    assert source.reads == 2


def test_a_new_coin_is_looked_for_when_it_is_asked_for(
    catalogue: Catalogue, source: Source, clock: Clock
) -> None:
    catalogue.all()
    source.rows.append(ETH)
    clock.advance(AGAIN)
    assert catalogue.listing("ETH-USDT-PERP") == ETH
    assert source.reads == 2


def test_a_symbol_that_nobody_trades_does_not_ask_each_time(
    catalogue: Catalogue, source: Source, clock: Clock
) -> None:
    for _ in range(3):
        with pytest.raises(InvalidOrder):
            catalogue.listing("ETH-USDT-PERP")
    assert source.reads == 1
    clock.advance(AGAIN)
    with pytest.raises(InvalidOrder):
        catalogue.listing("ETH-USDT-PERP")
    assert source.reads == 2


def test_without_any_list_the_error_is_told_and_the_next_question_asks_again(
    catalogue: Catalogue, source: Source
) -> None:
    source.down = True
    for _ in range(2):
        with pytest.raises(Unreachable):
            catalogue.listing("BTC-USDT-PERP")
    assert (source.reads, catalogue.is_known) == (2, False)
    source.down = False
    assert catalogue.listing("BTC-USDT-PERP") == BTC


def test_an_old_list_is_better_than_none_and_is_not_asked_for_each_time(
    catalogue: Catalogue, source: Source, clock: Clock
) -> None:
    catalogue.all()
    source.down = True
    clock.advance(FRESH)
    assert catalogue.listing("BTC-USDT-PERP") == BTC
    assert catalogue.named("btc") == BTC
    assert source.reads == 2
    clock.advance(AGAIN)
    assert catalogue.listing("BTC-USDT-PERP") == BTC
    assert source.reads == 3


def test_a_clock_that_was_set_back_reads_anew(catalogue: Catalogue, source: Source, clock: Clock) -> None:
    catalogue.all()
    clock.advance(-3600)
    catalogue.all()
    assert source.reads == 2


def test_threads_that_ask_at_once_read_once(source: Source, clock: Clock) -> None:
    catalogue = Catalogue("TOY", source, clock)
    start = threading.Barrier(6)
    found: list[Listing] = []

    def run() -> None:
        start.wait(10)
        found.append(catalogue.listing("BTC-USDT-PERP"))

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (len(found), source.reads) == (6, 1)


def test_of_two_that_are_written_alike_neither_is_guessed(clock: Clock) -> None:
    """`ABUSD` is AB in dollars or A in BUSD: which one was meant, only their own symbols say."""
    first, second = listing("1", "AB", "USD"), listing("2", "A", "BUSD")
    catalogue = Catalogue("TOY", Source(first, second), clock)
    assert catalogue.listing("AB-USD-PERP") == first
    assert catalogue.listing("A-BUSD-PERP") == second
    with pytest.raises(InvalidOrder):
        catalogue.listing("ABU-SD-PERP")


def test_who_does_not_wait_gets_the_old_list_while_a_new_one_is_read(source: Source, clock: Clock) -> None:
    came = threading.Event()

    def load() -> Iterable[Listing]:
        rows = list(source())
        assert source.reads == 1 or came.wait(10)
        return rows

    catalogue = Catalogue("TOY", load, clock)
    assert catalogue.listing("BTC-USDT-PERP", wait=False) == BTC, "the first is waited for"
    source.rows = [listing("btc", "BTC", "USDT", tick="0.5"), ETH]
    clock.advance(FRESH)
    for _ in range(3):
        assert catalogue.listing("BTC-USDT-PERP", wait=False) == BTC
    came.set()
    # Who waits has it, whoever reads it.
    assert catalogue.listing("BTC-USDT-PERP").instrument.tick_size == Decimal("0.5")
    assert catalogue.listing("BTC-USDT-PERP", wait=False).instrument.tick_size == Decimal("0.5")
    assert source.reads == 2
