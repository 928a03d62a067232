"""A PostgreSQL server that runs as the target of a restore: any, also one that a provider manages.

Databases reach it as dumps. A physical backup is replayed in scratch space and dumped there first;
how the databases get their names is in server_databases.py.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from influencerai_dagster.backup.database.backups import BackupKind
from influencerai_dagster.backup.database.barman_files import libpq_conninfo
from influencerai_dagster.backup.database.pg_dump import PgDumps
from influencerai_dagster.backup.restore.both_databases import BothDatabases
from influencerai_dagster.backup.restore.data_dir_target import DataDirTarget, end_leftover_programs
from influencerai_dagster.backup.restore.dump_recovery import DumpRecovery
from influencerai_dagster.backup.restore.journal import Journal
from influencerai_dagster.backup.restore.server_databases import ServerDatabases, draft_of
from influencerai_dagster.backup.restore.source import Source
from influencerai_dagster.backup.restore.target import Recovered, Restored, Say, sound_databases
from influencerai_dagster.core.database_urls import database_name, libpq_parameters
from influencerai_dagster.files import write_whole

_DUMP, _LOAD = "dump databases", "load databases"


@dataclass(frozen=True)
class ServerTarget:
    """Where the databases go.

    Attributes:
        server: where they are made.
        databases: their users and names.
        scratch_dir: absolute; for the journal, and what a physical backup is replayed in.
        bin_dir: where pg_dump and pg_restore are; None is PATH.
    """

    server: ServerDatabases
    databases: BothDatabases
    scratch_dir: Path
    bin_dir: Path | None = None

    def __str__(self) -> str:
        return f"{' and '.join(self.databases.names)} on {self.server}"

    @property
    def draft(self) -> str:
        """The names of the databases while they are made."""
        return f"{' and '.join(map(draft_of, self.databases.names))} on {self.server}"

    @property
    def journal_path(self) -> Path:
        """Where the steps are written down."""
        return self.scratch_dir / "restore.json"

    def problem(self, source: Source, *, is_forced: bool) -> str | None:
        """Say why nothing may be restored there, or None if it may."""
        names = self.databases.names
        return self.server.problem(names, source.major_version, is_forced=is_forced)

    def warnings(self) -> list[str]:
        """Name users that the databases cannot be given to."""
        users = dict.fromkeys(libpq_parameters(url).get("user") for url in self.databases.urls)
        return [
            f"User {user} is not on {self.server}, or you may not act for them: what is restored "
            "belongs to the user of --into"
            for user in self.server.unowned([user for user in users if user])
        ]

    def steps(self, source: Source) -> Mapping[str, str]:
        """Return those that make the drafts."""
        load = {_LOAD: f"load both databases as {self.draft}"}
        if source.as_dump is not None:
            return load
        dump = {_DUMP: f"read every row there and dump both databases to {self._dumps.folder}"}
        return {**self._scratch.steps(source), **dump, **load}

    def last_step(self) -> str:
        """Return what gives the drafts their names."""
        return f"rename both at once to {self}; what has these names gets others"

    def has_draft(self) -> bool:
        """Tell whether both are there."""
        return self.server.has_drafts(self.databases.names)

    def end_orphans(self) -> None:
        """End what a killed restore left running."""
        self._scratch.end_orphans()
        end_leftover_programs(str(self._dumps.folder))
        for name in self.databases.names:
            end_leftover_programs(libpq_conninfo(self.server.url_of(draft_of(name)))[0])

    @contextmanager
    def filled(self, source: Source, journal: Journal, say: Say) -> Iterator[Restored]:
        """Make the drafts, from a dump or by way of one.

        Raises:
            PermanentError: the backup is broken, or the server refuses something.
            TransientError: the server went away, or is full; ask again to go on.
        """
        before, dump = None, source.as_dump
        if dump is None:
            before = self._recovered(source, journal, say)
            dump = DumpRecovery(self._dumps, self._dumps.list_backups()[-1])
        if not self.has_draft():
            journal.forget(_LOAD)
        with journal.step(_LOAD) as is_open:
            if is_open:
                say(self.steps(source)[_LOAD])
                dump.load(self.server)
        databases = self.databases.at(lambda url: self.server.url_of(draft_of(database_name(url))))
        yield Restored(databases, before.restored_to if before else None, before)

    def put_in_place(self) -> str | None:
        """Give both drafts their names; return what those that were there are called now."""
        return " and ".join(self.server.put_in_place(self.databases.names)) or None

    def clear(self) -> None:
        """Remove the scratch space's content; the journal is removed by its owner."""
        self._scratch.clear()
        shutil.rmtree(self._dumps.folder, ignore_errors=True)
        self._record.unlink(missing_ok=True)

    def _recovered(self, source: Source, journal: Journal, say: Say) -> Recovered:
        """Replay a physical backup in scratch space, prove it and dump it; say what was found."""
        if not self._record.exists():
            journal.forget(_DUMP)
        if _DUMP not in journal.seconds_by_step:
            with (
                self._scratch.filled(source, journal, say) as restored,
                journal.step(_DUMP),
            ):
                say(self.steps(source)[_DUMP])
                found = sound_databases(restored, self._scratch.draft)
                shutil.rmtree(self._dumps.folder, ignore_errors=True)
                replace(self._dumps, database_urls=restored.databases.urls).backup(BackupKind.DUMP)
                record = Recovered(
                    rows=found.rows,
                    migrated_from=found.migrated_from,
                    restored_to=restored.restored_to,
                )
                write_whole(self._record, record.model_dump_json().encode())
        self._scratch.clear()  # its space; the dump is whole
        return Recovered.model_validate_json(self._record.read_bytes())

    @property
    def _scratch(self) -> DataDirTarget:
        return DataDirTarget(self.scratch_dir / "server", self.databases)

    @property
    def _dumps(self) -> PgDumps:
        return PgDumps(self.scratch_dir, self.databases.urls, postgres_bin_dir=self.bin_dir)

    @property
    def _record(self) -> Path:
        return self.scratch_dir / "recovered.json"
