"""Choose the backup that a target time needs, and say which are due or too old; pure rules.

Backups are taken in barman.py and pg_dump.py, and deleted by the rules of pruning.py. Nothing here
reads a clock.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from influencerai_dagster.backup.database.wal import (
    DEFAULT_SEGMENT_BYTES,
    Timeline,
    position_of_lsn,
    segment_number,
    timeline_of,
)
from influencerai_dagster.core.base import Value

FULL_EVERY = timedelta(hours=24)
ANY_EVERY = timedelta(hours=6)
"""The objective for what would be lost if the WAL were lost too (RPO)."""
FIRST_BACKUP_AFTER = timedelta(minutes=15)
"""A new installation is busy in its first minutes, and has nothing to lose yet."""
GRACE = timedelta(hours=1)
"""A backup takes time and may wait for a slot: it is too old only after its objective and this."""
MAX_WAL_LAG_SECONDS = 300.0
_NEVER = datetime.min.replace(tzinfo=UTC)
_NEWEST_TIMELINE = 2**32


class BackupKind(StrEnum):
    """The content of a backup; an incremental one needs its full one."""

    FULL = "full"
    INCREMENTAL = "incremental"
    DUMP = "dump"


class BackupStatus(StrEnum):
    """State of a backup, in Barman's words."""

    EMPTY = "EMPTY"
    STARTED = "STARTED"
    FAILED = "FAILED"
    WAITING_FOR_WALS = "WAITING_FOR_WALS"
    DONE = "DONE"
    SYNCING = "SYNCING"


class BackupInfo(Value):
    """One backup of the database server.

    Attributes:
        backup_id: Barman's, like "20261120T020000". It is not an order (ids were local time once,
            and clocks are set back): `position` is.
        begin: when it began, UTC; None while Barman has not asked the server yet.
        end: when it was consistent, UTC: it can be restored to this time and later ones.
        size_bytes: size on disk, without its WAL.
        begin_wal: first WAL segment that it needs.
        end_wal: last WAL segment that it needs to be consistent.
        end_lsn: position in the WAL from which it is consistent, like "0/3000148".
        segment_bytes: wal_segment_size of its server.
        parent_backup_id: the full backup of an incremental one.
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
    end_lsn: str | None = None
    segment_bytes: int = DEFAULT_SEGMENT_BYTES
    parent_backup_id: str | None = None
    error: str | None = None

    @property
    def position(self) -> tuple[int, int, datetime]:
        """Its position among the backups of a server: by the WAL, which no clock moves.

        Dumps, and backups that failed before they had a position, are ordered by their times.
        """
        time = self.end or self.begin or _NEVER
        if self.end_wal is not None and self.end_lsn is not None:
            return timeline_of(self.end_wal), position_of_lsn(self.end_lsn), time
        if self.begin_wal is not None:
            segment = segment_number(self.begin_wal, self.segment_bytes) or 0
            return timeline_of(self.begin_wal), segment * self.segment_bytes, time
        return _NEWEST_TIMELINE, 0, time

    @property
    def is_whole(self) -> bool:
        """Whether it can be restored: all files are there, and its WAL is there or on its way."""
        return self.status in {BackupStatus.DONE, BackupStatus.WAITING_FOR_WALS}

    def leads_to(self, timeline: Timeline) -> bool:
        """Tell whether a timeline can be replayed from it: the server had not left it before."""
        if self.end_wal is None or self.end_lsn is None:
            return True  # its position is unknown
        return timeline.has(timeline_of(self.end_wal), position_of_lsn(self.end_lsn))

    @property
    def seconds(self) -> float:
        """Duration; 0 while it has not ended."""
        if self.begin is None or self.end is None:
            return 0.0
        return (self.end - self.begin).total_seconds()


class WalLag(Value):
    """WAL that the server wrote and the receiver does not have yet.

    Attributes:
        is_receiving: whether a receiver is connected.
        lag_bytes: None if there is no replication slot.
        lag_seconds: age of the lag; None if nothing was ever received.
        retained_bytes: WAL that the server keeps on its own disk because of it.
    """

    is_receiving: bool
    lag_bytes: int | None
    lag_seconds: float | None
    retained_bytes: int


def newest_whole(
    backups: Iterable[BackupInfo], kind: BackupKind | None = None
) -> BackupInfo | None:
    """Return the newest backup that can be restored, of one kind or of any."""
    return max(
        (backup for backup in backups if backup.is_whole and kind in {None, backup.kind}),
        key=lambda backup: backup.position,
        default=None,
    )


def backup_for(backups: Iterable[BackupInfo], target_time: datetime) -> BackupInfo | None:
    """Return the backup to restore for a target time: the newest that was complete by then.

    A time that the clock showed twice, because it was set back, means the later one.

    Args:
        backups: in any order.
        target_time: with time zone.
    """
    earlier = [backup for backup in backups if backup.end is not None and backup.end <= target_time]
    return newest_whole(earlier)


def due_kind(
    backups: Iterable[BackupInfo],
    now: datetime,
    *,
    full_kind: BackupKind = BackupKind.FULL,
    has_incremental: bool = True,
) -> BackupKind | None:
    """Return the kind of backup that is due, because it was not taken in time.

    Args:
        backups: all there are.
        now: with time zone.
        full_kind: FULL, or DUMP if only dumps are taken.
        has_incremental: False before PostgreSQL 17: only WAL comes between full ones.
    """
    ages = _ages(backups, now)
    full, newest = ages(full_kind), ages(None)
    # Half of the grace is for the schedule, which comes first, half for the backup itself.
    if full is None or full > FULL_EVERY + GRACE / 2:
        return full_kind
    if has_incremental and (newest is None or newest > ANY_EVERY + GRACE / 2):
        return BackupKind.DUMP if full_kind is BackupKind.DUMP else BackupKind.INCREMENTAL
    return None


def too_old(
    backups: Iterable[BackupInfo],
    now: datetime,
    *,
    full_kind: BackupKind = BackupKind.FULL,
    has_incremental: bool = True,
) -> list[str]:
    """Return a text for every missed objective; the arguments are those of `due_kind`."""
    listed = list(backups)
    ages, problems = _ages(listed, now), []
    objectives: list[tuple[BackupKind | None, timedelta, str]] = [
        (full_kind, FULL_EVERY, f"{full_kind} backup")
    ]
    if has_incremental:
        objectives.append((None, ANY_EVERY, "backup of any kind"))
    for kind, every, words in objectives:
        age = ages(kind)
        if age is None and newest_whole(listed, kind) is not None:
            problems.append(f"the {words} has a future time: was the clock set back?")
        elif age is None:
            problems.append(f"there is no {words}")
        elif age > every + GRACE:
            problems.append(f"the newest {words} is {_hours(age)} old, allowed are {_hours(every)}")
    return problems


def wal_problem(lag: WalLag) -> str | None:
    """Return what is wrong with receiving WAL, or None if nothing is."""
    if lag.lag_bytes is None:
        return "WAL is not received: the replication slot does not exist"
    if not lag.is_receiving:
        since = "" if lag.lag_seconds is None else f" since {lag.lag_seconds:.0f} s"
        return f"WAL is not received{since}: the server keeps {lag.retained_bytes:,} bytes for us"
    if lag.lag_bytes and (lag.lag_seconds or 0.0) > MAX_WAL_LAG_SECONDS:
        return f"the receiver of WAL is {lag.lag_bytes:,} bytes and {lag.lag_seconds:.0f} s behind"
    return None


def _ages(
    backups: Iterable[BackupInfo], now: datetime
) -> Callable[[BackupKind | None], timedelta | None]:
    # A backup with a future time does not count: the clock was set back since.
    listed = [backup for backup in backups if backup.end is None or backup.end <= now + GRACE]

    def age(kind: BackupKind | None) -> timedelta | None:
        newest = newest_whole(listed, kind)
        return None if newest is None or newest.end is None else now - newest.end

    return age


def _hours(age: timedelta) -> str:
    return f"{age.total_seconds() / 3600:.1f} h"
