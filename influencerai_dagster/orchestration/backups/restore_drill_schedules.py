"""Schedule of the restore drill: Sunday at 04:00, after the full backup of the night."""

import dagster as dg

from influencerai_dagster.core.dagster_names import RESTORE_DRILL_JOB
from influencerai_dagster.orchestration.jobs import JOBS


def restore_drill_schedule(time_zone: str) -> dg.ScheduleDefinition:
    """Return the schedule, in a time zone."""
    return dg.ScheduleDefinition(
        name="restore_drill_schedule",
        job=JOBS[RESTORE_DRILL_JOB],
        cron_schedule="0 4 * * 0",
        execution_timezone=time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Restores last night's backup into scratch space and verifies it.",
    )
