"""A server that was restored in place twice, and what could be restored on the way.

Its WAL segments have 32 MiB, so that all of it is also true of another size than PostgreSQL's own,
and its catalog is of the release before.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster_postgres import DagsterPostgresStorage

from influencerai_dagster.backup.database.backups import BackupInfo, BackupKind
from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.wal_receiver import receive_wal
from influencerai_dagster.backup.restore.both_databases import BothDatabases
from influencerai_dagster.backup.restore.data_dir_target import DataDirTarget
from influencerai_dagster.backup.restore.journal import Journal
from influencerai_dagster.backup.restore.recovery import choose_backup
from influencerai_dagster.backup.restore.target import Restored, verify_restored
from influencerai_dagster.backup.verification.verification import Verification
from influencerai_dagster.db import migrate
from influencerai_dagster.db.engine import create_catalog_engine
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.local.postgres import PostgresServer, programs_dir
from influencerai_dagster_tests.testing.backed_up import clock, execute
from influencerai_dagster_tests.testing.database_server import is_received
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.servers import running
from influencerai_dagster_tests.testing.waiting import wait_until

_TABLES = "SELECT string_agg(relname, ' ' ORDER BY oid) FROM pg_class WHERE relname ~ '^made[1-9]'"


@dataclass
class Story:
    """What happened.

    Attributes:
        said: by the receiver.
        target_times: by name.
        found: the tables that came back, by the name of the target time.
        backups: by the name of the target time that was restored from them, and others.
        verification: of the newest moment.
        newer_release: the error of one whose catalog is of a newer release.
    """

    folder: Path
    postgres: PostgresServer
    barman: BarmanServer
    said: list[str] = field(default_factory=list)
    target_times: dict[str, datetime] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)
    backups: dict[str, BackupInfo] = field(default_factory=dict)
    verification: Verification | None = None
    newer_release: str = ""

    @property
    def databases(self) -> BothDatabases:
        return BothDatabases(self.postgres.url("influencerai"), self.postgres.url("dagster"))

    @contextmanager
    def up(self) -> Iterator[None]:
        """Run the server and its receiver for the time of the block; all WAL is received then."""
        stopping = threading.Event()
        receiver = threading.Thread(
            target=receive_wal, args=(self.barman, stopping), kwargs={"log": self.said.append}
        )
        with running(self.postgres.service(os.environ), self.folder):
            receiver.start()
            try:
                yield
                self._wait_until_received()
            finally:
                stopping.set()
                receiver.join()
                self._end_orphans()

    def make(self, number: int) -> datetime:
        """Make a table, and return a target time when it was there and nothing newer."""
        execute(self.databases.catalog_url, f"CREATE TABLE made{number} ()")
        return clock(self.postgres.url())

    def restore(self, name: str, into: Path, *, is_in_place: bool = False) -> None:
        """Restore the target time of a name ("latest" has none), and look what is there."""
        recovery = choose_backup(self.barman, self.target_times.get(name))
        recovery.check(is_all_needed=True)
        target = DataDirTarget(into, self.databases)
        journal = Journal(target.journal_path, {}, recovery.backup.backup_id)
        with target.staged(recovery, journal, print) as restored:
            self.found[name] = execute(restored.databases.catalog_url, _TABLES)
            if name == "latest":
                self._verify(restored)
        self.backups[name] = recovery.backup
        if is_in_place:
            target.promote()
        else:
            target.clear()
        journal.remove()

    def _verify(self, restored: Restored) -> None:
        self.verification = verify_restored(restored, "staging")
        newer = "UPDATE alembic_version SET version_num = '9999'"
        execute(restored.databases.catalog_url, newer)
        with pytest.raises(PermanentError) as error:
            verify_restored(restored, "staging")
        self.newer_release = str(error.value)

    def _wait_until_received(self) -> None:
        word = uuid4().hex
        execute(self.postgres.url(), f"SELECT pg_logical_emit_message(true, 'test', '{word}')")
        # A file that is new may be filled with nothing but zeros yet.
        wait_until(lambda: is_received(self.barman, word), "the WAL is received")

    def _end_orphans(self) -> None:
        """pg_receivewal sees the end of its Barman when it next writes."""
        for process in psutil.process_iter(["cmdline"]):
            if str(self.barman.folder) in " ".join(process.info["cmdline"] or []):
                process.kill()
                process.wait(10)


def revision_before() -> str:
    """The revision of the catalog that came before the newest."""
    scripts = ScriptDirectory.from_config(_alembic())
    before = scripts.get_revision("head").down_revision
    assert isinstance(before, str)
    return before


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", "influencerai_dagster.db:migrations")
    return config


def _fill(databases: BothDatabases) -> None:
    for url in databases.urls:
        migrate.ensure_database(url)
    config, engine = _alembic(), create_catalog_engine(databases.catalog_url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision_before())
    engine.dispose()
    execute(databases.catalog_url, "INSERT INTO tenants (id, name) VALUES ('demo', 'Demo')")
    storage = DagsterPostgresStorage(databases.dagster_url)
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        part.dispose()


def made_story(folder: Path) -> Story:
    """Let it happen; nothing runs afterwards."""
    options = ("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--wal-segsize=32")
    postgres = PostgresServer(
        folder / "data", free_port(), uuid4().hex, is_durable=False, initdb_options=options
    )
    barman = BarmanServer(folder / "barman", postgres.url(), postgres_bin_dir=programs_dir())
    story = Story(folder, postgres, barman)
    with story.up():
        _fill(story.databases)
        barman.backup(BackupKind.FULL)
        story.target_times["good"] = story.make(1)
        story.make(2)
        story.backups["left"] = barman.backup(BackupKind.INCREMENTAL)  # segments go by
        story.target_times["accident"] = story.make(3)
        story.make(4)
    story.restore("good", postgres.data_dir, is_in_place=True)
    with story.up():
        story.target_times["after"] = story.make(5)
        story.make(6)
    story.restore("after", folder / "scratch")
    with story.up():
        story.backups["new"] = barman.backup(BackupKind.FULL)
        story.make(7)
    story.restore("accident", postgres.data_dir, is_in_place=True)
    with story.up():
        story.make(8)
    story.restore("latest", folder / "scratch")
    return story
