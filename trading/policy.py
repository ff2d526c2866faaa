"""Decides whether an intent may be traded, and whether it still may when its turn comes.

It must never let an entry pass without a risk and a leverage, and never hold back an exit for a
reason that is about entries only. Money limits that cut a quantity are in sizing, not here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal, localcontext

from trading.model import (
    AccountRules,
    Alert,
    AlertKind,
    ApprovalMode,
    InstrumentKind,
    IntentStatus,
    Limits,
    OrderType,
    Route,
    Side,
    plain,
)
from trading.rounding import MONEY, need_decimals, need_positive
from trading.symbols import split

#: Why an approved entry is not sent that has no `price_then`.
PRICE_UNTOLD = "nobody could tell the price when it was asked, so how far it has moved since is not known"

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What happened before this intent; none of it counts the intent itself.

    `last_entry_at` is the effective time (see `effective_at`) of the newest entry traded on this
    account and instrument, `last_entry_traded_at` when the newest one was made that the venue did
    not refuse (None also where that was before the cooldown). `open_positions` counts the account's
    other instruments, since an entry replaces what is open on its own.
    `orders_last_minute` counts the orders that the account sent in the last 60 s. `day_pnl` is the
    account's P&L of the day after fees, open positions included, in quote units; None when it
    cannot be known, with the reason in `day_doubt` if there is one. `day_is_over`: it has been at
    `max_daily_loss` or below it today, whatever it is now.
    """

    last_entry_at: datetime | None
    last_entry_traded_at: datetime | None
    open_positions: int
    orders_last_minute: int
    day_pnl: Decimal | None
    day_doubt: str = ""
    day_is_over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The status that the intent takes, and the reason as people read it.

    `rule` is the one of LIMITS that refused it, if one did; `standing` is how an entry stands to all of them.
    """

    status: IntentStatus
    reason: str
    rule: str = ""
    standing: str = field(default="", compare=False)


def effective_at(*, alert: Alert, received_at: datetime) -> datetime:
    """When the alert's word was true: its own `time`, but never after we received it.

    >>> from datetime import UTC
    >>> told = Alert(kind=AlertKind.TOLD, message="tp1", ticker="BTCUSDT", symbol="BTC-USDT",
    ...     exchange="PAPER", subaccount="main", account="MAIN", fingerprint="0")
    >>> effective_at(alert=told, received_at=datetime(2024, 1, 1, tzinfo=UTC)).isoformat()
    '2024-01-01T00:00:00+00:00'
    """
    return received_at if alert.sent_at is None else min(alert.sent_at, received_at)


def decide(
    *,
    alert: Alert,
    route: Route,
    rules: AccountRules | None,
    history: History,
    now: datetime,
    received_at: datetime,
    max_age: timedelta | None,
    halted: bool,
    live: bool,
    venue_known: bool,
    has_keys: bool,
) -> Decision:
    """What becomes of a stored alert: APPROVED, AWAITING_APPROVAL, DENIED, EXPIRED or IGNORED.

    `rules` is None for an account without settings, `max_age` None where alerts do not go stale.
    `venue_known` (an adapter has that name) and `has_keys` (the account has its credentials) count
    only when `live`. Never raises for what an alert or a setting says.

    >>> from datetime import UTC
    >>> told = Alert(kind=AlertKind.TOLD, message="tp1", ticker="BTCUSDT", symbol="BTC-USDT",
    ...     exchange="PAPER", subaccount="main", account="MAIN", fingerprint="0")
    >>> nothing = History(last_entry_at=None, last_entry_traded_at=None, open_positions=0,
    ...     orders_last_minute=0, day_pnl=None)
    >>> noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    >>> decide(alert=told, route=Route.ORDER, rules=None, history=nothing, now=noon, received_at=noon,
    ...     max_age=None, halted=False, live=False, venue_known=True, has_keys=False).status
    <IntentStatus.IGNORED: 'IGNORED'>
    """
    refusal = (
        _told(alert)
        or _short_of_coins(alert)
        or _unset(alert=alert, rules=rules)
        or _elsewhere(alert=alert, rules=rules, live=live, venue_known=venue_known, has_keys=has_keys)
        or _halt(alert=alert, halted=halted)
        or _stale(alert=alert, now=now, received_at=received_at, max_age=max_age)
        or _overtaken(alert=alert, received_at=received_at, history=history, always=max_age is None)
        or _over_limits(alert=alert, rules=rules, history=history, now=now)
    )
    decision = refusal or _approval(alert=alert, route=route, rules=rules)
    return replace(decision, standing=_standing(alert=alert, rules=rules, history=history, now=now))


def recheck(
    *,
    alert: Alert,
    rules: AccountRules | None,
    history: History,
    now: datetime,
    received_at: datetime,
    max_age: timedelta | None,
    expires_at: datetime | None,
    halted: bool,
    live: bool,
    venue_known: bool,
    has_keys: bool,
) -> Decision:
    """The same checks at the vote and right before sending: APPROVED, DENIED, EXPIRED or IGNORED.

    `expires_at` is None for an alert that waited for nobody. For one that did, it takes the place of
    `max_age`: an entry goes no later. An exit or a breakeven that was approved does not go stale, so
    whoever counts the votes must refuse the late ones.
    """
    stale = (
        _stale(alert=alert, now=now, received_at=received_at, max_age=max_age)
        if expires_at is None
        else _approval_over(alert=alert, now=now, expires_at=expires_at)
    )
    refusal = (
        _told(alert)
        or _short_of_coins(alert)
        or _unset(alert=alert, rules=rules)
        or _elsewhere(alert=alert, rules=rules, live=live, venue_known=venue_known, has_keys=has_keys)
        or _halt(alert=alert, halted=halted)
        or stale
        or _overtaken(alert=alert, received_at=received_at, history=history, always=max_age is None)
        or _over_limits(alert=alert, rules=rules, history=history, now=now)
    )
    decision = refusal or Decision(status=IntentStatus.APPROVED, reason="")
    return replace(decision, standing=_standing(alert=alert, rules=rules, history=history, now=now))


def drift(
    *, price_then: Decimal, price_now: Decimal, entry: Decimal, stop: Decimal, max_share: Decimal
) -> str | None:
    """Why the price has moved too far since an entry was asked for, or None.

    `max_share` is a share of the distance |entry − stop|, where `entry` is the price that the entry counts
    on: a limit's own, else `price_then`. A price at or behind the stop is always too far. Raises ValueError
    for what is no amount.

    >>> drift(price_then=Decimal(100), price_now=Decimal(106), entry=Decimal(100), stop=Decimal(90),
    ...     max_share=Decimal("0.5"))
    'the price moved from 100 to 106, more than 0.5 of the distance to the stop at 90'
    """
    need_positive(price_then=price_then, price_now=price_now, entry=entry, stop=stop)
    need_decimals(max_share=max_share)
    with localcontext(MONEY):
        moved = f"the price moved from {plain(price_then)} to {plain(price_now)}"
        behind = price_now <= stop if stop < entry else price_now >= stop
        if behind:
            return f"{moved}, behind the stop at {plain(stop)}"
        if abs(price_now - price_then) > max_share * abs(entry - stop):
            return f"{moved}, more than {plain(max_share)} of the distance to the stop at {plain(stop)}"
    return None


def price_then(*, alert: Alert, asked_price: Decimal | None) -> Decimal | None:
    """Where the market was when an entry was asked for; None if nobody told.

    A limit's price says where the order belongs, not where the market was: there the market at the
    question, `asked_price`, counts.
    """
    limit = alert.order_type is OrderType.LIMIT and asked_price is not None
    return asked_price if alert.price is None or limit else alert.price


def _denied(reason: str) -> Decision:
    return Decision(status=IntentStatus.DENIED, reason=reason)


def _expired(reason: str) -> Decision:
    return Decision(status=IntentStatus.EXPIRED, reason=reason)


def _told(alert: Alert) -> Decision | None:
    if alert.kind is not AlertKind.TOLD:
        return None
    reason = f"{alert.message} is told, not traded: the targets rest on the venue already"
    return Decision(status=IntentStatus.IGNORED, reason=reason)


def _short_of_coins(alert: Alert) -> Decision | None:
    """Spot sells what it holds and nothing else."""
    if alert.kind is not AlertKind.ENTRY or alert.side is not Side.SELL:
        return None
    base, quote, kind = split(alert.symbol)
    if kind is not InstrumentKind.SPOT:
        return None
    return _denied(f"{alert.symbol} is spot, which cannot go short: use a perpetual, as {base}{quote}.P")


def _unset(*, alert: Alert, rules: AccountRules | None) -> Decision | None:
    if alert.kind is not AlertKind.ENTRY:
        return None
    needed = {"RISK": rules and rules.risk, "LEVERAGE": rules and rules.leverage}
    unset = [f"{name}_{alert.account}" for name, value in needed.items() if value is None]
    if not unset:
        return None
    return _denied(f"account {alert.account} may not enter: set {' and '.join(unset)}")


def _elsewhere(
    *, alert: Alert, rules: AccountRules | None, live: bool, venue_known: bool, has_keys: bool
) -> Decision | None:
    only = rules.exchange if rules else None
    if only and only.casefold() != alert.exchange.casefold():
        return _denied(f"the alert says {alert.exchange}, but EXCHANGE_{alert.account} allows only {only}")
    if live and not venue_known:
        return _denied(f"exchange {alert.exchange} is not one that this server can trade on")
    if live and not has_keys:
        names = f"API_KEY_{alert.account} and API_SECRET_{alert.account}"
        return _denied(f"account {alert.account} has no credentials: set {names}")
    return None


def _halt(*, alert: Alert, halted: bool) -> Decision | None:
    if halted and alert.kind is AlertKind.ENTRY:
        return _denied("trading is halted: resume it and send the entry again")
    return None


def _stale(
    *, alert: Alert, now: datetime, received_at: datetime, max_age: timedelta | None
) -> Decision | None:
    """Entries only: an exit that comes late is still wanted."""
    if max_age is None or alert.kind is not AlertKind.ENTRY:
        return None
    if alert.sent_at is not None and received_at - alert.sent_at > max_age:
        over = _seconds(received_at - alert.sent_at - max_age)
        return _expired(
            f"its time is {over} over MAX_ALERT_AGE ({_seconds(max_age)}) when it came:"
            " use {{timenow}} for time, or raise MAX_ALERT_AGE"
        )
    age = now - effective_at(alert=alert, received_at=received_at)
    if age > max_age:
        return _expired(
            f"it waited here until it was {_seconds(age - max_age)} over MAX_ALERT_AGE ({_seconds(max_age)})"
        )
    return None


def _approval_over(*, alert: Alert, now: datetime, expires_at: datetime) -> Decision | None:
    if alert.kind is not AlertKind.ENTRY or now < expires_at:
        return None
    return _expired(f"its approval ended {_seconds(now - expires_at)} ago (APPROVAL_TIMEOUT)")


def _overtaken(*, alert: Alert, received_at: datetime, history: History, always: bool) -> Decision | None:
    """`always` lets an old entry through; an old exit or breakeven is meant for an older position."""
    if history.last_entry_at is None or (always and alert.kind is AlertKind.ENTRY):
        return None
    # {{timenow}} has whole seconds, our own clock has not: within one second nothing is older.
    mine = effective_at(alert=alert, received_at=received_at)
    newest = history.last_entry_at.replace(microsecond=0)
    if mine >= newest:
        return None
    return _expired(f"it is {_seconds(newest - mine)} older than the entry traded since on {alert.symbol}")


def _over_limits(
    *, alert: Alert, rules: AccountRules | None, history: History, now: datetime
) -> Decision | None:
    if rules is None or alert.kind is not AlertKind.ENTRY:
        return None
    for name, rule in _RULES.items():
        is_kept, text = rule(alert, rules.limits, history, now)
        if not is_kept:
            reason = f"{text} (LIMITS_{alert.account})"
            return Decision(status=IntentStatus.DENIED, reason=reason, rule=name)
    return None


def _standing(*, alert: Alert, rules: AccountRules | None, history: History, now: datetime) -> str:
    """How an entry stands to every limit that is set, in one line; the one on its size is told with that."""
    if rules is None or alert.kind is not AlertKind.ENTRY:
        return ""
    told = [rule(alert, rules.limits, history, now)[1] for rule in _RULES.values()]
    return "; ".join(text for text in told if text)


def _symbols(alert: Alert, limits: Limits, history: History, now: datetime) -> tuple[bool, str]:
    if limits.symbols is None:
        return True, ""
    allowed = {symbol.casefold() for symbol in limits.symbols}
    if not allowed & {alert.symbol.casefold(), alert.ticker.casefold()}:
        return False, f"{alert.symbol} is not among symbols"
    return True, f"{alert.symbol} is among symbols"


def _cooldown(alert: Alert, limits: Limits, history: History, now: datetime) -> tuple[bool, str]:
    if limits.cooldown_s is None:
        return True, ""
    if history.last_entry_traded_at is None:
        return True, f"cooldown_s: no entry within {limits.cooldown_s} s"
    rest = timedelta(seconds=limits.cooldown_s) - (now - history.last_entry_traded_at)
    if rest > timedelta():
        return False, f"cooldown_s: {_seconds(rest)} of {limits.cooldown_s} s since the last entry are left"
    return True, f"cooldown_s: {limits.cooldown_s} s since the last entry are over"


def _positions(alert: Alert, limits: Limits, history: History, now: datetime) -> tuple[bool, str]:
    most, opened = limits.max_open_positions, history.open_positions
    if most is None:
        return True, ""
    return opened < most, f"max_open_positions: {opened} open of {most}"


def _orders(alert: Alert, limits: Limits, history: History, now: datetime) -> tuple[bool, str]:
    most, sent = limits.max_orders_per_minute, history.orders_last_minute
    if most is None:
        return True, ""
    return sent < most, f"max_orders_per_minute: {sent} sent of {most}"


def _daily_loss(alert: Alert, limits: Limits, history: History, now: datetime) -> tuple[bool, str]:
    if limits.max_daily_loss is None:
        return True, ""
    if history.day_is_over:
        reached = f"the limit {plain(limits.max_daily_loss)} was reached today"
        return False, f"max_daily_loss: {reached}, nothing is entered until midnight UTC"
    if history.day_pnl is None:
        why = f": {history.day_doubt}" if history.day_doubt else ""
        return False, f"max_daily_loss: today's P&L cannot be known now{why}"
    told = f"today's P&L is {plain(history.day_pnl)}, the limit {plain(limits.max_daily_loss)}"
    is_kept = not over_daily_loss(day_pnl=history.day_pnl, max_daily_loss=limits.max_daily_loss)
    return is_kept, f"max_daily_loss: {told}"


#: Each says whether its limit is kept, and how the entry stands to it; nothing where it is not set.
_RULES = {
    "symbols": _symbols,
    "cooldown_s": _cooldown,
    "max_open_positions": _positions,
    "max_orders_per_minute": _orders,
    "max_daily_loss": _daily_loss,
}


def over_daily_loss(*, day_pnl: Decimal, max_daily_loss: Decimal) -> bool:
    """Whether the day has lost as much as it may.

    >>> over_daily_loss(day_pnl=Decimal(-100), max_daily_loss=Decimal(100))
    True
    """
    return day_pnl <= max_daily_loss.copy_negate()


def _approval(*, alert: Alert, route: Route, rules: AccountRules | None) -> Decision:
    if route is Route.STUDY:
        return Decision(status=IntentStatus.AWAITING_APPROVAL, reason="this route always asks first")
    asks = rules is not None and rules.approval is ApprovalMode.DISCORD
    if asks and alert.kind is AlertKind.ENTRY:
        reason = f"APPROVAL_{alert.account} asks before every entry"
        return Decision(status=IntentStatus.AWAITING_APPROVAL, reason=reason)
    return Decision(status=IntentStatus.APPROVED, reason="")


def _seconds(span: timedelta) -> str:
    """Whole seconds, rounded up: never "0 s" for what is over."""
    return f"{-(-span // _SECOND)} s"
