"""Commands `influencerai backup`: take, list, verify and prune backups, without Dagster."""

import signal
import threading
from typing import Annotated

import typer
from rich.markup import escape

from influencerai_dagster.backup.database.backups import (
    FIRST_BACKUP_AFTER,
    BackupInfo,
    BackupKind,
    newest_whole,
)
from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.databases import check_same_server, prune, take_backup
from influencerai_dagster.backup.database.wal_receiver import receive_wal
from influencerai_dagster.cli.common import server_settings, settings
from influencerai_dagster.cli.object_backup import copy_to_target
from influencerai_dagster.cli.output import (
    Document,
    Field,
    JsonOption,
    console,
    next_step,
    notes,
    print_json,
    print_result,
    print_rows,
)
from influencerai_dagster.core.names import unknown_name
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.settings import Settings
from influencerai_dagster.wiring.backups import barman_server, both_databases, database_backups

backup_app = typer.Typer(help="Backups of the databases and the objects.", no_args_is_help=True)
HOW_TO_HAVE_A_BACKUP = (
    "`influencerai backup now` takes one now; the first scheduled one comes "
    f"{FIRST_BACKUP_AFTER.seconds // 60} minutes after the first start"
)
_MIB = 1024**2
_FIELDS = (
    Field("backup_id", "backup"),
    Field("kind"),
    Field("status"),
    Field("parent_backup_id", "stands on"),
    Field("end", "restores from (UTC)"),
    Field("size_bytes", "MiB", shown=lambda value: f"{value / _MIB:,.1f}", is_number=True),
    Field("seconds", "s", is_number=True),
)


@backup_app.command("now")
def backup_now(
    incremental: Annotated[  # noqa: FBT002 - typer's flag
        bool, typer.Option("--incremental", help="Only the changes since the last full backup.")
    ] = False,
    objects: Annotated[  # noqa: FBT002 - typer's flag
        bool, typer.Option("--objects/--no-objects", help="Copy new objects of the bucket too.")
    ] = True,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Back up both databases, then the objects; Dagster may be down."""
    config = server_settings()
    backup = _back_up_databases(config, is_incremental=incremental)
    if not as_json and backup is not None:
        print_rows([_document(backup)], _FIELDS, as_json=False)
    copied = copy_to_target(config, as_json=as_json) if objects else {}
    if as_json:
        found = None if backup is None else _document(backup)
        print_json({"database_backup": found, "objects": copied})
    next_step("`influencerai backup drill` restores it into scratch space and compares everything")


def _back_up_databases(config: Settings, *, is_incremental: bool) -> BackupInfo | None:
    if config.backup.database_mode == "pg_dump":
        kind = BackupKind.DUMP
    else:
        kind = BackupKind.INCREMENTAL if is_incremental else BackupKind.FULL
        server = barman_server(config)
        check_same_server(server.database_url, both_databases(config).urls)
    taken = take_backup(database_backups(config), kind, log=notes.print)
    if taken.reason:
        notes.print(escape(taken.reason))
    return taken.backup


@backup_app.command("list")
def list_backups(as_json: JsonOption = False) -> None:  # noqa: FBT002 - typer's flag
    """List all backups, broken ones too, the newest last."""
    backups = database_backups(settings()).list_backups()
    print_rows([_document(item) for item in backups], _FIELDS, as_json=as_json)
    if not backups:
        notes.print(f"no backup in {settings().backup.home.resolve()}")
        return
    if settings().backup.database_mode == "barman":
        archive = barman_server(settings()).archive_status()
        received = f"{archive.received_at:%Y-%m-%d %H:%M:%S}" if archive.received_at else "never"
        notes.print(f"WAL up to {archive.last_wal or '-'}, last received (UTC) {received}")


@backup_app.command("verify")
def verify_backup(
    backup_id: Annotated[str | None, typer.Argument(help="Default: the newest.")] = None,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Read every byte of a backup, compare checksums, and look for missing WAL since then."""
    config = settings()
    backups = database_backups(config)
    found = backups.list_backups()
    backup = (
        newest_whole(found)
        if backup_id is None
        else next((item for item in found if item.backup_id == backup_id), None)
    )
    if backup is None:
        raise unknown_name(
            f"There is no backup {backup_id}" if backup_id else "There is no complete backup",
            backup_id or "",
            [item.backup_id for item in found],
            plural="backups",
            advice="Take one: `influencerai backup now`",
        )
    backups.verify(backup.backup_id)
    if isinstance(backups, BarmanServer) and backup.begin_wal:
        missing = backups.missing_wal(backup.begin_wal)
        if missing:
            raise PermanentError(
                f"Backup {backup.backup_id} is complete, but {len(missing)} WAL segments since "
                f"then are missing, the first is {missing[0]}: take a new full backup"
            )
    print_result(
        {"backup_id": backup.backup_id, "is_whole": True},
        f"{backup.backup_id} is complete",
        as_json=as_json,
    )


@backup_app.command("prune")
def prune_backups(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show which.")] = False,  # noqa: FBT002 - typer's flag
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Delete the backups that no time of the recovery window needs."""
    backups = database_backups(settings())
    obsolete = prune(backups, is_dry_run=True)
    if not as_json:
        for backup_id in obsolete:
            console.print(f"{'would delete' if dry_run else 'deleting'} {backup_id}")
    if not dry_run:
        prune(backups, is_dry_run=False)
    days = settings().backup.recovery_window_days
    print_result(
        {"backup_ids": obsolete, "is_dry_run": dry_run, "recovery_window_days": days},
        f"the recovery window is {days} days",
        as_json=as_json,
    )


@backup_app.command("receive-wal")
def receive() -> None:
    """Receive WAL until this process is ended; a supervisor keeps it running."""
    if settings().backup.database_mode == "pg_dump":
        raise PermanentError("BACKUP_DATABASE_MODE=pg_dump has no WAL: do not start the receiver")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    receive_wal(barman_server(settings()), stopping, log=lambda line: console.print(escape(line)))


def _document(backup: BackupInfo) -> Document:
    return backup.model_dump() | {"seconds": backup.seconds}
