"""Pool the connections to Dagster's PostgreSQL: the class that dagster.yaml names as `storage`.

Dagster connects again for each statement, everywhere but in its web server: a run of 67 events made
218 connections, each a new process of PostgreSQL. Here every process has one pool.
"""

import os
from collections.abc import Mapping
from functools import cache, partial
from typing import Any, Self

from dagster_postgres import (
    DagsterPostgresStorage,
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext

POOL_SIZE = 5
"""Idle connections that a process keeps; more are opened and closed as its threads need them."""
_READ_ONLY = "25006"
# Options of the URL override these.
_CONNECT_DEFAULTS = {
    "connect_timeout": 5,
    # A server that vanished answers nothing, not even that it is gone.
    "tcp_user_timeout": 5000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


@cache
def pooled_engine(postgres_url: str) -> Engine:
    """Return this process's connections to a database: Dagster opens an instance for every tick.

    A connection is tested before use; a process that forks leaves them to its parent.
    """
    engine = create_engine(
        postgres_url,
        isolation_level="AUTOCOMMIT",  # as Dagster's own
        pool_size=POOL_SIZE,
        max_overflow=-1,
        pool_use_lifo=True,
        pool_pre_ping=True,
    )
    event.listen(engine, "do_connect", _notice_vanished_servers)
    event.listen(engine, "handle_error", _leave_read_only_server)
    os.register_at_fork(after_in_child=partial(engine.dispose, close=False))
    return engine


def _notice_vanished_servers(
    _dialect: object, _record: object, _arguments: object, parameters: dict[str, Any]
) -> None:
    for name, value in _CONNECT_DEFAULTS.items():
        parameters.setdefault(name, value)


def _leave_read_only_server(context: ExceptionContext) -> None:
    """Connect again after a write was refused: the server is a former primary, or will be one."""
    if getattr(context.original_exception, "pgcode", None) == _READ_ONLY:
        context.is_disconnect = True


@cache
def limit_statements(engine: Engine, timeout_ms: int) -> None:
    """End every statement of the new connections that takes longer."""

    def set_timeout(connection: Any, _record: object) -> None:  # noqa: ANN401 - of the driver
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = %s", (timeout_ms,))

    event.listen(engine, "connect", set_timeout)


class _OnPool:
    """What the three storages do otherwise than Dagster's."""

    postgres_url: str

    def optimize_for_webserver(
        self,
        statement_timeout: int,
        pool_recycle: int,  # noqa: ARG002 - Dagster names it
        max_overflow: int,  # noqa: ARG002 - Dagster names it
    ) -> None:
        """Limit the time of statements; there is a pool already."""
        limit_statements(pooled_engine(self.postgres_url), statement_timeout)


class _RunStorage(_OnPool, PostgresRunStorage):
    def __init__(self, postgres_url: str) -> None:
        super().__init__(postgres_url, should_autocreate_tables=False)
        self._engine = pooled_engine(postgres_url)


class _ScheduleStorage(_OnPool, PostgresScheduleStorage):
    def __init__(self, postgres_url: str) -> None:
        super().__init__(postgres_url, should_autocreate_tables=False)
        self._engine = pooled_engine(postgres_url)


class _EventLogStorage(_OnPool, PostgresEventLogStorage):
    def __init__(self, postgres_url: str) -> None:
        super().__init__(postgres_url, should_autocreate_tables=False)
        self._engine = pooled_engine(postgres_url)
        self._tables_found: set[str] = set()

    def has_table(self, table_name: str) -> bool:
        """Return whether there is a table; one that was there is not looked for again."""
        if table_name not in self._tables_found and super().has_table(table_name):
            self._tables_found.add(table_name)
        return table_name in self._tables_found


class PooledPostgresStorage(DagsterPostgresStorage):
    """Dagster's storage on the pool of the process."""

    def __init__(self, postgres_url: str, inst_data: Any) -> None:  # noqa: ANN401 - Dagster's own
        super().__init__(postgres_url, inst_data=inst_data)  # makes missing tables
        self._run_storage = _RunStorage(postgres_url)
        self._event_log_storage = _EventLogStorage(postgres_url)
        self._schedule_storage = _ScheduleStorage(postgres_url)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:  # noqa: ANN401
        """Return the storage that dagster.yaml configures."""
        return cls(config_value["postgres_url"], inst_data)
