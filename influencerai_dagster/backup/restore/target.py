"""Where a restore goes, as run.py knows it: drafts, which get their place when all is proven.

A data directory is in data_dir_target.py, a server that runs in server_target.py.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from influencerai_dagster.backup.restore.both_databases import BothDatabases
from influencerai_dagster.backup.restore.journal import Journal
from influencerai_dagster.backup.restore.source import Source
from influencerai_dagster.backup.verification.verification import (
    Verification,
    shown_problems,
    verify_databases,
)
from influencerai_dagster.core.base import Value
from influencerai_dagster.errors import PermanentError

Say = Callable[[str], None]


class Recovered(Value):
    """What was found in a draft before it was dumped for another server.

    Attributes:
        rows: number of rows by table: so many must arrive.
        migrated_from: the revision that the catalog had, if it was not the newest.
        restored_to: when its last transaction was committed, UTC.
    """

    rows: Mapping[str, int]
    migrated_from: str | None
    restored_to: datetime | None


@dataclass(frozen=True)
class Restored:
    """Both databases, ready to be looked at under the names of their drafts.

    Attributes:
        restored_to: when the last transaction that was replayed was committed, UTC; None if an
            earlier try replayed it, or there was none.
        before: what there must be of each, if that is known.
    """

    databases: BothDatabases
    restored_to: datetime | None
    before: Recovered | None = None


class RestoreTarget(Protocol):
    """Where both databases go."""

    @property
    def journal_path(self) -> Path:
        """Where the steps are written down."""

    @property
    def draft(self) -> str | Path:
        """Where the databases are made."""

    def __str__(self) -> str:
        """Name it for a person, without a password."""

    def problem(self, source: Source, *, is_forced: bool) -> str | None:
        """Say why nothing may be restored there, or None if it may."""

    def warnings(self) -> list[str]:
        """Return what a person should know first."""

    def steps(self, source: Source) -> Mapping[str, str]:
        """Return what `filled` does, by the names of its steps, for a person."""

    def last_step(self) -> str:
        """Return what `put_in_place` does, for a person."""

    def has_draft(self) -> bool:
        """Tell whether a draft waits to be put in its place."""

    def end_orphans(self) -> None:
        """End what a killed restore left running."""

    def filled(
        self, source: Source, journal: Journal, say: Say
    ) -> AbstractContextManager[Restored]:
        """Make the drafts, as far as an earlier try has not, for the time of the block."""

    def put_in_place(self) -> str | None:
        """Give the drafts their place; return where what was there is now, if anything was."""

    def clear(self) -> None:
        """Remove what else was made on the way."""


def sound_databases(restored: Restored, where: str | Path) -> Verification:
    """Read every row of both databases; nothing of them may be broken or missing.

    Args:
        restored: the databases.
        where: they are, for a person.

    Raises:
        PermanentError: they are not what they must be.
    """
    found = verify_databases(*restored.databases.urls)
    if restored.before is not None:
        found.migrated_from = restored.before.migrated_from
        found.problems += [
            f"table {table} has {found.rows.get(table)} rows, {number} were dumped"
            for table, number in restored.before.rows.items()
            if found.rows.get(table) != number
        ]
    if not found.is_sound:
        raise PermanentError(
            f"The database is not what it must be, and was left in {where}: "
            f"{shown_problems(found.problems)}"
        )
    return found
