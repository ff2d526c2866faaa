"""What stands in the documents between `<!-- made: NAME -->` and `<!-- end -->`, and all of two files.

Made of the code itself: names and defaults as they are read, refusals by asking for them.
"""

from __future__ import annotations

import importlib
import re
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

from desk.settings import load
from desk.variables import ADDRESS, GROUPS, TRADING, Variable
from exchanges import available
from tests.docs import api, grammar
from trading.errors import SettingsError

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / ".env.example"
OPENAPI = ROOT / "docs" / "openapi.json"
_REGION = re.compile(r"(<!-- made: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

_ENV_HEAD = """\
# Every variable that the server reads. Copy what you need to .env beside app.py; the environment wins.
# Made of desk/variables.py by `python -m tests.docs`.
"""
_PASSPHRASE = {"WEBHOOK_PASSPHRASE": "correct-horse-battery"}
#: What a start refuses: at least one for each variable that refuses anything.
WRONG: tuple[dict[str, str], ...] = (
    {"WEBHOOK_PASSPHRASE": ""},
    {"WEBHOOK_PASSPHRASE": "change-me"},
    {"WEBHOOK_PASSPHRASE": "one-passphrase,"},
    {"DATABASE_URL": "mysql://localhost/desk"},
    {"DATABASE_URL": "sqlite:///data/desk.db", "DYNO": "web.1"},
    {"PORT": "80000"},
    {"WEB_CONCURRENCY": "0"},
    {"RUNNER": "on"},
    {"BOT": "on"},
    {"LIVE_TRADING": "yes"},
    {"DEFAULT_SUBACCOUNT": "!"},
    {"PAPER_BALANCE": "100,000"},
    {"PAPER_BALANCE": "0"},
    {"MAX_ALERT_AGE": "1m"},
    {"BINANCE_API_URL": "fapi.binance.com"},
    {"RISK_MAIN": "1", "API_KEY_MAIN": "key"},
    {"RISK_MAIN": "1", "API_SECRET_MAIN": "secret"},
    {"RISK_MAIN": "1%"},
    {"RISK_MAIN": "101"},
    {"RISK_main": "1"},
    {"LEVERAGE_MAIN": "126"},
    {"RISK_MAIN": "1", "EXCHANGE_MAIN": "BINANCE,BYBIT"},
    {"RISK_MAIN": "1", "NETWORK_MAIN": "paper"},
    {"APPROVAL_MAIN": "yes"},
    {"LIMITS_MAIN": "{max_notional: 5000}"},
    {"LIMITS_MAIN": '{"max_notionl": 5000}'},
    {"LIMITS_MAIN": '{"max_open_positions": "3"}'},
    {"LIMITS_MAIN": '{"symbols": "BTC-USDT-PERP"}'},
    {"DRIFT_MAIN": "ignore"},
    {"FLATTEN_MAIN": "yes"},
    {"RISK_MAIN": "1", "PASSPHRASE_MAIN": "correct-horse-battery"},
    {"DISCORD_TOKEN": "token"},
    {"DISCORD_CHANNEL_ID": "#alerts"},
    {"DISCORD_CHANNEL_ID": "1,2"},
    {"DISCORD_LOGS_CHANNEL_ID": "#logs"},
    {"DISCORD_ERR_CHANNEL_ID": "#errors"},
    {"DISCORD_APPROVERS": "@me"},
    {"APPROVAL_TIMEOUT": "0"},
    {"APPROVAL_MAX_DRIFT": "50"},
    {"DISCORD_API_URL": "discord.com"},
    {"DISCORD_GATEWAY_URL": "https://gateway.discord.gg/"},
    {"TRADINGVIEW_IPS_ONLY": "true"},
    {"TRUSTED_PROXIES": "10"},
)


def all_made() -> dict[Path, str]:
    """Each document that holds something made, as it should be."""
    made = {EXAMPLE: env_example(), OPENAPI: api.document()}
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = path.read_text(encoding="utf-8")
        if _REGION.search(text):
            made[path] = _REGION.sub(lambda found: f"{found[1]}{MAKERS[found[2]]()}{found[3]}", text)
    return made


def addresses() -> list[str]:
    """The variable of each address that an adapter asks for, by the names in the adapters' own files."""
    modules = [importlib.import_module(f"exchanges.{name.lower()}") for name in available()]
    venues = [each for each in modules if hasattr(each, "connect")]
    found = {name for each in venues for name in (each.NAME, getattr(each, "SPOT", None)) if name}
    return [f"{name}_API_URL" for name in sorted(found)]


def env_example() -> str:
    lines = [_ENV_HEAD.rstrip()]
    for group in GROUPS:
        lines += [f"\n## {_wrapped(f'{group.title}. {group.about}')}\n"]
        lines += [_example(each) for each in group.variables]
        if group is TRADING:
            first, *others = addresses()
            lines += [_example(ADDRESS, first), *(f"# The same\n{name}=" for name in others)]
    return "\n".join(lines) + "\n"


def _example(variable: Variable, name: str = "") -> str:
    value = variable.default if variable.example is None else variable.example
    unset = f". Unset: {variable.unset}" if variable.unset else ""
    unset = ". Required" if variable.unset == "required" else unset
    means = variable.means[:1].upper() + variable.means[1:]
    return f"# {_wrapped(means + unset)}\n{name or variable.name}={value}"


def _wrapped(text: str) -> str:
    return "\n# ".join(textwrap.wrap(text, 106, break_long_words=False, break_on_hyphens=False))


def settings() -> str:
    parts = []
    for group in GROUPS:
        parts.append(_table(group.title, group.about, [(each.name, each) for each in group.variables]))
        if group is TRADING:
            about = "For a proxy, a venue's other region, or a test."
            parts.append(_table("Addresses of venues", about, [(name, ADDRESS) for name in addresses()]))
    return "".join(parts) + "\n"


def _table(title: str, about: str, variables: Iterable[tuple[str, Variable]]) -> str:
    rows = [f"| {name} | {_cell(each.means)} | {_default(each)} |\n" for name, each in variables]
    return f"\n## {title}\n\n{about}\n\n| Variable | Means | Default |\n|---|---|---|\n" + "".join(rows)


def _default(variable: Variable) -> str:
    return f"`{variable.default}`" if variable.default else variable.unset


def refused_settings() -> str:
    rows = ["| Setting | The start says |\n|---|---|\n"]
    for wrong in WRONG:
        try:
            load(_PASSPHRASE | wrong)
        except SettingsError as error:
            given = " ".join(f"{name}={value}" for name, value in wrong.items())
            rows.append(f"| `{given}` | {_cell(str(error))} |\n")
        else:
            raise AssertionError(f"a start takes {wrong}")
    return "".join(rows)


def _cell(text: str) -> str:
    """Text in a table: nothing in it is markup."""
    return re.sub(r"([|*<>])", r"\\\1", text)


MAKERS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "refused-settings": refused_settings,
    "alert-keys": grammar.fields,
    "alert-nothing": grammar.nothing,
    "refused-alerts": grammar.refused,
    "routes": api.table,
    "answers": api.answers,
}
