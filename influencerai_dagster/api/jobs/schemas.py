"""Define what is sent and returned about jobs."""

import re
from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from influencerai_dagster.core.job_states import JobStatus
from influencerai_dagster.generation.jobs import JobPayload, JobRequest
from influencerai_dagster.generation.queue import Job, MediaAsset
from influencerai_dagster.generation.queue.batches import JobBatch

MAX_JOBS = 100
_ADDRESS = re.compile(
    r"\b[a-z][a-z0-9+]*://[^\s,;)]+"
    r"|\bhost='[^']*'(, port=\d+)?"
    r"|\b\d{1,3}(\.\d{1,3}){3}(:\d+)?"
    r"|(?<![\w/])/[\w.@+-]+(/[\w.@+-]+)+",
    re.IGNORECASE,
)
"""URLs, a host of httpx, addresses of IPv4, and paths of files."""


class NewBatch(BaseModel):
    """The jobs to submit: all of them or none."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "jobs": [
                    {"payload": {"kind": "image", "prompt": "a woman on a beach at sunset"}},
                    {"payload": {"kind": "image", "prompt": "a woman in a cafe"}, "priority": 7},
                ]
            }
        },
    )

    jobs: Annotated[list[JobRequest], Field(min_length=1, max_length=MAX_JOBS)]


class JobDocument(BaseModel):
    """A job as it is now; times are UTC.

    Attributes:
        attempt: how often its render was begun.
        progress: of its render, 0 to 1.
        depends_on: the image job whose end it waits for.
        error: why its newest attempt failed.
    """

    id: UUID
    day: date
    status: JobStatus
    priority: int
    idempotency_key: str | None
    payload: JobPayload
    attempt: int
    max_attempts: int
    progress: float
    submitted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    not_before: datetime
    depends_on: UUID | None
    gpu_seconds: float
    error: str | None
    error_class: str | None
    media_id: UUID | None

    @classmethod
    def of(cls, job: Job, asset: MediaAsset | None = None) -> "JobDocument":
        """Make the document of a job, with its image or video if there is one."""
        return cls(
            id=job.id,
            day=job.day,
            status=job.status,
            priority=job.priority,
            idempotency_key=job.idempotency_key,
            payload=job.payload,
            attempt=job.attempt,
            max_attempts=job.max_attempts,
            progress=round(job.progress, 4),
            submitted_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            not_before=job.not_before,
            depends_on=job.depends_on,
            gpu_seconds=job.gpu_seconds,
            error=None if job.error is None else without_addresses(job.error),
            error_class=job.error_class,
            media_id=None if asset is None else asset.id,
        )


class JobPage(BaseModel):
    """Jobs, newest first."""

    items: list[JobDocument]
    next_cursor: Annotated[UUID | None, Field(description="null on the last page")]


class BatchDocument(BaseModel):
    """A batch with its jobs as they are now, in the order of the request."""

    id: UUID
    idempotency_key: str | None
    created_at: datetime
    jobs: list[JobDocument]

    @classmethod
    def of(cls, batch: JobBatch, jobs: list[JobDocument]) -> "BatchDocument":
        """Make the document of a batch."""
        by_id = {job.id: job for job in jobs}
        return cls(
            id=batch.id,
            idempotency_key=batch.idempotency_key,
            created_at=batch.created_at,
            jobs=[by_id[job_id] for job_id in batch.job_ids if job_id in by_id],
        )


def without_addresses(text: str) -> str:
    """Return a text without the addresses of our servers and the paths of their files."""
    return _ADDRESS.sub("(a server)", text)
