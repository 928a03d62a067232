"""Retrying while a server is away for a moment."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.retry import retry_transient


class Failing:
    """A function that fails some times before it works."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left = times
        self.calls = 0
        self._error = error

    def __call__(self) -> str:
        self.calls += 1
        self.left -= 1
        if self.left >= 0:
            raise self._error
        return "done"


def test_a_passing_failure_is_waited_out_with_growing_pauses() -> None:
    pauses: list[float] = []
    function = Failing(7, TransientError("S3 is away"))
    assert retry_transient(function, sleep=pauses.append) == "done"
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


def test_the_last_error_is_raised_when_the_time_for_retries_ends() -> None:
    function = Failing(1, TransientError("S3 is away"))
    with pytest.raises(TransientError, match="S3 is away"):
        retry_transient(function, retry_for_seconds=0.5, sleep=lambda _: None)
    assert function.calls == 1


def test_a_permanent_failure_is_not_tried_again() -> None:
    function = Failing(1, PermanentError("access denied"))
    with pytest.raises(PermanentError):
        retry_transient(function, sleep=lambda _: None)
    assert function.calls == 1


def test_an_error_of_no_retry_is_raised_at_once() -> None:
    class TakenError(TransientError):
        pass

    function = Failing(1, TakenError("another worker has it"))
    with pytest.raises(TakenError):
        retry_transient(function, sleep=lambda _: None, no_retry=(TakenError,))
    assert function.calls == 1


def test_a_stop_event_aborts_the_retries_with_the_last_error() -> None:
    stopping = threading.Event()
    function = Failing(5, TransientError("S3 is away"))
    with ThreadPoolExecutor() as pool:
        result = pool.submit(retry_transient, function, sleep=stopping.wait)
        stopping.set()
        with pytest.raises(TransientError, match="S3 is away"):
            result.result(10)
    assert function.calls == 1


def test_many_failures_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    retry_transient(Failing(5, TransientError("S3 is away")), sleep=lambda _: None)
    assert caplog.messages == ["S3 is away; trying again for up to 600 s"]
