"""The catalog's own errors.

How a database error becomes one of ours is in engine.py.

    TransientError
    └── LeaseLostError             the worker drops the job; whoever holds it goes on
    PermanentError
    └── TooManyPendingJobsError    the tenant's queue is full: submit fewer jobs, or wait
"""

from influencerai_dagster.errors import PermanentError, TransientError


class LeaseLostError(TransientError):
    """The worker's claim on a job is over: it was cancelled, or its lease expired.

    Nothing was written. The worker drops the job; whoever holds it now goes on.
    """


class TooManyPendingJobsError(PermanentError):
    """The tenant has as many pending jobs as it may; nothing was submitted.

    Permanent, although the queue empties with time: who repeats at once is refused again.
    """
