"""A dump of each database as what a restore comes from: choosing it, proving it, loading it.

One of the two sources of a restore; physical backups are in recovery.py. A dump is of the moment it
began, and no WAL leads on from there. Any server can load it: a new one in a data directory of its
own too, for a drill.
"""

import getpass
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from psycopg2 import sql

from influencerai_dagster.backup.database.backups import BackupInfo
from influencerai_dagster.backup.database.pg_dump import PgDumps
from influencerai_dagster.backup.database.wal_lag import postgres_cursor
from influencerai_dagster.backup.restore.restored_server import RestoredServer, find_bin_dir
from influencerai_dagster.backup.restore.server_databases import ServerDatabases, draft_of
from influencerai_dagster.core.database_urls import database_name, in_database, libpq_parameters
from influencerai_dagster.db.data_dir import init_data_dir
from influencerai_dagster.errors import PermanentError

COPY, LOAD = "make data directory", "load dumps"
_SPACE_FACTOR = 10
"""Dumps are compressed, and have no indexes."""
# The locale needs no package of the machine; a dump brings none.
_INITDB_OPTIONS = ("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale")
_MAINTENANCE = "template1"
"""A database of every server that no backup holds."""


@dataclass(frozen=True)
class DumpRecovery:
    """What to load.

    Attributes:
        dumps: all, of both databases.
        backup: the newest that had begun at the instant.
        wanted: the instant that was asked for, UTC; None is the newest.
    """

    dumps: PgDumps
    backup: BackupInfo
    wanted: datetime | None = None

    @property
    def as_dump(self) -> "DumpRecovery":
        """Itself: any server can load it."""
        return self

    @property
    def instant(self) -> datetime | None:
        """The moment that it restores to, UTC."""
        return self.backup.begin

    @property
    def received_at(self) -> datetime | None:
        """The same: nothing later is in it."""
        return self.backup.begin

    @property
    def shown_instant(self) -> str:
        """The moment for a person."""
        return "an unknown moment" if self.instant is None else self.instant.isoformat()

    @property
    def major_version(self) -> int:
        """PostgreSQL's major version that was dumped; 0 if the dump does not tell."""
        return self.dumps.major_version(self.backup.backup_id)

    def describe(self) -> str:
        """Return its name."""
        return f"{self.backup.backup_id} ({self.backup.kind})"

    def steps(self, draft: Path) -> Mapping[str, str]:
        """Return what makes a running database of it, for a person."""
        return {
            COPY: f"make an empty PostgreSQL in {draft}",
            LOAD: "start it on a private socket and load the dumps of both databases",
        }

    def warnings(self) -> list[str]:
        """Say how far before the wanted instant it lies."""
        if self.wanted is None or self.instant is None:
            before = f"the newest dump began at {self.shown_instant}"
        else:
            gap = timedelta(seconds=round((self.wanted - self.instant).total_seconds()))
            before = f"the dump began at {self.shown_instant}, {gap} h before the instant"
        return [
            f"{before}: what was committed later is only in your provider's own point-in-time "
            "recovery"
        ]

    def needed_bytes(self) -> int:
        """Return how much space the loaded databases take, as far as one can tell."""
        return self.backup.size_bytes * _SPACE_FACTOR

    def check(self, *, is_all_needed: bool) -> None:  # noqa: ARG002 - there is no WAL
        """Compare the dumps with their checksums; PermanentError names what is broken."""
        self.dumps.verify(self.backup.backup_id)

    def copy(self, draft: Path) -> None:
        """Make an empty data directory, whose superuser is the user of the first database."""
        url = libpq_parameters(self.dumps.database_urls[0])
        init_data_dir(
            draft,
            self._bin_dir,
            superuser=url.get("user") or getpass.getuser(),
            password=url.get("password") or secrets.token_urlsafe(),
            options=_INITDB_OPTIONS,
        )

    def is_copied(self, draft: Path) -> bool:
        """Tell whether the directory was made."""
        return (draft / "PG_VERSION").exists()

    @contextmanager
    def opened(self, draft: Path) -> Iterator[RestoredServer]:
        """Run PostgreSQL for the time of the block, with the dumps loaded."""
        urls = self.dumps.database_urls
        names = [database_name(url) for url in urls]
        with RestoredServer(draft, self._bin_dir) as server:
            databases = ServerDatabases(in_database(server.url_of(urls[0]), _MAINTENANCE))
            if not all(map(databases.has_content, names)):
                for url in urls:
                    _make_user(databases.url, url)
                self.load(databases)
                databases.put_in_place(names)
            yield server

    def load(self, databases: ServerDatabases) -> None:
        """Load the dumps into drafts of both databases.

        Raises:
            TransientError: the server went away, or is full; ask again.
            PermanentError: a dump is broken, or the server refuses what is in it.
        """
        for url in self.dumps.database_urls:
            name = database_name(url)
            databases.make_draft(name, libpq_parameters(url).get("user"))
            self.dumps.load(self.backup.backup_id, url, databases.url_of(draft_of(name)))

    @property
    def _bin_dir(self) -> Path:
        return find_bin_dir(self.dumps.postgres_bin_dir)


def choose_dump(dumps: PgDumps, instant: datetime | None) -> DumpRecovery:
    """Choose the newest dump that had begun at an instant; None is the newest of all.

    Raises:
        PermanentError: there is none.
    """
    begun = [(dump.begin, dump) for dump in dumps.list_backups() if dump.begin is not None]
    if not begun:
        raise PermanentError(
            f"There is no whole dump in {dumps.folder}: check BACKUP_HOME, or copy the folder back "
            "from the backup target first"
        )
    earlier = [dump for begin, dump in begun if instant is None or begin <= instant]
    if not earlier:
        raise PermanentError(
            f"No dump had begun at {instant}: the oldest began at {begun[0][0].isoformat()}. Use "
            "your provider's point-in-time recovery"
        )
    return DumpRecovery(dumps, earlier[-1], instant)


def _make_user(server_url: str, url: str) -> None:
    """Make the user of a database, with its password, if it is not there."""
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
