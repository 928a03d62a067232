"""The job queue: every generation job, from submission to its end.

docs/jobs.md draws the statuses and what leads from one to the next.

A claim is a lease: it has an owner, an expiry that heartbeats move, and a token that grows with
every claim. Whatever a worker writes names its token, so a worker whose lease was given to another
one, or whose job was cancelled, writes nothing more. All functions run in the transaction of their
caller, and the clock is PostgreSQL's. What is submitted lives in submission.py, who works on it in
claims.py, whose turn it is in scheduling.py, how it ends in outcomes.py and cancellation.py, what
can be asked in queries.py and statistics.py.
"""

from influencerai_dagster.db.errors import LeaseLostError, TooManyPendingJobsError
from influencerai_dagster.db.notifications import Listener
from influencerai_dagster.generation.queue.cancellation import (
    AbandonedPrompts,
    abandoned_prompts,
    cancel_open,
)
from influencerai_dagster.generation.queue.claims import (
    HeldLease,
    claim,
    days_with_claimable_jobs,
    expire_leases,
    release,
    renew_leases,
)
from influencerai_dagster.generation.queue.outcomes import cancel, complete, fail, fail_dependents
from influencerai_dagster.generation.queue.queries import (
    count_by_status,
    get_job,
    get_jobs,
    gpu_debts,
    list_jobs,
    media_asset_of_job,
    media_assets,
    outputs_of_day,
)
from influencerai_dagster.generation.queue.records import ClaimedJob, Job, MediaAsset
from influencerai_dagster.generation.queue.scheduling import claim_fairly, has_active, has_claimable
from influencerai_dagster.generation.queue.submission import submit
from influencerai_dagster.generation.queue.workers import (
    LIVE_SECONDS,
    WorkerRegistration,
    has_earlier_worker,
    num_workers_with_more,
    poll,
    unregister_worker,
)

__all__ = [
    "LIVE_SECONDS",
    "AbandonedPrompts",
    "ClaimedJob",
    "HeldLease",
    "Job",
    "LeaseLostError",
    "Listener",
    "MediaAsset",
    "TooManyPendingJobsError",
    "WorkerRegistration",
    "abandoned_prompts",
    "cancel",
    "cancel_open",
    "claim",
    "claim_fairly",
    "complete",
    "count_by_status",
    "days_with_claimable_jobs",
    "expire_leases",
    "fail",
    "fail_dependents",
    "get_job",
    "get_jobs",
    "gpu_debts",
    "has_active",
    "has_claimable",
    "has_earlier_worker",
    "list_jobs",
    "media_asset_of_job",
    "media_assets",
    "num_workers_with_more",
    "outputs_of_day",
    "poll",
    "release",
    "renew_leases",
    "submit",
    "unregister_worker",
]
