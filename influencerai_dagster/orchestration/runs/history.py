"""List the runs of our jobs that ended recently, for sensors that start the next ones."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import dagster as dg

from influencerai_dagster.core.dagster_names import PARTITION_TAG
from influencerai_dagster.orchestration.run_states import ENDED
from influencerai_dagster.orchestration.runs.backoff import EndedRun

_PERIOD = timedelta(minutes=30)
_MAX_RUNS = 200


def ended_runs(instance: dg.DagsterInstance, job_names: Iterable[str]) -> list[EndedRun]:
    """Return the runs of jobs that ended recently, named (job, partition key), the newest first."""
    after = datetime.now(UTC) - _PERIOD
    records = [
        record
        for name in job_names
        for record in instance.get_run_records(
            dg.RunsFilter(job_name=name, statuses=ENDED, updated_after=after), limit=_MAX_RUNS
        )
    ]
    ended = [_ended_run(record) for record in records]
    return sorted(ended, key=lambda run: run.ended_at, reverse=True)


def waits_for_lost_runs(num_waiting: int, what: str) -> str:
    """Return why a sensor starts nothing now."""
    return (
        f"{num_waiting} {what} wait: their last runs failed before they started, so the code "
        "server may be unable to start runs; read the newest failed run and the server's log"
    )


def _ended_run(record: dg.RunRecord) -> EndedRun:
    run = record.dagster_run
    is_lost = run.status is dg.DagsterRunStatus.FAILURE and record.start_time is None
    ended_at = record.end_time or record.update_timestamp.timestamp()
    return EndedRun((run.job_name, run.tags.get(PARTITION_TAG)), ended_at, is_lost)
