"""Log the progress of a run without failing the run when Dagster's storage is away.

Dagster's log lines and events are rows of its database, and writing one raises while PostgreSQL is
away. A training of hours must not end for that.
"""

import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

_log = logging.getLogger(__name__)
Arguments = ParamSpec("Arguments")


def optional(log: Callable[Arguments, object]) -> Callable[Arguments, None]:
    """Return a function that calls `log` and ignores its failure."""

    @wraps(log)
    def logged(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            log(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever Dagster's storage raises
            _log.warning("Dagster's log misses a line: %s", error)

    return logged
