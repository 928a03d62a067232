"""Check `object_store_has_space` of `retention_report`, and what retention could free."""

import dagster as dg
from sqlalchemy import Engine

from influencerai_dagster.core.recovery_window import SAFETY_MARGIN
from influencerai_dagster.db import storage_pauses
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.storage_pauses import StoragePause
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.retention import RetentionResource
from influencerai_dagster.retention.rows import freeable

_CHECK = "object_store_has_space"
_ASSET = dg.AssetKey("retention_report")


@dg.asset_check(asset=_ASSET, name=_CHECK)
def object_store_has_space(
    catalog: CatalogResource, retention: RetentionResource
) -> dg.AssetCheckResult:
    """No upload found the object store full since the last one that found space."""
    with dagster_failures():
        with transaction(catalog.engine) as session:
            pause = storage_pauses.current_pause(session)
        found = space_evaluation(catalog.engine, retention, pause)
    return dg.AssetCheckResult(
        passed=found.passed, description=found.description, metadata=found.metadata
    )


def space_evaluation(
    engine: Engine, retention: RetentionResource, pause: StoragePause | None
) -> dg.AssetCheckEvaluation:
    """Return the check's outcome as a sensor or a run reports it."""
    if pause is None:
        return dg.AssetCheckEvaluation(
            asset_key=_ASSET, check_name=_CHECK, passed=True, description="there is space"
        )
    rules = retention.rules()
    with transaction(engine) as session:
        found = freeable(
            session, default_days=rules.days, recovery_window=rules.recovery_window + SAFETY_MARGIN
        )
    return dg.AssetCheckEvaluation(
        asset_key=_ASSET,
        check_name=_CHECK,
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR,
        description=(
            "The object store is full: no job is claimed, and finished renders wait to be stored. "
            "No job fails; all go on by themselves when there is space. Retention could free "
            f"{found.now_bytes:,} bytes now and {found.later_bytes:,} after the recovery window."
        ),
        metadata={
            "error": pause.error,
            "full_since": dg.MetadataValue.timestamp(pause.since),
            "retention_frees_now_bytes": found.now_bytes,
            "retention_frees_later_bytes": found.later_bytes,
        },
    )
