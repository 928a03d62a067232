"""Submitting jobs again that failed or were cancelled: the same payload, a new job."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Engine

from influencerai_dagster.core.job_states import (
    JobStatus,
)
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.jobs import (
    JobRequest,
)
from influencerai_dagster.generation.queue import Job

RETRY_KEY = "retry/{job_id}"
"""The idempotency key of a retry: asking twice for it is one new job."""


def retry_jobs(
    engine: Engine, day: DayKey, job_ids: Sequence[UUID], *, max_pending: int | None
) -> list[Job]:
    """Submit jobs again, with their seeds and priorities: all of them or none.

    Args:
        engine: of the catalog.
        day: the tenant, and the UTC day that the new jobs count to.
        job_ids: jobs that failed or were cancelled.
        max_pending: how many pending jobs the tenant may have with these; None for no limit.

    Returns:
        The new job of each; the one of an earlier retry, if there was one.

    Raises:
        PermanentError: the tenant has no such job, it has not ended or was completed, or the
            catalog refused it (see generation/queue/submission.py); nothing was submitted.
    """
    with transaction(engine) as session:
        jobs = [job_queue.get_job(session, day.tenant, job_id) for job_id in job_ids]
        for job in jobs:
            if job.status not in {JobStatus.FAILED, JobStatus.CANCELLED}:
                raise PermanentError(
                    f"job {job.id} is {job.status}: only a failed or cancelled job can be tried "
                    "again; nothing was submitted"
                )
        requests = [
            JobRequest(
                payload=job.payload,
                idempotency_key=RETRY_KEY.format(job_id=job.id),
                priority=job.priority,
            )
            for job in jobs
        ]
        return job_queue.submit(session, day.tenant, day.day, requests, max_pending=max_pending)
