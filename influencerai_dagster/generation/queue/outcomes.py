"""Record the outcome of a claimed job: completed, failed, cancelled, or pending for a retry."""

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Select, bindparam, func, select, update
from sqlalchemy.orm import Session, aliased

from influencerai_dagster.core.job_states import OPEN_STATUSES, JobStatus
from influencerai_dagster.core.keys import check_part
from influencerai_dagster.core.manifests.outputs import OutputManifest
from influencerai_dagster.db.models.jobs import JobRow, MediaAssetRow
from influencerai_dagster.db.notifications import notify_cancelled
from influencerai_dagster.errors import (
    InfluencerAIError,
    LeaseLostError,
    PermanentError,
    TransientError,
)
from influencerai_dagster.generation.queue.records import FRESH, Job, MediaAsset
from influencerai_dagster.generation.queue.retry_policy import retry_delay_seconds
from influencerai_dagster.generation.queue.shares import settle

_MAX_ERROR_LENGTH = 4000
_WITHOUT_OUTPUT = {JobStatus.FAILED, JobStatus.CANCELLED}


def complete(
    session: Session,
    job_id: UUID,
    token: int,
    output: OutputManifest,
    manifest_key: str,
    *,
    cost_usd: Decimal = Decimal(0),
) -> MediaAsset:
    """Complete a job and record its output, both or neither; the object is on S3 and verified.

    An expired lease still counts if no other worker has claimed the job. A repeated call, after the
    connection broke during the commit, changes nothing and returns the same value.

    Raises:
        LeaseLostError: the lease was lost; nothing was written.
        PermanentError: the output is not of this job, or breaks a rule of the catalog.
    """
    row = _locked(session, job_id)
    if row.status == JobStatus.COMPLETED and row.lease_token == token:
        recorded = session.scalars(
            select(MediaAssetRow).where(MediaAssetRow.job_id == job_id)
        ).one()
        if recorded.sha256 == output.file.sha256:
            return MediaAsset.of(recorded)
    _check_held(row, token)
    if (output.job_id, output.tenant, output.kind) != (job_id, row.tenant_id, row.kind):
        raise PermanentError(
            f"the output is of {output.kind} job {output.job_id} of tenant {output.tenant!r}, not "
            f"of {row.kind} job {job_id} of tenant {row.tenant_id!r}"
        )
    asset = MediaAssetRow(
        tenant_id=row.tenant_id,
        id=uuid4(),
        job_id=job_id,
        kind=row.kind,
        object_key=output.file.object_key,
        manifest_key=manifest_key,
        sha256=output.file.sha256,
        size_bytes=output.file.size_bytes,
        width_px=output.width_px,
        height_px=output.height_px,
        duration_seconds=(output.video or {}).get("duration_seconds"),
    )
    session.add(asset)
    _end(
        row,
        JobStatus.COMPLETED,
        result=_result(output, manifest_key),
        error=None,
        error_class=None,
        gpu_seconds=row.gpu_seconds + output.render_seconds,
        cost_usd=row.cost_usd + cost_usd,
        progress=1.0,
    )
    settle(session, row, output.render_seconds, is_whole=True)
    session.flush()
    return MediaAsset.of(asset)


def fail(
    session: Session,
    job_id: UUID,
    token: int,
    error: InfluencerAIError,
    *,
    gpu_seconds: float = 0.0,
) -> Job:
    """Record that an attempt failed.

    After a TransientError the job waits 5, then 25 s for its next attempt. After any other error,
    or without an attempt left, it fails, and so do the jobs that depend on its image.

    Args:
        gpu_seconds: render time that the attempt took.

    Returns:
        The job as it is now.

    Raises:
        LeaseLostError: the lease was lost; nothing was written.
    """
    row = _locked(session, job_id)
    _check_held(row, token)
    settle(session, row, gpu_seconds, is_whole=False)
    reason: dict[str, Any] = {
        "error": readable(error),
        "error_class": type(error).__name__,
        "gpu_seconds": row.gpu_seconds + gpu_seconds,
    }
    if isinstance(error, TransientError) and row.attempt < row.max_attempts:
        _end(
            row,
            JobStatus.PENDING,
            **reason,
            not_before=func.now() + timedelta(seconds=retry_delay_seconds(row.attempt)),
            finished_at=None,
        )
        session.flush()
    else:
        _end(row, JobStatus.FAILED, **reason)
        session.flush()
        fail_dependents(session, [job_id])
    session.refresh(row)
    return Job.of(row)


def cancel(session: Session, tenant: str, job_id: UUID) -> Job:
    """Cancel a job that has not ended; its worker is notified, at its next heartbeat at the latest.

    Jobs that depend on its image fail. A job that has ended stays as it is.

    Returns:
        The job as it is now.

    Raises:
        PermanentError: the tenant has no such job.
    """
    row = _locked(session, job_id, tenant=check_part(tenant, "tenant"))
    if row.status in OPEN_STATUSES:
        _end(row, JobStatus.CANCELLED, error=None, error_class=None)
        notify_cancelled(session)
        session.flush()
        fail_dependents(session, [job_id])
        session.refresh(row)
    return Job.of(row)


def fail_dependents(session: Session, sources: Iterable[UUID] | None = None) -> int:
    """Fail the pending jobs whose source job failed or was cancelled; the error names the reason.

    Args:
        sources: only dependents of these; None for all, also those that were submitted at the same
            time as their source ended.

    Returns:
        How many failed.
    """
    source = aliased(JobRow)
    ended = JobRow.depends_on.is_not(None) & (source.id == JobRow.depends_on)
    if sources is not None:
        ended &= source.id.in_(list(sources))
    reason = func.format(
        "the %s job %s that it starts from did not complete (%s): %s",
        *(source.kind, source.id, source.status, func.coalesce(source.error, "cancelled")),
    )
    statement = (
        update(JobRow)
        .where(ended, JobRow.status == JobStatus.PENDING, source.status.in_(_WITHOUT_OUTPUT))
        .values(
            status=JobStatus.FAILED,
            error=func.left(reason, _MAX_ERROR_LENGTH),
            error_class=PermanentError.__name__,
            finished_at=func.now(),
        )
        .returning(JobRow.id)
    )
    return len(session.scalars(statement, execution_options=FRESH).all())


def _locked(session: Session, job_id: UUID, *, tenant: str | None = None) -> JobRow:
    values = {"of_job": job_id, "of_tenant": tenant}
    statement = _locked_statement(has_tenant=tenant is not None)
    row = session.scalars(statement, values, execution_options=FRESH).one_or_none()
    if row is None:
        of = "" if tenant is None else f"tenant {tenant!r} has "
        raise PermanentError(f"{of}no job {job_id}; `influencerai jobs list` shows its jobs")
    return row


@cache  # to build it took longer than to execute it
def _locked_statement(*, has_tenant: bool) -> Select[tuple[JobRow]]:
    statement = select(JobRow).where(JobRow.id == bindparam("of_job"))
    if has_tenant:
        statement = statement.where(JobRow.tenant_id == bindparam("of_tenant"))
    return statement.with_for_update(key_share=True)


def _check_held(row: JobRow, token: int) -> None:
    if row.status != JobStatus.RUNNING or row.lease_token != token:
        raise LeaseLostError(
            f"the lease {token} of job {row.id} was lost: the job is {row.status} and was claimed "
            f"{row.lease_token} times; discard the output"
        )


def _end(row: JobRow, status: JobStatus, **changes: Any) -> None:  # noqa: ANN401 - column values
    values = {
        "status": status,
        "lease_owner": None,
        "lease_expires_at": None,
        "finished_at": func.now(),
        **changes,
    }
    for name, value in values.items():
        setattr(row, name, value)


def _result(output: OutputManifest, manifest_key: str) -> dict[str, Any]:
    return {
        "object_key": output.file.object_key,
        "sha256": output.file.sha256,
        "size_bytes": output.file.size_bytes,
        "manifest_key": manifest_key,
        "poster_key": None if output.poster is None else output.poster.object_key,
        "width_px": output.width_px,
        "height_px": output.height_px,
        "is_simulated": output.is_simulated,
    }


def readable(error: InfluencerAIError) -> str:
    """Return the text of an error as a row keeps it."""
    text = str(error).replace("\0", "�") or type(error).__name__
    return text[:_MAX_ERROR_LENGTH]
