"""Retries TransientErrors with exponential backoff, where a failure would waste GPU hours."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from influencerai_dagster.errors import InsufficientStorageError, TransientError

Result = TypeVar("Result")

RETRY_FOR_SECONDS = 600.0
_LONGEST_PAUSE_SECONDS = 30.0
_log = logging.getLogger(__name__)


def retry_transient(
    function: Callable[[], Result],
    *,
    retry_for_seconds: float = RETRY_FOR_SECONDS,
    sleep: Callable[[float], object] = time.sleep,
    no_retry: tuple[type[TransientError], ...] = (),
    on_full: Callable[[InsufficientStorageError], object] = lambda _: None,
) -> Result:
    """Call a function until it does not raise TransientError; pauses double from 1 to 30 s.

    While there is no space it waits without end: somebody has to make space, and what waits here
    has cost GPU time.

    Args:
        function: may be called again after any failure.
        retry_for_seconds: after so long the last error is raised.
        sleep: waits between two calls; a true result ends the patience at once.
        no_retry: errors that are raised at once.
        on_full: called each time that there is no space.
    """
    deadline = time.monotonic() + retry_for_seconds
    pause_seconds, is_told = 1.0, False
    while True:
        try:
            return function()
        except no_retry:
            raise
        except InsufficientStorageError as error:
            on_full(error)
            if sleep(pause_seconds):
                raise
            deadline = time.monotonic() + retry_for_seconds
        except TransientError as error:
            if not is_told:
                _log.warning("%s; trying again for %.0f minutes", error, retry_for_seconds / 60)
                is_told = True
            if time.monotonic() + pause_seconds > deadline or sleep(pause_seconds):
                raise
        pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
