"""Every variable: what is read, what is refused and with which words, what stays out of sight."""

from __future__ import annotations

import itertools
import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk import settings
from desk.settings import ACCOUNT_VARIABLES, API_URL_VARIABLE, ROOT, VARIABLES, Settings, environment, load
from trading.errors import SettingsError
from trading.model import AccountRules, ApprovalMode, Limits

PASSPHRASE = "correct horse"
LEAST = {"WEBHOOK_PASSPHRASE": PASSPHRASE}


def loaded(**variables: str) -> Settings:
    return load(LEAST | variables)


def refused(**variables: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load(LEAST | variables)
    return caught.value


def test_defaults() -> None:
    found = loaded()
    assert found.passphrases == (PASSPHRASE,)
    assert found.database_url == "sqlite:///data/desk.db"
    assert (found.port, found.web_concurrency, found.runner) == (8000, 1, "embedded")
    assert (found.live_trading, dict(found.accounts), found.default_subaccount) == (False, {}, None)
    assert found.paper_balance == Decimal(100000)
    assert dict(found.api_urls) == {}
    assert found.max_alert_age == timedelta(seconds=60)
    assert (found.approval_timeout, found.approval_max_drift) == (timedelta(seconds=300), Decimal("0.5"))
    assert (found.dashboard_password, found.tradingview_ips_only, found.trusted_proxies) == (None, False, 0)
    assert (found.discord_token, found.discord_channel_id, found.discord_approvers) == (None, None, ())
    assert found.discord_api_url == "https://discord.com/api/v10"
    assert found.discord_gateway_url == "wss://gateway.discord.gg/"


def test_an_empty_variable_is_an_unset_one() -> None:
    empty = dict.fromkeys((*VARIABLES, "RISK_MAIN", "LIMITS_MAIN", "FTX_API_URL"), " ")
    assert load(empty | LEAST) == loaded()


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        loaded().port = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        loaded(RISK_MAIN="1").accounts["OTHER"] = None  # type: ignore[index]


def test_variables_are_what_is_read() -> None:
    asked = set()

    class Environ(dict[str, str]):
        def get(self, name: str, default: Any = None) -> Any:
            asked.add(name)
            return super().get(name, default)

    load(Environ(LEAST | {"RISK_NAME": "1"}))
    # DYNO is Heroku's mark, not a setting.
    assert asked == {*VARIABLES, *ACCOUNT_VARIABLES, "DYNO"}


def test_env_example_lists_every_variable_once_with_one_comment() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    names = []
    for before, line in itertools.pairwise(lines):
        if line and not line.startswith("#"):
            assert before.startswith("# "), f"no comment above {line}"
            names.append(line.partition("=")[0])
    urls = [name for name in names if name not in VARIABLES and API_URL_VARIABLE.fullmatch(name)]
    assert len(urls) == 4
    assert sorted(names) == sorted([*VARIABLES, *ACCOUNT_VARIABLES, *urls])


def test_env_example_works_but_for_the_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {})
    found = load(environment(ROOT / ".env.example") | LEAST)
    assert found.accounts["NAME"].rules.risk == 1
    bare = loaded()
    for name in (
        "port",
        "max_alert_age",
        "approval_timeout",
        "approval_max_drift",
        "paper_balance",
        "runner",
        "bot",
    ):
        assert getattr(found, name) == getattr(bare, name)


# Passphrases and passwords


def test_several_passphrases() -> None:
    assert loaded(WEBHOOK_PASSPHRASE=" first-one , second-one").passphrases == ("first-one", "second-one")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "is not set"),
        ("  ", "is not set"),
        ("long-enough,", "empty passphrase"),
        ("change-me", "placeholder"),
        ("Change_Me", "placeholder"),
        ("your-passphrase", "placeholder"),
        ("tab\tin the middle", "cannot be typed"),
    ],
)
def test_bad_passphrases_are_refused_and_not_shown(value: str, says: str) -> None:
    error = refused(WEBHOOK_PASSPHRASE=value)
    assert error.variable == "WEBHOOK_PASSPHRASE"
    assert says in error.reason
    assert all(part.strip() not in error.reason for part in value.split(",") if part.strip())


def test_short_secrets_work_and_are_warned_of() -> None:
    settings = loaded(DASHBOARD_PASSWORD="seven77", WEBHOOK_PASSPHRASE="long-enough-for-anyone,short")
    assert settings.dashboard_password == "seven77"
    assert [line.split()[0] for line in settings.warnings] == ["WEBHOOK_PASSPHRASE", "DASHBOARD_PASSWORD"]
    assert "seven77" not in " ".join(settings.warnings)
    assert loaded(WEBHOOK_PASSPHRASE="long-enough-for-anyone").warnings == ()
    scoped = loaded(WEBHOOK_PASSPHRASE="long-enough-for-anyone", RISK_MAIN="1", PASSPHRASE_MAIN="short")
    assert scoped.warnings == ("PASSPHRASE_MAIN can be guessed: use 12 characters or more",)


def test_secrets_are_known_and_stay_out_of_the_repr() -> None:
    found = loaded(
        WEBHOOK_PASSPHRASE="canary-one,canary-two",
        PASSPHRASE_MAIN="canary-scoped",
        API_KEY_MAIN="canary-key",
        API_SECRET_MAIN="canary-secret",
        DASHBOARD_PASSWORD="canary-password",
        DISCORD_TOKEN="canary-token",
        DISCORD_CHANNEL_ID="1",
        DATABASE_URL="postgres://user:canary%2Fdb@host/desk?password=canary-query",
    )
    assert set(found.secrets) == {
        *(
            "canary-one",
            "canary-two",
            "canary-scoped",
            "canary-key",
            "canary-secret",
            "canary-password",
            "canary-token",
        ),
        *("canary%2Fdb", "canary/db", "canary-query"),
    }
    assert "canary" not in repr(found)


# Accounts


def test_an_account() -> None:
    found = loaded(
        API_KEY_MAIN="key",
        API_SECRET_MAIN="secret",
        RISK_MAIN="0.5",
        LEVERAGE_MAIN="10",
        EXCHANGE_MAIN="Kraken",
        NETWORK_MAIN="TestNet",
        APPROVAL_MAIN="discord",
        LIMITS_MAIN='{"max_notional": 5000.50, "max_open_positions": 2, "max_daily_loss": 100,'
        ' "max_orders_per_minute": 30, "symbols": ["btc-usdt-perp"], "cooldown_s": 0}',
    )
    account = found.accounts["MAIN"]
    assert (account.api_key, account.api_secret) == ("key", "secret")
    assert account.rules == AccountRules(
        account="MAIN",
        risk=Decimal("0.5"),
        leverage=Decimal(10),
        exchange="KRAKEN",
        network="testnet",
        approval=ApprovalMode.DISCORD,
        limits=Limits(
            max_notional=Decimal("5000.50"),
            max_open_positions=2,
            max_daily_loss=Decimal(100),
            max_orders_per_minute=30,
            symbols=("BTC-USDT-PERP",),
            cooldown_s=0,
        ),
    )
    assert isinstance(account.rules.limits.max_open_positions, int)


@pytest.mark.parametrize(
    "variables",
    [
        {"RISK_A_B2": "1"},
        {"LEVERAGE_A_B2": "1"},
        {"APPROVAL_A_B2": "auto"},
        {"LIMITS_A_B2": "{}"},
        {"API_KEY_A_B2": "key", "API_SECRET_A_B2": "secret"},
    ],
)
def test_what_makes_an_account(variables: dict[str, str]) -> None:
    found = loaded(**variables)
    assert list(found.accounts) == ["A_B2"]
    assert found.default_subaccount == "A_B2"


def test_what_foreign_software_sets_makes_none() -> None:
    foreign = {"API_KEY_WEATHER": "abc", "NETWORK_MODE": "bridge", "EXCHANGE_RATE": "1.08"}
    found = loaded(RISK_MAIN="1", APPROVAL_TIMEOUT="60", APPROVAL_MAX_DRIFT="1", **foreign)
    assert list(found.accounts) == ["MAIN"]


def test_unset_risk_and_leverage_stay_unset() -> None:
    rules = loaded(APPROVAL_MAIN="auto").accounts["MAIN"].rules
    assert (rules.risk, rules.leverage) == (None, None)


def test_the_default_account() -> None:
    assert loaded(RISK_A="1", RISK_B="1").default_subaccount is None
    assert loaded(RISK_A="1", RISK_B="1", DEFAULT_SUBACCOUNT="my b").default_subaccount == "my b"
    assert refused(DEFAULT_SUBACCOUNT="--").variable == "DEFAULT_SUBACCOUNT"


@pytest.mark.parametrize(
    ("variables", "variable", "says"),
    [
        ({"RISK_MAIN": "0"}, "RISK_MAIN", "more than 0 and 100 at most"),
        ({"RISK_MAIN": "100.1"}, "RISK_MAIN", "out of range"),
        ({"RISK_MAIN": "-1"}, "RISK_MAIN", "plain number"),
        ({"RISK_MAIN": "1%"}, "RISK_MAIN", "plain number"),
        ({"RISK_MAIN": "1e1"}, "RISK_MAIN", "plain number"),
        ({"RISK_MAIN": "1_0"}, "RISK_MAIN", "plain number"),
        ({"RISK_MAIN": "٣"}, "RISK_MAIN", "plain number"),
        ({"RISK_MAIN": "NaN"}, "RISK_MAIN", "plain number"),
        ({"LEVERAGE_MAIN": "0.0"}, "LEVERAGE_MAIN", "out of range"),
        ({"LEVERAGE_MAIN": "126"}, "LEVERAGE_MAIN", "125"),
        ({"RISK_main": "1"}, "RISK_main", "RISK_MAIN"),
        ({"RISK_MY-ACCOUNT": "1"}, "RISK_MY-ACCOUNT", "RISK_MY_ACCOUNT"),
        ({"RISK_TIMEOUT": "1"}, "RISK_TIMEOUT", "APPROVAL_TIMEOUT"),
        ({"LIMITS_MAX_DRIFT": "{}"}, "LIMITS_MAX_DRIFT", "APPROVAL_MAX_DRIFT"),
        ({"RISK_MAIN": "1", "API_KEY_MAIN": "canary"}, "API_SECRET_MAIN", "both or neither"),
        ({"RISK_MAIN": "1", "API_SECRET_MAIN": "canary"}, "API_KEY_MAIN", "both or neither"),
        ({"RISK_MAIN": "1", "NETWORK_MAIN": "main"}, "NETWORK_MAIN", "live, testnet, demo"),
        ({"APPROVAL_MAIN": "yes"}, "APPROVAL_MAIN", "auto, discord"),
        ({"RISK_MAIN": "1", "EXCHANGE_MAIN": "A,B"}, "EXCHANGE_MAIN", "one exchange"),
        ({"RISK_MAIN": "1", "PASSPHRASE_MAIN": "a,,b"}, "PASSPHRASE_MAIN", "empty passphrase"),
        (
            {"RISK_MAIN": "1", "PASSPHRASE_MAIN": f"own,{LEAST['WEBHOOK_PASSPHRASE']}"},
            "PASSPHRASE_MAIN",
            "is WEBHOOK_PASSPHRASE too",
        ),
    ],
)
def test_bad_accounts(variables: dict[str, str], variable: str, says: str) -> None:
    error = refused(**variables)
    assert error.variable == variable
    assert says in error.reason
    assert "canary" not in str(error)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "JSON"),
        ("[]", "not a JSON object"),
        ("5", "not a JSON object"),
        ("[" * 100_000, "JSON"),
        ('{"max_notionl": 1}', "did you mean max_notional?"),
        ('{"zzz": 1}', "known are max_notional, max_open_positions"),
        ('{"max_notional": "5000"}', "without quotes"),
        ('{"max_notional": true}', "without quotes"),
        ('{"max_notional": -1}', "plain number"),
        ('{"max_notional": 1e9}', "plain number"),
        ('{"max_notional": NaN}', "plain number"),
        ('{"max_notional": 0}', "leave it out"),
        ('{"max_notional": 1, "max_notional": 2}', "twice"),
        ('{"max_open_positions": 1.5}', "whole number"),
        ('{"symbols": []}', "list of names"),
        ('{"symbols": "BTC-USDT-PERP"}', "list of names"),
        ('{"symbols": ["BTC-USDT-PERP", 1]}', "list of names"),
        ('{"symbols": [" "]}', "list of names"),
    ],
)
def test_bad_limits(text: str, says: str) -> None:
    error = refused(LIMITS_MAIN=text)
    assert error.variable == "LIMITS_MAIN"
    assert says in error.reason


def test_a_limit_of_null_is_none() -> None:
    assert loaded(LIMITS_MAIN='{"symbols": null}').accounts["MAIN"].rules.limits == Limits()


# The rest, one by one


@pytest.mark.parametrize(("value", "on"), [("", False), ("0", False), ("1", True)])
@pytest.mark.parametrize("name", ["LIVE_TRADING", "TRADINGVIEW_IPS_ONLY"])
def test_switches(name: str, value: str, on: bool) -> None:
    assert getattr(loaded(**{name: value}), name.lower()) is on


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LIVE_TRADING", "true"),
        ("LIVE_TRADING", "yes"),
        ("LIVE_TRADING", "2"),
        ("TRADINGVIEW_IPS_ONLY", "on"),
        ("RUNNER", "thread"),
        ("BOT", "1"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("WEB_CONCURRENCY", "0"),
        ("TRUSTED_PROXIES", "-1"),
        ("MAX_ALERT_AGE", "1.5"),
        ("MAX_ALERT_AGE", "60s"),
        ("MAX_ALERT_AGE", "9" * 5000),
        ("APPROVAL_TIMEOUT", "0"),
        ("APPROVAL_MAX_DRIFT", "1.01"),
        ("PAPER_BALANCE", "0"),
        ("PAPER_BALANCE", "1e9999999"),
        ("DATABASE_URL", "mysql://host/desk"),
        ("DATABASE_URL", "data/desk.db"),
        ("DATABASE_URL", "postgres://[::1/desk"),
        ("BYBIT_API_URL", "kraken.com"),
        ("BYBIT_API_URL", "ftp://kraken.com"),
        ("BYBIT_API_URL", "https://"),
        ("BYBIT_API_URL", "https://kraken.com:port"),
        ("BYBIT_API_URL", "https://kraken.com/ x"),
        ("DISCORD_API_URL", "discord.com"),
        ("DISCORD_GATEWAY_URL", "https://discord.com"),
        ("DISCORD_APPROVERS", "1,somebody"),
        ("DISCORD_CHANNEL_ID", "1,2"),
        ("DISCORD_CHANNEL_ID", "#alerts"),
    ],
)
def test_refused_values_name_their_variable(name: str, value: str) -> None:
    assert refused(**{name: value}).variable == name


def test_numbers_and_times() -> None:
    found = loaded(
        PORT="80",
        WEB_CONCURRENCY="2",
        RUNNER="OFF",
        BOT="Embedded",
        MAX_ALERT_AGE="0",
        APPROVAL_TIMEOUT="30",
        APPROVAL_MAX_DRIFT="0",
        PAPER_BALANCE="2500.5",
        TRUSTED_PROXIES="1",
    )
    assert (found.port, found.web_concurrency, found.trusted_proxies) == (80, 2, 1)
    assert (found.runner, found.bot) == ("off", "embedded")
    assert (loaded().runner, loaded().bot) == ("embedded", "off")
    assert found.max_alert_age is None
    assert (found.approval_timeout, found.approval_max_drift) == (timedelta(seconds=30), 0)
    assert found.paper_balance == Decimal("2500.5")


@given(st.decimals(min_value="0.01", max_value=100, places=2))
def test_every_risk_in_range_is_read_exactly(risk: Decimal) -> None:
    assert loaded(RISK_MAIN=str(risk)).accounts["MAIN"].rules.risk == risk


def test_api_urls_are_those_of_exchanges() -> None:
    found = loaded(
        BYBIT_API_URL="https://api.bybit.eu/",
        BINANCE_SPOT_API_URL="http://127.0.0.1:9000",
        DISCORD_API_URL="http://127.0.0.1:9001/api/",
        # Other programs' variables.
        GITHUB_API_URL="localhost:3000",
        REACT_APP_API_URL="foo",
    )
    assert found.api_urls == {"BYBIT": "https://api.bybit.eu", "BINANCE_SPOT": "http://127.0.0.1:9000"}
    assert found.discord_api_url == "http://127.0.0.1:9001/api"


@pytest.mark.parametrize(
    "url",
    ["sqlite:////tmp/desk.db", "postgres://host/desk", "postgresql://u:p@host:5432/desk?sslmode=require"],
)
def test_database_addresses(url: str) -> None:
    assert loaded(DATABASE_URL=url).database_url == url


def test_sqlite_is_refused_where_the_disk_is_wiped() -> None:
    error = refused(DYNO="web.1")
    assert error.variable == "DATABASE_URL"
    assert "Heroku Postgres" in error.reason
    assert loaded(DYNO="web.1", DATABASE_URL="postgres://host/desk").database_url.startswith("postgres")


def test_discord() -> None:
    found = loaded(DISCORD_TOKEN="token-of-the-bot", DISCORD_CHANNEL_ID="11", DISCORD_APPROVERS="21, 22,")
    assert (found.discord_channel_id, found.discord_logs_channel_id, found.discord_err_channel_id) == (
        11,
        11,
        11,
    )
    assert found.discord_approvers == (21, 22)
    other = loaded(DISCORD_CHANNEL_ID="11", DISCORD_LOGS_CHANNEL_ID="12", DISCORD_ERR_CHANNEL_ID="13")
    assert (other.discord_logs_channel_id, other.discord_err_channel_id) == (12, 13)
    assert refused(DISCORD_TOKEN="token-of-the-bot").variable == "DISCORD_CHANNEL_ID"


# .env


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {"PORT": "9000", "LIVE_TRADING": ""})
    file = tmp_path / ".env"
    text = "\ufeffWEBHOOK_PASSPHRASE='pa$$ ${PORT} phrase'\nPORT=9001\nLIVE_TRADING=1\nRISK_MAIN=2 # %\n"
    file.write_text(text, encoding="utf-8")
    found = settings.from_environment(file)
    assert found.passphrases == ("pa$$ ${PORT} phrase",)
    assert (found.port, found.live_trading) == (9000, False)
    assert found.accounts["MAIN"].rules.risk == 2


def test_no_file_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", dict(LEAST))
    assert settings.from_environment(tmp_path / ".env") == loaded()


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff\xfePASS")
    with pytest.raises(SettingsError, match=re.escape(".env: cannot be read")):
        environment(tmp_path / ".env")


@pytest.mark.parametrize(
    "line",
    ["LIVE_TRADING true", 'LIMITS_MAIN {"max_open_positions": 1}', "s3cret", "=1", "PORT='9001", "export"],
)
def test_a_line_that_sets_nothing_is_not_passed_over(tmp_path: Path, line: str) -> None:
    file = tmp_path / ".env"
    file.write_text(f"# a comment\n\nRISK_MAIN=1\n{line}\nEMPTY=\n")
    with pytest.raises(SettingsError) as caught:
        environment(file)
    assert str(caught.value) == ".env: line 4 says nothing: write NAME=value, both quotes or none"


def test_one_proxy_is_trusted_on_heroku_unless_told_otherwise() -> None:
    environ = {
        "WEBHOOK_PASSPHRASE": "correct-horse-battery",
        "DYNO": "web.1",
        "DATABASE_URL": "postgres://u:p@host/db",
    }
    assert load(environ).trusted_proxies == 1
    assert load({**environ, "TRUSTED_PROXIES": "0"}).trusted_proxies == 0
