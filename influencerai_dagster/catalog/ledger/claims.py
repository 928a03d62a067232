"""Who works on which job: claims, their leases, and what becomes of leases that ran out."""

from collections import defaultdict
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Update, func, literal, null, or_, select, update
from sqlalchemy.orm import Session, aliased

from influencerai_dagster.catalog.job_models import JobRow
from influencerai_dagster.catalog.job_records import ClaimedJob
from influencerai_dagster.catalog.ledger.outcomes import fail_dependents
from influencerai_dagster.catalog.models import LoraRow
from influencerai_dagster.domain.jobs import JobKind, JobStatus, retry_delay_seconds
from influencerai_dagster.domain.keys import DayKey
from influencerai_dagster.errors import TransientError

_MAX_LEASES_PER_SWEEP = 1000
_FRESH = {"populate_existing": True, "synchronize_session": False}
_UNLEASED: dict[str, Any] = {"lease_owner": null(), "lease_expires_at": null()}


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
    pending, its backoff is over, the picture it starts from is there, and every dataset whose
    newest LoRA it wants has one.

    Args:
        owner: who works on it, for people.
        lease_seconds: how long the claim holds without a heartbeat.
        tenant: only jobs of this tenant; None for all.
        day: only jobs of this day; None for all.
    """
    rows = session.scalars(
        claim_statement(
            kind=kind,
            owner=owner,
            lease_seconds=lease_seconds,
            limit=limit,
            tenant=tenant,
            day=day,
            dagster_run_id=dagster_run_id,
        ),
        execution_options=_FRESH,
    )
    jobs = [ClaimedJob.of(row) for row in rows]
    return sorted(jobs, key=lambda job: (-job.priority, job.number))


def claim_statement(
    *,
    kind: JobKind,
    owner: str,
    lease_seconds: float,
    limit: int,
    tenant: str | None,
    day: date | None,
    dagster_run_id: str | None,
) -> Any:  # noqa: ANN401 - ReturningUpdate[JobRow] is not a public name of SQLAlchemy
    """Return the statement of `claim`, one round trip to the server."""
    wanted = [_is_claimable(kind)]
    if tenant is not None:
        wanted.append(JobRow.tenant_id == tenant)
    if day is not None:
        wanted.append(JobRow.day == day)
    taken = (
        select(JobRow.id)
        .where(*wanted)
        .order_by(JobRow.priority.desc(), JobRow.number)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True, of=JobRow)
        .cte("taken")  # PostgreSQL runs a locking CTE once, so the limit holds
    )
    return (
        update(JobRow)
        .where(JobRow.id == taken.c.id)
        .values(
            status=JobStatus.RUNNING,
            attempt=JobRow.attempt + 1,
            lease_owner=owner,
            lease_token=JobRow.lease_token + 1,
            lease_expires_at=_from_now(lease_seconds),
            dagster_run_id=dagster_run_id,
            started_at=func.coalesce(JobRow.started_at, func.now()),
        )
        .returning(JobRow)
    )


def days_with_claimable_jobs(session: Session, kind: JobKind) -> list[DayKey]:
    """Return every tenant-day that has a job to claim right now."""
    statement = select(JobRow.tenant_id, JobRow.day).where(_is_claimable(kind)).distinct()
    return sorted(DayKey(row.tenant_id, row.day) for row in session.execute(statement))


def heartbeat(session: Session, job_id: UUID, token: int, lease_seconds: float) -> bool:
    """Renew a lease for `lease_seconds` from now.

    Returns:
        Whether the claim still holds; if not, the worker stops: the job was cancelled or its lease
        ran out.
    """
    return _write(session, _held(job_id, token).values(lease_expires_at=_from_now(lease_seconds)))


def release(session: Session, job_id: UUID, token: int, *, gpu_seconds: float = 0.0) -> bool:
    """Give a job back without losing the attempt: the worker shuts down.

    Returns:
        Whether the claim still held.
    """
    values = {
        "status": JobStatus.PENDING,
        "attempt": JobRow.attempt - 1,
        "gpu_seconds": JobRow.gpu_seconds + gpu_seconds,
        **_UNLEASED,
    }
    return _write(session, _held(job_id, token).values(values))


def expire_leases(session: Session, *, owner: str | None = None) -> int:
    """Take jobs back from workers that stopped renewing their leases.

    They wait as after a passing failure, or fail when no attempt is left. Takes a thousand at a
    time, and none that another sweep or a worker is writing right now.

    Args:
        owner: end the leases of this worker, which is dead, whenever they run out; None ends those
            of all workers that have run out.

    Returns:
        How many leases were ended.
    """
    is_over = JobRow.lease_expires_at < func.now() if owner is None else JobRow.lease_owner == owner
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
    return len(expired)


def _is_claimable(kind: JobKind) -> ColumnElement[bool]:
    source = aliased(JobRow)
    # Not EXISTS: beside an OR, PostgreSQL may answer that by reading all completed jobs first.
    source_status = select(source.status).where(source.id == JobRow.depends_on).scalar_subquery()
    trained = select(LoraRow.dataset).where(
        LoraRow.tenant_id == JobRow.tenant_id, LoraRow.dataset == JobRow.lora_datasets.any_()
    )
    return (
        (JobRow.kind == kind)
        # Written out, so that the planner sees that the partial index holds all of them.
        & (JobRow.status == literal(JobStatus.PENDING.value, literal_execute=True))
        & (JobRow.not_before <= func.now())
        & or_(JobRow.depends_on.is_(None), source_status == JobStatus.COMPLETED)
        & or_(
            func.cardinality(JobRow.lora_datasets) == 0,
            JobRow.lora_datasets.contained_by(func.array(trained.scalar_subquery())),
        )
    )


def _held(job_id: UUID, token: int) -> Update:
    return update(JobRow).where(
        JobRow.id == job_id, JobRow.status == JobStatus.RUNNING, JobRow.lease_token == token
    )


def _write(session: Session, statement: Update) -> bool:
    written = session.scalar(statement.returning(JobRow.id), execution_options=_FRESH)
    return written is not None


def _end_leases(session: Session, ids: list[UUID], **changes: Any) -> None:  # noqa: ANN401 - column values
    error = func.format(
        "the worker %s stopped answering in attempt %s of %s",
        *(JobRow.lease_owner, JobRow.attempt, JobRow.max_attempts),
    )
    values = {**changes, "error": error, "error_class": TransientError.__name__, **_UNLEASED}
    statement = update(JobRow).where(JobRow.id.in_(ids)).values(values)
    session.execute(statement, execution_options=_FRESH)


def _from_now(seconds: float) -> ColumnElement[Any]:
    return func.now() + timedelta(seconds=seconds)
