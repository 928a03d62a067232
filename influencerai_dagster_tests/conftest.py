"""Real servers for every test: PostgreSQL and S3 start once per test run, when first asked for."""

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import hypothesis
import pytest

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.local.object_store import ObjectStoreServer
from influencerai_dagster.local.postgres import PostgresServer
from influencerai_dagster.local.processes import clean_leftovers, free_port
from influencerai_dagster.local.supervisor import Service, Supervisor
from influencerai_dagster_tests.testing.database_server import database_server
from influencerai_dagster_tests.testing.file_order import (
    pytest_collection_modifyitems,
    pytest_xdist_auto_num_workers,
)

__all__ = ["database_server", "pytest_collection_modifyitems", "pytest_xdist_auto_num_workers"]

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from influencerai_dagster.storage.object_store import ObjectStore

MINIO = os.environ.get("MINIO_BIN") or shutil.which("minio")
GIVEN_S3 = os.environ.get("TEST_S3_SERVER", "").split()
"""Name, address, key and secret of the one server that `any_s3` is to be: of `make s3-matrix`."""
SERVERS_PREFIX = "influencerai-tests-"
TEMPLATE_DATABASE = "migrated_template"

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile(
    "any load", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any load")


@dataclass(frozen=True)
class S3Server:
    """A running S3 server; each subfolder of root_dir is a bucket."""

    name: str
    endpoint_url: str
    access_key: str
    secret_key: str
    root_dir: Path

    def client(self) -> "S3Client":
        return _s3_client(self.endpoint_url, self.access_key, self.secret_key)

    def store(self, bucket: str | None = None) -> "ObjectStore":
        """A store on a bucket of its own, or on the one named, which is made if missing."""
        from influencerai_dagster.storage.object_store import ObjectStore  # noqa: PLC0415 - slow

        store = ObjectStore(self.client(), bucket or f"bucket-{uuid4().hex[:12]}")
        store.ensure_bucket()
        return store


@lru_cache  # a client takes 0.2 s to make
def _s3_client(endpoint_url: str, access_key: str, secret_key: str) -> "S3Client":
    from influencerai_dagster.storage.client import make_s3_client  # noqa: PLC0415 - slow

    return make_s3_client(
        endpoint_url=endpoint_url,
        access_key=access_key,
        secret_key=secret_key,
        region="us-east-1",
        path_style=True,
        checksum_mode="when_required",
    )


def pytest_configure() -> None:
    """Hear Ctrl-C, which a shell lets the programs ignore that it starts in the background.

    Dagster handles SIGTERM as SIGINT: every process that a test starts would ignore that, too.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep modules and tests out of the garbage collector, which looks at them again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
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


@contextmanager
def running(service: Service, folder: Path) -> Iterator[None]:
    """Run a service until the end of the block."""
    with Supervisor([service], data_dir=folder, announce=print) as supervisor:
        supervisor.start()
        yield


@pytest.fixture(scope="session")
def postgres_server(servers_dir: Path) -> Iterator[PostgresServer]:
    folder = servers_dir / "postgres"
    server = PostgresServer(folder / "data", free_port(), uuid4().hex, is_durable=False)
    with running(server.service(os.environ), folder):
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
    with _database(postgres_server, template="template0") as url:
        yield url


@pytest.fixture
def database_url(migrated_template: PostgresServer) -> Iterator[str]:
    """The URL of a new database at the newest revision."""
    with _database(migrated_template, template=TEMPLATE_DATABASE) as url:
        yield url


@contextmanager
def _database(server: PostgresServer, *, template: str) -> Iterator[str]:
    import psycopg2  # noqa: PLC0415 - only where a database is asked for

    name = f"test_{uuid4().hex[:12]}"
    connection = psycopg2.connect(server.url())
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
            yield server.url(name)
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        connection.close()


@contextmanager
def rclone_server(name: str, servers_dir: Path) -> Iterator[S3Server]:
    """Run one more `rclone serve s3` until the end of the block."""
    folder, port, secret_key = servers_dir / name, free_port(), uuid4().hex
    rclone = ObjectStoreServer(folder / "buckets", port, "test-access", secret_key)
    server = S3Server(name, rclone.endpoint_url, "test-access", secret_key, folder / "buckets")
    server.root_dir.mkdir(parents=True)
    with running(rclone.service(os.environ), folder):
        yield server


@contextmanager
def _minio_server(servers_dir: Path) -> Iterator[S3Server]:
    folder, port, secret_key = servers_dir / "minio", free_port(), uuid4().hex
    url = f"http://127.0.0.1:{port}"
    server = S3Server("minio", url, "test-access", secret_key, folder / "buckets")
    server.root_dir.mkdir(parents=True)
    with running(_minio(server, port), folder):
        yield server


def _minio(server: S3Server, port: int) -> Service:
    def is_ready() -> bool:
        try:
            return httpx.get(f"{server.endpoint_url}/minio/health/ready", timeout=1).is_success
        except httpx.TransportError:
            return False

    address = [f"--address=127.0.0.1:{port}", f"--console-address=127.0.0.1:{free_port()}"]
    return Service(
        name="minio",
        command=[str(MINIO), "server", *address, str(server.root_dir)],
        environment={
            **os.environ,
            "MINIO_ROOT_USER": server.access_key,
            "MINIO_ROOT_PASSWORD": server.secret_key,
            "MINIO_UPDATE": "off",
        },
        is_ready=is_ready,
    )


@pytest.fixture(scope="session")
def s3_server(servers_dir: Path) -> Iterator[S3Server]:
    with rclone_server("rclone", servers_dir) as server:
        yield server


@pytest.fixture(scope="session")
def minio_server(servers_dir: Path) -> Iterator[S3Server]:
    if MINIO is None:
        pytest.skip("no minio on PATH, and MINIO_BIN is not set")
    with _minio_server(servers_dir) as server:
        yield server


@pytest.fixture(params=[GIVEN_S3[0]] if GIVEN_S3 else ["rclone", "minio"])
def any_s3(request: pytest.FixtureRequest) -> S3Server:
    """Each S3 server that there is, one after the other."""
    if GIVEN_S3:
        name, url, access_key, secret_key = GIVEN_S3
        return S3Server(name, url, access_key, secret_key, Path())  # where, nobody asks
    server: S3Server = request.getfixturevalue(
        "s3_server" if request.param == "rclone" else "minio_server"
    )
    return server


@pytest.fixture
def object_store(s3_server: S3Server) -> "ObjectStore":
    """A store on an empty bucket."""
    return s3_server.store()
