"""The servers that benchmarks run on: those of the local stack, in a folder that is removed."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from influencerai_dagster.catalog import migrate
from influencerai_dagster.local.object_store import ObjectStoreServer
from influencerai_dagster.local.postgres import PostgresServer
from influencerai_dagster.local.processes import free_port
from influencerai_dagster.local.supervisor import Service, Supervisor
from influencerai_dagster.storage.client import make_s3_client
from influencerai_dagster.storage.object_store import ObjectStore

BUCKET = "assets"
REGION = "us-east-1"


@dataclass(frozen=True)
class S3Server:
    """A running S3 server with the one bucket `assets`.

    Attributes:
        bucket_dir: a file that is written there is an object.
    """

    endpoint_url: str
    access_key: str
    secret_key: str
    bucket_dir: Path

    def store(self) -> ObjectStore:
        """Return a store with a client of its own."""
        client = make_s3_client(
            endpoint_url=self.endpoint_url,
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=REGION,
            path_style=True,
            checksum_mode="when_required",
        )
        return ObjectStore(client, BUCKET)


@contextmanager
def running_s3() -> Iterator[S3Server]:
    """Run an S3 server until the end of the block."""
    with _folder() as folder:
        secret_key = uuid4().hex
        server = ObjectStoreServer(
            folder / "buckets", free_port(), "benchmark", secret_key, buckets=[BUCKET]
        )
        with _running(server.service(os.environ), folder):
            yield S3Server(server.endpoint_url, "benchmark", secret_key, server.root_dir / BUCKET)


@contextmanager
def running_catalog() -> Iterator[str]:
    """Run PostgreSQL until the end of the block; yield the URL of an empty catalog."""
    with _folder() as folder:
        server = PostgresServer(folder / "data", free_port(), uuid4().hex, is_durable=False)
        with _running(server.service(os.environ), folder):
            url = server.url("influencerai")
            migrate.ensure_database(url)
            migrate.upgrade(url)
            yield url


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="influencerai-benchmarks-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(service: Service, folder: Path) -> Iterator[None]:
    with Supervisor([service], data_dir=folder, announce=print) as supervisor:
        supervisor.start()
        yield
