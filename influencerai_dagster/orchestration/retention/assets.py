"""Assets `retention_report` and `retention_deletions`: what may be deleted, then what was deleted.

Objects are planned and deleted in retention/deletion.py, what Dagster itself keeps in
dagster_pruning.py and dagster_events.py. metadata.py says how both are shown.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
from pydantic import Field
from sqlalchemy import Engine

from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.response_cache import count_expired, delete_expired_responses
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.metadata import OWNER
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource
from influencerai_dagster.orchestration.resources.retention import RetentionResource
from influencerai_dagster.orchestration.retention.dagster_events import (
    delete_old_events,
    find_old_events,
)
from influencerai_dagster.orchestration.retention.dagster_pruning import (
    KEEP_RUNS,
    delete_leftovers,
    find_leftovers,
)
from influencerai_dagster.orchestration.retention.metadata import (
    Findings,
    deletions_metadata,
    report_metadata,
)
from influencerai_dagster.orchestration.run_config import RunConfig
from influencerai_dagster.retention.day_lists import delete_day_lists
from influencerai_dagster.retention.deletion import delete_planned, plan_retention
from influencerai_dagster.retention.legal_holds import tenant_retentions
from influencerai_dagster.storage.object_store import ObjectStore

REPORT, DELETIONS = "retention_report", "retention_deletions"
_DRY_RUN = (
    "nothing was deleted, this is a dry run: read retention_report, then set "
    "RETENTION_DRY_RUN=false, or run once with the config dry_run: false"
)


class RetentionConfig(RunConfig):
    """How a run of retention differs from RETENTION_DRY_RUN."""

    dry_run: bool | None = Field(
        None, description="true only reports, false deletes, null does as the setting says."
    )


@dg.multi_asset(
    name="apply_retention",
    group_name="retention",
    can_subset=False,
    config_schema=RetentionConfig.schema_for_dagster(),
    specs=[
        dg.AssetSpec(
            REPORT,
            kinds={"s3", "postgres"},
            owners=[OWNER],
            description=(
                "What retention keeps, what it deletes and why, before anything is deleted: "
                "images and videos past their days, left-overs of lost claims, empty days and "
                "their lists, old runs and events of Dagster, expired responses of language "
                "models.\n\nMade from the catalog and the bucket. It has no partitions; a schedule "
                "makes it every day. Rerun it to see what changed days or holds would delete."
            ),
        ),
        dg.AssetSpec(
            DELETIONS,
            deps=[REPORT],
            kinds={"s3", "postgres"},
            owners=[OWNER],
            description=(
                "What retention deleted of what its report named; nothing while "
                "`RETENTION_DRY_RUN` is on.\n\nMade together with retention_report. It has no "
                "partitions. An image is deleted in the catalog first; its bytes are removed when "
                "the recovery window has passed. Rerun it after a run that failed: it goes on "
                "with what is left."
            ),
        ),
    ],
)
def apply_retention(
    context: dg.AssetExecutionContext,
    object_store: ObjectStoreResource,
    catalog: CatalogResource,
    retention: RetentionResource,
) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg] # Dagster's own generic
    """Report what may be deleted, then delete it unless this is a dry run."""
    with dagster_failures(context.retry_number):
        config = RetentionConfig.of(context)
        is_dry_run = retention.is_dry_run if config.dry_run is None else config.dry_run
        found = _find(context.instance, catalog.engine, object_store, retention)
    yield dg.MaterializeResult(
        asset_key=REPORT, metadata=report_metadata(found, is_dry_run=is_dry_run)
    )
    if is_dry_run:
        context.log.info(_DRY_RUN)
        yield dg.MaterializeResult(
            asset_key=DELETIONS, metadata={"is_dry_run": True, "why": _DRY_RUN}
        )
        return
    with dagster_failures(context.retry_number):
        rules = retention.rules()
        done = delete_planned(catalog.engine, object_store, found.plan, rules)
        # Before the partitions of their days: see day_lists.py.
        delete_day_lists(catalog.engine, object_store, found.plan, rules, done)
        gone = delete_leftovers(context.instance, found.leftovers)
        # Once more: what belonged to those partitions is old now, what was put back is not.
        events = find_old_events(retention.dagster_engine, found.plan.made_at - KEEP_RUNS)
        delete_old_events(retention.dagster_engine, events)
        num_responses = delete_expired_responses(catalog.engine)
    for key in done.removed:
        context.log.info(f"removed {key}")
    yield dg.MaterializeResult(
        asset_key=DELETIONS, metadata=deletions_metadata(done, gone, events, num_responses)
    )


def _find(
    instance: dg.DagsterInstance, engine: Engine, store: ObjectStore, retention: RetentionResource
) -> Findings:
    """Find everything that may be deleted; writes nothing."""
    rules, now = retention.rules(), datetime.now(UTC)
    with transaction(engine) as session:
        tenants = tenant_retentions(session, rules.days)
        num_responses = count_expired(session)
    leftovers = find_leftovers(instance, engine, tenants, now=now)
    return Findings(
        plan=plan_retention(engine, store, rules, days=leftovers.day_partitions, now=now),
        leftovers=leftovers,
        events=find_old_events(retention.dagster_engine, now - KEEP_RUNS, leftovers.days),
        num_responses=num_responses,
    )
