"""Define the options and the report of a render worker.

`WorkerOptions` says when it stops, `FinishedJob` is the outcome of one job, `WorkerReport` has the
totals.
"""

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from uuid import UUID

from influencerai_dagster.core.manifests.outputs import OutputManifest
from influencerai_dagster.db.storage_pauses import StoragePause
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.storage_pauses import PROBE_SECONDS

KEPT_REPORTS = 1000
LEASE_SECONDS = 60.0


@dataclass(frozen=True)
class FinishedJob:
    """The outcome of one claim: completed, failed, or requeued.

    Attributes:
        wait_seconds: from submission to the first claim, and in the queues of the servers.
        seconds: how long a server executed its renders in this claim.
        server: where it rendered, without credentials.
    """

    job_id: UUID
    output: OutputManifest | None
    error: str | None
    wait_seconds: float
    seconds: float
    server: str | None
    attempt: int


@dataclass(frozen=True)
class WorkerOptions:
    """When a worker ends, and what it reports meanwhile.

    Attributes:
        idle_timeout_seconds: how long it waits for new jobs.
        time_slice_seconds: how long it keeps its pool slot while other runs wait for one.
        longest_seconds: after so long it ends in any case, so that its outputs are recorded.
        lease_seconds: how long a claim is valid without a heartbeat.
        own_jobs: it does not end before these jobs have, nor leaves them to an earlier worker.
        num_waiting: how many Dagster runs wait for a slot of this worker's pool.
        on_finished: called in the worker's thread for every finished job.
        on_full: called when a pause begins because the object store is full.
        poll_seconds: between two looks at the job queue when no notification comes.
        preemption_check_seconds: between two calls of num_waiting.
        earlier_worker_seconds: how long an earlier worker of the tenant-day has to be seen before
            this one leaves the jobs to it; longer than a killed one stays live.
        avoid_seconds: how long a server gets no job after a prompt never started there.
        storage_probe_seconds: between two attempts to end a pause.
    """

    idle_timeout_seconds: float
    time_slice_seconds: float = 30.0
    longest_seconds: float = 3600.0
    lease_seconds: float = LEASE_SECONDS
    own_jobs: Collection[UUID] = ()
    num_waiting: Callable[[], int] = lambda: 0
    on_finished: Callable[[FinishedJob], object] = lambda _: None
    on_full: Callable[[StoragePause], object] = lambda _: None
    poll_seconds: float = 1.0
    preemption_check_seconds: float = 5.0
    earlier_worker_seconds: float = job_queue.LIVE_SECONDS + 1.0
    avoid_seconds: float = 5.0
    storage_probe_seconds: float = PROBE_SECONDS


@dataclass
class WorkerReport:
    """The totals of one worker.

    Attributes:
        num_completed: jobs.
        num_failed: attempts, with those of jobs that are tried again.
        was_preempted: the worker ended because other runs waited for its pool slot.
    """

    num_completed: int = 0
    num_failed: int = 0
    was_preempted: bool = False
    _newest: deque[FinishedJob] = field(default_factory=lambda: deque(maxlen=KEPT_REPORTS))

    def add(self, job: FinishedJob) -> None:
        """Count a finished job."""
        self._newest.append(job)
        self.num_completed += job.output is not None
        self.num_failed += job.error is not None

    @property
    def jobs(self) -> list[FinishedJob]:
        """The newest KEPT_REPORTS jobs, in order of completion."""
        return list(self._newest)

    @property
    def completed(self) -> list[OutputManifest]:
        """The outputs of the newest jobs that completed."""
        return [job.output for job in self.jobs if job.output is not None]

    @property
    def failed(self) -> list[FinishedJob]:
        """The newest attempts that failed, with those of jobs that are tried again."""
        return [job for job in self.jobs if job.error is not None]
