"""Write Barman's configuration and read its `backup.info` files.

Backups are listed from these files: Barman's own command takes a third of a second per backup.
Source: docs.pgbarman.org, release 3.19.
"""

import os
import pwd
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg2.extensions

from influencerai_dagster.backup.database.backups import BackupInfo, BackupKind, BackupStatus
from influencerai_dagster.backup.database.wal import DEFAULT_SEGMENT_BYTES
from influencerai_dagster.core.database_urls import libpq_parameters
from influencerai_dagster.errors import PermanentError

_CONFIG = """\
; Every command of influencerai rewrites this file: change the BACKUP_* settings instead.
[barman]
barman_user = {user}
barman_home = {home}
barman_lock_directory = {home}/locks
configuration_files_directory = {home}/conf.d
; Not used; without it every command makes a folder in /tmp.
cloud_staging_directory = {home}/locks
log_file = {home}/barman.log
log_level = INFO

[{name}]
description = the databases of InfluencerAI
conninfo = {conninfo}
streaming_conninfo = {conninfo}
backup_method = postgres
streaming_archiver = on
slot_name = {slot_name}
create_slot = auto
compression = gzip
retention_policy = RECOVERY WINDOW OF {retention_days} DAYS
wal_retention_policy = main
; A backup never removes WAL. Otherwise one whose id sorts first, because ids were local time or the
; clock was set back, is "the first backup", and all WAL before it is removed.
worm_mode = on
immediate_checkpoint = true
parallel_jobs = 2
"""

_EMPTY_FOLDERS = (
    "pg_commit_ts",
    "pg_dynshmem",
    "pg_logical/mappings",
    "pg_logical/snapshots",
    "pg_multixact/members",
    "pg_multixact/offsets",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_tblspc",
    "pg_twophase",
    "pg_wal/archive_status",
    "pg_wal/summaries",
    "pg_xact",
)
"""Folders of a data directory that may be empty: `subdirs` in initdb.c of PostgreSQL 15 to 18."""


def config_text(
    *,
    home: Path,
    name: str,
    conninfo: str,
    slot_name: str,
    retention_days: int,
    postgres_bin_dir: Path | None,
) -> str:
    """Return the configuration for one server."""
    text = _CONFIG.format(
        user=_escaped(_user_name()),
        home=_escaped(home),
        name=name,
        conninfo=_escaped(conninfo),
        slot_name=slot_name,
        retention_days=retention_days,
    )
    if postgres_bin_dir is not None:
        text += f"path_prefix = {_escaped(postgres_bin_dir.resolve())}\n"
    return text


def _escaped(value: str | Path) -> str:
    """Escape a value for Barman, which reads it by configparser twice: % is special there."""
    text = str(value)
    if any(character < " " for character in text):
        raise PermanentError(
            f"{text.splitlines()[0]}… has a line end or another control character, which "
            "Barman's configuration cannot hold: choose another BACKUP_HOME or "
            "BACKUP_POSTGRES_BIN_DIR, or correct the database URL"
        )
    return text.replace("%", "%%%%")


def read_backups(folder: Path) -> Iterator[BackupInfo]:
    """Yield the backups in a server's folder, unordered."""
    for path in folder.glob("meta/*-backup.info"):
        fields = dict(
            line.split("=", maxsplit=1) for line in path.read_text().splitlines() if "=" in line
        )
        yield _backup_info(path.name.removesuffix("-backup.info"), fields)


def segment_bytes(folder: Path) -> int:
    """Return the server's wal_segment_size, read from its backups; the default if there is none."""
    known = (backup.segment_bytes for backup in read_backups(folder))
    return next(known, DEFAULT_SEGMENT_BYTES)


def make_empty_folders(home: Path) -> None:
    """Make the empty folders that backups lack after they came back from an object store.

    Without them PostgreSQL does not start, and pg_combinebackup does not end.
    """
    for data_dir in home.glob("*/base/*/data"):
        for name in _EMPTY_FOLDERS:
            (data_dir / name).mkdir(parents=True, exist_ok=True)


def libpq_conninfo(url: str) -> tuple[str, dict[str, str]]:
    """Return a database URL as libpq's keywords and values, and its password as PGPASSWORD."""
    parts = libpq_parameters(url)
    password = parts.pop("password", None)
    conninfo: str = psycopg2.extensions.make_dsn(**parts)
    return conninfo, {} if password is None else {"PGPASSWORD": password}


def _backup_info(backup_id: str, fields: dict[str, str]) -> BackupInfo:
    def known(name: str) -> str | None:
        value = fields.get(name, "None")
        return None if value in {"None", ""} else value

    begin, end = known("begin_time"), known("end_time")
    status = BackupStatus(known("status") or "EMPTY")
    parent = known("parent_backup_id")
    return BackupInfo(
        backup_id=backup_id,
        kind=BackupKind.INCREMENTAL if parent else BackupKind.FULL,
        status=status,
        begin=datetime.fromisoformat(begin).astimezone(UTC) if begin else None,
        end=datetime.fromisoformat(end).astimezone(UTC) if end else None,
        size_bytes=int(known("deduplicated_size") or known("size") or 0),
        begin_wal=known("begin_wal"),
        end_wal=known("end_wal"),
        parent_backup_id=parent,
        end_lsn=known("end_xlog"),
        segment_bytes=int(known("xlog_segment_size") or DEFAULT_SEGMENT_BYTES),
        error=known("error"),
    )


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise PermanentError(
            f"User id {os.geteuid()} has no name in /etc/passwd, which Barman needs: add one"
        ) from None
