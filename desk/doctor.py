"""`python -m desk.doctor`: what would stop a trade, and what to do about it; exit status 1 if anything would.

Settings, database, and each account at its venue: keys, rights, clock, position mode, leverage and the
smallest order against RISK. Only reads, sends no order, and never shows a secret.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from desk.settings import Account, Settings, from_environment
from desk.venues import live
from desk.wiring import utc_now
from exchanges import Exchange, Finding, available
from exchanges._http import Hosts
from store import Store, open_store, views
from store.schema import SchemaState, check
from trading import sizing
from trading.errors import Denied, SettingsError, StoreUnavailable, VenueError
from trading.model import plain

#: The distance to the stop with which the smallest order is judged, as a share of the price.
_DISTANCE = Decimal("0.01")
_SOME = ("BTC-USDT-PERP", "ETH-USDT-PERP", "BTC-USD-PERP", "ETH-USD-PERP")
_SCHEMA = {
    SchemaState.EMPTY: Finding(fatal=False, text="the database is empty", mend="the first start makes it"),
    SchemaState.CURRENT: Finding(fatal=False, text="the database answers and is up to date"),
    SchemaState.NEWER: Finding(
        fatal=True, text="the database belongs to a newer release", mend="install that release"
    ),
}
_OLD = Finding(fatal=True, text="the database is not up to date", mend="run `python -m desk.migrate`")


def examine(
    settings: Settings, clock: Callable[[], datetime] = utc_now, hosts: Hosts | None = None
) -> Iterator[tuple[str, Finding]]:
    """Every finding with what it is about; what fails is a finding too, and the rest goes on."""
    for text in settings.warnings:
        yield "settings", Finding(fatal=False, text=text, mend="change it, and the alerts that carry it")
    store = open_store(settings.database_url)
    try:
        yield "database", _database(store)
        if not settings.accounts:
            text = "no account is set: every entry is refused"
            yield "accounts", Finding(fatal=True, text=text, mend="set RISK_NAME and LEVERAGE_NAME")
        for name, account in settings.accounts.items():
            for finding in _account(name, account, settings, store, hosts or Hosts(clock)):
                yield f"account {name}", finding
    finally:
        store.close()


def _database(store: Store) -> Finding:
    try:
        return _SCHEMA.get(check(store), _OLD)
    except StoreUnavailable as error:
        return Finding(fatal=True, text=f"the database does not answer: {error}", mend="see DATABASE_URL")


def _account(
    name: str, account: Account, settings: Settings, store: Store, hosts: Hosts
) -> Iterator[Finding]:
    rules = account.rules
    unset = [
        f"{what}_{name}"
        for what, value in (("RISK", rules.risk), ("LEVERAGE", rules.leverage))
        if value is None
    ]
    if unset:
        yield Finding(fatal=True, text="it may not enter", mend=f"set {' and '.join(unset)}")
    if not settings.live_trading:
        yield Finding(
            fatal=False,
            text="it trades on paper",
            mend="" if account.api_key is None else "LIVE_TRADING=1 sends its orders",
        )
    if account.api_key is None:
        if settings.live_trading:
            yield Finding(
                fatal=True, text="it has no credentials", mend=f"set API_KEY_{name} and API_SECRET_{name}"
            )
        return
    if rules.exchange is None:
        text = f"EXCHANGE_{name} is not set: its keys cannot be checked"
        yield Finding(
            fatal=False, text=text, mend=f"set it to one of {', '.join(sorted(available() - {'PAPER'}))}"
        )
        return
    # What is wrong at a venue stops no trade while all of it is on paper.
    for finding in _venue(name, account, settings, store, hosts):
        yield replace(finding, fatal=finding.fatal and settings.live_trading)


def _venue(name: str, account: Account, settings: Settings, store: Store, hosts: Hosts) -> Iterator[Finding]:
    venue = account.rules.exchange or ""
    if venue == "PAPER":
        return
    try:
        exchange = live(venue, name, settings, hosts, _spelling(store, name))
        yield from exchange.check()
    except Denied as denied:
        yield Finding(fatal=True, text=denied.reason)
        return
    except VenueError as error:
        mend = "check the network, the key and the venue's status page, then run this again"
        yield Finding(fatal=True, text=str(error), mend=mend)
        return
    symbols = [each for each in account.rules.limits.symbols or () if "-" in each]
    yield from _smallest(exchange, account, symbols or _SOME)


def _smallest(exchange: Exchange, account: Account, symbols: Iterable[str]) -> Iterator[Finding]:
    """Whether the risk is enough for the venue's smallest order, and the leverage within its bounds."""
    risk, leverage = account.rules.risk, account.rules.leverage
    if risk is None or leverage is None:
        return
    for symbol in symbols:
        try:
            instrument, price = exchange.instrument(symbol), exchange.price(symbol)
            sized = sizing.size(
                free_collateral=exchange.balance(symbol).free,
                risk=risk,
                leverage=leverage,
                price=price,
                margin_price=price,
                stop=price * (1 - _DISTANCE),
                fixed_quantity=None,
                max_notional=account.rules.limits.max_notional,
                instrument=instrument,
            )
        except Denied as denied:
            yield Finding(fatal=True, text=f"with a stop 1 % away: {denied.reason}")
        except VenueError:
            # Not every venue lists every one of these.
            continue
        else:
            text = f"{symbol}: a stop 1 % away gives {plain(sized.quantity)} {instrument.base}"
            yield Finding(
                fatal=False, text=f"{text}, notional {plain(sized.notional.quantize(Decimal('0.01')))}"
            )


def _spelling(store: Store, account: str) -> str:
    try:
        with store.read() as tx:
            return views.subaccount(tx, account) or ""
    except StoreUnavailable:
        return ""


def told(found: Iterable[tuple[str, Finding]], secrets: Iterable[str] = ()) -> tuple[str, bool]:
    """The findings as text, and whether one of them would stop a trade."""
    lines, about, fatal, hidden = [], "", False, tuple(secrets)
    for group, finding in found:
        if group != about:
            lines.append(f"{group}:")
            about = group
        mark = "error" if finding.fatal else "warn " if finding.mend else "ok   "
        lines.append(f"  {mark}  {finding.text}")
        if finding.mend:
            lines.append(f"         -> {finding.mend}")
        fatal = fatal or finding.fatal
    lines.append("something would stop a trade" if fatal else "nothing would stop a trade")
    text = "\n".join(lines)
    for secret in hidden:
        text = text.replace(secret, "***")
    return text, fatal


def main() -> int:
    """Exit status 1 if anything would stop a trade."""
    try:
        settings = from_environment()
        text, fatal = told(examine(settings), settings.secrets)
    except SettingsError as error:
        text, fatal = f"settings:\n  error  {error}\nsomething would stop a trade", True
    print(text)
    return int(fatal)


if __name__ == "__main__":
    sys.exit(main())
