"""A physical backup and one instant: choosing the backup, proving it, replaying WAL on a copy.

One of the two sources of a restore; dumps are in dump_recovery.py. Where it goes is in run.py
and drill.py, the programs are in database/barman.py and restored_server.py. Follows chapter 25.3 of
PostgreSQL's documentation, "Recovering Using a Continuous Archive Backup".
"""

import errno
from collections.abc import Iterator, Mapping
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
from influencerai_dagster.backup.restore.recovery_settings import SIGNAL, write_recovery
from influencerai_dagster.backup.restore.restored_server import RestoredServer, find_bin_dir
from influencerai_dagster.backup.restore.wal_copy import copy_wal
from influencerai_dagster.errors import InsufficientStorageError, PermanentError, TransientError

COPY, REPLAY = "copy database", "replay WAL"
_ENDED_EARLY = "recovery ended before configured recovery target was reached"
_WAL = "restored_wal"
_REACHED = "must_be_reached"
"""In that folder: the timeline, and the last place that had to be reached when it was copied."""
_SPACE_FACTOR = 3
"""A full and an incremental backup are combined into a copy, and WAL is replayed into that."""


@dataclass(frozen=True)
class Recovery:
    """What to restore.

    Attributes:
        backup: the newest that was whole at the instant.
        timeline: on which the server was at the instant.
        instant: UTC; None is the end of the WAL that was received.
        received_at: when WAL last came; nothing later can come back.
        newest: place of the segment that was being received then. A server that runs on writes more
            while a restore takes its time.
    """

    server: BarmanServer
    backup: BackupInfo
    timeline: Timeline
    instant: datetime | None
    received_at: datetime | None
    newest: int | None

    @property
    def as_dump(self) -> None:
        """A physical backup is no dump: one can be taken after the replay."""
        return

    @property
    def shown_instant(self) -> str:
        """The instant for a person."""
        return "the newest moment" if self.instant is None else self.instant.isoformat()

    @property
    def major_version(self) -> int:
        """PostgreSQL's major version; 0 if the backup does not tell, which `check` names."""
        path = self.server.data_dir(self.backup.backup_id) / "PG_VERSION"
        text = path.read_text().strip() if path.exists() else ""
        return int(text) if text.isdecimal() else 0

    def describe(self) -> str:
        """Return the names of all backups that are needed."""
        parent = self.backup.parent_backup_id
        return f"{self.backup.backup_id} ({self.backup.kind}{f' on {parent}' if parent else ''})"

    def steps(self, draft: Path) -> Mapping[str, str]:
        """Return what makes a running database of it, for a person."""
        return {
            COPY: f"copy it to {draft}",
            REPLAY: f"start PostgreSQL there on a private socket and replay to "
            f"{self.shown_instant}",
        }

    def warnings(self) -> list[str]:
        """Return what a person should know first."""
        gaps = self._wal.missing()
        found = [f"WAL segments are missing: {', '.join(gaps[:20])}"] if gaps else []
        if self.received_at and self.instant and self.instant > self.received_at:
            found.append(
                f"WAL came until {self.received_at.isoformat()}: nothing later can come back"
            )
        if self.timeline != timeline_at(self.server.folder, None):
            found.append(
                f"{self.shown_instant} is on timeline {self.timeline.number}, which a later restore"
                " has left: what was committed there by then comes back, also what that one undid"
            )
        return found

    def needed_bytes(self) -> int:
        """Return how much space a copy takes until it is replayed."""
        sizes = {item.backup_id: item.size_bytes for item in self.server.list_backups()}
        parent = self.backup.parent_backup_id
        return (self.backup.size_bytes + sizes.get(parent or "", 0)) * _SPACE_FACTOR

    def check(self, *, is_all_needed: bool) -> None:
        """Compare every file of the backup with its manifest and look for gaps in the WAL.

        Args:
            is_all_needed: a gap is an error also where the instant may lie before it.

        Raises:
            PermanentError: what is broken, by name; or the backup has tablespaces.
        """
        refuse_tablespaces(self.server.data_dir(self.backup.backup_id))
        self.server.verify(self.backup.backup_id)
        damaged = self._wal.damaged()
        if damaged:
            raise PermanentError(
                f"WAL segments are damaged: {', '.join(map(str, damaged[:20]))}. Copy them back "
                "from the backup target; or move them away, and restore to an instant before "
                f"{self._wal.received_before(damaged[0].name)}"
            )
        gaps = self._wal.missing()
        if gaps and (is_all_needed or self.instant is None):
            raise PermanentError(
                f"WAL segments are missing after backup {self.backup.backup_id}: "
                f"{', '.join(gaps[:20])}. Nothing after them can come back: restore to an instant "
                f"before {self._wal.received_before(gaps[0])}, or copy them back from the backup "
                "target"
            )

    def copy(self, draft: Path) -> None:
        """Copy the backup and its WAL to a data directory that is not there yet.

        Raises:
            InsufficientStorageError: the disk is full; what was written stays.
            TransientError: it did not work this time; what was written stays.
            PermanentError: a WAL segment cannot be unpacked, or a program is missing.
        """
        wal, number = self._wal, self.timeline.number
        try:
            copy_base(self.server.chain(self.backup.backup_id), draft, self.server.postgres_bin_dir)
            names = wal.names(self.newest)
            copy_wal(wal.folder, names, self.backup.segment_bytes, draft / _WAL)
            write_recovery(draft, _WAL, number, self.instant)
            (draft / _WAL / _REACHED).write_text(f"{number} {self.newest or 0}")
        except OSError as error:
            is_full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            kind = InsufficientStorageError if is_full else TransientError
            raise kind(
                f"Backup {self.backup.backup_id} was not copied to {draft}: {error}"
            ) from error

    def is_copied(self, draft: Path) -> bool:
        """Tell whether a draft is a copied backup that nobody opened for writing yet."""
        return _reached(draft, self.timeline) is not None

    @contextmanager
    def opened(self, draft: Path) -> Iterator[RestoredServer]:
        """Run PostgreSQL on a copied backup for the time of the block, after it replayed the WAL.

        Raises:
            PermanentError: a WAL segment is missing or damaged, and named; or PostgreSQL does not
                start, and its own words are in the text.
        """
        bin_dir = find_bin_dir(self.server.postgres_bin_dir)
        newest = _reached(draft, self.timeline)  # no more than what was there when it was copied
        server = RestoredServer(draft, bin_dir)
        with ExitStack() as stack:
            try:
                stack.enter_context(server)
            except PermanentError as error:
                log = server.log_text()
                self._refuse_broken_wal(log, newest, error)
                if _ENDED_EARLY not in log:
                    raise
                # Nothing was committed after the instant: all WAL there is leads to the same state.
                server = RestoredServer(draft, bin_dir, is_end_enough=True)
                stack.enter_context(server)
            if self.instant is None:
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
                f"{self.backup.backup_id} ended there, before {self.shown_instant}. Restore to "
                "an earlier instant, or copy the segment back from the backup target"
            ) from cause


def _reached(draft: Path, timeline: Timeline) -> int | None:
    """Return the place that a copied backup must reach; None if it is none, or was opened before.

    Who opened it before has looked at what was reached: now its log is of another start.
    """
    try:
        number, newest = (draft / _WAL / _REACHED).read_text().split()
    except FileNotFoundError:
        return None
    is_copied = (draft / SIGNAL).exists() and int(number) == timeline.number
    return int(newest) if is_copied else None


def choose_backup(server: BarmanServer, instant: datetime | None) -> Recovery:
    """Choose the backup for an instant; None is the newest moment.

    What was undone by an earlier restore comes back with an instant before that restore: then the
    server lived on the timeline that was left.

    Raises:
        PermanentError: no backup was whole by then, or it leads elsewhere.
    """
    timeline = timeline_at(server.folder, instant)
    backups = server.list_backups()
    whole = [backup for backup in backups if backup.is_whole and backup.end is not None]
    if not whole:
        raise PermanentError(
            f"There is no whole backup in {server.folder}: check BACKUP_HOME, or copy the folder "
            "back from the backup target first"
        )
    whole = [backup for backup in whole if backup.leads_to(timeline)]
    if not whole:
        raise PermanentError(
            f"No backup in {server.folder} leads to timeline {timeline.number}, on which the server"
            f" was at {instant or 'the newest moment'}: restore to an instant before the restore "
            "that began it, then `influencerai backup now`"
        )
    oldest = min(backup.end for backup in whole if backup.end is not None)
    backup = newest_whole(whole) if instant is None else backup_for(whole, instant)
    if backup is None:
        raise PermanentError(
            f"No backup was whole at {instant}: the oldest instant that can be restored is "
            f"{(oldest + timedelta(seconds=1)).isoformat(timespec='seconds')}"
        )
    return Recovery(
        server=server,
        backup=backup,
        timeline=timeline,
        instant=instant,
        received_at=server.archive_status().received_at,
        newest=NeededWal(server.folder, backup, timeline).newest(),
    )
