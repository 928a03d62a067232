"""Give ops and sensors the backups of the databases and the objects, and restore drills."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import dagster as dg

from influencerai_dagster.backup.database.backups import BackupKind, WalLag
from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.databases import check_same_server, no_incremental_because
from influencerai_dagster.backup.database.pg_dump import PgDumps
from influencerai_dagster.backup.database.wal_lag import read_wal_lag
from influencerai_dagster.backup.objects.locations import BackupTarget, Bucket
from influencerai_dagster.backup.restore.drill import Drill
from influencerai_dagster.settings import Settings
from influencerai_dagster.wiring import backups


@dataclass(frozen=True)
class DatabaseBackupSetup:
    """The backups of both databases, by Barman or pg_dump."""

    settings: Settings

    @property
    def full_kind(self) -> BackupKind:
        """The kind of a full backup."""
        return BackupKind.FULL if self._is_barman else BackupKind.DUMP

    def backups(self) -> BarmanServer | PgDumps:
        """Return the backups."""
        return backups.database_backups(self.settings)

    def wal_lag(self) -> WalLag | None:
        """Return how far the receiver of WAL is behind; None where there are only dumps."""
        if not self._is_barman:
            return None
        server = backups.barman_server(self.settings)
        received_at = server.archive_status().received_at
        return read_wal_lag(server.database_url, server.slot_name, received_at)

    def has_incremental(self) -> bool:
        """Return whether there is a backup every few hours, not WAL alone; asks the server."""
        if not self._is_barman:
            return True
        return no_incremental_because(backups.barman_server(self.settings).database_url) is None

    def check_server(self) -> None:
        """Check that a backup will have both databases; PermanentError says what to do."""
        if self._is_barman:
            own = backups.barman_server(self.settings).database_url
            check_same_server(own, backups.both_databases(self.settings).urls)

    @property
    def _is_barman(self) -> bool:
        return self.settings.backup.database_mode == "barman"


@dataclass(frozen=True)
class ObjectBackupSetup:
    """The bucket of assets and the target of its copies."""

    settings: Settings

    @property
    def is_off_site(self) -> bool:
        """Whether a target is set."""
        return self.settings.backup.target is not None

    @property
    def home(self) -> Path:
        """BACKUP_HOME; its files are copied to the target too."""
        return self.settings.backup.home

    @property
    def recovery_window(self) -> timedelta:
        """How far back any time can be restored."""
        return self.settings.backup.recovery_window

    def source(self) -> Bucket:
        """Return the bucket of assets as rclone reaches it."""
        return backups.assets_bucket(self.settings)

    def backup_target(self) -> BackupTarget:
        """Return the target of the copies."""
        return backups.backup_target(self.settings)


@dataclass(frozen=True)
class RestoreDrillSetup:
    """The backups that are drilled."""

    settings: Settings

    def drill(self) -> Drill:
        """Return the drill; PermanentError says what is not set."""
        return backups.restore_drill(self.settings)


DatabaseBackupResource = dg.ResourceParam[DatabaseBackupSetup]
ObjectBackupResource = dg.ResourceParam[ObjectBackupSetup]
RestoreDrillResource = dg.ResourceParam[RestoreDrillSetup]
