"""Run a system with its backups for both sides of a comparison: PostgreSQL, Barman, buckets.

PostgreSQL writes durably here, and WAL is received all the time, as on a machine that matters.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from benchmarks.backup_data import Image, fill, make_databases, record_images
from benchmarks.servers import running_services
from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.restore.both_databases import BothDatabases
from influencerai_dagster.local.postgres import PostgresServer, programs_dir
from influencerai_dagster.local.services import wal_receiver
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.waiting import wait_until


@dataclass(frozen=True)
class BackedUpDatabase:
    """A running PostgreSQL with both databases, whose WAL is received.

    Attributes:
        size_bytes: of its databases when it was filled.
    """

    postgres: PostgresServer
    barman: BarmanServer
    size_bytes: int = 0

    @property
    def catalog_url(self) -> str:
        """The catalog's."""
        return self.postgres.url("influencerai")

    @property
    def dagster_url(self) -> str:
        """That of Dagster's storage."""
        return self.postgres.url("dagster")

    @property
    def databases(self) -> BothDatabases:
        """Both."""
        return BothDatabases(self.catalog_url, self.dagster_url)


@contextmanager
def running_database(
    folder: Path, size_bytes: int, images: Sequence[Image] = ()
) -> Iterator[BackedUpDatabase]:
    """Run a database server of a size until the end of the block, and receive its WAL.

    Args:
        folder: of everything.
        size_bytes: of all its databases together.
        images: those that the catalog has.
    """
    postgres = PostgresServer(folder / "data", free_port(), uuid4().hex)
    barman = BarmanServer(
        home=folder / "barman", database_url=postgres.url(), postgres_bin_dir=programs_dir()
    )
    with running_services([postgres.service(os.environ)], folder):
        database = BackedUpDatabase(postgres, barman)
        make_databases(database.catalog_url, database.dagster_url)
        record_images(database.catalog_url, images)
        found = fill(database.dagster_url, size_bytes)
        with _receiving(database, folder):
            barman.switch_wal()  # earlier writes are not part of any measurement
            yield replace(database, size_bytes=found)


@contextmanager
def _receiving(database: BackedUpDatabase, folder: Path) -> Iterator[None]:
    environment = {
        **os.environ,
        "DATABASE_URL": database.catalog_url,
        "DAGSTER_DATABASE_URL": database.dagster_url,
        "BACKUP_HOME": str(database.barman.home),
        "BACKUP_POSTGRES_BIN_DIR": str(programs_dir()),
        "DATA_DIR": str(folder / "no stack runs here"),
    }
    receiver = replace(wal_receiver(environment), needs=[])
    logs = folder / "receiver"
    logs.mkdir()
    with running_services([receiver], logs):
        streaming = database.barman.folder / "streaming"
        wait_until(lambda: any(streaming.glob("*.partial")), "the first WAL")
        yield
