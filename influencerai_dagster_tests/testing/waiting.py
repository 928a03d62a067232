"""Waits for a condition with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

_POLL_SECONDS = 0.02

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, *, timeout_seconds: float = 60.0) -> T:
    """Ask again until a condition is true, and return what it gave.

    Raises:
        AssertionError: it is not true at the deadline; the text names `what`.
    """
    deadline = time.monotonic() + timeout_seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_seconds:g} s: {what}"
        time.sleep(_POLL_SECONDS)
    return found
