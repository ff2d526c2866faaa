"""The doctor against emulated venues over real HTTP: what would stop a trade is found, with its mend."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from desk import doctor
from desk.settings import ENV_FILE, ROOT, load
from exchanges._http import Hosts, Patience
from tests.emulator.server import Server

Told = Callable[..., tuple[str, bool]]
VENUES = ("BINANCE", "BYBIT", "FTX")


class Clinic:
    """One venue with one account, and what the doctor says of it."""

    def __init__(self, venue: str, clock: Any, url: str) -> None:
        self.venue, self._clock, self._url = venue, clock, url
        self.engine, dialect = importlib.import_module(f"tests.emulator.{venue.lower()}").build(clock)
        self.server = Server(dialect, self.engine)
        account = self.engine.account(f"emulator-key-{venue.lower()}")
        assert account is not None
        self.account = account

    def environ(self, **changes: str) -> dict[str, str]:
        name = self.venue.lower()
        return {
            "WEBHOOK_PASSPHRASE": "correct-horse-battery",
            "DATABASE_URL": self._url,
            "LIVE_TRADING": "1",
            "RISK_MAIN": "1",
            "LEVERAGE_MAIN": "3",
            "EXCHANGE_MAIN": self.venue,
            "API_KEY_MAIN": f"emulator-key-{name}",
            "API_SECRET_MAIN": f"emulator-secret-{name}",
            f"{self.venue}_API_URL": self.server.url,
            **changes,
        }

    def told(self, **changes: str) -> tuple[str, bool]:
        settings = load(self.environ(**changes))
        hosts = Hosts(
            self._clock, patience=Patience(connect=0.5, silence=1.0, total=1.5), pause=self._clock.advance
        )
        return doctor.told(doctor.examine(settings, self._clock, hosts), settings.secrets)


@pytest.fixture
def clinic(sqlite_url: str, clock: Any) -> Iterator[Callable[[str], Clinic]]:
    opened: list[Clinic] = []

    def make(venue: str) -> Clinic:
        made = Clinic(venue, clock, sqlite_url)
        made.server.__enter__()
        opened.append(made)
        return made

    yield make
    for each in opened:
        each.server.close()


@pytest.mark.parametrize("venue", VENUES)
def test_a_good_account_passes(clinic: Callable[[str], Clinic], venue: str) -> None:
    text, fatal = clinic(venue).told()
    assert not fatal, text
    assert "up to date" in text
    assert "a stop 1 % away gives" in text
    assert "emulator-" not in text


@pytest.mark.parametrize("venue", VENUES)
def test_a_wrong_secret_is_an_error(clinic: Callable[[str], Clinic], venue: str) -> None:
    text, fatal = clinic(venue).told(API_SECRET_MAIN="another-secret-altogether")
    assert fatal, text
    assert "another-secret" not in text
    on_paper, fatal = clinic(venue).told(API_SECRET_MAIN="another-secret-altogether", LIVE_TRADING="")
    assert not fatal, on_paper


@pytest.mark.parametrize("venue", ["BINANCE", "BYBIT"])
def test_hedge_mode_is_an_error_with_its_mend(clinic: Callable[[str], Clinic], venue: str) -> None:
    sick = clinic(venue)
    sick.account.set_hedge(True)
    text, fatal = sick.told()
    assert fatal, text
    assert "one-way" in text


def test_a_key_that_may_withdraw_is_an_error(clinic: Callable[[str], Clinic]) -> None:
    sick = clinic("BYBIT")
    sick.account.may_withdraw = True
    text, fatal = sick.told()
    assert fatal, text
    assert "withdraw" in text.lower()


@pytest.mark.parametrize("venue", VENUES)
def test_a_clock_that_is_off_is_told_and_made_up_for(clinic: Callable[[str], Clinic], venue: str) -> None:
    sick = clinic(venue)
    sick.server.skew = timedelta(seconds=90)
    text, fatal = sick.told()
    assert not fatal, text
    assert "90" in text


@pytest.mark.parametrize("venue", VENUES)
def test_too_little_for_the_smallest_order_is_an_error(clinic: Callable[[str], Clinic], venue: str) -> None:
    text, fatal = clinic(venue).told(RISK_MAIN="0.0000001")
    assert fatal, text
    assert "minimum" in text


def test_what_is_missing_is_named(clinic: Callable[[str], Clinic]) -> None:
    text, fatal = clinic("BINANCE").told(RISK_MAIN="")
    assert fatal
    assert "set RISK_MAIN" in text
    text, fatal = clinic("BINANCE").told(EXCHANGE_MAIN="")
    assert not fatal
    assert "EXCHANGE_MAIN" in text
    text, fatal = clinic("BINANCE").told(API_KEY_MAIN="", API_SECRET_MAIN="")
    assert fatal
    assert "set API_KEY_MAIN and API_SECRET_MAIN" in text


def test_a_venue_that_closed_and_one_that_is_down(clinic: Callable[[str], Clinic]) -> None:
    closed = clinic("FTX")
    text, fatal = closed.told(FTX_API_URL="")
    assert fatal
    assert "November 2022" in text
    down = clinic("BYBIT")
    down.server.close()
    text, fatal = down.told()
    assert fatal
    assert "->" in text


def test_a_database_of_no_release(clinic: Callable[[str], Clinic], tmp_path: Any) -> None:
    text, fatal = clinic("BINANCE").told(DATABASE_URL=f"sqlite:///{tmp_path}/new.db")
    assert not fatal, text
    assert "empty" in text


def test_the_command_says_so_by_its_exit_status(sqlite_url: str) -> None:
    from desk.demo import shielded

    good = shielded(ENV_FILE) | {
        "WEBHOOK_PASSPHRASE": "correct-horse-battery",
        "DATABASE_URL": sqlite_url,
        "RISK_MAIN": "1",
        "LEVERAGE_MAIN": "3",
    }
    for changes, status in (({}, 0), ({"RISK_MAIN": ""}, 1), ({"WEBHOOK_PASSPHRASE": ""}, 1)):
        done = subprocess.run(
            [sys.executable, "-m", "desk.doctor"],
            cwd=ROOT,
            env=good | changes,
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "would stop a trade" in done.stdout
        assert os.sep * 3 not in done.stdout


def test_secrets_are_hidden_whoever_says_them() -> None:
    from exchanges import Finding

    text, _ = doctor.told([("x", Finding(fatal=False, text="the key sesame"))], ["sesame"])
    assert "sesame" not in text
