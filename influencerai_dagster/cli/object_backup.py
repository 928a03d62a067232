"""Commands `influencerai backup objects`: copy objects and database backups, without Dagster."""

from rich.progress import Progress

from influencerai_dagster.backup.objects.copies import ObjectBackupReport, copy_all
from influencerai_dagster.cli.common import settings
from influencerai_dagster.cli.output import Document, JsonOption, console, notes, print_json
from influencerai_dagster.errors import TransientError
from influencerai_dagster.local.stopped_stack import with_object_store
from influencerai_dagster.settings import Settings
from influencerai_dagster.wiring.backups import assets_bucket, backup_target

_MIB = 1024**2


def backup_objects(as_json: JsonOption = False) -> None:  # noqa: FBT002 - typer's flag
    """Copy new objects and the databases' backups to BACKUP_TARGET; Dagster may be down."""
    with with_object_store(settings()) as config:
        copied = copy_to_target(config, as_json=as_json)
    if as_json:
        print_json(copied)


def copy_to_target(config: Settings, *, as_json: bool) -> dict[str, Document]:
    """Copy new objects; print a summary unless JSON is asked for, and return it.

    Raises:
        TransientError: objects are not in the backup, the text names each; or a server is away.
        PermanentError: access denied, or a location is not there.
    """
    with Progress(console=notes, transient=True) as progress:
        task = progress.add_task("copying", total=None)
        reports = copy_all(
            assets_bucket(config),
            config.backup.home if config.backup.target else None,
            backup_target(config),
            recovery_window=config.backup.recovery_window,
            on_progress=lambda what, now: progress.update(
                task, description=what, completed=now.copied_bytes, total=now.total_bytes
            ),
        )
    if not as_json:
        for name, report in reports.items():
            _print(name, report)
    failures = [f"{key}: {why}" for item in reports.values() for key, why in item.failures.items()]
    if failures:
        raise TransientError(
            f"{len(failures)} objects are not in the backup:\n" + "\n".join(failures)
        )
    return {name: _document(report) for name, report in reports.items()}


def _document(report: ObjectBackupReport) -> Document:
    return {
        "target": report.target,
        "num_objects": report.num_objects,
        "size_bytes": report.size_bytes,
        "num_copied": len(report.copied),
        "copied_bytes": report.copied_bytes,
        "num_only_at_target": len(report.missing_at_source),
        "num_deleted_at_target": len(report.pruned),
        "seconds": round(report.seconds, 1),
    }


def _print(name: str, report: ObjectBackupReport) -> None:
    console.print(
        f"{name}: {report.num_objects:,} objects, {report.size_bytes / _MIB:,.1f} MiB; copied "
        f"{len(report.copied):,} ({report.copied_bytes / _MIB:,.1f} MiB) to {report.target} in "
        f"{report.seconds:.1f} s; {len(report.missing_at_source):,} are only there, "
        f"{len(report.pruned):,} were deleted there"
    )
