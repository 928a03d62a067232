"""How often a job is tried, and how long it waits between two attempts."""

MAX_ATTEMPTS = 3


def retry_delay_seconds(attempt: int) -> int:
    """Return how long a job waits after its attempt (1-based) failed in passing: 5, 25, 125 s."""
    return int(5 ** min(attempt, MAX_ATTEMPTS))
