"""Checks of asset `database_backup`: no backup is too old, and WAL is received.

A run of the asset runs them. Between runs database_backup_sensor reports them: a backup that is not
taken materializes nothing.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg

from influencerai_dagster.backup.database.backups import (
    BackupInfo,
    BackupKind,
    WalLag,
    too_old,
    wal_problem,
)
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.resources.backups import DatabaseBackupResource

FRESHNESS_CHECK = "no_database_backup_is_too_old"
WAL_CHECK = "wal_is_received"


def freshness(
    backups: Sequence[BackupInfo], now: datetime, full_kind: BackupKind, *, has_incremental: bool
) -> tuple[bool, str]:
    """Return whether every objective is met, and a text that names the missed ones."""
    problems = too_old(backups, now, full_kind=full_kind, has_incremental=has_incremental)
    return not problems, "; ".join(problems) or "every backup is younger than its objective"


def reception(lag: WalLag | None) -> tuple[bool, str]:
    """Return whether WAL is received, and a text that says what is wrong if not."""
    if lag is None:
        return True, "dumps only: the provider's point-in-time recovery has the WAL"
    problem = wal_problem(lag)
    text = f"all but {lag.lag_bytes:,} bytes were received {lag.lag_seconds or 0:.0f} s ago"
    return problem is None, problem or text


@dg.asset_check(asset="database_backup", name=FRESHNESS_CHECK)
def no_database_backup_is_too_old(
    database_backups: DatabaseBackupResource,
) -> dg.AssetCheckResult:
    """The newest full backup is at most a day old, the newest of any kind at most 6 hours."""
    with dagster_failures():
        has_incremental = database_backups.has_incremental()
    passed, description = freshness(
        database_backups.backups().list_backups(),
        datetime.now(UTC),
        database_backups.full_kind,
        has_incremental=has_incremental,
    )
    return dg.AssetCheckResult(passed=passed, description=description)


@dg.asset_check(asset="database_backup", name=WAL_CHECK)
def wal_is_received(database_backups: DatabaseBackupResource) -> dg.AssetCheckResult:
    """A receiver is connected to the server and not behind for longer than 5 minutes."""
    with dagster_failures():
        passed, description = reception(database_backups.wal_lag())
    return dg.AssetCheckResult(passed=passed, description=description)
