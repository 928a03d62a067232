"""Copy objects to the backup target, and delete there what is past the recovery window.

On the target:

    objects/<key>    the newest content of every object
    barman/…         the newest content of BACKUP_HOME (copied with `folder="barman"`)
    history/…        replaced contents, see history.py

An object that is missing at the source is kept until the recovery window has passed since this was
first seen. Objects are copied back in missing.py; rclone is run in rclone.py.
"""

import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from influencerai_dagster.backup.objects.connection import check_answers, keys_without_first_part
from influencerai_dagster.backup.objects.history import OBJECTS, ObjectHistory
from influencerai_dagster.backup.objects.locations import OFF_SITE_FOLDER, BackupTarget, Location
from influencerai_dagster.backup.objects.overlap import refuse_overlap
from influencerai_dagster.backup.objects.rclone import Rclone
from influencerai_dagster.backup.objects.rclone_log import CopyProgress, CopyResult
from influencerai_dagster.errors import PermanentError

BARMAN = "barman"
_KEEP_OBSOLETE = timedelta(days=1)
"""Barman deletes what no target time of the window needs; the copy need not keep it for long."""
_NOT_COPIED = (f"/{OFF_SITE_FOLDER}/**", "/locks/**", "/drills/**", "*.partial", "*.tmp", "*.log")


@dataclass(frozen=True)
class ObjectBackupReport:
    """The outcome of one backup of objects.

    Attributes:
        num_objects: at the source when it began.
        size_bytes: of all of them.
        copied: key → bytes, new and replaced.
        replaced: copied keys with an older content, which is in the history now.
        failures: key → why it is not in the backup.
        missing_at_source: key → since when it is only in the backup.
        pruned: keys that were deleted in the backup, past the recovery window.
    """

    target: str
    num_objects: int
    size_bytes: int
    seconds: float
    copied: Mapping[str, int]
    replaced: Collection[str]
    failures: Mapping[str, str]
    missing_at_source: Mapping[str, datetime]
    pruned: Collection[str]

    @property
    def copied_bytes(self) -> int:
        """Bytes of all copied objects."""
        return sum(self.copied.values())


def copy_objects(
    source: Location,
    target: BackupTarget,
    *,
    recovery_window: timedelta,
    folder: str = OBJECTS,
    exclude: Iterable[str] = (),
    now: datetime | None = None,
    on_progress: Callable[[CopyProgress], None] = lambda _: None,
) -> ObjectBackupReport:
    """Copy new and changed objects, compare hashes, and delete what is past the recovery window.

    A copy that was stopped resumes when it is called again.

    Args:
        source: the bucket, or Barman's folder.
        target: where the backup goes.
        recovery_window: removed and replaced contents are kept this long, and a day.
        folder: at the target.
        exclude: patterns of rclone.
        now: UTC; the clock's if None.
        on_progress: called every few seconds.

    Raises:
        PermanentError: access denied, the source or the target is not there, or one lies in the
            other.
        InsufficientStorageError: the target is too full for the record of missing objects; an
            object that does not fit is one of the failures.
        TransientError: a server was away; what was copied stays.
    """
    started, now = time.monotonic(), now or datetime.now(UTC)
    rclone = Rclone(source, target)
    _check_locations(rclone, source, target, folder)
    history = ObjectHistory(rclone, folder)
    result = rclone.copy(
        "source:",
        f"target:{folder}",
        f"--backup-dir={history.path_of(now)}",
        *_options(source, target),
        *_filters(exclude),
        on_progress=on_progress,
    )
    found = result.found
    _compare_encrypted(rclone, result, f"target:{folder}" if target.encryption_key else None)
    _check_copy(rclone, result, folder, left_out=keys_without_first_part(source))
    # An empty bucket is an accident: its backup is kept.
    missing, pruned = history.note_missing(
        found.only_at_target, recovery_window, now, may_prune=bool(found.at_source)
    )
    history.prune(recovery_window, now)
    return ObjectBackupReport(
        target=str(target),
        num_objects=len(found.at_source),
        size_bytes=sum(found.at_source.values()),
        seconds=time.monotonic() - started,
        copied=result.copied,
        replaced=sorted(found.differing & result.copied.keys()),
        failures=result.failures,
        missing_at_source=missing,
        pruned=pruned,
    )


def copy_all(
    assets: Location,
    home: Path | None,
    target: BackupTarget,
    *,
    recovery_window: timedelta,
    on_progress: Callable[[str, CopyProgress], None],
) -> dict[str, ObjectBackupReport]:
    """Copy the bucket of assets, then the backups of the databases; return the reports by folder.

    Args:
        assets: the bucket.
        home: BACKUP_HOME, copied off-site; None, or a folder that is not there, copies none.
        target: where the backup goes.
        recovery_window: as in `copy_objects`.
        on_progress: called with the folder and its progress.
    """
    reports = {
        OBJECTS: copy_objects(
            assets,
            target,
            recovery_window=recovery_window,
            on_progress=partial(on_progress, OBJECTS),
        )
    }
    if home is not None and home.is_dir():
        reports[BARMAN] = copy_objects(
            home,
            target,
            recovery_window=_KEEP_OBSOLETE,
            folder=BARMAN,
            exclude=_NOT_COPIED,
            on_progress=partial(on_progress, BARMAN),
        )
    return reports


def _options(source: Location, target: BackupTarget) -> list[str]:
    """Return the bandwidth limit, and how rclone finds out which objects are in the backup."""
    limit = [f"--bwlimit={target.bandwidth_limit}"] if target.bandwidth_limit else []
    if isinstance(source, Path) or target.encryption_key:
        # An encrypted object has no hash of its content, and hashing all files of Barman takes
        # hours: a file is copied if it is newer than its copy or has another size.
        return [*limit, "--update", "--use-server-modtime"]
    return [*limit, "--checksum"]


def _filters(exclude: Iterable[str]) -> list[str]:
    filters = [f"--exclude={pattern}" for pattern in exclude]
    # In a copy it deletes nothing: it only lists the excluded files at the target.
    return [*filters, "--delete-excluded"] if filters else []


def _check_locations(rclone: Rclone, source: Location, target: BackupTarget, folder: str) -> None:
    _check_is_there(source)
    check_answers(source, target)
    refuse_overlap(rclone, source, target, folder)


def _check_is_there(source: Location) -> None:
    if isinstance(source, Path) and not source.is_dir():
        raise PermanentError(f"{source} cannot be backed up: there is no such folder")


def _compare_encrypted(rclone: Rclone, result: CopyResult, path: str | None) -> None:
    """Count copies as failures if they decrypt to other bytes than those of the source."""
    keys = list(result.copied)
    if path is None or not keys:
        return
    for key in rclone.differing_from_encrypted("source:", path, keys):
        result.failures[key] = "its encrypted copy is not what the source has"


def _check_copy(
    rclone: Rclone, result: CopyResult, folder: str, *, left_out: Collection[str]
) -> None:
    """Count as failures the objects that rclone reports as copied and a restore would miss."""
    _refuse_empty_parts(rclone, result, folder, left_out)
    _check_both_are_kept(rclone, result, folder)
    _check_all_is_there(rclone, result)


def _refuse_empty_parts(
    rclone: Rclone, result: CopyResult, folder: str, left_out: Collection[str]
) -> None:
    """Count keys like "a//b" and "/a" as failures: rclone renames or ignores them.

    A copy with another name is removed: a restore would make an object of that name.
    """
    source = result.found.at_source
    odd = {key for key in source if "//" in key} | {*left_out}
    for key in odd:
        result.failures[key] = "its key has an empty part, which a backup cannot keep: rename it"
        result.copied.pop(key, None)
    renamed = {re.sub("/+", "/", key).lstrip("/") for key in odd}
    if strays := renamed - source.keys():
        rclone.delete(f"target:{folder}", strays)


def _check_both_are_kept(rclone: Rclone, result: CopyResult, folder: str) -> None:
    """Count as failures what the target accepted and did not keep: "a/b" beside an object "a"."""
    at_source = result.found.at_source.keys()
    everywhere = at_source | result.found.only_at_target
    beside = set[str]()
    for key in everywhere:
        parents = everywhere.intersection(key[: slash.start()] for slash in re.finditer("/", key))
        if parents:
            beside |= {key, *parents}
    if not beside:
        return
    kept = {item.key for item in rclone.list(f"target:{folder}")}
    for key in (beside & at_source) - kept:
        result.failures.setdefault(
            key, "the backup target cannot keep an object and a folder of the same name: rename one"
        )
        result.copied.pop(key, None)


def _check_all_is_there(rclone: Rclone, result: CopyResult) -> None:
    """Count missing copies as failures, without objects that were deleted during the copy."""
    for key in (result.found.only_at_source | result.found.differing) - result.copied.keys():
        result.failures.setdefault(key, "the backup does not have it")
    if result.failures:
        there = {item.key for item in rclone.list("source:")}
        for key in result.failures.keys() - there:
            del result.failures[key]
