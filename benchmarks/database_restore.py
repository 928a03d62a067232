"""A restore of the database against the same files, combined and replayed without our code.

Two backups: a full one with WAL, which the bare side copies with `cp`, and an incremental one on it
with WAL, which it puts together with `pg_combinebackup`. On both sides PostgreSQL is started in the
same way, replays the same WAL, and is stopped when it answers. Checking the backup before and
reading every row after are ours alone: one row of the table is without them, one with.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.backup_data import FULL_DATABASE_BYTES, change
from benchmarks.backup_servers import BackedUpDatabase, running_database
from benchmarks.comparisons import Comparison, alternate
from benchmarks.servers import running_s3, temporary_folder
from influencerai_dagster.backup.database.backups import BackupInfo, BackupKind
from influencerai_dagster.backup.objects.locations import Bucket
from influencerai_dagster.backup.restore.data_dir_target import DataDirTarget
from influencerai_dagster.backup.restore.restored_server import RestoredServer
from influencerai_dagster.backup.restore.run import Restore, plan, run_restore
from influencerai_dagster.backup.restore.source import choose
from influencerai_dagster.backup.verification.objects import Assets
from influencerai_dagster.local.postgres import programs_dir
from influencerai_dagster.storage.object_store import ObjectStore

ROUNDS = 3
CHANGED_SHARE = 0.05


def run(share: float = 1.0) -> Sequence[Comparison]:
    """Measure MB per second from a full backup, then from an incremental one on it."""
    with (
        running_s3() as s3,
        temporary_folder() as folder,
        running_database(folder, int(FULL_DATABASE_BYTES * share)) as database,
    ):
        comparisons: list[Comparison] = []
        for kind, program in (
            (BackupKind.FULL, "cp -a"),
            (BackupKind.INCREMENTAL, "pg_combinebackup"),
        ):
            backup = database.barman.backup(kind)
            change(database.dagster_url, CHANGED_SHARE)
            database.barman.switch_wal()
            restores = _Restores(database, backup, s3.store(), folder / str(kind))
            comparisons += restores.compare(f"restore from {_ARTICLES[kind]} backup", program)
    return comparisons


_ARTICLES = {BackupKind.FULL: "a full", BackupKind.INCREMENTAL: "a full and an incremental"}


@dataclass
class _Restores:
    """Restores of the newest moment from one backup; the seconds without verification aside."""

    database: BackedUpDatabase
    backup: BackupInfo
    store: ObjectStore
    folder: Path
    ours_plain: list[float] = field(default_factory=list)
    bare_plain: list[float] = field(default_factory=list)

    def compare(self, name: str, program: str) -> Sequence[Comparison]:
        """Restore alternately, and return megabytes of the database per second."""
        sides = {"ours": self._restore, "bare": self._restore_bare}
        seconds = alternate(sides, rounds=ROUNDS, prepare=self._clean)
        megabytes = self.database.size_bytes / 1000**2
        what = f"{name}, {megabytes:,.0f} MB"
        return [
            Comparison(
                name=f"{what}, {including}",
                baseline_name=f"{program}, replay by PostgreSQL",
                unit="MB/s",
                measured=[megabytes / value for value in ours],
                baseline=[megabytes / value for value in bare],
                better="higher",
            )
            for including, ours, bare in (
                ("copy and replay", self.ours_plain, self.bare_plain),
                ("everything: check, copy, replay, verify", seconds["ours"], seconds["bare"]),
            )
        ]

    def _clean(self) -> None:
        """Remove what the last restore left, and let the disk come to rest."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        os.sync()

    def _restore(self) -> None:
        location = Bucket(self.store.bucket)  # empty, and the catalog names no object
        restore = Restore(
            source=choose(self.database.barman, None, datetime.now(UTC)),
            target=DataDirTarget(self.folder / "postgres", self.database.databases),
            assets=Assets(self.store, location, None),
        )
        assert restore.source.backup == self.backup, restore.source.describe()
        report = run_restore(plan(restore), lambda _: None)
        assert report.verification.is_valid, report.verification.problems
        steps = restore.source.steps(self.folder)
        names = (steps.copy.name, steps.open.name)
        self.ours_plain.append(sum(report.seconds_by_step[name] for name in names))

    def _restore_bare(self) -> None:
        started = time.perf_counter()
        data_dir = self.folder / "bare"
        self._copy_backup(data_dir)
        _copy_wal(self.database.barman.folder, self.backup.begin_wal or "", data_dir / "wal")
        (data_dir / "recovery.signal").touch()
        with (data_dir / "postgresql.auto.conf").open("a") as config:
            config.write("restore_command = 'cp wal/%f %p'\n")
        with RestoredServer(data_dir, programs_dir()):
            self.bare_plain.append(time.perf_counter() - started)

    def _copy_backup(self, data_dir: Path) -> None:
        base = self.database.barman.folder / "base"
        newest = base / self.backup.backup_id / "data"
        parent = self.backup.parent_backup_id
        if parent is None:
            command = ["cp", "-a", str(newest), str(data_dir)]
        else:
            program = str(programs_dir() / "pg_combinebackup")
            command = [program, str(base / parent / "data"), str(newest), f"--output={data_dir}"]
        subprocess.run(command, check=True)


def _copy_wal(barman_folder: Path, first: str, into: Path) -> None:
    into.mkdir()
    for path in sorted(barman_folder.glob("wals/*/*")):
        if path.name >= first:
            with (into / path.name).open("wb") as segment:
                subprocess.run(["gzip", "-dc", str(path)], stdout=segment, check=True)
