"""`database_backup_sensor`: detect backups that were not taken, and WAL that is late.

It reads the folder of backups, asks PostgreSQL for the lag, decides by backup/database/backups.py,
reports an observation and the checks, and requests the backup that is due.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from influencerai_dagster.backup.database.backups import (
    FIRST_BACKUP_AFTER,
    BackupInfo,
    BackupKind,
    WalLag,
    due_kind,
)
from influencerai_dagster.core.dagster_names import BACKUP_DATABASE_JOB
from influencerai_dagster.errors import TransientError
from influencerai_dagster.orchestration.backups.checks import (
    FRESHNESS_CHECK,
    WAL_CHECK,
    freshness,
    reception,
)
from influencerai_dagster.orchestration.backups.database_backups import lag_metadata, run_config
from influencerai_dagster.orchestration.jobs import JOBS
from influencerai_dagster.orchestration.resources.backups import DatabaseBackupResource
from influencerai_dagster.orchestration.run_states import ALIVE

EVERY_SECONDS = 300
REPORT_AGAIN_AFTER = timedelta(minutes=30)
"""Dagster keeps every outcome of a check for 30 days: the same outcome is reported less often."""
PAUSE_AFTER_FAILURE = timedelta(hours=1)
"""A permanent failure would repeat every 5 minutes; the check is red meanwhile."""
_ASSET = dg.AssetKey("database_backup")


@dataclass(frozen=True)
class BackupSnapshot:
    """Backups, WAL and runs at one tick.

    Attributes:
        lag: None with dumps only, or if PostgreSQL did not answer.
        lag_error: why it did not.
        hindrance: why no backup may be requested now; None if one may.
    """

    backups: list[BackupInfo]
    lag: WalLag | None
    lag_error: str | None
    has_incremental: bool
    hindrance: str | None


@dg.sensor(
    job=JOBS[BACKUP_DATABASE_JOB],
    minimum_interval_seconds=EVERY_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Observes the lag of received WAL, reports backups that are too old, and requests backups "
        "that were missed while the machine was down."
    ),
)
def database_backup_sensor(
    context: dg.SensorEvaluationContext, database_backups: DatabaseBackupResource
) -> dg.SensorResult:
    """Check the backups and the received WAL."""
    now = datetime.now(UTC)
    snapshot = _read(context.instance, database_backups, now)
    full_kind, has_incremental = database_backups.full_kind, snapshot.has_incremental
    due = due_kind(snapshot.backups, now, full_kind=full_kind, has_incremental=has_incremental)
    # The cursor is the time of the first tick, in UTC.
    first_tick = datetime.fromisoformat(context.cursor) if context.cursor else now
    fresh = freshness(snapshot.backups, now, full_kind, has_incremental=has_incremental)
    hindrance = snapshot.hindrance
    if not snapshot.backups and now < first_tick + FIRST_BACKUP_AFTER:
        hindrance = f"the first one waits until {first_tick + FIRST_BACKUP_AFTER:%H:%M} UTC"
        fresh = (True, f"there is no backup yet: {hindrance}")
    requests = []
    if due is not None and hindrance is None:
        requests.append(dg.RunRequest(run_config=run_config(due, now)))
    checks = [
        _evaluation(FRESHNESS_CHECK, *fresh),
        _evaluation(
            WAL_CHECK,
            *((False, snapshot.lag_error) if snapshot.lag_error else reception(snapshot.lag)),
        ),
    ]
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else _skip_reason(due, hindrance),
        cursor=min(first_tick, now).isoformat(),
        asset_events=[
            *_observation(snapshot.lag),
            *(check for check in checks if _is_changed(context.instance, check, now)),
        ],
    )


def _read(
    instance: dg.DagsterInstance, database_backups: DatabaseBackupResource, now: datetime
) -> BackupSnapshot:
    lag, lag_error, has_incremental = None, None, True
    try:
        lag = database_backups.wal_lag()
        has_incremental = database_backups.has_incremental()
    except TransientError as error:
        lag_error = str(error)
    return BackupSnapshot(
        backups=database_backups.backups().list_backups(),
        lag=lag,
        lag_error=lag_error,
        has_incremental=has_incremental,
        hindrance=_hindrance(instance, now),
    )


def _hindrance(instance: dg.DagsterInstance, now: datetime) -> str | None:
    alive = dg.RunsFilter(job_name=BACKUP_DATABASE_JOB, statuses=ALIVE)
    if instance.get_run_records(alive, limit=1):
        return "a run for it is active"
    failed = dg.RunsFilter(
        job_name=BACKUP_DATABASE_JOB,
        statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED],
        created_after=now - PAUSE_AFTER_FAILURE,
    )
    if records := instance.get_run_records(failed, limit=1):
        return f"run {records[0].dagster_run.run_id} failed less than an hour ago"
    return None


def _observation(lag: WalLag | None) -> list[dg.AssetObservation]:
    return [dg.AssetObservation(_ASSET, metadata=lag_metadata(lag))] if lag else []


def _evaluation(name: str, passed: bool, description: str) -> dg.AssetCheckEvaluation:  # noqa: FBT001 - the pair of a check
    return dg.AssetCheckEvaluation(
        asset_key=_ASSET, check_name=name, passed=passed, description=description
    )


def _is_changed(
    instance: dg.DagsterInstance, check: dg.AssetCheckEvaluation, now: datetime
) -> bool:
    """Tell whether a check has another outcome than the last one, or the last one is old."""
    last = instance.get_latest_asset_check_evaluation_record(check.asset_check_key)
    evaluation = last.evaluation if last else None
    # A run that has only planned to evaluate the check has no outcome yet.
    if last is None or not isinstance(evaluation, dg.AssetCheckEvaluation):
        return True
    if evaluation.passed != check.passed:
        return True
    return datetime.fromtimestamp(last.create_timestamp, UTC) + REPORT_AGAIN_AFTER < now


def _skip_reason(due: BackupKind | None, hindrance: str | None) -> str:
    return "no backup is due" if due is None else f"a {due} backup is due, but {hindrance}"
