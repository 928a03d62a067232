"""Limit the attempts of a job, and set the wait between two of them."""

MAX_ATTEMPTS = 3


def retry_delay_seconds(attempt: int) -> int:
    """Return how long a job waits after a transient failure of its attempt (1-based): 5, 25 s."""
    return int(5 ** min(attempt, MAX_ATTEMPTS))
