"""Restore into a running PostgreSQL server, managed by a provider or not.

Databases reach it as dumps. A physical backup is replayed in scratch space and dumped there first.
How the databases are made and renamed on the server is in server_databases.py.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from influencerai_dagster.backup.database.backups import BackupKind
from influencerai_dagster.backup.database.barman_files import libpq_conninfo
from influencerai_dagster.backup.database.pg_dump import PgDumps
from influencerai_dagster.backup.restore.both_databases import BothDatabases
from influencerai_dagster.backup.restore.data_dir_target import DataDirTarget, end_leftover_programs
from influencerai_dagster.backup.restore.dump_recovery import DumpRecovery
from influencerai_dagster.backup.restore.journal import Journal, Step
from influencerai_dagster.backup.restore.server_databases import ServerDatabases, staging_name
from influencerai_dagster.backup.restore.source import Source
from influencerai_dagster.backup.restore.target import Log, Recovered, Restored, verify_restored
from influencerai_dagster.core.database_urls import database_name, libpq_parameters
from influencerai_dagster.files import write_whole


@dataclass(frozen=True)
class ServerTarget:
    """Both databases on a server.

    Attributes:
        server: where they are made.
        databases: their users and names.
        scratch_dir: absolute; for the journal, and to replay a physical backup in.
        bin_dir: the folder of pg_dump and pg_restore; None is PATH.
    """

    server: ServerDatabases
    databases: BothDatabases
    scratch_dir: Path
    bin_dir: Path | None = None

    def __str__(self) -> str:
        return f"{' and '.join(self.databases.names)} on {self.server}"

    @property
    def staging(self) -> str:
        """The names of the databases while they are made."""
        return f"{' and '.join(map(staging_name, self.databases.names))} on {self.server}"

    @property
    def journal_path(self) -> Path:
        """The file of completed steps."""
        return self.scratch_dir / "restore.json"

    def problem(self, source: Source, *, is_forced: bool) -> str | None:
        """Return why nothing may be restored there, or None if it may."""
        names = self.databases.names
        return self.server.problem(names, source.major_version, is_forced=is_forced)

    def warnings(self) -> list[str]:
        """Name the users that cannot become owners of the databases."""
        users = dict.fromkeys(libpq_parameters(url).get("user") for url in self.databases.urls)
        return [
            f"User {user} is not on {self.server}, or you may not act for them: the restored "
            "database belongs to the user of --into"
            for user in self.server.unowned([user for user in users if user])
        ]

    def steps(self, source: Source) -> Sequence[Step]:
        """Return the steps of `staged`."""
        if source.as_dump is not None:
            return (self._load_step,)
        return (*self._scratch.steps(source), self._dump_step, self._load_step)

    @property
    def _dump_step(self) -> Step:
        folder = self._dumps.folder
        return Step("dump databases", f"read every row there and dump both databases to {folder}")

    @property
    def _load_step(self) -> Step:
        return Step("load databases", f"load both databases as {self.staging}")

    def promotion(self) -> str:
        """Return what `promote` does, for the operator."""
        return f"rename both at once to {self}; databases with these names get other names"

    def has_staging(self) -> bool:
        """Tell whether both staging databases are there."""
        return self.server.have_staging(self.databases.names)

    def end_leftovers(self) -> None:
        """End the programs that a killed restore left running."""
        self._scratch.end_leftovers()
        end_leftover_programs(str(self._dumps.folder))
        for name in self.databases.names:
            end_leftover_programs(libpq_conninfo(self.server.url_of(staging_name(name)))[0])

    @contextmanager
    def staged(self, source: Source, journal: Journal, log: Log) -> Iterator[Restored]:
        """Load a dump into the staging databases; of a physical backup, make the dump first.

        Raises:
            PermanentError: the backup is broken, or the server refuses something.
            TransientError: the server went away, or is full; try again to resume.
        """
        before, dump = None, source.as_dump
        if dump is None:
            before = self._dumped(source, journal, log)
            dump = DumpRecovery(self._dumps, self._dumps.list_backups()[-1])
        self._load(dump, journal, log)
        databases = self.databases.at(
            lambda url: self.server.url_of(staging_name(database_name(url)))
        )
        yield Restored(databases, before.restored_to if before else None, before)

    def _load(self, dump: DumpRecovery, journal: Journal, log: Log) -> None:
        step = self._load_step
        if not self.has_staging():
            journal.forget(step.name)
        with journal.step(step.name) as is_pending:
            if is_pending:
                log(step.text)
                dump.load(self.server)

    def _dumped(self, source: Source, journal: Journal, log: Log) -> Recovered:
        """Replay a physical backup in scratch space, verify and dump it; return what it held."""
        step = self._dump_step
        if not self._record.exists():
            journal.forget(step.name)
        if step.name not in journal.seconds_by_step:
            with self._scratch.staged(source, journal, log) as restored, journal.step(step.name):
                log(step.text)
                self._dump(restored)
        self._scratch.clear()  # its space is needed, and the dump is complete
        return Recovered.model_validate_json(self._record.read_bytes())

    def _dump(self, restored: Restored) -> None:
        found = verify_restored(restored, self._scratch.staging)
        shutil.rmtree(self._dumps.folder, ignore_errors=True)
        replace(self._dumps, database_urls=restored.databases.urls).backup(BackupKind.DUMP)
        record = Recovered(
            rows=found.rows,
            migrated_from=found.migrated_from,
            restored_to=restored.restored_to,
        )
        write_whole(self._record, record.model_dump_json().encode())

    def promote(self) -> str | None:
        """Rename both staging databases; return the new names of those that were there."""
        return " and ".join(self.server.promote(self.databases.names)) or None

    def clear(self) -> None:
        """Remove the content of the scratch space, but not the journal."""
        self._scratch.clear()
        shutil.rmtree(self._dumps.folder, ignore_errors=True)
        self._record.unlink(missing_ok=True)

    @cached_property
    def _scratch(self) -> DataDirTarget:
        return DataDirTarget(self.scratch_dir / "server", self.databases)

    @cached_property
    def _dumps(self) -> PgDumps:
        return PgDumps(self.scratch_dir, self.databases.urls, postgres_bin_dir=self.bin_dir)

    @property
    def _record(self) -> Path:
        return self.scratch_dir / "recovered.json"
