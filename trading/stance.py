"""What an alert says of the strategy's position, held against the position that is there when its turn comes.

`market_position` and `prev_market_position` are the strategy's, after and before the alert. It must never
make up a position that no entry asks for: where ours is missing, it stays missing until the next entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from trading.model import Alert, AlertKind, Direction, DriftMode, IntentStatus, Side

#: Alerts of one moment may arrive in any order; what is further apart has come as it was sent.
NEAR = timedelta(seconds=10)


class Act(StrEnum):
    """What becomes of the alert."""

    GO = "GO"
    SKIP = "SKIP"
    DENY = "DENY"
    CLOSE = "CLOSE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """An alert of the same lane that came before, with its end; `found` is None where it did not look."""

    id: str
    alert: Alert
    received_at: datetime
    found: Direction | None
    status: IntentStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """GO: as always. SKIP: it is meant for another position. DENY: a person must look. CLOSE: the strategy is
    flat, so what is open ends, and nothing else happens. `reason` is empty where both sides agree.
    """

    act: Act
    reason: str = ""


def speaks(alert: Alert) -> bool:
    """Whether it says anything of the strategy's position."""
    return alert.market_position is not None or alert.prev_market_position is not None


def before(alert: Alert) -> Direction | None:
    """The position that the alert counts on; None where it does not say.

    A breakeven changes nothing, so that what is after it was there before.
    """
    if alert.kind is AlertKind.BREAKEVEN:
        return _direction(alert.market_position) or _direction(alert.prev_market_position)
    return _direction(alert.prev_market_position)


def after(alert: Alert) -> Direction | None:
    """The position that the strategy has once the alert is carried out."""
    if alert.market_position is not None:
        return _direction(alert.market_position)
    if alert.kind is AlertKind.ENTRY:
        return _entered(alert)
    return Direction.FLAT if alert.kind is AlertKind.EXIT else before(alert)


def judge(
    *, alert: Alert, received_at: datetime, found: Direction, mode: DriftMode, earlier: Sequence[Heard]
) -> Verdict:
    """What becomes of an alert that meets the position `found`; `earlier` are its lane's, the newest first.

    Alerts of one moment that arrive swapped are told apart in every mode: by what they expect, what is
    there, and what the one that came first found.

    >>> from trading.model import Side
    >>> late = Alert(kind=AlertKind.EXIT, message="exit", ticker="BTCUSDT.P", symbol="BTC-USDT-PERP",
    ...     exchange="PAPER", subaccount="main", account="MAIN", fingerprint="0",
    ...     prev_market_position="long", market_position="flat")
    >>> noon = datetime(2024, 1, 1, 12)
    >>> judge(alert=late, received_at=noon, found=Direction.SHORT, mode=DriftMode.BLOCK, earlier=()).reason
    'the alert expects long (prev_market_position), the position is short'
    """
    if not speaks(alert):
        return Verdict(act=Act.GO)
    overtaker = _overtaker(alert, received_at, earlier)
    if overtaker is not None:
        message = f"the {overtaker.alert.message} {overtaker.id}"
        return Verdict(
            act=Act.SKIP, reason=f"it belongs before {message} of the same moment, which came first"
        )
    contradiction = _contradiction(alert)
    text = contradiction or _difference(alert, found)
    if not text:
        return Verdict(act=Act.GO)
    if mode is DriftMode.REPORT:
        return Verdict(act=Act.GO, reason=text)
    if mode is DriftMode.BLOCK:
        return Verdict(act=Act.DENY, reason=text)
    return Verdict(act=_healing(alert, found, contradiction), reason=text)


def _healing(alert: Alert, found: Direction, contradiction: str) -> Act:
    """What brings the position to where the strategy is, opening nothing but what an entry asks for."""
    is_flat, wanted = found is Direction.FLAT, after(alert)
    if alert.kind is AlertKind.ENTRY:
        if not contradiction:
            return Act.GO  # it closes what is open by itself, and brings its own stop
        return Act.CLOSE if wanted is Direction.FLAT and not is_flat else Act.DENY
    if is_flat:
        return Act.GO  # nothing is left to be done
    if alert.kind is AlertKind.EXIT:
        return Act.SKIP if found is wanted else Act.GO
    return Act.CLOSE if wanted is Direction.FLAT else Act.SKIP


def _contradiction(alert: Alert) -> str:
    """An entry after which the strategy is not where the entry goes."""
    if alert.kind is not AlertKind.ENTRY or alert.market_position is None:
        return ""
    entered = _entered(alert)
    if entered is after(alert):
        return ""
    says = f"the strategy is {alert.market_position} after it (market_position)"
    return f"the alert enters {_word(entered)}, but says that {says}"


def _difference(alert: Alert, found: Direction) -> str:
    expected = before(alert)
    if expected is None or found is expected:
        return ""
    # A stop that was hit ends a position before the strategy's exit comes.
    if alert.kind is AlertKind.EXIT and found is Direction.FLAT and after(alert) is Direction.FLAT:
        return ""
    now = alert.kind is AlertKind.BREAKEVEN and alert.market_position is not None
    field = "market_position" if now else "prev_market_position"
    return f"the alert expects {_word(expected)} ({field}), the position is {_word(found)}"


def _overtaker(alert: Alert, received_at: datetime, earlier: Sequence[Heard]) -> Heard | None:
    """The alert that came first and belongs behind this one, if there is one."""
    near = [each for each in earlier if _may_follow(each, alert, received_at)]
    if alert.kind is AlertKind.ENTRY:
        for each in near:
            if each.status in (IntentStatus.DONE, IntentStatus.DENIED) and (
                _was_early(each, alert) or _was_for(each, alert, earlier)
            ):
                return each
        return None
    newest = next(
        (e for e in near if e.alert.kind is AlertKind.ENTRY and e.status is IntentStatus.DONE), None
    )
    expected = before(alert)
    if newest is None or expected is Direction.FLAT:
        return None
    if expected is not None and expected is not after(newest.alert):
        return newest
    return newest if _was_early(newest, alert) else None


def _may_follow(each: Heard, alert: Alert, received_at: datetime) -> bool:
    """Whether `each`, which came first, may have been sent later: of one moment, not older by its time."""
    if abs(received_at - each.received_at) > NEAR:
        return False
    mine, theirs = alert.sent_at, each.alert.sent_at
    # {{timenow}} has whole seconds.
    return mine is None or theirs is None or mine.replace(microsecond=0) <= theirs.replace(microsecond=0)


def _was_early(each: Heard, alert: Alert) -> bool:
    """`each` entered without finding what it counts on, and `alert` leads there from what it found."""
    began = before(each.alert)
    if each.alert.kind is not AlertKind.ENTRY or began is None or each.found in (None, began):
        return False
    return after(alert) is began and before(alert) in (None, each.found)


def _was_for(each: Heard, alert: Alert, earlier: Sequence[Heard]) -> bool:
    """`each` is an exit that did not find its position: it is the one that `alert` would open."""
    ended = before(each.alert)
    if each.alert.kind is not AlertKind.EXIT or ended is not after(alert) or each.found in (None, ended):
        return False
    for older in earlier[earlier.index(each) + 1 :]:
        if older.status is not IntentStatus.DONE:
            continue
        if older.alert.kind is AlertKind.EXIT and older.found is not Direction.FLAT:
            return True
        if older.alert.kind is AlertKind.ENTRY:
            # A position of ours that the venue ended: the exit was for that one.
            return after(older.alert) is not ended
    return True


def _entered(alert: Alert) -> Direction:
    return Direction.SHORT if alert.side is Side.SELL else Direction.LONG


def _direction(word: str | None) -> Direction | None:
    return None if word is None else Direction(word.upper())


def _word(direction: Direction) -> str:
    return direction.value.lower()
