"""Define the tables of the job queue: jobs, their batches and their outputs.

The other tables, and the rules that all share, are in content.py.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Numeric,
    SmallInteger,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.db.models.content import NOW, CatalogModel, own_object, sha256_form

_PENDING = text("status = 'pending'")


def one_of(column: str, values: type[JobKind] | type[JobStatus]) -> CheckConstraint:
    """Return the check that a column has a value of an enumeration."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


class JobRow(CatalogModel):
    """One generation job; how it moves is in generation/queue/.

    Attributes:
        number: order of submission; jobs of one submission share their created_at.
        lease_token: grows with every claim; a worker that holds an older one is fenced off.
        depends_on: the job whose image this one starts from; of the same tenant.
        lora_datasets: datasets whose newest LoRA the job needs before it can be claimed.
        server: the ComfyUI server of its newest claim, without credentials.
        progress: how much of the render is done, 0 to 1, by its worker's newest heartbeat.
        charged_seconds: what the newest claim cost its tenant's share in advance.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        UniqueConstraint("tenant_id", "idempotency_key"),
        ForeignKeyConstraint(["tenant_id", "depends_on"], ["jobs.tenant_id", "jobs.id"]),
        one_of("kind", JobKind),
        one_of("status", JobStatus),
        CheckConstraint("priority BETWEEN 0 AND 9", name="priority_range"),
        CheckConstraint("payload->>'kind' = kind", name="payload_of_kind"),
        CheckConstraint("attempt BETWEEN 0 AND max_attempts", name="attempt_range"),
        CheckConstraint("gpu_seconds >= 0 AND cost_usd >= 0", name="costs"),
        CheckConstraint(
            "(status = 'running') = (lease_owner IS NOT NULL) "
            "AND (status = 'running') = (lease_expires_at IS NOT NULL)",
            name="running_is_leased",
        ),
        CheckConstraint(
            "(status IN ('pending', 'running')) = (finished_at IS NULL)", name="finished_has_time"
        ),
        CheckConstraint("status <> 'failed' OR error IS NOT NULL", name="failed_has_reason"),
        CheckConstraint("status <> 'completed' OR result IS NOT NULL", name="completed_has_result"),
        CheckConstraint("progress BETWEEN 0 AND 1", name="progress_range"),
        Index(
            "ix_jobs_pending", "kind", text("priority DESC"), "number", postgresql_where=_PENDING
        ),
        Index(
            "ix_jobs_pending_of_day",
            *("tenant_id", "kind", "day", text("priority DESC"), "number"),
            postgresql_where=_PENDING,
        ),
        Index("ix_jobs_running", "lease_expires_at", postgresql_where=text("status = 'running'")),
        Index(
            "ix_jobs_finished",
            "finished_at",
            postgresql_include=["tenant_id", "status"],
            postgresql_where=text("finished_at IS NOT NULL"),
        ),
        Index("ix_jobs_failed", "finished_at", postgresql_where=text("status = 'failed'")),
        Index("ix_jobs_tenant_number", "tenant_id", "number"),
        Index("ix_jobs_tenant_day", "tenant_id", "day", "kind", "number"),
        Index("ix_jobs_depends_on", "depends_on", postgresql_where=text("depends_on IS NOT NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    day: Mapped[date]
    kind: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="pending")
    priority: Mapped[int] = mapped_column(SmallInteger)
    idempotency_key: Mapped[str | None]
    payload: Mapped[dict[str, Any]]
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    max_attempts: Mapped[int] = mapped_column(SmallInteger)
    not_before: Mapped[datetime] = mapped_column(server_default=NOW)
    lease_owner: Mapped[str | None]
    lease_token: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    lease_expires_at: Mapped[datetime | None]
    depends_on: Mapped[UUID | None]
    lora_datasets: Mapped[list[str]] = mapped_column(ARRAY(Text()), server_default="{}")
    error: Mapped[str | None]
    error_class: Mapped[str | None]
    result: Mapped[dict[str, Any] | None]
    gpu_seconds: Mapped[float] = mapped_column(server_default=text("0"))
    cost_usd: Mapped[Decimal] = mapped_column(Numeric(12, 6), server_default=text("0"))
    dagster_run_id: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    server: Mapped[str | None]
    progress: Mapped[float] = mapped_column(REAL, server_default=text("0"))
    charged_seconds: Mapped[float] = mapped_column(server_default=text("0"))


class JobBatchRow(CatalogModel):
    """The jobs that one request of the API submitted.

    Attributes:
        idempotency_key: the same key of the same tenant is the same batch.
        request_sha256: of the request, to refuse the key with another one.
        job_ids: in the order of the request.
    """

    __tablename__ = "job_batches"
    __table_args__ = (
        UniqueConstraint("tenant_id", "idempotency_key"),
        CheckConstraint("cardinality(job_ids) > 0", name="has_jobs"),
    )

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    idempotency_key: Mapped[str | None]
    request_sha256: Mapped[str]
    job_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid()))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class MediaAssetRow(CatalogModel):
    """The image or video of a completed job.

    Attributes:
        deleted_at: when retention deleted it; its bytes stay until the recovery window has passed
            (object_deletions), so that a catalog of any moment within it finds them.
        is_on_hold: legal hold, it is not deleted.
    """

    __tablename__ = "media_assets"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"]),
        UniqueConstraint("job_id"),
        UniqueConstraint("object_key"),
        one_of("kind", JobKind),
        own_object("object_key"),
        own_object("manifest_key"),
        sha256_form(),
        CheckConstraint("size_bytes > 0 AND width_px > 0 AND height_px > 0", name="size"),
        Index("ix_media_assets_created", "tenant_id", "created_at"),
    )

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    job_id: Mapped[UUID]
    kind: Mapped[str]
    object_key: Mapped[str]
    manifest_key: Mapped[str]
    sha256: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    width_px: Mapped[int]
    height_px: Mapped[int]
    duration_seconds: Mapped[float | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    deleted_at: Mapped[datetime | None]
    is_on_hold: Mapped[bool] = mapped_column(server_default=text("false"))
