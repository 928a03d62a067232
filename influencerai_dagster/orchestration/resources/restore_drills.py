"""What a restore drill needs: both backups, and scratch space."""

from pathlib import Path

import dagster as dg

from influencerai_dagster.backup.barman import BarmanServer
from influencerai_dagster.backup.drill import Drill
from influencerai_dagster.backup.restored_server import find_bin_dir
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.orchestration.resources.database_backups import DatabaseBackupResource
from influencerai_dagster.orchestration.resources.object_backups import ObjectBackupResource


class RestoreDrillResource(dg.ConfigurableResource):  # type: ignore[type-arg] # Dagster's own generic
    """The backups that are drilled."""

    database_backups: DatabaseBackupResource
    object_backups: ObjectBackupResource

    def drill(self) -> Drill:
        """Return the drill as backup/ takes it; PermanentError says what is not set."""
        databases = self.database_backups
        server = databases.backups()
        if not isinstance(server, BarmanServer):
            raise PermanentError(
                "BACKUP_DATABASE_MODE=pg_dump has no WAL to replay: rehearse your provider's "
                "point-in-time recovery, docs/disaster-recovery.md"
            )
        return Drill(
            server=server,
            target=self.object_backups.backup_target(),
            scratch_dir=Path(databases.home).absolute() / "drills",
            database_url=databases.database_url,
            dagster_url=databases.dagster_database_url,
            bin_dir=find_bin_dir(server.postgres_bin_dir),
        )
