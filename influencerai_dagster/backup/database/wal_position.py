"""Where the receiver of WAL goes on: behind what it has, or anew where the server never has that.

pg_receivewal asks for what follows its newest segment. A server that was restored to a target time
before it is on a new timeline and never comes there, and one without our slot removes what it does
not need itself: the receiver would be refused for ever. Follows "Notes" and
FindStreamingStart of pg_receivewal: it begins at its newest file, whole or not.
"""

import os
from datetime import UTC, datetime

from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.wal import segment_name, segment_number, timeline_of
from influencerai_dagster.backup.database.wal_lag import postgres_cursor

_SERVER = """
SELECT pg_walfile_name(pg_current_wal_lsn()),
       (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'),
       ARRAY(SELECT name FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' ORDER BY name)
"""
_LAST = f"{'F' * 24}.partial"
"""Barman archives all that is half received but the last by its name."""


def choose_resume_position(server: BarmanServer) -> str | None:
    """Let the receiver begin with the oldest segment of the server if it has not what follows.

    What was received stays: it is archived. Nobody may be receiving.

    Returns:
        What was done, for a person; None if the receiver can go on.

    Raises:
        TransientError: the server does not answer, or Barman could not archive; nothing is lost.
    """
    with postgres_cursor(server.database_url) as cursor:
        cursor.execute(_SERVER)
        ((current, size, there),) = cursor.fetchall()
    wanted = _wanted(server, size)
    following = segment_name(timeline_of(current), (segment_number(current, size) or 0) + 1, size)
    if wanted is None or wanted in {*there, current, following}:
        return None
    received_at = server.archive_status().received_at or datetime.fromtimestamp(0, UTC)
    empty = server.folder / "streaming" / _LAST
    empty.touch()
    os.utime(empty, times=(received_at.timestamp(), received_at.timestamp()))
    server.archive_wal()
    first = min(name for name in there if timeline_of(name) == timeline_of(current))
    empty.rename(empty.with_name(f"{first}.partial"))
    return (
        f"the server has no {wanted}, which would come next: it is on timeline "
        f"{timeline_of(current)}, or has removed it. Receiving begins anew with {first}; take a "
        "full backup: `influencerai backup now`"
    )


def _wanted(server: BarmanServer, segment_bytes: int) -> str | None:
    """Return the segment that pg_receivewal asks for; None if it has nothing yet."""
    received = [
        (number + (path.suffix != ".partial"), timeline_of(path.stem))
        for path in server.folder.glob("streaming/*")
        if (number := segment_number(path.stem, segment_bytes)) is not None
    ]
    if not received:
        return None
    number, timeline = max(received)
    return segment_name(timeline, number, segment_bytes)
