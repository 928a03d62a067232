"""Translate our errors into Dagster's: a failure, or a retry of the step."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from influencerai_dagster.errors import PermanentError, TransientError

MAX_RETRIES = 3


@contextmanager
def dagster_failures(retry_number: int = 0) -> Iterator[None]:
    """Turn a PermanentError into a Failure without retries and a TransientError into a retry.

    Args:
        retry_number: `context.retry_number`; the op waits 5, 25, then 125 s.
    """
    try:
        yield
    except PermanentError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    except TransientError as error:
        raise dg.RetryRequested(
            max_retries=MAX_RETRIES, seconds_to_wait=5 ** (retry_number + 1)
        ) from error
