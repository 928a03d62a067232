"""One backup and one instant: choosing the backup, proving its files and WAL, replaying it.

Where it goes is in restore.py and drill.py; the programs are in barman.py and restored_server.py.
Follows chapter 25.3 of PostgreSQL's documentation, "Recovering Using a Continuous Archive Backup".
"""

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from influencerai_dagster.backup.barman import BarmanServer
from influencerai_dagster.backup.restored_server import RestoredServer
from influencerai_dagster.domain.backups import BackupInfo, backup_for, newest_whole
from influencerai_dagster.domain.wal import (
    segment_name,
    segment_number,
    segment_of_lsn,
)
from influencerai_dagster.errors import PermanentError

_REDO_DONE = re.compile(r"redo done at ([0-9A-F]+/[0-9A-F]+)")
_ENDED_EARLY = "recovery ended before configured recovery target was reached"
_DAMAGE = re.compile(
    r"incorrect resource manager data checksum|invalid magic number|invalid resource manager ID"
    r"|incorrect prev-link|invalid info bits|has wrong size"
)
_BAD_RECORD = re.compile(r"(?:incorrect|invalid)[^\n]* at ([0-9A-F]+/[0-9A-F]+)")
_TIMELINE_DIGITS = 8
_GZIP = b"\x1f\x8b"
_CHUNK_BYTES = 1024**2


@dataclass(frozen=True)
class Recovery:
    """What to restore.

    Attributes:
        backup: the newest that was whole at the instant.
        instant: UTC; None is the end of the WAL that was received.
        received_at: when WAL last came; nothing later can come back.
    """

    server: BarmanServer
    backup: BackupInfo
    instant: datetime | None
    received_at: datetime | None

    @property
    def shown_instant(self) -> str:
        """The instant for a person."""
        return "the newest moment" if self.instant is None else self.instant.isoformat()

    def describe(self) -> str:
        """Return the names of all backups that are needed."""
        parent = self.backup.parent_backup_id
        return f"{self.backup.backup_id} ({self.backup.kind}{f' on {parent}' if parent else ''})"

    def missing_wal(self) -> Sequence[str]:
        """Return the WAL segments between this backup and the newest that are not there."""
        since = self.backup.begin_wal
        return self.server.missing_wal(since) if since else []

    def check(self, *, is_all_wal_needed: bool) -> None:
        """Compare every file of the backup with its manifest and look for gaps in the WAL.

        Args:
            is_all_wal_needed: a gap is an error also where the instant may lie before it.

        Raises:
            PermanentError: what is broken, by name.
        """
        self.server.verify(self.backup.backup_id)
        damaged = [path for path in self._needed_wal() if not _can_be_unpacked(path)]
        if damaged:
            raise PermanentError(
                f"WAL segments are damaged: {', '.join(map(str, damaged[:20]))}. Copy them back "
                "from the backup target; or move them away, and restore to an instant before "
                f"{self._when_received(damaged[0].name)}"
            )
        gaps = self.missing_wal()
        if gaps and (is_all_wal_needed or self.instant is None):
            raise PermanentError(
                f"WAL segments are missing after backup {self.backup.backup_id}: "
                f"{', '.join(gaps[:20])}. Nothing after them can come back: restore to an instant "
                f"before {self._when_received(gaps[0])}, or copy them back from the backup target"
            )

    def broken_segment(self, log: str) -> str | None:
        """Return the WAL segment at which replaying ended too early, or None if it did not.

        Args:
            log: of PostgreSQL. The end of a segment that is being filled is no damage.
        """
        found = _REDO_DONE.findall(log)
        there = [path.name.removesuffix(".partial") for path in self._wal_files()]
        numbers = {name: segment_number(name) for name in there}
        newest = max((number for number in numbers.values() if number is not None), default=None)
        if not found or newest is None:
            return None
        ended = max(segment_of_lsn(lsn) for lsn in [found[-1], *_BAD_RECORD.findall(log)])
        # A segment that was switched away from may be followed by one without a record.
        if ended >= newest - 1 and not _DAMAGE.search(log):
            return None
        gaps = [name for name in self.missing_wal() if (segment_number(name) or 0) > ended]
        timeline = (self.backup.begin_wal or "")[:_TIMELINE_DIGITS]
        return gaps[0] if gaps else segment_name(timeline, ended)

    def _wal_files(self) -> list[Path]:
        folder = self.server.folder
        return [*folder.glob("wals/*/*"), *folder.glob("streaming/*")]

    def _needed_wal(self) -> list[Path]:
        first = self.backup.begin_wal or ""
        archived = self.server.folder.glob("wals/*/*")
        # Barman writes a segment under such a name first.
        whole = [path for path in archived if path.suffix != ".compressed"]
        return sorted(path for path in whole if path.name >= first)

    def _when_received(self, gap: str) -> str:
        before = [path for path in self._wal_files() if path.name < gap]
        times = [path.stat().st_mtime for path in before if segment_number(path.name) is not None]
        if not times:
            return "the backup's end"
        return datetime.fromtimestamp(max(times), UTC).isoformat(timespec="seconds")


def choose(server: BarmanServer, instant: datetime | None, now: datetime) -> Recovery:
    """Choose the backup for an instant.

    Args:
        server: whose backups there are.
        instant: with time zone; None is the newest moment.
        now: UTC.

    Raises:
        PermanentError: no backup was whole by then, or the instant lies in the future.
    """
    backups = server.list_backups()
    whole = [backup for backup in backups if backup.is_whole and backup.end is not None]
    if not whole:
        raise PermanentError(
            f"There is no whole backup in {server.folder}: check BACKUP_HOME, or copy the folder "
            "back from the backup target first"
        )
    oldest = min(backup.end for backup in whole if backup.end is not None)
    if instant is not None and instant > now:
        raise PermanentError(f"{instant.isoformat()} lies in the future: it is {now.isoformat()}")
    backup = newest_whole(whole) if instant is None else backup_for(whole, instant)
    if backup is None:
        raise PermanentError(
            f"No backup was whole at {instant}: the oldest instant that can be restored is "
            f"{(oldest + timedelta(seconds=1)).isoformat(timespec='seconds')}"
        )
    return Recovery(
        server=server,
        backup=backup,
        instant=instant,
        received_at=server.archive_status().received_at,
    )


@contextmanager
def replay(recovery: Recovery, data_dir: Path, bin_dir: Path) -> Iterator[RestoredServer]:
    """Run PostgreSQL on a copied backup for the time of the block, after it replayed the WAL.

    Raises:
        PermanentError: a WAL segment is missing or damaged, and named; or PostgreSQL does not
            start, and its own words are in the text.
    """
    server = RestoredServer(data_dir, bin_dir)
    with ExitStack() as stack:
        try:
            stack.enter_context(server)
        except PermanentError as error:
            log = server.log_text()
            _refuse_broken_wal(recovery, log, error)
            if _ENDED_EARLY not in log:
                raise
            # Nothing was committed after the instant: all WAL there is leads to the same state.
            server = RestoredServer(data_dir, bin_dir, is_end_enough=True)
            stack.enter_context(server)
        if recovery.instant is None:
            _refuse_broken_wal(recovery, server.log_text(), None)
        yield server


def _refuse_broken_wal(recovery: Recovery, log: str, cause: Exception | None) -> None:
    broken = recovery.broken_segment(log)
    if broken is not None:
        raise PermanentError(
            f"WAL segment {broken} is missing or damaged: replaying backup "
            f"{recovery.backup.backup_id} ended there, before {recovery.shown_instant}. Restore to "
            "an earlier instant, or copy the segment back from the backup target"
        ) from cause


def _can_be_unpacked(path: Path) -> bool:
    """Read a file of the archive to its end; gzip compares a checksum. Others are not looked at."""
    with path.open("rb") as file:
        if file.read(len(_GZIP)) != _GZIP:
            return True
    try:
        with gzip.open(path) as unpacked:
            while unpacked.read(_CHUNK_BYTES):
                pass
    except (OSError, EOFError, zlib.error):
        return False
    return True
