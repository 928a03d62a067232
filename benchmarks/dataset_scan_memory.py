"""Peak memory of scanning ten times as many images: a ratio near 1 shows that it is bounded."""

import multiprocessing
import resource
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.comparisons import Comparison
from benchmarks.photos import write_photos
from benchmarks.servers import S3Server, running_s3
from influencerai_dagster.core.dataset_rules import DatasetRules
from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.object_paths import uploads_prefix
from influencerai_dagster.training.datasets import scan_dataset

NUM_IMAGES = 5000
NUM_IMAGES_BASELINE = 500
SIZE_PX = (320, 256)
ROUNDS = 3


def run() -> Sequence[Comparison]:
    """Measure the peak resident memory of processes that scan one dataset each."""
    peaks: dict[int, list[float]] = {NUM_IMAGES: [], NUM_IMAGES_BASELINE: []}
    with running_s3() as server:
        for count in peaks:
            write_photos(server.bucket_dir / uploads_prefix(_key(count)), count, size_px=SIZE_PX)
        for _ in range(ROUNDS):
            for count, values in peaks.items():
                values.append(_in_new_process(server, count) / 1024**2)
    return [
        Comparison(
            name=f"peak memory of a scan, {NUM_IMAGES:,} small images",
            baseline_name=f"the same, {NUM_IMAGES_BASELINE} images",
            unit="MiB",
            measured=peaks[NUM_IMAGES],
            baseline=peaks[NUM_IMAGES_BASELINE],
            better="lower",
        )
    ]


def _key(count: int) -> DatasetKey:
    return DatasetKey("demo", f"images-{count}")


def _in_new_process(server: S3Server, count: int) -> int:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_peak_bytes_of_scan, server, count).result()


def _peak_bytes_of_scan(server: S3Server, count: int) -> int:
    manifest = scan_dataset(server.store(), _key(count), DatasetRules(), lambda _done, _total: None)
    assert len(manifest.images) == count, manifest.rejected
    return _peak_bytes()


def _peak_bytes() -> int:
    # On Linux ru_maxrss survives exec: it would start at the peak of the process that began us.
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
