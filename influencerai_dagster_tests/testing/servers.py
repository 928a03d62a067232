"""Real servers that tests start: PostgreSQL databases, rclone and MinIO as S3 servers."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
from botocore.exceptions import ClientError

from influencerai_dagster.local.object_store import ObjectStoreServer
from influencerai_dagster.local.postgres import PostgresServer
from influencerai_dagster.local.supervisor import Service, Supervisor
from influencerai_dagster_tests.testing.ports import free_port

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from influencerai_dagster.storage.object_store import ObjectStore

MINIO = os.environ.get("MINIO_BIN") or shutil.which("minio")
GIVEN_S3 = os.environ.get("TEST_S3_SERVER", "").split()
"""Name, address, key and secret of the one server that `any_s3` is to be: of `make s3-matrix`."""


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
        try:
            store.client.head_bucket(Bucket=store.bucket)
        except ClientError:
            store.client.create_bucket(Bucket=store.bucket)
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


@contextmanager
def running(service: Service, folder: Path) -> Iterator[None]:
    """Run a service until the end of the block."""
    with Supervisor([service], data_dir=folder, announce=print) as supervisor:
        supervisor.start()
        yield


@contextmanager
def new_database(server: PostgresServer, *, template: str) -> Iterator[str]:
    """Create a database from a template, until the end of the block."""
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
def minio_server(servers_dir: Path) -> Iterator[S3Server]:
    """Run MinIO until the end of the block."""
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
