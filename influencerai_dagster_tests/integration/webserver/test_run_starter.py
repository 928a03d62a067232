"""Jobs get their run at once: bare rows, crashes, several starters and a run that cannot start."""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
from sqlalchemy import Engine

from influencerai_dagster.core.dagster_names import CODE_LOCATION, NO_RETRIES
from influencerai_dagster.dagster_client.client import DagsterGraphQL
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.tenants import add_tenant
from influencerai_dagster.orchestration.generation.pending_jobs_sensor import pending_jobs_sensor
from influencerai_dagster.orchestration.resources.catalog import Catalog
from influencerai_dagster.webserver.run_starter import RunStarter
from influencerai_dagster_tests.testing.dagster_site import PASSWORD, USER, Site, running_site
from influencerai_dagster_tests.testing.database_server import execute
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.waiting import wait_until

DAY = "2026-11-23"
BARE_ROW = """INSERT INTO jobs (id, tenant_id, day, kind, priority, payload, max_attempts) VALUES
    (gen_random_uuid(), '{tenant}', '{day}', 'image', 5,
     jsonb_build_object('kind', 'image', 'prompt', 'bella'), 3)"""
FIRST_LOOK_SECONDS = 20.0


@pytest.fixture(scope="module")
def site(servers_dir: Path) -> Iterator[Site]:
    with running_site(servers_dir / "run-starter") as site:
        yield site


@pytest.fixture
def engine(site: Site) -> Iterator[Engine]:
    engine = create_catalog_engine(site.catalog_url)
    yield engine
    engine.dispose()


@pytest.fixture
def tenant(engine: Engine) -> str:
    """A tenant that no other test has."""
    return new_tenant(engine)


def new_tenant(engine: Engine) -> str:
    name = f"t{uuid4().hex[:8]}"
    with transaction(engine) as session:
        add_tenant(session, name)
    return name


def insert_row(site: Site, tenant: str) -> None:
    """Insert a job as a program does that knows the table and nothing of ours."""
    execute(site.catalog_url, BARE_ROW.format(tenant=tenant, day=DAY))


def runs_of(site: Site, tenant: str) -> list[dict[str, str]]:
    """The runs of a tenant's day, each with its status and its tags."""
    found = site.ask(
        "query($f: RunsFilter) { runsOrError(filter: $f) { ... on Runs { results {"
        " status jobName tags { key value } } } } }",
        f={"tags": [{"key": "dagster/partition", "value": f"{tenant}/{DAY}"}]},
    )["runsOrError"]["results"]
    return [
        {"status": run["status"], "job": run["jobName"]}
        | {tag["key"]: tag["value"] for tag in run["tags"]}
        for run in found
    ]


def has_run(site: Site, tenant: str) -> bool:
    return any(run["status"] == "QUEUED" for run in runs_of(site, tenant))


@contextmanager
def another_starter(site: Site, engine: Engine, url: str) -> Iterator[None]:
    """A second one, as of a web server elsewhere, that launches runs at a URL."""
    credentials = (USER, PASSWORD)
    with (
        instance_of(site) as instance,
        closing(DagsterGraphQL(url, CODE_LOCATION, credentials=credentials)) as dagster,
    ):
        starter = RunStarter(engine, instance, dagster, look_seconds=0.5)
        thread = threading.Thread(target=starter.run)
        thread.start()
        try:
            yield
        finally:
            starter.stop()
            thread.join()


@contextmanager
def instance_of(site: Site) -> Iterator[dg.DagsterInstance]:
    storage = {"storage": {"postgres": {"postgres_url": site.storage_url}}}
    with dg.instance_for_test(overrides=storage) as instance:
        yield instance


def test_a_row_that_any_program_inserts_has_its_run_at_once(site: Site, tenant: str) -> None:
    insert_row(site, tenant)
    inserted_at = time.monotonic()
    wait_until(lambda: has_run(site, tenant), "the run", timeout_seconds=FIRST_LOOK_SECONDS)
    assert time.monotonic() - inserted_at < 4, "without a notification it would be 5 s"
    (run,) = runs_of(site, tenant)
    assert (run["status"], run["job"]) == ("QUEUED", "generate_images_job")
    assert NO_RETRIES.items() <= run.items()
    assert int(run["dagster/priority"]) > 3_000_000, "renders come first"


def test_a_burst_of_rows_is_one_run(site: Site, tenant: str) -> None:
    for _ in range(200):
        insert_row(site, tenant)
    wait_until(lambda: has_run(site, tenant), "the run")
    time.sleep(2)
    assert len(runs_of(site, tenant)) == 1


def test_rows_are_seen_after_postgresql_crashed(site: Site, tenant: str) -> None:
    site.restart_postgres()
    insert_row(site, tenant)
    wait_until(lambda: has_run(site, tenant), "the run", timeout_seconds=FIRST_LOOK_SECONDS)
    assert len(runs_of(site, tenant)) == 1


def test_rows_that_came_while_the_web_server_was_killed_have_their_run_when_it_is_back(
    site: Site, tenant: str
) -> None:
    site.webserver.kill()
    insert_row(site, tenant)
    site.webserver.start(90)
    wait_until(lambda: has_run(site, tenant), "the run", timeout_seconds=FIRST_LOOK_SECONDS)
    assert len(runs_of(site, tenant)) == 1


def test_two_starters_make_no_second_run(site: Site, engine: Engine) -> None:
    tenants = [new_tenant(engine) for _ in range(8)]
    with another_starter(site, engine, site.url):
        for tenant in tenants * 3:
            insert_row(site, tenant)
        for tenant in tenants:
            wait_until(partial(has_run, site, tenant), "the run")
        time.sleep(2)
    assert [len(runs_of(site, tenant)) for tenant in tenants] == [1] * len(tenants)


def test_while_the_starter_is_frozen_the_sensor_starts_runs(site: Site, tenant: str) -> None:
    site.webserver.send(signal.SIGSTOP)
    try:
        insert_row(site, tenant)
        catalog = Catalog(site.catalog_url)
        with (
            instance_of(site) as instance,
            catalog.opened(),
            dg.build_sensor_context(instance, resources={"catalog": catalog}) as context,
        ):
            result = pending_jobs_sensor(context)
        assert isinstance(result, dg.SensorResult)
        assert f"{tenant}/{DAY}" in [run.partition_key for run in result.run_requests or []]
    finally:
        site.webserver.send(signal.SIGCONT)
    wait_until(lambda: has_run(site, tenant), "the run", timeout_seconds=FIRST_LOOK_SECONDS)


def test_that_dagster_is_away_is_logged_once(
    site: Site, engine: Engine, tenant: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.webserver.kill()  # and no later test needs it
    with (
        caplog.at_level(logging.WARNING),
        another_starter(site, engine, f"http://127.0.0.1:{free_port()}"),
    ):
        insert_row(site, tenant)
        wait_until(lambda: "does not answer" in caplog.text, "the warning")
        insert_row(site, tenant)
        time.sleep(3)
    assert caplog.text.count("Starting runs for submitted jobs failed") == 1
