"""Alerts and prices through the desk's own thinking and the paper venue, with nothing written down.

For tapes that are too long for the whole desk: policy, draft, protection, matching and the venue are the
very same, the journal and its fence are left out. A test holds it against the whole desk. It must never
reach a database or a real venue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from desk.barelane import BareLane
from desk.draft import Draft
from desk.intake import ASKS_FOR_NOTHING, venue_of
from desk.paperbook import Account, PaperBook
from desk.playback import DUPLICATE, REFUSED, Clock, Result, Row, word
from desk.settings import Settings
from desk.stance import EARLIER, HEALED, ended, mode_of
from desk.tape import Heard as Told
from exchanges import available
from exchanges.paper import PaperExchange
from trading import pnl, policy, stance
from trading.alert import decode, parse
from trading.errors import AlertInvalid, Denied, Rejected
from trading.lifecycle import advance as next_status
from trading.model import (
    ZERO,
    AccountRules,
    Alert,
    AlertKind,
    Direction,
    IntentStatus,
    Lane,
    Limits,
    OrderType,
)
from trading.policy import Decision, History
from trading.stance import Act, Heard

_MINUTE = timedelta(minutes=1)
_REPEAT = timedelta(seconds=60)


@dataclass(slots=True)
class _Intent:
    """An alert that was taken, with its row."""

    row: Row
    id: str
    alert: Alert
    received_at: datetime
    expires_at: datetime | None = None
    asked_price: Decimal | None = None
    found: Direction | None = None

    def end(self, status: IntentStatus, reason: str = "") -> None:
        self.row.status, self.row.reason = status.value, reason


class Rehearsal:
    """The desk without its journal. `votes` as in `desk.playback.word`."""

    def __init__(self, settings: Settings, clock: Clock, *, votes: str) -> None:
        self._settings = settings
        self._clock = clock
        self._votes = votes
        self._exchanges = available()
        self._book = PaperBook()
        self._lanes: dict[Lane, BareLane] = {}
        self._effective: dict[Lane, datetime] = {}
        self._waiting: list[tuple[BareLane, _Intent]] = []
        self._taken: dict[Lane, list[_Intent]] = {}
        self._keys: dict[str, tuple[str, datetime, int]] = {}
        self._made: dict[tuple[str, str], deque[tuple[datetime, str]]] = {}
        self._rows: list[Row] = []
        self._lines: dict[str, int] = {}

    def hear(self, heard: Told) -> str:
        """Takes one alert as far as it goes now."""
        row = Row(heard)
        self._rows.append(row)
        now = self._clock()
        try:
            alert = parse(
                heard.body or decode(heard.raw),
                default_subaccount=self._settings.default_subaccount,
                exchanges=self._exchanges,
                received_at=now,
            )
        except AlertInvalid as error:
            row.status, row.reason = REFUSED, str(error)
            return ""
        if not self._is_new(alert, row, now):
            return ""
        row.alert = alert
        intent = _Intent(row=row, id=f"{row.line:020d}", alert=alert, received_at=now)
        self._lines[intent.id] = row.line
        if alert.kind is AlertKind.TOLD:
            intent.end(IntentStatus.IGNORED, ASKS_FOR_NOTHING)
        else:
            self._take(intent, now)
        return alert.symbol

    def price(self, symbol: str, price: Decimal, at: datetime) -> None:
        """The paper venue hears it, and every lane of the instrument is looked after."""
        self._book.observe(symbol=symbol, price=price, at=at, now=self._clock())
        self._guard(symbol)

    def levels(self, symbol: str) -> Iterator[Decimal]:
        """Where orders rest at the paper venue."""
        for lane in self._lanes.values():
            if lane.lane.symbol == symbol:
                yield from lane.levels()

    def finish(self) -> Result:
        """Nobody votes any more."""
        self._clock.reach(self._clock() + self._settings.approval_timeout + timedelta(seconds=1))
        self._expire(self._clock())
        return Result(
            rows=self._rows,
            fills={place: list(self._account(place).all_fills(place.symbol)) for place in self._lanes},
            lines=self._lines,
            prices={symbol: price for symbol, (price, _) in self._book.prices.items()},
        )

    def _is_new(self, alert: Alert, row: Row, now: datetime) -> bool:
        """Whether it came for the first time: `store.recording.take_keys` asks the same."""
        kind, mark = ("id", alert.key) if alert.key else ("body", alert.fingerprint)
        key = f"{kind}:{alert.account}:{mark}"
        known = self._keys.get(key)
        dated = alert.key is not None or alert.sent_at is not None
        if known is None or (not dated and known[1] <= now - _REPEAT):
            self._keys[key] = (alert.fingerprint, now, row.line)
            return True
        if known[0] == alert.fingerprint:
            row.status, row.reason = DUPLICATE, f"it is the alert of line {known[2]} again"
        else:
            row.status = REFUSED
            before = f"the id {alert.key} was used before by alert of line {known[2]}"
            row.reason = f"id: {before} with another body; not traded"
        return False

    def _take(self, intent: _Intent, now: datetime) -> None:
        alert = intent.alert
        lane = self._lane(Lane(venue_of(alert.exchange, live=False), alert.account, alert.symbol))
        self._taken.setdefault(lane.lane, []).append(intent)
        self._expire(now)
        decision = self._decide(lane, intent)
        if decision.status is not IntentStatus.EXPIRED:
            self._observe(alert, now)
        intent.end(decision.status, decision.reason)
        approved = decision.status is IntentStatus.APPROVED
        if decision.status is IntentStatus.AWAITING_APPROVAL:
            approved = self._ask(lane, intent, now)
        if approved:
            self._carry_out(lane, intent)
        self._guard(alert.symbol, first=lane)

    def _decide(self, lane: BareLane, intent: _Intent) -> Decision:
        return policy.decide(
            alert=intent.alert,
            route=intent.row.heard.route,
            rules=self._rules(lane),
            history=self._history(lane, intent),
            now=self._clock(),
            received_at=intent.received_at,
            max_age=self._settings.max_alert_age,
            halted=False,
            live=False,
            venue_known=True,
            has_keys=False,
        )

    def _recheck(self, lane: BareLane, intent: _Intent) -> Decision:
        return policy.recheck(
            alert=intent.alert,
            rules=self._rules(lane),
            history=self._history(lane, intent),
            now=self._clock(),
            received_at=intent.received_at,
            max_age=self._settings.max_alert_age,
            expires_at=intent.expires_at,
            halted=False,
            live=False,
            venue_known=True,
            has_keys=False,
        )

    def _history(self, lane: BareLane, intent: _Intent) -> History:
        """What the limits ask for, as `desk.decide` finds it in the journal."""
        now, rules = self._clock(), self._rules(lane)
        limits = rules.limits if rules else Limits()
        mine = lane.follows(intent.id)
        made = self._made.setdefault((lane.lane.venue, lane.lane.account), deque())
        while made and made[0][0] < now - _MINUTE:
            made.popleft()
        siblings = [each for each in self._lanes.values() if _siblings(each.lane, lane.lane)]
        watched = limits.max_daily_loss is not None and intent.alert.kind is AlertKind.ENTRY
        return History(
            last_entry_at=None if mine else self._effective.get(lane.lane),
            last_entry_traded_at=None if mine else lane.last_entry_at,
            open_positions=sum(each is not lane and each.is_open for each in siblings),
            orders_last_minute=sum(name != intent.id for _, name in made),
            day_pnl=_day_pnl(lane, siblings, now) if watched else ZERO,
        )

    def _observe(self, alert: Alert, now: datetime) -> None:
        """As `desk.venues.Venues.observe`."""
        wish = alert.kind is AlertKind.ENTRY and alert.order_type is OrderType.LIMIT
        if alert.price is not None and not (wish and alert.symbol in self._book.prices):
            self._book.observe(symbol=alert.symbol, price=alert.price, at=now, now=now)

    def _ask(self, lane: BareLane, intent: _Intent, now: datetime) -> bool:
        """Whether a person says yes, and the yes still holds."""
        market = self._book.prices.get(lane.lane.symbol)
        intent.asked_price = market[0] if market else None
        intent.expires_at = now + self._settings.approval_timeout
        said = word(self._votes, intent.row.heard.status)
        if said is None:
            self._waiting.append((lane, intent))
            return False
        if not said:
            intent.end(IntentStatus.DECLINED, "declined by replay")
            return False
        decision = self._recheck(lane, intent)
        refused = self._drift(lane, intent)
        if decision.status is not IntentStatus.APPROVED:
            intent.end(decision.status, decision.reason)
        elif refused is not None:
            intent.end(IntentStatus.DENIED, refused)
        return decision.status is IntentStatus.APPROVED and refused is None

    def _drift(self, lane: BareLane, intent: _Intent) -> str | None:
        """As `desk.decide` has it, for a word that comes at once."""
        alert, stop = intent.alert, intent.alert.levels.stop
        if alert.kind is not AlertKind.ENTRY or stop is None:
            return None
        then = policy.price_then(alert=alert, asked_price=intent.asked_price)
        if then is None:
            return policy.PRICE_UNTOLD
        return policy.drift(
            price_then=then,
            price_now=lane.exchange.price(lane.lane.symbol),
            entry=alert.price if alert.price is not None else then,
            stop=stop,
            max_share=self._settings.approval_max_drift,
        )

    def _expire(self, now: datetime) -> None:
        """Ends what waited too long for a person."""
        limit = self._settings.approval_timeout.total_seconds()
        for lane, intent in list(self._waiting):
            if intent.expires_at is not None and intent.expires_at <= now:
                intent.end(IntentStatus.EXPIRED, f"nobody approved it within {limit:.0f} s")
                self._waiting.remove((lane, intent))

    def _carry_out(self, lane: BareLane, intent: _Intent) -> None:
        alert = intent.alert
        if alert.kind is not AlertKind.BREAKEVEN:
            self._supersede(lane, intent)
        lane.sync()
        try:
            if self._ends_early(lane, intent):
                return
            if alert.kind is AlertKind.ENTRY:
                self._enter(lane, intent)
            elif alert.kind is AlertKind.EXIT:
                intent.end(*lane.exit(intent.id))
            else:
                intent.end(*lane.breakeven(intent.id, alert))
        except Denied as denied:
            intent.end(IntentStatus.DENIED, denied.reason)
        except Rejected as error:
            intent.end(IntentStatus.FAILED, error.message)

    def _ends_early(self, lane: BareLane, intent: _Intent) -> bool:
        """Whether it counts on another position than there is, and ends by that; as `desk.stance` does."""
        alert, rules = intent.alert, self._rules(lane)
        if not stance.speaks(alert):
            return False
        intent.found = lane.exchange.position(lane.lane.symbol).direction
        came = self._taken[lane.lane]  # itself the last
        earlier = [
            Heard(
                id=f"of line {each.row.line}",
                alert=each.alert,
                received_at=each.received_at,
                found=each.found,
                status=IntentStatus(each.row.status),
            )
            for each in reversed(came[-1 - EARLIER : -1])
        ]
        verdict = stance.judge(
            alert=alert,
            received_at=intent.received_at,
            found=intent.found,
            mode=mode_of(rules),
            earlier=earlier,
        )
        if verdict.act is Act.GO:
            return False
        if verdict.act is not Act.CLOSE or not lane.has_trade:
            end = ended(verdict, alert.account, rules)
            intent.end(next_status(state=IntentStatus.EXECUTING, event=end.event), end.reason)
            return True
        lane.exit(intent.id)
        if alert.kind is AlertKind.ENTRY:
            intent.end(IntentStatus.DENIED, f"{verdict.reason}: {HEALED}, nothing is entered")
        else:
            intent.end(IntentStatus.DONE, f"{verdict.reason}: {HEALED}")
        return True

    def _enter(self, lane: BareLane, intent: _Intent) -> None:
        decision, rules = self._recheck(lane, intent), self._rules(lane)
        if decision.status is not IntentStatus.APPROVED or rules is None:
            intent.end(decision.status, decision.reason)
            return

        def planned(drafted: Draft) -> None:
            intent.row.sizing = drafted.sizing
            at = policy.effective_at(alert=intent.alert, received_at=intent.received_at)
            self._effective[lane.lane] = at

        intent.end(*lane.enter(intent.id, intent.alert, rules, then=planned))

    def _supersede(self, lane: BareLane, by: _Intent) -> None:
        for where, waiting in list(self._waiting):
            if where is lane:
                reason = f"superseded by the {by.alert.message} of line {by.row.line}"
                waiting.end(IntentStatus.EXPIRED, reason)
                self._waiting.remove((where, waiting))

    def _guard(self, symbol: str, first: BareLane | None = None) -> None:
        """The lanes of an instrument, the one at work before the others."""
        if first is not None:
            first.guard()
        for lane in self._lanes.values():
            if lane.lane.symbol == symbol and lane is not first:
                lane.guard()

    def _lane(self, place: Lane) -> BareLane:
        if place not in self._lanes:
            exchange = PaperExchange(
                venue=place.venue,
                account=place.account,
                ledger=self._book,
                clock=self._clock,
                starting_balance=self._settings.paper_balance,
            )
            made = self._made.setdefault((place.venue, place.account), deque())
            self._lanes[place] = BareLane(
                place,
                exchange,
                self._account(place),
                self._clock,
                lambda intent_id: made.append((self._clock(), intent_id)),
            )
        return self._lanes[place]

    def _account(self, place: Lane) -> Account:
        return self._book.account(place.venue, place.account, self._settings.paper_balance)

    def _rules(self, lane: BareLane) -> AccountRules | None:
        account = self._settings.accounts.get(lane.lane.account)
        return account.rules if account else None


def _siblings(one: Lane, other: Lane) -> bool:
    return (one.venue, one.account) == (other.venue, other.account)


def _day_pnl(lane: BareLane, siblings: list[BareLane], now: datetime) -> Decimal:
    """The account's day after fees, with what is open now."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    total = ZERO
    for each in siblings:
        for at, made in reversed(each.realised):
            if at < midnight:
                break
            total += made
    for position in lane.exchange.positions():
        price = lane.exchange.price(position.symbol)
        total += pnl.unrealised(quantity=position.quantity, average_price=position.average_price, price=price)
    return total
