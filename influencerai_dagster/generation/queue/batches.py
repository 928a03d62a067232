"""Keep batches: the jobs of one order, under a durable id and an idempotency key."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from influencerai_dagster.core.keys import check_part
from influencerai_dagster.db.models.jobs import JobBatchRow


@dataclass(frozen=True)
class JobBatch:
    """The jobs that one request submitted.

    Attributes:
        request_sha256: of the request; the same key with another request is refused.
        job_ids: in the order of the request.
    """

    tenant: str
    id: UUID
    idempotency_key: str | None
    request_sha256: str
    job_ids: tuple[UUID, ...]
    created_at: datetime

    @classmethod
    def of(cls, row: JobBatchRow) -> "JobBatch":
        """Make the value from its row."""
        return cls(
            row.tenant_id,
            row.id,
            row.idempotency_key,
            row.request_sha256,
            tuple(row.job_ids),
            row.created_at,
        )


def add_batch(
    session: Session,
    tenant: str,
    job_ids: Sequence[UUID],
    *,
    idempotency_key: str | None,
    request_sha256: str,
) -> JobBatch:
    """Add a batch, in the transaction that submits its jobs.

    Raises:
        PermanentError: when the transaction ends, another batch has the key; nothing was written.
    """
    row = session.scalars(
        insert(JobBatchRow)
        .values(
            tenant_id=check_part(tenant, "tenant"),
            id=uuid4(),
            idempotency_key=idempotency_key,
            request_sha256=request_sha256,
            job_ids=list(job_ids),
        )
        .returning(JobBatchRow)
    ).one()
    return JobBatch.of(row)


def get_batch(session: Session, tenant: str, batch_id: UUID) -> JobBatch | None:
    """Return a batch; None if the tenant has no such batch."""
    row = session.get(JobBatchRow, (check_part(tenant, "tenant"), batch_id))
    return None if row is None else JobBatch.of(row)


def batch_of_key(session: Session, tenant: str, idempotency_key: str) -> JobBatch | None:
    """Return the batch of an idempotency key; None if the key is new."""
    row = session.scalars(
        select(JobBatchRow).where(
            JobBatchRow.tenant_id == check_part(tenant, "tenant"),
            JobBatchRow.idempotency_key == idempotency_key,
        )
    ).one_or_none()
    return None if row is None else JobBatch.of(row)
