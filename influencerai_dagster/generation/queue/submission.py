"""Insert jobs into the queue: idempotency keys, drawn seeds, and the limit of pending jobs.

generation/submission.py makes its requests from dicts; references.py checks the datasets, LoRAs and
images that a job names.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from influencerai_dagster.core.job_states import JobStatus
from influencerai_dagster.core.keys import check_part
from influencerai_dagster.core.sampling import NUM_DRAWN_SEEDS
from influencerai_dagster.db.models.content import TenantRow
from influencerai_dagster.db.models.jobs import JobRow
from influencerai_dagster.db.tenants import unknown_tenant
from influencerai_dagster.errors import PermanentError, TooManyPendingJobsError
from influencerai_dagster.generation.jobs import JobPayload, JobRequest, SeededPayload
from influencerai_dagster.generation.queue.records import Job
from influencerai_dagster.generation.queue.references import check_loras, check_sources
from influencerai_dagster.generation.queue.retry_policy import MAX_ATTEMPTS


@dataclass(frozen=True)
class _Submitted:
    id: UUID
    payload: JobPayload


def submit(
    session: Session,
    tenant: str,
    day: date,
    requests: Sequence[JobRequest],
    *,
    max_pending: int | None = None,
) -> list[Job]:
    """Insert jobs into the queue: all of them or none.

    A request with an idempotency key that the tenant used before returns the job of that key,
    whatever its day and priority; it is not checked again and does not count against the limit. A
    seed of None is drawn once.

    Args:
        day: the UTC day that the jobs count to.
        max_pending: how many pending jobs the tenant may have, these included; None for no limit.

    Returns:
        The job of every request, in the order of the requests.

    Raises:
        PermanentError: unknown tenant, a reference to something that the tenant does not have, a
            key that was used for another payload, or a text with a NUL character.
        TooManyPendingJobsError: the limit would be exceeded; a PermanentError too.
    """
    _lock_tenant(session, tenant)
    submitted = _submitted_before(session, tenant, requests)
    ids: list[UUID] = []
    new: list[tuple[UUID, JobRequest, JobPayload]] = []
    for request in requests:
        key = request.idempotency_key
        job = submitted.get(key) if key is not None else None
        if job is None:
            job = _Submitted(uuid4(), _with_seed(request.payload))
            new.append((job.id, request, job.payload))
            if key is not None:
                submitted[key] = job
        else:
            _check_same(request, job)
        ids.append(job.id)
    _check_limit(session, tenant, len(new), max_pending)
    payloads = [payload for _, _, payload in new]
    check_loras(session, tenant, {item for payload in payloads for item in payload.lora_references})
    check_sources(session, tenant, {item.depends_on for item in payloads if item.depends_on})
    if new:
        # A trigger of the table notifies those who start runs and render.
        session.execute(insert(JobRow), [_values(tenant, day, *item) for item in new])
    rows = session.scalars(select(JobRow).where(JobRow.tenant_id == tenant, JobRow.id.in_(ids)))
    jobs = {row.id: Job.of(row) for row in rows}
    return [jobs[job_id] for job_id in ids]


def _lock_tenant(session: Session, tenant: str) -> None:
    """Serialize the submissions of a tenant, so that its limit and its keys have no races."""
    statement = (
        select(TenantRow.id)
        .where(TenantRow.id == check_part(tenant, "tenant"))
        .with_for_update(key_share=True)
    )
    if session.scalar(statement) is None:
        raise unknown_tenant(session, tenant)


def _submitted_before(
    session: Session, tenant: str, requests: Sequence[JobRequest]
) -> dict[str, _Submitted]:
    for request in requests:
        _check_texts(request)
    keys = {item.idempotency_key for item in requests if item.idempotency_key is not None}
    if not keys:
        return {}
    rows = session.scalars(
        select(JobRow).where(JobRow.tenant_id == tenant, JobRow.idempotency_key.in_(keys))
    )
    jobs = [Job.of(row) for row in rows]
    return {job.idempotency_key or "": _Submitted(job.id, job.payload) for job in jobs}


def _check_texts(request: JobRequest) -> None:
    texts = [("idempotency_key", request.idempotency_key), *request.payload]
    for name, value in texts:
        if isinstance(value, str) and "\0" in value:
            raise PermanentError(
                f"{name} {value[:80]!r} has a NUL character, which PostgreSQL cannot store; "
                "remove it"
            )


def _check_same(request: JobRequest, job: _Submitted) -> None:
    """Refuse a key of another payload; an open seed equals the one that was drawn."""
    stored = job.payload
    if isinstance(request.payload, SeededPayload) and request.payload.seed is None:
        stored = stored.model_copy(update={"seed": None})
    if request.payload != stored:
        raise PermanentError(
            f"idempotency key {request.idempotency_key!r} belongs to job {job.id}, which has "
            "another payload; use a new key for a new job"
        )


def _with_seed(payload: JobPayload) -> JobPayload:
    if not isinstance(payload, SeededPayload) or payload.seed is not None:
        return payload
    return payload.model_copy(update={"seed": secrets.randbelow(NUM_DRAWN_SEEDS)})


def _check_limit(session: Session, tenant: str, num_new: int, limit: int | None) -> None:
    if limit is None or num_new == 0:
        return
    pending = session.scalar(
        select(func.count()).where(JobRow.tenant_id == tenant, JobRow.status == JobStatus.PENDING)
    )
    if (pending or 0) + num_new > limit:
        raise TooManyPendingJobsError(
            f"tenant {tenant!r} has {pending} pending jobs and may have {limit} "
            f"(MAX_PENDING_JOBS_PER_TENANT): none of these {num_new} was accepted. Submit fewer, "
            "submit them again when some are done, or cancel those that are not needed "
            f"(`influencerai jobs cancel --all --tenant {tenant}`)"
        )


def _values(
    tenant: str, day: date, job_id: UUID, request: JobRequest, payload: JobPayload
) -> dict[str, Any]:
    return {
        "id": job_id,
        "tenant_id": tenant,
        "day": day,
        "kind": payload.kind,
        "priority": request.priority,
        "idempotency_key": request.idempotency_key,
        "payload": payload.model_dump(mode="json"),
        "max_attempts": MAX_ATTEMPTS,
        "depends_on": payload.depends_on,
        "lora_datasets": sorted(
            {item.dataset for item in payload.lora_references if item.lora_id is None}
        ),
    }
