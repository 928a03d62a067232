"""Whether the daemon lives, by the heartbeats in a real database of Dagster."""

from collections.abc import Iterator

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.local.dagster_heartbeats import is_daemon_alive
from influencerai_dagster_tests.testing.ports import free_port


@pytest.fixture
def engine(postgres_instance: dg.DagsterInstance, dagster_storage_url: str) -> Iterator[Engine]:
    postgres_instance.wipe_daemon_heartbeats()
    engine = create_catalog_engine(dagster_storage_url)
    yield engine
    engine.dispose()


def beat(engine: Engine, daemon: str, *, age_seconds: float, process: str = "now") -> None:
    statement = text(
        "INSERT INTO daemon_heartbeats (daemon_type, daemon_id, timestamp)"
        " VALUES (:daemon, :process,"
        " now() AT TIME ZONE 'utc' - make_interval(secs => :age_seconds))"
    )
    with transaction(engine) as session:
        session.execute(
            statement, {"daemon": daemon, "process": process, "age_seconds": age_seconds}
        )


def test_a_daemon_whose_threads_all_beat_is_alive(engine: Engine) -> None:
    beat(engine, "SENSOR", age_seconds=30)
    beat(engine, "SCHEDULER", age_seconds=1)
    assert is_daemon_alive(engine)


def test_a_daemon_with_one_thread_that_hangs_is_not(engine: Engine) -> None:
    beat(engine, "SENSOR", age_seconds=100)
    beat(engine, "SCHEDULER", age_seconds=1)
    assert not is_daemon_alive(engine)


def test_threads_of_an_earlier_process_do_not_count(engine: Engine) -> None:
    beat(engine, "OLD_DAEMON", age_seconds=86_400, process="earlier")
    beat(engine, "SCHEDULER", age_seconds=1)
    assert is_daemon_alive(engine)


def test_before_the_first_heartbeat_it_cannot_be_told(engine: Engine) -> None:
    assert is_daemon_alive(engine)


def test_while_the_database_takes_no_writes_it_cannot_be_told(engine: Engine) -> None:
    beat(engine, "SENSOR", age_seconds=100)
    with transaction(engine) as session:
        session.execute(text("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"))
    assert is_daemon_alive(engine)


def test_while_the_database_is_away_it_cannot_be_told() -> None:
    away = create_catalog_engine(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing")
    assert is_daemon_alive(away)
