"""Retry TransientErrors with exponential backoff, where a failure would waste GPU hours.

Do not nest retries: the times of the outer and the inner ones multiply.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    retry_if_not_exception_type,
    wait_exponential,
)

from influencerai_dagster.errors import InsufficientStorageError, TransientError

Result = TypeVar("Result")

RETRY_FOR_SECONDS = 600.0
LONGEST_PAUSE_SECONDS = 30.0

_log = logging.getLogger(__name__)


def retry_transient(
    function: Callable[[], Result],
    *,
    retry_for_seconds: float = RETRY_FOR_SECONDS,
    first_pause_seconds: float = 1.0,
    longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
    sleep: Callable[[float], object] = time.sleep,
    no_retry: tuple[type[TransientError], ...] = (),
    on_full: Callable[[InsufficientStorageError], object] = lambda _: None,
) -> Result:
    """Call a function until it raises no TransientError; each pause is twice the one before.

    Retries of an InsufficientStorageError have no time limit: the operator has to free space, and
    the limit for other errors begins again afterwards.

    Args:
        function: safe to call again after any failure.
        retry_for_seconds: no attempt begins later than this; the last error is raised instead.
        first_pause_seconds: before the second attempt.
        longest_pause_seconds: before any attempt.
        sleep: waits between two attempts; returns True to abort the retries with the last error.
        no_retry: errors that are raised at once.
        on_full: called with each InsufficientStorageError.
    """
    pauses = _Pauses(retry_for_seconds, sleep, on_full, time.monotonic() + retry_for_seconds)
    retrying = Retrying(
        retry=retry_if_exception_type(TransientError) & retry_if_not_exception_type(no_retry),
        wait=wait_exponential(multiplier=first_pause_seconds, max=longest_pause_seconds),
        stop=pauses.is_over,
        before_sleep=pauses.note,
        sleep=pauses.sleep_or_abort,
        reraise=True,
    )
    return retrying(function)


@dataclass
class _Pauses:
    """Decides after each failed attempt of one call whether there is another one.

    Attributes:
        deadline: time.monotonic() at which the retries end.
        error: of the last attempt.
    """

    retry_for_seconds: float
    sleep: Callable[[float], object]
    on_full: Callable[[InsufficientStorageError], object]
    deadline: float
    error: BaseException | None = None
    _is_logged: bool = False

    def is_over(self, state: RetryCallState) -> bool:
        self.error = state.outcome.exception() if state.outcome else None
        if isinstance(self.error, InsufficientStorageError):
            self.deadline = time.monotonic() + state.upcoming_sleep + self.retry_for_seconds
        return time.monotonic() + state.upcoming_sleep > self.deadline

    def note(self, _: RetryCallState) -> None:
        if isinstance(self.error, InsufficientStorageError):
            self.on_full(self.error)
        elif not self._is_logged:
            _log.warning("%s; trying again for up to %.0f s", self.error, self.retry_for_seconds)
            self._is_logged = True

    def sleep_or_abort(self, seconds: float) -> None:
        if self.sleep(seconds) and self.error is not None:
            raise self.error
