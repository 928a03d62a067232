"""List what Dagster shows of backups and restore drills."""

import dagster as dg

from influencerai_dagster.orchestration.backups.checks import (
    no_database_backup_is_too_old,
    wal_is_received,
)
from influencerai_dagster.orchestration.backups.database_backup_sensor import database_backup_sensor
from influencerai_dagster.orchestration.backups.database_backups import database_backup
from influencerai_dagster.orchestration.backups.object_backups import object_backup
from influencerai_dagster.orchestration.backups.restore_drills import restore_drill
from influencerai_dagster.orchestration.backups.schedules import (
    database_backup_schedules,
    object_backup_schedule,
    restore_drill_schedule,
)
from influencerai_dagster.settings import Settings


def backup_definitions(settings: Settings) -> dg.Definitions:
    """Return the assets, checks, schedules and sensors of backups and drills."""
    time_zone = settings.backup.time_zone
    return dg.Definitions(
        assets=[database_backup, object_backup, restore_drill],
        asset_checks=[no_database_backup_is_too_old, wal_is_received],
        schedules=[
            *database_backup_schedules(time_zone),
            object_backup_schedule(time_zone),
            restore_drill_schedule(time_zone),
        ],
        sensors=[database_backup_sensor],
    )
