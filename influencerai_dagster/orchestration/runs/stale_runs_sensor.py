"""`stale_runs_sensor`: fail stalled runs, requeue their jobs and free their pool slots.

Dagster's run monitoring cannot see this under its default run launcher when the code server went
down with its runs. Reads heartbeats and runs, decides by core/run_health.py, reports.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg
from sqlalchemy import Engine

from influencerai_dagster.core.run_health import DEFAULT_LIMITS, Heartbeat, HeartbeatLimits, decide
from influencerai_dagster.db import run_heartbeats
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.sweeps import Sweep
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.run_states import HAS_PROCESS


@dataclass(frozen=True)
class RunSnapshot:
    """What a tick knows of runs and heartbeats.

    Attributes:
        alive: runs that should have a process, by run id.
        seconds: run id → for how long it could have had a heartbeat; None if it sends none.
        over: runs with a heartbeat that have ended in Dagster, or are deleted there.
    """

    heartbeats: list[Heartbeat]
    alive: Mapping[str, dg.DagsterRun]
    seconds: Mapping[str, float | None]
    over: set[str]


def stale_runs_sensor(limits: HeartbeatLimits = DEFAULT_LIMITS) -> dg.SensorDefinition:
    """Make the sensor.

    Args:
        limits: how long a run may be without a heartbeat.
    """

    @dg.sensor(
        name="stale_runs_sensor",
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Fails runs without a heartbeat, requeues their jobs and frees their pool slots."
        ),
    )
    def sensor(context: dg.SensorEvaluationContext, catalog: CatalogResource) -> dg.SkipReason:
        origin = context.code_location_origin
        location = origin.location_name if origin else None
        return _tick(context.instance, catalog.engine, location, limits)

    return sensor


def _tick(
    instance: dg.DagsterInstance, engine: Engine, location: str | None, limits: HeartbeatLimits
) -> dg.SkipReason:
    snapshot = _read(instance, engine, location)
    health = decide(snapshot.heartbeats, snapshot.seconds, snapshot.over, limits)
    for run_id in health.ended:
        with transaction(engine) as session:
            run_heartbeats.end(session, run_id)
            job_queue.expire_leases(session, owner=run_id)
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    ended = [
        run_id
        for run_id, why in health.stalled.items()
        if _end(instance, engine, snapshot.alive[run_id], why, limits)
    ]
    if ended:
        return dg.SkipReason(f"ended because they had stalled: {', '.join(ended)}")
    return dg.SkipReason(f"{len(snapshot.alive)} runs should have a process, none has stalled")


def _read(instance: dg.DagsterInstance, engine: Engine, location: str | None) -> RunSnapshot:
    # Heartbeats are read first: a run that has started has one from then on until it is over.
    with transaction(engine) as session:
        sweep = run_heartbeats.sweep(session)
        heartbeats = run_heartbeats.list_heartbeats(session)
    # Runs that are starting may have no process yet: run monitoring gives them a time limit.
    records = instance.get_run_records(dg.RunsFilter(statuses=HAS_PROCESS))
    alive = {record.dagster_run.run_id: record for record in records}
    others = [beat.run_id for beat in heartbeats if beat.run_id not in alive]
    found = instance.get_runs(dg.RunsFilter(run_ids=others)) if others else []
    return RunSnapshot(
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


def _end(
    instance: dg.DagsterInstance,
    engine: Engine,
    run: dg.DagsterRun,
    why: str,
    limits: HeartbeatLimits,
) -> bool:
    """End one run, unless its heartbeat was renewed; a later tick repeats what fails here."""
    with transaction(engine) as session:
        if not run_heartbeats.end_stalled(session, run.run_id, stale_seconds=limits.stale_seconds):
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
