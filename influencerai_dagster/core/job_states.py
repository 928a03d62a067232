"""Define kinds and states of a generation job: the values of two columns of table `jobs`."""

from enum import StrEnum


class JobKind(StrEnum):
    """What a job makes; the values of one more kind follow from its name."""

    IMAGE = "image"
    VIDEO = "video"
    UPSCALE = "upscale"

    @property
    def plural(self) -> str:
        """What its outputs are called: the folder of their keys, the stage of their runs."""
        return f"{self}s"


OUTPUT_FOLDERS = tuple(kind.plural for kind in JobKind)
"""What the keys of outputs begin with, and the kinds of a day's list of outputs."""


class JobStatus(StrEnum):
    """Where a job is: pending → running → completed | failed | cancelled."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN_STATUSES = (JobStatus.PENDING, JobStatus.RUNNING)
"""Of a job that has not ended."""
