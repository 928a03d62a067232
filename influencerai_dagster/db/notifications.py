"""Tells workers at once that there is something to do: PostgreSQL's NOTIFY and LISTEN.

A signal is only a reason to look: one may get lost with a connection, and a pooler in transaction
mode delivers none at all. Workers poll the job queue too.
Source: PostgreSQL's documentation of NOTIFY; psycopg2's "Asynchronous notifications".
"""

import select
from typing import Any, Self

import psycopg2
from sqlalchemy import Engine, func
from sqlalchemy import select as select_rows
from sqlalchemy.orm import Session

from influencerai_dagster.db.engine import database_errors
from influencerai_dagster.errors import TransientError

_CHANNEL = "influencerai_jobs"
_CANCELLED = "cancelled"
_WORK = "work"


def notify_work(session: Session) -> None:
    """Wake all workers when this transaction commits: jobs came, or slots are free."""
    session.execute(select_rows(func.pg_notify(_CHANNEL, _WORK)))


def notify_cancelled(session: Session) -> None:
    """Wake all workers when this transaction commits, to look for jobs that were cancelled."""
    session.execute(select_rows(func.pg_notify(_CHANNEL, _CANCELLED)))


class Listener:
    """One connection that hears signals; a context manager, for one thread."""

    def __init__(self, engine: Engine) -> None:
        """Connect and listen.

        Raises:
            TransientError: PostgreSQL is away.
        """
        try:
            with database_errors():
                pooled = engine.raw_connection()
            connection: Any = pooled.driver_connection
            # It must never go back to the pool: whoever got it would hear signals.
            pooled.detach()
            self._connection, self._pooled = connection, pooled
            connection.set_session(autocommit=True)
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {_CHANNEL}")
        except psycopg2.Error as error:  # SQLAlchemy wraps none of a raw connection
            raise TransientError(f"PostgreSQL cannot be listened to: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def wait(self, timeout_seconds: float) -> bool | None:
        """Wait for signals.

        Returns:
            None if none came; else whether one of them was a cancellation.

        Raises:
            TransientError: the connection broke; make another listener.
        """
        try:
            if not select.select([self._connection], [], [], timeout_seconds)[0]:
                return None
            self._connection.poll()
            if self._connection.closed:
                raise psycopg2.InterfaceError("the server closed it")
        except (psycopg2.Error, OSError, ValueError) as error:
            raise TransientError(f"the connection that hears signals broke: {error}") from error
        heard = [item.payload for item in self._connection.notifies]
        self._connection.notifies.clear()
        return _CANCELLED in heard if heard else None
