"""Real servers for every test: PostgreSQL and S3 start once per test run, when first asked for."""

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import hypothesis
import pytest

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.local.postgres import PostgresServer
from influencerai_dagster.local.processes import clean_leftovers
from influencerai_dagster_tests.testing import servers
from influencerai_dagster_tests.testing.database_server import database_server
from influencerai_dagster_tests.testing.file_order import (
    pytest_collection_modifyitems,
    pytest_xdist_auto_num_workers,
    pytest_xdist_make_scheduler,
)
from influencerai_dagster_tests.testing.memory_folder import use_memory_folder
from influencerai_dagster_tests.testing.ports import free_port

__all__ = [
    "database_server",
    "pytest_collection_modifyitems",
    "pytest_xdist_auto_num_workers",
    "pytest_xdist_make_scheduler",
]

if TYPE_CHECKING:
    from influencerai_dagster.storage.object_store import ObjectStore

SERVERS_PREFIX = "influencerai-tests-"
TEMPLATE_DATABASE = "migrated_template"

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile(
    "any load", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any load")


def pytest_configure() -> None:
    """Write into memory, and hear Ctrl-C.

    A shell lets programs ignore Ctrl-C that it starts in the background. Dagster handles SIGTERM as
    SIGINT: every process that a test starts would ignore that, too.
    """
    use_memory_folder()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep modules and tests out of the garbage collector, and let it look at the rest less often.

    It took a tenth of the CPU time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        gc.enable()


@pytest.fixture(scope="session")
def servers_dir() -> Iterator[Path]:
    """Not pytest's own folder: under root PostgreSQL is another user, who cannot enter that."""
    _clean_up_after_killed_runs()
    folder = Path(tempfile.mkdtemp(prefix=SERVERS_PREFIX))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _clean_up_after_killed_runs() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{SERVERS_PREFIX}*"):
        if folder.stat().st_uid != os.getuid():
            continue  # anybody may write a record that names our processes
        records = list(folder.glob("*/stack-processes.json"))
        with suppress(PermanentError):  # that test run is alive
            for record in records:
                clean_leftovers(record)
            if records:
                shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(servers_dir: Path) -> Iterator[PostgresServer]:
    folder = servers_dir / "postgres"
    server = PostgresServer(folder / "data", free_port(), uuid4().hex, is_durable=False)
    with servers.running(server.service(os.environ), folder):
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> str:
    """The superuser's URL of the database `postgres`."""
    return postgres_server.url()


@pytest.fixture(scope="session")
def migrated_template(postgres_server: PostgresServer) -> PostgresServer:
    """The server, with a database at the newest revision that others are copied from."""
    from influencerai_dagster.db import migrate  # noqa: PLC0415 - imports Alembic

    url = postgres_server.url(TEMPLATE_DATABASE)
    migrate.ensure_database(url)
    migrate.upgrade(url)
    return postgres_server


@pytest.fixture
def empty_database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a new database without tables."""
    with servers.new_database(postgres_server, template="template0") as url:
        yield url


@pytest.fixture
def database_url(migrated_template: PostgresServer) -> Iterator[str]:
    """The URL of a new database at the newest revision."""
    with servers.new_database(migrated_template, template=TEMPLATE_DATABASE) as url:
        yield url


@pytest.fixture(scope="session")
def s3_server(servers_dir: Path) -> Iterator[servers.S3Server]:
    with servers.rclone_server("rclone", servers_dir) as server:
        yield server


@pytest.fixture(scope="session")
def minio_server(servers_dir: Path) -> Iterator[servers.S3Server]:
    if servers.MINIO is None:
        pytest.skip("no minio on PATH, and MINIO_BIN is not set")
    with servers.minio_server(servers_dir) as server:
        yield server


@pytest.fixture(params=[servers.GIVEN_S3[0]] if servers.GIVEN_S3 else ["rclone", "minio"])
def any_s3(request: pytest.FixtureRequest) -> servers.S3Server:
    """Each S3 server that there is, one after the other."""
    if servers.GIVEN_S3:
        name, url, access_key, secret_key = servers.GIVEN_S3
        return servers.S3Server(name, url, access_key, secret_key, Path())  # where, nobody asks
    server: servers.S3Server = request.getfixturevalue(
        "s3_server" if request.param == "rclone" else "minio_server"
    )
    return server


@pytest.fixture
def object_store(s3_server: servers.S3Server) -> "ObjectStore":
    """A store on an empty bucket."""
    return s3_server.store()
