"""`take_backup` against bare `pg_basebackup` of the same server.

Both copy the same files in the plain format, without compression, after an immediate checkpoint,
both wait until the disk has them, and both leave what can be restored on its own, with its WAL.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.backup_data import FULL_DATABASE_BYTES
from benchmarks.backup_servers import BackedUpDatabase, running_database
from benchmarks.comparisons import Comparison, alternate
from benchmarks.servers import temporary_folder
from influencerai_dagster.backup.database.backups import BackupKind
from influencerai_dagster.backup.database.databases import take_backup
from influencerai_dagster.local.postgres import programs_dir

ROUNDS = 5


def run(share: float = 1.0) -> Sequence[Comparison]:
    """Measure MB per second of a full backup."""
    with (
        temporary_folder() as folder,
        running_database(folder, int(FULL_DATABASE_BYTES * share)) as database,
    ):
        bare_dir = folder / "bare"
        seconds = alternate(
            {
                "ours": lambda: take_backup(database.barman, BackupKind.FULL),
                "bare": lambda: bare_backup(database, bare_dir),
            },
            rounds=ROUNDS,
            prepare=lambda: _clean(database, bare_dir),
        )
        megabytes = database.size_bytes / 1000**2
    return [
        Comparison(
            name=f"full backup of a database of {megabytes:,.0f} MB",
            baseline_name="pg_basebackup",
            unit="MB/s",
            measured=[megabytes / value for value in seconds["ours"]],
            baseline=[megabytes / value for value in seconds["bare"]],
            better="higher",
        )
    ]


def bare_backup(database: BackedUpDatabase, into: Path) -> None:
    """Take a backup with `pg_basebackup` alone."""
    command = [
        *(str(programs_dir() / "pg_basebackup"), "--no-password"),
        *(f"--dbname={database.barman.conninfo}", f"--pgdata={into}"),
        *("--format=plain", "--checkpoint=fast", "--wal-method=stream"),
    ]
    subprocess.run(command, env=database.barman.environment, check=True)


def _clean(database: BackedUpDatabase, bare_dir: Path) -> None:
    """Remove the backups of the last rounds, and let the disk come to rest."""
    for backup in database.barman.list_backups()[:-1]:
        database.barman.delete(backup.backup_id)
    shutil.rmtree(bare_dir, ignore_errors=True)
    os.sync()
