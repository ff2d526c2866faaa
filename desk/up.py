"""`make run`: settings on the first start, the newest schema, the web server with its runner, the bot.

Prints what to paste next, then keeps its children together: when one dies, or somebody says stop, all end.
The bot alone may die: trading goes on without it, and it is started again.
Never touches a `.env` that is there, and never listens beyond this machine.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from desk.children import WEB, Bot, Children
from desk.settings import ENV_FILE, ROOT, Settings, environment, load
from trading.alert import account_of
from trading.errors import SettingsError

HOST = "127.0.0.1"
#: What an alert says to be simulated, come what may.
PAPER = "PAPER"
#: Seconds: until the first answer; from then until all is well.
START_LIMIT = 60.0
HEALTH_LIMIT = 10.0
_TICK = 0.1

_MIGRATION = "the migration of the database"
_NOW = "@NOW@"
_FIRST_ENV = """\
# Made by `make run` on the first start, and never touched by it again.
# .env.example lists every variable; the environment wins over this file.

# Stands in every alert. Two, comma-separated, are both good: that is how one is changed.
WEBHOOK_PASSPHRASE={passphrase}

# For the dashboard and the API; any user name. Empty: both are closed.
DASHBOARD_PASSWORD={password}

# The account of an alert that names none.
DEFAULT_SUBACCOUNT=MAIN
# Percent of free collateral that an entry loses when its stop is hit.
RISK_MAIN=1
# Notional / free collateral, at most.
LEVERAGE_MAIN=3
"""


class _Failed(Exception):
    """It cannot go on; the text is one line for the user."""


def main(env_file: Path = ENV_FILE, home: Path = ROOT) -> int:
    """Runs until it is told to stop (0) or cannot go on (1, with one line that says why)."""
    stop = threading.Event()
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signals.remove(signal.SIGHUP)  # under nohup it is to outlive the terminal
    for number in signals:
        signal.signal(number, lambda *_: stop.set())
    try:
        if _created(env_file):
            print(f"made {env_file.name}, with a passphrase and a dashboard password of its own", flush=True)
        variables = environment(env_file)
        settings = load(variables)
        _check_port(settings.port)
        children = Children(home, variables)
        try:
            _run(children, settings, stop, home)
        finally:
            children.end()
    except (SettingsError, _Failed, OSError) as error:
        print(f"desk: {error}", file=sys.stderr, flush=True)
        return 1
    print("\ndesk: all ended", flush=True)
    return 0


def first_alert(settings: Settings, port: int) -> str:
    """A shell line that sends an entry to the paper venue, good for being pasted again and again."""
    subaccount = _subaccount(settings)
    account = settings.accounts.get(account_of(subaccount))
    alert = {
        "ticker": "BTCUSDT.P",
        "exchange": account.rules.exchange if account and account.rules.exchange else PAPER,
        "time": _NOW,
        "action": "buy",
        "price": "42000",
        "message": "entry",
        "type": "market",
        "long SL": "41500",
        "long TP": "43500",
        "tp Close": "25",
        "tp1 Mult": "1",
        "tp2 Mult": "2",
        "subaccount": subaccount,
        "passphrase": settings.passphrases[0],
    }
    body = json.dumps(alert).replace("'", "'\\''").replace(_NOW, "'\"$(date -u +%Y-%m-%dT%H:%M:%SZ)\"'")
    return (
        f"curl -sS {_url(port)}/tradingview-to-webhook-order -H 'Content-Type: application/json' -d '{body}'"
    )


def welcome(settings: Settings, health: int) -> str:
    """What to paste next; `health` is the status of /health."""
    port = settings.port
    where = "the environment" if os.environ.get("DASHBOARD_PASSWORD") else ".env"
    venue = (
        "LIVE: orders leave this machine" if settings.live_trading else "paper: no order leaves this machine"
    )
    login = (
        f"its password stands as DASHBOARD_PASSWORD in {where}"
        if settings.dashboard_password
        else "closed until DASHBOARD_PASSWORD is set"
    )
    lines = ["", f"desk is up ({venue})", f"dashboard: {_url(port)}/  ({login})", *_notes(settings, health)]
    if not _would_be_live(settings):
        lines += ["", "A first alert, for another terminal:", "", first_alert(settings, port)]
    lines += ["", "What became of it, with the alert_id of the answer (curl asks for the password):", ""]
    lines += [f"curl -sS -u desk {_url(port)}/api/alerts/ALERT_ID", "", "Ctrl-C ends it."]
    return "\n".join(lines)


def _run(children: Children, settings: Settings, stop: threading.Event, home: Path) -> None:
    """Returns when `stop` is set."""
    children.start(_MIGRATION, "desk.migrate")
    while not stop.is_set() and not (code := children.ended()):
        stop.wait(_TICK)
    if stop.is_set():
        return
    if code[_MIGRATION]:
        raise _Failed("the database could not be brought to this version; the reason stands above")
    children.forget(_MIGRATION)
    children.start(WEB, "gunicorn", "app:app", "--bind", f"{HOST}:{settings.port}")
    bot = Bot(children, wanted=settings.discord_token is not None)
    health = _await_health(children, bot, settings.port, stop)
    if health is None:
        return
    print(welcome(settings, health), flush=True)
    while not stop.wait(_TICK):
        _check_alive(children, bot)


def _await_health(children: Children, bot: Bot, port: int, stop: threading.Event) -> int | None:
    """The status that /health settled on; None when `stop` was set before."""
    began, answered = time.monotonic(), None
    while not stop.is_set():
        _check_alive(children, bot)
        status = _health(port)
        now = time.monotonic()
        if status is not None and answered is None:
            answered = now
        if status == 200 or (status is not None and answered is not None and now - answered > HEALTH_LIMIT):
            return status
        if now - began > START_LIMIT:
            raise _Failed(f"the web server did not answer within {START_LIMIT:g} s")
        stop.wait(_TICK)
    return None


def _health(port: int) -> int | None:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _check_alive(children: Children, bot: Bot) -> None:
    bot.look()
    for name, code in children.ended().items():
        raise _Failed(f"{name} ended by itself (status {code}); the reason stands above")


def _notes(settings: Settings, health: int) -> list[str]:
    """What the user should know before wondering."""
    notes = []
    if health != 200:
        notes.append(f"not well yet: {_url(settings.port)}/health says why (status {health})")
    if settings.runner == "off":
        notes.append("RUNNER=off: nothing is traded until `python -m desk.runner` runs beside this")
    if not any(each.rules.risk and each.rules.leverage for each in settings.accounts.values()):
        notes.append("no account has its RISK_NAME and LEVERAGE_NAME: every entry will be refused")
    if settings.tradingview_ips_only:
        notes.append("TRADINGVIEW_IPS_ONLY=1: alerts from this machine are refused, the line below too")
    if settings.discord_token is None:
        notes.append("no DISCORD_TOKEN: no bot")
    elif not settings.discord_approvers:
        notes.append("DISCORD_APPROVERS is empty: nobody may vote or command in Discord")
    if _would_be_live(settings):
        notes.append("the default account is live: no line to try, it would spend money")
    return notes


def _subaccount(settings: Settings) -> str:
    return settings.default_subaccount or next(iter(settings.accounts), "MAIN")


def _would_be_live(settings: Settings) -> bool:
    """Whether `first_alert` would reach a real venue."""
    account = settings.accounts.get(account_of(_subaccount(settings)))
    return settings.live_trading and account is not None and account.rules.exchange not in (None, PAPER)


def _created(env_file: Path) -> bool:
    """Writes the first `.env`, for its owner's eyes; False where there is one."""
    try:
        descriptor = os.open(env_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(
            _FIRST_ENV.format(passphrase=secrets.token_urlsafe(24), password=secrets.token_urlsafe(12))
        )
    return True


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise _Failed(
                f"PORT: {port} cannot be used ({error.strerror}); end what listens there, or set another PORT"
            ) from None


def _url(port: int) -> str:
    return f"http://{HOST}:{port}"


if __name__ == "__main__":
    sys.exit(main())
