"""What a backup is, and the rules: which one a moment needs, what is too old, how long it is kept.

How backups are taken and listed is in backup/; nothing here reads a clock.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from influencerai_dagster.domain.base import Value

SAFETY_MARGIN = timedelta(days=1)
"""A restore, a drill and a late schedule take hours, in which the oldest moment of the recovery
window must stay whole."""


class BackupKind(StrEnum):
    """What a backup holds; an incremental one needs the full one it stands on."""

    FULL = "full"
    INCREMENTAL = "incremental"
    DUMP = "dump"


class BackupStatus(StrEnum):
    """How far a backup came, in Barman's words."""

    EMPTY = "EMPTY"
    STARTED = "STARTED"
    FAILED = "FAILED"
    WAITING_FOR_WALS = "WAITING_FOR_WALS"
    DONE = "DONE"
    SYNCING = "SYNCING"


class BackupInfo(Value):
    """One backup of the database server.

    Attributes:
        backup_id: Barman's, like "20261120T020000"; sorts by time.
        begin: when it began, UTC; None while Barman has not asked the server yet.
        end: when it was consistent, UTC: it restores to this moment and every later one.
        size_bytes: what it takes on disk, without its WAL.
        begin_wal: first WAL segment that it needs.
        end_wal: last WAL segment that it needs to be consistent.
        parent_backup_id: what an incremental backup stands on.
        error: Barman's, of a failed one.
    """

    backup_id: str
    kind: BackupKind
    status: BackupStatus
    begin: datetime | None = None
    end: datetime | None = None
    size_bytes: int = 0
    begin_wal: str | None = None
    end_wal: str | None = None
    parent_backup_id: str | None = None
    error: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it can be restored: all its files are there, and its WAL is or is on its way."""
        return self.status in {BackupStatus.DONE, BackupStatus.WAITING_FOR_WALS}

    @property
    def seconds(self) -> float:
        """How long it took; 0 while it has not ended."""
        if self.begin is None or self.end is None:
            return 0.0
        return (self.end - self.begin).total_seconds()


def newest_whole(
    backups: Iterable[BackupInfo], kind: BackupKind | None = None
) -> BackupInfo | None:
    """Return the newest backup that can be restored, of one kind or of any."""
    return max(
        (backup for backup in backups if backup.is_whole and kind in {None, backup.kind}),
        key=lambda backup: backup.backup_id,
        default=None,
    )


def backup_for(backups: Iterable[BackupInfo], target_time: datetime) -> BackupInfo | None:
    """Return the backup to restore for a moment: the newest that was whole by then.

    Args:
        backups: in any order.
        target_time: with time zone.
    """
    earlier = [backup for backup in backups if backup.end is not None and backup.end <= target_time]
    return newest_whole(earlier)


def is_past_window(gone_at: datetime, recovery_window: timedelta, now: datetime) -> bool:
    """Tell whether no moment within the recovery window can name what is gone since then."""
    return gone_at + recovery_window + SAFETY_MARGIN < now


def still_missing(
    known: Mapping[str, datetime], missing: Iterable[str], now: datetime
) -> dict[str, datetime]:
    """Return since when each missing key is missing: as it was known, or now.

    A key that came back is forgotten: its time begins again when it goes again.
    """
    return {key: known.get(key, now) for key in sorted(missing)}
