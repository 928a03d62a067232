"""Pooled connections of a process that looks at them, on a real PostgreSQL."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from influencerai_dagster.webserver import storage_connections
from influencerai_dagster_tests.testing.database_server import execute


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    """An engine as Dagster makes it, with one connection in its pool."""
    storage_connections.replace_dead_connections()
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT", pool_size=1)
    yield engine
    engine.dispose()
    for target, name, listener in storage_connections.LISTENERS:
        event.remove(target, name, listener)


def pid(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())


def test_a_connection_that_was_ended_is_replaced_before_it_is_used(
    engine: Engine, postgres_url: str
) -> None:
    first = pid(engine)
    assert pid(engine) == first
    execute(postgres_url, f"SELECT pg_terminate_backend({first}, 5000)")
    assert pid(engine) != first


def test_after_a_write_to_a_server_that_became_read_only_the_connection_is_replaced(
    engine: Engine,
) -> None:
    first = pid(engine)
    with engine.connect() as connection:
        connection.execute(text("SET default_transaction_read_only = on"))
    assert pid(engine) == first
    with engine.connect() as connection, pytest.raises(DBAPIError, match="read-only transaction"):
        connection.execute(text("CREATE TABLE not_here (x int)"))
    assert pid(engine) != first


def test_a_server_that_vanished_is_noticed(engine: Engine) -> None:
    with engine.connect() as connection:
        timeout = connection.connection.driver_connection.get_dsn_parameters()["tcp_user_timeout"]  # type: ignore[union-attr]
    assert timeout == "5000"
