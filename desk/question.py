"""What a person is shown before saying yes to an alert: size, risk, targets, the market, its candles.

Asks the venue in questions only. Whatever cannot be had is left out and said: it must never raise, and
never keep the question itself from being put.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

from desk.draft import Draft, draft
from desk.work import Work
from store import charts
from store.journal import Intent
from trading.errors import Denied, VenueError
from trading.model import Alert, AlertKind, Instrument, Role, Sizing, plain
from trading.rounding import MONEY

log = logging.getLogger(__name__)

#: Where the alert does not tell its own.
INTERVAL = "15"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """`market` is the price that the question was put at, None if nobody told; `data` is JSON."""

    market: Decimal | None
    data: str


def question(work: Work, intent: Intent) -> Question:
    """All that the card of a waiting intent shows beside the alert itself."""
    market, told = _market(work)
    model: dict[str, Any] = {"market": plain(market) if market is not None else None, **told}
    if intent.kind is AlertKind.ENTRY and market is not None:
        model |= _entry(work, intent, market)
    interval = intent.alert.interval or INTERVAL
    bars, missing = work.candles(work.lane, interval)
    model |= {"interval": interval, "bars": charts.packed(bars), "no_bars": missing}
    return Question(market=market, data=json.dumps(model, separators=(",", ":")))


def _market(work: Work) -> tuple[Decimal | None, dict[str, Any]]:
    try:
        return work.exchange.price(work.lane.symbol), {}
    except VenueError as error:
        log.warning("%s: no price for the question: %s", work.lane, error)
        return None, {"warning": f"the venue tells no price now: {error.message}"}


def would_be(work: Work, intent: Intent) -> str:
    """What an entry that was refused would have been in money, as far as the venue tells."""
    try:
        instrument, drafted = _drafted(work, intent, work.exchange.price(work.lane.symbol))
    except Denied as denied:
        return f"its size: {denied.reason}"
    except VenueError as error:
        log.warning("%s: no size for what was refused: %s", work.lane, error)
        return "its size cannot be told now"
    return f"it would be {in_money(drafted.sizing, instrument)}"


def in_money(sized: Sizing, instrument: Instrument) -> str:
    """A size in one line: what it risks, what it loses at its stop, and what made it smaller."""
    text = (
        f"{plain(sized.quantity)} {instrument.base}: risk {plain(sized.risk)} %"
        f" of {plain(sized.free_collateral)} {instrument.quote},"
        f" worst loss {plain(sized.worst_loss)}, notional {plain(sized.notional)}"
    )
    if sized.uncut is None:
        return text
    with localcontext(MONEY):
        share = sized.uncut / sized.quantity
        lost, worth = sized.worst_loss * share, sized.notional * share
    uncut = f"worst loss {plain(round(lost, 2))}, notional {plain(round(worth, 2))}"
    return f"{text}; cut by {sized.cut_by} from {plain(sized.uncut)} {instrument.base}, {uncut}"


def _entry(work: Work, intent: Intent, market: Decimal) -> dict[str, Any]:
    """The entry as it would be sent now."""
    try:
        instrument, drafted = _drafted(work, intent, market)
    except Denied as denied:
        return {"warning": f"as things are it would be refused: {denied.reason}"}
    except VenueError as error:
        log.warning("%s: no size for the question: %s", work.lane, error)
        return {"warning": f"its size cannot be told now: {error.message}"}
    return _shown(drafted, instrument, intent.alert)


def _drafted(work: Work, intent: Intent, market: Decimal) -> tuple[Instrument, Draft]:
    instrument = work.exchange.instrument(work.lane.symbol)
    drafted = draft(
        intent_id=intent.id,
        alert=intent.alert,
        rules=work.rules,
        instrument=instrument,
        market=market,
        free=work.exchange.balance(work.lane.symbol).free,
        capabilities=work.capabilities,
        max_leverage=work.exchange.max_leverage(work.lane.symbol),
    )
    return instrument, drafted


def _shown(drafted: Draft, instrument: Instrument, alert: Alert) -> dict[str, Any]:
    sized, plan = drafted.sizing, drafted.plan
    stop = plan.stop.trigger_price
    with localcontext(MONEY):
        distance = abs(drafted.price - stop) if stop is not None else None
        lost = sized.worst_loss / sized.free_collateral * 100 if sized.free_collateral else None
        targets = [
            {
                "price": plain(order.price),
                "quantity": plain(order.quantity),
                "reward": plain(round(abs(order.price - drafted.price) / distance, 2)) if distance else None,
            }
            for order in plan.targets
            if order.role is Role.TARGET and order.price is not None
        ]
    return {
        "base": instrument.base,
        "quote": instrument.quote,
        "price": plain(drafted.price),
        "stop": plain(stop) if stop is not None else None,
        "type": alert.order_type.value,
        "quantity": plain(sized.quantity),
        "notional": plain(round(sized.notional, 2)),
        "worst_loss": plain(round(sized.worst_loss, 2)),
        "worst_percent": plain(round(lost, 2)) if lost is not None else None,
        "free_collateral": plain(round(sized.free_collateral, 2)),
        "targets": targets,
        "notes": list(drafted.notes),
    }
