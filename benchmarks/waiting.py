"""Waits for what other processes do, and sums up what it took."""

import time
from collections.abc import Callable, Sequence

_POLL_SECONDS = 0.05


def wait_for(condition: Callable[[], bool], what: str, *, timeout_seconds: float = 120.0) -> None:
    """Ask until a condition holds; AssertionError: it does not hold in time."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_seconds:.0f} s for {what}"
        time.sleep(_POLL_SECONDS)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that so large a share (0 to 1) of all values does not pass."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
