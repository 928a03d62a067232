"""A bucket to back up, and a second S3 server for its backup."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from influencerai_dagster.backup.objects.locations import Bucket
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.backed_up import BackedUp, backed_up_system, bucket_of
from influencerai_dagster_tests.testing.dumped import Dumped, dumped_system
from influencerai_dagster_tests.testing.servers import S3Server, rclone_server


@pytest.fixture(scope="session")
def second_s3_server(servers_dir: Path) -> Iterator[S3Server]:
    with rclone_server("second-s3", servers_dir) as server:
        yield server


@pytest.fixture
def source(s3_server: S3Server, object_store: ObjectStore) -> Bucket:
    return bucket_of(s3_server, object_store)


@pytest.fixture(scope="session")
def backed_up(servers_dir: Path, s3_server: S3Server) -> Iterator[BackedUp]:
    """A system with backups; tests read it and break only copies of it."""
    with backed_up_system(servers_dir / "backed-up", s3_server) as system:
        yield system


@pytest.fixture(scope="session")
def dumped(backed_up: BackedUp, servers_dir: Path) -> Dumped:
    """The same system with dumps; tests read them and break only copies."""
    return dumped_system(backed_up, servers_dir / "dumps")


@pytest.fixture
def scratch(servers_dir: Path) -> Iterator[Path]:
    """A folder that PostgreSQL may enter under root, on the same disk as the backups."""
    folder = Path(tempfile.mkdtemp(dir=servers_dir))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
