"""Pool the connections to Dagster's PostgreSQL: the class that dagster.yaml names as `storage`.

Dagster connects again for each statement, everywhere but in its web server: a run of 67 events made
218 connections, each a new process of PostgreSQL. Here every process has one pool.
"""

import os
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, Self

from dagster_postgres import (
    DagsterPostgresStorage,
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from sqlalchemy import Connection, Engine, create_engine, event
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


@cache
def _make_missing_tables(postgres_url: str) -> None:
    DagsterPostgresStorage(postgres_url)


_found: set[tuple[str, str]] = set()
"""Database and what this process has found there: tables, columns and indexes do not go away."""


def _is_there(postgres_url: str, what: str, look: Callable[[], bool]) -> bool:
    """Return whether a database has something; what was there once is not looked for again."""
    if (postgres_url, what) not in _found and look():
        _found.add((postgres_url, what))
    return (postgres_url, what) in _found


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

    def has_run_stats_index_cols(self) -> bool:
        """Return whether runs have their times as columns."""
        return _is_there(
            self.postgres_url, "run_stats_index_cols", super().has_run_stats_index_cols
        )

    def has_backfill_id_column(self) -> bool:
        """Return whether runs have their backfill as a column."""
        return _is_there(self.postgres_url, "backfill_id_column", super().has_backfill_id_column)


class _ScheduleStorage(_OnPool, PostgresScheduleStorage):
    def __init__(self, postgres_url: str) -> None:
        super().__init__(postgres_url, should_autocreate_tables=False)
        self._engine = pooled_engine(postgres_url)

    def has_instigators_table(self) -> bool:
        """Return whether there is a table of sensors and schedules."""
        return _is_there(self.postgres_url, "instigators", super().has_instigators_table)

    def _has_instigators_table(self, conn: Connection) -> bool:
        look = partial(super()._has_instigators_table, conn)
        return _is_there(self.postgres_url, "instigators", look)

    def has_built_index(self, migration_name: str) -> bool:
        """Return whether an index was built."""
        look = partial(super().has_built_index, migration_name)
        return _is_there(self.postgres_url, migration_name, look)


class _EventLogStorage(_OnPool, PostgresEventLogStorage):
    def __init__(self, postgres_url: str) -> None:
        super().__init__(postgres_url, should_autocreate_tables=False)
        self._engine = pooled_engine(postgres_url)

    def has_table(self, table_name: str) -> bool:
        """Return whether there is a table."""
        look = partial(super().has_table, table_name)
        return _is_there(self.postgres_url, table_name, look)

    @property
    def has_default_pool_limit_col(self) -> bool:
        """Return whether pools know that they have the default limit."""
        look = partial(getattr, super(), "has_default_pool_limit_col")
        return _is_there(self.postgres_url, "default_pool_limit_col", look)


class PooledPostgresStorage(DagsterPostgresStorage):
    """Dagster's storage on the pool of the process."""

    def __init__(self, postgres_url: str, inst_data: Any) -> None:  # noqa: ANN401 - Dagster's own
        _make_missing_tables(postgres_url)
        super().__init__(postgres_url, should_autocreate_tables=False, inst_data=inst_data)
        self._run_storage = _RunStorage(postgres_url)
        self._event_log_storage = _EventLogStorage(postgres_url)
        self._schedule_storage = _ScheduleStorage(postgres_url)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:  # noqa: ANN401
        """Return the storage that dagster.yaml configures."""
        return cls(config_value["postgres_url"], inst_data)
