"""When objects are copied and when retention runs."""

import dagster as dg

from influencerai_dagster.core.dagster_names import BACKUP_OBJECTS_JOB, RETENTION_JOB
from influencerai_dagster.orchestration.jobs import JOBS


def object_backup_schedule(time_zone: str) -> dg.ScheduleDefinition:
    """Return the schedule of the copies, each after a backup of the databases."""
    return dg.ScheduleDefinition(
        name="object_backup_schedule",
        job=JOBS[BACKUP_OBJECTS_JOB],
        cron_schedule="30 2,8,14,20 * * *",
        execution_timezone=time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Copies new objects and database backups to the backup target.",
    )


def retention_schedule(time_zone: str) -> dg.ScheduleDefinition:
    """Return the daily schedule of retention: when the night's backup has the objects."""
    return dg.ScheduleDefinition(
        name="retention_schedule",
        job=JOBS[RETENTION_JOB],
        cron_schedule="0 4 * * *",
        execution_timezone=time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Reports what retention may delete, and deletes it unless it is a dry run.",
    )
