"""`storage_pause_sensor`: probe a full object store until it has space, and alert meanwhile.

The alert is the check `object_store_has_space` of `retention_report`, red while it is full.
"""

import dagster as dg

from influencerai_dagster.db import storage_pauses
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.generation.storage_pauses import try_resume
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource
from influencerai_dagster.orchestration.resources.retention import RetentionResource
from influencerai_dagster.orchestration.retention.checks import space_evaluation

_FULL = "full"


@dg.sensor(
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Alerts while the object store is full, and lets jobs go on when it has space.",
)
def storage_pause_sensor(
    context: dg.SensorEvaluationContext,
    catalog: CatalogResource,
    object_store: ObjectStoreResource,
    retention: RetentionResource,
) -> dg.SensorResult | dg.SkipReason:
    """Report once when a pause of the jobs begins, and once when it ends."""
    with transaction(catalog.engine) as session:
        pause = storage_pauses.current_pause(session)
    was_full = context.cursor == _FULL
    if pause is None and not was_full:
        return dg.SkipReason("the object store has space")
    if pause is not None and try_resume(catalog.engine, object_store):
        pause = None
    if (pause is not None) == was_full:
        return dg.SkipReason(f"the object store is full: {pause.error if pause else ''}")
    return dg.SensorResult(
        cursor=_FULL if pause else "",
        asset_events=[space_evaluation(catalog.engine, retention, pause)],
    )
