"""Which runs count as dead."""

import pytest

from influencerai_dagster.core.run_health import (
    FIRST_BEAT_SECONDS,
    STALE_SECONDS,
    Heartbeat,
    decide,
)


def beat(silent_seconds: float) -> Heartbeat:
    return Heartbeat(
        "run", "generate_images_job demo/2026-11-23", "process 7 on box", silent_seconds
    )


@pytest.mark.parametrize(
    ("silent_seconds", "is_dead"),
    [(0.0, False), (STALE_SECONDS - 0.1, False), (STALE_SECONDS, True), (3600.0, True)],
)
def test_a_run_that_is_silent_for_too_long_is_dead(silent_seconds: float, *, is_dead: bool) -> None:
    health = decide([beat(silent_seconds)], {"run": 100.0}, set())
    assert ("run" in health.dead) is is_dead


@pytest.mark.parametrize(
    ("seconds", "is_dead"),
    [
        pytest.param(FIRST_BEAT_SECONDS - 0.1, False, id="it may still be starting"),
        pytest.param(FIRST_BEAT_SECONDS, True, id="it should have beaten"),
        pytest.param(None, False, id="it never beats, or has not started"),
    ],
)
def test_a_run_that_never_had_a_heartbeat_is_dead_after_a_while(
    seconds: float | None, *, is_dead: bool
) -> None:
    assert ("run" in decide([], {"run": seconds}, set()).dead) is is_dead


def test_a_run_of_any_project_that_had_a_heartbeat_needs_one() -> None:
    assert "run" in decide([beat(60)], {"run": None}, set()).dead


def test_a_run_that_is_over_is_not_dead_and_loses_its_heartbeat() -> None:
    health = decide([beat(60)], {}, {"run"})
    assert (health.dead, health.ended) == ({}, ("run",))


def test_a_run_that_waits_in_the_queue_is_let_be() -> None:
    health = decide([beat(60)], {}, set())
    assert (health.dead, health.ended) == ({}, ())


def test_the_reason_says_who_was_last_heard_of_when_and_what_became_of_it() -> None:
    why = decide([beat(17.4)], {"run": 100.0}, set()).dead["run"]
    for part in ("process 7 on box", "17 s ago", "generate_images_job demo/2026-11-23", "pending"):
        assert part in why
