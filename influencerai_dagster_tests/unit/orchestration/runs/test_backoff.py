"""How sensors hold back while runs are lost before they begin."""

import pytest

from influencerai_dagster.orchestration.runs.backoff import EndedRun, startable


def lost(name: str, ended_at: float) -> EndedRun:
    return EndedRun(name, ended_at, is_lost=True)


def began(name: str, ended_at: float) -> EndedRun:
    return EndedRun(name, ended_at, is_lost=False)


def test_without_lost_runs_everything_may_start() -> None:
    assert startable(["a", "b"], [began("a", 90.0)], 100.0) == ["a", "b"]


@pytest.mark.parametrize(("num_lost", "pause_seconds"), [(1, 5), (2, 10)])
def test_a_name_waits_longer_with_every_run_that_it_loses(
    num_lost: int, pause_seconds: int
) -> None:
    ended = [lost("a", 100.0 - number) for number in range(num_lost)]
    assert startable(["a", "b"], ended, 99.0 + pause_seconds) == ["b"]
    assert startable(["a", "b"], ended, 100.0 + pause_seconds) == ["a", "b"]


def test_a_run_that_began_ends_the_waiting() -> None:
    ended = [began("a", 101.0), *(lost("a", 100.0 - number) for number in range(5))]
    assert startable(["a"], ended, 101.0) == ["a"]


def test_one_is_tried_at_a_time_while_no_run_begins() -> None:
    ended = [lost(f"lost {number}", 100.0 - number) for number in range(3)]
    assert startable(["a", "b"], ended, 104.0) == []
    assert startable(["a", "b"], ended, 105.0) == ["a"]


def test_a_try_is_made_every_minute_however_many_were_lost() -> None:
    ended = [lost(f"lost {number}", 1000.0 - number) for number in range(200)]
    assert startable(["a", "b"], ended, 1060.0) == ["a"]


def test_what_always_loses_its_runs_stops_nobody_else() -> None:
    ended = [lost("poison", 1000.0 - number) for number in range(50)]
    assert startable(["poison", "a"], ended, 1060.0) == ["a"]


def test_few_runs_are_lost_while_none_begins() -> None:
    days, ended = [f"day {number}" for number in range(300)], list[EndedRun]()
    for second in range(600):
        names = startable(days, ended, float(second))[:50]
        ended = [*(lost(name, float(second)) for name in names), *ended]
    assert 55 <= len(ended) <= 65, "50 at once, then one a minute"
