"""A reason is true if it happened to what it names, while the job was there."""

from datetime import UTC, datetime

import pytest

from influencerai_dagster_tests.chaos.faults import Injected
from influencerai_dagster_tests.chaos.reasons import untruth
from influencerai_dagster_tests.chaos.scenario import BAD_SAMPLER, Action

DEAD_WORKER = "the worker worker-1 stalled in attempt 3 of 3"
MEMORY = "prompt 1 failed on ComfyUI at http://127.0.0.1:8188 in node 3: torch.OutOfMemoryError"
AWAY = "S3 put of 'images/a/output.png' in bucket 'assets' failed: 503 (HTTP 503)"
KILL = Injected(Action.KILL_WORKER, 110, 111, "worker-1")


def found(error: str, *injected: Injected, is_bad: bool = False) -> str | None:
    """Check the reason of a job that was there from second 100 to second 200."""
    created_at, finished_at = (datetime.fromtimestamp(moment, UTC) for moment in (100, 200))
    return untruth(error, created_at, finished_at, injected, is_bad=is_bad)


def test_a_reason_is_true_if_its_cause_happened() -> None:
    assert found(DEAD_WORKER, KILL) is None
    assert found(MEMORY, Injected(Action.OUT_OF_MEMORY, 1, 1e9, "127.0.0.1:8188")) is None


@pytest.mark.parametrize(
    ("error", "injected"),
    [
        pytest.param(DEAD_WORKER, (), id="nothing happened"),
        pytest.param(
            DEAD_WORKER, Injected(Action.END_WORKER, 110, 111, "worker-1"), id="something else"
        ),
        pytest.param(
            DEAD_WORKER, Injected(Action.KILL_WORKER, 110, 111, "worker-12"), id="another worker"
        ),
        pytest.param(
            DEAD_WORKER, Injected(Action.KILL_WORKER, 50, 60, "worker-1"), id="before the job"
        ),
        pytest.param(
            MEMORY, Injected(Action.OUT_OF_MEMORY, 1, 1e9, "127.0.0.1:818"), id="another server"
        ),
        pytest.param(AWAY, Injected(Action.ANSWER_503, 110, 120, "s3"), id="a passing outage"),
        pytest.param("no idea", KILL, id="a text that nobody knows"),
    ],
)
def test_a_reason_is_not_true_if(error: str, injected: Injected | tuple[()]) -> None:
    assert found(error, *([injected] if isinstance(injected, Injected) else []))


def test_a_submission_that_cannot_be_made_fails_for_that() -> None:
    assert found(f"sampler_name is {BAD_SAMPLER!r}", is_bad=True) is None
    assert found(f"sampler_name is {BAD_SAMPLER!r}", is_bad=False) == "the submission was fine"
