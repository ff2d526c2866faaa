"""Environment, and `.env` beside app.py under it, -> one frozen Settings, read once.

Whatever is missing or wrong is a SettingsError that names the variable and the mend. Never guesses, never
writes, and never lets a secret into an error or a repr.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from dotenv.parser import parse_stream

from desk.limits import DECIMAL, parse_limits, shown
from desk.variables import ACCOUNT, GROUPS
from trading.alert import account_of
from trading.errors import AlertInvalid, SettingsError
from trading.model import AccountRules, ApprovalMode, DriftMode

ROOT = Path(__file__).resolve().parents[1]
ENV_FILE = ROOT / ".env"

#: What `load` reads by its whole name.
VARIABLES = tuple(name for group in GROUPS if group is not ACCOUNT for name in group.names)
#: What `load` reads for each account NAME.
ACCOUNT_VARIABLES = ACCOUNT.names
#: What `load` reads for each venue: its base URL.
API_URL_VARIABLE = re.compile(r"(?!DISCORD_)([A-Z0-9_]+)_API_URL")

_DISCORD_API_URL = "https://discord.com/api/v10"
_DISCORD_GATEWAY_URL = "wss://gateway.discord.gg/"
MAX_LEVERAGE = Decimal(125)
WISE_LENGTH = 12
_INTEGER = re.compile(r"[0-9]{1,9}")
_DISCORD_ID = re.compile(r"[0-9]{1,20}")
_NAME = re.compile(r"[A-Z0-9_]+")
_DATABASE_SCHEMES = ("sqlite", "postgres", "postgresql")
_PLACEHOLDERS = frozenset({"changeme", "yourpassphrase"})
#: These alone make an account. The other variables of ACCOUNT_VARIABLES have names that foreign software
#: uses too; a key with its secret makes an account all the same.
_ACCOUNT_MAKERS = ("RISK_", "LEVERAGE_", "APPROVAL_", "LIMITS_", "DRIFT_", "FLATTEN_")
#: APPROVAL_TIMEOUT and APPROVAL_MAX_DRIFT are no accounts' variables.
_NO_ACCOUNT_NAMES = ("TIMEOUT", "MAX_DRIFT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account: what it may do, its credentials, which are there together or not at all, and the
    passphrases that are good for its alerts alone.
    """

    rules: AccountRules
    passphrases: tuple[str, ...] = field(default=(), repr=False)
    api_key: str | None = field(default=None, repr=False)
    api_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that a person can set; docs/settings.md has it in words.

    `accounts` is keyed by account name, `api_urls` by variable name without _API_URL. `max_alert_age` is
    None where it is turned off, `dashboard_password` where the dashboard is closed.
    """

    passphrases: tuple[str, ...] = field(repr=False)
    database_url: str = field(repr=False)
    port: int = 8000
    web_concurrency: int = 1
    runner: Literal["embedded", "off"] = "embedded"
    bot: Literal["embedded", "off"] = "off"
    live_trading: bool = False
    accounts: Mapping[str, Account] = field(default_factory=dict)
    default_subaccount: str | None = None
    paper_balance: Decimal = Decimal(100000)
    api_urls: Mapping[str, str] = field(default_factory=dict)
    max_alert_age: timedelta | None = timedelta(seconds=60)
    approval_timeout: timedelta = timedelta(seconds=300)
    approval_max_drift: Decimal = Decimal("0.5")
    dashboard_password: str | None = field(default=None, repr=False)
    tradingview_ips_only: bool = False
    trusted_proxies: int = 0
    discord_token: str | None = field(default=None, repr=False)
    discord_channel_id: int | None = None
    discord_logs_channel_id: int | None = None
    discord_err_channel_id: int | None = None
    discord_approvers: tuple[int, ...] = ()
    discord_api_url: str = _DISCORD_API_URL
    discord_gateway_url: str = _DISCORD_GATEWAY_URL

    @property
    def every_passphrase(self) -> tuple[str, ...]:
        """Those that are good for each account, and those that are good for one."""
        scoped = [each for account in self.accounts.values() for each in account.passphrases]
        return (*self.passphrases, *scoped)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What works and is unwise all the same, a line each: told at every start."""
        short = []
        if any(len(each) < WISE_LENGTH for each in self.passphrases):
            short.append("WEBHOOK_PASSPHRASE")
        for name, account in self.accounts.items():
            if any(len(each) < WISE_LENGTH for each in account.passphrases):
                short.append(f"PASSPHRASE_{name}")
        if self.dashboard_password is not None and len(self.dashboard_password) < WISE_LENGTH:
            short.append("DASHBOARD_PASSWORD")
        return tuple(f"{name} can be guessed: use {WISE_LENGTH} characters or more" for name in short)

    @property
    def secrets(self) -> tuple[str, ...]:
        """All that may never be shown: for the log's redaction."""
        found = [*self.every_passphrase, self.dashboard_password, self.discord_token]
        for account in self.accounts.values():
            found += [account.api_key, account.api_secret]
        address = urlsplit(self.database_url)
        found += [
            address.password,
            unquote(address.password or ""),
            *parse_qs(address.query).get("password", []),
        ]
        return tuple(dict.fromkeys(secret for secret in found if secret))


def exchange_names() -> frozenset[str]:
    """The exchanges of this release by name, told without loading any: the bot has no use for one."""
    return frozenset(path.stem.upper() for path in (ROOT / "exchanges").glob("[!_]*.py"))


def environment(env_file: Path = ENV_FILE) -> dict[str, str]:
    """The variables of `env_file`, where there is one, under those of this process. Raises SettingsError."""
    try:
        text = env_file.read_text(encoding="utf-8-sig") if env_file.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(env_file.name, f"cannot be read as UTF-8 text: {error}") from None
    stored: dict[str, str] = {}
    for read in parse_stream(StringIO(text)):
        if read.key is not None and read.value is not None:
            stored[read.key] = read.value
        elif read.error or read.key is not None:
            # Passed over, it might be LIMITS_NAME that nobody enforces. It is not shown: it may be a secret.
            line = read.original.line
            raise SettingsError(
                env_file.name, f"line {line} says nothing: write NAME=value, both quotes or none"
            )
    return stored | dict(os.environ)


def from_environment(env_file: Path = ENV_FILE) -> Settings:
    """The settings of this process. Raises SettingsError."""
    return load(environment(env_file))


def load(environ: Mapping[str, str]) -> Settings:
    """The settings that `environ` holds; an empty variable counts as unset. Raises SettingsError."""
    read = _Reader(environ)
    accounts = {name: _account(read, name) for name in _account_names(read)}
    only = next(iter(accounts)) if len(accounts) == 1 else None
    age = read.integer("MAX_ALERT_AGE", 60)
    return Settings(
        passphrases=_passphrases(read),
        database_url=_database_url(read),
        port=read.integer("PORT", 8000, low=1, high=65535),
        web_concurrency=read.integer("WEB_CONCURRENCY", 1, low=1, high=64),
        runner="off" if read.choice("RUNNER", ("embedded", "off")) == "off" else "embedded",
        bot="embedded" if read.choice("BOT", ("off", "embedded")) == "embedded" else "off",
        live_trading=read.switch("LIVE_TRADING"),
        accounts=MappingProxyType(accounts),
        default_subaccount=_default_subaccount(read) or only,
        paper_balance=read.amount("PAPER_BALANCE") or Decimal(100000),
        api_urls=MappingProxyType(_api_urls(read)),
        max_alert_age=timedelta(seconds=age) if age else None,
        approval_timeout=timedelta(seconds=read.integer("APPROVAL_TIMEOUT", 300, low=1)),
        approval_max_drift=_share(read, "APPROVAL_MAX_DRIFT", Decimal("0.5")),
        dashboard_password=read.secret("DASHBOARD_PASSWORD"),
        tradingview_ips_only=read.switch("TRADINGVIEW_IPS_ONLY"),
        trusted_proxies=read.integer("TRUSTED_PROXIES", 1 if read.text("DYNO") else 0, high=9),
        **_discord(read),
    )


class _Reader:
    """Typed reads of single variables; every refusal names the variable and what it takes."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def names(self) -> list[str]:
        """The names of all that is set, in order."""
        return sorted(name for name in self._environ if self.text(name) is not None)

    def text(self, name: str) -> str | None:
        return self._environ.get(name, "").strip() or None

    def secret(self, name: str) -> str | None:
        return self.text(name)

    def integer(self, name: str, default: int, *, low: int = 0, high: int = 999_999_999) -> int:
        value = self.text(name)
        if value is None:
            return default
        if not _INTEGER.fullmatch(value) or not low <= int(value) <= high:
            raise SettingsError(name, f"{shown(value)} is not a whole number from {low} to {high}")
        return int(value)

    def decimal(self, name: str) -> Decimal | None:
        value = self.text(name)
        if value is not None and not DECIMAL.fullmatch(value):
            raise SettingsError(name, f"{shown(value)} is not a plain number, such as 1 or 0.5")
        return None if value is None else Decimal(value)

    def amount(self, name: str, *, high: Decimal | None = None) -> Decimal | None:
        """A number above 0, `high` at most."""
        value = self.decimal(name)
        if value is not None and (value <= 0 or (high is not None and value > high)):
            most = "" if high is None else f" and {high} at most"
            raise SettingsError(name, f"{value:f} is out of range: more than 0{most}")
        return value

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of `choices`, the first where nothing is set; upper or lower case."""
        value = (self.text(name) or choices[0]).lower()
        if value not in choices:
            raise SettingsError(name, f"{shown(value)} is not one of {', '.join(choices)}")
        return value

    def switch(self, name: str) -> bool:
        value = self.text(name)
        if value not in (None, "0", "1"):
            raise SettingsError(name, f"{shown(value or '')} is neither 1 (on) nor 0 (off, as when unset)")
        return value == "1"

    def url(self, name: str, schemes: Sequence[str]) -> str | None:
        value = self.text(name)
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or any(c.isspace() for c in value):
            raise SettingsError(name, f"is not an address: it begins with {schemes[-1]}:// and names a host")
        return value

    def ids(self, name: str) -> tuple[int, ...]:
        """Discord's ids, comma-separated."""
        found = [part.strip() for part in (self.text(name) or "").split(",") if part.strip()]
        for each in found:
            if not _DISCORD_ID.fullmatch(each):
                raise SettingsError(
                    name, f"{shown(each)} is not a Discord id (digits; Developer Mode copies it)"
                )
        return tuple(int(each) for each in found)

    def id(self, name: str) -> int | None:
        found = self.ids(name)
        if len(found) > 1:
            raise SettingsError(name, "takes one id")
        return found[0] if found else None


def _passphrases(read: _Reader) -> tuple[str, ...]:
    name = "WEBHOOK_PASSPHRASE"
    value = read.text(name)
    if value is None:
        raise SettingsError(name, "is not set: choose one and put it into every alert as well")
    return _several(name, value)


def _several(name: str, value: str) -> tuple[str, ...]:
    """Passphrases, comma-separated."""
    found = tuple(part.strip() for part in value.split(","))
    for each in found:
        if not each:
            raise SettingsError(name, "holds an empty passphrase: take out the comma that is too many")
        if "".join(c for c in each.lower() if c.isalnum()) in _PLACEHOLDERS:
            raise SettingsError(name, "is still a placeholder: choose one of your own")
        if not each.isprintable():
            raise SettingsError(name, "holds a character that cannot be typed")
    return found


def _database_url(read: _Reader) -> str:
    name = "DATABASE_URL"
    value = read.text(name) or "sqlite:///data/desk.db"
    scheme = value.partition(":")[0].partition("+")[0].lower()
    if scheme not in _DATABASE_SCHEMES:
        raise SettingsError(name, "is no database address: sqlite:///data/desk.db or postgresql://…")
    try:
        _ = urlsplit(value).hostname
    except ValueError:
        raise SettingsError(name, "is no database address: its brackets do not match") from None
    if scheme == "sqlite" and read.text("DYNO"):
        raise SettingsError(
            name,
            "SQLite on Heroku would lose every trade: a dyno's disk is wiped at each restart, once a day at "
            "least. Add Heroku Postgres, which sets DATABASE_URL: heroku addons:create heroku-postgresql",
        )
    return value


def _api_urls(read: _Reader) -> dict[str, str]:
    # Of exchanges alone: other programs have such variables, too.
    matches = (API_URL_VARIABLE.fullmatch(name) for name in read.names())
    exchanges = exchange_names()
    named = [match for match in matches if match and match[1].removesuffix("_SPOT") in exchanges]
    found = {match[1]: read.url(match[0], ("http", "https")) for match in named}
    return {name: url.rstrip("/") for name, url in found.items() if url}


def _default_subaccount(read: _Reader) -> str | None:
    """As it is spelt; it may name an account that is not set, whose alerts are then refused one by one."""
    value = read.text("DEFAULT_SUBACCOUNT")
    try:
        _ = account_of(value) if value else None
    except AlertInvalid as error:
        raise SettingsError("DEFAULT_SUBACCOUNT", f"is no account's name: {error.reason}") from None
    return value


def _share(read: _Reader, name: str, default: Decimal) -> Decimal:
    value = read.decimal(name)
    if value is not None and value > 1:
        raise SettingsError(
            name, f"{value:f} is out of range: a share of the distance to the stop, from 0 to 1"
        )
    return default if value is None else value


def _discord(read: _Reader) -> dict[str, Any]:
    token, channel = read.text("DISCORD_TOKEN"), read.id("DISCORD_CHANNEL_ID")
    if token is not None and channel is None:
        raise SettingsError(
            "DISCORD_CHANNEL_ID", "is not set, and DISCORD_TOKEN is: name the channel for alerts"
        )
    return {
        "discord_token": token,
        "discord_channel_id": channel,
        "discord_logs_channel_id": read.id("DISCORD_LOGS_CHANNEL_ID") or channel,
        "discord_err_channel_id": read.id("DISCORD_ERR_CHANNEL_ID") or channel,
        "discord_approvers": read.ids("DISCORD_APPROVERS"),
        "discord_api_url": (read.url("DISCORD_API_URL", ("http", "https")) or _DISCORD_API_URL).rstrip("/"),
        "discord_gateway_url": read.url("DISCORD_GATEWAY_URL", ("ws", "wss")) or _DISCORD_GATEWAY_URL,
    }


def _account_names(read: _Reader) -> list[str]:
    names = read.names()
    keyed = {name.removeprefix("API_KEY_") for name in names if name.startswith("API_KEY_")}
    found = {name for name in keyed if read.text(f"API_SECRET_{name}") and _NAME.fullmatch(name)}
    for variable in names:
        for prefix in _ACCOUNT_MAKERS:
            name = variable.removeprefix(prefix)
            if name in ("", variable) or (prefix == "APPROVAL_" and name in _NO_ACCOUNT_NAMES):
                continue
            if not _NAME.fullmatch(name):
                spelt = re.sub(r"[^A-Z0-9]", "_", name.upper())
                raise SettingsError(variable, f"an account's name is spelt in capitals here: {prefix}{spelt}")
            if name in _NO_ACCOUNT_NAMES:
                raise SettingsError(
                    variable, f"no account can be called {name}: APPROVAL_{name} means something else"
                )
            found.add(name)
    return sorted(found)


def _account(read: _Reader, name: str) -> Account:
    key, secret = read.text(f"API_KEY_{name}"), read.text(f"API_SECRET_{name}")
    if (key is None) != (secret is None):
        missing, there = ("API_KEY", "API_SECRET") if key is None else ("API_SECRET", "API_KEY")
        raise SettingsError(f"{missing}_{name}", f"is not set, and {there}_{name} is: set both or neither")
    exchange = read.text(f"EXCHANGE_{name}")
    if exchange is not None and not _NAME.fullmatch(exchange.upper()):
        raise SettingsError(f"EXCHANGE_{name}", f"{shown(exchange)} is not the name of one exchange")
    rules = AccountRules(
        account=name,
        risk=read.amount(f"RISK_{name}", high=Decimal(100)),
        leverage=read.amount(f"LEVERAGE_{name}", high=MAX_LEVERAGE),
        exchange=exchange.upper() if exchange else None,
        network=read.choice(f"NETWORK_{name}", ("live", "testnet", "demo")),
        approval=ApprovalMode(read.choice(f"APPROVAL_{name}", ("auto", "discord"))),
        limits=parse_limits(f"LIMITS_{name}", read.text(f"LIMITS_{name}")),
        drift=DriftMode(read.choice(f"DRIFT_{name}", ("report", "block", "resync"))),
        flatten=read.switch(f"FLATTEN_{name}"),
    )
    scoped = read.text(f"PASSPHRASE_{name}")
    passphrases = _several(f"PASSPHRASE_{name}", scoped) if scoped else ()
    if set(passphrases) & set(_passphrases(read)):
        raise SettingsError(f"PASSPHRASE_{name}", "is WEBHOOK_PASSPHRASE too, which is good for each account")
    return Account(rules=rules, passphrases=passphrases, api_key=key, api_secret=secret)
