"""Make the server begin a new WAL segment, and wait until the earlier ones are archived.

Barman's own command is not used: Barman archives a segment once the next one has begun, and on a
quiet server that command waits for it until its time limit.
"""

import time
from collections.abc import Callable
from pathlib import Path

from influencerai_dagster.backup.database.wal_archive import is_followed, unarchived
from influencerai_dagster.backup.database.wal_lag import postgres_cursor
from influencerai_dagster.errors import TransientError

_SWITCH_SECONDS = 60.0
_ARCHIVE_SECONDS = 600.0
_POLL_SECONDS = 0.2
_WRITE = "SELECT pg_logical_emit_message(true, 'influencerai', 'a new segment')"


def begin_segment(database_url: str, folder: Path) -> None:
    """Make the server begin a segment.

    Args:
        database_url: of the server.
        folder: Barman's folder of the server.

    Raises:
        TransientError: the segment before was not received within a minute.
    """
    with postgres_cursor(database_url) as cursor:
        cursor.execute(_WRITE)  # an empty segment is not switched
        cursor.execute("SELECT pg_walfile_name(pg_switch_wal())")
        ((segment,),) = cursor.fetchall()
        cursor.execute(_WRITE)
    deadline = time.monotonic() + _SWITCH_SECONDS
    while not is_followed(folder, segment):
        if time.monotonic() > deadline:
            raise TransientError(
                f"WAL segment {segment} was not received within {_SWITCH_SECONDS:g} s: keep "
                "`influencerai backup receive-wal` running"
            )
        time.sleep(_POLL_SECONDS)


def archive_all(folder: Path, archive: Callable[[], None]) -> None:
    """Archive the received segments, or wait until another process has done it.

    Args:
        folder: Barman's folder of the server.
        archive: archives; does nothing while another process archives.

    Raises:
        TransientError: they are not all archived after ten minutes.
    """
    waiting, deadline = unarchived(folder), time.monotonic() + _ARCHIVE_SECONDS
    while left := waiting & unarchived(folder):
        if time.monotonic() > deadline:
            raise TransientError(
                f"WAL segment {min(left)} was not archived within {_ARCHIVE_SECONDS:g} s: see "
                f"{folder.parent}/barman.log"
            )
        archive()
        if left & unarchived(folder):
            time.sleep(_POLL_SECONDS)
