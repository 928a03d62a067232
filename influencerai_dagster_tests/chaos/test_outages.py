"""A server goes away while a job is under way: the job is completed, and little is lost."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest

from influencerai_dagster.core.job_states import JobStatus
from influencerai_dagster.db import migrate
from influencerai_dagster.local.postgres import PostgresServer
from influencerai_dagster_tests.chaos.servers import Killable
from influencerai_dagster_tests.chaos.workbench import Workbench
from influencerai_dagster_tests.testing.catalog_rows import end_backoff
from influencerai_dagster_tests.testing.ports import free_port

SUCCESS = "execution_success"
SLOW_STEPS = 200
_ENOUGH_REFUSALS = 5  # boto3 asks four times before it gives up: that was not the end


@pytest.fixture(scope="module")
def killable_postgres(servers_dir: Path) -> Iterator[tuple[PostgresServer, Killable]]:
    """A PostgreSQL of its own, because the other tests need theirs."""
    folder = servers_dir / f"postgres-{uuid4().hex[:8]}"
    server = PostgresServer(folder / "data", free_port(), uuid4().hex)
    folder.mkdir()
    killable = Killable(server.service(os.environ), folder / "postgres.log")
    killable.start()
    yield server, killable
    killable.end()


@pytest.fixture
def database_url(killable_postgres: tuple[PostgresServer, Killable]) -> str:
    """A catalog on the server that is killed."""
    server, killable = killable_postgres
    killable.start()  # a test that failed may have left it down
    url = server.url(f"test_{uuid4().hex[:12]}")
    migrate.ensure_database(url)
    migrate.upgrade(url)
    return url


def test_a_job_whose_comfyui_restarts_is_rendered_again(workbench: Workbench) -> None:
    workbench.comfyui.faults(seconds_per_step=0.1)
    job = workbench.submit(steps=SLOW_STEPS)
    workbench.start_worker()
    workbench.wait_until(lambda: workbench.is_rendering(job), "it renders")
    workbench.comfyui.restart()

    def is_completed() -> bool:
        end_backoff(workbench.engine)
        return workbench.status(job) is JobStatus.COMPLETED

    workbench.wait_until(is_completed, "it is completed")
    assert workbench.renders(job) == {2: SUCCESS}
    assert workbench.output(job)


def test_an_outage_of_s3_costs_neither_a_render_nor_an_attempt(workbench: Workbench) -> None:
    job = workbench.submit()
    workbench.s3_proxy.answer_503()
    workbench.start_worker()
    workbench.wait_until(
        lambda: workbench.s3_proxy.num_refused >= _ENOUGH_REFUSALS,
        "its requests to S3 were refused",
    )
    workbench.s3_proxy.heal()
    workbench.wait_until(lambda: workbench.status(job) is JobStatus.COMPLETED, "it is completed")
    assert workbench.renders(job) == {1: SUCCESS}
    assert workbench.now(job).attempt == 1
    assert workbench.output(job).object_key.endswith("/output.png")


@pytest.mark.parametrize("is_kill", [False, True], ids=["restarted", "killed"])
def test_a_postgresql_that_restarts_costs_neither_a_render_nor_an_attempt(
    workbench: Workbench,
    killable_postgres: tuple[PostgresServer, Killable],
    is_kill: bool,  # noqa: FBT001 - parametrized
) -> None:
    workbench.comfyui.faults(seconds_per_step=0.1)
    job = workbench.submit(steps=SLOW_STEPS)
    workbench.start_worker()
    workbench.wait_until(lambda: workbench.is_rendering(job), "it renders")
    postgres = killable_postgres[1]
    (postgres.kill if is_kill else postgres.end)()
    workbench.comfyui.faults(seconds_per_step=0.0)
    workbench.wait_until(lambda: bool(workbench.stored()), "it has stored the output")
    postgres.start()
    workbench.wait_until(lambda: workbench.status(job) is JobStatus.COMPLETED, "it is completed")
    assert workbench.renders(job) == {1: SUCCESS}
    assert workbench.now(job).attempt == 1
    assert workbench.output(job)


def test_a_postgresql_that_is_read_only_costs_neither_a_render_nor_an_attempt(
    workbench: Workbench, killable_postgres: tuple[PostgresServer, Killable]
) -> None:
    workbench.comfyui.faults(seconds_per_step=0.1)
    job = workbench.submit(steps=SLOW_STEPS)
    workbench.start_worker()
    workbench.wait_until(lambda: workbench.is_rendering(job), "it renders")
    with read_only(killable_postgres[0]):
        workbench.comfyui.faults(seconds_per_step=0.0)
        workbench.wait_until(lambda: bool(workbench.stored()), "it has stored the output")
        workbench.wait_until(lambda: "until PostgreSQL is back" in workbench.log(), "it waits")
        refused = "read-only transaction. Retry.; trying again"
        workbench.wait_until(lambda: refused in workbench.log(), "its output was refused")
    workbench.wait_until(lambda: workbench.status(job) is JobStatus.COMPLETED, "it is completed")
    assert workbench.renders(job) == {1: SUCCESS}
    assert workbench.now(job).attempt == 1
    assert workbench.output(job)


@contextmanager
def read_only(server: PostgresServer) -> Iterator[None]:
    """Let the server take no writes, as during a failover."""
    connection = psycopg2.connect(server.url())
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")
            for value in ("on", "off"):
                cursor.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
                cursor.execute("SELECT pg_reload_conf()")
                if value == "on":
                    yield
    finally:
        connection.close()
