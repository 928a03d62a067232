"""Copy missing objects back from the backup target, and nothing else.

Corrupt objects are repaired in verification/object_repair.py; the backup is made in copies.py.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from influencerai_dagster.backup.objects.connection import check_answers
from influencerai_dagster.backup.objects.history import OBJECTS, ObjectHistory
from influencerai_dagster.backup.objects.locations import BackupTarget, Location
from influencerai_dagster.backup.objects.rclone import Rclone
from influencerai_dagster.backup.objects.rclone_log import CopyProgress, CopyResult


@dataclass(frozen=True)
class ObjectRestoreReport:
    """Which objects were copied back.

    Attributes:
        copied: key → bytes.
        not_found: key → why it was not copied: the backup does not have it, or it failed.
    """

    copied: Mapping[str, int] = field(default_factory=dict)
    not_found: Mapping[str, str] = field(default_factory=dict)


def restore_objects(
    target: BackupTarget,
    into: Location,
    keys: Collection[str] | None,
    *,
    folder: str = OBJECTS,
    on_progress: Callable[[CopyProgress], None] = lambda _: None,
) -> ObjectRestoreReport:
    """Copy missing objects from the backup; existing objects are never overwritten.

    Safe to call again after it was stopped: it copies the objects that are still missing.

    Args:
        target: the backup.
        into: the bucket or folder; a bucket must exist.
        keys: only these; None for all that the backup has. The history is used for objects that
            are only there.
        folder: at the target.
        on_progress: called every few seconds.
    """
    check_answers(into, target)
    rclone = Rclone(into, target)
    done, wanted = CopyResult(), set(keys or ())
    if keys is None:
        # Given by their names, rclone asks both sides for each of them.
        path = f"target:{folder}"
        done = rclone.copy(path, "source:", "--ignore-existing", on_progress=on_progress)
        wanted = set(done.found.only_at_source)
    if keys is not None or done.failures:
        wanted -= {item.key for item in rclone.list("source:")}
    for path in ObjectHistory(rclone, folder).versions():
        left = wanted - done.copied.keys()
        if not left:
            break
        if found := left & {item.key for item in rclone.list(path)}:
            result = rclone.copy_keys(path, "source:", found, on_progress=on_progress)
            done.copied |= result.copied
            done.failures |= result.failures
    lost = dict.fromkeys(wanted - done.copied.keys(), "the backup does not have it")
    return ObjectRestoreReport(
        done.copied, {key: done.failures.get(key, lost[key]) for key in lost}
    )
