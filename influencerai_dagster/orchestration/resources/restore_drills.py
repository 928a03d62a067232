"""What a restore drill needs: both backups, and scratch space."""

from pathlib import Path

import dagster as dg

from influencerai_dagster.backup.restore.both_databases import BothDatabases
from influencerai_dagster.backup.restore.drill import Drill
from influencerai_dagster.backup.restore.restored_server import find_bin_dir
from influencerai_dagster.orchestration.resources.database_backups import DatabaseBackupResource
from influencerai_dagster.orchestration.resources.object_backups import ObjectBackupResource


class RestoreDrillResource(dg.ConfigurableResource):  # type: ignore[type-arg] # Dagster's own generic
    """The backups that are drilled."""

    database_backups: DatabaseBackupResource
    object_backups: ObjectBackupResource

    def drill(self) -> Drill:
        """Return the drill as backup/ takes it; PermanentError says what is not set."""
        databases = self.database_backups
        backups = databases.backups()
        find_bin_dir(backups.postgres_bin_dir)  # no drill at all, rather than a broken backup
        return Drill(
            backups=backups,
            databases=BothDatabases(databases.database_url, databases.dagster_database_url),
            target=self.object_backups.backup_target(),
            scratch_dir=Path(databases.home).absolute() / "drills",
        )
