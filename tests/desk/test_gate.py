"""Secrets are compared safely, and who guesses is locked out: everywhere, cheaply, TradingView never."""

from __future__ import annotations

import hmac
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from desk import gate
from desk.gate import Admission, Gate, Login, matches
from desk.intake import TRADINGVIEW_ADDRESSES
from store import Store, journal
from store.tables import auth_failures
from tests.desk.conftest import LONG, Rig
from tests.desk.conftest import PASSPHRASE as GENERAL
from tests.desk.door import HOME, PASSPHRASE, Door, blocked, everything
from trading.model import Route

#: What does not care which database it is.
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def door(store: Store, clock: Any, database_url: str) -> Door:
    return Door(store, clock, database_url)


def test_secrets_are_compared_whatever_they_hold() -> None:
    assert matches("pä\ud800", ["x", "pä\ud800"])
    assert not matches(None, [""])
    assert not matches(None, [])
    assert not matches("x", [])
    assert matches("", [""])


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, bytes]]:
    """What is compared in constant time, while it goes on."""
    seen: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        seen.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    return seen


@pytest.mark.parametrize("given", ["first-one", "second-one", "third-one", "nobody's", "", None])
def test_every_secret_is_compared_whichever_fits(
    given: str | None, compared: list[tuple[bytes, bytes]]
) -> None:
    """Else the time that an answer takes would tell which one it was, or how much of it."""
    good = ["first-one", "second-one", "third-one"]
    assert matches(given, good) is (given in good)
    assert len(compared) == 3
    assert {len(part) for pair in compared for part in pair} == {32}


@ON_SQLITE
@pytest.mark.parametrize("given", [GENERAL, "scoped-one", "scoped-two", "main-alone", "wrong", ""])
def test_the_door_compares_every_passphrase_whichever_fits(
    make_rig: Callable[..., Rig], compared: list[tuple[bytes, bytes]], given: str
) -> None:
    rig = make_rig(PASSPHRASE_OTHER="scoped-one,scoped-two", PASSPHRASE_MAIN="main-alone")
    rig.post("tp1", passphrase=given)
    assert len(compared) == 4
    assert {len(part) for pair in compared for part in pair} == {32}


@ON_SQLITE
def test_a_passphrase_of_one_account_is_good_for_no_other(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(PASSPHRASE_OTHER="scoped-one,scoped-two", PASSPHRASE_MAIN="main-alone")
    codes = {
        (passphrase, account): rig.post("tp1", passphrase=passphrase, **account_of(account)).code
        for passphrase in ("scoped-one", "scoped-two", "main-alone")
        for account in ("OTHER", "other", "MAIN", None)
    }
    assert codes == {
        **{(scoped, name): 200 for scoped in ("scoped-one", "scoped-two") for name in ("OTHER", "other")},
        **{(scoped, name): 401 for scoped in ("scoped-one", "scoped-two") for name in ("MAIN", None)},
        **{("main-alone", name): 401 for name in ("OTHER", "other")},
        **{("main-alone", name): 200 for name in ("MAIN", None)},
    }
    refused = rig.post("tp1", passphrase="scoped-one", subaccount="MAIN")
    assert refused.body == rig.post("tp1", passphrase="wrong").body
    assert [rig.post("tp1", passphrase="main-alone", subaccount="OTHER").code for _ in range(3)][-1] == 429


def account_of(name: str | None) -> dict[str, str]:
    return {} if name is None else {"subaccount": name}


@ON_SQLITE
def test_a_scoped_passphrase_is_in_no_row_either(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(PASSPHRASE_OTHER="scoped-canary")
    assert rig.post("tp1", passphrase="scoped-canary", subaccount="OTHER").code == 200
    assert rig.post("entry", passphrase="scoped-canary", subaccount="OTHER").code == 422
    raw = b'{"note": "scoped-canary unquoted'
    assert rig.intake.receive(raw, route=Route.ORDER, address="192.0.2.1").code == 400
    assert "scoped-canary" not in everything(rig.store)


@ON_SQLITE
def test_a_chart_url_is_never_fetched(make_rig: Callable[..., Rig]) -> None:
    """It is shown to people. A server that fetched it could be sent to whatever it can reach itself."""
    rig = make_rig(DEFAULT_SUBACCOUNT="MAIN")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/x"
        asked = rig.send("entry", route=Route.STUDY, chart_url=url, interval="15", **LONG)
        rig.vote(asked, approve=True)
        assert rig.status(asked) == "DONE"
        with rig.store.read() as tx:
            assert journal.alert_of(tx, asked).chart_url == url
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_ten_wrong_passphrases_lock_an_address_until_the_window_ends(door: Door) -> None:
    assert [door(passphrase="wrong").code for _ in range(10)] == [401] * 10
    locked = door()
    assert (locked.code, locked.body["success"]) == (429, False)
    assert door.raw(b"nonsense").code == 429
    assert door(address="198.51.100.8").code == 202

    door.clock.advance(timedelta(minutes=9, seconds=59))
    assert Door(door.store, door.clock, door.settings.database_url)(id="later").code == 429
    assert door(id="later").code == 429
    door.clock.advance(1)
    # It left nothing behind by which it would be known.
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
    assert Door(door.store, door.clock, database_url)(passphrase="wrong").code == 429


def test_the_dashboards_lock_holds_in_every_process(store: Store, clock: Any) -> None:
    logins = [Login(store, "the password", clock) for _ in range(3)]
    for number in range(10):
        assert logins[number % 2].admit("a guess", HOME) is Admission.WRONG

    assert [each.admit("the password", HOME) for each in logins] == [Admission.LOCKED] * 3
    assert logins[2].admit("the password", "198.51.100.8") is Admission.IN
    clock.advance(gate.WINDOW)
    assert [each.admit("the password", HOME) for each in logins] == [Admission.IN] * 3


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
