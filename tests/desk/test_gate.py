"""Secrets are compared safely, and who guesses is locked out: everywhere, cheaply, TradingView never."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from desk import gate
from desk.gate import Gate, matches
from desk.intake import TRADINGVIEW_ADDRESSES
from store import Store
from store.tables import auth_failures
from tests.desk.door import PASSPHRASE, Door, blocked


@pytest.fixture
def door(store: Store, clock: Any, database_url: str) -> Door:
    return Door(store, clock, database_url)


def test_secrets_are_compared_whatever_they_hold() -> None:
    assert matches("pä\ud800", ["x", "pä\ud800"])
    assert not matches(None, [""])
    assert not matches(None, [])
    assert not matches("x", [])
    assert matches("", [""])


def test_ten_wrong_passphrases_lock_an_address_until_the_window_ends(door: Door) -> None:
    assert [door(passphrase="wrong").code for _ in range(10)] == [401] * 10
    locked = door()
    assert (locked.code, locked.body["success"]) == (429, False)
    assert door.raw(b"nonsense").code == 429
    assert door(address="198.51.100.8").code == 202

    door.clock.advance(timedelta(minutes=9, seconds=59))
    assert door().code == 429
    door.clock.advance(1)
    assert door(id="later").code == 202


def test_slow_guessing_does_not_lock(door: Door) -> None:
    for _ in range(30):
        assert door(passphrase="wrong").code == 401
        door.clock.advance(timedelta(minutes=2))


def test_a_lock_holds_in_every_process(door: Door, database_url: str) -> None:
    other = Door(door.store, door.clock, database_url)
    for number in range(10):
        (door, other)[number % 2](passphrase="wrong")
    newcomer = Door(door.store, door.clock, database_url)

    assert [each().code for each in (door, other, newcomer)] == [429] * 3
    assert newcomer(passphrase="wrong").code == 429
    assert newcomer.raw(b"nonsense").code == 429


def test_who_is_locked_costs_no_writes_and_no_waiting(door: Door) -> None:
    for _ in range(10):
        door(passphrase="wrong")
    with blocked(door):
        began = time.monotonic()
        assert {door(passphrase="wrong").code for _ in range(50)} == {429}
        assert time.monotonic() - began < 1
    with door.store.read() as tx:
        assert tx.execute(select(auth_failures.c.failures)).scalar_one() == 10


def test_nobody_can_lock_tradingview_out(door: Door) -> None:
    for number, address in enumerate(sorted(TRADINGVIEW_ADDRESSES)):
        codes = [door(address=address, passphrase="wrong").code for _ in range(12)]
        assert codes == [401] * 10 + [429] * 2
        assert door(address=address, id=f"n{number}").code == 202
        assert door(address=address, ticker=None).code == 422
        assert door.raw(b"nonsense", address=address).code == 429
        assert door.raw(f"{PASSPHRASE} unquoted".encode(), address=address).code == 400


def test_the_memory_of_locked_addresses_is_bounded(store: Store, clock: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(gate, "MEMORY", 5)
    door = Gate()
    with store.write() as tx:
        for number in range(20):
            for _ in range(10):
                door.fail(tx, f"a{number}", clock())
    remembered = [number for number in range(20) if door.remembers(f"a{number}", clock())]
    assert remembered == [15, 16, 17, 18, 19]
    with store.read() as tx:
        assert all(door.is_locked(tx, f"a{number}", clock()) for number in range(20))
