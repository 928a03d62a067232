"""Backups of the databases for ops and sensors: the tool, the folder, the server."""

from pathlib import Path
from typing import Literal

import dagster as dg

from influencerai_dagster.backup.database.backups import BackupKind, WalLag
from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.databases import (
    check_same_server,
    no_incremental_because,
)
from influencerai_dagster.backup.database.pg_dump import PgDumps
from influencerai_dagster.backup.database.wal_lag import read_wal_lag


class DatabaseBackupResource(dg.ConfigurableResource):  # type: ignore[type-arg] # Dagster's own generic
    """Where backups of both databases are, and how they are taken.

    Attributes:
        mode: BACKUP_DATABASE_MODE.
        home: BACKUP_HOME.
        database_url: DATABASE_URL.
        dagster_database_url: DAGSTER_DATABASE_URL.
        backup_database_url: BACKUP_DATABASE_URL, or DATABASE_URL.
        recovery_window_days: BACKUP_RECOVERY_WINDOW_DAYS.
        postgres_bin_dir: BACKUP_POSTGRES_BIN_DIR, "" if it is not set.
    """

    mode: Literal["barman", "pg_dump"]
    home: str
    database_url: str
    dagster_database_url: str
    backup_database_url: str
    recovery_window_days: int
    postgres_bin_dir: str = ""

    @property
    def full_kind(self) -> BackupKind:
        """What a full backup is called here."""
        return BackupKind.DUMP if self.mode == "pg_dump" else BackupKind.FULL

    def backups(self) -> BarmanServer | PgDumps:
        """Return the backups as backup/ takes them."""
        if self.mode == "barman":
            return self._server()
        return PgDumps(
            home=Path(self.home),
            database_urls=(self.database_url, self.dagster_database_url),
            retention_days=self.recovery_window_days,
            postgres_bin_dir=self._bin_dir(),
        )

    def wal_lag(self) -> WalLag | None:
        """Return how far the receiver of WAL is behind; None where there are only dumps."""
        if self.mode != "barman":
            return None
        server = self._server()
        received_at = server.archive_status().received_at
        return read_wal_lag(server.database_url, server.slot_name, received_at)

    def has_incremental(self) -> bool:
        """Return whether there is a backup every few hours, not WAL alone; asks the server."""
        return self.mode == "pg_dump" or no_incremental_because(self.backup_database_url) is None

    def check_server(self) -> None:
        """Make sure that a backup will have both databases; PermanentError says what to do."""
        if self.mode == "barman":
            others = (self.database_url, self.dagster_database_url)
            check_same_server(self.backup_database_url, others)

    def _server(self) -> BarmanServer:
        return BarmanServer(
            home=Path(self.home),
            database_url=self.backup_database_url,
            retention_days=self.recovery_window_days,
            postgres_bin_dir=self._bin_dir(),
        )

    def _bin_dir(self) -> Path | None:
        return Path(self.postgres_bin_dir) if self.postgres_bin_dir else None
