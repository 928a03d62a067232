"""Which runs count as stalled."""

import pytest

from influencerai_dagster.core.run_health import Heartbeat, HeartbeatLimits, decide

LIMITS = HeartbeatLimits()


def beat(age_seconds: float) -> Heartbeat:
    return Heartbeat("run", "generate_images_job demo/2026-11-23", "process 7 on box", age_seconds)


@pytest.mark.parametrize(
    ("age_seconds", "is_stalled"),
    [
        (0.0, False),
        (LIMITS.stale_seconds - 0.1, False),
        (LIMITS.stale_seconds, True),
        (3600.0, True),
    ],
)
def test_a_run_without_a_heartbeat_for_too_long_is_stalled(
    age_seconds: float, *, is_stalled: bool
) -> None:
    health = decide([beat(age_seconds)], {"run": 100.0}, set())
    assert ("run" in health.stalled) is is_stalled


@pytest.mark.parametrize(
    ("seconds", "is_stalled"),
    [
        pytest.param(LIMITS.first_seconds - 0.1, False, id="it may still be starting"),
        pytest.param(LIMITS.first_seconds, True, id="it should have sent one"),
        pytest.param(None, False, id="it sends none, or has not started"),
    ],
)
def test_a_run_that_never_had_a_heartbeat_is_stalled_after_a_while(
    seconds: float | None, *, is_stalled: bool
) -> None:
    assert ("run" in decide([], {"run": seconds}, set()).stalled) is is_stalled


def test_a_run_of_any_project_that_had_a_heartbeat_needs_one() -> None:
    assert "run" in decide([beat(60)], {"run": None}, set()).stalled


def test_a_run_that_is_over_is_not_stalled_and_loses_its_heartbeat() -> None:
    health = decide([beat(60)], {}, {"run"})
    assert (health.stalled, health.ended) == ({}, ("run",))


def test_a_run_that_waits_in_the_queue_is_let_be() -> None:
    health = decide([beat(60)], {}, set())
    assert (health.stalled, health.ended) == ({}, ())


def test_the_reason_names_host_age_activity_and_what_was_done() -> None:
    why = decide([beat(17.4)], {"run": 100.0}, set()).stalled["run"]
    for part in ("process 7 on box", "for 17 s", "generate_images_job demo/2026-11-23", "requeued"):
        assert part in why
