"""Leases of claimed jobs: renew them, requeue a job, end those that have expired."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, func, null, select, text, update
from sqlalchemy.orm import Session

from influencerai_dagster.core.job_states import (
    JobKind,
    JobStatus,
)
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.db.models.jobs import JobRow
from influencerai_dagster.db.notifications import notify_work
from influencerai_dagster.db.sweeps import LEASES, begin_sweep
from influencerai_dagster.errors import InfluencerAIError, TransientError
from influencerai_dagster.generation.jobs import (
    Need,
)
from influencerai_dagster.generation.queue.claimable import claim_statement, is_claimable
from influencerai_dagster.generation.queue.outcomes import fail_dependents, readable
from influencerai_dagster.generation.queue.records import ClaimedJob
from influencerai_dagster.generation.queue.retry_policy import (
    retry_delay_seconds,
)
from influencerai_dagster.generation.queue.shares import settle
from influencerai_dagster.generation.queue.workers import delete_stale_workers

_MAX_LEASES_PER_SWEEP = 1000
_GRACE = timedelta(seconds=15)
"""After an outage a lease is renewed for at most so long by the sweep, until its worker does it."""
_FRESH = {"populate_existing": True, "synchronize_session": False}
_RENEW = text(
    "UPDATE jobs SET lease_expires_at = now() + :lease, progress = held.progress"
    " FROM unnest(CAST(:ids AS uuid[]), CAST(:tokens AS bigint[]), CAST(:progress AS real[]))"
    " AS held (id, token, progress)"
    " WHERE jobs.id = held.id AND lease_token = held.token AND status = 'running'"
    " RETURNING jobs.id"
)
_UNLEASED: dict[str, Any] = {"lease_owner": null(), "lease_expires_at": null()}


class HeldLease(NamedTuple):
    """A claim that its worker still works on.

    Attributes:
        progress: how much of the render is done, 0 to 1.
    """

    token: int
    progress: float = 0.0


def claim(
    session: Session,
    *,
    kind: JobKind,
    owner: str,
    lease_seconds: float,
    limit: int,
    tenant: str | None = None,
    day: date | None = None,
    dagster_run_id: str | None = None,
) -> list[ClaimedJob]:
    """Take up to `limit` jobs: highest priority first, then the order of submission.

    No two callers get the same job, and none waits for another. A job is claimable when it is
    pending, its backoff is over, the image it starts from is there, and every dataset whose
    newest LoRA it wants has one.

    Args:
        owner: who works on it, for people.
        lease_seconds: how long the claim holds without a heartbeat.
        tenant: only jobs of this tenant; None for all.
        day: only jobs of this day; None for all.
    """
    rows = claim_rows(
        session,
        kind=kind,
        owner=owner,
        lease_seconds=lease_seconds,
        limit=limit,
        tenant=tenant,
        day=day,
        dagster_run_id=dagster_run_id,
    )
    return [ClaimedJob.of(row) for row in rows]


def claim_rows(
    session: Session,
    *,
    kind: JobKind,
    owner: str,
    lease_seconds: float,
    limit: int,
    tenant: str | None,
    day: date | None,
    dagster_run_id: str | None,
    unfit: frozenset[Need] = frozenset(),
) -> list[JobRow]:
    """Do what `claim` does, in one round trip to the server, and return the rows.

    Args:
        unfit: jobs of these needs are left alone.
    """
    rows = session.scalars(
        claim_statement(has_tenant=tenant is not None, has_day=day is not None, unfit=unfit),
        {
            "of_kind": kind,
            "of_tenant": tenant,
            "of_day": day,
            "owner": owner,
            "run_id": dagster_run_id,
            "lease": timedelta(seconds=lease_seconds),
            "max_jobs": limit,
        },
        execution_options=_FRESH,
    )
    return sorted(rows, key=lambda row: (-row.priority, row.number))


def days_with_claimable_jobs(session: Session, kind: JobKind) -> list[DayKey]:
    """Return every tenant-day that has a job to claim right now."""
    statement = select(JobRow.tenant_id, JobRow.day).where(is_claimable(kind)).distinct()
    return sorted(DayKey(row.tenant_id, row.day) for row in session.execute(statement))


def renew_leases(
    session: Session, held: Mapping[UUID, HeldLease], lease_seconds: float
) -> dict[UUID, JobStatus]:
    """Renew leases for `lease_seconds` from now, and keep how far their renders are.

    Returns:
        The jobs whose claim is over, with what they are now: their worker writes nothing more. Of
        one that is cancelled the worker stops the render; one that is anything else has, or will
        have, another worker, who may want the render.
    """
    if not held:
        return {}
    renewed = set(
        session.scalars(
            _RENEW,
            {
                "ids": [str(job_id) for job_id in held],
                "tokens": [lease.token for lease in held.values()],
                "progress": [lease.progress for lease in held.values()],
                "lease": timedelta(seconds=lease_seconds),
            },
        )
    )
    lost = held.keys() - renewed
    if not lost:
        return {}
    rows = session.execute(select(JobRow.id, JobRow.status).where(JobRow.id.in_(lost)))
    return {row.id: JobStatus(row.status) for row in rows}


def requeue(
    session: Session,
    job_id: UUID,
    token: int,
    *,
    gpu_seconds: float = 0.0,
    reason: InfluencerAIError | None = None,
) -> bool:
    """Requeue a job without counting the attempt: its worker shuts down, or did not render it.

    Args:
        gpu_seconds: render time that the attempt took nevertheless.
        reason: why it was not rendered, for operators.

    Returns:
        Whether the claim still held.
    """
    statement = select(JobRow).where(_is_held(job_id, token)).with_for_update(key_share=True)
    row = session.scalars(statement, execution_options=_FRESH).one_or_none()
    if row is None:
        return False
    settle(session, row, gpu_seconds, is_whole=False)
    notify_work(session)
    row.status = JobStatus.PENDING
    row.attempt -= 1
    row.gpu_seconds += gpu_seconds
    row.lease_owner = row.lease_expires_at = None
    if reason is not None:
        row.error, row.error_class = readable(reason), type(reason).__name__
    session.flush()
    return True


def expire_leases(session: Session, *, owner: str | None = None) -> int:
    """End the leases that their workers no longer renew, and delete stale workers.

    The jobs wait as after a TransientError, or fail when no attempt is left. One call ends up to a
    thousand leases, and none that another transaction is writing right now. The tenants stay
    charged: the GPU may have rendered these jobs.

    Args:
        owner: end all leases of this worker, which has stalled; None ends the expired leases of all
            workers.

    Returns:
        How many leases were ended.
    """
    if owner is None:
        _forgive(session, begin_sweep(session, LEASES).missed)
        is_over = JobRow.lease_expires_at < func.now()
    else:
        is_over = JobRow.lease_owner == owner
    delete_stale_workers(session)
    expired = session.execute(
        select(JobRow.id, JobRow.attempt, JobRow.max_attempts)
        .where(JobRow.status == JobStatus.RUNNING, is_over)
        .order_by(JobRow.lease_expires_at)
        .limit(_MAX_LEASES_PER_SWEEP)
        .with_for_update(skip_locked=True, key_share=True)
    ).all()
    pending: dict[int, list[UUID]] = defaultdict(list)
    failed: list[UUID] = []
    for row in expired:
        (failed if row.attempt >= row.max_attempts else pending[row.attempt]).append(row.id)
    for attempt, ids in pending.items():
        delay = _from_now(retry_delay_seconds(attempt))
        _end_leases(session, ids, status=JobStatus.PENDING, not_before=delay)
    if failed:
        _end_leases(session, failed, status=JobStatus.FAILED, finished_at=func.now())
        fail_dependents(session, failed)
    if expired:
        notify_work(session)
    return len(expired)


def _forgive(session: Session, missed: timedelta) -> None:
    """Give leases the time back in which nobody could renew them."""
    if not missed:
        return
    # One that is locked is being renewed.
    ids = select(JobRow.id).where(JobRow.status == JobStatus.RUNNING)
    later = func.least(JobRow.lease_expires_at + missed, func.now() + _GRACE)
    session.execute(
        update(JobRow)
        .where(JobRow.id.in_(ids.with_for_update(skip_locked=True, key_share=True)))
        .values(lease_expires_at=func.greatest(JobRow.lease_expires_at, later)),
        execution_options=_FRESH,
    )


def _is_held(job_id: UUID, token: int) -> ColumnElement[bool]:
    return (
        (JobRow.id == job_id) & (JobRow.status == JobStatus.RUNNING) & (JobRow.lease_token == token)
    )


def _end_leases(session: Session, ids: list[UUID], **changes: Any) -> None:  # noqa: ANN401 - column values
    error = func.format(
        "the worker %s stalled in attempt %s of %s",
        *(JobRow.lease_owner, JobRow.attempt, JobRow.max_attempts),
    )
    values = {**changes, "error": error, "error_class": TransientError.__name__, **_UNLEASED}
    statement = update(JobRow).where(JobRow.id.in_(ids)).values(values)
    session.execute(statement, execution_options=_FRESH)


def _from_now(seconds: float) -> ColumnElement[Any]:
    return func.now() + timedelta(seconds=seconds)
