"""What the job queue hands to its callers: frozen values, each made from one row.

Those of the other tables are in records.py. Times are UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from influencerai_dagster.core.job_states import (
    JobKind,
    JobStatus,
)
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.core.stored_file import (
    StoredFile,
)
from influencerai_dagster.db.models.jobs import JobRow, MediaAssetRow
from influencerai_dagster.generation.jobs import (
    JobPayload,
    Need,
)

_PAYLOAD: TypeAdapter[JobPayload] = TypeAdapter(JobPayload)


@dataclass(frozen=True)
class Job:
    """One generation job as it is now.

    Attributes:
        number: order of submission over all tenants.
        attempt: how often it was claimed (requeue takes one off).
        error: why its last attempt failed; None once it completed.
        error_class: class name of that error.
        gpu_seconds: render time over all attempts.
        started_at: its first claim.
        server: the ComfyUI server of its newest claim, without credentials.
        progress: how much of the render is done, 0 to 1, as its worker last told.
    """

    id: UUID
    number: int
    day_key: DayKey
    kind: JobKind
    status: JobStatus
    priority: int
    idempotency_key: str | None
    payload: JobPayload
    attempt: int
    max_attempts: int
    not_before: datetime
    depends_on: UUID | None
    lora_datasets: tuple[str, ...]
    lease_owner: str | None
    lease_expires_at: datetime | None
    error: str | None
    error_class: str | None
    result: Mapping[str, Any] | None
    gpu_seconds: float
    cost_usd: Decimal
    dagster_run_id: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    server: str | None
    progress: float

    @property
    def tenant(self) -> str:
        """Whose job it is."""
        return self.day_key.tenant

    @property
    def day(self) -> date:
        """The UTC day that it counts to."""
        return self.day_key.day

    @property
    def wait_seconds(self) -> float | None:
        """From submission to the first claim; None while it was never claimed."""
        if self.started_at is None:
            return None
        return (self.started_at - self.created_at).total_seconds()

    @classmethod
    def of(cls, row: JobRow) -> "Job":
        """Make it from its row."""
        return cls(
            id=row.id,
            number=row.number,
            day_key=DayKey(row.tenant_id, row.day),
            kind=JobKind(row.kind),
            status=JobStatus(row.status),
            priority=row.priority,
            idempotency_key=row.idempotency_key,
            payload=_PAYLOAD.validate_python(row.payload),
            attempt=row.attempt,
            max_attempts=row.max_attempts,
            not_before=row.not_before,
            depends_on=row.depends_on,
            lora_datasets=tuple(row.lora_datasets),
            lease_owner=row.lease_owner,
            lease_expires_at=row.lease_expires_at,
            error=row.error,
            error_class=row.error_class,
            result=row.result,
            gpu_seconds=row.gpu_seconds,
            cost_usd=row.cost_usd,
            dagster_run_id=row.dagster_run_id,
            created_at=row.created_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
            server=row.server,
            progress=row.progress,
        )


@dataclass(frozen=True)
class ClaimedJob(Job):
    """A job that a worker holds.

    Attributes:
        lease_token: how often the job was claimed, 1 for the first; proves the claim to heartbeat,
            complete, fail and requeue, which refuse an older one.
        is_front: its prompt goes before those that wait on the server already.
    """

    lease_token: int
    is_front: bool = False

    @property
    def need(self) -> Need:
        """What it wants a server to have."""
        payload = self.payload
        return Need(payload.base_model or "", payload.workflow or "", self.lora_datasets)

    @property
    def wait_seconds(self) -> float:
        """From submission to the first claim."""
        return super().wait_seconds or 0.0

    @classmethod
    def of(cls, row: JobRow) -> "ClaimedJob":
        """Make it from its row."""
        return cls(**vars(Job.of(row)), lease_token=row.lease_token)


@dataclass(frozen=True)
class MediaAsset:
    """The image or video of a completed job, on S3.

    Attributes:
        duration_seconds: None for an image.
        deleted_at: when retention removed the object; None while it is there.
    """

    tenant: str
    id: UUID
    job_id: UUID
    kind: JobKind
    object_key: str
    manifest_key: str
    sha256: str
    size_bytes: int
    width_px: int
    height_px: int
    duration_seconds: float | None
    created_at: datetime
    deleted_at: datetime | None

    @property
    def file(self) -> StoredFile:
        """The object and what it must be when it is read."""
        return StoredFile(
            object_key=self.object_key, sha256=self.sha256, size_bytes=self.size_bytes
        )

    @classmethod
    def of(cls, row: MediaAssetRow) -> "MediaAsset":
        """Make it from its row."""
        return cls(
            tenant=row.tenant_id,
            id=row.id,
            job_id=row.job_id,
            kind=JobKind(row.kind),
            object_key=row.object_key,
            manifest_key=row.manifest_key,
            sha256=row.sha256,
            size_bytes=row.size_bytes,
            width_px=row.width_px,
            height_px=row.height_px,
            duration_seconds=row.duration_seconds,
            created_at=row.created_at,
            deleted_at=row.deleted_at,
        )
