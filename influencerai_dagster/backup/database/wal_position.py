"""Choose where pg_receivewal resumes: after its newest segment, or where the server has WAL.

pg_receivewal asks for the segment after its newest one, complete or not ("Notes" and
FindStreamingStart of pg_receivewal). The server may never have it: one that was restored to an
earlier target time is on a new timeline, and one without our slot has removed the segment. The
receiver would be refused forever.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.wal import segment_name, segment_number, timeline_of
from influencerai_dagster.backup.database.wal_lag import postgres_cursor

_SERVER = """
SELECT pg_walfile_name(pg_current_wal_lsn()),
       (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'),
       ARRAY(SELECT name FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' ORDER BY name)
"""
_LAST_NAME = "F" * 24


@dataclass(frozen=True)
class _ServerWal:
    """The WAL segments that a server has.

    Attributes:
        current: the segment that it writes.
        names: of all segments on its disk.
    """

    current: str
    segment_bytes: int
    names: frozenset[str]

    @property
    def timeline(self) -> int:
        return timeline_of(self.current)

    def can_send(self, name: str) -> bool:
        number = segment_number(self.current, self.segment_bytes) or 0
        following = segment_name(self.timeline, number + 1, self.segment_bytes)
        return name in {*self.names, self.current, following}

    def oldest(self) -> str:
        return min(name for name in self.names if timeline_of(name) == self.timeline)


def choose_resume_position(server: BarmanServer) -> str | None:
    """Make the receiver resume at the server's oldest segment if the next one is not there.

    The received WAL is kept: it is archived. No receiver may be running.

    Returns:
        What was done, for the operator; None if the receiver can simply resume.

    Raises:
        TransientError: the server does not answer, or Barman could not archive; nothing is lost.
    """
    available = _available(server.database_url)
    wanted = _next_segment(server.folder, available.segment_bytes)
    if wanted is None or available.can_send(wanted):
        return None
    oldest = available.oldest()
    _resume_at(server, oldest)
    return (
        f"the server does not have {wanted}, the next WAL segment: it is on timeline "
        f"{available.timeline}, or has removed it. Receiving resumes with {oldest}; take a full "
        "backup: `influencerai backup now`"
    )


def _available(database_url: str) -> _ServerWal:
    with postgres_cursor(database_url) as cursor:
        cursor.execute(_SERVER)
        ((current, segment_bytes, names),) = cursor.fetchall()
    return _ServerWal(current, segment_bytes, frozenset(names))


def _next_segment(folder: Path, segment_bytes: int) -> str | None:
    """Return the segment that pg_receivewal asks for; None if it has received nothing."""
    received = [
        (number + (path.suffix != ".partial"), timeline_of(path.stem))
        for path in folder.glob("streaming/*")
        if (number := segment_number(path.stem, segment_bytes)) is not None
    ]
    if not received:
        return None
    number, timeline = max(received)
    return segment_name(timeline, number, segment_bytes)


def _resume_at(server: BarmanServer, segment: str) -> None:
    """Archive all received WAL, and leave an empty file by which pg_receivewal begins there.

    Barman archives every `.partial` segment except the one whose name sorts last. This placeholder
    sorts last, so all real ones are archived.
    """
    received_at = server.archive_status().received_at or datetime.fromtimestamp(0, UTC)
    placeholder = server.folder / "streaming" / f"{_LAST_NAME}.partial"
    placeholder.touch()
    # Its time must not count as the time when WAL last came.
    os.utime(placeholder, times=(received_at.timestamp(), received_at.timestamp()))
    server.archive_wal()
    placeholder.rename(placeholder.with_name(f"{segment}.partial"))
