"""Define the frozen values that the job queue returns, each made from one row.

Those of the other tables are in db/records.py. Times are UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

from pydantic import TypeAdapter

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.db.models.jobs import JobRow, MediaAssetRow
from influencerai_dagster.db.records import value_of
from influencerai_dagster.generation.jobs import JobPayload, Need

FRESH = {"populate_existing": True, "synchronize_session": False}
"""Execution options: read rows again that the session has loaded before, and write them in SQL."""
_PAYLOAD: TypeAdapter[JobPayload] = TypeAdapter(JobPayload)


@dataclass(frozen=True)
class Job:
    """One generation job as it is now.

    Attributes:
        number: order of submission over all tenants.
        attempt: how often it was claimed (requeue takes one off).
        error: why its newest attempt failed; None once it completed.
        error_class: class name of that error.
        gpu_seconds: render time over all attempts.
        started_at: its first claim.
        server: the ComfyUI server of its newest claim, without credentials.
        progress: how much of the render is done, 0 to 1, by its worker's newest heartbeat.
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
        """The tenant that submitted it."""
        return self.day_key.tenant

    @property
    def day(self) -> date:
        """The UTC day that it counts to."""
        return self.day_key.day

    @property
    def wait_seconds(self) -> float | None:
        """Seconds from submission to the first claim; None if it was not claimed yet."""
        if self.started_at is None:
            return None
        return (self.started_at - self.created_at).total_seconds()

    @classmethod
    def of(cls, row: JobRow, **others: object) -> Self:
        """Make the value from its row, and fields that are not columns."""
        return value_of(
            cls,
            row,
            day_key=DayKey(row.tenant_id, row.day),
            kind=JobKind(row.kind),
            status=JobStatus(row.status),
            payload=_PAYLOAD.validate_python(row.payload),
            lora_datasets=tuple(row.lora_datasets),
            **others,
        )


@dataclass(frozen=True)
class ClaimedJob(Job):
    """A job that a worker has claimed.

    Attributes:
        lease_token: how often the job was claimed, 1 for the first; proves the claim to heartbeat,
            complete, fail and requeue, which refuse an older one.
        is_front: its prompt is queued before those that wait on the server already.
    """

    lease_token: int
    is_front: bool

    @property
    def need(self) -> Need:
        """What a server must have to render it."""
        payload = self.payload
        return Need(payload.model_file or "", payload.workflow or "", self.lora_datasets)

    @property
    def wait_seconds(self) -> float:
        """Seconds from submission to the first claim."""
        return super().wait_seconds or 0.0


@dataclass(frozen=True)
class MediaAsset:
    """The image or video of a completed job, on S3.

    Attributes:
        duration_seconds: None for an image.
        deleted_at: when retention removed the object; None while it exists.
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
        """The object, with the size and the hash that it must have."""
        return StoredFile(
            object_key=self.object_key, sha256=self.sha256, size_bytes=self.size_bytes
        )

    @classmethod
    def of(cls, row: MediaAssetRow) -> Self:
        """Make the value from its row."""
        return value_of(cls, row, tenant=row.tenant_id, kind=JobKind(row.kind))
