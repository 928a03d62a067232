"""What a worker is told, and what it tells: its options, each job that it worked on, and the sums.

How it workers lives in generation/worker/worker.py.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from influencerai_dagster.core.manifests.outputs import OutputManifest
from influencerai_dagster.db.storage_pauses import StoragePause

KEPT_REPORTS = 1000
LEASE_SECONDS = 60.0


@dataclass(frozen=True)
class WorkerOptions:
    """When a worker ends.

    Attributes:
        idle_timeout_seconds: how long it waits for new jobs.
        time_slice_seconds: after so long it gives its place to others who wait for it.
        longest_seconds: after so long it ends in any case, so that what was made is recorded.
        lease_seconds: how long a claim holds without a heartbeat.
        num_waiting: how many Dagster runs wait for this one's place in its pool.
        is_reaped: whether the run was taken for dead, and should write nothing more.
        on_full: called when a pause begins because the object store is full.
    """

    idle_timeout_seconds: float
    time_slice_seconds: float = 30.0
    longest_seconds: float = 3600.0
    lease_seconds: float = LEASE_SECONDS
    num_waiting: Callable[[], int] = lambda: 0
    is_reaped: Callable[[], bool] = lambda: False
    on_full: Callable[[StoragePause], object] = lambda _: None


@dataclass(frozen=True)
class FinishedJob:
    """One job that a worker brought to its end, or gave back.

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


@dataclass
class WorkerReport:
    """What one worker did.

    Attributes:
        num_completed: of all.
        num_failed: attempts that failed, of all; those to be tried again are among them.
        was_preempted: the worker ended because others waited for its place.
    """

    num_completed: int = 0
    num_failed: int = 0
    was_preempted: bool = False
    _newest: deque[FinishedJob] = field(default_factory=lambda: deque(maxlen=KEPT_REPORTS))

    def add(self, job: FinishedJob) -> None:
        """Take in a finished job."""
        self._newest.append(job)
        self.num_completed += job.output is not None
        self.num_failed += job.error is not None

    @property
    def jobs(self) -> list[FinishedJob]:
        """The newest KEPT_REPORTS jobs, in order of completion."""
        return list(self._newest)

    @property
    def completed(self) -> list[OutputManifest]:
        """The outputs that were made."""
        return [job.output for job in self.jobs if job.output is not None]

    @property
    def failed(self) -> list[FinishedJob]:
        """The jobs that ended with an error; those to be tried again are among them."""
        return [job for job in self.jobs if job.error is not None]
