"""A scenario is a function of its seed, and has everything in it that may go wrong."""

from hypothesis import given
from hypothesis import strategies as st

from influencerai_dagster_tests.chaos.scenario import TENANTS, Action, draw_scenario, repeated

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(1, 2000)


@given(SEEDS, SIZES)
def test_the_same_seed_is_the_same_scenario(seed: int, num_jobs: int) -> None:
    assert draw_scenario(seed, num_jobs) == draw_scenario(seed, num_jobs)


@given(SEEDS)
def test_another_seed_is_another_scenario(seed: int) -> None:
    assert draw_scenario(seed, 300).events != draw_scenario(seed + 1, 300).events


@given(SEEDS, SIZES)
def test_every_submission_comes_once_under_a_key_of_its_own(seed: int, num_jobs: int) -> None:
    submissions = draw_scenario(seed, num_jobs).submissions
    assert [submission.number for submission in submissions] == list(range(num_jobs))
    assert len({submission.key for submission in submissions}) == num_jobs
    assert {submission.tenant for submission in submissions} <= set(TENANTS)


@given(SEEDS, SIZES)
def test_every_action_happens_at_least_once(seed: int, num_jobs: int) -> None:
    assert {event.action for event in draw_scenario(seed, num_jobs).events} == set(Action)


@given(SEEDS, SIZES)
def test_nothing_waits_for_jobs_that_are_not_submitted_yet(seed: int, num_jobs: int) -> None:
    scenario = draw_scenario(seed, num_jobs)
    num_submitted = 0
    for wave in scenario.waves:
        assert wave.after_ended <= num_submitted
        num_submitted += len(wave.submissions)
    assert all(event.after_ended <= num_submitted for event in scenario.events)
    due = [event.after_ended for event in scenario.events]
    assert due == sorted(due)


@given(SEEDS, SIZES)
def test_what_is_submitted_again_was_submitted_before(seed: int, num_jobs: int) -> None:
    scenario = draw_scenario(seed, num_jobs)
    submitted = scenario.waves[0].submissions
    for event in scenario.events:
        assert set(repeated(submitted, event)) <= set(submitted)
        assert repeated(submitted, event)


def test_three_hundred_jobs_are_of_all_tenants_and_some_cannot_be_made() -> None:
    submissions = draw_scenario(1, 300).submissions
    assert {submission.tenant for submission in submissions} == set(TENANTS)
    assert 0 < sum(submission.is_bad for submission in submissions) < 30
