"""Lets the server begin a new segment of WAL, and waits until those before are in the archive.

Not by Barman's own command: Barman archives a segment once the next one has begun to come, for
which that command waits, on a quiet server until its time is over.
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
    """Begin a segment.

    Args:
        database_url: of the server.
        folder: where the receiver writes.

    Raises:
        TransientError: the one before was not received within a minute.
    """
    with postgres_cursor(database_url) as cursor:
        cursor.execute(_WRITE)  # a segment without content would not be switched
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
    """Archive what was received, or wait until another process has done it.

    Args:
        folder: of a server.
        archive: archives, or does nothing while another process does it.

    Raises:
        TransientError: it is not all there after ten minutes.
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
