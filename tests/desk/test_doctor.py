"""`python -m desk.doctor`: what it finds at emulated venues over real HTTP, and which mends it names."""

from __future__ import annotations

import importlib
import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values
from sqlalchemy import select, text

from desk import control, doctor
from desk.settings import ENV_FILE, ROOT, VARIABLES
from exchanges import Finding
from store import open_store
from store.tables import state
from tests.emulator.engine import Account
from tests.emulator.server import Server
from trading.errors import Throttled

VENUES = ("BINANCE", "BYBIT", "FTX")
PASSPHRASE = "correct-horse-battery"
WRONG = "not-the-secret-of-this-account"
ACCOUNT_VARIABLE = re.compile(
    r"(API_KEY|API_SECRET|RISK|LEVERAGE|EXCHANGE|NETWORK|APPROVAL|LIMITS)_|.*_API_URL"
)


class Place:
    """One emulated venue and its only account."""

    def __init__(self, name: str, server: Server) -> None:
        self.name, self.server = name, server
        self.key, self.secret = f"emulator-key-{name.lower()}", f"emulator-secret-{name.lower()}"
        found = server.engine.account(self.key)
        assert found is not None
        self.account: Account = found

    @property
    def environ(self) -> dict[str, str]:
        return {
            "LIVE_TRADING": "1",
            "API_KEY_MAIN": self.key,
            "API_SECRET_MAIN": self.secret,
            "EXCHANGE_MAIN": self.name,
            f"{self.name}_API_URL": self.server.url,
        }


class Told:
    """The exit status, and the findings by mark: pairs of text and mend."""

    def __init__(self, code: int, output: str) -> None:
        self.code, self.output = code, output
        self.found: dict[str, list[tuple[str, str]]] = {"ok": [], "warn": [], "error": []}
        self.titles: list[str] = []
        lines = output.splitlines()
        for line, after in zip(lines, [*lines[1:], ""], strict=True):
            mark = re.fullmatch(r"  (ok|warn|error) +(\S.*)", line)
            if mark:
                mend = after.strip() if after.startswith(" " * 9) else ""
                self.found[mark[1]].append((mark[2], mend))
            elif line and not line.startswith(" "):
                self.titles.append(line)
        assert bool(self.found["error"]) == bool(code), output
        assert all(mend for mark in ("warn", "error") for _, mend in self.found[mark]), output
        assert not any(mend for _, mend in self.found["ok"]), output

    @property
    def errors(self) -> list[tuple[str, str]]:
        return self.found["error"]

    def only(self) -> tuple[str, str]:
        assert len(self.errors) == 1, self.output
        return self.errors[0]

    def says(self, mark: str, words: str) -> str:
        """The mend of the one finding with these words."""
        mends = [mend for what, mend in self.found[mark] if words in what]
        assert len(mends) == 1, f"{words!r}\n{self.output}"
        return mends[0]


@pytest.fixture
def places(clock: Any) -> Iterator[Callable[..., Place]]:
    """Opens a venue; `how` as its emulator's build takes it."""
    with ExitStack() as stack:

        def make(name: str, **how: Any) -> Place:
            engine, dialect = importlib.import_module(f"tests.emulator.{name.lower()}").build(clock, **how)
            return Place(name, stack.enter_context(Server(dialect, engine)))

        yield make


@pytest.fixture
def examine(
    sqlite_url: str,
    clock: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Told]:
    """The doctor on settings of this test's own; an empty variable is unset. No secret may show."""
    for name in list(os.environ):
        if name in (*VARIABLES, "DYNO") or ACCOUNT_VARIABLE.match(name):
            monkeypatch.delenv(name)

    def run(**environ: str) -> Told:
        given = {
            "WEBHOOK_PASSPHRASE": PASSPHRASE,
            "DATABASE_URL": sqlite_url,
            "RISK_MAIN": "1",
            "LEVERAGE_MAIN": "3",
            **environ,
        }
        path = tmp_path / ".env"
        path.write_text("".join(f"{name}='{value}'\n" for name, value in given.items()), encoding="utf-8")
        code = doctor.main([], env_file=path, clock=clock)
        said = capsys.readouterr()
        assert said.err == ""
        for name, value in given.items():
            if name.startswith(("API_KEY", "API_SECRET", "WEBHOOK", "DASHBOARD")) and value:
                assert value not in said.out, name
        return Told(code, said.out)

    return run


def changes(place: Place) -> list[str]:
    """What was asked of the venue that changes something."""
    return [f"{seen.method} {seen.path}" for seen in place.server.log if seen.method != "GET"]


# An account at its venue


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


def test_a_key_that_may_withdraw(places: Callable[..., Place], examine: Callable[..., Told]) -> None:
    told = examine(**places("BYBIT", may_withdraw=True).environ)
    assert told.only() == ("the key may withdraw", "make a key without the right to withdraw")


def test_a_key_that_may_not_trade(places: Callable[..., Place], examine: Callable[..., Told]) -> None:
    told = examine(**places("BYBIT", may_trade=False).environ)
    assert "may not trade" in told.only()[0]


@pytest.mark.parametrize("name", ["BINANCE", "FTX"])
def test_where_the_venue_does_not_tell_a_person_must_look(
    places: Callable[..., Place], examine: Callable[..., Told], name: str
) -> None:
    told = examine(**places(name).environ)
    assert [each for each in told.found["warn"] if "withdraw" in "".join(each)], told.output


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


@pytest.mark.parametrize(("name", "most"), [("BYBIT", 100), ("FTX", 20)])
def test_leverage_above_the_maximum(
    places: Callable[..., Place], examine: Callable[..., Told], name: str, most: int
) -> None:
    place = places(name)
    told = examine(**place.environ, LEVERAGE_MAIN=f"{most + 1}")
    assert len(told.errors) == 2, told.output
    assert f"LEVERAGE_MAIN is {most + 1}, and the venue allows {most} at most" in told.errors[0][0]
    assert told.errors[0][1] == f"set it to {most} or less"
    assert examine(**place.environ, LEVERAGE_MAIN=f"{most}").code == 0


def test_a_maximum_that_is_not_told_is_to_be_looked_up(
    places: Callable[..., Place], examine: Callable[..., Told]
) -> None:
    place = places("BINANCE")
    words = "BTC-USDT-PERP: the venue's list does not tell the largest leverage"
    examine(**place.environ).says("ok", words)
    assert examine(**place.environ, LEVERAGE_MAIN="21").says("warn", words)


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
    symbols = '["1000PEPEUSDT.P", "ETH-USDT-PERP", "NOSUCHUSDT.P", "BTCUSDT", "?"]'
    told = examine(**places("BYBIT").environ, LIMITS_MAIN=f'{{"symbols": {symbols}}}')
    assert [mend for _, mend in told.errors] == [
        "correct NOSUCHUSDT.P, or take it out",
        "correct BTCUSDT, or take it out",
        "correct ?, or take it out",
    ]
    told.says("ok", "1000PEPE-USDT-PERP: with ")
    told.says("ok", "ETH-USDT-PERP: with ")
    assert "BTC-USDT-PERP: with " not in told.output


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


# What is set


def test_a_missing_risk_or_leverage(examine: Callable[..., Told]) -> None:
    assert examine(RISK_MAIN="").only() == (
        "RISK_MAIN is not set: the account may not enter",
        "set it to the percent of free collateral that a stop may cost",
    )
    assert "LEVERAGE_MAIN is not set" in examine(LEVERAGE_MAIN="").only()[0]


def test_every_wrong_setting_is_told_with_its_mend(examine: Callable[..., Told]) -> None:
    told = examine(
        WEBHOOK_PASSPHRASE="",
        DATABASE_URL="mysql://nowhere/x",
        RISK_MAIN="much",
        API_KEY_MAIN="a-long-key",
        DISCORD_TOKEN="a-token",
        LIMITS_MAIN='{"max_notionl": 1}',
        MAX_ALERT_AGE="-1",
        EXCHANGE_MAIN="KRAKEN",
        LIVE_TRADING="1",
    )
    variables = [what.partition(":")[0] for what, _ in told.errors]
    assert sorted(variables[:7]) == [
        "API_SECRET_MAIN",
        "DATABASE_URL",
        "DISCORD_CHANNEL_ID",
        "LIMITS_MAIN",
        "MAX_ALERT_AGE",
        "RISK_MAIN",
        "WEBHOOK_PASSPHRASE",
    ]
    assert variables[7:] == ["EXCHANGE_MAIN is KRAKEN, which this server has no adapter for"]
    assert told.errors[7][1] == "set it to one of BINANCE, BYBIT, FTX, PAPER"
    assert ("WEBHOOK_PASSPHRASE: is not set", "choose one and put it into every alert as well") in told.errors
    assert "Database" not in told.titles


@pytest.mark.parametrize(
    ("environ", "what"),
    [
        ({"RISK_MAIN": "", "LEVERAGE_MAIN": ""}, "no account is set"),
        ({"DEFAULT_SUBACCOUNT": "other"}, "DEFAULT_SUBACCOUNT is other, which is not set up"),
        ({"LIVE_TRADING": "1"}, "it has no credentials"),
        ({"APPROVAL_MAIN": "discord"}, "and nobody can approve"),
    ],
)
def test_what_would_stop_a_trade(examine: Callable[..., Told], environ: dict[str, str], what: str) -> None:
    assert what in examine(**environ).only()[0]


@pytest.mark.parametrize(
    ("environ", "mark", "what"),
    [
        ({"WEBHOOK_PASSPHRASE": "short one"}, "warn", "WEBHOOK_PASSPHRASE can be guessed"),
        ({"RISK_B": "1", "LEVERAGE_B": "1"}, "warn", "DEFAULT_SUBACCOUNT is not set"),
        ({"APPROVAL_MAIN": "discord", "DASHBOARD_PASSWORD": "long-enough-it-is"}, "warn", "dashboard alone"),
        (
            {
                "APPROVAL_MAIN": "discord",
                "DISCORD_TOKEN": "token",
                "DISCORD_CHANNEL_ID": "1",
                "DISCORD_APPROVERS": "2",
            },
            "ok",
            "entries wait for a person",
        ),
        (
            {"LIMITS_MAIN": '{"max_notional": 5000, "symbols": ["BTCUSDT.P", "ETHUSDT.P"]}'},
            "ok",
            "LIMITS_MAIN: max_notional 5000, symbols BTCUSDT.P ETHUSDT.P",
        ),
        ({}, "ok", "LIMITS_MAIN: not set"),
        ({}, "ok", "EXCHANGE_MAIN is not set: an alert says where it trades"),
        (
            {"EXCHANGE_MAIN": "paper", "API_KEY_MAIN": "the-key", "API_SECRET_MAIN": "the-secret"},
            "ok",
            "EXCHANGE_MAIN is PAPER",
        ),
        ({"EXCHANGE_MAIN": "KRAKEN"}, "warn", "EXCHANGE_MAIN is KRAKEN"),
    ],
)
def test_what_is_told_and_stops_nothing(
    examine: Callable[..., Told], environ: dict[str, str], mark: str, what: str
) -> None:
    told = examine(**environ)
    assert told.code == 0
    told.says(mark, what)


def test_a_file_that_is_no_text(
    examine: Callable[..., Told], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.env"
    path.write_bytes(b"\xff\xfe\x00")
    assert doctor.main([], env_file=path) == 1
    assert "bad.env: cannot be read as UTF-8 text" in capsys.readouterr().out


def test_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        doctor.main(["--fix"])
    assert ended.value.code == 2
    assert "python -m desk.doctor" in capsys.readouterr().err


# The database


def test_a_good_database_stays_as_it_is(examine: Callable[..., Told], database_url: str) -> None:
    told = examine(DATABASE_URL=database_url)
    assert told.code == 0
    told.says("ok", "answers and can be written, schema 0001 is in place")
    store = open_store(database_url)
    with store.read() as tx:
        assert tx.execute(select(state)).all() == []
    store.close()


def test_no_database_is_not_made(examine: Callable[..., Told], tmp_path: Path) -> None:
    told = examine(DATABASE_URL=f"sqlite:///{tmp_path}/new/desk.db")
    assert told.only() == (f"there is none yet at {tmp_path}/new/desk.db", doctor.MIGRATE)
    assert not (tmp_path / "new").exists()


def test_a_database_without_tables(examine: Callable[..., Told], tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    told = examine(DATABASE_URL=f"sqlite:///{tmp_path}/empty.db")
    assert told.only() == ("it has no tables yet", doctor.MIGRATE)


def test_a_newer_database(examine: Callable[..., Told], sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    with store.write() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    assert examine().only() == ("it belongs to a newer release than this", "install that release")


def test_an_older_database(examine: Callable[..., Told], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.schema.HEAD", "0002")
    monkeypatch.setattr("store.schema.REVISIONS", ("0001", "0002"))
    assert examine().only() == ("it is of an older release", doctor.MIGRATE)


def test_a_database_that_cannot_be_written(examine: Callable[..., Told], sqlite_url: str) -> None:
    with closing(open_store(sqlite_url)) as other, other.write():
        told = examine()
    assert told.only() == ("database: database is locked", "mend the database, or DATABASE_URL")
    assert "Account MAIN" in told.titles


def test_a_database_that_refuses_what_nobody_expects(examine: Callable[..., Told], sqlite_url: str) -> None:
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as other:
        other.execute("CREATE TRIGGER no BEFORE INSERT ON state BEGIN SELECT RAISE(ABORT, 'no'); END")
    told = examine()
    assert told.only() == ("the check itself failed: IntegrityError", "mend the database, or DATABASE_URL")


def test_a_database_that_does_not_answer(examine: Callable[..., Told]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        told = examine(DATABASE_URL=f"postgresql://me:pa55word@127.0.0.1:{free.getsockname()[1]}/desk")
    assert told.only()[1] == "mend the database, or DATABASE_URL"
    assert "pa55word" not in told.output
    assert "Account MAIN" in told.titles


def test_a_halt_stops_every_entry(examine: Callable[..., Told], sqlite_url: str, clock: Any) -> None:
    store = open_store(sqlite_url)
    control.halt(store, reason="holidays", by="me", now=clock())
    store.close()
    what, mend = examine().only()
    assert what == "trading is halted since 2026-01-05 12:00 UTC by me: holidays"
    assert "/api/resume" in mend


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
