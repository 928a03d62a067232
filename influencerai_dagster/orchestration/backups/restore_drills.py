"""Asset `restore_drill`: last night's backup, restored into scratch space and proven, every week.

How it is done lives in backup/restore/drill.py. A broken backup is an outcome, told by the check;
only what says nothing of the backup (no space, a server that is away) fails the run.
"""

from collections.abc import Sequence
from datetime import UTC

import dagster as dg
from pydantic import AwareDatetime, Field

from influencerai_dagster.backup.restore.drill import DrillReport, drill_history, run_drill
from influencerai_dagster.media.plots import drill_history_png
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.metadata import OWNER, Metadata, inline_image, table
from influencerai_dagster.orchestration.resources.backups import RestoreDrillResource
from influencerai_dagster.orchestration.run_config import RunConfig

RESTORE_DRILL_POOL = "restore_drill"
"""One slot: two drills at once would measure each other."""
CHECK = "the_backup_can_be_restored"
RTO_GOAL_SECONDS = 4 * 3600
RPO_GOAL_SECONDS = 6 * 3600
_SHOWN = 60


class RestoreDrillConfig(RunConfig):
    """What is asked for."""

    instant: AwareDatetime | None = Field(
        None, description="The moment to restore, ISO 8601 with time zone; null draws one."
    )


@dg.asset(
    group_name="backups",
    kinds={"postgres", "barman", "rclone"},
    owners=[OWNER],
    pool=RESTORE_DRILL_POOL,
    config_schema=RestoreDrillConfig.schema_for_dagster(),
    description=(
        "The proof that backups work: a random moment that the last full backup reaches is "
        "restored into scratch space (where there are dumps alone, the newest one), every row is "
        "read, every object that the catalog names is compared by its hash, and everything is "
        "removed again.\n\nMade from the backups alone, not from what runs. It has no partitions. "
        "A schedule materializes it every Sunday; do it by hand after a change of the backups. The "
        "plot shows how long a restore takes (RTO) and what a loss would cost (RPO)."
    ),
    check_specs=[
        dg.AssetCheckSpec(
            CHECK,
            asset="restore_drill",
            description="The restored moment was whole; what is broken is named if not.",
        )
    ],
)
def restore_drill(
    context: dg.AssetExecutionContext,
    restore_drills: RestoreDrillResource,
) -> dg.MaterializeResult:  # type: ignore[type-arg] # Dagster's own generic
    """Drill, and tell what was found."""
    with dagster_failures(context.retry_number):
        instant = RestoreDrillConfig.of(context).instant
        drill = restore_drills.drill()
        report = run_drill(drill, context.log.info, instant and instant.astimezone(UTC))
    for problem in report.problems:
        context.log.error(problem)
    return dg.MaterializeResult(
        metadata=_metadata(report, drill_history(drill.backups.home)),
        check_results=[
            dg.AssetCheckResult(
                check_name=CHECK,
                passed=report.is_sound,
                description=_summary(report),
                metadata={"broken": list(report.problems), "notes": list(report.warnings)},
            )
        ],
    )


def _summary(report: DrillReport) -> str:
    if report.problems:
        return f"{len(report.problems)} broken, the first: {report.problems[0]}"
    return f"{report.num_objects} objects and {sum(report.rows.values())} rows came back whole"


def _metadata(report: DrillReport, history: Sequence[DrillReport]) -> Metadata:
    shown = history[-_SHOWN:]
    points = [(item.at, item.rto_seconds, item.rpo_seconds, item.is_sound) for item in shown]
    plot = drill_history_png(points, rto_goal=RTO_GOAL_SECONDS, rpo_goal=RPO_GOAL_SECONDS)
    return {
        "history": inline_image(plot, "RTO and RPO of all drills"),
        "instant": report.instant.isoformat() if report.instant else "none",
        "backup_id": report.backup_id or "none",
        "rto": report.shown_rto,
        **({} if report.rto_seconds is None else {"rto_seconds": report.rto_seconds}),
        "rpo_seconds": "unknown" if report.rpo_seconds is None else report.rpo_seconds,
        "rows": sum(report.rows.values()),
        "objects": report.num_objects,
        "size_bytes": report.size_bytes,
        "steps": table(
            [{"step": name, "seconds": round(s, 2)} for name, s in report.seconds_by_step.items()]
        ),
        "rows_by_table": table(
            [{"table": name, "rows": n} for name, n in sorted(report.rows.items())]
        ),
    }
