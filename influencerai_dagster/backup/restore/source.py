"""Choose the backup of a restore or drill, and the target time that it is brought to.

A physical backup with its WAL is in recovery.py, a dump of each database in dump_recovery.py.
"""

import random
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from influencerai_dagster.backup.database.backups import BackupInfo, BackupKind, newest_whole
from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.pg_dump import PgDumps
from influencerai_dagster.backup.restore.dump_recovery import DumpRecovery, choose_dump
from influencerai_dagster.backup.restore.journal import RestoreSteps
from influencerai_dagster.backup.restore.recovery import choose_backup
from influencerai_dagster.backup.restore.restored_server import RestoredServer
from influencerai_dagster.errors import PermanentError

Backups = BarmanServer | PgDumps


class Source(Protocol):
    """A backup and the time that it is restored to."""

    @property
    def backup(self) -> BackupInfo:
        """The backup."""

    @property
    def requested_time(self) -> datetime | None:
        """The target time that was asked for, UTC; None is the newest possible."""

    @property
    def target_time(self) -> datetime | None:
        """The time that is restored, UTC; None is the newest possible."""

    @property
    def received_at(self) -> datetime | None:
        """When the newest backed up transaction came; later ones cannot be restored."""

    @property
    def as_dump(self) -> DumpRecovery | None:
        """The dump that any server can load; None for a physical backup."""

    @property
    def shown_target_time(self) -> str:
        """The target time for the operator."""

    @property
    def major_version(self) -> int:
        """PostgreSQL's major version that was backed up; 0 if that cannot be read."""

    def describe(self) -> str:
        """Name it for the operator."""

    def warnings(self) -> list[str]:
        """Return what the operator should know first."""

    def needed_bytes(self) -> int:
        """Return how much space a data directory of it takes."""

    def check(self, *, is_all_needed: bool) -> None:
        """Compare its files with their checksums; PermanentError names the broken ones."""

    def steps(self, staging: Path) -> RestoreSteps:
        """Return the steps `copy` and `opened`."""

    def copy(self, staging: Path) -> None:
        """Make a data directory that does not exist yet."""

    def is_copied(self, staging: Path) -> bool:
        """Tell whether staging is a complete copy that `opened` can start from."""

    def opened(self, staging: Path) -> AbstractContextManager[RestoredServer]:
        """Run PostgreSQL on a copy, brought to the target time, for the block."""


def choose(backups: Backups, target_time: datetime | None, now: datetime) -> Source:
    """Choose the backup for a target time.

    Args:
        backups: all there are.
        target_time: with time zone; None is the newest possible.
        now: UTC.

    Raises:
        PermanentError: no backup was complete by then, or the target time lies in the future.
    """
    if target_time is not None and target_time > now:
        raise PermanentError(
            f"Target time {target_time.isoformat()} lies in the future: it is {now.isoformat()}"
        )
    if isinstance(backups, BarmanServer):
        return choose_backup(backups, target_time)
    return choose_dump(backups, target_time)


def random_target_time(backups: Backups, now: datetime) -> datetime | None:
    """Draw a time between the end of the last full backup and the newest WAL.

    Returns:
        None if there is no such time: the newest possible is taken.
    """
    backup = newest_whole(backups.list_backups(), BackupKind.FULL)
    if backup is None or backup.end is None or not isinstance(backups, BarmanServer):
        return None
    if backup.end > now:
        return None  # the clock was set back since
    newest = min(backups.archive_status().received_at or now, now)
    reach = max(timedelta(0), newest - backup.end)
    return backup.end + reach * random.random()  # noqa: S311 - no secret
