"""Restores PostgreSQL and the objects to one instant: the plan, then its steps, each done once.

The database is made beside its place, replayed to the instant and verified there, and then moved
into its place. Objects are written once and deleted only after the recovery window, so those of the
newest backup are those of every instant in it: missing ones come back, and what is there is never
overwritten. Backup and instant are in recovery.py, what counts as whole in verification.py.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from influencerai_dagster.backup.contents import BucketContents
from influencerai_dagster.backup.journal import Journal
from influencerai_dagster.backup.objects import ObjectRestoreReport, restore_objects
from influencerai_dagster.backup.places import BackupTarget, Place
from influencerai_dagster.backup.recovery import Recovery, replay
from influencerai_dagster.backup.restore_target import RestoreTarget
from influencerai_dagster.backup.restored_server import RestoredServer
from influencerai_dagster.backup.verification import (
    Verification,
    shown_problems,
    verify_databases,
    verify_objects,
)
from influencerai_dagster.catalog.backups import fence_open_jobs
from influencerai_dagster.catalog.engine import create_catalog_engine, transaction
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.storage.object_store import ObjectStore

Say = Callable[[str], None]
_CHECK, _COPY, _REPLAY = "check backup", "copy database", "replay WAL"
_OBJECTS, _VERIFY = "copy objects", "verify"


@dataclass(frozen=True)
class Assets:
    """The bucket of assets and its backup.

    Attributes:
        store: for reading.
        place: the same bucket as rclone is told of it.
        backup: None brings no object back; those that are there are verified all the same.
    """

    store: ObjectStore
    place: Place
    backup: BackupTarget | None


@dataclass(frozen=True)
class Restore:
    """What is asked for.

    Attributes:
        recovery: backup and instant.
        target: the data directory.
        database_url: of the catalog; its user and database are looked for in the restored server.
        dagster_url: the same of Dagster's storage.
        bin_dir: PostgreSQL's programs, of the backup's major version.
        is_forced: what is in the target is moved aside, and another restore that did not end is
            forgotten.
    """

    recovery: Recovery
    target: RestoreTarget
    database_url: str = field(repr=False)
    dagster_url: str = field(repr=False)
    bin_dir: Path
    assets: Assets
    is_forced: bool = False

    def journal(self) -> Journal:
        """Return the journal of this very request."""
        instant = self.recovery.instant
        request = {
            "--to": "latest" if instant is None else instant.isoformat(),
            "--into": str(self.target.data_dir),
        }
        return Journal(self.target.journal_path, request)


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
    moved_aside: Path | None


def plan(restore: Restore) -> RestorePlan:
    """Return what a restore would do, and why it cannot; nothing is written."""
    recovery, target, backup = restore.recovery, restore.target, restore.assets.backup
    problems = [text for text in [target.problem(is_forced=restore.is_forced)] if text]
    journal = restore.journal()
    try:
        journal.load(is_forced=restore.is_forced)
    except PermanentError as error:
        problems.append(str(error))
    done = journal.seconds_by_step
    aside = ", after what is there was moved aside" if restore.is_forced else ""
    comes_back = (
        "bring no object back: BACKUP_TARGET is not set"
        if backup is None
        else f"copy objects that {restore.assets.place} lacks from {backup}"
    )
    steps = {
        _CHECK: f"check every file of backup {recovery.describe()}",
        _COPY: f"copy it to {target.draft}",
        _REPLAY: f"start PostgreSQL there on a private socket and replay to "
        f"{recovery.shown_instant}",
        _OBJECTS: comes_back,
        _VERIFY: "verify: newest migration, every row, every object by its hash",
        "": f"stop that PostgreSQL and move the folder to {target.data_dir}{aside}",
    }
    lines = [f"{text} (done already)" if step in done else text for step, text in steps.items()]
    gaps = recovery.missing_wal()
    warnings = [f"WAL segments are missing: {', '.join(gaps[:20])}"] if gaps else []
    received = recovery.received_at
    if received and recovery.instant and recovery.instant > received:
        warnings.append(f"WAL came until {received.isoformat()}: nothing later can come back")
    return RestorePlan(lines, problems, warnings)


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
    target = restore.target
    target.check(is_forced=restore.is_forced)
    journal = restore.journal()
    journal.load(is_forced=restore.is_forced)
    target.end_orphans()
    if _REPLAY not in journal.seconds_by_step and not target.can_be_replayed():
        journal.forget(_COPY)
    if journal.seconds_by_step:
        say(f"going on after: {', '.join(journal.seconds_by_step)}")
    with journal.step(_CHECK) as is_open:
        if is_open:
            say(f"checking every file of backup {restore.recovery.describe()}")
            restore.recovery.check(is_all_wal_needed=False)
    with journal.step(_COPY) as is_open:
        if is_open:
            say(f"copying it to {target.draft}")
            _copy(restore)
    say(f"replaying to {restore.recovery.shown_instant}")
    with _replayed(restore, journal) as server:
        restored_to = server.last_commit(restore.database_url)
        found = _verified_databases(restore, server)
        with journal.step(_OBJECTS):
            objects = _bring_back(restore.assets, say)
        with journal.step(_VERIFY):
            _verify_objects(restore, server, found, say)
    moved_aside = target.put_in_place(is_forced=restore.is_forced)
    journal.remove()
    return RestoreReport(
        backup_id=restore.recovery.backup.backup_id,
        restored_to=restored_to,
        verification=found,
        objects=objects,
        seconds_by_step=journal.seconds_by_step,
        moved_aside=moved_aside,
    )


def _copy(restore: Restore) -> None:
    restore.target.clear_draft()
    recovery = restore.recovery
    recovery.server.recover(recovery.backup.backup_id, recovery.instant, restore.target.draft)


@contextmanager
def _replayed(restore: Restore, journal: Journal) -> Iterator[RestoredServer]:
    started = time.monotonic()
    with replay(restore.recovery, restore.target.draft, restore.bin_dir) as server:
        journal.note(_REPLAY, time.monotonic() - started)
        yield server


def _verified_databases(restore: Restore, server: RestoredServer) -> Verification:
    urls = server.url_of(restore.database_url), server.url_of(restore.dagster_url)
    found = verify_databases(*urls)
    if not found.is_sound:
        raise PermanentError(
            f"The database is not what it must be, and was left in {restore.target.draft}: "
            f"{shown_problems(found.problems)}"
        )
    engine = create_catalog_engine(urls[0])
    with transaction(engine) as session:
        fence_open_jobs(session)
    engine.dispose()
    return found


def _bring_back(assets: Assets, say: Say) -> ObjectRestoreReport:
    if assets.backup is None:
        return ObjectRestoreReport()
    say(f"copying objects that are missing from {assets.backup}")
    return restore_objects(
        assets.backup,
        assets.place,
        None,
        on_progress=lambda now: say(
            f"{now.num_copied} objects, {now.copied_bytes / 1000**2:.0f} MB copied"
        ),
    )


def _verify_objects(
    restore: Restore, server: RestoredServer, found: Verification, say: Say
) -> None:
    say("comparing every object that the catalog names")
    engine = create_catalog_engine(server.url_of(restore.database_url))
    try:
        verify_objects(
            found,
            engine,
            BucketContents(restore.assets.store),
            on_progress=lambda number: say(f"{number} objects compared"),
        )
    finally:
        engine.dispose()
