"""The commands of docs/disaster-recovery.md do what it says, on the local stack's own servers."""

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import psycopg2
import pytest
from dagster_postgres import DagsterPostgresStorage

from influencerai_dagster.backup.database.backups import BackupKind
from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.pg_dump import PgDumps
from influencerai_dagster.backup.database.wal_lag import read_wal_lag
from influencerai_dagster.backup.database.wal_receiver import receive_wal
from influencerai_dagster.backup.objects.copies import copy_objects
from influencerai_dagster.backup.objects.locations import BackupTarget
from influencerai_dagster.db import migrate
from influencerai_dagster.local.environment import (
    child_environment,
    postgres_server,
    remove_stack_env,
    s3_server,
    write_stack_env,
)
from influencerai_dagster.local.postgres import SUPERUSER, PostgresServer, programs_dir
from influencerai_dagster.local.supervisor import Supervisor
from influencerai_dagster.settings import VARIABLES, Settings, load_settings, process_environment
from influencerai_dagster_tests.testing.backed_up import clock, execute
from influencerai_dagster_tests.testing.paths import PROJECT_DIR
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.waiting import wait_until

RUNBOOK = PROJECT_DIR / "docs" / "disaster-recovery.md"
TARGET_TIME = "2026-11-20T03:00Z"
NEW_SERVER = "postgresql://admin@new-server:5432/"


def commands(heading: str) -> list[str]:
    """Return the commands below a heading of the runbook, in order."""
    text = RUNBOOK.read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    blocks = re.findall(r"^```bash\n(.*?)^```", section, re.M | re.S)
    return [line for block in blocks for line in block.splitlines() if line]


class LocalStack:
    """PostgreSQL, S3 and the receiver of WAL of a stack, without Dagster: nothing here needs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = folder / "another-disk"
        self.settings: Settings = load_settings(
            data_dir=folder / "data",
            local_postgres_port=free_port(),
            local_s3_port=free_port(),
            backup_target=str(self.target),
        )
        self.environment = child_environment(self.settings, process_environment())
        self.database_url = self.environment["DATABASE_URL"]

    @contextmanager
    def up(self) -> Iterator[None]:
        data_dir = self.settings.local.data_dir
        servers = [
            postgres_server(self.settings).service(process_environment()),
            s3_server(self.settings).service(process_environment()),
        ]
        with Supervisor(servers, data_dir=data_dir, announce=print) as supervisor:
            supervisor.start()
            for name in ("DATABASE_URL", "DAGSTER_DATABASE_URL"):
                migrate.ensure_database(self.environment[name])
            migrate.upgrade(self.database_url)
            write_stack_env(self.settings)
            try:
                with self._receiver():
                    yield
            finally:
                remove_stack_env(self.settings)

    @contextmanager
    def _receiver(self) -> Iterator[None]:
        stopping = threading.Event()
        receiver = threading.Thread(
            target=receive_wal, args=(self.barman(), stopping), kwargs={"log": print}
        )
        receiver.start()
        try:
            wait_until(self._is_receiving, "WAL is received")
            yield
        finally:
            stopping.set()
            receiver.join()

    def barman(self) -> BarmanServer:
        return BarmanServer(
            home=self.settings.local.data_dir / "backups",
            database_url=self.database_url,
            postgres_bin_dir=programs_dir(),
        )

    def run(
        self,
        heading: str,
        target_time: datetime | None = None,
        *,
        new_server: str = NEW_SERVER,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """Run the commands below a heading as someone in the project's folder does."""
        output = ""
        environment = {
            **process_environment(),
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "LOCAL_POSTGRES_PORT": str(self.settings.local.postgres_port),
            "LOCAL_S3_PORT": str(self.settings.local.s3_port),
            "BACKUP_TARGET": str(self.target),
            "COLUMNS": "200",
            **settings,
        }
        for line in commands(heading):
            shown = line.replace(
                TARGET_TIME, target_time.isoformat() if target_time else TARGET_TIME
            )
            shown = shown.replace(NEW_SERVER, new_server)
            done = subprocess.run(
                ["bash", "-euc", shown],
                cwd=self.folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=300,
            )
            assert done.returncode == 0, f"{shown}\n{done.stdout}{done.stderr}"
            output += done.stdout
        return output

    def _is_receiving(self) -> bool:
        barman = self.barman()
        return read_wal_lag(barman.database_url, barman.slot_name, None).is_receiving

    def wait_for_wal(self, target_time: datetime) -> None:
        def has_come() -> bool:
            received_at = self.barman().archive_status().received_at
            return received_at is not None and received_at > target_time

        wait_until(has_come, "the WAL is received")


@pytest.fixture
def stack(servers_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStack]:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    folder = servers_dir / "disaster"
    folder.mkdir()
    yield LocalStack(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def new_server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    yield postgres_server
    for name in ("influencerai", "dagster"):
        execute(postgres_server.url(), f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.mark.timeout(600)
def test_a_person_who_follows_the_runbook_gets_everything_back(
    stack: LocalStack, new_server: PostgresServer
) -> None:
    data_dir = stack.settings.local.data_dir
    bucket = data_dir / stack.settings.s3.bucket
    with stack.up():
        storage = DagsterPostgresStorage(stack.environment["DAGSTER_DATABASE_URL"])
        for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
            part.dispose()
        execute(stack.database_url, "CREATE TABLE precious AS SELECT 42 AS answer")
        (bucket / "kept.txt").write_text("kept")
        stack.barman().backup(BackupKind.FULL)
        before = clock(stack.database_url)
        execute(stack.database_url, "CREATE TABLE later ()")
        execute(stack.database_url, "DROP TABLE precious")
        stack.wait_for_wal(before)
        copy_objects(bucket, BackupTarget(stack.target), recovery_window=timedelta(days=30))
        assert "is complete" in stack.run("First: what is there?")

    said = stack.run("A. Back to an earlier time", before)
    assert "nothing was done: --dry-run" in said
    assert "moved aside" in said
    with stack.up():
        assert execute(stack.database_url, "SELECT answer FROM precious") == "42"
        with pytest.raises(psycopg2.errors.UndefinedTable):
            execute(stack.database_url, "SELECT count(*) FROM later")
        (bucket / "kept.txt").unlink()
        PgDumps(
            data_dir / "backups",
            (stack.database_url, stack.environment["DAGSTER_DATABASE_URL"]),
            postgres_bin_dir=programs_dir(),
        ).backup(BackupKind.DUMP)
        said = stack.run(
            "E. Into a running server",
            new_server=f"postgresql://{SUPERUSER}@127.0.0.1:{new_server.port}/",
            settings={"BACKUP_DATABASE_MODE": "pg_dump", "PGPASSWORD": new_server.password},
        )
        assert "nothing was done: --dry-run" in said
        assert (bucket / "kept.txt").read_text() == "kept"
        assert execute(new_server.url("influencerai"), "SELECT answer FROM precious") == "42"
        stack.run("Afterwards")
        execute(stack.database_url, "CREATE TABLE after_the_restore ()")
        now = datetime.now(UTC)
        execute(stack.database_url, "CREATE TABLE after_that ()")
        stack.wait_for_wal(now)

    shutil.rmtree(data_dir / "postgres")
    stack.run("B. The database is gone")
    with stack.up():
        assert execute(stack.database_url, "SELECT count(*) FROM after_the_restore") == "0"
        (bucket / "kept.txt").unlink()
        stack.run("D. Objects are gone")
        assert (bucket / "kept.txt").read_text() == "kept"

    copy_objects(
        data_dir / "backups",
        BackupTarget(stack.target),
        recovery_window=timedelta(days=1),
        folder="barman",
        exclude=("/off-site/**", "/locks/**", "*.log"),
    )
    for name in ("postgres", "backups", stack.settings.s3.bucket):
        shutil.rmtree(data_dir / name)
    bucket.mkdir()
    stack.run("C. Everything is gone")
    with stack.up():
        assert execute(stack.database_url, "SELECT answer FROM precious") == "42"
        assert (bucket / "kept.txt").read_text() == "kept"
