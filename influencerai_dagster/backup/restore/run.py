"""Plan and run a restore of PostgreSQL and the objects to one target time.

The databases are made in staging, replayed to the target time, verified there and then promoted.
Objects are written once and deleted only after the recovery window, so the objects of the newest
backup serve every target time in the window: missing objects are copied back, and only objects that
differ from the catalog are overwritten (verification/objects.py). The backup is behind source.py,
the destination behind target.py, the checks are in verification/verification.py.
"""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from influencerai_dagster.backup.objects.missing import ObjectRestoreReport
from influencerai_dagster.backup.restore.journal import Journal, Step
from influencerai_dagster.backup.restore.source import Source
from influencerai_dagster.backup.restore.target import Log, Restored, RestoreTarget, verify_restored
from influencerai_dagster.backup.verification.catalog_objects import fence_open_jobs
from influencerai_dagster.backup.verification.objects import Assets
from influencerai_dagster.backup.verification.verification import Verification
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.errors import PermanentError

_PROMOTE = "promote"


@dataclass(frozen=True)
class Restore:
    """A request for a restore.

    Attributes:
        source: a backup with the target time.
        target: the destination of the databases.
        assets: the bucket and its backup.
        is_forced: content of the target is moved aside, and the journal of another restore is
            discarded.
    """

    source: Source
    target: RestoreTarget
    assets: Assets
    is_forced: bool = False

    def journal(self) -> Journal:
        """Return the journal of this request, not loaded yet."""
        to = self.source.requested_time
        request = {
            "--to": "latest" if to is None else to.isoformat(),
            "--into": str(self.target),
        }
        return Journal(self.target.journal_path, request, self.source.backup.backup_id)


@dataclass(frozen=True)
class _Steps:
    check: Step
    staging: Sequence[Step]
    objects: Step
    verify: Step
    promote: Step

    def __iter__(self) -> Iterator[Step]:
        return iter((self.check, *self.staging, self.objects, self.verify, self.promote))


@dataclass(frozen=True)
class RestorePlan:
    """What a restore will do, and what speaks against it.

    Attributes:
        journal: loaded; the completed steps of an earlier try.
        problems: why it cannot be done.
        warnings: what the operator should know first.
        is_promoted: an earlier try was killed after its last step: only remains are left.
    """

    restore: Restore
    journal: Journal
    steps: _Steps
    problems: Sequence[str]
    warnings: Sequence[str]
    is_promoted: bool

    @property
    def shown_steps(self) -> list[str]:
        """The steps in order, for the operator."""
        done = self.journal.seconds_by_step.keys() - {_PROMOTE}
        return [
            f"{step.text} (done already)" if self.is_promoted or step.name in done else step.text
            for step in self.steps
        ]


@dataclass(frozen=True)
class RestoreReport:
    """What a restore did.

    Attributes:
        restored_to: when the last transaction in the databases was committed, UTC; None if an
            earlier try replayed the WAL, or there was none to replay.
        objects: those that were copied back.
        seconds_by_step: in order.
        moved_aside: where the former content of the target is now.
    """

    backup_id: str
    restored_to: datetime | None
    verification: Verification
    objects: ObjectRestoreReport
    seconds_by_step: dict[str, float]
    moved_aside: str | None


def plan(restore: Restore) -> RestorePlan:
    """Return what a restore will do, and why it cannot be done; nothing is written."""
    source, target = restore.source, restore.target
    journal, problems = restore.journal(), []
    try:
        journal.load(is_forced=restore.is_forced)
    except PermanentError as error:
        problems.append(str(error))
    is_promoted = _PROMOTE in journal.seconds_by_step and not target.has_staging()
    if is_promoted:
        return RestorePlan(restore, journal, _steps(restore), [], [], is_promoted=True)
    problem = target.problem(source, is_forced=restore.is_forced)
    return RestorePlan(
        restore=restore,
        journal=journal,
        steps=_steps(restore),
        problems=[problem, *problems] if problem else problems,
        warnings=[*source.warnings(), *target.warnings()],
        is_promoted=False,
    )


def remove_remains(planned: RestorePlan) -> None:
    """Remove what is left of a restore that was killed after its last step."""
    planned.restore.target.clear()
    planned.journal.remove()


def run_restore(planned: RestorePlan, log: Log) -> RestoreReport:
    """Run a restore; one that was killed resumes when it is planned and run again.

    Args:
        planned: by `plan`, a moment ago.
        log: gets a line about every step.

    Returns:
        The report. Problems in its verification concern objects: the databases are complete and
        promoted.

    Raises:
        PermanentError: the plan has problems, the backup is broken, or the restored databases are
            not valid; the target is unchanged.
        TransientError: a server was away; plan and run again to resume.
    """
    if planned.problems:
        raise PermanentError("; ".join(planned.problems))
    with _lock(planned.restore.target):
        return _run(planned, log)


def _run(planned: RestorePlan, log: Log) -> RestoreReport:
    restore, journal, steps = planned.restore, planned.journal, planned.steps
    source, target = restore.source, restore.target
    target.end_leftovers()
    if journal.seconds_by_step:
        log(f"resuming after: {', '.join(journal.seconds_by_step)}")
    with journal.step(steps.check.name) as is_pending:
        if is_pending:
            log(steps.check.text)
            source.check(is_all_needed=False)
    with target.staged(source, journal, log) as restored:
        found = verify_restored(restored, target.staging)
        _fence_open_jobs(restored)
        with journal.step(steps.objects.name):
            log(steps.objects.text)
            objects = restore.assets.copy_back(log)
        with journal.step(steps.verify.name):
            log(steps.verify.text)
            restore.assets.verify(restored.databases.catalog_url, found, log)
    # A PostgreSQL or its clients may have started there since the plan.
    problem = target.problem(source, is_forced=restore.is_forced)
    if problem is not None:
        raise PermanentError(problem)
    journal.note(steps.promote.name, 0.0)
    log(steps.promote.text)
    moved_aside = target.promote()
    remove_remains(planned)
    return RestoreReport(
        backup_id=source.backup.backup_id,
        restored_to=restored.restored_to,
        verification=found,
        objects=objects,
        seconds_by_step=journal.seconds_by_step,
        moved_aside=moved_aside,
    )


def _steps(restore: Restore) -> _Steps:
    source, target, assets = restore.source, restore.target, restore.assets
    copied = (
        "copy no object back: BACKUP_TARGET is not set"
        if assets.backup is None
        else f"copy objects that {assets.location} lacks from {assets.backup}"
    )
    return _Steps(
        check=Step("check backup", f"check every file of backup {source.describe()}"),
        staging=target.steps(source),
        objects=Step("copy objects", copied),
        verify=Step(
            "verify",
            "verify: newest migration, every row, every object by its hash; repair corrupt "
            "objects from the backup, which keeps the corrupt bytes",
        ),
        promote=Step(_PROMOTE, target.promotion()),
    )


@contextmanager
def _lock(target: RestoreTarget) -> Iterator[None]:
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


def _fence_open_jobs(restored: Restored) -> None:
    engine = create_catalog_engine(restored.databases.catalog_url)
    try:
        with transaction(engine) as session:
            fence_open_jobs(session)
    finally:
        engine.dispose()
