"""Memory of scans and training copies of small files that hold many pixels.

Four images of 40 million pixels, the most that is allowed, in formats that cost the most, are read
by eight threads in each of two processes. The baseline is one process that reads one of them: a
ratio near 1 shows that threads and processes share one budget of memory.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.comparisons import Comparison
from benchmarks.servers import S3Server, running_s3
from influencerai_dagster.core.dataset_rules import DatasetRules
from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.object_paths import uploads_prefix
from influencerai_dagster.training.dataset_images import write_copy
from influencerai_dagster.training.datasets import scan_dataset

SIDE_PX = 6_324  # 39.99 million pixels
NUM_PROCESSES = 2
ROUNDS = 1
_ALL, _ONE = DatasetKey("demo", "many"), DatasetKey("demo", "one")
_SPAWN = multiprocessing.get_context("spawn")
_POLL_SECONDS = 0.02
_FORMATS: Sequence[tuple[str, str, dict[str, Any]]] = (
    ("webp", "RGBA", {"lossless": True, "method": 0, "quality": 0}),
    ("webp", "RGB", {"lossless": True, "method": 0, "quality": 0}),
    ("png", "RGBA", {}),
    ("jpg", "RGB", {"progressive": True, "subsampling": 0}),
)
_SMALL_FILES = f"{len(_FORMATS)} small files of 40 Mpx"


def run() -> Sequence[Comparison]:
    """Measure the peak of the resident memory of all processes together."""
    scans: dict[DatasetKey, list[float]] = {_ALL: [], _ONE: []}
    copies: dict[DatasetKey, list[float]] = {_ALL: [], _ONE: []}
    with running_s3() as server:
        _write_images(server.bucket_dir)
        for _ in range(ROUNDS):
            for key, processes in ((_ALL, NUM_PROCESSES), (_ONE, 1)):
                scans[key].append(_peak_mib(_scan, server, key, processes))
                copies[key].append(_peak_mib(_scan_and_copy, server, key, processes))
    return [
        Comparison(
            name=f"memory of {NUM_PROCESSES} processes that {what} {_SMALL_FILES}",
            baseline_name="of one process, one such file",
            unit="MiB",
            measured=peaks[_ALL],
            baseline=peaks[_ONE],
            better="lower",
        )
        for what, peaks in (("scan", scans), ("scan and copy for training", copies))
    ]


def _write_images(bucket_dir: Path) -> None:
    for key, count in ((_ALL, len(_FORMATS)), (_ONE, 1)):
        folder = bucket_dir / uploads_prefix(key)
        folder.mkdir(parents=True)
        for index in range(count):
            suffix, mode, options = _FORMATS[index % len(_FORMATS)]
            pattern = np.random.default_rng(index).integers(0, 256, (8, 8, len(mode)), np.uint8)
            image = Image.fromarray(pattern).resize((SIDE_PX, SIDE_PX), Image.Resampling.NEAREST)
            image.save(folder / f"img{index}.{suffix}", **options)


def _scan(server: S3Server, key: DatasetKey) -> None:
    manifest = scan_dataset(server.store(), key, DatasetRules(), lambda _done, _total: None)
    assert not manifest.rejected, manifest.rejected


def _scan_and_copy(server: S3Server, key: DatasetKey) -> None:
    store = server.store()
    manifest = scan_dataset(store, key, DatasetRules(), lambda _done, _total: None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in store.map(
            lambda image: write_copy(store, image, folder / image.file_name), manifest.images
        ):
            pass


def _peak_mib(
    function: Callable[[S3Server, DatasetKey], None],
    server: S3Server,
    key: DatasetKey,
    num_processes: int,
) -> float:
    """Return the most that all processes together had at one moment."""
    processes = [_SPAWN.Process(target=function, args=(server, key)) for _ in range(num_processes)]
    for process in processes:
        process.start()
    peak = 0
    while any(process.is_alive() for process in processes):
        peak = max(peak, sum(map(_resident_bytes, processes)))
        time.sleep(_POLL_SECONDS)
    assert all(process.exitcode == 0 for process in processes)
    return peak / 1024**2


def _resident_bytes(process: BaseProcess) -> int:
    """Return the resident memory of a process, 0 when it has ended (Linux)."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
