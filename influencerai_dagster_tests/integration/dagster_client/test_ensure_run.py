"""A run for what was ordered: one, and never a second while it is alive."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date
from uuid import uuid4

import dagster as dg
import pytest
from sqlalchemy import Engine

from influencerai_dagster.core.dagster_names import DAY_PARTITIONS, GENERATION_JOBS
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.dagster_client.client import DagsterGraphQL
from influencerai_dagster.dagster_client.ensure_run import ensure_run
from influencerai_dagster.db.engine import create_catalog_engine
from influencerai_dagster.errors import TransientError
from influencerai_dagster_tests.testing.dagster_server import (
    LOCATION,
    queued_instance,
    running_webserver,
)
from influencerai_dagster_tests.testing.ports import free_port


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with queued_instance() as instance:
        yield instance


@pytest.fixture(scope="module")
def dagster(instance: dg.DagsterInstance) -> Iterator[DagsterGraphQL]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATABASE_URL", "S3_KEY", "S3_SECRET"):  # a launch looks whether they are set
            patch.setenv(name, "postgresql://nobody@127.0.0.1/nothing")
        with (
            running_webserver(instance) as url,
            closing(DagsterGraphQL(url, LOCATION)) as dagster,
        ):
            yield dagster


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    """Only its locks are used."""
    engine = create_catalog_engine(postgres_url)
    yield engine
    engine.dispose()


@pytest.fixture
def day() -> DayKey:
    """A tenant-day that no other test has."""
    return DayKey(f"t{uuid4().hex[:8]}", date(2026, 11, 23))


def runs_of(instance: dg.DagsterInstance, day: DayKey) -> list[dg.DagsterRun]:
    return list(instance.get_runs(dg.RunsFilter(tags={"dagster/partition": str(day)})))


@pytest.mark.parametrize("kind", JobKind)
def test_without_a_run_one_is_launched_without_jobs_for_the_day(
    dagster: DagsterGraphQL,
    instance: dg.DagsterInstance,
    engine: Engine,
    day: DayKey,
    kind: JobKind,
) -> None:
    ensured = ensure_run(dagster, engine, kind, day)
    (run,) = runs_of(instance, day)
    assert ensured.is_new
    assert (run.run_id, run.job_name, run.run_config) == (ensured.run_id, GENERATION_JOBS[kind], {})
    assert str(day) in instance.get_dynamic_partitions(DAY_PARTITIONS)


def test_a_run_that_waits_in_the_queue_is_not_doubled(
    dagster: DagsterGraphQL, instance: dg.DagsterInstance, engine: Engine, day: DayKey
) -> None:
    first = ensure_run(dagster, engine, JobKind.IMAGE, day)
    (run,) = runs_of(instance, day)
    assert run.status is dg.DagsterRunStatus.QUEUED
    second = ensure_run(dagster, engine, JobKind.IMAGE, day)
    assert (second.run_id, second.is_new) == (first.run_id, False)
    assert len(runs_of(instance, day)) == 1


@pytest.mark.parametrize("status", ["STARTING", "STARTED", "CANCELING"])
def test_a_run_that_works_is_not_doubled(
    dagster: DagsterGraphQL, instance: dg.DagsterInstance, engine: Engine, day: DayKey, status: str
) -> None:
    run = dg.DagsterRun(
        job_name=GENERATION_JOBS[JobKind.IMAGE],
        run_id=str(uuid4()),
        status=dg.DagsterRunStatus(status),
        tags={"dagster/partition": str(day)},
    )
    instance.add_run(run)
    ensured = ensure_run(dagster, engine, JobKind.IMAGE, day)
    assert (ensured.run_id, ensured.is_new) == (run.run_id, False)
    assert len(runs_of(instance, day)) == 1


def test_a_run_that_has_ended_is_followed_by_another(
    dagster: DagsterGraphQL, instance: dg.DagsterInstance, engine: Engine, day: DayKey
) -> None:
    first = ensure_run(dagster, engine, JobKind.IMAGE, day)
    run = instance.get_run_by_id(first.run_id)
    assert run is not None
    instance.report_run_failed(run)
    assert ensure_run(dagster, engine, JobKind.IMAGE, day).run_id != first.run_id


def test_runs_of_another_day_or_kind_do_not_count(
    dagster: DagsterGraphQL, engine: Engine, day: DayKey
) -> None:
    other_day = DayKey(day.tenant, date(2026, 11, 24))
    ensured = [
        ensure_run(dagster, engine, JobKind.IMAGE, day),
        ensure_run(dagster, engine, JobKind.VIDEO, day),
        ensure_run(dagster, engine, JobKind.IMAGE, other_day),
    ]
    assert [item.is_new for item in ensured] == [True, True, True]


def test_callers_at_the_same_moment_launch_one_run(
    dagster: DagsterGraphQL, instance: dg.DagsterInstance, engine: Engine, day: DayKey
) -> None:
    with ThreadPoolExecutor(4) as pool:
        ensured = list(
            pool.map(lambda _: ensure_run(dagster, engine, JobKind.IMAGE, day), range(4))
        )
    assert len(runs_of(instance, day)) == 1
    assert sum(item.is_new for item in ensured) == 1


def test_dagster_that_is_away_is_a_passing_error(engine: Engine, day: DayKey) -> None:
    with (
        closing(DagsterGraphQL(f"http://127.0.0.1:{free_port()}", LOCATION)) as away,
        pytest.raises(TransientError, match="does not answer"),
    ):
        ensure_run(away, engine, JobKind.IMAGE, day)
