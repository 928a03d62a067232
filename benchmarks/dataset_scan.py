"""`scan_dataset` against a plain loop over the same photos: list, get, decode in full, SHA-256."""

import hashlib
import io
from collections.abc import Sequence

from PIL import Image

from benchmarks.comparisons import Comparison, alternate
from benchmarks.photos import write_photos
from benchmarks.servers import BUCKET, running_s3
from influencerai_dagster.core.dataset_rules import DatasetRules
from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.object_paths import uploads_prefix
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.datasets import scan_dataset

NUM_IMAGES = 300
ROUNDS = 5
_KEY = DatasetKey("demo", "photos")
_WARM_UP_KEY = DatasetKey("demo", "warm-up")


def run() -> Sequence[Comparison]:
    """Measure images per second."""
    with running_s3() as server:
        write_photos(server.bucket_dir / uploads_prefix(_KEY), NUM_IMAGES)
        write_photos(server.bucket_dir / uploads_prefix(_WARM_UP_KEY), 10)
        store = server.store()
        _scan(store, _WARM_UP_KEY, 10)
        _plain_loop(store, _WARM_UP_KEY, 10)
        seconds = alternate(
            {
                "scan": lambda: _scan(store, _KEY, NUM_IMAGES),
                "loop": lambda: _plain_loop(store, _KEY, NUM_IMAGES),
            },
            rounds=ROUNDS,
        )
    return [
        Comparison(
            name=f"dataset scan, {NUM_IMAGES} photos",
            baseline_name="loop of get, full decode, SHA-256",
            unit="images/s",
            measured=[NUM_IMAGES / value for value in seconds["scan"]],
            baseline=[NUM_IMAGES / value for value in seconds["loop"]],
            better="higher",
        )
    ]


def _scan(store: ObjectStore, key: DatasetKey, expected: int) -> None:
    manifest = scan_dataset(store, key, DatasetRules(), lambda _done, _total: None)
    assert len(manifest.images) == expected, manifest.rejected


def _plain_loop(store: ObjectStore, key: DatasetKey, expected: int) -> None:
    pages = store.client.get_paginator("list_objects_v2").paginate(
        Bucket=BUCKET, Prefix=uploads_prefix(key)
    )
    hashes: set[str] = set()
    for page in pages:
        for item in page.get("Contents", []):
            data = store.client.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
            with Image.open(io.BytesIO(data)) as image:
                image.load()
            hashes.add(hashlib.sha256(data).hexdigest())
    assert len(hashes) == expected, f"{len(hashes)} photos instead of {expected}"
