"""What a drain did: one value for each job that it brought to its end, and the sums.

How it drains lives in stages/rendering.py.
"""

from collections import deque
from dataclasses import dataclass, field
from uuid import UUID

from influencerai_dagster.domain.manifests.outputs import OutputManifest

KEPT_REPORTS = 1000


@dataclass(frozen=True)
class FinishedJob:
    """One job that a drain brought to its end, or gave back.

    Attributes:
        wait_seconds: from submission to the first claim.
        seconds: from this claim to its end.
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
class DrainReport:
    """What one drain did.

    Attributes:
        num_completed: of all.
        num_failed: attempts that failed, of all; those to be tried again are among them.
        gave_way: the drain ended because others waited for its place.
    """

    num_completed: int = 0
    num_failed: int = 0
    gave_way: bool = False
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
