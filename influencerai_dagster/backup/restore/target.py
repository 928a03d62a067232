"""Define what every destination of a restore does: staging databases, verified, then promoted.

A data directory is in data_dir_target.py, a running server in server_target.py.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from influencerai_dagster.backup.restore.both_databases import BothDatabases
from influencerai_dagster.backup.restore.journal import Journal, Step
from influencerai_dagster.backup.restore.source import Source
from influencerai_dagster.backup.verification.verification import (
    Verification,
    shown_problems,
    verify_databases,
)
from influencerai_dagster.core.base import Value
from influencerai_dagster.errors import PermanentError

Log = Callable[[str], None]


class Recovered(Value):
    """What staging held before it was dumped for another server.

    Attributes:
        rows: number of rows by table, which the other server must have too.
        migrated_from: the catalog's revision, if it was not the newest.
        restored_to: when its last transaction was committed, UTC.
    """

    rows: Mapping[str, int]
    migrated_from: str | None
    restored_to: datetime | None


@dataclass(frozen=True)
class Restored:
    """Both databases in staging, running.

    Attributes:
        restored_to: when the last replayed transaction was committed, UTC; None if an earlier try
            replayed it, or there was none.
        before: what the databases held before they were dumped, if they were.
    """

    databases: BothDatabases
    restored_to: datetime | None
    before: Recovered | None = None


class RestoreTarget(Protocol):
    """The destination of both databases."""

    @property
    def journal_path(self) -> Path:
        """The file of completed steps."""

    @property
    def staging(self) -> str | Path:
        """Where the databases are made."""

    def __str__(self) -> str:
        """Name it for the operator, without a password."""

    def problem(self, source: Source, *, is_forced: bool) -> str | None:
        """Return why nothing may be restored there, or None if it may."""

    def warnings(self) -> list[str]:
        """Return what the operator should know first."""

    def steps(self, source: Source) -> Sequence[Step]:
        """Return the steps of `staged`."""

    def promotion(self) -> str:
        """Return what `promote` does, for the operator."""

    def has_staging(self) -> bool:
        """Tell whether there is staging content that was not promoted."""

    def end_leftovers(self) -> None:
        """End the programs that a killed restore left running."""

    def staged(
        self, source: Source, journal: Journal, log: Log
    ) -> AbstractContextManager[Restored]:
        """Run the databases in staging for the block; completed steps are not repeated."""

    def promote(self) -> str | None:
        """Replace the target's content by staging; return where the former content is now."""

    def clear(self) -> None:
        """Remove the intermediate files."""


def verify_restored(restored: Restored, staging: str | Path) -> Verification:
    """Read every row of both databases.

    Args:
        restored: the databases.
        staging: where they are, for the operator.

    Raises:
        PermanentError: something is broken or missing.
    """
    found = verify_databases(*restored.databases.urls)
    if restored.before is not None:
        found.migrated_from = restored.before.migrated_from
        found.problems += [
            f"table {table} has {found.rows.get(table)} rows, {number} were dumped"
            for table, number in restored.before.rows.items()
            if found.rows.get(table) != number
        ]
    if not found.is_valid:
        raise PermanentError(
            f"The restored database is not valid and was left in {staging}: "
            f"{shown_problems(found.problems)}"
        )
    return found
