"""The fields of a body to an Alert, or AlertInvalid with the field and the reason.

Whatever an entry needs is checked here, once, so that nothing behind it meets a wrong number. An exit
must get through: what only an entry uses is not a reason to refuse it. Nothing here guesses a value.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import urlsplit

from trading.body import Body, decode
from trading.errors import AlertInvalid
from trading.keys import NOTHING, canonical, member, nearest, shown
from trading.model import ZERO, Alert, AlertKind, Levels, OrderType, Rung, Side, plain
from trading.scrub import scrub
from trading.symbols import symbol_of

__all__ = ["Body", "account_of", "canonical", "decode", "parse", "scrub"]

MAX_RUNGS = 20
MAX_FUTURE = timedelta(hours=24)
_MAX_WORD = 64
_MAX_KEY = 128
_MAX_URL = 2000
_MAX_SIGNIFICANT = 24
_MAX_EXPONENT = 20
_SMALLEST, _LARGEST = Decimal("1e-20"), Decimal("1e15")
_HUNDRED = Decimal(100)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MILLISECONDS = 10**11  # as seconds that is the year 5138, as milliseconds 1973

_SIDES = {"buy": Side.BUY, "long": Side.BUY, "sell": Side.SELL, "short": Side.SELL}
_TYPES = {"market": OrderType.MARKET, "limit": OrderType.LIMIT}
_KNOWN_MESSAGES = "entry, exit, tp1, tp2 ..., and any that ends in breakeven"
_ACCOUNT_MEND = "write the NAME of one of the server's accounts, as in RISK_NAME"
_POSITIONS = frozenset({"long", "short", "flat"})

_DECIMAL = re.compile(r"-?([0-9]{1,12})(?:\.([0-9]{1,24}))?(?:[eE]([+-]?[0-9]{1,2}))?")
_TOLD = re.compile(r"tp[0-9]{1,3}")
_RUNG_KEY = re.compile(r"tp([0-9]{1,3}) Mult")
_ISO = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?"
    r"(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
)
_EPOCH_TIME = re.compile(r"[0-9]{9,13}")
_INTERVAL = re.compile(r"[0-9A-Za-z]{1,16}")
_URL = re.compile(r"https?://[!#-;=?-\[\]-_a-~]+", re.IGNORECASE)  # printable, without " < > \ `

_Fields = Mapping[str, str | bool | None]


def parse(
    body: Body, *, default_subaccount: str | None, exchanges: Collection[str], received_at: datetime
) -> Alert:
    """The alert that a body means.

    `exchanges` are the known venues, in any case; `received_at` is UTC and bounds the alert's `time`.
    Raises AlertInvalid 422 with the field as alertmodel.txt spells it.
    """
    fields = body.fields
    message, kind = _message(fields)
    ticker = _required(fields, "ticker")
    symbol = symbol_of(ticker)
    exchange = _exchange(fields, exchanges)
    subaccount = _text(fields, "subaccount") or default_subaccount
    if not subaccount:
        raise AlertInvalid(
            "is missing, and there is no DEFAULT_SUBACCOUNT",
            field="subaccount",
            mend=f"add {member('subaccount')}, or set DEFAULT_SUBACCOUNT",
        )
    alert = Alert(
        kind=kind,
        message=message,
        ticker=ticker,
        symbol=symbol,
        exchange=exchange,
        subaccount=subaccount,
        account=account_of(subaccount),
        fingerprint=body.fingerprint,
        sent_at=_sent_at(fields, received_at, kind),
        key=_key(fields),
        interval=_interval(fields),
        chart_url=_chart_url(fields),
        market_position=_position(fields, "market_position"),
        prev_market_position=_position(fields, "prev_market_position"),
        prev_market_position_size=_amount(fields, "prev_market_position_size", strict=False),
        contracts=_amount(fields, "contracts", strict=False),
    )
    return _entry(alert, fields) if kind is AlertKind.ENTRY else _no_entry(alert, fields)


def account_of(subaccount: str) -> str:
    """The settings' spelling of a subaccount: `my main` is `MY_MAIN`. AlertInvalid if nothing is left."""
    account = re.sub(r"[^A-Za-z0-9]", "_", subaccount.strip()).upper()
    if not account.strip("_"):
        raise AlertInvalid("there is no letter or digit in it", field="subaccount", mend=_ACCOUNT_MEND)
    if len(account) > _MAX_WORD:
        raise AlertInvalid(f"longer than {_MAX_WORD} characters", field="subaccount", mend=_ACCOUNT_MEND)
    return account


def _message(fields: _Fields) -> tuple[str, AlertKind]:
    message = _required(fields, "message").lower()
    if message in (AlertKind.ENTRY, AlertKind.EXIT):
        return message, AlertKind(message)
    if message.endswith("breakeven") and len(message) <= _MAX_WORD:
        return message, AlertKind.BREAKEVEN
    if _TOLD.fullmatch(message):
        return message, AlertKind.TOLD
    near = nearest(message, ("entry", "exit", "breakeven", "tp1_breakeven"))
    raise AlertInvalid(
        f"{shown(message)} is not known; known are {_KNOWN_MESSAGES}",
        field="message",
        mend=f'did you mean "{near}"?' if near else f"write {member('message')}",
    )


def _exchange(fields: _Fields, exchanges: Collection[str]) -> str:
    exchange = _required(fields, "exchange").upper()
    if exchange.endswith(("_DL", "_DLY")):
        raise AlertInvalid(
            f"{shown(exchange)} is a delayed feed: its prices are minutes old and are not traded",
            field="exchange",
            mend="make the alert on a chart with real-time data of this exchange",
        )
    known = sorted({name.upper() for name in exchanges})
    if exchange not in known:
        near = nearest(exchange, known)
        raise AlertInvalid(
            f"{shown(exchange)} is not known; known are {', '.join(known)}",
            field="exchange",
            mend=f'did you mean "{near}"?' if near else f"write {member('exchange')}",
        )
    return exchange


def _no_entry(alert: Alert, fields: _Fields) -> Alert:
    """Only a breakeven uses a number, and of those its breakeven levels alone; the rest is for reports."""
    strict = ("long Breakeven", "short Breakeven") if alert.kind is AlertKind.BREAKEVEN else ()
    return replace(
        alert,
        side=_SIDES.get(_text(fields, "action", strict=False).lower()),
        price=_level(fields, "price", strict=False),
        long=_levels(fields, "long", strict),
        short=_levels(fields, "short", strict),
    )


def _entry(alert: Alert, fields: _Fields) -> Alert:
    action = _required(fields, "action").lower()
    if action not in _SIDES:
        mend = f'write {member("action")}, "buy" or "sell"'
        raise AlertInvalid(f"{shown(action)} is neither buy nor sell", field="action", mend=mend)
    kind = _text(fields, "type").lower() or "market"
    if kind not in _TYPES:
        mend = f'write {member("type")}, or "limit"'
        raise AlertInvalid(f"{shown(kind)} is neither market nor limit", field="type", mend=mend)
    entry = replace(
        alert,
        side=_SIDES[action],
        order_type=_TYPES[kind],
        price=_level(fields, "price"),
        long=_levels(fields, "long"),
        short=_levels(fields, "short"),
        size=_level(fields, "size"),
        rungs=_rungs(fields),
        target_close_percent=_level(fields, "tp Close"),
    )
    _check_prices(entry)
    _check_rungs(entry)
    return entry


def _check_prices(entry: Alert) -> None:
    """A stop there must be; with a price known, stop and target stand on their sides of it."""
    is_long = entry.side is Side.BUY
    word, below, above = ("long", "SL", "TP") if is_long else ("short", "TP", "SL")
    price, stop, target = entry.price, entry.levels.stop, entry.levels.target
    if stop is None:
        mend = f"write {member(f'{word} SL')}, and plot the level from the signal on"
        raise AlertInvalid("an entry needs a stop", field=f"{word} SL", mend=mend)
    if price is None:
        if entry.order_type is OrderType.LIMIT:
            mend = f"write {member('price')}"
            raise AlertInvalid("a limit entry needs its price", field="price", mend=mend)
        return
    lower, upper = (stop, target) if is_long else (target, stop)
    mend = f"a {word} has its {below} below and its {above} above the price: are two levels swapped?"
    if lower is not None and lower >= price:
        raise AlertInvalid(
            f"{lower:f} must be below the price {price:f} of a {word} entry",
            field=f"{word} {below}",
            mend=mend,
        )
    if upper is not None and upper <= price:
        raise AlertInvalid(
            f"{upper:f} must be above the price {price:f} of a {word} entry",
            field=f"{word} {above}",
            mend=mend,
        )


def _check_rungs(entry: Alert) -> None:
    """All rungs together close no more than the entry, at prices that can exist."""
    percent = entry.target_close_percent
    if percent is not None and percent > _HUNDRED:
        mend = "write the percent that one target closes: 25 for a quarter"
        raise AlertInvalid(f"{percent:f} is more than 100 percent", field="tp Close", mend=mend)
    if not entry.rungs:
        return
    if percent is None:
        raise AlertInvalid(
            "targets tp1 Mult ... need the percent that each closes",
            field="tp Close",
            mend=f"write {member('tp Close')}, or take the targets out",
        )
    if percent * len(entry.rungs) > _HUNDRED:
        raise AlertInvalid(
            f"{len(entry.rungs)} targets of {percent:f} percent close more than 100 percent",
            field="tp Close",
            mend=f"write {plain(_HUNDRED // len(entry.rungs))} or less, or take targets out",
        )
    stop = entry.levels.stop
    if entry.side is Side.BUY or entry.price is None or stop is None:
        return
    for rung in entry.rungs:
        if entry.price - (stop - entry.price) * rung.multiple <= ZERO:
            raise AlertInvalid(
                f"{rung.multiple:f} times the stop distance below {entry.price:f} is no price above 0",
                field=f"tp{rung.number} Mult",
                mend="write a smaller multiple, or plot 0 where there is no such target",
            )


def _rungs(fields: _Fields) -> tuple[Rung, ...]:
    rungs = []
    for name in fields:
        match = _RUNG_KEY.fullmatch(name)
        multiple = _level(fields, name) if match else None
        if match and multiple is not None:
            if not 1 <= int(match[1]) <= MAX_RUNGS:
                mend = "number the targets from 1 on"
                raise AlertInvalid(f"targets are numbered 1 to {MAX_RUNGS}", field=name, mend=mend)
            rungs.append(Rung(number=int(match[1]), multiple=multiple))
    return tuple(sorted(rungs, key=lambda rung: rung.number))


def _levels(fields: _Fields, word: str, strict: Collection[str] | None = None) -> Levels:
    """The levels of one direction; of names outside `strict`, where given, what is unreadable is none."""
    stop, target, breakeven = (
        _level(fields, name, strict=strict is None or name in strict)
        for name in (f"{word} SL", f"{word} TP", f"{word} Breakeven")
    )
    return Levels(stop=stop, target=target, breakeven=breakeven)


def _level(fields: _Fields, name: str, *, strict: bool = True) -> Decimal | None:
    """As `_amount`, where 0 too means that there is none."""
    return _amount(fields, name, strict=strict) or None


def _amount(fields: _Fields, name: str, *, strict: bool = True) -> Decimal | None:
    """0 or more; None for none, and for anything unreadable unless `strict`."""
    value = fields.get(name)
    if value is None or (isinstance(value, str) and value.strip().lower() in NOTHING):
        return None
    amount = _decimal(value) if isinstance(value, str) else None
    if amount is not None and amount >= ZERO:
        return amount
    if not strict:
        return None
    raise AlertInvalid(
        f"{shown(str(value))} is {'no plain number' if amount is None else 'negative'}",
        field=name,
        mend="write digits with a dot, such as 42000.5, without a sign or thousands separators; 0 for none",
    )


def _decimal(text: str) -> Decimal | None:
    """The one reading of a number: plain ASCII digits, bounded before anything is computed."""
    match = _DECIMAL.fullmatch(text.strip())
    if not match:
        return None
    digits = (match[1] + (match[2] or "")).lstrip("0")
    if len(digits) > _MAX_SIGNIFICANT or abs(int(match[3] or 0)) > _MAX_EXPONENT:
        return None
    value = Decimal(match[0])
    if value == ZERO:
        return ZERO
    return Decimal(f"{value:f}") if _SMALLEST <= abs(value) <= _LARGEST else None


def _sent_at(fields: _Fields, received_at: datetime, kind: AlertKind) -> datetime | None:
    """The alert's time, never after `received_at`: a clock that is fast must not make an alert young."""
    text = _text(fields, "time")
    if text.lower() in NOTHING:
        return None
    sent_at = parse_time(text)
    if sent_at is None:
        reason = f"{shown(text)} is no ISO 8601 time; use {{{{timenow}}}}"
        raise AlertInvalid(reason, field="time", mend=f"write {member('time')}")
    if kind is AlertKind.ENTRY and sent_at - received_at > MAX_FUTURE:
        mend = f"write {member('time')}: the time when the alert fires, in UTC"
        raise AlertInvalid(f"{shown(text)} is more than a day in the future", field="time", mend=mend)
    return min(sent_at, received_at)


def parse_time(text: str) -> datetime | None:
    """ISO 8601 (UTC where it names no zone) or Unix seconds or milliseconds; None for anything else."""
    if _EPOCH_TIME.fullmatch(text):
        count = int(text)
        return _EPOCH + timedelta(milliseconds=count * 1000 if count < _FIRST_MILLISECONDS else count)
    if not _ISO.fullmatch(text):
        return None
    try:
        read = datetime.fromisoformat(text)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):  # a 13th month; the year 0
        return None


def _key(fields: _Fields) -> str | None:
    key = _text(fields, "id")
    if key.lower() in NOTHING:
        return None
    if len(key) > _MAX_KEY:
        raise AlertInvalid(f"longer than {_MAX_KEY} characters", field="id", mend="shorten it")
    return key


def _interval(fields: _Fields) -> str | None:
    interval = _text(fields, "interval", strict=False)
    return interval if _INTERVAL.fullmatch(interval) else None


def _position(fields: _Fields, name: str) -> str | None:
    position = _text(fields, name, strict=False).lower()
    return position if position in _POSITIONS else None


def _chart_url(fields: _Fields) -> str | None:
    """Shown, never fetched; what is no plain web address is left out."""
    url = _text(fields, "chart_url", strict=False)
    if len(url) > _MAX_URL or not _URL.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
        return url if parts.hostname and parts.port != 0 else None
    except ValueError:
        return None


def _required(fields: _Fields, name: str) -> str:
    text = _text(fields, name)
    if not text:
        raise AlertInvalid("is missing or empty", field=name, mend=f"write {member(name)}")
    return text


def _text(fields: _Fields, name: str, *, strict: bool = True) -> str:
    """Trimmed text; empty where there is none."""
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return (value or "").strip()
    if not strict:
        return ""
    raise AlertInvalid("expected text in quotes", field=name, mend=f"write {member(name)}")
