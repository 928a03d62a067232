"""Keep the job queue: every generation job, from submission to its end.

docs/jobs.md has the diagram of its states. A function moves a job from one to the next: `submit`
(submission.py), `claim_fairly` (scheduling.py, by the rules of fairness.py), `complete`, `fail` and
`cancel` (outcomes.py), `cancel_open` (cancellation.py), `requeue` and `expire_leases` (claims.py).
queries.py and statistics.py only read.

A claim is a lease: it has an owner, an expiry that heartbeats move, and a token that grows with
every claim. Each write of a worker names the token, so a worker whose lease has expired, or whose
job was cancelled, can no longer write. All functions run in their caller's transaction and use
PostgreSQL's clock.
"""

from influencerai_dagster.db.notifications import Listener
from influencerai_dagster.errors import LeaseLostError, TooManyPendingJobsError
from influencerai_dagster.generation.queue.cancellation import (
    AbandonedPrompts,
    abandoned_prompts,
    cancel_open,
)
from influencerai_dagster.generation.queue.claims import (
    HeldLease,
    days_with_claimable_jobs,
    expire_leases,
    renew_leases,
    requeue,
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
    live_workers,
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
    "live_workers",
    "media_asset_of_job",
    "media_assets",
    "num_workers_with_more",
    "outputs_of_day",
    "poll",
    "renew_leases",
    "requeue",
    "submit",
    "unregister_worker",
]
