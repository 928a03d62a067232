"""Claim jobs; renew their leases, requeue a job, end the leases that have expired."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, func, null, select, text, update
from sqlalchemy.orm import Session

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.db.models.jobs import JobRow
from influencerai_dagster.db.notifications import notify_work
from influencerai_dagster.db.sweeps import LEASES, begin_sweep
from influencerai_dagster.errors import InfluencerAIError, TransientError
from influencerai_dagster.generation.jobs import Need
from influencerai_dagster.generation.queue.claimable import claim_statement, is_claimable
from influencerai_dagster.generation.queue.outcomes import fail_dependents, readable
from influencerai_dagster.generation.queue.records import FRESH
from influencerai_dagster.generation.queue.retry_policy import retry_delay_seconds
from influencerai_dagster.generation.queue.shares import settle
from influencerai_dagster.generation.queue.workers import WorkerRegistration, delete_stale_workers

_MAX_LEASES_PER_SWEEP = 1000
_GRACE = timedelta(seconds=15)
"""After an outage the sweep renews a lease by at most so long, until its worker renews it."""
_RENEW = text(
    "UPDATE jobs SET lease_expires_at = now() + :lease, progress = held.progress"
    " FROM unnest(CAST(:ids AS uuid[]), CAST(:tokens AS bigint[]), CAST(:progress AS real[]))"
    " AS held (id, token, progress)"
    " WHERE jobs.id = held.id AND lease_token = held.token AND status = 'running'"
    " RETURNING jobs.id"
)
_UNLEASED: dict[str, Any] = {"lease_owner": null(), "lease_expires_at": null()}


class HeldLease(NamedTuple):
    """A lease that its worker still holds.

    Attributes:
        progress: how much of the render is done, 0 to 1.
    """

    token: int
    progress: float = 0.0


def claim_rows(
    session: Session,
    worker: WorkerRegistration,
    *,
    lease_seconds: float,
    limit: int,
    unfit: frozenset[Need] = frozenset(),
) -> list[JobRow]:
    """Claim up to `limit` jobs of a worker's tenant-day, in one round trip to the server.

    Highest priority first, then the order of submission. A job is claimable when it is pending, its
    backoff is over, the image it starts from exists, and every dataset whose newest LoRA it needs
    has one. A job that another transaction is writing is left out.

    Args:
        session: of the caller's transaction.
        worker: becomes the owner of the leases.
        lease_seconds: how long the leases hold without a heartbeat.
        limit: at most so many jobs.
        unfit: jobs with these needs are left out.
    """
    rows = session.scalars(
        claim_statement(unfit),
        {
            "of_kind": worker.kind,
            "of_tenant": worker.tenant,
            "of_day": worker.day,
            "owner": worker.owner,
            "lease": timedelta(seconds=lease_seconds),
            "max_jobs": limit,
        },
        execution_options=FRESH,
    )
    return sorted(rows, key=lambda row: (-row.priority, row.number))


def days_with_claimable_jobs(session: Session, kind: JobKind) -> list[DayKey]:
    """Return every tenant-day with a job that can be claimed right now."""
    statement = select(JobRow.tenant_id, JobRow.day).where(is_claimable(kind)).distinct()
    return sorted(DayKey(row.tenant_id, row.day) for row in session.execute(statement))


def renew_leases(
    session: Session, held: Mapping[UUID, HeldLease], lease_seconds: float
) -> dict[UUID, JobStatus]:
    """Renew leases for `lease_seconds` from now, and store the progress of their renders.

    Returns:
        The jobs whose lease was lost → their status now; the worker can no longer write them. The
        render of a cancelled job is stopped. A job of any other status has, or will have, another
        worker, which may reuse the render.
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
        Whether the lease still held.
    """
    statement = select(JobRow).where(_is_held(job_id, token)).with_for_update(key_share=True)
    row = session.scalars(statement, execution_options=FRESH).one_or_none()
    if row is None:
        return False
    settle(session, row, gpu_seconds, is_whole=False)
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
        _forgive(session, begin_sweep(session, LEASES))
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
    """Extend leases by the time in which they could not be renewed."""
    if not missed:
        return
    # One that is locked is being renewed.
    ids = select(JobRow.id).where(JobRow.status == JobStatus.RUNNING)
    later = func.least(JobRow.lease_expires_at + missed, func.now() + _GRACE)
    session.execute(
        update(JobRow)
        .where(JobRow.id.in_(ids.with_for_update(skip_locked=True, key_share=True)))
        .values(lease_expires_at=func.greatest(JobRow.lease_expires_at, later)),
        execution_options=FRESH,
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
    session.execute(statement, execution_options=FRESH)


def _from_now(seconds: float) -> ColumnElement[Any]:
    return func.now() + timedelta(seconds=seconds)
