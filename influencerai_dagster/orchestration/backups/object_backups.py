"""Asset `object_backup`: copy the bucket of assets and the database backups to the target.

The rules of the copy are in backup/objects/copies.py.
"""

import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg

from influencerai_dagster.backup.objects.copies import ObjectBackupReport, copy_all
from influencerai_dagster.backup.objects.history import OBJECTS
from influencerai_dagster.backup.objects.rclone_log import CopyProgress
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.metadata import OWNER, Metadata, table
from influencerai_dagster.orchestration.progress import optional
from influencerai_dagster.orchestration.resources.backups import ObjectBackupResource

OBJECT_BACKUP_POOL = "object_backup"
"""One slot: two copies at once would share the network."""
_LOG_SECONDS = 10.0
_MIB = 1024**2


@dg.asset(
    group_name="backups",
    kinds={"s3", "rclone"},
    owners=[OWNER],
    pool=OBJECT_BACKUP_POOL,
    description=(
        "A copy of every object of the bucket of assets, and of the databases' backups, at "
        "`BACKUP_TARGET`: another S3 or a folder, encrypted when a key is set.\n\n"
        "Made by rclone, which copies what is new or changed and compares hashes. Nothing is "
        "deleted there before the recovery window has passed. It has no partitions. A schedule "
        "materializes it; rerun it when its check names objects that failed."
    ),
    check_specs=[
        dg.AssetCheckSpec(
            "every_object_is_in_the_backup",
            asset="object_backup",
            description="No copy failed; the metadata names the objects that failed.",
        )
    ],
)
def object_backup(
    context: dg.AssetExecutionContext, object_backups: ObjectBackupResource
) -> dg.MaterializeResult:  # type: ignore[type-arg] # Dagster's own generic
    """Copy new objects to the target, and delete there what is past the recovery window."""
    target = object_backups.backup_target()
    with dagster_failures(context.retry_number):
        reports = copy_all(
            object_backups.source(),
            Path(object_backups.home) if object_backups.is_off_site else None,
            target,
            recovery_window=object_backups.recovery_window,
            on_progress=_log_progress(context),
        )
    failures = {key: why for item in reports.values() for key, why in item.failures.items()}
    for key, why in failures.items():
        context.log.error(f"{key} is not in the backup: {why}")
    return dg.MaterializeResult(
        metadata=_metadata(reports, is_off_site=object_backups.is_off_site),
        check_results=[
            dg.AssetCheckResult(
                check_name="every_object_is_in_the_backup",
                passed=not failures,
                description=f"{len(failures)} objects could not be copied" if failures else None,
                metadata={"failures": _failures(failures)},
            )
        ],
    )


def _log_progress(context: dg.AssetExecutionContext) -> Callable[[str, CopyProgress], None]:
    logged_at = time.monotonic()

    def log(what: str, progress: CopyProgress) -> None:
        nonlocal logged_at
        if progress.num_to_copy and time.monotonic() - logged_at >= _LOG_SECONDS:
            logged_at = time.monotonic()
            left = "" if progress.eta_seconds is None else f", {progress.eta_seconds:.0f} s left"
            context.log.info(
                f"{what}: {progress.num_copied} of {progress.num_to_copy} copied, "
                f"{progress.copied_bytes / _MIB:.1f} of {progress.total_bytes / _MIB:.1f} MiB, "
                f"{progress.bytes_per_second / _MIB:.1f} MiB/s{left}; "
                f"{progress.num_checked} were there"
            )

    return optional(log)


def _metadata(reports: dict[str, ObjectBackupReport], *, is_off_site: bool) -> Metadata:
    objects = reports[OBJECTS]
    copied = {key: size for item in reports.values() for key, size in item.copied.items()}
    failures = {key: why for item in reports.values() for key, why in item.failures.items()}
    return {
        "target": objects.target if is_off_site else f"{objects.target}: set BACKUP_TARGET",
        "num_objects": objects.num_objects,
        "size_bytes": objects.size_bytes,
        "num_copied": len(copied),
        "copied_bytes": sum(copied.values()),
        "num_replaced": sum(len(item.replaced) for item in reports.values()),
        "num_only_in_backup": sum(len(item.missing_at_source) for item in reports.values()),
        "num_deleted_in_backup": sum(len(item.pruned) for item in reports.values()),
        "num_failed": len(failures),
        "seconds": round(sum(item.seconds for item in reports.values()), 1),
        "summary": table([_row(name, item) for name, item in reports.items()]),
        "copied": table([{"object": key, "bytes": size} for key, size in copied.items()]),
        "failures": _failures(failures),
        "only_in_backup": table(
            [
                {"object": key, "missing since (UTC)": since.isoformat(timespec="seconds")}
                for item in reports.values()
                for key, since in item.missing_at_source.items()
            ]
        ),
    }


def _failures(failures: dict[str, str]) -> dg.TableMetadataValue | str:
    return table([{"object": key, "why": why} for key, why in failures.items()])


def _row(name: str, report: ObjectBackupReport) -> dict[str, str | int | float]:
    return {
        "what": name,
        "objects": report.num_objects,
        "bytes": report.size_bytes,
        "copied": len(report.copied),
        "copied bytes": report.copied_bytes,
        "replaced": len(report.replaced),
        "failed": len(report.failures),
        "deleted": len(report.pruned),
        "seconds": round(report.seconds, 1),
    }
