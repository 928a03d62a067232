"""Restores PostgreSQL and the objects to one instant: the plan, then its steps, each done once.

The databases are made beside their place, brought to the instant and verified there, and then get
their place. Objects are written once and deleted only after the recovery window, so those of the
newest backup are those of every instant in it: missing ones come back, and of those that are there
only such are overwritten as are not what the catalog says (verification/objects.py). Where it comes
from is in source.py, where it goes in target.py, what counts as whole in
verification/verification.py.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from influencerai_dagster.backup.objects.missing import ObjectRestoreReport
from influencerai_dagster.backup.restore.journal import Journal
from influencerai_dagster.backup.restore.source import Source
from influencerai_dagster.backup.restore.target import (
    Restored,
    RestoreTarget,
    Say,
    sound_databases,
)
from influencerai_dagster.backup.verification.catalog_objects import fence_open_jobs
from influencerai_dagster.backup.verification.objects import Assets
from influencerai_dagster.backup.verification.verification import Verification
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.errors import PermanentError

_CHECK, _OBJECTS, _VERIFY, _PLACE = "check backup", "copy objects", "verify", "put in place"


@dataclass(frozen=True)
class Restore:
    """What is asked for.

    Attributes:
        to: the instant as it was asked for; None is the newest moment.
        is_forced: what is in the target is moved aside, and another restore that did not end is
            forgotten.
    """

    source: Source
    target: RestoreTarget
    assets: Assets
    to: datetime | None
    is_forced: bool = False

    def journal(self) -> Journal:
        """Return the journal of this very request."""
        request = {
            "--to": "latest" if self.to is None else self.to.isoformat(),
            "--into": str(self.target),
        }
        return Journal(self.target.journal_path, request, self.source.backup.backup_id)

    def steps(self) -> dict[str, str]:
        """Return what is done, in order, for a person."""
        comes_back = (
            "bring no object back: BACKUP_TARGET is not set"
            if self.assets.backup is None
            else f"copy objects that {self.assets.place} lacks from {self.assets.backup}"
        )
        return {
            _CHECK: f"check every file of backup {self.source.describe()}",
            **self.target.steps(self.source),
            _OBJECTS: comes_back,
            _VERIFY: "verify: newest migration, every row, every object by its hash; repair wrong "
            "objects from the backup, which keeps the wrong bytes",
            _PLACE: self.target.last_step(),
        }

    def is_in_place(self, journal: Journal) -> bool:
        """Tell whether an earlier try did everything but to say so."""
        return _PLACE in journal.seconds_by_step and not self.target.has_draft()


@dataclass(frozen=True)
class RestorePlan:
    """What a restore would do.

    Attributes:
        steps: for a person, in order.
        problems: why it cannot be done.
        warnings: what the person should know first.
    """

    steps: list[str]
    problems: list[str]
    warnings: list[str]


@dataclass(frozen=True)
class RestoreReport:
    """What a restore did.

    Attributes:
        restored_to: when the last transaction that is in it was committed, UTC; None if the
            replay was done by an earlier try, or replayed no transaction.
        objects: what came back.
        seconds_by_step: in order.
        moved_aside: where the former content of the target is.
    """

    backup_id: str
    restored_to: datetime | None
    verification: Verification
    objects: ObjectRestoreReport
    seconds_by_step: dict[str, float]
    moved_aside: str | None


def plan(restore: Restore) -> RestorePlan:
    """Return what a restore would do, and why it cannot; nothing is written."""
    journal, problems = restore.journal(), []
    try:
        journal.load(is_forced=restore.is_forced)
    except PermanentError as error:
        problems.append(str(error))
    steps, done = restore.steps(), journal.seconds_by_step
    if restore.is_in_place(journal):
        return RestorePlan([f"{text} (done already)" for text in steps.values()], [], [])
    problem = restore.target.problem(restore.source, is_forced=restore.is_forced)
    is_done = {step: step in done and step != _PLACE for step in steps}
    return RestorePlan(
        [f"{text} (done already)" if is_done[step] else text for step, text in steps.items()],
        [*([problem] if problem else []), *problems],
        [*restore.source.warnings(), *restore.target.warnings()],
    )


def has_ended(restore: Restore) -> bool:
    """Tell whether an earlier try did everything but to say so; what it left over is removed."""
    journal = restore.journal()
    journal.load(is_forced=restore.is_forced)
    if not restore.is_in_place(journal):
        return False
    restore.target.clear()
    journal.remove()
    return True


def run_restore(restore: Restore, say: Say) -> RestoreReport:
    """Restore; one that was killed goes on where it was when the same is asked for again.

    Args:
        restore: what is asked for.
        say: told what is done, for a person.

    Returns:
        The report. Where its verification has problems they are of objects: the database is whole
        and in its place.

    Raises:
        PermanentError: the target may not be written, the backup is broken, or the database is not
            what it must be; the target is as it was.
        TransientError: a server was away; ask again to go on.
    """
    with _alone_at(restore.target):
        return _restore(restore, say)


def _restore(restore: Restore, say: Say) -> RestoreReport:
    source, target, journal = restore.source, restore.target, restore.journal()
    journal.load(is_forced=restore.is_forced)
    _refuse(restore)
    target.end_orphans()
    if journal.seconds_by_step:
        say(f"going on after: {', '.join(journal.seconds_by_step)}")
    steps = restore.steps()
    with journal.step(_CHECK) as is_open:
        if is_open:
            say(steps[_CHECK])
            source.check(is_all_needed=False)
    with target.filled(source, journal, say) as restored:
        found = sound_databases(restored, target.draft)
        _fence(restored)
        with journal.step(_OBJECTS):
            say(steps[_OBJECTS])
            objects = restore.assets.bring_back(say)
        with journal.step(_VERIFY):
            say(steps[_VERIFY])
            restore.assets.verify(restored.databases.catalog_url, found, say)
    _refuse(restore)
    journal.note(_PLACE, 0.0)
    say(steps[_PLACE])
    moved_aside = target.put_in_place()
    target.clear()
    journal.remove()
    return RestoreReport(
        backup_id=source.backup.backup_id,
        restored_to=restored.restored_to,
        verification=found,
        objects=objects,
        seconds_by_step=journal.seconds_by_step,
        moved_aside=moved_aside,
    )


@contextmanager
def _alone_at(target: RestoreTarget) -> Iterator[None]:
    """Hold the lock of a target: two restores would write into the same staging directory."""
    path = target.journal_path.with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermanentError(
                f"Another restore to {target} is running: wait until it has ended"
            ) from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _refuse(restore: Restore) -> None:
    problem = restore.target.problem(restore.source, is_forced=restore.is_forced)
    if problem is not None:
        raise PermanentError(problem)


def _fence(restored: Restored) -> None:
    engine = create_catalog_engine(restored.databases.catalog_url)
    try:
        with transaction(engine) as session:
            fence_open_jobs(session)
    finally:
        engine.dispose()
