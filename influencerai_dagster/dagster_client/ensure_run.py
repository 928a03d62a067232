"""Ensure that a run renders the submitted jobs: one Dagster run per tenant-day and kind.

A caller that submitted jobs learns by it which run takes them. The web server does the same for
all jobs (webserver/run_starter.py), and `pending_jobs_sensor` where that is away.
"""

from dataclasses import dataclass

from sqlalchemy import Engine

from influencerai_dagster.core.dagster_names import (
    DAY_PARTITIONS,
    GENERATION_JOBS,
    NO_RETRIES,
    PRIORITY_TAG,
)
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.dagster_client.client import DagsterGraphQL
from influencerai_dagster.db.engine import one_at_a_time


@dataclass(frozen=True)
class EnsuredRun:
    """The run that takes the pending jobs of a tenant-day.

    Attributes:
        is_new: it was launched now; otherwise it was alive already.
    """

    run_id: str
    is_new: bool


def ensure_run(
    dagster: DagsterGraphQL,
    engine: Engine,
    kind: JobKind,
    day: DayKey,
    *,
    priority: int | None = None,
) -> EnsuredRun:
    """Return the run that is alive for these jobs, or launch one.

    Two callers at the same time launch one run: a lock orders them.

    Args:
        dagster: the web server.
        engine: of the catalog.
        kind: of the jobs.
        day: the tenant-day of the jobs.
        priority: `dagster/priority` of a new run; None is the first of all renders.

    Raises:
        TransientError: Dagster or the catalog does not answer; jobs that are in the job queue stay
            there, and the sensor starts a run for them when it can.
        PermanentError: Dagster refused.
    """
    job_name = GENERATION_JOBS[kind]
    with one_at_a_time(engine, f"ensure {job_name} {day}"):
        alive = dagster.live_run(job_name, str(day))
        if alive is not None:
            return EnsuredRun(alive, is_new=False)
        dagster.add_partition(DAY_PARTITIONS, str(day))
        # Without retries: if it dies, another run is started for its jobs.
        tags = NO_RETRIES if priority is None else {**NO_RETRIES, PRIORITY_TAG: str(priority)}
        run_id = dagster.launch(job_name, partition_key=str(day), run_config={}, tags=tags)
    return EnsuredRun(run_id, is_new=True)
