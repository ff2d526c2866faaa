"""`python -m desk.doctor`: settings, database, and each account at its venue, a line a finding with its mend.

Asks and tells. It must never change an account, leave anything in the database, let one check that fails
keep another from being made, or show a secret.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from pathlib import Path

from desk.settings import ENV_FILE, Account, Settings, environment, load
from desk.venues import BY_HAND, PAPER, Venues, live
from exchanges import Exchange, Finding, _checks, available
from exchanges._http import Hosts
from store import Store, Transaction, _engine, open_store, schema, sentries, switches, views
from store.schema import SchemaState
from trading import errors, sizing
from trading.alert import account_of
from trading.errors import DeskError, SettingsError, VenueError
from trading.model import AccountRules, ApprovalMode, Instrument, InstrumentKind, Lane, plain
from trading.rounding import ceil_to
from trading.symbols import split, symbol_of

MIGRATE = "run `python -m desk.migrate`"
_KEY = "check API_KEY_…, API_SECRET_… and the NETWORK_… that they belong to"

#: What stands in for a variable that is wrong and cannot be done without, to see what else is wrong.
_STAND_INS = {"WEBHOOK_PASSPHRASE": "-" * 20, "DATABASE_URL": "postgresql://nowhere/nothing"}
#: Where a reason goes over into its mend.
_TURN = re.compile(r"[:;] (?=(?:set|use|choose|name|run|take) )")
#: An adapter does not know the account's name.
_NAMELESS = re.compile(r"\b(API_KEY|API_SECRET|RISK|LEVERAGE|NETWORK)(?:_…|\b)")
#: Looked at where LIMITS names no symbols, as far as the venue lists them.
_USUAL = ("BTC-USDT-PERP", "ETH-USDT-PERP", "BTC-USD-PERP", "ETH-USD-PERP")
#: SQLSTATE read_only_sql_transaction, as it ends the reason that a store gives.
_READ_ONLY = "[25006]"
#: No greater risk is proposed.
_WISE_RISK = Decimal(5)


class _TakenBack(Exception):
    """Ends a transaction that was a trial."""


def main(
    arguments: Sequence[str] | None = None,
    *,
    env_file: Path = ENV_FILE,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> int:
    """Exit status 0 when nothing would stop a trade, else 1; 2 for a wrong command line."""
    what = "Checks settings, database and accounts, and says what to do about each finding."
    argparse.ArgumentParser(prog="python -m desk.doctor", description=what).parse_args(arguments)
    # What adapters log on their way, the findings say; without a handler it would go to the terminal.
    logging.basicConfig(handlers=[logging.NullHandler()])
    settings, found = _settings(env_file)
    secrets = () if settings is None else sorted(settings.secrets, key=len, reverse=True)
    count = _print("Settings", found, secrets)
    if settings is not None:
        refused = {each.text.partition(":")[0] for each in found if each.fatal}
        for title, findings in Doctor(settings, refused, clock).groups():
            count += _print(title, findings, secrets)
    if count:
        print(f"\n{count} error{'s' * (count > 1)}: mend what is marked so, then run this again")
        return 1
    print("\nNothing found that would stop a trade")
    return 0


def _print(title: str, findings: Iterable[Finding], secrets: Iterable[str]) -> int:
    """How many of them are errors."""
    print(title, flush=True)
    count = 0
    for each in findings:
        count += each.fatal
        mark = "error" if each.fatal else "warn" if each.mend else "ok"
        print(f"  {mark:5}  {_clean(each.text, secrets)}", flush=True)
        if each.mend:
            print(f"         {_clean(each.mend, secrets)}", flush=True)
    return count


def _clean(text: str, secrets: Iterable[str]) -> str:
    """One line without a secret, and without what a stranger may say to a terminal."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return "".join(each if each.isprintable() else " " for each in text)


def _told(text: str, mend: str = "") -> Finding:
    return Finding(fatal=False, text=text, mend=mend)


def _error(text: str, mend: str) -> Finding:
    return Finding(fatal=True, text=text, mend=mend)


def _to_come(file: Path) -> Finding:
    """Of a SQLite database that the server has to make first."""
    missing = f"there is none yet at {file}"
    # A link to nowhere is something that is there: the server cannot make a folder in its place.
    folder = next(each for each in (file, *file.absolute().parents) if os.path.lexists(each))
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return _told(f"{missing}: the server makes it when it starts")
    return _error(f"{missing}, and {folder} is no folder to write in", "mend that, or DATABASE_URL")


def _settings(env_file: Path) -> tuple[Settings | None, list[Finding]]:
    """The settings as far as they are good, and what is wrong with the rest."""
    found: list[Finding] = []
    try:
        given = environment(env_file)
    except SettingsError as error:
        found.append(_error(str(error), "save it as UTF-8, readable for this user"))
        given = dict(os.environ)
    settings, wrong = _loaded(given)
    for each in wrong:
        place = "the environment" if each.variable in os.environ else f"{env_file.name} or the environment"
        found.append(_error(*_cause(str(each), otherwise=f"correct it in {place}")))
    if settings is not None:
        found += _advice(settings)
    return settings, found


def _loaded(given: Mapping[str, str]) -> tuple[Settings | None, list[SettingsError]]:
    """Leaves out what is refused, one variable after the other, until the rest is good."""
    environ, wrong = dict(given), list[SettingsError]()
    while True:
        try:
            return load(environ), wrong
        except SettingsError as error:
            name = error.variable
            if any(name == each.variable for each in wrong):
                return None, wrong
            wrong.append(error)
            environ[name] = _STAND_INS.get(name, "")
            if name.startswith(("API_KEY_", "API_SECRET_")):
                account = name.removeprefix("API_KEY_").removeprefix("API_SECRET_")
                environ |= {f"API_KEY_{account}": "", f"API_SECRET_{account}": ""}
            elif name == "DISCORD_CHANNEL_ID":
                environ["DISCORD_TOKEN"] = ""


def _cause(reason: str, *, otherwise: str) -> tuple[str, str]:
    """What is wrong, and the mend that the reason itself names, or the other one."""
    turn = _TURN.search(reason)
    return (reason[: turn.start()], reason[turn.end() :]) if turn else (reason, otherwise)


def _advice(settings: Settings) -> Iterator[Finding]:
    """Of settings that can be read."""
    if settings.live_trading:
        yield _told("LIVE_TRADING is 1: orders leave this machine")
    else:
        yield _told("LIVE_TRADING is off: every trade is simulated, whatever its alert says")
    for warning in settings.warnings:
        yield _told(*_cause(warning, otherwise=""))
    default, names = settings.default_subaccount, ", ".join(settings.accounts)
    if not settings.accounts:
        yield _error("no account is set: no entry would be traded", "set RISK_MAIN and LEVERAGE_MAIN")
    elif default is None:
        text = "DEFAULT_SUBACCOUNT is not set: an alert that names no subaccount is refused"
        yield _told(text, f"set it to one of {names}")
    elif account_of(default) not in settings.accounts:
        yield _error(f"DEFAULT_SUBACCOUNT is {default}, which is not set up", f"set it to one of {names}")


class Doctor:
    """One examination. `refused` are variables that were told of already."""

    def __init__(self, settings: Settings, refused: Iterable[str], clock: Callable[[], datetime]) -> None:
        self._settings = settings
        self._refused = frozenset(refused)
        self._clock = clock
        self._hosts = Hosts(clock)
        self._store: Store | None = None
        #: How far our clock is ahead of the venue's, by account.
        self._ahead: dict[str, timedelta] = {}

    def groups(self) -> Iterator[tuple[str, Iterator[Finding]]]:
        """Title and findings, each group examined while it is read; all of one before the next."""
        try:
            if "DATABASE_URL" not in self._refused:
                yield "Database", _held(self._database(), mend="mend the database, or DATABASE_URL")
            for name, account in self._settings.accounts.items():
                yield f"Account {name}", self._account(name, account)
        finally:
            if self._store is not None:
                self._store.close()

    def _database(self) -> Iterator[Finding]:
        url = _engine.resolve(self._settings.database_url)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
            yield _to_come(Path(url.database or ""))
            return
        self._store = store = open_store(self._settings.database_url)
        state = schema.check(store)
        if state is SchemaState.NEWER:
            yield _error("it belongs to a newer release than this", "install that release")
        elif state is SchemaState.EMPTY:
            self._try(schema.try_to_make)
            yield _told("it can be written and has no tables yet: the server makes them when it starts")
        elif state is not SchemaState.CURRENT:
            yield _error("it is of an older release", MIGRATE)
        else:
            self._try(lambda tx: switches.beat(tx, "doctor", self._clock()))
            kind = "Postgres" if store.is_postgres else "SQLite"
            yield _told(f"{kind} answers and can be written, schema {schema.HEAD} is in place")
            with store.read() as tx:
                halt = switches.halted(tx)
            if halt is not None:
                text = f"trading is halted since {halt.at:%Y-%m-%d %H:%M} UTC by {halt.by}: {halt.reason}"
                yield _error(text, "resume it on the dashboard, or by POST /api/resume")
            yield from self._untended(store)

    def _untended(self, store: Store) -> Iterator[Finding]:
        """What is ours at venues that these settings keep the server from."""
        venues = Venues(store, self._settings, self._clock, hosts=self._hosts)
        with store.read() as tx:
            lanes = [
                Lane(venue, account, symbol)
                for venue, account in sentries.places(tx)
                for symbol in sentries.ours(tx, venue=venue, account=account)
            ]
        for lane in lanes:
            try:
                venues.exchange(lane)
            except errors.Denied as denied:
                what, mend = _cause(denied.reason, otherwise="mend that")
                text = f"{lane}: what is open or rests there is not looked after: {what}"
                # While all is simulated it stops no trade.
                mend = mend if BY_HAND in mend else f"{mend}{BY_HAND}"
                yield Finding(fatal=self._settings.live_trading, text=text, mend=mend)

    def _try(self, change: Callable[[Transaction], object]) -> None:
        """Makes a change and takes it back; StoreUnavailable, or the driver's own error, where it may not."""
        # On a new connection: one that has read begins the next transaction with READ WRITE, and that
        # overrides the default of a database that is set read-only.
        with closing(open_store(self._settings.database_url)) as store:
            try:
                with suppress(_TakenBack), store.write() as tx:
                    change(tx)
                    raise _TakenBack
            except errors.StoreUnavailable as error:
                if _READ_ONLY not in str(error):
                    raise
                text = "is read-only: use the primary, and turn default_transaction_read_only off there"
                raise SettingsError("DATABASE_URL", text) from None

    def _account(self, name: str, account: Account) -> Iterator[Finding]:
        yield from self._rules(name, account.rules)
        otherwise = f"change EXCHANGE_{name}, NETWORK_{name} or the venue's _API_URL"
        for each in _held(self._venue(name, account), mend=otherwise):
            text, mend = each.text.removesuffix(f": {each.mend}"), each.mend or "see to it" * each.fatal
            # What is wrong there stops nothing while all is simulated.
            fatal = each.fatal and self._settings.live_trading
            yield Finding(fatal=fatal, text=text, mend=_NAMELESS.sub(rf"\1_{name}", mend))
        yield from self._late(name)

    def _rules(self, name: str, rules: AccountRules) -> Iterator[Finding]:
        for kind, value, unit, what in (
            ("RISK", rules.risk, " %", "the percent of free collateral that a stop may cost"),
            ("LEVERAGE", rules.leverage, "", "the most that notional / free collateral may be"),
        ):
            variable = f"{kind}_{name}"
            if value is not None:
                yield _told(f"{variable} is {plain(value)}{unit}")
            elif variable not in self._refused:
                yield _error(f"{variable} is not set: the account may not enter", f"set it to {what}")
        if f"LIMITS_{name}" not in self._refused:
            limits = {each.name: getattr(rules.limits, each.name) for each in fields(rules.limits)}
            limits["symbols"] = " ".join(rules.limits.symbols or ()) or None
            said = [f"{limit} {value}" for limit, value in limits.items() if value is not None]
            yield _told(f"LIMITS_{name}: {', '.join(said) or 'not set'}")
        if rules.approval is ApprovalMode.DISCORD:
            text, settings = f"APPROVAL_{name} is discord: entries wait for a person", self._settings
            mend = "set DISCORD_TOKEN and DISCORD_APPROVERS"
            if settings.discord_token and settings.discord_approvers:
                yield _told(text)
            elif settings.dashboard_password:
                yield _told(f"{text}, who can approve on the dashboard alone", mend)
            else:
                yield _error(f"{text}, and nobody can approve", f"{mend}, or DASHBOARD_PASSWORD")

    def _venue(self, name: str, account: Account) -> Iterator[Finding]:
        venue, has_keys = account.rules.exchange, account.api_key is not None
        keys = (f"API_KEY_{name}", f"API_SECRET_{name}")
        if self._settings.live_trading and not has_keys and venue != PAPER and not self._refused & set(keys):
            yield _error("it has no credentials", f"set {' and '.join(keys)}")
        if venue is None and has_keys:
            mend = f"set EXCHANGE_{name}, the only exchange that the account may use, to have them checked"
            yield _told("its keys are not checked: they do not say where they belong", mend)
        elif venue is None:
            yield _told(f"EXCHANGE_{name} is not set: an alert says where it trades")
        elif venue not in available():
            text = f"EXCHANGE_{name} is {venue}, which this server has no adapter for"
            yield _error(text, f"set it to one of {', '.join(sorted(available()))}")
        else:
            own = f", at {venue}_API_URL" if venue in self._settings.api_urls else ""
            yield _told(f"EXCHANGE_{name} is {venue}, NETWORK_{name} is {account.rules.network}{own}")
            if has_keys and venue != PAPER:
                yield from self._there(name, account.rules, venue)

    def _there(self, name: str, rules: AccountRules, venue: str) -> Iterator[Finding]:
        """What the venue says of it: of each product that the account may trade by its LIMITS."""
        symbols = rules.limits.symbols
        spot = [spelt for spelt in symbols or () if _is_spot(spelt)]
        others = _USUAL if symbols is None else [spelt for spelt in symbols if spelt not in spot]
        for kind, traded in ((InstrumentKind.PERPETUAL, others), (InstrumentKind.SPOT, spot)):
            if traded:
                yield from self._product(name, rules, venue, kind, traded)

    def _product(
        self, name: str, rules: AccountRules, venue: str, kind: InstrumentKind, traded: Sequence[str]
    ) -> Iterator[Finding]:
        more = {} if kind is InstrumentKind.PERPETUAL else {"kind": kind}
        exchange = live(venue, name, self._settings, self._hosts, self._spelling(name), **more)
        found = exchange.check()
        yield from found
        try:
            self._ahead[name] = self._clock() - exchange.time()
            for each in _instruments(exchange, name, traded, are_named=rules.limits.symbols is not None):
                if isinstance(each, Finding):
                    yield each
                elif rules.risk is not None and rules.leverage is not None:
                    given = {"RISK": rules.risk, "LEVERAGE": rules.leverage}
                    if kind is InstrumentKind.PERPETUAL:
                        yield _leverage(exchange, name, rules.leverage, each.symbol)
                    yield _smallest(exchange, name, given, rules.limits.max_notional, each)
        except VenueError:
            # What stands in the way is told already where the venue's own check found it.
            if not any(each.fatal for each in found):
                raise

    def _late(self, name: str) -> Iterator[Finding]:
        """A clock that is ahead makes every alert old: adapters make up for it, the door does not."""
        ahead, most = self._ahead.get(name), self._settings.max_alert_age
        if ahead is not None and most is not None and ahead >= most:
            text = f"this machine's clock is {ahead.total_seconds():.0f} s ahead: when an entry comes, its"
            over = f"`time` is older than MAX_ALERT_AGE ({most.total_seconds():.0f} s)"
            yield _error(f"{text} {over}", "let NTP set the clock")

    def _spelling(self, name: str) -> str:
        """Its name as alerts spell it: a venue with subaccounts knows no other."""
        found = None
        if self._store is not None:
            with suppress(DeskError), self._store.read() as tx:
                found = views.subaccount(tx, name)
        default = self._settings.default_subaccount
        return found or (default if default and account_of(default) == name else name)


def _held(findings: Iterator[Finding], *, mend: str) -> Iterator[Finding]:
    """The findings, and as the last what put an end to the search for more."""
    try:
        yield from findings
    except VenueError as error:
        yield _checks.trouble(error, key=_KEY)
    except DeskError as error:
        yield _error(*_cause(str(error), otherwise=mend))
    except Exception as error:  # noqa: BLE001  # a driver's or an adapter's surprise: the rest is examined all the same
        yield _error(f"the check itself failed: {type(error).__name__}", mend)


def _is_spot(spelt: str) -> bool:
    try:
        return split(symbol_of(spelt))[2] is InstrumentKind.SPOT
    except errors.AlertInvalid:
        return False


def _instruments(
    exchange: Exchange, name: str, symbols: Sequence[str], *, are_named: bool
) -> Iterator[Instrument | Finding]:
    """What the account trades: the symbols of its LIMITS, else the perpetuals that everybody knows."""
    for spelt in symbols:
        try:
            yield exchange.instrument(symbol_of(spelt))
        except (errors.AlertInvalid, errors.InvalidOrder) as error:
            why = error.reason if isinstance(error, errors.AlertInvalid) else error.message
            if are_named:
                yield _error(f"LIMITS_{name}: symbols: {why}", f"correct {spelt}, or take it out")


def _leverage(exchange: Exchange, name: str, leverage: Decimal, symbol: str) -> Finding:
    """Against the most that the venue allows, where it sets a bound."""
    most = exchange.max_leverage(symbol)
    if most is None:
        return _told(f"{symbol}: the venue sets no bound to the leverage")
    if leverage > most:
        text = f"{symbol}: LEVERAGE_{name} is {plain(leverage)}, and the venue allows {plain(most)} at most"
        return _error(text, f"set it to {plain(most)} or less")
    return _told(f"{symbol}: LEVERAGE_{name} may be {plain(most)} at most")


def _smallest(
    exchange: Exchange, name: str, given: Mapping[str, Decimal], most: Decimal | None, on: Instrument
) -> Finding:
    """Whether the money that is free now, with a stop 1 % away, buys the smallest order."""
    balance, price = exchange.balance(on.symbol), exchange.price(on.symbol)
    least = ceil_to(value=max(on.min_quantity, on.min_notional / price), step=on.lot_size) * price
    free, smallest = balance.free, f"{_money(least)} {on.quote}"
    text = f"{on.symbol}: with {_money(free)} {balance.currency} free and a stop 1 % away an entry is"
    try:
        sized = sizing.size(
            free_collateral=free,
            risk=given["RISK"],
            leverage=given["LEVERAGE"],
            price=price,
            margin_price=price,
            stop=price * 99 / 100,
            fixed_quantity=None,
            max_notional=most,
            instrument=on,
        )
    except errors.Denied as error:
        if on.contract_size != 1:
            return _error(error.reason, "trade another instrument")
        if most is not None and most < least:
            mend = f"raise max_notional in LIMITS_{name} to {_money(least)} or more"
        else:
            mend = _more(name, given, free, least, on.quote)
        return _error(f"{text} smaller than the smallest order, {smallest}", mend)
    return _told(f"{text} {_money(sized.notional)} {on.quote}; the smallest order is {smallest}")


def _more(name: str, given: Mapping[str, Decimal], free: Decimal, least: Decimal, quote: str) -> str:
    """What makes an entry as large as `least`: with a stop 1 % away it is free collateral × RISK."""
    room = {"RISK": Decimal(1), "LEVERAGE": sizing.MARGIN_ROOM}
    wanted = f"have {_money(least / min(given[each] * room[each] for each in room))} {quote} free"
    if free <= 0 or least / free > _WISE_RISK:
        return wanted
    needed = {each: least / free / room[each] for each in room}
    more = [f"{each}_{name} to {_money(needed[each])}" for each in room if given[each] < needed[each]]
    return f"{wanted}, or set {' and '.join(more)}" if more else wanted


def _money(amount: Decimal) -> str:
    """To the cent, upwards."""
    return plain(amount.quantize(Decimal("0.01"), ROUND_CEILING))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # `| head` is no trouble; what is left in stdout has no reader
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
