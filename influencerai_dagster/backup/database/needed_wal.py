"""Check the WAL that a backup needs: missing and damaged segments, and where a replay ended.

The recovery is in restore/recovery.py. Follows chapter 25.3 of PostgreSQL's documentation.
"""

import gzip
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from influencerai_dagster.backup.database.backups import BackupInfo
from influencerai_dagster.backup.database.wal import Timeline, segment_number, segment_of_lsn
from influencerai_dagster.backup.database.wal_archive import GZIP, missing_wal, newest_change

_REDO_DONE = re.compile(r"redo done at ([0-9A-F]+/[0-9A-F]+)")
# A page with magic number 0 was not received yet: its segment is being filled.
_DAMAGE = re.compile(
    r"incorrect resource manager data checksum|invalid magic number (?!0000)"
    r"|invalid resource manager ID"
    r"|incorrect prev-link|invalid info bits|has wrong size"
)
_BAD_RECORD = re.compile(r"(?:incorrect|invalid)[^\n]* at ([0-9A-F]+/[0-9A-F]+)")
_CHUNK_BYTES = 1024**2


@dataclass(frozen=True)
class NeededWal:
    """The WAL of one timeline since the beginning of a backup.

    Attributes:
        folder: Barman's folder of the server.
        timeline: to be replayed.
    """

    folder: Path
    backup: BackupInfo
    timeline: Timeline

    def missing(self) -> Sequence[str]:
        """Return the missing segments between the backup and the newest one."""
        first, size = self.backup.begin_wal, self.backup.segment_bytes
        return missing_wal(self.folder, first, self.timeline, size) if first else []

    def names(self, newest: int | None) -> Sequence[str]:
        """Return the names of all segments since the beginning of the backup, missing ones too.

        Args:
            newest: number of a segment that is among them in any case.
        """
        first, size = self._number(self.backup.begin_wal or ""), self.backup.segment_bytes
        if first is None:
            return []
        last = max(first, newest or 0, self.newest() or 0)
        return [self.timeline.segment(number, size) for number in range(first, last + 1)]

    def damaged(self) -> list[Path]:
        """Return the archived segments that cannot be unpacked, oldest first."""
        first = self._number(self.backup.begin_wal or "") or 0
        needed = [path for number, path in self._segments() if number >= first]
        return [path for path in needed if not _can_be_unpacked(path)]

    def newest(self) -> int | None:
        """Return the number of the segment that is being received; None if there is none."""
        there = self._segments()
        return there[-1][0] if there else None

    def broken_segment(self, log: str, newest: int | None) -> str | None:
        """Return the WAL segment at which a replay ended too early, or None if it did not.

        Args:
            log: of PostgreSQL. The end of a segment that is being filled is not damage.
            newest: number of the last segment that had to be reached, at least its beginning.
        """
        ended = self._last_replayed(log)
        if ended is None or newest is None:
            return None
        # After a switch of segments, the newest one may not have a record yet.
        is_reached = ended >= newest - 1
        if is_reached and not _DAMAGE.search(log):
            return None
        gaps = [name for name in self.missing() if (self._number(name) or 0) > ended]
        return gaps[0] if gaps else self.timeline.segment(ended, self.backup.segment_bytes)

    def _last_replayed(self, log: str) -> int | None:
        """Return the number of the segment that was read last; None if the replay did not end."""
        replayed = _REDO_DONE.findall(log)
        if not replayed:
            return None
        positions = [replayed[-1], *_BAD_RECORD.findall(log)]
        return max(segment_of_lsn(lsn, self.backup.segment_bytes) for lsn in positions)

    def received_before(self, gap: str) -> str:
        """Return when the last segment before a broken one came, for the operator."""
        end = self._number(gap) or 0
        came_at = newest_change(path for number, path in self._segments() if number < end)
        return "the backup's end" if came_at is None else came_at.isoformat(timespec="seconds")

    def _segments(self) -> list[tuple[int, Path]]:
        """Return number and file of this timeline's segments, in order; the last may be partial."""
        size, found = self.backup.segment_bytes, []
        # The archive last: segments move there.
        for path in (*self.folder.glob("streaming/*"), *self.folder.glob("wals/*/*")):
            name = path.name.removesuffix(".partial")
            number = self._number(name)
            if number is not None and name == self.timeline.segment(number, size):
                found.append((number, path))
        return sorted(found)

    def _number(self, name: str) -> int | None:
        return segment_number(name, self.backup.segment_bytes)


def _can_be_unpacked(path: Path) -> bool:
    """Read a packed file to its end, which compares gzip's checksum; other files pass."""
    try:
        with path.open("rb") as file:
            if file.read(len(GZIP)) != GZIP:
                return True
        with gzip.open(path) as unpacked:
            while unpacked.read(_CHUNK_BYTES):
                pass
    except FileNotFoundError:
        return True  # it was just archived; a gap is found by its name
    except (OSError, EOFError, zlib.error):
        return False
    return True
