"""Events and outcomes of checks that belong to no run: old ones go, the newest stay."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select, text
from sqlalchemy import table as sql_table

from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.orchestration.retention.dagster_events import (
    BATCH_ROWS,
    OldEvents,
    delete_old_events,
    find_old_events,
)

KEEP = timedelta(days=30)
BACKUP = dg.AssetKey("database_backup")


@pytest.fixture
def storage(postgres_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """Dagster's storage on PostgreSQL, without events."""
    return postgres_instance


@pytest.fixture
def engine(dagster_storage_url: str) -> Iterator[Engine]:
    engine = create_catalog_engine(dagster_storage_url)
    yield engine
    engine.dispose()


def find(engine: Engine) -> OldEvents:
    return find_old_events(engine, datetime.now(UTC) - KEEP)


def prune(engine: Engine, batch_rows: int = BATCH_ROWS) -> tuple[int, int]:
    found = find(engine)
    delete_old_events(engine, found, batch_rows=batch_rows)
    return len(found.event_ids), len(found.outcome_ids)


def age(engine: Engine, days: float) -> None:
    """Make all that is there older."""
    for change in (
        "UPDATE event_logs SET timestamp = timestamp - make_interval(secs => :secs)",
        "UPDATE asset_check_executions SET evaluation_event_timestamp ="
        " evaluation_event_timestamp - make_interval(secs => :secs)",
    ):
        with transaction(engine) as session:
            session.execute(text(change), {"secs": days * 86400})


def rows(engine: Engine, table: str) -> int:
    with transaction(engine) as session:
        return session.scalar(select(func.count()).select_from(sql_table(table))) or 0


def observe(storage: dg.DagsterInstance, lag: int, partition: str | None = None) -> None:
    observation = dg.AssetObservation(
        BACKUP, metadata={"lag": lag}, partition=partition, tags={"dagster/data_version": str(lag)}
    )
    storage.report_runless_asset_event(observation)


def evaluate(
    storage: dg.DagsterInstance, *, passed: bool, name: str = "wal", partition: str | None = None
) -> None:
    storage.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=BACKUP, check_name=name, passed=passed, partition=partition
        )
    )


def test_old_observations_go_and_the_newest_stays(
    storage: dg.DagsterInstance, engine: Engine
) -> None:
    for lag in range(3):
        observe(storage, lag)
    assert prune(engine) == (0, 0)
    age(engine, 31)
    observe(storage, 3, partition="demo/bella")  # of a partition: another one
    assert prune(engine) == (2, 0)
    records = storage.fetch_observations(BACKUP, limit=10).records
    assert [record.asset_observation.metadata["lag"].value for record in records] == [3, 2]  # type: ignore[union-attr] # observations
    assert rows(engine, "asset_event_tags") == 2
    assert prune(engine) == (0, 0)


def test_a_materialization_from_outside_stays_while_it_is_the_newest(
    storage: dg.DagsterInstance, engine: Engine
) -> None:
    for _ in range(2):
        storage.report_runless_asset_event(dg.AssetMaterialization(BACKUP))
    age(engine, 400)
    assert prune(engine) == (1, 0)
    assert storage.get_latest_materialization_event(BACKUP) is not None
    assert len(storage.fetch_materializations(BACKUP, limit=10).records) == 1


def test_old_outcomes_of_checks_go_with_their_events(
    storage: dg.DagsterInstance, engine: Engine
) -> None:
    for passed in (True, True, False):
        evaluate(storage, passed=passed)
    evaluate(storage, passed=True, name="freshness")
    age(engine, 31)
    assert prune(engine) == (2, 2)
    key = dg.AssetCheckKey(BACKUP, "wal")
    record = storage.get_latest_asset_check_evaluation_record(key)
    assert record is not None
    assert record.evaluation is not None
    assert not record.evaluation.passed
    assert (rows(engine, "event_logs"), rows(engine, "asset_check_executions")) == (2, 2)
    assert prune(engine) == (0, 0)


def test_outcomes_that_a_deleted_run_left_go_and_the_last_stays(
    storage: dg.DagsterInstance, engine: Engine
) -> None:
    @dg.asset
    def checked() -> None:
        """Hold nothing."""

    @dg.asset_check(asset=checked)
    def fine() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    runs = [dg.materialize([checked, fine], instance=storage).run_id for _ in range(2)]
    for run_id in runs:
        storage.delete_run(run_id)
    assert (rows(engine, "event_logs"), rows(engine, "asset_check_executions")) == (0, 2)
    age(engine, 31)
    assert prune(engine) == (0, 1)
    key = dg.AssetCheckKey(dg.AssetKey("checked"), "fine")
    record = storage.get_latest_asset_check_evaluation_record(key)
    assert record is not None
    assert record.run_id == runs[1]


def test_of_a_partition_that_is_gone_no_outcome_is_kept(
    storage: dg.DagsterInstance, engine: Engine
) -> None:
    storage.add_dynamic_partitions("content_days", ["demo/2026-11-23"])
    for day in ("demo/2026-11-23", "demo/2026-11-22"):
        evaluate(storage, passed=True, partition=day)
    assert prune(engine) == (0, 0)
    age(engine, 31)
    ending = find_old_events(engine, datetime.now(UTC) - KEEP, ["demo/2026-11-23"])
    assert (len(ending.event_ids), len(ending.outcome_ids)) == (2, 2)
    assert prune(engine) == (1, 1)
    with transaction(engine) as session:
        left = session.scalars(text("SELECT partition FROM asset_check_executions")).all()
    assert left == ["demo/2026-11-23"]


def test_events_of_runs_are_not_touched(storage: dg.DagsterInstance, engine: Engine) -> None:
    @dg.asset
    def plain() -> None:
        """Hold nothing."""

    dg.materialize([plain], instance=storage)
    before = rows(engine, "event_logs")
    observe(storage, 1)
    observe(storage, 2)
    age(engine, 31)
    assert prune(engine) == (1, 0)
    assert rows(engine, "event_logs") == before + 1


def test_all_is_deleted_in_small_transactions(storage: dg.DagsterInstance, engine: Engine) -> None:
    for lag in range(6):
        observe(storage, lag)
        evaluate(storage, passed=True)
    age(engine, 31)
    assert prune(engine, batch_rows=2) == (10, 5)
    assert rows(engine, "event_logs") == 2


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["observation", "wal", "freshness"]),
            st.sampled_from([None, "demo/bella"]),
            st.integers(0, 60).filter(lambda days: days != KEEP.days),
        ),
        max_size=12,
    )
)
def test_what_is_old_goes_and_nothing_young_and_no_newest(
    storage: dg.DagsterInstance, engine: Engine, reported: list[tuple[str, str | None, int]]
) -> None:
    storage.add_dynamic_partitions("datasets", ["demo/bella"])
    with transaction(engine) as session:
        session.execute(text("TRUNCATE event_logs, asset_check_executions"))
        for number, (kind, partition, days) in enumerate(reported):
            session.execute(
                text(_OBSERVATION if kind == "observation" else _EVALUATION),
                {"id": number, "name": kind, "partition": partition, "days": days},
            )
    prune(engine)
    with transaction(engine) as session:
        left = set(session.scalars(text("SELECT id FROM event_logs")).all())
    newest = {(kind, partition): number for number, (kind, partition, _) in enumerate(reported)}
    young = {number for number, (_, _, days) in enumerate(reported) if days < KEEP.days}
    assert left == young | set(newest.values())


_OBSERVATION = """
INSERT INTO event_logs (id, run_id, event, dagster_event_type, timestamp, asset_key, partition)
VALUES (:id, '', '{}', 'ASSET_OBSERVATION', now() - make_interval(days => :days), 'a', :partition)
"""
_EVALUATION = """
WITH event AS (
  INSERT INTO event_logs (id, run_id, event, dagster_event_type, timestamp)
  VALUES (:id, '', '{}', 'ASSET_CHECK_EVALUATION', now() - make_interval(days => :days)))
INSERT INTO asset_check_executions (id, asset_key, check_name, partition, run_id, execution_status,
                                    evaluation_event_timestamp, evaluation_event_storage_id)
VALUES (:id, 'a', :name, :partition, CAST(:id AS text), 'SUCCEEDED',
        now() - make_interval(days => :days), :id)
"""


def test_tables_of_another_dagster_are_told(postgres_url: str) -> None:
    engine = create_catalog_engine(postgres_url)
    with pytest.raises(PermanentError, match="was it upgraded"):
        find(engine)
    engine.dispose()
