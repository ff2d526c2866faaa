"""Every variable that a person can set, in words: docs/settings.md and .env.example are made of this.

Only words. `desk.settings` reads the variables and refuses what is wrong; tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One variable. `default` is what may be written for the same as nothing, `unset` says what nothing
    means where that cannot be written; `example` is what stands in .env.example, else the default.
    """

    name: str
    means: str
    default: str = ""
    unset: str = ""
    example: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Variables under one title; `about` stands below it."""

    title: str
    about: str
    variables: tuple[Variable, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return names(self.variables)


def names(variables: Iterable[Variable]) -> tuple[str, ...]:
    """The names, in order."""
    return tuple(each.name for each in variables)


SERVER = Group(
    title="The server",
    about="One passphrase is all that it cannot start without.",
    variables=(
        Variable(
            name="WEBHOOK_PASSPHRASE",
            means=(
                "stands in every alert; 12 characters or more are wise. Several, comma-separated, are all "
                "good: that is how one is rotated"
            ),
            unset="required",
        ),
        Variable(
            name="DATABASE_URL",
            means=(
                "where everything is kept: `sqlite:///FILE`, or `postgres://` or `postgresql://` as Heroku "
                "sets it. SQLite is refused on Heroku, whose disk is wiped at each restart"
            ),
            default="sqlite:///data/desk.db",
        ),
        Variable(name="PORT", means="where the web server listens; Heroku sets it", default="8000"),
        Variable(name="WEB_CONCURRENCY", means="web processes; one has threads enough", default="1"),
        Variable(
            name="RUNNER",
            means=(
                "`embedded`: the runner lives in the web process. `off`: `python -m desk.runner` runs beside "
                "it"
            ),
            default="embedded",
        ),
        Variable(
            name="BOT",
            means=(
                "`embedded`: `python -m desk.serve`, which is Heroku's `web`, runs the bot beside the web "
                "server. `off`: `python -m discord_bot` runs by itself"
            ),
            default="off",
        ),
    ),
)
TRADING = Group(
    title="Trading",
    about="Until LIVE_TRADING is 1, nothing leaves this machine.",
    variables=(
        Variable(
            name="LIVE_TRADING",
            means=(
                "`1`: orders leave this machine. Else every venue is the paper venue, whatever the alert says"
            ),
            unset="paper",
        ),
        Variable(
            name="DEFAULT_SUBACCOUNT",
            means="the account of an alert that names none",
            unset="the only account, where there is one",
        ),
        Variable(
            name="PAPER_BALANCE",
            means="what each account of the paper venue begins with",
            default="100000",
        ),
        Variable(
            name="MAX_ALERT_AGE",
            means=(
                "seconds: an entry that is older, also by waiting here, is stored and not traded; 0 turns it "
                "off. Exits and breakevens do not grow too old"
            ),
            default="60",
        ),
    ),
)
ACCOUNT = Group(
    title="Each account",
    about=(
        "NAME is the account: the alert's `subaccount` in capitals, other characters as `_`. The alert's `my "
        "main` is MY_MAIN, and its risk RISK_MY_MAIN."
    ),
    variables=(
        Variable(
            name="API_KEY_NAME",
            means="its key at its venue: trading allowed, withdrawal never",
            unset="none: on paper none is needed",
        ),
        Variable(name="API_SECRET_NAME", means="the key's secret; both or neither", unset="none"),
        Variable(
            name="RISK_NAME",
            means="percent of free collateral that an entry loses when its stop is hit, up to 100",
            unset="entries are refused",
            example="1",
        ),
        Variable(
            name="LEVERAGE_NAME",
            means="notional / free collateral, at most; up to 125",
            unset="entries are refused",
            example="3",
        ),
        Variable(name="EXCHANGE_NAME", means="the only exchange that the account may use", unset="any"),
        Variable(name="NETWORK_NAME", means="`live`, `testnet` or `demo`", default="live"),
        Variable(
            name="APPROVAL_NAME",
            means="`auto`; or `discord`: ask before every entry, whichever route it came by",
            default="auto",
        ),
        Variable(
            name="LIMITS_NAME",
            means=(
                "JSON, any of: max_notional, max_open_positions, max_daily_loss, max_orders_per_minute, "
                "symbols, cooldown_s"
            ),
            unset="none",
            example='{"max_notional": 5000, "symbols": ["BTC-USDT-PERP"]}',
        ),
        Variable(
            name="DRIFT_NAME",
            means=(
                "`report`, `block` or `resync`: what becomes of an alert that counts on another position "
                "than the one that is there"
            ),
            default="report",
        ),
        Variable(
            name="FLATTEN_NAME",
            means="`1`: where max_daily_loss is reached, what is open of the account is closed as well",
            unset="off",
        ),
        Variable(
            name="PASSPHRASE_NAME",
            means=(
                "passphrases, comma-separated, that are good for alerts of this account and of no other; "
                "WEBHOOK_PASSPHRASE is good for all"
            ),
            unset="none",
        ),
    ),
)
DISCORD = Group(
    title="Discord",
    about="The bot's. It runs where DISCORD_TOKEN is set, and needs no API keys.",
    variables=(
        Variable(
            name="DISCORD_TOKEN", means="the bot's token; DISCORD_CHANNEL_ID belongs to it", unset="no bot"
        ),
        Variable(name="DISCORD_CHANNEL_ID", means="where alerts are told", unset="none"),
        Variable(name="DISCORD_LOGS_CHANNEL_ID", means="where log lines go", unset="DISCORD_CHANNEL_ID"),
        Variable(name="DISCORD_ERR_CHANNEL_ID", means="where errors go", unset="DISCORD_CHANNEL_ID"),
        Variable(
            name="DISCORD_APPROVERS",
            means="user or role ids, comma-separated, that may vote and command",
            unset="nobody may",
        ),
        Variable(
            name="APPROVAL_TIMEOUT",
            means="seconds that a question waits for a vote",
            default="300",
        ),
        Variable(
            name="APPROVAL_MAX_DRIFT",
            means=(
                "how far the price may have moved at the vote, as a share of the distance to the stop, 0 to 1"
            ),
            default="0.5",
        ),
        Variable(
            name="DISCORD_API_URL",
            means="another address for tests",
            default="https://discord.com/api/v10",
        ),
        Variable(
            name="DISCORD_GATEWAY_URL",
            means="another address for tests",
            default="wss://gateway.discord.gg/",
        ),
    ),
)
DOORS = Group(
    title="Who may come in",
    about="The dashboard and the API are closed until they have a password.",
    variables=(
        Variable(
            name="DASHBOARD_PASSWORD",
            means="for the dashboard and the API; 12 characters or more are wise",
            unset="both are closed",
        ),
        Variable(
            name="TRADINGVIEW_IPS_ONLY",
            means="`1`: alerts from TradingView's four published addresses alone",
            unset="off",
        ),
        Variable(
            name="TRUSTED_PROXIES",
            means="how many proxies stand in front; where it is not set on Heroku, 1",
            default="0",
        ),
    ),
)
#: Of each venue; VENUE is its name.
ADDRESS = Variable(
    name="VENUE_API_URL",
    means="the venue's base URL, scheme and host, instead of the network's",
    unset="the network's own; a venue that has closed has none",
)
#: In the order of the page and of .env.example; the addresses of venues come behind TRADING.
GROUPS = (SERVER, TRADING, ACCOUNT, DISCORD, DOORS)
