"""`copy_objects` against bare `rclone copy`, of the same bucket and to the same S3 server.

Both compare by hash (`--checksum`) and list with `--fast-list`. First all objects, into a prefix
that is empty; then once more, when nothing has changed. Ours also finds out what is missing at the
source, looks whether every object that was copied is there, and prunes.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

from benchmarks.backup_buckets import BACKUPS, Buckets, running_buckets
from benchmarks.backup_data import FULL_NUM_OBJECTS, write_images
from benchmarks.comparisons import Comparison, Stopwatch, alternate
from benchmarks.servers import BUCKET, temporary_folder
from influencerai_dagster.backup.objects.copies import copy_objects
from influencerai_dagster.backup.objects.locations import (
    BackupTarget,
    Bucket,
    Location,
    remote_environment,
)
from influencerai_dagster.backup.objects.rclone import rclone_program

ROUNDS = 3
RECOVERY_WINDOW = timedelta(days=30)
_PASSES = {"first": "all new", "again": "nothing changed"}


def run(share: float = 1.0) -> Sequence[Comparison]:
    """Measure objects per second, of the first copy and of one that has nothing to do."""
    with temporary_folder() as folder, running_buckets(folder) as buckets:
        images = write_images(folder / "images", int(FULL_NUM_OBJECTS * share))
        buckets.upload(folder / "images")
        num_objects = 2 * len(images)
        megabytes = sum(image.size_bytes for image in images) / 1000**2
        copies = _Copies(buckets, num_objects)
        sides = {"ours": copies.copy, "bare": copies.copy_bare}
        alternate(sides, rounds=ROUNDS, prepare=copies.clean)
    what = f"backup of {num_objects:,} objects, {megabytes:,.0f} MB"
    return rates(what, copies.watch, num_objects, _PASSES, f"rclone copy ({buckets.program})")


def rates(
    what: str, watch: Stopwatch, num_objects: int, passes: Mapping[str, str], baseline_name: str
) -> Sequence[Comparison]:
    """Return the objects per second of both sides, for each pass."""
    return [
        Comparison(
            name=f"{what}, {shown}",
            baseline_name=baseline_name,
            unit="objects/s",
            measured=[num_objects / value for value in watch.seconds[f"ours {each}"]],
            baseline=[num_objects / value for value in watch.seconds[f"bare {each}"]],
            better="higher",
        )
        for each, shown in passes.items()
    ]


@dataclass
class _Copies:
    buckets: Buckets
    num_objects: int
    watch: Stopwatch = field(default_factory=Stopwatch)
    left: list[Bucket] = field(default_factory=list)

    def copy(self) -> None:
        """Copy to a new location, twice."""
        source, target = self.buckets.location(BUCKET), BackupTarget(self._new_location())
        for each, expected in zip(_PASSES, (self.num_objects, 0), strict=True):
            with self.watch.timing(f"ours {each}"):
                report = copy_objects(source, target, recovery_window=RECOVERY_WINDOW)
            assert not report.failures, report.failures
            assert len(report.copied) == expected, f"{len(report.copied)} objects copied"

    def copy_bare(self) -> None:
        """Do the same with rclone alone."""
        source, target = self.buckets.location(BUCKET), self._new_location()
        for each in _PASSES:
            with self.watch.timing(f"bare {each}"):
                bare_copy(source, target, "--checksum")

    def clean(self) -> None:
        """Remove what the last copy left, and let the disk come to rest."""
        while self.left:
            self.buckets.remove(self.left.pop())
        os.sync()

    def _new_location(self) -> Bucket:
        self.left.append(self.buckets.location(BACKUPS, uuid4().hex))
        return self.left[-1]


def bare_copy(source: Location, target: Location, *options: str) -> None:
    """Run rclone alone, with its own numbers of transfers and checkers, as we leave them too."""
    command = [str(rclone_program()), "copy", "source:", "target:", "--fast-list", *options]
    command += ["--config=", "--retries=1"]
    environment = {**os.environ, **remote_environment(source, BackupTarget(target), str)}
    subprocess.run(command, env=environment, check=True)
