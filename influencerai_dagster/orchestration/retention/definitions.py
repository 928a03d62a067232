"""List what Dagster shows of retention."""

import dagster as dg

from influencerai_dagster.orchestration.retention.assets import apply_retention
from influencerai_dagster.orchestration.retention.checks import object_store_has_space
from influencerai_dagster.orchestration.retention.schedules import retention_schedule
from influencerai_dagster.orchestration.retention.storage_pause_sensor import storage_pause_sensor
from influencerai_dagster.settings import Settings


def retention_definitions(settings: Settings) -> dg.Definitions:
    """Return the assets, checks, schedules and sensors of retention."""
    return dg.Definitions(
        assets=[apply_retention],
        asset_checks=[object_store_has_space],
        schedules=[retention_schedule(settings.backup.time_zone)],
        sensors=[storage_pause_sensor],
    )
