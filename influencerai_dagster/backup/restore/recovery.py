"""Recover to a point in time: choose a physical backup, verify it, replay WAL on a copy of it.

One of the two sources of a restore; dumps are in dump_recovery.py. It is run by run.py and
drill.py; its programs are in database/barman.py and restored_server.py. Follows chapter 25.3 of
PostgreSQL's documentation, "Recovering Using a Continuous Archive Backup".
"""

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from influencerai_dagster.backup.database.backups import BackupInfo, backup_for, newest_whole
from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.needed_wal import NeededWal
from influencerai_dagster.backup.database.timelines import timeline_at
from influencerai_dagster.backup.database.wal import Timeline
from influencerai_dagster.backup.restore.base_copy import copy_base, refuse_tablespaces
from influencerai_dagster.backup.restore.journal import RestoreSteps, Step
from influencerai_dagster.backup.restore.recovery_settings import SIGNAL, write_recovery
from influencerai_dagster.backup.restore.restored_server import RestoredServer, find_bin_dir
from influencerai_dagster.backup.restore.wal_copy import copy_wal
from influencerai_dagster.errors import InsufficientStorageError, PermanentError, TransientError

_ENDED_EARLY = "recovery ended before configured recovery target was reached"
_WAL = "restored_wal"
_REACHED = "must_be_reached"
"""File in that folder: the timeline, and the number of the segment that replay has to reach."""
_SPACE_FACTOR = 3
"""A full and an incremental backup are combined, and WAL is replayed into the result."""
_NAMED = 20


@dataclass(frozen=True)
class Recovery:
    """A physical backup with the WAL that leads to a target time.

    Attributes:
        backup: the newest that was complete at the target time.
        timeline: of the server at the target time.
        target_time: UTC; None is the end of the received WAL.
        received_at: when WAL last came; later transactions cannot be restored.
        newest: number of the segment that was being received then. A running server writes more
            during the restore.
    """

    server: BarmanServer
    backup: BackupInfo
    timeline: Timeline
    target_time: datetime | None
    received_at: datetime | None
    newest: int | None

    @property
    def as_dump(self) -> None:
        """None: a physical backup is not a dump."""
        return

    @property
    def requested_time(self) -> datetime | None:
        """The target time itself."""
        return self.target_time

    @property
    def shown_target_time(self) -> str:
        """The target time for the operator."""
        return "the newest time" if self.target_time is None else self.target_time.isoformat()

    @property
    def major_version(self) -> int:
        """PostgreSQL's major version; 0 if the backup does not have it, which `check` reports."""
        path = self.server.data_dir(self.backup.backup_id) / "PG_VERSION"
        text = path.read_text().strip() if path.exists() else ""
        return int(text) if text.isdecimal() else 0

    def describe(self) -> str:
        """Return the ids of all backups that are needed."""
        parent = self.backup.parent_backup_id
        return f"{self.backup.backup_id} ({self.backup.kind}{f' on {parent}' if parent else ''})"

    def steps(self, staging: Path) -> RestoreSteps:
        """Return the steps `copy` and `opened`."""
        return RestoreSteps(
            copy=Step("copy database", f"copy it to {staging}"),
            open=Step(
                "replay WAL",
                "start PostgreSQL there on a private socket and replay to "
                f"{self.shown_target_time}",
            ),
        )

    def warnings(self) -> list[str]:
        """Return what the operator should know first."""
        gaps = self._wal.missing()
        found = [f"WAL segments are missing: {', '.join(gaps[:_NAMED])}"] if gaps else []
        if self.received_at and self.target_time and self.target_time > self.received_at:
            found.append(
                f"WAL came until {self.received_at.isoformat()}: later transactions cannot be "
                "restored"
            )
        if self.timeline != timeline_at(self.server.folder, None):
            found.append(
                f"{self.shown_target_time} is on timeline {self.timeline.number}, which a later "
                "restore has left: transactions that it undid are restored too"
            )
        return found

    def needed_bytes(self) -> int:
        """Return how much space a copy needs until the WAL is replayed."""
        sizes = {item.backup_id: item.size_bytes for item in self.server.list_backups()}
        parent = self.backup.parent_backup_id
        return (self.backup.size_bytes + sizes.get(parent or "", 0)) * _SPACE_FACTOR

    def check(self, *, is_all_needed: bool) -> None:
        """Compare every file of the backup with its manifest and look for gaps in the WAL.

        Args:
            is_all_needed: a gap is an error even if the target time may lie before it.

        Raises:
            PermanentError: files are broken, the text names them; or the backup has tablespaces.
        """
        refuse_tablespaces(self.server.data_dir(self.backup.backup_id))
        self.server.verify(self.backup.backup_id)
        damaged = self._wal.damaged()
        if damaged:
            raise PermanentError(
                f"WAL segments are damaged: {', '.join(map(str, damaged[:_NAMED]))}. Copy them "
                "back from the backup target; or move them away, and restore to a target time "
                f"before {self._wal.received_before(damaged[0].name)}"
            )
        gaps = self._wal.missing()
        if gaps and (is_all_needed or self.target_time is None):
            raise PermanentError(
                f"WAL segments are missing after backup {self.backup.backup_id}: "
                f"{', '.join(gaps[:_NAMED])}. Later transactions cannot be restored: restore to a "
                f"target time before {self._wal.received_before(gaps[0])}, or copy the segments "
                "back from the backup target"
            )

    def copy(self, staging: Path) -> None:
        """Copy the backup and its WAL to a data directory that does not exist yet.

        Raises:
            InsufficientStorageError: the disk is full; what was written stays.
            TransientError: another error of the disk; what was written stays.
            PermanentError: a WAL segment cannot be unpacked, or a program is missing.
        """
        wal, number = self._wal, self.timeline.number
        chain = self.server.chain(self.backup.backup_id)
        try:
            copy_base(chain, staging, self.server.postgres_bin_dir)
            names = wal.names(self.newest)
            copy_wal(wal.folder, names, self.backup.segment_bytes, staging / _WAL)
            write_recovery(staging, _WAL, number, self.target_time)
            (staging / _WAL / _REACHED).write_text(f"{number} {self.newest or 0}")
        except OSError as error:
            is_full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            kind = InsufficientStorageError if is_full else TransientError
            raise kind(
                f"Backup {self.backup.backup_id} was not copied to {staging}: {error}"
            ) from error

    def is_copied(self, staging: Path) -> bool:
        """Tell whether staging is a copied backup that no PostgreSQL has opened for writing yet."""
        return _reached(staging, self.timeline) is not None

    @contextmanager
    def opened(self, staging: Path) -> Iterator[RestoredServer]:
        """Replay the WAL on a copied backup and run PostgreSQL on it for the block.

        Raises:
            PermanentError: a WAL segment is missing or damaged, the text names it; or PostgreSQL
                does not start, the text has lines of its log.
        """
        bin_dir = find_bin_dir(self.server.postgres_bin_dir)
        newest = _reached(staging, self.timeline)  # the WAL that was there when it was copied
        server = RestoredServer(staging, bin_dir)
        with ExitStack() as stack:
            try:
                stack.enter_context(server)
            except PermanentError as error:
                log = server.log_text()
                self._refuse_broken_wal(log, newest, error)
                if _ENDED_EARLY not in log:
                    raise
                # No transaction came after the target time: the end of the WAL is the same state.
                server = RestoredServer(staging, bin_dir, is_end_enough=True)
                stack.enter_context(server)
            if self.target_time is None:
                self._refuse_broken_wal(server.log_text(), newest, None)
            yield server

    @property
    def _wal(self) -> NeededWal:
        return NeededWal(self.server.folder, self.backup, self.timeline)

    def _refuse_broken_wal(self, log: str, newest: int | None, cause: Exception | None) -> None:
        broken = self._wal.broken_segment(log, newest)
        if broken is not None:
            raise PermanentError(
                f"WAL segment {broken} is missing or damaged: replaying backup "
                f"{self.backup.backup_id} ended there, before {self.shown_target_time}. Restore to "
                "an earlier target time, or copy the segment back from the backup target"
            ) from cause


def _reached(staging: Path, timeline: Timeline) -> int | None:
    """Return the number of the segment that replay has to reach.

    Returns:
        None if staging is not a copied backup, or was opened before: then its log belongs to
        another start, and was looked at after that.
    """
    try:
        number, newest = (staging / _WAL / _REACHED).read_text().split()
    except FileNotFoundError:
        return None
    is_copied = (staging / SIGNAL).exists() and int(number) == timeline.number
    return int(newest) if is_copied else None


def choose_backup(server: BarmanServer, target_time: datetime | None) -> Recovery:
    """Choose the backup for a target time; None is the newest possible.

    A target time before an earlier restore leads to the timeline that this restore left: the
    transactions that it undid are restored.

    Raises:
        PermanentError: no backup was complete by then, or none leads to that timeline.
    """
    timeline = timeline_at(server.folder, target_time)
    backups = server.list_backups()
    whole = [backup for backup in backups if backup.is_whole and backup.end is not None]
    if not whole:
        raise PermanentError(
            f"There is no complete backup in {server.folder}: check BACKUP_HOME, or copy the "
            "folder back from the backup target first"
        )
    whole = [backup for backup in whole if backup.leads_to(timeline)]
    if not whole:
        raise PermanentError(
            f"No backup in {server.folder} leads to timeline {timeline.number}, on which the "
            f"server was at {target_time or 'the newest time'}: restore to a target time before "
            "the restore that began it, then `influencerai backup now`"
        )
    oldest = min(backup.end for backup in whole if backup.end is not None)
    backup = newest_whole(whole) if target_time is None else backup_for(whole, target_time)
    if backup is None:
        raise PermanentError(
            f"No backup was complete at {target_time}: the oldest target time that can be restored "
            f"is {(oldest + timedelta(seconds=1)).isoformat(timespec='seconds')}"
        )
    return Recovery(
        server=server,
        backup=backup,
        timeline=timeline,
        target_time=target_time,
        received_at=server.archive_status().received_at,
        newest=NeededWal(server.folder, backup, timeline).newest(),
    )
