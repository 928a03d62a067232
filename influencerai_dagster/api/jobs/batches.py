"""Submit a batch once, however often its request is sent, and let a run render it."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from http import HTTPStatus

from sqlalchemy.orm import Session

from influencerai_dagster.api.auth.callers import Caller
from influencerai_dagster.api.context import ApiContext
from influencerai_dagster.api.jobs.schemas import NewBatch
from influencerai_dagster.api.problems import RefusedRequestError
from influencerai_dagster.core.fingerprints import sha256_hex
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.keys import DayKey, today
from influencerai_dagster.dagster_client.ensure_run import ensure_run
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import InfluencerAIError, PermanentError, TooManyPendingJobsError
from influencerai_dagster.generation.queue import Job
from influencerai_dagster.generation.queue.batches import JobBatch, add_batch, batch_of_key
from influencerai_dagster.generation.submission import JobSubmitter

_RETRY_SECONDS = 60
_log = logging.getLogger(__name__)


def submit_batch(
    context: ApiContext, caller: Caller, body: NewBatch, key: str | None
) -> tuple[JobBatch, bool]:
    """Return the batch of a request, and whether it is new.

    Raises:
        RefusedRequestError: the key belongs to another request (422), or too many jobs wait (429).
        PermanentError: a job cannot be used; nothing was submitted.
    """
    request_sha256 = sha256_hex(body.model_dump_json().encode())
    known = _known_batch(caller, key, request_sha256)
    if known is not None:
        return known, False
    made: list[JobBatch] = []

    def record(session: Session, jobs: Sequence[Job]) -> None:
        batch = add_batch(
            session,
            caller.tenant,
            [job.id for job in jobs],
            idempotency_key=key,
            request_sha256=request_sha256,
        )
        caller.record(session, "jobs.submit", str(batch.id), {"jobs": len(jobs)})
        made.append(batch)

    try:
        with refuse_full_queue():
            own_submitter(context, caller).submit_requests(
                DayKey(caller.tenant, today()), body.jobs, also=record
            )
    except PermanentError:
        known = _known_batch(caller, key, request_sha256)  # the same request, sent twice at once
        if known is None:
            raise
        return known, False
    return made[0], True


def own_submitter(context: ApiContext, caller: Caller) -> JobSubmitter:
    """Return the submitter whose transactions see the caller's tenant."""
    return replace(context.submitter, engine=caller.engine)


@contextmanager
def refuse_full_queue() -> Iterator[None]:
    """Answer 429 where the tenant's queue is full."""
    try:
        yield
    except TooManyPendingJobsError:
        raise RefusedRequestError(
            HTTPStatus.TOO_MANY_REQUESTS,
            "too_many_pending_jobs",
            "Your queue is full, and nothing was submitted: wait until some jobs are done, or "
            "cancel those that you do not need.",
            {"Retry-After": str(_RETRY_SECONDS)},
        ) from None


def ensure_runs(context: ApiContext, caller: Caller, kinds: Sequence[JobKind]) -> None:
    """Let a run take today's jobs of these kinds; if Dagster is away, its sensor does so later."""
    try:
        with closing(context.dagster()) as dagster:
            for kind in kinds:
                ensure_run(dagster, caller.engine, kind, DayKey(caller.tenant, today()))
    except InfluencerAIError as error:
        _log.warning(
            "no run was ensured for tenant %s; the sensor starts one: %s", caller.tenant, error
        )


def _known_batch(caller: Caller, key: str | None, request_sha256: str) -> JobBatch | None:
    if key is None:
        return None
    with transaction(caller.engine) as session:
        batch = batch_of_key(session, caller.tenant, key)
    if batch is not None and batch.request_sha256 != request_sha256:
        raise RefusedRequestError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            f"The Idempotency-Key belongs to batch {batch.id}, whose request was another one: use "
            "a new key for a new batch.",
        )
    return batch
