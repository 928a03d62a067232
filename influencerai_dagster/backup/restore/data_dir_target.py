"""Restore into a data directory of PostgreSQL.

The databases are made in a staging directory beside it, which is renamed when it is complete: no
PostgreSQL ever starts on half a database.
"""

import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from influencerai_dagster.backup.restore.both_databases import BothDatabases
from influencerai_dagster.backup.restore.journal import Journal, RestoreSteps, Step
from influencerai_dagster.backup.restore.recovery_settings import remove_recovery
from influencerai_dagster.backup.restore.restored_server import left_socket_dir
from influencerai_dagster.backup.restore.source import Source
from influencerai_dagster.backup.restore.target import Log, Restored
from influencerai_dagster.db.data_dir import running_postgres
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.processes import end, leftover_programs

_STOP_SECONDS = 60.0


@dataclass(frozen=True)
class DataDirTarget:
    """A data directory to be made.

    Attributes:
        data_dir: absolute; its parent is made if it is missing.
        databases: their users and names.
    """

    data_dir: Path
    databases: BothDatabases

    def __str__(self) -> str:
        return str(self.data_dir)

    @property
    def staging(self) -> Path:
        """Where it is made."""
        return self.data_dir.with_name(f"{self.data_dir.name}.restoring")

    @property
    def journal_path(self) -> Path:
        """The file of completed steps."""
        return self.data_dir.with_name(f"{self.data_dir.name}.restore.json")

    def problem(self, source: Source, *, is_forced: bool) -> str | None:  # noqa: ARG002 - any may come
        """Return why nothing may be restored there, or None if it may."""
        process = running_postgres(self.data_dir)
        if process is not None:
            return (
                f"PostgreSQL runs in {self.data_dir} (process {process}): stop it first, also with "
                "--force"
            )
        if self.data_dir.exists() and not self.data_dir.is_dir():
            return f"{self.data_dir} is not a folder: name another with --into"
        if not is_forced and _has_content(self.data_dir):
            return (
                f"{self.data_dir} is not empty: name a new folder with --into, or use --force, "
                "which moves its content aside"
            )
        return None

    def warnings(self) -> list[str]:
        """Return none: there is nothing to know about a folder."""
        return []

    def steps(self, source: Source) -> Sequence[Step]:
        """Return the steps of `staged`."""
        steps = source.steps(self.staging)
        return steps.copy, steps.open

    def promotion(self) -> str:
        """Return what `promote` does, for the operator."""
        aside = ", after its content was moved aside" if _has_content(self.data_dir) else ""
        return f"stop that PostgreSQL and move the folder to {self.data_dir}{aside}"

    def has_staging(self) -> bool:
        """Tell whether there is a staging directory."""
        return self.staging.exists()

    @contextmanager
    def staged(self, source: Source, journal: Journal, log: Log) -> Iterator[Restored]:
        """Copy the backup to staging and run PostgreSQL there for the block.

        Raises:
            PermanentError: the backup is broken, or PostgreSQL does not start.
        """
        steps = source.steps(self.staging)
        self._copy(source, steps, journal, log)
        log(steps.open.text)
        started = time.monotonic()
        with source.opened(self.staging) as server:
            journal.note(steps.open.name, time.monotonic() - started)
            catalog_url = self.databases.catalog_url
            yield Restored(self.databases.at(server.url_of), server.last_commit(catalog_url))

    def _copy(self, source: Source, steps: RestoreSteps, journal: Journal, log: Log) -> None:
        was_opened = steps.open.name in journal.seconds_by_step
        if not was_opened and not source.is_copied(self.staging):
            journal.forget(steps.copy.name)  # killed within the copy, or staging was removed
        with journal.step(steps.copy.name) as is_pending:
            if is_pending:
                log(steps.copy.text)
                self.clear()
                self.staging.parent.mkdir(parents=True, exist_ok=True)
                source.copy(self.staging)

    def end_leftovers(self) -> None:
        """End the programs that a killed restore left running on staging.

        Raises:
            PermanentError: a PostgreSQL runs there that is not proven to be ours.
        """
        end_leftovers(self.staging)

    def clear(self) -> None:
        """Remove the staging directory of an earlier try."""
        if self.staging.exists():
            shutil.rmtree(self.staging)

    def promote(self) -> str | None:
        """Rename staging to the data directory; return where its former content is now."""
        aside = None
        if _has_content(self.data_dir):
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            aside = self.data_dir.with_name(f"{self.data_dir.name}.replaced-{stamp}")
            self.data_dir.replace(aside)
        remove_recovery(self.staging)
        self.staging.replace(self.data_dir)  # replaces an empty folder
        return None if aside is None else str(aside)


def end_leftovers(data_dir: Path) -> None:
    """End the programs that a killed restore or drill left running on a data directory.

    Raises:
        PermanentError: a PostgreSQL runs there that is not proven to be ours.
    """
    socket_dir = left_socket_dir(data_dir)
    end_leftover_programs(str(data_dir))
    process = running_postgres(data_dir)
    if process is not None:
        raise PermanentError(
            f"PostgreSQL runs in {data_dir} (process {process}), and no restore of this machine "
            "started it: stop it, then try again"
        )
    if socket_dir is not None:
        shutil.rmtree(socket_dir, ignore_errors=True)


def end_leftover_programs(name: str) -> None:
    """End the programs that a killed restore or drill left running.

    Args:
        name: a path or a connection string that they were started with.
    """
    left = leftover_programs(name)
    servers = [process for process in left if process.info["name"] == "postgres"]
    end([process for process in left if process not in servers])
    end(servers, signal.SIGINT, stop_seconds=_STOP_SECONDS)  # "fast" shutdown, with a checkpoint


def _has_content(folder: Path) -> bool:
    return folder.is_dir() and next(folder.iterdir(), None) is not None
