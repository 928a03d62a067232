"""Submit jobs: plain dicts, or jobs that failed before, become rows of the job queue.

The command line, the run config of Dagster and the demo submit by one JobSubmitter, which
wiring/generation.py builds. The rules of the job queue live in generation/queue/submission.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.core.names import field_problems, shown_value
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.jobs import PAYLOADS, JobRequest, LoraReference
from influencerai_dagster.generation.queue import Job
from influencerai_dagster.generation.render.job_checks import JobChecks

RETRY_KEY = "retry/{job_id}"
"""The idempotency key of a retry: two retries of one job are one new job."""
_OPTIONS = ("idempotency_key", "priority")
"""The fields of a job beside those of its payload."""


@dataclass(frozen=True)
class JobSubmitter:
    """Puts jobs into the job queue; one serves all threads of a process.

    Attributes:
        engine: of the catalog.
        max_pending: how many pending jobs a tenant may have; None for no limit.
        new_checks: makes the checks of one submission, which compare its jobs with what the
            servers have; None leaves that to the render.
    """

    engine: Engine
    max_pending: int | None = None
    new_checks: Callable[[], JobChecks] | None = None

    def submit(
        self,
        kind: JobKind,
        day: DayKey,
        jobs: Sequence[Mapping[str, Any]],
        *,
        key_prefix: str | None,
    ) -> list[Job]:
        """Put jobs of one kind into the job queue: all of them or none.

        The same idempotency key of the same tenant is the same job, so that a repeat is harmless.

        Args:
            day: the tenant, and the UTC day that the jobs count to.
            jobs: each the fields of its payload (docs/jobs.md), and beside them `idempotency_key`
                and `priority`, 0 to 9.
            key_prefix: a job without a key gets `<key_prefix>/<index in the list>`; with None it
                has no key and is a new job at every call.

        Returns:
            The job of every entry, in their order.

        Raises:
            PermanentError: a field is unknown or bad, or asks for a workflow, base model, sampler
                or scheduler that no server has; the text names job and field. Or the job queue
                refused them (see generation/queue/submission.py). Nothing was submitted.
            TooManyPendingJobsError: the limit would be exceeded; nothing was submitted.
            TransientError: the catalog is away.
        """
        requests = [
            _request(kind, index, job, None if key_prefix is None else f"{key_prefix}/{index}")
            for index, job in enumerate(jobs)
        ]
        return self.submit_requests(day, requests)

    def submit_requests(
        self,
        day: DayKey,
        requests: Sequence[JobRequest],
        *,
        also: Callable[[Session, Sequence[Job]], None] | None = None,
    ) -> list[Job]:
        """Put checked requests of any kinds into the job queue: all of them or none.

        Args:
            day: the tenant, and the UTC day that the jobs count to.
            requests: what is wanted.
            also: writes something in the same transaction.

        Returns:
            The job of every request, in their order.

        Raises:
            PermanentError: as in `submit`; nothing was submitted.
            TooManyPendingJobsError: as in `submit`.
            TransientError: the catalog is away.
        """
        if self.new_checks is not None:
            self.new_checks().check(day.tenant, [request.payload for request in requests])
        with transaction(self.engine) as session:
            jobs = self._insert(session, day, requests)
            if also is not None:
                also(session, jobs)
            return jobs

    def retry(self, day: DayKey, job_ids: Sequence[UUID]) -> list[Job]:
        """Submit jobs again that failed or were cancelled, with their seeds: all of them or none.

        Args:
            day: the tenant, and the UTC day that the new jobs count to.
            job_ids: jobs that failed or were cancelled.

        Returns:
            The new job of each; that of an earlier retry, if there was one.

        Raises:
            PermanentError: the tenant has no such job, it has not ended or was completed, or the
                job queue refused it (see generation/queue/submission.py); nothing was submitted.
        """
        with transaction(self.engine) as session:
            jobs = [job_queue.get_job(session, day.tenant, job_id) for job_id in job_ids]
            return self._insert(session, day, [_retry_request(job) for job in jobs])

    def _insert(self, session: Session, day: DayKey, requests: Sequence[JobRequest]) -> list[Job]:
        return job_queue.submit(
            session, day.tenant, day.day, requests, max_pending=self.max_pending
        )


def _retry_request(job: Job) -> JobRequest:
    if job.status not in {JobStatus.FAILED, JobStatus.CANCELLED}:
        raise PermanentError(
            f"job {job.id} is {job.status}: only a failed or cancelled job can be tried again; "
            "nothing was submitted"
        )
    return JobRequest(
        payload=job.payload,
        idempotency_key=RETRY_KEY.format(job_id=job.id),
        priority=job.priority,
    )


def check_job(kind: JobKind, job: Mapping[str, Any]) -> None:
    """Check the fields of a job that is submitted later, without the catalog.

    Raises:
        PermanentError: a field is unknown or bad; the text names it.
    """
    _request(kind, 0, job, None)


def _request(kind: JobKind, index: int, job: Mapping[str, Any], key: str | None) -> JobRequest:
    fields = dict(job)
    options = {name: fields.pop(name, None) for name in _OPTIONS}
    given = {name: value for name, value in options.items() if value is not None}
    if fields.setdefault("kind", kind) != kind:
        raise PermanentError(
            f"jobs[{index}] cannot be used: kind: these are {kind} jobs, this one says "
            f"{shown_value(fields['kind'])}; submit it with those of its kind"
        )
    try:
        payload = PAYLOADS[kind].model_validate(fields)
        return JobRequest.model_validate({"idempotency_key": key, **given, "payload": payload})
    except ValidationError as error:
        below = {"loras": LoraReference.model_fields}
        problems = field_problems(error, [*PAYLOADS[kind].model_fields, *_OPTIONS], below=below)
        raise PermanentError(f"jobs[{index}] cannot be used: {'; '.join(problems)}") from error
