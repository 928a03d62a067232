"""Waiting for a server that is away for a moment, where starting over would cost hours of GPU."""

import time
from collections.abc import Callable
from typing import TypeVar

from influencerai_dagster.errors import TransientError

Result = TypeVar("Result")

PATIENCE_SECONDS = 600.0
_LONGEST_PAUSE_SECONDS = 30.0


def patiently(
    function: Callable[[], Result],
    *,
    patience_seconds: float = PATIENCE_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Call a function until it does not raise TransientError; pauses double from 1 to 30 s.

    Args:
        function: may be called again after any failure.
        patience_seconds: after so long the last error is raised.
        sleep: waits between two calls.
    """
    deadline = time.monotonic() + patience_seconds
    pause_seconds = 1.0
    while True:
        try:
            return function()
        except TransientError:
            if time.monotonic() + pause_seconds > deadline:
                raise
        sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
