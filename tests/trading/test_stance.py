"""What an alert expects, held against what is there: in order, swapped, and adrift."""

from __future__ import annotations

import doctest
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading import stance
from trading.model import Alert, AlertKind, Direction, DriftMode, IntentStatus, Side
from trading.stance import Act, Heard, judge

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
LONG, SHORT, FLAT = Direction.LONG, Direction.SHORT, Direction.FLAT
MODES = list(DriftMode)
DONE = IntentStatus.DONE


def alert(
    kind: AlertKind, prev: str | None = None, now: str | None = None, *, side: Side | None = None
) -> Alert:
    return Alert(
        kind=kind,
        message=str(kind),
        ticker="BTCUSDT.P",
        symbol="BTC-USDT-PERP",
        exchange="PAPER",
        subaccount="main",
        account="MAIN",
        fingerprint="0",
        side=side,
        sent_at=NOON,
        prev_market_position=prev,
        market_position=now,
    )


def entry(prev: str | None, now: str | None, *, side: Side | None = None) -> Alert:
    chosen = side or (Side.SELL if now == "short" else Side.BUY)
    return alert(AlertKind.ENTRY, prev, now, side=chosen)


def exit_(prev: str | None, now: str | None = "flat") -> Alert:
    return alert(AlertKind.EXIT, prev, now)


def breakeven(prev: str | None, now: str | None) -> Alert:
    return alert(AlertKind.BREAKEVEN, prev, now)


def heard(each: Alert, found: Direction | None, status: IntentStatus = DONE, *, at: datetime = NOON) -> Heard:
    return Heard(id="a1", alert=each, received_at=at, found=found, status=status)


def act(each: Alert, found: Direction, mode: DriftMode, *earlier: Heard, at: datetime = NOON) -> Act:
    return judge(alert=each, received_at=at, found=found, mode=mode, earlier=earlier).act


def test_the_docstrings_tell_the_truth() -> None:
    assert doctest.testmod(stance).failed == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("found", list(Direction))
@pytest.mark.parametrize("each", [entry(None, None), exit_(None, None), breakeven(None, None)])
def test_what_expects_nothing_goes_on(each: Alert, found: Direction, mode: DriftMode) -> None:
    assert judge(alert=each, received_at=NOON, found=found, mode=mode, earlier=()) == stance.Verdict(
        act=Act.GO
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("each", "found"),
    [
        (entry("flat", "long"), FLAT),
        (entry("long", "short"), LONG),
        (entry(None, "long"), SHORT),
        (exit_("long"), LONG),
        (exit_("long"), FLAT),  # its stop was hit before
        (exit_("long", None), FLAT),
        (exit_(None), SHORT),
        (breakeven("long", "long"), LONG),
        (breakeven(None, "short"), SHORT),
        (breakeven("short", None), SHORT),
    ],
)
def test_where_both_agree_it_goes_on_untold(each: Alert, found: Direction, mode: DriftMode) -> None:
    verdict = judge(alert=each, received_at=NOON, found=found, mode=mode, earlier=())
    assert (verdict.act, verdict.reason) == (Act.GO, "")


@pytest.mark.parametrize(
    ("each", "found", "healed"),
    [
        (entry("flat", "short"), LONG, Act.GO),
        (entry("long", "short"), FLAT, Act.GO),
        (entry("flat", "flat", side=Side.BUY), SHORT, Act.CLOSE),
        (entry("short", "flat", side=Side.BUY), FLAT, Act.DENY),
        (entry("short", "short", side=Side.BUY), SHORT, Act.DENY),
        (exit_("long"), SHORT, Act.GO),
        (exit_("long", "short"), SHORT, Act.SKIP),
        (exit_("long", "long"), FLAT, Act.GO),
        (exit_("flat"), LONG, Act.GO),
        (breakeven("long", "long"), SHORT, Act.SKIP),
        (breakeven("long", "long"), FLAT, Act.GO),
        (breakeven("long", "flat"), LONG, Act.CLOSE),
    ],
)
def test_what_differs_is_told_refused_or_healed(each: Alert, found: Direction, healed: Act) -> None:
    assert act(each, found, DriftMode.REPORT) is Act.GO
    assert act(each, found, DriftMode.BLOCK) is Act.DENY
    assert act(each, found, DriftMode.RESYNC) is healed
    for mode in MODES:
        assert judge(alert=each, received_at=NOON, found=found, mode=mode, earlier=()).reason


def test_a_reason_names_both_positions() -> None:
    found = {"received_at": NOON, "mode": DriftMode.BLOCK, "earlier": ()}
    told = judge(alert=entry("flat", "long"), found=SHORT, **found)  # type: ignore[arg-type]
    assert told.reason == "the alert expects flat (prev_market_position), the position is short"
    told = judge(alert=breakeven(None, "long"), found=FLAT, **found)  # type: ignore[arg-type]
    assert told.reason == "the alert expects long (market_position), the position is flat"
    told = judge(alert=entry("short", "flat", side=Side.BUY), found=SHORT, **found)  # type: ignore[arg-type]
    assert (
        told.reason == "the alert enters long, but says that the strategy is flat after it (market_position)"
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("late", [exit_("long"), breakeven("long", "long"), exit_("long", None)])
def test_what_was_for_the_position_before_an_entry_is_skipped(late: Alert, mode: DriftMode) -> None:
    """Exit, then entry of the other side; they came the other way round."""
    assert act(late, SHORT, mode, heard(entry("flat", "short"), LONG)) is Act.SKIP
    assert act(late, SHORT, mode, heard(entry(None, None, side=Side.SELL), None)) is Act.SKIP


@pytest.mark.parametrize("mode", MODES)
def test_an_exit_between_two_entries_of_one_side(mode: DriftMode) -> None:
    """What the second entry found says which of the two the exit was for."""
    assert act(exit_("long"), LONG, mode, heard(entry("flat", "long"), LONG)) is Act.SKIP
    assert act(exit_("long"), LONG, mode, heard(entry("flat", "long"), FLAT)) is Act.GO


def test_an_exit_is_not_skipped_for_an_entry_that_was_refused_or_was_long_ago() -> None:
    refused = heard(entry("flat", "short"), LONG, IntentStatus.DENIED)
    assert act(exit_("long"), LONG, DriftMode.BLOCK, refused) is Act.GO
    before = heard(entry("flat", "short"), LONG, at=NOON - timedelta(seconds=11))
    assert act(exit_("long"), SHORT, DriftMode.REPORT, before) is Act.GO
    later = replace(exit_("long"), sent_at=NOON + timedelta(seconds=1))
    assert act(later, SHORT, DriftMode.REPORT, heard(entry("flat", "short"), LONG)) is Act.GO
    undated = replace(later, sent_at=None)
    assert act(undated, SHORT, DriftMode.REPORT, heard(entry("flat", "short"), LONG)) is Act.SKIP


def test_an_exit_of_nothing_is_not_taken_for_a_late_one() -> None:
    assert act(exit_("flat"), SHORT, DriftMode.BLOCK, heard(entry("flat", "short"), FLAT)) is Act.DENY


@pytest.mark.parametrize("mode", MODES)
def test_an_entry_whose_exit_came_first_is_not_entered(mode: DriftMode) -> None:
    early = heard(exit_("long"), FLAT)
    assert act(entry("flat", "long"), FLAT, mode, early) is Act.SKIP
    assert act(entry("flat", "short"), FLAT, mode, early) is Act.GO
    assert act(entry("flat", "long"), FLAT, mode, heard(exit_("long"), LONG)) is Act.GO
    assert act(entry("flat", "long"), FLAT, mode, heard(exit_("long"), None)) is Act.GO


@pytest.mark.parametrize("mode", MODES)
def test_a_new_entry_after_a_stop_that_was_hit_is_entered(mode: DriftMode) -> None:
    """Three exits for a position that its stop had ended, and a new entry in the same candle."""
    stopped = heard(entry("flat", "long"), FLAT, at=NOON - timedelta(minutes=5))
    moved = heard(breakeven("long", "long"), LONG, at=NOON - timedelta(minutes=4))
    failed = heard(entry("flat", "short"), FLAT, IntentStatus.FAILED, at=NOON - timedelta(minutes=3))
    exits = [heard(exit_("long"), FLAT)] * 3
    assert act(entry("flat", "long"), FLAT, mode, *exits, failed, moved, stopped) is Act.GO
    ended = heard(exit_("long"), LONG, at=NOON - timedelta(minutes=1))
    assert act(entry("flat", "long"), FLAT, mode, *exits, ended, stopped) is Act.SKIP
    other = heard(entry("flat", "short"), FLAT, at=NOON - timedelta(minutes=5))
    assert act(entry("flat", "long"), FLAT, mode, *exits, other) is Act.SKIP


@pytest.mark.parametrize("status", [DONE, IntentStatus.DENIED])
def test_of_two_entries_the_one_that_came_late_is_not_entered(status: IntentStatus) -> None:
    early = heard(entry("long", "short"), FLAT, status)
    for mode in MODES:
        assert act(entry("flat", "long"), SHORT, mode, early) is Act.SKIP
    early = heard(entry("long", "short"), LONG, status)
    assert act(entry("short", "long"), SHORT, DriftMode.BLOCK, early) is Act.GO


@dataclass
class Desk:
    """What the alerts do to a position, as the desk carries them out."""

    position: Direction
    mode: DriftMode
    earlier: list[Heard] = field(default_factory=list)
    acts: list[Act] = field(default_factory=list)

    def take(self, each: Alert) -> None:
        found = self.position
        verdict = judge(alert=each, received_at=NOON, found=found, mode=self.mode, earlier=self.earlier[::-1])
        self.acts.append(verdict.act)
        status = {Act.SKIP: IntentStatus.EXPIRED, Act.DENY: IntentStatus.DENIED}.get(verdict.act, DONE)
        if verdict.act is Act.CLOSE:
            self.position = FLAT
        elif verdict.act is Act.GO and each.kind is AlertKind.ENTRY:
            self.position = SHORT if each.side is Side.SELL else LONG
        elif verdict.act is Act.GO and each.kind is AlertKind.EXIT:
            self.position = FLAT
        self.earlier.append(Heard(id="a", alert=each, received_at=NOON, found=found, status=status))


@st.composite
def strategies(draw: st.DrawFn, most: int = 7) -> list[str]:
    """The positions that a strategy goes through within one candle, all different from the one before."""
    path = [draw(st.sampled_from(["flat", "long", "short"]))]
    for _ in range(draw(st.integers(1, most))):
        path.append(draw(st.sampled_from(sorted({"flat", "long", "short"} - {path[-1]}))))
    return path


def told(path: list[str]) -> list[Alert]:
    return [exit_(a) if b == "flat" else entry(a, b) for a, b in pairwise(path)]


@given(strategies(), st.sampled_from(MODES))
def test_what_arrives_in_order_is_all_carried_out(path: list[str], mode: DriftMode) -> None:
    desk = Desk(position=Direction(path[0].upper()), mode=mode)
    for each in told(path):
        desk.take(each)
    assert set(desk.acts) == {Act.GO}
    assert desk.position == path[-1].upper()


@given(strategies(2).filter(lambda path: len(path) == 3), st.sampled_from(MODES))
def test_two_that_arrive_swapped_never_leave_a_position_that_the_strategy_has_not(
    path: list[str], mode: DriftMode
) -> None:
    desk = Desk(position=Direction(path[0].upper()), mode=mode)
    for each in reversed(told(path)):
        desk.take(each)
    # What was refused keeps the position from before, for a person to look at; else it is right, or flat.
    refused = {path[0].upper()} if Act.DENY in desk.acts else set()
    assert desk.position in {path[-1].upper(), "FLAT", *refused}
    if mode is not DriftMode.BLOCK:
        assert desk.position == path[-1].upper()
