"""Schedule the retention report and deletions, and the pruning of Dagster's own data."""

import dagster as dg

from influencerai_dagster.core.dagster_names import RETENTION_JOB
from influencerai_dagster.orchestration.jobs import JOBS


def retention_schedule(time_zone: str) -> dg.ScheduleDefinition:
    """Return the daily schedule of retention; it runs after the night's backup."""
    return dg.ScheduleDefinition(
        name="retention_schedule",
        job=JOBS[RETENTION_JOB],
        cron_schedule="0 4 * * *",
        execution_timezone=time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Reports what retention may delete, and deletes it (RETENTION_DRY_RUN=false).",
    )
