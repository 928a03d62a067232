"""Rehearse a restore: to a random target time, in scratch space, with verification.

It reads what a disaster would leave: BACKUP_HOME and the backup target, never the bucket or the
running server. Its steps are those of run.py, without a target; with dumps alone, the newest is
loaded into a new PostgreSQL. Reports are kept in a file beside the backups, because a disaster may
take Dagster's own storage.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import AliasChoices, Field, ValidationError

from influencerai_dagster.backup.objects.locations import BackupTarget
from influencerai_dagster.backup.objects.missing import restore_objects
from influencerai_dagster.backup.restore.both_databases import BothDatabases
from influencerai_dagster.backup.restore.scratch import POSTGRES, scratch_folder
from influencerai_dagster.backup.restore.source import Backups, Source, choose, random_target_time
from influencerai_dagster.backup.verification.catalog_objects import named_bytes
from influencerai_dagster.backup.verification.contents import FolderContents
from influencerai_dagster.backup.verification.verification import (
    Verification,
    verify_databases,
    verify_objects,
)
from influencerai_dagster.core.base import Value
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.errors import InsufficientStorageError, PermanentError

_HISTORY = "restore-drills.jsonl"
_MAX_PROBLEMS = 50
Result = TypeVar("Result")


class DrillReport(Value):
    """The outcome of one drill.

    Attributes:
        at: when it began, UTC.
        target_time: that was restored, UTC.
        backup_id: the backup that was restored; None if there was none.
        rto_seconds: from the beginning until the last object was compared: how long a complete
            restore takes here. None if it was not complete.
        rpo_seconds: age of the newest WAL, or of the dump, when the drill began: what a loss of
            the server at that time would have cost.
        seconds_by_step: in order; of a broken backup, the last step is the one that found it.
        problems: what is broken; empty if the restore was complete.
    """

    at: datetime
    target_time: datetime | None = Field(
        default=None,
        validation_alias=AliasChoices("target_time", "instant"),  # its name in older reports
    )
    backup_id: str | None = None
    rto_seconds: float | None = None
    rpo_seconds: float | None = None
    seconds_by_step: dict[str, float]
    rows: dict[str, int]
    num_objects: int
    size_bytes: int
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def is_valid(self) -> bool:
        """Whether nothing was broken."""
        return not self.problems

    @property
    def shown_rto(self) -> str:
        """How long it took, for the operator; of a broken backup, how far the drill came."""
        if self.is_valid and self.rto_seconds is not None:
            return f"{self.rto_seconds:.1f} s"
        if not self.seconds_by_step:
            return "none: nothing could be restored"
        seconds, step = sum(self.seconds_by_step.values()), list(self.seconds_by_step)[-1]
        return f"none: broken in step {step!r} after {seconds:.1f} s"


@dataclass(frozen=True)
class Drill:
    """What a drill restores, and where.

    Attributes:
        backups: of the databases.
        databases: their names and users in the backup.
        target: the backup of the objects; None restores the databases only, with a warning.
        scratch_dir: has space for everything; emptied at the end, or by the next drill.
    """

    backups: Backups
    databases: BothDatabases
    target: BackupTarget | None
    scratch_dir: Path


def run_drill(
    drill: Drill, log: Callable[[str], None], target_time: datetime | None
) -> DrillReport:
    """Restore one target time into scratch space, verify it, remove it and record the outcome.

    Args:
        drill: what to restore, and where.
        log: gets a line about every step.
        target_time: UTC; None draws one that the last full backup reaches.

    Returns:
        The report; of a broken backup it has problems.

    Raises:
        InsufficientStorageError: the scratch space is too small; nothing is known about the backup.
        TransientError: a server was away; nothing is known about the backup.
    """
    with scratch_folder(drill.scratch_dir) as scratch:
        run = _Run(drill, scratch, log)
        try:
            run.restore(target_time)
        except InsufficientStorageError:
            raise
        except PermanentError as error:
            run.found.problems.append(str(error))
    report = run.report()
    _record(drill.backups.home, report)
    return report


def drill_history(home: Path) -> Sequence[DrillReport]:
    """Return the reports of all drills, oldest first, without damaged lines."""
    try:
        lines = (home / _HISTORY).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    reports = []
    for line in lines:
        try:
            reports.append(DrillReport.model_validate_json(line))
        except ValidationError:
            continue
    return reports


@dataclass
class _Run:
    drill: Drill
    scratch: Path
    log: Callable[[str], None]
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: float = field(default_factory=time.monotonic)
    found: Verification = field(default_factory=Verification)
    source: Source | None = None
    rto_seconds: float | None = None
    seconds_by_step: dict[str, float] = field(default_factory=dict)

    def restore(self, target_time: datetime | None) -> None:
        drill, data_dir = self.drill, self.scratch / POSTGRES
        chosen = target_time or random_target_time(drill.backups, self.began_at)
        source = self.source = choose(drill.backups, chosen, self.began_at)
        self.log(f"restoring {source.shown_target_time} from backup {source.describe()}")
        self._step("check backup", lambda: source.check(is_all_needed=True))
        self._need(source.needed_bytes(), "the database")
        steps = source.steps(data_dir)
        self._step(steps.copy.name, lambda: source.copy(data_dir))
        with ExitStack() as stack:
            server = self._step(
                steps.open.name, lambda: stack.enter_context(source.opened(data_dir))
            )
            databases = drill.databases.at(server.url_of)
            self.found = self._step("verify database", lambda: verify_databases(*databases.urls))
            if self.found.is_valid:
                self._objects(databases.catalog_url)
            if self.found.is_valid:  # stopping and removing are not part of a restore
                self.rto_seconds = time.monotonic() - self.started

    def report(self) -> DrillReport:
        source, found = self.source, self.found
        received = source.received_at if source else None
        return DrillReport(
            at=self.began_at,
            target_time=source.target_time if source else None,
            backup_id=source.backup.backup_id if source else None,
            rto_seconds=self.rto_seconds,
            rpo_seconds=max(0.0, (self.began_at - received).total_seconds()) if received else None,
            seconds_by_step=self.seconds_by_step,
            rows=found.rows,
            num_objects=found.num_objects,
            size_bytes=found.size_bytes,
            problems=tuple(found.problems[:_MAX_PROBLEMS]),
            warnings=tuple(found.warnings[:_MAX_PROBLEMS]),
        )

    def _objects(self, catalog_url: str) -> None:
        target, folder = self.drill.target, self.scratch / "objects"
        if target is None:
            self.found.warnings.append("no object was compared: BACKUP_TARGET is not set")
            return
        engine = create_catalog_engine(catalog_url)
        try:
            with transaction(engine) as session:
                self._need(named_bytes(session), "objects")
            folder.mkdir()
            self.log(f"copying all objects from {target}")
            self._step("copy objects", lambda: restore_objects(target, folder, None))
            self.log("comparing every object that the catalog names")
            self._step(
                "verify objects",
                lambda: verify_objects(
                    self.found,
                    engine,
                    FolderContents(folder),
                    on_progress=lambda number: self.log(f"{number} objects compared"),
                ),
            )
        finally:
            engine.dispose()

    def _need(self, size_bytes: int, what: str) -> None:
        free = shutil.disk_usage(self.scratch).free
        if size_bytes > free:
            raise InsufficientStorageError(
                f"The restore drill needs {size_bytes / 1000**3:.1f} GB for {what} in "
                f"{self.drill.scratch_dir}, {free / 1000**3:.1f} GB are free: make space there"
            )

    def _step(self, name: str, action: Callable[[], Result]) -> Result:
        began = time.monotonic()
        try:
            return action()
        finally:
            self.seconds_by_step[name] = time.monotonic() - began


def _record(home: Path, report: DrillReport) -> None:
    with (home / _HISTORY).open("a", encoding="utf-8") as file:
        file.write(report.model_dump_json() + "\n")
