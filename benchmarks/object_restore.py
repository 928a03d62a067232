"""`restore_objects` against bare `rclone copy --ignore-existing --fast-list` of the same backup.

First into a prefix that is empty; then once more, when nothing is missing there. Neither overwrites
anything. Both names and contents are compared by the verification that follows a restore, which is
measured by `restore_drill`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from benchmarks.backup_buckets import BACKUPS, Buckets, running_buckets
from benchmarks.backup_data import FULL_NUM_OBJECTS, write_images
from benchmarks.comparisons import Comparison, Stopwatch, alternate
from benchmarks.object_backup import RECOVERY_WINDOW, bare_copy, rates
from benchmarks.servers import BUCKET, temporary_folder
from influencerai_dagster.backup.objects.copies import copy_objects
from influencerai_dagster.backup.objects.history import OBJECTS
from influencerai_dagster.backup.objects.locations import BackupTarget, Bucket
from influencerai_dagster.backup.objects.missing import restore_objects

ROUNDS = 3
_PASSES = {"first": "all missing", "again": "none missing"}


def run(share: float = 1.0) -> Sequence[Comparison]:
    """Measure objects per second, of all objects and of a restore that has nothing to do."""
    with temporary_folder() as folder, running_buckets(folder) as buckets:
        images = write_images(folder / "images", int(FULL_NUM_OBJECTS * share))
        buckets.upload(folder / "images")
        target = BackupTarget(buckets.location(BACKUPS))
        copy_objects(buckets.location(BUCKET), target, recovery_window=RECOVERY_WINDOW)
        buckets.remove(buckets.location(BUCKET, "images"))
        num_objects = 2 * len(images)
        megabytes = sum(image.size_bytes for image in images) / 1000**2
        restores = _Restores(buckets, target, num_objects)
        sides = {"ours": restores.restore, "bare": restores.restore_bare}
        alternate(sides, rounds=ROUNDS, prepare=restores.clean)
    what = f"restore of {num_objects:,} objects, {megabytes:,.0f} MB"
    return rates(what, restores.watch, num_objects, _PASSES, f"rclone copy ({buckets.program})")


@dataclass
class _Restores:
    buckets: Buckets
    target: BackupTarget
    num_objects: int
    watch: Stopwatch = field(default_factory=Stopwatch)
    left: list[Bucket] = field(default_factory=list)

    def restore(self) -> None:
        """Bring all objects back into a new location, twice."""
        into = self._new_location()
        for each, expected in zip(_PASSES, (self.num_objects, 0), strict=True):
            with self.watch.timing(f"ours {each}"):
                report = restore_objects(self.target, into, None)
            assert not report.not_found, report.not_found
            assert len(report.copied) == expected, f"{len(report.copied)} objects came back"

    def restore_bare(self) -> None:
        """Do the same with rclone alone."""
        into, backup = self._new_location(), self.buckets.location(BACKUPS, OBJECTS)
        for each in _PASSES:
            with self.watch.timing(f"bare {each}"):
                bare_copy(backup, into, "--ignore-existing")

    def clean(self) -> None:
        """Remove what the last restore left, and let the disk come to rest."""
        while self.left:
            self.buckets.remove(self.left.pop())
        os.sync()

    def _new_location(self) -> Bucket:
        self.left.append(self.buckets.location(BUCKET, uuid4().hex))
        return self.left[-1]
