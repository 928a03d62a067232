"""A server that was restored in place twice, and what could be restored on the way.

Its WAL segments have 64 MiB, so that all of it is also true of another size than PostgreSQL's own.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from influencerai_dagster.backup.barman import BarmanServer
from influencerai_dagster.backup.both_databases import BothDatabases
from influencerai_dagster.backup.data_dir_target import DataDirTarget
from influencerai_dagster.backup.journal import Journal
from influencerai_dagster.backup.recovery import choose_backup
from influencerai_dagster.backup.wal_lag import read_wal_lag
from influencerai_dagster.backup.wal_receiver import receive_wal
from influencerai_dagster.domain.backups import BackupInfo, BackupKind
from influencerai_dagster.local.postgres import PostgresServer, programs_dir
from influencerai_dagster.local.processes import free_port
from influencerai_dagster_tests.backup.backed_up import clock, execute
from influencerai_dagster_tests.conftest import running
from influencerai_dagster_tests.database_server import wait_for

_TABLES = "SELECT string_agg(relname, ' ' ORDER BY oid) FROM pg_class WHERE relname ~ '^made[1-9]'"

_WRITE = "SELECT pg_logical_emit_message(true, 'test', 'the end')"


@dataclass
class Story:
    """What happened.

    Attributes:
        said: by the receiver.
        instants: by name.
        found: the tables that came back, by the name of the instant; those before a restore in
            place are named after it.
    """

    folder: Path
    postgres: PostgresServer
    barman: BarmanServer
    said: list[str] = field(default_factory=list)
    instants: dict[str, datetime] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)
    backups: dict[str, BackupInfo] = field(default_factory=dict)

    @contextmanager
    def up(self) -> Iterator[None]:
        """Run the server and its receiver for the time of the block; all WAL is received then."""
        stopping = threading.Event()
        receiver = threading.Thread(
            target=receive_wal, args=(self.barman, stopping), kwargs={"say": self.said.append}
        )
        with running(self.postgres.service(os.environ), self.folder):
            receiver.start()
            try:
                wait_for(self._is_receiving)
                yield
                self._wait_until_received()
            finally:
                stopping.set()
                receiver.join()
                self._end_orphans()

    def make(self, number: int) -> datetime:
        """Make a table, and return an instant when it was there and nothing newer."""
        execute(self.postgres.url(), f"CREATE TABLE IF NOT EXISTS made{number} ()")
        return clock(self.postgres.url())

    def restore(self, name: str, into: Path, *, is_in_place: bool = False) -> None:
        """Restore the instant of a name ("latest" has none), and look what is there."""
        recovery = choose_backup(self.barman, self.instants.get(name))
        recovery.check(is_all_needed=True)
        url = self.postgres.url()
        target = DataDirTarget(into, BothDatabases(url, url))
        journal = Journal(target.journal_path, {}, recovery.backup.backup_id)
        with target.filled(recovery, journal, print) as restored:
            self.found[name] = execute(restored.databases.catalog_url, _TABLES)
        self.backups[name] = recovery.backup
        if is_in_place:
            target.put_in_place()
        else:
            target.clear()
        journal.remove()

    def _is_receiving(self) -> bool:
        return read_wal_lag(self.barman.database_url, self.barman.slot_name, None).is_receiving

    def _wait_until_received(self) -> None:
        since = datetime.now(UTC)
        self.make(0)

        def has_come() -> bool:
            received_at = self.barman.archive_status().received_at
            return received_at is not None and received_at > since

        wait_for(has_come)

    def _end_orphans(self) -> None:
        """pg_receivewal sees the end of its Barman when it next writes."""
        for process in psutil.process_iter(["cmdline"]):
            if str(self.barman.folder) in " ".join(process.info["cmdline"] or []):
                process.kill()
                process.wait(10)


def told(folder: Path) -> Story:
    """Let it happen; nothing runs afterwards."""
    postgres = PostgresServer(folder / "data", free_port(), uuid4().hex, is_durable=False)
    barman = BarmanServer(folder / "barman", postgres.url(), postgres_bin_dir=programs_dir())
    story = Story(folder, postgres, barman)
    with pytest.MonkeyPatch.context() as patched:
        options = ("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--wal-segsize=64")
        patched.setattr("influencerai_dagster.local.postgres._CREATE_OPTIONS", options)
        with story.up():
            barman.backup(BackupKind.FULL)
            story.instants["good"] = story.make(1)
            story.make(2)
            story.backups["left"] = barman.backup(BackupKind.INCREMENTAL)  # segments go by
            story.instants["accident"] = story.make(3)
            story.make(4)
    story.restore("good", postgres.data_dir, is_in_place=True)
    with story.up():
        story.instants["after"] = story.make(5)
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
