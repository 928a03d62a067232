"""Read the timelines in Barman's folder: how they follow each other, and when each began.

A server begins a new one with every restore in place and every promotion of a standby. Follows
"Timelines" in chapter 25.3 of PostgreSQL's documentation.
"""

import gzip
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from influencerai_dagster.backup.database.barman_files import segment_bytes
from influencerai_dagster.backup.database.wal import (
    Timeline,
    parse_history,
    segment_name,
    segment_number,
    timeline_of,
)
from influencerai_dagster.backup.database.wal_archive import GZIP
from influencerai_dagster.backup.database.wal_lag import postgres_cursor
from influencerai_dagster.backup.database.wal_record import PAGE_BYTES, time_of_beginning
from influencerai_dagster.errors import PermanentError

_SEGMENT_CHARS = 24
_ANY_SERVER = datetime(2010, 1, 1, tzinfo=UTC)
_CLOCKS_DIFFER = timedelta(days=1)
"""The server's and ours; a later time was read from WAL of an unknown format."""


@dataclass(frozen=True)
class KnownTimeline:
    """A timeline with WAL in the folder.

    Attributes:
        began_at: when the recovery before it ended, UTC, or when its history was received; 1970 for
            the oldest, which has no history.
    """

    timeline: Timeline
    began_at: datetime


def read_timelines(folder: Path) -> list[KnownTimeline]:
    """Return the timelines of a server's folder, in the order in which they began.

    Raises:
        PermanentError: a history file is damaged.
    """
    names = [path.name[:_SEGMENT_CHARS] for path in folder.glob("wals/*/*")]
    names += [path.name[:_SEGMENT_CHARS] for path in folder.glob("streaming/*")]
    known = {
        number: KnownTimeline(Timeline(number), datetime.fromtimestamp(0, UTC))
        for number in {timeline_of(name) for name in names if segment_number(name) is not None}
    }
    for path in (*folder.glob("streaming/*.history"), *folder.glob("wals/*.history")):
        timeline = parse_history(int(path.stem, 16), _read(path).decode(errors="replace"))
        if not timeline.past:
            raise PermanentError(
                f"The history file {path} is damaged: copy it back from the backup target or from "
                "pg_wal of the server"
            )
        known[timeline.number] = KnownTimeline(timeline, _began_at(folder, timeline, path))
    return sorted(known.values(), key=lambda item: (item.began_at, item.timeline.number))


def timeline_at(folder: Path, target_time: datetime | None) -> Timeline:
    """Return the server's timeline at a target time; None is the newest."""
    known = read_timelines(folder)
    alive = [item for item in known if target_time is None or item.began_at <= target_time]
    return (alive or known[:1] or [_FIRST])[-1].timeline


def refuse_left_timeline(database_url: str, folder: Path) -> None:
    """Refuse a server that a restore moved aside, or a copy of it.

    Raises:
        PermanentError: a newer timeline has left the server's own, or is beside it.
        TransientError: the server does not answer.
    """
    with postgres_cursor(database_url) as cursor:
        cursor.execute("SELECT pg_walfile_name(pg_current_wal_lsn())")
        ((segment,),) = cursor.fetchall()
    current, newest = timeline_of(segment), timeline_at(folder, None)
    received = {item.timeline.number for item in read_timelines(folder)}
    # Numbers grow: a second restore to before the first one begins a timeline beside the first.
    is_beside = current in received and current < newest.number
    if is_beside or current in {number for number, _ in newest.past}:
        raise PermanentError(
            f"The server is on timeline {current}, which a restore has replaced: {folder} has WAL "
            f"of timeline {newest.number}, and only one of the two can continue. Start the "
            "restored database; or move BACKUP_HOME aside, start the WAL receiver again and take a "
            "full backup"
        )


def _began_at(folder: Path, timeline: Timeline, history: Path) -> datetime:
    heard_at = datetime.fromtimestamp(history.stat().st_mtime, UTC)
    _, left_at = timeline.past[-1]
    size = segment_bytes(folder)
    name = segment_name(timeline.number, left_at // size, size)
    for path in (*folder.glob(f"wals/*/{name}"), *folder.glob(f"streaming/{name}*")):
        began_at = time_of_beginning(_read(path, left_at % size + 2 * PAGE_BYTES), left_at % size)
        if began_at is not None and _ANY_SERVER < began_at < heard_at + _CLOCKS_DIFFER:
            return began_at
    return heard_at


def _read(path: Path, size_bytes: int = -1) -> bytes:
    with path.open("rb") as file:
        is_packed = file.read(len(GZIP)) == GZIP
        file.seek(0)
        try:
            return (
                gzip.GzipFile(fileobj=file).read(size_bytes) if is_packed else file.read(size_bytes)
            )
        except (OSError, EOFError, zlib.error):  # damaged: `NeededWal` reports it
            return b""


def timeline_from(folder: Path, segment: str) -> Timeline:
    """Return the newest timeline that a segment leads to; its own if none is known."""
    size = segment_bytes(folder)
    timeline, number = timeline_of(segment), segment_number(segment, size) or 0
    known = (item.timeline for item in reversed(read_timelines(folder)))
    leading = (line for line in known if line.has(timeline, number * size))
    return next(leading, Timeline(timeline))


_FIRST = KnownTimeline(Timeline(1), datetime.fromtimestamp(0, UTC))
