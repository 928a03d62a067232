"""Assets `retention_report` and `retention_deletions`: what may go and why, then what went.

The rules are domain/retention.py; objects are looked at in stages/retention.py, what Dagster itself
keeps in dagster_retention.py.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import dagster as dg

from influencerai_dagster.domain.retention import Fate
from influencerai_dagster.orchestration.dagster_retention import (
    DagsterLeftovers,
    delete_leftovers,
    find_leftovers,
)
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.metadata import OWNER, Metadata, table
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource
from influencerai_dagster.orchestration.resources.retention import RetentionResource
from influencerai_dagster.stages.retention import (
    Deletions,
    PlannedObject,
    RetentionPlan,
    delete_planned,
    plan_retention,
)

REPORT, DELETIONS = "retention_report", "retention_deletions"
_FATES = (Fate.DELETE, Fate.REMOVE, Fate.WAIT)


class RetentionConfig(dg.Config):
    """How a run of retention differs from RETENTION_DRY_RUN.

    Attributes:
        dry_run: true only reports, false deletes, null does as the setting says.
    """

    dry_run: bool | None = None


@dg.multi_asset(
    name="apply_retention",
    group_name="retention",
    can_subset=False,
    specs=[
        dg.AssetSpec(
            REPORT,
            kinds={"s3", "postgres"},
            owners=[OWNER],
            description=(
                "What retention keeps, what it deletes and why, before anything is deleted: "
                "pictures and clips past their days, left-overs of lost claims, empty days, old "
                "runs of Dagster. It has no partitions; a schedule makes it every day."
            ),
        ),
        dg.AssetSpec(
            DELETIONS,
            deps=[REPORT],
            kinds={"s3", "postgres"},
            owners=[OWNER],
            description=(
                "What retention deleted of what its report named, or, as long as "
                "`RETENTION_DRY_RUN` is on, that it deleted nothing. It has no partitions. A "
                "picture is deleted in the catalog first; its bytes go when the recovery window "
                "has passed."
            ),
        ),
    ],
)
def apply_retention(
    context: dg.AssetExecutionContext,
    config: RetentionConfig,
    object_store: ObjectStoreResource,
    catalog: CatalogResource,
    retention: RetentionResource,
) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg] # Dagster's own generic
    """Report what may go, then delete it unless this is a dry run."""
    is_dry_run = retention.is_dry_run if config.dry_run is None else config.dry_run
    rules = retention.rules()
    with dagster_failures(context.retry_number):
        plan = plan_retention(catalog.engine, object_store.store, rules)
        leftovers = find_leftovers(
            context.instance, catalog.engine, plan.tenants, now=datetime.now(UTC)
        )
    yield dg.MaterializeResult(
        asset_key=REPORT, metadata=_report(plan, leftovers, is_dry_run=is_dry_run)
    )
    if is_dry_run:
        context.log.info("dry run: nothing was deleted; set RETENTION_DRY_RUN=false to delete")
        yield dg.MaterializeResult(asset_key=DELETIONS, metadata={"is_dry_run": True})
        return
    with dagster_failures(context.retry_number):
        done = delete_planned(catalog.engine, object_store.store, plan, rules)
        gone = delete_leftovers(context.instance, leftovers)
    for key in done.removed:
        context.log.info(f"removed {key}")
    yield dg.MaterializeResult(asset_key=DELETIONS, metadata=_deletions(done, gone))


def _report(plan: RetentionPlan, leftovers: DagsterLeftovers, *, is_dry_run: bool) -> Metadata:
    counts: Metadata = {}
    for fate in Fate:
        found = plan.of(fate)
        counts[f"num_{fate}"] = len(found)
        counts[f"{fate}_bytes"] = sum(item.size_bytes for item in found)
    return {
        "is_dry_run": is_dry_run,
        **counts,
        "summary": table(plan.summary()),
        **{
            f"to_{fate}" if fate is not Fate.WAIT else "waiting": _objects(plan.of(fate))
            for fate in _FATES
        },
        "kept_on_hold": _objects([i for i in plan.of(Fate.KEEP) if "hold" in i.verdict.reason]),
        "num_scratch_objects": len(plan.scratch_keys),
        "incomplete_uploads": [item.key for item in plan.uploads],
        "days": list(leftovers.days),
        "num_runs": len(leftovers.run_ids),
        "num_old_runs_kept": leftovers.num_kept,
    }


def _deletions(done: Deletions, gone: DagsterLeftovers) -> Metadata:
    return {
        "is_dry_run": False,
        "num_deleted": len(done.deleted),
        "num_removed": len(done.removed),
        "removed_bytes": sum(done.removed.values()),
        "deleted": table([{"object": key} for key in done.deleted]),
        "removed": table([{"object": key, "bytes": size} for key, size in done.removed.items()]),
        "spared": table([{"object": key} for key in done.spared]),
        "ended_uploads": done.aborted,
        "days": list(gone.days),
        "num_runs": len(gone.run_ids),
    }


def _objects(items: Sequence[PlannedObject]) -> dg.TableMetadataValue | str:
    return table(
        [
            {
                "object": item.key,
                "bytes": item.size_bytes,
                "why": item.verdict.reason,
                "bytes may go (UTC)": f"{item.verdict.due:%Y-%m-%d}" if item.verdict.due else "",
            }
            for item in items
        ]
    )
