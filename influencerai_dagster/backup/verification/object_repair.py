"""Repair corrupt objects from the backup, which keeps the corrupt bytes.

    wrong/<YYYYmmddTHHMMSSZ>/<key>    the corrupt bytes, at the backup target

The operator has the recovery window to find the cause: after that objects/history.py deletes them.
An object is corrupt if it differs from the catalog. The catalog has no hash of uploads: they are
left alone.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from influencerai_dagster.backup.objects.history import CORRUPT, OBJECTS, STAMP, ObjectHistory
from influencerai_dagster.backup.objects.locations import BackupTarget, Location
from influencerai_dagster.backup.objects.rclone import Rclone
from influencerai_dagster.backup.verification.catalog_objects import NamedObject
from influencerai_dagster.backup.verification.verification import manifest_problem


@dataclass(frozen=True)
class RepairReport:
    """Which objects were repaired.

    Attributes:
        repaired: their keys.
        kept_in: where their corrupt bytes are, for the operator.
    """

    repaired: Sequence[str]
    kept_in: str


def repair_objects(
    target: BackupTarget, into: Location, corrupt: Collection[NamedObject]
) -> RepairReport:
    """Replace corrupt objects by valid ones, if the backup or its history has them.

    An object is not replaced if its corrupt bytes could not be kept first. Safe to call again after
    it was stopped.

    Args:
        target: the backup.
        into: the bucket.
        corrupt: objects with a hash or a version in the catalog.
    """
    rclone = Rclone(into, target)
    kept_path = f"{CORRUPT}/{datetime.now(UTC).strftime(STAMP)}"
    left, repaired = {item.object_key: item for item in corrupt}, list[str]()
    for path in ObjectHistory(rclone, OBJECTS).versions():
        found = _valid(rclone, path, left)
        if not found:
            continue
        kept = rclone.copy_keys("source:", f"target:{kept_path}", found)
        there = found & kept.copied.keys()
        done = rclone.copy_keys(path, "source:", there, "--ignore-times").copied if there else {}
        repaired += sorted(done)
        left = {key: item for key, item in left.items() if key not in done}
    return RepairReport(repaired, f"{target}/{kept_path}")


def _valid(rclone: Rclone, path: str, wanted: dict[str, NamedObject]) -> set[str]:
    """Return which objects are valid in one version of the backup."""
    hashes = rclone.sha256(path, wanted)
    return {
        key
        for key, item in wanted.items()
        if key in hashes
        and item.sha256 in {None, hashes[key]}
        and (item.version is None or _is_version(rclone.read(f"{path}/{key}"), item.version))
    }


def _is_version(text: str | None, version: str) -> bool:
    return text is not None and manifest_problem(text.encode(), version) is None
