"""List after a run what should not have happened; the list should be empty.

All of it is read from where it counts: the catalog, the bytes on S3, the queues and the journals of
the simulated ComfyUI servers. Which renders were needless is decided in renders.py, which reasons
are true in reasons.py.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from influencerai_dagster.core.job_states import JobStatus
from influencerai_dagster.core.manifests.outputs import OutputManifest
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.models.jobs import JobRow, MediaAssetRow
from influencerai_dagster.db.models.scheduling import WorkerRow
from influencerai_dagster.errors import InfluencerAIError, TransientError
from influencerai_dagster.generation.prompt_ids import prompt_id
from influencerai_dagster.generation.queue.retry_policy import MAX_ATTEMPTS
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.chaos.reasons import untruth
from influencerai_dagster_tests.chaos.renders import (
    Render,
    needless_renders,
    read_journal,
    renders_of_jobs,
)
from influencerai_dagster_tests.chaos.runner import Outcome

WORKER_LIVENESS_SECONDS = 30.0
"""A worker without a poll for so long is dead; its row has to be gone or ignored."""

_QUEUE_SECONDS = 20.0


@dataclass(frozen=True)
class Inspection:
    """What a run left behind.

    Attributes:
        violations: one sentence for each thing that should not be.
        renders: executed prompts of each job with their claims.
    """

    violations: tuple[str, ...]
    jobs: tuple[JobRow, ...]
    renders: dict[UUID, list[tuple[int, Render]]]


def inspect(outcome: Outcome) -> Inspection:
    """Look at everything that a run left behind, while its servers still run."""
    engine = create_catalog_engine(outcome.servers.database_url, application_name="inspection")
    with transaction(engine) as session:
        jobs = list(session.scalars(select(JobRow).order_by(JobRow.number)))
        assets = list(session.scalars(select(MediaAssetRow)))
        workers = _dead_workers(session)
    engine.dispose()
    queues = list(_queues(outcome))  # before the journals: what still runs there is written then
    journals = enumerate(outcome.servers.journals)
    posted = [render for number, path in journals for render in read_journal(path, number)]
    renders = renders_of_jobs(posted, {job.id: job.lease_token for job in jobs})
    violations = [
        *_run(outcome),
        *_submissions(outcome, jobs),
        *_ends(outcome, jobs),
        *_assets(jobs, assets),
        *_objects(outcome.servers.store(), jobs, assets, posted),
        *workers,
        *queues,
        *map(str, needless_renders(renders, outcome.injected)),
    ]
    return Inspection(tuple(violations), tuple(jobs), renders)


def _run(outcome: Outcome) -> Iterator[str]:
    if outcome.is_stalled:
        yield "the run stalled: no job changed its status any more"
    for owner in outcome.stubborn:
        yield f"{owner} did not end although there was nothing more to do"


def _submissions(outcome: Outcome, jobs: Sequence[JobRow]) -> Iterator[str]:
    """One job for each idempotency key, and the one that the tenant was told."""
    rows = Counter(job.idempotency_key or "" for job in jobs)
    answers = outcome.customers.job_ids
    for submission in outcome.customers.submitted:
        if rows[submission.key] != 1:
            yield f"submission {submission.key} is {rows[submission.key]} jobs"
        if len(answers[submission.key]) != 1:
            num_jobs = len(answers[submission.key])
            yield f"submission {submission.key} was answered with {num_jobs} jobs"
    if len(outcome.customers.submitted) != len(outcome.scenario.submissions):
        yield f"only {len(outcome.customers.submitted)} submissions were taken"
    for job in jobs:
        if {job.id} != answers[job.idempotency_key or ""]:
            yield f"job {job.id} is nobody's submission"


def _ends(outcome: Outcome, jobs: Sequence[JobRow]) -> Iterator[str]:
    """Every job has ended, in a way that is true, and nobody holds it."""
    bad = {submission.key for submission in outcome.scenario.submissions if submission.is_bad}
    for job in jobs:
        name, is_bad = f"job {job.id} ({job.status})", job.idempotency_key in bad
        if job.status in {JobStatus.PENDING, JobStatus.RUNNING}:
            yield f"{name} has not ended: attempt {job.attempt}, last error {job.error}"
        if job.lease_owner is not None:
            yield f"{name} is still held by {job.lease_owner}"
        if (job.id in outcome.customers.cancelled) is not (job.status == JobStatus.CANCELLED):
            yield f"{name} and what its tenant cancelled do not agree"
        if job.status == JobStatus.COMPLETED and is_bad:
            yield f"{name} asked for what cannot be made"
        if job.status == JobStatus.FAILED and job.finished_at is not None:
            error, times = job.error or "", (job.created_at, job.finished_at)
            problem = untruth(error, *times, outcome.injected, is_bad=is_bad)
            if problem:
                yield f"{name} has a reason that is not true, {problem}: {error}"
            is_passing = job.error_class == TransientError.__name__
            if is_passing and job.attempt != MAX_ATTEMPTS:
                yield f"{name} failed in passing after {job.attempt} attempts: {error}"


def _assets(jobs: Sequence[JobRow], assets: Sequence[MediaAssetRow]) -> Iterator[str]:
    """Exactly one media asset for each completed job, and none for others."""
    count = Counter(asset.job_id for asset in assets)
    for job in jobs:
        expected = 1 if job.status == JobStatus.COMPLETED else 0
        if count[job.id] != expected:
            yield f"job {job.id} ({job.status}) has {count[job.id]} media assets"


def _objects(
    store: ObjectStore,
    jobs: Sequence[JobRow],
    assets: Sequence[MediaAssetRow],
    posted: Sequence[Render],
) -> Iterator[str]:
    """Every completed job's object and output.json are there, and are what the catalog says."""
    by_id = {job.id: job for job in jobs}
    successes = {render.prompt_id for render in posted if render.is_success}
    for asset in assets:
        job = by_id[asset.job_id]
        name = f"job {job.id}: {asset.object_key}"
        try:
            content = store.get(asset.object_key)
            manifest = OutputManifest.model_validate_json(store.get(asset.manifest_key))
        except (InfluencerAIError, ValueError) as error:
            yield f"{name} cannot be read: {error}"
            continue
        found = (len(content), hashlib.sha256(content).hexdigest())
        recorded = (asset.size_bytes, asset.sha256)
        if found != recorded:
            yield f"{name} has {found}, recorded are {recorded}"
        if (manifest.job_id, manifest.file.object_key, manifest.file.sha256) != (
            job.id,
            asset.object_key,
            asset.sha256,
        ):
            yield f"{name}: its output.json is of something else"
        if (job.result or {}).get("object_key") != asset.object_key:
            yield f"{name}: the job's result names another object"
        own = {prompt_id(job.id, claim) for claim in range(1, job.lease_token + 1)}
        if manifest.prompt_id not in own & successes:
            yield f"{name} was made by prompt {manifest.prompt_id}, which no server did for it"


def _dead_workers(session: Session) -> list[str]:
    """Every worker has ended: no old row of table `workers` may still take part in sharing."""
    limit = func.now() - timedelta(seconds=WORKER_LIVENESS_SECONDS)
    owners = session.scalars(select(WorkerRow.owner).where(WorkerRow.polled_at < limit))
    return [
        f"the worker of {owner} is still recorded, long after its last poll" for owner in owners
    ]


def _queues(outcome: Outcome) -> Iterator[str]:
    """Nothing is queued or running on any server; what was stopped a moment ago may still end."""
    deadline = time.monotonic() + _QUEUE_SECONDS
    for server in outcome.servers.comfyui:
        while (left := _queued(server.http.get("/queue").json())) and time.monotonic() < deadline:
            time.sleep(0.1)
        if left:
            yield f"{server.url} still has prompts: {', '.join(left)}"


def _queued(queue: dict[str, list[list[str]]]) -> list[str]:
    return [item[1] for key in ("queue_running", "queue_pending") for item in queue[key]]
