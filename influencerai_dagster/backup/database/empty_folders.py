"""Folders of a data directory that may be empty, which no object store keeps: they are made again.

PostgreSQL does not start without them, and pg_combinebackup does not end. The list is that of
initdb's source (`subdirs`), PostgreSQL 15 to 18.
"""

from pathlib import Path

_FOLDERS = (
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


def make_empty_folders(home: Path) -> None:
    """Make what the backups in Barman's folder lack after they came back from the target."""
    for data_dir in home.glob("*/base/*/data"):
        for name in _FOLDERS:
            (data_dir / name).mkdir(parents=True, exist_ok=True)
