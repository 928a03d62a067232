"""Waits for a condition with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

_POLL_SECONDS = (0.02, 0.2)
_POLL_SHARE = 0.05

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, *, timeout_seconds: float = 60.0) -> T:
    """Ask again until a condition is true, and return what it gave.

    The longer it takes, the longer are the pauses, since some questions cost more than a pause.

    Raises:
        AssertionError: it is not true at the deadline; the text names `what`.
    """
    started, (shortest, longest) = time.monotonic(), _POLL_SECONDS
    while not (found := condition()):
        waited = time.monotonic() - started
        assert waited < timeout_seconds, f"not within {timeout_seconds:g} s: {what}"
        time.sleep(min(max(shortest, _POLL_SHARE * waited), longest))
    return found
