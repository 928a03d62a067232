"""The catalog behind a real PgBouncer in transaction mode, with its settings as they come."""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import Engine, text

from influencerai_dagster.core.database_urls import libpq_parameters
from influencerai_dagster.core.job_states import JobStatus
from influencerai_dagster.db.data_dir import USER_UNDER_ROOT
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.migrate import current_revision, head_revision, upgrade
from influencerai_dagster.db.notifications import Listener, notify_work
from influencerai_dagster.db.tenants import add_tenant, list_tenants, put_influencer
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.local.postgres import SUPERUSER
from influencerai_dagster.local.probes import listens
from influencerai_dagster.local.supervisor import Service
from influencerai_dagster_tests.testing.catalog import MakeDatabase
from influencerai_dagster_tests.testing.catalog_rows import (
    claim_one,
    complete_job,
    job_now,
    submit_one,
)
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.servers import running

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
CONFIGURATION = """
[databases]
pooled = host={host} port={port} dbname={dbname} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
auth_type = any
pool_mode = transaction
default_pool_size = 2
unix_socket_dir =
"""


@pytest.fixture(scope="module")
def pooled_url(make_database: MakeDatabase, servers_dir: Path) -> Iterator[str]:
    if PGBOUNCER is None:
        pytest.skip("no pgbouncer on PATH or in /usr/sbin")
    port, folder = free_port(), servers_dir / "pgbouncer"
    folder.mkdir()
    configuration = folder / "pgbouncer.ini"
    server = libpq_parameters(make_database())
    configuration.write_text(CONFIGURATION.format(listen_port=port, **server))
    is_root = os.geteuid() == 0  # it refuses to run as root
    service = Service(
        name="pgbouncer",
        command=[PGBOUNCER, str(configuration)],
        environment=os.environ,
        is_ready=lambda: listens(port),
        port=port,
        user=USER_UNDER_ROOT if is_root else None,
    )
    with running(service, folder):
        yield f"postgresql://{SUPERUSER}@127.0.0.1:{port}/pooled"


@pytest.fixture(scope="module")
def pooled(pooled_url: str) -> Iterator[Engine]:
    upgrade(pooled_url)
    engine = create_catalog_engine(pooled_url)
    with transaction(engine) as session:
        add_tenant(session, "demo")
        put_influencer(
            session, "demo", "bella", dataset="bella", trigger_phrase="b", class_caption="c"
        )
    yield engine
    engine.dispose()


def test_migrations_and_revisions_work(pooled: Engine, pooled_url: str) -> None:
    assert pooled is not None
    assert current_revision(pooled_url) == head_revision()


def test_a_job_goes_through_the_queue(pooled: Engine) -> None:
    job = submit_one(pooled)
    complete_job(pooled, claim_one(pooled))
    assert job_now(pooled, job).status is JobStatus.COMPLETED


def test_every_transaction_answers_in_utc_and_holds_no_lock_for_ever(pooled: Engine) -> None:
    def ask(_: int) -> tuple[str, str, timedelta | None]:
        with transaction(pooled) as session:
            shown = session.execute(
                text(
                    "SELECT current_setting('timezone'),"
                    " current_setting('idle_in_transaction_session_timeout'), pg_sleep(0.01)"
                )
            ).one()
            return shown[0], shown[1], list_tenants(session)[0].created_at.utcoffset()

    with ThreadPoolExecutor(8) as threads:  # more than the pooler has connections to the server
        assert set(threads.map(ask, range(40))) == {("UTC", "1min", timedelta(0))}


def test_what_we_set_stays_out_of_the_transactions_of_others(
    pooled: Engine, pooled_url: str
) -> None:
    with transaction(pooled) as session:
        list_tenants(session)
    other = psycopg2.connect(pooled_url)
    try:
        with other.cursor() as cursor:
            cursor.execute("SHOW idle_in_transaction_session_timeout")
            assert cursor.fetchone() == ("0",)
    finally:
        other.close()


def test_signals_are_lost_without_an_error(pooled: Engine) -> None:
    with Listener(pooled) as listener:
        with transaction(pooled) as session:
            notify_work(session)
        assert not listener.wait(0.2)


def test_options_that_the_pooler_refuses_are_named_once_and_for_all(pooled_url: str) -> None:
    engine = create_catalog_engine(f"{pooled_url}?options=-csearch_path%3Dinfl")
    with (
        pytest.raises(PermanentError, match=r"options\. Check .* options in DATABASE_URL"),
        transaction(engine) as session,
    ):
        list_tenants(session)
