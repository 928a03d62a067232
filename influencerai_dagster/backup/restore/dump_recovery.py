"""Restore from dumps: choose a dump of each database, verify it and load it into any server.

The other source of a restore is in recovery.py. A dump restores the time it began; there is no WAL
after it. A drill loads it into a new PostgreSQL in a data directory of its own.
"""

import getpass
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from psycopg2 import sql

from influencerai_dagster.backup.database.backups import BackupInfo
from influencerai_dagster.backup.database.pg_dump import PgDumps
from influencerai_dagster.backup.database.wal_lag import postgres_cursor
from influencerai_dagster.backup.restore.journal import RestoreSteps, Step
from influencerai_dagster.backup.restore.restored_server import RestoredServer, find_bin_dir
from influencerai_dagster.backup.restore.server_databases import ServerDatabases, staging_name
from influencerai_dagster.core.database_urls import database_name, in_database, libpq_parameters
from influencerai_dagster.db.data_dir import init_data_dir
from influencerai_dagster.errors import PermanentError

_SPACE_FACTOR = 10
"""Dumps are compressed, and have no indexes."""
# Without a locale: a dump does not set one, and the machine may not have it.
_INITDB_OPTIONS = ("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale")
_MAINTENANCE = "template1"
"""A database of every server, in no backup."""


@dataclass(frozen=True)
class DumpRecovery:
    """A dump of both databases.

    Attributes:
        dumps: all dumps.
        backup: the newest that had begun at the requested time.
        requested_time: UTC; None is the newest.
    """

    dumps: PgDumps
    backup: BackupInfo
    requested_time: datetime | None = None

    @property
    def as_dump(self) -> "DumpRecovery":
        """The dump itself: any server can load it."""
        return self

    @property
    def target_time(self) -> datetime | None:
        """When the dump began, UTC: it restores the databases of that time."""
        return self.backup.begin

    @property
    def received_at(self) -> datetime | None:
        """The same: later transactions are not in it."""
        return self.backup.begin

    @property
    def shown_target_time(self) -> str:
        """The target time for the operator."""
        return "an unknown time" if self.target_time is None else self.target_time.isoformat()

    @property
    def major_version(self) -> int:
        """PostgreSQL's major version that was dumped; 0 if the dump does not have it."""
        return self.dumps.major_version(self.backup.backup_id)

    def describe(self) -> str:
        """Return its name."""
        return f"{self.backup.backup_id} ({self.backup.kind})"

    def steps(self, staging: Path) -> RestoreSteps:
        """Return the steps `copy` and `opened`."""
        return RestoreSteps(
            copy=Step("make data directory", f"make an empty PostgreSQL in {staging}"),
            open=Step(
                "load dumps", "start it on a private socket and load the dumps of both databases"
            ),
        )

    def warnings(self) -> list[str]:
        """Return how far before the requested time the dump began."""
        if self.requested_time is None or self.target_time is None:
            before = f"the newest dump began at {self.shown_target_time}"
        else:
            gap = timedelta(seconds=round((self.requested_time - self.target_time).total_seconds()))
            before = f"the dump began at {self.shown_target_time}, {gap} h before the target time"
        return [
            f"{before}: later transactions are only in your provider's own point-in-time recovery"
        ]

    def needed_bytes(self) -> int:
        """Estimate how much space the loaded databases take."""
        return self.backup.size_bytes * _SPACE_FACTOR

    def check(self, *, is_all_needed: bool) -> None:  # noqa: ARG002 - there is no WAL
        """Compare the dumps with their checksums; PermanentError names the broken ones."""
        self.dumps.verify(self.backup.backup_id)

    def copy(self, staging: Path) -> None:
        """Make an empty data directory, whose superuser is the user of the first database."""
        url = libpq_parameters(self.dumps.database_urls[0])
        init_data_dir(
            staging,
            self._bin_dir,
            superuser=url.get("user") or getpass.getuser(),
            password=url.get("password") or secrets.token_urlsafe(),
            options=_INITDB_OPTIONS,
        )

    def is_copied(self, staging: Path) -> bool:
        """Tell whether the directory was made."""
        return (staging / "PG_VERSION").exists()

    @contextmanager
    def opened(self, staging: Path) -> Iterator[RestoredServer]:
        """Run PostgreSQL for the time of the block, with the dumps loaded."""
        urls = self.dumps.database_urls
        names = [database_name(url) for url in urls]
        with RestoredServer(staging, self._bin_dir) as server:
            databases = ServerDatabases(in_database(server.url_of(urls[0]), _MAINTENANCE))
            if not all(map(databases.has_content, names)):
                for url in urls:
                    _make_user(databases.url, url)
                self.load(databases)
                databases.promote(names)
            yield server

    def load(self, databases: ServerDatabases) -> None:
        """Load the dumps into staging databases.

        Raises:
            TransientError: the server went away, or is full; try again.
            PermanentError: a dump is broken, or the server refuses its content.
        """
        for url in self.dumps.database_urls:
            name = database_name(url)
            databases.make_staging(name, libpq_parameters(url).get("user"))
            self.dumps.load(self.backup.backup_id, url, databases.url_of(staging_name(name)))

    @property
    def _bin_dir(self) -> Path:
        return find_bin_dir(self.dumps.postgres_bin_dir)


def choose_dump(dumps: PgDumps, target_time: datetime | None) -> DumpRecovery:
    """Choose the newest dump that had begun at a target time; None is the newest.

    Raises:
        PermanentError: there is no such dump.
    """
    begun = [(dump.begin, dump) for dump in dumps.list_backups() if dump.begin is not None]
    if not begun:
        raise PermanentError(
            f"There is no complete dump in {dumps.folder}: check BACKUP_HOME, or copy the folder "
            "back from the backup target first"
        )
    earlier = [dump for begin, dump in begun if target_time is None or begin <= target_time]
    if not earlier:
        raise PermanentError(
            f"No dump had begun at {target_time}: the oldest began at {begun[0][0].isoformat()}. "
            "Use your provider's point-in-time recovery"
        )
    return DumpRecovery(dumps, earlier[-1], target_time)


def _make_user(server_url: str, url: str) -> None:
    """Create the user of a database, with its password, if the server does not have it."""
    parameters = libpq_parameters(url)
    user, password = parameters.get("user"), parameters.get("password")
    if user is None:
        return
    statement = sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(user))
    if password:
        statement += sql.SQL(" PASSWORD {}").format(sql.Literal(password))
    with postgres_cursor(server_url) as cursor:
        cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [user])
        if cursor.fetchone() is None:
            cursor.execute(statement)
