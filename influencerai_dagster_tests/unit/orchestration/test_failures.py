"""Permanent errors fail a Dagster run at once, transient errors are retried."""

import dagster as dg
import pytest

from influencerai_dagster.errors import (
    InsufficientStorageError,
    ObjectNotFoundError,
    PermanentError,
    TransientError,
)
from influencerai_dagster.orchestration.failures import MAX_RETRIES, dagster_failures
from influencerai_dagster_tests.testing.code_location import failure_text


@pytest.mark.parametrize("error", [PermanentError, ObjectNotFoundError])
def test_a_permanent_error_is_a_failure_that_is_not_retried(error: type[PermanentError]) -> None:
    with pytest.raises(dg.Failure) as caught, dagster_failures():
        raise error("key a/b is gone: upload it again")
    assert caught.value.description == "key a/b is gone: upload it again"
    assert caught.value.allow_retries is False


@pytest.mark.parametrize("error", [TransientError, InsufficientStorageError])
@pytest.mark.parametrize(("retry_number", "seconds"), [(0, 5), (1, 25), (2, 125)])
def test_a_passing_error_is_tried_again_after_a_growing_pause(
    error: type[TransientError], retry_number: int, seconds: int
) -> None:
    with pytest.raises(dg.RetryRequested) as caught, dagster_failures(retry_number):
        raise error("S3 is away")
    assert (caught.value.max_retries, caught.value.seconds_to_wait) == (MAX_RETRIES, seconds)
    assert isinstance(caught.value.__cause__, error)


def test_an_error_that_is_not_ours_stays_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError), dagster_failures():
        raise ZeroDivisionError


def test_without_an_error_nothing_happens() -> None:
    with dagster_failures(2):
        pass


def test_a_run_fails_at_once_with_the_text_of_a_permanent_error() -> None:
    attempts = []

    @dg.op(retry_policy=dg.RetryPolicy(max_retries=3))
    def work(context: dg.OpExecutionContext) -> None:
        attempts.append(context.retry_number)
        with dagster_failures(context.retry_number):
            raise PermanentError("no such preset: use sd15-face")

    @dg.job
    def job() -> None:
        work()

    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False)

    assert failure_text(result) == "no such preset: use sd15-face"
    assert attempts == [0]
