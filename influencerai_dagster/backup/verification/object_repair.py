"""Gives objects their right bytes back from the backup; the wrong ones are kept there.

    wrong/<YYYYmmddTHHMMSSZ>/<key>    what the bucket had, at the backup target

Why they went wrong is a question for a person, who has the recovery window for it: after that
objects/history.py deletes them. What is right is what the catalog says of an object; uploads, which
it does not, are left alone.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from influencerai_dagster.backup.objects.history import OBJECTS, STAMP, WRONG, ObjectHistory
from influencerai_dagster.backup.objects.places import BackupTarget, Place
from influencerai_dagster.backup.objects.rclone import Rclone
from influencerai_dagster.backup.verification.catalog_objects import NamedObject
from influencerai_dagster.backup.verification.verification import manifest_problem


@dataclass(frozen=True)
class RepairReport:
    """What was repaired.

    Attributes:
        repaired: the keys.
        kept_in: where the wrong bytes of them are, for a person.
    """

    repaired: Sequence[str]
    kept_in: str


def repair_objects(
    target: BackupTarget, into: Place, wrong: Collection[NamedObject]
) -> RepairReport:
    """Put right bytes in the place of wrong ones, where the backup or its history has them.

    Wrong bytes that cannot be kept first stay where they are. May be called again after it was
    stopped.

    Args:
        target: the backup.
        into: the bucket.
        wrong: of which the catalog knows the hash, or the version.
    """
    rclone = Rclone(into, target)
    kept_path = f"{WRONG}/{datetime.now(UTC).strftime(STAMP)}"
    left, repaired = {item.object_key: item for item in wrong}, list[str]()
    for path in ObjectHistory(rclone, OBJECTS).versions():
        found = _right(rclone, path, left)
        if not found:
            continue
        kept = rclone.copy_keys("source:", f"target:{kept_path}", found)
        there = found & kept.copied.keys()
        done = rclone.copy_keys(path, "source:", there, "--ignore-times").copied if there else {}
        repaired += sorted(done)
        left = {key: item for key, item in left.items() if key not in done}
    return RepairReport(repaired, f"{target}/{kept_path}")


def _right(rclone: Rclone, path: str, wanted: dict[str, NamedObject]) -> set[str]:
    """Return which objects are right in one version of the backup."""
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
