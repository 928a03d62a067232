"""The heartbeat of a run: from its first step to its end, over restarts of PostgreSQL."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
from sqlalchemy import text

from influencerai_dagster.core.run_health import Heartbeat
from influencerai_dagster.db import run_heartbeats
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.migrate import upgrade
from influencerai_dagster.db.run_heartbeats import Activity
from influencerai_dagster.local.postgres import PostgresServer
from influencerai_dagster.orchestration.resources.catalog import (
    Catalog,
    CatalogResource,
    catalog_resource,
)
from influencerai_dagster.orchestration.resources.run_heartbeat import RunHeartbeat, describe
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.servers import running
from influencerai_dagster_tests.testing.waiting import wait_until

WAIT_SECONDS = 20.0
EVERY_SECONDS = 0.05
RUN = dg.DagsterRun(job_name="generate_images_job", tags={"dagster/partition": "demo/2026-11-23"})


@pytest.fixture(autouse=True)
def no_heartbeats(catalog: Catalog) -> Iterator[None]:
    forget_heartbeats(catalog)  # of runs of other tests on this database
    yield
    forget_heartbeats(catalog)


def forget_heartbeats(catalog: Catalog) -> None:
    with transaction(catalog.engine) as session:
        session.execute(text("TRUNCATE run_heartbeats"))


def heartbeats(url: str) -> list[Heartbeat]:
    engine = create_catalog_engine(url)
    try:
        with transaction(engine) as session:
            return run_heartbeats.list_heartbeats(session)
    finally:
        engine.dispose()


def execute(
    catalog: Catalog, instance: dg.DagsterInstance, body: Callable[[Catalog], None]
) -> dg.ExecuteInProcessResult:
    """Run a job of one op in this process, on resources as a run makes them."""

    @dg.op
    def step(catalog: CatalogResource) -> None:
        body(catalog)

    @dg.job(name="generate_images_job", tags={"dagster/partition": "demo/2026-11-23"})
    def job() -> None:
        step()

    fresh = catalog_resource(catalog.database_url)
    return job.execute_in_process(
        resources={"catalog": fresh}, instance=instance, raise_on_error=False
    )


def test_a_run_beats_while_its_op_works_and_tells_what_it_does(
    catalog: Catalog, instance: dg.DagsterInstance
) -> None:
    reported: list[str] = []

    def body(resource: Catalog) -> None:
        def activities() -> list[str]:
            return [beat.activity for beat in heartbeats(catalog.database_url)]

        wait_until(
            lambda: activities() == ["generate_images_job demo/2026-11-23"],
            "its job",
        )
        with resource.doing(Activity("train_lora demo/bella")):
            wait_until(lambda: activities() == ["train_lora demo/bella"], "its step")
        wait_until(
            lambda: activities() == ["generate_images_job demo/2026-11-23"],
            "its job",
        )
        reported.extend(beat.host for beat in heartbeats(catalog.database_url))

    assert execute(catalog, instance, body).success
    assert reported[0].startswith(f"process {os.getpid()} on ")


def test_an_activity_is_written_at_once(catalog: Catalog) -> None:
    heartbeat = RunHeartbeat(catalog.database_url, RUN, every_seconds=3600.0)
    heartbeat.start()
    with heartbeat.doing(Activity("train_lora demo/bella")):
        wait_until(
            lambda: (
                "train_lora demo/bella"
                in [beat.activity for beat in heartbeats(catalog.database_url)]
            ),
            "its activity is recorded",
        )
    heartbeat.stop()


def test_after_its_last_step_a_run_no_longer_beats_and_its_row_stays_until_it_is_over(
    catalog: Catalog, instance: dg.DagsterInstance
) -> None:
    def body(_: Catalog) -> None:
        wait_until(lambda: heartbeats(catalog.database_url), "a heartbeat")

    result = execute(catalog, instance, body)
    assert [beat.run_id for beat in heartbeats(catalog.database_url)] == [result.run_id]
    assert "run-heartbeat" not in {thread.name for thread in threading.enumerate()}


def test_a_run_that_was_ended_as_stalled_stops(
    catalog: Catalog, instance: dg.DagsterInstance
) -> None:
    def body(resource: Catalog) -> None:
        wait_until(lambda: heartbeats(catalog.database_url), "a heartbeat")
        (beat,) = heartbeats(catalog.database_url)
        with transaction(catalog.engine) as session:
            run_heartbeats.end(session, beat.run_id)
        with resource.doing(Activity("its next heartbeat is sent at once")):
            threading.Event().wait(WAIT_SECONDS)

    started = time.monotonic()
    result = execute(catalog, instance, body)

    assert not result.success
    assert time.monotonic() - started < WAIT_SECONDS
    assert heartbeats(catalog.database_url) == []


def test_a_tick_of_a_sensor_has_no_heartbeat(
    catalog: Catalog, instance: dg.DagsterInstance
) -> None:
    @dg.sensor(job_name="any_job")
    def sensor(catalog: CatalogResource) -> dg.SkipReason:
        with catalog.doing(Activity("nothing")):
            return dg.SkipReason("no jobs")

    resources = {"catalog": catalog_resource(catalog.database_url)}
    with dg.build_sensor_context(instance, resources=resources) as context:
        result = sensor(context)
    assert isinstance(result, dg.SkipReason)
    assert result.skip_message == "no jobs"
    assert heartbeats(catalog.database_url) == []


def test_a_heartbeat_outlives_the_absence_of_postgresql(servers_dir: Path) -> None:
    folder = servers_dir / f"heartbeat-{uuid4().hex[:8]}"
    server = PostgresServer(folder / "data", free_port(), uuid4().hex, is_durable=False)
    with running(server.service(os.environ), folder):
        upgrade(server.url())
    heartbeat = RunHeartbeat(server.url(), RUN, every_seconds=EVERY_SECONDS)
    heartbeat.start()  # while it is away
    for _ in range(2):
        with running(server.service(os.environ), folder):
            engine = create_catalog_engine(server.url())
            with transaction(engine) as session:
                session.execute(text("UPDATE run_heartbeats SET beat_at = 'epoch'"))

            def has_beaten() -> bool:
                with transaction(engine) as session:  # noqa: B023 - called in this round only
                    statement = text("SELECT beat_at > 'epoch' FROM run_heartbeats")
                    return bool(session.scalar(statement))

            wait_until(has_beaten, "a heartbeat after the restart")
            engine.dispose()
    heartbeat.stop()


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        pytest.param(RUN, "generate_images_job demo/2026-11-23", id="job"),
        pytest.param(
            dg.DagsterRun(
                job_name="__ASSET_JOB",
                asset_selection=frozenset({dg.AssetKey("dataset"), dg.AssetKey("captions")}),
            ),
            "captions, dataset",
            id="assets chosen by an operator",
        ),
        pytest.param(dg.DagsterRun(job_name="__ASSET_JOB"), "checks", id="checks alone"),
    ],
)
def test_an_activity_names_the_job_or_the_assets(run: dg.DagsterRun, expected: str) -> None:
    assert describe(run) == expected
