"""What a restore comes from, as restore and drill know it.

A physical backup with its WAL is in recovery.py, a dump of each database in dump_recovery.py.
"""

import random
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from influencerai_dagster.backup.database.backups import BackupInfo, BackupKind, newest_whole
from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.pg_dump import PgDumps
from influencerai_dagster.backup.restore.dump_recovery import DumpRecovery, choose_dump
from influencerai_dagster.backup.restore.recovery import choose_backup
from influencerai_dagster.backup.restore.restored_server import RestoredServer
from influencerai_dagster.errors import PermanentError

Backups = BarmanServer | PgDumps


class Source(Protocol):
    """A backup and the moment that it leads to."""

    @property
    def backup(self) -> BackupInfo:
        """What is restored."""

    @property
    def instant(self) -> datetime | None:
        """The moment, UTC; None is the newest there is."""

    @property
    def received_at(self) -> datetime | None:
        """Up to when backups have what was committed; nothing later can come back."""

    @property
    def as_dump(self) -> DumpRecovery | None:
        """Itself where it is a dump, which any server can load."""

    @property
    def shown_instant(self) -> str:
        """The moment for a person."""

    @property
    def major_version(self) -> int:
        """PostgreSQL's major version that it was made of; 0 if that cannot be read."""

    def describe(self) -> str:
        """Name it for a person."""

    def warnings(self) -> list[str]:
        """Return what a person should know first."""

    def needed_bytes(self) -> int:
        """Return how much space a data directory of it takes."""

    def check(self, *, is_all_needed: bool) -> None:
        """Prove that its files are what they were; PermanentError names what is broken."""

    def steps(self, draft: Path) -> Mapping[str, str]:
        """Return what `copy` and `opened` do, by the names of these steps, for a person."""

    def copy(self, draft: Path) -> None:
        """Make a data directory that is not there yet."""

    def is_copied(self, draft: Path) -> bool:
        """Tell whether a draft is a whole copy, which `opened` can begin with."""

    def opened(self, draft: Path) -> AbstractContextManager[RestoredServer]:
        """Run PostgreSQL on a copy for the time of the block, brought to the moment."""


def choose(backups: Backups, instant: datetime | None, now: datetime) -> Source:
    """Choose the backup for an instant.

    Args:
        backups: all there are.
        instant: with time zone; None is the newest moment.
        now: UTC.

    Raises:
        PermanentError: no backup was whole by then, or the instant lies in the future.
    """
    if instant is not None and instant > now:
        raise PermanentError(f"{instant.isoformat()} lies in the future: it is {now.isoformat()}")
    if isinstance(backups, BarmanServer):
        return choose_backup(backups, instant)
    return choose_dump(backups, instant)


def random_moment(backups: Backups, now: datetime) -> datetime | None:
    """Draw a moment between the end of the last full backup and the newest WAL.

    Returns:
        None where there is nothing to draw from: the newest.
    """
    backup = newest_whole(backups.list_backups(), BackupKind.FULL)
    if backup is None or backup.end is None or not isinstance(backups, BarmanServer):
        return None
    if backup.end > now:
        return None  # the clock was set back since
    newest = min(backups.archive_status().received_at or now, now)
    reach = max(timedelta(0), newest - backup.end)
    return backup.end + reach * random.random()  # noqa: S311 - no secret
