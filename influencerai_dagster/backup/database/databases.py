"""Take and prune backups of the databases, by Barman or pg_dump, on the server that has them.

The same for physical backups (barman.py) and dumps (pg_dump.py); the rules about time are in
backups.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from influencerai_dagster.backup.database.backups import GRACE, BackupInfo, BackupKind, newest_whole
from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.wal_lag import postgres_cursor
from influencerai_dagster.errors import PermanentError, WalSummariesMissingError

FIRST_WITH_INCREMENTAL = 17
_SYSTEM = "SELECT system_identifier FROM pg_control_system()"
_FEATURES = (
    "SELECT current_setting('server_version_num')::int, current_setting('summarize_wal', true)"
)


class DatabaseBackups(Protocol):
    """Backups made with one tool: BarmanServer or PgDumps."""

    def backup(self, kind: BackupKind) -> BackupInfo:
        """Take a backup."""

    def list_backups(self) -> list[BackupInfo]:
        """Return all, oldest first."""

    def obsolete_backups(self) -> list[str]:
        """Return the ids of backups that no target time of the recovery window needs."""

    def delete(self, backup_id: str) -> None:
        """Delete one."""

    def verify(self, backup_id: str) -> None:
        """Compare its files with their checksums; PermanentError names the broken ones."""


@dataclass(frozen=True)
class TakenBackup:
    """The outcome of `take_backup`.

    Attributes:
        backup: None if only WAL was archived.
        reason: why the backup is of another kind, or was not taken.
    """

    backup: BackupInfo | None
    reason: str | None = None


def take_backup(
    backups: DatabaseBackups,
    kind: BackupKind,
    *,
    unless_after: datetime | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> TakenBackup:
    """Take a backup of a kind, or of the next best kind.

    Args:
        backups: of the server.
        kind: an incremental one needs PostgreSQL 17, its WAL summaries and a full one. Of an older
            server the WAL is archived; without a full one, a full one is taken.
        unless_after: nothing is taken if a backup of this kind has ended since then (a full one
            counts as an incremental one).
        log: gets a line about every step.

    Raises:
        TransientError: a server was away, or another backup runs; nothing is lost.
        PermanentError: it is impossible; the text says why.
    """
    wanted = None if kind is BackupKind.INCREMENTAL else kind
    newest = newest_whole(backups.list_backups(), wanted)
    # A backup with a future time is older than that: the clock was set back since.
    latest = datetime.now(UTC) + GRACE
    if unless_after and newest and newest.end and unless_after <= newest.end <= latest:
        return TakenBackup(newest, f"{newest.backup_id} was taken in the meantime")
    if kind is not BackupKind.INCREMENTAL or not isinstance(backups, BarmanServer):
        log(f"taking a {kind} backup")
        return TakenBackup(backups.backup(kind))
    return _take_incremental(backups, log)


def prune(backups: DatabaseBackups, *, is_dry_run: bool) -> list[str]:
    """Delete the backups that no target time of the recovery window needs; return their ids.

    The newest backup that can be restored is kept, however old it is.
    """
    newest = newest_whole(backups.list_backups())
    kept = {newest.backup_id, newest.parent_backup_id} if newest else set()
    obsolete = [backup_id for backup_id in backups.obsolete_backups() if backup_id not in kept]
    if not is_dry_run:
        for backup_id in obsolete:
            if backup_id in {backup.backup_id for backup in backups.list_backups()}:
                backups.delete(backup_id)  # and with a full one the incremental ones on it
    return obsolete


def check_same_server(database_url: str, others: Sequence[str]) -> None:
    """Check that one physical backup contains every database.

    Raises:
        PermanentError: a database is on another server.
        TransientError: a server does not answer.
    """
    systems = set()
    for url in (database_url, *others):
        with postgres_cursor(url) as cursor:
            cursor.execute(_SYSTEM)
            systems.add(cursor.fetchone())
    if len(systems) > 1:
        raise PermanentError(
            "DATABASE_URL, DAGSTER_DATABASE_URL and BACKUP_DATABASE_URL are on "
            f"{len(systems)} servers, and one physical backup has one server: put both databases "
            "on one, or set BACKUP_DATABASE_MODE=pg_dump"
        )


def no_incremental_because(database_url: str) -> str | None:
    """Return why a server has no incremental backups; None if it has.

    Raises:
        TransientError: it does not answer.
    """
    with postgres_cursor(database_url) as cursor:
        cursor.execute(_FEATURES)
        ((version, summarize_wal),) = cursor.fetchall()
    if version // 10_000 < FIRST_WITH_INCREMENTAL:
        return f"PostgreSQL before {FIRST_WITH_INCREMENTAL} has no incremental backups"
    if summarize_wal != "on":
        return "summarize_wal is off: set it to on for incremental backups"
    return None


def _take_incremental(server: BarmanServer, log: Callable[[str], None]) -> TakenBackup:
    if newest_whole(server.list_backups(), BackupKind.FULL) is None:
        log("there is no full backup for an incremental one: taking a full one")
        return TakenBackup(server.backup(BackupKind.FULL), "there was no full backup")
    why_not = no_incremental_because(server.database_url)
    if why_not is not None:
        log("archiving WAL up to now")
        server.switch_wal()
        return TakenBackup(None, f"WAL alone: {why_not}")
    log("taking an incremental backup")
    try:
        return TakenBackup(server.backup(BackupKind.INCREMENTAL))
    except WalSummariesMissingError:
        log("the server has no summaries of all WAL since the last full backup: taking a full one")
        return TakenBackup(server.backup(BackupKind.FULL), "WAL summaries were missing")
