"""Measure how far the WAL receiver is behind the server; connect to it for other questions.

Each question opens a connection. The WAL on disk is read in wal_archive.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class

from influencerai_dagster.backup.database.backups import WalLag
from influencerai_dagster.core.database_urls import libpq_parameters
from influencerai_dagster.errors import TransientError
from influencerai_dagster.program_environment import ignore_postgres_variables

_CONNECT_SECONDS = 10
# The receiver reports its position every 10 s. Its written position counts: the flushed one moves
# once a segment.
_LAG = """
SELECT replication.write_lsn IS NOT NULL,
       GREATEST(pg_wal_lsn_diff(pg_current_wal_lsn(),
                                COALESCE(replication.write_lsn, slot.restart_lsn)), 0)::bigint,
       replication.reply_time,
       GREATEST(pg_wal_lsn_diff(pg_current_wal_lsn(), slot.restart_lsn), 0)::bigint,
       now()
FROM pg_replication_slots AS slot
LEFT JOIN pg_stat_replication AS replication ON replication.pid = slot.active_pid
WHERE slot.slot_name = %s
"""


def read_wal_lag(database_url: str, slot_name: str, received_at: datetime | None) -> WalLag:
    """Ask the server for the lag of a slot's receiver.

    Args:
        database_url: of a user who may read pg_stat_replication: pg_monitor or a superuser.
        slot_name: the receiver's.
        received_at: when WAL last came to the disk: a dead receiver is dead since then.

    Raises:
        TransientError: the server does not answer.
    """
    with postgres_cursor(database_url) as cursor:
        cursor.execute(_LAG, [slot_name])
        row = cursor.fetchone()
    if row is None:
        return WalLag(is_receiving=False, lag_bytes=None, lag_seconds=None, retained_bytes=0)
    is_receiving, lag_bytes, reported_at, retained_bytes, now = row
    since = reported_at or received_at
    seconds = None if since is None else max(0.0, (now - since.astimezone(UTC)).total_seconds())
    return WalLag(
        is_receiving=is_receiving,
        lag_bytes=lag_bytes,
        lag_seconds=0.0 if is_receiving and lag_bytes == 0 else seconds,
        retained_bytes=retained_bytes,
    )


@contextmanager
def postgres_cursor(database_url: str) -> Iterator[Cursor]:
    """Connect to a server for the block.

    Raises:
        TransientError: it does not answer, or refuses; the text has no password.
    """
    ignore_postgres_variables()
    parameters: dict[str, Any] = {**libpq_parameters(database_url)}
    parameters.setdefault("connect_timeout", _CONNECT_SECONDS)
    try:
        connection = psycopg2.connect(**parameters)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()
    except psycopg2.Error as error:
        raise TransientError(
            f"PostgreSQL did not answer a query about backups: {' '.join(str(error).split())}"
        ) from error
