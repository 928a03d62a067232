"""A data directory as the target of a restore: what may be there before, how it gets its place.

A restored directory is made beside its place and renamed into it when it is whole, so that nobody
starts a PostgreSQL on half of one.
"""

import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from influencerai_dagster.backup.restore.both_databases import BothDatabases
from influencerai_dagster.backup.restore.journal import Journal
from influencerai_dagster.backup.restore.recovery_settings import forget_recovery
from influencerai_dagster.backup.restore.restored_server import left_socket_dir
from influencerai_dagster.backup.restore.source import Source
from influencerai_dagster.backup.restore.target import Restored, Say
from influencerai_dagster.db.data_dir import running_postgres
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.processes import end, leftover_programs

_STOP_SECONDS = 60.0


@dataclass(frozen=True)
class DataDirTarget:
    """Where the databases go.

    Attributes:
        data_dir: absolute; its parent is made if it is missing.
        databases: their users and names.
    """

    data_dir: Path
    databases: BothDatabases

    def __str__(self) -> str:
        return str(self.data_dir)

    @property
    def draft(self) -> Path:
        """Where it is made."""
        return self.data_dir.with_name(f"{self.data_dir.name}.restoring")

    @property
    def journal_path(self) -> Path:
        """Where the steps are written down."""
        return self.data_dir.with_name(f"{self.data_dir.name}.restore.json")

    def problem(self, source: Source, *, is_forced: bool) -> str | None:  # noqa: ARG002 - any may come
        """Say why nothing may be restored there, or None if it may."""
        process = running_postgres(self.data_dir)
        if process is not None:
            return (
                f"PostgreSQL runs in {self.data_dir} (process {process}): stop it first, also with "
                "--force"
            )
        if self.data_dir.exists() and not self.data_dir.is_dir():
            return f"{self.data_dir} is no folder: name another with --into"
        if not is_forced and _has_content(self.data_dir):
            return (
                f"{self.data_dir} is not empty: name a new folder with --into, or use --force, "
                "which moves what is there aside"
            )
        return None

    def warnings(self) -> list[str]:
        """Return none: a folder brings no surprises."""
        return []

    def steps(self, source: Source) -> Mapping[str, str]:
        """Return those that make the draft."""
        return source.steps(self.draft)

    def last_step(self) -> str:
        """Return what gives the draft its place."""
        aside = ", after what is there was moved aside" if _has_content(self.data_dir) else ""
        return f"stop that PostgreSQL and move the folder to {self.data_dir}{aside}"

    def has_draft(self) -> bool:
        """Tell whether there is one."""
        return self.draft.exists()

    @contextmanager
    def filled(self, source: Source, journal: Journal, say: Say) -> Iterator[Restored]:
        """Make the draft and run PostgreSQL on it for the time of the block.

        Raises:
            PermanentError: the backup is broken, or PostgreSQL does not start.
        """
        (copy, copying), (opened, opening) = source.steps(self.draft).items()
        if opened not in journal.seconds_by_step and not source.is_copied(self.draft):
            journal.forget(copy)
        with journal.step(copy) as is_open:
            if is_open:
                say(copying)
                self.clear()
                self.draft.parent.mkdir(parents=True, exist_ok=True)
                source.copy(self.draft)
        say(opening)
        started = time.monotonic()
        with source.opened(self.draft) as server:
            journal.note(opened, time.monotonic() - started)
            catalog_url = self.databases.catalog_url
            yield Restored(self.databases.at(server.url_of), server.last_commit(catalog_url))

    def end_orphans(self) -> None:
        """End what a killed restore left running: PostgreSQL in its draft, programs that copy."""
        end_leftovers(self.draft)

    def clear(self) -> None:
        """Remove what an earlier try left; half of a database is of use to nobody."""
        if self.draft.exists():
            shutil.rmtree(self.draft)

    def put_in_place(self) -> str | None:
        """Move the draft to its place, and what is there aside; return where that is now."""
        aside = None
        if _has_content(self.data_dir):
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            aside = self.data_dir.with_name(f"{self.data_dir.name}.replaced-{stamp}")
            self.data_dir.replace(aside)
        forget_recovery(self.draft)
        self.draft.replace(self.data_dir)  # an empty folder there is replaced
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
    """End the programs that a killed restore or drill left running; PostgreSQL may finish first.

    Args:
        name: a path or a connection string that they were started with.
    """
    left = leftover_programs(name)
    servers = [process for process in left if process.info["name"] == "postgres"]
    end([process for process in left if process not in servers])
    end(servers, signal.SIGINT, stop_seconds=_STOP_SECONDS)  # "fast": with a checkpoint


def _has_content(folder: Path) -> bool:
    return folder.is_dir() and next(folder.iterdir(), None) is not None
