"""Run an S3 server with buckets to copy between: MinIO if it is found, otherwise rclone.

MinIO is taken from MINIO_BIN or PATH. The local stack's server reads every file for each listing,
which no other S3 does: on it, listings cost about as much as copies.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx

from benchmarks.servers import BUCKET, REGION, S3Server, running_services
from influencerai_dagster.backup.objects.locations import BackupTarget, Bucket
from influencerai_dagster.backup.objects.rclone import Rclone
from influencerai_dagster.backup.objects.rclone_log import CopyProgress
from influencerai_dagster.local.object_store import ObjectStoreServer
from influencerai_dagster.local.supervisor import Service
from influencerai_dagster_tests.testing.ports import free_port

MINIO = os.environ.get("MINIO_BIN") or shutil.which("minio")
BACKUPS = "backups"
_KEY = "benchmark"


@dataclass(frozen=True)
class Buckets:
    """A running S3 server with the buckets `assets` and `backups`.

    Attributes:
        program: what serves it.
    """

    program: str
    endpoint_url: str
    secret_key: str

    def location(self, bucket: str, prefix: str = "") -> Bucket:
        """Return a bucket, or a part of it, as rclone gets it."""
        return Bucket(
            bucket,
            endpoint_url=self.endpoint_url,
            access_key=_KEY,
            secret_key=self.secret_key,
            region=REGION,
            prefix=prefix,
        )

    def upload(self, folder: Path) -> None:
        """Copy a folder into the bucket of assets."""
        rclone = Rclone(folder, BackupTarget(self.location(BUCKET)))
        result = rclone.copy("source:", "target:", "--no-traverse", on_progress=_quiet)
        assert not result.failures, result.failures

    def remove(self, location: Bucket) -> None:
        """Remove all that is below a prefix."""
        Rclone(location, BackupTarget(location)).purge("target:")


@contextmanager
def running_buckets(folder: Path) -> Iterator[Buckets]:
    """Run the server until the end of the block; its files are below the folder."""
    own_folder, port, secret_key = folder / "s3", free_port(), uuid4().hex
    own_folder.mkdir()
    root_dir = own_folder / "buckets"
    server = ObjectStoreServer(root_dir, port, _KEY, secret_key, buckets=[BUCKET, BACKUPS])
    program = "rclone serve s3" if MINIO is None else "MinIO"
    service = server.service(os.environ) if MINIO is None else _minio(server)
    with running_services([service], own_folder):
        buckets = Buckets(program, server.endpoint_url, secret_key)
        if MINIO is not None:
            _make_buckets(server)
        yield buckets


def _make_buckets(server: ObjectStoreServer) -> None:
    # The folder has no part in it: a bucket of MinIO is made by its protocol.
    access = S3Server(server.endpoint_url, _KEY, server.secret_key, server.root_dir)
    for bucket in server.buckets or ():
        access.store().client.create_bucket(Bucket=bucket)


def _minio(server: ObjectStoreServer) -> Service:
    server.root_dir.mkdir(parents=True)
    addresses = [
        f"--address=127.0.0.1:{server.port}",
        f"--console-address=127.0.0.1:{free_port()}",
    ]
    return Service(
        name="minio",
        command=[str(MINIO), "server", *addresses, str(server.root_dir)],
        environment={
            **os.environ,
            "MINIO_ROOT_USER": _KEY,
            "MINIO_ROOT_PASSWORD": server.secret_key,
            "MINIO_UPDATE": "off",
        },
        is_ready=lambda: _answers(f"{server.endpoint_url}/minio/health/ready"),
        port=server.port,
    )


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _quiet(_: CopyProgress) -> None:
    """Print nothing."""
