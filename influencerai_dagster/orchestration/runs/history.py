"""The runs of our jobs that ended lately, for sensors that start the next ones."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import dagster as dg

from influencerai_dagster.orchestration.partitions import PARTITION_TAG
from influencerai_dagster.orchestration.runs.backoff import EndedRun

_LOOKED_BACK = timedelta(minutes=30)
_MOST = 200
_ENDED = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]


def ended_runs(instance: dg.DagsterInstance, job_names: Iterable[str]) -> list[EndedRun]:
    """Return the runs of jobs that ended lately, named (job, partition key), the newest first."""
    after = datetime.now(UTC) - _LOOKED_BACK
    records = [
        record
        for name in job_names
        for record in instance.get_run_records(
            dg.RunsFilter(job_name=name, statuses=_ENDED, updated_after=after), limit=_MOST
        )
    ]
    ended = [_ended_run(record) for record in records]
    return sorted(ended, key=lambda run: run.ended_at, reverse=True)


def waits_for_lost_runs(num_waiting: int, what: str) -> str:
    """Return why a sensor starts nothing now."""
    return (
        f"{num_waiting} {what} wait for a moment: their last runs failed before they began, so the "
        "code server may be unable to start runs; look at the newest failed run and at the log of "
        "the code server"
    )


def _ended_run(record: dg.RunRecord) -> EndedRun:
    run = record.dagster_run
    is_lost = run.status is dg.DagsterRunStatus.FAILURE and record.start_time is None
    ended_at = record.end_time or record.update_timestamp.timestamp()
    return EndedRun((run.job_name, run.tags.get(PARTITION_TAG)), ended_at, is_lost)
