"""Cancel many jobs at once, and list the prompts of cancelled jobs that servers may still have.

outcomes.py cancels a single job.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.keys import check_part
from influencerai_dagster.db.models.jobs import JobRow
from influencerai_dagster.generation.prompt_ids import prompt_id
from influencerai_dagster.generation.queue.outcomes import cancel, fail_dependents
from influencerai_dagster.generation.queue.records import FRESH


@dataclass(frozen=True)
class AbandonedPrompts:
    """The prompts of a cancelled job that ComfyUI may still render.

    Attributes:
        server: where the newest claim renders, without credentials; None if it is not known, or if
            an earlier claim may have left a prompt on another server.
    """

    job_id: UUID
    prompt_ids: tuple[str, ...]
    server: str | None


def cancel_open(
    session: Session, tenant: str, *, day: date | None = None, kind: JobKind | None = None
) -> list[UUID]:
    """Cancel all jobs of a tenant that have not ended.

    Jobs that were to start from their images fail.

    Args:
        day: only jobs of this day; None for all.
        kind: only jobs of this kind; None for both.

    Returns:
        The jobs that were cancelled.
    """
    wanted = [JobRow.tenant_id == check_part(tenant, "tenant")]
    if day is not None:
        wanted.append(JobRow.day == day)
    if kind is not None:
        wanted.append(JobRow.kind == kind)
    # Running jobs first: a worker that fails one locks it before the jobs that depend on it. And
    # again afterwards, for jobs that were claimed meanwhile.
    return [
        *_cancel_running(session, tenant, wanted),
        *_cancel_pending(session, wanted),
        *_cancel_running(session, tenant, wanted),
    ]


def abandoned_prompts(
    session: Session, tenant: str, job_ids: Iterable[UUID]
) -> list[AbandonedPrompts]:
    """Return the prompts of those jobs that are cancelled and were claimed before."""
    rows = session.execute(
        select(JobRow.id, JobRow.lease_token, JobRow.server).where(
            JobRow.tenant_id == check_part(tenant, "tenant"),
            JobRow.id.in_(list(job_ids)),
            JobRow.status == JobStatus.CANCELLED,
            JobRow.lease_token > 0,
        )
    )
    return [
        AbandonedPrompts(
            job_id=row.id,
            prompt_ids=tuple(prompt_id(row.id, claim + 1) for claim in range(row.lease_token)),
            server=row.server if row.lease_token == 1 else None,
        )
        for row in rows
    ]


def _cancel_running(session: Session, tenant: str, wanted: list[ColumnElement[bool]]) -> list[UUID]:
    statement = select(JobRow.id).where(*wanted, JobRow.status == JobStatus.RUNNING)
    jobs = [cancel(session, tenant, job_id) for job_id in sorted(session.scalars(statement))]
    return [job.id for job in jobs if job.status is JobStatus.CANCELLED]


def _cancel_pending(session: Session, wanted: list[ColumnElement[bool]]) -> list[UUID]:
    statement = (
        update(JobRow)
        .where(*wanted, JobRow.status == JobStatus.PENDING)
        .values(status=JobStatus.CANCELLED, finished_at=func.now(), error=None, error_class=None)
        .returning(JobRow.id)
    )
    cancelled = list(session.scalars(statement, execution_options=FRESH))
    if cancelled:
        fail_dependents(session, cancelled)
    return cancelled
