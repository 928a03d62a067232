"""`stale_runs_sensor`: runs whose process is gone → failed, their jobs and pool slots given back.

Dagster's run monitoring cannot see this under its default run launcher when the code server went
down with its runs. Reads heartbeats and runs, decides by core/run_health.py, reports.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg
from sqlalchemy import Engine

from influencerai_dagster.core.run_health import Heartbeat, decide
from influencerai_dagster.db import run_heartbeats
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.sweeps import Sweep
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.orchestration.resources.catalog import CatalogResource

# Those that are STARTING have no process for certain: run monitoring gives them a time limit.
_HAS_A_PROCESS = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@dataclass(frozen=True)
class _World:
    heartbeats: list[Heartbeat]
    alive: Mapping[str, dg.DagsterRun]
    seconds: Mapping[str, float | None]
    over: set[str]


@dg.sensor(
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Fails runs whose process is gone, gives their jobs back and frees their pool slots."
    ),
)
def stale_runs_sensor(
    context: dg.SensorEvaluationContext, catalog: CatalogResource
) -> dg.SkipReason:
    """Look for runs that no longer tell that they live, and end them."""
    origin = context.code_location_origin
    world = _read(context.instance, catalog.engine, origin.location_name if origin else None)
    health = decide(world.heartbeats, world.seconds, world.over)
    for run_id in health.ended:
        with transaction(catalog.engine) as session:
            run_heartbeats.end(session, run_id)
            job_queue.expire_leases(session, owner=run_id)
        context.instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    ended = [
        run_id
        for run_id, why in health.dead.items()
        if _end(context.instance, catalog.engine, world.alive[run_id], why)
    ]
    if ended:
        return dg.SkipReason(f"ended because their process is gone: {', '.join(ended)}")
    return dg.SkipReason(f"{len(world.alive)} runs should have a process, none is silent")


def _read(instance: dg.DagsterInstance, engine: Engine, location: str | None) -> _World:
    # The heartbeats first: a run that is started has one from then on until it is over.
    with transaction(engine) as session:
        sweep = run_heartbeats.sweep(session)
        heartbeats = run_heartbeats.list_heartbeats(session)
    records = instance.get_run_records(dg.RunsFilter(statuses=_HAS_A_PROCESS))
    alive = {record.dagster_run.run_id: record for record in records}
    others = [beat.run_id for beat in heartbeats if beat.run_id not in alive]
    found = instance.get_runs(dg.RunsFilter(run_ids=others)) if others else []
    return _World(
        heartbeats,
        {run_id: record.dagster_run for run_id, record in alive.items()},
        {run_id: _seconds(record, sweep, location) for run_id, record in alive.items()},
        set(others) - {run.run_id for run in found if not run.is_finished},
    )


def _seconds(record: dg.RunRecord, sweep: Sweep, location: str | None) -> float | None:
    """Return for how long a run could have had a heartbeat; None for runs of other projects."""
    origin = record.dagster_run.remote_job_origin
    if record.start_time is None or origin is None or origin.location_name != location:
        return None
    return sweep.now.timestamp() - max(record.start_time, sweep.since.timestamp())


def _end(instance: dg.DagsterInstance, engine: Engine, run: dg.DagsterRun, why: str) -> bool:
    """End one run, unless it was heard of again; what fails here is done by a later tick."""
    with transaction(engine) as session:
        if not run_heartbeats.end_silent(session, run.run_id):
            return False
        job_queue.expire_leases(session, owner=run.run_id)
    now = instance.get_run_by_id(run.run_id)
    if now is None or now.is_finished:
        return False
    if now.status is dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(now, message=why)
    else:
        instance.report_run_failed(now, message=why)
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return True
