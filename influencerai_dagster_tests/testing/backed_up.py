"""A small system with its backups: PostgreSQL with both databases, a bucket, Barman, a target."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from uuid import uuid4

import psycopg2
from dagster_postgres import DagsterPostgresStorage

from influencerai_dagster.backup.database.backups import BackupKind
from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.objects.copies import copy_objects
from influencerai_dagster.backup.objects.locations import BackupTarget, Bucket
from influencerai_dagster.backup.restore.both_databases import BothDatabases
from influencerai_dagster.backup.restore.data_dir_target import DataDirTarget
from influencerai_dagster.backup.restore.run import Restore, RestoreReport, plan, run_restore
from influencerai_dagster.backup.restore.source import choose
from influencerai_dagster.backup.verification.objects import Assets
from influencerai_dagster.core.fingerprints import sha256_hex
from influencerai_dagster.db import migrate
from influencerai_dagster.db.datasets import record_dataset
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.loras import record_lora
from influencerai_dagster.db.tenants import add_tenant
from influencerai_dagster.local.postgres import PostgresServer, programs_dir
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import dataset_manifest, lora_manifest
from influencerai_dagster_tests.testing.database_server import SMALL_WAL
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.servers import S3Server, running
from influencerai_dagster_tests.testing.waiting import wait_until

NUM_LORAS = 5
LINK = ["cp", "-al"]
"""Copies a folder in no time: as hard links."""


@dataclass(frozen=True)
class BackedUp:
    """What there is to restore from, and what must come back.

    Attributes:
        before_drop: a target time when the table `precious` was there.
        newest: a target time after its drop, when two more LoRAs were recorded.
    """

    postgres: PostgresServer
    barman: BarmanServer
    location: Bucket
    store: ObjectStore
    target: BackupTarget
    before_drop: datetime
    newest: datetime
    keys: tuple[str, ...] = field(repr=False)

    @property
    def database_url(self) -> str:
        return self.postgres.url("influencerai")

    @property
    def dagster_url(self) -> str:
        return self.postgres.url("dagster")

    def restore(
        self,
        into: Path,
        target_time: datetime | None,
        *,
        is_forced: bool = False,
        assets: Assets | None = None,
    ) -> Restore:
        return Restore(
            source=choose(self.barman, target_time, datetime.now(UTC)),
            target=DataDirTarget(into, self.databases),
            assets=assets or self.assets,
            is_forced=is_forced,
        )

    @property
    def databases(self) -> BothDatabases:
        return BothDatabases(self.database_url, self.dagster_url)

    @property
    def assets(self) -> Assets:
        return Assets(self.store, self.location, self.target)

    def copied(self, folder: Path) -> "BackedUp":
        """Return the same with files of its own, to be broken: nothing is read twice."""
        folder.mkdir(parents=True)
        home, target = folder / "barman", folder / "target"
        subprocess.run([*LINK, str(self.barman.home), str(home)], check=True)
        subprocess.run([*LINK, str(self.target.location), str(target)], check=True)
        return replace(
            self,
            barman=replace(self.barman, home=home),
            target=replace(self.target, location=target),
        )


def restored(request: Restore, log: Callable[[str], None] = print) -> RestoreReport:
    """Plan a restore and run it."""
    return run_restore(plan(request), log)


def execute(url: str, sql: str) -> str:
    """Run a statement of its own transaction; return the first value of its answer."""
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return str(cursor.fetchone()[0]) if cursor.description else ""  # type: ignore[index]
    finally:
        connection.close()


def clock(url: str) -> datetime:
    return datetime.fromisoformat(execute(url, "SELECT clock_timestamp()::text")).astimezone(UTC)


@contextmanager
def backed_up_system(folder: Path, s3: S3Server) -> Iterator[BackedUp]:
    """Make it, with a full and an incremental backup; the server runs for the time of the block."""
    postgres = PostgresServer(
        folder / "data",
        free_port(),
        uuid4().hex,
        is_durable=False,
        initdb_options=SMALL_WAL,
    )
    barman = BarmanServer(
        home=folder / "barman",
        database_url=postgres.url(),
        postgres_bin_dir=programs_dir(),
    )
    store = s3.store()
    location = Bucket(
        store.bucket,
        endpoint_url=s3.endpoint_url,
        access_key=s3.access_key,
        secret_key=s3.secret_key,
    )
    target = BackupTarget(folder / "target")
    with running(postgres.service(os.environ), folder), receiving(barman):
        yield _filled(BackedUp(postgres, barman, location, store, target, _NEVER, _NEVER, ()))


_NEVER = datetime.fromtimestamp(0, UTC)


@contextmanager
def receiving(barman: BarmanServer) -> Iterator[None]:
    """Receive WAL for the time of the block."""
    barman.home.mkdir(parents=True, exist_ok=True)
    with (
        (barman.home / "receiver.log").open("wb") as log,
        subprocess.Popen(
            barman.receive_wal_command(), env=barman.environment, stdout=log, stderr=log
        ) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


def _filled(system: BackedUp) -> BackedUp:
    execute(system.postgres.url(), "ALTER SYSTEM SET summarize_wal = on")
    execute(system.postgres.url(), "SELECT pg_reload_conf()")
    for url in (system.database_url, system.dagster_url):
        migrate.ensure_database(url)
    migrate.upgrade(system.database_url)
    storage = DagsterPostgresStorage(system.dagster_url)
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        part.dispose()
    with transaction(create_catalog_engine(system.database_url)) as session:
        add_tenant(session, "demo")
    keys = _add_dataset(system)
    keys += [key for number in range(NUM_LORAS) for key in _add_lora(system, f"lora{number}")]
    execute(system.database_url, "CREATE TABLE precious AS SELECT 42 AS answer")
    system.barman.backup(BackupKind.FULL)
    keys += _add_lora(system, "after-full")
    system.barman.backup(BackupKind.INCREMENTAL)
    keys += _add_lora(system, "after-incremental")
    before_drop = clock(system.database_url)
    _pass(timedelta(milliseconds=50))
    execute(system.database_url, "DROP TABLE precious")
    _switch_wal(system)
    keys += _add_lora(system, "after-drop")
    _switch_wal(system)
    keys += _add_lora(system, "newest")
    _switch_wal(system)
    newest = clock(system.database_url)
    copy_objects(system.location, system.target, recovery_window=timedelta(days=30))
    _wait_until_received(system, newest)
    system.barman.archive_wal()
    return replace(system, before_drop=before_drop, newest=newest, keys=tuple(keys))


def _pass(time: timedelta) -> None:
    """Let the two transactions have different times; there is nothing to wait for."""
    sleep(time.total_seconds())


def _switch_wal(system: BackedUp) -> None:
    """Begin a new segment, as time does."""
    execute(system.database_url, "SELECT pg_switch_wal()")


def _wait_until_received(system: BackedUp, target_time: datetime) -> None:
    """Wait until WAL came that was written after a target time."""
    execute(system.database_url, "CREATE TABLE written_after_the_newest_instant ()")

    def is_received() -> bool:
        received_at = system.barman.archive_status().received_at
        return received_at is not None and received_at > target_time

    wait_until(is_received, "the WAL is received")


def _add_dataset(system: BackedUp) -> list[str]:
    manifest = dataset_manifest()
    for number, image in enumerate(manifest.images):
        system.store.put_new(image.object_key, bytes([number]))
    system.store.put_new(manifest.object_key(), manifest.model_dump_json(indent=2).encode())
    with transaction(create_catalog_engine(system.database_url)) as session:
        record_dataset(session, manifest)
    return [manifest.object_key(), *(image.object_key for image in manifest.images)]


def _add_lora(system: BackedUp, lora_id: str) -> list[str]:
    data = lora_id.encode() * 100
    manifest = lora_manifest(
        lora_id=lora_id, weights_sha256=sha256_hex(data), weights_size_bytes=len(data)
    )
    system.store.put_new(manifest.weights_key, data)
    system.store.put_new(manifest.object_key(), manifest.model_dump_json(indent=2).encode())
    with transaction(create_catalog_engine(system.database_url)) as session:
        record_lora(session, manifest)
    return [manifest.weights_key, manifest.object_key()]


def remove(folder: Path) -> None:
    """Remove a folder, whoever owns what is in it."""
    shutil.rmtree(folder, ignore_errors=True)


def bucket_of(server: S3Server, store: ObjectStore, prefix: str = "") -> Bucket:
    """Return the bucket of a store, as the backup names it."""
    return Bucket(
        store.bucket,
        endpoint_url=server.endpoint_url,
        access_key=server.access_key,
        secret_key=server.secret_key,
        prefix=prefix,
    )
