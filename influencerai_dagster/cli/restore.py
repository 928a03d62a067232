"""`influencerai restore`, `influencerai backup drill` and `influencerai backup fetch`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from influencerai_dagster.backup.database.barman_files import make_empty_folders
from influencerai_dagster.backup.objects.history import OBJECTS
from influencerai_dagster.backup.objects.locations import Location
from influencerai_dagster.backup.objects.missing import restore_objects
from influencerai_dagster.backup.restore.data_dir_target import DataDirTarget
from influencerai_dagster.backup.restore.drill import run_drill
from influencerai_dagster.backup.restore.restored_server import find_bin_dir
from influencerai_dagster.backup.restore.run import (
    Restore,
    RestorePlan,
    RestoreReport,
    plan,
    remove_remains,
    run_restore,
)
from influencerai_dagster.backup.restore.server_databases import server_at
from influencerai_dagster.backup.restore.server_target import ServerTarget
from influencerai_dagster.backup.restore.source import choose
from influencerai_dagster.backup.restore.target import RestoreTarget
from influencerai_dagster.backup.verification.objects import Assets
from influencerai_dagster.cli.common import settings
from influencerai_dagster.cli.output import JsonOption, console, notes, print_json, print_result
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.local.stopped_stack import with_object_store
from influencerai_dagster.settings import Settings
from influencerai_dagster.wiring.backups import (
    assets_bucket,
    backup_target,
    both_databases,
    database_backups,
    restore_drill,
    scratch_dir,
)
from influencerai_dagster.wiring.stores import assets_store

_BARMAN = "barman"
"""The folder of BACKUP_HOME's files at the target."""
_LATEST = "latest"
_SHOWN = 50
_MB = 1000**2


def restore(
    to: Annotated[
        str, typer.Option(help="A target time with its time zone, 2026-11-20T03:00Z, or latest.")
    ],
    into: Annotated[
        str,
        typer.Option(
            help="PostgreSQL's data directory to make; or a running server, "
            "postgresql://user@host/, whose password may be in PGPASSWORD or ~/.pgpass."
        ),
    ],
    scratch: Annotated[
        Path | None,
        typer.Option(
            help="Folder in which a physical backup is replayed before it is loaded into a server; "
            "has space for four times the database. Default: BACKUP_HOME/drills."
        ),
    ] = None,
    dry_run: Annotated[  # noqa: FBT002 - typer's flag
        bool, typer.Option("--dry-run", help="Only show what would be done.")
    ] = False,
    force: Annotated[  # noqa: FBT002 - typer's flag
        bool, typer.Option("--force", help="Move the content of the folder or databases aside.")
    ] = False,
) -> None:
    """Restore both databases and the objects to one target time; Dagster may be down.

    With BACKUP_DATABASE_MODE=pg_dump, load the newest dump that had begun by then. The same command
    again resumes a restore that was stopped.
    """
    target_time = _target_time(to)
    with with_object_store(settings()) as config:
        source = choose(database_backups(config), target_time, datetime.now(UTC))
        target = _target(config, into, scratch)
        if isinstance(target, DataDirTarget) or source.as_dump is None:
            find_bin_dir(config.backup.postgres_bin_dir)  # before anything is done
        planned = plan(Restore(source, target, _assets(config), is_forced=force))
        _show_plan(planned)
        if planned.problems:
            raise PermanentError("; ".join(planned.problems))
        if dry_run:
            console.print("nothing was done: --dry-run")
            return
        if planned.is_promoted:
            remove_remains(planned)
            console.print(f"an earlier try has restored everything to {target}")
            return
        report = run_restore(planned, lambda line: console.print(escape(line), highlight=False))
    _show_report(report, target)
    if not report.verification.is_valid:
        raise typer.Exit(1)


def drill(
    to: Annotated[
        str, typer.Option(help="A target time with its time zone. Default: a random one.")
    ] = "",
    scratch: Annotated[
        Path | None, typer.Option(help="A folder with space. Default: BACKUP_HOME/drills.")
    ] = None,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Restore a random target time into scratch space, verify it, remove it; say how long it took.

    With BACKUP_DATABASE_MODE=pg_dump, load the newest dump.
    """
    report = run_drill(
        restore_drill(settings(), scratch),
        lambda line: notes.print(escape(line), highlight=False),
        _target_time(to) if to else None,
    )
    if as_json:
        print_json(report.model_dump() | {"is_valid": report.is_valid})
    else:
        _show_lists(report.problems, report.warnings)
        age = "unknown" if report.rpo_seconds is None else f"{report.rpo_seconds:.1f} s"
        console.print(
            f"RTO {report.shown_rto}, RPO {age}, {sum(report.rows.values())} rows, "
            f"{report.num_objects} objects, {report.size_bytes / _MB:.1f} MB"
        )
    if not report.is_valid:
        raise typer.Exit(1)


def fetch(
    objects: Annotated[  # noqa: FBT002 - typer's flag
        bool, typer.Option("--objects", help="Copy the objects to the bucket instead.")
    ] = False,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Copy the backups of the databases from BACKUP_TARGET to BACKUP_HOME; existing files stay."""
    with with_object_store(settings()) as config:
        into: Location = assets_bucket(config) if objects else config.backup.home.absolute()
        if isinstance(into, Path):
            into.mkdir(parents=True, exist_ok=True)
        folder = OBJECTS if objects else _BARMAN
        report = restore_objects(backup_target(config), into, None, folder=folder)
    if isinstance(into, Path):
        make_empty_folders(into)
    for name, why in report.not_found.items():
        notes.print(f"[bold red]missing:[/] {escape(name)}: {escape(why)}", highlight=False)
    print_result(
        {"num_copied": len(report.copied), "into": str(into), "not_found": report.not_found},
        f"{len(report.copied)} files copied to {into}",
        as_json=as_json,
    )
    if report.not_found:
        raise typer.Exit(1)


def _assets(config: Settings) -> Assets:
    return Assets(assets_store(config), assets_bucket(config), backup_target(config))


def _target(config: Settings, into: str, scratch: Path | None) -> DataDirTarget | ServerTarget:
    databases = both_databases(config)
    if not into.startswith(("postgresql:", "postgres:", "postgresql+")):
        return DataDirTarget(Path(into).absolute(), databases)
    return ServerTarget(
        server_at(into, databases.names),
        databases,
        scratch_dir=scratch_dir(config, scratch) / "restore",
        bin_dir=config.backup.postgres_bin_dir,
    )


def _target_time(text: str) -> datetime | None:
    if text == _LATEST:
        return None
    try:
        target_time = datetime.fromisoformat(text)
    except ValueError:
        target_time = None
    if target_time is None or target_time.tzinfo is None:
        raise PermanentError(
            f"--to {text!r} is not a target time: write it with its time zone, like "
            "2026-11-20T03:00Z, or latest"
        )
    return target_time.astimezone(UTC)


def _show_plan(planned: RestorePlan) -> None:
    for number, step in enumerate(planned.shown_steps, start=1):
        console.print(escape(f"{number}. {step}"), highlight=False)
    _show_lists((), planned.warnings)


def _show_lists(problems: Sequence[str], warnings: Sequence[str]) -> None:
    for text in problems[:_SHOWN]:
        console.print(f"[bold red]broken:[/] {escape(text)}", highlight=False)
    for text in warnings[:_SHOWN]:
        console.print(f"[yellow]note:[/] {escape(text)}", highlight=False)


def _show_report(report: RestoreReport, target: RestoreTarget) -> None:
    found = report.verification
    table = Table("step", Column("seconds", justify="right"))
    for step, seconds in report.seconds_by_step.items():
        table.add_row(step, f"{seconds:.1f}")
    console.print(table)
    _show_lists(found.problems, found.warnings)
    if report.restored_to:
        console.print(f"last transaction  {report.restored_to.isoformat()}")
    if found.migrated_from:
        console.print(f"migrated          from {found.migrated_from}")
    console.print(f"rows              {found.num_rows}")
    console.print(
        f"objects           {found.num_objects}, {len(report.objects.copied)} copied back"
    )
    if report.moved_aside:
        console.print(f"moved aside       {report.moved_aside}")
    console.print(f"restored to       {target}")
