"""Read jobs and their outputs; nothing is written here."""

from collections.abc import Collection
from datetime import date
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.keys import DayKey, check_part
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.db.models.jobs import JobRow, MediaAssetRow
from influencerai_dagster.db.models.scheduling import GpuShareRow
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation.queue.records import FRESH, Job, MediaAsset


def get_job(session: Session, tenant: str, job_id: UUID) -> Job:
    """Return one job.

    Raises:
        PermanentError: the tenant has no such job; one of another tenant is unknown too.
    """
    row = session.scalars(
        select(JobRow).where(JobRow.tenant_id == check_part(tenant, "tenant"), JobRow.id == job_id),
        execution_options=FRESH,
    ).one_or_none()
    if row is None:
        raise PermanentError(
            f"tenant {tenant!r} has no job {job_id}; `influencerai jobs list` shows its jobs"
        )
    return Job.of(row)


def get_jobs(session: Session, tenant: str, job_ids: Collection[UUID]) -> list[Job]:
    """Return those of these jobs that the tenant has, in order of submission."""
    statement = (
        select(JobRow)
        .where(JobRow.tenant_id == check_part(tenant, "tenant"), JobRow.id.in_(job_ids))
        .order_by(JobRow.number)
    )
    return [Job.of(row) for row in session.scalars(statement, execution_options=FRESH)]


def list_jobs(
    session: Session,
    tenant: str,
    *,
    day: date | None = None,
    kind: JobKind | None = None,
    status: JobStatus | None = None,
    before_number: int | None = None,
    limit: int | None = 100,
) -> list[Job]:
    """Return jobs of a tenant, newest first.

    Args:
        before_number: only jobs submitted before that one; the last of a page gives the next page.
        limit: at most so many; None for all.
    """
    statement = select(JobRow).where(JobRow.tenant_id == check_part(tenant, "tenant"))
    if day is not None:
        statement = statement.where(JobRow.day == day)
    if kind is not None:
        statement = statement.where(JobRow.kind == kind)
    if status is not None:
        statement = statement.where(JobRow.status == status)
    if before_number is not None:
        statement = statement.where(JobRow.number < before_number)
    statement = statement.order_by(JobRow.number.desc()).limit(limit)
    return [Job.of(row) for row in session.scalars(statement, execution_options=FRESH)]


def count_by_status(
    session: Session,
    tenant: str | None = None,
    *,
    day: date | None = None,
    kind: JobKind | None = None,
) -> dict[JobStatus, int]:
    """Return how many jobs are in every status, zeros too; a tenant of None counts all tenants."""
    statement = select(JobRow.status, func.count()).group_by(JobRow.status)
    if tenant is not None:
        statement = statement.where(JobRow.tenant_id == check_part(tenant, "tenant"))
    if day is not None:
        statement = statement.where(JobRow.day == day)
    if kind is not None:
        statement = statement.where(JobRow.kind == kind)
    found = {JobStatus(status): count for status, count in session.execute(statement)}
    return {status: found.get(status, 0) for status in JobStatus}


def gpu_debts(session: Session) -> dict[str, float]:
    """Return by how many virtual seconds each tenant is ahead of its share, 0 if it is not.

    The tenant that is least ahead is next; see generation/queue/fairness.py.
    """
    clock = select(func.max(GpuShareRow.start_tag)).scalar_subquery()
    ahead = func.greatest(GpuShareRow.finish_tag - clock, 0.0)
    rows = session.execute(select(GpuShareRow.tenant_id, ahead.label("ahead")))
    return {row.tenant_id: row.ahead for row in rows}


def outputs_of_day(session: Session, key: DayKey, kind: JobKind) -> list[StoredFile]:
    """Return the outputs of a tenant-day that are not deleted, in order of submission."""
    rows = session.scalars(
        select(MediaAssetRow)
        .join(JobRow, JobRow.id == MediaAssetRow.job_id)
        .where(
            JobRow.tenant_id == key.tenant,
            JobRow.day == key.day,
            JobRow.kind == kind,
            MediaAssetRow.deleted_at.is_(None),
        )
        .order_by(JobRow.number)
    )
    return [MediaAsset.of(row).file for row in rows]


def media_asset_of_job(session: Session, tenant: str, job_id: UUID) -> MediaAsset | None:
    """Return the output of a job, also a deleted one; None while there is none."""
    row = session.scalars(
        select(MediaAssetRow).where(
            MediaAssetRow.tenant_id == check_part(tenant, "tenant"), MediaAssetRow.job_id == job_id
        ),
        execution_options=FRESH,
    ).one_or_none()
    return None if row is None else MediaAsset.of(row)


def media_assets(
    session: Session,
    tenant: str,
    *,
    job_ids: Collection[UUID] | None = None,
    day: date | None = None,
    kind: JobKind | None = None,
) -> list[MediaAsset]:
    """Return the outputs of jobs that retention has not deleted, in order of submission.

    Args:
        job_ids: only of these jobs; None for all.
        day: only of jobs of this day.
        kind: only images, or only videos.
    """
    statement = (
        select(MediaAssetRow)
        .join(JobRow, JobRow.id == MediaAssetRow.job_id)
        .where(JobRow.tenant_id == check_part(tenant, "tenant"), MediaAssetRow.deleted_at.is_(None))
        .order_by(JobRow.number)
    )
    if job_ids is not None:
        statement = statement.where(JobRow.id.in_(job_ids))
    if day is not None:
        statement = statement.where(JobRow.day == day)
    if kind is not None:
        statement = statement.where(JobRow.kind == kind)
    return [MediaAsset.of(row) for row in session.scalars(statement)]
