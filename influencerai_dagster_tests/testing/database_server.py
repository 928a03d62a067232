"""A PostgreSQL of its own with both databases, whose WAL a supervised process receives."""

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from mmap import ACCESS_READ, mmap
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg2
import pytest

from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.wal_lag import read_wal_lag
from influencerai_dagster.local.postgres import INITDB_OPTIONS, PostgresServer, programs_dir
from influencerai_dagster.local.services import wal_receiver
from influencerai_dagster.local.supervisor import Supervisor
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.waiting import wait_until

ODD_FOLDER = "100% of it's #1; é %(name)s"
"""A folder's name may have whatever means something to configparser, a shell or rclone."""
SMALL_WAL = (*INITDB_OPTIONS, "--wal-segsize=1")
"""For servers that begin many segments: each is written, packed and unpacked whole."""


@dataclass(frozen=True)
class DatabaseServer:
    """Databases `influencerai` and `dagster`, and the folder of their backups."""

    postgres: PostgresServer
    barman: BarmanServer
    environment: dict[str, str]

    def execute(self, database: str, statement: str) -> list[tuple[object, ...]]:
        return execute(self.postgres.url(database), statement)

    def is_all_wal_received(self) -> bool:
        received_at = self.barman.archive_status().received_at
        lag = read_wal_lag(self.barman.database_url, self.barman.slot_name, received_at)
        return lag.is_receiving and lag.lag_bytes == 0

    def receivers(self) -> list[psutil.Process]:
        """The processes that receive: ours, Barman's, PostgreSQL's."""
        folder = str(self.barman.home.resolve())
        found = []
        for process in psutil.process_iter(["cmdline", "environ"]):
            words = process.info["cmdline"] or []
            home = (process.info["environ"] or {}).get("BACKUP_HOME")  # only our own process has it
            is_ours = home == folder or any(folder in word for word in words)
            if is_ours and ("receive-wal" in words or "pg_receivewal" in words[0]):
                found.append(process)
        return found


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


def is_received(barman: BarmanServer, word: str) -> bool:
    """Tell whether the WAL that was received holds a word."""

    def has(path: Path) -> bool:
        with (
            suppress(FileNotFoundError, ValueError),  # renamed or packed meanwhile, or empty yet
            path.open("rb") as file,
            mmap(file.fileno(), 0, access=ACCESS_READ) as segment,
        ):
            return segment.find(word.encode()) >= 0
        return False

    return any(has(path) for path in barman.folder.glob("streaming/*"))


@contextmanager
def running_database_server(
    folder: Path, initdb_options: Sequence[str] = INITDB_OPTIONS
) -> Iterator[DatabaseServer]:
    postgres = PostgresServer(
        folder / "data",
        free_port(),
        f"{uuid4().hex} %'\\",
        is_durable=False,
        initdb_options=initdb_options,
    )
    barman = BarmanServer(
        home=folder / ODD_FOLDER, database_url=postgres.url(), postgres_bin_dir=programs_dir()
    )
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ},
        "DATABASE_URL": postgres.url("influencerai"),
        "DAGSTER_DATABASE_URL": postgres.url("dagster"),
        "BACKUP_HOME": str(barman.home.resolve()),
        "BACKUP_POSTGRES_BIN_DIR": str(programs_dir()),
        "DATA_DIR": str(folder / "no stack runs here"),
    }
    services = [
        postgres.service(os.environ),
        replace(wal_receiver(environment), needs=["postgres"]),
    ]
    server = DatabaseServer(postgres, barman, environment)
    folder.mkdir(parents=True, exist_ok=True)
    with Supervisor(services, data_dir=folder, announce=print) as supervisor:
        supervisor.start()
        watcher = threading.Thread(target=supervisor.watch)
        watcher.start()
        try:
            for name in ("influencerai", "dagster"):
                server.execute("postgres", f"CREATE DATABASE {name} STRATEGY FILE_COPY")
            wait_until(lambda: list(barman.folder.glob("streaming/*.partial")), "WAL is received")
            yield server
        finally:
            supervisor.stopping.set()
            watcher.join()


@pytest.fixture(scope="session")
def database_server(servers_dir: Path) -> Iterator[DatabaseServer]:
    with running_database_server(servers_dir / "100% databases") as server:  # Barman's own sign
        yield server


def influencerai(*arguments: str) -> list[str]:
    """The command line as a process of its own."""
    return [sys.executable, "-m", "influencerai_dagster.cli", *arguments]
