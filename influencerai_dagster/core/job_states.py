"""Kinds and states of a generation job: the values of two columns of table `jobs`."""

from enum import StrEnum


class JobKind(StrEnum):
    """What a job makes."""

    IMAGE = "image"
    VIDEO = "video"


class JobStatus(StrEnum):
    """Where a job is: pending → running → completed | failed | cancelled."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
