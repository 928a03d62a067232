"""Schedule backups: full at 02:00, incremental every 6 hours in between, copies after each; drills.

Dagster runs only the newest missed tick; database_backup_sensor requests what is still too old.
"""

import dagster as dg

from influencerai_dagster.backup.database.backups import BackupKind
from influencerai_dagster.core.dagster_names import (
    BACKUP_DATABASE_JOB,
    BACKUP_OBJECTS_JOB,
    RESTORE_DRILL_JOB,
)
from influencerai_dagster.orchestration.backups.database_backups import run_config
from influencerai_dagster.orchestration.jobs import JOBS

_CRON = {BackupKind.FULL: "0 2 * * *", BackupKind.INCREMENTAL: "0 8,14,20 * * *"}


def database_backup_schedules(time_zone: str) -> list[dg.ScheduleDefinition]:
    """Return the schedules, in a time zone."""
    return [_schedule(kind, cron, time_zone) for kind, cron in _CRON.items()]


def _schedule(kind: BackupKind, cron: str, time_zone: str) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=f"database_backup_{kind}_schedule",
        job=JOBS[BACKUP_DATABASE_JOB],
        cron_schedule=cron,
        execution_timezone=time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Takes a {kind} backup of both databases.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(run_config=run_config(kind, context.scheduled_execution_time))

    return schedule


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


def restore_drill_schedule(time_zone: str) -> dg.ScheduleDefinition:
    """Return the schedule of the drill: Sundays at 04:00, after the full backup of the night."""
    return dg.ScheduleDefinition(
        name="restore_drill_schedule",
        job=JOBS[RESTORE_DRILL_JOB],
        cron_schedule="0 4 * * 0",
        execution_timezone=time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Restores last night's backup into scratch space and verifies it.",
    )
