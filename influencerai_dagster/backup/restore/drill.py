"""The restore drill: last night's backup to a random moment, in scratch space, proven and timed.

It reads what a disaster would leave: BACKUP_HOME and the backup target, never the bucket or the
server that runs. Its steps are those of run.py without a target to keep; where there are dumps
alone, the newest is loaded into a new PostgreSQL. Outcomes are kept in a
file beside the backups, because Dagster's own storage is among what may be lost.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from influencerai_dagster.backup.objects.missing import restore_objects
from influencerai_dagster.backup.objects.places import BackupTarget
from influencerai_dagster.backup.restore.both_databases import BothDatabases
from influencerai_dagster.backup.restore.scratch import POSTGRES, scratch_folder
from influencerai_dagster.backup.restore.source import Backups, Source, choose, random_moment
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
    """What one drill found.

    Attributes:
        at: when it began, UTC.
        instant: the moment that was restored.
        backup_id: what it was restored from; None if there was nothing.
        rto_seconds: from the beginning until the last object was compared: how long a restore of
            all of it takes here. None if it was not restored whole: then nobody knows.
        rpo_seconds: how old the newest WAL, or the dump, was when the drill began: what a loss of
            the server at that moment would have cost.
        seconds_by_step: in order; where something is broken, the last is the step that found it.
        problems: what is broken, by name; none if the backup was restored whole.
    """

    at: datetime
    instant: datetime | None = None
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
    def is_sound(self) -> bool:
        """Whether the backup was restored whole."""
        return not self.problems

    @property
    def shown_rto(self) -> str:
        """How long it took, for a person; of a broken backup how far the drill came."""
        if self.is_sound and self.rto_seconds is not None:
            return f"{self.rto_seconds:.1f} s"
        if not self.seconds_by_step:
            return "none: nothing could be restored"
        seconds, step = sum(self.seconds_by_step.values()), list(self.seconds_by_step)[-1]
        return f"none: broken in step {step!r} after {seconds:.1f} s"


@dataclass(frozen=True)
class Drill:
    """What is drilled.

    Attributes:
        backups: of the databases.
        databases: whose users and names are looked for in the backup.
        target: where the objects are backed up; None proves the database only, and says so.
        scratch_dir: where everything is restored to; emptied at the end, or by the next drill.
    """

    backups: Backups
    databases: BothDatabases
    target: BackupTarget | None
    scratch_dir: Path


def run_drill(drill: Drill, say: Callable[[str], None], instant: datetime | None) -> DrillReport:
    """Restore a moment into scratch space, verify it, remove it, and write down what was found.

    Args:
        drill: what is drilled.
        say: told what is done, for a person.
        instant: the moment; None draws one that the last full backup reaches.

    Returns:
        The report; a broken backup is one with problems.

    Raises:
        InsufficientStorageError: the scratch space is too small; nothing is said of the backup.
        TransientError: a server was away; nothing is said of the backup.
    """
    with scratch_folder(drill.scratch_dir) as scratch:
        run = _Run(drill, scratch, say)
        try:
            run.restore(instant)
        except InsufficientStorageError:
            raise
        except PermanentError as error:
            run.found.problems.append(str(error))
    report = run.report()
    _remember(drill.backups.home, report)
    return report


def drill_history(home: Path) -> Sequence[DrillReport]:
    """Return all drills that were written down, oldest first, without damaged lines."""
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
    say: Callable[[str], None]
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: float = field(default_factory=time.monotonic)
    found: Verification = field(default_factory=Verification)
    source: Source | None = None
    rto_seconds: float | None = None
    seconds_by_step: dict[str, float] = field(default_factory=dict)

    def restore(self, instant: datetime | None) -> None:
        drill, data_dir = self.drill, self.scratch / POSTGRES
        moment = instant or random_moment(drill.backups, self.began_at)
        source = self.source = choose(drill.backups, moment, self.began_at)
        self.say(f"restoring {source.shown_instant} from backup {source.describe()}")
        self._step("check backup", lambda: source.check(is_all_needed=True))
        self._need(source.needed_bytes(), "the database")
        copy, opening = source.steps(data_dir)
        self._step(copy, lambda: source.copy(data_dir))
        with ExitStack() as stack:
            server = self._step(opening, lambda: stack.enter_context(source.opened(data_dir)))
            databases = drill.databases.at(server.url_of)
            self.found = self._step("verify database", lambda: verify_databases(*databases.urls))
            if self.found.is_sound:
                self._objects(databases.catalog_url)
            if self.found.is_sound:  # what is stopped and removed after it is no part of a restore
                self.rto_seconds = time.monotonic() - self.started

    def report(self) -> DrillReport:
        source, found = self.source, self.found
        received = source.received_at if source else None
        return DrillReport(
            at=self.began_at,
            instant=source.instant if source else None,
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
            self.found.warnings.append("no object was looked at: BACKUP_TARGET is not set")
            return
        engine = create_catalog_engine(catalog_url)
        try:
            with transaction(engine) as session:
                self._need(named_bytes(session), "objects")
            folder.mkdir()
            self.say(f"copying all objects from {target}")
            self._step("copy objects", lambda: restore_objects(target, folder, None))
            self.say("comparing every object that the catalog names")
            self._step(
                "verify objects",
                lambda: verify_objects(
                    self.found,
                    engine,
                    FolderContents(folder),
                    on_progress=lambda number: self.say(f"{number} objects compared"),
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


def _remember(home: Path, report: DrillReport) -> None:
    with (home / _HISTORY).open("a", encoding="utf-8") as file:
        file.write(report.model_dump_json() + "\n")
