"""`pending_jobs_sensor`: jobs that can be claimed → one run per tenant-day and kind."""

import time
from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.db import storage_pauses
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.run_heartbeats import gpu_owner
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.orchestration.jobs import (
    ALIVE,
    generate_images_job,
    generate_videos_job,
)
from influencerai_dagster.orchestration.partitions import PARTITION_TAG, content_day_partitions
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.runs.backoff import startable
from influencerai_dagster.orchestration.runs.coordinator import PRIORITY_TAG, priority_of
from influencerai_dagster.orchestration.runs.history import ended_runs, waits_for_lost_runs

MAX_RUNS_ALIVE = 50
"""Of a kind. A short queue keeps its order: who had least of the GPUs comes first."""

Served = tuple[JobKind, str]
"""A kind and the partition key of a tenant-day, which in a person's run may be any text."""

_JOBS = {JobKind.IMAGE: generate_images_job.name, JobKind.VIDEO: generate_videos_job.name}
_STAGES = {JobKind.IMAGE: "images", JobKind.VIDEO: "videos"}
_ASSETS = {
    JobKind.IMAGE: dg.AssetKey("generated_images"),
    JobKind.VIDEO: dg.AssetKey("generated_videos"),
}
# The next tick starts the next run: a retry would be a second one for the same jobs.
_TAGS = {"dagster/max_retries": "0"}


@dg.sensor(
    jobs=[generate_images_job, generate_videos_job],
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts a run for every tenant-day with jobs to render, unless one is alive.",
)
def pending_jobs_sensor(
    context: dg.SensorEvaluationContext, catalog: CatalogResource
) -> dg.SensorResult | dg.SkipReason:
    """Look for jobs that can be claimed, after taking back those of workers that died."""
    with transaction(catalog.engine) as session:
        job_queue.expire_leases(session)
        job_queue.fail_dependents(session)
        wanted = [
            (kind, day)
            for kind in _JOBS
            for day in job_queue.days_with_claimable_jobs(session, kind)
        ]
        debts = job_queue.gpu_debts(session)
        training = gpu_owner(session)
        pause = storage_pauses.current_pause(session)
    if pause is not None:
        return dg.SkipReason(f"jobs wait, the object store is full: {pause.error}")
    served = _served(context.instance) if wanted else []
    unserved = choose(wanted, served, debts)
    if not unserved:
        return dg.SkipReason(_skip_reason(wanted, served, training))
    chosen = _startable(context.instance, unserved)
    if not chosen:
        return dg.SkipReason(waits_for_lost_runs(len(unserved), "tenant-days"))
    days = sorted({str(day) for _, day in chosen})
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                job_name=_JOBS[kind],
                partition_key=str(day),
                tags={
                    **_TAGS,
                    PRIORITY_TAG: str(priority_of(_STAGES[kind], debts.get(day.tenant, 0.0))),
                },
            )
            for kind, day in chosen
        ],
        dynamic_partitions_requests=[content_day_partitions.build_add_request(days)],
    )


def choose(
    wanted: Iterable[tuple[JobKind, DayKey]],
    served: Sequence[Served],
    debts: Mapping[str, float],
) -> list[tuple[JobKind, DayKey]]:
    """Return what gets a run now, in the order in which the runs should start.

    Args:
        wanted: tenant-days with jobs that can be claimed.
        served: of every run that is alive; queued ones are.
        debts: how far each tenant is ahead of its share; one that is not in it had nothing.
    """
    places = {kind: MAX_RUNS_ALIVE - sum(item[0] is kind for item in served) for kind in JobKind}
    chosen = []
    for kind, day in sorted(wanted, key=lambda item: debts.get(item[1].tenant, 0.0)):
        if (kind, str(day)) not in served and places[kind] > 0:
            places[kind] -= 1
            chosen.append((kind, day))
    return chosen


def _startable(
    instance: dg.DagsterInstance, unserved: Sequence[tuple[JobKind, DayKey]]
) -> list[tuple[JobKind, DayKey]]:
    """Leave out what lately lost its runs before they began."""
    ended = ended_runs(instance, _JOBS.values())
    by_run = {(_JOBS[kind], str(day)): (kind, day) for kind, day in unserved}
    return [by_run[name] for name in startable(by_run, ended, time.time())]


def _served(instance: dg.DagsterInstance) -> list[Served]:
    """Return what every run that is alive renders, runs of a person among them."""
    return [
        (kind, run.tags[PARTITION_TAG])
        for run in instance.get_runs(dg.RunsFilter(statuses=ALIVE))
        for kind in _JOBS
        if PARTITION_TAG in run.tags
        and (run.job_name == _JOBS[kind] or _ASSETS[kind] in (run.asset_selection or ()))
    ]


def _skip_reason(
    wanted: Sequence[tuple[JobKind, DayKey]], served: Sequence[Served], training: str | None
) -> str:
    if not wanted:
        return "no job can be rendered now"
    num_waiting = sum((kind, str(day)) not in served for kind, day in wanted)
    reason = (
        f"{num_waiting} tenant-days wait until one of {len(served)} runs has ended"
        if num_waiting
        else f"{len(wanted)} tenant-days have work, each with a run alive"
    )
    return f"{reason}; they wait for the GPU, which {training} has" if training else reason
