"""The pool of connections to Dagster's storage, on a real PostgreSQL."""

import os
from collections.abc import Iterator

import dagster as dg
import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError

from influencerai_dagster.orchestration.dagster_storage import limit_statements, pooled_engine
from influencerai_dagster_tests.testing.database_server import execute


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    engine = pooled_engine(postgres_url)
    yield engine
    engine.dispose()


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


def test_a_statement_may_be_given_a_time_limit(engine: Engine) -> None:
    limit_statements(engine, 50)
    with engine.connect() as connection, pytest.raises(DBAPIError, match="statement timeout"):
        connection.execute(text("SELECT pg_sleep(5)"))


def test_a_forked_process_leaves_the_connections_to_its_parent(engine: Engine) -> None:
    parents = pid(engine)
    child = os.fork()
    if child == 0:
        os._exit(0 if pid(engine) != parents else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pid(engine) == parents


def test_instances_of_one_process_share_its_connections(postgres_url: str, engine: Engine) -> None:
    storage = {
        "custom": {
            "module": "influencerai_dagster.orchestration.dagster_storage",
            "class": "PooledPostgresStorage",
            "config": {"postgres_url": postgres_url},
        }
    }
    connected: list[object] = []
    statements: list[str] = []
    looked_for_tables: list[int] = []
    event.listen(engine, "before_cursor_execute", lambda *executed: statements.append(executed[2]))
    event.listen(engine, "connect", lambda connection, _record: connected.append(connection))
    for _ in range(3):
        with dg.instance_for_test(overrides={"storage": storage}) as instance:
            run_id = "0" * 8
            instance.add_run(dg.DagsterRun(job_name="job", run_id=run_id))
            assert instance.get_run_by_id(run_id) is not None
            instance.delete_run(run_id)
            assert instance.event_log_storage.get_pool_limits() == []
            assert instance.all_instigator_state() == []
            looked_for_tables.append(sum("pg_class" in statement for statement in statements))
    assert len(connected) == 1
    assert looked_for_tables[0] > 0
    assert looked_for_tables[2] == looked_for_tables[0]  # the first instance has found them
