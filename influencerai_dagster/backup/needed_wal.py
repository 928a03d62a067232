"""The WAL that a backup needs: is it there and whole, and where did replaying it end?

What is done about it is in recovery.py. Follows chapter 25.3 of PostgreSQL's documentation.
"""

import gzip
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from influencerai_dagster.backup.barman import BarmanServer
from influencerai_dagster.domain.wal import (
    segment_name,
    segment_number,
    segment_of_lsn,
)

_REDO_DONE = re.compile(r"redo done at ([0-9A-F]+/[0-9A-F]+)")
# A page whose magic number is 0 was not received yet: its segment is being filled.
_DAMAGE = re.compile(
    r"incorrect resource manager data checksum|invalid magic number (?!0000)"
    r"|invalid resource manager ID"
    r"|incorrect prev-link|invalid info bits|has wrong size"
)
_BAD_RECORD = re.compile(r"(?:incorrect|invalid)[^\n]* at ([0-9A-F]+/[0-9A-F]+)")
_TIMELINE_DIGITS = 8
_GZIP = b"\x1f\x8b"
_CHUNK_BYTES = 1024**2


@dataclass(frozen=True)
class NeededWal:
    """The WAL of a server since the beginning of one of its backups.

    Attributes:
        begin_wal: the first segment that the backup needs.
    """

    server: BarmanServer
    begin_wal: str | None

    def missing(self) -> Sequence[str]:
        """Return the segments between the backup and the newest that are not there."""
        return self.server.missing_wal(self.begin_wal) if self.begin_wal else []

    def damaged(self) -> list[Path]:
        """Return the archived segments that cannot be unpacked, oldest first."""
        first = self.begin_wal or ""
        archived = sorted(self.server.folder.glob("wals/*/*"))
        # Barman writes a segment under such a name first.
        whole = [path for path in archived if path.suffix != ".compressed"]
        return [path for path in whole if path.name >= first and not _can_be_unpacked(path)]

    def broken_segment(self, log: str) -> str | None:
        """Return the WAL segment at which replaying ended too early, or None if it did not.

        Args:
            log: of PostgreSQL. The end of a segment that is being filled is no damage.
        """
        found = _REDO_DONE.findall(log)
        there = [path.name.removesuffix(".partial") for path in self._files()]
        numbers = {name: segment_number(name) for name in there}
        newest = max((number for number in numbers.values() if number is not None), default=None)
        if not found or newest is None:
            return None
        ended = max(segment_of_lsn(lsn) for lsn in [found[-1], *_BAD_RECORD.findall(log)])
        # A segment that was switched away from may be followed by one without a record.
        if ended >= newest - 1 and not _DAMAGE.search(log):
            return None
        gaps = [name for name in self.missing() if (segment_number(name) or 0) > ended]
        timeline = (self.begin_wal or "")[:_TIMELINE_DIGITS]
        return gaps[0] if gaps else segment_name(timeline, ended)

    def received_before(self, gap: str) -> str:
        """Return when the last segment before a broken one came, for a person."""
        before = [path for path in self._files() if path.name < gap]
        times = [path.stat().st_mtime for path in before if segment_number(path.name) is not None]
        if not times:
            return "the backup's end"
        return datetime.fromtimestamp(max(times), UTC).isoformat(timespec="seconds")

    def _files(self) -> list[Path]:
        folder = self.server.folder
        return [*folder.glob("wals/*/*"), *folder.glob("streaming/*")]


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
