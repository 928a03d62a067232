"""Notify others of new jobs, free slots and cancellations, by PostgreSQL's NOTIFY and LISTEN.

A trigger of table `jobs` notifies of every insert, whoever makes it. A notification may get lost
with a connection, and a pooler in transaction mode delivers none at all; so workers poll the job
queue too, and so does the thread that starts runs.
Source: PostgreSQL's documentation of NOTIFY; psycopg2's "Asynchronous notifications".
"""

import select
from typing import Any, Self

import psycopg2
from sqlalchemy import Engine, Select, func
from sqlalchemy import select as select_rows
from sqlalchemy.orm import Session

from influencerai_dagster.db.engine import database_errors
from influencerai_dagster.errors import TransientError

_CHANNEL = "influencerai_jobs"
SUBMITTED = "submitted"
"""Jobs were inserted; sent by the trigger of migration 0011."""
CANCELLED = "cancelled"
_WORK = "work"


def notify_work(session: Session) -> None:
    """Notify all workers when this transaction commits: jobs can be claimed, or slots are free."""
    session.execute(work_notification())


def work_notification() -> Select[Any]:
    """Return the statement of `notify_work`, for a caller that sends another one with it."""
    return select_rows(func.pg_notify(_CHANNEL, _WORK))


def notify_cancelled(session: Session) -> None:
    """Notify all workers when this transaction commits: some job was cancelled."""
    session.execute(select_rows(func.pg_notify(_CHANNEL, CANCELLED)))


class Listener:
    """One connection that receives notifications; a context manager, for one thread."""

    def __init__(self, engine: Engine) -> None:
        """Connect and listen.

        Raises:
            TransientError: PostgreSQL is unavailable.
        """
        try:
            with database_errors():
                pooled = engine.raw_connection()
            connection: Any = pooled.driver_connection
            # It must never go back to the pool: its next user would receive notifications.
            pooled.detach()
            self._connection, self._pooled = connection, pooled
            connection.rollback()  # the pool may have tested it in a transaction
            connection.set_session(autocommit=True)
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {_CHANNEL}")
        except psycopg2.Error as error:  # SQLAlchemy wraps none of a raw connection
            raise TransientError(
                f"LISTEN failed: no notification connection to PostgreSQL: {error}"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def check(self) -> None:
        """Ask the server for a sign of life: a connection may be dead without a sign.

        Raises:
            TransientError: the connection broke; make another listener.
        """
        try:
            with self._connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except psycopg2.Error as error:
            raise _broken(error) from error

    def wait(self, timeout_seconds: float) -> frozenset[str]:
        """Wait for notifications.

        Returns:
            What came, such as SUBMITTED and CANCELLED; nothing if the time passed.

        Raises:
            TransientError: the connection broke; make another listener.
        """
        try:
            if not select.select([self._connection], [], [], timeout_seconds)[0]:
                return frozenset()
            self._connection.poll()
            if self._connection.closed:
                raise psycopg2.InterfaceError("the server closed the connection")
        except (psycopg2.Error, OSError, ValueError) as error:
            raise _broken(error) from error
        heard = frozenset(item.payload for item in self._connection.notifies)
        self._connection.notifies.clear()
        return heard


def _broken(error: Exception) -> TransientError:
    return TransientError(f"the notification connection to PostgreSQL broke: {error}")
