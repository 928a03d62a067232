"""`pending_jobs_sensor`: jobs that can be claimed → one run per tenant-day and kind.

Reads job queue and runs, decides which tenant-days get a run, reports. The web server decides by
the same functions as soon as jobs are submitted (webserver/run_starter.py); the sensor ticks
rarely, and starts the runs alone while the web server is away.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from sqlalchemy import Engine

from influencerai_dagster.core.dagster_names import (
    GENERATED_ASSETS,
    GENERATION_JOBS,
    NO_RETRIES,
    PARTITION_TAG,
    PRIORITY_TAG,
)
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.db import storage_pauses
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.running_trainings import gpu_owner
from influencerai_dagster.db.storage_pauses import StoragePause
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.orchestration.jobs import JOBS
from influencerai_dagster.orchestration.partitions import content_day_partitions
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.run_states import ALIVE
from influencerai_dagster.orchestration.runs.backoff import EndedRun, startable
from influencerai_dagster.orchestration.runs.coordinator import priority_of
from influencerai_dagster.orchestration.runs.history import ended_runs, waits_for_lost_runs

FALLBACK_SECONDS = 30
MAX_RUNS_ALIVE = 50
"""Of a kind. A short run queue keeps its order: the tenant with the least GPU time comes first."""

Wanted = tuple[JobKind, DayKey]
"""A tenant-day with jobs of a kind that can be claimed."""
Served = tuple[JobKind, str]
"""A kind and a partition key, which may be any text in a run that an operator launched."""


@dataclass(frozen=True)
class QueueSnapshot:
    """What a tick knows of jobs and runs.

    Attributes:
        wanted: tenant-days with jobs that can be claimed.
        debts: tenant → how far it is ahead of its share of the GPUs; one that is not in it had
            nothing.
        gpu_owner: the training that has the shared GPU; None if renders may have it.
        pause: the object store is full; None while it has space.
        served: what live workers render, and, if that is not all that is wanted, the runs that
            are alive; queued ones are alive.
        ended: runs that ended recently.
        is_all_rendered: every tenant-day that is wanted has a live worker.
    """

    wanted: Sequence[Wanted]
    debts: Mapping[str, float]
    gpu_owner: str | None
    pause: StoragePause | None
    served: Sequence[Served]
    ended: Sequence[EndedRun]
    is_all_rendered: bool = False


@dg.sensor(
    jobs=[JOBS[name] for name in GENERATION_JOBS.values()],
    minimum_interval_seconds=FALLBACK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts a run for every tenant-day with jobs to render, unless one is alive.",
)
def pending_jobs_sensor(
    context: dg.SensorEvaluationContext, catalog: CatalogResource
) -> dg.SensorResult | dg.SkipReason:
    """Start runs for the jobs that can be claimed, after the leases of dead workers are ended."""
    sweep(catalog.engine)
    return _report(decide(read_queue(context.instance, catalog.engine), time.time()))


def sweep(engine: Engine) -> None:
    """End the leases of dead workers, and fail the jobs whose source image will never exist."""
    with transaction(engine) as session:
        job_queue.expire_leases(session)
        job_queue.fail_dependents(session)


def read_queue(instance: dg.DagsterInstance, engine: Engine) -> QueueSnapshot:
    """Read the job queue; Dagster's runs only if some tenant-day has no live worker."""
    with transaction(engine) as session:
        wanted = [
            (kind, day)
            for kind in JobKind
            for day in job_queue.days_with_claimable_jobs(session, kind)
        ]
        debts = job_queue.gpu_debts(session)
        training = gpu_owner(session)
        pause = storage_pauses.current_pause(session)
        working = job_queue.live_workers(session)
    is_all_rendered = working.issuperset(wanted)
    is_needed = pause is None and not is_all_rendered
    return QueueSnapshot(
        wanted=wanted,
        debts=debts,
        gpu_owner=training,
        pause=pause,
        served=_served(instance) if is_needed else [(kind, str(day)) for kind, day in working],
        ended=ended_runs(instance, GENERATION_JOBS.values()) if is_needed else [],
        is_all_rendered=is_all_rendered,
    )


def _served(instance: dg.DagsterInstance) -> list[Served]:
    """Return what every run that is alive renders, also runs that an operator launched."""
    return [
        (kind, run.tags[PARTITION_TAG])
        for run in instance.get_runs(dg.RunsFilter(statuses=ALIVE))
        for kind in JobKind
        if PARTITION_TAG in run.tags
        and (
            run.job_name == GENERATION_JOBS[kind]
            or dg.AssetKey(GENERATED_ASSETS[kind]) in (run.asset_selection or ())
        )
    ]


@dataclass(frozen=True)
class RunDecision:
    """What a tick starts.

    Attributes:
        chosen: the tenant-days that get a run, each with the run's priority, in order.
        skip_reason: why there are none.
    """

    chosen: Mapping[Wanted, int]
    skip_reason: str = ""


def decide(snapshot: QueueSnapshot, now: float) -> RunDecision:
    """Decide which tenant-days get a run.

    Args:
        snapshot: jobs and runs.
        now: seconds since 1970.
    """
    if snapshot.pause is not None:
        return RunDecision({}, f"jobs wait, the object store is full: {snapshot.pause.error}")
    unserved = choose(snapshot.wanted, snapshot.served, snapshot.debts)
    if not unserved:
        return RunDecision({}, _skip_reason(snapshot))
    by_run = {(GENERATION_JOBS[kind], str(day)): (kind, day) for kind, day in unserved}
    chosen = [by_run[name] for name in startable(by_run, snapshot.ended, now)]
    if not chosen:
        return RunDecision({}, waits_for_lost_runs(len(unserved), "tenant-days"))
    return RunDecision(
        {
            (kind, day): priority_of(f"{kind}s", snapshot.debts.get(day.tenant, 0.0))
            for kind, day in chosen
        }
    )


def choose(
    wanted: Iterable[Wanted], served: Sequence[Served], debts: Mapping[str, float]
) -> list[Wanted]:
    """Return the tenant-days without a run, in the order in which their runs should start.

    Args:
        wanted: tenant-days with jobs that can be claimed.
        served: what the runs that are alive render.
        debts: how far each tenant is ahead of its share; one that is not in it had nothing.
    """
    free = {kind: MAX_RUNS_ALIVE - sum(item[0] is kind for item in served) for kind in JobKind}
    chosen = []
    for kind, day in sorted(wanted, key=lambda item: debts.get(item[1].tenant, 0.0)):
        if (kind, str(day)) not in served and free[kind] > 0:
            free[kind] -= 1
            chosen.append((kind, day))
    return chosen


def _skip_reason(snapshot: QueueSnapshot) -> str:
    if not snapshot.wanted:
        return "no job can be rendered now"
    num_waiting = sum((kind, str(day)) not in snapshot.served for kind, day in snapshot.wanted)
    reason = (
        f"{num_waiting} tenant-days wait until one of {len(snapshot.served)} runs has ended"
        if num_waiting
        else f"{len(snapshot.wanted)} tenant-days have work, each with a run alive"
    )
    if snapshot.gpu_owner is None:
        return reason
    return f"{reason}; they wait for the GPU, which {snapshot.gpu_owner} has"


def _report(decision: RunDecision) -> dg.SensorResult | dg.SkipReason:
    if not decision.chosen:
        return dg.SkipReason(decision.skip_reason)
    days = sorted({str(day) for _, day in decision.chosen})
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                job_name=GENERATION_JOBS[kind],
                partition_key=str(day),
                # Without retries: the next tick starts the next run for the same jobs.
                tags={**NO_RETRIES, PRIORITY_TAG: str(priority)},
            )
            for (kind, day), priority in decision.chosen.items()
        ],
        dynamic_partitions_requests=[content_day_partitions.build_add_request(days)],
    )
