"""Asset `database_backup`: both databases, by Barman or pg_dump; no partitions.

The schedules are in schedules.py, the sensor for missed backups in database_backup_sensor.py.
"""

from datetime import datetime

import dagster as dg
from pydantic import AwareDatetime, Field

from influencerai_dagster.backup.database.backups import BackupInfo, BackupKind, WalLag
from influencerai_dagster.backup.database.databases import TakenBackup, prune, take_backup
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.metadata import OWNER, Metadata, table
from influencerai_dagster.orchestration.progress import optional
from influencerai_dagster.orchestration.resources.backups import DatabaseBackupResource
from influencerai_dagster.orchestration.run_config import RunConfig

BACKUP_POOL = "database_backup"
"""One slot: no two backups at once, and Barman's own lock holds it for the command line too."""
_SHOWN_BACKUPS = 40


class DatabaseBackupConfig(RunConfig):
    """Run config of a backup."""

    kind: BackupKind = Field(
        BackupKind.FULL,
        description="full or incremental; with BACKUP_DATABASE_MODE=pg_dump both are a dump.",
    )
    asked_at: AwareDatetime | None = Field(
        None,
        description=(
            "When, ISO 8601 with time zone: nothing is taken if a backup has ended since then. "
            "null always takes one."
        ),
    )


def run_config(kind: BackupKind, asked_at: datetime) -> dict[str, object]:
    """Return the run config with which a schedule or sensor requests a backup."""
    config = {"kind": kind.value, "asked_at": asked_at.isoformat()}
    return {"ops": {"database_backup": {"config": config}}}


@dg.asset(
    group_name="backups",
    kinds={"postgres", "barman"},
    owners=[OWNER],
    pool=BACKUP_POOL,
    config_schema=DatabaseBackupConfig.schema_for_dagster(),
    description=(
        "Both databases, the catalog and Dagster's, in one backup below `BACKUP_HOME`: full every "
        "day, incremental every 6 hours, and all WAL in between, so that any target time in the "
        "recovery window can be restored.\n\nMade by Barman over PostgreSQL's streaming protocol, "
        "or by pg_dump. It has no partitions. Schedules and a sensor materialize it; do it by hand "
        "before a risky change."
    ),
)
def database_backup(
    context: dg.AssetExecutionContext,
    database_backups: DatabaseBackupResource,
) -> dg.MaterializeResult:  # type: ignore[type-arg] # Dagster's own generic
    """Take a backup, then delete those that no target time of the recovery window needs."""
    backups = database_backups.backups()
    with dagster_failures(context.retry_number):
        config = DatabaseBackupConfig.of(context)
        database_backups.check_server()
        taken = take_backup(
            backups,
            BackupKind.DUMP if database_backups.full_kind is BackupKind.DUMP else config.kind,
            unless_after=config.asked_at,
            log=optional(context.log.info),
        )
        pruned = prune(backups, is_dry_run=False) if taken.backup else []
        lag = database_backups.wal_lag()
    if taken.reason:
        context.log.info(taken.reason)
    return dg.MaterializeResult(metadata=_metadata(taken, backups.list_backups(), pruned, lag))


def _metadata(
    taken: TakenBackup, backups: list[BackupInfo], pruned: list[str], lag: WalLag | None
) -> Metadata:
    metadata: Metadata = {
        "kind": taken.backup.kind.value if taken.backup else "WAL alone",
        "backups": table([_row(backup) for backup in reversed(backups[-_SHOWN_BACKUPS:])]),
        "num_backups": len(backups),
        "all_size_bytes": sum(backup.size_bytes for backup in backups),
        "deleted": ", ".join(pruned) or "none",
    }
    if taken.reason:
        metadata["reason"] = taken.reason
    if taken.backup:
        metadata |= {
            "backup_id": taken.backup.backup_id,
            "size_bytes": taken.backup.size_bytes,
            "seconds": taken.backup.seconds,
            "wal": f"{taken.backup.begin_wal or '-'} to {taken.backup.end_wal or '-'}",
        }
    return metadata | (lag_metadata(lag) if lag else {})


def lag_metadata(lag: WalLag) -> Metadata:
    """Return the state of the received WAL as metadata; the UI plots the numbers."""
    return {
        "is_receiving_wal": lag.is_receiving,
        "wal_lag_bytes": lag.lag_bytes if lag.lag_bytes is not None else "no replication slot",
        "wal_lag_seconds": lag.lag_seconds if lag.lag_seconds is not None else "never received",
        "wal_retained_bytes": lag.retained_bytes,
    }


def _row(backup: BackupInfo) -> dict[str, str | int | float]:
    return {
        "backup": backup.backup_id,
        "kind": backup.kind.value,
        "status": backup.status.value,
        "stands on": backup.parent_backup_id or "",
        "restores from": backup.end.isoformat(timespec="seconds") if backup.end else "",
        "bytes": backup.size_bytes,
        "seconds": round(backup.seconds, 1),
        "first WAL": backup.begin_wal or "",
    }
