"""The job ledger: every generation job, from submission to its end.

    submit → pending ──claim──→ running ──complete──→ completed
                ↑                  │ ├─────fail─────→ failed (a permanent error, or no attempt left)
                └─ fail (backoff), ┘ └────cancel────→ cancelled (a pending job too)
                   release, expire_leases

A claim is a lease: it has an owner, an expiry that heartbeats move, and a token that grows with
every claim. Whatever a worker writes names its token, so a worker whose lease was given to another
one, or whose job was cancelled, writes nothing more. All functions run in the transaction of their
caller, and the clock is PostgreSQL's. What is submitted lives in submission.py, who works on it in
claims.py, how it ends in outcomes.py, and what can be asked in queries.py.
"""

from influencerai_dagster.catalog.errors import LeaseLostError, TooManyPendingJobsError
from influencerai_dagster.catalog.job_records import ClaimedJob, Job, MediaAsset
from influencerai_dagster.catalog.ledger.claims import (
    claim,
    days_with_claimable_jobs,
    expire_leases,
    heartbeat,
    release,
)
from influencerai_dagster.catalog.ledger.outcomes import cancel, complete, fail, fail_dependents
from influencerai_dagster.catalog.ledger.queries import (
    count_by_status,
    get_job,
    gpu_finish_tags,
    list_jobs,
    media_asset_of_job,
    outputs_of_day,
)
from influencerai_dagster.catalog.ledger.submission import submit

__all__ = [
    "ClaimedJob",
    "Job",
    "LeaseLostError",
    "MediaAsset",
    "TooManyPendingJobsError",
    "cancel",
    "claim",
    "complete",
    "count_by_status",
    "days_with_claimable_jobs",
    "expire_leases",
    "fail",
    "fail_dependents",
    "get_job",
    "gpu_finish_tags",
    "heartbeat",
    "list_jobs",
    "media_asset_of_job",
    "outputs_of_day",
    "release",
    "submit",
]
