"""Routes of jobs and batches."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Depends, Header, Response
from sqlalchemy.orm import Session

from influencerai_dagster.api.auth.callers import Caller, JobsCaller, Reader
from influencerai_dagster.api.context import ApiContext, api_context
from influencerai_dagster.api.jobs.batches import (
    ensure_runs,
    own_submitter,
    refuse_full_queue,
    submit_batch,
)
from influencerai_dagster.api.jobs.schemas import BatchDocument, JobDocument, JobPage, NewBatch
from influencerai_dagster.api.pages import Cursor, Limit
from influencerai_dagster.api.problems import RefusedRequestError, not_found
from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.keys import DayKey, today
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.cancellation import cancel_jobs
from influencerai_dagster.generation.queue import Job
from influencerai_dagster.generation.queue.batches import JobBatch, get_batch

router = APIRouter(tags=["jobs"])
Context = Annotated[ApiContext, Depends(api_context)]
_RETRIED = {JobStatus.FAILED, JobStatus.CANCELLED}


@router.post(
    "/jobs", summary="Submit jobs", operation_id="submit_jobs", status_code=HTTPStatus.CREATED
)
def submit_jobs(
    *,
    body: NewBatch,
    caller: JobsCaller,
    context: Context,
    response: Response,
    tasks: BackgroundTasks,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=200,
            pattern=r"^[\x21-\x7e]+$",
            description="The same key with the same body is the same batch; nothing is made twice",
        ),
    ] = None,
) -> BatchDocument:
    """Submit 1 to 100 jobs, all of them or none, and render them as soon as servers are free.

    Send an Idempotency-Key: if no answer arrives, send the same again.
    """
    batch, is_new = submit_batch(context, caller, body, idempotency_key)
    response.headers["Location"] = f"/api/v1/batches/{batch.id}"
    response.headers["Idempotent-Replayed"] = "false" if is_new else "true"
    kinds = sorted({job.payload.kind for job in body.jobs})
    tasks.add_task(ensure_runs, context, caller, kinds)
    with transaction(caller.engine) as session:
        return _batch_document(session, batch)


@router.get("/batches/{batch_id}", summary="Get a batch", operation_id="get_batch")
def show_batch(batch_id: UUID, caller: Reader) -> BatchDocument:
    """Return a batch with its jobs as they are now."""
    with transaction(caller.engine) as session:
        batch = get_batch(session, caller.tenant, batch_id)
        if batch is None:
            raise not_found(f"batch {batch_id}")
        return _batch_document(session, batch)


@router.get("/jobs", summary="List jobs", operation_id="list_jobs")
def list_jobs(
    caller: Reader,
    status: JobStatus | None = None,
    kind: JobKind | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> JobPage:
    """Return jobs, newest first."""
    with transaction(caller.engine) as session:
        before = None if cursor is None else _own_job(session, caller, cursor).number
        jobs = job_queue.list_jobs(
            session,
            caller.tenant,
            kind=kind,
            status=status,
            before_number=before,
            limit=limit + 1,
        )
        items = _documents(session, caller.tenant, jobs[:limit])
    return JobPage(items=items, next_cursor=items[-1].id if len(jobs) > limit else None)


@router.get("/jobs/{job_id}", summary="Get a job", operation_id="get_job")
def show_job(job_id: UUID, caller: Reader) -> JobDocument:
    """Return a job as it is now."""
    with transaction(caller.engine) as session:
        (document,) = _documents(session, caller.tenant, [_own_job(session, caller, job_id)])
    return document


@router.post("/jobs/{job_id}/cancel", summary="Cancel a job", operation_id="cancel_job")
def cancel_job(job_id: UUID, caller: JobsCaller, context: Context) -> JobDocument:
    """Cancel a job that has not ended; one that has ended stays as it is."""
    with transaction(caller.engine) as session:
        _own_job(session, caller, job_id)
    servers = context.settings.comfyui.urls
    jobs = cancel_jobs(caller.engine, caller.tenant, [job_id], servers=servers)
    with transaction(caller.engine) as session:
        caller.record(session, "jobs.cancel", str(job_id))
        (document,) = _documents(session, caller.tenant, jobs)
    return document


@router.post(
    "/jobs/{job_id}/retry",
    summary="Submit a failed job again",
    operation_id="retry_job",
    status_code=HTTPStatus.CREATED,
)
def retry_job(
    job_id: UUID, caller: JobsCaller, context: Context, tasks: BackgroundTasks
) -> JobDocument:
    """Submit a failed or cancelled job again, with its seed; twice is once."""
    with transaction(caller.engine) as session:
        job = _own_job(session, caller, job_id)
    if job.status not in _RETRIED:
        raise RefusedRequestError(
            HTTPStatus.CONFLICT,
            "job_cannot_be_retried",
            f"Job {job_id} is {job.status}: only a failed or cancelled job can be tried again.",
        )
    with refuse_full_queue():
        (retried,) = own_submitter(context, caller).retry(DayKey(caller.tenant, today()), [job_id])
    tasks.add_task(ensure_runs, context, caller, [retried.kind])
    with transaction(caller.engine) as session:
        caller.record(session, "jobs.retry", str(job_id), {"job": str(retried.id)})
        (document,) = _documents(session, caller.tenant, [retried])
    return document


def _own_job(session: Session, caller: Caller, job_id: UUID) -> Job:
    jobs = job_queue.get_jobs(session, caller.tenant, [job_id])
    if not jobs:
        raise not_found(f"job {job_id}")
    return jobs[0]


def _batch_document(session: Session, batch: JobBatch) -> BatchDocument:
    jobs = job_queue.get_jobs(session, batch.tenant, batch.job_ids)
    return BatchDocument.of(batch, _documents(session, batch.tenant, jobs))


def _documents(session: Session, tenant: str, jobs: Sequence[Job]) -> list[JobDocument]:
    ids = [job.id for job in jobs if job.status is JobStatus.COMPLETED]
    assets = job_queue.media_assets(session, tenant, job_ids=ids) if ids else []
    of_job = {asset.job_id: asset for asset in assets}
    return [JobDocument.of(job, of_job.get(job.id)) for job in jobs]
