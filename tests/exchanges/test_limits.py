"""The rate limits that are kept here, so that the host need not: budgets, the reserve, bans, the clock."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from exchanges._limits import LONGEST_WAIT, Budget, Limiter

Clock = Any  # the fixture of conftest

SECOND = timedelta(seconds=1)


def limiter(clock: Clock, most: int = 10, window: timedelta = timedelta(seconds=10)) -> Limiter:
    return Limiter({"all": Budget(most, window)}, clock, pause=_never)


def _never(seconds: float) -> None:
    pytest.fail(f"it waited {seconds} s here")


def spend(one: Limiter, times: int, **more: Any) -> None:
    for _ in range(times):
        assert one.take({"all": 1}, **more) is None


def test_the_last_tenth_is_kept_for_what_protects(clock: Clock) -> None:
    one = limiter(clock)
    spend(one, 9)
    assert one.take({"all": 1}) == timedelta(seconds=10)
    spend(one, 1, urgent=True)
    assert one.take({"all": 1}, urgent=True) == timedelta(seconds=10)


def test_what_costs_nothing_always_goes(clock: Clock) -> None:
    one = limiter(clock)
    spend(one, 9)
    assert one.take({}) is None


def test_the_window_slides(clock: Clock) -> None:
    one = limiter(clock)
    spend(one, 5)
    clock.advance(6)
    spend(one, 4)
    assert one.take({"all": 1}) == timedelta(seconds=4)
    clock.advance(timedelta(seconds=4) - timedelta(microseconds=1))
    assert one.take({"all": 6}) == timedelta(seconds=6) + timedelta(microseconds=1)
    clock.advance(timedelta(microseconds=1))
    spend(one, 5)
    assert one.take({"all": 1}) == timedelta(seconds=6)


def test_what_is_dearer_than_the_whole_budget_goes_alone(clock: Clock) -> None:
    one = limiter(clock)
    assert one.take({"all": 50}) is None
    assert one.take({"all": 50}) == timedelta(seconds=10)
    clock.advance(10)
    assert one.take({"all": 50}) is None


def test_each_budget_counts_for_itself_and_the_longest_wait_is_told(clock: Clock) -> None:
    budgets = {"orders": Budget(1, SECOND), "weight": Budget(20, timedelta(minutes=1))}
    one = Limiter(budgets, clock, pause=_never)
    assert one.take({"orders": 1, "weight": 18}) is None
    assert one.take({"orders": 1}) == SECOND
    assert one.take({"orders": 1, "weight": 1}) == timedelta(minutes=1)
    # What was refused has cost nothing.
    clock.advance(1)
    assert one.take({"orders": 1}) is None


def test_a_moment_is_waited_for_here(clock: Clock) -> None:
    paused: list[float] = []

    def pause(seconds: float) -> None:
        paused.append(seconds)
        clock.advance(seconds)

    one = Limiter({"all": Budget(2, LONGEST_WAIT)}, clock, pause)
    spend(one, 5)
    assert paused == [0.4, 0.4]


def test_a_pause_that_ends_early_is_taken_again(clock: Clock) -> None:
    paused: list[float] = []

    def pause(seconds: float) -> None:
        paused.append(seconds)
        clock.advance(timedelta(milliseconds=150))

    one = Limiter({"all": Budget(1, LONGEST_WAIT)}, clock, pause)
    spend(one, 2)
    assert paused == [0.4, 0.25, 0.1]


def test_the_hosts_own_count_wins_where_it_is_higher(clock: Clock) -> None:
    one = limiter(clock)
    one.told("all", 8)
    spend(one, 1)
    assert one.take({"all": 1}) == timedelta(seconds=10)
    one.told("all", 3)
    assert one.take({"all": 1}) == timedelta(seconds=10)
    clock.advance(10)
    spend(one, 9)


def test_a_ban_holds_everything_back_until_it_ends(clock: Clock) -> None:
    one = limiter(clock)
    one.shut(timedelta(minutes=2))
    one.shut(SECOND)
    assert one.take({}) == one.take({"all": 1}, urgent=True) == timedelta(minutes=2)
    clock.advance(119)
    assert one.take({}) == SECOND
    one.shut(timedelta(minutes=1))
    assert one.take({}) == timedelta(minutes=1)
    clock.advance(60)
    spend(one, 9)


def test_a_clock_that_was_set_back_keeps_nothing_for_longer_than_its_window(clock: Clock) -> None:
    one = limiter(clock)
    spend(one, 9)
    one.shut(timedelta(seconds=30))
    clock.advance(-3600)
    assert one.take({"all": 1}) == timedelta(seconds=30)
    clock.advance(30)
    spend(one, 9)


def test_a_clock_that_went_back_a_little_waits_by_the_later_time(clock: Clock) -> None:
    one = limiter(clock)
    spend(one, 1)
    clock.advance(5)
    spend(one, 8)
    clock.advance(-4)
    assert one.take({"all": 1}) == timedelta(seconds=9)
    clock.advance(9)
    spend(one, 1)
    clock.advance(5)
    spend(one, 8)


def test_budgets_of_one_account_are_added_and_known_ones_stay(clock: Clock) -> None:
    one = limiter(clock)
    spend(one, 9)
    one.add({"all": Budget(1000, SECOND), "mine": Budget(1, timedelta(minutes=1))})
    assert one.take({"all": 1}) == timedelta(seconds=10)
    assert one.take({"mine": 1}) is None
    assert one.take({"mine": 1}) == timedelta(minutes=1)


def test_an_unknown_budget_is_a_fault_of_ours(clock: Clock) -> None:
    with pytest.raises(KeyError):
        limiter(clock).take({"al": 1})


def test_threads_never_spend_more_than_there_is(clock: Clock) -> None:
    one = limiter(clock, most=100)
    start = threading.Barrier(8)
    taken: list[int] = []

    def run() -> None:
        start.wait(10)
        taken.append(sum(one.take({"all": 1}) is None for _ in range(50)))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sum(taken) == 90
