"""The one way in for jobs: plain dicts become rows of the job queue.

A run config of Dagster, the command line and whatever else takes orders call `submit`. What a
ledger does with a request lives in generation/queue/submission.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Engine

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.core.names import field_problems, shown_value
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.jobs import (
    ImageJobPayload,
    JobRequest,
    LoraReference,
    VideoJobPayload,
)
from influencerai_dagster.generation.queue import Job
from influencerai_dagster.generation.render.job_checks import JobChecks

_PAYLOADS: dict[JobKind, type[ImageJobPayload] | type[VideoJobPayload]] = {
    JobKind.IMAGE: ImageJobPayload,
    JobKind.VIDEO: VideoJobPayload,
}
_OPTIONS = ("idempotency_key", "priority")
"""What a job may say beside the fields of its payload."""


def submit(
    engine: Engine,
    kind: JobKind,
    day: DayKey,
    jobs: Sequence[Mapping[str, Any]],
    *,
    key_prefix: str | None,
    max_pending: int | None,
    checks: JobChecks | None = None,
) -> list[Job]:
    """Put jobs of one kind into the job queue: all of them or none.

    The same idempotency key of the same tenant is the same job, so that a repeat is harmless.

    Args:
        day: the tenant, and the UTC day that the jobs count to.
        jobs: each the fields of its payload (docs/jobs.md), and beside them `idempotency_key` and
            `priority`, 0 to 9.
        key_prefix: a job without a key gets `<key_prefix>/<place in the list>`; None leaves it
            without one, a job of its own at every call.
        max_pending: how many pending jobs the tenant may have with these; None for no limit.
        checks: tells whether there is what the jobs ask for; None leaves that to the render.

    Returns:
        The job of every entry, in their order.

    Raises:
        PermanentError: a field is unknown or bad, or asks for a workflow, base model, sampler or
            scheduler that is nowhere; the text names job and field; or the job queue
            refused them (see generation/queue/submission.py); nothing was submitted.
        TooManyPendingJobsError: the limit would be passed; nothing was submitted.
        TransientError: the catalog is away.
    """
    requests = [
        _request(kind, index, job, None if key_prefix is None else f"{key_prefix}/{index}")
        for index, job in enumerate(jobs)
    ]
    if checks is not None:
        checks.check(day.tenant, [request.payload for request in requests])
    with transaction(engine) as session:
        return job_queue.submit(session, day.tenant, day.day, requests, max_pending=max_pending)


def check_job(kind: JobKind, job: Mapping[str, Any]) -> None:
    """Check the fields of a job that is submitted later; the catalog is not asked.

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
            f"{shown_value(fields['kind'])}; order it with those of its kind"
        )
    try:
        payload = _PAYLOADS[kind].model_validate(fields)
        return JobRequest.model_validate({"idempotency_key": key, **given, "payload": payload})
    except ValidationError as error:
        below = {"loras": LoraReference.model_fields}
        problems = field_problems(error, [*_PAYLOADS[kind].model_fields, *_OPTIONS], below=below)
        raise PermanentError(f"jobs[{index}] cannot be used: {'; '.join(problems)}") from error
