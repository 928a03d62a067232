"""The seconds of a whole restore drill, until database and objects are restored and verified (RTO).

From a full and an incremental backup with WAL after each, and the objects from another bucket. Goal
are the four hours of docs/disaster-recovery.md; each step is a row of its own.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.backup_buckets import BACKUPS, Buckets, running_buckets
from benchmarks.backup_data import FULL_DATABASE_BYTES, FULL_NUM_OBJECTS, change, write_images
from benchmarks.backup_servers import BackedUpDatabase, running_database
from benchmarks.comparisons import Comparison
from benchmarks.database_restore import CHANGED_SHARE
from benchmarks.object_backup import RECOVERY_WINDOW
from benchmarks.servers import BUCKET, temporary_folder
from influencerai_dagster.backup.database.backups import BackupKind
from influencerai_dagster.backup.objects.copies import copy_objects
from influencerai_dagster.backup.objects.locations import BackupTarget
from influencerai_dagster.backup.restore.drill import Drill, DrillReport, run_drill

ROUNDS = 2
GOAL_SECONDS = 4 * 3600.0


def run(share: float = 1.0) -> Sequence[Comparison]:
    """Measure the seconds of a drill and of its steps."""
    with temporary_folder() as folder, running_buckets(folder) as buckets:
        images = write_images(folder / "images", int(FULL_NUM_OBJECTS * share))
        buckets.upload(folder / "images")
        num_bytes = int(FULL_DATABASE_BYTES * share)
        with running_database(folder, num_bytes, images) as database:
            target_time = _back_up(database, buckets)
            drill = _drill(database, buckets, folder)
            reports = [run_drill(drill, print, target_time) for _ in range(ROUNDS)]
    for report in reports:
        assert report.is_valid, report.problems
        assert report.num_objects == 2 * len(images), report.num_objects
        print(_in_minutes(report))
    return _comparisons(reports, database.size_bytes)


def _back_up(database: BackedUpDatabase, buckets: Buckets) -> datetime:
    """Take all backups there are, with changes between them; return a time after them."""
    database.barman.backup(BackupKind.FULL)
    change(database.dagster_url, CHANGED_SHARE)
    database.barman.backup(BackupKind.INCREMENTAL)
    change(database.dagster_url, CHANGED_SHARE)
    target = BackupTarget(buckets.location(BACKUPS))
    copy_objects(buckets.location(BUCKET), target, recovery_window=RECOVERY_WINDOW)
    target_time = datetime.now(UTC)
    change(database.dagster_url, CHANGED_SHARE / 100)
    database.barman.switch_wal()
    return target_time


def _drill(database: BackedUpDatabase, buckets: Buckets, folder: Path) -> Drill:
    return Drill(
        backups=database.barman,
        databases=database.databases,
        target=BackupTarget(buckets.location(BACKUPS)),
        scratch_dir=folder / "drills",
    )


def _in_minutes(report: DrillReport) -> str:
    steps = [f"{step} {_clock(value)}" for step, value in report.seconds_by_step.items()]
    return f"restore drill: {_clock(report.rto_seconds or 0)} of 240:00 min; {', '.join(steps)}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _comparisons(reports: Sequence[DrillReport], database_bytes: int) -> Sequence[Comparison]:
    rto = [report.rto_seconds for report in reports if report.rto_seconds is not None]
    size = f"{database_bytes / 1000**2:,.0f} MB of database and {reports[0].num_objects:,} objects"
    whole = Comparison(
        name=f"restore drill (RTO), {size}",
        baseline_name="goal of 4 hours",
        unit="s",
        measured=rto,
        baseline=[GOAL_SECONDS] * len(rto),
        better="lower",
    )
    steps = [
        Comparison(
            name=f"of it: {step}",
            baseline_name="the whole drill",
            unit="s",
            measured=[report.seconds_by_step[step] for report in reports],
            baseline=rto,
            better="lower",
        )
        for step in reports[0].seconds_by_step
    ]
    return [whole, *steps]
