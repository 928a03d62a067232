"""Asset `restore_drill`: restore the last backup into scratch space and verify it, every week.

The drill itself is in backup/restore/drill.py. A broken backup is an outcome, shown by the check;
the run fails only if the backup could not be verified: no space, or a server that is away.
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
    """Run config of a drill."""

    target_time: AwareDatetime | None = Field(
        None, description="The target time, ISO 8601 with time zone; null draws one."
    )


@dg.asset(
    group_name="backups",
    kinds={"postgres", "barman", "rclone"},
    owners=[OWNER],
    pool=RESTORE_DRILL_POOL,
    config_schema=RestoreDrillConfig.schema_for_dagster(),
    description=(
        "Shows that backups work: a random target time that the last full backup reaches is "
        "restored into scratch space (with dumps alone, the newest dump), every row is read, "
        "every object that the catalog names is compared by its hash, and everything is removed "
        "again.\n\nIt uses the backups only, not the running system. It has no partitions. A "
        "schedule materializes it every Sunday; rerun it after a change of the backups. The plot "
        "shows how long a restore takes (RTO) and what a loss would cost (RPO)."
    ),
    check_specs=[
        dg.AssetCheckSpec(
            CHECK,
            asset="restore_drill",
            description="Everything was restored; the metadata names what is broken.",
        )
    ],
)
def restore_drill(
    context: dg.AssetExecutionContext,
    restore_drills: RestoreDrillResource,
) -> dg.MaterializeResult:  # type: ignore[type-arg] # Dagster's own generic
    """Run a drill and report its outcome."""
    with dagster_failures(context.retry_number):
        target_time = RestoreDrillConfig.of(context).target_time
        drill = restore_drills.drill()
        report = run_drill(drill, context.log.info, target_time and target_time.astimezone(UTC))
    for problem in report.problems:
        context.log.error(problem)
    return dg.MaterializeResult(
        metadata=_metadata(report, drill_history(drill.backups.home)),
        check_results=[
            dg.AssetCheckResult(
                check_name=CHECK,
                passed=report.is_valid,
                description=_summary(report),
                metadata={"broken": list(report.problems), "notes": list(report.warnings)},
            )
        ],
    )


def _summary(report: DrillReport) -> str:
    if report.problems:
        return f"{len(report.problems)} broken, the first: {report.problems[0]}"
    return f"{report.num_objects} objects and {sum(report.rows.values())} rows were restored"


def _metadata(report: DrillReport, history: Sequence[DrillReport]) -> Metadata:
    shown = history[-_SHOWN:]
    points = [(item.at, item.rto_seconds, item.rpo_seconds, item.is_valid) for item in shown]
    plot = drill_history_png(points, rto_goal=RTO_GOAL_SECONDS, rpo_goal=RPO_GOAL_SECONDS)
    return {
        "history": inline_image(plot, "RTO and RPO of all drills"),
        "target_time": report.target_time.isoformat() if report.target_time else "none",
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
