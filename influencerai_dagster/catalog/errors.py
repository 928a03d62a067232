"""The catalog's own errors; each is a TransientError of `influencerai_dagster.errors`.

How a database error becomes one of them is in engine.py.
"""

from influencerai_dagster.errors import TransientError


class LeaseLostError(TransientError):
    """The worker's claim on a job is over: it was cancelled, or its lease expired.

    Nothing was written. The worker drops the job; whoever holds it now goes on.
    """


class TooManyPendingJobsError(TransientError):
    """The tenant has as many pending jobs as it may; nothing was submitted."""
