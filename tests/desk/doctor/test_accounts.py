"""What the doctor finds at emulated venues over real HTTP, and which mends it names."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from dotenv import dotenv_values

from desk import doctor
from desk.settings import ENV_FILE, ROOT
from exchanges import Credentials, Finding, connect
from exchanges._http import Hosts
from tests.desk.doctor.clinic import PASSPHRASE, VENUES, Place, Told, changes
from tests.emulator.server import Server
from trading.errors import Throttled

WRONG = "not-the-secret-of-this-account"


@pytest.mark.parametrize("name", VENUES)
def test_a_good_account_is_good_and_nothing_is_changed_there(
    places: Callable[..., Place], examine: Callable[..., Told], name: str
) -> None:
    place = places(name)
    told = examine(**place.environ)
    assert told.code == 0, told.output
    assert told.titles == ["Settings", "Database", "Account MAIN", "Nothing found that would stop a trade"]
    coins = re.findall(r"ok +(BTC|ETH)-USDT?-PERP: with 100000 USDT? free", told.output)
    assert coins == ["BTC", "ETH"], told.output
    told.says("ok", f"EXCHANGE_MAIN is {name}, NETWORK_MAIN is live, at {name}_API_URL")
    assert place.server.log
    assert changes(place) == []


@pytest.mark.parametrize("name", VENUES)
def test_a_wrong_secret(places: Callable[..., Place], examine: Callable[..., Told], name: str) -> None:
    told = examine(**places(name).environ | {"API_SECRET_MAIN": WRONG})
    assert told.code == 1
    _, mend = told.only()
    assert re.search(r"API_KEY_MAIN\b.*API_SECRET_MAIN\b", mend), told.output
    assert "…" not in mend


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("BYBIT", "make a key without the right to withdraw"),
        ("BINANCE", "take that right away in API Management, or make a key without it"),
    ],
)
def test_a_key_that_may_withdraw(
    places: Callable[..., Place], examine: Callable[..., Told], name: str, mend: str
) -> None:
    told = examine(**places(name, may_withdraw=True).environ)
    assert told.only() == ("the key may withdraw", mend)


@pytest.mark.parametrize("name", ["BINANCE", "BYBIT"])
def test_a_key_that_may_not_trade(
    places: Callable[..., Place], examine: Callable[..., Told], name: str
) -> None:
    told = examine(**places(name, may_trade=False).environ)
    assert any("the key may not trade" in what for what, _ in told.errors), told.output
    assert all("may not trade" in what for what, _ in told.errors), told.output


@pytest.mark.parametrize("name", ["BINANCE", "FTX"])
def test_where_the_venue_does_not_tell_a_person_must_look(
    places: Callable[..., Place], examine: Callable[..., Told], name: str
) -> None:
    place = places(name)
    told = examine(**place.environ | {"BINANCE_SPOT_API_URL": ""})
    assert told.code == 0, told.output
    assert [each for each in told.found["warn"] if "withdraw" in "".join(each)], told.output


@pytest.mark.parametrize("fault", ["unknown_before", "html"])
def test_a_spot_host_that_says_nothing_of_the_key_keeps_no_check_from_its_end(
    places: Callable[..., Place], examine: Callable[..., Told], fault: str
) -> None:
    place = places("BINANCE", may_withdraw=True)
    for number in (1, 2, 3):
        place.server.fault(fault, ("GET /sapi/v1/account/apiRestrictions", number))
    told = examine(**place.environ)
    assert told.code == 0, told.output
    told.says("warn", "whether the key may withdraw, the spot host did not tell")
    told.says("ok", "BTC-USDT-PERP: with 100000 USDT free")


@pytest.mark.parametrize(
    ("network", "host"),
    [("live", "https://api.binance.com"), ("testnet", None), ("demo", None)],
)
def test_only_a_host_that_knows_a_key_s_rights_is_asked_for_them(
    clock: Any, network: str, host: str | None
) -> None:
    """And never the venue's own where the futures go elsewhere."""
    credentials, own = Credentials(key="a-key", secret="a-secret"), {"BINANCE": "http://127.0.0.1:1"}
    for urls, wanted in (({}, host), (own, None), (own | {"BINANCE_SPOT": "http://127.0.0.1:2"}, "")):
        hosts = Hosts(clock)
        connect("BINANCE", credentials, network=network, hosts=hosts, urls=urls)
        others = [url for url in hosts._hosts if "fapi" not in url and url != urls.get("BINANCE")]
        assert others == ([wanted or urls["BINANCE_SPOT"]] if wanted is not None else [])


@pytest.mark.parametrize("name", ["BINANCE", "BYBIT"])
def test_hedge_mode(places: Callable[..., Place], examine: Callable[..., Told], name: str) -> None:
    place = places(name)
    place.account.set_hedge(True)
    what, mend = examine(**place.environ).only()
    assert "hedge mode" in what
    assert "one-way mode" in mend


@pytest.mark.parametrize("name", VENUES)
def test_a_clock_behind_is_made_up_for(
    places: Callable[..., Place], examine: Callable[..., Told], name: str
) -> None:
    place = places(name)
    place.server.skew = timedelta(seconds=90)
    told = examine(**place.environ)
    assert told.code == 0, told.output
    assert [what for what, _ in told.found["warn"] if "clock" in what and "90" in what], told.output


@pytest.mark.parametrize("name", VENUES)
@pytest.mark.parametrize("live", ["1", "0"])
def test_a_clock_ahead_makes_every_entry_too_old(
    places: Callable[..., Place], examine: Callable[..., Told], name: str, live: str
) -> None:
    place = places(name)
    place.server.skew = timedelta(seconds=-90)
    what, mend = examine(**place.environ | {"LIVE_TRADING": live}).only()
    assert "clock is 90 s ahead" in what
    assert "MAX_ALERT_AGE (60 s)" in what
    assert mend == "let NTP set the clock"
    assert examine(**place.environ, MAX_ALERT_AGE="0").code == 0
    assert examine(**place.environ, MAX_ALERT_AGE="120").code == 0


@pytest.mark.parametrize(("name", "most", "count"), [("BYBIT", 100, 2), ("FTX", 20, 2), ("BINANCE", 100, 1)])
def test_leverage_above_the_maximum(
    places: Callable[..., Place], examine: Callable[..., Told], name: str, most: int, count: int
) -> None:
    """At one of them the second instrument allows more."""
    place = places(name)
    told = examine(**place.environ, LEVERAGE_MAIN=f"{most + 1}")
    assert len(told.errors) == count, told.output
    assert f"LEVERAGE_MAIN is {most + 1}, and the venue allows {most} at most" in told.errors[0][0]
    assert told.errors[0][1] == f"set it to {most} or less"
    assert examine(**place.environ, LEVERAGE_MAIN=f"{most}").code == 0


def test_where_nothing_bounds_the_leverage(
    places: Callable[..., Place], examine: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchanges.bybit.BybitExchange.max_leverage", lambda *_: None)
    told = examine(**places("BYBIT").environ, LEVERAGE_MAIN="125")
    told.says("ok", "BTC-USDT-PERP: the venue sets no bound to the leverage")
    assert told.code == 0, told.output


@pytest.mark.parametrize("name", VENUES)
@pytest.mark.parametrize(("risk", "leverage"), [("0.5", "3"), ("2", "0.3"), ("0.5", "0.2")])
def test_too_little_money_for_the_smallest_order_and_its_mends_mend(
    places: Callable[..., Place], examine: Callable[..., Told], name: str, risk: str, leverage: str
) -> None:
    rules = {"RISK_MAIN": risk, "LEVERAGE_MAIN": leverage}
    place = places(name, cash=Decimal(20))
    symbol = "BTC-USD-PERP" if name == "FTX" else "BTC-USDT-PERP"
    only = {"LIMITS_MAIN": f'{{"symbols": ["{symbol}"]}}'}
    what, mend = examine(**place.environ, **rules, **only).only()
    assert f"{symbol}: with 20 " in what
    assert re.search(r"the smallest order, [0-9.]+ USDT?$", what), what
    free = re.match(r"have ([0-9.]+) USDT? free", mend)
    assert free, mend
    proposed = dict(re.findall(r"((?:RISK|LEVERAGE)_MAIN) to ([0-9.]+)", mend))
    assert proposed
    told = examine(**place.environ, **only, **rules | proposed)
    assert told.code == 0, told.output
    place.account.cash = Decimal(free[1])
    told = examine(**place.environ, **rules, **only)
    assert told.code == 0, told.output
    place.account.cash = Decimal(free[1]) - Decimal("0.05")
    assert examine(**place.environ, **rules, **only).code == 1


def test_no_wild_risk_is_proposed(places: Callable[..., Place], examine: Callable[..., Told]) -> None:
    for cash in ("1", "0"):
        told = examine(**places("BYBIT", cash=Decimal(cash)).environ)
        assert [mend for _, mend in told.errors] == ["have 60 USDT free", "have 30 USDT free"], told.output


def test_a_limit_on_the_notional_may_be_the_smallness(
    places: Callable[..., Place], examine: Callable[..., Told]
) -> None:
    told = examine(**places("BYBIT").environ, LIMITS_MAIN='{"max_notional": 40}')
    assert told.only()[1] == "raise max_notional in LIMITS_MAIN to 60 or more"


def test_symbols_of_limits_are_those_looked_at(
    places: Callable[..., Place], examine: Callable[..., Told]
) -> None:
    symbols = '["1000PEPEUSDT.P", "ETH-USDT-PERP", "NOSUCHUSDT.P", "?"]'
    told = examine(**places("BYBIT").environ, LIMITS_MAIN=f'{{"symbols": {symbols}}}')
    assert [mend for _, mend in told.errors] == [
        "correct NOSUCHUSDT.P, or take it out",
        "correct ?, or take it out",
    ]
    told.says("ok", "1000PEPE-USDT-PERP: with ")
    told.says("ok", "ETH-USDT-PERP: with ")
    assert "BTC-USDT-PERP: with " not in told.output


@pytest.mark.parametrize("name", ["BINANCE_SPOT", "BYBIT_SPOT"])
def test_symbols_of_limits_that_are_spot_are_looked_at_in_the_spot_wallet(
    places: Callable[..., Place], examine: Callable[..., Told], name: str
) -> None:
    place, venue = places(name.removesuffix("_SPOT"), spot=True), name.removesuffix("_SPOT")
    told = examine(**place.environ, LIMITS_MAIN='{"symbols": ["BTCUSDT", "NOSUCHUSDT"]}')
    assert told.only()[1] == "correct NOSUCHUSDT, or take it out"
    told.says("ok", "100000 of 100000 USDT are free for spot")
    told.says("ok", "BTC-USDT: with 100000 USDT free")
    assert venue in told.output
    assert not [seen for seen in place.server.log if "fapi" in seen.path or "position" in seen.path]


def test_a_venue_without_a_host_of_its_own(examine: Callable[..., Told]) -> None:
    environ = {"EXCHANGE_MAIN": "FTX", "API_KEY_MAIN": "a-key", "API_SECRET_MAIN": "a-secret"}
    what, mend = examine(**environ, LIVE_TRADING="1").only()
    assert "closed in November 2022" in what
    assert mend == "set FTX_API_URL to a server that speaks its API"
    assert examine(**environ).says("warn", "closed in November 2022") == mend


@pytest.mark.parametrize("name", VENUES)
def test_nobody_answers(examine: Callable[..., Told], name: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        environ = {
            "LIVE_TRADING": "1",
            "EXCHANGE_MAIN": name,
            "API_KEY_MAIN": "the-key",
            "API_SECRET_MAIN": "the-secret",
            f"{name}_API_URL": f"http://127.0.0.1:{free.getsockname()[1]}",
        }
        told = examine(**environ)
    what, mend = told.only()
    assert "no connection could be made" in what
    assert "network" in mend


def test_while_all_is_simulated_it_is_advice(
    places: Callable[..., Place], examine: Callable[..., Told]
) -> None:
    told = examine(**places("BYBIT", may_withdraw=True).environ | {"LIVE_TRADING": ""})
    assert told.code == 0
    assert told.says("warn", "the key may withdraw") == "make a key without the right to withdraw"


def test_without_an_exchange_no_venue_is_asked(
    places: Callable[..., Place], examine: Callable[..., Told]
) -> None:
    place = places("BYBIT")
    told = examine(**place.environ | {"EXCHANGE_MAIN": ""})
    assert told.code == 0
    assert told.says("warn", "its keys are not checked").startswith("set EXCHANGE_MAIN")
    assert place.server.log == []


def test_one_account_does_not_hide_the_next(
    places: Callable[..., Place], examine: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, real = places("BYBIT", may_withdraw=True), doctor.live

    def broken(venue: str, account: str, *args: Any) -> Any:
        if account == "A":
            raise RuntimeError(f"a stranger's fault with {place.secret}")
        if account == "B":
            raise Throttled(venue, "GET /\x1b[2J", f"slow down {place.secret}", after=timedelta(seconds=7))
        return real(venue, account, *args)

    monkeypatch.setattr(doctor, "live", broken)
    others = {
        f"{variable}_{name}": value
        for name in "AB"
        for variable, value in (
            ("RISK", "1"),
            ("LEVERAGE", "1"),
            ("EXCHANGE", "BYBIT"),
            ("API_KEY", "k" * 9),
            ("API_SECRET", "s" * 9),
        )
    }
    told = examine(**place.environ, **others, DEFAULT_SUBACCOUNT="main")
    assert [what for what, _ in told.errors] == [
        "the check itself failed: RuntimeError",
        "BYBIT GET / [2J: slow down ***",
        "the key may withdraw",
    ]
    assert told.errors[1][1] == "run this again in 7 s"
    assert told.titles[2:5] == ["Account A", "Account B", "Account MAIN"]


def test_a_mark_for_what_an_adapter_gives_no_mend_for(
    examine: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Venue:
        def check(self) -> Sequence[Finding]:
            return (Finding(fatal=True, text="something is wrong"),)

        def time(self) -> datetime:
            raise Throttled("BYBIT", "clock", "not now", after=timedelta(seconds=1))

    monkeypatch.setattr(doctor, "live", lambda *_: Venue())
    environ = {"EXCHANGE_MAIN": "BYBIT", "API_KEY_MAIN": "the-key", "API_SECRET_MAIN": "the-secret"}
    assert examine(**environ, LIVE_TRADING="1").only() == ("something is wrong", "see to it")
    assert examine(**environ).says("warn", "something is wrong") == "see to it"


# As people start it


@pytest.mark.parametrize(("may_withdraw", "code"), [(False, 0), (True, 1)])
def test_as_a_process(sqlite_url: str, may_withdraw: bool, code: int) -> None:
    from tests.emulator import bybit

    engine, dialect = bybit.build(lambda: datetime.now(UTC), may_withdraw=may_withdraw)
    with Server(dialect, engine) as server:
        place = Place("BYBIT", server)
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        # What a person's .env sets counts as unset here.
        unset = dict.fromkeys(dotenv_values(ENV_FILE, interpolate=False), "")
        own = {
            "WEBHOOK_PASSPHRASE": PASSPHRASE,
            "DATABASE_URL": sqlite_url,
            "RISK_MAIN": "1",
            "LEVERAGE_MAIN": "3",
        }
        done = subprocess.run(
            [sys.executable, "-m", "desk.doctor"],
            cwd=ROOT,
            env=kept | unset | own | place.environ,
            capture_output=True,
            text=True,
            timeout=50,
        )
    assert done.stderr == ""
    told = Told(done.returncode, done.stdout)
    assert told.code == code, done.stdout
    assert place.secret not in done.stdout
    assert place.key not in done.stdout
    assert ("the key may withdraw" in done.stdout) is may_withdraw
